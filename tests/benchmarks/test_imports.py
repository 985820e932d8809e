"""Every benchmark can be imported: none relies on a name that another has lost."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PEERS_ONLY = "peers"  # its runners need the peers' own environment
MODULES = sorted(
    ".".join(path.relative_to(BENCHMARKS).with_suffix("").parts)
    for path in BENCHMARKS.rglob("*.py")
    if not {PEERS_ONLY, ".work"} & set(path.relative_to(BENCHMARKS).parts) and path.stem != "__init__"
)


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__
