"""Execution of a grid: worker processes of this machine, or a Ray cluster."""
