"""The concept: loaded, or fitted to texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aitia.attribution.gradients import Cost
from aitia.concepts import ChosenTokens, Concept, fit_concept, load_concept, require_concept_fits
from aitia.models import site_layer
from aitia.pipelines.steps.models import ModelStep
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.step import Place, Results, Step
from aitia.pipelines.steps.workload import Workload, forward_cost


@dataclass(kw_only=True, eq=False, repr=False)
class MakeConcept(Step[Concept]):
    """A concept from a file, or fitted to positive and negative texts on a model.

    Attributes:
        model: which it is fitted on, or has to fit.
        file: of a concept; none to fit one to the texts.
        positive: texts that show the concept.
        negative: texts that do not.
        label: the concept's name, for people.
        recipe: method that fits the direction.
        sites: where to look; empty for all sites.
        tokens: at which it is read.
        seed: of the fit.
        cutting: of the texts, as `aitia.models.in_tokens` takes it.
        out: file that the concept is kept in.
    """

    name: str = "concept"
    model: ModelStep
    file: Path | None = None
    positive: ReadRecords | None = None
    negative: ReadRecords | None = None
    label: str
    recipe: str
    sites: tuple[str, ...]
    tokens: ChosenTokens
    seed: int
    cutting: Mapping[str, Any]
    out: Place

    def depends(self) -> object:
        """See `Step.depends`."""
        if self.file is not None:
            return load_concept(self.file).fingerprint
        return [self.label, self.recipe, list(self.sites), self.tokens, self.seed, dict(self.cutting)]

    def site(self) -> str | None:
        """The concept's site, where it is known without fitting anything now."""
        if self.file is not None:
            return load_concept(self.file).site
        if len(self.sites) == 1:
            return self.sites[0]
        return self.read().site if self.done() else None

    def done(self) -> bool:
        """See `Step.done`. A concept from elsewhere is loaded each time: whether it fits the model has to be seen."""
        if not self.out.may_be_there() or (self.file is not None and not self.out.keyed):
            return False
        if self.out.keyed or not self.out.path().is_file():
            return self.out.path().is_file()
        assert self.positive is not None
        assert self.negative is not None
        before = load_concept(self.out.path())
        recipe, sites = before.recipe, set(self.sites)
        return (
            self.model.at_hand()
            and before.name == self.label
            and recipe.get("recipe") == self.recipe
            and recipe.get("tokens") == self.tokens
            and recipe.get("seed") == self.seed
            and all(recipe.get(key) == self.cutting[key] for key in ("max_length", "truncate"))
            and recipe.get("positive", {}).get("fingerprint") == self.positive.records.fingerprint
            and recipe.get("negative", {}).get("fingerprint") == self.negative.records.fingerprint
            and (self.cutting["on_error"] == "skip" or not recipe.get("skipped"))
            and before.separation is not None
            and set(before.separation.auc_by_site) == (sites or set(self.model.loaded.sites))
            and before.model_fingerprint == self.model.fingerprint
        )

    def read(self) -> Concept:
        """See `Step.read`."""
        return load_concept(self.out.path())

    def run(self, results: Results) -> Concept:
        """See `Step.run`."""
        concept = self._made(results)
        concept.save(self.out.path())
        return concept

    def _made(self, results: Results) -> Concept:
        if self.file is not None:
            concept = load_concept(self.file)
            require_concept_fits(concept, results[self.model])
            return concept
        assert self.positive is not None
        assert self.negative is not None
        return fit_concept(
            results[self.model],
            results[self.positive],
            results[self.negative],
            name=self.label,
            recipe=self.recipe,
            sites=self.sites or None,
            tokens=self.tokens,
            seed=self.seed,
            **self.cutting,
        )

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`: both sets of texts up to the highest site."""
        if self.file is not None:
            return ()
        assert self.positive is not None
        assert self.negative is not None
        shape = work.shape
        blocks = 1 + max((site_layer(site, shape.layers) for site in self.sites), default=shape.layers - 1)
        both = [
            forward_cost(shape, work.texts(texts.records, **self.cutting), self.name, blocks=blocks)
            for texts in (self.positive, self.negative)
        ]
        return (
            Cost(
                name=self.name,
                multiply_adds=sum(each.multiply_adds for each in both),
                calls=sum(each.calls for each in both),
                rows=sum(each.rows for each in both),
                spread=False,
            ),
        )
