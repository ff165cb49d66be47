"""Test results of the chosen configurations, and which of them differ significantly from the best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lethe.agents import registry
from lethe.benchmarks.records.read import TrialRecord, read_trial
from lethe.benchmarks.report.comparison import Comparison, Entry, compare
from lethe.benchmarks.report.write import problems_of
from lethe.benchmarks.run.trial import Trial
from lethe.common.input_problems import raise_any
from lethe.gridsearch.grid import for_test
from lethe.gridsearch.report.significance import holm, paired_p, smallest_p
from lethe.gridsearch.selection import Choice

LEVEL = 0.05
"""Significance level: an adjusted p-value up to this is a difference."""
COMPARED = {"accuracy_mean": 1, "accuracy_last": 1, "first_task_last": 1, "forgetting": -1, "omega_all": 1}
"""The metrics that are tested; -1 where less is better."""


@dataclass(frozen=True)
class Difference:
    """Difference of an agent from the best one, over the runs that both have."""

    mean: float | None
    """Mean of the agent's number minus the best one's; None without common runs."""
    pairs: int
    """Number of common runs."""
    p: float
    p_adjusted: float
    """Adjusted for the number of comparisons in the column (Holm)."""
    least: float
    """Smallest adjusted p attainable with this many pairs (all differences of one sign)."""

    @property
    def is_told_apart(self) -> bool:
        """Whether the difference is significant."""
        return self.p_adjusted <= LEVEL

    @property
    def too_few(self) -> bool:
        """Whether no outcome of this many common runs could be significant."""
        return self.least > LEVEL


@dataclass(frozen=True)
class Column:
    """One metric of one dataset and paradigm: differences of all agents from the best."""

    best: str
    """Label of the best agent."""
    others: Mapping[str, Difference]
    """By label, without agents that have no number and without the upper bound, which learns from offline lists."""


def final_comparison(choices: Sequence[Choice], results: Path) -> Comparison:
    """The comparison of the chosen configurations on test images; an entry without runs where none was learned."""
    records = [_record(for_test(choice.trial), results) for choice in choices]
    problems = [problem for record in records for problem in problems_of(record)]
    raise_any(problems)
    return compare(records)


def column(entries: Sequence[Entry], metric: str) -> Column | None:
    """`entries` of one dataset and paradigm against the one with the best mean of `metric`; None without numbers.

    The best is selected by the same runs that are tested, so a p-value just below the level is optimistic; the
    adjustment does not correct for this.
    """
    rivals = [
        (COMPARED[metric] * mean, entry)
        for entry in entries
        if not entry.offline and (mean := entry.stats[metric].mean) is not None
    ]
    if not rivals:
        return None
    _, best = max(rivals, key=lambda rival: rival[0])
    others = [entry for _, entry in rivals if entry is not best]
    differences = [_differences(entry, best, metric) for entry in others]
    p_values = [paired_p(values) for values in differences]
    least = [_least(p_values, index, len(values)) for index, values in enumerate(differences)]
    tests = zip(others, differences, p_values, holm(p_values), least, strict=True)
    return Column(
        best.label,
        {
            entry.label: Difference(
                mean=sum(values) / len(values) if values else None,
                pairs=len(values),
                p=p,
                p_adjusted=adjusted,
                least=lowest,
            )
            for entry, values, p, adjusted, lowest in tests
        },
    )


def _differences(entry: Entry, best: Entry, metric: str) -> list[float]:
    """Differences of the runs in which both have a number."""
    pairs = [
        (entry.numbers[run].get(metric), best.numbers[run].get(metric))
        for run in sorted(entry.numbers.keys() & best.numbers.keys())
    ]
    return [own - other for own, other in pairs if own is not None and other is not None]


def _least(p_values: Sequence[float], index: int, pairs: int) -> float:
    """The adjusted p-value at `index`, with the smallest one attainable with `pairs` runs in its place."""
    return holm([*p_values[:index], smallest_p(pairs), *p_values[index + 1 :]])[index]


def _record(trial: Trial, results: Path) -> TrialRecord:
    folder, needs = trial.folder(results), asdict(registry.get(trial.agent).needs)
    if not (folder / "config.json").exists():
        return TrialRecord(folder, trial.config(), needs, (), ())
    record = read_trial(folder)
    return replace(record, needs=record.needs or needs)
