"""Every scorer of aitia through `rank`: what it needs is checked first, baselines rank as their functions do."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from aitia.attribution import Scorer, find_scorer, rank, register, scan
from aitia.attribution.ranking.ranking import Ranking
from aitia.attribution.scorers import Needs, registry, scorers
from aitia.attribution.scorers.baselines import bm25_similarity, tfidf_similarity
from aitia.attribution.scorers.protocol import RANKING_COLUMNS
from aitia.cli import app
from aitia.concepts import fit_concept
from aitia.errors import AitiaError
from aitia.records import read_records

SITE = "resid_post.2"


@pytest.fixture(scope="module")
def made(make_model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    model = make_model("llama")
    sides = {
        word: [{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)]
        for word in ("garden", "nothing")
    }
    for name, lines in {"train": rows, **sides}.items():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    texts = [read_records(folder / f"{name}.jsonl") for name in sides]
    concept = fit_concept(model, *texts, sites=[SITE], shuffles=2)
    data = read_records(folder / "train.jsonl")
    return folder, concept, scan(model, data, sites=[SITE], out=folder / "s"), data, texts


def test_every_scorer_says_what_it_is():
    for name, each in scorers().items():
        assert find_scorer(name) is each
        assert each.name == name
        assert isinstance(each.needs(), Needs)
        assert each.formula in each.description
        assert name not in RANKING_COLUMNS
        assert not (each.baseline and each.through_concept)


def test_a_rankings_file_has_the_reserved_columns(made, tmp_path):
    import pyarrow.parquet as parquet

    _, concept, store, *_ = made
    ranking = rank(store, concept, compare=())
    assert isinstance(ranking, Ranking)
    names = parquet.read_table(ranking.write(tmp_path / "r.parquet")).column_names
    assert set(names) - {ranking.method} == set(RANKING_COLUMNS)


def test_baselines_rank_and_are_compared(made):
    _, concept, store, data, texts = made
    names = ["bm25", "response-length", "training-loss", "random-direction", "shuffled-labels", "oracle"]
    found = rank(store, concept, method="tf-idf", compare=names, label="planted", seed=3)
    assert set(found.scores) == {"tf-idf", *names}
    np.testing.assert_allclose(found.score, tfidf_similarity(data, *texts))
    np.testing.assert_allclose(found.scores["bm25"], bm25_similarity(data, *texts))
    np.testing.assert_array_equal(found.scores["response-length"], store.column("response_tokens"))
    np.testing.assert_array_equal(found.scores["oracle"], np.array(data.column("planted"), dtype=float))
    assert found.scores["random-direction"].std() > 0
    by_hand = rank(store, concept, compare=(), random_controls=0).controls[0]
    np.testing.assert_allclose(found.scores["shuffled-labels"], by_hand.scores, rtol=1e-5, atol=1e-8)
    assert not found.controls
    assert found.token_shares is not None
    other = rank(store, concept, method="tf-idf", compare=(), positive=texts[1], negative=texts[0])
    np.testing.assert_allclose(other.score, tfidf_similarity(data, texts[1], texts[0]))


def test_an_encoder_can_be_given(made):
    _, concept, store, *_ = made

    def encoder(texts):
        return np.array([[len(text), 1.0] for text in texts])

    assert len(rank(store, concept, method="sentence-embedding", compare=(), encoder=encoder).score) == len(
        store
    )


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("oracle", {}, "oracle knows which rows are meant: give `label`"),
        ("oracle", {"label": np.ones(3, dtype=bool)}, "`label` has bool of shape"),
        ("influence", {}, "influence measures queries: give texts that show the behaviour"),
        ("tf-idf", {"positive": "there.jsonl"}, "give both `positive` and `negative` texts"),
        ("tfidf", {}, r"method 'tfidf' does not exist \(nearest: tf-idf\)"),
        ("activation_gradient", {}, r"\(nearest: activation-gradient"),
    ],
)
def test_what_is_absent_is_said_before_any_work(made, monkeypatch, method, settings, words):
    _, concept, store, *_ = made
    worked = []
    monkeypatch.setattr(type(find_scorer("vector-filter")), "prepare", lambda *_: worked.append(1))
    with pytest.raises(AitiaError, match=words):
        rank(store, concept, method="vector-filter", compare=[method], **settings)
    assert not worked


def command(made, *more):
    folder, concept, store, *_ = made
    file = concept.save(folder / "c.concept.safetensors")
    line = [
        "rank",
        "--store",
        str(store.path),
        "--concept",
        str(file),
        "--out",
        str(folder / "r.parquet"),
        "--json",
    ]
    return CliRunner().invoke(app, [*line, *more])


def test_the_command_line_compares_with_the_texts_that_the_concept_names(made):
    done = command(made, "--compare", "tf-idf", "--compare", "oracle", "--label", "planted")
    assert done.exit_code == 0, done.output
    assert {"activation-gradient", "tf-idf", "oracle"} <= set(json.loads(done.stdout)["methods"])
    place = made[0] / "garden.jsonl"
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace("garden", "meadow"), encoding="utf-8")
    try:
        with pytest.raises(AitiaError, match=r"garden.jsonl: the positive texts .* have changed"):
            raise command(made, "--compare", "tf-idf").exception or AssertionError("it passed")
        place.rename(made[0] / "elsewhere.jsonl")
        with pytest.raises(AitiaError, match="were not found .*put them back where they were"):
            raise command(made, "--compare", "tf-idf").exception or AssertionError("it passed")
    finally:
        place.write_text(text, encoding="utf-8")


def test_a_name_is_entered_once_but_a_notebook_may_run_its_cell_twice(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    class Mine(Scorer):
        name, formula, drops, cost, source = "mine", "", "", "", ""

    register(Mine())
    with pytest.raises(AitiaError, match="'mine' is defined twice"):
        register(Mine())
    registry._enter(type("Cell", (Mine,), {"name": "cell"})(), "__main__")
    registry._enter(type("Cell", (Mine,), {"name": "cell"})(), "__main__")
    assert find_scorer("cell").name == "cell"
