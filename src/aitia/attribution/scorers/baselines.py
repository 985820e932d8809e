"""What a ranking must beat: orders that need no model, or no concept.

Each gives one number a row, higher for rows it holds to be more like the positive texts, or to matter more.
Those that know texts (`tfidf_similarity`, `bm25_similarity`, `embedding_similarity`) know the same texts
that a concept is fitted to; those that know no concept (`response_length`, `training_loss`,
`random_order`) show what form alone gives away; null directions (`random_direction_scores`,
`shuffled_direction_scores`) go through a method in the concept's place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aitia.attribution.scanning.null_directions import MATCHED, NullKind, null_directions
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers.activation import score_vectors
from aitia.concepts import Concept
from aitia.errors import AitiaError, StoreError
from aitia.records import Records


def tfidf_similarity(data: Records, positive: Records, negative: Records) -> np.ndarray:
    """Words alone: likeness of each response to the positive texts less that to the negative ones.

    Cosine, over TF-IDF of words and word pairs, with the mean positive and the mean negative text.

    Args:
        data: n training rows.
        positive: texts that show the concept.
        negative: texts that do not.

    Returns:
        [n].
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    rows, above, below = (_responses(part) for part in (data, positive, negative))
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1)
    matrix = vectorizer.fit_transform([*rows, *above, *below])
    first, last = len(rows), len(rows) + len(above)
    likeness = [
        cosine_similarity(matrix[:first], np.asarray(part.mean(axis=0)))[:, 0]  # type: ignore[index]
        for part in (matrix[first:last], matrix[last:])  # type: ignore[index]
    ]
    return likeness[0] - likeness[1]


def bm25_similarity(
    data: Records, positive: Records, negative: Records, *, k1: float = 1.2, b: float = 0.75
) -> np.ndarray:
    """Words alone: how well a search for the positive texts finds each response, less one for the negative.

    Okapi BM25 (Robertson & Zaragoza 2009) with the responses as the documents and each text as a query; a
    query's score is the mean over its words, and a side's the mean over its queries. With f the count of
    word t in the response, l its length in words, l' the mean length, n_t of N responses with the word:

        sum_t ln(1 + (N - n_t + 0.5) / (n_t + 0.5)) f (k1 + 1) / (f + k1 (1 - b + b l / l'))

    Every run of letters or digits is a word, single digits too.

    Args:
        data: n training rows.
        positive: texts that show the concept.
        negative: texts that do not.
        k1: how slowly the count of a word saturates.
        b: how far long responses are marked down, 0 to 1.

    Returns:
        [n].
    """
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(token_pattern=r"(?u)\b\w+\b")
    weights = _bm25_weights(vectorizer.fit_transform(_responses(data)), k1=k1, b=b)
    likeness = [
        weights @ _mean_query(vectorizer.transform(_responses(part))) for part in (positive, negative)
    ]
    return likeness[0] - likeness[1]


def embedding_similarity(
    data: Records, positive: Records, negative: Records, encoder: Callable[[Sequence[str]], np.ndarray]
) -> np.ndarray:
    """Meaning as an encoder sees it: likeness to the positive texts less that to the negative ones.

    Cosine of the encoded response with the mean encoded positive and the mean encoded negative text.

    Args:
        data: n training rows.
        positive: texts that show the concept.
        negative: texts that do not.
        encoder: texts -> [texts, d], such as `aitia.models.load_sentence_encoder()`.

    Returns:
        [n].
    """
    rows, above, below = (
        np.asarray(encoder(_responses(part)), dtype=np.float64) for part in (data, positive, negative)
    )
    sides = np.stack([above.mean(axis=0), below.mean(axis=0)])
    likeness = _unit(rows) @ _unit(sides).T
    return likeness[:, 0] - likeness[:, 1]


def response_length(response_tokens: np.ndarray) -> np.ndarray:
    """The number of response tokens, [n]: a ranking that tracks it may be about length alone."""
    return response_tokens.astype(np.float64)


def training_loss(store: ActivationStore) -> np.ndarray:
    """Mean cross-entropy of each row's response tokens in nats, under the scanned model: what it has yet to learn.

    Returns:
        [n], rows in data order.

    Raises:
        StoreError: the store was scanned without the backward activation, and so without losses.
    """
    if "backward" not in store.activations:
        raise StoreError(
            f"{store.path}: losses are kept with the backward activation, which was not scanned; "
            "scan again: `aitia scan --activation backward`"
        )
    total = np.empty(len(store))
    for number in range(store.shards):
        arrays = store.read_shard(number, ["loss"])
        total[arrays["position"]] = arrays["loss"]
    # Where nothing stands before the response, its first token is predicted by nothing.
    unpredicted = store.column("prompt_tokens") == 0
    return total / np.maximum(store.column("response_tokens") - unpredicted, 1)


def random_direction_scores(
    store: ActivationStore,
    concept: Concept,
    method: str,
    *,
    count: int = 8,
    seed: int = 0,
    kind: NullKind = MATCHED,
) -> np.ndarray:
    """A method's scores with null directions in the concept's place.

    Args:
        store: a finished store.
        concept: gives site and width.
        method: of the fast family.
        count: how many directions, c. One is not enough: activations differ far more along some
            directions than others.
        seed: of the directions.
        kind: `matched` to the covariance of the rows' response activations, or `isotropic`.

    Returns:
        [c, n].
    """
    directions = null_directions(
        store, concept.site, concept.width, kind=kind, count=count, seed=seed, tokens=concept.tokens
    )
    return score_vectors(store, directions, concept.site, method, tokens=concept.tokens)


def shuffled_direction_scores(store: ActivationStore, concept: Concept, method: str) -> np.ndarray:
    """A method's scores with directions in the concept's place that its recipe found for shuffled labels.

    Returns:
        [c, n], c the number of shuffled directions that the concept keeps.

    Raises:
        AitiaError: the concept keeps none.
    """
    shuffled = concept.shuffled
    if shuffled is None or not len(shuffled):
        raise AitiaError(f"concept {concept.name!r} keeps no shuffled directions; fit it with shuffles > 0")
    return score_vectors(store, shuffled.sum(axis=1), concept.site, method, tokens=concept.tokens)


def random_order(rows: int, *, seed: int = 0) -> np.ndarray:
    """Numbers that know nothing, [rows]."""
    return np.random.default_rng(seed).random(rows)


def _responses(records: Records) -> list[str]:
    return [record.completion_text for record in records]


def _bm25_weights(counts: Any, *, k1: float, b: float) -> Any:
    """What each word adds to each response's score if the query has it once: sparse [n, words]."""
    weights = counts.astype(np.float64)
    weights.sort_indices()
    rows, words = weights.shape
    lengths = np.asarray(weights.sum(axis=1)).ravel()
    holding = np.bincount(weights.indices, minlength=words)
    rarity = np.log1p((rows - holding + 0.5) / (holding + 0.5))
    saturation = np.repeat(k1 * (1 - b + b * lengths / lengths.mean()), np.diff(weights.indptr))
    weights.data = rarity[weights.indices] * weights.data * (k1 + 1) / (weights.data + saturation)
    return weights


def _mean_query(counts: Any) -> np.ndarray:
    """Each text's shares of known words, averaged over the texts: [words]."""
    lengths = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return np.asarray(counts.T @ (1 / lengths)).ravel() / counts.shape[0]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
