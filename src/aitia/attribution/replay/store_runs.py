"""Recorded runs on the rows of a store: the same rows and base model, checked, and scores of them for a concept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution.gradients.measurements import ConceptMeasurement
from aitia.attribution.replay.checkpoints import checkpoint_sides
from aitia.attribution.replay.smoothness import SmoothReplay, smooth_replay
from aitia.attribution.replay.targets import Target, TargetPart, projection_target
from aitia.attribution.scanning.store import ActivationStore
from aitia.concepts import Concept
from aitia.engine import LOCAL, Engine, warn
from aitia.errors import AitiaError, StoreError
from aitia.models import LanguageModel, in_tokens, load_model
from aitia.records import Records, TokenizedRecords
from aitia.training import RecordedRun, holds_checkpoints, read_checkpoints, read_run


@dataclass(frozen=True, kw_only=True)
class StoreRuns:
    """What `rank` needs for the methods that go through a training run.

    Attributes:
        runs: recorded, on the store's rows.
        base: gives the model that they started from.
        rows: the store's rows, cut as for the scan.
        queries: whose projection on the concept is measured after training.
        concept: its direction.
        engine: where gradients of rows are made.
    """

    runs: tuple[RecordedRun, ...]
    base: Callable[[], LanguageModel]
    rows: TokenizedRecords
    queries: TokenizedRecords
    concept: Concept
    engine: Engine = LOCAL

    @classmethod
    def prepare(
        cls,
        store: ActivationStore,
        concept: Concept,
        queries: Records,
        folders: Sequence[Path | str],
        base: LanguageModel | Path | str | None = None,
        engine: Engine = LOCAL,
        **cutting: Any,
    ) -> StoreRuns:
        """Read the runs, and hold their rows and their base against the store's.

        `cutting` says which queries are too long, as `aitia.models.in_tokens` takes it.

        Returns:
            The runs, ready to be scored.

        Raises:
            AitiaError: no run.
            StoreError: a run is not finished or is damaged, or its rows or its base are not the store's.
        """
        if not folders:
            raise AitiaError("no recorded run: give the folder of one as `run`")
        model, rows = store.load_model(), store.load_rows()
        known = store.manifest["model"]["base_fingerprint"]
        found: list[LanguageModel] = [base] if isinstance(base, LanguageModel) else []

        def saved_by_trainer(folder: Path | str) -> RecordedRun:
            # Checkpoints do not say which model they started from: the store's own without its adapter, or the given.
            if not found:
                name = str(base or store.manifest["model"]["name"])
                found.append(load_model(name, dtype=store.manifest["model"]["dtype"]))
            return read_checkpoints(folder, found[0], rows)

        runs = tuple(
            saved_by_trainer(each) if holds_checkpoints(each) else read_run(each) for each in folders
        )
        for run in runs:
            run.require_data(rows)
            if run.settings.method == "lora" and run.said["model"]["base_fingerprint"] != known:
                raise StoreError(
                    f"{run.path}: started from another base model ({run.said['model']['name']}) than that of the store "
                    f"{store.path}"
                )
        cut = in_tokens(model, queries, today=store.today, **cutting)
        asked = replace(cut, skipped=(*queries.skipped, *cut.skipped))

        def load() -> LanguageModel:
            if not found:
                said = runs[0].said["model"]
                found.append(load_model(str(base or said["name"]), dtype=said["dtype"]))
            for run in runs:
                run.require_model(found[0])
            return found[0]

        return cls(runs=runs, base=load, rows=rows, queries=asked, concept=concept, engine=engine)

    def replay(self, directions: np.ndarray | None = None) -> SmoothReplay:
        """Derivatives of the queries' mean projection on the concept, or on other directions [c, d]."""
        found = smooth_replay(self.runs, self.base(), self.rows, self._targets(directions))
        for each in found.smoothness if directions is None else ():
            for warning in each.warnings:
                warn(f"Replay: {warning}")
        return found

    def checkpoints(self, directions: np.ndarray | None = None, *, preconditioned: bool) -> np.ndarray:
        """Sums of gradient products over checkpoints, likewise: [c, n, s] by answers, mean over the runs."""
        base, targets = self.base(), self._targets(directions)
        parts = [
            checkpoint_sides(run, base, self.rows, targets, preconditioned=preconditioned, engine=self.engine)
            for run in self.runs
        ]
        return np.mean(parts, axis=0)

    def _targets(self, directions: np.ndarray | None) -> list[Target]:
        if directions is None:
            return [projection_target(self.concept, self.queries)]
        found = []
        for place, vector in enumerate(directions):
            # A concept's direction has unit length; what is asked for need not have.
            along = replace(self.concept, direction=vector[None], shuffled=None)
            part = TargetPart(
                measurement=ConceptMeasurement(concept=along),
                texts=self.queries,
                factor=float(np.linalg.norm(vector)),
            )
            found.append(Target(name=f"direction {place}", parts=(part,)))
        return found
