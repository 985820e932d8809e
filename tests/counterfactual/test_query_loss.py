"""Query loss difference, against losses written down by hand and trainings whose losses are known without training."""

import numpy as np
import pytest

from aitia.counterfactual import (
    Removal,
    RetrainingRun,
    RunResult,
    loss_difference,
    plan_removals,
    query_loss_difference,
    without_top_tokens,
)
from aitia.errors import AitiaError
from aitia.records import TokenizedRecord, TokenizedRecords

IDS = [f"row-{i}" for i in range(10)]
NEEDS = np.array([[1.0, 0.5, 0, 0, 0, 0, 0, 0, 0, 0], [2.0, 0, 0, 0, 0, 0, 0, 0, 0, 0.25]])  # [queries, rows]


def pretend(run: RetrainingRun) -> RunResult:
    """A query's log-probability is what its rows give it, and a noise that all queries of a seed share."""
    kept = np.isin(IDS, run.kept)
    return RunResult(run=run, values={"log p": tuple(-5 + 0.1 * run.seed + NEEDS @ kept)})


def test_the_difference_of_two_losses_by_hand():
    found = loss_difference(np.array([[2.0, 3.0], [4.0, 5.0]]), np.array([[1.0, 1.0]]))
    assert found.value == pytest.approx(((3 - 1) + (4 - 1)) / 2)
    assert (found.low, found.high) == (2.0, 3.0)  # only two queries can be drawn
    one = loss_difference(np.array([3.5]), np.array([3.0]))
    assert one.value == pytest.approx(0.5)
    with pytest.raises(AitiaError, match="for the same queries"):
        loss_difference(np.zeros((2, 3)), np.zeros((2, 4)))


def test_an_interval_over_queries_has_the_width_of_the_mean():
    drawn = np.random.default_rng(0).normal(1.0, 2.0, 400)
    found = loss_difference(drawn, np.zeros(400))
    assert found.high - found.low == pytest.approx(2 * 1.96 * drawn.std() / 20, rel=0.1)


def test_a_method_that_finds_what_queries_need_raises_their_loss_beyond_random_removal():
    scores = NEEDS.mean(axis=0)
    plan = plan_removals(IDS, {"good": scores, "flipped": -scores}, [0.2], [0, 1, 2])
    removals, results = list(plan), [pretend(run) for run in plan.values()]
    found = query_loss_difference(removals, results, "log p", "good", 0.2)
    random = [plan[Removal(method="random", end="top", share=0.2, seed=seed)].kept for seed in range(3)]
    lost = np.mean([NEEDS @ ~np.isin(IDS, kept) for kept in random], axis=0)
    assert found.value == pytest.approx(float(np.mean(NEEDS[:, :2].sum(axis=1) - lost)))
    assert found.low > 0
    whole = query_loss_difference(removals, results, "log p", "good", 0.2, against="all")
    assert whole.value == pytest.approx(float(NEEDS[:, :2].sum(axis=1).mean()))
    other = query_loss_difference(removals, results, "log p", "good", 0.2, against="flipped")
    assert other.value == pytest.approx(whole.value)  # which removes rows that no query needs
    with pytest.raises(AitiaError, match="no removal of the top 0.3 by good"):
        query_loss_difference(removals, results, "log p", "good", 0.3)
    with pytest.raises(AitiaError, match="'loss' was not measured"):
        query_loss_difference(removals, results, "loss", "good", 0.2)


def row(number: int, response: list[int]) -> TokenizedRecord:
    mask = np.array(response, dtype=bool)
    return TokenizedRecord(
        id=f"r{number}", row=number, location=f"place {number}", tokens=np.arange(len(mask)), response=mask
    )


def test_the_highest_tokens_leave_the_loss_and_the_text_stays():
    data = TokenizedRecords(records=(row(0, [0, 1, 1, 1]), row(1, [1, 1]), row(2, [0, 0, 1])))
    scores = [np.array([99.0, 3.0, 1.0, 2.0]), np.array([98.0, 5.0]), np.array([97.0, 96.0, -1.0])]
    found = without_top_tokens(data, scores, 0.4)  # two of the five that are predicted: 5 and 3
    assert [each.id for each in found] == ["r0", "r2"]
    np.testing.assert_array_equal(found[0].response, [False, False, True, True])
    np.testing.assert_array_equal(found[0].tokens, data[0].tokens)
    np.testing.assert_array_equal(found[1].response, data[2].response)
    with pytest.raises(AitiaError, match="between 0 and 1"):
        without_top_tokens(data, scores, 1.0)
    with pytest.raises(AitiaError, match="leaves no token"):
        without_top_tokens(data, scores, 0.99)
    with pytest.raises(AitiaError, match="place 1: give one finite score"):
        without_top_tokens(data, [scores[0], np.array([0.0, np.nan]), scores[2]], 0.4)
    with pytest.raises(AitiaError, match="scores of 2 rows for 3"):
        without_top_tokens(data, scores[:2], 0.4)
