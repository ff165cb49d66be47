"""Model selection: per dataset, paradigm and agent, the configuration with the highest validation accuracy.

The accuracy is that on all classes seen so far, averaged over tasks and then over the runs of the search. No record of
test images is read here: trials whose split is not "validation" are refused.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lethe.agents import registry
from lethe.benchmarks.records import failures
from lethe.benchmarks.records.read import RunRecord, read_trial
from lethe.benchmarks.report.entries import Stat, summarise
from lethe.benchmarks.report.tables import counted
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.common.input_problems import first
from lethe.common.printable import printable
from lethe.gridsearch.grid import Grid, place_of, searched, settings_order

METRIC = "accuracy_mean"
_EQUAL = 1e-9
"""Percent. One image more or less in one task of one run moves a mean by more than 1e-6; adding the same numbers in
another order moves it by less than 1e-12. So means closer than this are equal."""


@dataclass(frozen=True)
class Candidate:
    """One configuration of a group, and its runs in the search."""

    trial: Trial
    validation: Stat
    """Accuracy over the finished runs of the search, in percent."""
    failed: tuple[str, ...] = ()
    """Reasons of failed runs, one line each; a candidate with a failed run cannot be chosen."""
    missing: tuple[int, ...] = ()
    """Runs that neither finished nor failed."""
    collapsed: tuple[str, ...] = ()
    """How finished runs collapsed, one line each; their accuracy counts as it is."""

    @property
    def accuracy(self) -> float:
        """The validation accuracy in percent, mean over runs; NaN where none has finished."""
        return math.nan if self.validation.mean is None else self.validation.mean


@dataclass(frozen=True)
class Choice:
    """The configuration selected for one dataset, paradigm and agent."""

    trial: Trial
    validation: Stat
    """Without runs where there is one candidate and no run of it has finished."""
    reason: str
    ranking: tuple[Candidate, ...]
    """All candidates: the chosen one first, those with failed runs last."""


class Unfinished(InputError):
    """Runs of the search are missing."""

    def __init__(self, place: str, missing: int):
        super().__init__(f"{place}: {counted(missing, 'run')} missing")
        self.missing = missing


def choose_all(grid: Grid, results: Path) -> list[Choice]:
    """The choice of every group, in the grid's order; `InputError` with the problems of all groups."""
    choices: list[Choice] = []
    problems: list[str] = []
    missing = 0
    for group in grid.groups():
        try:
            choices.append(choose(group, results, grid.runs))
        except InputError as error:
            problems += error.problems
            missing += error.missing if isinstance(error, Unfinished) else 0
    if not problems:
        return choices
    told = first(problems)
    if missing:
        runs = counted(missing, "run")
        told.insert(0, f"the search is not finished: {runs} missing: `lethe search {grid.path}` goes on")
    raise InputError(*told)


def choose(group: Sequence[Trial], results: Path, runs: int) -> Choice:
    """The best of `group`, trials of one dataset, paradigm and agent, by runs 0 .. `runs` - 1 below `results`.

    The only trial of a group is chosen whatever its runs say, unless all of them failed. Where means are equal, the
    smaller value is taken, in the order of the agent's hyperparameters. `Unfinished` where runs are missing;
    `InputError` where every one of several candidates has a run that failed.
    """
    if any(trial.split != "validation" for trial in group):
        raise ValueError("expected trials on validation images: selection must not see test images")
    candidates = [_candidate(trial, results, runs) for trial in group]
    place = "{}/{}, {}".format(*place_of(group[0]))
    if len(candidates) == 1:
        failed = len(candidates[0].failed)
        if failed == runs:
            raise InputError(f"{place}: the only candidate failed: {_reasons(candidates)}")
        more = f"; {failed} of {counted(runs, 'run')} failed" if failed else ""
        return _choice(candidates, f"the only candidate{more}")
    if missing := sum(len(candidate.missing) for candidate in candidates):
        raise Unfinished(place, missing)
    eligible = [candidate for candidate in candidates if not candidate.failed]
    if not eligible:
        raise InputError(f"{place}: all {len(candidates)} candidates failed: {_reasons(candidates)}")
    ranked = sorted(eligible, key=lambda found: (-found.accuracy, settings_order(found.trial)))
    tied = [found for found in ranked if ranked[0].accuracy - found.accuracy <= _EQUAL]
    tied.sort(key=lambda found: settings_order(found.trial))
    ranking = [*tied, *ranked[len(tied) :], *(found for found in candidates if found.failed)]
    reason = _tie(tied) if len(tied) > 1 else f"the highest of {counted(len(eligible), 'candidate')}"
    if len(eligible) < len(candidates):
        reason += f"; {counted(len(candidates) - len(eligible), 'candidate')} failed"
    return _choice(ranking, reason)


def best_toml(choices: Sequence[Choice], shared: Mapping[str, object]) -> str:
    """A grid file from which `gridsearch.grid.read` reads exactly the trials of `choices`, the winners of one grid.

    `shared` is that of their grid.
    """
    top = [f"{key} = {_value(value)}" for key, value in shared.items()]
    return "\n\n".join([*(["\n".join(top)] if top else []), *(_block(choice) for choice in choices)]) + "\n"


def changed(trial: Trial) -> dict[str, object]:
    """The settings of `trial` that are not the agent's defaults."""
    defaults = registry.get(trial.agent).Config()
    return {key: value for key, value in trial.settings.items() if value != getattr(defaults, key)}


def settings_text(trial: Trial, keys: Iterable[str]) -> str:
    """`lr=0.0001, momentum=0.9`; `defaults` without keys."""
    return printable(", ".join(f"{key}={_shown(trial.settings[key])}" for key in keys)) or "defaults"


def _candidate(trial: Trial, results: Path, runs: int) -> Candidate:
    folder = trial.folder(results)
    records: dict[int, RunRecord] = {}
    if (folder / "config.json").exists():
        records = {record.run: record for record in read_trial(folder).runs}
    values, failed, missing, collapsed = [], [], [], []
    for run in range(runs):
        if run in records:
            values.append(records[run].summary["metrics"][METRIC])
            if how := records[run].summary.get("collapsed"):
                collapsed.append(f"run {run}: {printable(how)}")
        elif found := failures.read(folder / f"run{run}"):
            failed.append(f"run {run}: {printable(found.reason)}")
        else:
            missing.append(run)
    return Candidate(trial, summarise(values), tuple(failed), tuple(missing), tuple(collapsed))


def _choice(ranking: Sequence[Candidate], reason: str) -> Choice:
    return Choice(ranking[0].trial, ranking[0].validation, reason, tuple(ranking))


def _tie(tied: Sequence[Candidate]) -> str:
    """Reason of a choice among equal means: the settings that decide, in the order in which they do."""
    winner, left, decided = tied[0].trial, [found.trial for found in tied], []
    for key in searched(left):
        value = winner.settings[key]
        if len(kept := [trial for trial in left if trial.settings[key] == value]) < len(left):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            decided.append(f"the smaller {key}, {value}," if number else f"{key} {_shown(value)}")
        left = kept
    mean = f"{tied[0].validation.mean:.2f} %"
    return f"tie of {len(tied)} trials at {mean}: {' then '.join(decided)} is taken"


def _reasons(candidates: Sequence[Candidate]) -> str:
    keys = searched([candidate.trial for candidate in candidates])
    reasons = [f"{settings_text(found.trial, keys)}: {found.failed[0]}" for found in candidates]
    return "; ".join(first(reasons, 3))


def _shown(value: object) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _block(choice: Choice) -> str:
    trial, validation = choice.trial, choice.validation
    name = trial.agent if re.fullmatch(r"[\w-]+", trial.agent, re.ASCII) else _value(trial.agent)
    lines = [
        f"# {_judged(choice)}; {choice.reason}" if validation.runs else f"# {choice.reason}",
        f"[[agents.{name}]]",
        f"datasets = [{_value(trial.dataset)}]",
        f"paradigms = [{_value(trial.paradigm)}]",
        *(f"{key} = {_value(value)}" for key, value in changed(trial).items()),
    ]
    return "\n".join(lines)


def _judged(choice: Choice) -> str:
    stat, candidates = choice.validation, len(choice.ranking)
    spread = f" ± {stat.sem:.2f}" if stat.sem is not None else ""
    return (
        f"{stat.mean:.2f}{spread} % on validation images, over tasks; runs: {stat.runs}; "
        f"candidates: {candidates}"
    )


def _value(value: object) -> str:
    """A value as TOML; a grid file says none as a text."""
    if value is None:
        return '"none"'
    # JSON's texts, numbers and truth values are TOML's, but for one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
