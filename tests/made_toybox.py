"""Small Toybox trees of real mp4 files, with the irregularities of the published ones."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lethe.dataloaders.datasets import toybox
from lethe.dataloaders.index import video

SECONDS = 16
SHORT = 9
OBJECTS = (
    "household/cup_01", "household/cup_21", "animals/duck_05", "animals/duck_06", "animals/cat_13",
    "vehicles/truck_01",
)  # fmt: skip


def draw(root: Path, objects: Sequence[str] = OBJECTS, spelling: str = "households") -> None:
    """Draw the videos of `objects` below `root`.

    As in the published data, `cup_21` has files called `truck_21`, `duck_06` no `rxminus`, `cat_13` a short one,
    and each object has a video without a session's name, which nothing reads.
    """
    videos = {}
    for name in objects:
        supercategory, object_ = name.split("/")
        folder = root / supercategory.replace("household", spelling) / f"{object_}_pivothead"
        folder.mkdir(parents=True)
        stem = f"{object_}_pivothead".replace("cup_21", "truck_21")
        for session in toybox.TRANSFORMATIONS:
            if (object_, session) != ("duck_06", "rxminus"):
                short = (object_, session) == ("cat_13", "rxminus")
                videos[folder / f"{stem}_{session}.mp4"] = SHORT if short else SECONDS
        videos[folder / f"{stem}_absent.mp4"] = 2
    encode(videos)


def encode(videos: Mapping[Path, int]) -> None:
    """Write moving shapes, for as many seconds as told, to mp4 files; no two have the same colours."""
    source = f"testsrc2=size=64x48:rate=4:duration={SECONDS}"
    outputs = []
    for place, (path, seconds) in enumerate(videos.items()):
        hue = 360 * place // len(videos)
        outputs += ["-t", str(seconds), "-vf", f"hue=h={hue}", "-c:v", "libx264", "-preset", "ultrafast",
                    "-threads", "1", "-pix_fmt", "yuv420p", str(path)]  # fmt: skip
    program, _ = video.program()
    subprocess.run(
        [program, "-nostdin", "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, *outputs], check=True
    )
