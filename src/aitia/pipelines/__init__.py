"""Whole jobs: everything from one configuration, and the demo."""
