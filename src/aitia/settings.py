"""Settings: what can be set about an act, in one frozen dataclass, in the room that does the act.

A field's default and bounds are written in the class, and what it means in the class's docstring, under `Attributes:`.
Configurations and the command line read all of it from there with `described`, so that none of it is written twice.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from aitia.errors import AitiaError


@dataclass(frozen=True)
class Bound:
    """A bound of a number, or of each number of several. It stands beside the type: `Annotated[int, AtLeast(1)]`."""

    limit: float
    words: ClassVar[str]

    def holds(self, value: float) -> bool:
        """Whether a number keeps the bound."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.words} {self.limit:g}" if abs(self.limit) < 1e6 else f"{self.words} {self.limit:,}"


class AtLeast(Bound):
    """No smaller than the limit."""

    words = "at least"

    def holds(self, value: float) -> bool:
        """Whether a number keeps the bound."""
        return value >= self.limit


class Above(Bound):
    """Greater than the limit."""

    words = "above"

    def holds(self, value: float) -> bool:
        """Whether a number keeps the bound."""
        return value > self.limit


class AtMost(Bound):
    """No greater than the limit."""

    words = "at most"

    def holds(self, value: float) -> bool:
        """Whether a number keeps the bound."""
        return value <= self.limit


class Below(Bound):
    """Smaller than the limit."""

    words = "below"

    def holds(self, value: float) -> bool:
        """Whether a number keeps the bound."""
        return value < self.limit


Seed = Annotated[int, AtLeast(0), AtMost(2**31 - 1)]
"""A seed that NumPy and torch take."""
Count = Annotated[int, AtLeast(1)]
"""A whole number of at least 1."""
CountOrAll = Annotated[int, AtLeast(0)]
"""A whole number, where 0 has a meaning of its own."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A field of a settings class.

    Attributes:
        name: the field's name.
        type: its type, without the bounds.
        default: its default; `dataclasses.MISSING` where it must be given.
        help: what it means, as the class's docstring says.
        bounds: what a number must keep.
        choices: the words among which it is chosen, or each of several; empty where it is no choice.
    """

    name: str
    type: Any
    default: Any
    help: str
    bounds: tuple[Bound, ...]
    choices: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether the setting is a tuple of values."""
        return get_origin(self.type) is tuple

    @property
    def range(self) -> str:
        """The bounds in words."""
        return " and ".join(map(str, self.bounds))

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, in words that follow it; none where it is right."""
        if not self.several:
            return self._problem(value, self.type)
        if isinstance(value, str) or not isinstance(value, Sequence):
            return "must be a list"
        inner = get_args(self.type)
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            return f"must be {len(inner)} values"
        return next((said for each in value if (said := self._problem(each, inner[0])) is not None), None)

    def _problem(self, value: Any, kind: Any) -> str | None:
        if self.choices:
            return None if value in self.choices else f"choose among {', '.join(self.choices)}"
        if kind is bool:
            return None if isinstance(value, bool) else "must be true or false"
        if kind is str:
            return None if isinstance(value, str) else "must be text"
        if kind not in (int, float):
            return None
        if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
            return "must be a whole number" if kind is int else "must be a number"
        if not math.isfinite(value):
            return "must be a finite number"
        if all(bound.holds(float(value)) for bound in self.bounds):
            return None
        return f"must be {self.range}"


@cache
def described(kind: type) -> tuple[Setting, ...]:
    """Every field of a settings class, in their order."""
    hints, helps = get_type_hints(kind, include_extras=True), _helps(kind)
    return tuple(_setting(each.name, hints[each.name], each.default, helps) for each in fields(kind))


def check(settings: Any, what: str = "", error: type[AitiaError] = AitiaError) -> None:
    """Refuse settings that break a bound or are not among the choices; for `__post_init__`.

    Args:
        settings: an instance of a settings class.
        what: said before the field's name, as `curvature`.
        error: raised.

    Raises:
        AitiaError: every field that is wrong is named.
    """
    wrong = []
    for each in described(type(settings)):
        value = getattr(settings, each.name)
        said = each.problem(value)
        if said is not None:
            shown = value if isinstance(value, Real) else repr(value)
            wrong.append(f"{what} {each.name} {shown}: {said}".strip())
    if wrong:
        raise error("; ".join(wrong))


def _setting(name: str, hint: Any, default: Any, helps: dict[str, str]) -> Setting:
    bare, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    inner = get_args(bare)[0] if get_origin(bare) is tuple else bare
    return Setting(
        name=name,
        type=bare,
        default=MISSING if default is MISSING else default,
        help=helps.get(name, ""),
        bounds=tuple(each for each in notes if isinstance(each, Bound)),
        choices=get_args(inner) if get_origin(inner) is Literal else (),
    )


def _helps(kind: type) -> dict[str, str]:
    """Field -> what the class's docstring says of it under `Attributes:`, as a sentence."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in listed.splitlines():
        start = re.match(r" {4}(\w+): (.*)", line)
        if start is not None:
            name = start[1]
            found[name] = start[2][:1].upper() + start[2][1:]
        elif line.startswith(" " * 8):
            found[name] += " " + line.strip()
        elif line.strip():
            break
    return found
