"""The job of `aitia attribute`, curated data, slices, plans and the demo."""
