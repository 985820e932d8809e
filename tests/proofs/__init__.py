"""Tests of compact proofs; a package, so that a benchmark of the same name is not taken for it."""
