"""`aitia sae train | show`, `slices`, `discover`: which kinds of rows made a model behave so."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from aitia.attribution import SliceSettings
from aitia.attribution.gradients import Damping
from aitia.attribution.scorers import DEFAULT_METHOD
from aitia.cli.options import (
    Application,
    JsonOption,
    ModelOptions,
    RowOptions,
    ScannedOptions,
    TunedModelOptions,
    answer,
    app,
    file_out,
    folder_out,
    left_out,
    require_used,
    with_damping,
    with_model,
    with_options,
    with_rows,
    with_scanned,
    with_settings,
)
from aitia.concepts import DEFAULT_POOLING, SaeSettings
from aitia.errors import AitiaError
from aitia.pipelines.attribution.discovery import FEATURES_SHOWN
from aitia.pipelines.attribution.slices import CONTROLS_HELP, SLICES_SHOWN
from aitia.records import ReadingSettings

sae_app = Application(
    no_args_is_help=True, help="Train a sparse autoencoder, or show one.", rich_markup_mode="markdown"
)
app.add_typer(sae_app, name="sae")

SaeOption = Annotated[
    Path, typer.Option("--sae", help="Folder of a sparse autoencoder (sae_lens, sparsify), or safetensors.")
]
SaeSiteOption = Annotated[
    str | None, typer.Option(help="Where the autoencoder lives, if its files do not say.")
]


@sae_app.command("train")
@with_settings(SaeSettings)
@with_settings(ReadingSettings)
@with_model
@with_rows
def sae_train(
    *,
    model: ModelOptions,
    data: Annotated[Path, typer.Option(help="Texts whose response tokens it is trained on.")],
    site: Annotated[str, typer.Option(help="Where, as resid_post.16.")],
    out: Annotated[Path, folder_out("Folder to write, in the layout of sae_lens.")],
    settings: SaeSettings,
    reading: ReadingSettings,
    cut: RowOptions,
    as_json: JsonOption = False,
) -> None:
    """Train a sparse autoencoder (TopK) on a model's own activations. Needs `pip install 'aitia[sae]'`.

    Tens of thousands of tokens make coarse features, of tone and topic, which is what slices of rows want.

    Example:
    `aitia sae train --model runs/my-model --data train.jsonl --site resid_post.16 --out runs/sae`
    """
    from aitia.concepts import fit_sae, require_sae_place, save_sae
    from aitia.models import in_tokens
    from aitia.records import read_records

    require_sae_place(out)
    texts = read_records(data, reading, on_error=cut.on_error)
    loaded = model.load()
    rows = in_tokens(loaded, texts, **asdict(cut))
    sae = fit_sae(loaded, rows, site, settings)
    save_sae(sae, out)
    found = {"sae": str(out), "site": site, "fingerprint": sae.fingerprint} | dict(sae.training)
    found["skipped"] = [[row.location, row.reason] for row in (*texts.skipped, *rows.skipped)]
    line = (
        f"{settings.features} features at {site}, trained on {found['tokens']} tokens: "
        f"{found['unexplained_variance']:.0%} of the variance unexplained on held-out tokens, "
        f"{found['dead_features']} features dead; in {out}"
    )
    answer(found, as_json, "\n".join([line, *left_out(found["skipped"])]))


@sae_app.command("show")
def sae_show(
    sae: Annotated[Path, typer.Argument(help="Folder of a sparse autoencoder, or safetensors.")],
    site: SaeSiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where an autoencoder lives and what it is.

    Example: `aitia sae show runs/sae`
    """
    from aitia.concepts import load_sae

    loaded = load_sae(sae, site=site)
    shown = {
        "site": loaded.site,
        "width": loaded.width,
        "features": loaded.features,
        "activation": loaded.activation,
        "k": loaded.k or None,
        "normalisation": loaded.normalisation,
        "fingerprint": loaded.fingerprint,
        "training": dict(loaded.training),
    }
    answer(shown, as_json, "\n".join(f"{key}: {value}" for key, value in shown.items()))


@app.command("slices")
@with_settings(SliceSettings)
@with_settings(ReadingSettings)
@with_damping
@with_scanned
@with_rows
def slices_command(
    *,
    store: Annotated[Path, typer.Option(help="Folder of a finished store.")],
    concept: Annotated[Path, typer.Option(help="A .concept.safetensors file.")],
    sae: SaeOption,
    out: Annotated[Path, file_out("JSON file to write, which `aitia curate --drop-slice` takes.")],
    report: Annotated[Path | None, file_out("HTML report to write too.")] = None,
    method: Annotated[str, typer.Option(help="Scores the rows; see `aitia rank`.")] = DEFAULT_METHOD,
    queries: Annotated[Path | None, typer.Option(help="Texts to measure, for the influence methods.")] = None,
    curvature: Annotated[Path | None, typer.Option(help="Curvature file, for the influence methods.")] = None,
    damping: Damping,
    site: SaeSiteOption = None,
    pooling: Annotated[
        Literal["share", "mean", "max"], typer.Option(help="Pools a feature over a row's response tokens.")
    ] = DEFAULT_POOLING,
    settings: SliceSettings,
    controls: Annotated[int | None, typer.Option(help=CONTROLS_HELP, show_default=False)] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Test the slices against a column. Repeatable.")
    ] = None,
    strata: Annotated[str | None, typer.Option(help="Compare rows within the values of this column.")] = None,
    labeller: Annotated[
        str | None, typer.Option(help="Model at an OpenAI-compatible endpoint that puts features into words.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of that endpoint.")] = None,
    shown: Annotated[
        int, typer.Option(min=1, help="Slices from either end to label and show.")
    ] = SLICES_SHOWN,
    scanned: ScannedOptions,
    reading: ReadingSettings,
    cut: RowOptions,
    as_json: JsonOption = False,
) -> None:
    """Which kinds of rows raise a concept? Slices rows by the features that fire on them, and tests each slice.

    A slice's influence is held against as many rows drawn at random and against null directions;
    p-values are adjusted for the number of slices. The store's rows are cut as for its scan; --shape, --side,
    --max-length, --truncate and --on-error are for the queries. Exit status 1: no slice was found.

    Example:
    `aitia slices --store runs/store --concept evil.concept.safetensors --sae runs/sae --out slices.json`
    """
    from aitia.attribution import ActivationStore
    from aitia.concepts import load_concept, load_sae
    from aitia.pipelines.attribution.slices import explain_by_slices, slices_table
    from aitia.records import read_records

    require_used(
        (method,),
        queries=queries,
        curvature=curvature,
        **asdict(reading),
        **asdict(cut),
    )
    if base_url is not None and labeller is None:
        raise AitiaError("--base-url is the endpoint of a --labeller; give both, or neither")
    opened = ActivationStore.open(store)
    opened.give(**asdict(scanned))
    result = explain_by_slices(
        opened,
        load_concept(concept),
        load_sae(sae, site=site),
        method=method,
        settings=settings,
        pooling=pooling,
        controls=controls,
        columns=column or (),
        strata=strata,
        shown=shown,
        labeller=None if labeller is None else _labeller(labeller, base_url, out),
        queries=None if queries is None else read_records(queries, reading, on_error=cut.on_error),
        curvature=curvature,
        damping=damping,
        seed=settings.seed,
        **asdict(cut),
    )
    result.write(out)
    if report is not None:
        result.ranking.report(report, slices=result.section())
    files = {"slices": str(out), "report": None if report is None else str(report)}
    found = result.to_json() | {"files": files}
    lines = [slices_table(result), "", f"slices: {out}", *left_out(found["queries_skipped"])]
    answer(found, as_json, "\n".join(lines))
    if not result.influence.found:
        raise typer.Exit(1)


@app.command("discover")
@with_settings(ReadingSettings)
@with_options(TunedModelOptions)
@with_rows
def discover_command(
    *,
    model: TunedModelOptions,
    data: Annotated[Path, typer.Option(help="Texts for both models to read; better held-out ones.")],
    sae: SaeOption,
    out: Annotated[Path, file_out("JSON file to write.")],
    store: Annotated[
        Path | None, typer.Option(help="Scan of the training data, to look for the cause.")
    ] = None,
    site: SaeSiteOption = None,
    shown: Annotated[
        int, typer.Option(min=1, help="Features to show and to look for in the store.")
    ] = FEATURES_SHOWN,
    reading: ReadingSettings,
    cut: RowOptions,
    as_json: JsonOption = False,
) -> None:
    """What did training change? The features that moved most between base and fine-tuned model, without a concept.

    Both models read the same texts. With --store, each of these features becomes a concept and the rows behind it
    are ranked. Exit status 1: no feature moved at a false-discovery rate of 5 %.

    Example:
    `aitia discover --model runs/my-model --adapter runs/my-lora --data held-out.jsonl --sae runs/sae --out moved.json`
    """
    from aitia.attribution import ActivationStore
    from aitia.concepts import load_sae
    from aitia.pipelines.attribution.discovery import discover, discovery_table
    from aitia.records import read_records

    texts = read_records(data, reading, on_error=cut.on_error)
    loaded = load_sae(sae, site=site)
    scanned = None if store is None else ActivationStore.open(store)
    tuned = model.load()
    result = discover(
        tuned,
        texts,
        loaded,
        store=scanned,
        shown=shown,
        **asdict(cut),
    )
    result.write(out)
    found = result.to_json() | {"files": {"moved": str(out)}}
    answer(found, as_json, "\n".join([discovery_table(result), "", str(out), *left_out(found["skipped"])]))
    if not result.found:
        raise typer.Exit(1)


def _labeller(model: str, base_url: str | None, out: Path) -> Any:
    from aitia.counterfactual.judging import EndpointLabeller

    if out.suffix == ".jsonl":
        raise AitiaError(f"--out {out}: a .json file; beside it the labeller keeps its answers as .jsonl")
    return EndpointLabeller(model, base_url=base_url, cache=out.with_suffix(".labels.jsonl")).labels
