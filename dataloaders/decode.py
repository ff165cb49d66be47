"""Image files to pixels, in parallel: the one place that opens an image.

Imports little, because every worker process imports it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

RESIZE_RULE = "rgb-bilinear-exact-1"
"""Names how `decode` makes pixels; a change of that is a change of this, so that no old store is met."""

_SERIAL_BELOW = 2000  # images; below, worker processes cost more than they save
_CHUNK = 256


def decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The image as uint8 [H, W, 3]: RGB, resized to exactly `size` (H, W), bilinear, no crop.

    This is what the published protocol's loader does. Raises `OSError` or `ValueError` where it cannot.
    """
    height, width = size
    with Image.open(path) as image:
        pixels = image.convert("RGB")
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(pixels)


def decode_into(
    target: Path, root: Path, paths: Sequence[str], size: tuple[int, int], workers: int | None
) -> Iterator[tuple[int, list[str]]]:
    """Decode `paths` (below `root`) into the rows of the .npy file `target` [N, H, W, 3].

    Yields, a chunk at a time, how many images were dealt with and a problem for each that could not be read.
    """
    chunks = [(start, paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    jobs = [(target, root, start, chunk, size) for start, chunk in chunks]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers <= 1 or len(paths) < _SERIAL_BELOW:
        yield from map(_decode_chunk, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_decode_chunk, jobs)


def _decode_chunk(job: tuple[Path, Path, int, Sequence[str], tuple[int, int]]) -> tuple[int, list[str]]:
    target, root, start, paths, size = job
    rows = np.load(target, mmap_mode="r+")
    problems = []
    for row, path in enumerate(paths, start):
        try:
            rows[row] = decode(root / path, size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append(f"{root / path}: cannot be decoded as an image: {error}")
    rows.flush()
    return len(paths), problems
