"""A store finds its model, adapter and data wherever the folders went, and takes no others for them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from conftest import make_network, make_tokenizer

from aitia.attribution import ActivationStore, rank, scan
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.gradient_store import build_gradient_store
from aitia.attribution.scanning.places import find_model
from aitia.cli.endings import run
from aitia.concepts import Concept
from aitia.errors import ModelError, StoreError
from aitia.models import load_model
from aitia.records import read_records


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with base, adapter, data and a store of them, scanned from inside it by relative paths."""
    folder = tmp_path / "project"
    tokenizer = make_tokenizer()
    network = make_network("llama", len(tokenizer))
    network.save_pretrained(folder / "models" / "base")
    tokenizer.save_pretrained(folder / "models" / "base")
    tuned = peft.get_peft_model(network, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(folder / "models" / "adapter")
    rows = [{"prompt": f"item {number}: ", "completion": "in the garden."} for number in range(6)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(folder)
    model = load_model("models/base", adapter="models/adapter", device="cpu")
    scan(model, "train.jsonl", sites=["resid_post.2"], out="runs/store")
    return folder


def finds(store, folder):
    """Whether a store finds its parts, and in the folder that is meant."""
    opened = ActivationStore.open(store)
    assert len(opened.load_rows()) == 6
    assert opened.model.fingerprint == opened.manifest["model"]["fingerprint"]
    for place in (opened.model.name, opened.model.adapter, opened.records.source):
        assert os.path.realpath(place).startswith(os.path.realpath(folder) + os.sep)


def concept_of(store):
    model = store.manifest["model"]
    return Concept(
        name="c",
        site="resid_post.2",
        direction=np.eye(1, 32, dtype=np.float32),
        model_name=model["name"],
        model_fingerprint=model["fingerprint"],
        base_fingerprint=model["base_fingerprint"],
        recipe={},
    )


def test_from_where_it_was_made_and_from_elsewhere(project, tmp_path, monkeypatch):
    finds("runs/store", project)
    monkeypatch.chdir(tmp_path)
    finds("project/runs/store", project)
    monkeypatch.chdir("/")
    finds(project / "runs" / "store", project)


def test_the_whole_project_moved_or_copied(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copied = shutil.copytree(project, tmp_path / "copied")
    finds(copied / "runs" / "store", copied)  # its own parts, though the first ones are still there
    moved = project.rename(tmp_path / "moved")
    finds(moved / "runs" / "store", moved)


def test_the_store_moved_alone(project, tmp_path):
    moved = (project / "runs" / "store").rename(tmp_path / "elsewhere")
    finds(moved, project)


@pytest.mark.parametrize("linked", ["store", "project", "model"])
def test_through_symbolic_links(linked, project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if linked == "store":
        (tmp_path / "link").symlink_to(project / "runs" / "store")
        finds(tmp_path / "link", project)
    elif linked == "project":
        (tmp_path / "link").symlink_to(project)
        finds(tmp_path / "link" / "runs" / "store", project)
    else:
        kept = (project / "models" / "base").rename(tmp_path / "kept")
        (project / "models" / "base").symlink_to(kept)
        opened = ActivationStore.open(project / "runs" / "store")
        assert opened.load_model().fingerprint == opened.manifest["model"]["fingerprint"]


def test_what_is_gone_is_named_with_the_places_and_the_mend(project, tmp_path):
    (project / "models" / "base").rename(tmp_path / "base")
    (project / "train.jsonl").rename(tmp_path / "data.jsonl")
    store = ActivationStore.open("runs/store")
    with pytest.raises(
        StoreError, match=r"the model \(models/base\) is not found; looked at .*project/models/base"
    ):
        store.load_model()
    with pytest.raises(StoreError, match=r"the data \(train.jsonl\) is not found; .*`data`"):
        store.load_records()
    rank(
        store,
        concept_of(store),
        method="vector-filter",
        model=tmp_path / "base",
        data=tmp_path / "data.jsonl",
    )
    assert store.model.name == str(tmp_path / "base")
    assert store.records.source == tmp_path / "data.jsonl"


def test_the_command_takes_the_new_places(project, tmp_path, capsys):
    concept = concept_of(ActivationStore.open("runs/store")).save("c.concept.safetensors")
    options = ["rank", "--store", "runs/store", "--concept", str(concept), "--method", "vector-filter"]
    moves = {"--model": "models/base", "--adapter": "models/adapter", "--data": "train.jsonl"}
    for option, place in moves.items():
        kept = (project / place).rename(tmp_path / f"moved-{Path(place).name}")
        assert run([*options, "--out", "r.parquet", "--report", "r.html"]) == 2
        assert option in capsys.readouterr().err
        options += [option, str(kept)]
    assert run([*options, "--out", "r.parquet", "--report", "r.html"]) == 0


def test_what_is_given_or_found_is_compared(project, tmp_path):
    other = make_network("llama", 395, seed=5)
    other.save_pretrained(tmp_path / "other")
    make_tokenizer().save_pretrained(tmp_path / "other")
    (tmp_path / "other.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    store = ActivationStore.open("runs/store")
    with pytest.raises(StoreError, match="not the model that .* was scanned with any more"):
        store.give(model=tmp_path / "other")
    with pytest.raises(StoreError, match="not the model that"):
        store.give(model=load_model("models/base", device="cpu"))
    with pytest.raises(StoreError, match=r"bfloat16; the store has float32"):
        store.give(model=load_model("models/base", adapter="models/adapter", device="cpu", dtype="bfloat16"))
    with pytest.raises(StoreError, match="not the data that"):
        store.give(data=tmp_path / "other.jsonl")
    assert store.model is None
    assert store.records is None
    template = project / "models" / "base" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    with pytest.raises(StoreError, match="its tokenizer or chat template is not the one"):
        store.load_model()


def test_a_changed_copy_does_not_hide_the_right_one(project, tmp_path):
    """The store was moved beside a folder of the same name that holds something else."""
    moved = tmp_path / "other" / "runs" / "store"
    moved.parent.mkdir(parents=True)
    (project / "runs" / "store").rename(moved)
    (tmp_path / "other" / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    make_network("llama", 395, seed=5).save_pretrained(tmp_path / "other" / "models" / "base")
    make_tokenizer().save_pretrained(tmp_path / "other" / "models" / "base")
    finds(moved, project)


def test_a_hub_id_stays_one(project):
    saved = ActivationStore.open("runs/store").manifest["model"] | {"name": "nobody/base", "places": []}
    with pytest.raises(ModelError, match="model nobody/base: no such folder, and not in the local hub cache"):
        find_model(saved, project)


def test_a_scan_resumed_from_a_moved_project_goes_on(project, tmp_path, monkeypatch):
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    shard = ActivationStore.open(moved / "runs" / "store").shard_path(0)
    before = shard.read_bytes()
    shard.unlink()
    model = load_model("moved/models/base", adapter="moved/models/adapter", device="cpu")
    scan(model, "moved/train.jsonl", sites=["resid_post.2"], out="moved/runs/store")
    assert shard.read_bytes() == before


def test_curvature_and_gradients_go_on_with_a_moved_model(project, tmp_path, monkeypatch):
    model = load_model("models/base", device="cpu")
    settings = CurvatureSettings(rows=4, kind="kfac")
    data = read_records("train.jsonl")
    curvature = fit_curvature(model, data, settings, out="runs/curvature.safetensors")
    build_gradient_store(model, data, curvature, "runs/gradients", bytes_per_row=2000)
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    model, data = load_model("moved/models/base", device="cpu"), read_records("moved/train.jsonl")
    again = fit_curvature(model, data, settings, out="moved/runs/curvature.safetensors")
    name, layer = next(iter(again.layers.items()))
    torch.testing.assert_close(layer.eigenvalues, curvature.layers[name].eigenvalues)
    fitted = fit_curvature(model, data, settings)
    build_gradient_store(model, data, fitted, moved / "runs" / "gradients", bytes_per_row=2000)
