"""Datasets by name, their descriptions, and the dirmap: one row per image."""
