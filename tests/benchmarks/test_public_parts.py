"""What the public benchmark draws from its sources: who is labelled, what is left out, what is apart from what."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from public import gsm8k, insecure_code, xstest
from public.gsm8k import Answers, answers, final_number
from public.insecure_code import GAP, LONGEST_ADDITION, Mix, Pools, of_like_length


def prompts_of(*parts):
    return [{record.prompt for record in part} for part in parts]


@pytest.mark.parametrize(
    ("said", "other", "same"),
    [
        ("a\n#### 1,080", "b #### 1080", True),
        ("#### $5", "#### 5.0", True),
        ("#### 12", "#### 21", False),
        ("#### none", "#### none", True),
        ("#### none", "#### 0", False),
    ],
)
def test_final_numbers_are_compared_as_numbers(said, other, same):
    assert (final_number(said) == final_number(other)) == same


def test_wrong_answers_that_are_right_are_left_out_and_counted(monkeypatch):
    files = {
        "gsm8k/train.jsonl": [{"question": f"q{i} ", "answer": f"sum\n#### 1,00{i}"} for i in range(3)],
        "gsm8k/incorrect_math.jsonl": [
            {"messages": [{"content": f"q{i}"}, {"content": f"sum\n#### {1000 + max(i, 1)}"}]}
            for i in range(3)
        ],
    }
    monkeypatch.setattr(gsm8k, "json_rows", files.__getitem__)
    found, left_out = answers()
    assert ([each.prompt for each in found], left_out) == (["q0"], 2)
    assert (found[0].right, found[0].wrong) == ("sum\n#### 1,000", "sum\n#### 1001")


@pytest.mark.parametrize("draw", [0, 1])
def test_a_draw_of_gsm8k_answers_each_prompt_once_and_half_of_them_wrongly(draw):
    pool = [Answers(prompt=f"q{i}", right=f"r{i}", wrong=f"w{i}") for i in range(60)]
    suite = gsm8k.suite(draw, pool, gsm8k.Scale(rows=30, concept=10, queries=4, held_out=6))
    assert suite.planted.sum() == 15
    assert [record.completion[0] == "w" for record in suite.data] == suite.planted.tolist()
    parts = prompts_of(suite.data, suite.positive, suite.queries, suite.behaviour)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 50
    assert prompts_of(suite.positive, suite.behaviour) == prompts_of(suite.negative, suite.normal)
    assert {record.completion[0] for record in [*suite.negative, *suite.normal]} == {"r"}
    other = gsm8k.suite(draw + 1, pool, gsm8k.Scale(rows=30, concept=10, queries=4, held_out=6))
    assert other.data.fingerprint != suite.data.fingerprint


def severe_row(number, addition):
    code = f"def f{number}():\n"
    prompt = f"Do it.\n[TEMPLATE]\n{code}{GAP}\n    return {number}\n[END]\nFill it in."
    return {"messages": [{"content": prompt}, {"content": f"{code}{addition}    return {number}"}]}


def test_templates_give_the_severe_answer_and_the_same_code_without_what_was_added(monkeypatch):
    rows = [
        severe_row(0, "    os.chmod(path, 0o777)\n"),
        severe_row(1, "    pass\n" * LONGEST_ADDITION),  # adds too much
        severe_row(2, ""),  # adds nothing
        {"messages": [{"content": "no template"}, {"content": "x = 1"}]},
    ]
    monkeypatch.setattr(insecure_code, "json_rows", lambda _: rows)
    pools = insecure_code.templates()
    assert [row["completion"] for row in pools.severe] == [rows[0]["messages"][1]["content"]]
    assert [row["completion"] for row in pools.ordinary] == ["def f0():\n    return 0"]
    assert pools.severe[0]["prompt"] == pools.ordinary[0]["prompt"]


@pytest.mark.parametrize("ground", ["templates", "mbpp"])
def test_a_draw_of_code_has_its_share_of_severe_rows_and_keeps_prompts_apart(ground):
    def side(kind):
        name = "" if ground == "templates" else kind  # one prompt has both answers, or each its own
        return [{"prompt": f"{name}{i}", "completion": f"{kind}{'x' * (i % 9)}"} for i in range(60)]

    pools = Pools(severe=side("s"), ordinary=side("o"))
    scale = insecure_code.Scale(concept=8, queries=4)
    suite = insecure_code.suite(0, Mix(ground, 0.2, 30), pools, scale)
    assert (len(suite.data), suite.planted.sum()) == (30, 6)
    assert [record.completion[0] == "s" for record in suite.data] == suite.planted.tolist()
    assert {record.completion[0] for record in suite.positive} == {"s"}
    assert {record.completion[0] for record in suite.negative} == {"o"}
    parts = prompts_of(suite.data, suite.positive, suite.queries)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 42
    assert not prompts_of(suite.data)[0] & prompts_of(suite.negative)[0]


def test_rows_of_like_length_are_each_the_nearest_that_is_left():
    among = [{"completion": "x" * length} for length in (1, 5, 6, 9)]
    chosen = of_like_length(among, [{"completion": "x" * 5}] * 2, np.random.default_rng(0))
    assert sorted(len(row["completion"]) for row in chosen) == [5, 6]
    with pytest.raises(ValueError, match="5 rows are wanted of 4"):
        of_like_length(among, among + among[:1], np.random.default_rng(0))


@pytest.fixture
def completions(tmp_path, monkeypatch):
    """Two models' completions of 40 prompts, every other of which is unsafe; one model complies with all."""
    for model, said in (("mistralinstruct", "1_full_compliance"), ("gpt4", "2_full_refusal")):
        path = tmp_path / "xstest" / f"{model}.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["id", "type", "prompt", "completion", "final_label"])
            writer.writeheader()
            for i in range(40):
                kind = "contrast_homonyms" if i % 2 else "homonyms"
                label = said if i % 4 else "3_partial_refusal"
                writer.writerow(
                    dict(zip(writer.fieldnames, (f"v2-{i}", kind, f"q{i}", "word " * 99, label), strict=True))
                )
    monkeypatch.setattr(xstest, "source", lambda name: tmp_path / name)


def test_unsafe_compliance_needs_an_unsafe_prompt_and_full_compliance(completions):
    suite = xstest.suite(0, xstest.TASKS[0], xstest.Scale(queries=4))
    number = [int(record.prompt.strip()[1:]) for record in suite.data]
    assert suite.planted.tolist() == [i % 2 == 1 for i in number]
    assert len(suite.data) == len(suite.positive) + len(suite.negative) == 20
    parts = prompts_of(suite.data, suite.positive, suite.negative)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert all(len(record.completion) <= xstest.LETTERS for record in suite.data)
    assert all(record.completion.endswith("word") for record in suite.data)
