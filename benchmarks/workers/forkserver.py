"""Fork server of the workers: a process that imports the modules of a run and does nothing else.

Starting or replacing a worker takes no seconds then. This module imports little, so that a command can call `start`
first and do its own imports meanwhile.
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
    """Start the fork server, if it is not running; its imports proceed in the background."""
    os.environ.setdefault("GLIBC_TUNABLES", KEEP_PAGES)
    _context().set_forkserver_preload(["lethe.benchmarks.workers.preload"])
    forkserver.ensure_running()


def context() -> ForkServerContext:
    """Multiprocessing context of the fork server, which is started if necessary."""
    start()
    return _context()


def _context() -> ForkServerContext:
    return get_context("forkserver")
