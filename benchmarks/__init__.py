"""The experiment: the one loop, evaluation, metrics, run records, tables and plots."""
