"""aitia on the shared workload: EK-FAC or identity curvature, exact scores, and a store for later queries."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from workload import (
    Measurement,
    Workload,
    parsed_workload,
    read_network,
    read_tokens,
    runner_parser,
    save_scores,
)

os.environ.setdefault("AITIA_PROGRESS", "0")


def tokenized(tokens, name: str):
    """The workload's rows as records in tokens: every token is trained on."""
    import numpy as np

    from aitia.records import TokenizedRecord, TokenizedRecords

    whole = np.ones(tokens.shape[1], dtype=bool)
    return TokenizedRecords(
        records=tuple(
            TokenizedRecord(id=f"{name}{i}", row=i, location=f"{name} {i}", tokens=row, response=whole)
            for i, row in enumerate(tokens.numpy().astype(np.int32))
        )
    )


def language_model(folder: Path):
    """The workload's model as aitia holds it."""
    from transformers import AutoTokenizer

    from aitia.models import LanguageModel

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    network, adapter = read_network(folder), folder / "adapter"
    network.requires_grad_(False)
    return LanguageModel(
        network=network,
        tokenizer=tokenizer,
        name="workload",
        adapter=str(adapter) if adapter.is_dir() else None,
    )


def concept_of(model, depth: float = 1.0):
    """A made-up direction at the site after `depth` of the layers; at the last, every layer can move it."""
    import numpy as np

    from aitia.concepts import Concept

    direction = np.random.default_rng(0).standard_normal(model.width)
    site = model.sites[round(depth * model.layers) - 1]
    return Concept(
        name="made up",
        site=site,
        direction=direction,
        model_name="workload",
        model_fingerprint="",
        base_fingerprint="",
        recipe={},
    )


def main() -> None:
    parser = runner_parser(__doc__, methods=("ekfac", "identity", "concept", "forward"), batch=16)
    parser.add_argument("--bytes-per-row", type=int, default=262_144)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--depth", type=float, default=1.0, help="forward: where the site is, of all layers")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="forward: the model's"
    )
    parser.add_argument("--no-cache", action="store_true", help="run the model in every pass instead")
    options = parser.parse_args()
    workload = parsed_workload(options)
    measurement = Measurement(f"aitia-{options.method}")

    import torch

    torch.set_num_threads(options.threads)
    with measurement.phase("load"):
        model = language_model(options.folder)
        train, query = read_tokens(options.folder)
        rows, queries = tokenized(train, "row"), tokenized(query, "query")
    run = {"ekfac": run_influence, "identity": run_influence, "concept": run_concept, "forward": run_forward}
    run[options.method](options, workload, measurement, model, rows, queries)


def curvature_settings(options, workload: Workload):
    from aitia.attribution.gradients import CurvatureSettings

    kind = "identity" if options.method == "identity" else "ekfac"
    tokens = options.batch * workload.length
    return CurvatureSettings(
        kind=kind,
        use_empirical_fisher=True,
        loss="sum",
        rows=0,
        max_batch_tokens=tokens,
        precision=options.precision,
        parameters="lora" if (options.folder / "adapter").is_dir() else "full",
    )


def run_influence(options, workload, measurement, model, rows, queries) -> None:
    """Scores of every query's loss, as the peers compute them."""
    from aitia.attribution.gradients import FactorCache, LogProbability, fit_curvature
    from aitia.attribution.influence import influence

    with tempfile.TemporaryDirectory() as folder:
        cache = None
        if options.method == "ekfac" and not options.no_cache:
            cache = FactorCache(folder=Path(folder) / "factors")
        with measurement.phase("fit"):
            curvature = fit_curvature(model, rows, curvature_settings(options, workload), cache=cache)
        with measurement.phase("score"):
            scores = influence(
                model,
                rows,
                queries,
                LogProbability(aggregate="sum"),
                curvature=curvature,
                average=False,
                cache=cache,
                max_batch_tokens=options.batch * workload.length,
            )
    save_scores(options.out, scores, workload)
    measurement.print_line(compute=["fit", "score"], products=curvature.provenance["products"])


def run_concept(options, workload, measurement, model, rows, queries) -> None:
    """Concept Influence: the first concept in full, the store, and a further concept from it."""
    import numpy as np

    from aitia.attribution.gradients import (
        ConceptMeasurement,
        FactorCache,
        build_gradient_store,
        fit_curvature,
        stored_influence,
    )
    from aitia.attribution.influence import influence
    from aitia.statistics import spearman

    tokens = options.batch * workload.length
    concept = ConceptMeasurement(concept=concept_of(model))
    with tempfile.TemporaryDirectory() as folder:
        cache = None if options.no_cache else FactorCache(folder=Path(folder) / "factors")
        with measurement.phase("fit"):
            curvature = fit_curvature(model, rows, curvature_settings(options, workload), cache=cache)
        with measurement.phase("score"):
            exact = influence(
                model, rows, queries, concept, curvature=curvature, cache=cache, max_batch_tokens=tokens
            )
        with measurement.phase("store"):
            store = build_gradient_store(
                model,
                rows,
                curvature,
                Path(folder) / "store",
                bytes_per_row=options.bytes_per_row,
                cache=cache,
                max_batch_tokens=tokens,
            )
        with measurement.phase("further_concept"):
            stored = stored_influence(store, model, queries, concept, curvature)
    np.savez(options.out, exact=exact, stored=stored)
    measurement.print_line(
        compute=["fit", "score"],
        spearman_of_store=spearman(exact, stored),
        bytes_per_row=store.bytes_per_row,
    )


def run_forward(options, workload, measurement, model, rows, _queries) -> None:
    """A forward-only method, Vector Filter: trace the rows up to the site, project; and another concept."""
    import numpy as np
    import torch

    from aitia.models import batch_tensors, masked_mean, trace
    from aitia.records import length_batches, pad_batch

    concept = concept_of(model, options.depth)
    kept = np.zeros((len(rows), model.width), dtype=np.float32)
    model.network.to(getattr(torch, options.dtype))
    batches = length_batches([len(row.tokens) for row in rows], max_tokens=options.batch * workload.length)

    def keep(index: np.ndarray) -> None:
        batch = pad_batch(rows, index, model.pad_id)
        _, response = batch_tensors(model, batch)
        hidden = trace(model, batch, [concept.site])[concept.site]
        kept[index] = masked_mean(hidden, response).float().numpy()

    keep(batches[0])  # so that no first call is timed, as in the bare passes
    with measurement.phase("score"):
        for index in batches:
            keep(index)
        scores = kept @ concept.vector
    with measurement.phase("further_concept"):
        _ = kept @ np.random.default_rng(1).standard_normal(model.width).astype(np.float32)
    np.savez(options.out, scores=scores)
    measurement.print_line(compute=["score"])


if __name__ == "__main__":
    main()
