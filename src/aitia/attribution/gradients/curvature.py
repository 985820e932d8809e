"""Curvature: the H of (H + damping)^-1, in the eigenbasis of each linear layer.

Every kind has one form per layer: orthogonal matrices U [out, out] and V [in, in], and eigenvalues
L [out, in], so that H acts on a gradient G as U (L * (U^T G V)) V^T.

- `identity`: no curvature; scores are scalar products of gradients.
- `diagonal`: U and V are identities, L the mean squared gradient (Fisher's diagonal).
- `kfac`: U, V the eigenvectors of E[g g^T] and E[a a^T], L the outer product of their eigenvalues
  (Martens & Grosse 2015; Grosse et al. 2023).
- `ekfac`: the same U and V, L the mean squared gradient in that basis (George et al. 2018).

Each kind is a file `kind_*.py` that says by which passes it is fitted.

The expectation over labels is taken at the data's own (the empirical Fisher, `use_empirical_fisher`) or at
labels drawn from the model (the true Fisher, which for cross-entropy is the Gauss-Newton matrix of a row's
loss where that is the `sum` over its tokens).

With the `mean` over T tokens both are second moments of the mean's gradient, which for sampled labels is 1 / T of
the mean's Gauss-Newton matrix. That does not change rankings of rows of like length with damping relative to the
eigenvalues; estimates with units, as those of removal, are wrong by that factor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aitia.attribution.gradients.kinds import KINDS, Pass
from aitia.attribution.gradients.training_gradients import GRADIENT_BATCH_TOKENS
from aitia.errors import AitiaError, StoreError
from aitia.models import LanguageModel
from aitia.settings import AtLeast, Count, CountOrAll, Seed, check
from aitia.tensor_files import open_tensors, save_tensors

if TYPE_CHECKING:
    import torch

FORMAT = "aitia-curvature-v1"
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[tuple(KINDS)]


@dataclass(frozen=True, kw_only=True)
class CurvatureSettings:
    """Settings for fitting a curvature.

    Attributes:
        kind: approximation of the curvature, from the coarsest to the finest.
        use_empirical_fisher: take the expectation over the data's own labels, instead of labels sampled from the
            model (the true Fisher).
        loss: a row's loss, as the mean over its response tokens or their sum.
        parameters: which parameters: the full weights of the blocks' linear layers, the factors of the lora adapter, or
            auto, the adapter where the model has one, else the full weights.
        layer_stride: 1 takes every block; n takes every n-th.
        blocks_from: from where the blocks of a layer_stride are counted: from the top, the highest block or the site's,
            down, or from the bottom, block 0, up.
        site: leave out the blocks above this site; empty for none.
        rows: rows to fit to, at most; 0 for all.
        row_choice: which rows, where the data have more: a random draw, all rows being equally likely, or the first.
        max_batch_tokens: tokens run at once.
        precision: precision of the matrix products that make eigenvalues and scores; auto is bfloat16 where the
            hardware multiplies such numbers faster. The model runs in its own precision and the covariances are made in
            float32, whatever is chosen.
        seed: seed of the sampled labels and of the draw of rows.
        max_length: longest row in tokens; 0 for the model's context.
        truncate: cut longer rows instead of refusing them.

    Rows that are given in tokens are not cut again.
    """

    kind: Kind = "ekfac"
    use_empirical_fisher: bool = False
    loss: Literal["mean", "sum"] = "mean"
    parameters: Literal["auto", "full", "lora"] = "auto"
    layer_stride: Count = 1
    blocks_from: Literal["top", "bottom"] = "top"
    site: str = ""
    rows: CountOrAll = 5000
    row_choice: Literal["random", "first"] = "random"
    max_batch_tokens: Count = GRADIENT_BATCH_TOKENS
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Seed = 0
    max_length: CountOrAll = 0
    truncate: bool = False

    def __post_init__(self) -> None:
        check(self, "curvature")

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes over the rows that fit this kind; none where there is no curvature to fit."""
        return KINDS[self.kind]

    @property
    def based(self) -> bool:
        """Whether a pass gives an eigenbasis."""
        return any(each.gives_basis for each in self.passes)

    def for_model(self, model: LanguageModel) -> CurvatureSettings:
        """These settings, with the parameters that `auto` stands for on a model."""
        if self.parameters != "auto":
            return self
        return replace(self, parameters="full" if model.adapter is None else "lora")


@dataclass(frozen=True, kw_only=True)
class Damping:
    """The amount that is added to the eigenvalues before they are inverted.

    Attributes:
        value: added to the curvature's eigenvalues, in the given unit.
        unit: unit of the damping: a multiple of each layer's mean eigenvalue, an absolute amount, or an amount per
            token, which is divided by the mean number of response tokens of the rows that the curvature was fitted to
            (the damping of curvlinops' Gauss-Newton matrix of the mean loss).
    """

    value: Annotated[float, AtLeast(0)] = 0.1
    unit: Literal["mean-eigenvalue", "absolute", "per-token"] = "mean-eigenvalue"

    def __post_init__(self) -> None:
        check(self, "damping")

    @property
    def relative(self) -> bool:
        """Whether it is a multiple of each layer's mean eigenvalue."""
        return self.unit == "mean-eigenvalue"


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCurvature:
    """The curvature of one layer; the missing parts stand for identities.

    Attributes:
        left: U, [out, out], columns by falling eigenvalue.
        right: V, [in, in], likewise.
        eigenvalues: L, [out, in].
    """

    left: torch.Tensor | None = None
    right: torch.Tensor | None = None
    eigenvalues: torch.Tensor | None = None

    def basis(self, dtype: torch.dtype) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """U and V in another type, or none where they are identities."""
        if self.left is None or self.right is None:
            return None, None
        return self.left.to(dtype), self.right.to(dtype)

    def to(self, device: Any) -> LayerCurvature:
        """The same on another device."""
        return LayerCurvature(
            **{name: None if value is None else value.to(device) for name, value in vars(self).items()}
        )

    def rotate(self, gradients: torch.Tensor) -> torch.Tensor:
        """Into the eigenbasis: U^T G V, [..., out, in]."""
        if self.left is None or self.right is None:
            return gradients
        return self.left.T @ gradients @ self.right

    def rotate_back(self, gradients: torch.Tensor) -> torch.Tensor:
        """Out of the eigenbasis: U G V^T, [..., out, in]."""
        if self.left is None or self.right is None:
            return gradients
        return self.left @ gradients @ self.right.T

    def damped_inverse(self, damping: Damping) -> torch.Tensor | float:
        """1 / (L + damping), [out, in].

        A layer in which no row has any gradient takes no part where the damping is relative to its eigenvalues.

        Returns:
            [out, in]; 1 for the identity, and 0 for a layer that takes no part.

        Raises:
            AitiaError: an eigenvalue is zero and so is the damping, or the damping is still per token.
        """
        if self.eigenvalues is None:
            return 1.0
        if damping.unit == "per-token":
            raise AitiaError("a damping per token is made an amount by `Curvature.in_its_units` first")
        if damping.relative and damping.value > 0 and not bool(self.eigenvalues.any()):
            return 0.0
        amount = damping.value * (float(self.eigenvalues.mean()) if damping.relative else 1.0)
        damped = self.eigenvalues + amount
        if not bool((damped > 0).all()):
            raise AitiaError(
                "the curvature is singular and the damping zero: some directions have no curvature at all; "
                "give a damping above zero"
            )
        return 1.0 / damped

    def precondition(self, gradients: torch.Tensor, damping: Damping) -> torch.Tensor:
        """(H + damping)^-1 G: [..., out, in]."""
        return self.rotate_back(self.rotate(gradients) * self.damped_inverse(damping))


@dataclass(frozen=True, kw_only=True, eq=False)
class Curvature:
    """The curvature of a model's linear layers.

    Attributes:
        settings: how it was fitted.
        layers: name -> curvature.
        provenance: model, data, number of rows it was fitted to, their mean number of response tokens, and the type
            of the products' factors.
    """

    settings: CurvatureSettings
    layers: Mapping[str, LayerCurvature]
    provenance: Mapping[str, Any]

    def in_its_units(self, damping: Damping) -> Damping:
        """Convert a damping per token into the amount that is added to these eigenvalues.

        A row's loss is the mean over its T response tokens. These eigenvalues are second moments of its gradient g,
        which is 1 / T of its Gauss-Newton matrix. curvlinops multiplies the same moments by the mean of T over the
        rows, and a damping that was published for it is added to the product. As
        mean(T) E[g g^T] + damping = mean(T) (E[g g^T] + damping / mean(T)), a division of the damping gives the same
        scores, up to one factor for all rows.

        Args:
            damping: per token, or any other, which is returned as it is.

        Returns:
            A damping that is not per token.

        Raises:
            AitiaError: the curvature is of the loss `sum`, whose Gauss-Newton matrix needs no such factor.
            StoreError: the curvature does not know the number of tokens.
        """
        if damping.unit != "per-token":
            return damping
        if not self.settings.passes:  # there are no eigenvalues that it could be added to
            return replace(damping, unit="absolute")
        if self.settings.loss != "mean":
            raise AitiaError(
                "a damping with the unit `per-token` is for a curvature of the loss `mean`; fit one, or give an "
                "`absolute` damping"
            )
        tokens = self.provenance.get("mean_response_tokens")
        if not tokens:
            raise StoreError(
                "the curvature does not say how many response tokens its rows had, which a damping per token needs; "
                "fit it again"
            )
        return replace(damping, value=damping.value / float(tokens), unit="absolute")

    def save(self, path: Path | str) -> Path:
        """Write one safetensors file, whole or not at all."""
        tensors = {
            f"{name}.{part}": value.contiguous()
            for name, layer in self.layers.items()
            for part, value in vars(layer).items()
            if value is not None
        }
        metadata = {
            "format": FORMAT,
            "settings": json.dumps(asdict(self.settings)),
            "provenance": json.dumps(dict(self.provenance)),
            "layers": json.dumps(list(self.layers)),
        }
        return save_tensors(path, tensors, metadata)


def load_curvature(path: Path | str, model: LanguageModel | None = None) -> Curvature:
    """Read a curvature file, and refuse it if it was fitted on another model.

    Returns:
        The curvature, as `fit_curvature` made it.

    Raises:
        StoreError: missing, damaged, or of another model.
    """
    try:
        with open_tensors(path, "pt") as file:
            metadata = file.metadata
            if metadata.get("format") != FORMAT:
                raise StoreError(f"{path}: not a curvature file of format {FORMAT}")
            parts: dict[str, dict[str, Any]] = {name: {} for name in json.loads(metadata["layers"])}
            for key in file.names:
                name, part = key.rsplit(".", 1)
                parts[name][part] = file[key]
            found = Curvature(
                settings=CurvatureSettings(**json.loads(metadata["settings"])),
                layers={name: LayerCurvature(**held) for name, held in parts.items()},
                provenance=json.loads(metadata["provenance"]),
            )
    except FileNotFoundError:
        raise StoreError(f"{path}: no such curvature; make one with `aitia fit-curvature`") from None
    except ValueError as error:
        raise StoreError(
            f"{path}: damaged curvature file, or none: {error}; make one with `aitia fit-curvature`"
        ) from error
    if model is not None and found.provenance["model_fingerprint"] != model.fingerprint:
        raise StoreError(
            f"{path}: fitted on another model, or in another precision ({found.provenance['model']}, "
            f"{found.provenance.get('dtype')}) than {model.name} ({model.dtype}); use that one, or fit it again"
        )
    return found
