"""A setting has one default, one description and one range, wherever it is given: Python, YAML or the command line."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args

import click
import pytest
import typer
from pydantic import BaseModel, TypeAdapter, ValidationError
from typer.testing import CliRunner

import aitia
from aitia.attribution import (
    ControlSettings,
    FrontSettings,
    NullSettings,
    Ranking,
    RoundSettings,
    ScanSettings,
    SliceSettings,
    StreamSettings,
    rank,
)
from aitia.attribution.gradients.cost_model import Data
from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.influence import SolveSettings
from aitia.attribution.ranking.reporting import build_report
from aitia.cli import app
from aitia.cli.options import with_settings
from aitia.concepts import SaeSettings, feature_matrix, fit_concept
from aitia.counterfactual import TailPatchSettings
from aitia.counterfactual.behaviours import JudgedResponses
from aitia.counterfactual.judging.classifier_judge import ClassifierJudge
from aitia.counterfactual.judging.endpoint import Endpoint
from aitia.counterfactual.judging.endpoint_judge import EndpointJudge
from aitia.counterfactual.on_policy import on_policy_queries
from aitia.engine import Engine
from aitia.errors import AitiaError
from aitia.explorer import ExplorerSettings
from aitia.group_networks import InterpretationSettings, TrainingSettings
from aitia.pipelines.attribution.configuration import (
    AttributeConfiguration,
    ConceptPart,
    CurvaturePart,
    LossPart,
    RankPart,
    ReadingPart,
    ScanPart,
    SlicesPart,
)
from aitia.pipelines.attribution.discovery import discover
from aitia.pipelines.attribution.slices import explain_by_slices
from aitia.pipelines.parts import Part, whole
from aitia.pipelines.retraining.counterfactual_configuration import (
    ClassifierPart,
    CounterfactualConfiguration,
    EndpointPart,
    JudgedPart,
    QueriesPart,
    RankingsPart,
)
from aitia.records import ReadingSettings
from aitia.records.losses import LossSettings
from aitia.settings import Setting, described
from aitia.training import LoraSettings

SOURCE = Path(aitia.__file__).parent


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a settings class is reached from.

    Attributes:
        part: the part of a configuration that has its fields; the class itself where it stands there as it is.
        commands: those with an option for each field.
        keys: field -> its key in the configuration.
        flags: field -> its option, where it is not the field's name.
        elsewhere: field -> the key of the configuration that says it, by which another part does.
    """

    part: Any = None
    commands: tuple[str, ...] = ()
    keys: dict[str, str] = dataclasses.field(default_factory=dict)
    flags: dict[str, str] = dataclasses.field(default_factory=dict)
    elsewhere: dict[str, str] = dataclasses.field(default_factory=dict)


CUT = {"max_length": "data.max_length", "truncate": "data.truncate"}
PLACES = {
    ScanSettings: Place(
        part=ScanPart,
        commands=("scan",),
        flags={"sites": "--site", "activations": "--activation"},
        elsewhere={"sites": "concept.sites", **CUT},
    ),
    CurvatureSettings: Place(
        part=CurvaturePart,
        commands=("fit-curvature",),
        elsewhere={"site": "concept.sites", "seed": "rank.seed", **CUT},
    ),
    Damping: Place(
        part=RankPart,
        commands=("rank", "slices"),
        keys={"value": "damping", "unit": "damping_unit"},
        flags={"value": "--damping", "unit": "--damping-unit"},
    ),
    SolveSettings: Place(part=RankPart, commands=("rank",)),
    NullSettings: Place(part=RankPart, commands=("rank",)),
    SliceSettings: Place(part=SlicesPart, commands=("slices",), elsewhere={"seed": "rank.seed"}),
    SaeSettings: Place(part=SlicesPart, commands=("sae train",), elsewhere={"seed": "rank.seed"}),
    LoraSettings: Place(part=LoraSettings),  # of a file alone: `aitia counterfactual`
    Engine: Place(
        part=Engine,
        commands=("scan", "rank", "fit-curvature", "prove"),
        flags={"name": "--engine", "cpus": "--cpus-per-worker", "gpus": "--gpus-per-worker"},
    ),
    TrainingSettings: Place(commands=("network train",)),  # no configuration trains networks
    ControlSettings: Place(commands=("curate",)),
    TailPatchSettings: Place(commands=("tail-patch",)),
    RoundSettings: Place(commands=("curate",)),
    FrontSettings: Place(
        commands=("curate",),
        flags={"shares": "--front-share", "points": "--front-points", "seeds": "--verify-seeds"},
    ),
    StreamSettings: Place(commands=("score",), flags={"methods": "--method"}),
    ReadingSettings: Place(
        part=ReadingPart,
        commands=(
            *("scan", "fit-curvature", "curate", "evaluate-ranking", "doctor", "score"),
            *("concept fit", "sae train", "discover"),
        ),
    ),
    LossSettings: Place(part=LossPart, commands=("scan",)),
    InterpretationSettings: Place(commands=("network explain",)),
    ExplorerSettings: Place(commands=("explore",)),  # a page is no job of a configuration
}
FIELDS = [(kind, each) for kind in PLACES for each in described(kind)]
NAMED = pytest.mark.parametrize(
    ("kind", "setting"), FIELDS, ids=[f"{kind.__name__}.{each.name}" for kind, each in FIELDS]
)


def command(path: str) -> click.Command:
    found: Any = typer.main.get_command(app)
    for name in path.split():
        found = found.commands[name]
    return found


def other(setting: Setting, *, cast: bool = False) -> Any:
    """A value that is allowed and not the default; with `cast` one that is not allowed, if there is any."""
    if cast:
        tried = (
            ("no such word", -1, 0, 1, 2**40, float("inf")) if not setting.several else (["no such word"],)
        )
    elif setting.choices:
        tried = setting.choices if not setting.several else tuple((each,) for each in setting.choices)
    elif setting.several:
        tried = (("resid_post.1",), (0.5, 0.5), (1,))
    else:
        tried = (True, False, 31, 0.5, "resid_post.1")
    fits = [each for each in tried if (setting.problem(each) is None) is not cast and each != setting.default]
    return fits[0] if fits else None


def option_of(kind: type, setting: Setting, name: str) -> Any:
    flag = PLACES[kind].flags.get(setting.name, "--" + setting.name.replace("_", "-")).split("/")[0]
    return next(each for each in command(name).params if flag in each.opts)


@cache
def help_of(name: str) -> list[str]:
    """The lines of a command's help."""
    return CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "400"}).output.splitlines()


def shown_of(name: str, option: str) -> str:
    """What the help of a command shows of an option."""
    lines = help_of(name)
    starts = [n for n, line in enumerate(lines) if re.match(r"│ +\*? *--", line)] + [len(lines)]
    for start, end in pairwise(starts):
        if option in lines[start].split():
            return " ".join(lines[start:end])
    raise AssertionError(f"aitia {name} --help does not show {option}")


def test_every_settings_class_is_walked():
    """Every class that checks itself with `aitia.settings` stands in the table."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.ClassDef)
                and "check(self" in ast.unparse(node)
                and "__post_init__" in (ast.unparse(node))
            ):
                module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
                found.add(getattr(importlib.import_module(module), node.name))
    assert found == set(PLACES)


@NAMED
def test_a_setting_is_described(kind, setting):
    assert setting.help, "the class's docstring says nothing of it"
    assert not set(re.findall(r"^ {4,}(\w+): ", kind.__doc__, re.M)) - {each.name for each in described(kind)}


@NAMED
def test_a_setting_is_reached_from_python_and_refused_by_one_wording(kind, setting):
    must = {each.name: ("resid_post.0",) for each in described(kind) if each.default is dataclasses.MISSING}
    more = {"name": "ray"} if kind is Engine and setting.name != "name" else {}
    value = other(setting)
    found = getattr(kind(**must | more | {setting.name: value}), setting.name)
    # A scan always keeps some activations.
    assert set(value) <= set(found) if setting.name == "activations" else found == value
    wrong = other(setting, cast=True)
    with pytest.raises(AitiaError, match=f"{setting.name} .*: {re.escape(setting.problem(wrong) or '')}"):
        kind(**must | more | {setting.name: wrong})


@NAMED
def test_a_setting_is_reached_from_yaml(kind, setting):
    place = PLACES[kind]
    if place.part is None:
        return
    if setting.name in place.elsewhere:
        at: Any = AttributeConfiguration
        for name in place.elsewhere[setting.name].split("."):
            at = at.model_fields[name].annotation if isinstance(at, type) else at
        return
    key, value = place.keys.get(setting.name, setting.name), other(setting)
    adapter = TypeAdapter(Annotated[kind, whole] if place.part is kind else place.part)
    more = {"name": "ray"} if kind is Engine and setting.name != "name" else {}
    rest = {name: ("resid_post.0",) for name in place.elsewhere if name == "sites"}
    read = adapter.validate_python({key: list(value) if setting.several else value, **more})
    found = read if place.part is kind else read.take(kind, **rest)
    assert (
        set(value) <= set(getattr(found, setting.name))
        if setting.several
        else (getattr(found, setting.name) == value)
    )
    unset = adapter.validate_python({})
    default = getattr(unset if place.part is kind else unset.take(kind, **rest), setting.name)
    assert default == getattr(kind(**rest), setting.name)
    said = adapter.json_schema()["properties"][key]
    assert said["description"] == setting.help
    assert json.loads(json.dumps(setting.default)) == said["default"]
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python({key: other(setting, cast=True), **more})
    assert caught.value.errors()[0]["loc"][0] == key


@NAMED
def test_a_setting_is_reached_from_a_command_whose_help_says_what_it_is(kind, setting):
    for name in PLACES[kind].commands:
        option = option_of(kind, setting, name)
        assert option.help.startswith(setting.help)
        shown = shown_of(name, option.opts[0])
        assert all(word in shown for word in setting.choices)
        if setting.default is dataclasses.MISSING:
            assert "[required]" in shown
        elif setting.default not in ("", False):  # a switch is off, and a text is empty, unless it is given
            values = setting.default if setting.several else [setting.default]
            assert all(str(value) in shown.partition("[default: ")[2] for value in values), shown


@NAMED
def test_an_option_reaches_its_field(kind, setting):
    if not PLACES[kind].commands:
        return
    taken: list[Any] = []
    probe = typer.Typer()

    def run(*, settings) -> None:
        taken.append(settings)

    run.__annotations__["settings"] = kind
    probe.command()(with_settings(kind, PLACES[kind].flags)(run))
    value = other(setting)
    flags = PLACES[kind].flags.get(setting.name, "--" + setting.name.replace("_", "-")).split("/")
    if isinstance(setting.default, bool):
        line = [flags[-1]] if setting.default else [flags[0]]
    elif setting.several and get_args(setting.type)[-1] is not Ellipsis:
        line = [flags[0], *map(str, value)]
    else:
        line = [word for each in (value if setting.several else [value]) for word in (flags[0], str(each))]
    line += ["--site", "resid_post.0"] if kind is ScanSettings and setting.name != "sites" else []
    line += ["--engine", "ray"] if kind is Engine and setting.name != "name" else []
    done = CliRunner().invoke(probe, line)
    assert done.exit_code == 0, done.output
    found = getattr(taken[0], setting.name)
    assert set(value) <= set(found) if setting.several else found == value
    assert type(found) is (bool if isinstance(value, bool) else type(getattr(taken[0], setting.name)))


def test_no_default_of_a_settings_class_is_written_again():
    """Neither a command nor a configuration speaks of `ScanSettings.max_length`: both are made from the class."""
    names = {kind.__name__ for kind in PLACES}
    for path in [*SOURCE.glob("cli/*.py"), *SOURCE.glob("pipelines/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id not in names, f"{path.name}:{node.lineno}: {ast.unparse(node)}"
            if isinstance(node, ast.FunctionDef):
                kinds = {ast.unparse(each.annotation) for each in node.args.kwonlyargs if each.annotation}
                taken = {
                    each.name for kind in PLACES if kind.__name__ in kinds for each in described(kind)
                } - {"name", "site", "value"}  # of an engine, of an autoencoder, of a damping
                again = taken & {each.arg for each in node.args.kwonlyargs}
                assert path.parent.name != "cli" or again <= {"seed"}, f"{path.name}: {node.name}: {again}"


def test_every_help_text_and_schema_description_is_a_plain_one():
    """The field's word comes first."""

    def helps(found: Any):
        yield found.help
        yield from (getattr(each, "help", None) for each in getattr(found, "params", ()))
        for below in getattr(found, "commands", {}).values():
            yield from helps(below)

    def descriptions(found: Any):
        if isinstance(found, dict):
            if isinstance(found.get("description"), str):
                yield found["description"]
            for name, field in found.get("properties", {}).items():
                assert "description" in field or "$ref" in str(field), (
                    f"{name} of {found['title']} is not described"
                )
            found = list(found.values())
        for each in found if isinstance(found, list) else ():
            yield from descriptions(each)

    texts = [*helps(typer.main.get_command(app))]
    for kind in (AttributeConfiguration, CounterfactualConfiguration):
        texts += descriptions(kind.model_json_schema())
    assert len(texts) > 250
    wrong = [each for each in texts if each and re.search(r"^(Of|How|Likewise)\b|so many\b|so manieth", each)]
    assert not wrong


# One row an act of which no settings class says the defaults: everything that takes them. A string is a command.
ACTS = {
    "scan": (ScanSettings, Data, RankingsPart),
    "rank": (rank, RankPart, RankingsPart, "rank"),
    "report": (build_report, Ranking.report, RankPart, "rank"),
    "slices": (explain_by_slices, feature_matrix, SlicesPart, "slices"),
    "rank for slices": (rank, explain_by_slices, discover, "slices"),
    "concept": (fit_concept, ConceptPart, "concept fit"),
    "judged": (JudgedResponses, JudgedPart),
    "queries": (on_policy_queries, QueriesPart),
    "endpoint": (EndpointJudge, Endpoint, EndpointPart),
    "classifier": (ClassifierJudge, ClassifierPart),
    "discover": (discover, "discover"),
}
# The same thing under another name, or nothing given, which each reads in its own way.
NAMES = {"site": "sites", "column": "columns"}
UNSAID = (None, (), [], "", dataclasses.MISSING, inspect.Parameter.empty)


def defaults(where: type | Callable | str) -> dict[str, Any]:
    """Name -> default of everything that is said there."""
    if isinstance(where, str):
        found = {NAMES.get(each.name, each.name): each.default for each in command(where).params}
    elif dataclasses.is_dataclass(where):
        found = {each.name: each.default for each in dataclasses.fields(where)}
    elif isinstance(where, type) and issubclass(where, BaseModel):
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
    if act == "rank":
        shared -= {"damping", "engine"}  # an object here, its fields there
    if act == "rank for slices":
        shared &= {"method", "seed"}
    assert shared, act
    for name in shared:
        values = {
            getattr(place, "__qualname__", place): each[name]
            for place, each in zip(places, said, strict=True)
            if name in each
        }
        assert len(set(values.values())) <= 1, f"{act}: {name} differs: {values}"


def test_the_default_scan_keeps_what_the_default_method_reads():
    from aitia.attribution import find_scorer

    assert set(find_scorer(RankPart().method).needs().activations) <= set(
        ScanSettings(sites=("resid_post.0",)).activations
    )


def test_the_number_of_controls_in_help_and_schema_is_the_one_that_is_taken():
    from aitia.pipelines.attribution import slices

    help_text = next(each.help for each in command("slices").params if each.name == "controls")
    schema = SlicesPart.model_json_schema()["properties"]["controls"]["description"]
    assert help_text == schema
    for number in (slices.CONTROLS, slices.FEWEST_CONTROLS, slices.COSTLY_CONTROLS):
        assert f"{number:,}" in help_text


def test_a_part_takes_a_setting_that_another_part_has():
    assert issubclass(RankingsPart, Part)
    found = RankingsPart(max_batch_tokens=9, damping=2.0, damping_unit="absolute")
    assert found.take(ScanSettings, sites=("resid_post.0",)).max_batch_tokens == 9
    assert found.take(Damping) == Damping(value=2.0, unit="absolute")
