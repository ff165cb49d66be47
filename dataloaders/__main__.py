"""The command line of the data: draw, index, and write task lists."""

import argparse
import sys
import time
from pathlib import Path

from dataloaders import specs
from errors import InputError

# What reads tables takes half a second to import, so each command imports its own.


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 2 after a mistake of the user's."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dataloaders", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    known = f"one of {', '.join(specs.DATASETS)}"

    draw = commands.add_parser("draw", help="draw a generated dataset; what is there is kept")
    draw.set_defaults(command=_draw)
    draw.add_argument(
        "dataset", help=f"one of {', '.join(n for n, d in specs.DATASETS.items() if d.generated)}"
    )
    draw.add_argument("--root", type=Path, help="folder to draw in (default: data/DATASET)")
    draw.add_argument("--seed", type=int, default=0, help="same seed, same pixels (default: %(default)s)")

    index = commands.add_parser("index", help="index a dataset's images: write its dirmap")
    index.set_defaults(command=_index)
    index.add_argument("dataset", help=known)
    index.add_argument("--root", type=Path, help="folder of the images (default: data/DATASET)")
    _add_out(index)

    tasks = commands.add_parser("tasks", help="write task lists, stream and offline; what is there is kept")
    tasks.set_defaults(command=_tasks)
    tasks.add_argument("dataset", help=known)
    tasks.add_argument(
        "--paradigm", nargs="+", metavar="P", help=f"some of {', '.join(specs.PARADIGMS)} (default: all)"
    )
    tasks.add_argument("--runs", type=int, default=10, help="runs 0 to RUNS-1 (default: %(default)s)")
    tasks.add_argument("--dirmap", type=Path, metavar="CSV", help="default: OUT/DATASET_dirmap.csv")
    tasks.add_argument(
        "--variant", help=f"{' or '.join(specs.VARIANTS)} (default: the one that suits the dataset)"
    )
    _add_out(tasks)
    return parser


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("dataloaders"), help="folder to write in (default: %(default)s)"
    )


def _draw(options: argparse.Namespace) -> None:
    from dataloaders import prepare

    root = options.root or prepare.default_root(options.dataset)
    prepare.draw(options.dataset, root, options.seed)
    print(f"{options.dataset} is in {root}")


def _index(options: argparse.Namespace) -> None:
    from dataloaders import dirmap, prepare

    specs.get(options.dataset)
    root = options.root or prepare.default_root(options.dataset)
    path, frame = prepare.index(options.dataset, root, options.out)
    print(dirmap.format_statistics(dirmap.statistics(frame)))
    print(f"written to {path}")


def _tasks(options: argparse.Namespace) -> None:
    from dataloaders import dirmap, paradigms, prepare, tasklists

    dataset = specs.get(options.dataset)
    chosen = options.paradigm or dataset.paradigms
    variant = options.variant or dataset.default_variant
    for paradigm in chosen:
        for mode in specs.MODES:
            paradigms.check(dataset, paradigm, mode, variant)
    if options.runs < 1:
        raise InputError(f"--runs {options.runs}: expected at least 1")
    path = options.dirmap or prepare.find_dirmap(dataset.name, options.out)
    source = tasklists.Source(dirmap.read(path), dataset)
    print(f"{dataset.title}, {variant} lists of {path}, runs 0 to {options.runs - 1}:")
    for paradigm in chosen:
        start = time.perf_counter()
        folders = {
            mode: tasklists.ensure(source, paradigm, run, mode, variant, options.out)
            for run in range(options.runs)
            for mode in specs.MODES
        }
        seconds = time.perf_counter() - start
        images = {mode: tasklists.read_manifest(folder)["images"] for mode, folder in folders.items()}
        print(
            f"{paradigm:<15}{len(images['stream']['tasks'])} tasks of {_span(images['stream']['tasks'])} "
            f"images (offline {_span(images['offline']['tasks'])}), {images['stream']['test']} test images, "
            f"{seconds:.1f} s",
            flush=True,
        )


def _span(sizes: list[int]) -> str:
    """The smallest and the largest size, or the only one."""
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


if __name__ == "__main__":
    sys.exit(main())
