"""Every scorer by name: those of aitia, those entered in this process, and those of other installed packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TypeVar

from aitia.attribution.scanning.activation_products import PromptsMissingError, RowsAlikeError
from aitia.attribution.scorers.protocol import RANKING_COLUMNS, Needs, Scorer
from aitia.errors import AitiaError, reason_of
from aitia.records.losses import LOSSES

GROUP = "aitia.scorers"
"""The group of entry points by which another package adds scorers: the name of the scorer, and its class or object."""
DEFAULT_METHOD = "activation-gradient"
"""Name of the scorer that decides the order by default."""
_OWN = "aitia"
_WORDS = ("name", "formula", "drops", "cost", "source", "positive", "description")
_DOES = ("needs", "prepare", "cost_of", "row_contrasts")
_FLAGS = ("through_concept", "baseline", "any_loss")
_ASKED = (*_WORDS, *_FLAGS, *_DOES)
_RESERVED = ("random", "all")  # what `aitia counterfactual` calls removal at random, and rows of every kind

Kind = TypeVar("Kind", bound=Callable[[], Scorer])


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A scorer, the module that entered it, and the package to name when it fails."""

    scorer: Scorer
    module: str
    package: str

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]


_entries: dict[str, _Entry] = {}


def register(scorer: Scorer) -> Scorer:
    """Enter a scorer under its name, for this process.

    Returns:
        The scorer itself.

    Raises:
        AitiaError: it lacks a part of the protocol, or another scorer has the name.
    """
    module = str(sys._getframe(1).f_globals.get("__name__", "?"))
    _enter(scorer, module)
    return scorer


def scorer(kind: Kind) -> Kind:
    """Enter an object of the decorated class, made without arguments, as `register` does."""
    made = kind()
    _enter(made, type(made).__module__)
    return kind


def scorers() -> Mapping[str, Scorer]:
    """The scorers of aitia and those entered in this process, by name, in the order of cost within a family.

    Those of other packages are loaded when they are looked up by name; `scorer_names` lists them too.

    Returns:
        Name -> scorer; a view that cannot be written to.
    """
    return MappingProxyType({name: entry.scorer for name, entry in _entries.items()})


def scorer_names() -> tuple[str, ...]:
    """The names of all scorers, those of other installed packages last; nothing is loaded."""
    return tuple(dict.fromkeys([*_entries, *(point.name for point in _points(tuple(sys.path)))]))


def find_scorer(name: str) -> Scorer:
    """Look a scorer up; one of another package is loaded now.

    Returns:
        The scorer of that name.

    Raises:
        AitiaError: there is no such scorer, two packages define it, or its package cannot be loaded.
    """  # noqa: DOC501 - `_twice` makes an AitiaError
    points = [point for point in _points(tuple(sys.path)) if point.name == name]
    entry = _entries.get(name)
    owners = [_package(point) for point in points]
    if entry is not None and all(_root(point) != entry.root for point in points):
        owners = [entry.package, *owners]
    if len(owners) > 1:
        raise _twice(name, owners[0], owners[1])
    if entry is None and points:
        return _load(points[0])
    if entry is None:
        near = get_close_matches(name, scorer_names(), n=3)
        nearest = f" (nearest: {', '.join(near)})" if near else ""
        raise AitiaError(f"method {name!r} does not exist{nearest}; choose among {', '.join(scorer_names())}")
    if points:  # a module of that package entered it itself: the package is known by its proper name
        _entries[name] = _Entry(scorer=entry.scorer, module=entry.module, package=owners[0])
    return entry.scorer


def is_baseline(name: str) -> bool:
    """Whether this is the name of a scorer that is there to be beaten; loads no other package."""
    return name in _entries and _entries[name].scorer.baseline


def goes_through_concept(name: str) -> bool:
    """Whether a ranking by this name says that its rows act through the concept's direction.

    Loads no other package: a name that is not known, as that of a ranking made elsewhere, says nothing of the kind.

    Returns:
        True only for a known scorer that says so.
    """
    return name in _entries and _entries[name].scorer.through_concept


@contextmanager
def naming_package(name: str) -> Iterator[None]:
    """Name the scorer and its package in whatever fails inside; errors of aitia's own scorers pass as they are.

    Raises:
        AitiaError: a scorer of another package failed; one line.
        PromptsMissingError: it needs prompts that the rows lack; as it was.
        RowsAlikeError: it needs rows that differ; as it was.
    """
    package = _entries[name].package if name in _entries else _OWN
    try:
        yield
    except (PromptsMissingError, RowsAlikeError):
        raise
    except Exception as error:
        if package == _OWN:
            raise
        what = reason_of(error) if isinstance(error, AitiaError) else _kind_and_reason(error)
        raise AitiaError(f"scorer {name!r} of package {package} failed: {what}") from error


@lru_cache(maxsize=8)
def _points(_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of the group, for one state of the import path."""
    return tuple(entry_points(group=GROUP))


def _package(point: EntryPoint) -> str:
    return _root(point) if point.dist is None else point.dist.name


def _root(point: EntryPoint) -> str:
    return point.module.partition(".")[0]


def _load(point: EntryPoint) -> Scorer:
    what = f"scorer {point.name!r} of package {_package(point)}"
    try:
        found = point.load()
        made = found() if isinstance(found, type) else found
        fault = _fault(made) or (None if isinstance(made.needs(), Needs) else "`needs` returns no Needs")
    except (Exception, SystemExit) as error:
        raise AitiaError(f"{what} cannot be loaded: {_kind_and_reason(error)}") from error
    if fault is None and made.name != point.name:
        fault = f"it calls itself {made.name!r}; give its entry point that name"
    if fault is not None:
        raise AitiaError(f"{what} cannot be used: {fault}")
    _entries[point.name] = _Entry(scorer=made, module=point.module, package=_package(point))
    return made


def _kind_and_reason(error: BaseException) -> str:
    kind, reason = type(error).__name__, reason_of(error)
    return reason if reason.startswith(kind) else f"{kind}: {reason}"


def _enter(scorer: Scorer, module: str) -> None:
    root = module.partition(".")[0]
    fault = _fault(scorer)
    if fault is not None:
        raise AitiaError(
            f"scorer {getattr(scorer, 'name', type(scorer).__name__)!r} of {root} cannot be used: {fault}"
        )
    before = _entries.get(scorer.name)
    if before is not None and not before.module == module == "__main__":  # a notebook's cell may run twice
        raise _twice(scorer.name, before.package, root)
    _entries[scorer.name] = _Entry(scorer=scorer, module=module, package=root)


def _fault(found: object) -> str | None:
    """What is wrong with a scorer as an object; none where it has every part of the protocol."""
    lacking = [part for part in _ASKED if not hasattr(found, part)]
    if lacking:
        return f"it lacks {', '.join(lacking)}; inherit from aitia.attribution.Scorer"
    wrong = [part for part in _WORDS if not isinstance(getattr(found, part), str)]
    wrong += [part for part in _DOES if not callable(getattr(found, part))]
    wrong += [part for part in _FLAGS if not isinstance(getattr(found, part), bool)]
    if wrong:
        return f"its {', '.join(wrong)} is not as aitia.attribution.Scorer has it"
    name = str(getattr(found, "name", ""))
    sides = {side for loss in LOSSES.values() for side in loss.sides}
    taken = name in (*RANKING_COLUMNS, *_RESERVED, *sides)
    return f"the name {name!r} is reserved; choose another" if taken or not name.strip() else None


def _twice(name: str, first: str, second: str) -> AitiaError:
    return AitiaError(
        f"scorer {name!r} is defined twice, by {first} and by {second}; rename or uninstall one of them"
    )
