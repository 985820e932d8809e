"""The virtues of compact proofs: how tight a certified bound is, and how cheap to check (Gross et al. 2024).

A certificate claims that the mean of a metric f(x, M(x)) over the domain is at least b, and that checking the claim
costs c operations, where brute force costs c_brute. Finding the proof is not charged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aitia.errors import CertificateError
from aitia.explanations.core.result import Status, VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.metrics.study import Evaluation
from aitia.statistics import Interval, weighted_mean_interval

ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Certificate:
    """What an explanation proves about the model.

    Attributes:
        bound: lower bound on the mean of the phenomenon's metric, from 0 to 1.
        cost: operations that checking it takes.
        brute_cost: operations of running the model on every input.
        verifier: what checks it.
        search_cost: operations that finding it took; shown, never charged.
        unexplained: dimensions that the proof treats as black boxes.
        size: 2 * parameters + length of the domain, the cost of merely reading what the claim is about.
        verify: checks it here and now.
    """

    bound: float
    cost: float
    brute_cost: float
    verifier: str = ""
    search_cost: float | None = None
    unexplained: int | None = None
    size: float | None = None
    verify: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.bound <= 1:
            raise CertificateError(f"a certificate's bound {self.bound}: must lie from 0 to 1")
        for name in ("cost", "brute_cost", "size"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise CertificateError(f"a certificate's {name} {value}: must be above 0")
        for name in ("search_cost", "unexplained"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise CertificateError(f"a certificate's {name} {value}: must not be negative")


def tightness(bound: float, value: float) -> float:
    """Bound / true value. From 0 to 1, up; NaN where the true value is 0."""
    return bound / value if value > 0 else float("nan")


def gain(bound: float, ratio: float, value: float) -> float:
    """Bound - min(cost ratio, true value): what is proved beyond running that share of the inputs. From -1 to 1, up."""
    return bound - min(ratio, value)


def depth(cost: float, brute_cost: float, size: float) -> float:
    """(log c_brute - log c) / (log c_brute - log size): 0 for brute force, 1 for a proof as short as reading. Up.

    NaN where brute force is no longer than reading, as in tiny tasks.

    Returns:
        At most 1, or NaN.
    """
    room = math.log(brute_cost) - math.log(size)
    return (math.log(brute_cost) - math.log(cost)) / room if room > 0 else float("nan")


def on_frontier(bounds: Sequence[float], costs: Sequence[float]) -> np.ndarray:
    """[m] whether no other proof has both a strictly higher bound and a strictly lower cost."""
    b, c = np.asarray(bounds, dtype=float), np.asarray(costs, dtype=float)
    return ~np.asarray(((b[None] > b[:, None]) & (c[None] < c[:, None])).any(axis=1))


def measure_proofs(study: Evaluation) -> list[VirtueResult]:
    """The virtues of the explanation's certificate; declared, not measured, where nothing checks it here.

    Returns:
        One result a virtue.

    Raises:
        CertificateError: its bound exceeds what the model does, or it does not verify.
    """
    results, certificate = _measure(study), study.explanation.certificate
    if certificate is None or certificate.verify is not None:
        return results
    reason = "typed in: nothing here checks it"
    return [
        each
        if each.value is None
        else replace(
            each, status=Status.DECLARED, interval=None, reason="; ".join(filter(None, (reason, each.reason)))
        )
        for each in results
    ]


def _measure(study: Evaluation) -> list[VirtueResult]:
    names = ("tightness", "cost-ratio", "unexplained", "gain", "depth")
    certificate, phenomenon = study.explanation.certificate, study.phenomenon
    who = f"explanation {study.explanation.name!r}"
    if certificate is None:
        return [not_applicable(name, "it brings no certificate") for name in names]
    if certificate.verify is not None and not certificate.verify():
        raise CertificateError(
            f"{who}: its certificate does not verify ({certificate.verifier or 'own check'})"
        )
    ratio = certificate.cost / certificate.brute_cost
    results = [
        measured(
            "cost-ratio",
            ratio,
            n=1,
            ceiling=0.0,
            floor=1.0,
            reason="longer than brute force" if ratio > 1 else "",
            details={
                "cost": certificate.cost,
                "brute_cost": certificate.brute_cost,
                "search_cost": certificate.search_cost,
                "verifier": certificate.verifier,
            },
        ),
        not_evaluable("unexplained", "the certificate does not say")
        if certificate.unexplained is None
        else measured("unexplained", certificate.unexplained, n=1, ceiling=0.0),
        not_evaluable("depth", "the certificate does not say how large model and domain are")
        if certificate.size is None
        else measured(
            "depth",
            depth(certificate.cost, certificate.brute_cost, certificate.size),
            n=1,
            floor=0.0,
            ceiling=1.0,
            reason="brute force is no longer than reading"
            if certificate.brute_cost <= certificate.size
            else "",
        ),
    ]
    if phenomenon.metric is None:
        reason = "the phenomenon has no metric that the certificate could bound"
        return [*results, not_evaluable("tightness", reason), not_evaluable("gain", reason)]
    everything = np.arange(len(phenomenon.inputs))
    items = np.asarray(phenomenon.metric(phenomenon.inputs, phenomenon.observed), dtype=float)
    mass = phenomenon.normalised_weights(everything)
    value = float(mass @ items)
    interval = (
        None
        if phenomenon.exhaustive
        else weighted_mean_interval(items, mass, level=study.settings.level, seed=study.settings.seed)
    )
    highest = value if interval is None else interval.high
    if certificate.bound > highest + ROUNDING:
        raise CertificateError(
            f"{who}: its certificate claims at least {certificate.bound:.6g}, but the model reaches "
            f"{value:.6g}; the certificate is invalid"
        )
    common = {
        "n": len(items),
        "details": {"bound": certificate.bound, "value": value, "slack": value - certificate.bound},
    }
    return [
        *results,
        measured(
            "tightness",
            tightness(certificate.bound, value),
            interval=_turned(interval, lambda true: tightness(certificate.bound, true)),
            floor=0.0,
            ceiling=1.0,
            reason="the true value is 0" if value <= 0 else "",
            **common,
        ),
        measured(
            "gain",
            gain(certificate.bound, ratio, value),
            interval=_turned(interval, lambda true: gain(certificate.bound, ratio, true)),
            floor=0.0,
            ceiling=value,
            **common,
        ),
    ]


def _turned(interval: Interval | None, score: Callable[[float], float]) -> Interval | None:
    """The interval of a score that falls as the true value rises."""
    if interval is None:
        return None
    return replace(
        interval, low=score(interval.high), high=score(max(interval.low, 1e-12)), method="bootstrap"
    )
