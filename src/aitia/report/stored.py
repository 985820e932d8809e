"""Documents on disk: the page, and beside it the document that it was rendered from, as JSON.

So a section is added to a page by reading its document, adding to it, and rendering it again; nobody edits HTML.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from aitia.errors import AitiaError, reason_of
from aitia.files import file_digest, read_json, write_text
from aitia.report.document import Document
from aitia.report.page import render

FORMAT = "aitia-document-v1"
_KIND = "kind"
"""Names the class of an object of the document; what is free JSON inside is never looked at."""


def write_document(document: Document, path: Path | str, *, keep: bool = False) -> Path:
    """Write the page to `path`, whole or not at all.

    Args:
        document: what to show.
        path: the HTML file; missing folders are made, an existing file is replaced.
        keep: whether the document is written too, beside the page (see `kept_beside`), for `read_document`.

    Returns:
        The path.
    """
    path = write_text(path, render(document))
    if keep:
        saved = {"format": FORMAT, "page_sha256": file_digest(path), "document": to_json(document)}
        # Keys stay in order: columns are shown as they were given.
        write_text(kept_beside(path), json.dumps(saved, indent=1, allow_nan=False) + "\n")
    return path


def kept_beside(path: Path | str) -> Path:
    """Where the document of a page is kept: `report.document.json` for `report.html`."""
    return Path(path).with_suffix(".document.json")


def read_document(path: Path | str) -> Document:
    """Read the document that a page was rendered from.

    Args:
        path: the page, which `write_document` wrote with `keep`.

    Returns:
        The document.

    Raises:
        AitiaError: no document lies beside the page, the page was changed since, or the document is damaged or of
            another version.
    """
    kept = kept_beside(path)
    try:
        saved = read_json(kept)
        if not isinstance(saved, dict) or saved.get("format") != FORMAT:
            found = saved.get("format") if isinstance(saved, dict) else None
            raise AitiaError(
                f"{kept}: format {found!r:.80}, not {FORMAT!r}; write the page again with this aitia"
            )
        if saved["page_sha256"] != file_digest(path):
            raise AitiaError(f"{path}: not the page that {kept.name} belongs to; it was changed since")
        return from_json(saved["document"])
    except FileNotFoundError:
        raise AitiaError(f"{path}: no {kept.name} lies beside it, so nothing can be added to it") from None
    except (KeyError, ValueError, RecursionError) as error:
        raise AitiaError(f"{kept}: not a document that this aitia wrote ({reason_of(error)})") from error


def to_json(value: Any) -> Any:
    """A document, or a part of one, as plain JSON; a number that is not finite becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {_KIND: type(value).__name__} | {
            each.name: to_json(getattr(value, each.name)) for each in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(value: Any) -> Document:
    """The document that `to_json` turned into JSON.

    Returns:
        The document.

    Raises:
        ValueError: it is none; the message names the place.
        AitiaError: its parts do not fit together.
    """
    return _read(Document, value, "document")


def _read(kind: Any, value: Any, place: str) -> Any:
    """A value of JSON as the type that a field declares, or an error that names the field."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _read(_one_of(inner, value, place), value, place)
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_object(kind, value, place)
    if origin is Literal and value in inner:
        return value
    if origin is Mapping and isinstance(value, dict):
        return value
    if origin in (tuple, Sequence) and isinstance(value, list):
        each = inner if origin is tuple else inner * len(value)
        if len(each) == len(value):
            return tuple(
                _read(k, v, f"{place}[{i}]") for i, (k, v) in enumerate(zip(each, value, strict=True))
            )
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{place}: {value!r:.60} is not of {getattr(kind, '__name__', kind)!s:.60}")


def _read_object(kind: type, value: Any, place: str) -> Any:
    hints = _hints(kind)
    if not isinstance(value, dict) or value.keys() != {_KIND, *hints} or value[_KIND] != kind.__name__:
        raise ValueError(f"{place}: not a {kind.__name__} with {', '.join(hints)}")
    return kind(**{name: _read(hint, value[name], f"{place}.{name}") for name, hint in hints.items()})


def _one_of(kinds: Sequence[Any], value: Any, place: str) -> Any:
    """The type among several that a value of JSON is of."""
    if isinstance(value, dict):
        found = [each for each in kinds if getattr(each, "__name__", "") == value.get(_KIND)]
    elif isinstance(value, list):
        found = [each for each in kinds if get_origin(each) in (Sequence, tuple)]
    else:
        found = [each for each in kinds if each is type(value)] or [
            each for each in kinds if each is float and type(value) is int
        ]
    if not found:
        raise ValueError(f"{place}: {value!r:.60} is nothing that stands there")
    return found[0]


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
