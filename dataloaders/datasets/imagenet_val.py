"""A `val/` as it is downloaded, 50,000 images in one folder: sorted into a folder a class, by links.

The class of image k, `ILSVRC2012_val_0000000k.JPEG`, is on line k of a text file: its folder name, as in TensorFlow's
`imagenet_2012_validation_synset_labels.txt`, or its number, as in the devkit's
`ILSVRC2012_validation_ground_truth.txt`. The devkit numbers the classes in an order of its own, which
`map_clsloc.txt` has; lists of classes that come with other software are alphabetical, and would mix them up.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lethe.common.errors import InputError
from lethe.common.files import read_text
from lethe.common.input_problems import INTEGER, raise_any
from lethe.dataloaders.datasets.image_folder import SUFFIXES
from lethe.dataloaders.index import link_or_copy

_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LABELS = ("imagenet_2012_validation_synset_labels.txt", _TRUTH, f"ILSVRC2012_devkit_t12/data/{_TRUTH}")
"""Where the classes of the validation images are looked for, below the folder of the download."""
SYNSETS = ("map_clsloc.txt", "ILSVRC2012_devkit_t12/data/map_clsloc.txt")
"""Where the folder name of each number is looked for; the first word of line k is that of number k."""

_FIRST = "n02119789"  # number 1 of the devkit
_EXAMPLE = "ILSVRC2012_val_00000001.JPEG"


def labels(root: Path, file: Path | None, synsets: Path | None, classes: Sequence[str]) -> list[str]:
    """The class of each validation image, by number from 1, from `file` or one of `LABELS` below `root`."""
    path = file or _found(root, LABELS)
    if path is None:
        raise InputError(
            f"{root / 'val'}: has no folder for each class; to sort its images, give --val-labels FILE with the class "
            f"of each on a line, such as {' or '.join(LABELS[:2])}"
        )
    lines = _lines(path)
    if re.fullmatch(INTEGER, lines[0]) is None:
        return _known(path, lines, classes)
    names = _synsets(root, synsets, path, classes)
    problems = [
        f"{path}:{number}: expected a number from 1 to {len(names)}, got {line!r}"
        for number, line in enumerate(lines, 1)
        if re.fullmatch(INTEGER, line) is None or not 1 <= int(line) <= len(names)
    ]
    raise_any(problems)
    return [names[int(line) - 1] for line in lines]


def sort(val: Path, out: Path, labels: Sequence[str], workers: int | None) -> str:
    """Link the images of the folder `val` into `out/<class>`; returns a sentence on how.

    What an earlier call linked for other labels is removed. Raises `InputError` with every image whose name has no
    number or one without a label, and where `out` holds other images.
    """
    if out.is_symlink():
        out.unlink()  # of a `val` that had class folders
    if out.exists() and out.samefile(val):
        raise InputError(
            f"{val}: cannot be sorted in its own place: move the download to another folder, and give it as --root"
        )
    problems: list[str] = []
    targets = sorted(_targets(val, labels, problems))
    raise_any(problems or ([] if targets else [f"{val}: holds no image; they end in {', '.join(SUFFIXES)}"]))
    surplus = sorted({path.relative_to(out).as_posix() for path in out.glob("*/*")} - set(targets))
    strangers = link_or_copy.remove_copies(val, out, surplus)
    raise_any([f"{out / path}: is none of the images of {val}: remove it" for path in strangers])
    sources = [target.rpartition("/")[2] for target in targets]
    return link_or_copy.files(val, sources, out, targets, workers)


def _targets(val: Path, labels: Sequence[str], problems: list[str]) -> Iterator[str]:
    """`class/name` of each image in `val`."""
    of_number: dict[int, str] = {}
    with os.scandir(val) as entries:
        names = sorted(
            (entry.name, entry.is_file(follow_symlinks=False))
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
        )
    for name, regular in names:
        found = re.search(rf"({INTEGER})\.[A-Za-z]+$", name)
        number = int(found[1]) if found else 0
        if not regular:
            problems.append(f"{val / name}: is no file, or a link: put the original there")
        elif found is None:
            problems.append(f"{val / name}: expected a name that ends in a number, such as {_EXAMPLE}")
        elif not 1 <= number <= len(labels):
            problems.append(f"{val / name}: has number {number}; there are classes for 1 to {len(labels)}")
        elif number in of_number:
            problems.append(f"{val / name}: has the number of {val / of_number[number]}")
        else:
            of_number[number] = name
            yield f"{labels[number - 1]}/{name}"


def _synsets(root: Path, file: Path | None, labels: Path, classes: Sequence[str]) -> list[str]:
    """The folder name of each number from 1."""
    path = file or _found(root, SYNSETS)
    if path is None:
        raise InputError(
            f"{labels}: has numbers; give --synsets FILE with the folder name of number k on line k, such as "
            f"{SYNSETS[0]} of the devkit"
        )
    names = _known(path, [line.split()[0] for line in _lines(path)], classes)
    if _FIRST in names and names[0] != _FIRST:
        raise InputError(
            f"{path}: is not in the devkit's order, in which {_FIRST} is the first and line k is number k of {labels}; "
            "lists of other software are alphabetical"
        )
    return names


def _found(root: Path, names: Sequence[str]) -> Path | None:
    return next((root / name for name in names if os.path.lexists(root / name)), None)


def _lines(path: Path) -> list[str]:
    """The lines of a text file, without blanks around them; blank ones at the end do not count."""
    lines = [line.strip() for line in read_text(path).rstrip().split("\n")]
    if blank := [number for number, line in enumerate(lines, 1) if not line]:
        raise InputError(f"{path}:{blank[0]}: is empty; expected a class, as line k is that of number k")
    return lines


def _known(path: Path, names: list[str], classes: Sequence[str]) -> list[str]:
    """`names`; `InputError` unless each is one of `classes`."""
    known = set(classes)
    raise_any(
        [
            f"{path}:{n}: {name!r} is no folder of train"
            for n, name in enumerate(names, 1)
            if name not in known
        ]
    )
    return names
