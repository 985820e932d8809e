"""What a program reaches: its code, the functions it calls, and all the data that it can read.

A short program may not hide what it says elsewhere: in outer variables, default arguments, attributes of functions,
objects, classes or modules, or inside a bound method. So the walk starts at the program and follows what its syntax
tree names. Builtins, the standard library and installed packages are background. What cannot be followed is named, and
then nothing bounds the program's length: files that are read, text that is evaluated, objects without visible parts.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aitia.explanations.reach.prices import MOST_NUMBERS, body_of, code_bits, value_bits
from aitia.explanations.reach.sources import source_of

HIDES = frozenset(
    {"open", "eval", "exec", "compile", "__import__", "globals", "locals", "vars", "getattr", "input"}
    | {"import_module", "load", "loadtxt", "genfromtxt", "fromfile", "memmap", "read_text", "read_bytes"}
)
"""What a program can read through that no walk can follow."""
_LIBRARIES = tuple({sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")})


@dataclass(eq=False)
class Reach:
    """What programs reach.

    Attributes:
        functions: code -> its syntax tree and its text.
        data: (what it is called, the value) of all data reached.
        unread: what could not be followed, in a few words.
        models: names of the models that are run.
        names: strings that cost nothing: what premises and variables are called.
    """

    functions: dict[types.CodeType, tuple[ast.AST, str]] = field(default_factory=dict)
    data: list[tuple[str, Any]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    names: frozenset[str] = frozenset()
    seen: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def bits(self) -> float:
        """What the code and the data cost."""
        code = sum(code_bits(tree, self.names) for tree, _ in self.functions.values())
        return code + sum(value_bits(value, self.names) for _, value in self.data)

    @property
    def text(self) -> str:
        """The code and the data, written out; empty where part of it could not be followed or is too long."""
        if self.unread or self.models or not self.functions:
            return ""
        parts = [text for _, text in self.functions.values()]
        try:
            parts += [
                f"{name}={json.dumps(value, default=_plain, separators=(',', ':'), sort_keys=True)}"
                for name, value in self.data
            ]
        except (TypeError, ValueError):
            return ""
        return "\n".join(parts)


def reach(*roots: Any, background: Iterable[Any] = (), names: Iterable[str] = ()) -> Reach:
    """What functions and values reach.

    Args:
        roots: programs, maps, values of premises.
        background: objects that are taken as known.
        names: strings that cost nothing.

    Returns:
        Their code, their data, and what could not be followed.
    """
    found = Reach(names=frozenset(names))
    for each in background:
        found.seen[id(each)] = each
    home = {each.__module__.partition(".")[0] for each in roots if isinstance(each, types.FunctionType)}
    for each in roots:
        _follow(found, getattr(each, "__name__", "value"), each, home)
    return found


def program_text(program: Callable[..., Any]) -> str:
    """A program's text, with all the code and data that it reaches; empty where part of it cannot be had."""
    return reach(program).text


def _follow(found: Reach, name: str, value: Any, home: set[str]) -> None:
    """Add what one value is and reaches, once."""
    if _is_plain(value):
        if isinstance(value, np.ndarray | list | tuple | dict | set | frozenset):
            if id(value) in found.seen:
                return
            found.seen[id(value)] = value
        found.data.append((name, sorted(value, key=repr) if isinstance(value, set | frozenset) else value))
    elif isinstance(value, types.MethodType):
        if _is_model(value.__self__) or _is_background(value.__func__, home):
            _follow(found, name, value.__self__, home)  # what a known method reads of its object is not known
        else:
            _follow_function(found, value.__func__, home, value.__self__)
    elif isinstance(value, types.ModuleType | np.ufunc | np.random.Generator | np.dtype):
        return
    elif id(value) not in found.seen:
        found.seen[id(value)] = value  # keeps it alive, so that its id stays its own
        if isinstance(value, types.FunctionType):
            _follow_function(found, value, home)
        elif callable(getattr(type(value), "intervene", None)) and callable(
            getattr(type(value), "trace", None)
        ):
            found.models.append(str(getattr(value, "name", type(value).__name__)))
        else:
            _follow_object(found, name, value, home)


def _follow_object(found: Reach, name: str, value: Any, home: set[str]) -> None:
    """The parts of a collection, a class, or an object that is used as a whole."""
    parts: Iterable[tuple[str, Any]]
    if isinstance(value, functools.partial):
        parts = ((name, each) for each in (value.func, value.args, value.keywords))
    elif "__wrapped__" in getattr(value, "__dict__", ()):
        parts = [(name, value.__wrapped__)]
    elif isinstance(value, Mapping):
        parts = ((name, each) for each in (*value.keys(), *value.values()))
    elif isinstance(value, list | tuple | set | frozenset) or (
        isinstance(value, np.ndarray) and value.dtype == object
    ):
        parts = ((name, each) for each in (value.ravel() if isinstance(value, np.ndarray) else value))
    elif isinstance(value, type):
        own = {} if _is_background(value, home) else vars(value)
        parts = ((f"{name}.{key}", each) for key, each in own.items() if _is_own(key, each))
    elif isinstance(value, staticmethod | classmethod):
        parts = [(name, value.__func__)]
    elif isinstance(value, property | functools.cached_property):
        parts = [(name, value.fget if isinstance(value, property) else value.func)]
    elif callable(getattr(type(value), "numel", None)):
        tensor: Any = value
        parts = [(name, np.asarray(tensor.detach().cpu().numpy()))]
    elif inspect.isbuiltin(value) or isinstance(value, types.MethodWrapperType):
        owner = getattr(value, "__self__", None)
        bound = owner is not None and not isinstance(owner, types.ModuleType | type)
        parts = [(name, owner)] if bound else []
    elif hasattr(value, "__dict__"):
        parts = [*((f"{name}.{key}", each) for key, each in vars(value).items()), (name, type(value))]
    else:
        found.unread.append(f"{name}, a {type(value).__name__}")
        return
    for key, part in parts:
        _follow(found, key, part, home)


def _is_own(key: str, value: Any) -> bool:
    """Whether an entry of a class was written there, rather than made by the language."""
    made = isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType)
    return not made and (not key.startswith("__") or key in ("__init__", "__call__", "__getitem__"))


def _follow_function(found: Reach, function: types.FunctionType, home: set[str], owner: Any = None) -> None:
    """A function's code, and what its syntax tree names; `owner`: the object that it is a method of."""
    key = (function.__code__, id(owner), tuple(map(id, function.__closure__ or ())))
    if key in found.seen:
        return
    found.seen[key] = (owner, function)
    if _is_background(function, home):
        # Its code is known; what it was made with is not.
        for name, cell in _closure(function).items():
            _follow(found, name, cell, home)
        return
    for name, part in vars(function).items():
        _follow(found, f"{function.__name__}.{name}", part, home)
    for part in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        _follow(found, f"default of {function.__name__}", part, home)
    tree, text = source_of(function)
    if tree is None:
        found.unread.append(f"the text of {function.__name__}")
        return
    found.functions[function.__code__] = (tree, text)
    known = _scope_of(function, tree)
    if owner is not None and function.__code__.co_varnames:
        known[function.__code__.co_varnames[0]] = owner
    todo = body_of(tree)
    while todo:
        node = todo.pop()
        called = getattr(node, "id", None) or getattr(node, "attr", None)
        if called in HIDES and (isinstance(node, ast.Attribute) or called not in known):
            found.unread.append(f"what {function.__name__} reads by {called}")
        if isinstance(node, ast.Name | ast.Attribute):
            name, value = _resolve(node, known)
            if value is not _resolve:
                _follow(found, name, value, home)
                continue  # what it is an attribute of is reached through it alone
        todo += ast.iter_child_nodes(node)


def _scope_of(function: types.FunctionType, tree: ast.AST) -> dict[str, Any]:
    """Every outer name that a function can read: of its closure, its module, and what it imports."""
    known = dict(function.__globals__) | _closure(function)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                first = each.name if each.asname else each.name.partition(".")[0]
                known[each.asname or first] = sys.modules.get(first)
        elif isinstance(node, ast.ImportFrom) and node.module in sys.modules:
            for each in node.names:
                known[each.asname or each.name] = getattr(sys.modules[node.module], each.name, None)
    bound = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    free = set(function.__code__.co_freevars)
    return {name: value for name, value in known.items() if name in free or name not in bound}


def _closure(function: types.FunctionType) -> dict[str, Any]:
    """Outer variables that a function refers to."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not yet set
            continue
    return found


def _resolve(node: ast.Name | ast.Attribute, known: Mapping[str, Any]) -> tuple[str, Any]:
    """The value that a name or a chain of attributes stands for; this very function where that is not known."""
    if isinstance(node, ast.Name):
        return node.id, known.get(node.id, _resolve)
    if not isinstance(node.value, ast.Name | ast.Attribute):
        return "", _resolve
    name, owner = _resolve(node.value, known)
    if owner is _resolve:
        return "", _resolve
    if _is_plain(owner):
        return name, owner  # a method of plain data
    if isinstance(owner, types.ModuleType):
        return f"{name}.{node.attr}", getattr(owner, node.attr, owner)
    found = inspect.getattr_static(owner, node.attr, _resolve)
    if isinstance(found, property | functools.cached_property) and not isinstance(owner, type):
        own = vars(owner).get(node.attr) if hasattr(owner, "__dict__") else None
        getter = found.fget if isinstance(found, property) else found.func
        found = own if own is not None else types.MethodType(getter, owner) if getter else _resolve
    elif isinstance(found, types.FunctionType) and not isinstance(owner, type | types.FunctionType):
        in_class = node.attr not in getattr(owner, "__dict__", ())
        found = types.MethodType(found, owner) if in_class else found
    # What cannot be found on an object is reached through all of the object.
    return (name, owner) if found is _resolve else (f"{name}.{node.attr}", found)


def _is_background(value: Any, home: set[str]) -> bool:
    """Whether a function or class comes with the language or an installed package that the programs are no part of."""
    module = getattr(value, "__module__", None) or "builtins"
    if module.partition(".")[0] in home:
        return False
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return "<locals>" not in value.__qualname__
    where = getattr(sys.modules.get(module), "__file__", None)
    return (
        module == "builtins"
        or (where is None and module in sys.builtin_module_names)
        or (where is not None and where.startswith(_LIBRARIES))
    )


def _is_model(value: Any) -> bool:
    """Whether it can be run and intervened on."""
    kind = type(value)
    return callable(getattr(kind, "intervene", None)) and callable(getattr(kind, "trace", None))


def _is_plain(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return True
    if isinstance(value, np.ndarray):
        return value.dtype != object
    if isinstance(value, dict):
        return all(_is_plain(each) for pair in value.items() for each in pair)
    return isinstance(value, list | tuple | set | frozenset) and all(_is_plain(each) for each in value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.size <= MOST_NUMBERS:
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} is no plain data")
