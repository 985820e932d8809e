"""Which kinds of rows raise a concept: from a store, a concept and a sparse autoencoder to a table and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import (
    ActivationStore,
    Ranking,
    Slice,
    SliceInfluence,
    SliceSettings,
    rank,
    slice_influence,
)
from aitia.attribution.ranking import MATCHED, null_directions
from aitia.attribution.scorers import DEFAULT_METHOD, find_scorer, naming_package
from aitia.attribution.slices import SMALLEST_CONTROLS, Enrichment, FeatureLabel, enrichments, label_features
from aitia.concepts import (
    DEFAULT_POOLING,
    Concept,
    SparseAutoencoder,
    feature_matrix,
    require_sae_fits,
)
from aitia.engine import note
from aitia.errors import AitiaError, reason_of
from aitia.files import read_json, write_json
from aitia.records import RowIds
from aitia.report import ReportSlice, ReportSpan, SliceSection

FORMAT = "aitia-slices-v1"
CONTROLS, FEWEST_CONTROLS, COSTLY_CONTROLS = 2048, 256, 64
"""Meaningless directions by default: where each is a matrix product (fewer of many rows, so that their scores fit into
`CONTROL_NUMBERS`), and where each is a gradient over queries."""
CONTROL_NUMBERS = 2**28
CONTROLS_HELP = (
    f"Meaningless directions that slices are held against; at least {SMALLEST_CONTROLS}. Default: {CONTROLS:,} (fewer, "
    f"down to {FEWEST_CONTROLS}, where there are many rows), or {COSTLY_CONTROLS} for methods with queries."
)
SLICES_SHOWN = 10
"""Slices from either end that are labelled by default, beside those found."""
Labeller = Callable[[Sequence[FeatureLabel]], Sequence[str]]
"""Puts features into words, from their spans and terms."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SlicesResult:
    """Slices of rows with their influence, labels and enrichment.

    Attributes:
        ranking: of the rows, with its controls.
        influence: of the slices.
        labels: feature -> label, for the slices that are shown.
        enrichments: of the found slices, by column.
        sae: name, fingerprint and number of features of the autoencoder.
    """

    ranking: Ranking
    influence: SliceInfluence
    labels: Mapping[int, FeatureLabel]
    enrichments: Mapping[str, Sequence[Enrichment]]
    sae: Mapping[str, Any]

    def shown(self) -> list[Slice]:
        """The labelled slices, the strongest raising one first."""
        return [slice_ for slice_ in self.influence.tested if slice_.feature in self.labels]

    def to_json(self) -> dict[str, Any]:
        """Everything, in plain data."""
        influence, came = self.influence, self.ranking.provenance
        return {
            "format": FORMAT,
            "concept": came.get("concept"),
            "data": came.get("data"),
            "method": self.ranking.method,
            "sae": dict(self.sae),
            "pooling": influence.pooling,
            "settings": asdict(influence.settings),
            "controls": influence.controls,
            "rows": influence.rows,
            "contents": dict(zip(self.ranking.ids.tolist(), self.ranking.contents.tolist(), strict=True)),
            "queries_skipped": came.get("queries_skipped", []),
            "tested": len(influence.tested),
            "found": [slice_.feature for slice_ in influence.found],
            "slices": [self._slice(slice_) for slice_ in influence.tested],
            "not_testable": [
                {"feature": slice_.feature, "size": slice_.size, "reason": slice_.not_testable}
                for slice_ in influence.untested
            ],
            "enrichments": {
                name: [asdict(each) for each in found] for name, found in self.enrichments.items()
            },
        }

    def write(self, path: Path | str) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        return write_json(path, self.to_json())

    def section(self, *, members: int = 5) -> SliceSection:
        """What a report shows of it."""
        influence, scores = self.influence, self.ranking.score
        found = {slice_.feature for slice_ in influence.found}
        slices = []
        for slice_ in self.shown():
            label = self.labels[slice_.feature]
            best = slice_.members[np.argsort(-np.abs(scores[slice_.members]), kind="stable")[:members]]
            slices.append(
                ReportSlice(
                    feature=slice_.feature,
                    label=label.label,
                    terms=label.terms,
                    spans=tuple(
                        ReportSpan(before=span.before, peak=span.peak, after=span.after)
                        for span in label.spans
                    ),
                    size=slice_.size,
                    total=slice_.total,
                    mean=slice_.mean,
                    z=slice_.z or 0.0,
                    inflation_factor=slice_.inflation_factor or 1.0,
                    p_adjusted=1.0 if slice_.p_adjusted is None else slice_.p_adjusted,
                    found=slice_.feature in found,
                    members=tuple(
                        (str(self.ranking.ids[i]), str(self.ranking.locations[i]), float(scores[i]))
                        for i in best
                    ),
                )
            )
        reasons = Counter((slice_.not_testable or "").split(":")[0] for slice_ in influence.untested)
        return SliceSection(
            slices=slices,
            tested=len(influence.tested),
            found=len(influence.found),
            untested=[(reason, count) for reason, count in reasons.most_common()],
            false_discovery_rate=influence.settings.false_discovery_rate,
            controls=influence.controls,
            threshold=influence.settings.threshold,
            pooling=influence.pooling,
            sae=f"{self.sae['name']} ({self.sae['features']:,} features at {self.sae['site']})",
        )

    def _slice(self, slice_: Slice) -> dict[str, Any]:
        label = self.labels.get(slice_.feature)
        values = asdict(slice_) | {"members": self.influence.member_ids(slice_), "size": slice_.size}
        values["calibrated_z"] = slice_.calibrated_z
        values["label"] = None if label is None else asdict(label)
        return values


def explain_by_slices(
    store: ActivationStore,
    concept: Concept,
    sae: SparseAutoencoder,
    *,
    method: str = DEFAULT_METHOD,
    ranking: Ranking | None = None,
    settings: SliceSettings | None = None,
    pooling: str = DEFAULT_POOLING,
    controls: int | None = None,
    columns: Sequence[str] = (),
    strata: str | None = None,
    shown: int = SLICES_SHOWN,
    labeller: Labeller | None = None,
    **rank_settings: Any,
) -> SlicesResult:
    """Slice a store's rows by the features that fire on them, and test each slice's influence on a concept.

    Args:
        store: a finished store.
        concept: at a site that was scanned.
        sae: at any site of the store's model.
        method: scores the rows.
        ranking: of the store's rows by this concept, as `rank` made it in this process, where there is one already: it
            takes the place of `method` and `rank_settings`.
        settings: of the slices.
        pooling: of the features (see `aitia.concepts.features.FeatureMatrix`).
        controls: null directions, for slices to be held against; at least 8. By default contrasts between random
            halves of the rows: of what the method reads for the fast family (default 2,048, fewer where there are more
            than 131,072 rows), of response activations for methods that measure the concept on queries (default 64).
            With `control=isotropic` they are drawn evenly. There are none for `influence`, which measures texts. More
            of them cost power less: p-values are of Student's t with as many degrees of freedom.
        columns: of the data, to test the found slices against.
        strata: a column within whose values scores are compared.
        shown: how many slices from either end are labelled, beside those found.
        labeller: puts the shown features into words.
        rank_settings: further arguments of `rank`: queries, curvature, damping, seed.

    Returns:
        The tested slices, their labels, and the ranking that they were tested on.

    Raises:
        AitiaError: see the parts.
    """
    if controls is not None and controls < SMALLEST_CONTROLS:
        raise AitiaError(f"controls {controls}: give at least {SMALLEST_CONTROLS}")
    if controls is not None and controls * len(store) > CONTROL_NUMBERS:
        most = CONTROL_NUMBERS // len(store)
        raise AitiaError(f"controls {controls}: memory holds the scores of {most:,} for {len(store)} rows")
    ids = [str(name) for name in store.column("id")]
    given = store.load_records().only(ids)
    values = {name: given.column(name) for name in columns}
    kinds = None if strata is None else given.column(strata)
    model = store.load_model()
    require_sae_fits(sae, model)
    if ranking is None:
        ranking = rank(store, concept, method=method, compare=(), **rank_settings)
    settings = settings or SliceSettings()
    control_scores = _control_scores(ranking, store, concept, controls, settings)
    rows = store.load_rows()
    matrix = feature_matrix(model, rows, sae, pooling=pooling)
    influence = slice_influence(matrix, ranking.score, settings, control_scores=control_scores, strata=kinds)
    chosen = [*influence.found, *influence.tested[:shown], *influence.tested[::-1][:shown]]
    slices = {slice_.feature: slice_.members for slice_ in chosen[: 4 * shown]}
    labels = label_features(model, rows, [record.completion_text for record in given], sae, matrix, slices)
    if labeller is not None:
        features = list(labels)
        words = labeller([labels[feature] for feature in features])
        labels = {
            feature: replace(labels[feature], label=word)
            for feature, word in zip(features, words, strict=True)
        }
    return SlicesResult(
        ranking=ranking,
        influence=influence,
        labels=labels,
        enrichments={name: enrichments(influence.found, name, each) for name, each in values.items()},
        sae={
            "name": sae.name,
            "fingerprint": sae.fingerprint,
            "features": sae.features,
            "site": sae.site,
        },
    )


def _control_scores(
    ranking: Ranking,
    store: ActivationStore,
    concept: Concept,
    controls: int | None,
    settings: SliceSettings,
) -> np.ndarray | None:
    """The rows' scores under null directions, by the ranking's own method: [c, n]."""
    if ranking.direction_scores is None:
        note(f"{ranking.method} takes no direction: slices are held against other rows alone")
        return None
    scorer, seed = find_scorer(ranking.method), settings.seed
    fit = min(CONTROLS, max(FEWEST_CONTROLS, CONTROL_NUMBERS // len(ranking)))
    count = fit if controls is None else controls
    with naming_package(ranking.method):
        contrasts = scorer.row_contrasts(store, concept, count=count, seed=seed)
    cheap = contrasts is not None
    if not cheap and controls is None:
        count = COSTLY_CONTROLS
    if contrasts is None or settings.control != MATCHED:
        contrasts = null_directions(
            store,
            concept.site,
            concept.width,
            kind=settings.control,
            count=count,
            seed=seed,
            tokens=concept.tokens,
        )
    return ranking.direction_scores(contrasts)


def slices_table(result: SlicesResult, *, most: int = 12) -> str:
    """The table that `aitia slices` prints."""
    influence = result.influence
    found = {slice_.feature for slice_ in influence.found}
    lines = [
        f"{len(influence.tested)} slices tested among {influence.rows} rows, {len(found)} found at a "
        f"false-discovery rate of {influence.settings.false_discovery_rate:g} ({result.ranking.method}; "
        f"{influence.controls} control directions)",
        "",
        f"{'feature':>8}{'rows':>6}{'sum':>11}{'mean':>11}{'z':>7}{'÷ null':>8}{'adjusted p':>12}  terms",
    ]
    shown = result.shown()
    half = most // 2
    for slice_ in shown if len(shown) <= most else [*shown[:half], *shown[-half:]]:
        words = result.labels[slice_.feature].label or ", ".join(result.labels[slice_.feature].terms[:5])
        star = "*" if slice_.feature in found else " "
        lines.append(
            f"{slice_.feature:>8}{slice_.size:>6}{slice_.total:>+11.3g}{slice_.mean:>+11.3g}{slice_.z or 0:>+7.1f}"
            f"{slice_.calibrated_z:>+8.1f}{slice_.p_adjusted:>12.2g}{star} {words}"
        )
    reasons = Counter((slice_.not_testable or "").split(":")[0] for slice_ in influence.untested)
    lines += ["", *(f"not testable: {count} features: {reason}" for reason, count in reasons.most_common(6))]
    for name, each in result.enrichments.items():
        lines += [
            f"{name}{'' if one.value is None else f' = {one.value}'}: feature {one.feature}: {one.inside:.3g} in the "
            f"slice, {one.outside:.3g} outside (adjusted p {one.p_adjusted:.2g})"
            for one in each[:5]
        ]
    return "\n".join(lines)


def slice_members(path: Path | str, feature: int) -> RowIds:
    """The ids of a slice's rows, from a file that `aitia slices` wrote.

    Returns:
        The ids, with a digest of what each row says.

    Raises:
        AitiaError: the file is missing or not one, or the feature has no tested slice in it.
    """  # noqa: DOC501 - a ValueError is caught below
    try:
        saved = read_json(path)
        if saved["format"] != FORMAT:
            raise AitiaError(f"{path}: format {saved['format']!r}, not {FORMAT!r}")
        slices = {
            int(slice_["feature"]): [str(name) for name in slice_["members"]] for slice_ in saved["slices"]
        }
        untested = {int(slice_["feature"]): str(slice_["reason"]) for slice_ in saved["not_testable"]}
        contents = {str(name): str(content) for name, content in saved["contents"].items()}
        if not all(name in contents for members in slices.values() for name in members):
            raise ValueError("a slice has a row of which it does not say what the row holds")
    except FileNotFoundError:
        raise AitiaError(f"{path}: no such file; make one with `aitia slices`") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AitiaError(f"{path}: not a file that `aitia slices` wrote ({reason_of(error)})") from error
    if feature in untested:
        raise AitiaError(f"{path}: feature {feature} was not tested: {untested[feature]}")
    if feature not in slices:
        raise AitiaError(f"{path}: no feature {feature}; {len(slices)} slices were tested")
    return RowIds(slices[feature], contents, "the slices")
