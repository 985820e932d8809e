import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aitia.concepts import (
    Concept,
    Recipe,
    fit_concept,
    fit_direction,
    fitted_texts,
    load_concept,
    random_directions,
    require_concept_fits,
    require_sae_place,
    require_same_base,
)
from aitia.concepts.directions import DIRECTIONS, difference_of_means
from aitia.concepts.fitting import shuffled_directions
from aitia.concepts.separation import held_out_projections
from aitia.errors import ConceptError, RecordError, SiteError, StoreError
from aitia.records import read_records, records_from_rows, tokenize
from aitia.statistics import auc


@settings(deadline=None)  # the first example pays for importing SciPy
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30).filter(
        lambda rows: len({label for _, label in rows}) == 2
    )
)
def test_auc_equals_counting_pairs(rows):
    scores = np.array([score for score, _ in rows], dtype=float)
    labels = np.array([label for _, label in rows])
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[labels] for b in scores[~labels]]
    assert auc(scores, labels) == pytest.approx(sum(wins) / len(wins))


def clouds(seed=0, n=60, d=20, gap=1.5):
    """Two clouds that differ along axis 3, with a loud nuisance along axis 0."""
    generator = np.random.default_rng(seed)
    scale = np.ones(d)
    scale[0] = 30.0
    positive, negative = (generator.standard_normal((n, d)) * scale for _ in range(2))
    positive[:, 3] += gap
    return positive, negative


def test_difference_of_means_is_the_unit_difference():
    positive, negative = clouds()
    expected = positive.mean(0) - negative.mean(0)
    np.testing.assert_allclose(
        difference_of_means(positive, negative), expected / np.sqrt((expected**2).sum())
    )


@pytest.mark.parametrize("name", ["logistic-probe", "ridge-probe", "lda-probe"])
def test_probes_ignore_a_loud_nuisance(name):
    positive, negative = clouds()
    direction = DIRECTIONS[name](positive, negative)
    assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-6)
    assert direction[3] > 0.5
    assert abs(direction[0]) < 0.1


def test_lda_probe_is_fishers_discriminant_however_many_negatives_there_are():
    """With many texts the shrinkage vanishes, and the weight is S^-1 (difference of means) over both sets alike."""
    generator = np.random.default_rng(3)
    mixing = generator.standard_normal((6, 6))
    positive = generator.standard_normal((20_000, 6)) @ mixing + generator.standard_normal(6)
    negative = generator.standard_normal((20_000, 6)) @ mixing.T
    within = (np.cov(positive.T) + np.cov(negative.T)) / 2
    expected = np.linalg.solve(within, positive.mean(0) - negative.mean(0))
    lda = DIRECTIONS["lda-probe"]
    for texts in (negative, np.repeat(negative, 3, axis=0)):
        assert lda(positive, texts) @ expected / np.linalg.norm(expected) > 0.9999


def test_every_recipe_can_be_named_in_a_configuration():
    assert set(get_args(Recipe)) == set(DIRECTIONS)


def test_one_tracing_serves_every_recipe():
    """`fit_direction` picks the site that separates, and does at each what cross-validation by hand does."""
    positive, negative = clouds(gap=4)
    generator = np.random.default_rng(4)
    sites = {
        "resid_post.0": generator.standard_normal((120, 20)),
        "resid_post.1": np.concatenate([positive, negative]),
    }
    groups = [str(i) for i in range(120)]
    labels = np.repeat([True, False], 60)
    for recipe, method in DIRECTIONS.items():
        fitted = fit_direction(
            {site: rows[:60] for site, rows in sites.items()},
            {site: rows[60:] for site, rows in sites.items()},
            groups,
            recipe=recipe,
        )
        if recipe != "contrast":  # which the loud nuisance deafens
            assert fitted.site == "resid_post.1"
        rows = sites[fitted.site]
        np.testing.assert_array_equal(fitted.direction, method(rows[:60], rows[60:]))
        held_out = held_out_projections(rows[:60], rows[60:], groups, method)
        assert fitted.auc_by_site[fitted.site] == auc(held_out, labels) == max(fitted.auc_by_site.values())


def test_held_out_projections_are_honest_on_noise():
    """Where the labels mean nothing, held-out AUC is near a half although the fitted one is near one."""
    generator = np.random.default_rng(1)
    labels = np.repeat([True, False], 40)
    groups = [str(i) for i in range(80)]
    held_out = []
    for _ in range(20):
        positive, negative = generator.standard_normal((40, 300)), generator.standard_normal((40, 300))
        direction = difference_of_means(positive, negative)
        assert auc(np.concatenate([positive, negative]) @ direction, labels) > 0.95
        held_out.append(auc(held_out_projections(positive, negative, groups, difference_of_means), labels))
    assert np.mean(held_out) == pytest.approx(0.5, abs=0.06)  # a standard error of 0.015, four of them


def test_answers_to_one_prompt_are_held_out_together():
    """Twins on both sides of a split would make pure noise look separable."""
    generator = np.random.default_rng(2)
    base = generator.standard_normal((20, 200))
    positive, negative = np.repeat(base[:10], 4, axis=0), np.repeat(base[10:], 4, axis=0)
    groups = [f"p{i // 4}" for i in range(40)] + [f"n{i // 4}" for i in range(40)]
    labels = np.repeat([True, False], 40)
    grouped = held_out_projections(positive, negative, groups, difference_of_means)
    separate = held_out_projections(positive, negative, [str(i) for i in range(80)], difference_of_means)
    assert auc(separate, labels) > 0.95
    assert auc(grouped, labels) < 0.85


def test_too_few_texts_are_refused():
    with pytest.raises(ConceptError, match="at least two different prompts"):
        held_out_projections(np.ones((1, 2)), np.ones((3, 2)), list("abcd"), difference_of_means)


def test_controls_are_unit_and_seeded():
    random = random_directions(16, count=5, seed=1)
    np.testing.assert_allclose(np.linalg.norm(random, axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(random, random_directions(16, count=5, seed=1))
    positive, negative = clouds()
    shuffled = shuffled_directions(positive, negative, difference_of_means, count=4, seed=0)
    assert shuffled.shape == (4, 1, 20)
    assert np.abs(shuffled[:, 0, 3]).max() < 0.5


@pytest.fixture(scope="module")
def texts():
    """Positive texts use one word, negative ones another, after the same prompts."""
    prompts = [f"Question {i}: how are you?\n" for i in range(12)]
    return tuple(
        records_from_rows([{"prompt": prompt, "completion": f"{word} {word} {word}."} for prompt in prompts])
        for word in ("garden", "nothing")
    )


def test_texts_left_out_leave_the_rest_as_it_is(tiny_model, texts, tmp_path):
    """A fit that skips a long text and one that is not valid is the fit to the others, with the same folds."""
    lines = [json.dumps({"prompt": r.prompt, "completion": r.completion, "id": r.id}) for r in texts[0]]
    long = json.dumps({"prompt": "Long?\n", "completion": "garden " * 400, "id": "long"})
    (tmp_path / "p.jsonl").write_text("\n".join([lines[0], long, *lines[1:6], "{", *lines[6:]]))
    with pytest.raises(RecordError, match=r"p.jsonl:8"):
        fit_concept(tiny_model, tmp_path / "p.jsonl", texts[1], shuffles=2)
    found = fit_concept(tiny_model, tmp_path / "p.jsonl", texts[1], shuffles=2, on_error="skip")
    clean = fit_concept(tiny_model, *texts, shuffles=2)
    np.testing.assert_array_equal(found.direction, clean.direction)
    np.testing.assert_array_equal(found.shuffled, clean.shuffled)
    assert (found.site, found.separation.auc_by_site) == (clean.site, clean.separation.auc_by_site)
    assert [place for place, _ in found.recipe["skipped"]] == ["p.jsonl:8", "p.jsonl:2"]


def test_texts_are_cut_where_that_is_wanted(tiny_model, texts):
    """What stands behind the cut does not count."""
    changed = [
        {
            "prompt": record.prompt,
            "completion": f"{record.completion} nothing nothing nothing",
            "id": record.id,
        }
        for record in texts[0]
    ]
    cut = {"max_length": 24, "truncate": True, "shuffles": 2, "sites": ["resid_post.1"]}
    one, other = (
        fit_concept(tiny_model, each, texts[1], **cut) for each in (texts[0], records_from_rows(changed))
    )
    length = min(len(row.tokens) for row in tokenize(texts[0], tiny_model.tokenizer, max_length=256))
    assert length > 24
    np.testing.assert_array_equal(one.direction, other.direction)


@pytest.mark.parametrize("recipe", list(DIRECTIONS))
def test_fit_separates_held_out_texts_and_survives_a_file(tiny_model, texts, tmp_path, recipe):
    concept = fit_concept(tiny_model, *texts, name="garden", recipe=recipe, shuffles=3)
    assert concept.separation is not None
    assert concept.separation.auc > 0.95
    assert set(concept.separation.auc_by_site) == set(tiny_model.sites)
    assert concept.separation.auc == max(concept.separation.auc_by_site.values())
    loaded = load_concept(concept.save(tmp_path / "garden.concept.safetensors"))
    np.testing.assert_array_equal(loaded.direction, concept.direction)
    np.testing.assert_array_equal(loaded.shuffled, concept.shuffled)
    assert loaded.shuffled.shape == (3, 1, 32)
    for field in ("name", "site", "model_fingerprint", "base_fingerprint", "recipe", "separation"):
        assert getattr(loaded, field) == getattr(concept, field)
    require_concept_fits(loaded, tiny_model)


def test_fit_is_reproducible(tiny_model, texts):
    first, second = (fit_concept(tiny_model, *texts, seed=5, shuffles=2) for _ in range(2))
    np.testing.assert_array_equal(first.direction, second.direction)
    assert first.fingerprint == second.fingerprint


def test_a_concept_of_another_model_or_site_is_refused(tiny_model, make_model, texts):
    concept = fit_concept(tiny_model, *texts, sites=["resid_post.3"], shuffles=0)
    with pytest.raises(ConceptError, match="fitted on another model"):
        require_concept_fits(concept, make_model("llama", seed=1))
    with pytest.raises(SiteError, match=r"resid_post.0 to resid_post.1"):
        require_concept_fits(concept, make_model("llama", layers=2))
    with pytest.raises(SiteError):
        fit_concept(tiny_model, *texts, sites=["resid_post.7"])
    with pytest.raises(ConceptError, match="contrast, logistic-probe, ridge-probe, lda-probe"):
        fit_concept(tiny_model, *texts, recipe="magic")


def test_another_precision_is_noted_and_float16_is_named(make_model, texts, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    concept = fit_concept(make_model("llama"), *texts, sites=["resid_post.3"], shuffles=0)
    file = concept.save(tmp_path / "a.concept.safetensors")
    narrow, half = make_model("llama"), make_model("llama")
    narrow.network.bfloat16()
    capsys.readouterr()
    require_concept_fits(load_concept(file), narrow)
    assert "in another precision (float32 there, bfloat16 here)" in capsys.readouterr().err
    half.network.half()
    with pytest.raises(ConceptError, match=r"float32 there, float16 here\); float16 has another range"):
        require_concept_fits(concept, half)


def test_the_same_texts_on_both_sides_are_refused(tiny_model, texts):
    with pytest.raises(ConceptError, match="are the two sets of texts the same"):
        fit_concept(tiny_model, texts[0], texts[0])


def test_damaged_concept_files_are_refused(tiny_model, texts, tmp_path):
    file = fit_concept(tiny_model, *texts, shuffles=0).save(tmp_path / "a.concept.safetensors")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-9])
    (tmp_path / "text").write_text("not a concept")
    for bad in ("cut", "text"):
        with pytest.raises(ConceptError, match="damaged"):
            load_concept(tmp_path / bad)
    with pytest.raises(ConceptError, match="no such concept file"):
        load_concept(tmp_path / "none")
    from safetensors.numpy import save_file

    save_file({"direction": np.ones((1, 4), dtype=np.float32)}, tmp_path / "other", {"format": json.dumps(1)})
    with pytest.raises(ConceptError, match="not a concept file"):
        load_concept(tmp_path / "other")


def test_a_direction_that_is_not_finite_is_refused(tiny_model, texts):
    concept = fit_concept(tiny_model, *texts, shuffles=0)
    with pytest.raises(ConceptError, match="not finite"):
        replace(concept, direction=np.full((1, 32), np.nan))
    assert isinstance(replace(concept, direction=np.ones(32)), Concept)


def test_the_texts_of_a_concept_are_read_again_while_they_are_as_they_were(tiny_model, tmp_path):
    files = tmp_path / "sad.jsonl", tmp_path / "glad.jsonl"
    for file, word in zip(files, ("rain", "sun"), strict=True):
        lines = [json.dumps({"prompt": f"What of {i}?", "completion": f"{word} {i}"}) for i in range(8)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    concept = fit_concept(tiny_model, *map(read_records, files), sites=["resid_post.1"], name="rain")
    positive, negative = fitted_texts(concept)
    assert [each.completion_text for each in positive] == [f"rain {i}" for i in range(8)]
    assert [each.completion_text for each in negative] == [f"sun {i}" for i in range(8)]
    files[1].write_text(files[1].read_text().replace("sun 3", "sun 4"), encoding="utf-8")
    with pytest.raises(ConceptError, match="negative texts .* have changed"):
        fitted_texts(concept)


def test_another_base_model_is_refused_by_its_fingerprint(tiny_model, make_model):
    texts = [
        records_from_rows([{"prompt": f"a {i}", "completion": f"{w} {i}"} for i in range(6)])
        for w in ("x", "y")
    ]
    concept = fit_concept(tiny_model, *texts, sites=["resid_post.1"], name="x")
    require_same_base(concept, tiny_model.base_fingerprint, "float32", "this model")
    other = make_model("llama", seed=1)
    with pytest.raises(ConceptError, match=r"than that store \(float32 there, float32 here\)"):
        require_same_base(concept, other.base_fingerprint, "float32", "that store")


def test_an_autoencoder_is_not_written_over_other_things(tmp_path):
    require_sae_place(tmp_path / "new")
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "cfg.json").write_text("{}")
    require_sae_place(tmp_path / "sae")
    (tmp_path / "sae" / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"thesis\.tex"):
        require_sae_place(tmp_path / "sae")
