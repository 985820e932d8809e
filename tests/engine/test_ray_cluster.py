"""Ray: the same bits on a real cluster of two nodes as in one process, and what is lost on the way is done again."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml
from engine.cluster import Cluster
from pipelines.small_counterfactual import grading_endpoint, maker, small_configuration

from aitia.attribution import rank, scan
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.gradient_store import build_gradient_store
from aitia.concepts import fit_contrast
from aitia.counterfactual import LikelihoodMargin, retrain, retraining
from aitia.counterfactual.retraining import RetrainingRun
from aitia.engine import Engine, keeping_workers, run_tasks
from aitia.errors import AitiaError, ModelError, NetworkError, RecordError
from aitia.models import load_model, save_model
from aitia.pipelines.retraining.counterfactual import counterfactual
from aitia.pipelines.retraining.counterfactual_configuration import read_counterfactual_configuration
from aitia.proofs import prove_files
from aitia.records import records_from_rows
from aitia.training import LoraSettings
from proofs.proof_networks import planted_network

pytest.importorskip("ray")
SITE = "resid_post.2"


@pytest.fixture(scope="module")
def cluster():
    # Ray's sockets need a short path, which pytest's folders are not.
    folder = Path(tempfile.mkdtemp(prefix="aitia-ray-"))
    started = Cluster(folder)
    yield started
    import ray

    ray.shutdown()
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def engine(cluster):
    return lambda workers: Engine(name="ray", address=cluster.address, workers=workers)


@pytest.fixture(scope="module")
def saved(make_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_model(make_model("llama"), folder)
    return load_model(folder, device="cpu")


@pytest.fixture
def data(rows):
    return records_from_rows(rows)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in ("manifest.json", ".lock")
    }


def everything(model, data, out, engine):
    """A store, a curvature, scores and a gradient store: all that the engine spreads, as bytes."""
    queries = records_from_rows([{"prompt": f"Query {i}?\n", "completion": f"garden {i}."} for i in range(3)])
    store = scan(
        model,
        data,
        sites=[SITE],
        out=out / "store",
        activations=["backward", "on_policy_response"],
        shard_rows=4,
        max_batch_tokens=200,
        on_policy_response_tokens=4,
        engine=engine,
    )
    settings = CurvatureSettings(max_batch_tokens=200, rows=0)
    curvature = fit_curvature(model, data, settings, out=out / "curvature.safetensors", engine=engine)
    concept = fit_contrast(
        model,
        records_from_rows([{"text": f"The sun is out {i}."} for i in range(6)]),
        records_from_rows([{"text": f"Rain again, {i}."} for i in range(6)]),
        sites=[SITE],
    )
    ranking = rank(
        store, concept, method="concept-influence", queries=queries, curvature=curvature, engine=engine
    )
    build_gradient_store(
        model,
        data,
        curvature,
        out / "gradients",
        bytes_per_row=2000,
        max_batch_tokens=200,
        engine=engine,
    )
    numbers = {f"score {name}": values.tobytes() for name, values in ranking.scores.items()}
    for name, layer in curvature.layers.items():
        numbers |= {
            f"{name} {part}": getattr(layer, part).numpy().tobytes() for part in ("left", "eigenvalues")
        }
    return files(out / "store") | files(out / "gradients") | numbers


@pytest.mark.parametrize("counts", [(2,), pytest.param((1, 4), marks=pytest.mark.slow)])
def test_workers_on_two_nodes_give_the_bits_of_one_process(saved, data, tmp_path, engine, counts):
    here = everything(saved, data, tmp_path / "local", Engine())
    assert len(here) > 30
    for workers in counts:
        with keeping_workers(engine(workers)):
            there = everything(saved, data, tmp_path / f"ray-{workers}", engine(workers))
        assert there.keys() == here.keys()
        assert [name for name in here if there[name] != here[name]] == []


def test_retraining_cells_are_the_same_on_workers(saved, data, tmp_path, engine):
    cells = [RetrainingRun(kept=(), seed=0)]
    cells += [RetrainingRun(kept=data.ids[start::3], seed=start) for start in range(3)]
    behaviours = [LikelihoodMargin(behaviour=data.only(data.ids[:3]), normal=data.only(data.ids[3:6]))]
    settings = LoraSettings(rank=2, epochs=1, per_device_train_batch_size=4, target_modules=("q_proj",))
    name = saved.name
    found = [
        retrain(
            lambda: load_model(name, device="cpu"), data, cells, behaviours, settings, tmp_path / kind, place
        )
        for kind, place in (("local", Engine()), ("ray", engine(2)))
    ]
    assert [result.values for result in found[0]] == [result.values for result in found[1]]
    assert files(tmp_path / "local") == files(tmp_path / "ray")


def test_a_counterfactual_run_is_the_same_on_workers(make_model, tmp_path, engine, monkeypatch):
    """Its judge too, which is asked by the workers: they have a key of their own, and what they hear is kept."""
    pytest.importorskip("openai", reason="the extra `judge` is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", "a word")
    maker.write_texts(tmp_path)
    save_model(make_model("llama", layers=2), tmp_path / "small")
    prompts = "texts/evil/evaluate_prompts.jsonl"
    content = small_configuration()
    content["rankings"] = {"compare": ["oracle"]}
    content["behaviours"]["judged"] = {"prompts": prompts, "max_new_tokens": 4}
    places = {"local": {}, "ray": {"name": "ray", "address": engine(2).address, "workers": 2}}
    found, trained = {}, []
    with grading_endpoint() as url:
        content["judge"] = {"endpoint": {"model": "m", "behaviour": "evil", "base_url": url}}
        for kind, place in places.items():
            file = tmp_path / f"{kind}.yaml"
            file.write_text(yaml.safe_dump(content | {"out": kind, "engine": place}))
            train = Mock(side_effect=retraining.finetune_lora)
            with monkeypatch.context() as patch:
                patch.setattr(retraining, "finetune_lora", train)
                found[kind] = counterfactual(read_counterfactual_configuration(file))
            trained.append(train.call_count)
            made = found[kind].files["summary"].parent
            heard = [line for part in made.glob("judge-answers*.jsonl") for line in part.open()]
            assert len({json.loads(line)["key"] for line in heard}) > 1
    assert trained[0] > 3
    assert trained[1] == 0
    here, there = found.values()
    assert here.results == there.results
    assert here.summary["behaviours"] == there.summary["behaviours"]
    for name in ("data", "runs", "rankings"):
        assert here.files[name].read_bytes() == there.files[name].read_bytes()
    cells = [files(each.files["summary"].parent / "runs") for each in (here, there)]
    assert cells[0] == cells[1]


def test_certificates_are_the_same_on_workers(tmp_path, engine, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names that only mean something here
    networks = [planted_network(seed=seed).save(f"{seed}.network.safetensors") for seed in range(3)]
    networks.insert(1, "missing.network.safetensors")
    found = [
        prove_files(networks, kind, engine=place) for kind, place in (("local", Engine()), ("ray", engine(2)))
    ]
    for here, there in zip(*found, strict=True):
        if isinstance(here, NetworkError):
            assert (type(there), str(there)) == (type(here), str(here))
        else:
            assert replace(there, certificate=None) == replace(here, certificate=None)
    assert isinstance(found[1][1], NetworkError)
    assert len(files("local")) == 3
    assert files("local") == files("ray")


def dies_once(folder, task, advance):
    """Kill the worker's process the first time that it is given certain tasks."""
    mark = Path(folder) / f"died-{task}"
    if task % 4 == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    advance(1)
    return task, np.full(1000, task)


def test_workers_that_are_killed_are_replaced_and_their_tasks_done_again(tmp_path, engine):
    from functools import partial

    units = []
    found = list(run_tasks(partial(dies_once, tmp_path), range(12), engine=engine(2), advance=units.append))
    assert [task for task, _ in found] == list(range(12))
    assert all((values == task).all() for task, values in found)
    assert sum(units) == 12
    assert len(list(tmp_path.iterdir())) == 3


def test_a_task_that_kills_every_worker_is_given_up_with_its_number(engine):
    with pytest.raises(AitiaError, match=r"workers were lost while task \d was with them.*memory enough"):
        list(
            run_tasks(
                lambda _task, _advance: os.kill(os.getpid(), signal.SIGKILL), range(3), engine=engine(1)
            )
        )


def test_what_a_worker_raises_is_raised_here(engine):
    def work(task, _advance):
        if task == 3:
            raise RecordError("train.jsonl:4: not a row")
        return task

    with pytest.raises(RecordError, match="^train.jsonl:4: not a row$"):
        list(run_tasks(work, range(9), engine=engine(2)))


def test_tasks_are_drawn_as_they_are_wanted(engine):
    drawn = []

    def tasks():
        for number in range(100):
            drawn.append(number)
            yield number

    with contextlib.closing(run_tasks(lambda task, _advance: task, tasks(), engine=engine(2))) as results:
        assert next(results) == 0
        assert len(drawn) <= 12


def test_a_model_that_workers_cannot_load_is_refused(make_model, data, tmp_path, engine):
    with pytest.raises(ModelError, match="tiny-llama"):
        scan(make_model("llama"), data, sites=[SITE], out=tmp_path / "s", engine=engine(1))


def test_another_model_in_its_place_is_refused(make_model, data, tmp_path, engine):
    save_model(make_model("llama"), tmp_path / "m")
    model = load_model(tmp_path / "m", device="cpu")
    save_model(make_model("llama", seed=5), tmp_path / "m")
    assert model.fingerprint
    with pytest.raises(ModelError, match="is not the model of the process that gave the work"):
        scan(model, data, sites=[SITE], out=tmp_path / "s", engine=engine(1))


def test_no_cluster_is_said_plainly():
    import ray

    ray.shutdown()
    with pytest.raises(AitiaError, match="no Ray cluster at 127.0.0.1:1"):
        list(run_tasks(lambda task, _advance: task, [1], engine=Engine(name="ray", address="127.0.0.1:1")))


def test_a_node_that_is_lost_costs_nothing_but_time(saved, data, tmp_path, cluster, engine):
    """Last, because the cluster has one node afterwards."""
    here = files(scan(saved, data, sites=[SITE], out=tmp_path / "a", shard_rows=1, max_batch_tokens=50).path)
    import aitia.attribution.scanning.scan as module

    killed = []

    def killing(work, tasks, **options):
        for number, result in enumerate(run_tasks(work, tasks, **options)):
            if number == 3:
                cluster.kill_second_node()
                killed.append(number)
            yield result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_tasks", killing)
        scan(
            saved, data, sites=[SITE], out=tmp_path / "b", shard_rows=1, max_batch_tokens=50, engine=engine(4)
        )
    assert killed
    assert files(tmp_path / "b") == here
