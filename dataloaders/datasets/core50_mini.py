"""The dataset `core50_mini`: a generated stand-in with CORe50's structure, small enough to draw in seconds.

Ten classes of five objects in eleven sessions, as PNG files in CORe50's own folders. A class is a shape. An
object is a size, two colours and a texture; every class has the same five sizes, hues and textures, so that
none of them tells the class. A session is a background, a light and a way of moving. Each image is a function
of (seed, object, session, frame) alone.
"""

import hashlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from tqdm import tqdm

from lethe.common.errors import InputError
from lethe.common.files import atomic_write, parse_json, read_text, write_text
from lethe.common.processes import without_main
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS, Dataset, Expected
from lethe.dataloaders.rendering import drawing, scenery, solids
from lethe.dataloaders.rendering.scenery import uniform

if TYPE_CHECKING:
    import pandas as pd

CLASSES = (
    "cube", "ball", "cone", "cylinder", "octahedron",
    "cross", "dumbbell", "table", "ring", "stairs",
)  # fmt: skip

FOLDER = "core50_128x128"
"""The folder of the images, named as CORe50's."""
SESSIONS = 11
OBJECTS_PER_CLASS = 5
FRAMES = tuple(range(10, 300, 58))
"""The frame numbers of each (object, session): 5 of CORe50's 300, evenly spaced."""
SIZE = 64
"""Pixels a side."""

_CANVAS = 96
"""Pixels a side of a session's background, of which each image shows a part."""
_COLOURS = (0.02, 0.14, 0.36, 0.58, 0.82)
"""Hues (turns) that the objects of every class share."""
_SCALES = (18.0, 19.25, 20.5, 21.75, 23.0)
"""Pixels per unit of the shapes' coordinates."""


@lru_cache(maxsize=1)
def shapes() -> dict[str, solids.Solid]:
    """The solid of each class, by name, about 2 units across."""
    arm, half = 0.24, 0.95
    bars = [solids.box(solids.vector(-arm if i != axis else -half for i in range(3)),
                       solids.vector(arm if i != axis else half for i in range(3))) for axis in range(3)]  # fmt: skip
    legs = [
        solids.box((x - 0.1, -0.75, z - 0.1), (x + 0.1, 0.3, z + 0.1))
        for x in (-0.62, 0.62)
        for z in (-0.62, 0.62)
    ]
    steps = [
        solids.box((-0.8 + 0.54 * i, -0.8, -0.45), (-0.26 + 0.54 * i, -0.26 + 0.54 * i, 0.45))
        for i in range(3)
    ]
    square = solids.polygon(4, 1.0)
    return {
        "cube": (solids.box((-0.64, -0.64, -0.64), (0.64, 0.64, 0.64)),),
        "ball": (solids.ball(0.85),),
        "cone": (solids.cone(0.75, -0.8, 0.95),),
        "cylinder": (solids.cylinder(0.55, -0.85, 0.85),),
        "octahedron": (solids.pyramid(square, 0.0, 1.0), solids.pyramid(square, 0.0, -1.0)),
        "cross": tuple(bars),
        "dumbbell": (
            solids.ball(0.45, (-0.62, 0.0, 0.0)),
            solids.ball(0.45, (0.62, 0.0, 0.0)),
            solids.cylinder(0.17, -0.62, 0.62, axis=0),
        ),
        "table": (solids.box((-0.85, 0.3, -0.85), (0.85, 0.55, 0.85)), *legs),
        "ring": ring(sides=12, inner=0.58, outer=0.98, half_height=0.22),
        "stairs": tuple(steps),
    }  # fmt: skip


def ring(sides: int, inner: float, outer: float, half_height: float) -> solids.Solid:
    """A ring around the y axis, of that many straight pieces."""
    near, far = solids.polygon(sides, inner), solids.polygon(sides, outer)
    return tuple(
        solids.prism(
            [near[i], far[i], far[(i + 1) % sides], near[(i + 1) % sides]], -half_height, half_height
        )
        for i in range(sides)
    )


def draw(root: Path, seed: int = 0, workers: int | None = None) -> None:
    """Write the dataset to `root`/core50_128x128/s<1-11>/o<1-50>/C_<ss>_<oo>_<fff>.png (RGB, 64 x 64).

    Existing images are kept, so a second call finishes a drawing that was stopped. `workers`
    processes share the work (default: one per core); the images do not depend on how many.

    Raises:
        InputError: where `root` holds, or may hold, images of another seed, or cannot be written.

    """
    _claim(root, seed)
    folder = root / FOLDER
    objects = range(1, len(CLASSES) * OBJECTS_PER_CLASS + 1)
    videos = [(instance, session) for session in range(1, SESSIONS + 1) for instance in objects]
    missing = [
        video for video in videos if not all(_path(folder, *video, frame).exists() for frame in FRAMES)
    ]
    if not missing:
        return
    with (
        without_main(),
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
        tqdm(total=len(missing), desc="drawing core50_mini", unit="video", leave=False, disable=None) as bar,
    ):
        for _ in pool.map(partial(_draw_video, folder, seed), missing, chunksize=5):
            bar.update()


def index(root: Path) -> "pd.DataFrame":
    """The dirmap of the images drawn below `root`; see `core50.index`."""
    from lethe.dataloaders.datasets import core50  # needs pandas, which the drawing processes do without

    return core50.index(root)


def frames_of(seed: int, instance: int, session: int) -> np.ndarray:
    """The images of an object (1-50) in a session (1-11), uint8 [5, 64, 64, 3]."""
    kind = (instance - 1) // OBJECTS_PER_CLASS
    solid = shapes()[CLASSES[kind]]
    scale, material = _object(seed, kind, (instance - 1) % OBJECTS_PER_CLASS)
    canvas, light = _session(seed, session)
    random = _random(seed, "video", instance, session)
    light = replace(light, ambient=light.ambient * uniform(random, 0.9, 1.1))
    poses = _motion(random, _random(seed, "motion", session), scale)
    corner = [int(random.randint(_CANVAS - SIZE + 1)) for _ in range(2)]
    images = []
    for pose in poses:
        corner = [min(max(c + int(random.randint(-2, 3)), 0), _CANVAS - SIZE) for c in corner]
        image = canvas[corner[0] : corner[0] + SIZE, corner[1] : corner[1] + SIZE].copy()
        drawing.draw(solid, pose, light, material, image)
        images.append(to_bytes(image))
    return np.stack(images)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Brightness 0 to 1 as uint8, rounded."""
    levels: np.ndarray = np.floor(np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5))
    return levels.astype(np.uint8)


def _claim(root: Path, seed: int) -> None:
    """Note the seed of the images in `root`; `InputError` if they are of another seed."""
    note = root / "core50_mini.json"
    if not note.exists():
        if (root / FOLDER).exists():
            raise InputError(f"{root}: holds images that were not drawn here: choose a folder without any")
        write_text(note, json.dumps({"seed": seed}) + "\n")
        return
    try:
        found = parse_json(read_text(note))["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{note}: expected {{"seed": {seed}}}: remove the folder and draw it again'
        ) from error
    if found != seed:
        raise InputError(
            f"{note}: holds images of seed {found}, not {seed}: choose another folder or that seed"
        )


def _path(folder: Path, instance: int, session: int, frame: int) -> Path:
    return folder / f"s{session}" / f"o{instance}" / f"C_{session:02d}_{instance:02d}_{frame:03d}.png"


def _draw_video(folder: Path, seed: int, video: tuple[int, int]) -> None:
    """Write the images of one (object, session)."""
    for frame, image in zip(FRAMES, frames_of(seed, *video), strict=True):
        with atomic_write(_path(folder, *video, frame), durable=False) as temporary:
            Image.fromarray(image).save(temporary, format="PNG", compress_level=3)


def _random(seed: int, *names: str | int) -> np.random.RandomState:
    """The random generator of one named item, independent of anything drawn before."""
    digest = hashlib.sha256(json.dumps(["core50_mini", seed, *names]).encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "little"))


@lru_cache(maxsize=16)
def _object(seed: int, kind: int, number: int) -> tuple[float, drawing.Material]:
    """Scale and material of object `number` (0-4) of class `kind` (0-9)."""
    random = _random(seed, "objects", kind)
    orders = [_shuffled(random, OBJECTS_PER_CLASS) for _ in range(3)]
    hue, scale, pattern = _COLOURS[orders[0][number]], _SCALES[orders[1][number]], orders[2][number]
    random = _random(seed, "object", kind, number)
    first = scenery.hsv(
        hue + uniform(random, -0.03, 0.03), uniform(random, 0.5, 0.85), uniform(random, 0.7, 0.95)
    )
    second = scenery.hsv(
        hue + uniform(random, -0.12, 0.12), uniform(random, 0.1, 0.7), uniform(random, 0.45, 0.95)
    )
    gloss, period = uniform(random, 0.05, 0.5), uniform(random, 0.35, 0.6)
    return scale, drawing.Material((first, second), drawing.PATTERNS[pattern], period, gloss)


def _shuffled(random: np.random.RandomState, count: int) -> list[int]:
    """0 to `count` - 1 in random order."""
    return sorted(range(count), key=dict(enumerate(random.random_sample(count))).__getitem__)


@lru_cache(maxsize=2)
def _session(seed: int, session: int) -> tuple[np.ndarray, drawing.Light]:
    """Background and light of a session."""
    random = _random(seed, "session", session)
    kind = scenery.BACKGROUNDS[(session + seed) % len(scenery.BACKGROUNDS)]
    light = scenery.random_light(random)
    return scenery.background(random, _CANVAS, kind, clutter=int(random.randint(2, 6))), light


def _motion(video: np.random.RandomState, session: np.random.RandomState, scale: float) -> list[drawing.Pose]:
    """The poses of an object in a session: the session decides how it moves, the video where it starts."""
    spin = uniform(session, 12, 30) * (1 if session.random_sample() < 0.5 else -1)
    nod, sway = uniform(session, -2.5, 2.5), uniform(session, -3, 3)
    drift = uniform(session, -1.2, 1.2), uniform(session, -0.8, 0.8)
    elevation, zoom = uniform(session, 24, 42), uniform(session, 0.92, 1.08)

    yaw, tilt, roll = uniform(video, 0, 360), elevation + uniform(video, -6, 6), uniform(video, -20, 20)
    middle = [SIZE / 2 + uniform(video, -4, 4) for _ in range(2)]
    poses = []
    for step in range(len(FRAMES)):
        time = step - (len(FRAMES) - 1) / 2
        lean = solids.product(solids.turn(2, roll + sway * time), solids.turn(0, tilt + nod * time))
        rotation = solids.product(lean, solids.turn(1, yaw + spin * time))
        centre = (middle[0] + drift[0] * time, middle[1] + drift[1] * time)
        poses.append(drawing.Pose(rotation, scale * zoom, centre))
    return poses


DATASET = Dataset(
    name="core50_mini",
    title="CORe50-mini",
    classes=CLASSES,
    test_sessions=(3, 7, 10),
    paradigms=RANDOM_PARADIGMS,
    iid_task_images=400,
    task_classes=2,
    task_instances=80,
    instance_images=5,
    image_size=(64, 64),
    default_variant="corrected",
    image_folder=FOLDER,
    expected=Expected(
        classes=10,
        objects_per_class=(5, 5),
        sessions_per_object=(11, 11),
        images_per_session=(5, 5),
        images_per_class=(275, 275),
    ),
    index=index,
    draw=draw,
)
