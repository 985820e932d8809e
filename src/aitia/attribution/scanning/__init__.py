"""The scan: one pass over the training data, and the store that it leaves."""
