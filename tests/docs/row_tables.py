"""The tables of docs/data.md that say which rows go with which losses: made by reading such rows, not by hand.

python tests/docs/row_tables.py     # writes the page again; `make figures` does so too
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aitia.attribution.scorers import scorers
from aitia.errors import RecordError
from aitia.records import Records, records_from_rows, tokenize
from aitia.records.losses import LOSSES, LossSettings, usual_loss
from aitia.records.shapes.registry import SHAPES, shape_of

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
_BLOCK = re.compile(r"(<!-- rows: (\w+) -->\n).*?(\n<!-- end of rows -->)", re.S)

ASK, ANSWER = "Boats?", "Small boats."
EXAMPLES: dict[str, dict[str, Any]] = {
    "preference": {"prompt": ASK, "chosen": ANSWER, "rejected": "No."},
    "messages": {"messages": [{"role": "user", "content": ASK}, {"role": "assistant", "content": ANSWER}]},
    "sharegpt": {"conversations": [{"from": "human", "value": ASK}, {"from": "gpt", "value": ANSWER}]},
    "kto": {"prompt": ASK, "completion": ANSWER, "label": True},
    "prompt-completion": {"prompt": ASK, "completion": ANSWER},
    "text": {"text": "Small boats are red."},
    "alpaca": {"instruction": "Name boats.", "input": "red ones", "output": ANSWER},
}
# What can be typed about the shape, the least first.
_READINGS: tuple[dict[str, str], ...] = ({}, {"side": "chosen"}, {"shape": "prompt-completion"})
_COLUMNS = {"policy-gradient": "advantage"}


def tables(tokenizer: Any) -> dict[str, str]:
    """Name of a table -> its lines.

    Args:
        tokenizer: with a chat template.

    Returns:
        The tables.
    """
    return {"typed": _typed(tokenizer), "losses": _matrix(tokenizer), "methods": _methods()}


def filled(text: str, tokenizer: Any) -> str:
    """A page with its tables made again."""
    made = tables(tokenizer)
    return _BLOCK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", text)


def example(shape: str) -> dict[str, Any]:
    """A row of a shape, with the column that a loss may read."""
    return EXAMPLES[shape] | {"advantage": 0.5}


def reading_of(
    shape: str, loss: str, tokenizer: Any, read: Callable[..., Records] = records_from_rows
) -> dict[str, str] | None:
    """What has to be said of the shape, so that a row of it is taken with a loss; none where nothing helps.

    Args:
        shape: of the row.
        loss: its name.
        tokenizer: with a chat template.
        read: makes records of a list of rows.

    Returns:
        Fields of `ReadingSettings`, the least that is enough.
    """
    row = example(shape)
    for reading in _READINGS:
        try:
            tokenize(read([row], **reading), tokenizer, max_length=512, loss=LossSettings(loss=loss))
        except RecordError:
            continue
        return reading
    return None


def _typed(tokenizer: Any) -> str:
    lines = ["| shape | a row looks like | you type |", "|---|---|---|"]
    for name in SHAPES:
        record = records_from_rows([EXAMPLES[name]])[0]
        assert shape_of(EXAMPLES[name], "auto").name == name
        losses = dict.fromkeys((usual_loss(record).loss, "sft"))
        ways = []
        for loss in losses:
            reading = reading_of(name, loss, tokenizer)
            assert reading is not None
            said = {**({} if loss == "sft" else {"loss": loss}), **reading}
            ways.append(" ".join(f"`--{key} {value}`" for key, value in said.items()) or "nothing")
        lines.append(f"| `{name}` | `{json.dumps(EXAMPLES[name])}` | {', or '.join(ways)} |")
    return "\n".join(lines)


def _matrix(tokenizer: Any) -> str:
    lines = [f"| | {' | '.join(f'`{loss}`' for loss in LOSSES)} |", "|---" * (1 + len(LOSSES)) + "|"]
    for name in SHAPES:
        cells = []
        for loss in LOSSES:
            reading, column = reading_of(name, loss, tokenizer), _COLUMNS.get(loss)
            said = [f"`{key}: {value}`" for key, value in (reading or {}).items()]
            said += [f"a column `{column}`"] if column else []
            cells.append("refused" if reading is None else ", ".join(said) or "yes")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _methods() -> str:
    lines = ["| loss | methods that take it | baselines that take it |", "|---|---|---|"]

    def named(baseline: bool, *, any_loss: bool) -> str:
        found = [
            f"`{name}`"
            for name, each in scorers().items()
            if each.baseline == baseline
            and (each.any_loss or not any_loss)
            and type(each).__module__.startswith("aitia.")
        ]
        return ", ".join(found)

    others = ", ".join(f"`{loss}`" for loss in LOSSES if loss != "sft")
    for said, any_loss in (("`sft`", False), (f"{others}; any with `weight`", True)):
        lines.append(f"| {said} | {named(False, any_loss=any_loss)} | {named(True, any_loss=any_loss)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import make_tokenizer

    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), make_tokenizer()), encoding="utf-8")
