"""The table of speed in the README."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documented.markdown import Documented, table

SYSTEMS = {
    "aitia EK-FAC": "aitia, bfloat16 products",
    "aitia EK-FAC, float32 products": "aitia, float32 products",
    "bergson EK-FAC": "bergson 2.5.1",
    "kronfluence EK-FAC": "kronfluence 1.0.1",
    "dattri-llm EK-FAC": "dattri-llm 0.1.0",
}
"""Contestant -> as the table names it; the releases are those that `benchmarks/peers` installs."""
WORKLOADS = ("gpt2", "smollm2-lora")


def speed(results: Mapping[str, Any]) -> str:
    at = {(row["workload"], row["system"]): row for row in results["rows"] if "system" in row}
    return table(
        [
            "EK-FAC influence, curvature included",
            "small GPT-2, 512 rows: compute, × a bare forward and backward pass",
            "peak memory",
            "SmolLM2-135M with LoRA, 160 real rows: compute, × likewise",
            "peak memory",
        ],
        [
            [
                label,
                *(
                    cell
                    for workload in WORKLOADS
                    for row in [at[workload, system]]
                    for cell in (f"{row['to_floor']:.1f}", f"{row['peak_memory_mb']:.0f} MB")
                ),
            ]
            for system, label in SYSTEMS.items()
            if all((workload, system) in at for workload in WORKLOADS)
        ],
    )


TABLES = {"influence.speed": Documented("influence", speed)}
