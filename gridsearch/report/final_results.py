"""Test results of the chosen configurations, and the significance of their differences."""

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
"""An adjusted p-value up to this is a difference."""
COMPARED = {"accuracy_mean": 1, "accuracy_last": 1, "first_task_last": 1, "forgetting": -1, "omega_all": 1}
"""The metrics that are tested; -1 where less is better."""


@dataclass(frozen=True)
class Difference:
    """An agent against the best one, over the runs that both have."""

    mean: float | None
    """Of the agent's number minus the best one's; None without common runs."""
    pairs: int
    """Common runs."""
    p: float
    p_adjusted: float
    """For the number of comparisons in the column."""
    least: float
    """Smallest adjusted p attainable with this many pairs (all differences of one sign)."""

    @property
    def is_told_apart(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p_adjusted <= LEVEL

    @property
    def too_few(self) -> bool:
        """Whether so few common runs could not have told them apart whatever they said."""
        return self.least > LEVEL


@dataclass(frozen=True)
class Column:
    """One metric of one dataset and paradigm: all agents against the best."""

    best: str
    """Its label."""
    others: Mapping[str, Difference]
    """By label; agents without a number are not there, nor is the upper bound, which learns from offline lists."""


def final_comparison(choices: Sequence[Choice], results: Path) -> Comparison:
    """The comparison of the chosen configurations on test images; an entry without runs where none was learned."""
    records = [_record(for_test(choice.trial), results) for choice in choices]
    problems = [problem for record in records for problem in problems_of(record)]
    raise_any(problems)
    return compare(records)


def column(entries: Sequence[Entry], metric: str) -> Column | None:
    """`entries` of one dataset and paradigm against the one with the best mean of `metric`; None without numbers.

    The best is picked by the same runs that are tested, so an agent whose test is passed by a hair may still be
    its equal; that the p-values are adjusted does not mend this.
    """
    rivals = [entry for entry in entries if not entry.offline and entry.stats[metric].mean is not None]
    if not rivals:
        return None
    best = max(rivals, key=lambda entry: COMPARED[metric] * entry.stats[metric].mean)
    others = [entry for entry in rivals if entry is not best]
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
    """Of the runs in which both have a number."""
    pairs = [
        (entry.numbers[run].get(metric), best.numbers[run].get(metric))
        for run in sorted(entry.numbers.keys() & best.numbers.keys())
    ]
    return [own - other for own, other in pairs if own is not None and other is not None]


def _least(p_values: Sequence[float], index: int, pairs: int) -> float:
    """The adjusted p-value at `index`, if there the smallest stood that `pairs` runs can have."""
    return holm([*p_values[:index], smallest_p(pairs), *p_values[index + 1 :]])[index]


def _record(trial: Trial, results: Path) -> TrialRecord:
    folder, needs = trial.folder(results), asdict(registry.get(trial.agent).needs)
    if not (folder / "config.json").exists():
        return TrialRecord(folder, trial.config(), needs, (), ())
    record = read_trial(folder)
    return replace(record, needs=record.needs or needs)
