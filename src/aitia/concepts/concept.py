"""A concept: one or more directions at a site of a model, with how they were found and how well they separate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aitia.concepts.activations import READ_TOKENS, ReadTokens
from aitia.engine import note
from aitia.errors import ConceptError
from aitia.files import digest
from aitia.models import LanguageModel, site_layer
from aitia.notebook import html_block, one_line
from aitia.tensor_files import open_tensors, save_tensors

FORMAT = "aitia-concept-v1"


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How well a direction tells held-out positive texts from negative ones.

    Attributes:
        auc: chance that a positive text projects higher than a negative one, by cross-validation.
        effect_size: difference of the held-out projections' means over their pooled standard deviation.
        positives: number of positive texts.
        negatives: number of negative texts.
        auc_by_site: the same figure at every site that was tried.
        auc_by_tokens: where the tokens to read were chosen: the best site's figure for each choice.
        effect_over_nulls: effect size as a multiple of what null directions get, at the sites where the AUC saturates;
            the site was chosen by it. Empty where AUC chose.
    """

    auc: float
    effect_size: float
    positives: int
    negatives: int
    auc_by_site: Mapping[str, float] = field(default_factory=dict)
    effect_over_nulls: Mapping[str, float] = field(default_factory=dict)
    auc_by_tokens: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Concept:
    """One or more unit directions at a site. The concept's value is the sum of the projections on them.

    Attributes:
        name: for people, as in "depressed tone".
        site: where the direction lives, as in `resid_post.19`.
        direction: [k, d] float32, each row of unit length.
        tokens: at which it is read: all `response` tokens in the mean, or their last one, `response_end`.
        model_name: what the model was loaded from.
        model_fingerprint: of the model it was fitted on, adapter included.
        base_fingerprint: of that model without its adapter; any adapter of the same base may use it, in any precision.
        dtype: the precision of the weights that it was fitted with.
        recipe: how it was made: method, data digests, settings, seed.
        separation: held-out separation, where it was fitted from texts.
        shuffled: [c, k, d] directions fitted in the same way to shuffled labels: the controls.
        path: the file that it was read from or last saved to, if any.
    """

    name: str
    site: str
    direction: np.ndarray
    model_name: str
    model_fingerprint: str
    base_fingerprint: str
    recipe: Mapping[str, Any]
    separation: Separation | None = None
    shuffled: np.ndarray | None = None
    dtype: str = "float32"
    tokens: ReadTokens = "response"
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.tokens not in READ_TOKENS:
            raise ConceptError(
                f"concept {self.name!r}: tokens {self.tokens!r}: choose {' or '.join(READ_TOKENS)}"
            )
        direction = np.atleast_2d(np.asarray(self.direction, dtype=np.float32))
        if direction.ndim != 2 or not direction.size:
            raise ConceptError(f"concept {self.name!r}: directions of shape {direction.shape}, not [k, d]")
        unit = unit_rows(direction)
        if np.abs(unit - direction).max() > 1e-6:  # what has unit length already keeps its very bits
            direction = unit
        object.__setattr__(self, "direction", direction)
        shuffled = self.shuffled
        if shuffled is None:
            shuffled = np.zeros((0, *direction.shape), dtype=np.float32)
        if shuffled.shape[1:] != direction.shape:
            raise ConceptError(
                f"concept {self.name!r}: shuffled directions have shape {shuffled.shape[1:]}, "
                f"the direction {direction.shape}"
            )
        object.__setattr__(self, "shuffled", np.asarray(shuffled, dtype=np.float32))

    def __repr__(self) -> str:
        auc = "" if self.separation is None else f", held-out AUC {self.separation.auc:.3f}"
        return f"Concept({one_line(self.name)!r} at {self.site}, {len(self.direction)} x {self.width}{auc})"

    def _repr_html_(self) -> str:
        separation = self.separation
        return html_block(
            f"Concept “{self.name}”",
            {
                "site": self.site,
                "read at": self.tokens,
                "directions": f"{len(self.direction)} of {self.width} numbers",
                "model": self.model_name,
                "recipe": self.recipe.get("recipe"),
                "held-out AUC": None if separation is None else f"{separation.auc:.3f}",
                "texts": None
                if separation is None
                else f"{separation.positives} positive, {separation.negatives} negative",
            },
        )

    @property
    def width(self) -> int:
        """The size d of the space the direction lives in."""
        return self.direction.shape[1]

    @property
    def vector(self) -> np.ndarray:
        """[d] the sum of the directions: the concept's value is the product with it."""
        return self.direction.sum(axis=0)

    @property
    def fingerprint(self) -> str:
        """Digest of site, direction and tokens: what a ranking depends on."""
        elsewhere = [] if self.tokens == "response" else [self.tokens]
        return digest([self.site, self.direction.tolist(), *elsewhere])

    def save(self, path: Path | str) -> Path:
        """Write a `.concept.safetensors` file, whole or not at all."""
        metadata = {
            "format": FORMAT,
            "name": self.name,
            "site": self.site,
            "model_name": self.model_name,
            "model_fingerprint": self.model_fingerprint,
            "base_fingerprint": self.base_fingerprint,
            "dtype": self.dtype,
            "tokens": self.tokens,
            "recipe": json.dumps(dict(self.recipe), sort_keys=True),
            "separation": json.dumps(None if self.separation is None else asdict(self.separation)),
        }
        saved = save_tensors(path, {"direction": self.direction, "shuffled": self.shuffled}, metadata)
        object.__setattr__(self, "path", saved)
        return saved


def load_concept(path: Path | str) -> Concept:
    """Read a `.concept.safetensors` file.

    Returns:
        The concept, checked.

    Raises:
        ConceptError: the file is missing, damaged, or of another format.
    """  # noqa: DOC501 - a ValueError is caught below
    try:
        with open_tensors(path) as file:
            metadata = file.metadata
            if metadata.get("format") != FORMAT:
                raise ConceptError(
                    f"{path}: not a concept file (format {metadata.get('format')!r}, not {FORMAT!r})"
                )
            separation, recipe = json.loads(metadata["separation"]), json.loads(metadata["recipe"])
            if not isinstance(recipe, dict):
                raise ValueError("its recipe is no object")
            concept = Concept(
                name=metadata["name"],
                site=metadata["site"],
                direction=file["direction"],
                model_name=metadata["model_name"],
                model_fingerprint=metadata["model_fingerprint"],
                base_fingerprint=metadata["base_fingerprint"],
                recipe=recipe,
                separation=None if separation is None else Separation(**separation),
                shuffled=file["shuffled"],
                dtype=metadata["dtype"],
                tokens=metadata.get("tokens", "response"),  # type: ignore[arg-type] - checked by the class
                path=Path(path),
            )
    except FileNotFoundError:
        raise ConceptError(f"{path}: no such concept file; make one with `aitia concept fit`") from None
    except ValueError as error:
        raise ConceptError(
            f"{path}: damaged concept file, or none: {error}; make one with `aitia concept fit`"
        ) from error
    return concept


def require_concept_fits(concept: Concept, model: LanguageModel) -> None:
    """Refuse a concept that was fitted on another model, or whose site the model does not have.

    A concept of the base model may be used with an adapter on that base, and the other way round, and in another
    precision of the same weights; that is noted.

    Raises:
        SiteError: the site does not exist; the message lists the model's own.
        ConceptError: the concept belongs to another model.
    """
    site_layer(concept.site, model.layers)
    if concept.width != model.width:
        raise ConceptError(
            f"concept {concept.name!r} was fitted on another model ({concept.model_name}, width {concept.width}) than "
            f"{model.name} (width {model.width}); fit it again on this one"
        )
    require_same_base(concept, model.base_fingerprint, model.dtype, f"{model.name}")


def require_same_base(concept: Concept, base_fingerprint: str, dtype: str, what: str) -> None:
    """Refuse a concept that was fitted on another base model; note another precision of the same one.

    Args:
        concept: it.
        base_fingerprint: of the model that it is to be used with.
        dtype: that model's precision.
        what: that model, for messages.

    Raises:
        ConceptError: the weights differ, even rounded to bfloat16; both precisions are named.
    """
    precisions = f"{concept.dtype} there, {dtype} here"
    if concept.base_fingerprint != base_fingerprint:
        lossy = "float16" in (concept.dtype, dtype) and concept.dtype != dtype
        why = "float16 has another range, and changes weights; use bfloat16 or float32, or " if lossy else ""
        raise ConceptError(
            f"concept {concept.name!r} was fitted on another model ({concept.model_name}) than {what} "
            f"({precisions}); {why}fit it again on this one"
        )
    if concept.dtype != dtype:
        note(
            f"Concept {concept.name!r} was fitted on the weights of {what}, in another precision ({precisions}); "
            "values differ by rounding"
        )


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale each row to unit length.

    Returns:
        Rows of the same shape, each of length one.

    Raises:
        ConceptError: a row is zero or not finite.
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise ConceptError("a direction is zero or not finite; are the two sets of texts the same?")
    return vectors / norms
