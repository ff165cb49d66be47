"""The paradigm plot: a panel per paradigm, a row per dataset, accuracy against task with standard errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lethe.benchmarks.report.comparison import Comparison, chance_level, is_bound
from lethe.benchmarks.report.entries import Entry
from lethe.benchmarks.report.figures import (
    CHANCE_GREY,
    GREY,
    LEGEND_LINE_INCHES,
    LOOK,
    Style,
    entry_styles,
    legend,
    legend_shape,
    line,
    write_figure,
)

FIGURES = {
    "paradigms": ("accuracy", "accuracy on classes seen (%)"),
    "first_task": ("first_task", "accuracy on first task (%)"),
    "top5": ("top5", "top-5 accuracy on classes seen (%)"),
}
"""File name: the curve it shows, and the label of its y axis."""

PANEL_INCHES = (1.72, 1.75)
_MOST_CURVES = 20
"""Curves that a figure can hold; where there are more trials, it shows the best one of each agent."""
_TOP = 5  # guesses of top-5
_LONGEST_NAMES = 24  # signs above a panel


def write_plots(comparison: Comparison, out: Path) -> list[Path]:
    """Write the figures into `out`, each as PNG and PDF with its caption as text; return their paths.

    That of top-5 is left out where it was not measured.

    The same comparison gives the same bytes. matplotlib's global settings are the same after the call.
    """
    paths: list[Path] = []
    shown, choice = best_of_agents(comparison)
    for name, (curve, label) in FIGURES.items():
        if not any(stat.runs for entry in comparison.entries for stat in entry.curves[curve]):
            continue
        with matplotlib.rc_context(LOOK):
            figure = paradigm_figure(shown, curve, label)
            paths += write_figure(figure, out, name, f"{_caption(shown, label)}{choice}")
    return paths


def best_of_agents(comparison: Comparison) -> tuple[Comparison, str]:
    """What a figure can hold of `comparison`, and a sentence on what is left out.

    All of it, if its trials are few; else, for each dataset, paradigm and agent, the trial with the best mean accuracy,
    by the agent's name.
    """
    if len({entry.label for entry in comparison.entries if entry.finished}) <= _MOST_CURVES:
        return comparison, ""
    best: dict[tuple[str, ...], Entry] = {}
    for entry in comparison.entries:
        place = (entry.dataset, entry.paradigm, entry.agent, entry.source)
        if entry.finished and (place not in best or _accuracy(entry) > _accuracy(best[place])):
            best[place] = entry
    named = [
        replace(entry, label=f"{entry.agent} ({entry.source})" if entry.source else entry.agent)
        for entry in best.values()
    ]
    chosen = "; ".join(f"{entry.dataset}/{entry.paradigm}: {entry.label}" for entry in best.values())
    sentence = (
        f" Of the {len(comparison.entries)} trials each agent's best is shown, by the mean of this accuracy on these "
        f"images, which is optimistic; the tables have all. Shown: {chosen}."
    )
    return replace(comparison, entries=tuple(named)), sentence


def _accuracy(entry: Entry) -> float:
    mean = entry.stats["accuracy_mean"].mean
    return -math.inf if mean is None else mean


def _caption(comparison: Comparison, label: str) -> str:
    datasets = ", ".join(comparison.title(dataset) for dataset in comparison.datasets())
    runs = "; ".join(
        f"{dataset}/{paradigm}: {comparison.expected_runs(dataset, paradigm)}"
        for dataset in comparison.datasets()
        for paradigm in comparison.paradigms(dataset)
    )
    return (
        f"{datasets}: {label} after each task, on {comparison.split} images. Means over runs ({runs}); bars are "
        "standard errors of the mean. Grey curves are bounds, learners without any measure against forgetting and "
        "learners from all data; the dotted line is the accuracy of guessing among the classes seen."
    )


def paradigm_figure(comparison: Comparison, curve: str, label: str) -> Figure:
    """Draw `curve` (a name of `comparison.CURVES`): one row per dataset, one column per paradigm."""
    datasets = comparison.datasets()
    paradigms = comparison.paradigms(*datasets)
    styles = entry_styles([entry for entry in comparison.entries if entry.finished])
    width = max(PANEL_INCHES[0] * len(paradigms) + 0.5, 3.4)
    legend_columns, legend_rows = legend_shape([*styles, "chance"], width)
    height = (PANEL_INCHES[1] + 0.25) * len(datasets) + 0.2 + LEGEND_LINE_INCHES * legend_rows

    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.add_gridspec(len(datasets), len(paradigms))
    for row, dataset in enumerate(datasets):
        own = comparison.paradigms(dataset)
        for paradigm in own:
            axes = figure.add_subplot(grid[row, paradigms.index(paradigm)])
            _panel(axes, comparison, dataset, paradigm, curve, styles)
            if paradigm == own[0]:
                _name_row(axes, f"{comparison.title(dataset)}\n{label}", has_place=paradigm == paradigms[0])
            else:
                axes.tick_params(labelleft=False)
    handles = {label: Line2D([], [], **line(style)) for label, style in styles.items()}
    handles["chance"] = Line2D([], [], color=CHANCE_GREY, linestyle=":", linewidth=1.2)
    legend(figure, handles, legend_columns)
    return figure


def _panel(
    axes: Axes, comparison: Comparison, dataset: str, paradigm: str, curve: str, styles: Mapping[str, Style]
) -> None:
    entries = comparison.select(dataset, paradigm)
    chance = chance_level(entries, _TOP if curve == "top5" else 1)
    axes.plot(
        _tasks(chance), chance, color=CHANCE_GREY, linestyle=":", linewidth=1.2, label="chance", zorder=1
    )
    for entry in entries:
        if entry.finished:
            _curve(axes, entry, curve, styles[entry.label])
    axes.set_title(paradigm, parse_math=False, pad=13)
    axes.annotate(
        _runs_shown(entries, comparison.expected_runs(dataset, paradigm)),
        (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
        ha="center", va="bottom", fontsize=6.5, color=GREY, parse_math=False,
    )  # fmt: skip
    axes.set_xlabel("task")
    axes.set_ylim(0, 100)
    axes.set_yticks(range(0, 101, 20))
    _task_axis(axes, len(chance))
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _name_row(axes: Axes, text: str, has_place: bool) -> None:
    """Write the y axis' label; beside an empty panel it hangs into that, and no room is made for it."""
    label = axes.annotate(
        text, (0, 0.5), (-26, 0), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", rotation="vertical", multialignment="center", parse_math=False,
    )  # fmt: skip
    label.set_in_layout(has_place)


def _curve(axes: Axes, entry: Entry, curve: str, style: Style) -> None:
    stats = entry.curves[curve]
    # None becomes NaN, which draws nothing: a gap is honest, a zero is not.
    mean = np.array([stat.mean for stat in stats], np.float64)
    sem = np.array([stat.sem for stat in stats], np.float64)
    every = _tick_step(len(stats))
    axes.errorbar(
        _tasks(mean), mean, yerr=sem, label=entry.label, zorder=2 if is_bound(entry) else 3,
        markevery=every, errorevery=every, elinewidth=0.8, capsize=1.8, capthick=0.8, clip_on=False,
        **line(style),
    )  # fmt: skip


def _tasks(values: np.ndarray) -> np.ndarray:
    return np.arange(1, len(values) + 1)


def _task_axis(axes: Axes, tasks: int) -> None:
    """Set a tick at every task from 1, and numbers at those that have a marker."""
    axes.set_xlim(0.7, max(tasks, 1) + 0.3)
    axes.set_xticks(range(1, tasks + 1, _tick_step(tasks)))
    axes.set_xticks(range(1, tasks + 1), minor=True)


def _tick_step(tasks: int) -> int:
    """Tasks from one marker to the next: all up to ten, then as many as stay apart in print."""
    return max(1, math.ceil(tasks / 10))


def _runs_shown(entries: Sequence[Entry], expected: int) -> str:
    """Number of runs of a panel's curves, and the agents that have fewer."""
    fewer = [f"{entry.label}: {len(entry.finished)}" for entry in entries if len(entry.finished) < expected]
    runs = f"{expected} run{'s' * (expected != 1)}"
    names = ", ".join(fewer)
    if len(names) > _LONGEST_NAMES:
        names = f"{len(fewer)} agent{'s' * (len(fewer) != 1)}: fewer"
    return f"{runs} ({names})" if fewer else runs
