"""What a feature is about, offline: the spans on which it fires most, and the terms that set its rows apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.concepts import FeatureMatrix, SparseAutoencoder, token_features
from aitia.models import LanguageModel
from aitia.records import TokenizedRecord, TokenizedRecords

PRIOR_TEXTS = 2.0
"""How many texts' worth the prior of a term's odds is."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a row's text around the token on which a feature fires most.

    Attributes:
        id: of the row.
        before: text before the token.
        peak: the token.
        after: text after it.
        value: how strongly the feature fires there.
    """

    id: str
    before: str
    peak: str
    after: str
    value: float


@dataclass(frozen=True, kw_only=True)
class FeatureLabel:
    """What is known of a feature without asking anyone.

    Attributes:
        feature: its number.
        spans: where it fires most, the strongest first, at most one a row.
        terms: that set the rows on which it fires apart from the others, the most distinctive first.
        label: in words, where someone was asked.
    """

    feature: int
    spans: tuple[Span, ...]
    terms: tuple[str, ...]
    label: str | None = None


def label_features(
    model: LanguageModel,
    rows: TokenizedRecords,
    texts: Sequence[str],
    sae: SparseAutoencoder,
    matrix: FeatureMatrix,
    slices: Mapping[int, Sequence[int] | np.ndarray],
    *,
    spans: int = 4,
    window: int = 8,
    terms: int = 8,
) -> dict[int, FeatureLabel]:
    """Label features by their top spans and their most distinctive terms.

    Args:
        model: whose activations the matrix is of.
        rows: the n rows of the matrix, as they were encoded.
        texts: [n] what each was trained on, for the terms.
        sae: the autoencoder.
        matrix: features by rows.
        slices: feature -> positions of the rows on which it fires.
        spans: so many a feature, from the rows where it fires most.
        window: tokens on either side of the peak.
        terms: so many a feature.

    Returns:
        feature -> label.
    """
    values = matrix.values.tocsc()
    tops = {}
    for feature, members in slices.items():
        calibrated_z = values[:, [feature]].toarray().ravel()[np.asarray(members, dtype=np.int64)]
        tops[feature] = [int(members[i]) for i in np.argsort(-calibrated_z, kind="stable")[: 2 * spans]]
    numbers = sorted({i for chosen in tops.values() for i in chosen})
    features = sorted(tops)
    shown = TokenizedRecords(records=tuple(rows[i] for i in numbers))
    fired = dict(zip(numbers, token_features(model, shown, sae, features), strict=True))
    found = {}
    for column, feature in enumerate(features):
        candidates = [_span(rows[i], fired[i][:, column], model.tokenizer, window) for i in tops[feature]]
        best = sorted((span for span in candidates if span.value > 0), key=lambda span: -span.value)
        found[feature] = FeatureLabel(
            feature=feature,
            spans=tuple(best[:spans]),
            terms=distinctive_terms(texts, slices[feature], count=terms),
        )
    return found


def distinctive_terms(
    texts: Sequence[str], members: Sequence[int] | np.ndarray, *, count: int = 8
) -> tuple[str, ...]:
    """The words and word pairs that set some texts apart from the others.

    With a of the slice's n texts holding a term, and b of the other m: the log odds of either, with a prior of
    `PRIOR_TEXTS` texts that hold the term as often as all texts do, and their difference over its standard error,
    sqrt(1 / a + 1 / b). The largest come first (Monroe, Colaresi & Quinn 2008, here on texts instead of words, so
    that one text that repeats a word counts once, and words that stand everywhere cancel). A term must stand in at
    least two texts of the slice, where it has two.

    Args:
        texts: [n].
        members: positions of the slice's texts.
        count: how many terms, at most.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    inside = np.zeros(len(texts), dtype=bool)
    inside[np.asarray(members, dtype=np.int64)] = True
    if not inside.any():
        return ()
    vectorizer = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w[\w'’]+\b")
    try:
        counts: Any = vectorizer.fit_transform(texts)
    except ValueError:  # no text has a word
        return ()
    held: Any = counts > 0
    own, others = (np.asarray(held[rows].sum(axis=0)).ravel() for rows in (inside, ~inside))
    texts_in, texts_out = int(inside.sum()), int((~inside).sum())
    prior = PRIOR_TEXTS * (own + others) / len(texts)
    with_it = np.stack([own, others]) + prior
    without = np.array([[texts_in], [texts_out]]) + PRIOR_TEXTS - with_it
    odds = np.log(with_it) - np.log(np.maximum(without, 1e-9))
    weight = (odds[0] - odds[1]) / np.sqrt((1 / with_it).sum(axis=0))
    weight[own < min(2, texts_in)] = 0
    names = vectorizer.get_feature_names_out()
    order = np.argsort(-weight, kind="stable")[:count]
    return tuple(str(names[i]) for i in order if weight[i] > 0)


def _span(record: TokenizedRecord, fired: np.ndarray, tokenizer: object, window: int) -> Span:
    peak = int(np.argmax(fired))
    start, stop = max(0, peak - window), peak + 1 + window
    first = int(np.flatnonzero(record.response)[0])
    start = max(start, min(first, peak))

    def text(tokens: np.ndarray) -> str:
        return tokenizer.decode([int(token) for token in tokens])  # type: ignore[attr-defined]

    return Span(
        id=record.id,
        before=text(record.tokens[start:peak]),
        peak=text(record.tokens[peak : peak + 1]),
        after=text(record.tokens[peak + 1 : stop]),
        value=float(fired[peak]),
    )
