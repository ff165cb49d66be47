"""The paradigm plot: a panel per paradigm, a row per dataset, accuracy against task with standard errors.

An agent whose card has a style has one colour in every figure of every report; another has one that is free in the
figure, if there is one. The colour-blind can tell the colours apart; markers, fills and dashes repeat the distinction
for grey print. Bounds and chance are grey, so that colour means "contender".
"""

import functools
import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from lethe.agents import registry
from lethe.agents.card import COLOURS
from lethe.benchmarks.report.comparison import Comparison, Entry, agent_order, chance_level, is_bound
from lethe.benchmarks.report.tables import dataset_title
from lethe.common.files import atomic_write

FIGURES = {
    "paradigms": ("accuracy", "accuracy on classes seen (%)"),
    "first_task": ("first_task", "accuracy on first task (%)"),
}
"""File name: the curve it shows, and the label of its y axis."""

PALETTE = tuple(colour for name, colour in COLOURS.items() if name != "grey")
GREY, _CHANCE_GREY = COLOURS["grey"], "#8C8C8C"
_SOLID: LineStyleType = "-"
_DASHED: LineStyleType = (0, (4, 1.5))
_DASH_DOT: LineStyleType = (0, (5, 1.5, 1, 1.5))
_LINES: Mapping[str, LineStyleType] = {"solid": _SOLID, "dashed": _DASHED, "dash-dotted": _DASH_DOT}
_SPARE_MARKERS = ("p", "h", "8", "<", ">", "d", "*", "H")


@dataclass(frozen=True)
class Style:
    """Look of a curve."""

    colour: str
    marker: str
    dashes: LineStyleType = _SOLID
    filled: bool = True


class LineLook(TypedDict, total=False):
    """Keyword arguments of matplotlib for a line and its markers; sizes and widths in points."""

    color: str
    linestyle: LineStyleType
    linewidth: float
    marker: str
    markersize: float
    markeredgewidth: float
    markeredgecolor: str
    markerfacecolor: str


@functools.cache
def known_styles() -> Mapping[str, Style]:
    """The style of each registered agent whose card has one."""
    cards = {name: registry.card(name).style for name in registry.AGENTS}
    return MappingProxyType(
        {
            name: Style(COLOURS[style.colour], style.marker, _LINES[style.line], style.filled)
            for name, style in cards.items()
            if style is not None
        }
    )


# Set for the drawing alone, so that figures look the same whatever the user's own matplotlib settings are.
LOOK = {
    **{key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")},
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,  # TrueType; conferences refuse matplotlib's default, Type 3
}
PANEL_INCHES = (1.72, 1.75)
LEGEND_LINE_INCHES = 0.17
_PNG_DOTS_PER_INCH = 200
_LONGEST_NAMES = 24  # signs above a panel


def write_plots(comparison: Comparison, out: Path) -> list[Path]:
    """Write paradigms.png, paradigms.pdf, first_task.png and first_task.pdf into `out`; return their paths.

    The same comparison gives the same bytes. matplotlib's global settings are the same after the call.
    """
    paths = []
    for name, (curve, label) in FIGURES.items():
        with matplotlib.rc_context(LOOK):
            figure = paradigm_figure(comparison, curve, label)
            paths += [save(figure, out / f"{name}.png"), save(figure, out / f"{name}.pdf")]
    return paths


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
                _name_row(axes, f"{dataset_title(dataset)}\n{label}", has_place=paradigm == paradigms[0])
            else:
                axes.tick_params(labelleft=False)
    handles = {label: Line2D([], [], **line(style)) for label, style in styles.items()}
    handles["chance"] = Line2D([], [], color=_CHANCE_GREY, linestyle=":", linewidth=1.2)
    legend(figure, handles, legend_columns)
    return figure


def entry_styles(entries: Sequence[Entry]) -> dict[str, Style]:
    """The style of every label, in the order of the legend.

    The colour is the agent's. Several configurations of one agent differ in marker and dashes.
    """
    styles: dict[str, Style] = {}
    own = _agent_styles({entry.agent for entry in entries if not is_bound(entry)})
    for entry in sorted(entries, key=agent_order):
        if entry.label in styles:
            continue
        style = replace(agent_style(entry.agent), colour=GREY) if is_bound(entry) else own[entry.agent]
        spares = (
            Style(style.colour, marker, dashes, filled)
            for filled, dashes in ((True, _DASH_DOT), (False, _DASHED), (True, _SOLID), (False, _SOLID))
            for marker in _SPARE_MARKERS
        )
        taken = set(styles.values())
        styles[entry.label] = next((s for s in itertools.chain([style], spares) if s not in taken), style)
    return styles


def _agent_styles(agents: AbstractSet[str]) -> dict[str, Style]:
    """The style of each agent; without one on its card, with a colour that no other of them has if one is left."""
    known = known_styles()
    styles = {agent: known[agent] for agent in agents & known.keys()}
    taken = {style.colour for style in styles.values()}
    for agent in sorted(agents - known.keys()):
        style = agent_style(agent)
        at = PALETTE.index(style.colour)
        colour = next((c for c in (*PALETTE[at:], *PALETTE[:at]) if c not in taken), style.colour)
        taken.add(colour)
        styles[agent] = replace(style, colour=colour)
    return styles


def agent_style(agent: str) -> Style:
    """An agent's style; without one on a card, it depends on its name alone."""
    if agent in known_styles():
        return known_styles()[agent]
    number = zlib.crc32(agent.encode())
    number, colour = divmod(number, len(PALETTE))
    return Style(PALETTE[colour], _SPARE_MARKERS[number % len(_SPARE_MARKERS)])


def _panel(
    axes: Axes, comparison: Comparison, dataset: str, paradigm: str, curve: str, styles: Mapping[str, Style]
) -> None:
    entries = comparison.select(dataset, paradigm)
    chance = chance_level(entries)
    axes.plot(
        _tasks(chance), chance, color=_CHANCE_GREY, linestyle=":", linewidth=1.2, label="chance", zorder=1
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


def line(style: Style) -> LineLook:
    """The arguments with which matplotlib draws a curve of that style."""
    return {
        "color": style.colour,
        "linestyle": style.dashes,
        "linewidth": 1.2,
        "marker": style.marker,
        "markersize": 4,
        "markeredgewidth": 0.9,
        "markerfacecolor": style.colour if style.filled else "white",
    }


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


def legend_shape(labels: Sequence[str], width_inches: float) -> tuple[int, int]:
    """(columns, rows) of a legend that fits under a figure of that width."""
    entry_inches = 0.55 + 0.068 * max(len(label) for label in labels)
    columns = max(1, min(len(labels), int(width_inches / entry_inches)))
    rows = math.ceil(len(labels) / columns)
    return math.ceil(len(labels) / rows), rows


def legend(figure: Figure, handles: Mapping[str, Line2D], columns: int) -> None:
    """Draw a legend of `handles`, by label, under a figure."""
    # Numbers first, names after: matplotlib drops labels that start with "_" and sets "$...$" as mathematics.
    drawn = figure.legend(
        list(handles.values()), [str(number) for number in range(len(handles))], loc="outside lower center",
        ncols=columns, frameon=False, handlelength=2.6, columnspacing=1.4, labelspacing=0.35, borderpad=0.2,
    )  # fmt: skip
    for text, label in zip(drawn.get_texts(), handles, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def save(figure: Figure, path: Path) -> Path:
    """Write without dates or versions: the same figure is the same bytes."""
    blank = {"png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}
    kind = path.suffix.removeprefix(".")
    with atomic_write(path) as temporary:
        figure.savefig(
            temporary, format=kind, dpi=_PNG_DOTS_PER_INCH, metadata=dict.fromkeys(blank[kind], None)
        )
    return path
