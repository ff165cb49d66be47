"""The confusion matrix, accuracies by class, and what counts as a collapse."""

import numpy as np
import pytest

from lethe.benchmarks.measure.confusion import Confusion, collapse_of_run


def confusion(true, predicted, tied=0):
    return Confusion.of(tuple("abcd"), np.array(true), np.array(predicted), tied)


def test_the_matrix_and_the_accuracies_are_those_of_a_loop_over_the_images():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    found = confusion(true, predicted)
    matrix = np.zeros((4, 4), int)
    for row, column in zip(true, predicted, strict=True):
        matrix[row, column] += 1
    assert np.array_equal(found.matrix(), matrix)
    percent = [100 * matrix[label, label] / matrix[label].sum() for label in range(3)]
    assert np.allclose(found.class_accuracies(), [*percent, np.nan], equal_nan=True)
    assert (found.counts[:, 2] > 0).all() and found.counts[:, 2].sum() == 200


@pytest.mark.parametrize(
    ("true", "predicted", "share"),
    [
        ([0] * 10 + [1] * 10, [0] * 19 + [1], 95),
        ([0] * 10 + [1] * 10, [0] * 17 + [1] * 3, None),  # 85 %
        ([0] * 10 + [1] * 10, [0] * 18 + [1] * 2, None),  # 90 %, but 80 % of those of the other class: no
        ([0] * 10, [0] * 10, None),  # one class alone
        ([0] * 95 + [1] * 5, [0] * 95 + [1] * 5, None),  # nearly all are of that class, and the others are told apart
        ([0] * 95 + [1] * 5, [0] * 100, 100),
        ([0] * 2 + [1] * 2 + [2] * 2, [3] * 6, 100),  # a class without test images
    ],
)  # fmt: skip
def test_one_class_for_nearly_all_images_is_a_collapse(true, predicted, share):
    if share == 95:
        assert confusion(true, predicted).collapse() == "class a was predicted for 95 % of the test images"
    else:
        assert bool(confusion(true, predicted).collapse()) == (share is not None)


def test_equal_scores_of_all_classes_are_a_collapse():
    assert confusion([0, 1] * 10, [0, 1] * 10, tied=18).collapse() == (
        "all classes had the same score on 90 % of the test images"
    )
    assert not confusion([0, 1] * 10, [0, 1] * 10, tied=17).collapse()
    assert not confusion([0] * 10, [0] * 10, tied=10).collapse(), "one class: its score is its own only rival"


@pytest.mark.parametrize(
    ("clauses", "told"),
    [
        (["", "", ""], None),
        (["x", "", ""], None),  # not yet learned
        (["", "", "x"], "x after task 3"),
        (["y", "x", ""], "x after task 2, and after 2 of 3 tasks in all"),
        (["x", "y", "", ""], None),
    ],
)
def test_a_run_has_collapsed_at_its_end_or_in_most_of_its_tasks(clauses, told):
    assert collapse_of_run(clauses) == told
