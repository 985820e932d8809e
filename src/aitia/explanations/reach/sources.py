"""The syntax tree and the text of a function, from the file that it was written in."""

from __future__ import annotations

import ast
import functools
import linecache
import types
from typing import Any


@functools.lru_cache(maxsize=64)
def _trees(path: str, lines: tuple[str, ...]) -> dict[int, list[ast.AST]]:
    """Line -> the functions of a file that begin there."""
    found: dict[int, list[ast.AST]] = {}
    try:
        whole = ast.parse("".join(lines), filename=path)
    except SyntaxError:
        return found
    for node in ast.walk(whole):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            marks = getattr(node, "decorator_list", [])
            found.setdefault(min([node.lineno, *(each.lineno for each in marks)]), []).append(node)
    return found


def source_of(function: types.FunctionType) -> tuple[ast.AST | None, str]:
    """A function's syntax tree and text, from its file; none where that is not at hand."""
    code = function.__code__
    lines = tuple(linecache.getlines(code.co_filename))
    if not lines:
        return None, ""
    kind = ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef | ast.AsyncFunctionDef
    at = [
        each
        for each in _trees(code.co_filename, lines).get(code.co_firstlineno, [])
        if isinstance(each, kind)
    ]
    if len(at) > 1:
        places = [each for each in code.co_positions() if each[2] is not None and each[0] is not None]
        at = [each for each in at if _holds(each, places)]
    if len(at) != 1:
        return None, ""
    return at[0], ast.get_source_segment("".join(lines), at[0]) or ""


def _holds(node: Any, places: list[tuple[int | None, ...]]) -> bool:
    """Whether all instructions of a lambda lie in a node's body, and none of its arguments do."""
    body = node.body
    if isinstance(body, list):
        return True
    start, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    spots = [((a, c), (b, d)) for a, b, c, d in places if b is not None and (a, c) != (b, d)]
    return all(start <= low and high <= end for low, high in spots if low[0] is not None)
