"""The pixel store: every image of a dataset decoded once, resized, and memory-mapped as uint8.

A store is a folder named after a fingerprint of the files, the size and the resize rule. It is built under a
temporary name and renamed when whole, so a killed build leaves no half store and a changed file no stale one.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloaders.decode import RESIZE_RULE, decode_into
from errors import InputError

_SHOWN = 20  # problems told at once


@dataclass(frozen=True)
class PixelStore:
    """Decoded images: `pixels` uint8 [N, H, W, 3], memory-mapped; `rows` from a path to its row."""

    fingerprint: str
    pixels: np.ndarray
    rows: dict[str, int]

    @classmethod
    def open(
        cls,
        root: Path,
        paths: Sequence[str],
        size: tuple[int, int],
        stores: Path,
        *,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> "PixelStore":
        """The store of the images `paths` below `root`, resized to `size` (H, W); built under `stores` if absent.

        `progress(done, total)` is called as a build goes on. Missing or broken files are an `InputError` that
        names them, and so is a disk without space.
        """
        paths = sorted(set(paths))
        fingerprint = _fingerprint(root, paths, size)
        folder = stores / f"pixels-{size[0]}x{size[1]}-{fingerprint[:16]}"
        if not folder.exists():
            with _only_builder(stores, folder.name):
                if not folder.exists():  # another process may have built it while this one waited
                    _build(folder, root, paths, size, workers, progress)
        pixels = np.load(folder / "pixels.npy", mmap_mode="c")  # copy on write: never changes the file
        if pixels.shape != (len(paths), *size, 3):
            raise InputError(
                f"{folder}: expected {len(paths)} images, got {pixels.shape}: delete this folder"
            )
        return cls(fingerprint, pixels, {path: row for row, path in enumerate(paths)})


def _fingerprint(root: Path, paths: Sequence[str], size: tuple[int, int]) -> str:
    """SHA-256 of the resize rule, the size, and each file's path, bytes and time of change."""
    digest = hashlib.sha256(json.dumps([RESIZE_RULE, size, str(root.resolve())]).encode())
    missing = []
    for path in paths:
        try:
            stat = os.stat(root / path)  # noqa: PTH116  (half the time of Path.stat on a million files)
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        except OSError:
            missing.append(path)
    if missing:
        shown = [f"{root / path}: no such image" for path in missing[:_SHOWN]]
        raise InputError(f"{len(missing)} of {len(paths)} images are missing below {root}:", *shown)
    return digest.hexdigest()


@contextmanager
def _only_builder(stores: Path, name: str) -> Iterator[None]:
    """Hold the lock on the store `name`; the system frees it when its owner is killed."""
    try:
        stores.mkdir(parents=True, exist_ok=True)
        with (stores / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise InputError(f"{stores / name}: cannot be written: {error.strerror or error}") from error


def _build(
    folder: Path,
    root: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Decode into a temporary folder beside `folder` and rename it."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed build left; the lock says that it is dead
    temporary.mkdir()
    try:
        target = temporary / "pixels.npy"
        rows = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=(len(paths), *size, 3))
        del rows
        with target.open("r+b") as file:
            # Claim the space now: writing to a sparse map on a full disk would kill the process instead.
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        done, problems = 0, []
        for count, found in decode_into(target, root, paths, size, workers):
            done += count
            problems += found
            if progress is not None:
                progress(done, len(paths))
        if problems:
            more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
            raise InputError(*problems[:_SHOWN], *more)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
