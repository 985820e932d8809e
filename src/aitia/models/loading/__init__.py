"""Models from folders and names: weights, adapters, tokenizers, devices, and what identifies a model."""
