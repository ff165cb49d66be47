"""The command `lethe`: the commands of all packages in one program."""

import argparse
import signal
import sys
from pathlib import Path

import lethe
from lethe.agents import command_line as agents
from lethe.benchmarks import command_line as benchmarks
from lethe.common import command_line
from lethe.dataloaders import command_line as dataloaders
from lethe.gridsearch import command_line as gridsearch

_DESCRIPTION = """\
A benchmark harness for stream (online continual) learning on images.

  lethe data draw core50_mini && lethe data index core50_mini     get a dataset ready
  lethe run core50_mini/class_iid --agent er slda --runs 3        let agents learn a stream
  lethe report results --out results/report                       tables and plots
  lethe search scripts/grids/demo.toml                            choose hyperparameters on validation data
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 if all that was asked for was done, 1 if some of it was not, 2 for a mistake in the command, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="lethe", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"lethe {lethe.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = commands.add_parser(
        "data",
        help="prepare, draw, index, check and show datasets; write their task lists",
        description="Commands on datasets.",
    )
    dataloaders.add_commands(data.add_subparsers(required=True, metavar="COMMAND"))
    benchmarks.add_commands(commands)
    gridsearch.add_commands(commands)
    agents.add_commands(commands)
    benchmarks.add_speed(commands, benchmarks.SPEED_PARTS | gridsearch.SPEED_PARTS)
    return command_line.run(parser, arguments)


def program() -> int:
    """The installed command: `main`, which SIGTERM stops as Ctrl-C does (a cluster's scheduler sends it).

    Modules of a user's own, `my_module:MyAgent`, are found in the current folder, which comes last on the path: nothing
    that lies there can take the place of an installed package.
    """
    sys.path.append(str(Path.cwd()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return main()
