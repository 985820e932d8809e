"""Where the parts of a store lie: found again when folders are moved or copied, or opened from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aitia.errors import AitiaError, StoreError
from aitia.files import address_of
from aitia.models import load_model
from aitia.records import Records, read_records

if TYPE_CHECKING:
    from aitia.models import LanguageModel

_GIVE_MODEL = "give its place: `model` and `adapter`"
_GIVE_DATA = "give them yourself: `data`"


def places_of(part: Path | str | None, folder: Path | str) -> list[str]:
    """The places to look for a part, as a store in `folder` keeps them: relative to it, and absolute.

    Args:
        part: a file or folder; what is at an address, on the hub or in memory has no place.
        folder: the store's.

    Returns:
        Relative places come first, so that a project copied as a whole uses its own parts. They are
        kept both as the paths are written and with symbolic links followed.
    """
    if part is None or address_of(part) or not Path(part).exists():
        return []
    found = []
    for follow in (os.path.abspath, os.path.realpath):
        try:
            found.append(os.path.relpath(follow(part), follow(folder)))
        except ValueError:  # another drive
            continue
    return list(dict.fromkeys([*found, os.path.abspath(part)]))


def found_places(places: Sequence[str], folder: Path | str) -> tuple[list[str], list[str]]:
    """The kept places, seen from where the store is now: those where something is, and all that were looked at."""
    looked = []
    for place in places:
        for root in (os.path.abspath(folder), os.path.realpath(folder)):
            looked.append(os.path.normpath(os.path.join(root, place)))  # an absolute place stays as it is
    looked = list(dict.fromkeys(looked))
    return [place for place in looked if os.path.exists(place)], looked


def find_model(
    saved: Mapping[str, Any],
    folder: Path,
    model: Path | str | None = None,
    adapter: Path | str | None = None,
) -> LanguageModel:
    """Load the model that a store was scanned with, from the first of its places that holds it.

    A hub id has no place, and stays what it is.

    Args:
        saved: what the manifest says of the model.
        folder: the store's.
        model: where the model is, where a person says so.
        adapter: likewise, its adapter.

    Returns:
        The model, with the fingerprint that the store names.

    Raises:
        StoreError: it is not there any more, or what lies there is another model.
        ModelError: it cannot be loaded.
    """
    models = [saved["name"]] if model is None else [str(model)]
    if model is None and saved.get("places"):
        models = _there(saved["places"], folder, f"the model ({saved['name']})", _GIVE_MODEL)
    adapters = [saved["adapter"]] if adapter is None else [str(adapter)]
    if adapter is None and saved.get("adapter_places"):
        adapters = _there(saved["adapter_places"], folder, f"the adapter ({saved['adapter']})", _GIVE_MODEL)
    faults = []
    for place, put_on in product(models, adapters):
        try:
            found = load_model(place, adapter=put_on, dtype=saved["dtype"])
            require_scanned_model(found, saved, folder)
            return found
        except AitiaError as error:  # another of its places may hold it
            faults.append(error)
    raise faults[0]


def require_scanned_model(model: LanguageModel, saved: Mapping[str, Any], folder: Path) -> None:
    """Refuse a model that is not, to the bit, the one that a store was scanned with.

    Raises:
        StoreError: it is not; the precisions are named where they differ.
    """
    name = model.name if model.adapter is None else f"{model.name} with adapter {model.adapter}"
    if model.fingerprint != saved["fingerprint"]:
        dtypes = "" if model.dtype == saved["dtype"] else f" ({model.dtype}; the store has {saved['dtype']})"
        raise StoreError(
            f"{name}{dtypes}: not the model that {folder} was scanned with any more; {_GIVE_MODEL}"
        )
    if model.tokenizer_fingerprint != saved["tokenizer_fingerprint"]:
        raise StoreError(
            f"{name}: its tokenizer or chat template is not the one that {folder} was scanned with any more; "
            f"{_GIVE_MODEL}"
        )


def find_records(saved: Mapping[str, Any], folder: Path, data: Records | Path | str | None = None) -> Records:
    """Read the data that a store was scanned from, from the first of their places that holds them.

    Args:
        saved: what the manifest says of the data.
        folder: the store's.
        data: them, or where they are, where a person says so.

    Returns:
        The records, with the digest that the store names.

    Raises:
        StoreError: the data were in memory only, are not found, or have changed since.
    """
    what = f"the data ({saved['source']})"
    there: Sequence[Records | Path | str | list[str]]
    if data is not None:
        there = [data]
    elif saved.get("parts"):
        there = [[_there(places, folder, what, _GIVE_DATA)[0] for places in saved["parts"]]]
    elif saved["source"] is None:
        raise StoreError(f"{folder}: the data were scanned from memory; {_GIVE_DATA}")
    elif address_of(saved["source"]):  # which only a person may give
        raise StoreError(f"{folder}: names {saved['source']} as its data; {_GIVE_DATA}")
    else:
        places = saved.get("places") or [saved["source"]]
        there = _there(places, folder, what, _GIVE_DATA)
    faults = []
    for each in there:
        try:
            records = (
                each
                if isinstance(each, Records)
                else read_records(each, on_error="skip", **saved.get("reading", {}))
            )
            if records.fingerprint == saved["fingerprint"]:
                return records
            named = ", ".join(map(str, records.sources)) or "the data that were given"
            raise StoreError(f"{named}: not the data that {folder} was scanned from any more; {_GIVE_DATA}")
        except AitiaError as error:
            faults.append(error)
    raise faults[0]


def _there(places: Sequence[str], folder: Path, what: str, mend: str) -> list[str]:
    """Those of a part's places where something is."""
    there, looked = found_places(places, folder)
    if not there:
        raise StoreError(f"{folder}: {what} is not found; looked at {', '.join(looked)}; {mend}")
    return there
