"""Pretraining of the small network on generated shapes."""
