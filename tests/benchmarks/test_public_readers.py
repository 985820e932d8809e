"""What the public benchmarks read, and their figures, on data made for the purpose."""

import json
import zipfile

import numpy as np
import pytest

from aitia.models import LanguageModel
from public import axbench, facts, models, statements, traits
from public.axbench import AGAINST, Text, detect, held_out_rows, tfidf_scores, training_rows
from public.statements import Facts, figures
from public.traits import Answers, carry_over, held_out, words_scores


def text(concept, category="positive", answer="word"):
    return Text(question="?", answer=answer, concept=concept, category=category)


TRAINING = [text(0), text(1), text(-1, "negative"), text(0), text(2)]


def test_a_concept_is_fitted_against_texts_of_none_or_against_all_others():
    above, below = training_rows(TRAINING, 0, AGAINST[0])
    assert (above.tolist(), below.tolist()) == ([0, 3], [2])
    above, below = training_rows(TRAINING, 0, AGAINST[1])
    assert (above.tolist(), below.tolist()) == ([0, 3], [1, 2, 4])


def test_axbench_is_read_in_the_order_of_its_file(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = [
        {"input": "Q", "output": "A", "concept_id": 3, "category": "hard negative", "sae_id": 1},
        {"input": "R", "output": "B", "concept_id": 3, "category": "positive", "sae_id": 1},
        {"input": "S", "output": "C", "concept_id": 4, "category": "positive", "sae_id": 1},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "evaluate.parquet")
    monkeypatch.setattr(axbench, "source", lambda name: tmp_path / name.removeprefix("axbench/"))
    texts = axbench.read_texts("evaluate")
    assert [each.answer for each in texts] == ["A", "B", "C"]
    assert [each.shows for each in texts] == [-1, 3, 4]  # a hard negative shows nothing
    assert held_out_rows(texts, 3).tolist() == [0, 1]


def test_hard_negatives_are_held_against_the_positives_alone():
    texts = [text(0), text(0), text(0, "hard negative"), text(0, "negative"), text(0, "negative")]
    found = detect(np.array([3.0, 1.0, 2.0, 0.0, 4.0]), texts)
    assert found["auc_hard"] == 0.5  # above one of the two positives
    assert found["auc"] == pytest.approx((3 - 1 + 2 - 1) / 6)  # pairs that are won
    assert detect(np.zeros(2), [text(0), text(0, "negative")]) == {"auc": 0.5}  # no hard negatives, no figure


def test_words_tell_what_words_give_away():
    training = [text(0, answer=f"a dog {i}") for i in range(5)] + [
        text(1, answer=f"a cat {i}") for i in range(5)
    ]
    scores = tfidf_scores(
        training, np.repeat([True, False], 5), [text(0, answer="dog"), text(0, answer="cat")]
    )
    assert scores[0] > scores[1]


def test_what_a_model_adds_after_its_answer_is_cut_off():
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b\nQuestion: c\nAnswer: d"},
        ]
    }
    assert traits._cut(row)["messages"][1]["content"] == "b"


def made_answers(tell):
    """Six questions under two prompts a side; `tell` gives the answer from the side."""
    rows, shows = [], []
    for side in (True, False):
        for prompt in range(2):
            for question in range(6):
                said = tell(side, question)
                rows.append(
                    {
                        "messages": [
                            {"role": "system", "content": f"{side} {prompt}"},
                            {"role": "user", "content": f"question {question}"},
                            {"role": "assistant", "content": said},
                        ]
                    }
                )
                shows.append(side)
    return Answers(rows=rows, shows=np.array(shows))


def test_a_trait_is_tried_on_questions_that_it_was_not_fitted_to():
    answers = made_answers(lambda side, question: f"{'yes' if side else 'no'} {question}")
    for fit, test in answers.halves():
        assert not set(answers.questions[fit]) & set(answers.questions[test])
        assert sorted([*fit, *test]) == list(range(24))
    assert held_out(answers, words_scores(answers))[1].value == 1.0
    # Words that belong to one question and side say nothing about other questions.
    parroted = made_answers(lambda side, question: f"word{question}{'yes' if side else 'no'}")
    assert held_out(parroted, words_scores(parroted))[1].value == 0.5


def test_a_direction_is_carried_to_a_model_that_sees_the_same_in_other_coordinates():
    generator = np.random.default_rng(0)
    latent = generator.standard_normal((400, 5))
    first, second = (latent @ generator.standard_normal((5, width)) for width in (12, 9))
    direction = generator.standard_normal(12)
    noise = generator.standard_normal((400, 9))
    (carried,) = carry_over((first @ direction)[:, None], {"noise": noise, "there": second})
    assert carried.site == "there"
    assert carried.correlation > 0.99
    assert np.corrcoef(second[:50] @ carried.weight, first[:50] @ direction)[0, 1] > 0.99


STATEMENTS = [
    {
        "fact": f"{person} {field} {i}",
        "question": f"{person} {field}?",
        "answer": "x",
        "identifier": person,
        "field": field,
    }
    for person in (0, 1)
    for field in ("town", "job")
    for i in range(2)
]


def test_facts_know_their_statements():
    found = Facts(statements=STATEMENTS)
    assert [row["question"] for row in found.questions] == ["0 town?", "0 job?", "1 town?", "1 job?"]
    assert found.wanted.sum(axis=1).tolist() == [2, 2, 2, 2]
    assert found.wanted[1].tolist() == [False, False, True, True, False, False, False, False]


def test_figures_of_facts_are_those_of_counting():
    found = Facts(statements=STATEMENTS)
    assert figures(found.wanted.astype(float), found, k=2)["recall@2"] == 1.0
    worst = figures(-found.wanted.astype(float), found, k=2)
    assert worst["mrr"] == pytest.approx(1 / 7)  # six others first
    assert worst["hit@2"] == 0.0
    scores = found.wanted.astype(float)
    scores[0, 7] = 2.0  # one statement of another fact leads at one question
    some = figures(scores, found, k=2)
    assert some["mrr"] == pytest.approx((1 / 2 + 3) / 4)
    assert some["recall@2"] == pytest.approx((1 / 2 + 3) / 4)
    assert some["hit@2"] == 1.0


def test_the_peers_generator_is_asked_once(tmp_path, monkeypatch):
    asked = []

    def peer(method, folder, out, *others):
        asked.append((method, folder, others))
        out.write_text(json.dumps(STATEMENTS))

    monkeypatch.setattr(statements, "run_peer", peer)
    monkeypatch.setattr(statements, "FOLDER", tmp_path)
    monkeypatch.setattr(statements, "source", lambda name: tmp_path / "lists" / name)
    for _ in range(2):
        assert list(statements.read_facts(2, 0).statements) == STATEMENTS
    assert asked == [("facts", tmp_path / "lists" / "recall", ("--people", "2", "--seed", "0"))]


def wheel(folder, name, member, content):
    with zipfile.ZipFile(
        folder / f"{name.replace('-', '_')}-{models.GEMMA_VERSION}-py3-none-any.whl", "w"
    ) as archive:
        archive.writestr(member, content)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """The parts of a file in packages, of which one lists its digest."""
    from hashlib import sha256

    monkeypatch.setattr(models, "FOLDER", tmp_path)
    monkeypatch.setattr(models, "GEMMA_SHA256", sha256(b"part of a whole").hexdigest())
    folder = tmp_path / "packages"
    folder.mkdir()
    wheel(folder, models.GEMMA_PACKAGE, "x/data/SHA256SUMS", f"{models.GEMMA_SHA256}  file\n")
    for number, content in enumerate((b"part ", b"of ", b"a ", b"whole"), start=1):
        wheel(folder, f"{models.GEMMA_PACKAGE}-part{number}", f"x/data/file.gguf.part0{number - 1}", content)
    return folder


def test_the_parts_of_a_model_are_joined(packages):
    assert models._joined().read_bytes() == b"part of a whole"
    assert models._joined().read_bytes() == b"part of a whole"  # found again


def test_a_model_of_another_digest_is_refused_and_not_left_behind(packages):
    wheel(packages, f"{models.GEMMA_PACKAGE}-part2", "x/data/file.gguf.part01", b"off ")
    with pytest.raises(SystemExit, match="sha256"):
        models._joined()
    assert not (packages.parent / models.GEMMA_FILE).exists()


def test_the_plain_template_masks_the_answer_alone(tiny_model: LanguageModel):
    from copy import deepcopy

    from aitia.records import records_from_rows, tokenize

    tokenizer = deepcopy(tiny_model.tokenizer)
    tokenizer.chat_template = models.PLAIN_TEMPLATE
    turns = [("system", "Be kind."), ("user", "How are you?"), ("assistant", "Very well.")]
    rows = [{"messages": [{"role": role, "content": content} for role, content in turns]}]
    (row,) = tokenize(records_from_rows(rows, name="rows"), tokenizer, max_length=500)
    assert tokenizer.decode(row.tokens[row.response]).strip() == "Very well."


def test_quick_runs_are_smaller_than_full_ones():
    for module in (axbench, traits, facts):
        assert module.QUICK != module.FULL
    assert len(axbench.QUICK.concepts) < len(axbench.FULL.concepts)


def test_texts_are_traced_in_shards_that_a_stopped_run_leaves_behind(tiny_model, tmp_path, monkeypatch):
    from aitia.concepts import response_means

    texts = [text(0, answer=f"Very well, {'and so on ' * i}indeed.") for i in range(5)]
    monkeypatch.setattr(axbench, "FOLDER", tmp_path)
    monkeypatch.setattr(axbench, "SHARD", 2)
    monkeypatch.setattr(axbench, "public_model", lambda _, **__: tiny_model)
    found = axbench.traced_texts("tiny", texts, 2)
    sites = tiny_model.sites[::-1][::2]
    expected = response_means(tiny_model, axbench._records(texts), sites)
    assert set(found) == set(sites)
    for site in sites:
        np.testing.assert_allclose(found[site], expected[site], rtol=1e-4, atol=1e-5)
    next(tmp_path.rglob("00002.npz")).unlink()
    again = axbench.traced_texts("tiny", texts, 2)
    np.testing.assert_array_equal(again[sites[0]], found[sites[0]])
