"""What is to fall and what is to stay: rankings, or concepts and texts that a recorded run is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from aitia.attribution import Expansion, Ranking, RoundSettings, absolute_sums, read_ranking
from aitia.attribution.replay import (
    Derivatives,
    Target,
    kept_derivatives,
    margin_target,
    projection_target,
)
from aitia.concepts import Concept, fitted_texts, load_concept, require_same_base
from aitia.counterfactual import Behaviour, ConceptProjection, LikelihoodMargin
from aitia.errors import AitiaError
from aitia.models import LanguageModel, load_model
from aitia.records import Records, read_records
from aitia.records.losses import require_answers
from aitia.training import RecordedRun, read_run

_ONE_ANSWER = "give each prompt with one answer, as prompt and completion"

CONCEPT = ".concept.safetensors"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A measurement that is to fall or to stay.

    Attributes:
        name: for tables: its file, as it was given.
        path: the file.
        ranking: the derivatives, where a ranking gives them.
        target: what a recorded run is asked, otherwise.
        behaviour: the same as a number of any trained model.
    """

    name: str
    path: Path
    ranking: Ranking | None = None
    target: Target | None = None
    behaviour: Behaviour | None = None

    @property
    def is_concept(self) -> bool:
        """Whether the projection of texts on a concept is measured."""
        return isinstance(self.behaviour, ConceptProjection)


def read_asked(path: Path, queries: Records | None = None) -> Asked:
    """What a file asks about.

    Args:
        path: a ranking (Parquet, as `aitia rank` writes it); a concept, for the mean projection of texts on it; or
            texts, as a skill, for their mean log-probability a token.
        queries: texts whose projection on a concept is measured; default: the positive texts that it was fitted to.

    Returns:
        The measurement.

    Raises:
        AitiaError: the file is none of these, or the concept's texts are not found and no queries are given.
    """
    name = str(path)
    if path.name.endswith(CONCEPT):
        concept = load_concept(path)
        texts = queries if queries is not None else _positive_texts(concept, path)
        return Asked(
            name=name,
            path=path,
            target=projection_target(concept, texts, name=name),
            behaviour=ConceptProjection(concept=concept, texts=texts, name=name),
        )
    if path.suffix == ".parquet" and _is_ranking(path):
        return Asked(name=name, path=path, ranking=read_ranking(path))
    texts = read_records(path)
    require_answers(texts, mend=_ONE_ANSWER)
    if not len(texts):
        raise AitiaError(
            f"{path}: no texts; a skill is measured by the log-probability of texts that show it"
        )
    return Asked(
        name=name,
        path=path,
        target=margin_target(texts, name=name),
        behaviour=LikelihoodMargin(behaviour=texts, name=name),
    )


def _positive_texts(concept: Concept, path: Path) -> Records:
    try:
        return fitted_texts(concept)[0]
    except AitiaError as error:
        raise AitiaError(
            f"{path}: {error}; give the texts whose projection on the concept is measured: `queries`"
        ) from error


def _is_ranking(path: Path) -> bool:
    """Whether a Parquet file says that aitia wrote it; one that cannot be read is left to `read_ranking`."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return b"aitia" in (parquet.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return True


@dataclass(frozen=True, kw_only=True)
class AskedRun:
    """A recorded run, the data that it was trained on, and its base model.

    Attributes:
        run: it.
        data: the n rows.
        base: gives the model that it started from; the same one each time.
        fresh: gives a further copy of it.
    """

    run: RecordedRun
    data: Records
    base: Callable[[], LanguageModel]
    fresh: Callable[[], LanguageModel]

    @classmethod
    def prepare(
        cls,
        folder: Path,
        data: Records,
        asked: Sequence[Asked],
        base: str | None = None,
    ) -> AskedRun:
        """Read a run, and hold what can be held against it before its model is loaded.

        Args:
            folder: of the run.
            data: the rows.
            asked: what it will be asked.
            base: the place of the model that it started from, if it was moved.

        Returns:
            The run, ready to be asked.

        Raises:
            StoreError: the run is not finished or damaged, or has other rows than the data.
            ConceptError: a concept is of another model.
            AitiaError: the run was trained with row weights of its own.
        """
        run, known = read_run(folder), {record.id for record in data}
        if run.weights is not None and not np.array_equal(run.weights, np.ones(len(run.ids))):
            raise AitiaError(
                f"{folder}: was trained with row weights; weights are chosen from a run in which each row counts once, "
                "so train without them"
            )
        lacking = [name for name in run.ids if name not in known]
        if lacking or len(data) != len(run.ids):
            what = f"which lacks row {lacking[0]!r}" if lacking else f"which has {len(data)}"
            raise AitiaError(
                f"{folder}: was trained on {len(run.ids)} rows, and not on {data.source or 'the data'}, {what}; give "
                "the data that the run was trained on"
            )
        model = run.said["model"]
        for each in asked:
            if isinstance(each.behaviour, ConceptProjection):
                require_same_base(
                    each.behaviour.concept, model["base_fingerprint"], model["dtype"], f"the run {folder}"
                )

        def fresh() -> LanguageModel:
            found = load_model(base or model["name"], dtype=model["dtype"])
            run.require_model(found)
            return found

        return cls(run=run, data=data, base=cache(fresh), fresh=fresh)

    def derivatives(
        self, asked: Sequence[Asked], settings: RoundSettings, run: RecordedRun | None = None
    ) -> Derivatives:
        """Derivatives of what is asked, of this run or of another from the same base on the same rows."""
        targets = [each.target for each in asked if each.target is not None]
        return kept_derivatives(run or self.run, self.base, self.data, targets, runs=settings.surrogates)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to fall and what is to stay, and the recorded run that is asked.

    Attributes:
        lower: what is to fall; at least one.
        keep: what is to stay.
        run: the recorded run; none where rankings alone are given.
    """

    lower: tuple[Asked, ...]
    keep: tuple[Asked, ...] = ()
    run: AskedRun | None = None

    def __post_init__(self) -> None:
        names = [each.name for each in self.asked]
        if not self.lower:
            raise AitiaError("control: name at least one measurement that is to fall: `lower`")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise AitiaError(f"{twice[0]}: named twice; it can fall or stay, once")
        to_measure = [each for each in self.asked if each.ranking is None]
        if to_measure and self.run is None:
            raise AitiaError(
                f"{to_measure[0].name}: is measured after training, by a recorded run; give its folder as `run`, or a "
                "ranking by the method replay in its place"
            )
        if self.run is not None and not to_measure:
            raise AitiaError(f"{self.run.run.path}: rankings alone are given, and would pass over the run")

    @property
    def asked(self) -> tuple[Asked, ...]:
        """All of it, what is to fall first."""
        return (*self.lower, *self.keep)

    @classmethod
    def read(
        cls,
        data: Records,
        lower: Sequence[Path],
        keep: Sequence[Path] = (),
        *,
        run: Path | None = None,
        queries: Path | None = None,
        base: str | None = None,
    ) -> Question:
        """Read the files and the run.

        Args:
            data: the rows.
            lower: files of what is to fall (see `read_asked`).
            keep: files of what is to stay.
            run: folder of the recorded run.
            queries: file of the texts whose projection on a concept is measured.
            base: the place of the model that the run started from, if it was moved.

        Returns:
            The question.

        Raises:
            AitiaError: a file is none of these, or what is given does not go together.
            StoreError: the run is not finished or damaged.
            ConceptError: a concept is of another model.
        """
        if run is None and not (queries is base is None):
            raise AitiaError("`queries` and `base` are about a recorded `run`; give it")
        texts = None if queries is None else read_records(queries)
        require_answers(texts or (), mend=_ONE_ANSWER)
        falls, stays = ([read_asked(path, texts) for path in paths] for paths in (lower, keep))
        if texts is not None and not any(each.is_concept for each in (*falls, *stays)):
            raise AitiaError("`queries` are measured by a concept, and none is named; leave them out")
        asked = None if run is None else AskedRun.prepare(run, data, [*falls, *stays], base)
        return cls(lower=tuple(falls), keep=tuple(stays), run=asked)


@dataclass(frozen=True, kw_only=True)
class Linearised:
    """What is to fall and to stay, to first order in the rows' weights.

    Attributes:
        lower: [a, n] derivatives.
        keep: [b, n] likewise; none where nothing is to stay.
        about: where they were taken; none for weights of one each.
    """

    lower: np.ndarray
    keep: np.ndarray | None
    about: Expansion | None = None

    def anywhere(self) -> Expansion | None:
        """Where the derivatives were taken, without a limit to how far weights may be from there."""
        return None if self.about is None else replace(self.about, reach=None)

    def scales(self) -> tuple[np.ndarray, np.ndarray]:
        """[a] and [b] by which a change becomes a share."""
        if (
            self.about is not None
            and self.about.lower_scale is not None
            and self.about.keep_scale is not None
        ):
            return self.about.lower_scale, self.about.keep_scale
        return absolute_sums(self.lower), np.zeros(0) if self.keep is None else absolute_sums(self.keep)

    @classmethod
    def of(
        cls, question: Question, data: Records, found: Derivatives | None, about: Expansion | None = None
    ) -> Linearised:
        """Put derivatives together, those of rankings and those of a run.

        Returns:
            The derivatives, in the order of the question.

        Raises:
            AitiaError: a ranking is of other rows.
        """
        scores = {} if found is None else dict(zip(found.targets, found.scores, strict=True))

        def row(each: Asked) -> np.ndarray:
            return scores[each.name] if each.ranking is None else each.ranking.score_of(data)

        return cls(
            lower=np.stack([row(each) for each in question.lower]),
            keep=np.stack([row(each) for each in question.keep]) if question.keep else None,
            about=about,
        )
