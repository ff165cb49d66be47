"""Speed of data preparation, each part beside the plain way to do the same, in one run on one machine."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lethe.benchmarks.speed.figures import Figure, seconds
from lethe.common.progress import live_line
from lethe.dataloaders import prepare
from lethe.dataloaders.index import dirmap, find, video
from lethe.dataloaders.index.spec import MODES
from lethe.dataloaders.stores.pixels import PixelStore
from lethe.dataloaders.tasks import tasklists

UNIT = "per second"
PARALLEL_TARGET = 0.9
"""Of the plain way's speed times the cores that may be used: 1.8 on two."""


@dataclass(frozen=True)
class Sizes:
    """Amounts to measure."""

    pngs: int = 4000
    """128 x 128 pixels, as CORe50's."""
    jpegs: int = 1500
    """640 x 480 pixels."""
    store_size: tuple[int, int] = (224, 224)
    """(height, width) in the store."""
    runs: int = 10
    """Task lists of all paradigms and both modes."""
    videos: int = 8
    video_seconds: int = 8
    repeats: int = 3
    """Of each measurement; the median counts."""


def measure(sizes: Sizes = Sizes()) -> list[Figure]:
    """Measure decoding, task lists and frame extraction, on data made in a temporary folder."""
    target = PARALLEL_TARGET * len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, live_line(4, "measuring", "part") as bar:
        folder = Path(name)
        figures = []
        for what, suffix, shape, count in (
            ("128x128 PNG", "png", (128, 128), sizes.pngs),
            ("640x480 JPEG", "jpg", (480, 640), sizes.jpegs),
        ):
            figures.append(_decoding(folder / suffix, what, shape, count, sizes, target))
            bar.update()
        figures.append(_lists(folder, sizes))
        bar.update()
        figures += _extraction(folder / "video", sizes, target)
        bar.update()
    return figures


def _decoding(
    folder: Path, what: str, shape: tuple[int, int], count: int, sizes: Sizes, target: float
) -> Figure:
    """Building a pixel store against a loop over the images."""
    paths = _write_images(folder, shape, count, folder.name)

    def ours(turn: int) -> None:
        PixelStore.open(folder, paths, sizes.store_size, folder / f"stores{turn}")

    def plain(turn: int) -> None:
        rows = np.empty((count, *sizes.store_size, 3), np.uint8)
        for row, path in enumerate(paths):
            image = Image.open(folder / path).convert("RGB")
            rows[row] = np.asarray(image.resize(sizes.store_size[::-1], Image.Resampling.BILINEAR))

    mine, theirs = seconds(sizes.repeats, ours, plain)
    return Figure(f"{what} to pixels", count / mine, count / theirs, "loop over Pillow", target)


def _write_images(folder: Path, shape: tuple[int, int], count: int, suffix: str) -> list[str]:
    """Waves with noise, which compress about as well as photographs; 50 of them again and again."""
    folder.mkdir()
    random = np.random.RandomState(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    paths = [f"{number:05d}.{suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        if number >= 50:
            (folder / path).write_bytes((folder / paths[number % 50]).read_bytes())
            continue
        waves = [np.sin(x / random.uniform(5, 25)) + np.sin(y / random.uniform(5, 25)) for _ in range(3)]
        pixels = 127 + 50 * np.stack(waves, axis=-1) + random.normal(0, 6, (*shape, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / path)
    return paths


def _lists(folder: Path, sizes: Sizes) -> Figure:
    """Writing the task lists of CORe50 from its dirmap; a list is a folder of one run and mode."""
    located = find.locate("core50", lists=folder)
    dataset, frame = located.dataset, dirmap.read(prepare.find_dirmap(located))
    wanted = [(p, run, mode) for p in dataset.paradigms for run in range(sizes.runs) for mode in MODES]

    def ours(turn: int) -> None:
        source = tasklists.Source(frame, dataset)
        for paradigm, run, mode in wanted:
            tasklists.ensure(source, paradigm, run, mode, "published", folder / f"lists{turn}")

    (taken,) = seconds(sizes.repeats, ours)
    return Figure(f"CORe50 task lists ({len(wanted)})", len(wanted) / taken)


def _extraction(folder: Path, sizes: Sizes, target: float) -> list[Figure]:
    """Extracting frames against the ffmpeg program alone, a video after the other."""
    folder.mkdir()
    program, _ = video.program()
    clips = [video.Clip(folder / f"{number}.mp4", f"clip{number}") for number in range(sizes.videos)]
    _ffmpeg(program, "-f", "lavfi", "-i", f"testsrc2=size=960x540:rate=30:duration={sizes.video_seconds}",
            "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", str(clips[0].video))  # fmt: skip
    for clip in clips[1:]:
        clip.video.write_bytes(clips[0].video.read_bytes())
    frames = []

    def ours(turn: int) -> None:
        frames.append(video.extract(clips, folder / f"ours{turn}").frames)

    def alone(name: str, *options: str) -> Callable[[int], None]:
        def extract(turn: int) -> None:
            out = folder / f"{name}{turn}"
            out.mkdir()
            for number, clip in enumerate(clips):
                _ffmpeg(program, *options, "-i", str(clip.video), "-s", "224x224", "-vf", "fps=1", *options,
                        str(out / f"{number}_%d.png"))  # fmt: skip

        return extract

    mine, one, free = seconds(sizes.repeats, ours, alone("one", "-threads", "1"), alone("free"))
    count = frames[0]
    what = f"frames of 960x540 videos ({sizes.videos})"
    return [
        Figure(what, count / mine, count / one, "ffmpeg with one thread, video by video", target),
        Figure(what, count / mine, count / free, "the published ffmpeg call, video by video"),
    ]


def _ffmpeg(program: str, *arguments: str) -> None:
    subprocess.run([program, "-nostdin", "-loglevel", "error", *arguments], check=True)  # noqa: S603
