"""Bare passes over the training rows: the least that any method with gradients of activations must do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workload import Measurement, parsed_workload, read_network, read_tokens, runner_parser, tracked_modules

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCHES = (16, 64)


def lowest_block(names: Sequence[str]) -> str:
    """The block of the first tracked module: its name up to its number."""
    parts = names[0].split(".")
    return ".".join(parts[: next(i for i, part in enumerate(parts) if part.isdigit()) + 1])


@contextmanager
def starting_at(block: nn.Module) -> Iterator[None]:
    """Start the graph at a block's input: no gradient is wanted below it."""

    def start(_module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (args[0].detach().requires_grad_(), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": kwargs["hidden_states"].detach().requires_grad_()}

    handle = block.register_forward_pre_hook(start, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def main() -> None:
    options = runner_parser(__doc__).parse_args()
    parsed_workload(options)
    measurement = Measurement("floor")

    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(options.threads)
    with measurement.phase("load"):
        network = read_network(options.folder).requires_grad_(False)
        train, _ = read_tokens(options.folder)
        lowest = network.get_submodule(lowest_block(tracked_modules(network)))

    def forward(tokens: torch.Tensor) -> None:
        with torch.no_grad():
            network(input_ids=tokens, use_cache=False)

    def forward_and_backward(tokens: torch.Tensor) -> None:
        with starting_at(lowest):
            logits = network(input_ids=tokens, use_cache=False).logits[:, :-1]
        cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum").backward()

    for batch in BATCHES:
        for run in (forward, forward_and_backward):
            run(train[:batch])  # so that no first call is timed
            with measurement.phase(f"{run.__name__}_batch_{batch}"):
                for start in range(0, len(train), batch):
                    run(train[start : start + batch])
    both = [f"forward_and_backward_batch_{batch}" for batch in BATCHES]
    measurement.print_line(compute=[min(both, key=measurement.phases.__getitem__)])


if __name__ == "__main__":
    main()
