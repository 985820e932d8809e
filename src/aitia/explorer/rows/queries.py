"""Which rows, and in which order: filters and sorts over columns, vectorised and kept."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.errors import AitiaError
from aitia.explorer.rows.arrow import compute
from aitia.explorer.rows.columns import order_of

if TYPE_CHECKING:
    from aitia.explorer.rows.explored import ExploredRows

OPERATIONS = ("is", "is not", "at least", "at most", "contains", "percentile at least", "percentile at most")
"""What a condition may say of a column."""
_COUNTED = ("prompt_tokens", "response_tokens")
_MOST_KEPT = 24
_MOST_CONDITIONS = 20


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition on one column.

    Attributes:
        column: a column of the data, `prompt_tokens`, `response_tokens`, `id`, `location`, or the key of scores.
        operation: one of `OPERATIONS`.
        value: what it is held against.
    """

    column: str
    operation: str
    value: str | float | bool


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which rows are shown, and in which order.

    Attributes:
        text: to look for; "" for all.
        pattern: whether it is a regular expression.
        part: `prompt`, `response` or `both`.
        conditions: all of which must hold.
        among: positions of rows, of which alone rows are shown; None for all.
        sort: a column, or "" for the order of the data.
        descending: the highest first.
    """

    text: str = ""
    pattern: bool = False
    part: str = "both"
    conditions: tuple[Condition, ...] = ()
    among: tuple[int, ...] | None = None
    sort: str = ""
    descending: bool = True


def read_query(given: Any) -> Query:
    """A query from what a page sent.

    Returns:
        The query, its form checked; its columns are looked up when it is answered.

    Raises:
        AitiaError: it has another form; the message says which part.
    """
    if not isinstance(given, Mapping):
        raise AitiaError("a query must be an object")
    unknown = set(given) - set(Query.__dataclass_fields__)
    if unknown:
        raise AitiaError(f"a query has no {', '.join(sorted(unknown))!r:.80}")
    conditions = given.get("conditions") or []
    if not isinstance(conditions, list) or len(conditions) > _MOST_CONDITIONS:
        raise AitiaError(f"`conditions` must be a list of at most {_MOST_CONDITIONS}")
    text, part, sort = (given.get(name) or "" for name in ("text", "part", "sort"))
    if not all(isinstance(each, str) for each in (text, part, sort)) or len(text) > 2000:
        raise AitiaError("`text`, `part` and `sort` must be texts, of at most 2,000 characters")
    if part not in ("", "both", "prompt", "response"):
        raise AitiaError(f"`part` {part!r:.40}: choose both, prompt or response")
    among = given.get("among")
    return Query(
        text=text,
        pattern=bool(given.get("pattern")),
        part=part or "both",
        conditions=tuple(map(_condition, conditions)),
        among=None if among is None else tuple(whole_numbers(among, "among")),
        sort=sort,
        descending=bool(given.get("descending", True)),
    )


def whole_numbers(given: Any, name: str) -> list[int]:
    """A list of whole numbers from what a page sent.

    Returns:
        The numbers.

    Raises:
        AitiaError: it is something else.
    """
    if not isinstance(given, list) or not all(type(each) is int and each >= 0 for each in given):
        raise AitiaError(f"`{name}` must be a list of positions of rows")
    return given


def _condition(given: Any) -> Condition:
    if not isinstance(given, Mapping) or not {"column", "operation", "value"} <= set(given):
        raise AitiaError("a condition needs `column`, `operation` and `value`")
    column, operation, value = given["column"], given["operation"], given["value"]
    if not isinstance(column, str) or operation not in OPERATIONS:
        raise AitiaError(f"`operation` {operation!r:.40}: choose among {', '.join(OPERATIONS)}")
    if not isinstance(value, str | int | float | bool):
        raise AitiaError("`value` must be a text, a number, or true or false")
    return Condition(column=column, operation=operation, value=value)


class Answers:
    """The rows that queries found, the last ones kept, so that pages of a table cost nothing."""

    def __init__(self, rows: ExploredRows, seconds: float):
        self._rows, self._seconds = rows, seconds
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = Lock()  # several tabs ask at once

    def positions(self, query: Query) -> np.ndarray:
        """The positions of the rows that a query asks for, in its order.

        Args:
            query: what is asked.

        Returns:
            [m] int32.

        Raises:
            AitiaError: a column does not exist, or a value does not suit it.
        """
        key = json.dumps(query, default=vars, sort_keys=True)
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            order, mask = self._order(query), self.mask(query)
            found = order if mask is None else order[mask[order]]
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return found

    def mask(self, query: Query) -> np.ndarray | None:
        """[n] bool, the rows that a query asks for; None for all."""
        rows, mask = self._rows, None
        for condition in query.conditions:
            mask = _both(mask, self._holds(condition))
        if query.among is not None:
            mask = _both(mask, rows.chosen(query.among))
        if query.text:
            hit = rows.texts.matching(
                query.text, pattern=query.pattern, part=query.part, seconds=self._seconds
            )
            mask = _both(mask, hit)
        return mask

    def _order(self, query: Query) -> np.ndarray:
        if not query.sort:
            return np.arange(len(self._rows), dtype=np.int32)
        scores = self._rows.scores.get(query.sort)
        if scores is not None:
            if query.descending:
                return scores.order
            return order_of(scores.values, descending=False)
        return order_of(self._sortable(query.sort), descending=query.descending)

    def _sortable(self, name: str) -> np.ndarray:
        """A column as numbers that sort as it does."""
        values = self._rows.column(name)
        if isinstance(values, np.ndarray):
            return values.astype(np.float64)
        if self._rows.kind(name) in ("flag", "number"):
            return np.asarray(values.cast("float64").fill_null(np.nan), dtype=np.float64)
        ranks = compute().rank(values, sort_keys="ascending", tiebreaker="dense")
        return np.asarray(ranks, dtype=np.float64)

    def _holds(self, condition: Condition) -> np.ndarray:

        name, operation, value = condition.column, condition.operation, condition.value
        scores = self._rows.scores.get(name)
        if operation.startswith("percentile"):
            if scores is None:
                raise AitiaError(f"a percentile is of scores, and {name!r:.60} holds none")
            bound, values = _number(value, name), scores.percentiles
            return values >= bound if operation.endswith("least") else values <= bound
        if operation in ("at least", "at most"):
            bound = _number(value, name)
            if scores is None and self._rows.kind(name) == "words":
                raise AitiaError(f"column {name!r:.60} holds words; ask whether it is or contains one")
            values = scores.values if scores is not None else self._sortable(name)
            return values >= bound if operation == "at least" else values <= bound
        values = self._rows.column(name)
        if isinstance(values, np.ndarray) or self._rows.kind(name) == "number":
            if operation == "contains":
                raise AitiaError(f"column {name!r:.60} holds numbers; give a bound")
            same = self._sortable(name) == _number(value, name)
        elif self._rows.kind(name) == "flag":
            same = np.asarray(compute().equal(values, _flag(value, name)).fill_null(False))
        elif operation == "contains":
            return np.asarray(
                compute().match_substring(values, str(value), ignore_case=True).fill_null(False)
            )
        else:
            same = np.asarray(compute().equal(values, str(value)).fill_null(False))
        return same if operation == "is" else ~same


def _both(mask: np.ndarray | None, more: np.ndarray) -> np.ndarray:
    return more if mask is None else mask & more


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise AitiaError(f"{name}: {value!r:.60} is no number") from None


def _flag(value: Any, name: str) -> bool:
    words = {"true": True, "false": False, "1": True, "0": False}
    found = words.get(str(value).lower())
    if found is None:
        raise AitiaError(f"{name}: {value!r:.60} is neither true nor false")
    return found
