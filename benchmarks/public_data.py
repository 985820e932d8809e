"""What aitia is worth on data that nobody here made: public rows, against what knows no concept.

Parts: wrong sums among right ones (GSM8K), severe among ordinary code, compliance with unsafe prompts (XSTest),
concepts in other texts (AxBench), traits by the persona recipe, and synthetic facts (bergson's `recall`). Where the
files come from, and under which licence, is in `public/sources.py`. Everything that is made is a file in
`benchmarks/.work/public`: stopped and run again, the benchmark goes on. `--quick` shows the same in small; its figures
are not quoted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from aitia.files import write_text
from harness import WORK, Target, report
from planted.findings import Findings
from public import axbench, facts, gsm8k, insecure_code, traits, xstest
from public.pictures import draw

PARTS: dict[str, Callable[..., None]] = {
    "gsm8k": gsm8k.run,
    "insecure-code": insecure_code.run,
    "xstest": xstest.run,
    "axbench": axbench.run,
    "traits": traits.run,
    "facts": facts.run,
}
"""Name -> what adds its figures to the findings."""


def findings_file(part: str, *, quick: bool) -> Path:
    """Where a part's figures lie, so that a part that is measured again leaves the others as they were."""
    return WORK / "public" / "findings" / f"{part}{'.quick' if quick else ''}.json"


def measured(*, quick: bool) -> Findings:
    """The figures of all parts that have been measured, in the order of `PARTS`."""
    found = Findings()
    for part in PARTS:
        file = findings_file(part, quick=quick)
        if file.is_file():
            kept = json.loads(file.read_text(encoding="utf-8"))
            found.rows += kept["rows"]
            found.targets += [Target(**each) for each in kept["targets"]]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="default: all; repeatable")
    options = parser.parse_args()
    for name in options.part or PARTS:
        own = Findings()
        PARTS[name](own, quick=options.quick)
        file = findings_file(name, quick=options.quick)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({"rows": own.rows, "targets": [asdict(each) for each in own.targets]}))
        found = measured(quick=options.quick)
        report("public", found.rows, found.targets, quick=options.quick)
        if not options.quick:
            draw(found.rows)


if __name__ == "__main__":
    main()
