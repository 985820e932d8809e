"""What `aitia counterfactual` reads, checked before any model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from aitia.attribution import read_ranking
from aitia.attribution.scorers import find_scorer, label_values
from aitia.concepts import fitted_texts, load_concept
from aitia.counterfactual import MIXED_LABEL as LABEL
from aitia.counterfactual import (
    EndpointJudge,
    Judge,
    fit_classifier_judge,
    hold_out,
    mix_answers,
    read_prompts,
    require_disjoint_prompts,
    rubric_for,
    shared_question,
)
from aitia.errors import AitiaError, ConceptError, JudgeError, RecordError
from aitia.files import digest
from aitia.pipelines.attribution.configuration import ConceptPart
from aitia.pipelines.retraining.counterfactual_configuration import (
    CounterfactualConfiguration,
    JudgePart,
    QueriesPart,
)
from aitia.records import ReadingSettings, Records, read_records, shorten
from aitia.records.losses import require_answers

_TRIAL = (["What is the capital of France?"], ["The capital of France is Paris."])


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything that was read.

    Attributes:
        data: the training rows.
        labels: [n] bool, which are misaligned, where that is known.
        positive: texts that show the concept, where it is fitted here.
        negative: texts that do not.
        queries: texts that the influence methods measure, or prompts to be answered.
        projected: texts that the concept is projected on.
        margin: texts with the behaviour, and without, to the same prompts.
        judged: prompts whose responses are judged.
        files: name -> [n] scores of rankings made elsewhere.
        warnings: what a reader of the results should know.
    """

    data: Records
    labels: np.ndarray | None
    positive: Records | None
    negative: Records | None
    queries: Records | None
    projected: Records | None
    margin: tuple[Records, Records | None] | None
    judged: Records | None
    files: Mapping[str, np.ndarray]
    warnings: tuple[str, ...]

    @property
    def measured(self) -> list[Records]:
        """All texts that a behaviour is measured on."""
        held_out = (self.projected, *(self.margin or ()), self.judged)
        return [texts for texts in held_out if texts is not None]

    def with_data(self, data: Records) -> Inputs:
        """The same with the training rows read from another place."""
        return replace(self, data=data)

    def with_overlap_warning(self) -> Inputs:
        """The same, with a warning where a prompt is both trained on and measured."""
        found = shared_question([self.data], self.measured)
        if found is None:
            return self
        warning = (
            f"The prompt {shorten(found[0].question)} is both trained on ({found[0].location}) and measured "
            f"({found[1].location}): that behaviour is not held out."
        )
        return replace(self, warnings=(*self.warnings, warning))


@dataclass(frozen=True, kw_only=True)
class NamedJudge:
    """A judge, the name that its results are filed under, and how good it is known to be."""

    judge: Judge
    name: str
    quality: str


def read_inputs(configuration: CounterfactualConfiguration) -> Inputs:
    """Read all files of a configuration and check that they fit together.

    Returns:
        Data, queries, prompts and measured texts, which are disjoint.

    Raises:
        AitiaError: a file, row or column is wrong, or two sets of texts share a prompt.
    """
    parts, concept = configuration.behaviours, configuration.concept
    _require_places(configuration)
    data, margin = _training_data(configuration)
    _require_shares(configuration.removal.shares, len(data))
    label = LABEL if configuration.data.chosen is not None else configuration.data.label
    asked = configuration.queries
    inputs = Inputs(
        data=data,
        labels=None if label is None else label_values(data, label, data.ids),
        positive=_texts_if("concept.positive", concept.positive, concept),
        negative=_texts_if("concept.negative", concept.negative, concept),
        queries=None if asked is None else _queries(asked),
        projected=None
        if parts.projection is None
        else _read("behaviours.projection.texts", parts.projection.texts),
        margin=margin,
        judged=None
        if parts.judged is None
        else _read("behaviours.judged.prompts", parts.judged.prompts, read_prompts),
        files={name: _scores_of(path, data) for name, path in configuration.rankings.files.items()},
        warnings=(),
    )
    _require_what_rankings_need(configuration, inputs)
    return _with_checked_prompts(inputs, concept.file)


def make_judge(part: JudgePart, folder: Path, *, ask: bool = True) -> NamedJudge:
    """Make the judge that a configuration asks for, and ask an endpoint one question: does it answer at all?

    Args:
        part: of the configuration.
        folder: where the answers of an endpoint are kept.
        ask: whether to ask that question.

    Returns:
        The judge, with its name and how good it is known to be.

    Raises:
        JudgeError: no key, no client library, an endpoint that does not answer or gives no grade, or texts that
            a classifier cannot be fitted to.
    """
    if part.endpoint is not None:
        end = part.endpoint
        try:
            rubric = rubric_for(end.behaviour or "") if end.rubric is None else end.rubric.read_text("utf-8")
        except FileNotFoundError:
            raise JudgeError(f"judge.endpoint.rubric: {end.rubric}: no such file; give a text file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise JudgeError(f"judge.endpoint.rubric: {end.rubric}: cannot be read ({error})") from error
        try:
            judge = EndpointJudge(
                end.model,
                rubric,
                cache=folder / "judge-answers.jsonl",
                base_url=end.base_url,
                concurrency=end.concurrency,
                max_unparsable=end.max_unparsable,
            )
            if ask:
                judge.scores(*_TRIAL)
        except JudgeError as error:
            raise JudgeError(
                f"judge.endpoint{'' if end.rubric is None else f' ({end.rubric})'}: {error}"
            ) from error
        name = f"{end.model} at {end.base_url or 'the default endpoint'}, rubric {digest(rubric)[:12]}"
        return NamedJudge(judge=judge, name=name, quality="not measured; grade some answers by hand")
    from aitia.models import load_sentence_encoder

    assert part.classifier is not None
    positive = _read("judge.classifier.positive", part.classifier.positive)
    negative = _read("judge.classifier.negative", part.classifier.negative)
    try:
        classifier = fit_classifier_judge(
            [record.completion_text for record in positive],
            [record.completion_text for record in negative],
            load_sentence_encoder(part.classifier.encoder),
            groups=[record.question or record.id for records in (positive, negative) for record in records],
            max_overlap=part.classifier.max_overlap,
        )
    except JudgeError as error:
        raise JudgeError(f"judge.classifier ({positive.source}, {negative.source}): {error}") from error
    name = f"classifier {digest([classifier.encoder.fingerprint, classifier.weights.tolist()])[:12]}"
    return NamedJudge(judge=classifier, name=name, quality=str(classifier.held_out))


def _training_data(
    configuration: CounterfactualConfiguration,
) -> tuple[Records, tuple[Records, Records | None] | None]:
    """The rows to train on, and the pairs to measure the likelihood margin on."""
    part, margin = configuration.data, configuration.behaviours.margin
    measured: tuple[Records, Records | None] | None = None
    if margin is not None and margin.behaviour is not None:
        measured = _answer_pairs(
            _read("behaviours.margin.behaviour", margin.behaviour),
            _read_if("behaviours.margin.normal", margin.normal),
        )
    pair = part.chosen
    if pair is None:
        assert part.path is not None
        reader = partial(read_records, settings=part.take(ReadingSettings), records_limit=part.rows or None)
        return _read("data.path", part.path, reader), measured
    key = "data.pair" if part.choose is None else f"data.sets.{part.choose}"
    normal, misaligned = _read(f"{key}.normal", pair.normal), _read(f"{key}.misaligned", pair.misaligned)
    if margin is not None and margin.held_out:
        rest, aside = hold_out(normal, misaligned, margin.held_out, seed=part.seed)
        (normal, misaligned), measured = rest, (aside[1], aside[0])
    mix = mix_answers(
        normal, misaligned, share=part.share, seed=part.seed, shared_only=part.shared_prompts_only
    )
    return mix if not part.rows else mix.only(mix.ids[: part.rows]), measured


def _queries(part: QueriesPart) -> Records:
    if part.texts is not None:
        return _texts("queries.texts", part.texts, part)
    return _read("queries.prompts", part.prompts or Path(), read_prompts)


def _texts(key: str, path: Path, part: ConceptPart | QueriesPart) -> Records:
    """Texts to fit to or to measure, read as a part of the configuration says."""

    def read(file: Path) -> Records:
        found = read_records(file, part.take(ReadingSettings), on_error=part.on_error)
        require_answers(found, part.on_error)
        return found

    return _read(key, path, read)


def _texts_if(key: str, path: Path | None, part: ConceptPart) -> Records | None:
    return None if path is None else _texts(key, path, part)


def _read_answers(path: Path) -> Records:
    found = read_records(path)
    require_answers(found, mend="give each prompt with one answer, as prompt and completion")
    return found


def _read(key: str, path: Path, reader: Callable[[Path], Records] = _read_answers) -> Records:
    """Read the file that a key of the configuration names; what is wrong with it is said of both."""
    if not path.exists():
        raise RecordError(
            f"{key}: {path}: no such file or folder; put it there, or mend the path (a relative one starts at the "
            "configuration's folder)"
        )
    try:
        found = reader(path)
    except RecordError as error:
        raise RecordError(f"{key}: {error}") from error
    if not len(found):
        raise RecordError(f"{key}: {path}: the file is empty; give at least one row")
    return found


def _read_if(key: str, path: Path | None) -> Records | None:
    return None if path is None else _read(key, path)


def _answer_pairs(behaviour: Records, normal: Records | None) -> tuple[Records, Records | None]:
    """Texts with the behaviour and without, refused unless row i of both answers the same prompt."""
    if normal is None:
        return behaviour, None
    if len(behaviour) != len(normal):
        raise RecordError(
            f"behaviours.margin: {len(behaviour)} rows in {behaviour.source}, but {len(normal)} in {normal.source}; "
            "give a pair for each prompt"
        )
    for one, other in zip(behaviour, normal, strict=True):
        if one.prompt_text != other.prompt_text:
            raise RecordError(
                f"behaviours.margin: {one.location} asks {shorten(one.prompt_text)}, but {other.location} asks "
                f"{shorten(other.prompt_text)}; give both files the same prompts in the same order"
            )
    return behaviour, normal


def _require_places(configuration: CounterfactualConfiguration) -> None:
    """Refuse places that would be missed only after hours of work."""
    file = next((each for each in configuration.folder.parents if each.exists() and not each.is_dir()), None)
    if file is not None or configuration.folder.is_file():
        raise AitiaError(f"out: {file or configuration.folder} is a file; give the name of a folder")
    curvature = configuration.rankings.curvature.file
    if curvature is not None and not curvature.is_file():
        raise AitiaError(
            f"rankings.curvature.file: {curvature}: no such file; make one with `aitia fit-curvature`, or say "
            "how to fit it"
        )


def _require_shares(shares: Sequence[float], rows: int) -> None:
    """Refuse shares that round to no row or to all of them."""
    for share in shares:
        if round(share * rows) in (0, rows):
            amount = "none" if round(share * rows) == 0 else "all"
            raise AitiaError(
                f"removal.shares: {share:g} of {rows} rows is {amount} of them; leave this share out, or give "
                "more rows"
            )


def _scores_of(path: Path, data: Records) -> np.ndarray:
    """A ranking's scores in the order of the data."""
    try:
        return read_ranking(path).score_of(data)
    except AitiaError as error:
        raise AitiaError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error


def _require_what_rankings_need(configuration: CounterfactualConfiguration, inputs: Inputs) -> None:
    for name in configuration.rankings.compare:
        needs = find_scorer(name).needs()
        if needs.queries and inputs.queries is None:
            raise AitiaError(f"rankings.compare: {name} measures queries; give queries.texts")
        if needs.texts and inputs.positive is None:
            raise AitiaError(
                f"rankings.compare: {name} compares with the concept's texts; give them instead of a file"
            )


def _with_checked_prompts(inputs: Inputs, concept_file: Path | None) -> Inputs:
    """Refuse prompt sets that meet, and note what could not be checked."""
    warnings = []
    fitted = [texts for texts in (inputs.positive, inputs.negative) if texts is not None]
    if concept_file is not None:
        try:
            fitted = list(fitted_texts(load_concept(concept_file)))
        except ConceptError:
            warnings.append(
                f"The texts that {concept_file.name} was fitted to were not found: whether their prompts are also "
                "asked about or measured could not be checked."
            )
    require_disjoint_prompts(
        {
            "fit the concept": fitted,
            "query": [] if inputs.queries is None else [inputs.queries],
            "evaluate": inputs.measured,
        }
    )
    return replace(inputs, warnings=tuple(warnings))
