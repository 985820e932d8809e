"""The form of `*.explanation.json` files: tables and numbers, checked before anything is made of them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Layer(_Part):
    """activation(x @ weights + bias)."""

    weights: list[list[float]] = Field(description="[inputs, outputs]")
    bias: list[float] | None = None
    activation: Literal["identity", "relu", "tanh"] = "identity"
    site: str | None = Field(None, description="Name under which the layer's output can be read and set.")


class ModelPart(_Part):
    """A small network, or a record of what a model did."""

    name: str
    layers: list[Layer] | None = Field(None, description="The network, first layer first.")
    above: float | None = Field(None, description="The label is whether the only output exceeds this.")
    recorded: list[int] | None = Field(
        None, description="The label of each input, where only a record is known."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelPart:
        if (self.layers is None) == (self.recorded is None):
            raise ValueError("give either layers or recorded")
        return self


class PhenomenonPart(_Part):
    """What is explained."""

    name: str
    model: ModelPart
    inputs: list[list[float]]
    outcomes: list[str]
    weights: list[float] | None = None
    fit: list[int] | None = None
    test: list[int] | None = None
    null: list[float] | list[list[float]] | None = None
    cases: list[int] | None = None
    sources: list[int] | None = Field(
        None, description="Inputs that interventions take their values from; default: the test inputs."
    )
    beyond: list[list[float]] | None = Field(None, description="Inputs outside the domain; needs layers.")
    correct: list[int] | None = Field(
        None, description="The label that a certificate counts as right, by input."
    )
    exhaustive: bool = True
    seed: int | None = None


class AlignmentPart(_Part):
    """Where a variable is said to live."""

    site: str
    components: list[int] | None = Field(None, description="Default: the whole site.")
    read: Literal["round", "nearest-mean", "linear", "memorise"] | None = Field(
        None, description="round: the activation of the only component, rounded; the others are fitted."
    )
    at_least: float | None = Field(
        None, description="Instead of read: whether the only component is at least this."
    )
    bits: float = 0.0


class Node(_Part):
    """A variable as a table over its parents."""

    name: str
    parents: list[str] = Field(description="Other variables, or input.0, input.1 and so on.")
    table: dict[str, int] = Field(
        description="Values of the parents, separated by a space, to the variable's value."
    )
    values: int | None = Field(
        None, ge=1, description="How many it can have; default: as many as the table names."
    )
    aligned: AlignmentPart | None = None


class PremisePart(_Part):
    """One thing that is assumed, and what falls without it."""

    name: str
    kind: Literal["law", "fact", "parameter", "definition"] = "fact"
    statement: str = ""
    bits: float | None = Field(None, ge=0)
    governs: list[str] | list[int] = Field(
        default_factory=list,
        description="Variables that cannot be computed without it, or rows of the predictions.",
    )
    serves: list[str] = Field(default_factory=list)


class CertificatePart(_Part):
    """What is proved."""

    bound: float
    cost: float
    brute_cost: float
    verifier: str = ""
    search_cost: float | None = None
    unexplained: int | None = None
    size: float | None = None


class ExplanationFile(_Part):
    """A whole file."""

    format: Literal["aitia-explanation-v1"]
    name: str
    phenomenon: PhenomenonPart | str = Field(
        description="The phenomenon, or a file that holds it, beside this one."
    )
    predictions: list[int | list[float] | None] | None = Field(
        None, description="By input: a label, or a distribution; null abstains."
    )
    graph: list[Node] | None = Field(None, description="Variables in order; the last is the answer.")
    premises: list[PremisePart] = Field(
        default_factory=list,
        description="Default: each row of the predictions, or each variable's table, with its length.",
    )
    inert: dict[str, list[int] | None] = Field(default_factory=dict)
    certificate: CertificatePart | None = None
    log_prior: float | None = None
    model_fingerprint: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> ExplanationFile:
        if (self.predictions is None) == (self.graph is None):
            raise ValueError("give either predictions or graph")
        if self.graph is not None and not self.graph:
            raise ValueError("the graph has no nodes")
        return self
