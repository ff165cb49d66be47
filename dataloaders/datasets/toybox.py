"""Toybox: from its videos to frames, an index and a balanced dirmap.

Toybox (Wang et al., "The Toybox Dataset of Egocentric Visual Object Transformations", 2018, arXiv 1806.06034)
films 30 objects of each of 12 classes in ten sessions, the transformations below, and in two more without the
object or at rest, `absent` and `present`, which the AugMem protocol does not use and which are not extracted here:
`<supercategory>/<class>_<NN>_pivothead/<class>_<NN>_pivothead_<transformation>.mp4`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lethe.common.errors import InputError
from lethe.common.input_problems import not_plain, path_problem, raise_any
from lethe.dataloaders.index import video
from lethe.dataloaders.index.dirmap import COLUMNS, SESSION
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import RANDOM_PARADIGMS, Dataset, Expected

CLASSES = (
    "cup", "mug", "spoon", "ball", "duck", "cat",
    "horse", "giraffe", "car", "truck", "airplane", "helicopter",
)  # fmt: skip

FOLDER = "images"
"""The folder of the extracted frames, below the dataset's root."""

SUPERCATEGORIES = {
    "household": ("cup", "mug", "spoon", "ball"),
    "animals": ("duck", "cat", "horse", "giraffe"),
    "vehicles": ("car", "truck", "airplane", "helicopter"),
}
"""Class folders by the folder that the published paths name; `households` is read as `household`."""

TRANSFORMATIONS = (
    "rxplus", "ryplus", "rzplus", "rxminus", "ryminus", "rzminus", "tx", "ty", "tz", "hodgepodge",
)  # fmt: skip
"""Session k is `TRANSFORMATIONS[k - 1]`."""

_UNUSED = ("absent", "present")
_MISNAMED = 0.01  # largest share of file names that do not parse
_CLASS_NUMBERS = {name: number for number, name in enumerate(CLASSES, 1)}
_FRAME = re.compile(rf".+_({'|'.join(TRANSFORMATIONS)})_([0-9]+)\.png")


@dataclass(frozen=True)
class Rules:
    """The protocol's sizes: sessions of equal length, and one object less than were filmed."""

    objects: int = 30
    """Objects that were filmed of each class; the last one is left out of a class that lost none otherwise."""
    sessions: int = 10
    """Sessions that an object must have, or it is left out."""
    images: int = 15
    """Frames of each session."""


PUBLISHED = Rules()

_NO_OBJECT = f"no object has {PUBLISHED.images} frames of each of its {len(TRANSFORMATIONS)} sessions"


def prepare(root: Path, out: Path, workers: int | None = None) -> Prepared:
    """Extract the videos below `root` into `out/images`, index and balance; extracted frames are kept.

    A video that cannot be decoded or named is one of the result's problems; the others are extracted. Raises
    `InputError` where `root` holds no Toybox, where more than 1 % of its names make no sense, where `out` cannot
    be written, or where no object is left that is complete.
    """
    clips, problems = find_videos(root)
    images = out / FOLDER
    _, version = video.program()
    done = video.extract(clips, images, workers)
    if done.broken:
        problems[:0] = [f"{len(done.broken)} of {len(clips)} videos could not be extracted:", *done.broken]
    raw = index_frames(images)
    dirmap = balance(raw)
    if dirmap.empty:
        raise_any([*problems, f"{images}: {_NO_OBJECT}"])
    notes = (
        f"extracted {done.frames} frames of {len(clips) - done.kept - len(done.broken)} videos with {version}; "
        f"{done.kept} videos were done already",
        *done.damaged,
        *_balancing_notes(raw, dirmap),
    )
    return Prepared(dirmap, {"unbalanced": raw}, notes, (*problems, *_shortage(dirmap)))


def index(root: Path) -> pd.DataFrame:
    """The balanced dirmap of frames that are extracted already, below `root/images` or `root`."""
    inner = root / FOLDER
    images = inner if inner.is_dir() else root
    dirmap = balance(index_frames(images))
    if dirmap.empty:
        raise InputError(f"{images}: {_NO_OBJECT}; make them: lethe data prepare toybox --root DIR")
    return dirmap


def find_videos(root: Path) -> tuple[list[video.Clip], list[str]]:
    """The videos of all sessions below `root`, and a problem for each object and name that does not fit.

    The class is that of the folder: `cup_21_pivothead` holds videos called `truck_21_pivothead_...`.
    """
    if not any(_supercategory(root, name).is_dir() for name in SUPERCATEGORIES):
        raise InputError(
            f"{root}: no Toybox videos: none of {', '.join(SUPERCATEGORIES)} is a folder in it. Give the folder "
            f"that they were unpacked in; for frames that are extracted already: lethe data index toybox"
        )
    clips: list[video.Clip] = []
    misnamed: list[str] = []
    missing: dict[str, list[int]] = {}
    names = 0
    for source, target in _objects(root):
        found = [path for path in _files(source) if path.suffix == ".mp4"]
        names += len(found)
        if not found:
            class_, number, _ = source.name.split("_")
            missing.setdefault(class_, []).append(int(number))
        sessions: dict[str, Path] = {}
        # Of two videos of one session, the one that is called as its folder comes first.
        for path in sorted(found, key=lambda path: (not path.name.startswith(source.name), path)):
            session = path.stem.rpartition("_")[2]
            if problem := _name_problem(path, session, sessions):
                misnamed.append(f"{path}: {problem}")
            else:
                sessions[session] = path
        clips += [
            video.Clip(sessions[name], f"{target}/{sessions[name].stem}")
            for name in TRANSFORMATIONS
            if name in sessions
        ]
    if len(misnamed) > _MISNAMED * names:
        raise_any([f"{len(misnamed)} of {names} videos have names that do not fit:", *misnamed])
    if not clips:
        raise InputError(
            f"{root}: no Toybox videos: expected {root}/animals/cat_01_pivothead/*.mp4 and so on"
        )
    return clips, [*misnamed, *(f"{root}: no video of {name} {_ranges(missing[name])}" for name in missing)]


def index_frames(images: Path) -> pd.DataFrame:
    """The index of all frames below `images`, before balancing: all that a session has.

    Columns: unnamed index 0..N-1, class (1..12), object, session, im_num, im_path; sorted. Reads folders only.
    Raises `InputError` with every session whose frames are not 1, 2, 3, ..., as after a kill.
    """
    rows: list[tuple[int, int, int, int, str]] = []
    problems: list[str] = []
    for folder, _ in _objects(images):
        class_, number, _ = folder.name.split("_")
        sessions: dict[str, list[tuple[int, str]]] = {}
        for path in _files(folder):
            if match := _FRAME.fullmatch(path.name):
                sessions.setdefault(match[1], []).append((int(match[2]), path.name))
        for name, frames in sessions.items():
            if sorted(frame for frame, _ in frames) != list(range(1, len(frames) + 1)):
                problems.append(
                    f"{folder}: expected frames 1 to {len(frames)} of one video of {name}, got others; "
                    "repeat: lethe data prepare toybox --root DIR"
                )
            key = (_CLASS_NUMBERS[class_], int(number), TRANSFORMATIONS.index(name) + 1)
            rows += [(*key, frame, f"{folder.parent.name}/{folder.name}/{image}") for frame, image in frames]
    raise_any(problems)
    raw = pd.DataFrame(sorted(rows), columns=list(COLUMNS))
    raw.insert(0, "Unnamed: 0", np.arange(len(raw)))
    return raw


def balance(raw: pd.DataFrame, rules: Rules = PUBLISHED) -> pd.DataFrame:
    """The published dirmap of a raw index: whole sessions of as many objects in every class.

    A session of fewer frames than `rules.images` is prolonged by its own in reverse: 1, 2, ..., n, n-1, ...; an
    object without all its sessions at that length is left out, and so is the last one of a class that lost none;
    the others are renumbered. The unnamed index is that of the table before anything is left out, with gaps.

    The authors' code keeps a session that stays short (fewer than 8 of 15 frames); no video is that short.
    """
    frames = _prolong(raw[raw["im_num"].between(1, rules.images)], rules.images)
    frames = frames.sort_values([*SESSION, "im_num"], ignore_index=True)
    frames["Unnamed: 0"] = np.arange(len(frames))
    lengths = frames.groupby(SESSION, sort=False)["im_num"].transform("size")
    whole = frames[lengths == rules.images]
    object_ = ["class", "object"]
    kept = whole[whole.groupby(object_)["session"].transform("nunique") == rules.sessions]
    lost_none = kept.groupby("class")["object"].transform("nunique") == rules.objects
    kept = kept[~(lost_none & (kept["object"] == rules.objects))].reset_index(drop=True)
    kept["object"] = kept.groupby("class")["object"].rank(method="dense").astype(np.int64)
    return kept


def _prolong(frames: pd.DataFrame, images: int) -> pd.DataFrame:
    """`frames`, and those of short sessions again with numbers that count on: frame k of n is 2n - k, too."""
    last = frames.groupby(SESSION)["im_num"].transform("max")
    mirrored = frames.assign(im_num=2 * last - frames["im_num"])
    again = (frames["im_num"] < last) & (last < images) & (mirrored["im_num"] <= images)
    return pd.concat([frames, mirrored[again]], ignore_index=True)


def _balancing_notes(raw: pd.DataFrame, dirmap: pd.DataFrame) -> Iterator[str]:
    """The sessions that balancing repeats and the objects that it leaves out, a line each."""
    repeated = dirmap.loc[dirmap.duplicated("im_path"), "im_path"]
    videos = sorted({path.rpartition("_")[0] for path in repeated})
    if videos:
        yield f"short videos, prolonged by their own frames in reverse: {', '.join(videos)}"
    folders = [{path.rpartition("/")[0] for path in table["im_path"]} for table in (raw, dirmap)]
    left_out = sorted(folders[0] - folders[1])
    if left_out:
        yield f"left out for a missing session, or as the last of {PUBLISHED.objects}: {', '.join(left_out)}"


def _shortage(dirmap: pd.DataFrame) -> list[str]:
    """A problem if a class has not as many objects as in the published dirmap."""
    expected = PUBLISHED.objects - 1
    counts = dirmap.groupby("class")["object"].nunique().to_dict()
    found = {name: counts.get(number, 0) for name, number in _CLASS_NUMBERS.items()}
    short = [f"{name} {count}" for name, count in found.items() if count != expected]
    return [f"expected {expected} complete objects of each class, got {', '.join(short)}"] if short else []


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers as "1 to 3, 7"."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(f"{start}" if start == end else f"{start} to {end}" for start, end in pairs)


def _objects(base: Path) -> Iterator[tuple[Path, str]]:
    """The folder below `base` of every expected object, and its name in the published paths."""
    for supercategory, classes in SUPERCATEGORIES.items():
        parent = _supercategory(base, supercategory)
        for class_ in classes:
            for number in range(1, PUBLISHED.objects + 1):
                name = f"{class_}_{number:02d}_pivothead"
                yield parent / name, f"{supercategory}/{name}"


def _supercategory(base: Path, name: str) -> Path:
    """The folder of a supercategory; the archive has `households`, the published paths `household`."""
    plural = base / f"{name}s"
    return plural if plural.is_dir() and not (base / name).is_dir() else base / name


def _files(folder: Path) -> list[Path]:
    """The entries of `folder` without hidden ones; none if it does not exist."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read as a folder: {error.strerror or error}") from None


def _name_problem(path: Path, session: str, there: dict[str, Path]) -> str:
    """The problem of a video's name, given the sessions that are `there` already; empty if there is none."""
    if session not in (*TRANSFORMATIONS, *_UNUSED):
        return f"expected a name that ends in one of {', '.join(TRANSFORMATIONS)}"
    if session in there:
        return f"{there[session].name} is the video of {session} already"
    if not path.is_file():
        return "expected a file, got something else"
    if not path.name.isprintable():
        return "has a character that cannot be printed; rename the file"
    return path_problem(path.name) if not_plain([path.name]) else ""


DATASET = Dataset(
    name="toybox",
    title="Toybox",
    classes=CLASSES,
    test_sessions=(3, 6, 9),
    paradigms=RANDOM_PARADIGMS,
    iid_task_images=6090,
    task_classes=2,
    task_instances=406,
    instance_images=15,
    image_size=(224, 224),
    default_variant="corrected",
    image_folder=FOLDER,
    expected=Expected(
        classes=12,
        objects_per_class=(29, 29),
        sessions_per_object=(10, 10),
        images_per_session=(15, 15),
        images_per_class=(4350, 4350),
    ),
    index=index,
    prepare=prepare,
)
