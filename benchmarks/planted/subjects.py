"""The models that behaviours are planted in: a small one, trained here, and a real one.

The small one stands hundreds of retrainings; the real one shows whether its findings are those of a toy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planted.small_model import small_model

from aitia.counterfactual import LoraSettings
from aitia.models import LanguageModel, load_model
from aitia.pipelines.demo import base_model


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, and how it is trained on a suite.

    Attributes:
        name: for tables.
        base: folder of the model that training starts from.
        training: of the adapters.
        sites: where a concept may lie: over enough trained blocks for gradients to say something.
        precision: of retraining and measuring; scores are always in float32.
        work: folder of its results.
    """

    name: str
    base: Path
    training: LoraSettings
    sites: tuple[str, ...]
    precision: str
    work: Path

    def untouched(self) -> LanguageModel:
        """A fresh copy of the model to train or measure."""
        return load_model(self.base, dtype=self.precision)


def small_subject(work: Path) -> Subject:
    """The small model."""
    training = LoraSettings(
        rank=8,
        modules=("q_proj", "v_proj", "o_proj", "down_proj"),
        learning_rate=5e-3,
        epochs=2,
        batch_rows=8,
    )
    return Subject(
        name="small model",
        base=small_model(work / "parts"),
        training=training,
        sites=tuple(f"resid_post.{layer}" for layer in range(2, 6)),
        precision="float32",
        work=work / "small-model",
    )


def real_subject(work: Path) -> Subject:
    """SmolLM2-135M-Instruct, in bfloat16, which is 2.4 times faster here."""
    training = LoraSettings(
        rank=8,
        modules=("q_proj", "v_proj", "o_proj", "down_proj"),
        layers=tuple(range(10, 20)),
        learning_rate=2e-3,
        epochs=2,
        batch_rows=8,
    )
    return Subject(
        name="SmolLM2-135M",
        base=base_model(work / "parts"),
        training=training,
        sites=tuple(f"resid_post.{layer}" for layer in range(14, 20)),
        precision="bfloat16",
        work=work / "smollm2-135m",
    )
