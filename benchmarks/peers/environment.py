"""The environment of the compared systems: kronfluence, bergson, dattri and dattri-llm, apart from this project's own.

Their declared requirements bring torchvision, torchaudio and bitsandbytes, which this workload never calls.
A torchvision that does not match the pinned torch breaks transformers at import, and pip may change torch
itself to please it. So they are installed without dependencies, beside a list of what they do import.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "benchmarks" / ".work" / "peers-venv"
PEERS = ("kronfluence==1.0.1", "bergson==2.5.1", "dattri==0.3.0", "dattri-llm==0.1.0")
REQUIREMENTS = (
    *("accelerate", "datasets", "numpy", "peft", "psutil", "pyyaml", "safetensors", "scipy", "tqdm"),
    *("transformers>=5.0", "einconv", "einops", "opt-einsum"),  # the second half is kronfluence's
    *("jaxtyping", "jinja2", "ml_dtypes", "natsort", "petname", "pyarrow", "simple-parsing", "torchopt"),
)
IMPORTS = "import kronfluence.analyzer, bergson.__main__, dattri.algorithm.logra, dattri_llm, psutil"
DESCRIPTION = "\n".join((*PEERS, *REQUIREMENTS, ""))


def peers_python() -> Path:
    """The interpreter of the environment, which is made at the first call and when its list changes.

    Returns:
        Path of the Python executable in `benchmarks/.work/peers-venv`.

    Raises:
        subprocess.CalledProcessError: If a package could not be installed or imported; pip's own output says
            which. The next call starts again.
    """
    python, ready = FOLDER / "bin" / "python", FOLDER / ".ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == DESCRIPTION:
        return python
    shutil.rmtree(FOLDER, ignore_errors=True)
    _say(f"making {FOLDER.relative_to(REPOSITORY)}, once: about 2 GB with a CPU build of torch")
    venv.create(FOLDER, with_pip=True)
    _install(python, "torch")
    _install(python, *REQUIREMENTS)
    _install(python, "--no-deps", *PEERS)
    _say("checking that they import")
    subprocess.run([python, "-c", IMPORTS], check=True, stdout=sys.stderr, env=peers_variables())
    ready.write_text(DESCRIPTION, encoding="utf-8")
    return python


def peers_variables(threads: int = 2) -> dict[str, str]:
    """Environment variables for a runner: `threads` quiet threads, no network, nothing left elsewhere."""
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHINDUCTOR_CACHE_DIR": str(FOLDER.parent / "compiled"),  # dattri's
        "WANDB_MODE": "disabled",
    }


def _install(python: Path, *arguments: str) -> None:
    _say(f"pip install {' '.join(arguments)}")
    constraints = REPOSITORY / "constraints.txt"
    command = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "-c", constraints, *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)


def _say(text: str) -> None:
    print(f"[peers] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(peers_python())
