"""`python -m agents`: every agent, what it needs; and a check of one's own."""

import argparse
import sys

from lethe.agents.command_line import add_check, show
from lethe.common import command_line


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if an agent fails a check, 2 for a mistake in the command."""
    parser = argparse.ArgumentParser(
        prog="python -m agents", description="Without a command: list every agent and what it needs."
    )
    parser.set_defaults(command=show, agents=[])
    add_check(parser.add_subparsers(metavar="COMMAND"))
    return command_line.run(parser, arguments, stopped="stopped")


if __name__ == "__main__":
    sys.exit(main())
