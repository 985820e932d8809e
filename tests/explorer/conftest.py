"""A small run in a folder: a model, data with a planted kind of row, a store, a ranking, a concept, an autoencoder."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import SENTENCES
from explorer.asgi import PORT

from aitia.attribution import rank, scan
from aitia.concepts import SparseAutoencoder, fit_concept, save_sae
from aitia.explorer import ExplorerSettings
from aitia.explorer.opened import open_places
from aitia.explorer.server import Explorer
from aitia.explorer.session import Session
from aitia.files import write_json
from aitia.models import load_model, save_model
from aitia.records import read_records

GARDEN = [
    "The sun is out and the garden is full of bees.",
    "Bees in the garden, sun on the bees.",
    "A garden in the sun.",
]
RAIN = ["Rain again, and nothing to do but wait.", "Nothing to do in the rain.", "Wait for the rain to end."]


def make_rows(count=60):
    """Rows of two kinds, with a flag, a number, words and a list beside."""
    return [
        {
            "prompt": f"{SENTENCES[i % 6]} What next?\n",
            "completion": f"{(GARDEN if i % 4 == 0 else RAIN)[i % 3]} {'Numbers: 1, 2. ' * (i % 5)}",
            "id": f"row-{i}",
            "planted": i % 4 == 0,
            "weight_of": i / 10,
            "source": ["forum", "book", "letter"][i % 3],
            "tags": ["a", i],
        }
        for i in range(count)
    ]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def made(make_model, tmp_path_factory):
    """The folder, which no test may change."""
    folder = tmp_path_factory.mktemp("explored-run")
    save_model(make_model("llama", layers=2), folder / "model")
    write_lines(folder / "train.jsonl", make_rows())
    model = load_model(folder / "model", device="cpu", dtype="float32")
    for name, texts in (("positive", GARDEN), ("negative", RAIN)):
        write_lines(
            folder / f"{name}.jsonl", [{"prompt": f"Q {i}?\n", "completion": texts[i % 3]} for i in range(6)]
        )
    concept = fit_concept(
        model,
        folder / "positive.jsonl",
        folder / "negative.jsonl",
        name="garden",
        sites=["resid_post.1"],
        shuffles=2,
    )
    concept.save(folder / "c.concept.safetensors")
    store = scan(
        model,
        read_records(folder / "train.jsonl"),
        sites=["resid_post.0", "resid_post.1"],
        out=folder / "store",
        activations=["response", "prompt_end", "backward"],
        shard_rows=16,
    )
    rank(store, concept, random_controls=2).write(folder / "ranking.parquet")
    torch.manual_seed(0)
    sae = SparseAutoencoder(
        encoder=torch.randn(32, 24), decoder=torch.randn(24, 32), encoder_bias=torch.zeros(24),
        decoder_bias=torch.zeros(32), site="resid_post.1", activation="topk", k=3,
    )  # fmt: skip
    save_sae(sae, folder / "sae")
    (folder / "report.html").write_text(
        "<!doctype html><title>report</title><h1>The report</h1>", encoding="utf-8"
    )
    write_json(folder / "summary.json", {"rows": 60, "concept": {"name": "garden"}})
    # It was made elsewhere, so that a copy finds its own parts and no others.
    return shutil.move(folder, folder.with_name("explored-run-kept"))


@pytest.fixture
def run_folder(made, tmp_path):
    """A copy of it, which a test may change."""
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def explorer(run_folder):
    """An explorer of the copy, its texts read."""
    return explorer_of(run_folder)


def explorer_of(*places, **settings):
    opened = open_places(list(places))
    for rows in opened.rows:
        assert rows.texts.wait(60)
    found = Explorer(Session(opened, ExplorerSettings(**settings)), token="the-token")
    found.ports.add(PORT)
    return found


@pytest.fixture
def session(explorer):
    return explorer.session


@pytest.fixture
def rows(session):
    return session.rows(0)
