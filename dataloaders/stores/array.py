"""Memory-mapped arrays on disk that are computed once, completely or not at all, by one process at a time.

Beside an array lie the CRC-32 sums of its file, by 16 MiB. A process compares them with the file once, when it first
opens the array; a gibibyte takes about a second.
"""

import functools
import json
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from lethe.common.errors import InputError
from lethe.common.files import open_regular, read_json, to_disk
from lethe.common.locks import only_writer

_ARRAY = "array.npy"
_SUMS = "checksums.json"
_CHUNK = 1 << 24  # bytes of a sum

_AGAIN = "delete this folder, and it is made again"

# Linux' value, for a Python that does not know the name; elsewhere nothing is reserved, or the flag has another value.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def open_array(
    folder: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[Path], None]
) -> np.ndarray:
    """The array in `folder`, memory-mapped; where it is absent, `fill(path)` writes into the .npy file at `path`.

    The file is made with `shape` and `dtype` under a temporary name, its space claimed, and its folder renamed when
    `fill` returns. Writes to the returned array change a copy in memory; the array may be larger than memory. A disk
    without space, a folder that cannot be written, an array that differs from its checksums and one of another shape
    are an `InputError`.
    """
    if not folder.exists():
        with only_writer(folder.with_name(f".{folder.name}.lock"), folder):
            if not folder.exists():  # another process may have built it while this one waited
                _build(folder, shape, dtype, fill)
    _verify(folder)
    array = _mapped(folder / _ARRAY)
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"{folder}: expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}: {_AGAIN}"
        )
    return array


def _verify(folder: Path) -> None:
    """`InputError` unless the array's file has the checksums beside it; a file is read once in a process."""
    path = folder / _ARRAY
    try:
        there = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}: {_AGAIN}") from None
    _verify_once(folder.resolve(), folder, (there.st_ino, there.st_size, there.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def _verify_once(place: Path, folder: Path, state: tuple[int, int, int]) -> None:
    noted = read_json(folder / _SUMS, f"delete {folder}, and it is made again")
    found = _sums(folder / _ARRAY)
    if noted != found:
        raise InputError(f"{folder}: is damaged, its {_ARRAY} differs from the checksums beside it: {_AGAIN}")


def _sums(path: Path) -> dict[str, object]:
    """Length and CRC-32 sums of a file, as JSON values."""
    sums = []
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            sums.append(f"{zlib.crc32(chunk):08x}")
    return {"bytes": path.stat().st_size, "chunk_bytes": _CHUNK, "crc32": sums}


def _mapped(path: Path) -> np.ndarray:
    """The array of a .npy file, in pages that are read from the file and copied when they are written to.

    NumPy's own such map ("c") is charged to memory in full when it is made, as if all of it would be written to.
    """
    try:
        header = np.lib.format.open_memmap(path, mode="r")
        with path.open("rb") as file:
            pages = mmap.mmap(
                file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
    except (FileNotFoundError, ValueError) as error:
        raise InputError(
            f"{path}: is missing or damaged: delete {path.parent}, and it is made again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return np.ndarray(header.shape, header.dtype, buffer=pages, offset=header.offset)


def _build(folder: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Callable[[Path], None]) -> None:
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed build; the lock shows that it is dead
    temporary.mkdir()
    try:
        path = temporary / _ARRAY
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
        with path.open("r+b") as file:
            # Claim the space now: writing to a sparse map on a full disk would kill the process instead.
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        fill(path)
        to_disk(path)
        (temporary / _SUMS).write_text(json.dumps(_sums(path)) + "\n", encoding="utf-8")
        to_disk(temporary / _SUMS)
        temporary.rename(folder)
        to_disk(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
