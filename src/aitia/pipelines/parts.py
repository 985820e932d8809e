"""Parts of a configuration: checked by pydantic, and made from the settings classes of the rooms.

A settings class stands in a configuration as it is (`Annotated[Engine, whole]`), or lends a part some of its fields
(`part_of(ScanSettings, skip=("sites",))`), where the part has paths and names besides or the rest is said elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, is_dataclass
from difflib import get_close_matches
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from aitia.errors import AitiaError
from aitia.settings import Above, AtLeast, AtMost, Below, Setting, described

S = TypeVar("S")
_LENT = "__lent__"
_KEYWORDS = {
    AtLeast: "minimum",
    AtMost: "maximum",
    Above: "exclusiveMinimum",
    Below: "exclusiveMaximum",
}


class Part(BaseModel):
    """A part of a configuration: frozen, and without fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    def take(self, kind: type[S], **rest: Any) -> S:
        """The settings of a class that lends this part its fields.

        Args:
            kind: the class.
            rest: its fields that this part does not have.

        Returns:
            An object of that class.
        """
        lent = {name: getattr(self, key) for name, key in _lent(type(self)).get(kind, {}).items()}
        return kind(**lent, **rest)

    @model_validator(mode="after")
    def _fits(self) -> Part:
        """Whether the fields that belong to a settings class fit together."""
        for kind, keys in _lent(type(self)).items():
            must = {each.name for each in described(kind) if each.default is MISSING}
            if must <= set(keys):
                _in_place(lambda kind=kind: self.take(kind))
        return self


def part_of(
    kind: type,
    *,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    keys: Mapping[str, str] | None = None,
) -> Any:
    """A kind of part with fields of a settings class: their types, defaults, bounds, choices and descriptions.

    Args:
        kind: the settings class.
        only: the fields that are lent; empty for all.
        skip: fields that are not.
        keys: field -> the key that it has in the configuration, where that differs.

    Returns:
        A Pydantic class, to inherit from.
    """
    taken = [each for each in described(kind) if each.name not in skip and (not only or each.name in only)]
    named = {each.name: (keys or {}).get(each.name, each.name) for each in taken}
    fields: dict[str, Any] = {named[each.name]: _field(each) for each in taken}
    made = create_model(f"{kind.__name__}Part", __base__=Part, __doc__=_first_line(kind), **fields)
    setattr(made, _LENT, (kind, named))
    return made


def nearest(name: str, known: Collection[str]) -> str:
    """The known name that a wrong one is most like, as a question; else all that are known."""
    found = get_close_matches(name, known, 1)
    if found:
        return f"did you mean {found[0]}?"
    return f"choose among {', '.join(known)}" if known else "leave it out"


def known_at(kind: Any, place: Collection[str | int]) -> tuple[str, ...]:
    """The names of the fields at a place of a configuration; empty where it has none."""
    for name in place:
        kind = _plain(kind)
        if _is_part(kind):
            field = kind.model_fields.get(str(name))
            kind = None if field is None else field.annotation
        else:  # of a dict the values, of a tuple the elements
            inner = get_args(kind)
            kind = inner[get_origin(kind) is dict] if inner else None
    kind = _plain(kind)
    if _is_part(kind):
        return tuple(kind.model_fields)
    return tuple(each.name for each in described(kind)) if is_dataclass(kind) else ()


def _whole(kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    part = _whole_part(kind)
    inner = core_schema.no_info_before_validator_function(
        lambda value: asdict(value) if isinstance(value, kind) else value, handler.generate_schema(part)
    )
    return core_schema.no_info_after_validator_function(
        lambda found: found.take(kind),
        inner,
        serialization=core_schema.plain_serializer_function_ser_schema(asdict),
    )


whole = GetPydanticSchema(_whole)
"""Annotates a field of a configuration whose type is a settings class."""


@cache
def _whole_part(kind: type) -> Any:
    return part_of(kind)


def _lent(part: type) -> dict[Any, dict[str, str]]:
    """Settings class -> its fields that a part has, each with its key."""
    return dict(vars(base)[_LENT] for base in part.__mro__ if _LENT in vars(base))


def _field(setting: Setting) -> Any:
    bounds: Any = {word: each.limit for each in setting.bounds if (word := _KEYWORDS.get(type(each)))}
    about: Any = Field(description=setting.help, json_schema_extra=None if setting.several else bounds)
    kind = (
        setting.type if setting.choices else Annotated[setting.type, AfterValidator(partial(_right, setting))]
    )
    return Annotated[kind, about], ... if setting.default is MISSING else setting.default


def _right(setting: Setting, value: Any) -> Any:
    said = setting.problem(value)
    if said is not None:
        raise PydanticCustomError("setting", "{said}", {"said": said})
    return value


def _in_place(make: Any) -> None:
    """Have pydantic say where in the configuration an error is."""
    try:
        make()
    except AitiaError as error:
        raise ValueError(str(error)) from None


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _plain(kind: Any) -> Any:
    """A type without `| None`."""
    if get_origin(kind) in (Union, UnionType):
        return next(each for each in get_args(kind) if each is not NoneType)
    return kind
