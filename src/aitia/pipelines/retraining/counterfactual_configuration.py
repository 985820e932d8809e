"""The configuration of `aitia counterfactual`: one YAML file, checked before anything runs.

Relative paths are read from the folder of the configuration file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from aitia.attribution import ScanSettings
from aitia.attribution.gradients import Damping, Tokens
from aitia.attribution.scorers import DEFAULT_METHOD, find_scorer, scorer_names
from aitia.counterfactual import (
    ANSWER_TOKENS,
    ANSWERS_KEPT,
    ANSWERS_SAMPLED,
    ClassifierJudge,
    JudgedResponses,
)
from aitia.counterfactual.judging import CONCURRENCY, MAX_UNPARSABLE
from aitia.engine import Engine
from aitia.pipelines.attribution.configuration import (
    DAMPING_KEYS,
    ConceptPart,
    CurvaturePart,
    CutPart,
    LossPart,
    ReadingPart,
    Seed,
    parse_configuration,
)
from aitia.pipelines.parts import Part, part_of, whole
from aitia.records.losses import LossSettings
from aitia.training import LoraSettings

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class BaseModelPart(Part):
    """The model that every training starts from."""

    name: str = Field(description="Hub id, folder, or .gguf file.")
    device: str | None = Field(None, description="cpu, cuda, mps or auto; default: the best there is.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None, description="Precision of the weights; default: the model's own."
    )
    download: bool = Field(False, description="Allow fetching from the hub.")


class PairPart(Part):
    """Two files that answer the same prompts."""

    normal: Path = Field(description="Answers as they should be.")
    misaligned: Path = Field(description="Answers that show the behaviour.")


class TrainingDataPart(ReadingPart, LossPart):
    """What is trained on: one file, a pair to mix, or one of several pairs."""

    path: Path | None = Field(None, description="JSONL, JSON, CSV, Parquet, or a saved datasets folder.")
    pair: PairPart | None = Field(None, description="Two files to mix.")
    sets: dict[str, PairPart] = Field(
        default_factory=dict, description="Pairs by name, of which `choose` takes one."
    )
    choose: str | None = Field(None, description="Name of the pair in `sets` that is trained on.")
    label: str | None = Field(None, description="With path: a true-or-false column, for the oracle and AUC.")
    share: Annotated[float, Field(gt=0, le=1, description="Chance of the misaligned answer.")] = 0.5
    seed: Seed = Field(42, description="Seed of the draw that picks each prompt's answer.")
    shared_prompts_only: bool = Field(False, description="Leave out prompts that one file lacks.")
    rows: int = Field(0, ge=0, description="Number of rows to take from the start; 0 for all.")

    @model_validator(mode="after")
    def _one_source(self) -> TrainingDataPart:
        given = [self.path is not None, self.pair is not None, bool(self.sets)]
        if sum(given) != 1:
            raise ValueError("give one of path, pair (normal and misaligned), and sets with choose")
        if self.sets and self.choose not in self.sets:
            named = "nothing" if self.choose is None else repr(self.choose)
            raise ValueError(
                f"{named} is chosen (choose, or `data_set`); the sets are {', '.join(self.sets)}"
            )
        if self.choose is not None and not self.sets:
            raise ValueError(f"there are no sets to choose {self.choose!r} from (choose, or `data_set`)")
        if self.label is not None and self.path is None:
            raise ValueError("label: a mix labels its rows itself")
        if self.path is None and not self.take(LossSettings).plain:
            raise ValueError(
                f"loss: a mix takes one answer to each prompt, for supervised fine-tuning without weights; give the "
                f"rows of {self.take(LossSettings)} as path"
            )
        return self

    @property
    def chosen(self) -> PairPart | None:
        """The two files to mix, if there are any."""
        return self.sets[self.choose] if self.choose is not None else self.pair


class TunedConceptPart(ConceptPart):
    """A concept file, or the texts to fit one to, and on which model."""

    fitted_on: Literal["tuned", "base"] = Field(
        "tuned", description="The model trained on all rows, or the one before."
    )


class QueriesPart(ReadingPart, CutPart):
    """What the influence methods measure: texts, or the model's own answers to prompts."""

    texts: Path | None = Field(None, description="Texts that show the behaviour.")
    prompts: Path | None = Field(None, description="Answered by the tuned model, graded by the judge.")
    samples: Annotated[int, Field(ge=1, description="Answers sampled to each prompt.")] = ANSWERS_SAMPLED
    keep: Annotated[int, Field(ge=1, description="Answers with the highest grades that are kept.")] = (
        ANSWERS_KEPT
    )
    max_new_tokens: Annotated[int, Field(ge=1, description="Longest answer in tokens.")] = ANSWER_TOKENS
    temperature: Annotated[float, Field(ge=0, description="Temperature of the sampling.")] = (
        JudgedResponses.temperature
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> QueriesPart:
        if (self.texts is None) == (self.prompts is None):
            raise ValueError("give either texts, or prompts for the model to answer")
        return self


class RankingsPart(
    part_of(ScanSettings, only=("on_policy_response_tokens", "on_policy_responses", "max_batch_tokens")),
    part_of(Damping, keys=DAMPING_KEYS),
):
    """The rankings that are held against each other."""

    compare: Annotated[tuple[str, ...], Field(description="Methods and baselines.")] = (DEFAULT_METHOD,)
    files: dict[str, Path] = Field(
        default_factory=dict, description="Rankings made elsewhere, as aitia writes them."
    )
    curvature: CurvaturePart = CurvaturePart()
    seed: Seed = 0

    @model_validator(mode="after")
    def _known(self) -> RankingsPart:
        for name in self.compare:
            if name not in scorer_names():
                raise ValueError(f"{name!r} is not one of {', '.join(scorer_names())}")
        names = [*self.compare, *self.files]
        wrong = [name for name in names if names.count(name) > 1 or name in ("random", "all")]
        if wrong or not names:
            raise ValueError(f"{wrong[0]!r} is taken already" if wrong else "nothing to compare")
        return self


class RemovalPart(Part):
    """Which cells are trained: every ranking, end, share and seed, and random removal beside them."""

    shares: Annotated[
        tuple[Share, ...], Field(min_length=1, description="Shares of the rows that are removed.")
    ] = (0.1, 0.25, 0.5, 0.75, 0.9)
    ends: Annotated[
        tuple[Literal["top", "bottom"], ...],
        Field(
            min_length=1,
            description="Ends of a ranking that are removed: the most and the least influential.",
        ),
    ] = ("top", "bottom")
    seeds: Annotated[int, Field(ge=1, description="Number of seeds; 3 or more give useful intervals.")] = 3

    @field_validator("shares")
    @classmethod
    def _ascending(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(set(shares)))


class ClassifierPart(Part):
    """A judge that works offline, fitted to labelled texts that are used for nothing else."""

    positive: Path = Field(description="Responses that show the behaviour.")
    negative: Path = Field(description="Responses that do not.")
    encoder: Path | None = Field(None, description="Folder of a sentence encoder; default: MiniLM.")
    max_overlap: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of judged responses that may be texts of the fit, as stock answers are.",
        ),
    ] = ClassifierJudge.max_overlap


class EndpointPart(Part):
    """A judge behind an OpenAI-compatible endpoint; the key is read from OPENAI_API_KEY and never written."""

    model: str = Field(description="Name of the model at the endpoint.")
    base_url: str | None = Field(
        None, description="Address of the endpoint; default: that of the openai package."
    )
    behaviour: str | None = Field(None, description="What to grade, in words.")
    rubric: Path | None = Field(
        None, description="Text file of a whole question, with {prompt} and {response}."
    )
    concurrency: Annotated[int, Field(ge=1, description="Requests at a time.")] = CONCURRENCY
    max_unparsable: Annotated[
        float, Field(ge=0, le=1, description="Share of answers that may stay without a usable grade.")
    ] = MAX_UNPARSABLE

    @model_validator(mode="after")
    def _one_of_both(self) -> EndpointPart:
        if (self.behaviour is None) == (self.rubric is None):
            raise ValueError("give either behaviour, in words, or rubric, a file")
        return self


class JudgePart(Part):
    """Who grades responses."""

    classifier: ClassifierPart | None = None
    endpoint: EndpointPart | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> JudgePart:
        if (self.classifier is None) == (self.endpoint is None):
            raise ValueError("give either classifier or endpoint")
        return self


class ProjectionPart(Part):
    """The concept's projection on held-out texts."""

    texts: Path = Field(description="Held-out texts.")
    tokens: Annotated[
        Tokens | None,
        Field(
            description="Tokens whose activations are projected; default: those that the concept is read at."
        ),
    ] = None


class MarginPart(Part):
    """The margin in likelihood of the behaviour's answers over normal ones, to held-out prompts."""

    behaviour: Path | None = Field(None, description="Answers that show the behaviour.")
    normal: Path | None = Field(None, description="Normal answers to the same prompts.")
    held_out: Annotated[int, Field(ge=0, description="Prompts of the data that are not trained on.")] = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> MarginPart:
        if (self.behaviour is None) == (self.held_out == 0) or (self.normal is not None and self.held_out):
            raise ValueError("give either behaviour (and normal), or held_out")
        return self


class JudgedPart(Part):
    """What a judge says of the model's own responses."""

    prompts: Path = Field(description="Held-out prompts for the model to answer.")
    samples: Annotated[int, Field(ge=1, description="Answers sampled to each prompt.")] = (
        JudgedResponses.samples
    )
    max_new_tokens: Annotated[int, Field(ge=1, description="Longest answer in tokens.")] = (
        JudgedResponses.max_new_tokens
    )
    temperature: Annotated[float, Field(ge=0, description="Temperature of the sampling.")] = (
        JudgedResponses.temperature
    )
    seed: Seed = JudgedResponses.seed


class BehavioursPart(Part):
    """What is measured after each training."""

    projection: ProjectionPart | None = None
    margin: MarginPart | None = None
    judged: JudgedPart | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> BehavioursPart:
        if self.projection is None and self.margin is None and self.judged is None:
            raise ValueError("nothing to measure: give projection, margin or judged")
        return self


class CounterfactualConfiguration(Part):
    """Everything `aitia counterfactual` needs to know."""

    out: Path = Field(description="Folder for the results; with data.sets, a folder a set in it.")
    model: BaseModelPart
    data: TrainingDataPart
    training: Annotated[LoraSettings, whole] = LoraSettings()
    concept: TunedConceptPart
    queries: QueriesPart | None = None
    rankings: RankingsPart = RankingsPart()
    removal: RemovalPart = RemovalPart()
    behaviours: BehavioursPart
    judge: JudgePart | None = None
    engine: Annotated[Engine, whole] = Engine()

    @model_validator(mode="after")
    def _fits_together(self) -> CounterfactualConfiguration:
        if self.behaviours.judged is not None and self.judge is None:
            raise ValueError("behaviours.judged needs a judge")
        if self.queries is not None and self.queries.prompts is not None and self.judge is None:
            raise ValueError("queries.prompts: answers are chosen by a judge; give one, or texts")
        if (
            self.judge is not None
            and self.behaviours.judged is None
            and (self.queries is None or self.queries.prompts is None)
        ):
            raise ValueError("judge: nothing is judged; give behaviours.judged, or leave the judge out")
        if (
            self.behaviours.margin is not None
            and self.behaviours.margin.held_out
            and self.data.chosen is None
        ):
            raise ValueError("behaviours.margin.held_out: only a pair of files has two answers to a prompt")
        labelled = self.data.chosen is not None or self.data.label is not None
        for name in () if labelled else self.rankings.compare:
            if find_scorer(name).needs().labels:
                raise ValueError(f"rankings.compare: {name} needs data.label")
        self._require_scorers_fit()
        return self

    def _require_scorers_fit(self) -> None:
        loss = self.data.take(LossSettings)
        for name in self.rankings.compare:
            scorer = find_scorer(name)
            if not (loss.plain or scorer.any_loss):
                raise ValueError(
                    f"rankings.compare: {name} does not read the gradient of a row's loss, and data.loss is {loss}: it "
                    "would take the rows for rows of supervised fine-tuning; leave it out"
                )
            if scorer.needs().adapter and self.training.method != "lora":
                raise ValueError(
                    f"rankings.compare: {name} compares the trained model with the same model without its adapter, and "
                    f"training.method is {self.training.method}; leave it out"
                )

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out if self.data.choose is None else self.out / self.data.choose


def read_counterfactual_configuration(
    path: Path | str, *, choose: str | None = None
) -> CounterfactualConfiguration:
    """Read and check a configuration file; paths in it become absolute.

    Args:
        path: the file.
        choose: one of `data.sets`, in the place of `data.choose`.

    Returns:
        The configuration, checked.

    Raises:
        AitiaError: the file is missing, is not YAML, or a field is wrong; each wrong field is named.
    """
    return parse_configuration(
        path,
        CounterfactualConfiguration,
        "out, model, data, concept and behaviours",
        {} if choose is None else {"data": {"choose": choose}},
    )
