"""Differences between trials: paired tests over the runs that both have, of all agents against the best one."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lethe.benchmarks.report.entries import Entry
from lethe.benchmarks.report.significance import holm, paired_p, smallest_p

LEVEL = 0.05
"""Significance level: an adjusted p-value up to this is a difference."""
COMPARED = {
    "accuracy_mean": 1,
    "accuracy_last": 1,
    "first_task_last": 1,
    "forgetting": -1,
    "omega_all": 1,
    "top5_mean": 1,
    "omega_all_top5": 1,
}
"""The metrics that are tested; -1 where less is better."""


@dataclass(frozen=True)
class Difference:
    """Difference of one trial from another, over the runs that both have."""

    mean: float | None
    """Mean of the trial's number minus the other one's; None without common runs."""
    pairs: int
    """Number of common runs."""
    p: float
    p_adjusted: float
    """Adjusted for the number of trials that are compared (Holm)."""
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
    second: str = ""
    """Label of the agent with the second best mean, if it differs significantly from the best one and from every agent
    below; else empty."""


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
    best, *others = [entry for _, entry in sorted(rivals, key=lambda rival: -rival[0])]
    found = _against(best, others, metric)
    second = others[0].label if others and found[others[0].label].is_told_apart else ""
    if second and not all(rest.is_told_apart for rest in _against(others[0], others[1:], metric).values()):
        second = ""
    return Column(best.label, found, second)


def tested(differences: Mapping[str, Sequence[float]]) -> dict[str, Difference]:
    """The difference of each trial by label, from those of its runs [pairs]; p-values are adjusted for their number."""
    p_values = [paired_p(values) for values in differences.values()]
    least = _least(p_values, [len(values) for values in differences.values()])
    return {
        label: Difference(
            mean=sum(values) / len(values) if values else None,
            pairs=len(values),
            p=p,
            p_adjusted=adjusted,
            least=lowest,
        )
        for (label, values), p, adjusted, lowest in zip(
            differences.items(), p_values, holm(p_values), least, strict=True
        )
    }


def run_differences(entry: Entry, other: Entry, metric: str) -> list[float]:
    """The numbers of `entry` minus those of `other`, of the runs in which both have one."""
    pairs = [
        (entry.numbers[run].get(metric), other.numbers[run].get(metric))
        for run in sorted(entry.numbers.keys() & other.numbers.keys())
    ]
    return [own - theirs for own, theirs in pairs if own is not None and theirs is not None]


def _against(best: Entry, others: Sequence[Entry], metric: str) -> dict[str, Difference]:
    return tested({entry.label: run_differences(entry, best, metric) for entry in others})


def _least(p_values: Sequence[float], pairs: Sequence[int]) -> list[float]:
    """For each p-value, the adjusted one if its own were the smallest that is attainable with its number of pairs.

    No p-value is below the smallest attainable one, so that those before it in Holm's order are others.
    """
    ascending, count = sorted(p_values), len(p_values)
    # before[k]: the adjusted p-value of the k smallest ones, which none after them may be below.
    steps = [min(1.0, (count - rank) * p) for rank, p in enumerate(ascending)]
    before = [0.0, *itertools.accumulate(steps, max)]
    found = []
    for number in pairs:
        smallest = smallest_p(number)
        rank = bisect.bisect_left(ascending, smallest)
        found.append(max(before[rank], min(1.0, (count - rank) * smallest)))
    return found
