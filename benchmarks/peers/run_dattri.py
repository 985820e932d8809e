"""Influence with projected gradients (LoGra) by dattri, whose EK-FAC does not run on sequences."""

# pyright: reportMissingImports=false
from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

from workload import (
    Measurement,
    parsed_workload,
    read_network,
    read_tokens,
    runner_parser,
    save_scores,
    tracked_modules,
)

PROJECTION = 16  # on either side of every module, so 256 numbers for a module and a row


def main() -> None:
    options = runner_parser(__doc__, methods=("logra",), batch=16).parse_args()
    workload = parsed_workload(options)
    measurement = Measurement(f"dattri {options.method}")

    with measurement.phase("import"):
        import torch
        from dattri.algorithm.logra import LoGraAttributor
        from dattri.task import AttributionTask
        from torch import nn
        from torch.nn.functional import cross_entropy
        from torch.utils.data import DataLoader

    class SummedLoss(nn.Module):
        """A network that returns its loss: on the query side dattri asks for nothing else."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
            logits = self.network(input_ids=input_ids, use_cache=False).logits[:, :-1]
            labels = input_ids[:, 1:].flatten()
            return SimpleNamespace(loss=cross_entropy(logits.flatten(0, 1), labels, reduction="sum"))

    def loss(model: nn.Module, batch: dict[str, torch.Tensor], _device: str) -> torch.Tensor:
        return model(**batch).loss

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    with measurement.phase("load"):
        model = SummedLoss(read_network(options.folder, linear=True)).requires_grad_(False)
        # Gradients of activations are enough, and any parameter below the modules brings them.
        model.get_parameter("network.transformer.wpe.weight").requires_grad_()
        train, query = read_tokens(options.folder)
        task = AttributionTask(loss_func=loss, target_func=loss, model=model, checkpoints=model.state_dict())

    def batches(tokens: torch.Tensor) -> DataLoader:
        rows: Any = [{"input_ids": row} for row in tokens]
        return DataLoader(rows, batch_size=options.batch)

    def attributor(working: str) -> LoGraAttributor:
        # It leaves a file on its batches even in memory, and believes the one it finds: hence the folder.
        return LoGraAttributor(
            task,
            layer_names=[f"network.{name}" for name in tracked_modules(model.network)],
            hessian="eFIM",
            offload="none",
            proj_dim=PROJECTION**2,
            cache_dir=working,
        )

    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        with measurement.phase("compile"):  # dattri compiles its projection when it first meets a shape
            warm, few = attributor(first), batches(train[: options.batch])
            warm.cache(few)
            warm.attribute(few, batches(query))
        with measurement.phase("cache"):
            timed = attributor(second)
            timed.cache(batches(train))
        with measurement.phase("attribute"):
            scores = timed.attribute(batches(train), batches(query))
    save_scores(options.out, scores.detach().T.numpy(), workload)
    measurement.print_line(compute=["cache", "attribute"])


if __name__ == "__main__":
    main()
