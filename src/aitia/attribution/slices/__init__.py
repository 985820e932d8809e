"""Slices: slices of rows that share a feature, their influence and its tests."""
