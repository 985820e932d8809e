"""The scorecard: every measure of an explanation, its grades, its four conditions, and its baselines beside it."""
