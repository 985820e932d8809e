"""Actions as certificates give them: extended from generators, refused where they are none."""

import numpy as np
import pytest

from aitia.errors import ProofError
from aitia.finite_groups import coset_action, named_group, subgroup_classes
from aitia.proofs.actions import action_of
from aitia.proofs.cost import Cost
from aitia.proofs.finding.numbers import action_entry


@pytest.mark.parametrize("name", ["S4", "Q8", "D5", "Z12", "A5"])
def test_the_extension_is_the_action(name):
    group = named_group(name)
    for members in subgroup_classes(group):
        action = coset_action(group, members)
        assert (action_of(group.table, action_entry(action), "set", Cost()) == action.permutations).all()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"generators": [0]}, "one list of images"),
        ({"generators": [0, 0]}, "do not generate"),
        ({"images": [[0, 1, 2], [0, 1]]}, "list of 3 integers"),
        ({"images": [[0, 1, 1], [0, 1, 2]]}, "does not permute"),
        ({"images": [[0, 1, 3], [0, 1, 2]]}, "no integer from 0 to 2"),
        ({"images": [[1, 2, 0], [1, 2, 0]]}, "no action"),
        ({"images": [[1.0, 2, 0], [1, 2, 0]]}, "no integer"),
        ({"images": 3}, "list"),
    ],
)
def test_what_is_no_action_is_refused(change, message):
    group = named_group("S3")
    action = coset_action(group, next(m for m in subgroup_classes(group) if len(m) == 2))
    entry = action_entry(action)
    assert len(entry["generators"]) == 2
    with pytest.raises(ProofError, match=message):
        action_of(group.table, entry | change, "set 0", Cost())
    with pytest.raises(ProofError):
        action_of(group.table, [entry], "set 0", Cost())


def test_swapped_images_are_found_whatever_is_swapped():
    """Every transposition of two entries of a generator's images breaks the action of S4 on four points."""
    group = named_group("S4")
    entry = action_entry(coset_action(group, next(m for m in subgroup_classes(group) if len(m) == 6)))
    right = action_of(group.table, entry, "set", Cost())
    for row in range(len(entry["images"])):
        for i, j in ((0, 1), (1, 2), (0, 3)):
            images = [list(each) for each in entry["images"]]
            images[row][i], images[row][j] = images[row][j], images[row][i]
            try:
                found = action_of(group.table, entry | {"images": images}, "set", Cost())
            except ProofError:
                continue
            assert (np.sort(found, axis=1) == np.arange(4)).all()
            assert all((found[group.table[g]] == found[g][found]).all() for g in range(24))
    assert right.shape == (24, 4)
