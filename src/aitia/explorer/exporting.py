"""What is chosen to go: what its removal is predicted to do, the curated data, and the command that does the same."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.errors import AitiaError
from aitia.explorer.rows.queries import Answers, read_query, whole_numbers
from aitia.files import write_json
from aitia.records import split_records

if TYPE_CHECKING:
    from aitia.explorer.rows.columns import ScoreColumn
    from aitia.explorer.rows.explored import ExploredRows

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_PICKS = "picks.json"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Rows that are to go.

    Attributes:
        positions: [m] of the rows, ascending.
        column: the scores that chose them; None for rows picked by hand or by a filter.
        end: `top` or `bottom`, where scores chose.
        amount: as it was asked, `20%` or `50`, where scores chose.
    """

    positions: np.ndarray
    column: ScoreColumn | None = None
    end: str = "top"
    amount: str = ""


def choose(rows: ExploredRows, answers: Answers, given: Mapping[str, Any]) -> Choice:
    """The rows that a page asks to remove: by hand, by a filter, or one end of a ranking.

    Args:
        rows: the rows.
        answers: finds what a filter asks for.
        given: `positions`; or `query`; or `score`, `end` and `amount`.

    Returns:
        The choice.

    Raises:
        AitiaError: none of these, or more than one; or an amount that is none.
    """
    ways = [name for name in ("positions", "query", "score") if given.get(name) is not None]
    if len(ways) != 1:
        raise AitiaError("choose rows in one way: picked by hand, by the filter, or one end of a ranking")
    if ways == ["positions"]:
        mask = rows.chosen(whole_numbers(given["positions"], "positions"))
        return Choice(positions=np.flatnonzero(mask))
    if ways == ["query"]:
        return Choice(positions=np.sort(answers.positions(read_query(given["query"]))))
    column, end = rows.scores.get(str(given["score"])), given.get("end") or "top"
    if column is None:
        raise AitiaError("these scores are not there any more; ask again")
    if end not in ("top", "bottom"):
        raise AitiaError(f"`end` {end!r:.40}: choose top or bottom")
    amount = str(given.get("amount") or "")
    count = _count(amount, len(rows))
    order = column.order[np.isfinite(column.values[column.order])]
    some = order[:count] if end == "top" else order[::-1][:count]
    return Choice(positions=np.sort(some), column=column, end=end, amount=amount)


def _count(amount: str, rows: int) -> int:
    try:
        share = float(amount[:-1]) / 100 if amount.endswith("%") else None
        count = round(share * rows) if share is not None else int(amount)
    except (ValueError, OverflowError):
        raise AitiaError(f"{amount!r:.40} is neither a share (20%) nor a number of rows (20)") from None
    if not 0 <= count <= rows:
        raise AitiaError(f"{amount}: there are {rows} rows; choose from 0 to all of them")
    return count


def predicted_effect(rows: ExploredRows, choice: Choice, column: ScoreColumn) -> dict[str, Any]:
    """What removing rows is predicted to do to a concept, to first order: it takes their scores away.

    It is compared with as many rows at random: their sum has the mean m T / n, T the sum over all n rows, and the
    variance m (1 - m / n) s^2 of sampling without replacement, s^2 the variance of the scores.

    Args:
        rows: the rows.
        choice: those that go.
        column: the scores by which the effect is predicted.

    Returns:
        `removed`, `total` and `share` of the sums of scores, `random` with a 95 % range, `flags` with how many rows of
        each column of flags go, and `tokens` of responses.
    """
    values = np.where(np.isfinite(column.values), column.values, 0.0)
    n, m, total = len(values), len(choice.positions), float(values.sum())
    removed = float(values[choice.positions].sum())
    deviation = float(np.sqrt(max(m * (1 - m / n) * values.var() * n / max(n - 1, 1), 0.0))) if n else 0.0
    expected = m * total / n if n else 0.0
    positive = float(np.maximum(values, 0).sum())
    flags = {}
    for name in rows.texts.columns:
        if rows.kind(name) == "flag":
            flag = np.asarray(rows.texts.columns[name].fill_null(False))
            flags[name] = [int(flag[choice.positions].sum()), int(flag.sum())]
    tokens = np.asarray(rows.column("response_tokens"))
    return {
        "rows": n,
        "count": m,
        "removed": removed,
        "total": total,
        "positive_share": float(np.maximum(values[choice.positions], 0).sum()) / positive
        if positive
        else None,
        "random": [expected, expected - 1.96 * deviation, expected + 1.96 * deviation],
        "flags": flags,
        "tokens": [int(tokens[choice.positions].sum()), int(tokens.sum())],
        "scores": column.title,
    }


def write_curated(rows: ExploredRows, choice: Choice, name: Any) -> dict[str, Any]:
    """Write the rows that stay and those that go, each untouched, beside what is opened; nothing is written over.

    Args:
        rows: of a store whose data are at hand.
        choice: the rows that go.
        name: of the files.

    Returns:
        `files`, how many rows are in each, and `commands`, which do the same.

    Raises:
        AitiaError: the name is none, its files are there, or the data are not at hand.
    """
    if rows.store is None or rows.texts.records is None:
        raise AitiaError(
            f"the data are not at hand: {rows.texts.reason or 'their texts are being read; try again soon'}"
        )
    data = rows.store.load_records()
    ending = data.ending
    kept, removed = (place(rows.folder, name, f".{part}{ending}") for part in ("kept", "removed"))
    gone = rows.ids(choice.positions)
    if len(gone) == len(data):
        raise AitiaError("all rows would go; choose fewer")
    split = split_records(data, gone, kept=kept, removed=removed)
    files = {"kept": str(split.kept), "removed": str(split.removed)}
    files |= {"left out": str(split.left_out)} if split.skipped else {}
    commands = _commands(rows, choice, name, gone, files)
    return {"files": files, "kept": split.rows_kept, "removed": split.rows_removed, "commands": commands}


def _commands(
    rows: ExploredRows, choice: Choice, name: str, gone: list[str], files: dict[str, str]
) -> list[str]:
    assert rows.store is not None
    store, column = rows.store, choice.column
    source = ", ".join(map(str, store.load_records().sources))
    lines, ranking = [], None if column is None or not column.about.get("first") else column.file
    if column is not None and column.direction is not None:
        concept = column.direction.save(place(rows.folder, name, ".concept.safetensors"))
        files["concept"] = str(concept)
        ranking = rows.folder / f"{name}.ranking.parquet"
        made = [store.path, concept, column.method, ranking]
        lines.append(_line("aitia rank --store {} --concept {} --method {} --out {}", made))
    if ranking is not None:
        asked = [source, ranking, choice.amount, choice.end, files["kept"], files["removed"]]
        lines.append(
            _line("aitia curate --data {} --ranking {} --drop {} --from {} --out {} --removed {}", asked)
        )
        return lines
    listed = write_json(place(rows.folder, name, ".rows.json"), {"removed": gone})
    files["rows"] = str(listed)
    code = (
        f"import json, aitia; data = aitia.read_records({source!r}); "
        f"gone = json.load(open({str(listed)!r}))['removed']; data.without(gone).write({files['kept']!r})"
    )
    return [shlex.join(["python", "-c", code])]


def _line(command: str, values: Sequence[object]) -> str:
    """A command with its values, each quoted where a shell would take it apart."""
    return command.format(*(shlex.quote(str(value)) for value in values))


def place(folder: Path, name: Any, ending: str) -> Path:
    """A new file in the explorer's folder.

    Returns:
        Its path; nothing is there yet.

    Raises:
        AitiaError: the name is no plain name, or a file has it.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or ".." in name:
        raise AitiaError("give a name of letters, digits, `.`, `_` and `-`, of at most 60 characters")
    found = folder / f"{name}{ending}"
    if found.exists():
        raise AitiaError(f"{found}: is there already; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    return found


def save_picks(rows: ExploredRows, given: Any) -> str:
    """Keep the rows that were picked, by their ids, in a file that a later start reads; the earlier ones are replaced.

    Returns:
        The file.

    Raises:
        AitiaError: a position is beyond the rows.
    """
    positions = whole_numbers(given, "positions")
    rows.chosen(positions)
    rows.folder.mkdir(parents=True, exist_ok=True)
    return str(write_json(rows.folder / _PICKS, {"rows": rows.name, "ids": rows.ids(positions)}))


def load_picks(rows: ExploredRows) -> list[int]:
    """Positions of the rows that were kept; those that are not among the rows any more are left out."""
    try:
        with (rows.folder / _PICKS).open(encoding="utf-8") as file:
            ids = [str(each) for each in json.load(file)["ids"]]
        return rows.positions_of(ids)
    except (OSError, ValueError, KeyError, TypeError):
        return []
