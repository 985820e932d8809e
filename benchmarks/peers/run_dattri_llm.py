"""EK-FAC influence, or plain gradient products, by dattri-llm."""

# pyright: reportMissingImports=false
from __future__ import annotations

import tempfile
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


def main() -> None:
    parser = runner_parser(__doc__, methods=("ekfac", "identity"), batch=16)
    parser.add_argument(
        "--residency",
        choices=("none", "memory"),
        default="none",
        help="where it keeps the rows' factors between its passes; none to run the model in each",
    )
    options = parser.parse_args()
    workload = parsed_workload(options)
    measurement = Measurement(f"dattri-llm {options.method}")

    with measurement.phase("import"):
        import torch
        from dattri_llm import (
            AttributionArguments,
            AttributionTask,
            EKFACAttributor,
            HookManagerConfig,
            TracInAttributor,
        )
        from torch.nn.functional import cross_entropy

    def loss(network: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Summed cross-entropy of the labels in the data, on both sides."""
        logits = network(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
        return cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten(), reduction="sum")

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    with measurement.phase("load"):
        network = read_network(options.folder, linear=True).requires_grad_(False)
        # Its hooks read inputs and output gradients, so the graph needs to start at the embeddings only.
        network.enable_input_require_grads()
        hooks = HookManagerConfig(
            hook_types=dict.fromkeys(tracked_modules(network), "linear_io"), include_frozen=True
        )
        train, query = ([{"input_ids": row} for row in tokens] for tokens in read_tokens(options.folder))

    with tempfile.TemporaryDirectory() as working:
        arguments = AttributionArguments(
            output_dir=working,
            per_device_train_batch_size=options.batch,
            per_device_eval_batch_size=workload.queries,
            use_cpu=True,
        )
        task = AttributionTask(loss, network)
        how: dict[str, Any] = {"hook_config": hooks}
        how["gradient_cache_residency"] = None if options.residency == "none" else options.residency
        if options.method == "ekfac":
            kind = EKFACAttributor
            how |= {
                "damping": 0.1,
                "relative_damping": True,
            }  # a tenth of each layer's mean corrected eigenvalue
        else:
            kind = TracInAttributor
        with measurement.phase("attribute"):  # it fits its factors within
            found = kind(arguments, task=task).attribute(train, query, **how)
    # A row for each training row and step, in the order of the data; there is one step.
    save_scores(options.out, found.scores.detach().T.float().numpy(), workload)
    measurement.print_line(compute=["attribute"])


if __name__ == "__main__":
    main()
