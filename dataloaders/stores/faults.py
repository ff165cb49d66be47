"""Which of many images cannot be decoded."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from lethe.dataloaders.stores.decode import fault


def faults(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """The problem of each of `paths` below `folder` that cannot be decoded; every pixel is read."""
    # Threads: Pillow reads and decodes without the interpreter's lock.
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        tqdm(total=len(paths), desc="decoding", unit="image", leave=False, disable=None) as bar,
    ):
        found = {}
        for path, problem in zip(paths, pool.map(fault, (folder / path for path in paths)), strict=True):
            bar.update()
            if problem:
                found[path] = problem
    return found
