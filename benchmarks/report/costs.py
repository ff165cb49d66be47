"""Tables of needs and costs: what each agent keeps, and what an image of the stream costs it.

docs/costs.md defines each column.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lethe.benchmarks.records.conditions import crowding
from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.entries import Entry
from lethe.benchmarks.report.tables import ABSENT, Table, entries_of, format_bytes, format_seconds

UNLIKE = 1.5
"""Largest factor by which speed, or load, may differ between the runs of a mean that is not marked."""
MARK = " ‡"

_NEEDS = {
    "task_boundaries": "task boundaries",
    "task_data": "task data again",
    "frozen_trunk": "frozen trunk",
    "offline": "offline lists",
}
_KEPT = {
    "memory_bytes": "memory",
    "network_bytes": "network",
    "optimizer_bytes": "optimiser",
    "data_bytes": "data",
    "total_bytes": "total",
}


def cost_tables(comparison: Comparison, dataset: str) -> list[Table]:
    """What each agent needs and keeps, and what it costs; ranges where paradigms differ."""
    return [_memory_table(comparison, dataset), _compute_table(comparison, dataset)]


def instruction_set_notes(entries: Sequence[Entry]) -> Iterable[str]:
    """Notes on trials whose runs were made with different instruction sets: their last bits differ for that."""
    for entry in entries:
        runs = defaultdict(list)
        for run, processes in entry.processes.items():
            sets = dict.fromkeys(filter(None, map(_sets, processes)))
            if sets:
                runs[", then ".join(sets)].append(str(run))
        if len(runs) > 1:
            shown = "; ".join(f"{sets} (run {', '.join(numbers)})" for sets, numbers in runs.items())
            yield f"{entry.label}: runs with different instruction sets, which differ for that too: {shown}"


def format_brief(seconds: float) -> str:
    """A short duration: `0 s`, `35 µs`, `1.4 ms`, `2.5 s`."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if 0 < seconds * factor < 999.5:
            return _digits(seconds * factor, unit)
    return _digits(seconds, "s")


def format_flops(flops: float) -> str:
    """FLOPs in decimal units: `0`, `51 k`, `7.4 M`, `1.2 G`."""
    for unit in ("", "k", "M", "G", "T"):
        if flops < 999.5 or unit == "T":
            break
        flops /= 1000
    return _digits(flops, unit)


def _memory_table(comparison: Comparison, dataset: str) -> Table:
    header = ("agent", *_NEEDS.values(), *_KEPT.values(), "runs")
    lines = []
    for label, entries in entries_of(comparison, dataset).items():
        needs = [_need(entries, need) for need in _NEEDS]
        kept = [_span(entries, metric, format_bytes) for metric in _KEPT]
        lines.append((label, *needs, *kept, _runs(comparison, entries)))
    caption = (
        "Needs, and bytes kept at the end: memory beyond the network's parameters, the network, the optimiser's state, "
        "data handed to an offline learner, and their total; ranges span the paradigms"
    )
    return Table("memory", caption, header, tuple(lines))


def _compute_table(comparison: Comparison, dataset: str) -> Table:
    header = (
        "agent", "passes", "learning time", "trunk time", "learning FLOPs", "prediction FLOPs", "training time",
        "wall time", "runs",
    )  # fmt: skip
    lines = []
    notes: list[str] = []
    for label, entries in entries_of(comparison, dataset).items():
        unlike = [f"{label}, {entry.paradigm}: {how}" for entry in entries if (how := _unlike(entry))]
        notes += unlike
        mark = MARK if unlike else ""
        costs = (
            _passes(entries),
            _span(entries, "learn_seconds_per_image", format_brief, mark),
            _span(entries, "trunk_seconds_per_image", format_brief),
            _span(entries, "learn_flops", format_flops),
            _span(entries, "predict_flops", format_flops),
            _span(entries, "seconds", format_seconds, mark),
            _span(entries, "wall_seconds", format_seconds, mark),
            _runs(comparison, entries),
        )
        lines.append((label, *costs))
    caption = (
        "Cost: passes over the stream's images; per image of the stream, time of learning, time of the frozen trunk, "
        "and FLOPs; time of a run, learning alone and on the wall; ranges span the paradigms"
    )
    told = [f"‡: runs under conditions that differ by more than a factor of {UNLIKE}: {'; '.join(notes)}"]
    sets = instruction_set_notes([entry for entry in comparison.entries if entry.dataset == dataset])
    return Table("cost", caption, header, tuple(lines), (*(told if notes else ()), *sets))


def _unlike(entry: Entry) -> str:
    """In what the conditions of an entry's runs differ by more than `UNLIKE`; empty if in nothing."""
    speeds = _apart(run.get("learn_seconds_per_image") for run in entry.numbers.values())
    loads = _apart(crowding(processes) for processes in entry.processes.values())
    found = [f"{format_brief(speeds[0])} to {format_brief(speeds[1])} an image"] if speeds else []
    found += [f"load {loads[0]:.1f} to {loads[1]:.1f} per core"] if loads else []
    return ", ".join(found)


def _apart(values: Iterable[float | None]) -> tuple[float, float] | None:
    """The least and the greatest of the known values, if they differ by more than `UNLIKE`."""
    known = [value for value in values if value]
    return (min(known), max(known)) if known and max(known) > UNLIKE * min(known) else None


def _need(entries: Sequence[Entry], need: str) -> str:
    """Whether the agent has the need; of task data, how many images of a run it was handed once more."""
    if not entries[0].needs.get(need):
        return "no"
    again = _span(entries, "images_again", "{:,.0f}".format) if need == "task_data" else ABSENT
    return "yes" if again == ABSENT else f"{again} images"


def _passes(entries: Sequence[Entry]) -> str:
    """`1`, or `2.8 (first task 10)` where the first task is passed over more or less often."""
    first = _span(entries, "passes_first_task", "{:g}".format)
    passes = _span(entries, "passes", lambda value: f"{value:.3g}")
    return passes if first in (passes, ABSENT) else f"{passes} (first task {first})"


def _span(entries: Sequence[Entry], metric: str, show: Callable[[float], str], mark: str = "") -> str:
    means = sorted(mean for entry in entries if (mean := entry.stats[metric].mean) is not None)
    if not means:
        return ABSENT
    least, greatest = show(means[0]), show(means[-1])
    return (least if least == greatest else f"{least} – {greatest}") + mark


def _runs(comparison: Comparison, entries: Sequence[Entry]) -> str:
    """`4`, or `3/4` where a run is missing."""
    finished = sum(len(entry.finished) for entry in entries)
    expected = sum(comparison.expected_runs(entry.dataset, entry.paradigm) for entry in entries)
    return str(finished) if finished == expected else f"{finished}/{expected}"


def _sets(process: Mapping[str, Any]) -> str:
    """The instruction sets of a process as text, which nothing in a record can break."""
    sets = process.get("instruction_sets") or {}
    return re.sub(r"[^\w ,.+-]", "", ", ".join(f"{library} {used}" for library, used in sorted(sets.items())))


def _digits(value: float, unit: str) -> str:
    """`value` to two digits, or to all before the point."""
    text = f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"
    return f"{text} {unit}".strip()
