"""CORe50: its specification, and the dirmap of its image tree.

CORe50 (Lomonaco and Maltoni, CoRL 2017, https://vlomonaco.github.io/core50/) holds 50 objects, five to a
class, each filmed in 11 sessions: `s<session>/o<object>/C_<session>_<object>_<frame>.png`, numbers from 1,
frames from 0. `core50_mini` is drawn in the same layout.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lethe.common.errors import InputError
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index.dirmap import COLUMNS
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS, Dataset, Expected

CLASSES = (
    "plug adapter", "mobile phone", "scissors", "light bulb", "can",
    "glass", "ball", "marker", "cup", "remote control",
)  # fmt: skip

FOLDER = "core50_128x128"
"""The folder of the published archive that holds the sessions; `im_path` starts below it."""

LARGER = "core50_350x350"
"""The folder of the archive of larger images, with the same paths below it."""

SESSIONS = 11
OBJECTS = 50
OBJECTS_PER_CLASS = 5

_IMAGE = re.compile(r"C_([0-9]{2})_([0-9]{2})_([0-9]{3})\.png")
_LITTER = {"Thumbs.db", "desktop.ini"}  # what desktops leave in folders, besides hidden files


def index(root: Path) -> pd.DataFrame:
    """The dirmap of the images below `root/core50_128x128`, else `root/core50_350x350`, else `root` itself.

    Columns: unnamed index 0..N-1, class, object, session, im_num, im_path; sorted by class, object, session
    and frame. Reads folders only, without a stat per file. Raises `InputError` if there is no
    such tree, or with every session that an object lacks and every name that does not fit.
    """
    base = _find_images(root)
    images: list[tuple[int, int, int, str]] = []
    problems: list[str] = []
    for session in _numbered(base, "s", SESSIONS, problems):
        folder = base / f"s{session}"
        for object_ in _numbered(folder, "o", OBJECTS, problems):
            images += _images(folder / f"o{object_}", session, object_, problems)
    found = {image[:2] for image in images}
    problems += [
        f"{base / f's{session}' / f'o{object_}'}: object {object_} has no image in session {session}"
        for object_ in range(1, OBJECTS + 1)
        for session in range(1, SESSIONS + 1)
        if (object_, session) not in found
    ]
    raise_any(problems)
    return _table(sorted(images))


def _find_images(root: Path) -> Path:
    """The folder that holds the sessions; `InputError` where that has no `s1`."""
    base = DATASET.images_below(root)
    if not (base / "s1").is_dir():
        raise InputError(
            f"{root}: no CORe50 images: {base / 's1'} is no folder; expected {root / FOLDER / 's1'}, "
            f"{root / LARGER / 's1'} or {root / 's1'}. Give the folder that {FOLDER}.zip or {LARGER}.zip "
            f"(https://vlomonaco.github.io/core50/) was unpacked in, "
            f"or draw the stand-in: lethe data draw core50_mini"
        )
    return base


def _table(images: list[tuple[int, int, int, str]]) -> pd.DataFrame:
    """The dirmap of sorted (object, session, frame, path); classes are consecutive objects."""
    objects, sessions, frames, paths = zip(*images, strict=True)
    values = ((np.array(objects) - 1) // OBJECTS_PER_CLASS + 1, objects, sessions, frames, list(paths))
    return pd.DataFrame({"Unnamed: 0": np.arange(len(paths)), **dict(zip(COLUMNS, values, strict=True))})


def _names(folder: Path) -> list[str]:
    """Names in `folder`, sorted, without hidden files; `InputError` where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read as a folder: {error.strerror or error}") from None
    return sorted(name for name in names if not name.startswith(".") and name not in _LITTER)


def _numbered(folder: Path, letter: str, last: int, problems: list[str]) -> list[int]:
    """The numbers 1..last of the folders `<letter><number>` in `folder`; other numbers are problems.

    Names of another form are skipped: the published archive has files beside its session folders.
    """
    numbers = []
    for name in _names(folder):
        if not re.fullmatch(letter + "[0-9]+", name):
            continue
        number = int(name[1:])
        if 1 <= number <= last and name == f"{letter}{number}":
            numbers.append(number)
        else:
            problems.append(f"{folder / name}: expected {letter}1 to {letter}{last}")
    return numbers


def _images(folder: Path, session: int, object_: int, problems: list[str]) -> list[tuple[int, int, int, str]]:
    """(object, session, frame, path) of each image in the folder of one session of one object."""
    images = []
    for name in _names(folder):
        match = _IMAGE.fullmatch(name)
        if match is None:
            problems.append(f"{folder / name}: expected a name like C_{session:02d}_{object_:02d}_000.png")
        elif (int(match[1]), int(match[2])) != (session, object_):
            problems.append(
                f"{folder / name}: its name says session {int(match[1])}, object {int(match[2])}; "
                f"its folder says session {session}, object {object_}"
            )
        else:
            images.append((object_, session, int(match[3]), f"s{session}/o{object_}/{name}"))
    return images


DATASET = Dataset(
    name="core50",
    title="CORe50",
    classes=CLASSES,
    test_sessions=(3, 7, 10),
    paradigms=RANDOM_PARADIGMS,
    iid_task_images=1200,
    task_classes=2,
    task_instances=80,
    instance_images=15,
    image_size=(224, 224),
    default_variant="published",
    image_folder=FOLDER,
    larger_images=LARGER,
    frames=(10, 20, 300),
    expected=Expected(
        classes=10,
        objects_per_class=(5, 5),
        sessions_per_object=(11, 11),
        images_per_session=(15, 15),
        images_per_class=(825, 825),
    ),
    index=index,
    download=f"unpack {FOLDER}.zip or {LARGER}.zip (https://vlomonaco.github.io/core50/)",
    shipped_dirmap=Path(__file__).parent / "core50_dirmap_sampled.csv",
)
