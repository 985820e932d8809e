"""What is asked of a model after training: a number, made of measurements of texts, and its gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aitia.attribution.gradients.measurements import (
    ConceptMeasurement,
    LogProbability,
    Measurement,
    highest_site,
)
from aitia.concepts import Concept
from aitia.errors import AitiaError, NumericalError
from aitia.models import LanguageModel, in_tokens, run
from aitia.records import Records, TokenizedRecords, length_batches, pad_batch
from aitia.training import Trainable, flatten

if TYPE_CHECKING:
    import torch

_BATCH_TOKENS = 2048


@dataclass(frozen=True, kw_only=True)
class TargetPart:
    """A measurement, averaged over texts, times a factor.

    Attributes:
        measurement: what is measured.
        texts: on which rows.
        factor: what their mean is multiplied with.
    """

    measurement: Measurement
    texts: Records | TokenizedRecords
    factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A number of a trained model: a sum of measurements of texts.

    Attributes:
        name: for tables.
        parts: that are added.
    """

    name: str
    parts: tuple[TargetPart, ...]

    def __post_init__(self) -> None:
        if not self.parts or not all(len(part.texts) for part in self.parts):
            raise AitiaError(f"target {self.name!r}: no texts to measure")

    def identity(self) -> list[Any]:
        """What the number depends on beside the model, for naming results: plain JSON, without the name.

        Returns:
            Measurement, texts and factor of each part.

        Raises:
            AitiaError: a function of one's own is measured, which nothing tells from another.
        """
        found = []
        for part in self.parts:
            measurement = part.measurement
            if isinstance(measurement, ConceptMeasurement):
                said: list[Any] = [measurement.concept.fingerprint, measurement.tokens, measurement.aggregate]
            elif isinstance(measurement, LogProbability):
                weights = measurement.weights
                said = ["log-probability", measurement.aggregate, None if weights is None else list(weights)]
            else:
                raise AitiaError(
                    f"target {self.name!r}: its function cannot be told from another, so results for it cannot be "
                    "kept; replay it with `smooth_replay`"
                )
            found.append([*said, part.texts.fingerprint, part.factor])
        return found

    def in_tokens(self, model: LanguageModel) -> Target:
        """The same with its texts cut by the model's tokenizer."""
        parts = tuple(
            TargetPart(measurement=part.measurement, texts=in_tokens(model, part.texts), factor=part.factor)
            for part in self.parts
        )
        return Target(name=self.name, parts=parts)


def projection_target(
    concept: Concept, texts: Records | TokenizedRecords, *, name: str = "concept projection"
) -> Target:
    """The mean projection of texts on a concept."""
    part = TargetPart(measurement=ConceptMeasurement(concept=concept), texts=texts)
    return Target(name=name, parts=(part,))


def margin_target(
    behaviour: Records | TokenizedRecords,
    normal: Records | TokenizedRecords | None = None,
    *,
    name: str = "likelihood margin",
) -> Target:
    """How much likelier answers that show a behaviour are than normal ones, in nats a token."""
    parts = [TargetPart(measurement=LogProbability(), texts=behaviour)]
    if normal is not None:
        parts.append(TargetPart(measurement=LogProbability(), texts=normal, factor=-1.0))
    return Target(name=name, parts=tuple(parts))


def require_targets(targets: Sequence[Target]) -> None:
    """Refuse no targets, and two of one name.

    Raises:
        AitiaError: the name is given.
    """
    names = [target.name for target in targets]
    if not names:
        raise AitiaError("no target: say what is to be measured after training")
    if len(set(names)) < len(names):
        raise AitiaError(f"two targets have the same name: {', '.join(sorted(names))}")


def target_gradients(trainable: Trainable, targets: Iterable[Target]) -> tuple[list[float], torch.Tensor]:
    """The targets' values at the parameters that the model has, and their gradients, [c, P] float64.

    Returns:
        Values [c] and gradients [c, P].

    Raises:
        AitiaError: a target does not depend on what is trained.
        NumericalError: a value or a gradient is not finite.
    """
    import torch

    values, gradients = [], []
    for target in targets:
        value, gradient = target_gradient(trainable, target)
        if not bool(gradient.any()):
            raise AitiaError(
                f"target {target.name!r} does not depend on any trained parameter, so no row can move it"
            )
        if not (torch.tensor(value).isfinite() and bool(gradient.isfinite().all())):
            raise NumericalError(f"target {target.name!r}: its value or its gradient is not finite")
        values.append(value)
        gradients.append(gradient)
    return values, torch.stack(gradients)


def target_texts(targets: Sequence[Target]) -> list[TokenizedRecords]:
    """The texts of targets that were cut by `Target.in_tokens`."""
    texts = [part.texts for target in targets for part in target.parts]
    return [each for each in texts if isinstance(each, TokenizedRecords)]


def target_value(model: LanguageModel, target: Target) -> float:
    """A target's value, without a gradient."""
    return sum(float(value) for value, _ in _parts(model, target, gradients=False))


def target_gradient(trainable: Trainable, target: Target) -> tuple[float, torch.Tensor]:
    """A target's value and gradient, [P] float64."""
    import torch

    parameters = list(trainable.parameters.values())
    total, whole = 0.0, torch.zeros(sum(each.numel() for each in parameters), dtype=torch.float64)
    whole = whole.to(parameters[0].device)
    for value, _ in _parts(trainable.model, target, gradients=True):
        total += float(value.detach())
        if value.requires_grad:
            found = torch.autograd.grad(value, parameters, allow_unused=True)
            whole += flatten(found, parameters).double()
    return total, whole


def _parts(
    model: LanguageModel, target: Target, *, gradients: bool
) -> Iterable[tuple[torch.Tensor, Measurement]]:
    """What each batch of texts adds to a target."""
    for part in target.parts:
        texts = in_tokens(model, part.texts)
        share = part.factor / len(texts)
        stop = highest_site(part.measurement) is not None
        for index in length_batches([len(row.tokens) for row in texts], max_tokens=_BATCH_TOKENS):
            batch = pad_batch(texts, index, model.pad_id)
            outputs = run(model, batch, part.measurement.sites, gradients=gradients, detach=False, stop=stop)
            yield share * part.measurement.values(outputs, batch).sum(), part.measurement
