"""A setting has one default, wherever it is given: from Python, from YAML, or on the command line."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest
import typer

from aitia.attribution import GroupSettings, Ranking, ScanSettings, rank, scan
from aitia.attribution.cost_model import Data
from aitia.attribution.curvature import CurvatureSettings, Damping
from aitia.attribution.reporting import build_report
from aitia.cli import app
from aitia.concepts import SaeSettings, feature_matrix, fit_concept
from aitia.counterfactual import LoraSettings
from aitia.counterfactual.behaviours import JudgedResponses
from aitia.counterfactual.classifier_judge import ClassifierJudge
from aitia.counterfactual.endpoint import Endpoint
from aitia.counterfactual.endpoint_judge import EndpointJudge
from aitia.counterfactual.on_policy import on_policy_queries
from aitia.engine import Engine
from aitia.pipelines.configuration import (
    ConceptPart,
    CurvaturePart,
    DataPart,
    EnginePart,
    GroupsPart,
    Part,
    RankPart,
    ScanPart,
)
from aitia.pipelines.counterfactual_configuration import (
    ClassifierPart,
    EndpointPart,
    JudgedPart,
    QueriesPart,
    RankingsPart,
    TrainingPart,
)
from aitia.pipelines.discovery import discover
from aitia.pipelines.groups import explain_by_groups

# One row an act: everything that takes its settings. A string is a command.
ACTS = {
    "scan": (ScanSettings, scan, Data, ScanPart, DataPart, RankingsPart, "scan"),
    "curvature": (CurvatureSettings, CurvaturePart, "fit-curvature"),
    "rank": (rank, RankPart, RankingsPart, "rank"),
    "report": (build_report, Ranking.report, RankPart, "rank"),
    "groups": (GroupSettings, explain_by_groups, feature_matrix, GroupsPart, "groups"),
    "rank for groups": (rank, explain_by_groups, discover, "groups"),
    "sae": (SaeSettings, GroupsPart, "sae train"),
    "concept": (fit_concept, ConceptPart, "concept fit"),
    "engine": (Engine, EnginePart, "scan", "rank", "fit-curvature", "prove"),
    "training": (LoraSettings, TrainingPart),
    "judged": (JudgedResponses, JudgedPart),
    "queries": (on_policy_queries, QueriesPart),
    "endpoint": (EndpointJudge, Endpoint, EndpointPart),
    "classifier": (ClassifierJudge, ClassifierPart),
    "discover": (discover, "discover"),
}
# The same thing under another name, or nothing given, which each reads in its own way.
NAMES = {
    "signal": "signals",
    "site": "sites",
    "engine": "name",
    "gpus_per_worker": "gpus",
    "column": "columns",
}
UNSAID = (None, (), [], "", dataclasses.MISSING, inspect.Parameter.empty)


def command(path: str) -> click.Command:
    found: Any = typer.main.get_command(app)
    for name in path.split():
        found = found.commands[name]
    return found


def defaults(where: type | Callable | str) -> dict[str, Any]:
    """Name -> default of everything that is said there."""
    if isinstance(where, str):
        found = {NAMES.get(each.name, each.name): each.default for each in command(where).params}
    elif dataclasses.is_dataclass(where):
        found = {each.name: each.default for each in dataclasses.fields(where)}
    elif isinstance(where, type) and issubclass(where, Part):
        found = {name: field.default for name, field in where.model_fields.items() if not field.is_required()}
    else:
        of = where.__init__ if isinstance(where, type) else where
        found = {name: each.default for name, each in inspect.signature(of).parameters.items()}
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return {name: value for name, value in plain.items() if value not in UNSAID}


@pytest.mark.parametrize("act", ACTS)
def test_a_setting_has_one_default(act):
    places = ACTS[act]
    said = [defaults(place) for place in places]
    shared = {name for name in set().union(*said) if sum(name in each for each in said) > 1}
    if act in ("rank for groups", "engine"):
        shared &= {"method", "seed", "engine", "address", "workers", "gpus", "name"}
    assert shared, act
    for name in shared:
        values = {
            getattr(place, "__qualname__", place): each[name]
            for place, each in zip(places, said, strict=True)
            if name in each and not isinstance(each[name], Engine)
        }
        assert len(set(values.values())) <= 1, f"{act}: {name} differs: {values}"


def test_damping_has_one_default():
    for part in (RankPart, RankingsPart, "rank", "groups"):
        found = defaults(part)
        assert (found["damping"], found["relative_damping"]) == (Damping.value, Damping.relative)


def test_the_default_scan_keeps_what_the_default_method_reads():
    from aitia.attribution import find_scorer

    assert set(find_scorer(RankPart().method).needs().signals) <= set(
        ScanSettings(sites=("resid_post.0",)).signals
    )


@pytest.mark.parametrize(
    ("settings", "parts", "commands", "elsewhere"),
    [
        (ScanSettings, (ScanPart, DataPart), ("scan",), {"sites"}),  # in YAML, the concept's
        (
            CurvatureSettings,
            (CurvaturePart,),
            ("fit-curvature",),
            {"site", "seed", "max_length", "truncate"},
        ),  # the concept's, the ranking's, the data's
        (GroupSettings, (GroupsPart,), ("groups",), {"seed"}),
        (LoraSettings, (TrainingPart,), (), set()),
        (Engine, (EnginePart,), ("scan", "rank", "fit-curvature"), set()),
        (Damping, (), (), {"value", "relative"}),
    ],
)
def test_every_setting_is_reachable(settings, parts, commands, elsewhere):
    names = {each.name for each in dataclasses.fields(settings)}
    if parts:
        assert names - elsewhere <= {name for part in parts for name in part.model_fields}
    for each in commands:
        options = {name for option in command(each).params for name in (option.name, NAMES.get(option.name))}
        assert names - {"cpus"} <= options, each


def test_the_number_of_controls_in_help_and_schema_is_the_one_that_is_taken():
    from aitia.pipelines import groups

    help_text = next(each.help for each in command("groups").params if each.name == "controls")
    schema = GroupsPart.model_json_schema()["properties"]["controls"]["description"]
    assert help_text == schema
    for number in (groups.CONTROLS, groups.FEWEST_CONTROLS, groups.COSTLY_CONTROLS):
        assert f"{number:,}" in help_text
