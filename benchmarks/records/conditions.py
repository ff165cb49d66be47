"""Conditions that a process learns under and that its speed depends on: load, threads, processor, instruction sets."""

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lethe.common import processor


class Conditions:
    """Those of this process; the load is looked at when it begins and after each task."""

    def __init__(self, threads: int):
        self._threads = threads
        self._loads: list[float] = []
        self.look()

    def look(self) -> None:
        """Note the load as it is now."""
        self._loads.append(os.getloadavg()[0])

    def record(self) -> dict[str, object]:
        """All as plain values; `load_average` is the mean over the looks of the load of the last minute."""
        return {
            "load_average": round(statistics.fmean(self._loads), 2),
            "cores": os.cpu_count() or 1,
            "threads": self._threads,
            "cpu": processor.name(),
            "instruction_sets": processor.instruction_sets(),
        }


def crowding(conditions: Sequence[Mapping[str, Any]]) -> float | None:
    """The largest load per core of a run's processes, at least 1: below it, no process waits; None if unknown."""
    found = [
        one["load_average"] / one["cores"]
        for one in conditions
        if one.get("load_average") is not None and one.get("cores")
    ]
    return max(1.0, *found) if found else None
