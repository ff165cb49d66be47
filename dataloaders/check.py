"""Checks that a dataset is complete: its counts, its image files, its task lists. Nothing is changed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lethe.common.errors import InputError
from lethe.common.input_problems import SHOWN, first
from lethe.dataloaders import prepare
from lethe.dataloaders.index import dirmap as dirmaps
from lethe.dataloaders.index.find import Located
from lethe.dataloaders.index.spec import MODES, PARADIGMS, SPLITS, Dataset
from lethe.dataloaders.stores.decode import leaving
from lethe.dataloaders.stores.faults import faults
from lethe.dataloaders.tasks import tasklists

SAMPLE = 500
"""Images that are decoded by default; the same ones for the same dirmap."""


@dataclass(frozen=True)
class Verdict:
    """The result of one check."""

    found: str
    """The finding, in words."""
    problems: tuple[str, ...] = ()
    """Its problems; empty if it is as expected."""
    judged: bool = True
    """False if no expectation is known to compare with."""

    def __str__(self) -> str:
        word = "wrong" if self.problems else "ok" if self.judged else "-"
        return "\n".join((f"{word:<7}{self.found}", *(f"       {line}" for line in first(self.problems))))


def check(located: Located, frame: pd.DataFrame, *, everything: bool = False) -> Iterator[Verdict]:
    """Check the dirmap `frame` of a dataset, its images and its task lists.

    Every file of the dirmap must exist; all of them are decoded with `everything`, otherwise a sample of `SAMPLE`.
    """
    yield from counts(located.dataset, frame)
    yield from _description(located)
    folder = located.images
    paths = sorted(set(frame["im_path"]))
    missing = [path for path in paths if not (folder / path).is_file()]
    yield Verdict(
        f"{len(paths) - len(missing)} of {len(paths)} image files are in {folder}",
        tuple(f"{folder / path}: no such image" for path in missing),
    )
    if located.dataset.confined and (problems := leaving(folder, paths, located.dataset.confined)):
        yield Verdict(f"{len(problems)} images are outside of {folder}", tuple(problems))
    there = sorted(set(paths).difference(missing))
    if there:
        yield _decoded(folder, there, everything, prepare.remedy(located))
    yield from _lists(located.dataset, dirmaps.fingerprint(frame), located.lists)


def counts(dataset: Dataset, frame: pd.DataFrame) -> Iterator[Verdict]:
    """Compare the counts of a dirmap, restricted to `dataset.frames`, with those of the complete one."""
    if dataset.frames:
        first_frame, step, stop = dataset.frames
        frame = frame[frame["im_num"].isin(range(first_frame, stop, step))]
        yield Verdict(
            f"frames {first_frame}, {first_frame + step}, ... count: {len(frame)} images", judged=False
        )
    if frame.empty:
        yield Verdict("no image", ("expected some frames that count",))
        return
    by_session = frame.groupby(dirmaps.SESSION).size()
    by_object = by_session.groupby(level=["class", "object"]).size()
    by_class = frame.groupby("class").size()
    expected = dataset.expected
    if expected is None:
        yield Verdict(f"{len(by_class)} classes; no counts to compare with are known", judged=False)
        return
    yield _span("classes", (len(by_class),) * 2, (expected.classes,) * 2)
    spans = (
        ("images a class", by_class, expected.images_per_class),
        ("images a session", by_session, expected.images_per_session),
        ("sessions an object", by_object, expected.sessions_per_object),
        ("objects a class", by_object.groupby(level="class").size(), expected.objects_per_class),
    )
    for what, sizes, span in spans:
        yield _span(what, (int(sizes.min()), int(sizes.max())), span, sizes)


def _description(located: Located) -> Iterator[Verdict]:
    """Check that the description of a user's own dataset is unchanged since its dirmap was made."""
    file = located.dataset.file
    if file is None:
        return
    changes = prepare.changes(located.dataset, located.dirmap)
    if changes is None:
        yield Verdict(f"no record of what {located.dirmap} was made from", judged=False)
    else:
        yield Verdict(f"{located.dirmap} was made from {file.path}", tuple(changes))


def _span(
    what: str, found: tuple[int, int], expected: tuple[int, int], sizes: pd.Series | None = None
) -> Verdict:
    """Compare (smallest, largest) with the expected ones; lists the groups whose size is outside."""
    low, high = expected
    if found == expected:
        return Verdict(f"{what}: {_range(found)}")
    outside = () if sizes is None else sizes[(sizes < low) | (sizes > high)].items()
    named = (f"{_group(what, key)}: {size}" for key, size in outside)
    return Verdict(f"{what}: {_range(found)}", (f"expected {_range(expected)}", *named))


def _group(what: str, key: object) -> str:
    """The name of a class, an object or a session."""
    if not isinstance(key, tuple):
        return f"class {key}"
    return ", ".join(f"{name} {part}" for name, part in zip(dirmaps.SESSION, key, strict=False))


def _range(span: tuple[int, int]) -> str:
    low, high = span
    return f"{low}" if low == high else f"{low} to {high}"


def _decoded(folder: Path, paths: Sequence[str], everything: bool, advice: str) -> Verdict:
    chosen = paths
    if not everything and len(paths) > SAMPLE:
        chosen = sorted(random.Random(0).sample(paths, SAMPLE))
    broken = faults(folder, chosen)
    which = f"all {len(paths)}" if len(chosen) == len(paths) else f"{len(chosen)} drawn of the {len(paths)}"
    problems = (*first([*broken.values()], SHOWN - 1), *([advice] if broken else []))
    return Verdict(f"{len(chosen) - len(broken)} of {which} images can be decoded", problems)


def _lists(dataset: Dataset, fingerprint: str, out: Path) -> Iterator[Verdict]:
    """Check the existing lists of each paradigm and split."""
    tops = {split: tasklists.top_folder(out, dataset.name, split) for split in SPLITS}
    looked_at = False
    for split, top in tops.items():
        again = f"lethe data tasks {dataset.name}{' --validation' if split == 'validation' else ''}"
        for paradigm in PARADIGMS:
            for place in (top / paradigm, *sorted(top.glob(f"{paradigm},*"))):
                folders = sorted(path for path in place.glob("run*/*") if path.name in MODES)
                if not folders:
                    continue
                looked_at = True
                problems = [line for folder in folders for line in _list_problems(folder, fingerprint, again)]
                yield Verdict(
                    f"{place.name}: {len(folders)} folders of task lists in {place}", tuple(problems)
                )
    if not looked_at:
        yield Verdict(f"no task lists in {tops['test']}; they are written when they are needed", judged=False)


def _list_problems(folder: Path, fingerprint: str, again: str) -> tuple[str, ...]:
    """Problems of the lists in `folder`; `again` is the command that rewrites them."""
    try:
        lists = tasklists.read(folder)
    except InputError as error:
        return error.problems
    if lists.dirmap_fingerprint in (None, fingerprint):
        return ()
    return (f"{folder}: made from another dirmap; write the lists again: {again}",)
