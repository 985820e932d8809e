"""One row, equal rows, rows that hardly differ: a result with its caveat, or a refusal in words of our own."""

import json

import numpy as np
import pytest

from aitia.attribution import rank, scan
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.scanning.activation_products import RowsAlikeError
from aitia.attribution.scorers.activation import ActivationScores, activation_scorers
from aitia.concepts import Concept
from aitia.errors import AitiaError, NumericalError
from aitia.records import records_from_rows

SITE = "resid_post.2"
INFLUENCE = ("concept-gradient-product", "concept-influence", "influence")
METHODS = [*(name for name in activation_scorers() if name != "projection-difference"), *INFLUENCE]
ANSWER = {"prompt": "How do I boil an egg? ", "completion": "Put it in hot water."}
OTHER = {"prompt": "What is on the mat? ", "completion": "A cat."}
FEW = {
    "one row": [ANSWER],
    "two equal rows": [ANSWER] * 2,
    "ten equal rows": [ANSWER] * 10,
    "two rows": [ANSWER, OTHER],
    "equal but for the last": [ANSWER] * 9 + [OTHER],
    "answers of one token": [{"prompt": f"{i}? ", "completion": "a"} for i in range(4)],
}


@pytest.fixture(scope="module")
def concept(tiny_model):
    direction = np.random.default_rng(0).standard_normal((1, tiny_model.width))
    return Concept(
        name="c",
        site=SITE,
        direction=direction,
        model_name=tiny_model.name,
        model_fingerprint=tiny_model.fingerprint,
        base_fingerprint=tiny_model.base_fingerprint,
        recipe={},
    )


@pytest.fixture(params=FEW)
def store(request, tiny_model, tmp_path):
    return scan(
        tiny_model,
        records_from_rows(FEW[request.param]),
        sites=[SITE],
        out=tmp_path / "store",
        activations=["backward"],
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ranks_few_rows_or_says_why_not(store, concept, tmp_path, method):
    queries = records_from_rows([OTHER]) if "influence" in method or "gradient" in method else None
    alike = len({tuple(record.content.items()) for record in store.records}) == 1
    if method.startswith("whitened") and alike:
        with pytest.raises(RowsAlikeError, match="rows are all alike at resid_post.2"):
            rank(store, concept, method=method)
        return
    ranking = rank(store, concept, method=method, queries=queries)
    assert all(np.isfinite(values).all() for values in ranking.scores.values())
    assert sorted(ranking.ranks) == list(range(1, len(store) + 1))
    assert ("whitened-projection-difference" in ranking.provenance["left_out"]) == alike
    if method == "activation-gradient":  # which draws the others too
        assert ranking.report(tmp_path / "report.html").stat().st_size > 10_000
    saved = json.dumps(dict(ranking.provenance))
    assert "NaN" not in saved


@pytest.mark.parametrize("kind", ["identity", "diagonal", "kfac", "ekfac"])
@pytest.mark.parametrize("name", ["one row", "ten equal rows"])
def test_curvature_of_few_rows_has_finite_influence(tiny_model, concept, tmp_path, kind, name):
    rows = records_from_rows(FEW[name])
    store = scan(tiny_model, rows, sites=[SITE], out=tmp_path / "store", activations=["backward"])
    curvature = fit_curvature(tiny_model, rows, CurvatureSettings(kind=kind))
    queries = records_from_rows([OTHER])
    ranking = rank(store, concept, method="concept-influence", queries=queries, curvature=curvature)
    assert np.isfinite(ranking.score).all()


def test_scores_that_overflow_name_the_row(store, concept, monkeypatch):
    broken = np.where(np.arange(len(store)) == len(store) - 1, np.inf, 1.0)
    monkeypatch.setattr(ActivationScores, "rows", lambda _: broken)
    with pytest.raises(
        NumericalError, match=r"rows row \d+: the score by vector-filter is not finite \(1 such"
    ):
        rank(store, concept, method="vector-filter", compare=(), random_controls=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": -1}, "rows -1: must be at least 0"),
        ({"max_batch_tokens": 0}, "max_batch_tokens 0: must be at least 1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, words):
    with pytest.raises(AitiaError, match=words):
        CurvatureSettings(**settings)


def test_numbers_out_of_range_are_refused_by_the_scan(tiny_model, tmp_path):
    for settings, words in (
        ({"temperature": float("inf")}, "temperature inf: must be a finite number"),
        ({"shard_rows": 0}, "shard_rows 0: must be at least 1"),
        ({"temperature": -0.5}, "temperature -0.5: must be at least 0"),
        ({"on_policy_response_tokens": 0}, "on_policy_response_tokens 0: must be at least 1"),
    ):
        with pytest.raises(AitiaError, match=words):
            scan(tiny_model, records_from_rows([ANSWER]), sites=[SITE], out=tmp_path / "s", **settings)
    assert not (tmp_path / "s").exists()
