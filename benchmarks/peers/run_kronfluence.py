"""EK-FAC influence, or plain gradient products, by kronfluence."""

# pyright: reportMissingImports=false
from __future__ import annotations

import tempfile

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
    options = runner_parser(__doc__, methods=("ekfac", "identity")).parse_args()
    workload = parsed_workload(options)
    measurement = Measurement(f"kronfluence {options.method}")

    with measurement.phase("import"):
        import torch
        from datasets import Dataset
        from kronfluence.analyzer import Analyzer, prepare_model
        from kronfluence.arguments import FactorArguments, ScoreArguments
        from kronfluence.task import Task
        from kronfluence.utils.dataset import DataLoaderKwargs
        from torch.nn.functional import cross_entropy
        from transformers import default_data_collator

    class LanguageModelling(Task):
        """Summed cross-entropy of the labels in the data, on both sides."""

        def compute_train_loss(self, batch, model, sample=False):
            assert not sample, "labels are the data's"
            logits = model(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1]
            return cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, 1:].flatten(), reduction="sum")

        def compute_measurement(self, batch, model):
            return self.compute_train_loss(batch, model)

        def get_influence_tracked_modules(self):
            return names

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as working:
        with measurement.phase("load"):
            task, network = LanguageModelling(), read_network(options.folder, linear=True)
            names = tracked_modules(network)
            network = prepare_model(network, task)
            train, query = (
                Dataset.from_dict({"input_ids": tokens.tolist()}) for tokens in read_tokens(options.folder)
            )
            analyzer = Analyzer("peer", network, task, cpu=True, disable_tqdm=True, output_dir=working)
            analyzer.set_dataloader_kwargs(DataLoaderKwargs(collate_fn=default_data_collator))
        with measurement.phase("fit"):
            analyzer.fit_all_factors(
                factors_name="factors",
                dataset=train,
                per_device_batch_size=options.batch,
                factor_args=FactorArguments(strategy=options.method, use_empirical_fisher=True),
            )
        with measurement.phase("score"):
            analyzer.compute_pairwise_scores(
                scores_name="scores",
                factors_name="factors",
                query_dataset=query,
                train_dataset=train,
                per_device_query_batch_size=workload.queries,
                per_device_train_batch_size=options.batch,
                # None stands for a tenth of the mean corrected eigenvalue of each module.
                score_args=ScoreArguments(damping_factor=None),
            )
        scores = analyzer.load_pairwise_scores("scores")["all_modules"]
    save_scores(options.out, scores.numpy(), workload)
    measurement.print_line(compute=["fit", "score"])


if __name__ == "__main__":
    main()
