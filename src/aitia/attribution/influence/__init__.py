"""Influence: products of the gradients of rows and queries, with curvature divided out."""
