"""The model that behaviours are planted in: SmolLM2-135M-Instruct, made cheap enough for hundreds of trainings.

Adapters sit in its uppermost blocks, so that what leaves the others is computed once for each text; its vocabulary
is cut to what the texts need. Both together make a training an order of magnitude cheaper, and neither
touches what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from aitia.files import digest_of_list
from aitia.models import LanguageModel, load_model
from aitia.pipelines.attribution.demo import base_model
from aitia.training import LoraSettings
from planted.remembered import LowerBlocks, same_weights
from planted.suites import every_text
from planted.vocabulary import cut_vocabulary

FROZEN, BLOCKS = 24, 30
LORA = LoraSettings(
    rank=8,
    target_modules=("q_proj", "v_proj", "o_proj", "down_proj"),
    layers_to_transform=tuple(range(FROZEN, BLOCKS)),
    learning_rate=2e-3,
    epochs=2,
    per_device_train_batch_size=8,
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model, and how it is trained on a suite.

    Attributes:
        base: folder of the model that training starts from.
        training: of the adapters.
        sites: where a concept may lie: over enough trained blocks for gradients to say something.
        work: folder of its results.
    """

    base: Path
    training: LoraSettings
    sites: tuple[str, ...]
    work: Path
    _lower: LowerBlocks = field(default_factory=lambda: LowerBlocks(FROZEN), repr=False)

    @cached_property
    def _loaded(self) -> LanguageModel:
        return load_model(self.base, dtype="bfloat16")

    def untouched(self) -> LanguageModel:
        """A fresh copy to train or to measure, in bfloat16, which is 2.4 times faster here than float32."""
        return self._lower.skip_in(same_weights(self._loaded))

    def untouched_float32(self) -> LanguageModel:
        """A fresh copy in float32, to record and to replay."""
        return self._lower_float32.skip_in(same_weights(self._loaded_float32))

    @cached_property
    def _loaded_float32(self) -> LanguageModel:
        return load_model(self.base, dtype="float32")

    @cached_property
    def _lower_float32(self) -> LowerBlocks:
        return LowerBlocks(FROZEN)

    def with_adapter(self, adapter: Path) -> LanguageModel:
        """The tuned model in float32, for scores."""
        tuned = load_model(self.base, adapter=adapter, dtype="float32")
        return LowerBlocks(FROZEN).skip_in(tuned)


def subject(work: Path, texts: Iterable[str] | None = None, *, parts: Path | None = None) -> Subject:
    """SmolLM2-135M-Instruct, in the folder that everything is kept in.

    Args:
        work: folder of its results and of its cut vocabulary.
        texts: all that it is to read and write; default: those of the planted suites.
        parts: folder of the whole model; default: in `work`.

    Returns:
        The model, with the vocabulary that the texts need.
    """
    needed = every_text() if texts is None else list(texts)
    named = "small-vocabulary" if texts is None else f"small-vocabulary-{digest_of_list(needed)[:12]}"
    base = cut_vocabulary(base_model(parts or work / "parts"), needed, work / "parts" / named)
    return Subject(
        base=base, training=LORA, sites=tuple(f"resid_post.{layer}" for layer in range(25, 29)), work=work
    )
