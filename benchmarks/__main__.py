"""`python -m benchmarks`: the commands of `lethe` on trials."""

import argparse
import sys

from lethe.benchmarks.command_line import SPEED_PARTS, add_commands, add_speed
from lethe.common import command_line


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 if all that was asked for was done, 2 for a mistake in it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Run agents through streams and compare them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_commands(commands)
    add_speed(commands, SPEED_PARTS)
    return command_line.run(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
