"""Checks of the agent contract, and the toy problem that they run on."""
