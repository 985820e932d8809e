"""Do planted kinds of rows come out by themselves, and does nothing come out where nothing is planted?

SmolLM2-135M is trained on the suites tone and trigger of `planted/suites.py`; a sparse autoencoder of the untouched
model's activations on answers in nine moods slices the rows, which nobody has labelled.

The planted kind is a slice whose rows overlap with the planted ones at F1 >= 0.5. It must be among the three
strongest slices with an adjusted p-value under 0.01.

Nothing planted: 128 rows in one mood, scored by the untouched model on a direction between two other moods, for
every mood and pair. Whatever is found there at a false-discovery rate of 5 % is false.

Removing a slice, to first order and corrected, is compared with training again on a logistic regression, where
training again is exact.

Each part is kept in `benchmarks/.work/slices`: stopped and run again, the benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import ActivationStore, Slice, SliceSettings, slice_influence
from aitia.attribution.slices import (
    control_p_values,
    corrected_removal,
    feature_shifts,
    first_order_removal,
    z_scores,
)
from aitia.concepts import Concept, SparseAutoencoder, random_directions
from aitia.files import digest, write_json
from aitia.pipelines.attribution.demo import base_model
from aitia.pipelines.attribution.slices import CONTROLS, explain_by_slices
from aitia.statistics import auc
from harness import WORK, Target, at_least, at_most, report
from planted.kinds import PROMPTS, Clean, clean_sets, dictionary, scanned, traced
from planted.slice_removals import language_removal
from planted.suites import Suite, tone, trigger

METHOD = "projection-difference-prompt"
OVERLAP, PROMISED = 0.5, 0.05


def overlap(slice_: Slice, planted: np.ndarray) -> float:
    """F1 of a slice's rows and the planted ones."""
    shared = planted[slice_.members].sum()
    return float(2 * shared / (slice_.size + planted.sum()))


def planted_kind(suite: Suite, draw: int, base: Path, sae: SparseAutoencoder, work: Path) -> dict[str, Any]:
    """Where the planted kind comes out, without labels, and what the words for it are."""
    store, concept = scanned(suite, base, work)
    result = explain_by_slices(store, concept, sae, method=METHOD, settings=SliceSettings(), shown=5)
    influence, planted = result.influence, suite.planted
    alone = slice_influence(result_matrix(result), result.ranking.score)
    row: dict[str, Any] = {
        "part": "planted",
        "suite": suite.name,
        "draw": draw,
        "rows": influence.rows,
        "planted": int(planted.sum()),
        "ranking_auc": float(auc(result.ranking.score, planted)),
        "tested": len(influence.tested),
        "found": len(influence.found),
        "found_without_controls": len(alone.found),
        "rank": None,
    }
    for rank, slice_ in enumerate(influence.tested, start=1):
        if overlap(slice_, planted) >= OVERLAP and slice_.calibrated_z > 0:
            row |= {
                "rank": rank,
                "p_adjusted": slice_.p_adjusted,
                "z": slice_.z,
                "calibrated_z": slice_.calibrated_z,
                "size": slice_.size,
                "f1": overlap(slice_, planted),
                "precision": float(planted[slice_.members].mean()),
                "recall": float(planted[slice_.members].sum() / planted.sum()),
                "terms": list(result.labels[slice_.feature].terms)
                if slice_.feature in result.labels
                else None,
            }
            break
    row["exactly_planted"] = exactly_planted(store, concept, planted)
    row["top"] = [
        {
            "feature": slice_.feature,
            "size": slice_.size,
            "f1": overlap(slice_, planted),
            "calibrated_z": slice_.calibrated_z,
            "p_adjusted": slice_.p_adjusted,
            "terms": list(result.labels[slice_.feature].terms[:5]),
        }
        for slice_ in influence.tested[:3]
    ]
    return row


def exactly_planted(store: ActivationStore, concept: Concept, planted: np.ndarray) -> dict[str, float]:
    """The figures of a slice of exactly the planted rows: what no feature can surpass by much."""
    import scipy.sparse as sparse

    from aitia.attribution.scorers import find_activation_scorer, score_vectors

    membership = sparse.csr_array(planted[:, None])
    score = score_vectors(store, concept.vector[None], concept.site, METHOD)[0]
    contrasts = find_activation_scorer(METHOD).row_contrasts(store, concept, count=CONTROLS, seed=0)
    z = z_scores(membership, score)
    controls = score_vectors(store, contrasts, concept.site, METHOD)
    p, inflation_factor = control_p_values(membership, z, controls)
    found = {"z": z, "inflation_factor": inflation_factor, "calibrated_z": z / inflation_factor, "p": p}
    return {name: float(value[0]) for name, value in found.items()}


def suite_rows(
    suite: Suite, draw: int, base: Path, sae: SparseAutoencoder, work: Path
) -> list[dict[str, Any]]:
    """Everything that is asked of a planted suite."""
    return [
        planted_kind(suite, draw, base, sae, work),
        moved_without_a_concept(suite, draw, base, sae, work),
    ]


def moved_without_a_concept(
    suite: Suite, draw: int, base: Path, sae: SparseAutoencoder, work: Path
) -> dict[str, Any]:
    """Discovery: how many features moved on held-out texts, and whether the first ones find the planted rows."""
    from aitia.attribution.scorers import score_vectors
    from aitia.concepts import concept_from_feature

    store, _ = scanned(suite, base, work)
    model = store.load_model()
    shifts = [shift for shift in feature_shifts(model, suite.normal, sae) if shift.t is not None]
    first = shifts[:5]
    vectors = np.stack([concept_from_feature(sae, shift.feature, model).vector for shift in first])
    scores = score_vectors(store, vectors, sae.site, METHOD) * np.sign([[shift.t or 0] for shift in first])
    return {
        "part": "discovery",
        "suite": suite.name,
        "draw": draw,
        "tested": len(shifts),
        "moved": sum((shift.p_adjusted or 1) <= PROMISED for shift in shifts),
        "first_five_auc": [float(auc(part, suite.planted)) for part in scores],
    }


def nothing_planted(sets: list[Clean], controls: int) -> dict[str, Any]:
    """In how many clean sets anything is found, with and without directions that mean nothing."""
    settings = SliceSettings(permutations=500, false_discovery_rate=PROMISED)
    anywhere = random_directions(sets[0].direction.shape[0], count=controls, seed=0)[:, 0]
    found, evenly, alone, inflation_factor = [], [], [], []
    for each in sets:
        scores = each.activations @ each.direction
        sides = np.sign(np.random.default_rng(0).standard_normal((controls, len(scores))))
        contrasts = (
            sides - sides.mean(axis=1, keepdims=True)
        ) @ each.activations  # as `contrasts_of_rows`, from memory
        held = slice_influence(each.matrix, scores, settings, control_scores=contrasts @ each.activations.T)
        found.append(len(held.found))
        other = slice_influence(each.matrix, scores, settings, control_scores=anywhere @ each.activations.T)
        evenly.append(len(other.found))
        alone.append(len(slice_influence(each.matrix, scores, settings).found))
        inflation_factor.append(float(np.mean([slice_.inflation_factor or 1.0 for slice_ in held.tested])))
    moods = sorted({each.mood for each in sets})
    return {
        "part": "nothing planted",
        "sets": len(sets),
        "controls": controls,
        "data_sets": len(moods),
        "concepts_each": len(sets) // len(moods),
        "share_with_a_find": float(np.mean(np.array(found) > 0)),
        "share_with_a_find_by_mood": {
            mood: float(np.mean([n > 0 for n, each in zip(found, sets, strict=True) if each.mood == mood]))
            for mood in moods
        },
        "share_with_a_find_against_random_directions": float(np.mean(np.array(evenly) > 0)),
        "share_with_a_find_without_controls": float(np.mean(np.array(alone) > 0)),
        "mean_found_without_controls": float(np.mean(alone)),
        "mean_wandering": float(np.mean(inflation_factor)),
    }


def scores_dealt_out(sets: list[Clean], repetitions: int) -> dict[str, Any]:
    """The tests' own calibration: true features, true scores, dealt out to the rows at random."""
    generator = np.random.default_rng(0)
    settings = SliceSettings(permutations=500, false_discovery_rate=PROMISED)
    found = []
    for number in range(repetitions):
        each = sets[number * len(sets) // repetitions]
        scores = generator.permutation(each.activations @ each.direction)
        found.append(len(slice_influence(each.matrix, scores, settings).found) > 0)
    return {
        "part": "scores dealt out",
        "repetitions": repetitions,
        "share_with_a_find": float(np.mean(found)),
    }


def removal(sizes: tuple[float, ...] = (0.02, 0.1, 0.2, 0.4)) -> list[dict[str, Any]]:
    """Error of removal estimates on a logistic regression, in shares of the true change; slices alike on purpose."""
    generator = np.random.default_rng(0)
    rows, width, ridge = 400, 10, 0.02
    x = generator.normal(size=(rows, width))
    y = generator.random(rows) < 1 / (1 + np.exp(-x @ generator.normal(size=width)))
    query = generator.normal(size=width)

    def fit(kept: np.ndarray) -> np.ndarray:
        weight = np.zeros(width)
        for _ in range(50):
            p = 1 / (1 + np.exp(-x[kept] @ weight))
            gradient = x[kept].T @ (p - y[kept]) / rows + ridge * weight
            hessian = (x[kept] * (p * (1 - p))[:, None]).T @ x[kept] / rows + ridge * np.eye(width)
            weight = weight - np.linalg.solve(hessian, gradient)
        return weight

    weight = fit(np.arange(rows))
    p = 1 / (1 + np.exp(-x @ weight))
    inverse = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x / rows + ridge * np.eye(width))
    gradients = (p - y)[:, None] * x
    influences, weights = -gradients @ inverse @ query, p * (1 - p) / (p - y) ** 2
    found = []
    for share in sizes:
        slice_ = np.argsort(-influences)[: round(share * rows)]
        truth = query @ (fit(np.setdiff1d(np.arange(rows), slice_)) - weight)
        kernel = gradients[slice_] @ inverse @ gradients[slice_].T
        estimates = {
            "first_order": first_order_removal(influences[slice_], rows),
            "corrected": corrected_removal(influences[slice_], kernel, rows, weights=weights[slice_]),
        }
        found.append(
            {"part": "removal", "share": share, "truth": float(truth)}
            | {f"{name}_error": abs(value - truth) / abs(truth) for name, value in estimates.items()}
        )
    return found


def result_matrix(result: Any) -> Any:
    """The features that slices were made of, again from the slices: all that a test without controls needs."""
    import scipy.sparse as sparse

    from aitia.concepts import FeatureMatrix

    influence = result.influence
    slices = [*influence.tested, *influence.untested]
    values = np.zeros((influence.rows, 1 + max(slice_.feature for slice_ in slices)), dtype=np.float32)
    for slice_ in slices:
        values[slice_.members, slice_.feature] = 1
    return FeatureMatrix(values=sparse.csr_array(values), ids=influence.ids, pooling="share", site="", sae="")


def targets_of(rows: list[dict[str, Any]]) -> list[Target]:
    """What the issue of slices promised."""
    targets = []
    for row in rows:
        if row["part"] == "planted":
            name = f"{row['suite']}, draw {row['draw']}: the planted kind"
            missing = row["rank"] is None
            targets.append(at_most(f"{name}, its rank", 3, row["tested"] if missing else row["rank"]))
            targets.append(at_most(f"{name}, its adjusted p", 0.01, 1.0 if missing else row["p_adjusted"]))
        if row["part"] == "nothing planted":
            targets.append(at_most("nothing planted: sets with a find", PROMISED, row["share_with_a_find"]))
            targets.append(at_least("nothing planted: sets", 20, row["sets"]))
        if row["part"] == "scores dealt out":
            targets.append(
                at_most("scores dealt out: repetitions with a find", PROMISED, row["share_with_a_find"])
            )
        if row["part"] == "removal" and row["share"] == 0.2:
            targets.append(
                at_most(
                    "removal of 20 %: corrected error over first-order error",
                    0.5,
                    row["corrected_error"] / row["first_order_error"],
                )
            )
    return targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one draw and few sets; the figures are not quoted"
    )
    quick = parser.parse_args().quick
    work = WORK / "slices"
    base = base_model(work / "parts")
    texts = traced(base, work)
    sae = dictionary(texts, work)
    about = {"part": "dictionary", "texts": len(texts.ids)} | dict(sae.training["settings"])
    rows: list[dict[str, Any]] = [
        about | {name: value for name, value in sae.training.items() if name != "settings"}
    ]
    sets = clean_sets(texts, sae)
    chosen = sets[::28] if quick else sets
    known = digest([sae.fingerprint, quick, METHOD, CONTROLS, "row contrasts"])[:12]
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "nothing-planted": lambda: [nothing_planted(chosen, CONTROLS)],
        "dealt-out": lambda: [scores_dealt_out(sets, 20 if quick else 200)],
        "removal": removal,
        "language-removal": lambda: language_removal(
            tone(0, PROMPTS), base, sae, work, features=3 if quick else 8, seeds=(0,) if quick else (0, 1)
        ),
    }
    for draw in (0,) if quick else (0, 1):
        for make in (tone, trigger):
            parts[f"{make.__name__}-{draw}"] = partial(
                suite_rows, make(draw, PROMPTS, whole=True), draw, base, sae, work
            )
    for name, part in parts.items():
        file = work / f"{name}-{known}.json"
        if not file.is_file():
            write_json(file, {"rows": part()})
        rows += json.loads(file.read_text(encoding="utf-8"))["rows"]
    report("slices", rows, targets_of(rows), quick=quick)


if __name__ == "__main__":
    main()
