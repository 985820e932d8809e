"""MAGIC by bergson's own trainer: the derivative of a query's loss with respect to the weight of every row of a run."""

# pyright: reportMissingImports=false
from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torchopt
from bergson.magic.data_stream import DataStream
from bergson.magic.trainer import BackwardState, Trainer
from bergson.utils import weighted_causal_lm_ce
from datasets import Dataset
from torchopt.pytree import tree_iter
from transformers import AutoModelForCausalLM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds `model` and `common_run.json`")
    parser.add_argument("out", type=Path, help="npz: scores [occurrences], loss, parameters")
    options = parser.parse_args()
    asked = json.loads((options.folder / "common_run.json").read_text(encoding="utf-8"))
    network = AutoModelForCausalLM.from_pretrained(
        options.folder / "model", attn_implementation="eager", dtype=torch.float64
    )
    network.eval()
    network.loss_function = partial(weighted_causal_lm_ce, reduction="mean")
    rates = asked["rates"]
    optimizer = torchopt.adamw(
        lambda step: rates[min(int(step), len(rates) - 1)],
        betas=tuple(asked["betas"]),
        eps=asked["epsilon"],
        eps_root=asked["epsilon_root"],
        weight_decay=asked["weight_decay"],
    )
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{folder}/meeting")
        trainer, state = Trainer.initialize(network, optimizer)
        stream = DataStream(Dataset.from_list(asked["occurrences"]), asked["batch"])
        how = {"save_mode": "sqrt", "max_grad_norm": asked["max_grad_norm"] or None}
        state = trainer.train(state, stream, save_dir=f"{folder}/states", **how)
        with state.activate(network) as parameters:
            queries = torch.tensor([asked["query"]["input_ids"]])
            labels = torch.tensor([asked["query"]["labels"]])
            loss = network(input_ids=queries, labels=labels).loss
            gradients = dict(
                zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True)
            )
        trained = {name: value.detach().clone() for name, value in state.params.items()}
        moments = [
            torch.zeros_like(part)
            for part in tree_iter(state.opt_state)
            if isinstance(part, torch.Tensor) and part.is_floating_point()
        ]
        state.detach_()
        stream.requires_grad = True
        start = BackwardState(gradients, moments, torch.zeros_like(stream.weights))
        found = trainer.backward(f"{folder}/states", stream, start, state, **how)
        dist.destroy_process_group()
    np.savez(
        options.out,
        scores=found.weight_grads.detach().numpy(),
        loss=loss.item(),
        parameters=np.concatenate([trained[name].numpy().ravel() for name in sorted(trained)]),
    )


if __name__ == "__main__":
    main()
