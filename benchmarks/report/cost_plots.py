"""Plots of accuracy against memory, time and FLOPs, each point with its name, and the Pareto front marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from lethe.benchmarks.report.comparison import Comparison
from lethe.benchmarks.report.entries import Entry
from lethe.benchmarks.report.figures import (
    GREY,
    LEGEND_LINE_INCHES,
    LOOK,
    LineLook,
    Style,
    entry_styles,
    file_name,
    legend,
    legend_shape,
    line,
    write_figure,
)
from lethe.benchmarks.report.plots import best_of_agents
from lethe.benchmarks.report.point_names import name_points

_DECADE = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_BYTES = {0: "0"} | {
    number * 10.0**power: f"{number} {unit}"
    for power, unit in ((0, "B"), (3, "kB"), (6, "MB"), (9, "GB"))
    for number in _DECADE
}
_FLOPS = {0: "0"} | {
    number * 10.0**power: f"{number} {unit}FLOP"
    for power, unit in ((0, ""), (3, "k"), (6, "M"), (9, "G"), (12, "T"))
    for number in _DECADE
}
_SECONDS = {0: "0"} | {
    number * size: f"{number} {unit}"
    for size, unit, numbers in (
        (1, "s", (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)),
        (60, "min", (1, 2, 5, 10, 20, 30)),
        (3600, "h", (1, 2, 5, 10, 20, 50, 100)),
    )
    for number in numbers
}
_COSTS = {
    "memory_bytes": ("memory beyond the network", _BYTES),
    "seconds": ("training time per run", _SECONDS),
    "wall_seconds": ("wall time per run", _SECONDS),
    "learn_flops": ("FLOPs of learning per image", _FLOPS),
    "total_bytes": ("total memory", _BYTES),
}
"""By metric: the label of its axis, and the values that may be ticked."""
FIGURES = {"cost": ("memory_bytes", "seconds", "wall_seconds"), "pareto": ("learn_flops", "total_bytes")}
"""By the first part of a file's name: the costs that the figure shows, a row each."""
_MOST_TICKS = 3
_MARGIN = 1.6
_PANEL_INCHES = (2.5, 2.1)
_FRONT: LineLook = {"color": GREY, "linestyle": "--", "linewidth": 0.9}


def write_cost_plots(
    comparison: Comparison, out: Path, names: Sequence[str] = ("pareto",)
) -> tuple[list[Path], list[str]]:
    """Write `<name>_<dataset>` for each of `names` (keys of `FIGURES`), as PNG and PDF with its caption as text.

    Returns their paths, and a note on each figure that records without its costs leave out.
    """
    paths, missing = [], []
    shown, choice = best_of_agents(comparison)
    for dataset in comparison.datasets():
        for name in names:
            costs = recorded(comparison, dataset, name)
            absent = [_COSTS[metric][0] for metric in FIGURES[name] if metric not in costs]
            if absent and any(entry.finished for entry in comparison.entries if entry.dataset == dataset):
                missing.append(
                    f"{comparison.title(dataset)}: no plot of accuracy against {' and '.join(absent)}: "
                    "no record has it"
                )
            if costs:
                with matplotlib.rc_context(LOOK):
                    figure = cost_figure(shown, dataset, name)
                    caption = f"{_caption(comparison, dataset, costs)}{choice}"
                    paths += write_figure(figure, out, f"{name}_{file_name(dataset)}", caption)
    return paths, missing


def recorded(comparison: Comparison, dataset: str, name: str) -> list[str]:
    """The costs of the figure `name` that any record of `dataset` has."""
    entries = [entry for entry in comparison.entries if entry.dataset == dataset]
    return [metric for metric in FIGURES[name] if any(entry.stats[metric].runs for entry in entries)]


def cost_figure(comparison: Comparison, dataset: str, name: str) -> Figure:
    """A row for each cost of the figure `name` that is recorded, a column per paradigm; accuracy is a mean over tasks.

    Offline learners are shown, but are not part of the front.
    """
    costs = recorded(comparison, dataset, name)
    entries = [entry for entry in comparison.entries if entry.dataset == dataset and entry.finished]
    paradigms = [name for name in comparison.paradigms(dataset) if any(e.paradigm == name for e in entries)]
    styles = entry_styles(entries)
    handles = {label: Line2D([], [], **_point(style)) for label, style in styles.items()}
    handles["Pareto front"] = Line2D([], [], **_FRONT)
    width = max(_PANEL_INCHES[0] * len(paradigms) + 0.3, 3.4)
    legend_columns, legend_rows = legend_shape(list(handles), width)
    height = _PANEL_INCHES[1] * len(costs) + 0.3 + LEGEND_LINE_INCHES * legend_rows
    figure = Figure(figsize=(width, height), layout="constrained")
    for row, metric in enumerate(costs):
        for index, paradigm in enumerate(paradigms):
            axes = figure.add_subplot(len(costs), len(paradigms), row * len(paradigms) + index + 1)
            _panel(axes, [entry for entry in entries if entry.paradigm == paradigm], metric, styles)
            if row == 0:
                axes.set_title(paradigm, parse_math=False)
            if index == 0:
                axes.set_ylabel(
                    f"{comparison.title(dataset)}\n{comparison.split} accuracy (%)", parse_math=False
                )
    legend(figure, handles, legend_columns)
    return figure


def _caption(comparison: Comparison, dataset: str, costs: Sequence[str]) -> str:
    against = " and ".join(_COSTS[metric][0] for metric in costs)
    return (
        f"{comparison.title(dataset)}: accuracy on all classes seen so far, average over tasks, on {comparison.split} "
        f"images, against {against}; means over runs, bars are standard errors of the mean. The dashed line is the "
        "Pareto front: no other agent is at least as accurate at no greater cost. Learners from offline lists are "
        "bounds and no part of it."
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, accuracy) points that no other dominates, ascending in cost.

    A point dominates another if it is no worse in both and better in one; equal points do not dominate each other.
    """
    front = [
        index
        for index, (cost, accuracy) in enumerate(points)
        if not any(
            c <= cost and a >= accuracy and (c < cost or a > accuracy) for c, a in points
        )
    ]  # fmt: skip
    return sorted(front, key=lambda index: points[index])


def _panel(axes: Axes, entries: Sequence[Entry], metric: str, styles: Mapping[str, Style]) -> None:
    name, ticks = _COSTS[metric]
    points = [
        (entry, (cost, accuracy))
        for entry in entries
        if (cost := entry.stats[metric].mean) is not None
        and (accuracy := entry.stats["accuracy_mean"].mean) is not None
    ]
    contenders = [point for entry, point in points if not entry.offline]
    front = [contenders[index] for index in pareto_front(contenders)]
    if front:
        costs, accuracies = zip(*front, strict=True)
        axes.step(costs, accuracies, where="post", zorder=1, **_FRONT)
    for entry, (cost, accuracy) in points:
        axes.errorbar(
            cost, accuracy, yerr=entry.stats["accuracy_mean"].sem, elinewidth=0.8, capsize=1.8, capthick=0.8,
            **_point(styles[entry.label]),
        )  # fmt: skip
        if (cost, accuracy) in front:
            axes.plot(cost, accuracy, "o", markersize=9, markerfacecolor="none", markeredgecolor=GREY)
    _cost_axis(axes, [cost for _, (cost, _) in points], ticks)
    axes.margins(y=0.12)
    name_points(axes, {entry.label: point for entry, point in points}, _PANEL_INCHES)
    axes.set_xlabel(name)
    axes.grid(color="#E6E6E6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _cost_axis(axes: Axes, costs: Sequence[float], ticks: Mapping[float, str]) -> None:
    """Set a logarithmic axis with ticks on both sides of all points, and with zero if a cost is zero."""
    positive = [cost for cost in costs if cost > 0]
    shown = {0.0: ticks[0]} if len(positive) < len(costs) else {}
    if positive:
        first, last = min(positive), max(positive)
        below = [] if shown else [tick for tick in ticks if 0 < tick < first][-1:]
        above = [tick for tick in ticks if tick > last][:1]
        around = [*below, *(tick for tick in ticks if first <= tick <= last), *above]
        least, greatest = min([*below, first / _MARGIN]), max([*above, last * _MARGIN])
        shown |= {tick: ticks[tick] for tick in _spread(around, _MOST_TICKS)}
        if 0 in shown:
            axes.set_xscale("symlog", linthresh=least, linscale=0.5)
            axes.set_xlim(-least / 2, greatest)
        else:
            axes.set_xscale("log")
            axes.set_xlim(least, greatest)
    axes.set_xticks(list(shown), list(shown.values()))
    axes.xaxis.set_minor_locator(NullLocator())


def _spread(ticks: Sequence[float], most: int) -> list[float]:
    """At most `most` of `ticks`, the first and the last included."""
    places = np.linspace(0, len(ticks) - 1, min(most, len(ticks))).round().astype(int)
    return [ticks[place] for place in places]


def _point(style: Style) -> LineLook:
    return {**line(style), "linestyle": ""}
