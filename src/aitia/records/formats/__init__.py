"""The formats that rows are stored in: JSON lines, JSON, Parquet, saved data sets."""
