"""Groups by name, as a user types them: `S5`, `Z97`, `D5`, `Q8`, `PSL(2,7)`, `Z7:Z3`, `A5xZ2`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce

from aitia.errors import GroupError
from aitia.finite_groups.families import (
    alternating,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    metacyclic,
    projective_special_linear,
    special_linear,
    symmetric,
)
from aitia.finite_groups.group import Group


def quaternion(order: int) -> Group:
    """The generalised quaternion group Q_8, Q_16, ...: the dicyclic group of that order."""
    if order < 8 or order & (order - 1):
        raise GroupError(f"Q{order}: the order of a quaternion group is a power of two from 8 on")
    return Group(name=f"Q{order}", table=dicyclic(order // 4).table, labels=dicyclic(order // 4).labels)


FAMILIES: dict[str, Callable[..., Group]] = {
    r"[ZC](\d+)": cyclic,
    r"D(\d+)": dihedral,
    r"S(\d+)": symmetric,
    r"A(\d+)": alternating,
    r"Q(\d+)": quaternion,
    r"Dic(\d+)": dicyclic,
    r"SL\(2,(\d+)\)": special_linear,
    r"PSL\(2,(\d+)\)": projective_special_linear,
    r"Z(\d+):Z(\d+)": metacyclic,
}
"""Pattern of the name -> the function that makes the group of those numbers."""


def named_group(name: str) -> Group:
    """The group of that name; an `x` between names makes the direct product.

    D_n has order 2n, Dic_n has order 4n, Z_n:Z_k is a Frobenius-like semidirect product (see `metacyclic`).

    Returns:
        The group.

    Raises:
        GroupError: no family has such a name, or the group would be too large.
    """
    parts = re.split(r"[x×]", name.replace(" ", ""))
    found = reduce(direct_product, [_single(part, name) for part in parts])
    return found


def _single(part: str, name: str) -> Group:
    for pattern, make in FAMILIES.items():
        if match := re.fullmatch(pattern, part):
            return make(*(int(number) for number in match.groups()))
    raise GroupError(
        f"no group is called {name!r}; names are like Z97, D5, S5, A5, Q8, Dic3, SL(2,5), PSL(2,7), Z7:Z3, A5xZ2"
    )
