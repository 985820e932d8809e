"""Choosing rows by the derivatives of a recorded run, in one round or in several with trainings between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aitia.attribution import ControlSettings, Expansion, RoundSettings, WeightChoice, choose_weights
from aitia.engine import note, warn
from aitia.errors import AitiaError, NumericalError
from aitia.pipelines.control.measurements import Linearised, Question
from aitia.records import Records
from aitia.training import train_weighted

if TYPE_CHECKING:
    from aitia.attribution.replay import Derivatives


@dataclass(frozen=True, kw_only=True)
class Round:
    """One choice of weights, and what the derivatives of a training with them said of it.

    Attributes:
        share: the most of the rows' weight that it might take out.
        choice: the weights.
        measured: change of everything that is to fall or to stay, by its name, from smooth runs on all rows to smooth
            runs with these weights; none for the last round, after which nothing is trained.
    """

    share: float
    choice: WeightChoice
    measured: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Steered:
    """Weights that were chosen in rounds.

    Attributes:
        rounds: in order; the last one's choice counts.
        linearised: the derivatives that the last choice was made from.
    """

    rounds: tuple[Round, ...]
    linearised: Linearised

    @property
    def choice(self) -> WeightChoice:
        """The weights of the last round."""
        return self.rounds[-1].choice


def choose_in_rounds(
    data: Records, question: Question, control: ControlSettings, settings: RoundSettings
) -> Steered:
    """Choose weights, train with them, take the derivatives there, and choose again.

    Every training and every derivative is kept in the run's folder, so that this goes on where it was stopped. The
    round k of N may take out k / N of the share, and move the weights by 1 / N of it from those of the round before. A
    row that an earlier round took out may come back.

    Args:
        data: the rows.
        question: what is to fall and to stay, and the run that is asked.
        control: how much may go, and how.
        settings: how many rounds.

    Returns:
        The rounds.

    Raises:
        AitiaError: a ranking is asked about in several rounds.
        StoreError: data or model are not the run's.
        NumericalError: a derivative is not finite, or the first round finds no weights.
    """
    _require_askable(question, settings)
    run, found, first = question.run, None, None
    if run is not None:
        found = first = run.derivatives(question.asked, settings)
        _warn(first)
    linearised, rounds = Linearised.of(question, data, found), []
    scales = linearised.scales()
    for number in range(1, settings.rounds + 1):
        least = 1 / len(data) if control.whole_rows and control.share * len(data) >= 1 else 0.0
        part = replace(control, share=max(control.share * number / settings.rounds, least))
        choice = _choice(linearised, part, rounds)
        if number == settings.rounds:
            rounds.append(Round(share=part.share, choice=choice))
            break
        assert run is not None
        assert first is not None
        note(
            f"Round {number} of {settings.rounds}: {choice.removed_share:.1%} of the rows' weight taken out; training"
        )
        trained = train_weighted(run.base(), data, run.run, choice.weights)
        found = run.derivatives(question.asked, settings, trained)
        change = dict(zip(found.targets, (found.values - first.values).tolist(), strict=True))
        rounds.append(Round(share=part.share, choice=choice, measured=change))
        about = Expansion(
            weights=choice.weights,
            lowered=np.array([change[each.name] for each in question.lower]),
            kept=np.array([change[each.name] for each in question.keep]),
            lower_scale=scales[0],
            keep_scale=scales[1],
            reach=control.share / settings.rounds,
        )
        linearised = Linearised.of(question, data, found, about)
    return Steered(rounds=tuple(rounds), linearised=linearised)


def _choice(linearised: Linearised, control: ControlSettings, before: Sequence[Round]) -> WeightChoice:
    """The best weights; those of the round before where what was measured leaves none that keep what is to stay."""
    try:
        return choose_weights(linearised.lower, linearised.keep, control, about=linearised.about)
    except NumericalError:
        if not before:
            raise
        warn(
            f"round {len(before) + 1}: no weights keep what is to stay within the tolerance, as the training with the "
            "weights of the round before says; these are taken again. Give a smaller `share` or a larger `tolerance`"
        )
        return before[-1].choice


def _require_askable(question: Question, settings: RoundSettings) -> None:
    ranked = [each for each in question.asked if each.ranking is not None]
    if settings.rounds > 1 and ranked:
        raise AitiaError(
            f"{ranked[0].name}: a ranking says nothing of a training with other weights; give one round, or the "
            "concept or texts that it is about"
        )


def _warn(found: Derivatives) -> None:
    for each in found.smoothness:
        for warning in each.warnings:
            warn(f"Replay of {each.target}: {warning}")
