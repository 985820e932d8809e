"""Smooth surrogates of a run, and whether their derivatives are to be believed.

Default AdamW divides a gradient by the root of its mean square. In the first steps that root is the gradient's own
size, so a step follows the gradient's sign, and a small change of a row's weight can turn it. The derivative of such a
run exists and foretells nothing. With a small number inside the root (`epsilon_root`) small gradients make small steps,
and the derivative of the run says what happens under real changes. The surrogate is not the user's run: it is trained
by the same trainer on the same rows, and learns more slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from aitia.attribution.replay.reverse import Replayed, replay
from aitia.attribution.replay.targets import Target, target_value
from aitia.errors import AitiaError
from aitia.models import LanguageModel
from aitia.records import Records, TokenizedRecords
from aitia.statistics import spearman
from aitia.training import RecordedRun, read_run, train, train_smooth

EPSILON_ROOT = 1e-6
"""What stands inside the root of a surrogate's AdamW by default."""
SURROGATES = 2
"""Surrogates whose derivatives are averaged by default."""
OVER_ORDERS = 4
"""Steps of each surrogate at which every row is scored by default, for the expectation over orders of the rows."""
AGREEMENT, JUMP = 0.5, 10.0
"""Seeds that agree less, and an adjoint that grows more in one step, speak against a derivative."""


@dataclass(frozen=True, kw_only=True)
class Metasmoothness:
    """What speaks for and against a derivative of training, for one target.

    Attributes:
        target: its name.
        agreement: mean Spearman correlation of the scores between runs with different seeds; none for one run.
        largest_jump: the largest factor by which the norm of the adjoint grows over one step backwards.
        growth: its norm before the first step over that after the last.
        predicted: [d] changes of the target that the derivative foretells for perturbed row weights; empty if none.
        measured: [d] changes that training with these weights gave.
    """

    target: str
    agreement: float | None
    largest_jump: float
    growth: float
    predicted: tuple[float, ...] = ()
    measured: tuple[float, ...] = ()

    @property
    def perturbed_error(self) -> float | None:
        """How far predicted changes lie from measured ones: 0 is exact, 1 no better than foretelling no change."""
        if not self.measured:
            return None
        wrong = np.square(np.subtract(self.predicted, self.measured)).sum()
        return float(np.sqrt(wrong / np.square(self.measured).sum()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against believing the derivative; none if nothing does."""
        found = []
        if self.agreement is not None and self.agreement < AGREEMENT:
            found.append(
                f"seeds agree with a rank correlation of {self.agreement:.2f} only: average more runs, or raise "
                "epsilon_root"
            )
        if self.largest_jump > JUMP:
            found.append(
                f"the adjoint grows {self.largest_jump:.0f} times in one step: a step is not smooth; raise epsilon_root"
            )
        error = self.perturbed_error
        if error is not None and error > AGREEMENT:
            found.append(f"runs with perturbed weights lie {error:.0%} off what the derivative foretells")
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class SmoothReplay:
    """The mean derivative of several smooth runs.

    Attributes:
        targets: their names.
        ids: of the rows.
        scores: [c, n] mean over the runs, of the expectation over orders where that was taken.
        sides: [c, n, s] parts of these by the answers that the rows' loss compares; none in supervised fine-tuning.
        runs: each run's own.
        smoothness: one a target.
    """

    targets: tuple[str, ...]
    ids: tuple[str, ...]
    scores: np.ndarray
    runs: tuple[Replayed, ...]
    smoothness: tuple[Metasmoothness, ...]
    sides: np.ndarray | None = None


def smooth_replay(
    recorded: Sequence[RecordedRun],
    model: LanguageModel,
    data: Records | TokenizedRecords,
    targets: Sequence[Target],
    *,
    runs: int = SURROGATES,
    epsilon_root: float = EPSILON_ROOT,
    over_orders: int = OVER_ORDERS,
) -> SmoothReplay:
    """Replay smooth runs, and average.

    Args:
        recorded: runs on the same rows. A run whose optimizer is smooth is replayed as it is; of one that is not,
            surrogates are trained into its folder and replayed in its place.
        model: the base model; given back as it was.
        data: the rows.
        targets: what is measured after training.
        runs: surrogates of a run that is not smooth.
        epsilon_root: of the surrogates.
        over_orders: steps of each run at which every row is scored, whatever step it was in, so that scores foretell
            trainings in any order; 0 for the derivative in the order of the run itself.

    Returns:
        The mean over the runs, and each run's own.

    Raises:
        AitiaError: no run; or see `replay`.
        StoreError, NumericalError: see `replay`.
    """
    if not recorded:
        raise AitiaError("no recorded run to replay")
    if runs < 1 or not epsilon_root > 0:
        raise AitiaError(
            f"{runs} surrogates with epsilon_root {epsilon_root:g}: give at least 1, and a root above 0"
        )
    found = []
    for each in recorded:
        smooth = [each]
        if not each.settings.smooth:
            folders = train_smooth(model, data, each, runs=runs, epsilon_root=epsilon_root)
            smooth = [read_run(folder) for folder in folders]
        found += [replay(run, model, data, targets, over_orders=over_orders) for run in smooth]
    return SmoothReplay(
        targets=found[0].targets,
        ids=found[0].ids,
        scores=np.mean([each.foretelling for each in found], axis=0),
        runs=tuple(found),
        smoothness=metasmoothness(found),
        sides=None
        if found[0].sides is None
        else np.mean([each.sides for each in found if each.sides is not None], axis=0),
    )


def metasmoothness(replays: Sequence[Replayed]) -> tuple[Metasmoothness, ...]:
    """What runs and their adjoints say of smoothness, one a target; `perturbed` adds trainings."""
    first = replays[0]
    found = []
    for place, name in enumerate(first.targets):
        pairs = combinations([each.foretelling[place] for each in replays], 2)
        agreements = [spearman(one, other) for one, other in pairs]
        norms = [each.adjoint_norms[:, place] for each in replays]
        found.append(
            Metasmoothness(
                target=name,
                agreement=float(np.mean(agreements)) if agreements else None,
                largest_jump=float(max((each[:-1] / each[1:]).max() for each in norms)),
                growth=float(np.mean([each[0] / each[-1] for each in norms])),
            )
        )
    return tuple(found)


def perturbed(
    recorded: RecordedRun,
    fresh_model: Sequence[LanguageModel],
    data: Records | TokenizedRecords,
    targets: Sequence[Target],
    replayed: Replayed,
    *,
    size: float = 0.1,
    seed: int = 0,
) -> tuple[Metasmoothness, ...]:
    """Hold a derivative against trainings with perturbed row weights, two for each pair of fresh models.

    Each pair is trained with weights 1 + size d and 1 - size d, d random signs. Half the difference of the target is
    held against size d times the derivative.

    Args:
        recorded: the run.
        fresh_model: an even number of copies of its base model, which are used up.
        data: the rows.
        targets: as they were replayed.
        replayed: the derivative.
        size: of the perturbation, as a share of a row's weight.
        seed: of the signs.

    Returns:
        The agreement, for each target.

    Raises:
        AitiaError: not two models for each direction.
    """
    if not fresh_model or len(fresh_model) % 2:
        raise AitiaError(f"{len(fresh_model)} models: give two for each direction")
    generator = np.random.default_rng(seed)
    usual = np.ones(len(replayed.ids)) if recorded.weights is None else recorded.weights
    predicted, measured = [], []
    models = iter(fresh_model)
    for _ in range(len(fresh_model) // 2):
        change = size * generator.choice([-1.0, 1.0], len(usual))
        ends = []
        for sign in (1, -1):
            model = next(models)
            rows = recorded.rows_of(model, data)
            tuned = train(model, rows, recorded.settings, weights=usual + sign * change, progress=False)
            ends.append([target_value(tuned, target) for target in targets])
        predicted.append(replayed.scores @ change)
        measured.append(np.subtract(ends[0], ends[1]) / 2)
    return tuple(
        Metasmoothness(
            target=each.target,
            agreement=each.agreement,
            largest_jump=each.largest_jump,
            growth=each.growth,
            predicted=tuple(float(row[place]) for row in predicted),
            measured=tuple(float(row[place]) for row in measured),
        )
        for place, each in enumerate(metasmoothness([replayed]))
    )
