"""Data: datasets, indexing, task lists, decoded stores, streams."""
