"""Is a slice's influence more than that of as many rows drawn at random? Pure functions on arrays.

With s_i the score of row i and G a slice, its sum T_G = sum of s_i over G is held against what it would be
if scores had been assigned to the rows at random (within strata, where there are some). Sizes stay as they are,
so the null is size-matched, and features that fire on the same rows stay together. Its first three moments are
known exactly (sampling without replacement), which gives the z-score, and the far tail beyond what a number of
permutations can resolve (a gamma distribution with these moments: Pearson's type III, as in Mielke & Berry 2007).

That null is refused wherever content and score go together, and they do in any text: a feature that fires on rows
about rain finds rows that differ along *most* directions. So a slice is also held against directions that mean
nothing: its z-scores under those say how far z-scores wander here, and its own is divided by that (genomic control
of Devlin & Roeder 1999, by slice). A slice counts only if it stands out in both ways: the larger of the two
p-values is adjusted (an intersection-union test, Berger 1982). The combination is ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.engine import progress_bar
from aitia.errors import AitiaError

_FEW = 10
_NUMBERS_AT_ONCE = 20_000_000


def null_moments(
    membership: Any, scores: np.ndarray, strata: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and third central moment of each slice's sum when scores are assigned at random.

    Exact, for sampling without replacement. With N rows of mean 0, second and third moments M2 and M3 (means of
    squares and cubes), m of them drawn, and the strata's cumulants added:

        variance = m (N - m) / (N - 1) M2
        third    = m (N - m) (N - 2 m) / ((N - 1) (N - 2)) M3

    Args:
        membership: sparse [n, g] bool.
        scores: [n].
        strata: [n] names; scores are assigned within each; default: all rows together.

    Returns:
        Three arrays [g] float64.
    """
    slices = membership.shape[1]
    mean, variance, third = np.zeros(slices), np.zeros(slices), np.zeros(slices)
    for rows in _strata(strata, len(scores)):
        part = np.asarray(scores, dtype=np.float64)[rows]
        size, centre = len(rows), part.mean()
        drawn, factor = _drawn(membership, rows)
        left = size - drawn
        mean += drawn * centre
        variance += factor * np.mean((part - centre) ** 2)
        if size > 2:
            cubes = np.mean((part - centre) ** 3)
            third += drawn * left * (size - 2 * drawn) / ((size - 1) * (size - 2)) * cubes
    return mean, variance, third


def z_scores(membership: Any, scores: np.ndarray, strata: np.ndarray | None = None) -> np.ndarray:
    """Each slice's sum in standard deviations from that of as many rows at random; 0 where it cannot vary. [g]."""
    mean, variance, _ = null_moments(membership, scores, strata)
    total = membership.T @ np.asarray(scores, dtype=np.float64)
    spread = np.sqrt(variance)
    return np.divide(
        total - mean, spread, out=np.zeros(len(mean)), where=spread > 1e-12 * np.abs(total).max(initial=0)
    )


def permutation_p_values(
    membership: Any,
    scores: np.ndarray,
    *,
    permutations: int = 10_000,
    strata: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Two-sided p-values of the slices' sums under size-matched permutation: [g].

    Where at least ten permutations reach the sum, their share counts, (1 + reached) / (1 + permutations),
    doubled for two sides. In the tail beyond, that of the gamma distribution with the null's exact first three
    moments; never less than twice what the number of possible slices of that size allows.

    Args:
        membership: sparse [n, g] bool.
        scores: [n].
        permutations: how many.
        strata: [n]; see `null_moments`.
        seed: of the permutations.

    Returns:
        [g], above 0 and at most 1.

    Raises:
        AitiaError: fewer than one permutation.
    """
    if permutations < 1:
        raise AitiaError(f"{permutations} permutations: at least 1")
    mean, variance, third = null_moments(membership, scores, strata)
    values = np.asarray(scores, dtype=np.float64)
    total = membership.T @ values
    above, below = _reached(membership, values, total, permutations, strata, seed)
    floor = _smallest_p(membership, strata)
    sides = []
    for reached, sign in ((above, 1), (below, -1)):
        share = (1 + reached) / (1 + permutations)
        tail = np.maximum(pearson_tail(sign * (total - mean), variance, sign * third), floor)
        sides.append(np.where(reached >= _FEW, share, np.minimum(tail, (1 + _FEW) / (1 + permutations))))
    return np.minimum(1.0, 2 * np.minimum(*sides))


def pearson_tail(deviation: np.ndarray, variance: np.ndarray, third: np.ndarray) -> np.ndarray:
    """P(X >= deviation) for gamma variables of mean 0 with these variances and third moments; 1 where none varies.

    Source: Pearson's type III, as in Mielke & Berry 2007 for permutation tests. A skew to the other side is taken
    for none: that tail would end where the true one does not.

    Returns:
        [g], from 0 to 1.
    """
    from scipy.stats import pearson3

    spread = np.sqrt(variance)
    varies = spread > 0
    skew = np.maximum(np.divide(third, spread**3, out=np.zeros_like(spread), where=varies), 0)
    standard = np.divide(deviation, spread, out=np.zeros_like(spread), where=varies)
    return np.where(varies, pearson3.sf(standard, skew), 1.0)


def control_p_values(
    membership: Any,
    z: np.ndarray,
    control_scores: np.ndarray,
    strata: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided p-values of z-scores against those of null directions.

    A slice's z-score is divided by the root mean square of its z-scores under the controls, but by no less
    than 1, and held against Student's t with as many degrees of freedom as there are controls.

    Args:
        membership: sparse [n, g] bool.
        z: [g], from `z_scores`.
        control_scores: [c, n], the same method's scores under c null directions.
        strata: [n]; see `null_moments`.

    Returns:
        The p-values [g], and the root mean squares [g].
    """
    from scipy.stats import t

    inflation_factor = np.maximum(root_mean_square_z(membership, control_scores, strata), 1.0)
    return 2 * t.sf(np.abs(z) / inflation_factor, len(control_scores)), inflation_factor


def root_mean_square_z(
    membership: Any, control_scores: np.ndarray, strata: np.ndarray | None = None
) -> np.ndarray:
    """Root mean square over the controls of each slice's `z_scores`: [g].

    What depends on the slices alone is counted once, and the sums are one product for many controls.

    Args:
        membership: sparse [n, g] bool.
        control_scores: [c, n].
        strata: [n]; see `null_moments`.

    Returns:
        [g], about 1 where sums vary as permutations say.
    """
    rows, slices = membership.shape
    parts = [(part, *_drawn(membership, part)) for part in _strata(strata, rows)]
    transposed = membership.T.tocsr().astype(np.float64)
    squares, at_once = np.zeros(slices), max(1, _NUMBERS_AT_ONCE // (rows + slices))
    for start in range(0, len(control_scores), at_once):
        scores = np.asarray(control_scores[start : start + at_once], dtype=np.float64).T
        totals = transposed @ scores
        means, variances = np.zeros_like(totals), np.zeros_like(totals)
        for part, drawn, factor in parts:
            centres = scores[part].mean(axis=0)
            means += drawn[:, None] * centres
            variances += factor[:, None] * np.mean((scores[part] - centres) ** 2, axis=0)
        spreads = np.sqrt(variances)
        varies = spreads > 1e-12 * np.abs(totals).max(axis=0, initial=0)
        z = np.divide(totals - means, spreads, out=np.zeros_like(totals), where=varies)
        squares += np.square(z).sum(axis=1)
    return np.sqrt(squares / len(control_scores))


def _drawn(membership: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each slice, how many of these rows are in it, and what their variance is multiplied by: [g], [g]."""
    drawn = np.asarray(membership[rows].sum(axis=0)).ravel().astype(np.float64)
    return drawn, drawn * (len(rows) - drawn) / max(len(rows) - 1, 1)


def _reached(
    membership: Any,
    scores: np.ndarray,
    total: np.ndarray,
    permutations: int,
    strata: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """How many permutations give each slice a sum at least as high, and at least as low: [g], [g]."""
    generator = np.random.default_rng(seed)
    parts = _strata(strata, len(scores))
    above, below = np.zeros(len(total), dtype=np.int64), np.zeros(len(total), dtype=np.int64)
    slack = 1e-9 * np.abs(scores).sum()  # sums of the same numbers in another order are the same sum
    at_once = max(1, min(permutations, _NUMBERS_AT_ONCE // (len(scores) + len(total))))
    transposed = membership.T.tocsr().astype(np.float64)
    with progress_bar("Permuting", permutations, unit="permutations") as advance:
        for start in range(0, permutations, at_once):
            count = min(at_once, permutations - start)
            dealt = np.empty((len(scores), count))
            for rows in parts:
                dealt[rows] = generator.permuted(np.repeat(scores[rows][:, None], count, axis=1), axis=0)
            sums = transposed @ dealt
            above += (sums >= total[:, None] - slack).sum(axis=1)
            below += (sums <= total[:, None] + slack).sum(axis=1)
            advance(count)
    return above, below


def _smallest_p(membership: Any, strata: np.ndarray | None) -> np.ndarray:
    """One over the number of ways to choose slices of these sizes: [g]."""
    from scipy.special import gammaln

    logs = np.zeros(membership.shape[1])
    for rows in _strata(strata, membership.shape[0]):
        drawn = np.asarray(membership[rows].sum(axis=0)).ravel().astype(np.float64)
        logs += gammaln(len(rows) + 1) - gammaln(drawn + 1) - gammaln(len(rows) - drawn + 1)
    return np.exp(-logs)


def _strata(strata: np.ndarray | None, rows: int) -> list[np.ndarray]:
    """The rows of each stratum."""
    if strata is None:
        return [np.arange(rows)]
    _, codes = np.unique(np.asarray(strata).astype(str), return_inverse=True)
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


def adjusted(p_values: Any) -> np.ndarray:
    """Benjamini & Hochberg's adjusted p-values: those at most q hold a false-discovery rate of q. [g]."""
    from scipy.stats import false_discovery_control

    values = np.asarray(p_values, dtype=np.float64)
    return false_discovery_control(values, method="bh") if len(values) else values
