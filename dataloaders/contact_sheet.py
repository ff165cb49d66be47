"""A contact sheet: images from the stream of each task, which shows how paradigms differ.

A row is a task. Its two ribbons are the whole task, in the order in which it is learned, from left to right:
the upper one has the colour of each image's class, the lower one changes its shade wherever the next image
is of another session. Below are a few stretches of consecutive images, evenly spaced over the task.
"""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from lethe.common.files import atomic_write
from lethe.common.input_problems import raise_any
from lethe.dataloaders.index.spec import Dataset
from lethe.dataloaders.stores.decode import Undecodable, decode, leaving
from lethe.dataloaders.tasks import paradigms

STRETCHES = 4
"""Stretches of consecutive images per task."""
STRETCH_IMAGES = 6

_THUMB = 64  # pixels a side
_BORDER = 4
_CELL = _THUMB + 2 * _BORDER
_PITCH = _CELL + 3
_STRETCH_GAP = 22
_STRETCH = STRETCH_IMAGES * _PITCH - 3
_MARGIN = 20
_LEFT = 120  # where images begin; the task's name stands before
_WIDTH = STRETCHES * _STRETCH + (STRETCHES - 1) * _STRETCH_GAP
_RIBBON = 12
_LABEL = 15
_ROW = 2 * _RIBBON + 6 + _CELL + _LABEL + 20
_LEGEND_COLUMN, _LEGEND_LINE = 170, 20
_INK, _PALE, _PAPER = (30, 30, 30), (110, 110, 110), (255, 255, 255)
_SHADES = ((70, 70, 70), (200, 200, 200))
_LONGEST_NAME = 22  # signs in the legend

# Distinct at a glance (Tableau's ten and their pale twins); more classes than these get evenly spread hues.
_COLOURS = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Which:
    """The lists to show."""

    paradigm: str
    run: int
    mode: str
    variant: str


def draw(dataset: Dataset, dirmap: pd.DataFrame, images: Path, which: Which) -> Image.Image:
    """The sheet of the tasks that `dirmap` makes; `images` is the folder that its paths start from.

    Raises `InputError` for lists that cannot be made, and with every image shown that is missing or broken.
    """
    split = paradigms.split(dirmap, dataset)
    schedule = paradigms.schedule(split, dataset, which.paradigm, which.run, which.mode, which.variant)
    colours = _colours(len(split.classes))
    places = [_places(len(rows)) for rows in schedule.tasks]
    shown = [rows[np.concatenate(chosen)] for rows, chosen in zip(schedule.tasks, places, strict=True)]
    if dataset.confined:
        raise_any(leaving(images, dirmap["im_path"].tolist(), dataset.confined))
    thumbs = _thumbs(images, dirmap["im_path"].to_numpy(object), np.concatenate(shown))
    captions = _captions(dirmap)

    columns = max(1, (_LEFT + _WIDTH) // _LEGEND_COLUMN)
    legend = -(-len(split.classes) // columns) * _LEGEND_LINE
    top = 110 + legend
    sheet = Image.new(
        "RGB", (_LEFT + _WIDTH + 2 * _MARGIN, top + len(schedule.tasks) * _ROW + _MARGIN), _PAPER
    )
    page = ImageDraw.Draw(sheet)
    _heading(page, dataset, which)
    _legend(page, [_name(dataset, split.classes[code]) for code in np.argsort(schedule.labels)],
            [colours[code] for code in np.argsort(schedule.labels)], columns)  # fmt: skip
    for task, (rows, chosen) in enumerate(zip(schedule.tasks, places, strict=True)):
        y = top + task * _ROW
        codes = split.class_code[rows]
        _task_name(page, y, task, rows, len(np.unique(codes)))
        if not len(rows):
            continue
        _ribbon(sheet, y, np.array(colours, np.uint8)[codes])
        changes = np.cumsum(np.diff(split.instance[rows], prepend=split.instance[rows[0]]) != 0)
        _ribbon(sheet, y + _RIBBON, np.array(_SHADES, np.uint8)[changes % 2])
        for stretch, run in enumerate(chosen):
            for number, row in enumerate(rows[run]):
                x = _MARGIN + _LEFT + stretch * (_STRETCH + _STRETCH_GAP) + number * _PITCH
                _cell(sheet, page, (x, y + 2 * _RIBBON + 6), thumbs[int(row)],
                      colours[split.class_code[row]], captions[row])  # fmt: skip
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write the sheet as PNG, atomically."""
    with atomic_write(path) as temporary:
        sheet.save(temporary, format="PNG")


def _places(count: int) -> list[np.ndarray]:
    """Places of the images shown of a task of `count`: stretches that do not overlap."""
    if count <= STRETCHES * STRETCH_IMAGES:
        return np.split(np.arange(count), range(STRETCH_IMAGES, count, STRETCH_IMAGES))
    starts = np.linspace(0, count - STRETCH_IMAGES, STRETCHES).astype(int)
    return [np.arange(start, start + STRETCH_IMAGES) for start in starts]


def _thumbs(folder: Path, paths: np.ndarray, rows: np.ndarray) -> dict[int, Image.Image]:
    """A thumbnail for each of the rows."""
    thumbs, problems = {}, []
    for row in dict.fromkeys(rows.tolist()):
        try:
            thumbs[row] = Image.fromarray(decode(folder / paths[row], (_THUMB, _THUMB)))
        except Undecodable as error:
            problems.append(str(error))
    raise_any(problems)
    return thumbs


def _captions(dirmap: pd.DataFrame) -> list[str]:
    """Object and session of each row; empty if classes are not made of objects."""
    if dirmap["object"].nunique() == 1:
        return [""] * len(dirmap)
    return [f"o{o} s{s}" for o, s in zip(dirmap["object"], dirmap["session"], strict=True)]


def _colours(count: int) -> list[Colour]:
    if count <= len(_COLOURS):
        return [_colour(bytes.fromhex(colour[1:])) for colour in _COLOURS[:count]]
    values = (
        colorsys.hsv_to_rgb(k / count, (0.9, 0.5, 0.75)[k % 3], (0.85, 0.95, 0.6)[k % 3])
        for k in range(count)
    )
    return [_colour(round(255 * part) for part in value) for value in values]


def _colour(parts: Iterable[int]) -> Colour:
    red, green, blue = parts
    return red, green, blue


def _name(dataset: Dataset, class_: int | str) -> str:
    """The name of a class, on one short line."""
    name = str(class_)
    if isinstance(class_, int | np.integer) and 0 < class_ <= len(dataset.classes):
        name = dataset.classes[class_ - 1]
    return "".join(sign if sign.isprintable() else "?" for sign in name)[:_LONGEST_NAME]


def _heading(page: ImageDraw.ImageDraw, dataset: Dataset, which: Which) -> None:
    title = f"{dataset.title}: {which.paradigm}"
    page.text((_MARGIN, 14), title, fill=_INK, font=ImageFont.load_default(26))
    text = (
        f"run {which.run}, {which.mode}, {which.variant} lists.  Ribbons: the whole task in its order, by class "
        f"(colours) and by session (a change of shade).  Images: {STRETCHES} stretches of it, with o(bject) and "
        f"s(ession)."
    )
    page.text((_MARGIN, 50), text, fill=_PALE, font=ImageFont.load_default(14))


def _legend(page: ImageDraw.ImageDraw, names: Sequence[str], colours: Sequence[Colour], columns: int) -> None:
    """The classes in the order in which the tasks show them."""
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        x, y = _MARGIN + k % columns * _LEGEND_COLUMN, 82 + k // columns * _LEGEND_LINE
        page.rectangle((x, y, x + 12, y + 12), fill=colour)
        page.text((x + 18, y - 2), name, fill=_INK, font=ImageFont.load_default(14))


def _task_name(page: ImageDraw.ImageDraw, y: int, task: int, rows: np.ndarray, classes: int) -> None:
    page.text((_MARGIN, y - 4), f"task {task}", fill=_INK, font=ImageFont.load_default(18))
    text = f"{len(rows)} images" + (f"\n{classes} class{'es' * (classes > 1)}" if len(rows) else "")
    page.multiline_text((_MARGIN, y + 22), text, fill=_PALE, font=ImageFont.load_default(13))


def _ribbon(sheet: Image.Image, y: int, colours: np.ndarray) -> None:
    """A strip whose colours, uint8 [N, 3], run from left to right."""
    columns = colours[np.arange(_WIDTH) * len(colours) // _WIDTH]
    strip = np.broadcast_to(columns, (_RIBBON - 1, _WIDTH, 3))
    sheet.paste(Image.fromarray(np.ascontiguousarray(strip)), (_MARGIN + _LEFT, y))


def _cell(
    sheet: Image.Image,
    page: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    thumb: Image.Image,
    colour: Colour,
    caption: str,
) -> None:
    """An image in a frame of its class's colour, with its caption."""
    x, y = corner
    page.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=colour)
    sheet.paste(thumb, (x + _BORDER, y + _BORDER))
    font = ImageFont.load_default(11)
    page.text((x + _CELL // 2, y + _CELL + 1), caption, fill=_PALE, font=font, anchor="ma")
