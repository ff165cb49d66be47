"""The pixel store: every image of a dataset decoded once, resized, and memory-mapped as uint8; or no such store.

A store is named after a fingerprint of the files, the size and the resize rule. A file counts as changed when its
length or its time of change differs.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lethe.common.errors import InputError
from lethe.common.files import read_text, write_text
from lethe.common.input_problems import first
from lethe.dataloaders.stores.array import open_array
from lethe.dataloaders.stores.decode import RESIZE_RULE, decode_into, leaving
from lethe.dataloaders.stores.decoded import DecodedImages
from lethe.dataloaders.streams import Images


@dataclass(frozen=True)
class PixelStore:
    """Decoded images: `pixels` uint8 [N, H, W, 3], memory-mapped; `rows` from a path to its row."""

    fingerprint: str
    """Fingerprint of the files, part of the store's name."""
    content: str
    """SHA-256 of the pixels: the same for every copy of the images."""
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
        resize: int = 0,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        remedy: str = "",
        confined: Sequence[str] = (),
    ) -> "PixelStore":
        """The store of the images `paths` below `root`, decoded to `size` (H, W); built under `stores` if absent.

        `resize` as for `decode`.

        `progress(done, total)` is called as a build goes on. Missing or broken files are an `InputError` that
        names them and ends with the `remedy`; a disk without space is an `InputError` too, and so are images that a
        link leads out of the folders `confined` below `root`, if there are any.
        """
        files = ImageFiles.open(root, paths, size, resize=resize, remedy=remedy, confined=confined)
        paths = files.paths

        def fill(target: Path) -> None:
            done, problems = 0, []
            for count, found in decode_into(target, root, paths, size, workers, resize):
                done += count
                problems += found
                if progress is not None:
                    progress(done, len(paths))
            _raise_any(problems, remedy)

        folder = stores / files.store_name
        pixels = open_array(folder, (len(paths), *size, 3), np.uint8, fill)
        return cls(files.fingerprint, _content(folder, pixels), pixels, files.rows)

    def inputs(self, device: torch.device) -> Images:
        """The pixels by row."""
        return Images(self.pixels, device)


@dataclass(frozen=True)
class ImageFiles:
    """Images that are decoded when they are wanted; rows are those of a store of the same images."""

    root: Path
    paths: Sequence[str]
    """Below `root`, by row."""
    size: tuple[int, int]
    resize: int
    """As for `decode`."""
    fingerprint: str
    content: str
    """Fingerprint of the files wherever they lie: of their names, lengths and times of change."""
    rows: dict[str, int]
    remedy: str = ""
    """What to do about an image that cannot be decoded."""

    @classmethod
    def open(
        cls,
        root: Path,
        paths: Sequence[str],
        size: tuple[int, int],
        *,
        resize: int = 0,
        remedy: str = "",
        confined: Sequence[str] = (),
    ) -> "ImageFiles":
        """The images `paths` below `root`, to be decoded to `size` (H, W); see `PixelStore.open`."""
        paths = sorted(set(paths))
        if confined:
            _raise_any(leaving(root, paths, confined), remedy)
        fingerprint, content = _fingerprints(root, paths, size, resize, remedy)
        rows = {path: row for row, path in enumerate(paths)}
        return cls(root, paths, size, resize, fingerprint, content, rows, remedy)

    @property
    def store_name(self) -> str:
        """Name of the folder of a pixel store."""
        crop = f"of{self.resize}" if self.resize else ""
        return f"pixels-{self.size[0]}x{self.size[1]}{crop}-{self.fingerprint[:16]}"

    def inputs(self, device: torch.device, workers: int | None = None) -> DecodedImages:
        """The pixels by row, decoded by as many processes as there are cores, or by `workers`."""
        return DecodedImages(
            self.root, self.paths, self.size, device, resize=self.resize, workers=workers, remedy=self.remedy
        )


def _content(folder: Path, pixels: np.ndarray) -> str:
    """SHA-256 of the pixels of the store in `folder`, computed once and kept there."""
    note = folder / "content.txt"
    with suppress(InputError):  # there is none yet, or it is no file: computed again
        noted = read_text(note, limit=1000)
        content = noted.partition(" ")[0]
        if noted == _note(content):
            return content
    content = _digest(pixels)
    with suppress(InputError):  # in a read-only store it is computed again next time
        write_text(note, _note(content))
    return content


def _note(content: str) -> str:
    """The digest with a checksum of its own, by which a damaged note is known."""
    return f"{content} {zlib.crc32(content.encode()):08x}\n"


def _digest(pixels: np.ndarray) -> str:
    """SHA-256 of the shape and the values."""
    digest = hashlib.sha256(json.dumps(pixels.shape).encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def _fingerprints(
    root: Path, paths: Sequence[str], size: tuple[int, int], resize: int, remedy: str
) -> tuple[str, str]:
    """SHA-256 of the resize rule, the size, `resize`, the folder, and each file's path, bytes and time of change; and
    of all these but the folder.

    The folder counts because two of them may hold files of the same names, sizes and times: uncompressed images,
    say, from archives that set all times to one. The time of the last change of status does not count, though it cannot
    be set back: a backup by hard links changes it, and all images would be decoded again.
    """
    crop = [resize] if resize else []  # so that stores without a crop keep their names
    digest = hashlib.sha256(json.dumps([RESIZE_RULE, size, str(root.resolve()), *crop]).encode())
    anywhere = hashlib.sha256(json.dumps([RESIZE_RULE, size, *crop]).encode())
    missing = []
    for path in paths:
        try:
            stat = os.stat(root / path)  # noqa: PTH116  (half the time of Path.stat on a million files)
            line = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode()
            digest.update(line)
            anywhere.update(line)
        except OSError:
            missing.append(path)
    if missing:
        count = f"{len(missing)} of {len(paths)} images are missing below {root}"
        named = [f"{root / path}: no such image" for path in missing] if len(missing) < len(paths) else []
        _raise_any([count, *named], remedy)
    return digest.hexdigest(), anywhere.hexdigest()


def _raise_any(problems: Sequence[str], remedy: str) -> None:
    """`InputError` with the `problems` and the `remedy`, if there are any problems."""
    if problems:
        raise InputError(*first(problems), *([remedy] if remedy else []))
