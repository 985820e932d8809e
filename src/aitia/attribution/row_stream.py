"""Scores of rows as they come, without a store: by scorers that read each row alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated, Any

import numpy as np

from aitia.attribution.scanning.activation_products import difference
from aitia.attribution.scanning.activations import FORWARD_ACTIVATIONS, activation_key, collect_activations
from aitia.attribution.scanning.side_activations import (
    collect_row_activations,
    run_length,
    side_activation,
)
from aitia.attribution.scorers import (
    DEFAULT_METHOD,
    ActivationScorer,
    activation_scorers,
    find_activation_scorer,
)
from aitia.concepts import Concept, require_concept_fits
from aitia.errors import AitiaError, NumericalError, RecordError
from aitia.models import LanguageModel, row_length
from aitia.models.losses import with_references
from aitia.records import (
    BATCH_TOKENS,
    ArrivingRows,
    OnError,
    ReadingSettings,
    Records,
    TokenizedRecord,
    length_batches,
    pad_batch,
    tokenize,
)
from aitia.records.losses import PLAIN, LossSettings, loss_of
from aitia.settings import AtLeast, AtMost, Count, check

ALONE = {*FORWARD_ACTIVATIONS, "backward"}
"""Activations that a row has by itself, without a sampled response."""


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Settings of scores for rows as they come.

    Attributes:
        methods: scorer of the fast family that reads a row alone.
        look_ahead: rows that are read before the first of them is scored, at most; they make batches of like length.
        max_batch_tokens: tokens run at once, padding included.
    """

    methods: tuple[str, ...] = (DEFAULT_METHOD,)
    look_ahead: Annotated[int, AtLeast(1), AtMost(100_000)] = 64
    max_batch_tokens: Count = BATCH_TOKENS

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class RowScore:
    """What became of one row.

    Attributes:
        location: place of the row: `rows:12`, counted from 1.
        id: of the row; none where it could not be read.
        scores: method -> score; empty where the row cannot be used.
        sides: of a preference pair, answer -> its part of the score; empty for other rows.
        error: why the row cannot be used; none where it can.
    """

    location: str
    id: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    sides: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON: `location`, `id`, `scores` and, of a pair, `sides`; or `location` and `error`."""
        if self.error is not None:
            return {"location": self.location, "error": self.error}
        found: dict[str, Any] = {"location": self.location, "id": self.id, "scores": dict(self.scores)}
        return found | ({"sides": dict(self.sides)} if self.sides else {})


class RowStream:
    """A model and a concept, ready to score rows."""

    def __init__(
        self,
        model: LanguageModel,
        concept: Concept,
        settings: StreamSettings | None = None,
        *,
        reading: ReadingSettings | None = None,
        loss: LossSettings = PLAIN,
        max_length: int = 0,
        truncate: bool = False,
        on_error: OnError = "stop",
        name: str = "rows",
    ):
        """Check all that can be checked before the first row.

        Args:
            model: the model, as a rule the fine-tuned one.
            concept: a concept of it.
            settings: which methods, and how rows are put together.
            reading: how rows are read.
            loss: what training does with a row; as `scan` takes it.
            max_length: longest row, in tokens; 0 for the model's context.
            truncate: cut longer rows instead of refusing them.
            on_error: `stop` at a row that cannot be used; `skip` gives it as a `RowScore` with its `error`.
            name: for the location of a row.

        Raises:
            AitiaError: a method is not of the fast family, needs more than the row itself, or does not read the rows'
                loss; or the loss reads a reference model, and the model has no adapter to turn off.
            ConceptError: the concept is of another model.
            RecordError: the model does not take rows of that length, or a setting of the loss would be passed over.
        """
        loss.require_read()
        self.loss = loss
        self.settings = settings or StreamSettings()
        self.scorers = [_alone(name) for name in dict.fromkeys(self.settings.methods)]
        for scorer in self.scorers:
            if not (loss.plain or scorer.any_loss):
                raise AitiaError(
                    f"method {scorer.name} does not read the gradient of a row's loss, and the rows have the loss "
                    f"{loss}: it would take them for rows of supervised fine-tuning; choose activation-gradient"
                )
        require_concept_fits(concept, model)
        with_references(model, [], loss)  # refuses a model that has no reference
        if on_error not in ("stop", "skip"):
            raise AitiaError(f"on_error {on_error!r}: choose stop or skip")
        self.model, self.concept, self.on_error = model, concept, on_error
        self._longest, self._truncate = row_length(model, max_length), truncate
        self._rows = ArrivingRows(name, reading)

    def score(self, rows: Iterable[Any]) -> Iterator[RowScore]:
        """Score the next rows, all of them before the first is given.

        Args:
            rows: objects with named columns, lines of JSON, or records.

        Yields:
            One for each row but blank lines, in order.

        Raises:
            RecordError: with `on_error=stop`: a row cannot be used; its place is named. The rows before it were given.
        """
        records, bad = self._rows.read(rows)
        cut = tokenize(
            records,
            self.model.tokenizer,
            max_length=self._longest,
            truncate=self._truncate,
            on_error="skip",
            loss=self.loss,
        )
        found = {row.row: RowScore(location=row.location, error=row.reason) for row in (*bad, *cut.skipped)}
        asking = next((each.name for each in self.scorers if each.reading.prompts), None)
        for row in cut:
            if asking is not None and row.response.all():
                reason = f"no prompt before the response, which method {asking} needs"
                found[row.row] = RowScore(location=row.location, error=reason)
        end = min(found, default=None) if self.on_error == "stop" else None
        usable = [row for row in cut if row.row not in found and (end is None or row.row < end)]
        lengths = [run_length(row) for row in usable]
        for index in length_batches(lengths, max_tokens=self.settings.max_batch_tokens):
            found |= self._batch([usable[int(place)] for place in index])
        for place in sorted(found):
            if found[place].error is not None and self.on_error == "stop":
                raise RecordError(
                    f"{found[place].location}: {found[place].error}. Mend the row, or have its error given in the "
                    "place of scores: `on_error=skip`"
                )
            yield found[place]

    def _batch(self, rows: Sequence[TokenizedRecord]) -> dict[int, RowScore]:
        try:
            scores, sides = self._products(rows)
        except NumericalError as error:
            if len(rows) == 1:
                return {rows[0].row: RowScore(location=rows[0].location, error=str(error))}
            return {place: each for row in rows for place, each in self._batch([row]).items()}
        return {
            row.row: RowScore(
                location=row.location,
                id=row.id,
                scores={name: float(values[place]) for name, values in scores.items()},
                sides={name: float(values[place]) for name, values in sides.items()},
            )
            for place, row in enumerate(rows)
        }

    def _products(
        self, rows: Sequence[TokenizedRecord]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Method -> [b] scores, as `activation_products` makes them of a store; and answer -> [b] parts of them."""
        site = self.concept.site
        if self.loss.plain:
            arrays = collect_activations(
                self.model,
                pad_batch(rows, np.arange(len(rows)), self.model.pad_id),
                [site],
                [row.location for row in rows],
                backward=any("backward" in each.reading.activations for each in self.scorers),
            )
        else:
            filled = with_references(
                self.model, rows, self.loss, max_batch_tokens=self.settings.max_batch_tokens
            )
            arrays = collect_row_activations(self.model, filled, [site], self.loss)
        block = {name: arrays[key] for name in ALONE if (key := activation_key(name, site)) in arrays}
        vector = self.concept.vector.astype(np.float32)
        readings = {each.name: each.reading.at(self.concept.tokens) for each in self.scorers}
        scores = {
            name: difference(block, reading) @ (reading.sign * vector) for name, reading in readings.items()
        }
        sides = {}
        for name in loss_of(self.loss).sides if len(loss_of(self.loss).sides) > 1 else ():
            part = arrays[activation_key(side_activation(name), site)]
            sides[name] = part @ (self.scorers[0].reading.sign * vector)
        return scores, sides


def score_rows(
    model: LanguageModel,
    concept: Concept,
    rows: Iterable[Any] | Records,
    settings: StreamSettings | None = None,
    *,
    methods: Sequence[str] | None = None,
    reading: ReadingSettings | None = None,
    loss: LossSettings = PLAIN,
    max_length: int = 0,
    truncate: bool = False,
    on_error: OnError = "stop",
) -> Iterator[RowScore]:
    """Score rows as they come, without a store: for pipelines, and for data that never end.

    The scores are those that `scan` and `rank` give the same rows, up to rounding, since a row's batch is another.

    Args:
        model: the model, as a rule the fine-tuned one.
        concept: a concept of it.
        rows: records, or objects with named columns, or lines of JSON; drawn as they are needed.
        settings: which methods, and how rows are put together.
        methods: in the place of the settings' own.
        reading: how rows are read.
        loss: what training does with a row; as `scan` takes it.
        max_length: longest row, in tokens; 0 for the model's context.
        truncate: cut longer rows instead of refusing them.
        on_error: `stop` at a row that cannot be used, or `skip`, which gives its reason in the place of scores.

    Yields:
        One for each row, in order.

    Raises:
        RecordError: with `on_error=stop`: a row cannot be used; its place is named. The rows before it were given.
    """
    chosen = settings or StreamSettings()
    chosen = chosen if methods is None else replace(chosen, methods=tuple(methods))
    stream = RowStream(
        model,
        concept,
        chosen,
        reading=reading,
        loss=loss,
        max_length=max_length,
        truncate=truncate,
        on_error=on_error,
    )
    source = iter(rows)
    while group := list(islice(source, chosen.look_ahead)):
        yield from stream.score(group)


def _alone(name: str) -> ActivationScorer:
    """A scorer that reads a row alone; others are refused with the reason."""
    found = find_activation_scorer(name)
    if found.reading.whitened:
        why = "needs the covariance of all rows"
    elif not set(found.reading.activations) <= ALONE:
        why = "needs a response that the model samples"
    else:
        return found
    fit = [
        each.name
        for each in activation_scorers().values()
        if not each.reading.whitened and set(each.reading.activations) <= ALONE
    ]
    raise AitiaError(f"method {name} {why}: use `scan` and `rank`, or choose among {', '.join(fit)}")
