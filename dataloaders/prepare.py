"""From downloaded or generated images to a dataset that is ready: drawing, preparing, indexing, finding its dirmap."""

from dataclasses import replace
from os.path import lexists  # which no name makes fail
from pathlib import Path

from lethe.common.errors import InputError, unknown
from lethe.common.input_problems import raise_any
from lethe.dataloaders.datasets import image_folder
from lethe.dataloaders.index import dataset_file_stamp, find, folders
from lethe.dataloaders.index import dirmap as dirmaps
from lethe.dataloaders.index.find import Located
from lethe.dataloaders.index.prepared import Prepared
from lethe.dataloaders.index.spec import Dataset


def draw(dataset: Dataset, root: Path, seed: int = 0, workers: int | None = None) -> None:
    """Draw a generated dataset below `root`; existing files are kept."""
    if dataset.draw is None:
        raise unknown("generated dataset", dataset.name, find.generated())
    dataset.draw(root, seed, workers)


def index(located: Located, *, skip_broken: bool = False) -> Prepared:
    """Index the images of a dataset and write its dirmap.

    A user's own dataset is found by its name: where its root is not `data/<dataset>`, that is made a link to it. With
    `skip_broken`, its images are decoded, and broken ones are left out and named in a note.
    """
    dataset = located.dataset
    if skip_broken and dataset.file is None:
        raise InputError(
            f"--skip-broken: is for images of your own; {dataset.name} is as published or not at all: {remedy(located)}"
        )
    if dataset.file is None:
        if dataset.index is None:
            raise TypeError(f"dataset {dataset.name}: expected an index function")
        indexed = Prepared(dataset.index(located.root))
        dirmaps.write(indexed.dirmap, located.dirmap)
        return indexed
    indexed = image_folder.index(dataset, dataset.file, skip_broken=skip_broken)
    notes = _link(find.default_root(dataset.name), located.root)
    dirmaps.write(indexed.dirmap, located.dirmap)
    dataset_file_stamp.write(dataset, dataset.file, located.dirmap)
    return replace(indexed, notes=(*indexed.notes, *notes))


def prepare(
    located: Located, out: Path, workers: int | None = None, *, skip_broken: bool = False
) -> Prepared:
    """All steps from the download in the root of `located` to images below `out` and tables in its `lists`.

    A generated dataset is drawn below `out`. Any other dataset without a preparer is indexed where it is.
    """
    dataset = located.dataset
    if dataset.prepare is None or skip_broken:
        if dataset.generated and not skip_broken:
            draw(dataset, out, workers=workers)
            located = replace(located, root=out)
        return index(located, skip_broken=skip_broken)
    prepared = dataset.prepare(located.root, out, workers)
    for name, frame in prepared.tables.items():
        dirmaps.write(frame, located.lists / f"{dataset.name}_dirmap_{name}.csv")
    dirmaps.write(prepared.dirmap, located.dirmap)
    return prepared


def find_dirmap(located: Located) -> Path:
    """The dirmap that has been made, else the shipped one; `InputError` with the command that makes it."""
    dataset, path = located.dataset, located.dirmap
    if folders.is_file(path):
        return path
    if lexists(path):
        raise InputError(
            f"{path}: expected a file, got a folder, a pipe or a link that leads nowhere: remove it"
        )
    if dataset.shipped_dirmap is not None:
        return dataset.shipped_dirmap
    command, option = ("prepare", "--lists") if dataset.prepare else ("index", "--out")
    where = "" if located.lists == folders.LISTS else f" {option} {located.lists}"
    raise InputError(
        f"{path}: no dirmap of {dataset.name}; make it: lethe data {command} {dataset.name} "
        f"--root {find.default_root(dataset.name)}{where}"
    )


def current_dirmap(located: Located) -> Path:
    """`find_dirmap`; `InputError` if the dataset's own file has been changed since."""
    path = find_dirmap(located)
    raise_any(changes(located.dataset, path) or [])
    return path


def changes(dataset: Dataset, dirmap: Path) -> list[str] | None:
    """Reasons, one per line, why the dirmap of a user's own dataset is out of date; None if that is unknown."""
    if dataset.file is None:
        return None
    found = dataset_file_stamp.changes(dataset, dataset.file, dirmap)
    if not found:
        return found
    where = "" if dirmap.parent == folders.LISTS else f" --out {dirmap.parent}"
    return [*found, f"{dirmap}: is out of date; make it again: lethe data index {dataset.name}{where}"]


def remedy(located: Located) -> str:
    """Advice for missing or broken images of a dataset."""
    dataset, root = located.dataset, located.root
    at = "" if root == find.default_root(dataset.name) else f" --root {root}"
    if dataset.file is not None:
        where = "" if located.lists == folders.LISTS else f" --out {located.lists}"
        again = f"lethe data index {dataset.name}{at}{where}"
        return (
            f"mend or delete broken images, then index the remaining ones: {again}; to leave broken ones out: "
            f"{again} --skip-broken"
        )
    if dataset.generated:
        return f"delete broken images, then draw what is missing: lethe data draw {dataset.name}{at}"
    if dataset.prepare:
        made = f"lethe data prepare {dataset.name} --root DOWNLOADED --out {root}"
        return f"delete broken images, then make what is missing: {made}"
    return f"{dataset.download} in {root}; lethe data check {dataset.name} reports what is there"


def ensure_dirmap(located: Located) -> Path:
    """`current_dirmap`; a generated dataset is drawn and indexed first, unless it is complete."""
    if located.dataset.generated and not _is_whole(located):
        draw(located.dataset, located.root)
        index(located)
    return current_dirmap(located)


def _is_whole(located: Located) -> bool:
    """Whether there is a dirmap and every image that it names."""
    if not folders.is_file(located.dirmap):
        return False
    folder = located.images
    return all((folder / image).is_file() for image in dirmaps.read(located.dirmap)["im_path"])


def _link(usual: Path, root: Path) -> list[str]:
    """Make `usual` a link to `root`, unless it is that folder, and say so; `InputError` if it is another one."""
    if usual.resolve() == root.resolve():
        return []
    if usual.is_symlink() or usual.exists():
        raise InputError(
            f"{usual}: is not {root}, but where all commands look for {usual.name}: move it away, or give "
            f"{root} another name"
        )
    try:
        usual.parent.mkdir(parents=True, exist_ok=True)
        usual.symlink_to(root.resolve(), target_is_directory=True)
    except OSError as error:
        raise InputError(f"{usual}: cannot be made a link: {error.strerror or error}") from error
    return [f"{usual} is now a link to {root.resolve()}, so that all commands find {usual.name}"]
