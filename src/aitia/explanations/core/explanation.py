"""The explanans: a small program with named variables, built on premises, aligned with the model.

An explanation is written as a model is: a function with named places. `program(premises, inputs, variable)`
reads the premises it needs, calls `variable("count", value)` for each variable it posits, and returns what
it predicts. From this one function follow its states, its answer to interventions, and which premises bear load.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.alignment import Alignment
from aitia.explanations.core.phenomenon import Phenomenon
from aitia.explanations.core.predictive import Predictive, as_distributions
from aitia.explanations.core.taps import TappedFunction, run_tapped
from aitia.explanations.reach.walking import program_text
from aitia.files import digest

if TYPE_CHECKING:
    from aitia.explanations.core.direction import Direction
    from aitia.explanations.core.model import ModelUnderStudy
    from aitia.explanations.metrics.kuhnian import Registration
    from aitia.explanations.metrics.proofs import Certificate

KINDS = ("law", "fact", "parameter", "definition")


@dataclass(frozen=True, kw_only=True, eq=False)
class Premise:
    """One thing that an explanation assumes.

    Attributes:
        value: what the program gets when it reads the premise.
        kind: law (claimed to hold beyond this model), fact, parameter or definition.
        statement: the premise in a formal language, as in `max(a, b)`.
        bits: its length in the declared language; default: 8 for each character of `statement`, or where there
            is none of the value written as JSON.
        variants: further values that it might have had, for the hard-to-vary test. The test's own are tried as well:
            whole numbers are moved by one, reals by 10 %, truth values are negated, rows of numbers are moved on by
            one place and turned round.
        serves: names of the phenomena that the premise helps to explain; default: this one alone.
        holds: model -> skill of this premise there, where a law can be tested on its own.
    """

    value: Any = True
    kind: str = "fact"
    statement: str = ""
    bits: float | None = None
    variants: Sequence[Any] | None = None
    serves: Sequence[str] = ()
    holds: Callable[[ModelUnderStudy], float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ExplanationError(f"premise of kind {self.kind!r}: choose one of {', '.join(KINDS)}")
        if self.bits is not None and not (np.isfinite(self.bits) and self.bits >= 0):
            raise ExplanationError(f"a premise of {self.bits} bits: give a number that is not negative")

    @property
    def length(self) -> float:
        """Bits in the declared language."""
        if self.bits is not None:
            return float(self.bits)
        return 8.0 * len((self.statement or _json(self.value)).encode())

    @property
    def alternatives(self) -> tuple[Any, ...]:
        """Values that it might have had instead: the test's own, whatever its author names, and then the author's."""
        value, named = self.value, tuple(self.variants or ())
        if isinstance(value, bool | np.bool_):
            return (not value, *named)
        if isinstance(value, int | np.integer):
            return (int(value) - 1, int(value) + 1, *named)
        if isinstance(value, float | np.floating):
            return (0.9 * float(value), 1.1 * float(value), *named)
        if isinstance(value, list | tuple | np.ndarray) and np.size(value) > 1:
            rows = np.asarray(value)
            if np.issubdtype(rows.dtype, np.number):
                moved = [np.roll(rows, 1), rows.ravel()[::-1].reshape(rows.shape)]
                return (*(each if isinstance(value, np.ndarray) else each.tolist() for each in moved), *named)
        if isinstance(value, str) and value != value[::-1]:
            return (value[::-1], *named)
        return named


@dataclass(frozen=True, kw_only=True, eq=False)
class Variable:
    """A variable that the explanation posits.

    Attributes:
        values: how many values it can have, 0 to values-1; None for a real number.
        parents: the variables that it is computed from; inputs are not counted.
        alignment: where in the model it lives; default: nowhere is claimed.
    """

    values: int | None = 2
    parents: Sequence[str] = ()
    alignment: Alignment | None = None


class DroppedPremise(KeyError):
    """The program read a premise that had been taken away."""


class PremiseValues(Mapping[str, Any]):
    """The premises as the program sees them; reading a dropped one raises, `get` gives its default."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise DroppedPremise(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """A hypothesis of a phenomenon.

    Attributes:
        name: for people.
        phenomenon: what it explains.
        program: `program(premises, inputs, variable)` -> labels [n] (-1 abstains), or distributions [n, k]
            (a row of NaN abstains).
        premises: by name.
        variables: by the name that the program calls them; those it does not list are not judged.
        inert: site -> components (None: the whole site) that it claims do not matter.
        scope: inputs -> [n] bool, where it claims to apply; it abstains elsewhere.
        forbids: inputs -> [n, k] bool; default: the outcomes whose probability is at most delta.
        latents: (weight, premise values) of the settings that it leaves open; observations share them.
        derivations: other ways from inputs to the same answer, by name, for inner consistency.
        refit: observed labels [n] of the domain -> the explanation fitted to them, or None if it cannot be.
        registered: predictions registered before they were tested.
        certificate: what it proves about the model.
        direction: the direction of activations that the behaviour is said to go through, with what came of
            intervening on it.
        log_prior: log2 of a prior probability, where the user has one.
        model_fingerprint: of the model that it was made for; default: the phenomenon's.
        code: the program's text; default: its Python source, with the data and functions that it refers to, where
            that can be had.
    """

    name: str
    phenomenon: Phenomenon
    program: TappedFunction
    premises: Mapping[str, Premise] = field(default_factory=dict)
    variables: Mapping[str, Variable] = field(default_factory=dict)
    inert: Mapping[str, Sequence[int] | None] = field(default_factory=dict)
    scope: Callable[[np.ndarray], np.ndarray] | None = None
    forbids: Callable[[np.ndarray], np.ndarray] | None = None
    latents: Sequence[tuple[float, Mapping[str, Any]]] = ((1.0, {}),)
    derivations: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    refit: Callable[[np.ndarray], Explanation | None] | None = None
    registered: Sequence[Registration] = ()
    certificate: Certificate | None = None
    direction: Direction | None = None
    log_prior: float | None = None
    model_fingerprint: str | None = None
    code: str | None = None

    def __post_init__(self) -> None:
        model = self.phenomenon.model
        if self.model_fingerprint not in (None, model.fingerprint):
            raise ExplanationError(
                f"explanation {self.name!r} was made for another model (fingerprint {self.model_fingerprint}) than "
                f"{model.name} ({model.fingerprint}); explain this one, or try this hypothesis on it by `models`"
            )
        sites = {each.alignment.site for each in self.variables.values() if each.alignment} | set(self.inert)
        if unknown := sites - set(model.sites):
            raise ExplanationError(
                f"explanation {self.name!r} speaks of sites that {model.name} does not have: "
                f"{', '.join(sorted(unknown))}; its sites are {', '.join(model.sites) or 'none'}"
            )
        weights = [weight for weight, _ in self.latents]
        if not weights or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6:
            raise ExplanationError(f"explanation {self.name!r}: the weights of its latents must sum to 1")

    def run(
        self,
        inputs: np.ndarray,
        interventions: Mapping[str, np.ndarray] | None = None,
        setting: Mapping[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Predictions [n, k] and the state [n] of each variable, for one setting of the premises.

        Args:
            inputs: [n, ...].
            interventions: variable -> values [n] that it is set to.
            setting: premise -> the value it has instead of its own; default: the likeliest latent.

        Returns:
            [n, k] distributions over the outcomes, and name -> [n] for each variable.

        Raises:
            ExplanationError: the answer is no prediction, or the program lacks a variable that is intervened on.
        """
        if setting is None:
            setting = max(self.latents, key=lambda latent: latent[0])[1]
        n, k = len(inputs), len(self.phenomenon.outcomes)
        values = {name: premise.value for name, premise in self.premises.items()} | dict(setting)
        try:
            answer, states = run_tapped(self.program, PremiseValues(values), inputs, interventions)
        except DroppedPremise:
            return np.full((n, k), np.nan), {}
        distributions = as_distributions(answer, n, k, who=self.name)
        if self.scope is not None:
            distributions = np.where(
                np.asarray(self.scope(inputs), dtype=bool)[:, None], distributions, np.nan
            )
        return distributions, states

    def predict(self, inputs: np.ndarray) -> Predictive:
        """Predictions under every setting of the latents."""
        return Predictive(
            probabilities=np.stack([self.run(inputs, setting=setting)[0] for _, setting in self.latents]),
            weights=np.array([weight for weight, _ in self.latents], dtype=float),
        )

    def states(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The state [n] of each variable.

        Returns:
            Name -> [n].

        Raises:
            ExplanationError: a variable that is listed is never computed by the program.
        """
        states = self.run(inputs)[1]
        if states and (missing := self.variables.keys() - states.keys()):
            raise ExplanationError(
                f"explanation {self.name!r}: its program never computes {', '.join(sorted(missing))}"
            )
        return states

    def without(self, *names: str) -> Explanation:
        """The explanation with premises taken away; where the program reads one of them, it abstains."""
        kept = {name: premise for name, premise in self.premises.items() if name not in names}
        latents = [(w, {k: v for k, v in s.items() if k not in names}) for w, s in self.latents]
        return replace(self, premises=kept, latents=latents)

    def stops_without(self, name: str) -> bool:
        """Whether the program stops where a premise is taken away: then only another value shows what it is for."""
        values = {other: premise.value for other, premise in self.premises.items() if other != name}
        try:
            run_tapped(self.program, PremiseValues(values), self.phenomenon.inputs)
        except DroppedPremise:
            return True
        return False

    def with_values(self, **values: Any) -> Explanation:
        """The explanation with other values of some premises."""
        changed = {name: replace(self.premises[name], value=value) for name, value in values.items()}
        return replace(self, premises={**self.premises, **changed})

    def of(self, phenomenon: Phenomenon) -> Explanation:
        """The same hypothesis, unchanged, of another phenomenon or model."""
        return replace(self, phenomenon=phenomenon, model_fingerprint=None)

    @property
    def aligned(self) -> dict[str, Alignment]:
        """The variables that are claimed to live somewhere in the model."""
        return {name: each.alignment for name, each in self.variables.items() if each.alignment is not None}

    @cached_property
    def source(self) -> str:
        """The program's text; empty where it cannot be had."""
        return program_text(self.program) if self.code is None else self.code

    def serialise(self) -> bytes:
        """The explanation as bytes that do not depend on what its variables and premises are called in the lists."""
        order = {name: i for i, name in enumerate(self.variables)}
        variables = [
            [
                each.values,
                sorted(order[p] for p in each.parents if p in order),
                None if each.alignment is None else [each.alignment.site, _json(each.alignment.subspace)],
            ]
            for each in self.variables.values()
        ]
        premises = [[p.kind, p.statement, _json(p.value)] for p in self.premises.values()]
        return _json([variables, premises, self.source]).encode()

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what it says and predicts on the domain."""
        predicted = self.predict(self.phenomenon.inputs)
        return digest(
            [
                self.name,
                self.phenomenon.fingerprint,
                self.serialise().decode(),
                np.nan_to_num(predicted.probabilities, nan=-1).round(12).tolist(),
            ]
        )


def _json(value: Any) -> str:
    """Compact JSON; arrays as lists, and what JSON does not know by its type's name."""

    def plain(each: Any) -> Any:
        return each.tolist() if isinstance(each, np.ndarray | np.generic) else type(each).__name__

    return json.dumps(value, default=plain, separators=(",", ":"), sort_keys=True)
