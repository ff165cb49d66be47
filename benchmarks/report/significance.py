"""Significance of differences between agents: exact paired permutation tests, adjusted for their number (Holm).

Runs are pairs: run r of every agent learned the same stream. If two agents were equally good, either sign of each
run's difference would be as likely as the other, so the p-value is the share of all sign patterns whose mean
difference is at least as far from zero as the observed one.
"""

from collections.abc import Sequence

import numpy as np

_EXACT_UP_TO = 30
"""Number of runs: 2^30 sign patterns, of which only two halves of 2^15 are stored."""
_RANDOM_PATTERNS = 99_999
_ROUNDING = 1e-12
"""Sums of the same numbers in another order differ by less, relative to the sum of their sizes."""


def paired_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of the mean of `differences` [runs] under random signs; 1 where there are none.

    Exact up to 30 runs: all 2^runs patterns count. With more, 99,999 patterns are drawn, from a fixed seed.
    """
    values = np.asarray(differences, np.float64)
    if values.size > _EXACT_UP_TO:
        return _drawn_p(values)
    limit = abs(values.sum()) - _ROUNDING * np.abs(values).sum()
    if limit <= 0:
        return 1.0
    # scipy.stats.permutation_test finds the same, but makes a Python tuple of each pattern: 22 s for 20 runs. Here
    # a pattern is a sum of one half of the runs and one of the other: for each of the first, those of the second
    # that keep the total between the limits are counted by bisection.
    half = values.size // 2
    first, second = _signed_sums(values[:half]), np.sort(_signed_sums(values[half:]))
    above, below = (
        np.searchsorted(second, limit - first, "left"),
        np.searchsorted(second, -limit - first, "right"),
    )
    return float(1 - (above - below).sum() / (first.size * second.size))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number (Holm 1979, "A simple sequentially rejective multiple test procedure").

    In ascending order, the i-th of m (from 0) is multiplied by m - i; none may be below the one before it.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def smallest_p(runs: int, comparisons: int = 1) -> float:
    """The smallest two-sided p-value attainable with `runs` pairs, adjusted for the number of `comparisons`."""
    return min(1.0, comparisons * 2.0 ** (1 - runs))


def _signed_sums(values: np.ndarray) -> np.ndarray:
    """The sums of `values` [n] under all signs, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _drawn_p(values: np.ndarray) -> float:
    from scipy.stats import permutation_test  # half a second, for tests of more than thirty runs alone

    found = permutation_test(
        (values,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=_RANDOM_PATTERNS,
        batch=1024,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
