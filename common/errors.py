"""The one kind of error that users cause, and how it is told: what was expected, what came, what to do."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in what the user gave: a file, an option, a name. Programs print it and exit with status 2.

    Several problems of one input are told at once, a line each.
    """

    def __init__(self, *problems: str):
        super().__init__("\n".join(problems))
        self.problems = problems


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is none of `choices`; names the nearest one and lists them all."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {kind} '{name}': {hint}known: {', '.join(choices) or 'none'}")
