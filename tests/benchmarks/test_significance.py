import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from lethe.benchmarks.report.differences import _least
from lethe.benchmarks.report.significance import holm, paired_p, smallest_p


def by_all_patterns(differences):
    """The definition, one pattern after the other."""
    observed = abs(np.mean(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    means = [abs(np.mean(np.multiply(pattern, differences))) for pattern in patterns]
    return sum(mean >= observed - 1e-12 for mean in means) / len(patterns)


@pytest.mark.parametrize("runs", range(1, 11))
def test_the_p_value_is_the_share_of_sign_patterns_as_extreme_as_the_observed(runs):
    draws = np.random.RandomState(runs)
    for differences in (draws.normal(1, 1, runs), draws.randint(-2, 3, runs), draws.randint(0, 2, runs) / 10):
        assert paired_p(differences) == by_all_patterns(differences)


def test_scipy_finds_the_same():
    differences = np.random.RandomState(0).normal(0.4, 1, 12)
    found = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=2**12, vectorized=True
    )
    assert paired_p(differences) == found.pvalue


def test_by_hand():
    # |1 + 2 + 4| = 7 is reached by two of eight patterns; |1 + 2 - 4| = 1 or more by all.
    assert paired_p([1, 2, 4]) == 2 / 8
    assert paired_p([1, 2, -4]) == 1


def test_sums_that_are_equal_but_for_rounding_count_as_equal():
    # In floating point 0.1 + 0.2 is more than 0.3.
    assert paired_p([0.1, 0.2, -0.3]) == 1
    assert paired_p([0.3, 0.1, 0.2]) == paired_p([3, 1, 2])


def test_no_difference_and_no_runs_prove_nothing():
    assert paired_p([0.0] * 8) == 1
    assert paired_p([]) == 1


def test_twenty_and_thirty_runs_are_exact():
    assert paired_p([1.0] * 20) == 2 / 2**20
    assert paired_p([1.0] * 30) == 2 / 2**30


def test_more_runs_are_drawn_alike_each_time_and_leave_the_global_state_alone():
    differences = [1.0] * 26 + [-1.0] * 14
    before = np.random.get_state()[1].copy()
    first = paired_p(differences)
    assert first == paired_p(differences)
    assert first == pytest.approx(binomtest(26, 40).pvalue, abs=0.003)
    assert (np.random.get_state()[1] == before).all()
    # A share of drawn patterns, not of all 2^40, whose halves would not fit into memory for a few runs more.
    assert first * 100_000 == pytest.approx(round(first * 100_000), abs=1e-6)


def test_holm_by_hand():
    # Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06 (not below the one before), 0.5 x 1.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.02, 0.6]) == pytest.approx([0.04, 0.6])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("comparisons", range(1, 7))
def test_holm_never_rejects_less_than_bonferroni_and_never_below_the_raw_value(comparisons):
    values = np.random.RandomState(comparisons).uniform(0, 0.3, comparisons).tolist()
    adjusted = holm(values)
    assert all(p <= a <= min(1, comparisons * p) + 1e-15 for p, a in zip(values, adjusted, strict=True))
    order = sorted(range(comparisons), key=lambda i: values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@pytest.mark.parametrize("runs", [1, 2, 5, 10])
def test_the_smallest_p_is_that_of_equal_signs(runs):
    assert smallest_p(runs) == paired_p([1.0] * runs)
    assert smallest_p(runs, 3) == min(1, 3 * paired_p([1.0] * runs))


def test_five_runs_cannot_reach_five_percent_and_six_can():
    assert smallest_p(5) > 0.05 >= smallest_p(6)
    assert smallest_p(0) == 1


@pytest.mark.parametrize("seed", range(40))
def test_the_least_adjusted_p_value_is_holms_with_the_smallest_attainable_one_in_its_place(seed):
    draws = np.random.RandomState(seed)
    pairs = draws.randint(2, 9, size=draws.randint(1, 6)).tolist()
    values = [min(1.0, draws.randint(1, 6) * smallest_p(number)) for number in pairs]
    for index, (number, found) in enumerate(zip(pairs, _least(values, pairs), strict=True)):
        replaced = [*values[:index], smallest_p(number), *values[index + 1 :]]
        assert found == holm(replaced)[index]
