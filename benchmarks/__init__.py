"""Experiments: the learning loop, evaluation, run records, reports."""
