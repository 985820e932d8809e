"""What a ranking was given, handed to each of its scorers; read, loaded or fitted when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, Damping
from aitia.attribution.gradients.training_gradients import FactorCache
from aitia.attribution.influence.solving import SolveSettings
from aitia.attribution.influence.store_influence import StoreInfluence
from aitia.attribution.replay import StoreRuns
from aitia.attribution.scanning.activation_products import require_prompts
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers.labels import label_values
from aitia.attribution.scorers.protocol import Scorer
from aitia.concepts import Concept, fitted_texts
from aitia.engine import LOCAL, Engine
from aitia.errors import AitiaError, ConceptError
from aitia.records import Records, read_records
from aitia.records.losses import require_answers

if TYPE_CHECKING:
    from aitia.models import LanguageModel

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors, [texts, d]."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a caller of `rank` gave for its scorers, as it came.

    Attributes:
        queries: texts to measure.
        curvature: fitted, a file, or none to fit one.
        damping: of the curvature; none for the default.
        solve: how far the curvature is inverted as a whole; none for layer by layer.
        cache: of the rows' factors, from the curvature's pass.
        positive: texts that show the concept; none for those that the concept names.
        negative: texts that do not, likewise.
        label: the name of a true-or-false column, or its values, [n].
        encoder: of texts; none for the default sentence encoder.
        run: folder of the recorded training run, or several, on the same rows.
        base: the model that the run started from, where it lies in another place than the run says.
        cutting: of the queries, as `aitia.models.in_tokens` takes it.
    """

    queries: Records | Path | str | None = None
    curvature: Curvature | Path | str | None = None
    damping: Damping | None = None
    solve: SolveSettings | None = None
    cache: FactorCache | None = None
    positive: Records | Path | str | None = None
    negative: Records | Path | str | None = None
    label: np.ndarray | str | None = None
    encoder: Encoder | None = None
    run: Path | str | Sequence[Path | str] | None = None
    base: LanguageModel | Path | str | None = None
    cutting: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RankingContext:
    """What a scorer works on. All scorers of a ranking share what is read, loaded or fitted.

    Attributes:
        store: the finished store.
        concept: the concept, at a site of the store's model.
        seed: of everything random.
        engine: where gradients are made.
        given: what the caller gave.
        scorer: the name of the scorer that asks, for messages.
    """

    store: ActivationStore
    concept: Concept
    seed: int = 0
    engine: Engine = LOCAL
    given: Given = Given()
    scorer: str = ""
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def for_scorer(self, scorer: Scorer) -> RankingContext:
        """The same, as a scorer asks for it.

        Returns:
            A context in which messages name the scorer that asks.

        Raises:
            PromptsMissingError: it needs prompts, and a row has none.
            AitiaError: something else that it needs is absent; the message says what to give.
        """
        context, needs = replace(self, scorer=scorer.name), scorer.needs()
        if not scorer.any_loss:
            self._require_plain_loss(scorer.name)
        if needs.prompts:
            require_prompts(self.store, scorer.name)
        if needs.activations:
            self.store.require(needs.activations, self.concept.site)
        if needs.queries:
            context.queries()
        if needs.texts:
            context.texts()
        if needs.labels:
            context.labels()
        if needs.shuffled:
            context.shuffled()
        if needs.run:
            context.runs()
        if needs.adapter:
            require_adapter(self.store, scorer.name)
        return context

    def _require_plain_loss(self, name: str) -> None:
        loss = self.store.loss
        if not loss.plain:
            raise AitiaError(
                f"method {name} does not read the gradient of a row's loss, and the rows of {self.store.path} have the "
                f"loss {loss}: it would take them for rows of supervised fine-tuning; choose activation-gradient, or a "
                "method that takes gradients with respect to the weights"
            )

    def records(self) -> Records:
        """The rows of the store, in its order, as they were read.

        Returns:
            n records, in the order of the store.

        Raises:
            StoreError: the data are not found, or have changed since the scan.
        """
        return self._once("records", lambda: self.store.load_records().only(self._ids))

    def queries(self) -> Records:
        """The texts to measure.

        Returns:
            At least one record.

        Raises:
            AitiaError: none were given, or they cannot be read.
        """
        asked = self.given.queries
        if asked is None:
            raise AitiaError(f"{self.scorer} measures queries: give texts that show the behaviour")
        on_error = self.given.cutting.get("on_error", "stop")

        def read() -> Records:
            found = asked if isinstance(asked, Records) else read_records(asked, on_error=on_error)
            require_answers(found, on_error)
            return found

        return self._once("queries", read)

    def influence(self) -> StoreInfluence:
        """Model, rows, queries and curvature together, for scorers that take gradients of the weights.

        Returns:
            What the influence methods read, prepared once for all scorers.

        Raises:
            AitiaError: there are no queries.
            StoreError: model, data or curvature do not belong together.
        """
        queries, given = self.queries(), self.given
        return self._once(
            "influence",
            lambda: StoreInfluence.prepare(
                self.store,
                self.concept,
                queries,
                given.curvature,
                given.damping,
                given.solve,
                given.cache,
                self.engine,
                **given.cutting,
            ),
        )

    def curvature(self) -> Curvature:
        """The curvature that was given, or one fitted now.

        Returns:
            The curvature of the store's model.

        Raises:
            AitiaError: see `influence`.
        """
        return self.influence().curvature

    def texts(self) -> tuple[Records, Records]:
        """The positive and the negative texts of the concept: those given, or those that the concept names.

        Returns:
            Positive and negative texts.

        Raises:
            AitiaError: they are not found, or only one side was given.
        """
        return self._once("texts", self._texts)

    def _texts(self) -> tuple[Records, Records]:
        above, below = self.given.positive, self.given.negative
        if (above is None) != (below is None):
            raise AitiaError(
                f"{self.scorer} compares two sides: give both `positive` and `negative` texts, or neither"
            )
        if above is None or below is None:
            try:
                return fitted_texts(self.concept)
            except ConceptError as error:
                raise AitiaError(
                    f"{self.scorer} compares rows with the concept's texts, which are not at hand: {error}; put them "
                    "back where they were, or give `positive` and `negative` texts in Python"
                ) from error
        first, second = (each if isinstance(each, Records) else read_records(each) for each in (above, below))
        return first, second

    def labels(self) -> np.ndarray:
        """[n] bool: which rows are known to be of the kind that is sought.

        Returns:
            [n] bool.

        Raises:
            AitiaError: none were given, or they are not one of true and false for each row.
        """
        asked = self.given.label
        if asked is None:
            raise AitiaError(
                f"{self.scorer} knows which rows are meant: give `label`, a true-or-false column"
            )
        if isinstance(asked, str):
            return self._once("labels", lambda: label_values(self.store.load_records(), asked, self._ids))
        found = np.asarray(asked)
        if found.shape != (len(self.store),) or found.dtype != bool:
            raise AitiaError(
                f"`label` has {found.dtype} of shape {found.shape}, not true or "
                f"false for each of the {len(self.store)} rows"
            )
        return found

    def shuffled(self) -> np.ndarray:
        """[c, d] directions that the concept's recipe found for shuffled labels, c > 0.

        Returns:
            [c, d] float32.

        Raises:
            AitiaError: the concept keeps none.
        """
        found = self.concept.shuffled
        if found is None or not len(found):
            raise AitiaError(
                f"{self.scorer}: concept {self.concept.name!r} keeps no shuffled directions; fit it with shuffles > 0"
            )
        return found.sum(axis=1)

    def runs(self) -> StoreRuns:
        """The recorded runs on the store's rows, with what they start from and what is asked of them.

        Returns:
            The runs.

        Raises:
            AitiaError: none was given, or there are no queries.
            StoreError: a run was stopped or is damaged, or it has other rows, or another base, than the store.
        """
        asked, queries = self.given.run, self.queries()
        if asked is None:
            raise AitiaError(
                f"{self.scorer} goes through the training run: give the folder of a recorded one as `run` (`aitia "
                "train` leaves it)"
            )
        folders = [asked] if isinstance(asked, Path | str) else list(asked)
        given = self.given
        return self._once(
            "runs",
            lambda: StoreRuns.prepare(
                self.store, self.concept, queries, folders, given.base, self.engine, **given.cutting
            ),
        )

    def encoder(self) -> Encoder:
        """The encoder that was given, or the default sentence encoder.

        Returns:
            A function of texts to embeddings, one row a text.

        Raises:
            ModelError: the default encoder is not installed.
        """
        from aitia.models import load_sentence_encoder

        return self.given.encoder or self._once("encoder", load_sentence_encoder)

    def queries_skipped(self) -> list[list[str]]:
        """Place and reason of each query that the influence methods left out."""
        made: StoreInfluence | StoreRuns | None = self._made.get("influence", self._made.get("runs"))
        return [] if made is None else [[row.location, row.reason] for row in made.queries.skipped]

    @property
    def _ids(self) -> list[str]:
        return [str(name) for name in self.store.column("id")]

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def require_adapter(store: ActivationStore, name: str) -> None:
    """Refuse a store of a model without an adapter, for a scorer that turns it off.

    Raises:
        AitiaError: the store was scanned without one.
    """
    said = store.manifest["model"]
    if said.get("adapter") is None and (store.model is None or store.model.adapter is None):
        raise AitiaError(
            f"{store.path}: {name} compares the scanned model with the same model without its adapter, and "
            f"{said['name']} was scanned without one; leave {name} out, or scan the base model with its adapter"
        )
