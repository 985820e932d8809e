"""Fill the tables of docs/families.md: `.venv/bin/python tests/models/families_page.py` (a few minutes)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
_SHOWN = 3


def table_rows(found: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A row of the table of covered families for each: family, and the kinds of weights that are left out."""
    return [f"| `{family}` | {_kinds(kinds)} |" for family, kinds in found]


def refusal(family: str, error: Exception) -> str:
    """A row of the table of refused families: family, and the message without the model's name."""
    return f"| `{family}` | {str(error).partition(': ')[2].replace('|', '/')} |"


def _kinds(kinds: Sequence[str]) -> str:
    shown = ", ".join(f"`{kind}`" for kind in sorted(kinds)[:_SHOWN])
    more = len(kinds) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "") if kinds else "nothing"


def _filled(text: str, name: str, lines: Sequence[str]) -> str:
    start, end = f"<!-- families: {name} -->", "<!-- families: end -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n" + "\n".join(lines) + f"\n{end}{after}"


def main() -> None:
    """Try every family, and write the tables."""
    from conftest import make_tokenizer
    from models.tiny_families import OTHERS, REFUSED, families, tiny_network

    from aitia.errors import ModelError
    from aitia.models import LanguageModel
    from aitia.models.linear_layers import find_linear_layers, kinds_left_out

    tokenizer = make_tokenizer()
    covered, refused = [], []
    for family in sorted(families()):
        try:
            network = tiny_network(family, len(tokenizer))
            model = LanguageModel(network=network, tokenizer=tokenizer, name=family)
            covered.append((family, list(kinds_left_out(model, find_linear_layers(model)))))
        except ModelError as error:
            if family not in REFUSED:
                raise
            refused.append(refusal(family, error))
    text = PAGE.read_text()
    header = ["| Family | Weights of the blocks left out |", "| --- | --- |"]
    text = _filled(text, "covered", [*header, *table_rows(covered)])
    text = _filled(text, "refused", ["| Family | Message |", "| --- | --- |", *refused])
    others = [f"| `{family}` | {reason} |" for family, reason in sorted(OTHERS.items())]
    text = _filled(text, "others", ["| Family | Why |", "| --- | --- |", *others])
    PAGE.write_text(text)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
