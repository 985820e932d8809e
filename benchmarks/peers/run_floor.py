"""Bare passes over the training rows: the least that any method with gradients of activations must do."""

from __future__ import annotations

from workload import Measurement, make_tokens, parsed_workload, read_network, runner_parser

BATCHES = (16, 64)


def main() -> None:
    options = runner_parser(__doc__).parse_args()
    workload = parsed_workload(options)
    measurement = Measurement("floor")

    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(options.threads)
    with measurement.phase("load"):
        network = read_network(options.folder).requires_grad_(False)
        train, _ = make_tokens(workload)

    def forward(tokens: torch.Tensor) -> None:
        with torch.no_grad():
            network(input_ids=tokens, use_cache=False)

    def forward_and_backward(tokens: torch.Tensor) -> None:
        embedded = network.get_input_embeddings()(tokens).requires_grad_()
        logits = network(inputs_embeds=embedded, use_cache=False).logits[:, :-1]
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
