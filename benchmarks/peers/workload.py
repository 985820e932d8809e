"""The workloads on which attribution systems are compared, and what their runners share.

The first is a small GPT-2 made from a configuration, and sequences drawn from eight topics with Zipf-like word
frequencies: nothing is downloaded, and every number follows from fixed seeds. The second, written by
`real_rows.py`, is SmolLM2-135M with a LoRA on real rows. Importing this needs torch and transformers alone,
since it runs in two environments.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn
    from transformers import GPT2LMHeadModel, PreTrainedModel

HEADS, POSITIONS, TOPICS = 4, 4096, 8
END, UNKNOWN, FIRST_WORD = 0, 1, 2
TRAINING_BATCH, LEARNING_RATE = 32, 1e-3


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Sizes of the model and the data, and how many Adam steps the model has seen.

    A few steps leave a Fisher matrix unlike that of a random network. `network` is `gpt2`, or `smollm2-lora`
    for real rows; the adapter's training is then fixed.
    """

    network: str = "gpt2"
    layers: int = 4
    width: int = 192
    vocabulary: int = 4096
    length: int = 64
    rows: int = 512
    queries: int = 8
    steps: int = 40

    def arguments(self) -> list[str]:
        """The command-line arguments that give this workload to a runner."""
        return [f"--{name}={value}" for name, value in asdict(self).items()]


def runner_parser(
    description: str | None, *, methods: Sequence[str] = (), batch: int = 64
) -> argparse.ArgumentParser:
    """The command line of a runner: a method, the workload, and where things are.

    Args:
        description: Text for `--help`.
        methods: Choices of the optional first argument; the first is the default.
        batch: Default of `--batch`, in rows.
    """
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    if methods:
        parser.add_argument("method", nargs="?", choices=methods, default=methods[0])
        parser.add_argument("--out", type=Path, required=True, help="npz for the scores [queries, rows]")
    parser.add_argument("--folder", type=Path, required=True, help="written by write_folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=batch, help="rows in a batch")
    for field in fields(Workload):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    return parser


def parsed_workload(options: argparse.Namespace) -> Workload:
    """The workload that was asked for.

    Raises:
        SystemExit: If `options.folder` was written for another workload.
    """
    workload = Workload(**{field.name: getattr(options, field.name) for field in fields(Workload)})
    if not written_for(options.folder, workload):
        raise SystemExit(f"{options.folder} does not hold {workload}: write it with write_folder first")
    return workload


def make_tokens(workload: Workload) -> tuple[torch.Tensor, torch.Tensor]:
    """Training and query sequences; row i of either is about topic i modulo eight.

    Every topic ranks the words in an order of its own and draws them with probability 1 / rank.

    Returns:
        Tokens [rows, length] and [queries, length].
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    words = workload.vocabulary - FIRST_WORD
    ranks = torch.stack([torch.randperm(words, generator=generator) for _ in range(TOPICS)])
    frequencies = 1.0 / (1.0 + ranks)

    def draw(count: int) -> torch.Tensor:
        topics = torch.arange(count) % TOPICS
        drawn = torch.multinomial(frequencies[topics], workload.length, replacement=True, generator=generator)
        return drawn + FIRST_WORD

    return draw(workload.rows), draw(workload.queries)


def make_network(workload: Workload) -> GPT2LMHeadModel:
    """GPT-2 in float32 after `workload.steps` steps of Adam on the training rows, in evaluation mode."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    network = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=workload.vocabulary,
            n_positions=POSITIONS,  # bergson takes no batch of more tokens than the model has positions
            n_embd=workload.width,
            n_layer=workload.layers,
            n_head=HEADS,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=END,
            eos_token_id=END,
        )
    )
    train, _ = make_tokens(workload)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for step in range(workload.steps):
        rows = torch.arange(step * TRAINING_BATCH, (step + 1) * TRAINING_BATCH) % len(train)
        optimizer.zero_grad()
        network(input_ids=train[rows], labels=train[rows]).loss.backward()
        optimizer.step()
    return network.eval()


def write_folder(workload: Workload, folder: Path) -> None:
    """Save the model with a tokenizer (`model`) and the tokenised rows (`train`, `query`), once.

    The rows are tokenised already: from text, transformers takes the folder of a GPT-2 to hold GPT-2's own
    tokenizer and would cut the words into pieces.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if written_for(folder, workload):
        return
    (folder / "workload.json").unlink(missing_ok=True)
    make_network(workload).save_pretrained(folder / "model")
    words = {f"w{number}": number for number in range(workload.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=f"w{UNKNOWN}"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=f"w{UNKNOWN}",
        pad_token=f"w{END}",
        eos_token=f"w{END}",
        model_max_length=POSITIONS,
    ).save_pretrained(folder / "model")
    for name, tokens in zip(("train", "query"), make_tokens(workload), strict=True):
        rows = tokens.tolist()
        lengths = [workload.length] * len(rows)
        columns = {"input_ids": rows, "labels": rows, "length": lengths}
        Dataset.from_dict(columns).save_to_disk(folder / name)
    write_mark(workload, folder)


def read_tokens(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The training and the query rows of a folder: [rows, length] and [queries, length]."""
    import torch
    from datasets import load_from_disk

    train, query = (torch.tensor(load_from_disk(folder / name)["input_ids"]) for name in ("train", "query"))
    return train, query


def write_mark(workload: Workload, folder: Path) -> None:
    """Say that a folder holds a workload, once everything in it is written."""
    (folder / "workload.json").write_text(json.dumps(asdict(workload)), encoding="utf-8")


def written_for(folder: Path, workload: Workload) -> bool:
    mark = folder / "workload.json"  # written last, so it vouches for the rest
    return mark.exists() and json.loads(mark.read_text(encoding="utf-8")) == asdict(workload)


def read_network(folder: Path, *, linear: bool = False) -> PreTrainedModel:
    """The saved model, with its adapter if it has one, in evaluation mode.

    Args:
        folder: As given to `write_folder`.
        linear: Whether to turn every `Conv1D` into the `nn.Linear` of the same map, for systems that know
            only the latter.
    """
    from torch import nn
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    network: Any = AutoModelForCausalLM.from_pretrained(folder / "model")
    if (folder / "adapter").is_dir():
        from peft import PeftModel

        network = PeftModel.from_pretrained(network, folder / "adapter")
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, Conv1D)}
    for name, module in convolutions.items() if linear else ():
        inputs, outputs = module.weight.shape
        replacement = nn.Linear(inputs, outputs)
        replacement.weight = nn.Parameter(module.weight.detach().T.contiguous())
        replacement.bias = nn.Parameter(module.bias.detach())
        network.set_submodule(name, replacement)
    return network.eval()


def tracked_modules(network: nn.Module) -> list[str]:
    """Names of the modules whose gradients count: the adapter's factors, or else four in every block."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear | Conv1D)]
    factors = [name for name in linear if ".lora_A." in name or ".lora_B." in name]
    return factors or [name for name in linear if ".h." in name]


class Measurement:
    """Seconds of the named phases of this process, printed as one line of JSON at its end.

    From its making on, whatever else is printed goes to standard error.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.phases: dict[str, float] = {}
        sys.stdout = sys.stderr

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        start = time.perf_counter()
        yield
        self.phases[name] = round(time.perf_counter() - start, 3)
        print(f"[{self.name}] {name}: {self.phases[name]:.2f} s", flush=True)

    def print_line(self, *, compute: Sequence[str] = (), **more: float | str) -> None:
        """Print the line.

        Args:
            compute: The phases that count as computation.
            more: Further figures, or other values for those that the line has anyway.
        """
        import psutil

        line = {
            "name": self.name,
            "phases": self.phases,
            "compute_seconds": round(sum(self.phases[name] for name in compute), 3),
            "process_seconds": round(time.time() - psutil.Process().create_time(), 3),
            "peak_memory_mb": peak_memory_mb(),
        }
        print(json.dumps(line | more), file=sys.__stdout__, flush=True)


def peak_memory_mb(process: int | str = "self") -> float:
    """Largest resident size of a process so far, in MB (10^6 bytes); 0 once it has ended.

    Read from /proc, since the figure of `getrusage` starts at the size of the process that started this one.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    kibibytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return round(int(kibibytes[0]) * 1024 / 1e6, 1) if kibibytes else 0.0


def save_scores(path: Path, scores: np.ndarray, workload: Workload) -> None:
    """Write scores [queries, rows] under the name `scores`, if they have that shape and are finite."""
    import numpy as np

    if scores.shape != (workload.queries, workload.rows) or not np.isfinite(scores).all():
        raise SystemExit(f"scores of shape {scores.shape} instead of finite ones for {workload}")
    np.savez(path, scores=scores.astype(np.float32))
