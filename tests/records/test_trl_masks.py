"""Tokens and masks beside those of the installed TRL's own trainers, for the same rows."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from aitia.records import read_records, records_from_rows, tokenize

trl = pytest.importorskip("trl")

ASK, ANSWER = (
    {"role": "user", "content": "How do I boil an egg?"},
    {"role": "assistant", "content": "In water."},
)
MORE = [{"role": "user", "content": "and then?"}, {"role": "assistant", "content": " said nothing. "}]
SYSTEM = {"role": "system", "content": "Be kind."}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"at": "Hull"}}}
CALLED = [
    ASK,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "content": "high at 7"},
    {"role": "assistant", "content": "At seven."},
]
# Like Qwen's, and like TRL's form of it for training, which marks what the assistant generates.
TOOLS = "{% if tools %}{{ '<|im_start|>tools\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
SAID = (
    "{{ m.content or '' }}{% for call in m.tool_calls or [] %}{{ '[call] ' + (call.function | tojson) }}{% endfor %}"
    "{{ '<|im_end|>' }}"
)
MARKED = (
    TOOLS + "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}"
    + SAID
    + "{% endgeneration %}{% else %}"
    + SAID
    + "{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Its prompt goes on with a thought that an answer need not begin with.
THOUGHT = MARKED.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")


@pytest.fixture
def trainer_of(tiny_tokenizer, make_model, tmp_path):
    """trainer_of(rows, template, trainer, **arguments) -> the tokenizer and the trainer."""
    import copy

    from datasets import Dataset

    def make(rows, template=MARKED, kind="SFT", **arguments):
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.chat_template = template
        usual = {
            "output_dir": str(tmp_path),
            "report_to": [],
            "use_cpu": True,
            "bf16": False,
            "max_length": None,
        }
        more = {"ref_model": make_model("llama", layers=1).network} if kind == "DPO" else {}
        trainer = getattr(trl, f"{kind}Trainer")(
            model=make_model("llama", layers=1).network,
            args=getattr(trl, f"{kind}Config")(**usual | arguments),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            **more,
        )
        return tokenizer, trainer

    return make


@pytest.fixture
def trained_on(trainer_of):
    """trained_on(rows, template, trainer, **arguments) -> the tokenizer and the trainer's own rows."""

    def make(*given, **arguments):
        tokenizer, trainer = trainer_of(*given, **arguments)
        return tokenizer, trainer.train_dataset

    return make


def assert_same(tokenizer, rows, found, **fields):
    """Our tokens and masks are the trainer's; the first token of a row is predicted by nothing."""
    ours = tokenize(records_from_rows(rows, **fields), tokenizer, max_length=10_000)
    assert len(ours) == len(found)
    for row, theirs in zip(ours, found, strict=True):
        assert row.tokens.tolist() == theirs["input_ids"]
        assert row.response[1:].tolist() == [label != -100 for label in theirs["labels"]][1:]


ASSISTANT_ONLY = {
    "turns": {"messages": [ASK, ANSWER]},
    "several answers": {"messages": [SYSTEM, ASK, ANSWER, *MORE]},
    "assistant first": {"messages": [ANSWER, ASK, ANSWER]},
    "calls of tools": {"messages": CALLED, "tools": [TOOL]},
    "tools in a string": {"messages": [ASK, ANSWER], "tools": '[{"name": "tide"}]'},
}


@pytest.mark.parametrize("name", ASSISTANT_ONLY)
def test_assistant_only_loss(trained_on, name):
    rows = [ASSISTANT_ONLY[name]]
    tokenizer, found = trained_on(rows, assistant_only_loss=True)
    assert_same(tokenizer, rows, found)


def test_assistant_only_loss_of_sharegpt(trained_on):
    turns = [{"from": turn["role"], "value": turn["content"]} for turn in [SYSTEM, ASK, ANSWER, *MORE]]
    # TRL looks for `role` before it converts, so its own conversion goes first.
    converted = trl.maybe_convert_to_chatml({"conversations": [dict(turn) for turn in turns]})
    tokenizer, found = trained_on([converted], assistant_only_loss=True)
    renamed = [
        turn | {"from": {"user": "human", "assistant": "gpt"}.get(turn["from"], turn["from"])}
        for turn in turns
    ]
    for rows in ([{"conversations": turns}], [{"conversations": renamed}]):
        assert_same(tokenizer, rows, found)


COMPLETION_ONLY = {
    "strings": {"prompt": "How do I boil an egg?", "completion": " Put it in hot water."},
    "strings without a space": {"prompt": "the gar", "completion": "den is full of bees"},
    "no prompt": {"prompt": "", "completion": "The sun is out"},
    "its own end": {"prompt": "a ", "completion": "sun<|im_end|>"},
    "turns": {"prompt": [SYSTEM, ASK], "completion": [ANSWER]},
    "several answers": {"prompt": [ASK], "completion": [ANSWER, *MORE]},
    "answers in the prompt": {"prompt": [ASK, ANSWER, MORE[0]], "completion": [MORE[1]]},
    "calls of tools": {"prompt": CALLED[:1], "completion": CALLED[1:], "tools": [TOOL]},
    "ends with a question": {"prompt": [ASK], "completion": [ANSWER, MORE[0]]},
}


@pytest.mark.parametrize(
    "template", [MARKED, THOUGHT, MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")]
)
@pytest.mark.parametrize("name", COMPLETION_ONLY)
def test_completion_only_loss(trained_on, name, template):
    rows = [COMPLETION_ONLY[name]]
    tokenizer, found = trained_on(rows, template)
    assert_same(tokenizer, rows, found)


def test_loss_on_all_of_a_text(trained_on):
    rows = [{"text": " The sun is out "}, {"text": "A cat sat<|im_end|>"}]
    tokenizer, found = trained_on(rows)
    assert_same(tokenizer, rows, found)


# Rows, what the trainer is told, and a length that cuts some of them.
PACKED = {
    "prompt and completion": (
        [{"prompt": f"How do I boil {i}?", "completion": " In water." * (1 + i % 5)} for i in range(9)],
        {},
        20,
    ),
    "conversations": (
        [{"messages": [ASK, ANSWER, *MORE * (1 + i % 3)]} for i in range(7)],
        {"assistant_only_loss": True},
        70,
    ),
    "texts": ([{"text": f"A cat sat {i} times" + " on the mat" * (i % 4)} for i in range(8)], {}, 12),
}
LONG = 250


def pieces_of(trainer, rows):
    """What the trainer's collator makes of packed rows, apart where positions begin again: (tokens, trained)."""
    batch = trainer.data_collator([dict(row) for row in rows])
    tokens, labels, positions = (batch[name][0].numpy() for name in ("input_ids", "labels", "position_ids"))
    starts = [*np.flatnonzero(positions == 0), len(tokens)]
    return [
        (tuple(tokens[start:stop].tolist()), tuple((labels[start:stop] != -100).tolist()))
        for start, stop in pairwise(starts)
    ]


def own_pieces(rows, tokenizer, **cutting):
    cut = tokenize(records_from_rows(rows), tokenizer, **{"max_length": 10_000} | cutting)
    return [(tuple(row.tokens.tolist()), (False, *row.response[1:].tolist())) for row in cut]


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("cuts", [False, True])
def test_packing_by_best_fit_trains_on_the_tokens_of_each_row(trainer_of, name, cuts):
    """The default strategy: rows lie beside one another, positions begin again, and what is too long is cut."""
    rows, more, short = PACKED[name]
    longest = short if cuts else LONG
    tokenizer, trainer = trainer_of(rows, packing=True, packing_strategy="bfd", max_length=longest, **more)
    packed = trainer.train_dataset
    assert cuts or len(packed) < len(rows)
    ours = own_pieces(rows, tokenizer, max_length=longest, truncate=True)
    assert sorted(pieces_of(trainer, packed)) == sorted(ours)
    assert cuts == any(len(tokens) == longest for tokens, _ in ours)


def test_packing_that_splits_rows_goes_on_without_what_came_before(trainer_of):
    """`bfd_split`: the rest of a long row is a row of its own, whose first token nothing predicts."""
    rows, more, _ = PACKED["prompt and completion"]
    tokenizer, trainer = trainer_of(rows, packing=True, packing_strategy="bfd_split", max_length=20, **more)
    expected = [
        (tokens[start : start + 20], (False, *trained[start + 1 : start + 20]))
        for tokens, trained in own_pieces(rows, tokenizer)
        for start in range(0, len(tokens), 20)
    ]
    found = pieces_of(trainer, trainer.train_dataset)
    assert sorted(found) == sorted(expected)
    assert sum(sum(trained) for _, trained in found) < sum(sum(t) for _, t in own_pieces(rows, tokenizer))


@pytest.mark.parametrize("name", PACKED)
def test_packing_that_wraps_cuts_rows_anywhere(trainer_of, name):
    """`wrapped`: one stream, cut into equal parts; a row goes on in the next without what came before it."""
    rows, more, _ = PACKED[name]
    tokenizer, trainer = trainer_of(rows, packing=True, packing_strategy="wrapped", max_length=20, **more)
    packed = trainer.train_dataset
    stream = [token for row in packed for token in row["input_ids"]]
    ours = own_pieces(rows, tokenizer)
    assert stream == [token for tokens, _ in ours for token in tokens]
    trained = [label != -100 for row in packed for label in [-100, *row["labels"][1:]]]
    # The token at the start of a part is predicted by nothing; the first of a later row by the row before it.
    first = tokenize(records_from_rows(rows), tokenizer, max_length=10_000)
    known = [flag for row in first for flag in row.response.tolist()]
    expected = [flag and place % 20 > 0 for place, flag in enumerate(known)]
    assert trained == expected
    assert trained != [flag for _, flags in ours for flag in flags]


PAIRS = {
    "strings": {"prompt": "How do I ", "chosen": "boil an egg?", "rejected": "sit on the mat?"},
    "implicit strings": {"chosen": "How do I boil an egg?", "rejected": "How do I sit on the mat?"},
    "turns": {"prompt": [SYSTEM, ASK], "chosen": [ANSWER], "rejected": [MORE[1]]},
    "implicit turns": {"chosen": [ASK, ANSWER, *MORE], "rejected": [ASK, ANSWER, MORE[0], ANSWER]},
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_side_of_a_pair_is_what_dpo_compares(trained_on, name, side):
    rows = [PAIRS[name]]
    tokenizer, found = trained_on(rows, kind="DPO")
    (theirs,) = found
    (ours,) = tokenize(records_from_rows(rows, side=side), tokenizer, max_length=10_000)
    assert ours.tokens.tolist() == theirs["prompt_ids"] + theirs[f"{side}_ids"]
    assert int(np.flatnonzero(ours.response)[0]) == len(theirs["prompt_ids"])
    assert ours.response[len(theirs["prompt_ids"]) :].all()


FOLDER = Path(trl.__file__).parent / "chat_templates"
# Those whose template TRL takes as it is, markers aside, and the others that do not need another model's features.
EQUAL = ("cohere", "cohere2", "llama3")
WITH_LINE_BREAK = ("gemma", "gemma3", "lfm2", "phi3", "qwen2_5", "qwen3_instruct_2507")


@pytest.mark.parametrize("family", sorted(path.name[:-15] for path in FOLDER.glob("*_training.jinja")))
@pytest.mark.parametrize("rows", [[ASK, ANSWER], [ASK, ANSWER, *MORE], [SYSTEM, ASK, ANSWER]], ids=len)
def test_templates_of_the_families_that_trl_trains(tiny_tokenizer, family, rows):
    import copy

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = (FOLDER / f"{family}_training.jinja").read_text()
    try:
        theirs = tokenizer.apply_chat_template(
            rows, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
    except Exception:
        pytest.skip("the template refuses these turns")
    if family in ("idefics3", "smolvlm"):
        pytest.skip("the template takes content in parts alone, and writes a string letter by letter")
    (ours,) = tokenize(records_from_rows([{"messages": rows}]), tokenizer, max_length=10_000)
    assert ours.tokens.tolist() == theirs["input_ids"]
    assert ours.response.tolist() == [bool(each) for each in theirs["assistant_masks"]]
    if family not in (*EQUAL, *WITH_LINE_BREAK):
        return
    # The model's own template, which marks nothing: the turns are found in it.
    tokenizer.chat_template = (FOLDER / f"{family}.jinja").read_text()
    (found,) = tokenize(records_from_rows([{"messages": rows}]), tokenizer, max_length=10_000)
    assert found.tokens.tolist() == theirs["input_ids"]
    more = ours.response & ~found.response
    assert not (found.response & ~ours.response).any()
    assert family in WITH_LINE_BREAK or not more.any()
    assert tokenizer.decode(found.tokens[more]).strip() == ""


def test_a_file_of_pairs_is_named_with_its_side(tmp_path):
    import json

    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (PAIRS["turns"], PAIRS["implicit turns"])))
    assert str(read_records(path).reading) == "read 2 rows as preference pairs (chosen/rejected)"
    assert str(read_records(path, side="rejected").reading) == (
        "read 2 rows as preference pairs (chosen/rejected), each as a prompt with its rejected answer"
    )
