"""FLOPs of work that is not PyTorch's, told to whoever counts those of an agent."""

from collections.abc import Callable

listeners: list[Callable[[int], None]] = []
"""Receivers of what `tell` is told, while they count."""


def tell(flops: int) -> None:
    """Count `flops`, a multiplication and an addition as two, for work that PyTorch does not see."""
    for listener in listeners:
        listener(flops)
