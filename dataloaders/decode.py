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

FAULTS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises on files that are missing, broken or no images."""

_SERIAL_BELOW = 1000  # images; below, worker processes cost more than they save
_CHUNK = 64  # images; so few that no worker has much to do while the others have finished


def decode(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The image as uint8 [H, W, 3]: RGB, resized to exactly `size` (H, W), bilinear, no crop.

    This is what the published protocol's loader does. Raises one of `FAULTS` where it cannot.
    """
    height, width = size
    with Image.open(path) as image:
        image.load()
        # `convert` would copy an image that is RGB already.
        pixels = image if image.mode == "RGB" else image.convert("RGB")
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(pixels)


def fault(path: Path) -> str | None:
    """What keeps the image from being decoded, in words, or None; every pixel is read."""
    try:
        with Image.open(path) as image:
            image.load()
    except FAULTS as error:
        return _told(path, error)
    return None


def decode_into(
    target: Path, root: Path, paths: Sequence[str], size: tuple[int, int], workers: int | None
) -> Iterator[tuple[int, list[str]]]:
    """Decode `paths` (below `root`) into the rows of the .npy file `target` [N, H, W, 3].

    Yields, a chunk at a time, how many images were dealt with and a problem for each that could not be read.
    """
    offset = np.load(target, mmap_mode="r").offset
    starts = range(0, len(paths), _CHUNK)
    jobs = [(target, offset, root, start, paths[start : start + _CHUNK], size) for start in starts]
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1 or len(paths) < _SERIAL_BELOW:
        yield from map(_decode_chunk, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_decode_chunk, jobs)


def _told(path: Path, error: Exception) -> str:
    return f"{path}: cannot be decoded as an image: {error}"


def _decode_chunk(
    job: tuple[Path, int, Path, int, Sequence[str], tuple[int, int]],
) -> tuple[int, list[str]]:
    target, offset, root, start, paths, (height, width) = job
    problems = []
    # Plain writes: through a memory map, every page of the file would cost a page fault.
    with target.open("r+b") as file:
        for row, path in enumerate(paths, start):
            try:
                pixels = decode(root / path, (height, width))
            except FAULTS as error:
                problems.append(_told(root / path, error))
                continue
            file.seek(offset + row * height * width * 3)
            file.write(pixels)
    return len(paths), problems
