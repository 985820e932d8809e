"""What a shape of rows is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Given = Mapping[str, Any]
"""A row's columns, those that are None left out."""
Fields = tuple[set[str], dict[str, Any]]
"""The columns that a shape used, and the fields of a `Record` that they give."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A shape of rows: how it is known, and what a row of it becomes.

    Attributes:
        name: its name among the choices of `ReadingSettings.shape`.
        title: what rows of it are, for people: "ShareGPT conversations (from/value)".
        needs: the columns that make it, for messages.
        fits: whether a row has these columns.
        read: the columns used and the fields of a record; raises `RecordError` with the reason alone.
    """

    name: str
    title: str
    needs: str
    fits: Callable[[Given], bool]
    read: Callable[[Given], Fields]
