"""`aitia doctor`: whether this installation, a model and some rows work together, before anything long is started.

Nothing is repaired. Each check says what it found and, where that is a problem, what to do about it.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aitia.errors import AitiaError, reason_of
from aitia.models import LanguageModel, load_model, trace
from aitia.models.losses import answers_in_tokens
from aitia.records import OnError, ReadingSettings, TokenizedRecord, TokenizedRecords, pad_batch, read_records

if TYPE_CHECKING:
    from aitia.records import Batch

State = Literal["good", "warning", "problem"]
ROWS = 3
"""Rows that are shown token by token."""
PACKAGES = (
    "aitia",
    "torch",
    "transformers",
    "peft",
    "datasets",
    "numpy",
    "scipy",
    "safetensors",
    "trl",
    "ray",
)
OPTIONAL = ("trl", "ray")
LEAST_DISK = 2e9
BATCH_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.01}
"""Precision -> how far a row's activations may move when other rows share its batch, as a share of their length."""
_MARKS = {"\n": "↵", "\t": "⇥", "\r": "␍"}
_LONGEST_RUN = 24


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        found: in words.
        state: `good`, `warning`, or `problem`, which keeps aitia from working.
        mend: what to do; empty where nothing is to be done.
    """

    name: str
    found: str
    state: State = "good"
    mend: str = ""

    def line(self) -> str:
        """For people."""
        sign = {"good": "ok     ", "warning": "warning", "problem": "PROBLEM"}[self.state]
        return f"{sign}  {self.name}: {self.found}" + (f"\n         -> {self.mend}" if self.mend else "")


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """A row as the model sees it.

    Attributes:
        id: of the row.
        location: of the row.
        tokens: the text of each token.
        trained: for each, whether training on the row predicts it.
    """

    id: str
    location: str
    tokens: tuple[str, ...]
    trained: tuple[bool, ...]

    def text(self) -> str:
        """Runs of tokens that are trained on, and of those that are not; the middle of long runs is left out."""
        lines = [
            f"{self.location} (id {self.id}): {sum(self.trained)} of {len(self.tokens)} tokens are trained on"
        ]
        for trained, run in _runs(self.tokens, self.trained):
            shown = [_visible(token) for token in run]
            if len(shown) > _LONGEST_RUN:
                half = _LONGEST_RUN // 2
                shown = [*shown[:half], f"… {len(shown) - 2 * half} more …", *shown[-half:]]
            lines.append(f"  {'trained' if trained else 'context'} {len(run):5}  {'|'.join(shown)}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """Everything that was looked at.

    Attributes:
        checks: in the order in which they were made.
        rows: the first rows of the data, token by token; empty without data.
    """

    checks: tuple[Check, ...]
    rows: tuple[ShownRow, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing keeps aitia from working."""
        return all(check.state != "problem" for check in self.checks)

    def text(self) -> str:
        """For people."""
        parts = ["\n".join(check.line() for check in self.checks), *(row.text() for row in self.rows)]
        return "\n\n".join(parts)

    def numbers(self) -> dict[str, Any]:
        """For programs."""
        return {
            "healthy": self.healthy,
            "checks": [asdict(check) for check in self.checks],
            "rows": [asdict(row) for row in self.rows],
        }


def check_up(
    model: str | None = None,
    *,
    adapter: str | None = None,
    data: Path | str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    download: bool = False,
    rows: int = ROWS,
    reading: ReadingSettings | None = None,
    max_length: int = 0,
    truncate: bool = False,
    on_error: OnError = "stop",
) -> Checkup:
    """Look at the installation; and at a model, at data, and at how they go together, where these are given.

    Args:
        model: hub id, folder, or .gguf file.
        adapter: folder of a PEFT adapter.
        data: training rows.
        device: where the model goes.
        dtype: precision of its weights.
        download: allow fetching from the hub.
        rows: of the data, how many are shown token by token.
        reading: how the data are read.
        max_length: longest row in tokens; 0 for the model's context.
        truncate: cut longer rows instead of refusing them.
        on_error: stop at a row that cannot be used, or skip it.

    Returns:
        What was found.

    Raises:
        ModelError: the model cannot be loaded.
        RecordError: a row cannot be used.
        AitiaError: an adapter without its model.
    """
    checks = list(_installation())
    loaded: LanguageModel | None = None
    shown: tuple[ShownRow, ...] = ()
    if model is not None:
        loaded = load_model(model, adapter=adapter, device=device, dtype=dtype, download=download)
        checks += _model(loaded)
    elif adapter is not None:
        raise AitiaError(f"adapter {adapter}: name the `model` that it was put on")
    if data is not None:
        records = read_records(data, reading, on_error=on_error)
        checks.append(Check(name="data", found=f"{data}: {records.reading}"))
        if loaded is not None:
            first = records.only(records.ids[: max(rows, 2)])
            tokenized = answers_in_tokens(
                loaded, first, max_length=max_length, truncate=truncate, on_error=on_error
            )
            shown = tuple(_shown(loaded, row) for row in islice(tokenized, rows))
            checks += [*_masks(shown), batch_invariance(loaded, tokenized)]
    return Checkup(checks=tuple(checks), rows=shown)


def batch_invariance(model: LanguageModel, rows: TokenizedRecords) -> Check:
    """Measure how far a row's activations move when other rows share its batch.

    At the highest site, for each token: |h_together - h_alone| / |h_alone|. Scores are sums of many small differences,
    so what depends on the other rows blurs them. Source: ours.

    Args:
        model: the model.
        rows: n rows; alone, each is run without padding, and together with the padding of the longest.

    Returns:
        The largest share over all tokens, good up to `BATCH_TOLERANCE` for the model's precision.
    """
    alone = [
        _activations(model, pad_batch(rows, np.array([place]), model.pad_id)) for place in range(len(rows))
    ]
    together = _activations(model, pad_batch(rows, np.arange(len(rows)), model.pad_id))
    largest = 0.0
    for place, one in enumerate(alone):
        length = one.shape[1]
        other = together[place, :length]
        sizes = np.linalg.norm(one[0], axis=-1)
        largest = max(
            largest, float((np.linalg.norm(other - one[0], axis=-1) / np.maximum(sizes, 1e-12)).max())
        )
    allowed = BATCH_TOLERANCE.get(model.dtype, 0.05)
    found = f"a row moves by {largest:.1e} of its length when others share its batch ({model.dtype})"
    if largest <= allowed:
        return Check(name="batch invariance", found=found)
    mend = "scan in float32 (`dtype`); if it stays, the model's layers mix rows of a batch"
    return Check(name="batch invariance", found=found, state="warning", mend=mend)


def _activations(model: LanguageModel, batch: Batch) -> np.ndarray:
    """[b, t, d] at the highest site."""
    site = model.sites[-1]
    return trace(model, batch, [site])[site].float().cpu().numpy()


def _installation() -> Iterator[Check]:
    import torch

    yield Check(
        name="python", found=f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    found, absent = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            absent.append(name)
    needed = [name for name in absent if name not in OPTIONAL]
    yield Check(
        name="packages",
        found=", ".join(found) + (f"; not installed: {', '.join(absent)}" if absent else ""),
        state="problem" if needed else "good",
        mend=f"pip install {' '.join(needed)}" if needed else "",
    )
    yield _device(torch)
    yield _memory()
    free = shutil.disk_usage(Path.cwd()).free
    yield Check(
        name="disk",
        found=f"{free / 1e9:.1f} GB free in this folder",
        state="good" if free > LEAST_DISK else "warning",
        mend=""
        if free > LEAST_DISK
        else "stores and states take gigabytes: free some space, or write elsewhere (`out`)",
    )
    yield _hub()


def _device(torch: Any) -> Check:
    if torch.cuda.is_available():
        names = [
            f"{torch.cuda.get_device_name(i)} ({torch.cuda.get_device_properties(i).total_memory / 1e9:.0f} GB)"
            for i in range(torch.cuda.device_count())
        ]
        return Check(name="device", found="cuda: " + ", ".join(names))
    if torch.backends.mps.is_available():
        return Check(name="device", found="mps")
    return Check(name="device", found=f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()} cores")


def _memory() -> Check:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Check(name="memory", found="not known on this system")
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.split()[1:2]}
    free, whole = sizes.get("MemAvailable", 0), sizes.get("MemTotal", 0)
    return Check(name="memory", found=f"{free / 1e9:.1f} of {whole / 1e9:.1f} GB are free")


def _hub() -> Check:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    there = f"{sum(1 for _ in folder.glob('models--*'))} models" if folder.is_dir() else "no folder yet"
    offline = ", offline" if constants.HF_HUB_OFFLINE else ""
    return Check(
        name="hub cache",
        found=f"{folder} ({there}{offline}); nothing is fetched unless asked for (`download`)",
    )


def _model(model: LanguageModel) -> Iterator[Check]:
    weights = sum(each.numel() for each in model.network.parameters())
    yield Check(
        name="model",
        found=f"{model.name}: {type(model.network).__name__}, {weights / 1e6:.0f}M weights in {model.dtype}, "
        f"{model.layers} blocks, width {model.width}, {model.context_length} tokens of context"
        + (f", adapter {model.adapter}" if model.adapter else ""),
    )
    if model.dtype == "float16":
        yield Check(
            name="precision",
            found="float16 overflows in the residual stream of many models",
            state="warning",
            mend="take bfloat16, or float32 for gradients and replay (`dtype`)",
        )
    template = str(model.tokenizer.chat_template or "")
    if not template:
        yield Check(
            name="chat template",
            found="none",
            state="warning",
            mend="rows of `messages` need one; `prompt` with `completion`, and `text`, do not",
        )
    elif "{% generation %}" in template or "{%- generation" in template:
        yield Check(name="chat template", found="marks what the assistant says ({% generation %})")
    else:
        yield Check(name="chat template", found="has no {% generation %}; responses are found in its text")


def _masks(rows: Sequence[ShownRow]) -> Iterator[Check]:
    bare = [row.location for row in rows if not any(row.trained)]
    if bare:
        yield Check(
            name="rows in tokens",
            found=f"{bare[0]}: no token is trained on",
            state="problem",
            mend="look at the tokens below; the row's response is empty, or was cut off",
        )
    else:
        shares = [sum(row.trained) / len(row.tokens) for row in rows]
        yield Check(
            name="rows in tokens",
            found=f"{min(shares):.0%} to {max(shares):.0%} of their tokens are trained on",
        )


def _shown(model: LanguageModel, row: TokenizedRecord) -> ShownRow:
    texts = []
    for token in row.tokens.tolist():
        try:
            texts.append(str(model.tokenizer.decode([token])))
        except Exception as error:  # a tokenizer may refuse a token of its own
            texts.append(f"<{token}: {reason_of(error)}>")
    return ShownRow(
        id=row.id,
        location=row.location,
        tokens=tuple(texts),
        trained=tuple(bool(each) for each in row.response),
    )


def _runs(tokens: Sequence[str], trained: Sequence[bool]) -> Iterator[tuple[bool, list[str]]]:
    run: list[str] = []
    for place, token in enumerate(tokens):
        run.append(token)
        if place + 1 == len(tokens) or trained[place + 1] != trained[place]:
            yield trained[place], run
            run = []


def _visible(token: str) -> str:
    """A token with its white space shown, and nothing in it that a terminal would act on."""
    shown = "".join(_MARKS.get(letter, letter) for letter in token)
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in shown) or "∅"
