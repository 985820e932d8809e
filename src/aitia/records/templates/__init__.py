"""Chat templates: which tokens of a rendered row belong to which turn."""
