"""One world, many dictionaries: a family of explanations that predict alike and are simple in different ways.

The world's objects have three attributes with eight values each, and a model that shows an object's place in the
list of all 512. A dictionary explains an object as the sum of some of its entries. From one entry an object to one an
attribute value to one a bit, entries grow fewer and more of them are active at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aitia.explanations.core import Tap
from aitia.explanations.core.explanation import Explanation, Premise
from aitia.explanations.core.model import black_box
from aitia.explanations.core.phenomenon import Phenomenon

ATTRIBUTES = 3
VALUES = 8

GROUPINGS: Mapping[str, Sequence[int]] = {
    "one entry an object": (512,),
    "one entry a pair of values": (64, 8),
    "one entry a value": (8, 8, 8),
    "one entry a half value": (4, 2, 4, 2, 4, 2),
    "one entry a bit": (2,) * 9,
}
"""How many entries each group of the dictionary has; one entry of every group is active at a time."""


def objects_phenomenon() -> Phenomenon:
    """Which object it is, for all 512."""
    size = VALUES**ATTRIBUTES
    model = black_box("objects", lambda inputs: inputs[:, 0])
    return Phenomenon(
        name="objects of three attributes",
        model=model,
        inputs=np.arange(size)[:, None],
        outcomes=[str(each) for each in range(size)],
    )


def dictionary_explanation(
    phenomenon: Phenomenon, groups: Sequence[int], name: str, *, shuffle: int | None = None
) -> Explanation:
    """A dictionary with so many entries in each group, each holding what it adds to the answer.

    Args:
        phenomenon: of `objects_phenomenon`.
        groups: sizes of the groups; their product is the number of objects.
        name: for people.
        shuffle: seed with which the objects are renumbered first, so that the dictionary has no order left;
            default: none.

    Returns:
        The explanation, one variable and one premise a group.
    """
    size = len(phenomenon.outcomes)
    bits = float(np.log2(size))
    places = np.concatenate([[1], np.cumprod(groups[::-1])[:-1]])[::-1]
    numbers = np.arange(size) if shuffle is None else np.random.default_rng(shuffle).permutation(size)
    back = np.argsort(numbers)
    premises = {
        f"{group}.{entry}": Premise(value=int(entry * place), bits=bits, variants=())
        for group, (count, place) in enumerate(zip(groups, places, strict=True))
        for entry in range(count)
    }
    if shuffle is not None:
        # With several groups the renumbering has to be distinguished from the entries.
        premises |= {
            f"number.{i}": Premise(value=int(n), bits=bits, variants=()) for i, n in enumerate(numbers)
        }

    def program(given: Mapping[str, Any], inputs: np.ndarray, _variable: Tap) -> np.ndarray:
        place_of = numbers[inputs[:, 0]]
        total = np.zeros(len(inputs), dtype=int)
        for group, (count, place) in enumerate(zip(groups, places, strict=True)):
            entries = np.array([given[f"{group}.{entry}"] for entry in range(count)])
            total += entries[place_of // place % count]
        return back[total]

    return Explanation(name=name, phenomenon=phenomenon, program=program, premises=premises, code="")


def active_entries(groups: Sequence[int]) -> int:
    """How many entries are active for one object: the sparsity that is read as parsimony."""
    return len(groups)
