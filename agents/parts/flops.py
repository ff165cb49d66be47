"""FLOPs that an agent tells of itself, to whoever counts those of an agent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

listeners: list[Callable[[int], None]] = []
"""Receivers of what `tell` is told, while they count."""
uncounted_blocks: list[None] = []
"""One entry for each block of `uncounted` that is being executed."""


def tell(flops: int) -> None:
    """Count `flops`, a multiplication and an addition as two, for work that PyTorch does not see or does later."""
    for listener in listeners:
        listener(flops)


@contextmanager
def uncounted() -> Iterator[None]:
    """Work that is not counted where it is done, because it was told where it arose: what is put off for many steps."""
    uncounted_blocks.append(None)
    try:
        yield
    finally:
        uncounted_blocks.pop()
