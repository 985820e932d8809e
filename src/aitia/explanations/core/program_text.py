"""The text of a program, with the data and functions that it carries along: what a short program may not hide."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

MOST_NUMBERS = 100_000
"""Larger arrays are not written out: a table of the predictions is then the better bound."""


def program_text(program: Callable[..., Any]) -> str:
    """A program's source, and that of the data and functions of its own project that it refers to.

    Modules, builtins and what third-party packages bring are background. Without the data a program refers to its
    text would bound nothing: a lookup table in an outer variable would cost only its name.

    Returns:
        The text; empty where part of it cannot be had, as for an object that is neither plain data nor a function.
    """
    parts: dict[str, str] = {}
    if not inspect.isfunction(program):
        return ""
    try:
        _collect(program, parts, home=program.__module__.partition(".")[0])
    except (OSError, TypeError, ValueError):
        return ""
    return "\n".join(parts.values())


def _collect(function: FunctionType, parts: dict[str, str], *, home: str) -> None:
    """Add a function's source, then whatever it refers to, each once.

    Raises:
        TypeError: part of it is no function with a text.
        OSError: its source is not there.
    """
    parts[function.__qualname__] = textwrap.dedent(inspect.getsource(function)).rstrip()
    for name, value in _references(function).items():
        if isinstance(value, ModuleType | np.ufunc) or name in parts:
            continue
        if not (inspect.isroutine(value) or inspect.isclass(value)):
            parts[name] = f"{name}={json.dumps(value, default=_plain, separators=(',', ':'), sort_keys=True)}"
        elif (value.__module__ or "").partition(".")[0] == home:
            if not inspect.isfunction(value):
                raise TypeError(f"{name} is no function with a text")
            if value.__qualname__ not in parts:
                _collect(value, parts, home=home)


def _references(function: FunctionType) -> dict[str, Any]:
    """Outer and module-level variables that a function names, those named in its comprehensions among them."""
    outer = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    found = {name: cell.cell_contents for name, cell in outer}
    codes = [function.__code__]
    for code in codes:
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
        found |= {n: function.__globals__[n] for n in code.co_names if n in function.__globals__}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.size <= MOST_NUMBERS:
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no plain data")
