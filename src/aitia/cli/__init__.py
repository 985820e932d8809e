"""The command line: each command reads options, calls the library, and prints.

With `--json` the answer is one JSON object on standard output and everything else goes to standard
error. Exit status: 0 done, 1 the answer is no, 2 bad input or usage.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aitia import __version__
from aitia.cli import attribution, concept, counterfactual, groups, judge, network, plan, prove, remote
from aitia.cli.options import app
from aitia.errors import AitiaError, CertificateError

__all__ = [
    "app",
    "attribution",
    "concept",
    "counterfactual",
    "groups",
    "judge",
    "main",
    "network",
    "plan",
    "prove",
    "remote",
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; errors that the user can mend become one line and exit status 2."""
    from aitia.engine import quiet_libraries

    quiet_libraries()
    try:
        app()
    except CertificateError as error:
        typer.echo(f"aitia: {error}", err=True)
        sys.exit(1)
    except AitiaError as error:
        typer.echo(f"aitia: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("aitia: stopped; run the same command again to go on", err=True)
        sys.exit(130)
