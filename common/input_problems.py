"""Reporting all problems of an input at once; the image paths and numbers that inputs may hold."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from unicodedata import category

from lethe.common.errors import InputError

SHOWN = 20
"""Problems that are listed; the others are only counted."""

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"  # with line ends, and bytes that are no UTF-8


def _path(sign: str) -> str:
    """The pattern of a relative path of such signs that cannot leave its root."""
    part = rf"(?!\.{{1,2}}(?:[/ ]|$)){sign}+"
    return f"(?![A-Za-z]:){part}(?:/{part})*"


PLAIN_PATH = _path(rf"[^\s\\/{_CONTROLS}]")
"""A relative path that cannot leave its root and is one word of a blank-separated list."""

INTEGER = r"[0-9]{1,9}"
"""A number of a class, object, session or frame, or a label."""

_image_path = re.compile(_path(rf"[^\\/{_CONTROLS}]"))


def raise_any(problems: Sequence[str]) -> None:
    """`InputError` with the first `SHOWN` of `problems` and the number of the others, if there is any."""
    if problems:
        raise InputError(*first(problems))


def first(problems: Sequence[str], shown: int = SHOWN) -> list[str]:
    """The first `shown` of `problems`, and the number of the others if there are more."""
    more = len(problems) - shown
    return [*problems[:shown], f"and {more} more"] if more > 0 else list(problems)


class InputErrorByKey(InputError):
    """All problems of one input, each with the key that it is about."""

    def __init__(self, *by_key: tuple[str, str]):
        super().__init__(*dict.fromkeys(problem for _, problem in by_key))
        self.by_key = by_key


class Problems:
    """Collector of the problems of one input, each with the key that it is about.

    An `InputError` ends its own block only, so that the checks after it are made as well:

        with problems.about("network"):
            check(network)
        if problems:
            raise problems.error()
    """

    def __init__(self) -> None:
        self._by_key: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def about(self, key: str) -> "_About":
        """Context that collects an `InputError` of its block under `key`."""
        return _About(key, self._by_key)

    def add(self, error: InputErrorByKey) -> None:
        """Collect the problems of `error` under its own keys."""
        self._by_key += error.by_key

    def error(self) -> InputErrorByKey:
        """The error that holds all problems so far."""
        return InputErrorByKey(*self._by_key)


class _About:
    # Not by contextlib.contextmanager: type checkers take its blocks for ones that never end early.
    def __init__(self, key: str, into: list[tuple[str, str]]):
        self._key = key
        self._into = into

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, InputError):
            return False
        self._into += [(self._key, problem) for problem in error.problems]
        return True


def not_plain(paths: Iterable[str]) -> list[int]:
    """Positions of the paths that could leave the folder they start from, or hold control characters."""
    return [place for place, match in enumerate(map(_image_path.fullmatch, paths)) if match is None]


def is_printable(name: str) -> bool:
    """Whether a name has printable signs and blanks alone."""
    return name.isprintable() or all(sign.isprintable() or category(sign) == "Zs" for sign in name)


def path_problem(path: str) -> str:
    """The problem of a path that is not plain, and the expected form."""
    if not path:
        return "the image path is empty"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        fault = "is absolute; give it relative to the folder of the images"
    elif "\\" in path:
        fault = "has a backslash; separate folders with '/'"
    elif ".." in PurePosixPath(path).parts:
        fault = "leaves the folder of the images ('..')"
    elif re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", path):
        fault = "has a tab, a line end or another control character; rename the file"
    elif re.search(r"[\ud800-\udfff]", path):  # undecodable bytes of a file name
        fault = "is no UTF-8, which task lists are; rename the file"
    else:
        fault = "is not in its shortest form (an empty or '.' component)"
    return f"image path {path!r} {fault}"
