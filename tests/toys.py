"""The toy problem of the package, under the name that the tests know it by."""

from agents.toy import CPU, PROBLEM, SETTINGS, Batches, TinyNet, batch, build, inputs, network

__all__ = ["CPU", "PROBLEM", "SETTINGS", "Batches", "TinyNet", "batch", "build", "inputs", "network"]
