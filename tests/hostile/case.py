"""A hostile input: what is damaged, the command that meets it, and what must come of that."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

EXPECTATIONS = ("told", "same", "either", "any")


class Ended(NamedTuple):
    """How a command ended."""

    status: int | None
    """Exit status, negative for a signal; None where it did not end in time."""
    out: str
    err: str


@dataclass(frozen=True)
class Case:
    """One hostile input; the docstring of `replay` says how it is used."""

    name: str
    """Unique: `module/what/how`."""
    prepare: Callable[[Path], list[str]]
    """Writes the input below an empty folder, the later working directory; returns the arguments of `lethe`."""
    expect: str = "told"
    result: Callable[[Path], object] | None = None
    """What the command has made, below the same folder; for "same" and "either". It may read `stdout`, a file there."""
    clean: object = None
    """The value of `result` for an input without damage."""
    of_agent: bool = False
    """Whether an agent of the user's own is at fault, whose traceback its author wants to see."""

    def verdict(self, folder: Path, ended: Ended) -> str | None:
        """What is wrong with how the command ended: "hang", "traceback", "silent", ...; None if nothing is."""
        told = ended.status in (1, 2) and bool((ended.out + ended.err).strip())
        if ended.status is None:
            return "hang"
        if ended.status < 0:
            return f"killed by signal {-ended.status}"
        if not self.of_agent and any(
            text.startswith("Traceback (most recent call last)")
            for text in f"{ended.out}\n{ended.err}".splitlines()
        ):
            return "traceback"
        if "\x1b" in ended.out + ended.err:
            return "escape sequence"
        if ended.status not in (0, 1, 2):
            return f"status {ended.status}"
        if ended.status and not told:
            return "no message"
        if self.expect == "any" or (self.expect in ("told", "either") and told):
            return None
        if self.expect == "told":
            return "silent: status 0"
        if ended.status:
            return f"status {ended.status} where the result was to be had"
        found = self.result(folder) if self.result else None
        return None if found == self.clean else "silent: another result"
