"""Images without a store: decoded when they are wanted, by processes that run ahead."""

import json
import os
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import IO

import numpy as np
import torch
from torch import Tensor

from lethe.common.errors import InputError
from lethe.dataloaders.stores.decoder import FAULT, LENGTH_BYTES
from lethe.dataloaders.streams import Task

AHEAD = 128
"""Images that are decoded beyond the batch that is waited for, or a whole batch where that is more."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from lethe.dataloaders.stores.decoder import serve; serve()"
)


class DecodedImages:
    """Pixels by row, uint8 [B, 3, H, W] on the device, of the files `paths` below `root`.

    Whatever `workers`, the number of processes that decode, the pixels are those of a pixel store. They are started
    with the first batch, hold no more than the batches on the way, and end with this object. An image that cannot be
    decoded is an `InputError` that names it and ends with the `remedy`.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        size: tuple[int, int],
        device: torch.device,
        *,
        resize: int = 0,
        workers: int | None = None,
        remedy: str = "",
    ):
        self._root = root
        self._paths = paths
        self._size = size
        self._resize = resize
        self._device = device
        self._workers = workers or len(os.sched_getaffinity(0))
        self._remedy = remedy
        self._decoders: _Decoders | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return 3, *self._size

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Pixels of `rows` [B] int64 on the CPU."""
        return next(self.batches([Task(rows, rows)]))[1]

    def batches(self, parts: Iterable[Task]) -> Iterator[tuple[Task, Tensor]]:
        """Each of `parts` with its pixels, in order; those of the next parts are being decoded meanwhile."""
        if self._decoders is None:
            self._decoders = _Decoders(self._workers)
        waiting: deque[tuple[Task, list[Future[np.ndarray]]]] = deque()
        ahead = 0  # images of `waiting`, without those of its first part
        try:
            for part in parts:
                asked = [
                    self._decoders.ask(self._root / self._paths[row], self._size, self._resize)
                    for row in part.rows.tolist()
                ]
                ahead += len(part) if waiting else 0
                waiting.append((part, asked))
                while ahead >= AHEAD:
                    yield self._first(waiting)
                    ahead -= len(waiting[0][0])
            while waiting:
                yield self._first(waiting)
        finally:
            for _, asked in waiting:
                for one in asked:
                    one.cancel()

    def _first(self, waiting: deque[tuple[Task, list[Future[np.ndarray]]]]) -> tuple[Task, Tensor]:
        """Take the first part off `waiting`, when it is decoded."""
        part, asked = waiting[0]
        try:
            pixels = np.stack([one.result() for one in asked])
        except InputError as error:
            raise InputError(*error.problems, *([self._remedy] if self._remedy else [])) from None
        waiting.popleft()
        return part, torch.from_numpy(pixels).to(self._device, non_blocking=True).permute(0, 3, 1, 2)


class _Decoders:
    """Processes that decode, each asked by a thread of its own; they need no more than they are asked for.

    No processes of `multiprocessing`, which those of a pool of workers may not start, and which outlive a parent that
    is killed.
    """

    def __init__(self, count: int):
        command = [sys.executable, "-c", _START, json.dumps(sys.path)]
        started = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  (this program)
            for _ in range(count)
        ]
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for one in started:
            self._free.put(one)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        weakref.finalize(self, _end, self._threads, started)

    def ask(self, path: Path, size: tuple[int, int], resize: int) -> Future[np.ndarray]:
        """Begin to decode an image: uint8 [H, W, 3], or `InputError`."""
        return self._threads.submit(_decoded, self._free, path, size, resize)


def _decoded(
    free: "SimpleQueue[subprocess.Popen[bytes]]", path: Path, size: tuple[int, int], resize: int
) -> np.ndarray:
    process = free.get()
    try:
        return _answer(process, path, size, resize)
    except (OSError, EOFError):
        raise InputError(
            f"{path}: the process that decodes it was killed, most likely for want of memory: free some, and repeat "
            "the command"
        ) from None
    finally:
        free.put(process)


def _answer(process: "subprocess.Popen[bytes]", path: Path, size: tuple[int, int], resize: int) -> np.ndarray:
    asked, answers = process.stdin, process.stdout
    if asked is None or answers is None:
        raise TypeError("a process without pipes")
    asked.write(json.dumps([str(path), size, resize]).encode() + b"\n")
    asked.flush()
    if _read(answers, 1) == FAULT:
        length = int.from_bytes(_read(answers, LENGTH_BYTES), "big")
        raise InputError(_read(answers, length).decode())
    return np.frombuffer(_read(answers, size[0] * size[1] * 3), np.uint8).reshape(*size, 3)


def _read(answers: IO[bytes], count: int) -> bytes:
    found = answers.read(count)
    if len(found) < count:
        raise EOFError
    return found


def _end(threads: ThreadPoolExecutor, processes: "list[subprocess.Popen[bytes]]") -> None:
    threads.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()  # it writes no file
        process.wait()
