"""What the page asks of the opened rows, answered in plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia import __version__
from aitia.attribution import available_methods, find_scorer
from aitia.attribution.scorers import DEFAULT_METHOD
from aitia.concepts import DEFAULT_RECIPE, DIRECTIONS
from aitia.errors import AitiaError
from aitia.explorer import checks, exporting
from aitia.explorer.asking import Asking
from aitia.explorer.neighbours import nearest
from aitia.explorer.opened import Opened
from aitia.explorer.rows.columns import ScoreColumn
from aitia.explorer.rows.explored import ExploredRows
from aitia.explorer.rows.queries import OPERATIONS, Answers, read_query
from aitia.explorer.rows.shown import CELL, cut, finite, tokens_of, turns_of
from aitia.explorer.running import Runs
from aitia.explorer.settings import ExplorerSettings
from aitia.records import tokenize
from aitia.statistics import spearman

_MOST_ROWS = 500
_MOST_POINTS = 3000
_DIFFERING = 12
_NEIGHBOURS = 10
_SHARES = (0.01, 0.05, 0.1, 0.2)


class Session:
    """Answers of one explorer; everything in it is plain data, for a page."""

    def __init__(self, opened: Opened, settings: ExplorerSettings):
        self.opened, self.settings = opened, settings
        self.asking = Asking(opened.concepts, opened.autoencoders)
        self.runs = Runs(opened.configurations)
        self._answers = [Answers(rows, settings.search_seconds) for rows in opened.rows]

    def rows(self, number: int) -> ExploredRows:
        """The rows of that number.

        Returns:
            The rows.

        Raises:
            AitiaError: there are none.
        """
        if not 0 <= number < len(self.opened.rows):
            raise AitiaError(f"no rows {number}: there are {len(self.opened.rows)} stores and rankings")
        return self.opened.rows[number]

    def column(self, rows: ExploredRows, key: Any) -> ScoreColumn:
        """Scores by their key.

        Returns:
            The column.

        Raises:
            AitiaError: there are none; after a new start those that were asked are gone.
        """
        found = rows.scores.get(str(key))
        if found is None:
            raise AitiaError(f"no scores {str(key)!r:.80}; ask for them again")
        return found

    def overview(self) -> dict[str, Any]:
        """What is opened, and what may be asked."""
        opened = self.opened
        return {
            "version": __version__,
            "rows": [self._about(rows) for rows in opened.rows],
            "concepts": [
                {
                    "key": key,
                    "name": concept.name,
                    "site": concept.site,
                    "auc": None if concept.separation is None else concept.separation.auc,
                }
                for key, concept in opened.concepts.items()
            ],
            "autoencoders": list(opened.autoencoders),
            "pages": [
                {"key": key, "name": path.name, "path": str(path)} for key, path in opened.pages.items()
            ],
            "figures": list(opened.figures),
            "notices": opened.notices,
            "operations": OPERATIONS,
            "recipes": list(DIRECTIONS),
            "recipe": DEFAULT_RECIPE,
            "places": [str(place) for place in opened.places],
        }

    def _about(self, rows: ExploredRows) -> dict[str, Any]:
        store, methods = rows.store, ()
        if store is not None and rows.lacking is None:
            methods = available_methods(store)
        model = {} if store is None else store.manifest.get("model", {})
        return {
            "name": rows.name,
            "count": len(rows),
            "lacking": rows.lacking,
            "sites": [] if store is None else list(store.sites),
            "activations": [] if store is None else list(store.activations),
            "methods": [{"name": name, "about": find_scorer(name).description} for name in methods],
            "method": DEFAULT_METHOD if DEFAULT_METHOD in methods else next(iter(methods), None),
            "model": model.get("name"),
            "adapter": model.get("adapter"),
            "folder": str(rows.folder),
        }

    def columns(self, number: int) -> dict[str, Any]:
        """The columns of rows, their scores, and how far their texts are read."""
        rows = self.rows(number)
        own = [
            {"name": name, "kind": rows.kind(name), "own": True, "words": None}
            for name in rows.table.column_names
        ]
        given = [
            {
                "name": name,
                "kind": rows.kind(name),
                "own": False,
                "words": rows.texts.categories(name) if rows.kind(name) == "words" else None,
            }
            for name in rows.texts.columns
        ]
        texts = rows.texts
        return {
            "columns": own + given,
            "scores": [column.plain() for column in list(rows.scores.values())],
            "texts": {"state": texts.state, "reason": texts.reason, "read": texts.read},
            "picks": exporting.load_picks(rows),
        }

    def page(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Some rows of what a query asks for.

        Args:
            number: of the rows.
            given: `query`, `offset`, `limit`, and `columns`, those that are shown.

        Returns:
            `matched`, and `rows`, each with its cells.

        Raises:
            AitiaError: a column does not exist, or a number is out of range.
        """
        rows = self.rows(number)
        offset, limit = (
            _whole(given.get(name, usual), name) for name, usual in (("offset", 0), ("limit", 50))
        )
        positions = self._answers[number].positions(read_query(given.get("query") or {}))
        some = positions[offset : offset + min(limit, _MOST_ROWS)]
        return {
            "matched": len(positions),
            "offset": offset,
            "rows": self.cells(rows, some, given.get("columns") or []),
        }

    def cells(self, rows: ExploredRows, some: np.ndarray, shown: Any) -> list[dict[str, Any]]:
        """What the table shows of rows at some positions."""
        if not isinstance(shown, list) or len(shown) > 40:
            raise AitiaError("`columns` must be a list of at most 40 names")
        own = rows.table.take(some).to_pylist()
        texts = rows.texts.beginnings(some, CELL)
        more: dict[str, list[Any]] = {}
        for name in map(str, shown):
            scores = rows.scores.get(name)
            if scores is not None:
                percent = 100.0 * (len(rows) - scores.ranks[some] + 1) / len(rows)
                more[name] = [
                    [finite(v), float(p)] for v, p in zip(scores.values[some], percent, strict=True)
                ]
            elif name in rows.texts.columns:
                more[name] = [cut(each) for each in rows.texts.columns[name].take(some).to_pylist()]
        return [
            {
                "position": int(position),
                **each,
                **text,
                "cells": {name: values[place] for name, values in more.items()},
            }
            for place, (position, each, text) in enumerate(zip(some, own, texts, strict=True))
        ]

    def row(self, number: int, position: int) -> dict[str, Any]:
        """One row with its turns, its other columns and all its scores."""
        rows = self.rows(number)
        rows.chosen([position])
        limit, record = self.settings.text_limit, rows.texts.record(position)
        scores = [
            {
                "key": column.key,
                "title": column.title,
                "value": finite(column.values[position]),
                "rank": int(column.ranks[position]),
                "percentile": float(100.0 * (len(rows) - column.ranks[position] + 1) / len(rows)),
            }
            for column in list(rows.scores.values())
        ]
        return {
            "position": position,
            **rows.table.slice(position, 1).to_pylist()[0],
            "turns": None if record is None else turns_of(record, limit),
            "extra": {}
            if record is None
            else {name: cut(value, limit) for name, value in record.extra.items()},
            "texts": {"state": rows.texts.state, "reason": rows.texts.reason},
            "scores": scores,
        }

    def shares(self, number: int, position: int, key: Any) -> dict[str, Any]:
        """Each token of a row with its share of the row's score; the model runs once over the row."""
        rows = self.rows(number)
        rows.chosen([position])
        column, store, record = self.column(rows, key), rows.store, rows.texts.record(position)
        if column.shares is None:
            raise AitiaError(
                f"scores by {column.method} from a file have no shares of tokens; ask the concept here"
            )
        if store is None or record is None:
            raise AitiaError(
                f"shares of tokens need the text of the row: {rows.texts.reason or 'it is being read'}"
            )
        with self.asking.model_lock:
            give, model, settings = column.shares(), store.load_model(), store.manifest["settings"]
            assert rows.texts.records is not None
            row = tokenize(
                rows.texts.records.only([record.id]),
                model.tokenizer,
                max_length=settings["max_length"] or model.context_length,
                truncate=settings["truncate"],
                today=store.today,
                loss=store.loss,
            )[0]
            shares = None if give is None else give(row)
        if shares is None:
            raise AitiaError(f"a score by {column.method} has no parts by token")
        return {"tokens": tokens_of(row, shares, model.tokenizer), "score": finite(column.values[position])}

    def neighbours(self, number: int, position: int, site: str, activation: str) -> dict[str, Any]:
        """The rows whose stored activations are most like those of a row."""
        rows = self.rows(number)
        rows.chosen([position])
        if rows.store is None or rows.lacking is not None:
            raise AitiaError(f"there are no activations to compare: {rows.lacking}")
        site = site or rows.store.sites[-1]
        found = nearest(rows.store, activation or "response", site, position, count=_NEIGHBOURS)
        cells = self.cells(rows, np.array([each for each, _ in found], dtype=np.int64), [])
        return {
            "site": site,
            "rows": [cell | {"cosine": cosine} for cell, (_, cosine) in zip(cells, found, strict=True)],
        }

    def ask(self, number: int, question: Mapping[str, Any]) -> dict[str, Any]:
        """Score all rows under a concept that is made now."""
        columns = self.asking.ask(self.rows(number), question)
        return {"scores": [column.plain() for column in columns]}

    def load_model(self, number: int) -> dict[str, Any]:
        """Load the model of a store, so that the first question need not wait for it."""
        rows = self.rows(number)
        if rows.store is None or rows.lacking is not None:
            raise AitiaError(f"no concept can be asked: {rows.lacking}")
        with self.asking.model_lock:
            return {"model": rows.store.load_model().name}

    def controls(self, number: int, key: Any) -> dict[str, Any]:
        """What null directions give by the same scorer."""
        rows = self.rows(number)
        return checks.controls(rows, self.column(rows, key))

    def label(self, number: int, key: Any, label: str) -> dict[str, Any]:
        """How well scores find labelled rows."""
        rows = self.rows(number)
        return checks.label_check(rows, self.column(rows, key), label)

    def compare(self, number: int, first: Any, second: Any, query: Any) -> dict[str, Any]:
        """Two columns of scores: agreement, points to draw, and rows on which they differ most."""
        rows = self.rows(number)
        one, two = self.column(rows, first), self.column(rows, second)
        among = self._answers[number].mask(read_query(query or {}))
        there = np.isfinite(one.values) & np.isfinite(two.values)
        used = np.flatnonzero(there if among is None else there & among)
        if len(used) < 2:
            raise AitiaError("fewer than two rows have both scores; widen the filter")
        x, y, n = one.values[used], two.values[used], len(rows)
        gap = one.ranks[used].astype(np.int64) - two.ranks[used]
        order = np.argsort(gap, kind="stable")
        ends = {"first": order[:_DIFFERING], "second": order[::-1][:_DIFFERING]}
        drawn = np.unique(np.linspace(0, len(used) - 1, min(_MOST_POINTS, len(used))).astype(int))
        drawn = np.union1d(drawn, np.concatenate(list(ends.values())))
        tops = {}
        for share in _SHARES:
            count = max(1, round(share * n))
            both = np.intersect1d(one.order[:count], two.order[:count])
            tops[f"{share:g}"] = [len(both), count]
        return {
            "agreement": finite(spearman(x, y)),
            "rows": len(used),
            "points": [[int(used[i]), finite(x[i]), finite(y[i])] for i in drawn],
            "all": len(drawn) == len(used),
            "tops": tops,
            "differing": {
                name: [
                    cell | {"ranks": [int(one.ranks[cell["position"]]), int(two.ranks[cell["position"]])]}
                    for cell in self.cells(rows, used[some], [])
                ]
                for name, some in ends.items()
            },
        }

    def removal(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """What removing the chosen rows is predicted to do, by one or more scores."""
        rows = self.rows(number)
        choice = exporting.choose(rows, self._answers[number], given.get("choice") or {})
        columns = [self.column(rows, given["by"])] if given.get("by") else list(rows.scores.values())[:12]
        if not columns:
            raise AitiaError("there are no scores yet: ask a concept first")
        return {"effects": [exporting.predicted_effect(rows, choice, column) for column in columns]}

    def export(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write the curated data."""
        rows = self.rows(number)
        choice = exporting.choose(rows, self._answers[number], given.get("choice") or {})
        return exporting.write_curated(rows, choice, given.get("name"))

    def positions(self, number: int, ids: Any) -> dict[str, Any]:
        """The positions of rows by their ids; ids that no row has are left out."""
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise AitiaError("`ids` must be a list of texts")
        return {"positions": self.rows(number).positions_of(ids)}

    def save_picks(self, number: int, positions: Any) -> dict[str, Any]:
        """Keep the picked rows for a later start."""
        return {"file": exporting.save_picks(self.rows(number), positions)}

    def save_concept(self, number: int, key: Any, name: Any) -> dict[str, Any]:
        """Write the concept of scores that were asked to a file."""
        rows = self.rows(number)
        column = self.column(rows, key)
        if column.direction is None:
            raise AitiaError("these scores come from a file, and so does their concept")
        return {
            "file": str(column.direction.save(exporting.place(rows.folder, name, ".concept.safetensors")))
        }

    def figures(self, name: str) -> dict[str, Any]:
        """A scorecard, a certificate, a summary or slices, as they were written.

        Returns:
            The content of the file.

        Raises:
            AitiaError: there is none of this name.
        """
        if name not in self.opened.figures:
            raise AitiaError(f"{name!r:.80} is not among what is opened")
        return self.opened.figures[name]


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise AitiaError(f"`{name}` must be a whole number")
    return value
