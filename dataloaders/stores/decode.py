"""Image files to pixels, in parallel: the one place that opens an image.

Imports little, because every worker process imports it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from lethe.common.errors import InputError
from lethe.common.files import open_regular
from lethe.common.processes import without_main

RESIZE_RULE = "rgb-bilinear-exact-2"
"""Names how `decode` makes pixels; a change of that is a change of this, so that no old store is met."""

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Pillow's readers that are used. It has dozens; that of PostScript, for one, starts another program."""


class Undecodable(InputError):
    """A file that is missing, no regular file, broken, or no image of `FORMATS`."""


_SERIAL_BELOW = 1000  # images; below, worker processes cost more than they save
_CHUNK = 64  # images; so few that no worker has much to do while the others have finished

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns an image upright, by its EXIF orientation."""


def decode(path: Path, size: tuple[int, int], resize: int = 0) -> np.ndarray:
    """The image as uint8 [H, W, 3]: upright, RGB, resized to exactly `size` (H, W), bilinear, no crop.

    With `resize`, the shorter side is brought to that many pixels, and the centre of `size` is cut out, as
    torchvision's Resize and CenterCrop do; `resize` is at least the longer side of `size`.

    RGB images that no camera turned are resized as the published protocol's loader does. An orientation in the
    file is obeyed, what is transparent shows a white ground, 16-bit grey is brought to 8 bits. Raises `Undecodable`
    where it cannot: grey levels in 32 bits or in floating point have no scale.
    """
    height, width = size
    with _opened(path) as image:
        pixels = _upright_rgb(image)
        between = _shorter_side(pixels.size, resize) if resize else (width, height)
        if pixels.size != between:
            pixels = pixels.resize(between, Image.Resampling.BILINEAR)
        if pixels.size != (width, height):
            left, top = round((pixels.width - width) / 2), round((pixels.height - height) / 2)
            pixels = pixels.crop((left, top, left + width, top + height))
        return np.asarray(pixels)


def _shorter_side(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """(width, height) with a shorter side of that many pixels; the longer one is rounded down, as in torchvision."""
    width, height = size
    if width <= height:
        return pixels, int(pixels * height / width)
    return int(pixels * width / height), pixels


def shorter_side(path: Path) -> int:
    """Pixels of the shorter side of the image, of which the header alone is read; raises `Undecodable`."""
    with _opened(path) as image:
        return min(image.size)


def fault(path: Path) -> str | None:
    """The reason why the image cannot be decoded, or None; every pixel is read."""
    try:
        with _opened(path) as image:
            _upright_rgb(image)
    except Undecodable as error:
        return str(error)
    return None


def leaving(root: Path, paths: Sequence[str], trees: Sequence[str] = ("",)) -> list[str]:
    """A problem for each of `paths` below `root` that a symbolic link leads out of its tree, or that is in none.

    `trees` are folders below `root`, which may be links themselves; "" is `root`.
    """
    inside = {tree: os.path.realpath(root / tree) for tree in trees}
    folders: dict[str, bool] = {}

    def stays(path: str) -> bool:
        real = f"{os.path.realpath(root / path)}/"
        return any(
            real.startswith(f"{place}/")
            for tree, place in inside.items()
            if not tree or f"{path}/".startswith(f"{tree}/")
        )

    problems = []
    for path in paths:
        folder = path.rpartition("/")[0]
        if folder not in folders:  # once: to resolve a path takes longer than to look at a file
            folders[folder] = stays(folder)
        # As strings: a third of the time of Path's methods, for each image.
        if not folders[folder] or (os.path.islink(f"{root}/{path}") and not stays(path)):  # noqa: PTH114
            problems.append(f"{root / path}: a link leads out of {root}; put the original there instead")
    return problems


def decode_into(
    target: Path,
    root: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    workers: int | None,
    resize: int = 0,
) -> Iterator[tuple[int, list[str]]]:
    """Decode `paths` (below `root`) into the rows of the .npy file `target` [N, H, W, 3], as `decode` does.

    Yields per chunk the number of images processed and a problem for each that could not be read.
    A worker that dies is an `InputError`.
    """
    offset = np.load(target, mmap_mode="r").offset
    starts = range(0, len(paths), _CHUNK)
    jobs = [(target, offset, root, start, paths[start : start + _CHUNK], size, resize) for start in starts]
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1 or len(paths) < _SERIAL_BELOW:
        yield from map(_decode_chunk, jobs)
        return
    try:
        with without_main(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            yield from pool.map(_decode_chunk, jobs)
    except BrokenProcessPool:
        raise InputError(
            f"{root}: a process that decodes its images was killed, most likely for want of memory: free some, "
            f"and repeat the command"
        ) from None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image in a regular file; whatever Pillow raises while it is open becomes an `Undecodable`."""
    try:
        with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
            yield image
    except InputError as error:
        raise Undecodable(str(error)) from None
    except UnidentifiedImageError:
        told = f"expected one of {', '.join(FORMATS)}"
        raise Undecodable(f"{path}: cannot be decoded as an image: {told}") from None
    except Exception as error:  # of damaged files, Pillow's readers raise nearly anything
        raise Undecodable(
            f"{path}: cannot be decoded as an image: {error or type(error).__name__}"
        ) from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    """`image` turned upright, in 8-bit RGB; the same object if it is that already."""
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((levels + 128) // 257).astype(np.uint8))  # 65535 becomes 255; rounded
    elif image.mode in ("I", "F"):
        raise ValueError(
            f"its grey levels ({image.mode}) have no known scale; save it with 8 or 16 bits a level"
        )
    elif image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    if image.mode != "RGB":
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The orientation of a loaded image by its EXIF or XMP, 1 to 8; 1, upright, where that is absent or damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # of damaged EXIF, as above
        return 1


def _decode_chunk(
    job: tuple[Path, int, Path, int, Sequence[str], tuple[int, int], int],
) -> tuple[int, list[str]]:
    target, offset, root, start, paths, (height, width), resize = job
    problems = []
    # Plain writes: through a memory map, every page of the file would cost a page fault.
    with target.open("r+b") as file:
        for row, path in enumerate(paths, start):
            try:
                pixels = decode(root / path, (height, width), resize)
            except Undecodable as error:
                problems.append(str(error))
                continue
            file.seek(offset + row * height * width * 3)
            file.write(pixels.data)
    return len(paths), problems
