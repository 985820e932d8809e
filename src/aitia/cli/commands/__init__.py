"""All commands, put together; each module adds its own to `app` when it is imported."""

from __future__ import annotations

from typing import Annotated

import typer

from aitia import __version__
from aitia.cli.commands import (
    attribution,
    before,
    concept,
    counterfactual,
    curate,
    evaluate,
    evaluate_ranking,
    explore,
    network,
    prove,
    remote,
    slices,
)
from aitia.cli.options import app

__all__ = [
    "app",
    "attribution",
    "before",
    "concept",
    "counterfactual",
    "curate",
    "evaluate",
    "evaluate_ranking",
    "explore",
    "network",
    "prove",
    "remote",
    "slices",
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
