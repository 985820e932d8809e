"""What the methods are judged on: networks, each with a phenomenon, a site, and all hypotheses about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aitia.adapters import certified_explanation
from aitia.adapters.group_networks import HYPOTHESES, product_phenomenon, under_study
from aitia.explanations import Explanation, FunctionModel, ModelUnderStudy, Phenomenon, Premise, Settings
from aitia.explanations.examples.max_of_two import (
    max_network,
    max_phenomenon,
    proof_ladder,
    rule_explanation,
)
from aitia.finite_groups import Group, named_group
from aitia.group_networks import (
    GroupNetwork,
    Interpretation,
    TrainingSettings,
    interpret,
    load_network,
    summarise,
    train_networks,
)
from aitia.mechanisms import METHODS, record_site
from aitia.proofs import prove_accuracy
from judged.language import SITE, mood_phenomenon

RECIPES = {
    "S4": ("S4", TrainingSettings(train_fraction=0.6)),
    "Z23": ("Z23", TrainingSettings(train_fraction=0.7)),
    "D5": ("D5", TrainingSettings(train_fraction=0.8, weight_decay=1e-3)),
    "Q8": ("Q8", TrainingSettings(train_fraction=1.0)),
    "S4, 64 neurons": ("S4", TrainingSettings(train_fraction=0.6, width=64)),
}
"""Family -> its group, and how its networks are trained."""
JUDGED = ("S4", "Z23")
"""Families whose networks the methods are judged on: one that does not commute, and addition."""
FIT = 2 / 3
"""Share of the inputs that methods may be fitted on; the others judge them."""
FEWER = {"dictionary": {"features": 96, "named": 4}, "circuit": {"named": 4}}
"""For the language model: as many features as there are rows to learn them from, and fewer variables."""
LAW = "neurons stand on points of G-sets"


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One network.

    Attributes:
        family: the phenomenon's name, shared by networks that differ in their seed.
        phenomenon: with fit and test split.
        hypotheses: name -> how to make a hypothesis of it; made one by one, since some take long.
        others: networks of the same family, which laws are tried on.
        most: settings that are kept lower here, since each intervention costs more.
        cannot: hypothesis of other networks -> why there can be none here.
    """

    family: str
    phenomenon: Phenomenon
    hypotheses: dict[str, Callable[[], Explanation | None]]
    others: tuple[ModelUnderStudy, ...]
    most: dict[str, int] = field(default_factory=dict)
    cannot: dict[str, str] = field(default_factory=dict)

    def settings(self, settings: Settings) -> Settings:
        """Settings of the table, with no more of anything than this network can afford."""
        return replace(
            settings, **{name: min(getattr(settings, name), most) for name, most in self.most.items()}
        )


def split(phenomenon: Phenomenon, seed: int) -> Phenomenon:
    """The phenomenon with a fit and a test split drawn by lot."""
    order = np.random.default_rng(seed).permutation(len(phenomenon.inputs))
    cut = round(FIT * len(order))
    return replace(phenomenon, fit=order[:cut], test=order[cut:])


def family(name: str, count: int, folder: Path) -> list[Path]:
    """Files of a family's networks, trained where they are not there yet."""
    group, settings = RECIPES[name]
    return train_networks(named_group(group), range(count), folder / name, settings)


def group_subjects(name: str, count: int, folder: Path) -> Iterator[Subject]:
    """The networks of a group, with methods fitted to activations and hypotheses read off the weights."""
    networks = [load_network(path) for path in family(name, count, folder)]
    for seed, network in enumerate(networks):
        phenomenon = split(product_phenomenon(network), seed)
        order, width = network.group.order, network.width
        record = record_site(
            phenomenon, "hidden", below=2 * order * width, above=width * order + order, seed=seed
        )
        found = interpret(network)
        hypotheses = {name: _fitted(make, record) for name, make in METHODS.items()}
        hypotheses |= {name: _read_off(make, found, phenomenon) for name, make in HYPOTHESES.items()}
        others = tuple(under_study(each) for each in networks if each is not network)
        points = hypotheses["g-sets"]
        hypotheses["g-sets"] = lambda points=points, group=network.group, others=others: lawful(
            points(), lambda model: stands_on_points(model, group), others
        )
        hypotheses["compact proof"] = lambda make=hypotheses["g-sets"], network=network, found=found: proved(
            make(), network, found
        )
        yield Subject(
            family=f"products in {name}", phenomenon=phenomenon, hypotheses=hypotheses, others=others
        )


def max_subject(vocabulary: int = 16) -> Subject:
    """The hand-built network that answers the larger of two tokens; its proof is the convexity rung of the ladder."""
    phenomenon = split(max_phenomenon(vocabulary, beyond=2), 0)
    record = record_site(phenomenon, "head", below=2, above=2)
    hypotheses = {name: _fitted(make, record) for name, make in METHODS.items()}
    certificate = proof_ladder(phenomenon)["convexity"]
    hypotheses["rule"] = lambda: rule_explanation(phenomenon)
    hypotheses["compact proof"] = lambda: replace(
        rule_explanation(phenomenon, certificate=certificate), name="compact proof"
    )
    others = tuple(max_network(vocabulary, sharpness=sharpness) for sharpness in (2.0, 3.0, 6.0))
    return Subject(family="larger of two tokens", phenomenon=phenomenon, hypotheses=hypotheses, others=others)


def language_subject(folder: Path, count: int = 144) -> Subject:
    """SmolLM2-135M-Instruct calling texts happy or sad, read at the residual stream of one block."""
    whole, below, above = mood_phenomenon(folder, count)
    phenomenon = split(whole, 0)
    record = record_site(phenomenon, SITE, below=below, above=above)
    return Subject(
        family="mood seen by a language model",
        phenomenon=phenomenon,
        hypotheses={
            name: _fitted(partial(make, **FEWER.get(name, {})), record) for name, make in METHODS.items()
        },
        others=(),
        most={"interventions": 64, "controls": 3, "mutants": 3},
        cannot={
            **dict.fromkeys(
                HYPOTHESES, "it reads the tables of a group off the weights, and this is no group"
            ),
            "rule": "nobody knows the rule",
            "compact proof": "no verifier of ours bounds a transformer",
        },
    )


def proved(
    explanation: Explanation | None, network: GroupNetwork, found: Interpretation
) -> Explanation | None:
    """The hypothesis by points of G-sets with the best certificate that any verifier gives of it."""
    if explanation is None:
        return None
    certificate = prove_accuracy(network, interpretation=found)
    return replace(certified_explanation(network, certificate, explanation), name="compact proof")


def stands_on_points(model: ModelUnderStudy, group: Group) -> float:
    """How far above 0.95 the hidden layer of another network explains its logits when it stands on points exactly."""
    assert isinstance(model, FunctionModel)
    weights: dict[str, Any] = dict(model.parameters)
    network = GroupNetwork(group=group, **weights)
    return summarise(interpret(network)).hidden_explains - 0.95


def lawful(
    explanation: Explanation | None,
    holds: Callable[[ModelUnderStudy], float],
    others: Sequence[ModelUnderStudy],
) -> Explanation | None:
    """The hypothesis as a case of a law: without the law it says nothing, and the law is tested on its own."""
    if explanation is None:
        return None
    served = [explanation.phenomenon.model.name, *(each.fingerprint for each in others)]
    law = Premise(kind="law", statement=LAW, holds=holds, serves=served)
    program = explanation.program

    def lawful_program(premises, inputs, variable):
        return program(premises, inputs, variable) if premises[LAW] else np.full(len(inputs), -1)

    return replace(
        explanation,
        premises={**explanation.premises, LAW: law},
        program=lawful_program,
        code=explanation.source,
    )


def _fitted(make, record):
    return lambda: make(record)


def _read_off(make, found, phenomenon):
    return lambda: fewer_variables(make(found, phenomenon)) if found.circuits else None


def fewer_variables(explanation: Explanation | None, most: int = 12) -> Explanation | None:
    """The hypothesis with at most so many of its variables, drawn by lot: each costs hundreds of interventions."""
    if explanation is None or len(explanation.variables) <= most:
        return explanation
    names = np.array(list(explanation.variables))
    kept = set(np.random.default_rng(0).choice(names, most, replace=False).tolist())
    return replace(explanation, variables={n: v for n, v in explanation.variables.items() if n in kept})
