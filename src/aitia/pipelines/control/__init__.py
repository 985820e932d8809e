"""Rows chosen by the derivatives of a recorded run: what is asked, the rounds, and the trade-off."""
