"""Training again on parts of the data, from the same start, and measuring what became of it.

The unit of work is a cell: which rows, which seed. Every finished cell is a file of its own, named by all
that it depends on, so that a run that was stopped goes on, and no cell is ever trained twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aitia.counterfactual.behaviours import Behaviour
from aitia.engine import LOCAL, Advance, Engine, progress_bar, run_tasks
from aitia.errors import AitiaError, StoreError
from aitia.files import LOCK, digest, only_here, read_json, remove_parts, write_json
from aitia.models import LanguageModel
from aitia.records import Records
from aitia.records.losses import PLAIN, LossSettings
from aitia.training import LoraSettings, finetune_lora, train


@dataclass(frozen=True, kw_only=True)
class RetrainingRun:
    """One training run.

    Attributes:
        kept: ids of the rows trained on; none leaves the model as it was.
        seed: of the adapter's start and of the order of rows.
        epochs: passes over the kept rows; 0 for the settings' own number.
        weights: loss weight of each kept row, in the order of the data; empty for one each.
    """

    kept: tuple[str, ...]
    seed: int
    epochs: int = 0
    weights: tuple[float, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Its fields; without weights where there are none, so that results from before have the same names."""
        return {name: each for name, each in asdict(self).items() if name != "weights" or each}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a training run led to.

    Attributes:
        run: the training run.
        values: behaviour -> one number a held-out text.
    """

    run: RetrainingRun
    values: Mapping[str, tuple[float, ...]]

    def mean(self, behaviour: str) -> float:
        """The behaviour, averaged over its texts.

        Returns:
            The mean over texts, in the unit of the behaviour.

        Raises:
            AitiaError: it was not measured.
        """
        return float(np.mean(self.values_of(behaviour)))

    def values_of(self, behaviour: str) -> tuple[float, ...]:
        """The behaviour on each of its texts.

        Returns:
            One number a text.

        Raises:
            AitiaError: it was not measured.
        """
        if behaviour not in self.values:
            raise AitiaError(f"behaviour {behaviour!r} was not measured; there are {', '.join(self.values)}")
        return self.values[behaviour]


def retrain(
    load_base: Callable[[], LanguageModel],
    data: Records,
    cells: Sequence[RetrainingRun],
    behaviours: Sequence[Behaviour],
    settings: LoraSettings,
    out: Path | str,
    engine: Engine = LOCAL,
    *,
    loss: LossSettings = PLAIN,
) -> list[RunResult]:
    """Train each cell from the same base model and measure the behaviours; resumable run by run.

    Args:
        load_base: gives a fresh base model, without adapter; called once a cell that has to be trained.
        data: all rows.
        cells: the runs; equal ones are made once.
        behaviours: measured after each, with distinct names.
        settings: how to train; a cell's seed (and epochs) take the place of theirs.
        out: folder for the results, one JSON file a cell.
        engine: where cells are trained; workers are sent `load_base` and all that it holds, and write into
            `out` themselves.
        loss: what training does with a row.

    Returns:
        One result a cell, in their order.

    Raises:
        AitiaError: a cell names a row that the data lack, or two behaviours have one name.
        StoreError: a result file is damaged.
    """
    folder = Path(out)
    base = load_base()
    paths = run_files(base.fingerprint, data, cells, behaviours, settings, folder, loss=loss)
    to_do = [cell for cell, path in paths.items() if not path.is_file()]
    with only_here(folder / LOCK):
        remove_parts(folder)
        bar = progress_bar("Retraining", len(paths), done=len(paths) - len(to_do), unit="runs")
        with bar as advance:
            for cell in (cell for cell in to_do if not cell.kept):
                _write(paths[cell], cell, _measured(base, behaviours))
                advance(1)
            del base  # two models at once may be one too many for the memory
            work = partial(_train_and_measure, load_base, data, tuple(behaviours), settings, loss)
            tasks = ((cell, paths[cell]) for cell in to_do if cell.kept)
            for _ in run_tasks(work, tasks, engine=engine, advance=advance):
                pass
    results = {cell: read_result(path) for cell, path in paths.items()}
    return [results[cell] for cell in cells]


def run_files(
    base: str,
    data: Records,
    cells: Sequence[RetrainingRun],
    behaviours: Sequence[Behaviour],
    settings: LoraSettings,
    out: Path | str,
    *,
    loss: LossSettings = PLAIN,
) -> dict[RetrainingRun, Path]:
    """The file of each run's result, which is there if the run has been made.

    Args:
        base: fingerprint of the base model.
        data: all rows.
        cells: the runs.
        behaviours: measured after each.
        settings: how each is trained.
        out: folder of the results.
        loss: what training does with a row.

    Returns:
        Run -> file.

    Raises:
        AitiaError: a cell names a row that the data lack, or two behaviours have one name.
    """
    names = [behaviour.name for behaviour in behaviours]
    if len(set(names)) < len(names):
        raise AitiaError(f"two behaviours have the same name: {', '.join(sorted(names))}")
    known = set(data.ids)
    for cell in cells:
        missing = next((name for name in cell.kept if name not in known), None)
        if missing is not None:
            raise AitiaError(f"a cell keeps row {missing!r}, which {data.name} does not have")
        if cell.weights and len(cell.weights) != len(cell.kept):
            raise AitiaError(
                f"a cell keeps {len(cell.kept)} rows and has {len(cell.weights)} weights; give one a row"
            )
    shared = [base, data.fingerprint, settings.identity()]
    shared += [[behaviour.name, behaviour.identity()] for behaviour in behaviours]
    # Left out where it is plain, so that results made before there were losses keep their names.
    shared += [] if loss.plain else [loss.said]
    return {cell: Path(out) / f"{digest([*shared, cell.as_json()])[:24]}.json" for cell in cells}


def _train_and_measure(
    load_base: Callable[[], LanguageModel],
    data: Records,
    behaviours: Sequence[Behaviour],
    settings: LoraSettings,
    loss: LossSettings,
    task: tuple[RetrainingRun, Path],
    advance: Advance,
) -> None:
    cell, path = task
    _write(path, cell, _measured(_trained(load_base(), data, cell, settings, loss), behaviours))
    advance(1)


def _write(path: Path, cell: RetrainingRun, values: Mapping[str, list[float]]) -> None:
    content = {"run": cell.as_json(), "values": values}
    content = json.loads(json.dumps(content))
    write_json(path, content | {"sha256": digest(content)})


def _trained(
    model: LanguageModel, data: Records, cell: RetrainingRun, settings: LoraSettings, loss: LossSettings
) -> LanguageModel:
    chosen = replace(settings, seed=cell.seed, epochs=cell.epochs or settings.epochs)
    rows = data.only(list(cell.kept))
    if cell.weights:
        return train(model, rows, chosen, loss=loss, weights=np.array(cell.weights), progress=False)
    return finetune_lora(model, rows, chosen, loss=loss, progress=False)


def _measured(model: LanguageModel, behaviours: Sequence[Behaviour]) -> dict[str, list[float]]:
    return {behaviour.name: behaviour.values(model).tolist() for behaviour in behaviours}


def read_result(path: Path) -> RunResult:
    """The result of a run.

    Returns:
        The result.

    Raises:
        StoreError: the file is damaged.
    """
    try:
        found = read_json(path)
        if found.pop("sha256", digest(found)) != digest(found):
            raise StoreError(f"{path}: not as it was written; delete the file and run again")
        cell = found["run"] | {"kept": tuple(found["run"]["kept"])}
        cell["weights"] = tuple(map(float, cell.get("weights", ())))
        values = {name: tuple(map(float, numbers)) for name, numbers in found["values"].items()}
        return RunResult(run=RetrainingRun(**cell), values=values)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StoreError(f"{path}: damaged result ({error}); delete the file and run again") from error
