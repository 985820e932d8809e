"""What `aitia attribute` will take, counted from its configuration before a weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import process_time

from aitia.attribution import ControlKind
from aitia.attribution.gradients import (
    CurvatureSettings,
    Data,
    InfluencePass,
    Machine,
    ModelShape,
    RunPlan,
    curvature_layers,
    curvature_step,
    factor_bytes,
    influence_step,
    plan_curvature,
    rank_step,
    scan_step,
)
from aitia.attribution.influence import directions_that_fit
from aitia.attribution.ranking import controls_kept
from aitia.attribution.scorers import activation_scorers, find_scorer, naming_package
from aitia.concepts import SHUFFLES, load_concept
from aitia.models import LanguageModel, in_tokens, load_outline, site_layer
from aitia.pipelines.attribution.configuration import AttributeConfiguration
from aitia.pipelines.attribution.curvature import curvature_settings, shares_factors
from aitia.records import read_records

_PROBE = 768


def plan_attribute(
    configuration: AttributeConfiguration,
    *,
    machine: Machine | None = None,
    workers: int = 0,
    rows: int = 0,
) -> RunPlan:
    """Count what a configuration will take. The data are read and cut into tokens; the model's weights are not.

    Args:
        configuration: of `aitia attribute`.
        machine: of each worker; default: this one, by multiplying matrices for a moment.
        workers: how many; 0 for what the configuration says, or one.
        rows: plan for so many rows like these; 0 for as many as there are.

    Raises:
        RecordError, ModelError: data or model cannot be read.
    """
    part = configuration.model
    outline = load_outline(part.name, adapter=part.adapter, dtype=part.dtype)
    records = read_records(configuration.data.path, on_error=configuration.data.on_error)
    tokenized = in_tokens(outline, records, **configuration.data.cutting)
    here = Data(
        rows=len(tokenized),
        tokens=sum(len(row.tokens) for row in tokenized),
        response_tokens=sum(int(row.response.sum()) for row in tokenized),
        max_batch_tokens=configuration.scan.max_batch_tokens,
    )
    data = here
    if rows:
        grown = rows / here.rows
        data = replace(
            here,
            rows=rows,
            tokens=round(here.tokens * grown),
            response_tokens=round(here.response_tokens * grown),
        )
    shape = shape_of(outline)
    concept = configuration.concept
    loaded = load_concept(concept.file) if concept.file is not None else None
    site = None if loaded is None else loaded.site
    if site is None and len(concept.sites) == 1:
        site = concept.sites[0]
    # Where the site is still to be found, the middle is assumed.
    block = outline.layers // 2 if site is None else site_layer(site, outline.layers)
    settings = configuration.rank
    scanned = scan_step(
        shape, data, lowest=block, highest=block, sites=1, activations=configuration.scan.activations
    )
    steps = [scanned]
    where = site or f"resid_post.{block}"
    methods = tuple(dict.fromkeys((settings.method, *settings.compare)))
    chosen = curvature_settings(settings.curvature, methods, where, settings.seed)
    if chosen is not None:
        grown, fitted_rows = data.rows / here.rows, min(chosen.rows or data.rows, data.rows)
        kept_bytes = factor_bytes(tokenized, curvature_layers(outline, chosen)) * grown
        cached = (
            shares_factors(settings.curvature, chosen)
            and fitted_rows == data.rows
            and kept_bytes <= settings.curvature.cache_gigabytes * 1e9
        )
        fitted = plan_curvature(outline, tokenized, chosen, cached=cached)
        more = fitted_rows / fitted.rows
        fitted = replace(
            fitted,
            rows=fitted_rows,
            tokens=round(fitted.tokens * more),
            operations=round(fitted.operations * more),
        )
        if settings.curvature.file is None:
            steps.append(curvature_step(shape, data, fitted))
        shuffled = SHUFFLES if loaded is None or loaded.shuffled is None else len(loaded.shuffled)
        controls = {ControlKind.RANDOM: settings.random_controls, ControlKind.SHUFFLED: shuffled}
        passes = _influence_passes(outline, chosen, where, methods, controls)
        steps.append(influence_step(shape, data, passes, cached=cached))
    scored = len({*methods, *activation_scorers()})
    steps.append(rank_step(shape, data, methods=scored, controls=settings.random_controls))
    count = workers or configuration.engine.workers or 1
    return RunPlan(shape=shape, data=data, steps=steps, machine=machine or measure_machine(), workers=count)


def _influence_passes(
    outline: LanguageModel,
    curvature: CurvatureSettings,
    site: str,
    methods: Sequence[str],
    controls: Mapping[ControlKind, int],
) -> list[InfluencePass]:
    """A pass for each method that makes one, and after the first method's, which decides the order, its controls'."""
    found = []
    for name in methods:
        scorer = find_scorer(name)
        with naming_package(name):
            once = scorer.cost_of(outline, site, curvature)
        if once is None:
            continue
        found.append(once)
        if scorer.through_concept and name == methods[0]:
            room = directions_that_fit(once.weights)
            kept, at_once = sum(controls_kept(controls, room).values()), max(room, 1)
            found += [replace(once, directions=min(at_once, kept - done)) for done in range(0, kept, at_once)]
    return found


def shape_of(model: LanguageModel) -> ModelShape:
    """What counts about a model, with its weights or without."""
    inside = sum(parameter.numel() for parameter in model.blocks.parameters())
    every = sum(parameter.numel() for parameter in model.network.parameters())
    return ModelShape(
        parameters=inside,
        outside=every - inside,
        layers=model.layers,
        width=model.width,
        vocabulary=int(model.config.vocab_size),
        bytes_per_parameter=next(iter(model.blocks.parameters())).element_size(),
    )


def measure_machine(price: float | None = None) -> Machine:
    """This machine's speed, from a product of matrices; a model reaches about half of it on a processor.

    Processor time counts, over all threads, so that other programs do not disturb the figure.
    """
    import torch

    cuda = torch.cuda.is_available()
    size = 8 * _PROBE if cuda else _PROBE
    place = torch.device("cuda" if cuda else "cpu")
    matrix = torch.randn(size, size, device=place)
    _ = matrix @ matrix
    seconds = float("inf")
    for _ in range(3):
        start = process_time()
        if cuda:
            torch.cuda.synchronize()
        _ = matrix @ matrix
        if cuda:
            torch.cuda.synchronize()
        seconds = min(seconds, max(process_time() - start, 1e-6))
    threads = 1 if cuda else torch.get_num_threads()
    return Machine(
        multiply_adds=0.5 * size**3 / seconds * threads, call_seconds=1e-4, row_seconds=1e-4, price=price
    )
