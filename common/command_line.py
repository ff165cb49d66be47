"""What the programs of all packages share: how they end, and a check of their numbers."""

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress

from lethe.common.errors import InputError


def below_one(options: object, *names: str) -> list[str]:
    """The problems of those options of a command line, by attribute name, that are given but less than 1."""
    values = {name.replace("_", "-"): getattr(options, name, None) for name in names}
    return [
        f"--{name}: expected at least 1, got {value}"
        for name, value in values.items()
        if value is not None and value < 1
    ]


def exit_status(
    command: Callable[[], int | None], stopped: str = "stopped; the same command goes on from here"
) -> int:
    """Run a program's command; returns what the program is to exit with.

    0, or what the command returns; 2 after an `InputError`, 130 after Ctrl-C, both told on standard error; 1 where
    who reads the output, such as `head`, leaves before the command is done.
    """
    try:
        status = command() or 0
    except InputError as error:
        print("\n".join(f"error: {problem}" for problem in error.problems), file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        status = 130
    except BrokenPipeError:
        if not _output_is_unread():
            raise  # it is about another pipe
        status = 1
    with suppress(BrokenPipeError):
        print(end="", flush=True)
    if _output_is_unread():  # what the buffer still holds must not fail when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return status


def _output_is_unread() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    output = select.poll()
    output.register(1, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))
