"""Files in another folder: by hard link where the file system allows it, else by copy.

A file with its final name is complete: a link is made in one step, a copy under a temporary name that is renamed.
So a killed run can be repeated, keeps the files it made, and ends in the same files.
"""

import errno
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from lethe.common import locks
from lethe.common.errors import InputError

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""Errors of systems that cannot make a hard link but may be able to copy."""


def files(root: Path, sources: Sequence[str], out: Path, targets: Sequence[str], workers: int | None) -> str:
    """Make each `out/target` the same file as, or a copy of, its `root/source`; returns a sentence that says which.

    Targets of one folder are consecutive. An existing target with its source's size and time of change is kept, any
    other is replaced. A lock admits one process to `out` at a time. Raises `InputError` with the file if the disk is
    full, a folder cannot be written, or a source is gone; files that were made stay.
    """
    with only_writer(out):
        linked = _can_link(root / sources[0], out)
        folders = itertools.groupby(
            zip(sources, targets, strict=True), key=lambda pair: pair[1].rpartition("/")[0]
        )
        jobs = [(root, out, folder, list(pairs), linked) for folder, pairs in folders]
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            made = sum(shown(pool.map(_fill_folder, jobs), len(jobs), "linking" if linked else "copying"))
    if linked:
        return f"{made} images are hard links in {out}: they need no space, and are the originals"
    return f"{made} images were copied to {out}: hard links to {root} are not possible there"


def remove_copies(originals: Path, out: Path, paths: Sequence[str]) -> list[str]:
    """Remove each `out/path` of which the folder `originals` has the same file, or a whole copy; returns the others.

    Raises `InputError` with the file that cannot be removed.
    """
    kept = []
    with only_writer(out):
        for path in paths:
            try:
                if _is_same(str(originals / Path(path).name), str(out / path)):
                    (out / path).unlink()
                else:
                    kept.append(path)
            except FileNotFoundError:  # no such original
                kept.append(path)
    return kept


def _fill_folder(job: tuple[Path, Path, str, list[tuple[str, str]], bool]) -> int:
    """Link or copy the files of one folder; returns their number."""
    root, out, folder, pairs, linked = job
    try:
        (out / folder).mkdir(parents=True, exist_ok=True)
        for source, target in pairs:
            (_link if linked else _copy)(f"{root}/{source}", f"{out}/{target}")
    except OSError as error:
        where = error.filename2 or error.filename or out / folder
        raise InputError(
            f"{where}: cannot be made: {error.strerror or error}; finished files are kept, so mend this and "
            f"repeat the command"
        ) from error
    return len(pairs)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        if not _is_same(source, target):
            with temporary_name(target) as temporary:
                os.link(source, temporary)


def _copy(source: str, target: str) -> None:
    if not _is_same(source, target):
        with temporary_name(target) as temporary:
            shutil.copy2(source, temporary)  # with its time of change, by which a later run recognises it


def _is_same(source: str, target: str) -> bool:
    """Whether `target` is `source`, or a complete copy of it."""
    try:
        there = os.stat(target)  # noqa: PTH116  (a third of the time of Path.stat, for each image)
    except FileNotFoundError:
        return False
    wanted = os.stat(source)  # noqa: PTH116
    return (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns)


@contextmanager
def temporary_name(target: str) -> Iterator[str]:
    """A temporary name beside `target`, renamed to it at the end; the same in each run, so that none is left over."""
    folder, _, name = target.rpartition("/")
    temporary = f"{folder}/.{name}.tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # noqa: PTH108
    try:
        yield temporary
        os.replace(temporary, target)  # noqa: PTH105
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def _can_link(source: Path, out: Path) -> bool:
    """Whether `source` can be linked into `out`, tried with a name that is removed again."""
    trial = out / ".link.tmp"
    try:
        trial.unlink(missing_ok=True)
        os.link(source, trial)
        trial.unlink()
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise InputError(f"{source}: cannot be linked to {trial}: {error.strerror or error}") from error
    return True


def only_writer(out: Path) -> AbstractContextManager[None]:
    """The lock on the folder `out`, made if absent, to hold while files are written into it."""
    return locks.only_writer(out / ".link_or_copy.lock", out)


def shown(results: Iterable[int], total: int, what: str) -> Iterator[int]:
    """The results of `total` folders, with a progress bar on a terminal."""
    yield from tqdm(results, total=total, unit=" folders", desc=what, file=sys.stderr, disable=None)
