"""`aitia push` and `aitia pull`: folders copied to an address and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from aitia.cli.options import JsonOption, answer, app

AddressArgument = Annotated[
    str, typer.Argument(help="Address of a folder: s3://bucket/run, gs://..., file:///mnt/run.")
]


@app.command("push")
def push_command(
    folder: Annotated[Path, typer.Argument(help="A finished store, run, or any other folder of results.")],
    address: AddressArgument,
    as_json: JsonOption = False,
) -> None:
    """Copy a folder to an object store, whole: a list of its files and their checksums goes last.

    Each kind of address needs its package: s3fs for s3://, gcsfs for gs://. Credentials are the package's matter.
    Broken off and run again, it starts again from nothing; another copy is never written over.

    Example: `aitia push runs/store s3://bucket/runs/store`
    """
    from aitia.remote_files import push

    found = push(folder, address)
    text = f"{found.files} files, {found.bytes:,} bytes, copied from {folder} to {address}"
    answer({"folder": str(folder), "address": address, **asdict(found)}, as_json, text)


@app.command("pull")
def pull_command(
    address: AddressArgument,
    folder: Annotated[Path, typer.Argument(help="To be made.")],
    as_json: JsonOption = False,
) -> None:
    """Copy back what `aitia push` left at an address; every file's checksum is checked.

    The folder is there whole or not at all.

    Example: `aitia pull s3://bucket/runs/store runs/store`
    """
    from aitia.remote_files import pull

    found = pull(address, folder)
    text = f"{found.files} files, {found.bytes:,} bytes, copied from {address} to {folder}"
    answer({"folder": str(folder), "address": address, **asdict(found)}, as_json, text)
