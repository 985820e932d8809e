"""Gradients of rows and queries, curvature, and what they cost."""
