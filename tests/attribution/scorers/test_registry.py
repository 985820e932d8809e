"""What names of scorers say, and labels as true or false."""

import pytest

from aitia.attribution import ACTIVATIONS, find_scorer, scorer_names
from aitia.attribution.scorers import goes_through_concept, is_baseline, label_values, naming_package
from aitia.errors import AitiaError, ConceptError
from aitia.records import records_from_rows

BASELINES = {
    "tf-idf",
    "bm25",
    "sentence-embedding",
    "response-length",
    "training-loss",
    "gradient-norm",
    "loss-gap",
    "random-direction",
    "matched-direction",
    "shuffled-labels",
    "oracle",
}


def test_baselines_are_those_that_are_there_to_be_beaten():
    assert {name for name in scorer_names() if is_baseline(name)} == BASELINES
    assert not is_baseline("a-ranking-made-elsewhere")


def test_methods_of_a_concept_go_through_its_direction():
    through = {name for name in scorer_names() if goes_through_concept(name)}
    assert {"vector-filter", "activation-gradient", "concept-influence"} <= through
    assert not through & (BASELINES | {"influence"})
    assert not goes_through_concept("a-ranking-made-elsewhere")


def test_errors_of_our_own_scorers_pass_as_they_are():
    with pytest.raises(ConceptError, match="^no such site$"), naming_package("vector-filter"):
        raise ConceptError("no such site")


def test_labels_are_true_or_false_in_the_order_asked():
    records = records_from_rows(
        [
            {"id": name, "prompt": "a", "completion": "b", "bad": value}
            for name, value in (("x", True), ("y", 0))
        ]
    )
    assert label_values(records, "bad", ["y", "x", "y"]).tolist() == [False, True, False]
    wrong = records_from_rows([{"id": "x", "prompt": "a", "completion": "b", "bad": "maybe"}])
    with pytest.raises(AitiaError, match="'maybe' is neither true nor false"):
        label_values(wrong, "bad", ["x"])


def test_scorers_need_activations_that_a_scan_can_keep():
    needed = {each for name in scorer_names() for each in find_scorer(name).needs().activations}
    assert needed <= set(ACTIVATIONS)
    assert "backward" in needed
