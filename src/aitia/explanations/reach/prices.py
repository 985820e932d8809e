"""The price of code and data, declared here, and ours.

A node of the syntax tree costs 5 bits, a name log2 of the number of names that the function uses, an attribute 8. Whole
numbers cost what the widest of their row needs, reals 16 bits, letters 8; a row costs less where a compressor makes it
shorter. Names, comments and types cost nothing.
"""

from __future__ import annotations

import ast
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NODE_BITS, ATTRIBUTE_BITS, REAL_BITS = 5.0, 8.0, 16.0
MOST_NUMBERS = 100_000
"""Rows of more numbers are not written out in a text, and no compressor is tried on them."""
_FREE = (ast.expr_context, ast.arguments, ast.arg)


def value_bits(value: Any, names: frozenset[str] = frozenset()) -> float:
    """What plain data costs; `names` cost nothing."""
    if value is None or isinstance(value, bool | np.bool_):
        return 1.0
    if isinstance(value, int | np.integer):
        return 1.0 + float(np.ceil(np.log2(abs(int(value)) + 1)))
    if isinstance(value, float | np.floating):
        return 1.0 + min(REAL_BITS, 8.0 * len(f"{float(value):g}"))
    if isinstance(value, str | bytes):
        if value in names:
            return 0.0
        raw = value.encode() if isinstance(value, str) else value
        return 1.0 + min(8.0 * len(raw), 8.0 * len(zlib.compress(raw, 9)))
    if isinstance(value, np.ndarray):
        return _row_bits(value.ravel())
    if isinstance(value, Mapping):
        return value_bits(list(value.keys()), names) + value_bits(list(value.values()), names)
    parts = list(value)
    if parts and all(isinstance(each, int | float | np.number | np.bool_) for each in parts):
        return _row_bits(np.array(parts))
    return 1.0 + sum(value_bits(each, names) for each in parts)


def _row_bits(row: np.ndarray) -> float:
    """A row of numbers: each as wide as the widest, or what a compressor makes of all."""
    if row.dtype.kind in "US":
        return value_bits("\n".join(row.astype(str)))
    if row.size == 0:
        return 1.0
    if row.dtype.kind in "biu" or (row.size and (row == np.rint(row)).all() and np.abs(row).max() < 2**53):
        low, high = int(row.min()), int(row.max())
        header = value_bits(low) + value_bits(high)
        flat = header + row.size * float(np.log2(high - low + 1))
    else:
        header, flat = 1.0, row.size * REAL_BITS * (2.0 if row.dtype.kind == "c" else 1.0)
    if row.size > MOST_NUMBERS:
        return flat
    narrow = row.astype(np.int64) - int(row.min()) if row.dtype.kind in "biu" else row.astype(np.float16)
    packed = narrow.astype(np.min_scalar_type(int(narrow.max()))) if row.dtype.kind in "biu" else narrow
    return min(flat, header + 8.0 * len(zlib.compress(np.ascontiguousarray(packed).tobytes(), 9)))


def code_bits(tree: ast.AST, names: frozenset[str]) -> float:
    """A function's own syntax, without names, comments, documentation and types."""
    nodes = list(_nodes(tree))
    used = {each.id for each in nodes if isinstance(each, ast.Name)}
    a_name = float(np.log2(max(len(used), 2)))
    total = 0.0
    for each in nodes:
        total += NODE_BITS
        if isinstance(each, ast.Name):
            total += a_name
        elif isinstance(each, ast.Attribute | ast.keyword):
            total += ATTRIBUTE_BITS
        elif isinstance(each, ast.Constant):
            plain = each.value is not Ellipsis and not isinstance(each.value, complex)
            named = isinstance(each.value, str) and each.value in names
            total += a_name if named else value_bits(each.value) if plain else REAL_BITS
    return total


def body_of(tree: ast.AST) -> list[ast.AST]:
    """What a function does, without its arguments and decorators."""
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return list(tree.body)
    return [tree.body if isinstance(tree, ast.Lambda) else tree]


def _nodes(tree: ast.AST) -> Iterable[ast.AST]:
    """The nodes that are charged for."""
    todo = body_of(tree)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # documentation
        if not isinstance(node, _FREE):
            yield node
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "ctx", "decorator_list", "type_comment"):
                todo += [
                    each
                    for each in (value if isinstance(value, list) else [value])
                    if isinstance(each, ast.AST)
                ]
