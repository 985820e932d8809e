"""Settings say what they are: bounds, choices and descriptions, read from the class and nowhere else."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aitia.errors import AitiaError, NetworkError
from aitia.settings import Above, AtLeast, AtMost, Below, Count, Seed, check, described


@dataclass(frozen=True, kw_only=True)
class Oven:
    """Settings of an oven.

    Attributes:
        name: name of the
            oven.
        heat: heat in degrees: a number.
        mode: way of heating.
        trays: trays that are used.
        parts: parts of it.
        share: share of the power.
        loud: whether it rings.

    It has no clock: none at all.
    """

    name: str
    heat: Annotated[float, AtLeast(0), Below(300)] = 20.0
    mode: Literal["air", "grill"] = "air"
    trays: Annotated[tuple[int, ...], AtLeast(1)] = (1,)
    parts: tuple[Literal["door", "lamp"], ...] = ("door",)
    share: Annotated[tuple[float, float], Above(0), AtMost(1)] = (0.5, 1.0)
    loud: bool = False
    minutes: Count = 5
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self, "oven", NetworkError)


def test_a_class_is_described_by_itself():
    found = {each.name: each for each in described(Oven)}
    assert [*found] == [each.name for each in dataclasses.fields(Oven)]
    assert found["name"].help == "Name of the oven."
    assert found["heat"].help == "Heat in degrees: a number."
    assert found["loud"].help == "Whether it rings."
    assert found["minutes"].help == ""
    assert found["name"].default is dataclasses.MISSING
    assert found["heat"].type is float
    assert found["heat"].default == 20.0
    assert found["heat"].range == "at least 0 and below 300"
    assert found["mode"].choices == ("air", "grill")
    assert found["parts"].choices == ("door", "lamp")
    assert [name for name, each in found.items() if each.several] == ["trays", "parts", "share"]
    assert found["seed"].range == "at least 0 and at most 2,147,483,647"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"heat": -1}, "oven heat -1: must be at least 0 and below 300"),
        ({"heat": 300}, "oven heat 300: must be at least 0 and below 300"),
        ({"heat": float("nan")}, "oven heat nan: must be a finite number"),
        ({"heat": "hot"}, "oven heat 'hot': must be a number"),
        ({"heat": True}, "oven heat True: must be a number"),
        ({"minutes": 0}, "oven minutes 0: must be at least 1"),
        ({"minutes": 1.5}, "oven minutes 1.5: must be a whole number"),
        ({"minutes": None}, "oven minutes None: must be a whole number"),
        ({"mode": "steam"}, "oven mode 'steam': choose among air, grill"),
        ({"mode": ["air"]}, r"oven mode \['air'\]: choose among air, grill"),
        ({"parts": ("door", "leg")}, r"oven parts \('door', 'leg'\): choose among door, lamp"),
        ({"parts": "door"}, "oven parts 'door': must be a list"),
        ({"trays": (1, 0)}, r"oven trays \(1, 0\): must be at least 1"),
        ({"share": (0.5,)}, r"oven share \(0.5,\): must be 2 values"),
        ({"share": (0.0, 1.0)}, r"oven share \(0.0, 1.0\): must be above 0 and at most 1"),
        ({"loud": 1}, "oven loud 1: must be true or false"),
        ({"name": 3}, "oven name 3: must be text"),
        ({"heat": -1, "minutes": 0}, "oven heat -1: .*; oven minutes 0: must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(wrong, said):
    with pytest.raises(NetworkError, match=f"^{said}$"):
        Oven(**{"name": "o"} | wrong)


def test_what_is_right_is_kept():
    found = Oven(name="", heat=np.float32(2), trays=[1, 2], minutes=np.int64(3), seed=2**31 - 1, loud=True)
    assert (found.heat, found.minutes, found.trays) == (2, 3, [1, 2])


BOUNDS = {AtLeast: "__ge__", Above: "__gt__", AtMost: "__le__", Below: "__lt__"}


@given(
    st.sampled_from([*BOUNDS]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_bound_holds_as_its_comparison_does(bound, limit, value):
    assert bound(limit).holds(value) is getattr(float(value), BOUNDS[bound])(limit)
    assert bound(limit).holds(limit) is (bound in (AtLeast, AtMost))


def test_the_error_is_aitias_own_by_default():
    @dataclass(frozen=True)
    class Plain:
        many: Count = 0

    with pytest.raises(AitiaError, match="^many 0: must be at least 1$"):
        check(Plain())
