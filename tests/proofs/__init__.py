"""Tests of compact proofs: a package, since the attack and the checks share modules."""
