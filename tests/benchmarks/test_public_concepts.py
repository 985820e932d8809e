"""The parts on concepts and traits from start to end, on a tiny model and texts made for the purpose; their tables."""

import numpy as np
import pytest

from documented.public import TABLES
from planted.findings import Findings
from public import axbench, traits
from public.axbench import AGAINST, Text

WORDS = ("sun", "rain", "wind")


@pytest.fixture
def concepts(tiny_model, tmp_path, monkeypatch):
    """Three concepts, each a word; `hard negative` texts have the word of another concept."""

    def text(concept, category, word, number):
        answer = f"It is {word}, and number {number} of {number + 3} is {word}."
        return Text(question=f"What is {number}?", answer=answer, concept=concept, category=category)

    training = [text(-1, "negative", "plain", i) for i in range(12)]
    training += [text(c, "positive", word, i) for c, word in enumerate(WORDS) for i in range(12)]
    others = [text(c, "positive", word, 20 + i) for c, word in enumerate(WORDS) for i in range(5)]
    others += [text(c, "negative", "plain", 30 + i) for c in range(3) for i in range(5)]
    others += [text(c, "hard negative", WORDS[c - 1], 40) for c in (0, 1)]
    scale = axbench.Scale(
        models=("tiny",), concepts=(0, 1, 2), site_stride=2, recipes=("contrast", "lda-probe")
    )
    monkeypatch.setattr(axbench, "FOLDER", tmp_path / "axbench")
    monkeypatch.setattr(axbench, "QUICK", scale)
    monkeypatch.setattr(axbench, "read_texts", {"train": training, "evaluate": others}.__getitem__)
    monkeypatch.setattr(traits, "read_texts", {"train": training, "evaluate": others}.__getitem__)
    monkeypatch.setattr(axbench, "public_model", lambda *_, **__: tiny_model)
    return scale


def test_concepts_are_found_from_start_to_end_and_the_choice_never_sees_the_test_texts(concepts):
    found = Findings()
    axbench.run(found, quick=True)
    each = [row for row in found.rows if row["concept"] != "mean"]
    # For each set of negatives: words, two recipes, and the one that is chosen; of three concepts each.
    assert len(each) == len(AGAINST) * 4 * 3
    for row in each:
        assert row["auc"] == pytest.approx(1.0) or row["model"] == "tiny"
    for row in (row for row in each if "recipe" in row):
        rivals = [
            other
            for other in each
            if (other["concept"], other["against"]) == (row["concept"], row["against"])
            and other["model"] == "tiny"
            and "recipe" not in other
        ]
        assert row["cross_validated_auc"] == max(other["cross_validated_auc"] for other in rivals)
    means = {(row["method"], row["against"]): row for row in found.rows if row["concept"] == "mean"}
    of = [row["auc"] for row in each if row["method"] == "contrast" and row["against"] == AGAINST[1]]
    assert means["contrast", AGAINST[1]]["auc"] == pytest.approx(np.mean(of))
    assert {target.name for target in found.targets} == {
        "AxBench, mean AUC over the concepts, tiny",
        "AxBench, gain in AUC over words, tiny",
    }
    again = Findings()
    axbench.run(again, quick=True)
    assert again.rows == found.rows  # read, not made again: the seconds are the same
    assert "| tiny | all other texts | contrast |" in TABLES["public.axbench"].make({"rows": found.rows})


def test_traits_are_tried_in_each_model_and_carried_between_them(concepts, tiny_model, tmp_path, monkeypatch):
    scale = traits.Scale(
        models=("one", "two"),
        traits=("mood",),
        questions=4,
        prompts=2,
        tokens=5,
        site_stride=2,
        recipes=("contrast",),
    )
    rows = [
        {"system_prompt": f"{side} {p}", "prompt": f"Question {q}?"}
        for side in traits.SIDES
        for p in range(2)
        for q in range(4)
    ]
    by_side = {side: [row for row in rows if row["system_prompt"].startswith(side)] for side in traits.SIDES}
    monkeypatch.setattr(traits, "FOLDER", tmp_path / "traits")
    monkeypatch.setattr(traits, "QUICK", scale)
    monkeypatch.setattr(traits, "json_rows", lambda name: by_side[name.split(".")[1]])
    monkeypatch.setattr(traits, "public_model", lambda *_, **__: tiny_model)
    found = Findings()
    traits.run(found, quick=True)
    alone = [row for row in found.rows if "fitted_on" not in row]
    assert [(row["model"], row["read"]) for row in alone] == [
        (model, read)
        for model in ("one", "two")
        for read in (traits.ALONE, traits.ALONE, traits.UNDER_PROMPT)
    ]
    carried = [row for row in found.rows if "fitted_on" in row]
    assert [(row["fitted_on"], row["model"]) for row in carried] == [("one", "two"), ("two", "one")]
    for row in carried:  # both names stand for the same model, so a direction arrives as it left
        assert row["spearman_on_shared_texts"] == pytest.approx(1.0, abs=1e-3)  # but for rounding
        assert row["shared_correlation"] > 0.9
        assert 0 <= row["auc"] <= 1
    again = Findings()
    traits.run(again, quick=True)
    assert again.rows == found.rows
    assert "| one | answers alone | contrast |" in TABLES["public.traits"].make({"rows": found.rows})
    assert "| mood | one | two | contrast |" in TABLES["public.traits.carried"].make({"rows": found.rows})
