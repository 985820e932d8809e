"""Replay: the derivative of a measurement after training with respect to every training row's loss weight.

A training run is a long composition of steps, each a function of the state before it (parameters and moments) and of
the rows of its batch. With s_k the state before step k, w the rows' weights and m a measurement of the last state,

    dm/dw = sum over k of (ds_{k+1}/dw)^T a_{k+1},   a_k = (ds_{k+1}/ds_k)^T a_{k+1},   a_K = dm/ds_K.

The optimizer's part of a step is differentiated by hand (`aitia.training.updates`). Through the gradient g(p, w) of the
loss, one double backward gives both that is left: the Hessian times the cotangent of g, and its products with the
gradients of the rows. Of a loss that compares answers the products are taken answer by answer: to the loss comes
v_is k_is lp_is, with v = 0 and k_is the slope of row i's loss in the log-probability lp_is of its answer s, held fixed.
That changes nothing, and the derivative by v_is is the answer's part; a row's parts sum to its score (ours).
Denominators stay those of whole batches: a weight scales a row's summed token losses, or its loss where that is no sum
over tokens (`aitia.records.losses`).

Where a row falls in the order of a run is chance; another order has its derivative at other steps. Its expectation
over orders, the states left as they are, is the sum over all steps k of |batch k| / n times the product of the row's
gradient at p_k with the cotangent of step k's gradient. It is taken at the middle of equal stretches of the run
(`over_orders`), where every row is scored, whatever step it was in.

Source: Maclaurin et al. 2015 for reversing a training run, Engstrom et al. 2025 (metagradients) and Ilyas & Engstrom
2025 (MAGIC) for attribution by it; concepts as measurements, several in one pass, and the expectation over orders are
ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from aitia.attribution.replay.lower_blocks import LowerBlocks
from aitia.attribution.replay.orders import expected_divisors, middles
from aitia.attribution.replay.row_products import RowProducts
from aitia.attribution.replay.targets import Target, require_targets, target_gradients, target_texts
from aitia.engine import progress_bar
from aitia.errors import AitiaError, NumericalError
from aitia.models import LanguageModel, Outputs, run
from aitia.models.losses import loss_values
from aitia.records import Batch, Records, TokenizedRecords
from aitia.training import RecordedRun, State, TrainingLoop, flatten, pull_back, temporarily_trainable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """What the rows of one step do to the targets.

    Attributes:
        step: its number.
        rows: [b] places of its rows among the data.
        scores: [c, b].
    """

    step: int
    rows: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The derivatives of c targets after one training run.

    Attributes:
        targets: their names.
        values: [c] their values after training.
        ids: of the n rows.
        scores: [c, n] float64, derivatives with respect to the rows' loss weights. Positive: the row raises the target.
        occurrences: the same, step by step, so that an epoch's part can be told from another's; they sum to `scores`.
        expected: [c, n] expectation of the scores over orders of the rows; none unless asked for.
        adjoint_norms: [steps + 1, c] norm of each target's derivative with respect to the parameters, before each step
            and after the last.
        tokens: [c, t] a row, parts of its score by the token that is predicted; empty unless asked for.
        sides: [c, n, s] parts of `foretelling` by the answers that the rows' loss compares; none in supervised
            fine-tuning.
    """

    targets: tuple[str, ...]
    values: tuple[float, ...]
    ids: tuple[str, ...]
    scores: np.ndarray
    occurrences: tuple[Occurrence, ...] = field(repr=False)
    adjoint_norms: np.ndarray = field(repr=False)
    tokens: tuple[np.ndarray, ...] = field(default=(), repr=False)
    expected: np.ndarray | None = field(default=None, repr=False)
    sides: np.ndarray | None = field(default=None, repr=False)

    @property
    def foretelling(self) -> np.ndarray:
        """[c, n] the scores to foretell trainings in other orders by: `expected` where it was asked for."""
        return self.scores if self.expected is None else self.expected

    def of(self, target: str) -> np.ndarray:
        """A target's scores, [n].

        Returns:
            [n] derivatives by row.

        Raises:
            AitiaError: it was not asked for.
        """
        if target not in self.targets:
            raise AitiaError(f"target {target!r} was not asked for; there are {', '.join(self.targets)}")
        return self.scores[self.targets.index(target)]


def replay(
    recorded: RecordedRun,
    model: LanguageModel,
    data: Records | TokenizedRecords,
    targets: Sequence[Target],
    *,
    by_token: bool = False,
    over_orders: int = 0,
    progress: bool = True,
) -> Replayed:
    """Differentiate a training run: what each row's loss weight does to measurements of the trained model.

    Exact for the run as it was recorded, to rounding. Whether it foretells what larger changes of the weights do, as
    leaving a row out, is a question of smoothness: default AdamW's first steps follow the signs of gradients, and the
    derivative misleads. Replay a smooth surrogate (`smooth_replay`), or see `metasmoothness`.

    Memory: the states between two kept ones, the graph of one batch, and what enters the lowest trained block
    (`LowerBlocks`). Cost: about 2.5 times the training for the first target.

    Args:
        recorded: the run.
        model: the base model that it started from, in float32 or float64; given back as it was.
        data: the n rows that it was trained on.
        targets: c of them, in one pass.
        by_token: keep the parts of scores by token, too.
        over_orders: steps at which every row is scored, for the expectation over orders; 0 to leave it out. Each takes
            a pass over the rows, forward and back, for all targets together.
        progress: show a bar.

    Returns:
        The derivatives of every target.

    Raises:
        StoreError: model or data are not the run's, or a kept state is damaged.
        AitiaError: half precision, or a target that does not depend on what was trained.
        NumericalError: a derivative is not finite; the step is named.
    """
    import torch

    require_targets(targets)
    recorded.require_steps()
    recorded.require_model(model)
    if model.dtype not in ("float32", "float64"):
        raise AitiaError(
            f"{model.name} is {model.dtype}, too coarse to be differentiated twice; train and replay with dtype=float32"
        )
    rows = recorded.rows_of(model, data)
    if by_token and recorded.loss.loss != "sft":
        raise AitiaError(
            f"{recorded.path}: was trained with the loss {recorded.loss}, whose scores have no parts by token; leave "
            "`by_token` out"
        )
    with ExitStack() as stack:
        found = stack.enter_context(temporarily_trainable(model, recorded.settings))
        loop = recorded.loop(found, rows)
        found.write(recorded.final().parameters)
        asked = [target.in_tokens(model) for target in targets]
        lower = stack.enter_context(LowerBlocks(found, [rows.answers, *target_texts(asked)]).kept())
        values, gradients = target_gradients(found, asked)
        final = recorded.final()
        adjoint = State(
            parameters=gradients,
            first=torch.zeros_like(gradients),
            second=gradients.new_zeros(len(targets), len(final.second)),
        )
        reversal = _Reversal(loop=loop, targets=len(targets), by_token=by_token)
        stretches = middles(recorded, over_orders)
        products = (
            RowProducts(found, rows, method=recorded.settings.method, precision="float32")
            if stretches
            else None
        )
        expected = np.zeros_like(reversal.sides)
        norms = [gradients.norm(dim=1)]
        count = len(recorded.steps)
        title = "Replay"
        bar = progress_bar(title, count, unit="steps") if progress else _quiet()
        with bar as advance:
            for start, stop in reversed(recorded.segments()):
                with lower.paused():  # the bits of a state are those that training gave it
                    states = list(recorded.states_between(loop, start, stop))
                for number in reversed(range(start, stop)):
                    adjoint = reversal.back(states.pop(), number, adjoint)
                    if products is not None and number in stretches:
                        expected += stretches[number] * products.of(
                            reversal.cotangent.to(final.parameters.dtype)
                        )
                    norms.append(adjoint.parameters.norm(dim=1))
                    advance(1)
    expected = expected / expected_divisors(recorded, rows)[:, None]
    return Replayed(
        targets=tuple(target.name for target in targets),
        values=tuple(values),
        ids=tuple(row.id for row in rows),
        scores=reversal.scores,
        occurrences=tuple(reversed(reversal.occurrences)),
        adjoint_norms=torch.stack(norms[::-1]).cpu().numpy(),
        tokens=tuple(reversal.tokens),
        expected=expected.sum(axis=-1) if stretches else None,
        sides=None if recorded.loss.loss == "sft" else (expected if stretches else reversal.sides),
    )


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Run attention in a kernel whose gradient has a gradient: the plain one, by matrix products."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH):
        yield


@dataclass(kw_only=True)
class _Reversal:
    """The steps of a loop taken backwards, and what they say of the rows."""

    loop: TrainingLoop
    targets: int
    by_token: bool
    occurrences: list[Occurrence] = field(default_factory=list)
    cotangent: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        data = self.loop.data
        self.sides = np.zeros((self.targets, len(data), len(self.loop.row_loss.sides)))
        self.tokens = [np.zeros((self.targets, len(row.tokens))) for row in data] if self.by_token else []

    @property
    def scores(self) -> np.ndarray:
        """[c, n] of whole rows."""
        return self.sides.sum(axis=-1)

    def back(self, state: State, number: int, after: State) -> State:
        """The adjoint of the state before a step, from that of the state after it."""
        import torch

        step = self.loop.steps[number]
        self.loop.trainable.write(state.parameters)
        wide = State(**{name: getattr(state, name).double() for name in ("parameters", "first", "second")})
        batches = self.loop.batches(number)
        with differentiable_twice():
            graphs = [self._graph(batches[0], number)] if len(batches) == 1 else []
            # Of several batches, only one has a graph at a time.
            whole = (graphs[0][0].detach() if graphs else self.loop.gradient(number)[1]).double()
            before, cotangent = pull_back(
                wide, whole, number, step.learning_rate, self.loop.settings, after, decay=self.loop.decay
            )
            curved, found = torch.zeros_like(cotangent), []
            for batch in batches:
                graph = graphs.pop() if graphs else self._graph(batch, number)
                found.append(self._through(graph, batch, cotangent, curved))
                del graph
        self.cotangent = cotangent  # of the step's gradient, [c, P]
        parameters = before.parameters + curved
        scores = np.concatenate(found, axis=1)
        if not (bool(parameters.isfinite().all()) and np.isfinite(scores).all()):
            raise NumericalError(
                f"replay: the derivative is not finite at step {number}; train with a smaller learning rate, a larger "
                "epsilon_root, or in float64"
            )
        rows = np.array(step.rows)
        self.sides[:, rows] += scores  # no row is twice in a step
        self.occurrences.append(Occurrence(step=number, rows=rows, scores=scores.sum(axis=-1)))
        return State(parameters=parameters, first=before.first, second=before.second)

    def _graph(self, batch: Batch, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The gradient of a batch's part of the loss, with a graph, [P]; weights, and the answer of each."""
        import torch

        parameters = list(self.loop.trainable.parameters.values())
        outputs = run(self.loop.trainable.model, batch, gradients=True, detach=False)
        weights, places = self.loop.weights, self.loop.places(batch)
        if self.loop.data.loss.loss == "sft":
            losses, answers = outputs.token_losses(), outputs.rows
            ones = torch.ones_like(losses)
            if weights is not None:
                ones = losses.new_tensor(weights[places])[answers]
            each = ones.detach().requires_grad_()
            loss = (losses * each).sum()
        else:
            losses, log_probs, slopes = self._by_answer(outputs, places)
            each = torch.zeros_like(slopes).requires_grad_()
            answers = torch.arange(each.numel(), device=each.device)
            ones = torch.ones_like(losses) if weights is None else losses.new_tensor(weights[places])
            loss = (losses * ones).sum() + (each * slopes * log_probs).sum()
        found = torch.autograd.grad(
            loss / self.loop.divisor(number), parameters, create_graph=True, allow_unused=True
        )
        return flatten(found, parameters), each, answers

    def _by_answer(
        self, outputs: Outputs, places: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The rows' losses, [b], their answers' log-probabilities, [b, s], and the losses' slopes in these, fixed."""
        import torch

        rows, settings = [self.loop.data[int(i)] for i in places], self.loop.data.loss
        log_probs = -outputs.losses().reshape(len(rows), -1)
        given = log_probs.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(loss_values(given, rows, settings).sum(), given)
        return loss_values(log_probs, rows, settings), log_probs, slopes

    def _through(
        self,
        graph: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        batch: Batch,
        cotangent: torch.Tensor,
        curved: torch.Tensor,
    ) -> np.ndarray:
        """Add the Hessian times each cotangent to `curved`, [c, P]; the scores of the batch's answers, [c, b, s]."""
        import torch

        gradient, each, answers = graph
        parameters = list(self.loop.trainable.parameters.values())
        shape = len(self.loop.places(batch)), self.sides.shape[-1]
        scores = np.zeros((len(cotangent), *shape))
        for place, direction in enumerate(cotangent):
            size = direction.norm()
            if bool(size == 0):
                continue
            # Of unit length, so that float32 neither over- nor underflows.
            inner = gradient @ (direction / size).to(gradient.dtype)
            *by_parameters, by_token = torch.autograd.grad(
                inner, (*parameters, each), retain_graph=place + 1 < len(cotangent), allow_unused=True
            )
            curved[place] += flatten(by_parameters, parameters).double() * size
            tokens = by_token.double().flatten() * size
            by_answer = tokens.new_zeros(shape[0] * shape[1]).index_add(0, answers, tokens)
            scores[place] = by_answer.reshape(shape).cpu().numpy()
            if self.tokens:
                self._keep_tokens(place, batch, tokens.cpu().numpy())
        return scores

    def _keep_tokens(self, place: int, batch: Batch, tokens: np.ndarray) -> None:
        predicts = np.zeros_like(batch.response)
        predicts[:, :-1] = batch.response[:, 1:]
        in_rows, positions = predicts.nonzero()
        for row, position, value in zip(in_rows, positions, tokens, strict=True):
            self.tokens[int(batch.index[row])][place, position + 1] += value


@contextmanager
def _quiet() -> Iterator:
    yield lambda _units: None
