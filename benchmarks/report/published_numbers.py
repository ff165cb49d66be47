"""Published numbers beside our own: `results/published.csv`, read for one dataset, paradigm, agent and metric.

Only numbers that measure the same are taken: the same classes, the mean over tasks or the value after the last one, on
test images. Several sources did not do what their papers say; the file's note on a number is always shown with it.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lethe.agents import registry
from lethe.common.errors import InputError
from lethe.common.files import is_there

PATH = Path(__file__).resolve().parents[2] / "results" / "published.csv"

_DATASETS = {"CORe50 (10 classes)": "core50"}
_PLACES = {("ImageNet-1k", "class_iid"): ("imagenet", "class_ordered")}
"""Our names of a dataset and paradigm: in REMIND's protocol a file says the order of classes."""
_CURVE = "top5_all_seen_classes_%"
_OMEGA = "Omega_all(top5)"
_METRICS = {
    ("top1_all_seen_classes_%", "mean"): "accuracy_mean",
    ("top1_all_seen_classes_%", "last"): "accuracy_last",
    ("top1_first_task_classes_%", "last"): "first_task_last",
    ("Omega_all", "all"): "omega_all",
    (_CURVE, "last"): "top5_last",
    ("top5_mean_over_increments_%", "all"): "top5_mean",
    (_OMEGA, "all"): "omega_all_top5",
}
_WHEN = {"all (mean over tasks)": "mean", "all": "all"}
_SETTINGS = re.compile(r"(.*?) \[(lr-[^\]]*)\]")
"""Other brackets say which runs were left out of a figure: no number of a counterpart."""

_SEEN = re.compile(r"; after (\d+) classes")
_CLASSES = {"ImageNet-1k": 1000}

Key = tuple[str, str, str, str]
"""Dataset, paradigm, agent, metric, by our names."""


@dataclass(frozen=True)
class Published:
    """One published number."""

    value: float
    sem: float | None
    warning: str
    """The system's name and settings, the source, the number of runs, and caveats."""
    classes: int | None = None
    """Classes of the whole stream, where a dataset of the same name may have others."""


@dataclass(frozen=True)
class PublishedCurve:
    """Published top-5 accuracies on all classes seen."""

    system: str
    percent: tuple[float, ...]
    """After each task."""
    classes: tuple[int, ...]
    """Seen after each task."""
    omega: float | None
    """Its published Ω_all in top-5."""
    warning: str
    """Name, source, number of runs, and caveats."""


def read(path: Path = PATH) -> dict[Key, Published]:
    """Every published number that has a counterpart here; `InputError` with the line where the file is damaged.

    Of a system that was published with several settings, the one with the highest average over tasks is taken for
    all metrics, as the papers do; the warning says so.
    """
    systems: dict[tuple[str, str, str], dict[str, dict[str, Published]]] = {}
    for (dataset, paradigm, agent), settings, metric, found in _rows(path):
        systems.setdefault((dataset, paradigm, agent), {}).setdefault(settings, {})[metric] = found
    chosen: dict[Key, Published] = {}
    for place, variants in systems.items():
        for values in sorted(variants.values(), key=_average, reverse=True):
            for metric, found in values.items():
                rivals = sum(metric in other for other in variants.values())
                if rivals > 1:
                    text = f"{found.warning}; the best of {rivals} published settings, by test images"
                    found = replace(found, warning=text)
                chosen.setdefault((*place, metric), found)
    return chosen


def _average(values: Mapping[str, Published]) -> float:
    found = values.get("accuracy_mean") or values.get("top5_mean")
    return found.value if found else float("-inf")


def read_curves(path: Path = PATH) -> dict[tuple[str, str, str], list[PublishedCurve]]:
    """By dataset, paradigm and agent, the published top-5 accuracies on all classes seen; errors as for `read`.

    Those of which the notes say after how many classes each was measured; none without the file, since a user may have
    emptied the folder of results.
    """
    if not is_there(path):
        return {}
    found: dict[tuple[tuple[str, str, str], str], dict[int, Published]] = {}
    omegas: dict[tuple[tuple[str, str, str], str], float] = {}
    for place, name, line, number in _counterparts(path):
        if line["metric"] == _OMEGA:
            omegas[place, name] = number.value
        if line["metric"] == _CURVE and line["task_index_or_all"].isdecimal():
            found.setdefault((place, name), {})[int(line["task_index_or_all"])] = number
    curves: dict[tuple[str, str, str], list[PublishedCurve]] = {}
    for (place, name), values in found.items():
        numbers = [values[task] for task in sorted(values)]
        percent = tuple(number.value for number in numbers)
        classes = [seen for number in numbers if (seen := _classes_seen(number.warning))]
        warning = _SEEN.sub("", numbers[-1].warning)
        if len(classes) == len(percent):
            curve = PublishedCurve(name, percent, tuple(classes), omegas.get((place, name)), warning)
            curves.setdefault(place, []).append(curve)
    return curves


def _rows(path: Path) -> list[tuple[tuple[str, str, str], str, str, Published]]:
    """(dataset, paradigm, agent), system and settings, metric and number of each row that has a counterpart."""
    found = _counterparts(path)
    last: dict[tuple[str | None, ...], int] = {}
    for _, _, line, _ in found:
        when = line["task_index_or_all"]
        if when.isdecimal():
            last[_series(line)] = max(int(when), last.get(_series(line), 0))
    return [
        (place, name, metric, number)
        for place, name, line, number in found
        if (metric := _METRICS.get((line["metric"], _moment(line, last))))
    ]


def _counterparts(path: Path) -> list[tuple[tuple[str, str, str], str, Mapping[str, str], Published]]:
    """(dataset, paradigm, agent) by our names, system and settings, content and number of each row of our agents."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    agents = {system: name for name in registry.AGENTS for system in registry.card(name).published}
    rows: list[tuple[tuple[str, str, str], str, Mapping[str, str], Published]] = []
    for number, line in lines:
        try:
            split = _SETTINGS.fullmatch(line["agent"])
            system, settings = split.groups() if split else (line["agent"], "")
            if system in agents and line["task_index_or_all"] is not None:
                place = line["dataset"], line["paradigm"]
                dataset, paradigm = _PLACES.get(place, (_DATASETS.get(place[0], place[0]), place[1]))
                name = f"{system} {settings}".strip()
                rows.append(((dataset, paradigm, agents[system]), name, line, _number(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}:{number}: damaged ({error!r}): restore it from this project's repository"
            ) from None
    return rows


def _classes_seen(note: str) -> int | None:
    found = _SEEN.search(note)
    return int(found[1]) if found else None


def _moment(line: Mapping[str, str], last: Mapping[tuple[str | None, ...], int]) -> str:
    """Whether a number is a "mean" over tasks, of "all" evaluations, of the "last" task, or of none of these."""
    when = line["task_index_or_all"]
    return "last" if when == str(last.get(_series(line))) else _WHEN.get(when, "")


def _series(line: Mapping[str, str]) -> tuple[str | None, ...]:
    """The key of an experiment, whose rows are the numbers after each task."""
    return tuple(line.get(key) for key in ("source", "dataset", "paradigm", "agent", "metric"))


def _number(line: Mapping[str, str]) -> Published:
    warning = f"{line['agent']}: {line['source']}; runs: {line['n_runs'] or 'unknown'}"
    if line["note"]:
        warning += f"; {line['note']}"
    return Published(
        float(line["value"]),
        float(line["stderr"]) if line["stderr"] else None,
        warning,
        _CLASSES.get(line["dataset"]),
    )
