"""`aitia explore`: a local web page over stores, rankings and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aitia.cli.options import JsonOption, ScannedOptions, answer, app, with_scanned, with_settings
from aitia.explorer import ExplorerSettings


@app.command("explore")
@with_settings(ExplorerSettings)
@with_scanned
def explore_command(
    places: Annotated[
        list[Path],
        typer.Argument(
            help="Stores, rankings, or folders of runs of `aitia attribute`. Several may be given."
        ),
    ],
    *,
    settings: ExplorerSettings,
    scanned: ScannedOptions,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only, and open no browser.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at training rows and their scores on a local web page, and ask new concepts of them.

    The page shows every row of a store in a table: search it, filter it, sort it by any scorer, open a row. Ask a new
    concept by typing a few texts that show it and a few that do not, by choosing rows, a saved concept, or a feature of
    a sparse autoencoder; all rows are ranked at once. Compare two scorers, see what removing rows is predicted to do,
    and write the curated data. Nothing is written unless you ask for it.

    The server listens on this machine alone (127.0.0.1), loads nothing from outside, and answers only who has the
    address that it prints, which holds a random token. Over SSH, forward the port: `ssh -L 8642:127.0.0.1:8642 HOST`.
    Ctrl-C ends it. What you see is kept in the page's address; after a new start, put the part from `#` on behind the
    new address.

    Examples: `aitia explore build/demo`, `aitia explore runs/store --data train.jsonl --port 9000 --no-browser`
    """
    from aitia.explorer import explore

    def said(address: str) -> None:
        answer({"address": address}, as_json, f"Open {address} (Ctrl-C ends it)")

    explore(
        places,
        settings,
        model=scanned.model,
        adapter=scanned.adapter,
        data=scanned.data,
        browser=not no_browser,
        said=said,
    )
