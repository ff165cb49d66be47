"""Commands on grids: search, select, compare. Heavy imports wait until a command needs them."""

import argparse
import functools
from pathlib import Path

from lethe.benchmarks.command_line import add_keep_model, add_max_memory, add_places, add_portable
from lethe.benchmarks.store_options import add_store
from lethe.benchmarks.workers import forkserver
from lethe.common import processor
from lethe.common.command_line import Commands

SPEED_PARTS = {"search": ("lethe.gridsearch.speed", "cost of a search beside learning")}
"""As `benchmarks.command_line.SPEED_PARTS`."""


def add_commands(commands: Commands, search: str = "search") -> None:
    """Add the commands on grids; that of the search is called `search`."""
    run = _add(commands, search, "search", "learn every trial of a grid on validation lists")
    _add_running(run)
    run.set_defaults(keep_model=False)
    _add(commands, "best", "best", "each agent's best trial, as a grid file of its own").add_argument(
        "--into", type=Path, default=Path("scripts/best"), metavar="FOLDER", help="default scripts/best"
    )
    final = _add(commands, "final", "final", "learn the best trials on the test lists")
    final.add_argument("--runs", type=int, default=10, help="runs of each (default 10)")
    _add_running(final)
    add_keep_model(final)
    _add(commands, "table", "table", "tables and plots of a search and of its final runs").add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="default OUT/grids/NAME; of several grids, each in a folder of its name",
    )


def _add(commands: Commands, name: str, function: str, help: str) -> argparse.ArgumentParser:
    """A command on grid files that calls `function` of `gridsearch.command`."""
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    parser.add_argument("grids", nargs="+", type=Path, metavar="FILE", help="grid files (TOML)")
    add_places(parser)
    parser.set_defaults(command=functools.partial(_do, function))
    return parser


def _do(function: str, options: argparse.Namespace) -> int:
    if getattr(options, "portable", False):
        processor.fix()
    if function in ("search", "final") and options.engine == "local" and not options.dry_run:
        forkserver.start()  # both import PyTorch for seconds: at the same time
    from lethe.gridsearch import command

    status: int = getattr(command, function)(options)
    return status


def _add_running(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="default local")
    parser.add_argument("--workers", type=int, help="runs at a time on the CPU (default: cores / threads)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run (default 1)")
    parser.add_argument("--gpus", metavar="0,1", help="GPUs to use, or none (default: all that are there)")
    parser.add_argument(
        "--trials-per-gpu", type=int, default=1, metavar="N", help="runs at a time on each GPU (default 1)"
    )
    parser.add_argument("--address", help="of a running Ray cluster; auto: the one that this machine is in")
    add_store(parser)
    add_max_memory(parser)
    add_portable(parser)
    parser.add_argument("--retry-failed", action="store_true", help="try runs again that failed before")
    parser.add_argument("--dry-run", action="store_true", help="print what would run; build each agent once")
    parser.add_argument("--checkpoint-batches", type=int, metavar="N", help="save every N batches as well")
