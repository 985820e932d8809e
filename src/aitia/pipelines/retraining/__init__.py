"""The job of `aitia counterfactual`: remove rows, train again, measure."""
