"""bergson's synthetic facts and its scores of them, by its own generator and command.

`facts` writes the statements and questions that `bergson recall` would make, as JSON. Any other method is a command of
bergson's on rows in tokens, one column of scores for each question.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

METHODS = {
    "ekfac": (
        "ekfac",
        *("--index_cfg.precision", "fp32", "--use_dataset_labels"),
        *("--method", "kfac", "--hessian_cfg.ev_correction"),
        *("--hessian_pipeline_cfg.inversion_cfg.damping_factor", "0.1"),
        *("--projection_dim", "0"),
    ),
    "trackstar": (
        "trackstar",
        *("--precision", "fp32", "--unit_normalize"),
    ),
}
"""Name -> command of bergson and its arguments; what is not said is bergson's default."""


def write_facts(data: Path, people: int, seed: int, out: Path) -> None:
    """Statements, each with its person, field and template, and the questions, once each."""
    from bergson.recall.facts import fact_generator
    from bergson.recall.generate import NUM_FIELDS

    statements = list(fact_generator(NUM_FIELDS * people, path=str(data), seed=seed))
    out.write_text(json.dumps(statements, ensure_ascii=False), encoding="utf-8")


def write_scores(method: str, folder: Path, out: Path, threads: int) -> None:
    """Scores [questions, statements] of a method, and the seconds of its command."""
    import numpy as np
    from bergson.data import load_scores
    from run_bergson import run_command

    with tempfile.TemporaryDirectory() as working:
        command, *others = METHODS[method]
        arguments = [
            command,
            f"{working}/run",
            *("--model", str(folder / "adapter")),
            *("--data.dataset", f"{folder}/train", "--query.dataset", f"{folder}/query"),
            *("--query.aggregation", "none", "--token_batch_size", "1024"),
            *others,
        ]
        start = perf_counter()
        text, _ = run_command(arguments, threads)
        seconds = perf_counter() - start
        print(text, file=sys.stderr)
        scores = load_scores(Path(working) / "run" / "scores")[:].T
    np.savez(out, scores=scores.astype(np.float32), seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("method", choices=("facts", *METHODS))
    parser.add_argument(
        "--folder", type=Path, required=True, help="name lists and templates; or rows in tokens"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.method == "facts":
        write_facts(options.folder, options.people, options.seed, options.out)
    else:
        write_scores(options.method, options.folder, options.out, options.threads)


if __name__ == "__main__":
    main()
