"""The error of a user's mistake; its messages say what was expected, what came and what to do."""

import difflib
from collections.abc import Iterable

_LISTED = 100  # names


class InputError(ValueError):
    """A mistake in a user's input: a file, an option, a name. Programs print it and exit with status 2.

    Holds all problems of the input, one line each.
    """

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = problems


class Damaged(InputError):
    """A record of this project is damaged: what it belongs to cannot go on, everything else can."""


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is none of `choices`; names the nearest one and lists them, 100 at most."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    more = [f"and {len(choices) - _LISTED} more"] if len(choices) > _LISTED else []
    known = ", ".join([*choices[:_LISTED], *more])
    return InputError(f"unknown {kind} '{name}': {hint}known: {known or 'none'}")
