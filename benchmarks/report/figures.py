"""Look of all figures: styles of agents, legends, and the writing of a figure with its caption.

An agent whose card has a style has one colour in every figure of every report; another has one that is free in the
figure, if there is one. The colour-blind can tell the colours apart; markers, fills and dashes repeat the distinction
for grey print. Bounds and chance are grey, so that colour means "contender".
"""

import functools
import itertools
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from lethe.agents import registry
from lethe.agents.card import COLOURS
from lethe.benchmarks.report.comparison import agent_order, is_bound
from lethe.benchmarks.report.entries import Entry
from lethe.common.files import atomic_write, write_text

PALETTE = tuple(colour for name, colour in COLOURS.items() if name != "grey")
GREY, CHANCE_GREY = COLOURS["grey"], "#8C8C8C"
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
LEGEND_LINE_INCHES = 0.17
_PNG_DOTS_PER_INCH = 200


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


def file_name(text: str) -> str:
    """`text`, such as the name of an agent, as a part of the name of a file."""
    return re.sub(r"[^A-Za-z0-9_.-]", ".", text)[:80]


def write_figure(figure: Figure, out: Path, name: str, caption: str) -> list[Path]:
    """Write `name`.png, `name`.pdf and the caption, `name`.txt, into `out`; return their paths.

    No file has dates or versions: the same figure is the same bytes.
    """
    blank = {"png": ("Software",), "pdf": ("CreationDate", "Creator", "Producer")}
    paths = [out / f"{name}.{kind}" for kind in ("png", "pdf", "txt")]
    for path, (kind, keys) in zip(paths, blank.items(), strict=False):
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=_PNG_DOTS_PER_INCH, metadata=dict.fromkeys(keys, None))
        figure.set_layout_engine("none")  # made once, for both
    write_text(paths[-1], f"{caption}\n")
    return paths
