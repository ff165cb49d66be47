"""A grid file: which agents, with which values of their hyperparameters, learn which streams.

    datasets = ["core50_mini"]
    paradigms = ["class_iid", "class_instance"]  # without it, all that the dataset knows
    runs = 2                                     # of each trial, in the search; without it, 1
    # network = "squeezenet"                     # also: cut, pretrained, feature_dtype, codebooks, variant, seed,
    #                                            # tasks, order_seed, only_task, weights; as options of `lethe run`
    # weights = "results/base"                   # from the folder of the command, not of this file
    # class_order = ["cup", "can"]               # names of all classes, in the order in which tasks show them
    # budget = "10 MB"                           # sets each agent's memory, as `lethe run --budget`

    [agents.finetune]                            # the defaults: one trial a dataset and paradigm
    [agents.ewc]
    lr = [1e-3, 1e-4]                            # every value with every value of the other keys
    penalty_weight = [1, 100]
    [[agents.er]]                                # several blocks of one agent
    memory_size = 200                          # one value needs no list
    [[agents.er]]
    paradigms = ["class_iid"]                    # a block may name its own datasets and paradigms
    lr = [1e-2]

A trial is one agent with one configuration on one dataset and paradigm; the same one named twice counts once. A file
of more runs than `benchmarks.run.job.MOST_RUNS` is refused before its trials are made.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lethe.agents import registry
from lethe.agents.config import Config
from lethe.benchmarks.run import budget as budgets
from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.job import check_count
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError, unknown
from lethe.common.files import MAX_TOML, parse_toml, read_text
from lethe.common.input_problems import InputErrorByKey
from lethe.dataloaders.index import find, folders
from lethe.dataloaders.index.spec import PARADIGMS, Dataset, check_paradigm
from lethe.gridsearch import toml_lines

_PLACES = ("datasets", "paradigms")
_OF_TRIALS = {
    "network": str,
    "cut": str,
    "pretrained": bool,
    "feature_dtype": str,
    "codebooks": int,
    "variant": str,
    "seed": int,
    "tasks": int,
    "class_order": list,
    "order_seed": int,
    "only_task": int,
    "weights": str,
}
"""Keys that hold for all trials of a file, and their types; keyword arguments of `Trial.create`."""
_TOP = (*_PLACES, "runs", "budget", *_OF_TRIALS, "agents")


@dataclass(frozen=True)
class Grid:
    """The content of one grid file."""

    path: Path
    runs: int
    """Runs 0 .. runs - 1 of each trial are learned in the search."""
    trials: tuple[Trial, ...]
    """Trials of the search, on validation lists, each once; sorted by dataset, paradigm, agent and settings."""
    shared: Mapping[str, Any]
    """The keys that hold for all trials (network, seed, ...), as the file gives them; absent where it has none."""

    @property
    def name(self) -> str:
        """The file's name without its ending; of files in folders below scripts/optimal, with the folder's."""
        parts = self.path.with_suffix("").parts
        return "-".join(parts[parts.index("optimal") + 1 :]) if "optimal" in parts else parts[-1]

    def groups(self) -> list[tuple[Trial, ...]]:
        """The trials grouped by dataset, paradigm and agent; selection chooses one of each group."""
        return [tuple(group) for _, group in itertools.groupby(self.trials, key=place_of)]


def place_of(trial: Trial) -> tuple[str, str, str]:
    """Dataset, paradigm and agent: the key of a trial's group."""
    return trial.dataset, trial.paradigm, trial.agent


def searched(trials: Sequence[Trial]) -> list[str]:
    """Names of the hyperparameters that differ between `trials`, all of one agent, in the order of its Config."""
    return [key for key in trials[0].settings if len({repr(trial.settings[key]) for trial in trials}) > 1]


def for_test(trial: Trial) -> Trial:
    """The same configuration on the test lists."""
    return replace(trial, split="test")


def read(path: Path, data: Path = folders.DATA, lists: Path = folders.LISTS) -> Grid:
    """The grid in the file at `path`; `InputError` with the line of every problem in it.

    `data` holds a folder per dataset; a user's own is described in its folder. `lists` holds task lists, of which a
    budget asks the sizes.
    """
    text = read_text(path, MAX_TOML)
    content = parse_toml(path, text)
    lines = toml_lines.lines(text)
    problems: list[tuple[int, str]] = []

    def tell(where: tuple[str | int, ...], problem: str) -> None:
        line = lines.get(where) or lines.get(where[:-1]) or lines.get(where[:2])
        problems.append((line or 0, f"{path}:{line}: {problem}" if line else f"{path}: {problem}"))

    lookup = functools.cache(lambda name: find.get(name, data / name))  # each dataset is read once
    blocks = list(_checked_blocks(content, lookup, tell))
    _raise_any(problems)
    points = sum(len(places) * math.prod(map(len, values.values())) for _, _, places, values in blocks)
    try:
        check_count(points, content.get("runs", 1))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    shared = {key: content[key] for key in _OF_TRIALS if key in content}
    trials: dict[Trial, None] = {}
    for where, agent, places, values in blocks:
        try:
            expanded = _expand(agent, places, values, shared)
            if "budget" in content:
                limit, at = budgets.parse(content["budget"]), Places(data=data, lists=lists)
                expanded = (budgets.within(trial, limit, at, values)[0] for trial in expanded)
            trials |= dict.fromkeys(expanded)
        except InputErrorByKey as error:
            for key, problem in error.by_key:
                tell((key,) if key in shared else where, problem)
        except InputError as error:  # of the budget
            for problem in error.problems:
                tell(where, problem)
    _raise_any(problems)
    return Grid(path, content.get("runs", 1), tuple(sorted(trials, key=_order)), shared)


_SettingsOrder = tuple[tuple[bool, str, float], ...]
_Block = tuple[tuple[str | int, ...], str, list[tuple[Dataset, str]], dict[str, list[Any]]]
"""Position in the file, agent, (dataset, paradigm) pairs, and the values of each hyperparameter."""
_Tell = Callable[[tuple[str | int, ...], str], None]
_Lookup = Callable[[str], Dataset]


def _checked_blocks(content: Mapping[str, Any], lookup: _Lookup, tell: _Tell) -> Iterator[_Block]:
    """The blocks of all agents with values of the right types; problems are passed to `tell`."""
    for key in content.keys() - set(_TOP):
        tell((key,), str(unknown("key", key, _TOP)))
    for key, kind in _OF_TRIALS.items():
        if key in content and type(content[key]) is not kind:
            tell((key,), f"{key}: expected {kind.__name__}, got {content[key]!r}")
    runs = content.get("runs", 1)
    if type(runs) is not int or runs < 1:
        tell(("runs",), f"runs: expected a number from 1, got {runs!r}")
    _check_budget(content, tell)
    _check_names(content, (), tell)
    agents = content.get("agents")
    if not isinstance(agents, dict) or not agents:
        tell(("agents",), "agents: expected a table for each agent, such as [agents.finetune]")
        return
    for agent, tables in agents.items():
        several = isinstance(tables, list)
        for number, table in enumerate(tables if several else [tables]):
            where = ("agents", agent, number)
            if not isinstance(table, dict):
                tell(where, f"agents.{agent}: expected a table, got {table!r}")
                continue
            _check_names(table, where, tell)
            values = _values(agent, table, where, tell)
            yield where, agent, _places(content, table, where, lookup, tell), values


def _check_budget(content: Mapping[str, Any], tell: _Tell) -> None:
    given = content.get("budget", "1 B")
    try:
        budgets.parse(given if isinstance(given, str) else repr(given))
    except InputError as error:
        tell(("budget",), str(error))


def _check_names(table: Mapping[str, Any], where: tuple[str | int, ...], tell: _Tell) -> None:
    for key in _PLACES:
        names = table.get(key, [""])
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            tell((*where, key), f"{key}: expected a list of names, at least one, got {names!r}")


def _places(
    content: Mapping[str, Any],
    table: Mapping[str, Any],
    where: tuple[str | int, ...],
    lookup: _Lookup,
    tell: _Tell,
) -> list[tuple[Dataset, str]]:
    """The (dataset, paradigm) pairs of a block: its own, or those of the whole file."""
    datasets, paradigms = (table.get(key, content.get(key)) for key in _PLACES)
    if datasets is None:
        tell(("datasets",), 'datasets is missing: expected a list, such as ["core50_mini"]')
    of_paradigms = (*where, "paradigms") if "paradigms" in table else ("paradigms",)
    named = paradigms if isinstance(paradigms, list) else []
    for paradigm in named:
        if isinstance(paradigm, str) and paradigm not in PARADIGMS:
            tell(of_paradigms, str(unknown("paradigm", paradigm, PARADIGMS)))
    known = [paradigm for paradigm in named if paradigm in PARADIGMS]
    found = []
    for dataset in datasets if isinstance(datasets, list) else []:
        if not isinstance(dataset, str):
            continue
        try:
            spec = lookup(dataset)
        except InputError as error:
            tell((*where, "datasets") if "datasets" in table else ("datasets",), str(error))
            continue
        for paradigm in spec.paradigms if paradigms is None else known:
            try:
                check_paradigm(spec, paradigm)
                found.append((spec, paradigm))
            except InputError as error:
                tell(of_paradigms, str(error))
    return found


def _values(
    agent: str, table: Mapping[str, Any], where: tuple[str | int, ...], tell: _Tell
) -> dict[str, list[Any]]:
    """The values of each hyperparameter of a block, typed."""
    try:
        config = registry.get(agent).Config
        hints = config.types()
    except InputError as error:
        tell(where, str(error))
        return {}
    typed: dict[str, list[Any]] = {}
    for key, given in table.items():
        if key in _PLACES:
            continue
        candidates = given if isinstance(given, list) else [given]
        if not candidates:
            tell((*where, key), f"{key}: expected at least one value, got an empty list")
        for value in candidates:
            try:
                typed.setdefault(key, []).append(_typed(config, hints, key, value))
            except InputError as error:
                for problem in error.problems:
                    tell((*where, key), f"agent {agent}: {problem}")
    return typed


def _typed(config: type[Config], hints: Mapping[str, Any], key: str, value: object) -> object:
    """`value` as the type of the hyperparameter `key`, if it is in its range."""
    if isinstance(value, str) and value != "none" and key in hints and hints[key] is not str:
        raise InputError(
            f"{key}: expected {getattr(hints[key], '__name__', hints[key])}, got the text {value!r}"
        )
    return getattr(config.from_settings({key: value}), key)


def _expand(
    agent: str,
    places: Sequence[tuple[Dataset, str]],
    values: Mapping[str, Sequence[object]],
    shared: Mapping[str, Any],
) -> Iterator[Trial]:
    for dataset, paradigm in places:
        for point in itertools.product(*values.values()):
            settings = dict(zip(values, point, strict=True))
            yield Trial.create(dataset, paradigm, agent, settings, split="validation", **shared)


def _raise_any(problems: Sequence[tuple[int, str]]) -> None:
    """`InputError` with all (line, problem), by line, if there are any."""
    if problems:
        raise InputError(*(problem for _, problem in sorted(dict.fromkeys(problems))))


def _order(trial: Trial) -> tuple[str, int, str, _SettingsOrder]:
    """By dataset, paradigm (as the paradigms are listed everywhere), agent, then settings, numbers by size."""
    dataset, paradigm, agent = place_of(trial)
    return dataset, PARADIGMS.index(paradigm), agent, settings_order(trial)


def settings_order(trial: Trial) -> _SettingsOrder:
    """Sort key: smaller values first, in the order of the agent's Config."""
    return tuple(
        value_order(trial.settings[field.name]) for field in fields(registry.get(trial.agent).Config)
    )


def value_order(value: object) -> tuple[bool, str, float]:
    """Sort key of a hyperparameter's values: None first, then numbers by size, texts by the alphabet."""
    number = float(value) if isinstance(value, int | float) else 0.0
    return value is not None, value if isinstance(value, str) else "", number
