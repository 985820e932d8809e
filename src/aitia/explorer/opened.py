"""What is opened: stores, rankings, run folders and what lies in them; what cannot be opened is said."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import ActivationStore, Ranking, read_ranking
from aitia.concepts import Concept, load_concept
from aitia.errors import AitiaError, StoreError
from aitia.explorer.rows.arrow import compute
from aitia.explorer.rows.columns import ScoreColumn, TokenShares
from aitia.explorer.rows.explored import OWN, ExploredRows
from aitia.explorer.rows.texts import Texts
from aitia.files import read_json
from aitia.records import Records

_JSON_LIMIT, _YAML_LIMIT = 64_000_000, 1_000_000
_COUNTERFACTUAL = re.compile(r"^(behaviours|removal)\s*:", re.MULTILINE)
_SAE_WEIGHTS = ("sae_weights.safetensors", "sae.safetensors")
EXPLORED = "explored"
"""The folder beside what is opened in which the explorer writes."""


@dataclass(kw_only=True)
class Opened:
    """All that is opened.

    Attributes:
        rows: stores, and rankings without one.
        concepts: key -> a saved concept.
        autoencoders: key -> folder of a sparse autoencoder.
        pages: key -> a page of a run, shown as it is; the key is random.
        figures: name -> scorecards, certificates, summaries and slices, as plain data.
        configurations: key -> a configuration of `aitia counterfactual`, and where its log goes; the key is its path.
        notices: what could not be opened, and why.
        places: what the command line named.
    """

    rows: list[ExploredRows] = field(default_factory=list)
    concepts: dict[str, Concept] = field(default_factory=dict)
    autoencoders: dict[str, Path] = field(default_factory=dict)
    pages: dict[str, Path] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    configurations: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    places: list[Path] = field(default_factory=list)


def open_places(
    places: Sequence[Path | str],
    *,
    model: str | None = None,
    adapter: str | None = None,
    data: Path | str | None = None,
) -> Opened:
    """Open stores, rankings, files of concepts, and run folders with all that lies in them.

    Args:
        places: folders and files.
        model: the model that was scanned, if it was moved.
        adapter: the same, of its adapter.
        data: the same, of the data.

    Returns:
        What is there; what cannot be used is among the notices.

    Raises:
        AitiaError: a place does not exist, nothing in any of them can be explored, or the model or data that are given
            belong to no store.
    """
    opened = Opened(places=[Path(place) for place in places])
    for place in opened.places:
        if not os.path.exists(place):  # which takes any name
            raise AitiaError(
                f"{place}: no such file or folder; give a store, a ranking, or the folder of a run"
            )
        inside = place if place.is_dir() and not _is_store(place) else place.parent
        for path in _candidates(place):
            with _noticing(opened, path):
                _open(opened, path, inside / EXPLORED if inside == place else _beside(place))
    _give(opened.rows, model, adapter, data)
    for rows in opened.rows:
        _read_texts(rows)
    if not opened.rows:
        said = "; ".join(opened.notices) or "neither a store nor a ranking is there"
        raise AitiaError(
            f"{', '.join(map(str, opened.places))}: nothing to explore: {said}. Make a store with `aitia scan`, or a "
            "run with `aitia attribute`"
        )
    return opened


class _noticing:
    """Turns an error into a notice, so that one damaged file does not keep the others shut."""

    def __init__(self, opened: Opened, path: Path):
        self._opened, self._path = opened, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, AitiaError):
            return False
        said = str(error)
        self._opened.notices.append(said if str(self._path) in said else f"{self._path}: {said}")
        return True


def _beside(place: Path) -> Path:
    """Where the explorer writes beside a store or a file."""
    return place.with_name(f"{place.name}.{EXPLORED}")


def _is_store(path: Path) -> bool:
    return (path / "manifest.json").is_file() and (path / "rows.parquet").is_file()


def _is_autoencoder(path: Path) -> bool:
    return (path / "cfg.json").is_file() and any((path / name).is_file() for name in _SAE_WEIGHTS)


def _candidates(place: Path) -> Iterator[Path]:
    """What may be opened: the place itself, or what lies in it, stores first and rankings after them."""
    if not place.is_dir() or _is_store(place) or _is_autoencoder(place):
        yield place
        return
    inside = sorted(each for each in place.iterdir() if not each.name.startswith("."))
    folders = [each for each in inside if each.is_dir()]
    deeper = [each for folder in folders if folder.name != EXPLORED for each in sorted(folder.iterdir())]
    yield from (each for each in (*folders, *deeper) if each.is_dir() and _is_store(each))
    yield from (each for each in inside if each.is_file())
    yield from (
        each for each in deeper if each.is_file() and each.name.endswith((".parquet", ".concept.safetensors"))
    )
    yield from (each for each in folders if _is_autoencoder(each))


def _open(opened: Opened, path: Path, folder: Path) -> None:
    """Open one thing, by what it is; other files are passed over."""
    name = path.name
    if path.is_dir() and _is_store(path):
        opened.rows.append(_rows_of_store(path, folder))
    elif path.is_dir():
        opened.autoencoders[name] = path
    elif name.endswith(".parquet") and _looks_like_ranking(path):
        _add_ranking(opened, path, folder)
    elif name.endswith(".concept.safetensors"):
        found = load_concept(path)
        opened.concepts[found.fingerprint[:12]] = found
    elif name.endswith(".html"):
        opened.pages[secrets.token_urlsafe(18)] = path
    elif name.endswith((".yaml", ".yml")) and _is_counterfactual(path):
        opened.configurations[str(path)] = (path, folder)
    elif name in ("scorecard.json", "summary.json", "slices.json") or name.endswith(".certificate.json"):
        opened.figures[_free(opened.figures, name)] = _plain_json(path)


def _is_counterfactual(path: Path) -> bool:
    """Whether a file looks like a configuration of `aitia counterfactual`, which reads it with care when it runs."""
    try:
        return (
            path.stat().st_size < _YAML_LIMIT and _COUNTERFACTUAL.search(path.read_text("utf-8")) is not None
        )
    except (OSError, UnicodeDecodeError):
        return False


def _free(taken: dict[str, Any], name: str) -> str:
    number = 1
    while (free := name if number == 1 else f"{name} ({number})") in taken:
        number += 1
    return free


def _plain_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _JSON_LIMIT:
        raise AitiaError(f"{path}: larger than {_JSON_LIMIT:,} bytes, and so not shown")
    try:
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise AitiaError(f"{path}: cannot be read as JSON ({error})") from None
    return found if isinstance(found, dict) else {"content": found}


def _looks_like_ranking(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return b"aitia" in (parquet.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def _rows_of_store(path: Path, folder: Path) -> ExploredRows:
    """The rows of a store, finished or not."""
    lacking = None
    try:
        store = ActivationStore.open(path)
    except StoreError as error:
        store, lacking = ActivationStore.open_unfinished(path), str(error)
    rows = ExploredRows(
        name=str(path), folder=folder, table=store.rows.select(list(OWN)), texts=_no_texts("")
    )
    rows.store, rows.lacking = store, lacking
    return rows


def _no_texts(reason: str) -> Texts:
    return Texts(None, list, reason)


def _add_ranking(opened: Opened, path: Path, folder: Path) -> None:
    """Put the scores of a ranking beside the rows of its store, where that is opened or found."""
    import pyarrow as pa

    ranking = read_ranking(path)
    wanted = {name: ranking.provenance.get(name, {}).get("fingerprint") for name in ("data", "model")}
    rows = next((each for each in opened.rows if each.store is not None and _is_of(each.store, wanted)), None)
    if rows is None:
        try:
            store = ranking.open_store()
            rows = _rows_of_store(store.path, folder)
        except AitiaError as error:
            rows = _rows_of_ranking(ranking, path, folder, str(error))
        opened.rows.append(rows)
    at = compute().index_in(
        pa.array(ranking.ids.tolist(), pa.string()), value_set=rows.table["id"].cast(pa.string())
    )
    if at.null_count:
        raise AitiaError(
            f"{path}: ranks rows that the store {rows.name} does not have; make it again with `aitia rank`"
        )
    places = at.to_numpy()
    about, sites = ranking.provenance.get("concept", {}), ranking.provenance.get("warnings", [])
    for number, (method, values) in enumerate(ranking.scores.items()):
        spread = np.full(len(rows), np.nan)
        spread[places] = values
        rows.add(
            ScoreColumn(
                key=_free(dict(rows.scores), f"{path.stem}:{method}"),
                method=method,
                concept=str(about.get("name", "")),
                values=spread,
                file=path,
                about={
                    "site": about.get("site"),
                    "warnings": list(sites) if number == 0 else [],
                    "first": number == 0,
                },
                shares=_shares_of(path, rows) if number == 0 else None,
            )
        )


def _is_of(store: ActivationStore, wanted: dict[str, Any]) -> bool:
    manifest = store.manifest
    return all(manifest.get(part, {}).get("fingerprint") == wanted[part] for part in wanted)


def _rows_of_ranking(ranking: Ranking, path: Path, folder: Path, why: str) -> ExploredRows:
    import pyarrow as pa

    table = pa.table(
        {
            "id": pa.array(ranking.ids.tolist(), pa.string()),
            "location": pa.array(ranking.locations.tolist(), pa.string()),
            "row": ranking.rows,
            "prompt_tokens": ranking.prompt_tokens,
            "response_tokens": ranking.response_tokens,
        }
    )
    lacking = f"its store is not found, so no concept can be asked: {why}"
    return ExploredRows(name=str(path), folder=folder, table=table, texts=_no_texts(lacking), lacking=lacking)


def _shares_of(path: Path, rows: ExploredRows) -> Callable[[], TokenShares | None]:
    """Makes what gives the shares of tokens of a ranking from a file."""

    def make() -> TokenShares | None:
        if rows.store is None or rows.lacking is not None:
            raise AitiaError(rows.lacking or "there is no store")
        found = read_ranking(path).with_parts(store=rows.store)
        if found.lacking is not None:
            raise AitiaError(f"there are no shares of tokens: {found.lacking}")
        return found.token_shares

    return make


def _give(
    opened: Sequence[ExploredRows], model: str | None, adapter: str | None, data: Path | str | None
) -> None:
    """Say where model and data are, if a person says so: to each store whose they are, and at least one."""
    if model is adapter is data is None:
        return
    faults: list[AitiaError] = []
    given = 0
    for rows in opened:
        if rows.store is not None:
            try:
                rows.store.give(model=model, adapter=adapter, data=data)
                given += 1
            except AitiaError as error:
                faults.append(error)
    if not given:
        raise faults[0] if faults else AitiaError("there is no store whose model or data these could be")


def _read_texts(rows: ExploredRows) -> None:
    store = rows.store
    if store is None:
        return

    def load() -> Records:
        return store.load_records()

    def ids() -> list[str]:
        return rows.table["id"].to_pylist()

    rows.texts = Texts(load, ids)
