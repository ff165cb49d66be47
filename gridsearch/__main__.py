"""`python -m gridsearch`: search, select, compare. Heavy imports wait until a command needs them."""

import argparse
import signal
import sys
from pathlib import Path

from lethe.benchmarks.workers import forkserver
from lethe.common.command_line import exit_status
from lethe.dataloaders.index import folders

_EXAMPLES = """examples:
  lethe search scripts/grids/demo.toml --dry-run   # what would be learned, and how long it takes
  lethe search scripts/grids/demo.toml             # the search, on validation data; again to go on
  lethe best scripts/grids/demo.toml            # the winners, into scripts/best/demo.toml
  lethe final scripts/grids/demo.toml           # the winners on the test data
  lethe table scripts/grids/demo.toml           # tables and plots
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 if all that was asked for was done, 2 for a mistake in it."""
    options = _parser().parse_args(argv)
    return exit_status(lambda: _do(options))


def _do(options: argparse.Namespace) -> int:
    if options.command in ("run", "final") and options.engine == "local" and not options.dry_run:
        forkserver.start()  # both import PyTorch for seconds: at the same time
    from lethe.gridsearch import command

    return getattr(command, options.command)(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gridsearch",
        description="Find each agent's hyperparameters on validation data, then compare the agents on test data.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    run = _add(commands, "run", "learn every trial of a grid on validation lists; finished runs are skipped")
    _add_running(run)
    _add(commands, "best", "each agent's best trial, as a grid file of its own").add_argument(
        "--into", type=Path, default=Path("scripts/best"), metavar="FOLDER", help="default scripts/best"
    )
    final = _add(commands, "final", "learn the best trials on the test lists")
    final.add_argument("--runs", type=int, default=10, help="runs of each (default 10)")
    _add_running(final)
    _add(commands, "table", "tables and plots of the search and of the final runs").add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="default OUT/grids/NAME; of several grids, each in a folder of its name",
    )
    speed = commands.add_parser("speed", help="measure what a search costs beside learning")
    speed.add_argument("--out", type=Path, metavar="JSON", help="write the figures to this file as well")
    return parser


def _add(commands: argparse._SubParsersAction, name: str, help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("grids", nargs="+", type=Path, metavar="FILE", help="grid files")
    parser.add_argument("--out", type=Path, default=Path("results"), help="results folder (default results)")
    parser.add_argument(
        "--data", type=Path, default=folders.DATA, help="holds a folder per dataset (default data)"
    )
    parser.add_argument("--lists", type=Path, default=folders.LISTS, help="holds dirmaps and task lists")
    return parser


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="default local")
    parser.add_argument("--workers", type=int, help="runs at a time on the CPU (default: cores / threads)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run (default 1)")
    parser.add_argument("--gpus", metavar="0,1", help="GPUs to use, or none (default: all that are there)")
    parser.add_argument(
        "--trials-per-gpu", type=int, default=1, metavar="N", help="runs at a time on each GPU (default 1)"
    )
    parser.add_argument("--address", help="of a running Ray cluster; auto: the one that this machine is in")
    parser.add_argument("--retry-failed", action="store_true", help="try runs again that failed before")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    parser.add_argument("--checkpoint-batches", type=int, metavar="N", help="save every N batches as well")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's scheduler stops jobs with it
    sys.exit(main())
