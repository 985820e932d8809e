"""A folder with one valid file of every kind that a command reads, and a command line for each command."""

from __future__ import annotations

import json
import shutil
import typing
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from aitia.cli import app
from aitia.cli.endings import run
from proofs.proof_networks import planted_network

EXAMPLES = Path(__file__).parents[2] / "examples" / "xor"

# A command line for each command, `@` for the folder of valid files, `%` for an empty one to write into.
LINES = {
    "scan": "--model @model --data @data.jsonl --site resid_post.1 --out %store",
    "rank": "--store @store --concept @c.concept.safetensors --out %r.parquet",
    "score": "--model @model --concept @c.concept.safetensors --data @data.jsonl",
    "fit-curvature": "--model @model --data @data.jsonl --kind diagonal --rows 4 --out %c.safetensors",
    "evaluate-ranking": "@r.parquet --data @data.jsonl --label planted",
    "explore": "@store --no-browser",
    "tail-patch": "@r.parquet --queries @data.jsonl --rows 1",
    "curate": "--data @data.jsonl --ranking @r.parquet --drop 2 --out %kept.jsonl --removed %gone.jsonl",
    "attribute": "@attribute.yaml",
    "demo": "--out %demo",
    "counterfactual": "@counterfactual.yaml",
    "train": "@train.yaml",
    "slices": "--store @store --concept @c.concept.safetensors --sae @sae --out %g.json --permutations 200",
    "discover": "--model @model --adapter @adapter --data @data.jsonl --sae @sae --out %m.json",
    "evaluate": "@gates.explanation.json --out %card.json",
    "plan": "@attribute.yaml --teraflops 1",
    "init": "@data.jsonl --model @model --positive @positive.jsonl --negative @negative.jsonl --out %a.yaml",
    "doctor": "--model @model --data @data.jsonl",
    "completion": "bash",
    "prove": "@n.network.safetensors --verifier cascade --out %p.certificate.json",
    "check": "@n.network.safetensors @n.certificate.json",
    "push": "@sae file://%copy",
    "pull": "file://@pushed %pulled",
    "concept fit": "--model @model --positive @positive.jsonl --negative @negative.jsonl --out %f.concept.safetensors",
    "concept show": "@c.concept.safetensors",
    "sae train": "--model @model --data @data.jsonl --site resid_post.1 --features 8 --k 2 --epochs 1 --out %sae",
    "sae show": "@sae",
    "network train": "--group Z3 --steps 2 --width 4 --embedding 4 --out %networks",
    "network show": "@n.network.safetensors",
    "network explain": "@n.network.safetensors --out %page.html",
}


def commands():
    """name -> click command, of all that there are."""

    def walk(command, words):
        below = getattr(command, "commands", None)
        if below is None:
            yield " ".join(words), command
        for name, each in (below or {}).items():
            yield from walk(each, (*words, name))

    return dict(walk(get_command(app), ()))


def paths_of(command):
    """The options and arguments of a command that are paths: the first name of each, and whether it is an argument."""
    hints = typing.get_type_hints(command.callback)
    for parameter in command.params:
        kind = hints[parameter.name]
        inner = (kind, *typing.get_args(kind))
        if any(each is Path or Path in typing.get_args(each) for each in inner) or parameter.name in (
            "model",
            "adapter",
        ):
            yield parameter.opts[0], parameter.param_type_name == "argument"


@pytest.fixture(scope="session")
def desk(make_model, rows, tmp_path_factory):
    """The folder of valid files."""
    from aitia.attribution import rank, scan
    from aitia.concepts import SparseAutoencoder, fit_concept, save_sae
    from aitia.models import load_model, save_model
    from aitia.records import read_records
    from aitia.remote_files import push
    from aitia.training import LoraSettings, finetune_lora

    folder = tmp_path_factory.mktemp("desk")
    save_model(make_model("llama", layers=2), folder / "model")
    long = {"prompt": "Long?\n", "completion": "The sun is out. " * 100, "id": "long"}
    for name, found in {
        "data": rows,
        "long": [*rows, long],
        "positive": [{"prompt": f"Q {i}?\n", "completion": "The garden garden."} for i in range(6)],
        "negative": [{"prompt": f"Q {i}?\n", "completion": "The nothing nothing."} for i in range(6)],
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    model = load_model(folder / "model", device="cpu", dtype="float32")
    data = read_records(folder / "data.jsonl")
    concept = fit_concept(
        model,
        folder / "positive.jsonl",
        folder / "negative.jsonl",
        sites=["resid_post.1"],
        shuffles=2,
    )
    concept.save(folder / "c.concept.safetensors")
    activations = ["response", "prompt_end", "backward"]
    store = scan(model, data, sites=["resid_post.1"], out=folder / "store", activations=activations)
    rank(store, concept, random_controls=0).write(folder / "r.parquet")
    torch.manual_seed(0)
    sae = SparseAutoencoder(
        encoder=torch.randn(32, 24), decoder=torch.randn(24, 32), encoder_bias=torch.zeros(24),
        decoder_bias=torch.zeros(32), site="resid_post.1", activation="topk", k=3,
    )  # fmt: skip
    save_sae(sae, folder / "sae")
    push(folder / "sae", f"file://{folder}/pushed")
    finetune_lora(model, data.only(data.ids[:4]), LoraSettings(rank=2, epochs=1), folder / "adapter")
    for path in EXAMPLES.glob("*.json"):
        shutil.copy(path, folder / path.name)
    planted_network().save(folder / "n.network.safetensors")
    settings = "model: {name: model, dtype: float32, device: cpu}\n"
    settings += "concept: {positive: positive.jsonl, negative: negative.jsonl}\n"
    (folder / "attribute.yaml").write_text(f"out: run\ndata: {{path: data.jsonl}}\n{settings}")
    (folder / "counterfactual.yaml").write_text(
        f"out: run\ndata: {{path: data.jsonl}}\n{settings}removal: {{shares: [0.5], ends: [top], seeds: 1}}\n"
        "training: {rank: 2, epochs: 1}\nbehaviours: {projection: {texts: negative.jsonl}}\n"
    )
    (folder / "train.yaml").write_text(
        "out: recorded\nmodel: {name: model, dtype: float32, device: cpu}\ndata: {path: data.jsonl}\n"
        "training: {rank: 2, epochs: 1}\n"
    )
    line = f"prove {folder}/n.network.safetensors --verifier cascade --out {folder}/n.certificate.json"
    assert run(line.split()) == 0
    return folder


@pytest.fixture
def line_of(desk, tmp_path):
    """line_of(command) -> its command line, in parts."""

    def make(name):
        line = LINES[name].replace("@", f"{desk}/").replace("%", f"{tmp_path}/")
        return [*name.split(), *line.split()]

    return make
