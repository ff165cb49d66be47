"""Plots of a search: validation accuracy against each hyperparameter, and heat maps where two were searched.

Only validation accuracy is shown, and every axis is labelled so.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from lethe.benchmarks.report.figures import (
    GREY,
    LEGEND_LINE_INCHES,
    LOOK,
    PALETTE,
    LineLook,
    Style,
    file_name,
    legend,
    legend_shape,
    line,
    write_figure,
)
from lethe.common.input_problems import first
from lethe.gridsearch.grid import searched, value_order
from lethe.gridsearch.selection import Candidate, Choice, settings_text

_ACCURACY = "validation accuracy (%)"
_PANEL_INCHES = (2.1, 1.9)
_COLUMNS = 4
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_ORDERS_OF_MAGNITUDE = 10
_CLOSEST = 0.08  # of an axis' length, between two of its ticks
_MOST_NAMED = 4  # values of which all candidates failed


def write_search_plots(choices: Sequence[Choice], out: Path) -> list[Path]:
    """Write search_<hyperparameter> for each that was searched and heat_<agent> for agents with two; return the paths.

    Each is a PNG and a PDF, with its caption, which says what failed, as text.
    """
    paths: list[Path] = []
    with matplotlib.rc_context(LOOK):
        for key in _keys(choices):
            own = [choice for choice in choices if key in _searched(choice)]
            paths += write_figure(profile_figure(own, key), out, f"search_{key}", _profile_caption(own, key))
        for agent in dict.fromkeys(choice.trial.agent for choice in choices if len(_searched(choice)) == 2):
            own = [
                choice for choice in choices if choice.trial.agent == agent and len(_searched(choice)) == 2
            ]
            paths += write_figure(heat_figure(own), out, f"heat_{file_name(agent)}", _heat_caption(own))
    return paths


def _profile_caption(choices: Sequence[Choice], key: str) -> str:
    return (
        f"Accuracy on validation images against {key}, average over tasks and mean over runs, all other settings at "
        "their best for each value; bars are standard errors of the mean. All panels have one vertical axis. A ring is "
        f"the chosen value, a cross one of which all candidates failed. {_failures(choices)}"
    )


def _heat_caption(choices: Sequence[Choice]) -> str:
    return (
        f"Accuracy of {choices[0].trial.agent} on validation images, average over tasks and mean over runs, for each "
        f"pair of values; the chosen pair is framed. {_failures(choices)}"
    )


def _failures(choices: Sequence[Choice]) -> str:
    """The candidates that failed, with the reasons."""
    told = [
        f"{choice.trial.agent}, {_place(choice)}, "
        f"{settings_text(found.trial, _searched(choice))}: {'; '.join(found.failed)}"
        for choice in choices
        for found in choice.ranking
        if found.failed
    ]
    return f"Failed: {' | '.join(first(told))}." if told else "No candidate failed."


def profile_figure(choices: Sequence[Choice], key: str) -> Figure:
    """A panel per agent: accuracy against the values of `key`, with the best of all other settings at each value."""
    shown = [choice for choice in choices if key in _searched(choice)]
    limits = _limits(shown, key)
    agents = list(dict.fromkeys(choice.trial.agent for choice in shown))
    labels = list(dict.fromkeys(_place(choice) for choice in shown))
    styles = {
        label: Style(
            PALETTE[index % len(PALETTE)], _MARKERS[index % len(_MARKERS)], filled=index < len(PALETTE)
        )
        for index, label in enumerate(labels)
    }
    columns = min(_COLUMNS, len(agents))
    rows = math.ceil(len(agents) / columns)
    width = max(_PANEL_INCHES[0] * columns, 3.4)
    handles = {label: Line2D([], [], **line(style)) for label, style in styles.items()}
    handles["chosen"] = Line2D([], [], **_RING)
    if any(candidate is None for choice in shown for _, candidate in profile(choice, key)):
        handles["all failed"] = Line2D([], [], **_CROSS)
    legend_columns, legend_rows = legend_shape(list(handles), width)
    height = _PANEL_INCHES[1] * rows + 0.3 + LEGEND_LINE_INCHES * legend_rows
    figure = Figure(figsize=(width + 0.3, height), layout="constrained")
    for index, agent in enumerate(agents):
        axes = figure.add_subplot(rows, columns, index + 1)
        own = [choice for choice in shown if choice.trial.agent == agent]
        _profile_panel(axes, own, key, styles)
        axes.set_ylim(limits)
        axes.set_title(agent, parse_math=False)
        axes.set_xlabel(key, parse_math=False)
        if index % columns == 0:
            axes.set_ylabel(f"{_ACCURACY},\nother settings at their best")
        else:
            axes.tick_params(labelleft=False)
    legend(figure, handles, legend_columns)
    return figure


def profile(choice: Choice, key: str) -> list[tuple[object, Candidate | None]]:
    """The values of `key`, small to large, each with the best candidate that has it; None where all of them failed."""
    found: dict[object, Candidate | None] = {}
    for candidate in choice.ranking:  # the best first
        value = candidate.trial.settings[key]
        found.setdefault(value, None)
        if found[value] is None and not candidate.failed:
            found[value] = candidate
    return sorted(found.items(), key=lambda item: value_order(item[0]))


def scale(values: Sequence[object]) -> str:
    """Scale of the axis of these values: "log" where that spaces them more evenly, "linear", or "names".

    Numbers that would crowd on either axis are spaced evenly, as names are.
    """
    numbers = _numbers(values)
    if numbers is None:
        return "names"
    numbers = sorted(set(numbers))
    if numbers[0] <= 0:
        return "linear"
    if len(numbers) < 3:
        return "log" if numbers[-1] / numbers[0] >= _ORDERS_OF_MAGNITUDE else "linear"
    axes = {"linear": np.array(numbers), "log": np.log(numbers)}
    kind = min(axes, key=lambda name: _unevenness(axes[name]))
    crowded = np.diff(axes[kind]).min() < _CLOSEST * np.ptp(axes[kind])
    return "names" if crowded else kind


def heat_figure(choices: Sequence[Choice]) -> Figure:
    """A panel per dataset and paradigm: the accuracy of every pair of values; the chosen pair is framed."""
    columns = min(_COLUMNS, len(choices))
    rows = math.ceil(len(choices) / columns)
    figure = Figure(
        figsize=(max(_PANEL_INCHES[0] * columns, 3.4) + 0.6, 1.9 * rows + 0.3), layout="constrained"
    )
    means = [found.accuracy for choice in choices for found in choice.ranking if not found.failed]
    limits = (min(means), max(means)) if means else (0.0, 100.0)
    panels = [figure.add_subplot(rows, columns, index + 1) for index in range(len(choices))]
    for axes, choice in zip(panels, choices, strict=True):
        image = _heat_panel(axes, choice, limits)
        axes.set_title(_place(choice), parse_math=False)
    figure.suptitle(choices[0].trial.agent, fontsize=8.5, parse_math=False)
    figure.colorbar(image, ax=panels, label=_ACCURACY)
    return figure


_RING: LineLook = {
    "linestyle": "",
    "marker": "o",
    "markersize": 8.5,
    "markerfacecolor": "none",
    "markeredgecolor": "#222222",
    "markeredgewidth": 0.9,
}


_CROSS: LineLook = {
    "linestyle": "",
    "marker": "x",
    "markersize": 5,
    "markeredgecolor": "#222222",
    "markeredgewidth": 1.2,
}


def _limits(choices: Sequence[Choice], key: str) -> tuple[float, float]:
    """Ends of the vertical axis of all panels: all means with their errors, and a margin."""
    stats = [candidate.validation for choice in choices for _, candidate in profile(choice, key) if candidate]
    ends = [
        stat.mean + sign * (stat.sem or 0.0) for stat in stats if stat.mean is not None for sign in (-1, 1)
    ]
    if not ends:
        return 0.0, 100.0
    margin = max(0.1 * (max(ends) - min(ends)), 0.5)
    return min(ends) - margin, max(ends) + margin


def _profile_panel(axes: Axes, choices: Sequence[Choice], key: str, styles: Mapping[str, Style]) -> None:
    profiles = {_place(choice): profile(choice, key) for choice in choices}
    values = sorted({value for points in profiles.values() for value, _ in points}, key=value_order)
    kind = scale(values)
    numbers = None if kind == "names" else _numbers(values)
    position = dict(zip(values, numbers or range(len(values)), strict=True))
    for choice, (label, points) in zip(choices, profiles.items(), strict=True):
        # None becomes NaN, which draws nothing.
        stats = [None if candidate is None else candidate.validation for _, candidate in points]
        mean = np.array([None if stat is None else stat.mean for stat in stats], np.float64)
        sem = np.array([None if stat is None else stat.sem for stat in stats], np.float64)
        axes.errorbar(
            [position[value] for value, _ in points], mean, yerr=sem,
            elinewidth=0.8, capsize=1.8, capthick=0.8, **line(styles[label]),
        )  # fmt: skip
        axes.plot(position[choice.trial.settings[key]], choice.ranking[0].accuracy, zorder=4, **_RING)
    if kind == "log":
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(NullFormatter())
    axes.set_xticks([position[value] for value in values], [_shown(value) for value in values])
    axes.margins(x=0.12)
    failed = sorted(
        {value for points in profiles.values() for value, candidate in points if candidate is None},
        key=value_order,
    )
    if failed:
        at = [position[value] for value in failed]
        axes.plot(at, [0.04] * len(at), transform=axes.get_xaxis_transform(), **_CROSS)
        names = ", ".join(map(_shown, failed[:_MOST_NAMED])) + (", ..." if len(failed) > _MOST_NAMED else "")
        axes.annotate(
            f"failed: {names}", (1, 1), (-2, -2), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="top", fontsize=6.5, color=GREY, parse_math=False,
        )  # fmt: skip
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _heat_panel(axes: Axes, choice: Choice, limits: tuple[float, float]) -> AxesImage:
    down, across = _searched(choice)
    values = [
        sorted({found.trial.settings[key] for found in choice.ranking}, key=value_order)
        for key in (down, across)
    ]
    table = np.full([len(own) for own in values], np.nan)
    for found in choice.ranking:
        row, place = (
            own.index(found.trial.settings[key]) for own, key in zip(values, (down, across), strict=True)
        )
        if not found.failed:
            table[row, place] = found.accuracy
        text = "failed" if found.failed else f"{found.accuracy:.1f}"
        dark = not found.failed and (found.accuracy - limits[0]) < 0.6 * (limits[1] - limits[0])
        axes.text(
            place, row, text, ha="center", va="center", fontsize=6.5, color="white" if dark else "black"
        )
        if found.trial == choice.trial:
            corner = (place - 0.5, row - 0.5)
            axes.add_patch(
                Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=2, clip_on=False)
            )
    image = axes.imshow(table, vmin=limits[0], vmax=limits[1], cmap="viridis", aspect="auto", origin="lower")
    axes.set_xticks(range(len(values[1])), [_shown(value) for value in values[1]])
    axes.set_yticks(range(len(values[0])), [_shown(value) for value in values[0]])
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    axes.spines[:].set_visible(False)
    return image


def _searched(choice: Choice) -> list[str]:
    return searched([candidate.trial for candidate in choice.ranking])


def _keys(choices: Sequence[Choice]) -> list[str]:
    return list(dict.fromkeys(key for choice in choices for key in _searched(choice)))


def _place(choice: Choice) -> str:
    return f"{choice.trial.spec.title} {choice.trial.paradigm}"


def _numbers(values: Sequence[object]) -> list[float] | None:
    """The values if all are numbers."""
    found = [
        float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return found if len(found) == len(values) else None


def _unevenness(positions: np.ndarray) -> float:
    gaps = np.diff(positions)
    return float(gaps.std() / gaps.mean())


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | str):
        return "none" if value is None else str(value).lower() if isinstance(value, bool) else value
    return f"{value:g}"
