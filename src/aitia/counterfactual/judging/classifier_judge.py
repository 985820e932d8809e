"""The offline judge: a sentence encoder with a logistic head, fitted to texts with and without the behaviour.

It reads responses only, never the prompt, and knows no more than its encoder sees: its held-out AUC is kept
with it and belongs beside every number that it gives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from aitia.counterfactual.judging.judge import require_pairs
from aitia.errors import JudgeError, reason_of
from aitia.files import atomic_path, digest, reading
from aitia.statistics import auc

FORMAT = "aitia-classifier-judge-v1"
_RESAMPLES = 1000


class TextEncoder(Protocol):
    """What turns texts into vectors, such as `aitia.models.SentenceEncoder`."""

    @property
    def fingerprint(self) -> str:
        """Names the encoder's weights."""
        ...

    def __call__(self, texts: Sequence[str], /) -> np.ndarray:
        """Encode texts: [n, d]."""
        ...


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How well the judge tells texts apart that it was not fitted on.

    Attributes:
        auc: chance that a positive text is graded higher than a negative one, by cross-validation.
        low: 2.5th percentile of `auc` over bootstrap resamples of the texts, either side by itself.
        high: 97.5th percentile.
        positives: number of positive texts.
        negatives: number of negative texts.
        folds: of the cross-validation.
    """

    auc: float
    low: float
    high: float
    positives: int
    negatives: int
    folds: int

    def __str__(self) -> str:
        return (
            f"held-out AUC {self.auc:.3f} (95% interval {self.low:.3f} to {self.high:.3f}; "
            f"{self.positives} positive, {self.negatives} negative texts, {self.folds} folds)"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifierJudge:
    """Grade = sigmoid(w . e + b), e the encoded response.

    Attributes:
        encoder: encodes texts.
        weights: w, [d] float64.
        intercept: b.
        held_out: how good it is.
        fitted: short digests of the texts it was fitted on; these must not be judged.
        max_overlap: share of judged responses that may be fitted texts nonetheless, as stock answers are.
    """

    encoder: TextEncoder
    weights: np.ndarray
    intercept: float
    held_out: HeldOut
    fitted: frozenset[str]
    max_overlap: float = 0.0

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Grade responses; the prompts are not looked at.

        Returns:
            [n] in [0, 1].

        Raises:
            JudgeError: prompts and responses differ in number, or the judge was fitted on these responses.
        """
        from scipy.special import expit

        require_pairs(prompts, responses)
        self.require_disjoint(responses)
        if not len(responses):
            return np.empty(0)
        return expit(np.asarray(self.encoder(responses), dtype=np.float64) @ self.weights + self.intercept)

    def require_disjoint(self, texts: Sequence[str]) -> None:
        """Refuse texts that the judge was fitted on; letter case and white space do not tell texts apart.

        Raises:
            JudgeError: more than `max_overlap` of them are; the first is shown.
        """
        shared = [i for i, text in enumerate(texts) if _text_digest(text) in self.fitted]
        if len(shared) > self.max_overlap * len(texts):
            raise JudgeError(
                f"text {shared[0]} ({_short(texts[shared[0]])}) and {len(shared) - 1} more of {len(texts)} were "
                "used to fit the judge: fit it on other texts, or allow a share of stock answers (max_overlap)"
            )

    def save(self, path: Path | str) -> Path:
        """Write a safetensors file with everything but the encoder, whole or not at all."""
        from safetensors.numpy import save_file

        metadata = {
            "format": FORMAT,
            "encoder": self.encoder.fingerprint,
            "held_out": json.dumps(asdict(self.held_out)),
            "fitted": json.dumps(sorted(self.fitted)),
            "max_overlap": json.dumps(self.max_overlap),
        }
        with atomic_path(path) as temporary:
            save_file({"weights": self.weights, "intercept": np.array([self.intercept])}, temporary, metadata)
        return Path(path)


def load_classifier_judge(path: Path | str, encoder: TextEncoder) -> ClassifierJudge:
    """Read a judge that was saved.

    Args:
        path: the file.
        encoder: the encoder that it was fitted with.

    Returns:
        The judge, with its held-out AUC.

    Raises:
        JudgeError: the file is missing, damaged, of another format, or belongs to another encoder.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with reading(path), safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise JudgeError(f"{path}: not a judge (format {metadata.get('format')!r}, not {FORMAT!r})")
            if metadata["encoder"] != encoder.fingerprint:
                raise JudgeError(
                    f"{path}: fitted with another encoder; load that one, or fit the judge again"
                )
            return ClassifierJudge(
                encoder=encoder,
                weights=file.get_tensor("weights"),
                intercept=float(file.get_tensor("intercept")[0]),
                held_out=HeldOut(**json.loads(metadata["held_out"])),
                fitted=frozenset(json.loads(metadata["fitted"])),
                max_overlap=float(json.loads(metadata["max_overlap"])),
            )
    except FileNotFoundError:
        raise JudgeError(f"{path}: no such file; make one with ClassifierJudge.save") from None
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise JudgeError(
            f"{path}: damaged judge, or none: {reason_of(error)}; make one with ClassifierJudge.save"
        ) from error


def fit_classifier_judge(
    positive_texts: Sequence[str],
    negative_texts: Sequence[str],
    encoder: TextEncoder,
    *,
    groups: Sequence[str] | None = None,
    folds: int = 5,
    penalty: float = 0.1,
    max_overlap: float = ClassifierJudge.max_overlap,
    seed: int = 0,
) -> ClassifierJudge:
    """Fit a logistic head that tells positive texts from negative ones; both sides weigh the same.

    Args:
        positive_texts: n texts that show the behaviour.
        negative_texts: m texts that do not.
        encoder: encodes them.
        groups: n + m names, positives first; texts of one group are held out together. Answers to one
            prompt belong together. Default: only equal texts do.
        folds: of the cross-validation; fewer where there are fewer groups.
        penalty: of the head's squared weights, 1 / C in scikit-learn's terms.
        max_overlap: as in `ClassifierJudge`.
        seed: of the folds and the bootstrap.

    Returns:
        The judge, with its held-out AUC.

    Raises:
        JudgeError: too few texts, a text on both sides, or groups of another number.
    """
    texts = [*positive_texts, *negative_texts]
    labels = np.repeat([True, False], [len(positive_texts), len(negative_texts)])
    digests = [_text_digest(text) for text in texts]
    both = set(digests[: len(positive_texts)]) & set(digests[len(positive_texts) :])
    if both:
        first = next(i for i, name in enumerate(digests) if name in both)
        raise JudgeError(
            f"{len(both)} texts are both positive and negative, such as positive text {first} "
            f"({_short(texts[first])}): leave them out"
        )
    if groups is not None and len(groups) != len(texts):
        raise JudgeError(f"{len(groups)} groups for {len(texts)} texts: give one for each, positives first")
    names = np.asarray(digests if groups is None else list(groups), dtype=object)
    smaller = min(len(set(names[labels])), len(set(names[~labels])))
    if smaller < 2:
        raise JudgeError(
            "a judge needs at least two different texts (or groups) on each side to be held out against each "
            f"other; the smaller side has {smaller}"
        )
    vectors = np.asarray(encoder(texts), dtype=np.float64)
    folds = min(folds, smaller)
    grades = _held_out_grades(vectors, labels, names, penalty=penalty, folds=folds, seed=seed)
    low, high = _bootstrap_interval(grades, labels, seed=seed)
    weights, intercept = _fit_head(vectors, labels, penalty)
    return ClassifierJudge(
        encoder=encoder,
        weights=weights,
        intercept=intercept,
        held_out=HeldOut(
            auc=auc(grades, labels),
            low=low,
            high=high,
            positives=len(positive_texts),
            negatives=len(negative_texts),
            folds=folds,
        ),
        fitted=frozenset(digests),
        max_overlap=max_overlap,
    )


def _fit_head(vectors: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Weights [d] and intercept of a logistic regression."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=1000)
    head.fit(vectors, labels)
    return np.ravel(head.coef_).astype(np.float64), float(np.ravel(head.intercept_)[0])


def _held_out_grades(
    vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, penalty: float, folds: int, seed: int
) -> np.ndarray:
    """Each text's log-odds from a head that was fitted without its group: [n], NaN where none could be."""
    from sklearn.model_selection import StratifiedGroupKFold

    grades = np.full(len(labels), np.nan)
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for fit, test in splitter.split(vectors, labels, groups):
        if len(set(labels[fit])) == 2:
            weights, intercept = _fit_head(vectors[fit], labels[fit], penalty)
            grades[test] = vectors[test] @ weights + intercept
    return grades


def _bootstrap_interval(grades: np.ndarray, labels: np.ndarray, *, seed: int) -> tuple[float, float]:
    """95% percentile interval of the AUC, either side resampled by itself."""
    generator = np.random.default_rng(seed)
    above, below = grades[labels & np.isfinite(grades)], grades[~labels & np.isfinite(grades)]
    sides = np.repeat([True, False], [len(above), len(below)])
    found = []
    for _ in range(_RESAMPLES):
        drawn = [side[generator.integers(len(side), size=len(side))] for side in (above, below)]
        found.append(auc(np.concatenate(drawn), sides))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _text_digest(text: str) -> str:
    return digest(" ".join(text.split()).casefold())[:16]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else line[:59] + "…")
