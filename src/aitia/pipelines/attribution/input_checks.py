"""What `aitia attribute` refuses before a model is loaded."""

from __future__ import annotations

from pathlib import Path

from aitia.attribution.scorers import find_scorer, label_values, scorer_names
from aitia.concepts import fitted_texts, load_concept, load_sae
from aitia.errors import AitiaError, ConceptError
from aitia.files import require_apart, require_place
from aitia.pipelines.attribution.configuration import AttributeConfiguration, ConceptPart, RankPart
from aitia.records import ReadingSettings, Records, read_records
from aitia.records.losses import LossSettings, require_answers
from aitia.training import read_run


def curated_places(configuration: AttributeConfiguration, data: Records) -> dict[str, Path]:
    """Where the parts of the data go, `curated` and `removed`."""
    return {name: configuration.out / f"{name}{data.ending}" for name in ("curated", "removed")}


def check_input(configuration: AttributeConfiguration, data: Records) -> None:
    """Refuse a configuration whose parts do not fit together, before the model runs.

    Raises:
        AitiaError: a place that cannot be written, a method that lacks what it needs, or files that cannot be read.
    """
    require_apart(
        {f"out/{path.name}": path for path in curated_places(configuration, data).values()},
        {what.replace("the data", "data.path"): path for what, path in data.files.items()},
    )
    require_place(configuration.out, folder=True)
    for key, name in (
        ("method", configuration.rank.method),
        *(("compare", name) for name in configuration.rank.compare),
    ):
        if name not in scorer_names():
            raise AitiaError(f"rank.{key}: {name!r} is not one of {', '.join(scorer_names())}")
        _require_needs(configuration, key, name)
    if configuration.data.label is not None:
        label_values(data, configuration.data.label, data.ids)
    slices = configuration.slices
    loss = configuration.data.take(LossSettings)
    if slices is not None and not loss.plain:
        raise AitiaError(
            f"slices: kinds of rows are found for rows of supervised fine-tuning without weights, and data.loss is "
            f"{loss}; leave slices out"
        )
    if slices is not None:
        for column in (*slices.columns, *([slices.strata] if slices.strata else [])):
            data.column(column)
        if slices.sae is not None:
            load_sae(slices.sae, site=slices.site)
    part = configuration.concept
    if part.file is not None:
        load_concept(part.file)
    else:
        assert part.positive is not None
        assert part.negative is not None
        for texts in (part.positive, part.negative):
            _require_texts(texts, part)


def _require_texts(path: Path, part: ConceptPart | RankPart) -> None:
    """Refuse texts that cannot be read, or are no single answers."""
    require_answers(read_records(path, part.take(ReadingSettings), on_error=part.on_error), part.on_error)


def _require_needs(configuration: AttributeConfiguration, key: str, name: str) -> None:
    """Refuse a scorer that is not given what it needs, before the model runs."""
    needs, settings = find_scorer(name).needs(), configuration.rank
    loss = configuration.data.take(LossSettings)
    if not loss.plain and not find_scorer(name).any_loss:
        raise AitiaError(
            f"rank.{key} {name} does not read the gradient of a row's loss, and data.loss is {loss}: it would take "
            "the rows for rows of supervised fine-tuning; choose activation-gradient, or a method that takes gradients "
            "with respect to the weights"
        )
    if needs.adapter and configuration.model.adapter is None:
        raise AitiaError(
            f"rank.{key} {name} compares the model with the same model without its adapter, and model.adapter is not "
            "given; give it, or leave the method out"
        )
    if needs.queries:
        if settings.queries is None:
            raise AitiaError("rank.queries: the influence methods need texts that show the behaviour")
        _require_texts(settings.queries, settings)
    if needs.run:
        if settings.run is None:
            raise AitiaError(
                f"rank.run: {name} goes through the training run; give the folder that `aitia train` recorded it in"
            )
        read_run(settings.run)
    kept = {"response", "prompt_end", *configuration.scan.activations}
    missing = [activation for activation in needs.activations if activation not in kept]
    if missing:
        raise AitiaError(f"rank.{key} {name} needs {', '.join(missing)} in scan.activations")
    if needs.labels and configuration.data.label is None:
        raise AitiaError(f"rank.{key} {name} needs data.label")
    file = configuration.concept.file
    if needs.texts and file is not None:
        try:
            fitted_texts(load_concept(file))
        except ConceptError as error:
            raise AitiaError(
                f"rank.{key} {name} compares rows with the concept's texts: {error}; give concept.positive and "
                "concept.negative instead of concept.file"
            ) from error
