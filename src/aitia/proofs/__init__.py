"""Certificates of accuracy over all inputs, and the checker that believes none of them.

The checker's own modules (`checker`, `certificate`, `weights`, `margin_bounds`, `verifiers`, ...) import neither torch
nor what looks for explanations; the names below are imported where they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aitia.proofs.batches import Proved, prove_files
    from aitia.proofs.certificate import AccuracyCertificate, load_certificate, parse_certificate
    from aitia.proofs.checker import Check, check_certificate, verify
    from aitia.proofs.cost import Cost, brute_force_cost
    from aitia.proofs.proving import prove_accuracy
    from aitia.proofs.verdict import Verdict
    from aitia.proofs.verifiers import VERIFIERS
    from aitia.proofs.weights import Weights, read_weights, weights_from_arrays, weights_of

_HOMES = {
    "batches": ("Proved", "prove_files"),
    "certificate": ("AccuracyCertificate", "load_certificate", "parse_certificate"),
    "checker": ("Check", "check_certificate", "verify"),
    "cost": ("Cost", "brute_force_cost"),
    "proving": ("prove_accuracy",),
    "verdict": ("Verdict",),
    "verifiers": ("VERIFIERS",),
    "weights": ("Weights", "read_weights", "weights_from_arrays", "weights_of"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "VERIFIERS",
    "AccuracyCertificate",
    "Check",
    "Cost",
    "Proved",
    "Verdict",
    "Weights",
    "brute_force_cost",
    "check_certificate",
    "load_certificate",
    "parse_certificate",
    "prove_accuracy",
    "prove_files",
    "read_weights",
    "verify",
    "weights_from_arrays",
    "weights_of",
]


def __getattr__(name: str) -> object:
    """Import a public name where it is first used, so that the checker stays apart from the finder."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'aitia.proofs' has no attribute {name!r}")
    return getattr(import_module(f"aitia.proofs.{_HOME_OF[name]}"), name)
