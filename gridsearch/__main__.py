"""`python -m gridsearch`: the commands of `lethe` on grids, the search by its older name, `run`."""

import argparse
import signal
import sys

from lethe.benchmarks.command_line import add_speed
from lethe.common import command_line
from lethe.gridsearch.command_line import SPEED_PARTS, add_commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 if all that was asked for was done, 2 for a mistake in it."""
    parser = argparse.ArgumentParser(
        prog="python -m gridsearch",
        description="Find each agent's hyperparameters on validation data, then compare the agents on test data.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_commands(commands, search="run")
    add_speed(commands, SPEED_PARTS)
    return command_line.run(parser, arguments)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's scheduler stops jobs with it
    sys.exit(main())
