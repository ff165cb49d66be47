"""Comparison of trials: tables, plots, the agents page."""
