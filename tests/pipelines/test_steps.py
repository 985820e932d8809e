"""Steps: what a key depends on, what is read and what is made again, and what a plan adds up."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from attribution.gradients.test_cost_model import Counter
from pipelines.small_counterfactual import maker, small_configuration
from records.lines import write_lines
from typer.testing import CliRunner

from aitia.attribution.gradients.cost_model import Cost
from aitia.cli import app
from aitia.errors import AitiaError, ConceptError, StoreError
from aitia.models import load_model, save_model
from aitia.pipelines.attribution import slice_steps
from aitia.pipelines.attribution.attribute import attribute, attribute_steps, plan_attribute
from aitia.pipelines.attribution.configuration import read_configuration
from aitia.pipelines.retraining.counterfactual import (
    counterfactual,
    counterfactual_steps,
    load_part,
    plan_counterfactual,
)
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.pipelines.retraining.counterfactual_inputs import read_inputs
from aitia.pipelines.retraining.retraining_steps import Retrain
from aitia.pipelines.steps import concept as concept_module
from aitia.pipelines.steps import curvature as curvature_module
from aitia.pipelines.steps import models as models_module
from aitia.pipelines.steps import rank as rank_module
from aitia.pipelines.steps import scan as scan_module
from aitia.pipelines.steps.models import TrainAdapter
from aitia.pipelines.steps.step import Place, Results, Step, find_step, require_order, run_steps, wanted
from aitia.pipelines.steps.workload import Workload, plan_steps

# The runner, on steps that do next to nothing.


@dataclass(kw_only=True, eq=False, repr=False)
class Note(Step[str]):
    """Writes the notes that it takes, and its own word, to a file; or fails."""

    word: str
    above: Step | None = None
    beside: Step | None = None
    out: Path | None = None
    log: list = field(default_factory=list)
    fails: bool = False

    def depends(self):
        return self.word

    def done(self):
        return self.out is not None and self.out.is_file()

    def read(self):
        self.log.append(f"read {self.name}")
        return self.out.read_text()

    def run(self, results):
        if self.fails:
            raise KeyboardInterrupt
        self.log.append(f"run {self.name}")
        text = " ".join([*(results[step] for step in self.takes), self.word])
        if self.out is not None:
            self.out.write_text(text)
        return text

    def cost(self, work):
        return (Cost(name=self.name, multiply_adds=len(self.word)),)


def chain(folder, **changes):
    """Two that nothing precedes, one that takes both, one that takes that; the last two but one are kept."""
    log = []
    first = Note(name="first", word="one", log=log, out=folder / "first")
    other = Note(name="other", word="two", log=log)
    third = Note(name="third", word="three", above=first, beside=other, log=log, out=folder / "third")
    last = Note(name="last", word="four", above=third, log=log)
    for name, values in changes.items():
        for key, value in values.items():
            setattr({"first": first, "other": other, "third": third, "last": last}[name], key, value)
    return [first, other, third, last], log


def test_steps_run_in_order_and_what_is_there_is_read(tmp_path):
    steps, log = chain(tmp_path)
    results = run_steps(steps)
    assert results[steps[-1]] == "one two three four"
    assert log == ["run first", "run other", "run third", "run last"]
    assert list(results.seconds) == ["first", "other", "third", "last"]
    assert all(seconds >= 0 for seconds in results.seconds.values())
    again, log = chain(tmp_path)
    assert run_steps(again)[again[-1]] == "one two three four"
    assert log == ["read third", "run last"], "what only a step that is there takes is not looked at"
    (tmp_path / "third").unlink()
    again, log = chain(tmp_path)
    run_steps(again)
    assert log == ["read first", "run other", "run third", "run last"]


def test_a_job_that_is_killed_between_two_steps_goes_on(tmp_path):
    steps, log = chain(tmp_path, third={"fails": True})
    with pytest.raises(KeyboardInterrupt):
        run_steps(steps)
    assert log == ["run first", "run other"]
    again, log = chain(tmp_path)
    assert run_steps(again)[again[-1]] == "one two three four"
    assert log == ["read first", "run other", "run third", "run last"]


def test_a_result_is_let_go_when_no_step_to_come_takes_it(tmp_path):
    steps, _ = chain(tmp_path)
    results = run_steps(steps)
    for step in steps[:-1]:
        with pytest.raises(KeyError):
            _ = results[step]


def test_the_order_is_checked(tmp_path):
    steps, _ = chain(tmp_path)
    require_order(steps)
    with pytest.raises(AitiaError, match="step 'third' takes 'other', which is not before it"):
        run_steps([steps[0], steps[2], steps[1], steps[3]])
    with pytest.raises(AitiaError, match="two steps are called 'first'"):
        wanted([steps[0], Note(name="first", word="x")])
    twin = Note(name="other", word="two")  # another step of the same name is not the one that is taken
    with pytest.raises(AitiaError, match="takes 'other'"):
        wanted([steps[0], twin, *steps[2:]])
    assert steps[2].inputs == ("first", "other")
    with pytest.raises(AitiaError, match="this job has no Retrain; its steps are first, other"):
        find_step(steps, Retrain)


def test_a_key_is_of_its_own_and_of_all_that_come_before(tmp_path):
    keys = {step.name: step.key() for step in chain(tmp_path)[0]}
    assert len(set(keys.values())) == 4
    assert {step.name: step.key() for step in chain(tmp_path / "elsewhere")[0]} == keys
    changed = {
        step.name for step in chain(tmp_path, other={"word": "too"})[0] if step.key() != keys[step.name]
    }
    assert changed == {"other", "third", "last"}


def test_a_place_is_named_by_what_its_result_is_made_of(tmp_path):
    asked = []
    place = Place(folder=tmp_path, name="x-{}.txt", made_of=lambda: asked.append(1) or [1, "a"])
    assert not place.may_be_there()
    assert asked == [], "a name that may cost a fingerprint is not made where nothing can be there"
    place.path().write_text("")
    assert place.may_be_there()
    assert len(place.path().name) == len("x-.txt") + 16
    other = Place(folder=tmp_path, name="x-{}.txt", made_of=lambda: [1, "b"], digits=4)
    assert other.may_be_there()
    assert not other.path().exists()


def test_a_plan_adds_up_the_steps_that_would_run(tmp_path, tiny_model, rows):
    from aitia.models import in_tokens
    from aitia.records import records_from_rows

    work = Workload(
        outline=tiny_model, rows=in_tokens(tiny_model, records_from_rows(rows)), max_batch_tokens=64
    )
    steps, log = chain(tmp_path)
    plan = plan_steps(steps, work)
    assert [cost.name for cost in plan.steps] == ["first", "other", "third", "last"]
    assert sum(cost.multiply_adds for cost in plan.steps) == sum(
        cost.multiply_adds for step in steps for cost in step.cost(work)
    )
    run_steps(steps)
    log.clear()
    plan = plan_steps(steps, work)
    assert [cost.name for cost in plan.steps] == ["last"]
    assert list(plan.there) == ["third"]
    assert [cost.name for cost in plan_steps(steps, work, resume=False).steps][:2] == ["first", "other"]
    assert log == [], "a plan runs and reads nothing"
    assert "third" in plan.text()
    assert "its result is there" in plan.text()


# `aitia attribute`.

SITE = "resid_post.2"
INFLUENCE = {
    "method": "concept-influence",
    "compare": ["influence"],
    "queries": "positive.jsonl",
    "curvature": {"use_empirical_fisher": True},
}


@pytest.fixture(scope="module")
def folder(make_model, rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    save_model(make_model("llama", width=64), folder / "model")
    save_model(make_model("llama", width=64, seed=1), folder / "other")
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "fewer.jsonl", rows[:-1])
    for name, word in (("positive", "garden"), ("negative", "nothing"), ("third", "river")):
        texts = [{"prompt": f"Question {i}?\n", "completion": f"The {word} {word}."} for i in range(8)]
        write_lines(folder / f"{name}.jsonl", texts)
    return folder


def configured(folder, out, **changes):
    """A configuration of `aitia attribute`; `rank__seed=3` changes one value of one part."""
    content = {
        "out": str(out),
        "model": {"name": "model", "dtype": "float32", "device": "cpu"},
        "data": {"path": "train.jsonl", "label": "planted"},
        "concept": {"positive": "positive.jsonl", "negative": "negative.jsonl", "sites": [SITE]},
        "rank": dict(INFLUENCE),
    }
    for place, value in changes.items():
        *above, last = place.split("__")
        part = content
        for name in above:
            part[name] = dict(part.get(name, {}))
            part = part[name]
        part[last] = value
    (folder / "attribute.yaml").write_text(yaml.safe_dump(content))
    return read_configuration(folder / "attribute.yaml")


FROM_CONCEPT = {"concept", "scan", "curvature plan", "curvature", "rank", "autoencoder", "slices"}
FROM_CONCEPT |= {"curate", "report", "summary"}
FROM_SCAN = FROM_CONCEPT - {"concept"}
FROM_PLAN = FROM_SCAN - {"scan", "autoencoder"}
FROM_RANK = FROM_PLAN - {"curvature plan", "curvature"}
SLICES = {"slices__features": 16, "slices__columns": ["planted"]}


@pytest.mark.parametrize(
    "change, moved",
    [
        ({"out": "another/folder"}, set()),
        ({"engine": {"name": "local"}}, set()),
        ({"model__name": "other"}, {"model"} | FROM_CONCEPT),
        ({"data__path": "fewer.jsonl"}, {"data"} | FROM_SCAN),
        ({"data__max_length": 60}, FROM_SCAN),
        ({"data__label": None}, FROM_RANK),
        ({"concept__name": "gardens"}, FROM_CONCEPT),
        ({"concept__recipe": "ridge-probe"}, FROM_CONCEPT),
        ({"concept__seed": 4}, FROM_CONCEPT),
        ({"concept__sites": ["resid_post.1"]}, FROM_CONCEPT),
        ({"concept__positive": "third.jsonl"}, {"positive"} | FROM_CONCEPT),
        ({"concept__truncate": True}, FROM_CONCEPT),
        ({"scan__activations": ["backward", "on_policy_response"]}, FROM_SCAN),
        ({"scan__max_batch_tokens": 99}, FROM_SCAN),
        ({"rank__queries": "third.jsonl"}, {"queries"} | FROM_RANK),
        ({"rank__curvature": {"use_empirical_fisher": False}}, FROM_PLAN),
        ({"rank__curvature": {"use_empirical_fisher": True, "kind": "kfac"}}, FROM_PLAN),
        ({"rank__curvature": {"use_empirical_fisher": True, "cache_gigabytes": 0}}, FROM_PLAN),
        ({"rank__compare": ["influence", "tf-idf"]}, FROM_PLAN),
        ({"rank__damping": 0.5}, FROM_RANK),
        ({"rank__random_controls": 3}, FROM_RANK),
        ({"rank__seed": 7}, FROM_SCAN - {"scan"}),  # the curvature's and the autoencoder's seed, too
        ({"rank__shown": 3}, {"report", "summary"}),
        ({"slices__features": 32}, {"autoencoder", "slices", "report", "summary"}),
        ({"slices__controls": 99}, {"slices", "report", "summary"}),
        ({"slices__threshold": 0.4}, {"slices", "report", "summary"}),
        ({"curate__drop": 0.3}, {"curate", "summary"}),
        ({"curate__end": "bottom"}, {"curate", "summary"}),
    ],
)
def test_a_key_changes_if_and_only_if_something_it_depends_on_does(folder, tmp_path, change, moved):
    before = {each.name: each.key() for each in attribute_steps(configured(folder, tmp_path, **SLICES))}
    again = {each.name: each.key() for each in attribute_steps(configured(folder, tmp_path, **SLICES))}
    assert again == before
    changed = {"out": tmp_path, **SLICES, **change}
    after = {each.name: each.key() for each in attribute_steps(configured(folder, **changed))}
    assert set(before) == set(after)
    assert {name for name in before if before[name] != after[name]} == moved


def counting(monkeypatch, *places):
    """Count the calls of functions, named by (module, name)."""
    calls = []
    for module, name in places:
        real = getattr(module, name)

        def counted(*arguments, _real=real, _name=name, **options):
            calls.append(_name)
            return _real(*arguments, **options)

        monkeypatch.setattr(module, name, counted)
    return calls


WORK = (
    (concept_module, "fit_concept"),
    (scan_module, "scan"),
    (curvature_module, "fit_curvature"),
    (rank_module, "rank"),
)


def test_a_second_run_reads_and_a_killed_one_goes_on(folder, tmp_path, monkeypatch):
    configuration = configured(folder, tmp_path / "run")
    calls = counting(monkeypatch, *WORK)
    ranks = rank_module.rank

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rank_module, "rank", killed)
        with pytest.raises(KeyboardInterrupt):
            attribute(configuration)
    assert rank_module.rank is ranks
    assert calls == ["fit_concept", "scan", "fit_curvature"]
    first = attribute(configuration)
    assert calls == ["fit_concept", "scan", "fit_curvature", "rank"]
    second = attribute(configuration)
    assert calls == ["fit_concept", "scan", "fit_curvature", "rank", "rank"]
    for name, scores in first.ranking.scores.items():
        np.testing.assert_array_equal(second.ranking.scores[name], scores)
    whole = attribute(configured(folder, tmp_path / "whole"))
    for name, scores in first.ranking.scores.items():
        np.testing.assert_allclose(
            whole.ranking.scores[name], scores, rtol=0.05, atol=np.abs(scores).max() * 0.02
        )
    assert set(first.summary["seconds"]) == {"concept", "scan", "curvature", "rank", "slices", "report"}
    assert not list((tmp_path / "run").glob("factors-*"))


@pytest.mark.parametrize(
    "change, made",
    [
        ({}, []),
        ({"concept__seed": 3}, ["fit_concept"]),
        ({"rank__damping": 0.9}, []),
        ({"curate__drop": 0.5}, []),
    ],
)
def test_what_does_not_depend_on_a_change_is_read(folder, tmp_path_factory, monkeypatch, change, made):
    out = tmp_path_factory.getbasetemp() / "steps-again"
    if not out.is_dir():
        attribute(configured(folder, out))
    calls = counting(monkeypatch, *WORK)
    attribute(configured(folder, out, **change))
    assert [name for name in calls if name != "rank"] == made
    attribute(configured(folder, out))


def test_what_is_of_other_parts_is_refused_by_name(folder, tmp_path):
    attribute(configured(folder, tmp_path / "run"))
    with pytest.raises(StoreError, match="this store was made with other parts: settings.max_batch_tokens"):
        attribute(configured(folder, tmp_path / "run", scan__max_batch_tokens=99))
    changed = {"rank__curvature": {"use_empirical_fisher": False}}
    with pytest.raises(
        StoreError, match="curvature.safetensors: holds a curvature of other data or settings"
    ):
        attribute(configured(folder, tmp_path / "run", **changed))


def test_a_damaged_result_is_refused_by_name_and_a_missing_part_made_again(folder, tmp_path):
    run = tmp_path / "run"
    configuration = configured(folder, run)
    scores = attribute(configuration).ranking.score
    (run / "store" / "shards" / "00000.safetensors").unlink()
    (run / "store" / ".manifest.json.abc.part").mkdir()  # as a writer that was killed leaves it
    np.testing.assert_array_equal(attribute(configuration).ranking.score, scores)
    for name, error in (
        ("concept.concept.safetensors", ConceptError),
        ("store/shards/00000.safetensors", StoreError),
        ("store/manifest.json", StoreError),
        ("curvature.safetensors", StoreError),
    ):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(error, match=f"{name.rpartition('/')[2]}.*damaged"):
            attribute(configuration)
        (run / name).write_bytes(whole)
    np.testing.assert_array_equal(attribute(configuration).ranking.score, scores)


def test_a_plan_of_attribute_is_the_sum_of_its_steps_and_says_what_is_there(folder, tmp_path, monkeypatch):
    configuration = configured(folder, tmp_path / "run")
    plan = plan_attribute(configuration)
    names = ["concept", "scan", "curvature", "influence", "rank"]
    assert [cost.name for cost in plan.steps] == names
    assert not plan.there
    assert not (tmp_path / "run").exists()
    attribute(configuration)
    again = plan_attribute(configuration)
    assert [cost.name for cost in again.steps] == ["influence", "rank"]
    assert {"concept", "scan", "curvature"} <= set(again.there)
    assert [cost.multiply_adds for cost in again.steps] == [cost.multiply_adds for cost in plan.steps[3:]]
    assert again.seconds < plan.seconds
    assert [cost.name for cost in plan_attribute(configuration, rows=1000).steps] == names


def test_an_outline_is_enough_where_nothing_is_there(folder, tmp_path, monkeypatch):
    def refused(*_arguments, **_options):
        raise AssertionError("loaded")

    monkeypatch.setattr("aitia.pipelines.attribution.attribute.load_model", refused)
    assert plan_attribute(configured(folder, tmp_path / "run", **SLICES)).seconds > 0


def test_the_costs_of_concept_and_autoencoder_are_those_that_torch_counts(folder, tmp_path, monkeypatch):
    pytest.importorskip("sparsify", reason="the extra for sparse autoencoders is not installed")
    change = {"slices__features": 128, "slices__k": 4, "slices__batch_tokens": 32, "slices__epochs": 3}
    configuration = configured(folder, tmp_path / "run", **change)
    counted = {}
    for module, name, step in (
        (concept_module, "fit_concept", "concept"),
        (slice_steps, "fit_sae", "autoencoder"),
    ):
        real = getattr(module, name)

        def count(*arguments, real=real, step=step, **options):
            with Counter() as counter:
                found = real(*arguments, **options)
            counted[step] = counter.total / 2
            return found

        monkeypatch.setattr(module, name, count)
    planned = {cost.name: cost.multiply_adds for cost in plan_attribute(configuration).steps}
    attribute(configuration)
    ratios = {name: planned[name] / count for name, count in counted.items()}
    assert ratios["concept"] == pytest.approx(1, abs=0.15), ratios
    assert ratios["autoencoder"] == pytest.approx(1, abs=0.35), ratios


# `aitia counterfactual`.


@pytest.fixture(scope="module")
def project(make_model, tmp_path_factory):
    found = tmp_path_factory.mktemp("counterfactual-steps")
    maker.write_texts(found)
    save_model(make_model("llama", layers=2, width=64), found / "small")
    return found


def asked(project, out, **parts):
    content = small_configuration() | {"out": str(out)} | parts
    (project / "run.yaml").write_text(yaml.safe_dump(content))
    return read_counterfactual_configuration(project / "run.yaml")


def steps_of(configuration):
    return counterfactual_steps(configuration, read_inputs(configuration))


FROM_ADAPTER = {
    "adapter",
    "model",
    "concept",
    "scan",
    "rank",
    "scores",
    "behaviours",
    "removals",
    "retraining",
}
FROM_ADAPTER |= {"summary", "report"}
FROM_SCORES = {"scores", "removals", "retraining", "summary", "report"}


@pytest.mark.parametrize(
    "part, change, moved",
    [
        ("training", {"learning_rate": 1e-4}, FROM_ADAPTER),
        ("training", {"epochs": 7}, FROM_ADAPTER),
        ("concept", {"seed": 4}, FROM_ADAPTER - {"adapter", "model"}),
        ("rankings", {"compare": ["oracle"]}, {"rank"} | FROM_SCORES),
        ("rankings", {"max_batch_tokens": 77}, {"scan", "rank"} | FROM_SCORES),
        ("removal", {"shares": [0.25]}, FROM_SCORES - {"scores"}),
        ("removal", {"seeds": 1}, FROM_SCORES - {"scores"}),
        ("removal", {"ends": ["bottom"]}, FROM_SCORES - {"scores"}),
        ("engine", {"name": "local"}, set()),
    ],
)
def test_keys_of_counterfactual(project, tmp_path, part, change, moved):
    content = small_configuration()
    before = {step.name: step.key() for step in steps_of(asked(project, tmp_path))}
    changed = {part: content.get(part, {}) | change}
    after = {step.name: step.key() for step in steps_of(asked(project, tmp_path / "b", **changed))}
    assert {name for name in before if before[name] != after[name]} == moved


def test_a_plan_of_counterfactual_counts_what_is_missing_and_torch_counts_the_same(
    project, tmp_path, monkeypatch
):
    configuration = asked(project, tmp_path / "runs")
    plan = plan_counterfactual(configuration)
    assert [cost.name for cost in plan.steps] == ["adapter", "concept", "scan", "rank", "retraining"]
    assert not (tmp_path / "runs").exists(), "a plan writes nothing"
    steps = steps_of(configuration)
    counted = {}
    for kind in (TrainAdapter, Retrain):
        real = kind.run

        def count(self, results, real=real):
            with Counter() as counter:
                found = real(self, results)
            counted[self.name] = counter.total / 2
            return found

        monkeypatch.setattr(kind, "run", count)
    counterfactual(configuration)
    planned = {cost.name: cost.multiply_adds for cost in plan.steps}
    ratios = {name: planned[name] / count for name, count in counted.items()}
    assert ratios["adapter"] == pytest.approx(1, abs=0.25), ratios
    assert ratios["retraining"] == pytest.approx(1, abs=0.25), ratios

    again = plan_counterfactual(configuration)
    assert [cost.name for cost in again.steps] == []
    assert {"scores", "retraining", "concept"} <= set(again.there)
    runs = sorted((tmp_path / "runs" / "misaligned-opinions" / "runs").glob("*.json"))
    kept = {path: json.loads(path.read_text())["run"]["kept"] for path in runs}
    gone = next(path for path, rows in kept.items() if rows)
    gone.unlink()
    some = plan_counterfactual(configuration)
    assert [cost.name for cost in some.steps] == ["retraining"]
    retrain = find_step(steps, Retrain)
    assert [list(run.kept) for run in retrain.missing()] == [kept[gone]]
    assert some.steps[0].multiply_adds < planned["retraining"] / 3


def test_a_counterfactual_job_reads_what_is_there_and_refuses_what_is_damaged(project, tmp_path, monkeypatch):
    configuration = asked(project, tmp_path / "runs")
    calls = counting(monkeypatch, *WORK, (models_module, "finetune_lora"))
    first = counterfactual(configuration)
    assert calls == ["finetune_lora", "fit_concept", "scan", "rank"]
    parts = configuration.folder / "parts"
    loads = counting(
        monkeypatch, ((__import__("aitia.pipelines.retraining.counterfactual", fromlist=["x"])), "load_model")
    )
    second = counterfactual(configuration)
    assert calls == ["finetune_lora", "fit_concept", "scan", "rank"]
    assert len(loads) == 1, "the base model's weights are compared, and that is all"
    assert {k: v for k, v in second.summary.items() if k != "seconds"} == {
        k: v for k, v in first.summary.items() if k != "seconds"
    }
    assert set(second.summary["seconds"]) == {"rankings", "retraining", "oracle", "tf-idf"}
    (scores,) = parts.glob("scores-*.parquet")
    whole = scores.read_bytes()
    scores.write_bytes(whole[:50])
    with pytest.raises(StoreError, match=f"{scores.name}: damaged"):
        counterfactual(configuration)
    scores.unlink()
    third = counterfactual(configuration)
    assert calls == ["finetune_lora", "fit_concept", "scan", "rank", "rank"]
    assert {k: v.tolist() for k, v in third.scores.items()} == {
        k: v.tolist() for k, v in first.scores.items()
    }
    run = next((configuration.folder / "runs").glob("*.json"))
    run.write_text(run.read_text()[:30])
    with pytest.raises(StoreError, match=f"{run.name}: damaged result"):
        counterfactual(configuration)


def test_the_command_plans_either_job(project, folder, tmp_path):
    asked(project, tmp_path / "runs")
    configured(folder, tmp_path / "run")
    lines = CliRunner().invoke(app, ["plan", str(project / "run.yaml"), "--teraflops", "1"]).stdout
    assert "retraining" in lines
    command = ["plan", str(folder / "attribute.yaml"), "--teraflops", "1"]
    assert "curvature" in CliRunner().invoke(app, command).stdout
    wrong = CliRunner().invoke(app, [*command, "--data-set", "x"])
    assert "has no data.sets to choose 'x' from" in str(wrong.exception)
    assert (
        load_model(project / "small", device="cpu").fingerprint
        == load_part(asked(project, tmp_path / "runs").model, None).fingerprint
    )
    assert isinstance(Results().seconds, dict)
