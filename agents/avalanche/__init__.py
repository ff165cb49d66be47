"""Strategies of avalanche-lib as agents."""
