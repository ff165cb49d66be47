"""Limit of the memory of a run's process: what it keeps for itself, files that it has mapped apart.

An agent that keeps more and more would otherwise take the whole machine, and other runs with it.
"""

import ctypes
import gc
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from lethe.common.errors import InputError

LOOK = 0.25
"""Seconds between two looks at a process."""
_SHARE = 0.9
"""Share of the machine's memory that runs may take, by default."""
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_GRACE = 20  # looks until a process that does not come to its senses is ended


class MemoryExceeded(MemoryError):
    """The process keeps more memory than it may."""


def used(process: int) -> int:
    """Bytes that a process keeps for itself, in memory or swapped out; 0 if it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.findall(r"^(?:RssAnon|VmSwap):\s+([0-9]+) kB$", status, re.MULTILINE)
    return 1024 * sum(map(int, found))


def limit_of(asked: str | None, workers: int) -> int:
    """Bytes that each of `workers` processes may keep: as `asked`, such as "8 GB", or its part of most of the machine.

    `InputError` where `asked` is no size.
    """
    if asked is None:
        return int(_SHARE * _machine_memory() / workers)
    match = re.fullmatch(
        r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([KMGT]?B|)", asked.strip(), re.IGNORECASE | re.ASCII
    )
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise InputError(f"--max-memory {asked}: expected a size, such as 8GB")
    return size


def exceeded(limit: int) -> str:
    """The reason of a run that is ended for its memory."""
    return (
        f"it kept more than {limit / 1e9:.3g} GB of memory: give it more (--max-memory), run fewer at a time "
        "(--workers), or see whether the agent keeps what it should not"
    )


@contextmanager
def limited(limit: int | None, last_words: Callable[[str], None]) -> Iterator[None]:
    """In this block, raise `MemoryExceeded` in the main thread once the process keeps more than `limit` bytes.

    A process that does not end the block then is ended, after `last_words` were called with the reason. The block is in
    the main thread.
    """
    if limit is None:
        yield
        return
    done, stopped = threading.Event(), threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if not done.is_set():
            stopped.set()
            raise MemoryExceeded(exceeded(limit))

    def watch() -> None:
        over = 0
        while not done.wait(LOOK):
            if used(os.getpid()) <= limit:
                continue
            over += 1
            if over > _GRACE:
                last_words(exceeded(limit))
                sys.stderr.flush()
                os._exit(1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
        if stopped.is_set():  # what is freed goes back to the system: the next run starts with little
            gc.collect()
            with suppress(OSError, AttributeError):  # of another C library
                ctypes.CDLL(None).malloc_trim(0)


def _machine_memory() -> int:
    """Bytes of memory of the machine, or of the container that this process lives in."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return whole
    return min(whole, int(text)) if text.isdecimal() else whole
