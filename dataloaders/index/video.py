"""Extraction of frames from videos by ffmpeg, in parallel.

The program is the one that imageio-ffmpeg ships, because `requirements.txt` pins its version and so the bytes of
every frame; where it ships none for a platform, the `ffmpeg` on the PATH. `IMAGEIO_FFMPEG_EXE` names another.
Each runs with one thread and as many run as there are cores: one thread wastes nothing on waiting for others.
"""

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from os.path import lexists
from pathlib import Path
from typing import TextIO

import ffmpeg
import imageio_ffmpeg
from tqdm import tqdm

from lethe.common.errors import InputError
from lethe.common.files import open_regular, read_text
from lethe.common.locks import take

SIZE = (224, 224)
"""(height, width) of every frame; the video's own proportions are not kept."""

FRAMES_PER_SECOND = 1

JOURNAL = "extracted.tsv"
"""Beside the frames: target, bytes of the video and number of frames of every video that is done."""

_FORMAT = "mov,mp4,m4a,3gp,3g2,mj2"
"""The name of ffmpeg's one demuxer of .mp4 files."""

_WORK = ".extracting"  # folder of unfinished frames
_PNG_END = b"IEND\xaeB`\x82"
_OUTPUT_FAULTS = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)))


@dataclass(frozen=True)
class Clip:
    """A video and where its frames go."""

    video: Path
    target: str
    """Below the folder of frames, without number and suffix: frame 1 of `a/b` is `a/b_1.png`."""

    def frame(self, folder: Path, number: int) -> Path:
        """The file of frame `number`, from 1."""
        return folder / f"{self.target}_{number}.png"


@dataclass(frozen=True)
class Extraction:
    """The result of extracting some videos."""

    frames: int
    """Frames made now; those that were there already are not counted."""
    kept: int
    """Videos that were done already."""
    broken: tuple[str, ...]
    """A line for each video that could not be extracted; it has left nothing behind."""
    damaged: tuple[str, ...]
    """A line for each video that was extracted whole although ffmpeg complained."""


@dataclass(frozen=True)
class _Outcome:
    clip: Clip
    frames: int = 0
    complaint: str = ""


def program() -> tuple[str, str]:
    """Path of the ffmpeg program (see the module's docstring for which), and its version line."""
    try:
        path = imageio_ffmpeg.get_ffmpeg_exe()
        version = subprocess.run([path, "-version"], capture_output=True, check=True, text=True)  # noqa: S603
    except RuntimeError:
        raise InputError(
            "no ffmpeg: imageio-ffmpeg ships none for this platform and there is none on the PATH; install one"
        ) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"ffmpeg cannot be run: {error}; check IMAGEIO_FFMPEG_EXE if it is set") from None
    return path, version.stdout.partition("\n")[0]


def arguments(video: Path, pattern: str) -> list[str]:
    """Arguments of ffmpeg for the frames of `video`; `pattern` has a %d for the frame's number, from 1.

    `-s` comes without a scaler's name, so that ffmpeg appends its default one (bicubic) after the fps filter:
    the pixels are those of `ffmpeg -i VIDEO -s 224x224 -vf fps=1 PATTERN`, the published call.
    """
    height, width = SIZE
    # A video is what its name says and no script that names other files, servers or devices.
    stream = ffmpeg.input(
        f"file:{video.resolve()}",
        protocol_whitelist="file",
        format_whitelist=_FORMAT,
        threads=1,
        filter_threads=1,
    )
    stream = stream.output(pattern, vf=f"fps={FRAMES_PER_SECOND}", s=f"{width}x{height}", threads=1)
    options: list[str] = stream.global_args("-nostdin", "-hide_banner", "-loglevel", "error").get_args()
    return options


def extract(clips: Sequence[Clip], folder: Path, workers: int | None = None) -> Extraction:
    """Extract the frames of `clips` below `folder`, `workers` videos at a time (default: one per core).

    A clip whose video has the size noted in the journal and whose frames all exist is skipped. Frames are
    made in a folder of their own and renamed when the whole video is decoded. Raises `InputError` where `folder`
    cannot be written or another process extracts into it.
    """
    todo = _undone(clips, folder)
    broken: list[str] = []
    damaged: list[str] = []
    frames = 0
    if todo:
        with (
            _alone(folder) as (journal, work),
            closing(_outcomes(todo, folder, work, workers or os.cpu_count() or 1)) as outcomes,
            tqdm(total=len(clips), initial=len(clips) - len(todo), desc="extracting", unit="video", disable=None)
            as bar,
        ):  # fmt: skip
            for outcome in outcomes:
                bar.update()
                frames += outcome.frames
                if outcome.frames:
                    journal.write(f"{outcome.clip.target}\t{_size(outcome.clip.video)}\t{outcome.frames}\n")
                    journal.flush()
                if outcome.complaint:
                    group = damaged if outcome.frames else broken
                    group.append(f"{outcome.clip.video}: {outcome.complaint}")
    return Extraction(frames, len(clips) - len(todo), tuple(sorted(broken)), tuple(sorted(damaged)))


def _outcomes(
    clips: Sequence[Clip], folder: Path, work: Path, workers: int
) -> Generator[_Outcome, None, None]:
    """Extract `clips`; yields them as they get done. Waiting ones are cancelled when the caller stops."""
    ffmpeg_program, _ = program()
    pool = ThreadPoolExecutor(workers)  # threads: each only waits for its ffmpeg
    try:
        running = [pool.submit(_extract, ffmpeg_program, clip, folder, work) for clip in clips]
        for future in as_completed(running):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _extract(ffmpeg_program: str, clip: Clip, folder: Path, work: Path) -> _Outcome:
    """Extract one video: all its frames or none."""
    own = Path(tempfile.mkdtemp(dir=work))
    try:
        # A pattern without folders needs no escapes, whatever signs are in the folders' names.
        command = [ffmpeg_program, *arguments(clip.video, "%d.png")]
        done = subprocess.run(command, cwd=own, stdin=subprocess.DEVNULL, capture_output=True)  # noqa: S603
        said = done.stderr.decode(errors="replace")
        if any(fault in said for fault in _OUTPUT_FAULTS) and _readable(clip.video):
            raise InputError(f"{folder}: cannot be written: {_first_complaint(said)}")
        frames = len(list(own.iterdir()))
        if done.returncode or not frames:
            silent = f"ffmpeg ended with status {done.returncode}, {frames} frames and no word"
            return _Outcome(clip, complaint=f"broken: {_first_complaint(said) or silent}")
        if "partial file" in said:
            return _Outcome(
                clip, complaint=f"truncated: only {frames} frames can be decoded; download it again"
            )
        if not all(image.read_bytes().endswith(_PNG_END) for image in own.iterdir()):
            raise InputError(f"{folder}: cannot be written: a frame of {clip.video} came out cut")
        _move(clip, own, folder, frames)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(own, ignore_errors=True)
    complaint = f"damaged, but decoded to its end: {_first_complaint(said)}" if said.strip() else ""
    return _Outcome(clip, frames, complaint)


def _move(clip: Clip, own: Path, folder: Path, frames: int) -> None:
    """Rename the frames in `own` to their places; frame 1 is the last, so that it stands for a whole video."""
    clip.frame(folder, 1).unlink(missing_ok=True)
    clip.frame(folder, 1).parent.mkdir(parents=True, exist_ok=True)
    for number in range(frames, 0, -1):
        (own / f"{number}.png").replace(clip.frame(folder, number))
    surplus = frames + 1  # of a longer video that was there before
    while clip.frame(folder, surplus).exists():
        clip.frame(folder, surplus).unlink()
        surplus += 1


def _readable(video: Path) -> bool:
    """Whether the video can be opened: if not, "permission denied" is not about the output."""
    return os.access(video, os.R_OK)


def _first_complaint(said: str) -> str:
    """The first line of ffmpeg's messages, without the name of the component."""
    lines = [re.sub(r"^(\[[^\]]*\] )+", "", line).strip() for line in said.splitlines()]
    return next(filter(None, lines), "")


def _undone(clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """The clips that are not in the journal, or whose video or frames changed since."""
    journal = _read_journal(folder / JOURNAL)
    names = {parent: _names(parent) for parent in {clip.frame(folder, 1).parent for clip in clips}}
    return [clip for clip in clips if not _is_done(clip, folder, journal, names)]


def _is_done(
    clip: Clip, folder: Path, journal: dict[str, tuple[int, int]], names: dict[Path, set[str]]
) -> bool:
    size, frames = journal.get(clip.target, (0, 0))
    images = [clip.frame(folder, number) for number in range(1, frames + 1)]
    return (
        frames > 0
        and _size(clip.video) == size
        and all(image.name in names[image.parent] for image in images)
    )


def _size(video: Path) -> int:
    """Size of a video in bytes; -1 if unreadable, which ffmpeg will report."""
    try:
        return video.stat().st_size
    except OSError:
        return -1


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()  # no frame yet, or a fault that is reported when frames are written


def _read_journal(path: Path) -> dict[str, tuple[int, int]]:
    """(bytes, frames) of each target; lines cut off by a kill or a full disk are skipped."""
    if not lexists(path):
        return {}
    try:
        text = read_text(path)
    except InputError as error:
        raise InputError(f"{error}: delete it; the videos will be extracted again") from None
    lines = re.findall(r"^(.+)\t([0-9]+)\t([0-9]+)\n", text, re.MULTILINE)
    return {target: (int(size), int(frames)) for target, size, frames in lines}


@contextmanager
def _alone(folder: Path) -> Iterator[tuple[TextIO, Path]]:
    """Yield the journal, open to append, and an empty working folder; holds off other processes.

    The system frees the lock when its owner is killed.
    """
    work = folder / _WORK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TextIOWrapper(
            open_regular(folder / JOURNAL, "ab", links=False), encoding="utf-8", newline="\n"
        ) as journal:
            if not take(journal, wait=False):
                raise InputError(f"{folder}: another process extracts videos into it; wait for its end")
            if work.is_symlink():
                work.unlink()
            shutil.rmtree(work, ignore_errors=True)  # left by a kill
            work.mkdir(exist_ok=True)
            if (folder / JOURNAL).read_bytes()[-1:] not in (b"", b"\n"):
                journal.write("\n")  # a line that was cut must not spoil the next one
            try:
                yield journal, work
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from error
