"""The virtues, faithfulness and proofs, measured: one file a perspective, pure functions and their results."""
