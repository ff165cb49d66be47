"""`python -m dataloaders`: the commands of `lethe data`."""

import argparse
import sys

from lethe.common import command_line
from lethe.dataloaders.command_line import add_commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 if all that was asked for was done, 2 after a mistake in it."""
    parser = argparse.ArgumentParser(
        prog="python -m dataloaders",
        description="Data: prepare, draw, index, write task lists, check and show.",
    )
    add_commands(parser.add_subparsers(required=True, metavar="COMMAND"))
    return command_line.run(parser, arguments)


if __name__ == "__main__":
    sys.exit(main())
