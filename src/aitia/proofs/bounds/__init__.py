"""Bounds on logits and margins, with every rounding bounded: the arithmetic that verifiers share."""
