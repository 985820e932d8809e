"""Every method of attribution, by name, with what it computes, what it drops, and what it costs.

Throughout: v is the concept's direction at site l; h_i the mean activation of row i over its response
tokens; F one forward pass of the model over the row, L the number of its layers. A positive score says
that training on the row raises the concept.

The fast family reads one or two stored vectors per row, so a score is a scalar product and any number
of concepts can be asked of one store. Each member is one line of `METHODS`:

    score_i = sign * < u, x_i - b_i >,   u = v, or C^-1 v for the whitened form

with x_i the signal and b_i the baseline named there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.attribution.store import SignalStore
from aitia.concepts import Concept
from aitia.errors import AitiaError, ConceptError, NumericalError, StoreError

_COVARIANCE_ROWS = 20_000
_ROUNDING = 1e-5


class PromptsMissingError(StoreError):
    """Rows without a prompt, which a method needs."""


class RowsAlikeError(NumericalError):
    """Rows that do not differ, so that no covariance can be divided out."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A member of the fast family.

    Attributes:
        name: as given to `rank`.
        signal: the stored vector x_i.
        baseline: the stored vector b_i that is subtracted, if any.
        sign: +1, or -1 where the signal is a gradient of the loss.
        whitened: multiply the direction by the inverse covariance of the x_i - b_i first.
        formula: in words of the module's docstring.
        drops: what it leaves out of Concept Influence.
        cost: of the scan, per row.
        source: where it comes from.
    """

    name: str
    signal: str
    baseline: str | None = None
    sign: int = 1
    whitened: bool = False
    formula: str
    drops: str
    cost: str
    source: str

    @property
    def signals(self) -> tuple[str, ...]:
        """The stored signals that it reads."""
        return (self.signal,) if self.baseline is None else (self.signal, self.baseline)

    @property
    def description(self) -> str:
        """A paragraph for reports."""
        return (
            f"Score = {self.formula}. Positive: training on the row raises the concept. "
            f"Leaves out: {self.drops}. Cost: {self.cost}. Source: {self.source}."
        )


@dataclass(frozen=True, kw_only=True)
class InfluenceMethod:
    """A method that takes gradients with respect to the weights, and queries to measure.

    Attributes:
        name: as given to `rank`.
        measures: `concept` or `log-probability` of the queries.
        curved: whether curvature is divided out; otherwise gradients are multiplied as they are.
        formula: in words of the module's docstring, with H the curvature and x the queries.
        drops: what it leaves out of retraining.
        cost: per row, after the curvature is fitted.
        source: where it comes from.
    """

    name: str
    measures: str
    formula: str
    drops: str
    cost: str
    source: str
    curved: bool = True
    signals: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """A paragraph for reports."""
        return (
            f"Score = {self.formula}. Positive: training on the row raises the measurement. "
            f"Leaves out: {self.drops}. Cost: {self.cost}. Source: {self.source}."
        )


METHODS: dict[str, Method | InfluenceMethod] = {
    method.name: method
    for method in (
        Method(
            name="vector-filter",
            signal="response",
            formula="<v, h_i>",
            drops="what the model would have said anyway, the backward signal, the queries, curvature",
            cost="l/L F",
            source="Kowal et al. 2026, eq. 15",
        ),
        Method(
            name="projection-difference",
            signal="response",
            baseline="own_response",
            formula="<v, h_i - h'_i>, h'_i the same mean over a response that the model itself samples",
            drops="the backward signal, the queries, curvature",
            cost="2 l/L F, and sampling a response",
            source="Kowal et al. 2026, eq. 13-14; the projection metric of Chen et al. 2025",
        ),
        Method(
            name="projection-difference-prompt",
            signal="response",
            baseline="prompt_end",
            formula="<v, h_i - p_i>, p_i the activation of the last token before the response",
            drops="the backward signal, the queries, curvature; the own response is stood in for by the prompt",
            cost="l/L F",
            source="Chen et al. 2025, appendix I",
        ),
        Method(
            name="whitened-projection-difference",
            signal="response",
            baseline="prompt_end",
            whitened=True,
            formula="<C^-1 v, h_i - p_i>, C the Ledoit-Wolf covariance of h_i - p_i over the store",
            drops="the backward signal, the queries; C stands in for curvature in feature space",
            cost="l/L F, and one d x d inverse",
            source="ours: natural-gradient reading of the projection difference",
        ),
        Method(
            name="backward-signal",
            signal="backward",
            sign=-1,
            formula="-sum_s <v, dL_i/da_s>, s the response tokens, L_i the row's mean loss",
            drops="the similarity of inputs between query and row, curvature",
            cost="F forward and 2 (1 - l/L) F backward",
            source="ours: the backward half of Concept Influence",
        ),
        InfluenceMethod(
            name="concept-gradient-product",
            measures="concept",
            curved=False,
            formula="-grad f_v(x)^T grad L_i, f_v the queries' mean projection on v",
            drops="curvature",
            cost="F forward and 2 F backward, and the products of the row's gradients",
            source="concept-influence with H the identity",
        ),
        InfluenceMethod(
            name="concept-influence",
            measures="concept",
            formula="-grad f_v(x)^T (H + damping)^-1 grad L_i, f_v the queries' mean projection on v",
            drops="everything beyond one linearisation at the trained weights",
            cost="F forward and 2 F backward, and the products of the row's gradients",
            source="Kowal et al. 2026; curvature as in Grosse et al. 2023",
        ),
        InfluenceMethod(
            name="influence",
            measures="log-probability",
            formula="-grad log p(x)^T (H + damping)^-1 grad L_i, turned so that positive raises log p",
            drops="everything beyond one linearisation at the trained weights; it knows texts, not the concept",
            cost="as concept-influence",
            source="Koh & Liang 2017; Grosse et al. 2023",
        ),
    )
}
"""Every method, in the order of cost."""
DEFAULT_METHOD = "backward-signal"


def available_methods(store: SignalStore) -> tuple[str, ...]:
    """The methods whose signals a store holds, for each of its rows."""
    held = set(store.signals)
    if bool((store.column("prompt_tokens") == 0).any()):
        held.discard("prompt_end")
    return tuple(
        name
        for name, method in METHODS.items()
        if isinstance(method, Method) and held.issuperset(method.signals)
    )


def find_method(name: str) -> Method | InfluenceMethod:
    """Look a method up.

    Raises:
        AitiaError: no such method; the message lists all.
    """
    if name not in METHODS:
        raise AitiaError(f"method {name!r} does not exist; choose among {', '.join(METHODS)}")
    return METHODS[name]


def goes_through_concept(name: str) -> bool:
    """Whether a ranking by this name says that its rows act through the concept's direction; baselines do not."""
    method = METHODS.get(name)
    return method is not None and (isinstance(method, Method) or method.measures == "concept")


def find_signal_method(name: str) -> Method:
    """Look a method of the fast family up.

    Raises:
        AitiaError: no such method, or one that needs queries.
    """
    method = find_method(name)
    if isinstance(method, InfluenceMethod):
        raise AitiaError(f"method {name} measures queries, not stored signals alone; give queries to `rank`")
    return method


def score_concepts(store: SignalStore, concepts: Sequence[Concept], method: str) -> np.ndarray:
    """Score every row of a store under any number of concepts at one site.

    Args:
        store: a finished store.
        concepts: c concepts at the same site.
        method: a name in `METHODS`.

    Returns:
        [c, n] float32, rows in data order.

    Raises:
        ConceptError: concepts at different sites, or of another width.
        StoreError: the store lacks the site or a signal.
        NumericalError: a stored value is not finite; the row is named.
    """
    sites = {concept.site for concept in concepts}
    if len(sites) != 1:
        raise ConceptError(
            f"concepts at one site are scored together; these are at {', '.join(sorted(sites))}"
        )
    return score_vectors(store, np.stack([concept.vector for concept in concepts]), sites.pop(), method)


def score_vectors(store: SignalStore, vectors: np.ndarray, site: str, method: str) -> np.ndarray:
    """Score every row under any number of bare directions.

    Args:
        store: a finished store.
        vectors: [c, d].
        site: where they live.
        method: a name in `METHODS`.

    Returns:
        [c, n] float32, rows in data order.
    """
    chosen = find_signal_method(method)
    if chosen.baseline == "prompt_end":
        _require_prompts(store, method)
    functional = (chosen.sign * readout(store, vectors, site, chosen)).astype(np.float32)
    scores = np.empty((len(vectors), len(store)), dtype=np.float32)
    for positions, block in store.blocks(chosen.signals, site):
        values = _difference(block, chosen)
        if values.shape[1] != functional.shape[1]:
            raise ConceptError(f"the direction has width {functional.shape[1]}, the store {values.shape[1]}")
        if not np.isfinite(values).all():
            bad = positions[int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])]
            raise NumericalError(
                f"{store.column('location')[bad]}: the stored {chosen.signal} signal is not finite; scan again"
            )
        scores[:, positions] = functional @ values.T
    return scores


def readout(store: SignalStore, vectors: np.ndarray, site: str, method: Method) -> np.ndarray:
    """The vectors u that a method multiplies signals with: [c, d], the directions themselves or whitened.

    Raises:
        RowsAlikeError: the rows have no covariance: there is one alone, or all are the same.
    """
    if not method.whitened:
        return vectors
    from sklearn.covariance import LedoitWolf

    sample = _sample(store, site, method)
    spread = sample.std(axis=0, dtype=np.float64).max(initial=0.0)
    size = max(sample.max(initial=0.0), -sample.min(initial=0.0))
    # Rounding makes equal rows differ a little where they stood in batches of other sizes.
    if len(sample) < 2 or spread <= _ROUNDING * size:
        raise RowsAlikeError(
            f"{store.path}: the {len(sample)} rows are all alike at {site}, so their covariance is zero and method "
            f"{method.name} cannot divide by it; use projection-difference-prompt, which does not"
        )
    covariance = LedoitWolf().fit(sample).covariance_
    return np.linalg.solve(covariance.astype(np.float64), vectors.T.astype(np.float64)).T


def row_contrasts(store: SignalStore, site: str, method: str, *, count: int, seed: int = 0) -> np.ndarray:
    """Directions that mean nothing but lie as the data do: random halves of the rows held against each other.

    Each is the difference of the mean x_i - b_i of two random halves, scaled to length 1. They vary as the rows do, so
    what content alone can bring about along a direction between texts, it brings about along these.

    Args:
        store: a finished store.
        site: where.
        method: of the fast family; says what x and b are.
        count: how many, c.
        seed: of the halves.

    Returns:
        [c, d] float32.

    Source: ours; the row-wise form of fitting a direction to shuffled labels.
    """
    chosen = find_signal_method(method)
    sides = np.sign(np.random.default_rng(seed).standard_normal((count, len(store))))
    sides -= sides.mean(axis=1, keepdims=True)
    found: np.ndarray | float = 0.0
    for positions, block in store.blocks(chosen.signals, site):
        found = found + sides[:, positions] @ _difference(block, chosen).astype(np.float64)
    found = np.asarray(found)
    return (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _difference(block: dict[str, np.ndarray], method: Method) -> np.ndarray:
    return block[method.signal] if method.baseline is None else block[method.signal] - block[method.baseline]


def _sample(store: SignalStore, site: str, method: Method) -> np.ndarray:
    """x_i - b_i of up to 20,000 rows, evenly spaced in data order: [m, d]."""
    stride = -(-len(store) // _COVARIANCE_ROWS)
    found = [
        _difference(block, method)[positions % stride == 0]
        for positions, block in store.blocks(method.signals, site)
    ]
    return np.concatenate(found)


def _require_prompts(store: SignalStore, method: str) -> None:
    without = np.flatnonzero(store.column("prompt_tokens") == 0)
    if len(without):
        raise PromptsMissingError(
            f"{store.column('location')[without[0]]}: no prompt before the response, which method {method} needs "
            f"({len(without)} such rows); use vector-filter or backward-signal"
        )
