"""Families of finite groups. Products of permutations are read right to left: (gh)(i) = g(h(i))."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from math import factorial

import numpy as np

from aitia.errors import GroupError
from aitia.finite_groups.group import Group

MAX_ORDER = 5_040
"""Largest group that is made: its table takes 200 MB."""


def cyclic(n: int) -> Group:
    """The cyclic group Z_n: addition modulo n."""
    _require_order(n, f"Z{n}")
    k = np.arange(n)
    return Group(name=f"Z{n}", table=(k[:, None] + k) % n)


def dihedral(n: int) -> Group:
    """The dihedral group of the regular n-gon, of order 2n; element k + n s is r^k f^s."""
    _require_order(2 * n, f"D{n}")
    k, s = np.arange(2 * n) % n, np.arange(2 * n) // n
    turn = (k[:, None] + np.where(s[:, None] == 1, -k, k)) % n
    labels = [f"r{a}" if not b else f"r{a}f" for b, a in product((0, 1), range(n))]
    return Group(name=f"D{n}", table=turn + n * (s[:, None] ^ s), labels=tuple(labels))


def dicyclic(n: int) -> Group:
    """The dicyclic group of order 4n, the quaternion group for n = 2; element k + 2n s is a^k x^s, x^2 = a^n."""
    _require_order(4 * n, f"Dic{n}")
    k, s = np.arange(4 * n) % (2 * n), np.arange(4 * n) // (2 * n)
    turn = (k[:, None] + np.where(s[:, None] == 1, -k, k) + n * (s[:, None] & s)) % (2 * n)
    labels = [f"a{a}" if not b else f"a{a}x" for b, a in product((0, 1), range(2 * n))]
    return Group(name=f"Dic{n}", table=turn + 2 * n * (s[:, None] ^ s), labels=tuple(labels))


def symmetric(n: int) -> Group:
    """The symmetric group S_n, its elements in lexicographic order of their one-line form."""
    _require_order(factorial(n) if n < 20 else MAX_ORDER + 1, f"S{n}")
    return _of_permutations(f"S{n}", np.array(list(permutations(range(n))), dtype=np.int64).reshape(-1, n))


def alternating(n: int) -> Group:
    """The alternating group A_n: the even permutations."""
    _require_order(factorial(n) // 2 if n < 20 else MAX_ORDER + 1, f"A{n}")
    rows = np.array(list(permutations(range(n))), dtype=np.int64).reshape(-1, n)
    inversions = sum(rows[:, i] > rows[:, j] for i in range(n) for j in range(i + 1, n))
    return _of_permutations(f"A{n}", rows[np.asarray(inversions) % 2 == 0] if n > 1 else rows)


def permutation_group(generators: Sequence[Sequence[int]], *, name: str = "group") -> Group:
    """The group that permutations generate.

    Args:
        generators: each a permutation of 0 to k - 1 in one-line form.
        name: for people.

    Returns:
        The group; its elements are in lexicographic order.

    Raises:
        GroupError: a generator is no permutation, or the group is larger than `MAX_ORDER`.
    """
    steps = [tuple(int(i) for i in row) for row in generators]
    for row in steps:
        if sorted(row) != list(range(len(steps[0]))):
            raise GroupError(f"{row} is no permutation of 0 to {len(steps[0]) - 1}")
    seen = {tuple(range(len(steps[0])))} if steps else {(0,)}
    frontier = list(seen)
    while frontier:
        reached = {tuple(g[i] for i in h) for h in steps for g in frontier} - seen
        seen |= reached
        _require_order(len(seen), name)
        frontier = sorted(reached)
    return _of_permutations(name, np.array(sorted(seen), dtype=np.int64))


def direct_product(first: Group, second: Group) -> Group:
    """The direct product; element a + |first| b is the pair (a, b)."""
    trivial = np.tile(np.arange(first.order), (second.order, 1))
    return semidirect_product(first, second, trivial, name=f"{first.name}x{second.name}")


def semidirect_product(normal: Group, acting: Group, action: np.ndarray, *, name: str | None = None) -> Group:
    """The semidirect product with (a, b)(c, d) = (a action_b(c), b d); element a + |normal| b is the pair (a, b).

    Args:
        normal: the normal factor.
        acting: the factor that acts on it.
        action: [|acting|, |normal|] for each acting element the automorphism of the normal factor.
        name: for people.

    Returns:
        The group, of order |normal| |acting|.

    Raises:
        GroupError: the action is not one by automorphisms; the message names where it fails.
    """
    size = normal.order * acting.order
    name = name or f"{normal.name}:{acting.name}"
    _require_order(size, name)
    action = np.asarray(action)
    if action.shape != (acting.order, normal.order):
        raise GroupError(f"action has shape {action.shape}, not {(acting.order, normal.order)}")
    for b, image in enumerate(action):
        if sorted(image) != list(range(normal.order)):
            raise GroupError(f"acting element {b} does not permute the normal factor")
        wrong = np.argwhere(image[normal.table] != normal.table[np.ix_(image, image)])
        if len(wrong):
            raise GroupError(
                f"acting element {b} is no automorphism at the product {wrong[0][0]}*{wrong[0][1]}"
            )
    for b, d in product(acting.generators, range(acting.order)):
        if (action[acting.table[b, d]] != action[b][action[d]]).any():
            raise GroupError(f"not an action: element {b}*{d} does not act as {b} after {d}")
    a, b = np.arange(size) % normal.order, np.arange(size) // normal.order
    left = normal.table[a[:, None], action[b[:, None], a]]
    labels = tuple(f"({normal.labels[i]},{acting.labels[j]})" for i, j in zip(a, b, strict=True))
    return Group(name=name, table=left + normal.order * acting.table[np.ix_(b, b)], labels=labels)


def metacyclic(n: int, k: int) -> Group:
    """Z_n : Z_k, where a generator of Z_k multiplies by the smallest number of exact order k modulo n.

    Returns:
        The group, of order n k.

    Raises:
        GroupError: no number has order k modulo n.
    """
    _require_order(n * k, f"Z{n}:Z{k}")
    for factor in range(1, n + 1):
        powers = [pow(factor, i, n) for i in range(1, k + 1)]
        if 1 % n in powers and powers.index(1 % n) == k - 1:
            action = np.array([[pow(factor, b, n) * a % n for a in range(n)] for b in range(k)])
            return semidirect_product(cyclic(n), cyclic(k), action)
    raise GroupError(f"Z{n}:Z{k}: no number has order {k} modulo {n}")


def special_linear(p: int) -> Group:
    """SL(2, p): 2 by 2 matrices of determinant one modulo a prime p, in lexicographic order."""
    _require_prime(p)
    _require_order(p * (p * p - 1), f"SL(2,{p})")
    a, b, c, d = np.array(list(product(range(p), repeat=4))).T
    rows = np.stack([a, b, c, d], axis=1)[(a * d - b * c) % p == 1]
    a, b, c, d = rows.T
    products = np.stack(
        [
            np.outer(a, a) + np.outer(b, c),
            np.outer(a, b) + np.outer(b, d),
            np.outer(c, a) + np.outer(d, c),
            np.outer(c, b) + np.outer(d, d),
        ],
        axis=-1,
    )
    labels = tuple(f"[{a} {b}; {c} {d}]" for a, b, c, d in rows)
    return Group(name=f"SL(2,{p})", table=_lookup(rows, products % p, p), labels=labels)


def projective_special_linear(p: int) -> Group:
    """PSL(2, p) as permutations of the p + 1 points of the projective line modulo a prime p."""
    _require_prime(p)
    _require_order(p * (p * p - 1) // 2, f"PSL(2,{p})")
    translate = [*((i + 1) % p for i in range(p)), p]
    invert = [p if i == 0 else (-pow(i, -1, p)) % p for i in range(p)]
    return permutation_group([translate, [*invert, 0]], name=f"PSL(2,{p})")


def _of_permutations(name: str, rows: np.ndarray) -> Group:
    """The group of all given permutations, [n, k] in lexicographic order."""
    labels = tuple(" ".join(map(str, row)) for row in rows)
    return Group(name=name, table=_lookup(rows, rows[:, rows], max(rows.shape[1], 2)), labels=labels)


def _lookup(rows: np.ndarray, products: np.ndarray, base: int) -> np.ndarray:
    """Where each product [n, n, k] stands among the sorted rows [n, k] of digits below `base`."""
    weights = base ** np.arange(rows.shape[1])[::-1]
    return np.searchsorted(rows @ weights, products @ weights)


def _require_order(order: int, name: str) -> None:
    if not 1 <= order <= MAX_ORDER:
        raise GroupError(f"{name}: the order must be from 1 to {MAX_ORDER:,}")


def _require_prime(p: int) -> None:
    if p < 2 or any(p % q == 0 for q in range(2, int(p**0.5) + 1)):
        raise GroupError(f"{p} is no prime")
