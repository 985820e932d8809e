"""Explanations in files and in finished runs, evaluated; their published schemas."""
