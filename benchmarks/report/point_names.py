"""Names beside the points of a plot, placed so that they hide each other and the points as little as can be."""

import itertools
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from lethe.benchmarks.report.figures import GREY

_SIZE = 6.0
"""Of the names, in points of print, as all lengths here."""
_SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
"""(right, up) of a name from its point."""
_DISTANCES = (5, 12, 20)
_MARKER = 3
_LABELS_INCHES = (0.5, 0.6)
"""Part of a panel, (width, height), that the labels of its axes take."""

_Box = tuple[float, float, float, float]
"""Left, low, right, high."""


def name_points(
    axes: Axes, points: Mapping[str, tuple[float, float]], panel_inches: tuple[float, float]
) -> None:
    """Write its name beside each of `points`, in data coordinates; the limits of `axes` stay as they are.

    The places are found for a panel of `panel_inches`, because the real size is not known before the figure is drawn.
    """
    if not points:
        return
    size = [72 * (panel - labels) for panel, labels in zip(panel_inches, _LABELS_INCHES, strict=True)]
    to_panel = axes.transScale + axes.transLimits
    places = dict(
        zip(points, (to_panel.transform(list(points.values())) * np.array(size)).tolist(), strict=True)
    )
    taken: list[_Box] = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in places.values()]
    for label, (x, y) in sorted(places.items(), key=lambda item: (item[1], item[0])):
        distance, box = _place(x, y, 0.65 * _SIZE * len(label), 1.5 * _SIZE, taken, size)
        taken.append(box)
        line = {"arrowstyle": "-", "linewidth": 0.3, "color": GREY, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            label, points[label], (box[0] - x, box[1] - y), textcoords="offset points", fontsize=_SIZE,
            color="#222222", ha="left", va="bottom", parse_math=False, annotation_clip=False,
            arrowprops=line if distance > _DISTANCES[0] else None,
        ).set_in_layout(False)  # fmt: skip


def _place(
    x: float, y: float, width: float, height: float, taken: list[_Box], size: list[float]
) -> tuple[float, _Box]:
    """Distance and box of the name of the point (x, y) that hides least."""
    best, least = (0.0, (x, y, x, y)), float("inf")
    for distance, (right, up) in itertools.product(_DISTANCES, _SIDES):
        left, low = x + right * distance - (1 - right) / 2 * width, y + up * distance - (1 - up) / 2 * height
        box = (left, low, left + width, low + height)
        beyond = max(0, -left) + max(0, -low) + max(0, box[2] - size[0]) + max(0, box[3] - size[1])
        hidden = sum(_common(box, other) for other in taken) + 10 * beyond + 0.01 * distance
        if hidden < least:
            best, least = (distance, box), hidden
    return best


def _common(box: _Box, other: _Box) -> float:
    """Area that two boxes share."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
