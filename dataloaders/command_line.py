"""Commands on data: prepare, draw, index, write task lists, check and show."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.common.command_line import Commands
from lethe.common.errors import InputError
from lethe.common.input_problems import first, raise_any
from lethe.common.printable import printable, printable_lines
from lethe.dataloaders.imagenet_options import IMAGENET, add_imagenet
from lethe.dataloaders.index import catalogue, find, folders, spec
from lethe.dataloaders.order_options import add_order

if TYPE_CHECKING:
    import pandas as pd

    from lethe.dataloaders.index.prepared import Prepared

# pandas takes a third of a second to import, so each command imports the modules that need it.


def add_commands(commands: Commands) -> None:
    """Add the commands on data."""
    known = f"one of {', '.join(catalogue.NAMES)}, or your own in data/NAME/dataset.toml"

    prepare = commands.add_parser(
        "prepare", help="from the files of a download to images and a dirmap; existing files are kept"
    )
    prepare.set_defaults(command=_prepare)
    prepare.add_argument("dataset", help=known)
    prepare.add_argument("--root", type=Path, help="folder of what was downloaded (default: data/DATASET)")
    prepare.add_argument("--out", type=Path, help="folder for the images (default: data/DATASET)")
    prepare.add_argument(
        "--lists", type=Path, default=folders.LISTS, help="folder for the dirmap (default: %(default)s)"
    )
    _add_skip_broken(prepare)
    prepare.add_argument("--workers", type=int, help="processes at a time (default: one per core)")
    add_imagenet(prepare)

    draw = commands.add_parser("draw", help="draw a generated dataset; existing files are kept")
    draw.set_defaults(command=_draw)
    draw.add_argument("dataset", help="a generated dataset, such as core50_mini")
    draw.add_argument("--root", type=Path, help="folder to draw in (default: data/DATASET)")
    draw.add_argument("--seed", type=int, default=0, help="same seed, same pixels (default: %(default)s)")

    index = commands.add_parser("index", help="index a dataset's images: write its dirmap")
    index.set_defaults(command=_index)
    index.add_argument("dataset", help=known)
    index.add_argument("--root", type=Path, help="folder of the images (default: data/DATASET)")
    _add_skip_broken(index)
    _add_out(index)

    tasks = commands.add_parser("tasks", help="write task lists, stream and offline; existing lists are kept")
    tasks.set_defaults(command=_tasks)
    tasks.add_argument("dataset", help=known)
    tasks.add_argument(
        "--paradigm", nargs="+", metavar="P", help=f"some of {', '.join(spec.PARADIGMS)} (default: all)"
    )
    tasks.add_argument("--runs", type=int, default=10, help="runs 0 to RUNS-1 (default: %(default)s)")
    tasks.add_argument(
        "--validation",
        action="store_true",
        help="lists for choosing hyperparameters, without any test image: of each object one training session "
        "is held out and judged instead (without sessions, a tenth of the images), another one in each run",
    )
    tasks.add_argument("--dirmap", type=Path, metavar="CSV", help="default: OUT/DATASET_dirmap.csv")
    tasks.add_argument(
        "--variant", help=f"{' or '.join(spec.VARIANTS)} (default: the one that suits the dataset)"
    )
    add_order(tasks)
    _add_out(tasks)

    export = commands.add_parser(
        "export-labels", help="write REMIND's label files: the place in the stream of the class of each image"
    )
    export.set_defaults(command=_export_labels)
    export.add_argument("dataset", help="imagenet, or your own with test_images and class_order")
    export.add_argument(
        "--lists", type=Path, default=folders.LISTS, help="folder of the dirmap (default: %(default)s)"
    )
    export.add_argument(
        "--out", type=Path, default=Path(), help="folder to write in (default: the working folder)"
    )

    check = commands.add_parser(
        "check", help="check that a dataset is complete; status 1 if not; changes nothing"
    )
    check.set_defaults(command=_check)
    check.add_argument("dataset", help=known)
    _add_places(check)
    check.add_argument("--all", action="store_true", help="decode every image, not a sample of them")

    show = commands.add_parser("show", help="draw a contact sheet of the stream of each task")
    show.set_defaults(command=_show)
    show.add_argument("dataset", help=known)
    show.add_argument("paradigm", help=f"one of {', '.join(spec.PARADIGMS)}")
    show.add_argument("--run", type=int, default=0, help="the random order (default: %(default)s)")
    show.add_argument("--mode", default="stream", help="stream or offline (default: %(default)s)")
    show.add_argument("--variant", help=f"{' or '.join(spec.VARIANTS)} (default: that of the dataset)")
    add_order(show)
    show.add_argument("--out", type=Path, metavar="PNG", help="default: DATASET_PARADIGM.png")
    _add_places(show)


def _add_skip_broken(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="decode all images of your own dataset, and leave out those that cannot be, by name",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, help="folder of the images (default: data/DATASET)")
    parser.add_argument(
        "--lists", type=Path, default=folders.LISTS, help="folder of the dirmap (default: %(default)s)"
    )


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=folders.LISTS, help="folder to write in (default: %(default)s)"
    )


def _prepare(options: argparse.Namespace) -> int:
    from lethe.dataloaders import prepare

    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers {options.workers}: expected at least 1")
    if options.dataset == "imagenet":
        return _prepare_imagenet(options)
    located = find.locate(options.dataset, options.root, options.lists)
    dataset = located.dataset
    if given := [name for name in IMAGENET if getattr(options, name) is not None]:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{named}: only for imagenet; sizes of your own dataset are in its dataset.toml")
    if options.out is not None and not dataset.prepare and not dataset.generated:
        raise InputError(
            f"--out {options.out}: images of {dataset.name} are used where they are; give --root alone"
        )
    if options.root is not None and dataset.generated:
        raise InputError(f"--root {options.root}: {dataset.name} is drawn, from nothing; give --out")
    out = folders.usable(options.out or find.default_root(dataset.name))
    prepared = prepare.prepare(located, out, options.workers, skip_broken=options.skip_broken)
    return _print_prepared(located, prepared)


def _prepare_imagenet(options: argparse.Namespace) -> int:
    from lethe.dataloaders.datasets import imagenet

    usual = find.default_root(imagenet.NAME)
    root, out = (folders.usable(path or usual) for path in (options.root, options.out))
    raise_any(
        [
            f"--{name.replace('_', '-')} {value}: expected at least 1"
            for name in IMAGENET
            if isinstance(value := getattr(options, name), int) and value < 1
        ]
    )
    choices = imagenet.Choices(**{name: getattr(options, name) for name in IMAGENET})
    lists = folders.usable(options.lists)
    return _print_prepared(
        *imagenet.prepare(root, out, lists, choices, options.workers, skip_broken=options.skip_broken)
    )


def _print_prepared(located: find.Located, prepared: "Prepared") -> int:
    """Tell the counts, notes and problems; returns the exit status."""
    _print_index(located, prepared)
    for problem in first(prepared.problems):
        print(f"problem: {printable(problem)}", file=sys.stderr)
    return 1 if prepared.problems else 0


def _draw(options: argparse.Namespace) -> None:
    from lethe.dataloaders import prepare

    located = find.locate(options.dataset, options.root)
    prepare.draw(located.dataset, located.root, options.seed)
    print(printable(f"{options.dataset} is in {located.root}"))


def _index(options: argparse.Namespace) -> None:
    from lethe.dataloaders import prepare

    located = find.locate(options.dataset, options.root, options.out)
    indexed = prepare.index(located, skip_broken=options.skip_broken)
    _print_index(located, indexed)


def _print_index(located: find.Located, indexed: "Prepared") -> None:
    print(printable_lines(_counts(located.dataset, indexed.dirmap)))
    for note in indexed.notes:
        print(printable(note))
    print(printable(f"written to {located.dirmap}"))


def _counts(dataset: spec.Dataset, frame: "pd.DataFrame") -> str:
    """The counts of a dirmap, in the words of its dataset."""
    from lethe.dataloaders.index import dirmap

    if dataset.file is not None and dataset.file.layout == "class":
        return dirmap.format_shares(frame, dataset.test_sessions, dataset.class_name)
    return dirmap.format_statistics(dirmap.statistics(frame))


def _tasks(options: argparse.Namespace) -> None:
    from lethe.dataloaders import prepare
    from lethe.dataloaders.index import dirmap
    from lethe.dataloaders.tasks import listfiles, paradigms, tasklists
    from lethe.dataloaders.tasks.order import of_options, offered

    located = find.locate(options.dataset, lists=options.out)
    dataset = located.dataset
    chosen = options.paradigm or offered(dataset, options)
    variant = options.variant or dataset.default_variant
    for paradigm in chosen:
        dataset = of_options(located.dataset, paradigm, options)
        for mode in spec.MODES:
            paradigms.check(dataset, paradigm, mode, variant)
    if options.runs < 1:
        raise InputError(f"--runs {options.runs}: expected at least 1")
    path = options.dirmap or prepare.current_dirmap(located)
    frame = dirmap.read(path)
    source = tasklists.Source(frame, dataset)
    split = "validation" if options.validation else "test"
    kind = "validation lists" if options.validation else "lists"
    print(printable(f"{dataset.title}, {variant} {kind} of {path}, runs 0 to {options.runs - 1}:"))
    for paradigm in chosen:
        start = time.perf_counter()
        folders = {
            mode: tasklists.ensure(source, paradigm, run, mode, variant, options.out, split)
            for run in range(options.runs)
            for mode in spec.MODES
        }
        seconds = time.perf_counter() - start
        images = {mode: listfiles.image_counts(folder) for mode, folder in folders.items()}
        print(
            f"{paradigm:<15}{len(images['stream']['tasks'])} tasks of {_span(images['stream']['tasks'])} "
            f"images (offline {_span(images['offline']['tasks'])}), {images['stream']['test']} {split} images, "
            f"{seconds:.1f} s",
            flush=True,
        )


def _export_labels(options: argparse.Namespace) -> None:
    from lethe.dataloaders import export_labels, prepare
    from lethe.dataloaders.index import dirmap

    located = find.locate(options.dataset, lists=options.lists)
    frame = dirmap.read(prepare.current_dirmap(located))
    for path in export_labels.export(located.dataset, frame, folders.usable(options.out)):
        print(printable(f"written to {path}"))


def _check(options: argparse.Namespace) -> int:
    from lethe.dataloaders import check, prepare
    from lethe.dataloaders.index import dirmap

    located = find.locate(options.dataset, options.root, options.lists)
    path = prepare.find_dirmap(located)
    frame = dirmap.read(path)
    print(printable(f"{located.dataset.title}, {path}:"))
    print(printable_lines(_counts(located.dataset, frame)))
    status = 0
    for verdict in check.check(located, frame, everything=options.all):
        print(printable_lines(verdict), flush=True)
        status = 1 if verdict.problems else status
    return status


def _show(options: argparse.Namespace) -> None:
    from lethe.dataloaders import contact_sheet, prepare
    from lethe.dataloaders.index import dirmap
    from lethe.dataloaders.tasks.order import of_options

    located = find.locate(options.dataset, options.root, options.lists)
    dataset = located.dataset
    if options.run < 0:
        raise InputError(f"--run {options.run}: expected 0 or more")
    variant = options.variant or dataset.default_variant
    which = contact_sheet.Which(options.paradigm, options.run, options.mode, variant)
    dataset = of_options(dataset, options.paradigm, options)
    frame = dirmap.read(prepare.current_dirmap(located))
    sheet = contact_sheet.draw(dataset, frame, located.images, which)
    path = folders.usable(options.out or Path(f"{dataset.name}_{options.paradigm}.png"))
    contact_sheet.save(sheet, path)
    print(printable(f"written to {path}"))


def _span(sizes: list[int]) -> str:
    """The smallest and the largest size, or the only one."""
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
