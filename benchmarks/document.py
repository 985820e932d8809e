"""Fill the tables of the docs from `results/`: each block from `<!-- table: NAME -->` to `<!-- end -->`.

A table is a pure function of one results file (`documented/`), so the same results give the same page, and what stands
between the markers is never edited by hand. Run: python benchmarks/document.py; a block whose results are not there
yet is left as it is.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from documented import (
    influence,
    networks,
    nulls,
    proofs,
    public,
    replay,
    scale,
    simplicity,
    slices,
    truth,
    virtues,
)
from documented.markdown import Documented
from harness import RESULTS

ROOT = Path(__file__).parents[1]
TABLES: dict[str, Documented] = {
    name: table
    for module in (slices, influence, networks, nulls, proofs, replay, scale, simplicity, truth, virtues)
    for name, table in module.TABLES.items()
} | {name: public.TABLES[name] for name in public.QUOTED}
"""Marker -> the results it is made from, and how."""
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that may hold a table."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def marked(text: str) -> list[str]:
    """Names of a page's tables, in order.

    Raises:
        ValueError: a marker without its end, or the reverse.
    """
    names = [name for _, name, _, _ in BLOCK.findall(text)]
    markers, ends = text.count("<!-- table:"), text.count("<!-- end -->")
    if not len(names) == markers == ends:
        raise ValueError(
            f"{markers} tables begin and {ends} end: mend the page's markers, after {names[-1:]}"
        )
    return names


def filled(text: str, results: Path = RESULTS) -> str:
    """A page with its tables filled anew; a table whose results are missing stays as it is.

    Raises:
        ValueError: markers that do not pair, or a name that no function has.
    """
    if unknown := [name for name in marked(text) if name not in TABLES]:
        raise ValueError(f"no function for the table {unknown[0]}: see benchmarks/documented")

    def block(match: re.Match[str]) -> str:
        begin, name, _, end = match.groups()
        table = TABLES[name]
        path = results / f"{table.source}.json"
        return f"{begin}\n{table.make(_read(path))}\n\n{end}" if path.exists() else match.group()

    return BLOCK.sub(block, text)


@cache
def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for name in marked(text):
            if name in TABLES and not (RESULTS / f"{TABLES[name].source}.json").exists():
                print(f"{page.name}: {name} is left as it is, results/{TABLES[name].source}.json is missing")
        if (new := filled(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"{page.name}: filled anew")


if __name__ == "__main__":
    main()
