"""What a ranking must beat: orders that need no model, or no concept.

Each gives one number a row, higher for rows it holds to be more like the positive texts.
"""

from __future__ import annotations

import numpy as np

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

    rows, above, below = ([record.completion_text for record in part] for part in (data, positive, negative))
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1)
    matrix = vectorizer.fit_transform([*rows, *above, *below])
    first, last = len(rows), len(rows) + len(above)
    likeness = [
        cosine_similarity(matrix[:first], np.asarray(part.mean(axis=0)))[:, 0]  # type: ignore[index]
        for part in (matrix[first:last], matrix[last:])  # type: ignore[index]
    ]
    return likeness[0] - likeness[1]


def response_length(response_tokens: np.ndarray) -> np.ndarray:
    """The number of response tokens, [n]: a ranking that tracks it may be about length alone."""
    return response_tokens.astype(np.float64)


def random_order(rows: int, *, seed: int = 0) -> np.ndarray:
    """Numbers that know nothing, [rows]."""
    return np.random.default_rng(seed).random(rows)
