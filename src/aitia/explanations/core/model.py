"""Models under study: what an explanation is held against.

`ModelUnderStudy` is all that judging asks of a model. `FunctionModel` makes one of a NumPy function;
`aitia.models.under_study` makes one of a torch module or a language model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.taps import TappedFunction, run_tapped
from aitia.files import digest


class ModelUnderStudy(Protocol):
    """A model that can be run, watched and intervened on.

    Inputs are arrays [n, ...] with one input a row; activations at a site are [n, width]; outputs are
    whatever the phenomenon's observable reads, one a row.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the weights change."""
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the places inside that can be read and set."""
        ...

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs [n, ...]."""
        ...

    def trace(self, inputs: np.ndarray, sites: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations [n, width] at each of the sites."""
        ...

    def intervene(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], sites: Sequence[str] = ()
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Outputs when each site in `values` is set to what is given there, and activations at `sites`."""
        ...

    def randomised(self, seed: int) -> ModelUnderStudy | None:
        """The same architecture with random weights; None where there are no weights to draw."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionModel:
    """A model written in NumPy.

    Attributes:
        name: for people.
        function: called as `function(parameters, inputs, site)`; it calls `site("hidden", value)` at each site
            and goes on with the array that this returns.
        parameters: its weights, by name.
        sites: the names that it calls `site` with; values there are [n, width].
    """

    name: str
    function: TappedFunction
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    sites: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of name, sites and the exact weights; the function's code is not part of it."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        weights = {
            name: [
                list(np.shape(value)),
                hashlib.sha256(np.ascontiguousarray(value, dtype=float).tobytes()).hexdigest(),
            ]
            for name, value in self.parameters.items()
        }
        return digest([self.name, list(self.sites), weights])

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs [n, ...]."""
        return run_tapped(self.function, self.parameters, inputs)[0]

    def trace(self, inputs: np.ndarray, sites: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations [n, width] at each of the sites."""
        return self.intervene(inputs, {}, sites)[1]

    def intervene(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], sites: Sequence[str] = ()
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Outputs when sites are set, and activations at `sites`.

        Returns:
            [n, ...] outputs, and site -> activations [n, d].

        Raises:
            ExplanationError: the function has no such site.
        """
        outputs, seen = run_tapped(self.function, self.parameters, inputs, values)
        if missing := set(sites) - seen.keys():
            raise ExplanationError(
                f"{self.name}: no site {', '.join(sorted(missing))}; it has {', '.join(seen)}"
            )
        return outputs, {site: seen[site] for site in sites}

    def randomised(self, seed: int) -> FunctionModel | None:
        """Weights drawn afresh from a normal distribution of the same root mean square, tensor by tensor."""
        if not self.parameters:
            return None
        generator = np.random.default_rng(seed)
        drawn = {
            name: generator.normal(0, max(float(np.sqrt(np.mean(np.square(value)))), 1e-12), np.shape(value))
            for name, value in self.parameters.items()
        }
        return replace(self, name=f"{self.name}, random weights {seed}", parameters=drawn)


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnedModel:
    """A model that gives the same answers and holds them elsewhere: its activations in coordinates turned at random.

    An explanation of where things are must fail on it; one that only says what comes out cannot.

    Attributes:
        model: the model that is turned.
        turns: site -> [width, width] orthogonal; other sites are as they are.
    """

    model: ModelUnderStudy
    turns: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        """What it is."""
        return f"{self.model.name}, turned inside"

    @property
    def fingerprint(self) -> str:
        """Digest of the model's and of the turns."""
        return digest([self.model.fingerprint, {site: each.tolist() for site, each in self.turns.items()}])

    @property
    def sites(self) -> tuple[str, ...]:
        """The model's."""
        return self.model.sites

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """The model's outputs [n, ...]."""
        return self.model.run(inputs)

    def trace(self, inputs: np.ndarray, sites: Sequence[str]) -> dict[str, np.ndarray]:
        """Activations [n, width] at each of the sites, turned."""
        return self._turned(self.model.trace(inputs, sites))

    def intervene(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], sites: Sequence[str] = ()
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Outputs when sites are set to turned activations, and turned activations at `sites`."""
        back = {
            site: np.asarray(each, dtype=float) @ self.turns[site].T if site in self.turns else each
            for site, each in values.items()
        }
        outputs, traced = self.model.intervene(inputs, back, sites)
        return outputs, self._turned(traced)

    def randomised(self, seed: int) -> ModelUnderStudy | None:
        """The model with random weights; in which coordinates, no longer matters."""
        return self.model.randomised(seed)

    def _turned(self, traced: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            site: np.asarray(each, dtype=float) @ self.turns[site] if site in self.turns else each
            for site, each in traced.items()
        }


def turned(model: ModelUnderStudy, inputs: np.ndarray, seed: int) -> TurnedModel:
    """The model with every site in coordinates turned at random; a site of one component changes its sign."""
    generator = np.random.default_rng(seed)
    turns = {}
    for site, each in model.trace(inputs[:1], model.sites).items():
        width = np.shape(each)[1]
        turns[site] = -np.eye(1) if width == 1 else np.linalg.qr(generator.normal(size=(width, width)))[0]
    return TurnedModel(model=model, turns=turns)


def black_box(name: str, function: Callable[[np.ndarray], Any]) -> FunctionModel:
    """A model of which only the outputs are known: any function from inputs [n, ...] to outputs [n, ...]."""
    return FunctionModel(name=name, function=lambda _parameters, inputs, _site: function(inputs))
