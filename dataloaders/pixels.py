"""The pixel store: every image of a dataset decoded once, resized, and memory-mapped as uint8.

A store is named after a fingerprint of the files, the size and the resize rule, so that a changed file never
meets a stale store.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloaders.decode import RESIZE_RULE, decode_into
from dataloaders.problems import raise_any
from dataloaders.stores import open_array


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

        def fill(target: Path) -> None:
            done, problems = 0, []
            for count, found in decode_into(target, root, paths, size, workers):
                done += count
                problems += found
                if progress is not None:
                    progress(done, len(paths))
            raise_any(problems)

        folder = stores / f"pixels-{size[0]}x{size[1]}-{fingerprint[:16]}"
        pixels = open_array(folder, (len(paths), *size, 3), np.uint8, fill)
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
        told = f"{len(missing)} of {len(paths)} images are missing below {root}:"
        raise_any([told, *(f"{root / path}: no such image" for path in missing)])
    return digest.hexdigest()
