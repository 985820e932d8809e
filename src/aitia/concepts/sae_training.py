"""Training a sparse autoencoder on a model's own activations, with the library `eai-sparsify`.

The library gives the autoencoder (TopK, Gao et al. 2024) with its loss and the auxiliary loss that revives dead
features; the loop over stored activations is here, since the library's own wants a whole corpus and a model.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aitia.concepts.features import site_batches
from aitia.concepts.sae import SparseAutoencoder
from aitia.engine import progress_bar
from aitia.errors import ConceptError, NumericalError
from aitia.models import LanguageModel, in_tokens
from aitia.records import BATCH_TOKENS, Records, TokenizedRecords
from aitia.settings import Above, AtLeast, Below, Count, CountOrAll, Seed, check

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class SaeSettings:
    """Settings for training an autoencoder.

    Attributes:
        features: number of features of the autoencoder.
        k: features of the autoencoder that may fire on a token.
        epochs: training passes over the tokens.
        batch_tokens: tokens of a training step.
        learning_rate: peak learning rate (Adam), reached after a twentieth of the steps, then falling linearly to zero.
        dead_weight: weight of the auxiliary loss that revives dead features.
        dead_after: tokens without firing after which a feature counts as dead; 0 for a fifth of the tokens.
        held_out: share of the tokens kept back to measure the reconstruction on.
        max_tokens: tokens to train on at most, drawn at random.
        seed: seed of the start, of the order of tokens, and of that draw.
    """

    features: Count = 1024
    k: Count = 16
    epochs: Count = 6
    batch_tokens: Count = 512
    learning_rate: Annotated[float, Above(0)] = 2e-3
    dead_weight: Annotated[float, AtLeast(0)] = 1 / 32
    dead_after: CountOrAll = 0
    held_out: Annotated[float, AtLeast(0), Below(1)] = 0.05
    max_tokens: Count = 60_000
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self, error=ConceptError)
        if self.k > self.features:
            raise ConceptError(f"k {self.k}: at most the number of features, {self.features}")


def fit_sae(
    model: LanguageModel,
    texts: Records | TokenizedRecords,
    site: str,
    settings: SaeSettings | None = None,
) -> SparseAutoencoder:
    """Train a sparse autoencoder on the response tokens of texts.

    Args:
        model: whose activations; its adapter, if it has one, is part of it.
        texts: more is better; tens of thousands of tokens make coarse features. Those in tokens are taken as they
            are cut (`aitia.models.in_tokens`).
        site: where.
        settings: how.

    Returns:
        The autoencoder, with its settings and its error on held-out tokens under `training`.

    Raises:
        ConceptError: the library is missing, or there are fewer tokens than a step has.
        RecordError, NumericalError: a text cannot be used.
    """
    settings = settings or SaeSettings()
    activations = token_activations(model, texts, site, max_tokens=settings.max_tokens, seed=settings.seed)
    return train_sae(
        activations, site=site, settings=settings, name=model.name, base_fingerprint=model.base_fingerprint
    )


def token_activations(
    model: LanguageModel,
    texts: Records | TokenizedRecords,
    site: str,
    *,
    max_tokens: int,
    seed: int = 0,
    max_batch_tokens: int = BATCH_TOKENS,
) -> np.ndarray:
    """Activations of the response tokens of texts, all of them or a random choice.

    Every choice of `max_tokens` tokens is equally likely, and follows from the texts and the seed alone: other batches
    give the same tokens, in another order.

    Args:
        model: whose activations.
        texts: whose response tokens.
        site: where.
        max_tokens: of the result, at most.
        seed: of the choice.
        max_batch_tokens: tokens run at once.

    Returns:
        [t, d] float32 in the order of the batches, t the smaller of `max_tokens` and the number of response tokens.

    Raises:
        RecordError, NumericalError: a text cannot be used.
    """
    import torch

    tokenized = in_tokens(model, texts)
    ends = np.cumsum([0, *(int(row.response.sum()) for row in tokenized)])
    chosen = np.ones(ends[-1], dtype=bool)
    if max_tokens < len(chosen):
        chosen[:] = False
        chosen[np.random.default_rng(seed).choice(len(chosen), max_tokens, replace=False, shuffle=False)] = (
            True
        )
    found = [np.empty((0, model.width), dtype=np.float32)]
    with progress_bar("Collecting activations", len(tokenized), unit="texts") as advance:
        for index, hidden in site_batches(model, tokenized, site, max_batch_tokens):
            for number, i in enumerate(index):
                wanted = np.flatnonzero(tokenized[int(i)].response)[chosen[ends[int(i)] : ends[int(i) + 1]]]
                tokens = hidden[number][torch.from_numpy(wanted).to(hidden.device)]
                found.append(tokens.float().cpu().numpy())
            advance(len(index))
    return np.concatenate(found)


def train_sae(
    activations: np.ndarray,
    *,
    site: str,
    settings: SaeSettings | None = None,
    name: str = "sae",
    base_fingerprint: str | None = None,
) -> SparseAutoencoder:
    """Train a TopK autoencoder on activations; the same activations and settings give the same weights.

    Activations are centred and scaled to a mean square norm of d for training, and both are folded into the
    weights afterwards, so that the result takes activations as they are.

    Args:
        activations: [t, d] float32.
        site: where they come from.
        settings: how.
        name: for people.
        base_fingerprint: of the model they come from.

    Returns:
        The autoencoder; `training` tells the settings, the share of variance left unexplained on held-out
        tokens, and how many features are dead there.

    Raises:
        ConceptError: the library is missing, or there are too few activations.
        NumericalError: an activation or the loss is not finite.
    """
    import torch

    settings = settings or SaeSettings()
    held_out = max(1, round(settings.held_out * len(activations)))
    if len(activations) - held_out < settings.batch_tokens:
        raise ConceptError(
            f"{len(activations)} tokens are too few to train a sparse autoencoder on in steps of "
            f"{settings.batch_tokens}; give more texts"
        )
    if not np.isfinite(activations).all():
        raise NumericalError(f"an activation at {site} is not finite; try `dtype=float32`")
    order = np.random.default_rng(settings.seed).permutation(len(activations))
    values = torch.from_numpy(np.ascontiguousarray(activations[order], dtype=np.float32))
    test, train = values[:held_out], values[held_out:]
    centre = train.mean(dim=0)
    scale = float((train - centre).square().mean().sqrt())
    if scale == 0:
        raise ConceptError(f"the activations at {site} are all the same: there is nothing to learn")
    coder, alive = _fit((train - centre) / scale, settings)
    sae = SparseAutoencoder(
        encoder=coder.encoder.weight.detach().T.contiguous() / scale,
        decoder=coder.W_dec.detach() * scale,
        encoder_bias=coder.encoder.bias.detach().clone(),
        decoder_bias=coder.b_dec.detach() * scale + centre,
        site=site,
        activation="topk",
        k=settings.k,
        name=name,
        base_fingerprint=base_fingerprint,
    )
    unexplained = (sae.reconstruct(test) - test).square().sum() / (test - test.mean(dim=0)).square().sum()
    training = {
        "library": "eai-sparsify",
        "settings": asdict(settings),
        "tokens": len(train),
        "unexplained_variance": float(unexplained),
        "dead_features": int((~alive).sum()),
    }
    return replace(sae, training=training)


def _fit(values: torch.Tensor, settings: SaeSettings) -> tuple[Any, torch.Tensor]:
    """The library's autoencoder, trained; and which features fired in the last pass over the tokens."""
    import torch

    sparsify = _library()
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        config = sparsify.SparseCoderConfig(num_latents=settings.features, k=settings.k)
        coder = sparsify.SparseCoder(values.shape[1], config)
    optimiser = torch.optim.Adam(coder.parameters(), lr=settings.learning_rate)
    steps_each = len(values) // settings.batch_tokens
    steps = steps_each * settings.epochs
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warmup, (steps - step) / max(steps - warmup, 1))
    )
    dead_after = settings.dead_after or max(len(values) // 5, settings.batch_tokens)
    quiet = torch.zeros(settings.features, dtype=torch.long)
    generator = torch.Generator().manual_seed(settings.seed)
    with progress_bar("Training the autoencoder", steps, unit="steps") as advance:
        for step in range(steps):
            if step % steps_each == 0:
                order = torch.randperm(len(values), generator=generator)
                fired = torch.zeros(settings.features, dtype=torch.bool)
            start = step % steps_each * settings.batch_tokens
            batch = values[order[start : start + settings.batch_tokens]]  # pyright: ignore
            out = coder(batch, dead_mask=quiet >= dead_after)
            loss = out.fvu + settings.dead_weight * out.auxk_loss
            if not bool(loss.isfinite()):
                raise NumericalError(
                    f"training the autoencoder: the loss is not finite at step {step}; lower the learning rate"
                )
            optimiser.zero_grad()
            loss.backward()
            coder.remove_gradient_parallel_to_decoder_directions()
            optimiser.step()
            coder.set_decoder_norm_to_unit_norm()
            schedule.step()
            active = torch.zeros(settings.features, dtype=torch.bool)
            active[out.latent_indices[out.latent_acts > 0]] = True
            fired |= active  # pyright: ignore
            quiet = torch.where(active, 0, quiet + len(batch))
            advance(1)
    return coder.eval(), fired  # pyright: ignore


def _library() -> Any:
    """The library, with the decoder that runs on a processor: its other one needs Triton and a GPU."""
    os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")
    try:
        with redirect_stdout(sys.stderr):  # it says on import what is not installed
            import sparsify
    except ImportError as error:
        raise ConceptError("training needs the library eai-sparsify: pip install 'aitia[sae]'") from error
    if not hasattr(sparsify, "SparseCoder"):
        raise ConceptError(
            "the package sparsify here is another one; pip install 'aitia[sae]' in a new place"
        )
    import sparsify.utils

    if sparsify.utils.decoder_impl is not sparsify.utils.eager_decode:
        raise ConceptError(
            "sparsify was imported before, with its decoder for GPUs; aitia trains on the processor: set "
            "SPARSIFY_DISABLE_TRITON=1 before Python starts"
        )
    return sparsify
