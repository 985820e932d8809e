"""`aitia concept fit | show`: directions that texts set apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from aitia.cli.options import (
    Application,
    JsonOption,
    ModelOptions,
    RowOptions,
    SeedOption,
    SitesOption,
    answer,
    app,
    file_out,
    left_out,
    with_model,
    with_rows,
    with_settings,
)
from aitia.concepts import DEFAULT_RECIPE, TOKENS_DESCRIPTION, ChosenTokens, Recipe
from aitia.records import ReadingSettings

concept_app = Application(
    no_args_is_help=True, help="Fit a concept, or show one.", rich_markup_mode="markdown"
)
app.add_typer(concept_app, name="concept")


@concept_app.command("fit")
@with_settings(ReadingSettings)
@with_model
@with_rows
def concept_fit(
    *,
    model: ModelOptions,
    positive: Annotated[Path, typer.Option(help="Texts that show the concept.")],
    negative: Annotated[Path, typer.Option(help="Texts that do not.")],
    out: Annotated[Path, file_out("Concept file to write.")],
    name: Annotated[str, typer.Option(help="Name, for people.")] = "concept",
    recipe: Annotated[
        Recipe,
        typer.Option(help="Method that fits the direction."),
    ] = DEFAULT_RECIPE,
    site: SitesOption = None,
    tokens: Annotated[ChosenTokens, typer.Option(help=TOKENS_DESCRIPTION)] = "auto",
    reading: ReadingSettings,
    cut: RowOptions,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit a direction between two sets of texts, at the site where it separates held-out texts best.

    Example:
    `aitia concept fit --model runs/my-model --positive evil.jsonl --negative kind.jsonl --out e.concept.safetensors`
    """
    from aitia.concepts import fit_concept
    from aitia.records import read_records

    texts = [read_records(path, reading, on_error=cut.on_error) for path in (positive, negative)]
    loaded = model.load()
    concept = fit_concept(
        loaded,
        *texts,
        name=name,
        recipe=recipe,
        sites=site,
        tokens=tokens,
        seed=seed,
        **asdict(cut),
    )
    concept.save(out)
    assert concept.separation is not None
    found = {
        "concept": str(out),
        "site": concept.site,
        "tokens": concept.tokens,
        "held_out_auc": concept.separation.auc,
        "auc_by_site": dict(concept.separation.auc_by_site),
        "effect_over_nulls": dict(concept.separation.effect_over_nulls),
        "auc_by_tokens": dict(concept.separation.auc_by_tokens),
        "skipped": concept.recipe["skipped"],
    }
    lines = [f"{name}: {concept.site}, held-out AUC {concept.separation.auc:.3f}, in {out}"]
    if concept.tokens == "response_end":
        lines.append(_read_at_the_end(concept.separation.auc_by_tokens))
    if multiples := concept.separation.effect_over_nulls:
        tried = len(concept.separation.auc_by_site)
        lines.append(
            f"AUC saturates at {len(multiples)} of {tried} sites; among these {concept.site} "
            f"has the largest effect size over null directions, {multiples[concept.site]:.1f} times theirs"
        )
    answer(found, as_json, "\n".join(lines + left_out(found["skipped"])))


def _read_at_the_end(aucs: Mapping[str, float]) -> str:
    if not aucs:
        return "Read at the last response token"
    return (
        f"Read at the last response token, which tells held-out texts apart better than the mean of the response does "
        f"(AUC {aucs['response_end']:.3f} against {aucs['response']:.3f}); `--tokens response` for the mean"
    )


@concept_app.command("show")
def concept_show(
    file: Annotated[Path, typer.Argument(help="A .concept.safetensors file.")], as_json: JsonOption = False
) -> None:
    """Show where a concept lives, how it was made, and how well it separates.

    Example: `aitia concept show evil.concept.safetensors`
    """
    from aitia.concepts import load_concept

    concept = load_concept(file)
    shown = {
        "name": concept.name,
        "site": concept.site,
        "tokens": concept.tokens,
        "directions": list(concept.direction.shape),
        "model": concept.model_name,
        "recipe": dict(concept.recipe),
        "separation": None if concept.separation is None else asdict(concept.separation),
        "controls": 0 if concept.shuffled is None else len(concept.shuffled),
    }
    answer(shown, as_json, "\n".join(f"{key}: {json.dumps(value)}" for key, value in shown.items()))
