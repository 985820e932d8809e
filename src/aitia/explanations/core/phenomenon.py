"""The explanandum: which behaviour, of which model, on which inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.model import ModelUnderStudy
from aitia.files import digest


def as_labels(outputs: np.ndarray) -> np.ndarray:
    """The default observable: outputs that are labels [n] as they are, scores [n, k] as the highest one's place."""
    outputs = np.asarray(outputs)
    return outputs if outputs.ndim == 1 else outputs.argmax(axis=-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Phenomenon:
    """What is to be explained: an observable of a model over a domain of inputs.

    Attributes:
        name: for people.
        model: the model whose behaviour it is.
        inputs: [n, ...] the domain, one input a row.
        outcomes: names of the k outcomes that can be observed. Cut a continuous observable into bins first.
        observable: model outputs -> labels [n] from 0 to k-1.
        weights: [n] how much each input counts; default: all the same.
        fit: indices that an explanation, its maps and the null predictor may be fitted on; default: none.
        test: indices that it is judged on; default: all that are not in `fit`.
        null: [k] or [n, k], the predictions of someone who knows nothing; default: the frequencies on `fit`, by
            weight (half an observation added to each outcome), or uniform where there is no `fit`.
        cases: [n] a partition of the inputs; scope counts the cases that are explained. Default: each input.
        sources: indices of the inputs that interventions take their values from; default: the test inputs.
        beyond: [m, ...] inputs outside the domain, for excess scope.
        metric: (inputs [n, ...], labels [n]) -> [n] between 0 and 1: what a certificate bounds the mean of.
        exhaustive: whether `inputs` is the whole domain (figures are exact) or a sample of it.
        seed: what `inputs` was sampled with.
    """

    name: str
    model: ModelUnderStudy
    inputs: np.ndarray
    outcomes: Sequence[str]
    observable: Callable[[np.ndarray], np.ndarray] = as_labels
    weights: np.ndarray | None = None
    fit: np.ndarray | None = None
    test: np.ndarray | None = None
    null: np.ndarray | None = None
    cases: np.ndarray | None = None
    sources: np.ndarray | None = None
    beyond: np.ndarray | None = None
    metric: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    exhaustive: bool = True
    seed: int | None = None

    def __post_init__(self) -> None:
        inputs = np.asarray(self.inputs)
        n = len(inputs)
        if n == 0:
            raise ExplanationError(f"phenomenon {self.name!r}: the domain has no inputs")
        if len(self.outcomes) == 0:
            raise ExplanationError(f"phenomenon {self.name!r}: no outcomes are named")
        if self.fit is not None:
            object.__setattr__(self, "fit", self._indices("fit", self.fit, n))
        fit = self.fit_indices
        rest = np.setdiff1d(np.arange(n), fit)
        test = rest if self.test is None else self._indices("test", self.test, n)
        if len(test) == 0:
            raise ExplanationError(f"phenomenon {self.name!r}: the test split is empty")
        rows = [inputs[i].tobytes() if inputs.dtype != object else repr(inputs[i]) for i in range(n)]
        seen = {rows[i] for i in fit}
        if both := [int(i) for i in test if rows[i] in seen]:
            raise ExplanationError(
                f"phenomenon {self.name!r}: {len(both)} inputs are in the fit and in the test split "
                f"(the first is row {both[0]}); an explanation is judged on inputs it was not fitted on"
            )
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "outcomes", tuple(str(outcome) for outcome in self.outcomes))
        object.__setattr__(self, "test", test)
        if self.sources is not None:
            object.__setattr__(self, "sources", self._indices("sources", self.sources, n))
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=float)
            if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any():
                raise ExplanationError(f"phenomenon {self.name!r}: weights must be [{n}] and not negative")
            for name, split in (("test", test), ("fit", fit)):
                if len(split) and weights[split].sum() <= 0:
                    raise ExplanationError(f"phenomenon {self.name!r}: the {name} inputs weigh nothing")
            object.__setattr__(self, "weights", weights)
        if self.cases is not None and np.shape(self.cases) != (n,):
            raise ExplanationError(f"phenomenon {self.name!r}: cases must be [{n}]")

    def _indices(self, name: str, given: np.ndarray, n: int) -> np.ndarray:
        indices = np.asarray(given)
        if indices.size == 0:
            raise ExplanationError(
                f"phenomenon {self.name!r}: the {name} split is empty; leave it out instead"
            )
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        if indices.min() < 0 or indices.max() >= n:
            raise ExplanationError(
                f"phenomenon {self.name!r}: the {name} split names inputs outside 0 to {n - 1}"
            )
        return np.unique(indices.astype(int))

    @classmethod
    def sampled(
        cls,
        sampler: Callable[[np.random.Generator, int], np.ndarray],
        *,
        n: int,
        seed: int = 0,
        fit_share: float = 0.5,
        **fields: Any,
    ) -> Phenomenon:
        """A phenomenon on a sample of a domain too large to list.

        Args:
            sampler: (generator, n) -> inputs [n, ...]; inputs drawn twice are kept once.
            n: inputs to draw.
            seed: of the draw and of the split.
            fit_share: share of the sample for fitting.
            **fields: the other attributes.

        Returns:
            The phenomenon, marked as not exhaustive.
        """
        generator = np.random.default_rng(seed)
        inputs = np.asarray(sampler(generator, n))
        first = np.unique(np.unique(inputs, axis=0, return_index=True)[1])
        inputs = inputs[first]
        order = generator.permutation(len(inputs))
        cut = round(fit_share * len(inputs))
        splits: dict[str, Any] = {"fit": order[:cut], "test": order[cut:]} if cut else {}
        return cls(inputs=inputs, seed=seed, exhaustive=False, **splits, **fields)

    @property
    def fit_indices(self) -> np.ndarray:
        """Indices of the fit split; empty where there is none."""
        return np.zeros(0, dtype=int) if self.fit is None else self.fit

    @property
    def test_indices(self) -> np.ndarray:
        """Indices of the test split."""
        assert self.test is not None
        return self.test

    @property
    def exact(self) -> bool:
        """Whether the test split is the whole domain, so that means over it need no interval."""
        return self.exhaustive and len(self.test_indices) == len(self.inputs)

    @cached_property
    def observed(self) -> np.ndarray:
        """[n] what the model does on the domain."""
        return self.observe(self.model, self.inputs)

    def observe(self, model: ModelUnderStudy, inputs: np.ndarray) -> np.ndarray:
        """[n] labels: the observable of a model's outputs on some inputs."""
        return self.labels(model.run(inputs), len(inputs))

    def labels(self, outputs: np.ndarray, n: int) -> np.ndarray:
        """[n] labels that the observable reads off a model's outputs.

        Returns:
            [n] int64, positions in `outcomes`.

        Raises:
            ExplanationError: they are not labels from 0 to k-1.
        """
        labels = np.asarray(self.observable(outputs))
        if labels.shape != (n,) or not (labels == labels.astype(int)).all():
            raise ExplanationError(
                f"phenomenon {self.name!r}: the observable must give [{n}] whole-number labels"
            )
        labels = labels.astype(int)
        if labels.min() < 0 or labels.max() >= len(self.outcomes):
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            raise ExplanationError(
                f"phenomenon {self.name!r}: the observable gave label {wrong}, "
                f"where {len(self.outcomes)} outcomes are named"
            )
        return labels

    def null_predictions(self, indices: np.ndarray | None = None, n: int | None = None) -> np.ndarray:
        """[n, k] the null predictor on inputs of the domain, or on `n` inputs outside it."""
        k = len(self.outcomes)
        rows = n if n is not None else len(self.inputs if indices is None else indices)
        null = None if self.null is None else np.asarray(self.null, dtype=float)
        if null is None:
            counts = np.zeros(k)
            if len(self.fit_indices):
                mass = self.normalised_weights(self.fit_indices) * len(self.fit_indices)
                counts = np.bincount(self.observed[self.fit_indices], weights=mass, minlength=k)
            null = (counts + 0.5) / (counts.sum() + 0.5 * k)
        if null.ndim == 1:
            return np.broadcast_to(null, (rows, k)).copy()
        if n is not None:
            return np.broadcast_to(null.mean(axis=0), (rows, k)).copy()
        return null if indices is None else null[indices]

    @property
    def null_is(self) -> str:
        """What the null predictor is, for people."""
        if self.null is not None:
            return "given" if np.ndim(self.null) == 1 else "given, input by input"
        return "frequencies on the fit split" if len(self.fit_indices) else "every outcome alike"

    def normalised_weights(self, indices: np.ndarray) -> np.ndarray:
        """How much each of the inputs counts, summing to one over them."""
        weights = np.ones(len(self.inputs)) if self.weights is None else self.weights
        return weights[indices] / weights[indices].sum()

    def of(self, model: ModelUnderStudy) -> Phenomenon:
        """The same phenomenon of another model."""
        return replace(self, model=model)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of model, domain, outcomes, null, splits and interventions: baselines must share it."""
        content = (
            self.inputs.tobytes() if self.inputs.dtype != object else repr(self.inputs.tolist()).encode()
        )
        others = (self.weights, self.null, self.cases, self.sources, self.beyond)
        return digest(
            [
                self.name,
                self.model.fingerprint,
                list(self.inputs.shape),
                hashlib.sha256(content).hexdigest(),
                list(self.outcomes),
                [None if each is None else np.asarray(each).tolist() for each in others],
                self.fit_indices.tolist(),
                self.test_indices.tolist(),
            ]
        )
