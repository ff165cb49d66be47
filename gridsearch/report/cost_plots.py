"""Plots of accuracy on test images against memory and against time, with the Pareto front marked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from lethe.benchmarks.report.comparison import Comparison, Entry
from lethe.benchmarks.report.plots import (  # fmt: skip
    GREY,
    LEGEND_LINE_INCHES,
    LOOK,
    LineLook,
    Style,
    entry_styles,
    legend,
    legend_shape,
    line,
    save,
)
from lethe.benchmarks.report.tables import dataset_title

_BYTES = {0: "0"} | {
    number * 10.0**power: f"{number} {unit}"
    for power, unit in ((0, "B"), (3, "kB"), (6, "MB"), (9, "GB"))
    for number in (1, 2, 5, 10, 20, 50, 100, 200, 500)
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
}
"""By metric: the label of its axis, and the values that may be ticked."""
_MOST_TICKS = 3
_MARGIN = 1.6
_PANEL_INCHES = (2.1, 1.8)
_FRONT: LineLook = {"color": GREY, "linestyle": "--", "linewidth": 0.9}


def write_cost_plots(comparison: Comparison, out: Path) -> list[Path]:
    """Write cost_<dataset> as PNG and PDF for every dataset with a finished run; return their paths."""
    paths = []
    for dataset in comparison.datasets():
        if any(entry.finished for entry in comparison.entries if entry.dataset == dataset):
            with matplotlib.rc_context(LOOK):
                figure = cost_figure(comparison, dataset)
                paths += [save(figure, out / f"cost_{dataset}.{kind}") for kind in ("png", "pdf")]
    return paths


def cost_figure(comparison: Comparison, dataset: str) -> Figure:
    """A row for memory and for each time recorded, a column per paradigm; accuracy is averaged over tasks.

    Offline learners are shown, but are not part of the front.
    """
    entries = [entry for entry in comparison.entries if entry.dataset == dataset and entry.finished]
    paradigms = [name for name in comparison.paradigms(dataset) if any(e.paradigm == name for e in entries)]
    costs = [metric for metric in _COSTS if any(entry.stats[metric].runs for entry in entries)]
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
                axes.set_ylabel(f"{dataset_title(dataset)}\ntest accuracy (%)", parse_math=False)
    legend(figure, handles, legend_columns)
    return figure


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
