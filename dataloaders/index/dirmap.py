"""A dirmap: the index of a dataset, a CSV file with a row per image.

Required columns are `class` (a number from 1, or a name), `object`, `session`, `im_num` (numbers) and
`im_path` (relative to the folder of the images). Their order is free. Any further column, such as the
unnamed row index of the published dirmaps, is carried along as text, unchanged.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lethe.common.errors import InputError
from lethe.common.files import read_bytes, write_text
from lethe.common.input_problems import INTEGER, first, is_printable, not_plain, path_problem, raise_any

COLUMNS = ("class", "object", "session", "im_num", "im_path")
"""The columns that every dirmap has, as most published ones order them."""

SESSION = ["class", "object", "session"]
"""The columns that identify a session: one video of one object."""

FULL_SESSION_IMAGES = 15
"""Images of a complete session in the published protocol."""

_LARGEST = 1 << 30  # bytes of a dirmap
_SHOWN = 50  # classes

_NUMBERS = ("object", "session", "im_num")


def read(path: Path) -> pd.DataFrame:
    """The dirmap of a CSV file: columns in the file's order, a row per line after the header.

    `object`, `session` and `im_num` are int64; `class` is int64 where all values are numbers, otherwise
    text; all other columns are text. Raises `InputError` with the line of every problem: a missing
    column, a number that is none, a path that could leave its root, an image named twice.
    """
    frame = _read_text(path)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(
            f"{path}:1: no column {', '.join(missing)}; the header names {', '.join(frame.columns)}; "
            f"expected {', '.join(COLUMNS)}"
        )
    if frame.empty:
        raise InputError(f"{path}: no image: there is a header but no row")
    problems: list[str] = []
    for name in _NUMBERS:
        frame[name] = _numbers(path, frame[name], problems)
    frame["class"] = _classes(path, frame["class"], problems)
    images = frame["im_path"].tolist()
    problems += [f"{path}:{row + 2}: {path_problem(images[row])}" for row in not_plain(images)]
    raise_any(problems or _repetitions(path, frame))
    return frame


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a dirmap as CSV, atomically; `read` gives it back."""
    write_text(path, to_csv(frame.columns, rows_as_text(frame)))


def fingerprint(frame: pd.DataFrame) -> str:
    """SHA-256, in hexadecimal digits, of the file that `write` would write."""
    return fingerprint_of_rows(frame.columns, rows_as_text(frame))


def fingerprint_of_rows(columns: pd.Index, rows: list[str]) -> str:
    """`fingerprint`, given rows already serialised to text."""
    return hashlib.sha256(to_csv(columns, rows).encode()).hexdigest()


def header(columns: pd.Index) -> str:
    """The first line of the CSV file, without its end; the index column has no name there."""
    names = [str(name) for name in columns]
    if names[0].startswith("Unnamed: "):  # pandas' name for a column without one
        names[0] = ""
    return ",".join(_cells(names))


def rows_as_text(frame: pd.DataFrame) -> list[str]:
    """Each row as a line of CSV without its end, quoted where a value needs it."""
    return list(map(",".join, zip(*(_cells(frame[name].tolist()) for name in frame.columns), strict=True)))


def to_csv(columns: pd.Index, rows: list[str]) -> str:
    """The whole CSV file."""
    return "\n".join([header(columns), *rows, ""])


@dataclass(frozen=True)
class Spread:
    """Mean, minimum and maximum of some counts."""

    mean: float
    smallest: int
    largest: int

    def __str__(self) -> str:
        return f"mean {self.mean:.2f}, min {self.smallest}, max {self.largest}"


@dataclass(frozen=True)
class Statistics:
    """The counts of a dirmap that the published statistics tool prints."""

    head: str
    """The first rows, as a table."""
    images: int
    """Rows of the dirmap."""
    images_per_class: dict[int | str, int]
    objects_per_class: dict[int | str, int]
    images_per_session: Spread
    """Over (class, object, session)."""
    sessions_per_object: Spread
    """Over (class, object)."""
    sessions_per_class: Spread
    """Sessions are (class, object, session), not session numbers."""
    sessions: int
    full_sessions: int
    """Sessions whose largest frame number is at least `FULL_SESSION_IMAGES`."""


def statistics(frame: pd.DataFrame) -> Statistics:
    """Count the images, objects and sessions of a dirmap."""
    by_session = frame.groupby(SESSION, sort=True)["im_num"].agg(["size", "max"])
    by_object = by_session.groupby(level=["class", "object"]).size()
    images = by_session.groupby(level="class")["size"].sum()
    objects = by_object.groupby(level="class").size()
    return Statistics(
        head=frame.head().to_string(index=False),
        images=len(frame),
        images_per_class=dict(zip(images.index.tolist(), images.tolist(), strict=True)),
        objects_per_class=dict(zip(objects.index.tolist(), objects.tolist(), strict=True)),
        images_per_session=_spread(by_session["size"]),
        sessions_per_object=_spread(by_object),
        sessions_per_class=_spread(by_object.groupby(level="class").sum()),
        sessions=len(by_session),
        full_sessions=int((by_session["max"] >= FULL_SESSION_IMAGES).sum()),
    )


def format_statistics(statistics: Statistics) -> str:
    """The statistics as text, several lines."""
    classes = (
        f"  {name}: {count} images, {statistics.objects_per_class[name]} objects"
        for name, count in statistics.images_per_class.items()
    )
    return "\n".join(
        (
            statistics.head,
            f"{statistics.images} images in {len(statistics.images_per_class)} classes",
            *classes,
            f"images per session: {statistics.images_per_session}",
            f"sessions per object: {statistics.sessions_per_object}",
            f"sessions per class: {statistics.sessions_per_class}",
            f"{statistics.sessions} sessions, {statistics.full_sessions} of them with at least "
            f"{FULL_SESSION_IMAGES} frames",
        )
    )


def format_shares(frame: pd.DataFrame, test_sessions: Sequence[int], name: Callable[[int | str], str]) -> str:
    """The images of each class that train and that test, as text, for datasets whose sessions are just that.

    `name` gives the name of a class. Of many classes, the first ones have a line.
    """
    tested = frame["session"].isin(test_sessions)
    classes = [
        f"  {name(value)}: {_shares(rows)}" for value, rows in tested.groupby(frame["class"], sort=False)
    ]
    return "\n".join((f"{len(classes)} classes: {_shares(tested)}", *first(classes, _SHOWN)))


def _shares(tested: pd.Series) -> str:
    return f"{len(tested)} images, {len(tested) - tested.sum()} train, {tested.sum()} test"


def _read_text(path: Path) -> pd.DataFrame:
    """The cells of a CSV file as text; `InputError` if it cannot be read as a table."""
    content = read_bytes(path, _LARGEST)  # here and not by pandas, which unpacks what is called .gz
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: is empty; expected a header with {', '.join(COLUMNS)}") from None
    except pd.errors.ParserError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line.group(1)}" if line else str(path)
        raise InputError(f"{where}: {str(error).rpartition('C error: ')[2].strip()}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text (byte {error.start}); expected a CSV file") from None
    except ValueError as error:
        raise InputError(f"{path}: is no CSV table: {error}") from None
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(f"{path}:2: more values than the header on line 1 has names")
    return frame.fillna("")  # cells that a short line lacks


def _numbers(path: Path, column: pd.Series, problems: list[str]) -> np.ndarray:
    """The column as int64; other values become -1 and are appended to `problems`."""
    codes, texts = pd.factorize(column.to_numpy(object))
    bad = [re.fullmatch(INTEGER, text) is None for text in texts]
    for row in np.flatnonzero(np.array(bad)[codes]):
        problems.append(
            f"{path}:{row + 2}: {column.name} {texts[codes[row]]!r} is no whole number from 0 to 999999999"
        )
    values = [-1 if wrong else int(text) for text, wrong in zip(texts, bad, strict=True)]
    return np.array(values, dtype=np.int64)[codes]


def _classes(path: Path, column: pd.Series, problems: list[str]) -> np.ndarray:
    """The column as int64 if every class is a number, otherwise as text."""
    codes, texts = pd.factorize(column.to_numpy(object))
    if all(re.fullmatch(INTEGER, text) for text in texts):
        return np.array([int(text) for text in texts], dtype=np.int64)[codes]
    bad = np.array([not text or not is_printable(text) for text in texts])
    for row in np.flatnonzero(bad[codes]):
        name = texts[codes[row]]
        problems.append(f"{path}:{row + 2}: class {name!r} is " + ("not printable" if name else "empty"))
    return np.asarray(texts, dtype=object)[codes]


def _repetitions(path: Path, frame: pd.DataFrame) -> list[str]:
    """Rows that repeat the (class, object, session, im_num) or the path of an earlier one.

    Toybox prolongs a short session by its own frames in reverse: a path may come again within its session.
    """
    key = [*SESSION, "im_num"]
    rows = np.arange(len(frame))
    first = _first_rows(frame, key)
    problems = []
    for row in np.flatnonzero(first != rows):
        values = ", ".join(f"{name} {frame[name].iloc[row]}" for name in key)
        problems.append(f"{path}:{row + 2}: {values} is there already, on line {first[row] + 2}")
    first = _first_rows(frame, ["im_path"])
    if (first != rows).any():
        session = frame.groupby(SESSION, sort=False).ngroup().to_numpy()
        for row in np.flatnonzero(session[first] != session):
            problems.append(
                f"{path}:{row + 2}: image path {frame['im_path'].iloc[row]!r} is there already, "
                f"in another session, on line {first[row] + 2}"
            )
    return problems


def _first_rows(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """For each row, the first one that equals it in `columns`."""
    rows = pd.Series(np.arange(len(frame)))
    if not frame.duplicated(columns).any():
        return rows.to_numpy()
    return rows.groupby([frame[name] for name in columns], sort=False).transform("first").to_numpy()


def _cells(values: list[Any]) -> Iterable[str]:
    """Values as CSV cells."""
    if not values or not isinstance(values[0], str):
        return map(str, values)
    everything = "".join(values)
    if not any(sign in everything for sign in ',"\r\n'):
        return values
    return [
        '"' + value.replace('"', '""') + '"' if re.search(r'[,"\r\n]', value) else value for value in values
    ]


def _spread(counts: pd.Series) -> Spread:
    return Spread(float(counts.mean()), int(counts.min()), int(counts.max()))
