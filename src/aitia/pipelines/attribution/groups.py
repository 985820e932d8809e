"""Which kinds of rows raise a concept: from a store, a concept and a sparse autoencoder to a table and a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import ActivationStore, Ranking, rank
from aitia.attribution.scorers import DEFAULT_METHOD, find_scorer, naming_package
from aitia.attribution.slices.enrichment import Enrichment, enrichments
from aitia.attribution.slices.feature_labels import FeatureLabel, label_features
from aitia.attribution.slices.groups import (
    SMALLEST_CONTROLS,
    Group,
    GroupInfluence,
    GroupSettings,
    group_influence,
)
from aitia.concepts import Concept, SparseAutoencoder, feature_matrix, random_directions, require_sae_fits
from aitia.concepts.features import DEFAULT_POOLING
from aitia.engine import note
from aitia.errors import AitiaError, reason_of
from aitia.files import read_json, write_json
from aitia.records import RowIds
from aitia.report import GroupSection, ReportGroup, ReportSpan

FORMAT = "aitia-groups-v1"
CONTROLS, FEWEST_CONTROLS, COSTLY_CONTROLS = 2048, 256, 64
"""Meaningless directions by default: where each is a matrix product (fewer of many rows, so that their scores fit into
`CONTROL_NUMBERS`), and where each is a gradient over queries."""
CONTROL_NUMBERS = 2**28
CONTROLS_HELP = (
    f"Meaningless directions that groups are held against; at least {SMALLEST_CONTROLS}. Default: {CONTROLS:,} (fewer, "
    f"down to {FEWEST_CONTROLS}, where there are many rows), or {COSTLY_CONTROLS} for methods with queries."
)
GROUPS_SHOWN = 10
"""Groups from either end that are labelled by default, beside those found."""
Labeller = Callable[[Sequence[FeatureLabel]], Sequence[str]]
"""Puts features into words, from their spans and terms."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupsResult:
    """Groups of rows with their influence, labels and enrichment.

    Attributes:
        ranking: of the rows, with its controls.
        influence: of the groups.
        labels: feature -> label, for the groups that are shown.
        enrichments: of the found groups, by column.
        sae: name, fingerprint and number of features of the autoencoder.
    """

    ranking: Ranking
    influence: GroupInfluence
    labels: Mapping[int, FeatureLabel]
    enrichments: Mapping[str, Sequence[Enrichment]]
    sae: Mapping[str, Any]

    def shown(self) -> list[Group]:
        """The labelled groups, the strongest raising one first."""
        return [group for group in self.influence.tested if group.feature in self.labels]

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
            "found": [group.feature for group in influence.found],
            "groups": [self._group(group) for group in influence.tested],
            "not_testable": [
                {"feature": group.feature, "size": group.size, "reason": group.not_testable}
                for group in influence.untested
            ],
            "enrichments": {
                name: [asdict(each) for each in found] for name, found in self.enrichments.items()
            },
        }

    def write(self, path: Path | str) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        return write_json(path, self.to_json())

    def section(self, *, members: int = 5) -> GroupSection:
        """What a report shows of it."""
        influence, scores = self.influence, self.ranking.score
        found = {group.feature for group in influence.found}
        groups = []
        for group in self.shown():
            label = self.labels[group.feature]
            best = group.members[np.argsort(-np.abs(scores[group.members]), kind="stable")[:members]]
            groups.append(
                ReportGroup(
                    feature=group.feature,
                    label=label.label,
                    terms=label.terms,
                    spans=tuple(
                        ReportSpan(before=span.before, peak=span.peak, after=span.after)
                        for span in label.spans
                    ),
                    size=group.size,
                    total=group.total,
                    mean=group.mean,
                    z=group.z or 0.0,
                    inflation_factor=group.inflation_factor or 1.0,
                    p_adjusted=1.0 if group.p_adjusted is None else group.p_adjusted,
                    found=group.feature in found,
                    members=tuple(
                        (str(self.ranking.ids[i]), str(self.ranking.locations[i]), float(scores[i]))
                        for i in best
                    ),
                )
            )
        reasons = Counter((group.not_testable or "").split(":")[0] for group in influence.untested)
        return GroupSection(
            groups=groups,
            tested=len(influence.tested),
            found=len(influence.found),
            untested=[(reason, count) for reason, count in reasons.most_common()],
            false_discovery_rate=influence.settings.false_discovery_rate,
            controls=influence.controls,
            threshold=influence.settings.threshold,
            pooling=influence.pooling,
            sae=f"{self.sae['name']} ({self.sae['features']:,} features at {self.sae['site']})",
        )

    def _group(self, group: Group) -> dict[str, Any]:
        label = self.labels.get(group.feature)
        values = asdict(group) | {"members": self.influence.member_ids(group), "size": group.size}
        values["calibrated_z"] = group.calibrated_z
        values["label"] = None if label is None else asdict(label)
        return values


def explain_by_groups(
    store: ActivationStore,
    concept: Concept,
    sae: SparseAutoencoder,
    *,
    method: str = DEFAULT_METHOD,
    ranking: Ranking | None = None,
    settings: GroupSettings | None = None,
    pooling: str = DEFAULT_POOLING,
    controls: int | None = None,
    columns: Sequence[str] = (),
    strata: str | None = None,
    shown: int = GROUPS_SHOWN,
    labeller: Labeller | None = None,
    **rank_settings: Any,
) -> GroupsResult:
    """Group a store's rows by the features that fire on them, and test each group's influence on a concept.

    Args:
        store: a finished store.
        concept: at a site that was scanned.
        sae: at any site of the store's model.
        method: scores the rows.
        ranking: of the store's rows by this concept, as `rank` made it in this process, where there is one already: it
            takes the place of `method` and `rank_settings`.
        settings: of the groups.
        pooling: of the features (see `aitia.concepts.features.FeatureMatrix`).
        controls: directions that mean nothing, for groups to be held against; at least 8. Contrasts between random
            halves of the rows for the fast family (default 2,048, fewer where there are more than 131,072 rows),
            random directions for methods that measure the concept on queries (default 64), none for `influence`, which
            measures texts. More of them cost power less:
            p-values are of Student's t with as many degrees of freedom.
        columns: of the data, to test the found groups against.
        strata: a column within whose values scores are compared.
        shown: how many groups from either end are labelled, beside those found.
        labeller: puts the shown features into words.
        rank_settings: further arguments of `rank`: queries, curvature, damping, seed.

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
        ranking = rank(store, concept, method=method, others=(), **rank_settings)
    settings = settings or GroupSettings()
    control_scores = _control_scores(ranking, store, concept, controls, settings.seed)
    rows = store.load_rows()
    matrix = feature_matrix(model, rows, sae, pooling=pooling)
    influence = group_influence(matrix, ranking.score, settings, control_scores=control_scores, strata=kinds)
    chosen = [*influence.found, *influence.tested[:shown], *influence.tested[::-1][:shown]]
    groups = {group.feature: group.members for group in chosen[: 4 * shown]}
    labels = label_features(model, rows, [record.completion_text for record in given], sae, matrix, groups)
    if labeller is not None:
        features = list(labels)
        words = labeller([labels[feature] for feature in features])
        labels = {
            feature: replace(labels[feature], label=word)
            for feature, word in zip(features, words, strict=True)
        }
    return GroupsResult(
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
    ranking: Ranking, store: ActivationStore, concept: Concept, controls: int | None, seed: int
) -> np.ndarray | None:
    """The rows' scores under directions that mean nothing, by the ranking's own method: [c, n]."""
    if ranking.direction_scores is None:
        note(f"{ranking.method} takes no direction: groups are held against other rows alone")
        return None
    fit = min(CONTROLS, max(FEWEST_CONTROLS, CONTROL_NUMBERS // len(ranking)))
    count = fit if controls is None else controls
    with naming_package(ranking.method):
        contrasts = find_scorer(ranking.method).row_contrasts(store, concept.site, count=count, seed=seed)
    if contrasts is not None:
        return ranking.direction_scores(contrasts)
    count = COSTLY_CONTROLS if controls is None else controls
    return ranking.direction_scores(random_directions(concept.width, count=count, seed=seed)[:, 0])


def groups_table(result: GroupsResult, *, most: int = 12) -> str:
    """The table that `aitia groups` prints."""
    influence = result.influence
    found = {group.feature for group in influence.found}
    lines = [
        f"{len(influence.tested)} groups tested among {influence.rows} rows, {len(found)} found at a "
        f"false-discovery rate of {influence.settings.false_discovery_rate:g} ({result.ranking.method}; "
        f"{influence.controls} control directions)",
        "",
        f"{'feature':>8}{'rows':>6}{'sum':>11}{'mean':>11}{'z':>7}{'÷ null':>8}{'adjusted p':>12}  terms",
    ]
    shown = result.shown()
    half = most // 2
    for group in shown if len(shown) <= most else [*shown[:half], *shown[-half:]]:
        words = result.labels[group.feature].label or ", ".join(result.labels[group.feature].terms[:5])
        star = "*" if group.feature in found else " "
        lines.append(
            f"{group.feature:>8}{group.size:>6}{group.total:>+11.3g}{group.mean:>+11.3g}{group.z or 0:>+7.1f}"
            f"{group.calibrated_z:>+8.1f}{group.p_adjusted:>12.2g}{star} {words}"
        )
    reasons = Counter((group.not_testable or "").split(":")[0] for group in influence.untested)
    lines += ["", *(f"not testable: {count} features: {reason}" for reason, count in reasons.most_common(6))]
    for name, each in result.enrichments.items():
        lines += [
            f"{name}{'' if one.value is None else f' = {one.value}'}: feature {one.feature}: {one.inside:.3g} in the "
            f"group, {one.outside:.3g} outside (adjusted p {one.p_adjusted:.2g})"
            for one in each[:5]
        ]
    return "\n".join(lines)


def group_members(path: Path | str, feature: int) -> RowIds:
    """The ids of a group's rows, from a file that `aitia groups` wrote.

    Raises:
        AitiaError: the file is missing or not one, or the feature has no tested group in it.
    """
    try:
        saved = read_json(path)
        if saved["format"] != FORMAT:
            raise AitiaError(f"{path}: format {saved['format']!r}, not {FORMAT!r}")
        groups = {
            int(group["feature"]): [str(name) for name in group["members"]] for group in saved["groups"]
        }
        untested = {int(group["feature"]): str(group["reason"]) for group in saved["not_testable"]}
        contents = {str(name): str(content) for name, content in saved["contents"].items()}
        if not all(name in contents for members in groups.values() for name in members):
            raise ValueError("a group has a row of which it does not say what the row holds")
    except FileNotFoundError:
        raise AitiaError(f"{path}: no such file; make one with `aitia groups`") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AitiaError(f"{path}: not a file that `aitia groups` wrote ({reason_of(error)})") from error
    if feature in untested:
        raise AitiaError(f"{path}: feature {feature} was not tested: {untested[feature]}")
    if feature not in groups:
        raise AitiaError(f"{path}: no feature {feature}; {len(groups)} groups were tested")
    return RowIds(groups[feature], contents, "the groups")
