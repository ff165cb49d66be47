"""The process that workers are forked from: it imports what they need and does nothing else.

A worker made from it, or one that takes a dead one's place, costs no seconds. This module imports little, so that a
command can call `start` first and do its own imports meanwhile.
"""

import os
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

KEEP_PAGES = ":".join(
    f"glibc.malloc.{name}" for name in ("mmap_threshold=4294967296", "trim_threshold=4294967296", "hugetlb=1")
)
"""For $GLIBC_TUNABLES, read when a program starts: glibc keeps large freed blocks, where it would give them back to the
system and fault them in again at the next step."""


def start() -> None:
    """Let it begin its imports, if it has not."""
    os.environ.setdefault("GLIBC_TUNABLES", KEEP_PAGES)
    _context().set_forkserver_preload(["lethe.benchmarks.workers.preload"])
    forkserver.ensure_running()


def context() -> ForkServerContext:
    """What makes processes and pipes; it is started if it was not."""
    start()
    return _context()


def _context() -> ForkServerContext:
    return get_context("forkserver")
