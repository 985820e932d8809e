"""EK-FAC influence by bergson's own command, in a process as its users start it.

Its computation counts as the whole command less a start, which is timed as the command's `--help`: that
imports the same modules. Reading the model stays in.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from environment import peers_variables
from workload import Measurement, parsed_workload, peak_memory_mb, runner_parser, save_scores

COMMAND = Path(sys.executable).with_name("bergson")
STEP_SECONDS = re.compile(r"\[(step\w+)\] took ([\d.]+)s")


def run_command(arguments: list[str], threads: int) -> tuple[str, float]:
    """Run bergson to its end.

    Returns:
        What it printed, and its peak memory in MB. With one worker it is a single process.

    Raises:
        SystemExit: If it fails, with what it printed.
    """
    peak = 0.0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [COMMAND, *arguments], stdout=printed, stderr=subprocess.STDOUT, env=peers_variables(threads)
        )
        while process.poll() is None:
            # The kernel keeps the highest size so far, so only growth in the last moment is missed.
            peak = max(peak, peak_memory_mb(process.pid))
            time.sleep(0.05)
        printed.seek(0)
        text = printed.read()
    if process.returncode:
        raise SystemExit(f"bergson {arguments[0]} failed:\n{text}")
    return text, peak


def main() -> None:
    options = runner_parser(__doc__, methods=("ekfac",)).parse_args()
    workload = parsed_workload(options)
    measurement = Measurement(f"bergson {options.method}")

    adapter = options.folder / "adapter"
    model = adapter if adapter.is_dir() else options.folder / "model"
    bias = [] if adapter.is_dir() else ["--include_bias"]
    with tempfile.TemporaryDirectory() as working:
        arguments = [
            options.method,
            f"{working}/run",
            *("--model", str(model), "--index_cfg.precision", "fp32", *bias),
            *("--data.dataset", f"{options.folder}/train", "--query.dataset", f"{options.folder}/query"),
            *("--query.aggregation", "none", "--use_dataset_labels", "--projection_dim", "0"),
            *("--method", "kfac", "--hessian_cfg.ev_correction"),
            *("--hessian_pipeline_cfg.inversion_cfg.damping_factor", "0.1"),  # of the mean eigenvalue
            *("--token_batch_size", str(options.batch * workload.length)),
        ]
        with measurement.phase("start"):
            run_command([options.method, "--help"], options.threads)
        with measurement.phase("command"):
            text, peak = run_command(arguments, options.threads)
        print(text)
        measurement.phases |= {name: float(seconds) for name, seconds in STEP_SECONDS.findall(text)}

        from bergson.data import load_scores

        scores = load_scores(Path(working) / "run" / "scores")[:].T
        save_scores(options.out, scores, workload)
    start, command = measurement.phases["start"], measurement.phases["command"]
    measurement.print_line(
        compute_seconds=round(command - start, 3),
        process_seconds=command,
        start_seconds=start,
        peak_memory_mb=peak,
    )


if __name__ == "__main__":
    main()
