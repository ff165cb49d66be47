"""Continual learners: one file per agent, and the rooms behind them."""
