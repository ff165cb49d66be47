"""Evaluation of agents and the metrics of continual learning."""
