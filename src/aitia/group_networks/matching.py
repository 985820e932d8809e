"""Which neurons are translates of one another, and under which subgroup each is constant.

Everything is decided by correlations of a neuron's own tables with their translates, so no representation, no
basis, no clustering seed and no sign convention enters: the same network gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.finite_groups import Group
from aitia.group_networks.measures import left_correlations, right_correlations


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """What neurons have in common: a pair of functions of which theirs are translates.

    Attributes:
        left: [n] constant on the right cosets Hx but for noise.
        right: [n] constant on the left cosets yK but for noise.
        left_stabiliser: H, sorted.
        right_stabiliser: K, sorted; equal to H if mirrored.
        mirrored: whether right(y) is nearly -left(y^-1), as where one shared vector is read from both sides.
    """

    left: np.ndarray
    right: np.ndarray
    left_stabiliser: np.ndarray
    right_stabiliser: np.ndarray
    mirrored: bool


def find_profiles(
    group: Group, left: np.ndarray, right: np.ndarray, *, heads: int, similarity: float
) -> tuple[list[Profile], np.ndarray]:
    """Group neurons into profiles: the heaviest neuron not yet explained starts one, and those like it join.

    Args:
        group: the group.
        left: [n, m] left tables, heaviest neuron first.
        right: [n, m] right tables.
        heads: how many neurons, from the heaviest, may start a profile; the others can only join one.
        similarity: least correlation, of left and of right, with a translate of a profile.

    Returns:
        The profiles, and [m] the number of each neuron's, or -1.
    """
    profiles: list[Profile] = []
    likeness = np.zeros((left.shape[1], 0))
    while (lonely := np.flatnonzero(likeness[:heads].max(axis=1, initial=0.0) < similarity)).size:
        head = lonely[0]
        profile = _profile_of(group, left[:, head], right[:, head], similarity)
        on_left, on_right = (found.max(axis=1) for found in correlations(group, left, right, profile))
        found = np.minimum(on_left, on_right)
        found[head] = 1.0  # also where a table is constant and correlates with nothing
        profiles.append(profile)
        likeness = np.concatenate([likeness, found[:, None]], axis=1)
    if not profiles:
        return [], np.full(left.shape[1], -1)
    return profiles, np.where(likeness.max(axis=1) >= similarity, likeness.argmax(axis=1), -1)


def correlations(
    group: Group, left: np.ndarray, right: np.ndarray, profile: Profile
) -> tuple[np.ndarray, np.ndarray]:
    """[m, n] and [m, n] correlations with the translates of a profile, from the left and from the right."""
    return left_correlations(group, left, profile.left), right_correlations(group, right, profile.right)


def rebase(
    group: Group, profile: Profile, left_stabiliser: np.ndarray, right_stabiliser: np.ndarray
) -> Profile:
    """Translate a profile so that its stabilisers are these, which are conjugate to its own."""
    g = _conjugator(group, left_stabiliser, profile.left_stabiliser)
    left = profile.left[group.table[g]]
    # A mirrored profile is moved as one, so that it stays its own mirror image.
    h = (
        group.inverses[g]
        if profile.mirrored
        else _conjugator(group, right_stabiliser, profile.right_stabiliser)
    )
    if not profile.mirrored:
        h = group.inverses[h]
    return Profile(
        left=left,
        right=profile.right[group.table[:, h]],
        left_stabiliser=left_stabiliser,
        right_stabiliser=right_stabiliser,
        mirrored=profile.mirrored,
    )


def are_conjugate(group: Group, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether some element conjugates one subgroup into the other."""
    return len(first) == len(second) and bool(np.isin(group.conjugates[:, first], second).all(axis=1).any())


def level_subgroup(group: Group, correlation: np.ndarray, floor: float) -> np.ndarray:
    """The largest set {g: correlation(g) >= t}, t >= floor, that is a subgroup: sorted. Always holds the identity.

    Args:
        group: the group.
        correlation: [n] of a function with its translates.
        floor: the lowest level that is tried.

    Returns:
        Elements, rising.
    """
    levels = np.unique(correlation[correlation >= floor].round(9))
    for level in levels:
        inside = correlation >= level - 1e-9
        inside[group.identity] = True
        members = np.flatnonzero(inside)
        if group.order % len(members) == 0 and inside[group.table[np.ix_(members, members)]].all():
            return members
    return np.array([group.identity])


def _profile_of(group: Group, left: np.ndarray, right: np.ndarray, floor: float) -> Profile:
    own = left_correlations(group, left[:, None], left)[0]
    left_stabiliser = level_subgroup(group, own, floor)
    mirror = -left[group.inverses]
    against = right_correlations(group, right[:, None], mirror)[0]
    if against.max() >= floor:
        # right(y) = mirror(y h): go back by h, so that the profile is its own mirror image.
        moved = right[group.table[:, group.inverses[against.argmax()]]]
        return Profile(
            left=left,
            right=moved,
            left_stabiliser=left_stabiliser,
            right_stabiliser=left_stabiliser,
            mirrored=True,
        )
    own = right_correlations(group, right[:, None], right)[0]
    return Profile(
        left=left,
        right=right,
        left_stabiliser=left_stabiliser,
        right_stabiliser=level_subgroup(group, own, floor),
        mirrored=False,
    )


def _conjugator(group: Group, source: np.ndarray, target: np.ndarray) -> int:
    """The first g with g source g^-1 = target."""
    return int(np.isin(group.conjugates[:, source], target).all(axis=1).argmax())
