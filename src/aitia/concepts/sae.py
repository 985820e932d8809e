"""Sparse autoencoders: a dictionary of features at a site, each of which fires on few tokens.

With a the activation of a token [d], and m features:

    pre = (n(a) - b) W_enc + c        n a normalisation, b the decoder's bias where it is taken off first
    f   = activation(pre)             [m], mostly zero
    a'  = n^-1(f W_dec + b)

Sources: Cunningham et al. 2023 and Bricken et al. 2023 (ReLU); Rajamanoharan et al. 2024 (JumpReLU); Gao et
al. 2024 (TopK). Layout and names of the options are those of `sae_lens`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.concepts.concept import Concept
from aitia.errors import ConceptError
from aitia.models import LanguageModel, site_layer

if TYPE_CHECKING:
    import torch

ACTIVATIONS = ("relu", "jumprelu", "topk")
NORMALISATIONS = ("none", "layer_norm", "constant_norm_rescale")
_LEAST_NORM = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseAutoencoder:
    """A sparse autoencoder at a site.

    Attributes:
        encoder: [d, m] float32, a column for each feature.
        decoder: [m, d] float32, a row for each feature.
        encoder_bias: [m].
        decoder_bias: [d].
        site: where the activations come from, as in `resid_post.19`.
        activation: `relu`, `jumprelu` or `topk`.
        threshold: [m], for `jumprelu`: a feature fires only where its pre-activation exceeds it.
        k: for `topk`: so many features fire at most.
        normalisation: of the activations: `none`, `layer_norm`, or `constant_norm_rescale` to norm sqrt(d).
        subtract_decoder_bias: whether the decoder's bias is taken off before encoding.
        scale_by_decoder: whether pre-activations are multiplied by the norms of the decoder's rows, and the
            features divided by them before decoding.
        name: where it came from, for people.
        base_fingerprint: of the model that it was trained on, where that is known.
        training: how it was trained, and how well it reconstructs, where that is known.
    """

    encoder: torch.Tensor
    decoder: torch.Tensor
    encoder_bias: torch.Tensor
    decoder_bias: torch.Tensor
    site: str
    activation: str = "relu"
    threshold: torch.Tensor | None = None
    k: int = 0
    normalisation: str = "none"
    subtract_decoder_bias: bool = True
    scale_by_decoder: bool = False
    name: str = "sae"
    base_fingerprint: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        d, m = self.encoder.shape
        shapes = {"decoder": (m, d), "encoder_bias": (m,), "decoder_bias": (d,)}
        if self.activation == "jumprelu":
            shapes["threshold"] = (m,)
        for name, shape in shapes.items():
            tensor = getattr(self, name)
            found = None if tensor is None else tuple(tensor.shape)
            if found != shape:
                raise ConceptError(
                    f"{self.name}: {name} has shape {found} where the encoder [{d}, {m}] wants {shape}"
                )
        if re.fullmatch(r"resid_post\.\d+", self.site) is None:
            raise ConceptError(
                f"{self.name}: site {self.site!r:.50}: give the residual stream, as resid_post.19"
            )
        if self.activation not in ACTIVATIONS:
            raise ConceptError(
                f"{self.name}: activation {self.activation!r}: there are {', '.join(ACTIVATIONS)}"
            )
        if self.normalisation not in NORMALISATIONS:
            raise ConceptError(
                f"{self.name}: normalisation {self.normalisation!r}: there are {', '.join(NORMALISATIONS)}"
            )
        if self.activation == "topk" and not 1 <= self.k <= m:
            raise ConceptError(f"{self.name}: k {self.k}: choose from 1 to its {m} features")
        for name in ("encoder", *shapes):
            if not bool(getattr(self, name).isfinite().all()):
                raise ConceptError(f"{self.name}: {name} holds numbers that are not finite")

    @property
    def width(self) -> int:
        """The size d of the activations."""
        return self.encoder.shape[0]

    @property
    def features(self) -> int:
        """The number m of features."""
        return self.encoder.shape[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of weights and options."""
        import hashlib

        whole = hashlib.sha256()
        options = (self.activation, self.k, self.normalisation, self.subtract_decoder_bias)
        whole.update(repr((self.site, *options, self.scale_by_decoder)).encode())
        for tensor in (self.encoder, self.decoder, self.encoder_bias, self.decoder_bias, self.threshold):
            if tensor is not None:
                whole.update(tensor.cpu().numpy().tobytes())
        return whole.hexdigest()

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        """How strongly each feature fires.

        Args:
            activations: [..., d] at the site.

        Returns:
            [..., m] float32, mostly zero, on the activations' device.

        Raises:
            ConceptError: activations of another width.
        """
        import torch

        if activations.shape[-1] != self.width:
            raise ConceptError(
                f"{self.name}: takes activations of width {self.width}, not {activations.shape[-1]}"
            )
        device = activations.device
        inputs = self._normalise(activations.float())[0]
        if self.subtract_decoder_bias:
            inputs = inputs - self.decoder_bias.to(device)
        before = inputs @ self.encoder.to(device) + self.encoder_bias.to(device)
        if self.scale_by_decoder:
            before = before * self.decoder.norm(dim=1).to(device)
        if self.activation == "relu":
            return before.relu()
        if self.activation == "jumprelu":
            assert self.threshold is not None
            return before.relu() * (before > self.threshold.to(device))
        values, places = before.topk(self.k, dim=-1)
        return torch.zeros_like(before).scatter_(-1, places, values.relu())

    def reconstruct(self, activations: torch.Tensor) -> torch.Tensor:
        """The activations as the features tell them: [..., d] float32."""
        features = self.encode(activations)
        if self.scale_by_decoder:
            features = features / self.decoder.norm(dim=1).to(features.device)
        decoded = features @ self.decoder.to(features.device) + self.decoder_bias.to(features.device)
        _, shift, scale = self._normalise(activations.float())
        return decoded * scale + shift

    def _normalise(
        self, activations: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | float, torch.Tensor | float]:
        """The activations normalised, and the shift and scale that undo it."""
        if self.normalisation == "layer_norm":
            mean = activations.mean(dim=-1, keepdim=True)
            spread = (activations - mean).std(dim=-1, keepdim=True)
            return (activations - mean) / (spread + _LEAST_NORM), mean, spread
        if self.normalisation == "constant_norm_rescale":
            scale = activations.norm(dim=-1, keepdim=True) / self.width**0.5
            return activations / scale, 0.0, scale
        return activations, 0.0, 1.0


def require_sae_fits(sae: SparseAutoencoder, model: LanguageModel) -> None:
    """Refuse an autoencoder of another width, site or model than a model's.

    An autoencoder of the base model may be used with any adapter on that base.

    Raises:
        SiteError: the site does not exist in the model.
        ConceptError: another width, or another base model.
    """
    site_layer(sae.site, model.layers)
    if sae.width != model.width:
        raise ConceptError(
            f"{sae.name}: a sparse autoencoder for width {sae.width}, but {model.name} has width {model.width}"
        )
    if sae.base_fingerprint is not None and sae.base_fingerprint != model.base_fingerprint:
        raise ConceptError(
            f"{sae.name}: trained on the activations of another model than {model.name} ({model.dtype}; float16 "
            "changes weights that were saved in another precision); train one on this model with `aitia sae train`"
        )


def concept_from_feature(
    sae: SparseAutoencoder, feature: int, model: LanguageModel, *, side: str = "encoder", name: str = ""
) -> Concept:
    """A feature as a concept: one unit direction at the autoencoder's site.

    The two sides measure different things. `encoder`: the gradient of the feature's pre-activation, and so of
    the feature itself where it fires (without normalisation; with TopK, where it stays among the k): the
    concept's value says how far the activation calls the feature up, with its neighbours taken into account.
    `decoder`: what the feature writes into the reconstruction: the concept's value says how much of that
    direction there is, from whatever feature it comes. Kowal et al. 2026 take features as concepts and do not
    say which side.

    Args:
        sae: the autoencoder.
        feature: its number, from 0.
        model: that the concept is for.
        side: `encoder` or `decoder`.
        name: for people; default: the feature's number.

    Returns:
        The concept; it has no shuffled directions and no AUC.

    Raises:
        ConceptError: no such feature or side, a feature without a direction, or another model.
    """
    require_sae_fits(sae, model)
    if not 0 <= feature < sae.features:
        raise ConceptError(f"{sae.name}: feature {feature}: choose from 0 to {sae.features - 1}")
    if side not in ("encoder", "decoder"):
        raise ConceptError(f"side {side!r}: choose encoder or decoder")
    direction = sae.encoder[:, feature] if side == "encoder" else sae.decoder[feature]
    vector = direction.cpu().numpy().astype(np.float32)
    if not vector.any():
        raise ConceptError(f"{sae.name}: feature {feature} has no {side} direction: all of it is zero")
    return Concept(
        name=name or f"feature {feature}",
        site=sae.site,
        direction=vector / np.linalg.norm(vector),
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        base_fingerprint=model.base_fingerprint,
        dtype=model.dtype,
        recipe={
            "recipe": f"sae-{side}",
            "feature": feature,
            "sae": {"name": sae.name, "fingerprint": sae.fingerprint},
        },
    )
