"""Baselines that know texts and no model: how like the concept's texts a response is."""

from __future__ import annotations

from functools import partial

from aitia.attribution.scorers.baselines import bm25_similarity, embedding_similarity, tfidf_similarity
from aitia.attribution.scorers.context import RankingContext
from aitia.attribution.scorers.protocol import Needs, RowScores, Scorer
from aitia.attribution.scorers.registry import scorer

_POSITIVE = "the response is more like the positive texts than like the negative ones"


@scorer
class TfIdf(Scorer):
    """Words alone, by TF-IDF."""

    name = "tf-idf"
    formula = "cosine with the mean positive text less that with the mean negative, over TF-IDF of words and word pairs"
    drops = "the model"
    cost = "reading the row"
    source = "Salton & Buckley 1988"
    positive = _POSITIVE
    baseline = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(texts=True)

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        return RowScores(partial(tfidf_similarity, context.records(), *context.texts()))


@scorer
class Bm25(Scorer):
    """Words alone, by a search."""

    name = "bm25"
    formula = "Okapi BM25 of the response for the positive texts as queries, less that for the negative ones"
    drops = "the model"
    cost = "reading the row"
    source = "Robertson & Zaragoza 2009"
    positive = _POSITIVE
    baseline = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(texts=True)

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        return RowScores(partial(bm25_similarity, context.records(), *context.texts()))


@scorer
class SentenceEmbedding(Scorer):
    """Meaning, as a sentence encoder sees it."""

    name = "sentence-embedding"
    formula = (
        "cosine of the encoded response with the mean positive text less that with the mean negative one"
    )
    drops = "the model, which has no part in the encoding"
    cost = "one pass of a small encoder"
    source = "Reimers & Gurevych 2019"
    positive = _POSITIVE
    baseline = True

    def needs(self) -> Needs:
        """See `Scorer.needs`."""
        return Needs(texts=True)

    def prepare(self, context: RankingContext) -> RowScores:
        """See `Scorer.prepare`."""
        texts = context.texts()
        return RowScores(lambda: embedding_similarity(context.records(), *texts, context.encoder()))
