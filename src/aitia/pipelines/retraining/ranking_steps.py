"""What `aitia counterfactual` ranks, as steps: judge, training data, queries, and the scores that are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from aitia.attribution.scorers import find_scorer
from aitia.counterfactual import on_policy_queries
from aitia.errors import AitiaError, StoreError, reason_of
from aitia.files import atomic_path, reading
from aitia.pipelines.retraining.counterfactual_configuration import JudgePart, QueriesPart
from aitia.pipelines.retraining.counterfactual_inputs import NamedJudge, make_judge
from aitia.pipelines.steps.curvature import PlanCurvature
from aitia.pipelines.steps.models import ModelStep
from aitia.pipelines.steps.rank import Rank
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.step import Place, Results, Step
from aitia.records import Records, read_records


@dataclass(frozen=True, kw_only=True)
class Rankings:
    """Scores of all rankings.

    Attributes:
        scores: name -> [n], in the order of the data.
        seconds: name -> time that scoring took.
    """

    scores: Mapping[str, np.ndarray]
    seconds: Mapping[str, float]


@dataclass(kw_only=True, eq=False, repr=False)
class MakeJudge(Step[NamedJudge]):
    """Who grades responses.

    Attributes:
        part: of the configuration.
        folder: where the answers of an endpoint are kept.
        ask: ask an endpoint one question, to see that it answers.
    """

    name: str = "judge"
    part: JudgePart
    folder: Path
    ask: bool = True

    @cached_property
    def judge(self) -> NamedJudge:
        """The judge, made when it is first asked for.

        Raises:
            JudgeError: see `make_judge`.
        """
        return make_judge(self.part, self.folder, ask=self.ask)

    def depends(self) -> object:
        """See `Step.depends`."""
        return self.judge.name

    def run(self, results: Results) -> NamedJudge:  # noqa: ARG002
        """See `Step.run`.

        Returns:
            The judge.
        """
        return self.judge


@dataclass(kw_only=True, eq=False, repr=False)
class WriteTrainingData(ReadRecords):
    """The training rows; a mix is written down, and read from there, so that what comes later finds it.

    Attributes:
        given: the rows.
        out: file for a mix; none where the rows lie in a file already.
    """

    out: Path | None = None

    def run(self, results: Results) -> Records:
        """See `Step.run`."""
        if self.out is None:
            return super().run(results)
        return read_records(self.records.write(self.out), **self.records.reading.settings)


@dataclass(kw_only=True, eq=False, repr=False)
class AnswerPrompts(Step[Records]):
    """Queries that the model gives itself: its answers to prompts that the judge grades highest.

    Attributes:
        model: answers.
        judge: picks.
        prompts: to be answered.
        part: of the configuration.
        out: file that the answers are written to.
    """

    name: str = "queries"
    model: ModelStep
    judge: MakeJudge
    prompts: ReadRecords
    part: QueriesPart
    out: Path

    def depends(self) -> object:
        """See `Step.depends`."""
        return self.part.model_dump(mode="json", exclude={"texts", "prompts"})

    def run(self, results: Results) -> Records:
        """See `Step.run`."""
        found = on_policy_queries(
            results[self.model],
            results[self.prompts],
            results[self.judge].judge,
            keep=self.part.keep,
            samples=self.part.samples,
            max_new_tokens=self.part.max_new_tokens,
            temperature=self.part.temperature,
            seed=self.part.seed,
        )
        found.write(self.out)
        return found


@dataclass(kw_only=True, eq=False, repr=False)
class KeepScores(Step[Rankings]):
    """The scores of all rankings, kept.

    Attributes:
        data: the rows.
        ranking: by all methods; none where rankings are read from files alone.
        plan: of the curvature, whose factors of the rows are removed now; none where there is none to fit.
        compare: the methods, in their order.
        out: file that the scores are kept in.
    """

    name: str = "scores"
    data: ReadRecords
    ranking: Rank | None
    plan: PlanCurvature | None
    compare: tuple[str, ...]
    out: Place

    def depends(self) -> object:
        """See `Step.depends`."""
        return list(self.compare)

    def done(self) -> bool:
        """See `Step.done`."""
        return self.out.may_be_there() and self.out.path().is_file()

    def read(self) -> Rankings:
        """See `Step.read`."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        path = self.out.path()
        try:
            with reading(path):
                table = parquet.read_table(path)
            seconds = json.loads((table.schema.metadata or {})[b"aitia"])
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise StoreError(
                f"{path}: damaged ({reason_of(error)}); delete the file and run again"
            ) from error
        names = [name for name in table.column_names if name != "id"]
        scores = {name.removeprefix("score "): table[name].to_numpy() for name in names}
        return Rankings(scores=scores, seconds=seconds)

    def run(self, results: Results) -> Rankings:
        """See `Step.run`.

        Returns:
            The rankings.

        Raises:
            AitiaError: a method cannot be compared on these rows.
        """
        import pyarrow as pa
        import pyarrow.parquet as parquet

        found = Rankings(scores={}, seconds={})
        if self.ranking is not None:
            ranking = results[self.ranking]
            assert tuple(ranking.ids.tolist()) == self.data.records.ids
            for left_out, reason in ranking.provenance["left_out"].items():
                raise AitiaError(f"rankings.compare: {left_out} cannot be compared: {reason}")
            found = Rankings(
                scores={name: ranking.scores[name] for name in self.compare},
                seconds={name: ranking.seconds[name] for name in self.compare},
            )
        cache = None if self.plan is None else results[self.plan].cache
        if cache is not None:
            cache.clear()
        columns = {f"score {name}": values for name, values in found.scores.items()}
        table = pa.table({"id": list(self.data.records.ids), **columns})
        table = table.replace_schema_metadata({"aitia": json.dumps(dict(found.seconds))})
        with atomic_path(self.out.path()) as temporary:
            parquet.write_table(table, temporary)
        return found


def measures_queries(methods: tuple[str, ...]) -> bool:
    """Whether a method measures queries."""
    return any(find_scorer(name).needs().queries for name in methods)
