"""Slices as steps: the sparse autoencoder, and the slices that its features cut."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from aitia.attribution import SliceSettings
from aitia.attribution.gradients import Cost
from aitia.concepts import SaeSettings, SparseAutoencoder, fit_sae, load_sae, save_sae
from aitia.models import site_layer
from aitia.pipelines.attribution.slices import SlicesResult, explain_by_slices
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.models import ModelStep
from aitia.pipelines.steps.rank import Rank
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.scan import Scan
from aitia.pipelines.steps.step import Place, Results, Step
from aitia.pipelines.steps.workload import Workload, forward_cost


@dataclass(kw_only=True, eq=False, repr=False)
class TrainAutoencoder(Step[SparseAutoencoder]):
    """A sparse autoencoder, trained on the rows as the scan cut them.

    Attributes:
        model: whose activations it is trained on.
        data: the rows.
        concept: says at which site.
        scan: cut the rows.
        settings: of the training.
        out: its folder.
    """

    name: str = "autoencoder"
    model: ModelStep
    data: ReadRecords
    concept: MakeConcept
    scan: Scan
    settings: SaeSettings
    out: Place

    def depends(self) -> object:
        """See `Step.depends`."""
        return asdict(self.settings)

    def done(self) -> bool:
        """See `Step.done`."""
        return self.out.may_be_there() and self.out.path().is_dir()

    def read(self) -> SparseAutoencoder:
        """See `Step.read`."""
        return load_sae(self.out.path())

    def run(self, results: Results) -> SparseAutoencoder:
        """See `Step.run`."""
        rows, site = self.scan.opened(results).load_rows(), results[self.concept].site
        save_sae(fit_sae(results[self.model], rows, site, self.settings), self.out.path())
        return self.read()

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`: the rows up to the site, and each epoch's features of its tokens, and their gradient."""
        blocks = 1 + site_layer(self.scan.counted_site(work), work.shape.layers)
        traced = forward_cost(work.shape, work.data, self.name, blocks=blocks)
        tokens = min(self.settings.max_tokens, work.data.response_tokens) * (1 - self.settings.held_out)
        weights = work.shape.width * self.settings.features
        return (
            Cost(
                name=self.name,
                multiply_adds=traced.multiply_adds + 2 * tokens * self.settings.epochs * weights,
                calls=traced.calls,
                rows=traced.rows,
                memory_bytes=4 * (tokens * work.shape.width + 8 * weights),
                disk_bytes=8 * weights,
                spread=False,
            ),
        )


@dataclass(kw_only=True, eq=False, repr=False)
class LoadAutoencoder(Step[SparseAutoencoder]):
    """A sparse autoencoder that was trained before.

    Attributes:
        file: its folder or file.
        site: where it lives, if its files do not say.
    """

    name: str = "autoencoder"
    file: Path
    site: str | None = None

    def depends(self) -> object:
        """See `Step.depends`."""
        return load_sae(self.file, site=self.site).fingerprint

    def run(self, results: Results) -> SparseAutoencoder:  # noqa: ARG002
        """See `Step.run`."""
        return load_sae(self.file, site=self.site)


@dataclass(kw_only=True, eq=False, repr=False)
class ExplainSlices(Step[SlicesResult]):
    """Slices of the rows, each with its influence on the concept.

    Attributes:
        model: which was scanned.
        data: what was scanned.
        concept: what the slices' influence is on.
        scan: the store.
        autoencoder: whose features cut the slices.
        ranking: of the rows.
        settings: of the slices.
        pooling: of the features.
        controls: null directions; none for the default.
        columns: of the data, to test slices against.
        strata: a column within whose values scores are compared.
        shown: slices from either end that are labelled.
    """

    name: str = "slices"
    model: ModelStep
    data: ReadRecords
    concept: MakeConcept
    scan: Scan
    autoencoder: TrainAutoencoder | LoadAutoencoder
    ranking: Rank
    settings: SliceSettings
    pooling: str
    controls: int | None
    columns: tuple[str, ...]
    strata: str | None
    shown: int

    def depends(self) -> object:
        """See `Step.depends`."""
        read = {name: list(self.data.records.column(name)) for name in (*self.columns, self.strata) if name}
        return [asdict(self.settings), self.pooling, self.controls, repr(read), self.strata, self.shown]

    def run(self, results: Results) -> SlicesResult:
        """See `Step.run`."""
        return explain_by_slices(
            self.scan.opened(results),
            results[self.concept],
            results[self.autoencoder],
            ranking=results[self.ranking],
            settings=self.settings,
            pooling=self.pooling,
            controls=self.controls,
            columns=self.columns,
            strata=self.strata,
            shown=self.shown,
        )

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`: the rows' features. Null directions and labels are not counted."""
        if isinstance(self.autoencoder, TrainAutoencoder):
            site, features = self.scan.counted_site(work), self.autoencoder.settings.features
        else:
            sae = load_sae(self.autoencoder.file, site=self.autoencoder.site)
            site, features = sae.site, sae.features
        blocks = 1 + site_layer(site, work.shape.layers)
        traced = forward_cost(work.shape, work.data, self.name, blocks=blocks)
        encoded = work.data.response_tokens * work.shape.width * features
        return (
            Cost(
                name=self.name,
                multiply_adds=traced.multiply_adds + encoded,
                calls=traced.calls,
                rows=traced.rows,
                spread=False,
            ),
        )
