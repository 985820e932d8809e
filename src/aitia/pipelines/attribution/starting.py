"""`aitia init`: a commented configuration for `aitia attribute`, made from the user's own files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aitia.attribution.scorers import DEFAULT_METHOD
from aitia.errors import AitiaError
from aitia.files import atomic_path
from aitia.models import load_outline
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.records import Records, read_records
from aitia.records.losses import usual_loss

NAMES = {
    "positive": ("positive", "pos", "with"),
    "negative": ("negative", "neg", "without"),
    "queries": ("queries",),
}
"""Part of a configuration -> names of files that are taken for it, where none is given."""
RESULTS = "runs/first"
"""The folder of results, from the configuration's own."""
_ENDINGS = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Started:
    """A configuration that was written.

    Attributes:
        path: of the file.
        missing: what the user still has to put in, in words; empty if it can be run.
        noticed: what was found in the files, in words.
    """

    path: Path
    missing: tuple[str, ...]
    noticed: tuple[str, ...]

    def text(self) -> str:
        """What was done, and the next command."""
        lines = [f"written: {self.path}", *self.noticed]
        if self.missing:
            lines += ["", "before it can run:", *(f"  - {each}" for each in self.missing)]
        return "\n".join([*lines, "", f"then: aitia plan {self.path} && aitia attribute {self.path}"])


def start(
    data: Path | str,
    out: Path | str = "attribute.yaml",
    *,
    model: str | None = None,
    adapter: str | None = None,
    positive: Path | str | None = None,
    negative: Path | str | None = None,
    queries: Path | str | None = None,
) -> Started:
    """Write a configuration with a comment on every choice.

    The data are read, so that their shape and columns are known; the model's shape is read from its folder.

    Args:
        data: training rows.
        out: the YAML file.
        model: hub id, folder or .gguf file.
        adapter: folder of the PEFT adapter that training made.
        positive: texts that show the concept. Where it is not given, `positive.jsonl` beside the data is taken.
        negative: texts that do not; likewise.
        queries: texts to measure, for the influence methods; likewise.

    Returns:
        What was written, and what is missing.

    Raises:
        AitiaError: `out` exists, or a file that was given cannot be read.
    """
    out, data = Path(out), Path(data)
    if out.exists():
        raise AitiaError(f"{out} is there already: give another `out`, or delete it first")
    records = read_records(data)
    noticed, missing = [f"data: {data}: {records.reading}"], []
    texts: dict[str, Path | None] = {}
    for part, given in (("positive", positive), ("negative", negative), ("queries", queries)):
        found = Path(given) if given is not None else _beside(data, part)
        if found is not None:
            noticed.append(f"{part}: {len(read_records(found))} rows in {found}")
        texts[part] = found
    labels = _labels(records)
    if model is None:
        missing.append("model.name: the model that was trained on these rows")
    for part, what in (
        ("positive", "show the behaviour"),
        ("negative", "do not, on the same prompts if you can"),
    ):
        if texts[part] is None:
            missing.append(f"concept.{part}: a file with 20 or more texts that {what}")
    sites, depth = _sites(model, adapter)
    loss = usual_loss(records[0]).loss if len(records) else "sft"
    lines = _lines(out, data, model, adapter, texts, labels, sites, loss)
    if depth:
        noticed.append(depth)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not missing:
        read_configuration(out)
    return Started(path=out, missing=tuple(missing), noticed=tuple(noticed))


def _lines(
    out: Path,
    data: Path,
    model: str | None,
    adapter: str | None,
    texts: dict[str, Path | None],
    labels: Sequence[str],
    sites: Sequence[str],
    loss: str,
) -> list[str]:
    def at(path: Path | str) -> str:
        """A path from the folder of the configuration, as YAML."""
        return json.dumps(os.path.relpath(path, out.parent or "."), ensure_ascii=False)

    def name_of(model: str) -> str:
        return at(model) if Path(model).exists() else json.dumps(model)

    lines = [
        "# The configuration of `aitia attribute`: which rows of the data made the model show a concept?",
        "# Paths are read from the folder of this file. Every field: docs/reference/command_line.md.",
        f"out: {json.dumps(RESULTS)}  # folder for the results; run again, it goes on where it stopped",
        "model:",
        f"  name: {name_of(model) if model else 'MODEL'}  # a folder, a .gguf file, or a hub id in the local cache",
        f"  adapter: {at(adapter)}  # what training made"
        if adapter
        else "  # adapter: ADAPTER  # a PEFT adapter on it",
        "  # dtype: float32  # default: the model's own; bfloat16 is enough for a scan",
        "data:",
        f"  path: {at(data)}",
    ]
    if loss != "sft":
        lines += [
            f"  loss: {loss}  # what training does with a row of this shape",
            "  # beta: 0.1  # as the trainer had it",
        ]
    if labels:
        lines.append(
            f"  # label: {json.dumps(labels[0])}  # a true-or-false column to measure the methods against"
        )
    lines += [
        "  # truncate: true  # cut rows longer than the model's context, instead of refusing them",
        "concept:  # a direction that tells texts with the behaviour from texts without it",
        "  name: concept",
    ]
    for part in ("positive", "negative"):
        found = texts[part]
        lines.append(f"  {part}: {at(found) if found else part.upper()}")
    lines.append(
        f"  sites: [{', '.join(sites)}]  # where to look; the site that tells held-out texts apart best is taken"
        if sites
        else "  # sites: [resid_post.12]  # where to look; default: every block"
    )
    lines += [
        "rank:",
        f"  method: {DEFAULT_METHOD}  # decides the order; docs/methods.md says what each costs and is worth",
    ]
    if texts["queries"] is not None:
        lines += [
            f"  queries: {at(texts['queries'])}  # texts to measure, other than the concept's",
            "  compare: [concept-influence]  # EK-FAC influence on the concept: ten times slower",
        ]
    else:
        lines += [
            "  # queries: QUERIES  # texts to measure; with them `compare: [concept-influence]` can be asked for"
        ]
    lines += [
        "curate:",
        "  drop: 0.1  # the most influential tenth goes to removed.jsonl; nothing of yours is changed",
    ]
    return lines


def _labels(records: Records) -> list[str]:
    """Columns that are true or false, or 0 and 1, in the first rows; both must occur."""
    first = list(islice(records, 1000))
    names = dict.fromkeys(name for record in first for name in record.extra)
    found = []
    for name in names:
        values = [record.extra.get(name) for record in first]
        if all(value in (True, False) for value in values if not isinstance(value, (list, dict))) and (
            {bool(value) for value in values if isinstance(value, (bool, int))} == {True, False}
        ):
            found.append(name)
    return found


def _beside(data: Path, part: str) -> Path | None:
    """A file beside the data whose name says that it is this part."""
    folder = data.parent
    return next(
        (
            folder / f"{name}{ending}"
            for name in NAMES[part]
            for ending in _ENDINGS
            if (folder / f"{name}{ending}").is_file()
        ),
        None,
    )


def _sites(model: str | None, adapter: str | None) -> tuple[list[str], str]:
    """Sites from the middle of the model to just below its end, and a word on it; none where its shape is not known."""
    if model is None or model.endswith(".gguf"):
        return [], ""
    outline = load_outline(model, adapter=adapter)
    first, last = round(0.4 * outline.layers), max(round(0.9 * outline.layers), 1)
    step = max((last - first) // 6, 1)
    chosen = [f"resid_post.{layer}" for layer in range(first, last, step)]
    return (
        chosen,
        f"model: {outline.layers} blocks of width {outline.width}; sites {chosen[0]} to {chosen[-1]} are tried",
    )
