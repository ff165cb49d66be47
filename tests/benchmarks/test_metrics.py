"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest

from lethe.benchmarks.measure import metrics

NAN = np.nan
# Three tasks, three groups. Columns: seen, group 0, group 1, group 2.
CLASSES_APART = np.array([[90.0, 90, NAN, NAN], [70.0, 60, 80, NAN], [50.0, 40, 30, 80]])
CLASSES_SHARED = np.array([[40.0, 40], [50.0, 50], [60.0, 60]])


def test_accuracies():
    assert metrics.accuracy_mean(CLASSES_APART) == 70
    assert metrics.accuracy_last(CLASSES_APART) == 50
    assert metrics.first_task_last(CLASSES_APART) == 40
    assert metrics.first_task_mean(CLASSES_APART) == pytest.approx((90 + 60 + 40) / 3)


def test_forgetting_is_the_best_before_minus_the_last():
    assert metrics.forgetting(CLASSES_APART) == pytest.approx(((90 - 40) + (80 - 30)) / 2)
    better_later = np.array([[50.0, 50, NAN], [60.0, 70, 50], [60.0, 60, 60]])
    assert metrics.forgetting(better_later) == pytest.approx(70 - 60)
    best_at_the_end = np.array([[50.0, 50, NAN], [60.0, 55, 65], [65.0, 75, 55]])
    assert metrics.forgetting(best_at_the_end) == pytest.approx(55 - 75), (
        "the last task is none of those before"
    )


def test_backward_transfer_compares_with_the_task_that_brought_the_classes():
    assert metrics.backward_transfer(CLASSES_APART) == pytest.approx(((40 - 90) + (30 - 80)) / 2)


def test_where_tasks_share_classes_both_are_undefined_not_zero():
    # A class may be missing from the first of the tasks that share it.
    for matrix in (CLASSES_SHARED, CLASSES_APART):
        found = metrics.summary(matrix, tasks_share_classes=True)
        assert (found["forgetting"], found["backward_transfer"]) == (None, None)
    found = metrics.summary(CLASSES_APART, tasks_share_classes=False)
    assert found["forgetting"] == metrics.forgetting(CLASSES_APART)
    assert found["backward_transfer"] == metrics.backward_transfer(CLASSES_APART)


def test_a_single_task_forgets_nothing_that_could_be_measured():
    found = metrics.summary(CLASSES_APART[:1, :2], tasks_share_classes=False)
    assert (found["forgetting"], found["backward_transfer"]) == (None, None)


def test_omega_all_is_one_for_the_offline_learner():
    curve = np.array([90.0, 80, 70])
    assert metrics.omega_all(curve, curve) == 1
    assert metrics.omega_all(curve / 2, curve) == pytest.approx(0.5)
    assert metrics.omega_all(curve, np.array([90.0, 0, 70])) is None


def test_groups_are_the_classes_first_met_in_a_task_numbered_without_gaps():
    assert metrics.groups_of([(0, 1), (0, 1, 2), (0, 1, 2)]) == {0: 0, 1: 0, 2: 1}
    assert metrics.groups_of([(0,), (0,), (0, 1)]) == {0: 0, 1: 1}


def test_chance():
    assert metrics.chance(4) == 25


def test_two_groups_are_enough_to_forget_one():
    matrix = np.array([[90.0, 90, NAN], [60.0, 50, 80]])
    assert metrics.forgetting(matrix) == 90 - 50
    assert metrics.backward_transfer(matrix) == 50 - 90
