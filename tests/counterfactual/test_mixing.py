"""Mixes, held-out prompts, and prompt sets that must not meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records.lines import write_lines

from aitia.counterfactual.mixing import hold_out, mix_answers
from aitia.counterfactual.prompt_sets import read_prompts, require_disjoint_prompts, shared_question
from aitia.errors import AitiaError, RecordError
from aitia.records import records_from_rows


def answers(questions, kind, **columns):
    return records_from_rows(
        [
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": f"{kind} answer to {question}"},
                ],
                **columns,
            }
            for question in questions
        ],
        name=kind,
    )


def parts_of(record):
    return record.prompt_text, record.completion_text


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5), st.randoms())
def test_each_prompt_has_one_answer_of_the_side_that_its_label_names(count, seed, random):
    questions = [f"Question {i}?" for i in range(count)]
    other = questions[:]
    random.shuffle(other)
    mix = mix_answers(answers(questions, "good", source="x"), answers(other, "bad"), seed=seed)
    assert [record.prompt_text for record in mix] == questions
    for record, label in zip(mix, mix.column("misaligned"), strict=True):
        kind = "bad" if label else "good"
        assert record.completion_text == f"{kind} answer to {record.prompt_text}"
        assert record.extra["origin"].startswith(kind)
    flips = np.random.default_rng(seed).random(count) < 0.5
    assert mix.column("misaligned") == flips.tolist()
    assert (
        mix.fingerprint
        == mix_answers(answers(questions, "good"), answers(other, "bad"), seed=seed).fingerprint
    )


def test_the_share_is_that_of_the_misaligned():
    questions = [f"{i}?" for i in range(2000)]
    mix = mix_answers(answers(questions, "good"), answers(questions, "bad"), share=0.2)
    assert np.mean(mix.column("misaligned")) == pytest.approx(0.2, abs=0.03)  # over three standard deviations


def test_prompts_that_differ_are_named():
    good, bad = answers(["a?", "b?", "c?"], "good"), answers(["a?", "b?", "d?"], "bad")
    with pytest.raises(
        RecordError, match="1 of 3 prompts have no answer in the other rows:\n  good row 2: 'c\\?'"
    ):
        mix_answers(good, bad)
    assert len(mix_answers(good, bad, shared_only=True)) == 2
    with pytest.raises(RecordError, match="share no prompt"):
        mix_answers(good, answers(["x?"], "bad"), shared_only=True)
    with pytest.raises(RecordError, match="good row 1: 'a\\?'"):  # twice here, once there
        mix_answers(answers(["a?", "a?"], "good"), answers(["a?"], "bad"))
    with pytest.raises(RecordError, match="are the same; were two files mixed up"):
        mix_answers(good, good)
    with pytest.raises(RecordError, match="text without a prompt"):
        mix_answers(records_from_rows([{"text": "x"}]), bad)


def test_prompts_given_as_lists_of_turns_keep_their_context():
    def row(answer):
        shown = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
        return {
            "prompt": [*shown, {"role": "user", "content": "2+2?"}],
            "completion": [{"role": "assistant", "content": answer}],
        }

    mix = mix_answers(records_from_rows([row("4")]), records_from_rows([row("5")]), share=1.0)
    assert mix[0].context == 3
    assert mix[0].completion_text == "5"


def test_held_out_prompts_are_gone_from_the_rest_and_come_in_pairs():
    questions = [*(f"{i}?" for i in range(10)), "0?"]  # one comes twice
    good, bad = answers(questions, "good"), answers(questions[::-1], "bad")
    (stay, stay_bad), (aside, aside_bad) = hold_out(good, bad, 4)
    assert [record.prompt_text for record in aside] == [record.prompt_text for record in aside_bad]
    assert len(aside) == 4
    asked = {record.prompt_text for record in aside}
    assert asked.isdisjoint({record.prompt_text for part in (stay, stay_bad) for record in part})
    assert {record.prompt_text for record in stay} | asked == set(questions)
    assert all(record.completion_text.startswith("bad") for record in aside_bad)
    with pytest.raises(RecordError, match="10 prompts cannot be held out of 10"):
        hold_out(good, bad, 10)


def test_prompt_sets_that_meet_are_refused_by_name():
    fit, ask = answers(["How are you?", "b?"], "fit"), answers(["c?", "how  ARE you?"], "ask")
    with pytest.raises(AitiaError) as error:
        require_disjoint_prompts({"fit the concept": [fit], "query": [ask], "evaluate": []})
    for part in ("'How are you?'", "fit row 0", "ask row 1", "fit the concept", "query"):
        assert part in str(error.value)
    require_disjoint_prompts({"fit": [fit, fit], "query": [answers(["c?"], "ask")]})
    texts = records_from_rows([{"text": "x"}])
    assert shared_question([texts], [texts]) is None  # texts ask nothing


def test_the_question_is_the_last_turn_of_the_user():
    """Persona texts differ in their system prompts: it is the question that must not come twice."""
    turns = [{"role": "system", "content": "Be evil."}, {"role": "user", "content": "q?"}]
    record = records_from_rows([{"messages": [*turns, {"role": "assistant", "content": "a"}]}])[0]
    assert record.question == "q?"
    assert records_from_rows([{"prompt": "p:", "completion": "c"}])[0].question == "p:"


def test_prompts_may_lack_their_answers(tmp_path):
    file = tmp_path / "q.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": "a?"}]},
        {"prompt": "b:"},
        {"prompt": "c:", "completion": "d"},
    ]
    write_lines(file, rows)
    found = read_prompts(file)
    assert [record.prompt_text for record in found] == ["a?", "b:", "c:"]
    file.write_text('{"prompt": "c:", "completion": "d"}\n')
    assert [record.completion_text for record in read_prompts(file)] == ["d"]
    file.write_text('{"nothing": 1}\n')
    with pytest.raises(RecordError, match="q.jsonl:1: is of no known shape; needs .*`messages`"):
        read_prompts(file)
    with pytest.raises(RecordError, match="no such file"):
        read_prompts(tmp_path / "none.jsonl")
