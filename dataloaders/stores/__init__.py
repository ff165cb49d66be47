"""Decoded pixels and features of frozen layers as memory-mapped arrays."""
