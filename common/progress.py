"""Progress bars: one live line on a terminal, nothing in a log file."""

from typing import NoReturn, Self

from tqdm import tqdm


class Bar:
    """A bar that appears with its first update; for work that may turn out to be done already."""

    def __init__(self, title: str, unit: str):
        self._title = title
        self._unit = unit
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def set(self, done: int, total: int) -> None:
        """Show `done` of `total`."""
        if self._bar is None:
            self._bar = live_line(total, self._title, self._unit)
        self._bar.update(done - self._bar.n)


class RunLine:
    """The live line of one run: images learned and per second, the task, accuracy so far."""

    def __init__(self, title: str):
        self._title = title
        self._tasks = 0
        self._bar: tqdm[NoReturn] | None = None

    def begin(self, images: int, tasks: int) -> None:
        """The run has `images` to learn, all passes counted, in `tasks`."""
        self._tasks = tasks
        self._bar = live_line(images, self._title, "img")

    def update(self, images: int, task: int, accuracy: float | None) -> None:
        """Show `images` more, the task, and accuracy in percent on classes seen at the last evaluation."""
        if self._bar is None:
            raise RuntimeError("`begin` comes before `update`")
        so_far = "" if accuracy is None else f", accuracy {accuracy:.1f} %"
        self._bar.set_postfix_str(f"task {task + 1}/{self._tasks}{so_far}", refresh=False)
        self._bar.update(images)

    def close(self) -> None:
        """Remove the line."""
        if self._bar is not None:
            self._bar.close()


def live_line(total: int, title: str, unit: str) -> "tqdm[NoReturn]":
    """A tqdm bar on standard error that leaves no trace, and is not drawn at all unless that is a terminal."""
    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        unit_scale=True,
        leave=False,
        dynamic_ncols=True,
        disable=None,
    )
