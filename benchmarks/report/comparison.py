"""The comparison: an entry per trial (see `entries.py`), and its long form.

Tasks are counted from 1 wherever people read them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lethe.benchmarks.measure.metrics import chance
from lethe.benchmarks.records.read import TrialRecord
from lethe.benchmarks.report.entries import METRICS, Entry, by_task, entry_of
from lethe.benchmarks.report.offline_curve import OfflineCurve
from lethe.benchmarks.report.omega import references
from lethe.benchmarks.report.trial_names import trial_names
from lethe.dataloaders.index import find
from lethe.dataloaders.index.catalogue import NAMES
from lethe.dataloaders.index.spec import PARADIGMS

LOWER_BOUND = "finetune"
"""Agent without any measure against forgetting. The upper bound is the agent that needs offline lists."""

_ALWAYS_LISTED = METRICS[: METRICS.index("omega_all") + 1]
"""Metrics whose line in the long table stays where no run has a value; the others are left out there."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison in long form."""

    dataset: str
    paradigm: str
    agent: str
    metric: str
    mean: float | None
    sem: float | None
    runs: int


@dataclass(frozen=True)
class Comparison:
    """All entries, ordered by dataset, paradigm and agent: lower bound first, upper bound last."""

    entries: tuple[Entry, ...]
    split: str = "test"
    """Images on which all entries were evaluated: "test" or "validation"."""
    left_out: int = 0
    """Number of trials left out because they were evaluated on validation images and the entries were not."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Names of users' own datasets in tables and figures, by dataset, where they have one."""
    sources: tuple[str, ...] = ()
    """Names of the results folders, in the order given, where two are compared."""

    def title(self, dataset: str) -> str:
        """The name of `dataset` in tables and figures."""
        return self.titles.get(dataset) or find.title(dataset)

    def datasets(self) -> list[str]:
        """Names of the datasets, in order."""
        return list(dict.fromkeys(entry.dataset for entry in self.entries))

    def paradigms(self, *datasets: str) -> list[str]:
        """Names of the paradigms that any of `datasets` has an entry for, in order."""
        found = {entry.paradigm for entry in self.entries if entry.dataset in datasets}
        return sorted(found, key=_paradigm_order)

    def select(self, dataset: str, paradigm: str) -> list[Entry]:
        """The entries of one dataset and paradigm, in order."""
        return [entry for entry in self.entries if (entry.dataset, entry.paradigm) == (dataset, paradigm)]

    def expected_runs(self, dataset: str, paradigm: str) -> int:
        """Number of runs that a cell should have: that of the trial with most finished runs."""
        return max((len(entry.finished) for entry in self.select(dataset, paradigm)), default=0)


def compare(
    trials: Sequence[TrialRecord],
    sources: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
    curve: OfflineCurve | None = None,
) -> Comparison:
    """The comparison of `trials`, given in any order; if any was judged on test images, of these alone.

    `sources` are the names of the results folders that the trials are from, one a trial, where there are several;
    `titles` as in `Comparison`; Ω_all is relative to `curve` where that is given, else to offline trials.
    """
    pairs = list(zip(trials, sources or [""] * len(trials), strict=True))
    judged = {id(trial) for trial in judged_alike(trials)}
    pairs = [(trial, source) for trial, source in pairs if id(trial) in judged]
    kept, origins = [trial for trial, _ in pairs], [source for _, source in pairs]
    split = kept[0].config["split"] if kept else "test"
    labels = trial_names(kept, origins)
    entries = [
        entry_of(trial, label, source, *found)
        for (trial, source), label, *found in zip(
            pairs,
            labels,
            references(kept, labels, origins, "top1", curve),
            references(kept, labels, origins, "top5", curve),
            strict=True,
        )
    ]
    return Comparison(
        tuple(sorted(entries, key=_entry_order)),
        split,
        left_out=len(trials) - len(kept),
        titles=dict(titles or {}),
        sources=tuple(dict.fromkeys(sources)),
    )


def judged_alike(trials: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """The trials that were judged on test images; if there is none, all of them."""
    return [trial for trial in trials if trial.config.get("split") == "test"] or trials


def rows(comparison: Comparison) -> list[Row]:
    """The comparison in long form; top-5 and costs only where a run has them."""
    out = []
    for entry in comparison.entries:
        named = {name: stat for name, stat in entry.stats.items() if stat.runs or name in _ALWAYS_LISTED}
        outputs = {"": named | by_task(entry.curves), **entry.further}
        for output, stats in outputs.items():
            place = (entry.dataset, entry.paradigm, f"{entry.label} [{output}]" if output else entry.label)
            out += [Row(*place, name, stat.mean, stat.sem, stat.runs) for name, stat in stats.items()]
    return out


def chance_level(entries: Iterable[Entry], among: int = 1) -> np.ndarray:
    """Accuracy of `among` guesses among the classes seen, [T], percent; the mean over runs."""
    streams = sorted({(run, seen) for entry in entries for run, seen in entry.classes_seen.items()})
    tasks = max((len(seen) for _, seen in streams), default=0)
    levels = [[chance(seen[task], among) for _, seen in streams if task < len(seen)] for task in range(tasks)]
    return np.array([np.mean(level) for level in levels])


def is_bound(entry: Entry) -> bool:
    """Whether an entry is the lower or the upper bound, not a contender."""
    return entry.agent == LOWER_BOUND or entry.offline


def agent_order(entry: Entry) -> tuple[int, str, str]:
    """Sort key of tables and legends: lower bound, contenders by name, upper bound."""
    rank = 0 if entry.agent == LOWER_BOUND else 2 if entry.offline else 1
    return (rank, entry.agent, entry.label)


def _entry_order(entry: Entry) -> tuple[object, ...]:
    known = NAMES.index(entry.dataset) if entry.dataset in NAMES else len(NAMES)
    return (known, entry.dataset, _paradigm_order(entry.paradigm), *agent_order(entry))


def _paradigm_order(paradigm: str) -> tuple[int, str]:
    return (PARADIGMS.index(paradigm) if paradigm in PARADIGMS else len(PARADIGMS), paradigm)
