"""What another trainer's model does to concepts while it is trained, in the trainer's own logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from aitia.attribution.ranking.scoring import rank
from aitia.attribution.scanning.scan import ScanSettings, scan
from aitia.attribution.scorers import DEFAULT_METHOD, find_activation_scorer
from aitia.concepts import Concept, load_concept, require_concept_fits, response_activations
from aitia.errors import AitiaError, StoreError
from aitia.files import require_place
from aitia.models import LanguageModel
from aitia.records import Records, read_records
from aitia.training import as_language_model


class ScanCallback(TrainerCallback):
    """Measures concepts before a training and at the end of each epoch, and scans and ranks rows there if asked to.

    Works with the transformers `Trainer` and the trainers of TRL, and changes no bit of the training. Figures go
    through `trainer.log`, and so to W&B, MLflow, TensorBoard or whatever `report_to` names:

        aitia/NAME/mean_projection    mean of <v, h_i> over the held-out texts, h_i the mean activation of a response
        aitia/NAME/mean_score         mean score of the rows, by `method`

    with NAME the concept's. The trainer has to be known for that: `ScanCallback(...).attach(trainer)`.

    Attributes:
        figures: what was logged, in order, each time with its `epoch`.
    """

    def __init__(
        self,
        concepts: Sequence[Concept | Path | str],
        *,
        held_out: Any = None,
        rows: Any = None,
        out: Path | str | None = None,
        method: str = DEFAULT_METHOD,
        settings: ScanSettings | None = None,
    ):
        """Choose what is measured.

        Args:
            concepts: of the model that the training starts from, or their files; their names must differ.
            held_out: texts that are not trained on, as `read_records` takes them; none for no projections.
            rows: rows to scan and to rank by each concept at the end of each epoch; none for no scans.
            out: folder for `epoch-1/store`, `epoch-1/NAME.parquet` and so on; goes with `rows`.
            method: scorer of the fast family that ranks the rows.
            settings: of the scans; default: the activations of the method, at the concepts' sites.

        Raises:
            AitiaError: there is nothing to measure, two concepts have one name, a name cannot be that of a file, or
                the method is none of the fast family.
        """
        self.concepts = [each if isinstance(each, Concept) else load_concept(each) for each in concepts]
        names = [each.name for each in self.concepts]
        if not names or len(set(names)) < len(names):
            raise AitiaError(
                f"ScanCallback: give concepts of different names, not {', '.join(names) or 'none'}"
            )
        if held_out is None and rows is None:
            raise AitiaError("ScanCallback: give `held_out` texts to project, or `rows` to scan, or both")
        if (rows is None) != (out is None):
            raise AitiaError("ScanCallback: `rows` are scanned into the folder `out`; give both, or neither")
        self.held_out, self.rows = _read(held_out), _read(rows)
        self.out, self.method = None if out is None else Path(out), method
        sites = tuple(dict.fromkeys(each.site for each in self.concepts))
        wanted = find_activation_scorer(method).reading.activations
        self.settings = replace(settings or ScanSettings(sites=sites, activations=wanted), sites=sites)  # type: ignore[arg-type]
        if self.out is not None:
            require_place(self.out, folder=True)
            for name in names:
                if not name or name != Path(name).name:
                    raise AitiaError(f"ScanCallback: the name {name!r} of a concept cannot be that of a file")
        self.figures: list[dict[str, float]] = []
        self._trainer: Any = None
        self._base: str | None = None

    def attach(self, trainer: Any) -> ScanCallback:
        """Add the callback to a trainer, through whose logging the figures go.

        Args:
            trainer: a transformers `Trainer`, or one of TRL's, before its training.

        Returns:
            The callback.
        """
        trainer.add_callback(self)
        self._trainer = trainer
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Check that concepts and rows go with the model, and measure before the first step.

        Raises:
            AitiaError: the callback knows no trainer, or the model's weights are spread over processes.
            ConceptError: a concept is of another model than the training starts from.
            StoreError: `out` holds the epochs of another training.
        """
        if self._trainer is None:
            raise AitiaError(
                "ScanCallback: knows no trainer to log through; give it as `ScanCallback(...).attach(trainer)`, not in "
                "the trainer's `callbacks`"
            )
        for name in ("deepspeed", "fsdp"):
            if getattr(args, name, None):
                raise AitiaError(
                    f"ScanCallback: the training has {name}, which spreads weights over processes"
                )
        if not state.is_world_process_zero or int(
            state.global_step
        ):  # a resumed training has measured before
            return
        if self.out is not None and any(self.out.glob("epoch-*")):
            raise StoreError(f"{self.out}: holds the epochs of another training; give another folder")
        self.figures.clear()
        with as_language_model(given["model"], given["processing_class"]) as model:
            self._base = model.base_fingerprint
            for concept in self.concepts:
                require_concept_fits(concept, model)
            figures = self._projections(model)
        self._log(figures, 0)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:  # noqa: ARG002
        """Measure, scan and rank, and log the figures."""
        if not state.is_world_process_zero:
            return
        epoch = round(state.epoch)
        # Where all weights are trained they are no base any more: concepts belong to the model that the training
        # started from, which is not at hand where it was resumed.
        base = self._base or self.concepts[0].base_fingerprint
        with as_language_model(given["model"], given["processing_class"], base_fingerprint=base) as model:
            figures = self._projections(model) | self._scores(model, epoch)
        self._log(figures, epoch)

    def _projections(self, model: LanguageModel) -> dict[str, float]:
        if self.held_out is None:
            return {}
        means = response_activations(
            model, self.held_out, [each.site for each in self.concepts], title="Projecting held-out texts"
        )
        return {
            f"aitia/{each.name}/mean_projection": float((means[each.tokens][each.site] @ each.vector).mean())
            for each in self.concepts
        }

    def _scores(self, model: LanguageModel, epoch: int) -> dict[str, float]:
        if self.rows is None or self.out is None:
            return {}
        folder, figures = self.out / f"epoch-{epoch}", {}
        store = scan(model, self.rows, self.settings, out=folder / "store")
        for concept in self.concepts:
            ranking = rank(
                store, concept, method=self.method, compare=[], random_controls=0, shuffled_controls=0
            )
            ranking.write(folder / f"{concept.name}.parquet")
            figures[f"aitia/{concept.name}/mean_score"] = float(ranking.score.mean())
        return figures

    def _log(self, figures: dict[str, float], epoch: int) -> None:
        if not figures:
            return
        self.figures.append({"epoch": epoch, **figures})
        network = self._trainer.model
        training = network.training
        network.training = (
            False  # TRL would take this for the end of a stretch of training, and begin its means again
        )
        try:
            self._trainer.log(dict(figures))
        finally:
            network.training = training


def _read(data: Any) -> Records | None:
    return data if data is None or isinstance(data, Records) else read_records(data)
