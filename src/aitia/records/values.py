"""Values of a row: what they are called in messages, and which can stand in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from aitia.errors import RecordError


def plain_json(value: Any, name: str) -> Any:
    """A value in the plain types of JSON; keys of objects that are null are left out.

    Arrow puts nulls where the objects of a list have different keys, so that a null there says nothing. Dates
    and decimal numbers become strings.

    Returns:
        Strings, numbers, booleans, None, lists and dicts.

    Raises:
        RecordError: a part of it has no form in JSON, or is no text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text_of(value, f"a string of {name}")
    if isinstance(value, Mapping):
        return {str(key): plain_json(part, name) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [plain_json(part, name) for part in value]
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, date | time | Decimal):
        return str(value)
    if hasattr(value, "tolist"):  # of NumPy
        return plain_json(value.tolist(), name)
    raise RecordError(f"{name} holds {described(value)}, which has no form in JSON")


def text_of(value: Any, name: str) -> str:
    """A string, if it is text.

    Returns:
        The string.

    Raises:
        RecordError: it is no string, or has half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise RecordError(f"{name} must be a string, not {described(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        place = error.start + 1
        raise RecordError(
            f"{name} has half of a surrogate pair at character {place}: it is no text"
        ) from error
    return value


def described(value: Any) -> str:
    """What a value is, in the words of JSON."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", int: "a whole number"}
    if value is None:
        return "null"
    return names.get(type(value), f"a {type(value).__name__}")
