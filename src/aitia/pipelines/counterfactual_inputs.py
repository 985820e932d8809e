"""What `aitia counterfactual` reads, checked before any model runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aitia.attribution import read_ranking
from aitia.attribution.evaluation import label_values
from aitia.attribution.methods import METHODS, InfluenceMethod
from aitia.concepts import load_concept
from aitia.counterfactual import EndpointJudge, Judge, fit_classifier_judge
from aitia.counterfactual.endpoint_judge import rubric_for
from aitia.counterfactual.mixing import LABEL, hold_out, mix_answers
from aitia.counterfactual.prompt_sets import read_prompts, require_disjoint_prompts, shared_question
from aitia.errors import AitiaError, JudgeError
from aitia.files import digest
from aitia.pipelines.counterfactual_configuration import CounterfactualConfiguration, JudgePart
from aitia.records import Records, read_records
from aitia.records.record import shorten

TEXT_BASELINES = ("tf-idf", "bm25", "sentence-embedding")


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

    Raises:
        AitiaError: a file, row or column is wrong, or two sets of texts share a prompt.
    """
    parts, concept = configuration.behaviours, configuration.concept
    data, margin = _training_data(configuration)
    label = LABEL if configuration.data.chosen is not None else configuration.data.label
    asked = configuration.queries
    inputs = Inputs(
        data=data,
        labels=None if label is None else label_values(data, label, data.ids),
        positive=None if concept.positive is None else read_records(concept.positive),
        negative=None if concept.negative is None else read_records(concept.negative),
        queries=None if asked is None else _queries(asked.texts, asked.prompts),
        projected=None if parts.projection is None else read_records(parts.projection.texts),
        margin=margin,
        judged=None if parts.judged is None else read_prompts(parts.judged.prompts),
        files={name: _scores_of(path, data) for name, path in configuration.rankings.files.items()},
        warnings=(),
    )
    _require_what_rankings_need(configuration, inputs)
    return _with_checked_prompts(inputs, concept.file)


def make_judge(part: JudgePart, folder: Path) -> NamedJudge:
    """Make the judge that a configuration asks for; nothing is asked of it yet.

    Args:
        part: of the configuration.
        folder: where the answers of an endpoint are kept.

    Raises:
        JudgeError: no key, no client library, or texts that a classifier cannot be fitted to.
    """
    if part.endpoint is not None:
        end = part.endpoint
        try:
            rubric = rubric_for(end.behaviour or "") if end.rubric is None else end.rubric.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise JudgeError(f"{end.rubric}: the rubric cannot be read ({error})") from error
        judge = EndpointJudge(
            end.model,
            rubric,
            cache=folder / "judge-answers.jsonl",
            base_url=end.base_url,
            concurrency=end.concurrency,
            max_unparsable=end.max_unparsable,
        )
        name = f"{end.model} at {end.base_url or 'the default endpoint'}, rubric {digest(rubric)[:12]}"
        return NamedJudge(judge=judge, name=name, quality="not measured; grade some answers by hand")
    from aitia.models import load_sentence_encoder

    assert part.classifier is not None
    texts = [read_records(path) for path in (part.classifier.positive, part.classifier.negative)]
    classifier = fit_classifier_judge(
        [record.completion_text for record in texts[0]],
        [record.completion_text for record in texts[1]],
        load_sentence_encoder(part.classifier.encoder),
        groups=[record.question or record.id for records in texts for record in records],
        max_overlap=part.classifier.max_overlap,
    )
    name = f"classifier {digest([classifier.encoder.fingerprint, classifier.weights.tolist()])[:12]}"
    return NamedJudge(judge=classifier, name=name, quality=str(classifier.held_out))


def _training_data(
    configuration: CounterfactualConfiguration,
) -> tuple[Records, tuple[Records, Records | None] | None]:
    """The rows to train on, and the pairs to measure the likelihood margin on."""
    part, margin = configuration.data, configuration.behaviours.margin
    measured: tuple[Records, Records | None] | None = None
    if margin is not None and margin.behaviour is not None:
        normal = None if margin.normal is None else read_records(margin.normal)
        measured = read_records(margin.behaviour), normal
    pair = part.chosen
    if pair is None:
        assert part.path is not None
        return read_records(part.path, records_limit=part.rows or None), measured
    normal, misaligned = read_records(pair.normal), read_records(pair.misaligned)
    if margin is not None and margin.held_out:
        rest, aside = hold_out(normal, misaligned, margin.held_out, seed=part.seed)
        (normal, misaligned), measured = rest, (aside[1], aside[0])
    mix = mix_answers(
        normal, misaligned, share=part.share, seed=part.seed, shared_only=part.shared_prompts_only
    )
    return mix if not part.rows else mix.only(mix.ids[: part.rows]), measured


def _queries(texts: Path | None, prompts: Path | None) -> Records:
    return read_records(texts) if texts is not None else read_prompts(prompts or Path())


def _scores_of(path: Path, data: Records) -> np.ndarray:
    """A ranking's scores in the order of the data."""
    ranking = read_ranking(path)
    scores = dict(zip(ranking.ids.tolist(), ranking.score.tolist(), strict=True))
    missing = [record for record in data if record.id not in scores]
    if missing:
        raise AitiaError(
            f"{path}: has no score for {len(missing)} of {len(data)} rows, such as {missing[0].id!r} "
            f"({missing[0].extra.get('origin', missing[0].location)}); rank the very rows that are trained on"
        )
    return np.array([scores[name] for name in data.ids])


def _require_what_rankings_need(configuration: CounterfactualConfiguration, inputs: Inputs) -> None:
    for name in configuration.rankings.compare:
        if isinstance(METHODS.get(name), InfluenceMethod) and inputs.queries is None:
            raise AitiaError(f"rankings.compare: {name} measures queries; give queries.texts")
        if name in TEXT_BASELINES and inputs.positive is None:
            raise AitiaError(
                f"rankings.compare: {name} compares with the concept's texts; give them instead of a file"
            )


def _with_checked_prompts(inputs: Inputs, concept_file: Path | None) -> Inputs:
    """Refuse prompt sets that meet, and note what could not be checked."""
    warnings = []
    fitted = [texts for texts in (inputs.positive, inputs.negative) if texts is not None]
    if concept_file is not None:
        fitted = _fitting_texts(concept_file)
        if not fitted:
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


def _fitting_texts(file: Path) -> list[Records]:
    """The texts that a concept file names, if they are still there as they were."""
    recipe = load_concept(file).recipe
    found = []
    for side in ("positive", "negative"):
        named = recipe.get(side)
        if not isinstance(named, Mapping) or "source" not in named or not Path(named["source"]).exists():
            return []
        texts = read_records(Path(named["source"]))
        if texts.fingerprint != named.get("fingerprint"):
            return []
        found.append(texts)
    return found
