"""Simplicity, of three kinds that can disagree: parsimony, conciseness, and (an upper bound on) K-complexity.

* Parsimony counts what is posited: variables, edges, premises, free parameters. The counts are not added up.
* Conciseness is the length of the explanation in bits in a declared language, maps onto the model included.
* K-complexity is the length of the shortest program that makes its predictions. It cannot be computed; any
  compressed program or table that makes them bounds it from above.

The kinds are Ayonrinde and Jaburi's (2025), the first two Wojtowicz and DeDeo's (2020); the language is ours.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.result import (
    Status,
    VirtueResult,
    declared,
    measured,
    not_applicable,
    not_evaluable,
)
from aitia.explanations.core.settings import Settings
from aitia.explanations.metrics.bayesian import accuracy
from aitia.explanations.metrics.faithfulness import fit_maps
from aitia.explanations.metrics.study import Evaluation, skill_on
from aitia.explanations.reach.prices import value_bits
from aitia.explanations.reach.walking import Reach, reach

_COMPRESSORS = (
    lambda text: zlib.compress(text, 9),
    lambda text: bz2.compress(text, 9),
    # A larger dictionary than a megabyte's would only cost time on texts as short as these.
    lambda text: lzma.compress(text, preset=1),
)


def parsimony(explanation: Explanation) -> dict[str, int]:
    """How many variables, edges between them, premises and free parameters it posits: counts without a better end."""
    return {
        "variables": len(explanation.variables),
        "edges": len(edges(explanation)),
        "premises": len(explanation.premises),
        "free-parameters": sum(each.kind == "parameter" for each in explanation.premises.values()),
    }


def edges(explanation: Explanation, *, most: int = 64, seed: int = 0) -> set[tuple[str, str]]:
    """(parent, child) for each variable whose program computes it otherwise when a parent alone is set otherwise.

    Found by intervention on the program, whatever it declares: all other variables are held at their values.

    Args:
        explanation: whose program.
        most: inputs that are tried.
        seed: of the inputs, and of those that the parents' values come from.

    Returns:
        The edges, of variables that the explanation lists.
    """
    phenomenon = explanation.phenomenon
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(phenomenon.inputs))[:most]
    inputs = phenomenon.inputs[chosen]
    states = explanation.states(inputs)
    names = [name for name in explanation.variables if name in states]
    found = set()
    for parent in names:
        # Every other value that the parent has on these inputs is tried once on each of them, at most eight.
        values = generator.permutation(np.unique(states[parent]))[:8]
        for value in values:
            other = np.full(len(inputs), value, dtype=np.asarray(states[parent]).dtype)
            for child in names:
                if child == parent or (parent, child) in found:
                    continue
                held = {name: states[name] for name in names if name not in (parent, child)}
                try:
                    _, after = explanation.run(inputs, held | {parent: other})
                except ExplanationError:  # the answer cannot be observed; what came before it is not known
                    continue
                if child in after and not np.array_equal(after[child], states[child]):
                    found.add((parent, child))
    return found


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long an explanation is.

    Attributes:
        parts: `structure`, `premises`, `code` and `maps` -> bits.
        trusted: why part of it is the author's word, in a few words; empty where all of it was measured.
    """

    parts: Mapping[str, float]
    trusted: str = ""

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def reached(explanation: Explanation) -> Reach:
    """The code and the data that its program, its scope, what it forbids and its premises reach."""
    values = [premise.value for premise in explanation.premises.values()]
    settings = [value for _, setting in explanation.latents for value in setting.values()]
    functions = [each for each in (explanation.scope, explanation.forbids) if each is not None]
    # The inputs themselves are given with the phenomenon.
    return reach(
        explanation.program,
        *functions,
        *values,
        *settings,
        background=[explanation.phenomenon.inputs],
        names=[*explanation.premises, *explanation.variables],
    )


def description_length(explanation: Explanation) -> Length:
    """Its length in bits. Down; names cost nothing.

    Structure: for each variable one bit for every variable before it (is it a parent?), and log2 of the number
    of values it can have. Premises: their own lengths. Code: what the program's code and all data that it reaches cost
    beyond the premises, so that what is declared can only make it longer. Maps: as declared, by their class where they
    are fitted, or what their code and data cost, whichever is most; and the numbers of an oblique subspace.

    Returns:
        The parts, and what could not be measured.
    """
    structure = sum(
        i + (np.log2(each.values) if each.values else 0.0)
        for i, each in enumerate(explanation.variables.values())
    )
    fitted = fit_maps(explanation, explanation.phenomenon.model) if explanation.aligned else {}
    maps, found = 0.0, reached(explanation)
    unread, models = list(found.unread), list(found.models)
    for name, alignment in explanation.aligned.items():
        given = [each for each in (alignment.read, alignment.write) if callable(each)]
        own = reach(*given)
        unread += own.unread
        models += own.models
        oblique = alignment.subspace is not None and np.ndim(alignment.subspace) == 2
        basis = value_bits(np.asarray(alignment.subspace)) if oblique else 0.0
        maps += basis + max(fitted[name].bits if name in fitted else 0.0, own.bits)
    premises = float(sum(each.length for each in explanation.premises.values()))
    why = [f"it runs {each}" for each in dict.fromkeys(models)]
    why += [f"it reads {each}" for each in dict.fromkeys(unread)]
    return Length(
        parts={
            "structure": float(structure),
            "premises": premises,
            "code": max(found.bits - premises, 0.0),
            "maps": maps,
        },
        trusted=f"{'; '.join(why[:3])}, so its length is as declared" if why else "",
    )


def coarsest_parameters(explanation: Explanation, settings: Settings) -> dict[str, float]:
    """Real parameters without declared bits, each to the fewest digits with which no skill is lost. Ours.

    A number costs 8 bits for each of its characters, so it should have no more of them than it needs. One after
    the other, with those before it already rounded, each parameter gets the fewest significant digits with which
    skill stays within the tolerance of the original's.

    Returns:
        Name of the premise -> bits.
    """
    free = {
        name: float(each.value)
        for name, each in explanation.premises.items()
        if each.kind == "parameter"
        and each.bits is None
        and not each.statement
        and isinstance(each.value, float | np.floating)
    }
    if not free:
        return {}
    wanted = skill_on(explanation, settings) - settings.tolerance
    rounded = dict(free)
    for name, value in free.items():
        for digits in range(1, 17):
            rounded[name] = float(f"{value:.{digits}g}")
            if skill_on(explanation.with_values(**rounded), settings) >= wanted:
                break
        else:
            rounded[name] = value
    return rounded


def compression(length: float, log_likelihood: float, null_log_likelihood: float) -> float:
    """1 - (description length - log2 P(o)) / (-log2 Q0(o)): share of the null's bits saved by the two-part code.

    Up to 1, up; negative where the explanation is longer than what it explains. NaN where the null needs no bits.

    Returns:
        The share, at most 1.
    """
    return 1 - (length - log_likelihood) / -null_log_likelihood if null_log_likelihood < 0 else float("nan")


def k_complexity_bound(texts: Sequence[bytes], background: bytes = b"") -> float:
    """Upper bound in bits: over texts and compressors, the least of C(background + text) - C(background).

    The size of an empty file is taken off where there is no background, since headers say nothing.
    Compare only under the same background. Down.

    Returns:
        Bits.
    """
    sizes = [
        len(compress(background + text)) - len(compress(background))
        for text in texts
        for compress in _COMPRESSORS
    ]
    return 8.0 * max(min(sizes), 0)


def prediction_table(explanation: Explanation) -> bytes:
    """Its predictions on the domain as bytes: labels where they are certain, else probabilities to four digits."""
    predicted = explanation.predict(explanation.phenomenon.inputs)
    marginals = predicted.marginals
    certain = np.isnan(marginals).any(axis=1) | (marginals.max(axis=1) > 1 - 1e-12)
    if certain.all():
        labels = np.where(predicted.covered, np.nan_to_num(marginals).argmax(axis=1), -1)
        return labels.astype(np.int16 if marginals.shape[1] > 127 else np.int8).tobytes()
    return np.nan_to_num(marginals * 10_000, nan=-1).round().astype(np.int16).tobytes()


def premise_reuse(lengths: Sequence[float], served: Sequence[int]) -> float:
    """Sum of bits * (phenomena served - 1) / sum of bits * phenomena served. From 0 to below 1, up. Ours."""
    bits, times = np.asarray(lengths, dtype=float), np.maximum(np.asarray(served), 1)
    total = float(bits @ times)
    return float(bits @ (times - 1)) / total if total else float("nan")


def measure_simplicity(study: Evaluation) -> list[VirtueResult]:
    """Parsimony, conciseness, the bound on K-complexity, prior, and reuse of premises."""
    explanation = study.explanation
    counts = [measured(name, count, n=1) for name, count in parsimony(explanation).items()]
    return [*counts, *_conciseness(study), _k_complexity(explanation), _premise_reuse(explanation)]


def _conciseness(study: Evaluation) -> list[VirtueResult]:
    """Description length, compression, and the prior that follows from them."""
    explanation = study.explanation
    prior = explanation.log_prior
    typed = [] if prior is None else [declared("prior", prior, reason="typed in by the user")]
    digits = coarsest_parameters(explanation, study.settings)
    length = description_length(explanation.with_values(**digits))
    if length.trusted and not explanation.premises:
        reason = f"it states no premises, and {length.trusted}"
        names = ("description-length", "compression", *(() if typed else ("prior",)))
        return [*typed, *(not_evaluable(name, reason) for name in names)]
    total = length.total
    details = {**length.parts, **({"rounded_parameters": digits} if digits else {})}
    found = [
        *(typed or [measured("prior", -total, n=1, reason="minus the description length")]),
        measured("description-length", total, n=1, details=details, floor=0.0),
        _compression(study, total),
    ]
    return [_declared(each, length.trusted) for each in found] if length.trusted else found


def _declared(result: VirtueResult, why: str) -> VirtueResult:
    """A result that rests on the author's word."""
    if result.value is None:
        return result
    reason = "; ".join(each for each in (why, result.reason) if each)
    return replace(result, status=Status.DECLARED, interval=None, reason=reason)


def _compression(study: Evaluation, length: float) -> VirtueResult:
    predictive, observed, counts = study.predictive, study.observed, study.counts
    score, null = accuracy(predictive, observed, counts), float(counts @ study.null_log_probs)
    if null >= 0:
        return not_applicable("compression", "the null predicts every outcome already")

    def statistic(drawn: np.ndarray) -> np.ndarray:
        # Observations that share a latent are coded together.
        scores = (
            drawn @ (counts * study.log_probs)
            if predictive.independent
            else np.array([accuracy(predictive, observed, row * counts) for row in drawn])
        )
        return 1 - (length - scores) / -(drawn @ (counts * study.null_log_probs))

    value = compression(length, score, null)
    return measured(
        "compression",
        value,
        n=len(observed),
        interval=study.interval_of(statistic, value),
        floor=0.0,
        ceiling=1.0,
        details={"null_bits": -null, "misfit_bits": -score},
    )


def _k_complexity(explanation: Explanation) -> VirtueResult:
    # A text that was typed in bounds nothing: what counts is what the program reaches.
    texts = {"table": prediction_table(explanation)}
    if text := reached(explanation).text:
        texts["program"] = text.encode()
    bounds = {name: k_complexity_bound([each]) for name, each in texts.items()}
    reason = "an upper bound" + (
        "" if "program" in texts else ", from the table: the program's text is not known"
    )
    return measured("k-complexity-bound", min(bounds.values()), n=1, reason=reason, details=bounds)


def _premise_reuse(explanation: Explanation) -> VirtueResult:
    served = [len(each.serves) for each in explanation.premises.values()]
    if max(served, default=0) < 2:
        return not_applicable("premise-reuse", "its premises serve one phenomenon")
    bits = [each.length for each in explanation.premises.values()]
    result = measured("premise-reuse", premise_reuse(bits, served), n=len(bits), floor=0.0)
    return _declared(result, "which phenomena a premise serves is typed in")
