"""The scan: the training data's activations at the concept's site."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from aitia.attribution import ActivationStore, ScanSettings, scan
from aitia.attribution.gradients import Cost, scan_cost
from aitia.engine import LOCAL, Engine
from aitia.models import site_layer
from aitia.pipelines.steps.concept import MakeConcept
from aitia.pipelines.steps.models import ModelStep
from aitia.pipelines.steps.records import ReadRecords
from aitia.pipelines.steps.step import Place, Results, Step
from aitia.pipelines.steps.workload import Workload
from aitia.records import OnError
from aitia.records.losses import LossSettings


@dataclass(kw_only=True, eq=False, repr=False)
class Scan(Step[ActivationStore]):
    """One pass over the training data at the site of the concept.

    Another concept at the same site finds the same store.

    Attributes:
        model: which runs.
        data: what it runs over.
        concept: says where.
        settings: of the scan; its sites are the concept's.
        loss: what training does with a row.
        on_error: `stop` at rows that cannot be used, or `skip` them.
        engine: where the shards are made.
        out: folder of the store.
    """

    name: str = "scan"
    model: ModelStep
    data: ReadRecords
    concept: MakeConcept
    settings: ScanSettings
    loss: LossSettings = field(default_factory=LossSettings)
    on_error: OnError = "stop"
    engine: Engine = LOCAL
    out: Place

    def depends(self) -> object:
        """See `Step.depends`."""
        # Left out where it is plain, so that results made before there were losses keep their names.
        loss = [] if self.loss.plain else [self.loss.said]
        return [asdict(replace(self.settings, sites=())), self.on_error, *loss]

    def done(self) -> bool:
        """See `Step.done`: every shard is there, and the manifest says that they are of these rows and this model."""
        site = self.concept.site() if self.out.may_be_there() and self.model.at_hand() else None
        if site is None or not (self.out.path() / "manifest.json").is_file():
            return False
        store = ActivationStore.open_unfinished(self.out.path())
        made, data = store.manifest.get("model", {}), store.manifest["data"]
        settings = {name: _plain(value) for name, value in asdict(self.at(site)).items()}
        return (
            all(store.shard_path(number).is_file() for number in range(store.shards))
            and store.manifest["settings"] == settings
            and store.loss == self.loss
            and data.get("fingerprint") == self.data.records.fingerprint
            and (self.on_error == "skip" or not data.get("skipped"))
            and made.get("fingerprint") == self.model.fingerprint
            and made.get("tokenizer_fingerprint") == self.model.loaded.tokenizer_fingerprint
        )

    def at(self, site: str) -> ScanSettings:
        """The settings with the concept's site."""
        return replace(self.settings, sites=(site,))

    def read(self) -> ActivationStore:
        """See `Step.read`."""
        return ActivationStore.open(self.out.path())

    def opened(self, results: Results) -> ActivationStore:
        """The store, with the model and the rows at hand, for a later step that takes all three."""
        store = results[self]
        store.give(model=results[self.model], data=results[self.data])
        return store

    def run(self, results: Results) -> ActivationStore:
        """See `Step.run`. A scan that was stopped goes on where it was."""
        return scan(
            results[self.model],
            results[self.data],
            self.at(results[self.concept].site),
            out=self.out.path(),
            on_error=self.on_error,
            engine=self.engine,
            loss=self.loss,
        )

    def counted_site(self, work: Workload) -> str:
        """The concept's site; where it is still to be found, a plan takes the middle of the model."""
        return self.concept.site() or f"resid_post.{work.shape.layers // 2}"

    def cost(self, work: Workload) -> tuple[Cost, ...]:
        """See `Step.cost`."""
        block = site_layer(self.counted_site(work), work.shape.layers)
        return (
            scan_cost(
                work.shape,
                work.data,
                lowest=block,
                highest=block,
                sites=1,
                activations=self.settings.activations,
            ),
        )


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
