"""What aitia is worth on data that nobody here made: public rows, against what knows no concept.

Parts: wrong sums among right ones (GSM8K), severe among ordinary code, compliance with unsafe prompts (XSTest),
concepts in other texts (AxBench), traits by the persona recipe, and synthetic facts (bergson's `recall`). Where the
files come from, and under which licence, is in `public/sources.py`. Everything that is made is a file in
`benchmarks/.work/public`: stopped and run again, the benchmark goes on. `--quick` shows the same in small; its figures
are not quoted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from harness import report
from planted.findings import Findings
from public import axbench, facts, gsm8k, insecure_code, traits, xstest

PARTS: dict[str, Callable[..., None]] = {
    "gsm8k": gsm8k.run,
    "insecure-code": insecure_code.run,
    "xstest": xstest.run,
    "axbench": axbench.run,
    "traits": traits.run,
    "facts": facts.run,
}
"""Name -> what adds its figures to the findings."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run whose figures are not quoted")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="default: all; repeatable")
    options = parser.parse_args()
    found = Findings()
    for name in options.part or PARTS:
        PARTS[name](found, quick=options.quick)
        report("public", found.rows, found.targets, quick=options.quick)


if __name__ == "__main__":
    main()
