"""Every reader of files that may come from others: one entry each, with files that it accepts to start from.

A new reader joins by one line in `READERS`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How a kind of file is read.

    Attributes:
        read: from its path, as deep as a user's command would.
        make: writes a good file (or folder) at a path.
        name: of the file, whose ending counts.
        target: the file inside a folder that is broken; empty where the file itself is.
    """

    read: Callable[[Path], object]
    make: Callable[[Path], object]
    name: str
    target: str = ""


ROWS = [
    {
        "id": 1,
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        "x": 0.5,
    },
    {"id": "b", "prompt": "One", "completion": "Two", "flag": True},
    {"text": "Three Ω 🙂", "extra": {"deep": [1, None, "x"]}},
]
CONFIGURATION = {
    "out": "run",
    "model": {"name": "m", "dtype": "float32"},
    "data": {"path": "train.jsonl", "on_error": "skip", "max_length": 9},
    "concept": {"positive": "a.jsonl", "negative": "b.jsonl", "sites": ["resid_post.1"]},
    "scan": {"activations": ["response", "backward"], "seed": 1},
    "rank": {"method": "activation-gradient", "curvature": {"kind": "kfac", "rows": 7}, "damping": 0.5},
    "curate": {"drop": 0.2, "end": "bottom"},
    "engine": {"name": "ray", "address": "auto", "workers": 2},
}
COUNTERFACTUAL = {
    "out": "run",
    "model": {"name": "m"},
    "data": {"sets": {"one": {"normal": "a.jsonl", "misaligned": "b.jsonl"}}, "choose": "one"},
    "concept": {"positive": "a.jsonl", "negative": "b.jsonl"},
    "behaviours": {"projection": {"texts": "c.jsonl"}},
    "removal": {"shares": [0.1, 0.5], "seeds": 2},
}
PHENOMENON = {
    "name": "or",
    "model": {
        "name": "net",
        "layers": [{"weights": [[1.0], [1.0]], "bias": [-0.5], "activation": "relu", "site": "hidden"}],
        "above": 0.0,
    },
    "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]],
    "outcomes": ["no", "yes"],
    "fit": [0, 1],
    "test": [2, 3],
}
EXPLANATION = {
    "format": "aitia-explanation-v1",
    "name": "or, said again",
    "phenomenon": PHENOMENON,
    "graph": [
        {
            "name": "answer",
            "parents": ["input.0", "input.1"],
            "table": {"0 0": 0, "0 1": 1, "1 0": 1, "1 1": 1},
            "aligned": {"site": "hidden", "components": [0], "read": "round", "bits": 1},
        }
    ],
    "premises": [{"name": "or", "statement": "a|b", "governs": ["answer"]}],
}


def _json(value: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(value), encoding="utf-8")


def _lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def _compressed(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))


def _zstandard(path: Path) -> None:
    import pyarrow as pa

    with pa.CompressedOutputStream(str(path), "zstd") as packed:
        packed.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())


def _pairs(path: Path) -> None:
    rows = [
        {"prompt": "One", "chosen": " two", "rejected": " three"},
        {
            "chosen": [*ROWS[0]["messages"]],
            "rejected": [ROWS[0]["messages"][0], {"role": "assistant", "content": "no"}],
        },
        {"prompt": "One", "completion": "Two", "label": False},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}], "tools": "[]"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _table(path: Path) -> None:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    cells = [("id", "text"), ("a", '"x\ny ""z"""'), ("b", '[{"role": 1}]' if delimiter == "\t" else "Ω")]
    path.write_text("".join(delimiter.join(row) + "\n" for row in cells), encoding="utf-8")


def _parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parquet.write_table(pa.table({"id": ["a", "b"], "text": ["x y", "z"], "n": [1, 2]}), path)


def _dataset(path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"id": ["a", "b"], "text": ["x y", "z"]}).save_to_disk(str(path))


def _copy(path: Path) -> None:
    from aitia.remote_files import push

    source = path.with_name("source")
    (source / "shards").mkdir(parents=True)
    for name in ("manifest.json", "shards/0"):
        (source / name).write_text("{}", encoding="utf-8")
    push(source, f"file://{path}")


def _read_copy(path: Path) -> object:
    from aitia.remote_files import pull

    shutil.rmtree(path.with_name("back"), ignore_errors=True)
    return pull(f"file://{path}", path.with_name("back"))


def _concept(path: Path) -> None:
    from aitia.concepts import Concept

    Concept(
        name="c",
        site="resid_post.1",
        direction=np.eye(2, 8, dtype=np.float32),
        model_name="m",
        model_fingerprint="f",
        base_fingerprint="f",
        recipe={"recipe": "given", "seed": 0},
        shuffled=np.ones((1, 2, 8), dtype=np.float32),
    ).save(path)


def _network(path: Path) -> None:
    from aitia.finite_groups import cyclic
    from aitia.group_networks.network import GroupNetwork

    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    GroupNetwork(
        group=cyclic(3), left=values, right=values, unembed=values.T, bias=values[:, 0], training={"seed": 0}
    ).save(path)


def _curvature(path: Path) -> None:
    import torch

    from aitia.attribution.gradients.curvature import Curvature, CurvatureSettings, LayerCurvature

    layer = LayerCurvature(left=torch.eye(2), right=torch.eye(3), eigenvalues=torch.ones(2, 3))
    provenance = {"model": "m", "model_fingerprint": "f", "data_fingerprint": "d", "rows": 3}
    Curvature(settings=CurvatureSettings(), layers={"0.q": layer}, provenance=provenance).save(path)


def _store(path: Path) -> None:
    import pyarrow as pa

    from aitia.attribution import ActivationStore

    manifest = {
        "model": {
            "name": "m",
            "adapter": None,
            "fingerprint": "f",
            "base_fingerprint": "f",
            "dtype": "float32",
        },
        "data": {"source": None, "fingerprint": "d", "rows": 3, "skipped": []},
        "settings": {"sites": ["resid_post.1"], "activations": ["response", "prompt_end"]},
        "shards": 2,
    }
    rows = {"id": ["a", "b", "c"], "row": [0, 1, 2], "location": ["x", "y", "z"]}
    rows |= {"prompt_tokens": [1, 2, 3], "response_tokens": [3, 2, 1]}
    store = ActivationStore.create_or_resume(path, manifest, pa.table(rows))
    for number, positions in enumerate(([0, 2], [1])):
        values = np.ones((len(positions), 8), dtype=np.float32)
        arrays = {f"{name}.resid_post.1": values for name in ("response", "prompt_end")}
        store.write_shard(number, {"position": np.array(positions), **arrays})


def _read_store(path: Path) -> None:
    from aitia.attribution import ActivationStore
    from aitia.attribution.scorers import score_vectors

    store = ActivationStore.open(path)
    store.column("id")
    score_vectors(store, np.ones((1, 8), dtype=np.float32), "resid_post.1", "vector-filter")


def _ranking(path: Path) -> None:
    from aitia.attribution import Ranking

    Ranking(
        method="vector-filter",
        ids=np.array(["a", "b"]),
        contents=np.array(["c", "d"]),
        rows=np.arange(2),
        locations=np.array(["x", "y"]),
        prompt_tokens=np.ones(2, dtype=int),
        response_tokens=np.ones(2, dtype=int),
        scores={"vector-filter": np.array([0.1, 0.2])},
        provenance={"store": "s"},
    ).write(path)


def _read_ranking(path: Path) -> None:
    from aitia.attribution import read_ranking

    ranking = read_ranking(path)
    ranking.top(1)
    ranking.bottom(0.5)


def _read_data(path: Path) -> None:
    from aitia.errors import RecordError
    from aitia.records import read_records

    try:
        records = read_records(path, shape="mixed")
    except RecordError:
        records = read_records(path, shape="mixed", on_error="skip")
    for record in records:
        assert record.kind
        assert record.prompt_text is not None
    # Never over an earlier copy: what is replaced is removed by names relative to a folder, which cannot be watched.
    records.write(path.with_name(f"copy-{len(list(path.parent.iterdir()))}-{path.name}"))


def _cell(path: Path) -> None:
    from aitia.counterfactual.retraining import RetrainingRun, _write

    _write(path, RetrainingRun(kept=("a", "b"), seed=1), {"projection": [0.5, 1.5]})


def _read_cell(path: Path) -> None:
    from aitia.counterfactual.retraining import read_result

    read_result(path).mean("projection")


def _sae(path: Path) -> None:
    from aitia.concepts.sae_loading import save_sae

    save_sae(_autoencoder(), path)


def _sae_of_sparsify(path: Path) -> None:
    from safetensors.torch import save_file

    sae = _autoencoder()
    path.mkdir()
    options = {"activation": "topk", "expansion_factor": 2, "k": 2, "d_in": 4, "transcode": False}
    (path / "cfg.json").write_text(json.dumps(options), encoding="utf-8")
    tensors = {"encoder.weight": sae.encoder.T.contiguous(), "encoder.bias": sae.encoder_bias}
    save_file({**tensors, "W_dec": sae.decoder, "b_dec": sae.decoder_bias}, path / "sae.safetensors")


def _plain_sae(path: Path) -> None:
    from safetensors.torch import save_file

    sae = _autoencoder()
    tensors = {
        "W_enc": sae.encoder,
        "W_dec": sae.decoder,
        "b_enc": sae.encoder_bias,
        "b_dec": sae.decoder_bias,
    }
    save_file({**tensors, "threshold": sae.encoder_bias.abs()}, path)


def _autoencoder() -> Any:
    import torch

    from aitia.concepts.sae import SparseAutoencoder

    values = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    return SparseAutoencoder(
        encoder=values,
        decoder=values.T.contiguous(),
        encoder_bias=torch.zeros(8),
        decoder_bias=torch.zeros(4),
        site="resid_post.1",
        activation="topk",
        k=2,
        training={"loss": 0.5},
    )


def _read_sae(path: Path) -> None:
    """Read, and used once, as deep as grouping rows goes."""
    import torch

    from aitia.concepts.sae_loading import load_sae

    sae = load_sae(path, site="resid_post.1")
    sae.reconstruct(torch.ones(3, sae.width))
    assert sae.fingerprint


def _proof(verifier: str) -> Callable[[Path], None]:
    """A folder with a network and a certificate of it by some verifier."""

    def make(path: Path) -> None:
        from group_networks.planted_networks import joined, planted

        from aitia.proofs import prove_accuracy

        network = joined([planted("S3", 2, "2a").network()], noise=1e-3)
        path.mkdir()
        network.save(path / "n.network.safetensors")
        prove_accuracy(network, verifier=verifier).save(path / "c.certificate.json")

    return make


def _check(path: Path) -> None:
    from aitia.proofs import check_certificate

    check_certificate(path / "n.network.safetensors", path / "c.certificate.json")


def _call(module: str, name: str) -> Callable[[Path], object]:
    """A reader that is imported where it is first used."""
    from importlib import import_module

    return lambda path: getattr(import_module(module), name)(path)


READERS: dict[str, Reader] = {
    "data, lines": Reader(read=_read_data, make=_lines, name="train.jsonl"),
    "data, compressed": Reader(read=_read_data, make=_compressed, name="train.jsonl.gz"),
    "data, Zstandard": Reader(read=_read_data, make=_zstandard, name="train.jsonl.zst"),
    "data, pairs": Reader(read=_read_data, make=_pairs, name="pairs.jsonl"),
    "data, commas": Reader(read=_read_data, make=_table, name="train.csv"),
    "data, tabs": Reader(read=_read_data, make=_table, name="train.tsv"),
    "data, Parquet": Reader(read=_read_data, make=_parquet, name="train.parquet"),
    "data, saved dataset": Reader(read=_read_data, make=_dataset, name="set", target="state.json"),
    "data, dataset's table": Reader(
        read=_read_data, make=_dataset, name="set", target="data-00000-of-00001.arrow"
    ),
    "data, dataset's columns": Reader(read=_read_data, make=_dataset, name="set", target="dataset_info.json"),
    "prompts": Reader(
        read=_call("aitia.counterfactual.prompt_sets", "read_prompts"), make=_lines, name="p.jsonl"
    ),
    "concept": Reader(
        read=_call("aitia.concepts", "load_concept"), make=_concept, name="c.concept.safetensors"
    ),
    "network": Reader(
        read=_call("aitia.group_networks", "load_network"), make=_network, name="n.network.safetensors"
    ),
    "curvature": Reader(
        read=_call("aitia.attribution.gradients.curvature", "load_curvature"),
        make=_curvature,
        name="c.safetensors",
    ),
    "store's manifest": Reader(read=_read_store, make=_store, name="store", target="manifest.json"),
    "store's table": Reader(read=_read_store, make=_store, name="store", target="rows.parquet"),
    "store's shard": Reader(read=_read_store, make=_store, name="store", target="shards/00000.safetensors"),
    "ranking": Reader(read=_read_ranking, make=_ranking, name="ranking.parquet"),
    "copied folder's list": Reader(read=_read_copy, make=_copy, name="copy", target="aitia-copy.json"),
    "retraining's cell": Reader(read=_read_cell, make=_cell, name="cell.json"),
    "configuration": Reader(
        read=_call("aitia.pipelines.attribution.configuration", "read_configuration"),
        make=_json(CONFIGURATION),
        name="a.yaml",
    ),
    "counterfactual configuration": Reader(
        read=_call(
            "aitia.pipelines.retraining.counterfactual_configuration", "read_counterfactual_configuration"
        ),
        make=_json(COUNTERFACTUAL),
        name="c.yaml",
    ),
    "explanation": Reader(
        read=_call("aitia.pipelines.evaluation.explanation_files", "read_explanation"),
        make=_json(EXPLANATION),
        name="e.explanation.json",
    ),
    "rubric": Reader(
        read=_call("aitia.explanations.card.rubric", "load_rubric"),
        make=_json({"fidelity": [0.95, 0.7], "note": "mine"}),
        name="rubric.json",
    ),
    "autoencoder's weights": Reader(read=_read_sae, make=_sae, name="sae", target="sae_weights.safetensors"),
    "autoencoder's options": Reader(read=_read_sae, make=_sae, name="sae", target="cfg.json"),
    "autoencoder of sparsify": Reader(
        read=_read_sae, make=_sae_of_sparsify, name="sae", target="sae.safetensors"
    ),
    "autoencoder of sparsify, options": Reader(
        read=_read_sae, make=_sae_of_sparsify, name="sae", target="cfg.json"
    ),
    "autoencoder, plain": Reader(read=_read_sae, make=_plain_sae, name="sae.safetensors"),
    **{
        f"certificate by {verifier}": Reader(
            read=_check, make=_proof(verifier), name="proof", target="c.certificate.json"
        )
        for verifier in ("low-rank", "equivariance", "cosets", "rho-sets-blocks", "cascade")
    },
    "certificate's network": Reader(
        read=_check, make=_proof("cascade"), name="proof", target="n.network.safetensors"
    ),
}
