"""From an attribution report to the document of its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from aitia.report.contents import AttributionReport, ReportSlice, SliceSection, check_report
from aitia.report.document import (
    Document,
    Facts,
    Group,
    Listing,
    Paragraph,
    Part,
    ReportRow,
    Rows,
    Section,
    Span,
    Table,
)
from aitia.report.figures import AgreementFigure, PlotlyFigure
from aitia.report.score_plots import SCATTER_LIMIT, histogram, scatter
from aitia.report.text import cut, fixed, signed
from aitia.statistics import spearman, spearman_matrix

LENGTH_CONFOUND = 0.3
"""|Spearman| between score and response length above which the report warns."""

_SKIPPED_LIMIT, _SKIPPED_OPEN = 200, 10


def attribution_document(report: AttributionReport) -> Document:
    """The page on "which training rows caused this behaviour?"; the same report gives the same document.

    Args:
        report: what to show.

    Returns:
        The document.

    Raises:
        AitiaError: there are no rows, or the arrays have different lengths.
        NumericalError: a score is not finite; the message names the row.
    """
    check_report(report)
    scores = np.asarray(report.scores, dtype=float)
    labels = None if report.labels is None else np.asarray(report.labels, dtype=bool)
    lengths = np.asarray(report.response_tokens, dtype=int)
    row_numbers = np.asarray(report.row_numbers, dtype=int)
    sections = [
        *_labelled(report),
        _reading(report, scores),
        _distribution(report, scores, labels),
        *_shown_rows(report, scores, labels, row_numbers),
        *([] if report.slices is None else [slices_section(report.slices)]),
        _length(scores, lengths, row_numbers, labels),
        *_methods(report),
        *_controls(report, float(scores.std())),
        *_skipped(report.skipped),
    ]
    return Document(
        title=report.title,
        question=report.question,
        facts=report.facts,
        sections=sections,
        warnings=report.warnings,
        reproduce=report.reproduce,
    )


def _labelled(report: AttributionReport) -> Iterable[Section]:
    """What the scores add at finding the labelled rows: first on the page, since an AUC alone says too much."""
    found = report.label_figures
    if found is None:
        return
    parts: list[Part] = [Facts(facts=found.facts(), numbers=True), Paragraph(text=found.said_of_gain())]
    if found.nulls:
        parts.append(Paragraph(text=found.said_of_nulls(), look="note"))
    text = ("How well the scores find the rows where ", _label(report), " is true, with 95 % intervals.")
    yield Section(key="labelled", title="What the ranking adds", short="Gain", text=text, parts=parts)


def _reading(report: AttributionReport, scores: np.ndarray) -> Section:
    text = (
        "Each training row has a score. A ",
        Span("positive", "raises"),
        " score says that training on the row raises the concept, a ",
        Span("negative", "lowers"),
        " one that it lowers it; rank 1 is the row that raises it most. The unit is that of the method’s formula: "
        "compare scores within this report, not across methods, models or concepts, and read sizes against the "
        f"standard deviation of all scores, which is {_size(scores.std())} here. A token’s share is its part of the "
        "row’s score, in the same unit. A score is an estimate of what training on the row did; removing rows and "
        "training again is the test.",
    )
    about = Paragraph(text=(Span(f"{report.method}."), f" {report.method_description}"))
    return Section(key="reading", title="How to read this", short="Reading", text=text, parts=[about])


def _distribution(report: AttributionReport, scores: np.ndarray, labels: np.ndarray | None) -> Section:
    parts: list[Part] = [
        PlotlyFigure(key="histogram", plot=histogram(scores, labels)),
        Facts(facts=_summary(scores, labels), numbers=True),
    ]
    if labels is not None:
        text = (
            "Labelled rows: those where ",
            _label(report),
            " is true. Each slice’s bars sum to 100 %.",
        )
        parts.append(Paragraph(text=text, look="note"))
    return Section(
        key="distribution", title="Distribution of scores", short="Distribution", parts=[Group(parts=parts)]
    )


def _summary(scores: np.ndarray, labels: np.ndarray | None) -> list[tuple[str, str]]:
    rows = [
        ("rows", f"{len(scores):,}"),
        ("positive", f"{(scores > 0).mean():.0%}"),
        ("mean", signed(float(scores.mean()))),
        ("standard deviation", _size(scores.std())),
        ("lowest", signed(float(scores.min()))),
        ("highest", signed(float(scores.max()))),
    ]
    if labels is not None:
        rows.append(("labelled rows", f"{labels.sum():,}"))
        for name, members in [("mean of labelled", labels), ("mean of others", ~labels)]:
            rows.append((name, signed(float(scores[members].mean()) if members.any() else None)))
    return rows


def _shown_rows(
    report: AttributionReport, scores: np.ndarray, labels: np.ndarray | None, row_numbers: np.ndarray
) -> Iterable[Section]:
    """The rows from both ends; both in the same colours."""
    labelled = set() if labels is None else set(row_numbers[labels].tolist())
    shares = [abs(t.share) for row in (*report.top, *report.bottom) for t in row.tokens if t.response]
    for key, title, short, rows in (
        ("top", "Top rows: they raise the concept most", "Top rows", report.top),
        ("bottom", "Bottom rows: the lowest scores", "Bottom rows", report.bottom),
    ):
        if rows:
            part = Rows(
                rows=[_plain_row(row) for row in rows],
                key=key,
                scale=float(np.percentile(shares, 98)) if shares else 0.0,
                largest=float(np.abs(scores).max()),
                mean=float(scores.mean()),
                deviation=float(scores.std()),
                labelled=[row.row for row in rows if row.row in labelled],
                label=report.label or "",
            )
            yield Section(key=key, title=title, short=short, parts=[part])


def _plain_row(row: ReportRow) -> ReportRow:
    """The row with its other columns as text, whatever they hold."""
    return replace(row, extra={str(name): str(value) for name, value in row.extra.items()})


def slices_section(kinds: SliceSection) -> Section:
    """The section on kinds of rows: a table of them, and each with its rows."""
    held = (
        f" divides it by how far z wanders for this kind under {kinds.controls} null directions, and only a kind that "
        "stands out in both ways counts."
    )
    text = (
        "A kind is the rows on which a feature of a sparse autoencoder fires: ",
        Span(cut(kinds.sae, 200), "name"),
        f"; a row belongs to it where the feature’s {cut(kinds.pooling, 20)} over the response tokens exceeds "
        f"{kinds.threshold}. Its ",
        Span("sum"),
        " is what the kind adds to the concept, to first order; ",
        Span("z"),
        " is that sum in standard deviations from as many rows drawn at random",
        *(
            ("; ", Span("÷ null"), held)
            if kinds.controls
            else (". There were no control directions: a kind may stand out for its content alone.",)
        ),
    )
    untested = ", ".join(
        f"{count:,} {'feature' if count == 1 else 'features'} ({cut(reason, 120)})"
        for reason, count in kinds.untested
    )
    found = (
        Span(str(kinds.found), key="slices-found"),
        f" of {kinds.tested} tested kinds are found at a false-discovery rate of {kinds.false_discovery_rate}."
        + (f" Not testable: {untested}." if untested else ""),
    )
    parts: list[Part] = [Paragraph(text=found, look="note")]
    if kinds.slices:
        rows = [
            (
                str(each.feature),
                _about(each),
                f"{each.size:,}",
                _coloured(each.total),
                signed(each.mean),
                fixed(each.z, 1),
                fixed(each.z / each.inflation_factor, 1),
                f"{each.p_adjusted:.2g}",
            )
            for each in kinds.slices
        ]
        header = ("Feature", "About", "Rows", "Sum", "Mean", "z", "÷ null", "Adjusted p")
        stressed = [i for i, each in enumerate(kinds.slices) if each.found]
        parts += [
            Table(header=header, rows=rows, prose=(1,), stressed=stressed),
            *(_slice(each) for each in kinds.slices),
        ]
    return Section(key="slices", title="Kinds of rows", text=text, parts=parts)


def _about(each: ReportSlice) -> str:
    return cut(each.label or ", ".join(each.terms), 160)


def _slice(each: ReportSlice) -> Group:
    parts: list[Part] = []
    if each.label and each.terms:
        parts.append(Paragraph(text=f"Terms: {cut(', '.join(each.terms), 300)}", look="note"))
    rows = [(Span(id, "name"), location, _coloured(score)) for id, location, score in each.members]
    hidden = each.size > len(each.members)
    parts += [
        Paragraph(text="Where it fires most:", look="note"),
        Listing(items=[(span.before, Span(cut(span.peak, 60), "mark"), span.after) for span in each.spans]),
        Table(
            header=("Row", "Where", "Score"),
            rows=rows,
            prose=(1,),
            note=f"{len(rows)} of {each.size:,} rows, those with the largest scores." if hidden else "",
        ),
    ]
    title = (f"Feature {each.feature}: ", Span(_about(each), "name"))
    return Group(title=(*title, " ", Span("found", "tag")) if each.found else title, folds=True, parts=parts)


def _length(
    scores: np.ndarray, lengths: np.ndarray, row_numbers: np.ndarray, labels: np.ndarray | None
) -> Section:
    rho = spearman(scores, lengths)
    sampled = (
        f"A random sample of {SCATTER_LIMIT:,} of the {len(scores):,} rows is drawn (fixed seed); the correlation is "
        "over all rows."
    )
    figure = PlotlyFigure(
        key="scatter",
        plot=scatter(scores, lengths, row_numbers, labels),
        note=sampled if len(scores) > SCATTER_LIMIT else "",
    )
    confounds = abs(rho) > LENGTH_CONFOUND
    if confounds:
        said = (
            f". Above {LENGTH_CONFOUND} in size: length is a confound here. Part of the ranking may only say which "
            f"rows are {'long' if rho > 0 else 'short'}."
        )
    elif np.isfinite(rho):
        said = f". At most {LENGTH_CONFOUND} in size: length explains little of this ranking."
    else:
        said = " (scores or lengths are all the same)."
    text = (
        "Spearman correlation of score and response length: ",
        Span(fixed(rho), key="length-spearman"),
        said,
    )
    return Section(
        key="length",
        title="Score against response length",
        short="Length",
        parts=[figure, Paragraph(text=text, look="warning" if confounds else "note")],
    )


def _methods(report: AttributionReport) -> Iterable[Section]:
    methods = report.methods
    columns = [
        (head, [getattr(each, name) for each in methods], decimals)
        for name, head, decimals in (
            ("auc", "AUC", 3),
            ("precision_at_k", "Precision@k", 3),
            ("seconds", "Seconds", 1),
        )
    ]
    columns = [column for column in columns if any(value is not None for value in column[1])]
    if len(methods) > 1 or columns:
        rows = [
            (
                (
                    Span(cut(each.name, 120), "name"),
                    *((" ", Span("baseline", "tag")) if each.baseline else ()),
                ),
                *(fixed(values[i], decimals) for _, values, decimals in columns),
            )
            for i, each in enumerate(methods)
        ]
        table = Table(
            header=("Method", *(head for head, _, _ in columns)),
            rows=rows,
            stressed=[i for i, each in enumerate(methods) if each.name == report.method],
        )
        parts: list[Part] = [table]
        if {"AUC", "Precision@k"} & {head for head, _, _ in columns}:
            text = (
                "Measured at finding the rows where ",
                _label(report),
                " is true. AUC: the chance that such a row scores above another (0.5 is guessing). Precision@k: the "
                "share of such rows among the k highest, k being their number.",
            )
            parts.append(Paragraph(text=text, look="note"))
        if strong := _strong_baselines(report):
            text = f"A baseline does at least as well as the chosen method: {', '.join(strong)}."
            parts.append(Paragraph(text=text, look="warning"))
        yield Section(key="methods", title="Methods", parts=parts)
    if len(methods) > 1:
        figure = AgreementFigure(
            title="",
            labels=[each.name for each in methods],
            values=spearman_matrix([each.scores for each in methods]).tolist(),
            note="Spearman’s rank correlation over all rows: 1 is the same order, 0 no relation, −1 the opposite one.",
        )
        yield Section(
            key="agreement", title="Rank agreement of the methods", short="Agreement", parts=[figure]
        )


def _strong_baselines(report: AttributionReport) -> list[str]:
    """Baselines that find the labelled rows at least as well as the primary method."""
    primary = next((each.auc for each in report.methods if each.name == report.method), None)
    if primary is None:
        return []
    return [
        f"{cut(each.name, 120)} ({fixed(each.auc, 3)})"
        for each in report.methods
        if each.baseline and each.auc is not None and each.auc >= primary
    ]


def _controls(report: AttributionReport, spread: float) -> Iterable[Section]:
    if not report.controls:
        return
    aucs = any(each.auc is not None for each in report.controls)
    text = (
        "A control ranks the same rows by something that should not matter; the closer its correlation with the "
        f"real ranking is to 0{' and its AUC to 0.5' if aucs else ''}, the more the real ranking is about the concept "
        "itself."
    )
    rows = [
        (
            each.name,
            _size(each.scores_std),
            f"{fixed(each.scores_std / spread)} ×" if spread else "–",
            fixed(each.spearman),
            *([fixed(each.auc, 3)] if aucs else []),
        )
        for each in report.controls
    ]
    header = ("Control", "Spread (sd)", "÷ real spread", "Spearman with real", *(["AUC"] if aucs else []))
    yield Section(key="controls", title="Controls", text=text, parts=[Table(header=header, rows=rows)])


def _skipped(skipped: Sequence[tuple[str, str]]) -> Iterable[Section]:
    if not skipped:
        return
    note = f"The first {_SKIPPED_LIMIT} are shown." if len(skipped) > _SKIPPED_LIMIT else ""
    table = Table(header=(), rows=[*skipped[:_SKIPPED_LIMIT]], prose=(1,), note=note)
    group = Group(
        title="Rows that have no score, and why",
        folds=True,
        opened=len(skipped) <= _SKIPPED_OPEN,
        parts=[table],
    )
    title = f"Skipped rows ({len(skipped):,})"
    yield Section(key="skipped", title=title, short="Skipped rows", parts=[group])


def _label(report: AttributionReport) -> Span:
    return Span(cut(report.label or "the label", 200), "name")


def _coloured(number: float) -> Span:
    return Span(signed(number), "raises" if number >= 0 else "lowers")


def _size(number: float) -> str:
    return signed(float(number)).removeprefix("+")
