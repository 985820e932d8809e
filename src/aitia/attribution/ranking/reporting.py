"""From a ranking to the plain data that the report room draws."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from aitia import __version__
from aitia.attribution.ranking.controls import ControlKind, left_out_text
from aitia.attribution.ranking.labelled import label_figures
from aitia.attribution.scanning.scan import ScanSettings
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers import find_scorer, is_baseline
from aitia.attribution.scorers.labels import label_values
from aitia.concepts import Concept
from aitia.errors import AitiaError
from aitia.notebook import Shaded
from aitia.records import Record, Records, TokenizedRecord, tokenize
from aitia.report import AttributionReport, Control, MethodResult, ReportRow, SliceSection, Token
from aitia.statistics import find_labelled, spearman

if TYPE_CHECKING:
    from aitia.attribution.ranking.ranking import Ranking

ROWS_SHOWN = 12
"""Rows that a report shows from each end of a ranking by default."""


def build_report(
    ranking: Ranking,
    *,
    label: str | None = None,
    shown: int = ROWS_SHOWN,
    baselines: Mapping[str, np.ndarray] | None = None,
    reproduce: str | None = None,
    slices: SliceSection | None = None,
) -> AttributionReport:
    """Gather what a report shows: scores, the top and bottom rows with their tokens, controls, provenance.

    The model runs once more over the rows shown, for the share of each token.

    Args:
        ranking: made by `rank`, or read from a file whose store and concept are found (`Ranking.with_parts`).
        label: a true-or-false column of the data to measure the methods against.
        shown: how many rows from each end.
        baselines: further scores to compare with, name -> [n].
        reproduce: text that says how to make the ranking again; default: the commands.
        slices: the section on kinds of rows.

    Returns:
        Plain data for `aitia.report`.

    Raises:
        AitiaError: the store or the concept of a ranking from a file is not found, or the label column is not
            true-or-false.
        StoreError: model or data are not those that were scanned any more.
    """
    ranking = ranking.with_parts()
    store, concept = ranking.store, ranking.concept
    assert store is not None
    assert concept is not None
    records = store.load_records()
    labels = None if label is None else label_values(records, label, ranking.ids)
    return AttributionReport(
        title=f"What raised “{concept.name}”?",
        question=f"Which training rows raise “{concept.name}” at {concept.site}, by {ranking.method}?",
        facts=_facts(ranking, store, concept),
        method=ranking.method,
        method_description=find_scorer(ranking.method).description,
        row_numbers=ranking.rows,
        scores=ranking.score,
        response_tokens=ranking.response_tokens,
        methods=_method_results(ranking, labels, baselines or {}),
        controls=_controls(ranking, labels),
        top=_report_rows(ranking, store, records, ranking.order[:shown]),
        bottom=_report_rows(ranking, store, records, ranking.order[::-1][:shown]),
        label=label,
        labels=labels,
        label_figures=None if labels is None else label_figures(ranking, labels, records),
        skipped=[(str(place), str(reason)) for place, reason in store.manifest["data"]["skipped"]],
        warnings=_warnings(ranking, concept),
        reproduce=reproduce or reproduce_commands(ranking),
        slices=slices,
    )


def shaded_completions(ranking: Ranking, positions: np.ndarray) -> dict[str, Shaded]:
    """Rows' completions with a colour behind each token: orange where it raises the concept, blue where it lowers it.

    Only where that takes a pass of a model that is loaded already over each row, and no pass over queries.

    Args:
        ranking: made by `rank`.
        positions: of rows in the data.

    Returns:
        Id -> completion; the largest share of all of them has the strongest colour. Empty where it would cost more.
    """
    store = ranking.store
    if store is None or ranking.token_shares is None or ranking.lacking is not None or store.model is None:
        return {}
    needs = find_scorer(ranking.method).needs()
    if needs.queries or needs.run:
        return {}
    try:
        rows = _report_rows(ranking, store, store.load_records(), positions)
    except AitiaError:  # a notebook shows what it can; a report says what is wrong
        return {}
    largest = max((abs(token.share) for row in rows for token in row.tokens), default=0.0) or 1.0
    return {
        row.id: Shaded([(token.text, token.share / largest) for token in row.tokens if token.response])
        for row in rows
    }


def reproduce_commands(ranking: Ranking) -> str:
    """The commands that make a ranking again."""
    came = ranking.provenance
    model, settings, data, concept = came["model"], came["settings"], came["data"], came["concept"]
    lines = [f"aitia scan --model {json.dumps(model['name'])} \\"]
    if model["adapter"]:
        lines.append(f"  --adapter {json.dumps(model['adapter'])} \\")
    lines += [f"  --data {json.dumps(data['source'])} \\", f"  --out {json.dumps(came['store'])} \\"]
    lines += [f"  --site {site} \\" for site in settings["sites"]]
    lines += [f"  --activation {activation} \\" for activation in settings["activations"]]
    usual = asdict(ScanSettings(sites=()))
    for name in ("max_length", "max_batch_tokens", "seed"):
        if settings[name] != usual[name]:
            lines.append(f"  --{name.replace('_', '-')} {settings[name]} \\")
    lines += ["  --truncate \\"] * settings["truncate"]
    lines += [f"  --dtype {model['dtype']} \\"] if model.get("dtype") else []
    said = data.get("reading", {}) | data.get("loss", {})
    lines += [f"  --{name.replace('_', '-')} {value} \\" for name, value in said.items()]
    lines += ["  --on-error skip \\"] if data.get("skipped") else []
    lines[-1] = lines[-1].removesuffix(" \\")
    lines.append(f"aitia rank --store {json.dumps(came['store'])} --method {ranking.method} \\")
    lines.append("  --concept FILE.concept.safetensors --out ranking.parquet --report report.html")
    about = {
        "concept": concept,
        "store settings": settings,
        "data": data,
        "model": model,
        "aitia": __version__,
    }
    return (
        "\n".join(lines) + "\n\n" + "\n".join(f"# {key}: {json.dumps(value)}" for key, value in about.items())
    )


def _facts(ranking: Ranking, store: ActivationStore, concept: Concept) -> list[tuple[str, str]]:
    model, data = store.manifest["model"], store.manifest["data"]
    facts = [
        ("Model", model["name"]),
        ("Adapter", model["adapter"] or "none"),
        ("Training data", data["source"] or "in memory"),
        ("Rows", f"{len(ranking):,}" + (f" ({len(data['skipped'])} left out)" if data["skipped"] else "")),
        ("Concept", concept.name),
        ("Recipe", str(concept.recipe.get("recipe", "given"))),
        ("Site", concept.site),
    ]
    if concept.separation is not None:
        separation = concept.separation
        facts.append(
            (
                "Held-out AUC",
                f"{separation.auc:.3f} ({separation.positives} positive, {separation.negatives} negative texts; "
                f"effect size {separation.effect_size:.2f})",
            )
        )
    return [
        *facts,
        *([] if store.loss.plain else [("Loss of a row", str(store.loss))]),
        ("Method", ranking.method),
        ("Model fingerprint", model["fingerprint"][:16]),
        ("Data fingerprint", data["fingerprint"][:16]),
        ("Concept fingerprint", concept.fingerprint[:16]),
        ("Made", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, aitia {__version__}"),
    ]


def _method_results(
    ranking: Ranking, labels: np.ndarray | None, baselines: Mapping[str, np.ndarray]
) -> list[MethodResult]:
    results = []
    for name, scores in [*ranking.scores.items(), *baselines.items()]:
        found = {} if labels is None else find_labelled(scores, labels)
        results.append(
            MethodResult(
                name=name,
                scores=scores,
                baseline=name in baselines or is_baseline(name),
                auc=found.get("auc"),
                precision_at_k=found.get("precision_at_k"),
                seconds=ranking.seconds.get(name),
            )
        )
    return results


def _controls(ranking: Ranking, labels: np.ndarray | None) -> list[Control]:
    return [
        Control(
            name=control.name,
            scores_std=float(control.scores.std()),
            spearman=spearman(control.scores, ranking.score),
            auc=None if labels is None else find_labelled(control.scores, labels)["auc"],
        )
        for control in ranking.controls
    ]


def _report_rows(
    ranking: Ranking, store: ActivationStore, records: Records, positions: np.ndarray
) -> list[ReportRow]:
    if not len(positions):
        return []
    chosen = [str(ranking.ids[position]) for position in positions]
    by_id = {record.id: record for record in records.only(chosen)}
    model, settings = store.load_model(), store.manifest["settings"]
    tokenized = tokenize(
        records.only(chosen),
        model.tokenizer,
        max_length=settings["max_length"] or model.context_length,
        truncate=settings["truncate"],
        today=store.today,
        loss=store.loss,
    )
    shown = {}
    assert ranking.token_shares is not None
    for row in tokenized:
        shares = ranking.token_shares(row)
        shown[row.id] = _tokens(row, np.zeros(len(row.tokens)) if shares is None else shares, model.tokenizer)
    return [
        _report_row(
            by_id[name],
            shown[name],
            int(ranking.ranks[position]),
            float(ranking.score[position]),
            {side: float(part[position]) for side, part in ranking.sides.items()},
        )
        for name, position in zip(chosen, positions, strict=True)
    ]


def _report_row(
    record: Record, tokens: tuple[Token, ...], rank: int, score: float, sides: Mapping[str, float]
) -> ReportRow:
    more: dict[str, object] = {f"score of the {side} answer": f"{part:.4g}" for side, part in sides.items()}
    if record.rejected is not None:
        said = record.rejected
        more["rejected"] = said if isinstance(said, str) else "\n".join(turn.said for turn in said)
    return ReportRow(
        id=record.id,
        row=record.row,
        location=record.location,
        rank=rank,
        score=score,
        prompt=record.prompt_text,
        completion=record.completion_text,
        tokens=tokens,
        extra={**record.extra, **more},
    )


def _tokens(row: TokenizedRecord, shares: np.ndarray, tokenizer: object) -> tuple[Token, ...]:
    """Tokens as text. A character split over several tokens is shown once, with the sum of their shares."""
    tokens, pending, share = [], [], 0.0
    for position, (token, part) in enumerate(zip(row.tokens, shares, strict=True)):
        pending.append(int(token))
        share += float(part)
        text = tokenizer.decode(pending)  # type: ignore[attr-defined]
        last = position + 1 == len(row.tokens) or row.response[position + 1] != row.response[position]
        if not text.endswith("\N{REPLACEMENT CHARACTER}") or last or len(pending) == 4:
            tokens.append(Token(text=text, share=share, response=bool(row.response[position])))
            pending, share = [], 0.0
    while tokens and not tokens[-1].response and not tokens[-1].text.strip():
        tokens.pop()  # the line break that a template puts after the last turn
    return tuple(tokens)


def _warnings(ranking: Ranking, concept: Concept) -> list[str]:
    found = []
    separation = concept.separation
    if separation is not None and separation.auc < 0.8:
        found.append(
            f"The concept separates held-out texts only with AUC {separation.auc:.2f}: "
            "what is ranked may be something else. Try more texts, another recipe or other sites."
        )
    found += ranking.warnings
    if ranking.lacking is not None:
        found.append(
            f"The ranking was read from its file. Shares of tokens and controls are not shown: {ranking.lacking}."
        )
    left_out = left_out_text(ranking.provenance.get("controls", {}))
    if left_out is not None:
        found.append(left_out)
    spread = float(ranking.score.std())
    # Matched directions lie where the rows vary most, and spread them far whatever the concept is.
    others = [control for control in ranking.controls if control.kind is not ControlKind.MATCHED]
    louder = [control.name for control in others if float(control.scores.std()) >= spread]
    if others and len(louder) > len(others) / 10:
        found.append(
            f"{len(louder)} of {len(others)} directions without meaning (shuffled labels, isotropic) spread the rows "
            "at least as far apart as the concept does: read the ranking together with the controls below."
        )
    return found
