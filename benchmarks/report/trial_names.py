"""Names of trials in tables and plots."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from lethe.benchmarks.records.read import TrialRecord
from lethe.common.printable import printable


def trial_names(trials: Sequence[TrialRecord], sources: Sequence[str] = ()) -> list[str]:
    """A name per trial: the agent, and in brackets the settings in which its trials differ.

    Settings that differ in one paradigm are named in the dataset's other paradigms too, so that a configuration has one
    row in a table of paradigms. `sources` are the results folders of the trials, whose names stand in round brackets
    where there are several.
    """
    sources = sources or [""] * len(trials)
    shown = {source: f" ({source})" if len(set(sources)) > 1 else "" for source in sources}
    cells, agents = defaultdict(list), defaultdict(set)
    for index, trial in enumerate(trials):
        dataset, agent = trial.config["dataset"], trial.config["agent"]
        cells[dataset, agent, trial.config["paradigm"]].append(index)
        agents[dataset, agent].add(trial.config["paradigm"])

    found = [""] * len(trials)
    for (dataset, agent), paradigms in agents.items():
        groups = [cells[dataset, agent, paradigm] for paradigm in paradigms]
        keys = sorted(set().union(*(_differences([trials[i] for i in group]) for group in groups)))
        for group in groups:
            plain = [f"{_label(agent, keys, trials[i])}{shown[sources[i]]}" for i in group]
            counts = Counter(plain)
            for index, label in zip(group, plain, strict=True):
                own = f"{agent} [{trials[index].path.name}]{shown[sources[index]]}"
                found[index] = printable(own if counts[label] > 1 else label)
    return found


def _label(agent: str, keys: Sequence[str], trial: TrialRecord) -> str:
    values = _settings(trial)
    shown = ", ".join(f"{key}={text_of(values.get(key))}" for key in keys)
    return f"{agent} [{shown}]" if keys else agent


def _differences(trials: Sequence[TrialRecord]) -> set[str]:
    """Names of the settings in which trials differ."""
    settings = [_settings(trial) for trial in trials]
    names = set().union(*settings)
    return {name for name in names if len({text_of(values.get(name)) for values in settings}) > 1}


def _settings(trial: TrialRecord) -> dict[str, Any]:
    """All of a trial's configuration but its place, flat."""
    place = {"dataset", "paradigm", "agent", "settings"}
    top = {key: value for key, value in trial.config.items() if key not in place}
    return {**top, **trial.config["settings"]}


def text_of(value: object) -> str:
    """Text of a value of a configuration."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
