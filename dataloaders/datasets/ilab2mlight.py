"""iLab-2M-Light: from the one folder that holds all images to a balanced, nested copy and its dirmap.

iLab-2M-Light (Borji, Izadi and Itti, CVPR 2016, https://bmobear.github.io/projects/viva/) films toy vehicles
on a turntable. All of its images lie in `train_img`, named by what they show:
`<class>-i<instance>-b<background>-c<camera>-r<rotation>-l<lighting>-f<focus>.jpg`. The protocol takes a
background to be a session and keeps, of 14 classes, 28 objects with 8 sessions of 15 images each.
"""

import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lethe.common.errors import InputError
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index import link_or_copy
from lethe.dataloaders.index.dirmap import COLUMNS, SESSION
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS, Dataset, Expected

CLASSES = (
    "boat", "bus", "car", "equip", "f1car", "heli", "mil",
    "monster", "pickup", "plane", "tank", "train", "ufo", "van",
)  # fmt: skip

FOLDER = "train_img"
"""The folder of the archive that holds every image."""

PARTS = {"instance": "i", "background": "b", "camera": "c", "rotation": "r", "lighting": "l"}
"""The parts of a name besides the class, and the letter before the number of each."""

KEYS = ["class", *PARTS]
"""The order of images; those of a session are in the order of camera, rotation and lighting."""

LEFT_OUT = "semi"
"""The class that the protocol drops: it has too few objects."""

MAX_MISNAMED = 0.01
"""Share of names that may fail to parse; with more, this is not the dataset."""

_EXAMPLES = 5  # of names that do not parse
_CHUNK = 1 << 18  # names that are parsed at a time, so that their letters stay in the processor's cache
_DIGITS = 9
_DASH = ord("-")


@dataclass(frozen=True)
class Sizes:
    """The sizes that the sample has."""

    objects: int = 28
    """Per class."""
    sessions: int = 8
    """Per object."""
    images: int = 15
    """Per session."""


SIZES = Sizes()


def prepare(root: Path, out: Path, workers: int | None) -> Prepared:
    """Index `root/train_img`, sample, and bring the sample to `out/<class>/obj_<o>/sess_<s>/`.

    Images are hard links to the originals where `out` is on the same disk, else copies. Existing files are kept,
    except images of `train_img` from the sample of an earlier, partial download, which are removed; other files that
    are not in the sample are problems of the result. Raises `InputError` if there is no such folder, more than
    `MAX_MISNAMED` of its names do not parse, a class lacks objects or sessions, or `out` cannot be written.
    """
    names = scan(root / FOLDER)
    frame, misnamed = parse(names)
    if len(misnamed) > MAX_MISNAMED * len(names):
        raise InputError(
            f"{root / FOLDER}: {len(misnamed)} of {len(names)} names do not parse, more than "
            f"{MAX_MISNAMED:.0%}: expected names like boat-i0001-b0001-c00-r00-l0-f0.jpg; got "
            + ", ".join(misnamed[:_EXAMPLES])
        )
    sampled = sample(frame, SIZES)
    placed = dirmap(sampled)
    how = link_or_copy.files(root, sampled["im_path"].tolist(), out, placed["im_path"].tolist(), workers)
    notes = [f"{len(names)} images indexed, {len(placed)} of them sampled", how]
    surplus = sorted({*_prepared_images(out)} - {*placed["im_path"]})
    strangers = link_or_copy.remove_copies(root / FOLDER, out, surplus)
    if len(surplus) > len(strangers):
        notes.append(f"{len(surplus) - len(strangers)} images of an earlier sample were removed from {out}")
    if misnamed:
        notes.append(
            f"{len(misnamed)} names do not parse and were skipped: {', '.join(misnamed[:_EXAMPLES])}"
        )
    problems = tuple(
        f"{out / path}: is not of the sample, so that no index can be made: remove it" for path in strangers
    )
    return Prepared(placed, notes=tuple(notes), problems=problems)


def index(root: Path) -> pd.DataFrame:
    """The dirmap of the prepared images below `root`, as `prepare` gave it; reads folders only."""
    paths = _prepared_images(root)
    frame, misnamed = parse(sorted(path.rpartition("/")[2] for path in paths))
    raise_any([f"{root}: {name}: does not parse" for name in misnamed])
    if frame.empty:
        raise InputError(
            f"{root}: no prepared images; make them: lethe data prepare ilab2mlight --root DIR, "
            f"where DIR holds {FOLDER}"
        )
    placed = dirmap(reindex(frame))
    raise_any(
        [
            f"{root / path}: is not where `lethe data prepare` puts it; repeat that: lethe data prepare ilab2mlight"
            for path in sorted({*paths} - {*placed["im_path"]})
        ]
    )
    return placed


def _prepared_images(root: Path) -> list[str]:
    """Paths, relative to `root`, of all files in the layout that `prepare` makes."""
    return [path.relative_to(root).as_posix() for path in root.glob("*/obj_*/sess_*/*.jpg")]


def scan(folder: Path) -> list[str]:
    """Names of the `.jpg` files in `folder`, sorted; one pass, without a stat per file."""
    names, links = [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jpg"):
                    if entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
                    else:
                        links += entry.is_symlink()
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read as a folder: {error.strerror or error}. Give --root the folder that "
            f"iLab-2M-Light was unpacked in; it holds {FOLDER}"
        ) from None
    if not names:
        hint = f", but {links} links, which are not followed; give --root the folder of the originals"
        raise InputError(f"{folder}: no .jpg file in it" + (hint if links else ""))
    names.sort()
    return names


def parse(names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The parsed names, a row each with columns `KEYS` and `im_path`, and the names that do not parse.

    The class is the part before the first dash; a number follows the first occurrence of its letter, up to a dash.
    """
    known = {*DATASET.classes, LEFT_OUT}
    first = [name.partition("-")[0] for name in names]
    classes = [c if c in known and n.isascii() else None for c, n in zip(first, names, strict=True)]
    fits = np.array([class_ is not None for class_ in classes], dtype=bool)
    numbers = np.zeros((len(PARTS), len(names)), dtype=np.int64)
    for start in range(0, len(names), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        letters = _letters([n if f else "-" for n, f in zip(names[chunk], fits[chunk], strict=True)])
        for row, letter in enumerate(PARTS.values()):
            numbers[row, chunk], found = _numbers_after(letters, ord(letter))
            fits[chunk] &= found
    frame = pd.DataFrame({"class": pd.Categorical(classes, sorted(known))})
    for name, column in zip(PARTS, numbers, strict=True):
        frame[name] = column
    frame["im_path"] = np.array([f"{FOLDER}/{name}" for name in names], dtype=object)
    misnamed = [names[row] for row in np.flatnonzero(~fits)]
    return frame[fits].reset_index(drop=True), misnamed


def _letters(names: list[str]) -> np.ndarray:
    """ASCII names as uint8 [N, W], zeros behind the end of each and in the last column."""
    text = np.array(names, dtype=bytes)
    letters = text.view(np.uint8).reshape(len(names), text.itemsize)
    return np.pad(letters, ((0, 0), (0, _DIGITS + 3)))


def _numbers_after(letters: np.ndarray, letter: int) -> tuple[np.ndarray, np.ndarray]:
    """The number between the first `-<letter>` of each name and the next dash, int64 [N]; and whether there is one."""
    marks = (letters[:, :-1] == _DASH) & (letters[:, 1:] == letter)
    position = marks.argmax(1)
    rows = np.arange(len(letters))
    found = marks[rows, position]
    position += 2
    begin = position.copy()
    value = np.zeros(len(letters), dtype=np.int64)
    for _ in range(_DIGITS):
        digit = letters[rows, position] - np.uint8(ord("0"))  # other characters wrap to more than 9
        is_digit = digit <= 9
        if not is_digit.any():
            break
        value = np.where(is_digit, value * 10 + digit, value)
        position += is_digit
    return value, found & (position > begin) & (letters[rows, position] == _DASH)


def reindex(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` sorted by `KEYS` with object, session and im_num renumbered from 1.

    `object` numbers the instances of a class, `session` the backgrounds of an instance, `im_num` the images
    of a session. Columns: class, object, session, im_num, im_path, then those of `PARTS`. Rows with equal
    keys, images that differ in focus alone, keep their order; `scan` has put them in that of their names.
    """
    class_code = pd.Categorical(frame["class"]).codes
    keys = [class_code, *(frame[name].to_numpy() for name in PARTS)]
    order = np.lexsort(keys[::-1])
    frame = frame.take(order)
    class_code, instance, background = (key[order] for key in keys[:3])
    starts = np.ones(len(frame), dtype=bool)
    new_class, new_object, new_session = starts.copy(), starts.copy(), starts.copy()
    new_class[1:] = np.diff(class_code) != 0
    new_object[1:] = new_class[1:] | (np.diff(instance) != 0)
    new_session[1:] = new_object[1:] | (np.diff(background) != 0)
    counted = {
        "object": _count_since(new_class, new_object),
        "session": _count_since(new_object, new_session),
        "im_num": _count_since(new_session, starts),
    }
    return frame.assign(**counted)[[*COLUMNS, *PARTS]].reset_index(drop=True)


def _count_since(begins: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Number of `counted` rows from the last row that `begins` up to each row, int64."""
    if not len(begins):
        return np.empty(0, dtype=np.int64)
    total = np.cumsum(counted)
    first = np.flatnonzero(begins)
    counts: np.ndarray = total - np.repeat(total[first] - 1, np.diff(np.append(first, len(begins))))
    return counts


def sample(frame: pd.DataFrame, sizes: Sizes) -> pd.DataFrame:
    """The published sample: `sizes.images` consecutive images of each session that is kept.

    The first sessions and objects, in the order of their numbers, are kept of those that are large enough.
    Where a session's images begin is drawn by Python's `random` from seed 0, a draw for each session in
    sorted order, even if there is only one choice. Raises `InputError` with each class that falls short.
    """
    frame = reindex(frame[frame["class"] != LEFT_OUT])
    all_objects = frame.groupby("class", observed=True)["instance"].nunique()
    frame = reindex(frame[_per_group(frame, SESSION, "im_num") >= sizes.images])
    frame = reindex(frame[_per_group(frame, SESSION[:2], "session") >= sizes.sessions])
    objects = frame.groupby("class", observed=True)["object"].max()
    raise_any(
        [
            f"class {name}: {objects.get(name, 0)} of its {all_objects.get(name, 0)} objects have at least "
            f"{sizes.sessions} sessions (backgrounds) of at least {sizes.images} images; expected "
            f"{sizes.objects} or more"
            for name in DATASET.classes
            if objects.get(name, 0) < sizes.objects
        ]
    )
    frame = frame[(frame["session"] <= sizes.sessions) & (frame["object"] <= sizes.objects)]
    groups = frame.groupby(SESSION, observed=True, sort=True)
    generator = random.Random(0)
    starts = [generator.randint(1, count - sizes.images + 1) for count in groups["im_num"].max()]
    offset = frame["im_num"].to_numpy() - np.array(starts, dtype=np.int64)[groups.ngroup().to_numpy()]
    return reindex(frame[(offset >= 0) & (offset < sizes.images)])


def _per_group(frame: pd.DataFrame, keys: list[str], counter: str) -> np.ndarray:
    """For each row, the largest `counter` of its group, which is the number of its members."""
    return frame.groupby(keys, observed=True)[counter].transform("max").to_numpy()


def dirmap(sampled: pd.DataFrame) -> pd.DataFrame:
    """The sample as the published dirmap: nested image paths, and the row index twice, as published."""
    rows = np.arange(len(sampled))
    classes = sampled["class"].astype(str).to_numpy(object)
    names = [path.rpartition("/")[2] for path in sampled["im_path"]]
    nested = [
        f"{class_}/obj_{object_}/sess_{session}/{name}"
        for class_, object_, session, name in zip(
            classes, sampled["object"], sampled["session"], names, strict=True
        )
    ]
    frame = sampled.copy()
    frame["class"], frame["im_path"] = classes, nested
    frame.insert(0, "Unnamed: 0", rows)
    frame.insert(0, "Unnamed: 0.1", rows)  # as pandas calls the first of two columns without a name
    return frame


DATASET = Dataset(
    name="ilab2mlight",
    title="iLab-2M-Light",
    classes=CLASSES,
    test_sessions=(4, 8),
    paradigms=RANDOM_PARADIGMS,
    iid_task_images=5040,
    task_classes=2,
    task_instances=336,
    instance_images=15,
    image_size=(224, 224),
    default_variant="corrected",
    expected=Expected(
        classes=14,
        objects_per_class=(28, 28),
        sessions_per_object=(8, 8),
        images_per_session=(15, 15),
        images_per_class=(3360, 3360),
    ),
    index=index,
    prepare=prepare,
)
