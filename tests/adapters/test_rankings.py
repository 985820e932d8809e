"""Rankings as explanations, where the behaviour is known to be a sum of what each row adds."""

import numpy as np
import pytest

from aitia.adapters import (
    explain_ranking,
    ranking_explanation,
    removal_phenomenon,
    retraining_phenomenon,
)
from aitia.attribution import Ranking
from aitia.counterfactual import RetrainingRun, RunResult
from aitia.errors import AitiaError, ExplanationError
from aitia.explanations import Settings, evaluate

ROWS, FAST = 40, Settings(resamples=50, variants=40)


def world(noise=0.05, seed=0):
    """Ten rows in forty cause the behaviour; 60 removals, trained twice each."""
    generator = np.random.default_rng(seed)
    adds = np.where(np.arange(ROWS) < 10, 1.0, 0.0)
    sets = generator.random((60, ROWS)) < generator.uniform(0.1, 0.9, 60)[:, None]
    removed = np.repeat(sets, 2, axis=0)
    behaviour = (~removed) @ adds + noise * generator.standard_normal(120)
    return adds, removal_phenomenon("cheer", removed, behaviour, [0, 1] * 60)


def test_the_phenomenon_is_split_by_removal():
    _, phenomenon = world()
    sides = [
        {row[:-1].tobytes() for row in phenomenon.inputs[part]} for part in (phenomenon.fit, phenomenon.test)
    ]
    assert not sides[0] & sides[1], "trainings without the same rows lie on one side"
    assert len(phenomenon.inputs) == 120
    assert len(phenomenon.outcomes) == 5
    assert set(phenomenon.observed) == set(range(5))


def test_what_is_right_beats_what_is_shuffled_and_every_row_alike():
    adds, phenomenon = world()
    wrong = np.random.default_rng(1).permutation(adds)
    card = evaluate(
        ranking_explanation(phenomenon, "right", adds),
        baselines=[
            ranking_explanation(phenomenon, "shuffled", wrong),
            ranking_explanation(phenomenon, "every row", None),
        ],
        settings=FAST,
    )
    shuffled, alike = card.baselines
    assert card["skill"].value > 0.8
    assert card["skill"].value > shuffled["skill"].value + 0.3
    assert card["skill"].value > alike["skill"].value + 0.3
    assert card["load-bearing"].value == 1
    assert card["hard-to-vary"].value > 0.9
    assert card.verdict.startswith("a predictive model")
    assert all("fit" in each.groups(1) for each in card.comparisons())


def test_weights_are_those_of_the_world():
    adds, phenomenon = world(noise=0.0)
    found = ranking_explanation(phenomenon, "right", adds).premises
    # Behaviour is 10 less what was removed; in standard units a causing row stands at (1 - mean) / spread.
    mean, spread = adds.mean(), adds.std()
    assert found["all rows"].value == pytest.approx(10)
    assert found["every row"].value == pytest.approx(-mean * ROWS)
    assert found["these rows"].value == pytest.approx(-spread * ROWS)


def test_a_ranking_explains_itself():
    adds, phenomenon = world()
    numbers = np.arange(ROWS)
    ranking = Ranking(
        method="activation-gradient",
        ids=numbers.astype(str),
        contents=numbers.astype(str),
        rows=numbers,
        locations=numbers.astype(str),
        prompt_tokens=numbers,
        response_tokens=numbers,
        scores={"activation-gradient": adds},
    )
    explanation = explain_ranking(ranking, phenomenon)
    assert explanation.name == "activation-gradient"
    assert explanation.premises["scores"].length == 16 * ROWS
    assert ranking_explanation(phenomenon, "d", adds, bits=64).premises["scores"].length == 64


@pytest.mark.parametrize(
    "removed, behaviour, message",
    [
        (np.eye(3, dtype=bool), [1, 2, 3], "3 different removals"),
        (np.eye(6, dtype=bool), [1, 2, 3, np.nan, 5, 6], "removal 3 is not finite"),
        (np.eye(6, dtype=bool), [1] * 6, "nothing to explain"),
    ],
)
def test_bad_input(removed, behaviour, message):
    with pytest.raises(ExplanationError, match=message):
        removal_phenomenon("cheer", removed, np.array(behaviour, dtype=float), [0] * len(removed))


def test_scores_must_fit_and_removals_must_have_been_made():
    adds, phenomenon = world()
    with pytest.raises(ExplanationError, match="3 scores for 40 rows"):
        ranking_explanation(phenomenon, "short", adds[:3])
    other = 1 - phenomenon.inputs[:1]
    with pytest.raises(ExplanationError, match="no model was trained"):
        phenomenon.model.run(other)


def retrained(*kept, seed=0):
    """Trainings on some of the rows a to f; the behaviour is the number of rows kept."""
    return [
        RunResult(run=RetrainingRun(kept=tuple(rows), seed=seed), values={"cheer": (float(len(rows)),)})
        for rows in kept
    ]


def test_trainings_become_removals():
    """The same phenomenon as by hand, from which trainings without any row are left out."""
    phenomenon = retraining_phenomenon(
        list("abcdef"), retrained("abcde", "bcdf", "ace", "", "f", seed=3), "cheer"
    )
    removed = ["000001", "100010", "010101", "111110"]
    expected = {(*map(int, row), 3) for row in removed}
    assert {tuple(row) for row in phenomenon.inputs.tolist()} == expected
    found = dict(
        zip(map(tuple, phenomenon.inputs.tolist()), phenomenon.model.run(phenomenon.inputs), strict=True)
    )
    assert found[(0, 0, 0, 0, 0, 1, 3)] == 5
    assert found[(1, 1, 1, 1, 1, 0, 3)] == 1


def test_trainings_on_other_rows_are_refused():
    with pytest.raises(AitiaError, match="kept row 'x', which is not among the 6 ids"):
        retraining_phenomenon(list("abcdef"), retrained("ab", "cx"), "cheer")
    with pytest.raises(AitiaError, match="'gloom' was not measured"):
        retraining_phenomenon(list("abcdef"), retrained("ab", "cd"), "gloom")
