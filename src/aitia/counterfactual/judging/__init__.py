"""Judges: how far a response shows a behaviour, graded by a classifier or by a model at an endpoint."""
