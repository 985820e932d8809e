"""The optimizer's step against torch's own, and its derivative against finite differences."""

from dataclasses import replace

import pytest
import torch

from aitia.errors import AitiaError
from aitia.training import LoraSettings, State, pull_back
from aitia.training.updates import first_state, learning_rate, update

RATES = [0.01, 0.03, 0.02, 0.005]
CASES = {
    "adamw": LoraSettings(),
    "no clipping": LoraSettings(max_grad_norm=0),
    "decay": LoraSettings(weight_decay=0.3),
    "short memory": LoraSettings(adam_beta1=0.5, adam_beta2=0.7, adam_epsilon=1e-3),
    "never clipped": LoraSettings(max_grad_norm=1e6),
    "sgd": LoraSettings(optimizer="sgd"),
    "momentum": LoraSettings(optimizer="sgd", momentum=0.8, weight_decay=0.2),
}
ROOT = {
    "root": LoraSettings(epsilon_root=1e-3),
    "root alone": LoraSettings(epsilon_root=0.1, adam_epsilon=0.0),
}


def gradients(count=4, size=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_steps_are_those_of_torch(case, dtype):
    settings = CASES[case]
    start = torch.linspace(-1, 1, 7, dtype=dtype)
    parameter = torch.nn.Parameter(start.clone())
    if settings.optimizer == "sgd":
        theirs = torch.optim.SGD(
            [parameter], momentum=settings.momentum, weight_decay=settings.weight_decay, lr=1
        )
    else:
        theirs = torch.optim.AdamW(
            [parameter],
            lr=1,
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
        )
    state = first_state(start, settings)
    for number, (gradient, rate) in enumerate(zip(gradients(), RATES, strict=True)):
        state = update(state, gradient.to(dtype), number, rate, settings)
        parameter.grad = gradient.to(dtype)
        if settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_([parameter], settings.max_grad_norm)
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
        torch.testing.assert_close(state.parameters, parameter.detach(), rtol=2e-6, atol=1e-7)


def some_decayed(settings):
    """[7] weight decay, for the first three of seven parameters."""
    return settings.weight_decay * (torch.arange(7) < 3).double()


@pytest.mark.parametrize("case", ["decay", "momentum"])
def test_groups_with_and_without_weight_decay_are_those_of_torch(case):
    settings = replace(CASES[case], undecayed=("norm",), max_grad_norm=0)
    start = torch.linspace(-1, 1, 7, dtype=torch.float64)
    parts = [torch.nn.Parameter(each.clone()) for each in (start[:3], start[3:])]
    groups = [
        {"params": [parts[0]], "weight_decay": settings.weight_decay},
        {"params": [parts[1]], "weight_decay": 0.0},
    ]
    sgd = settings.optimizer == "sgd"
    theirs = torch.optim.SGD(groups, lr=1, momentum=settings.momentum) if sgd else torch.optim.AdamW(groups)
    state = first_state(start, settings)
    for number, (gradient, rate) in enumerate(zip(gradients(), RATES, strict=True)):
        state = update(state, gradient, number, rate, settings, decay=some_decayed(settings))
        for part, each in zip(parts, gradient.split([3, 4]), strict=True):
            part.grad = each.clone()
        for group in theirs.param_groups:
            group["lr"] = rate
        theirs.step()
        torch.testing.assert_close(state.parameters, torch.cat(parts).detach())
    with pytest.raises(AitiaError, match="say which"):
        update(state, gradients()[0], 4, 0.1, settings)


def test_the_root_stands_inside_by_hand_calculation():
    settings = LoraSettings(epsilon_root=1e-3, max_grad_norm=0)
    gradient = torch.tensor([0.5, -0.02], dtype=torch.float64)
    after = update(first_state(torch.zeros(2, dtype=torch.float64), settings), gradient, 0, 0.1, settings)
    torch.testing.assert_close(after.parameters, -0.1 * gradient / ((gradient.square() + 1e-3).sqrt() + 1e-8))


@pytest.mark.parametrize("case", CASES | ROOT)
def test_the_derivative_of_steps_is_that_of_finite_differences(case):
    """Of a random linear function of the last state, with respect to the first state and to every gradient."""
    settings = (CASES | ROOT)[case]
    decay = some_decayed(settings)
    given = gradients()
    generator = torch.Generator().manual_seed(1)
    asked = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    middle = update(
        first_state(torch.linspace(-1, 1, 7, dtype=torch.float64), settings),
        given[0],
        0,
        0.02,
        settings,
        decay=decay,
    )
    inputs = [middle.parameters, middle.first, middle.second, *given[1:]]

    def states(parts):
        found = [State(parameters=parts[0], first=parts[1], second=parts[2])]
        for number, gradient in enumerate(parts[3:], start=1):
            found.append(update(found[-1], gradient, number, RATES[number], settings, decay=decay))
        return found

    walked = states(inputs)
    adjoint = State(
        parameters=asked.clone(),
        first=torch.zeros(2, 7, dtype=torch.float64),
        second=torch.zeros(2, len(middle.second), dtype=torch.float64),
    )
    by_gradient = {}
    for number in reversed(range(1, 4)):
        adjoint, by_gradient[number] = pull_back(
            walked[number - 1], given[number], number, RATES[number], settings, adjoint, decay=decay
        )
    derivatives = [adjoint.parameters, adjoint.first, adjoint.second, *(by_gradient[n] for n in range(1, 4))]
    for place, (part, derivative) in enumerate(zip(inputs, derivatives, strict=True)):
        if not part.numel():
            continue
        direction = torch.randn(part.shape, generator=generator, dtype=torch.float64)
        if place == 2:
            direction *= part  # squares stay positive
        step = 1e-5
        ends = [
            asked
            @ states([*inputs[:place], part + sign * step * direction, *inputs[place + 1 :]])[-1].parameters
            for sign in (1, -1)
        ]
        torch.testing.assert_close(
            derivative @ direction, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_schedule_rises_and_then_takes_its_course(schedule):
    settings = LoraSettings(learning_rate=2.0, warmup_steps=4, lr_scheduler_type=schedule)
    rates = [learning_rate(step, 24, settings) for step in range(24)]
    assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
    middle = {"linear": 1.0, "cosine": 1.0, "constant": 2.0}[schedule]
    assert rates[14] == pytest.approx(middle)
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)
    quarter = {"linear": 1.5, "cosine": 1 + 2**-0.5, "constant": 2.0}[schedule]
    assert rates[9] == pytest.approx(quarter)


def test_a_schedule_without_warmup_share_has_one_step_of_it():
    settings = replace(LoraSettings(), warmup_ratio=0.0)
    assert learning_rate(0, 10, settings) == settings.learning_rate
