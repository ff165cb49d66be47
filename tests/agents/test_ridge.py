"""RanPAC and ACIL equal ridge regression on all images at once, in any order and batch size."""

import numpy as np
import pytest
import torch

from lethe.agents.acil import ACIL
from lethe.agents.parts import ridge
from lethe.agents.ranpac import RIDGES, RanPAC, by_error
from lethe.common.errors import InputError
from tests.agents.feature_streams import CLASSES, SIZE, class_after_class, data, inputs, learned, scores

WIDE = 30
COUNT = 2 * ridge.ROWS + 57  # whole portions, and images that wait
MANY = 300  # random features, so many that some penalty is better than none


def wide(agent, x):
    return np.maximum(x.astype(np.float64) @ agent.projection.numpy().astype(np.float64), 0)


def solution(h, y, penalty):
    return np.linalg.solve(h.T @ h + penalty * np.eye(h.shape[1]), h.T @ np.eye(CLASSES)[y])


def agree(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8 * np.abs(theirs).max())


@pytest.mark.parametrize("batch_size", [1, 10, COUNT])
def test_acil_equals_ridge_regression_on_all_images(batch_size):
    x, y = data(COUNT)
    agent = learned(ACIL, x, y, batch_size, random_features=WIDE, ridge=0.1)
    h = wide(agent, x)
    agree(scores(agent, x), h @ solution(h, y, 0.1))


@pytest.mark.parametrize("batch_size", [3, COUNT])
def test_ranpac_equals_ridge_regression_on_all_images_with_the_penalty_of_held_out_fifths(batch_size):
    x, y = data(COUNT)
    agent = learned(RanPAC, x, y, batch_size, random_features=MANY)
    h, targets = wide(agent, x), np.eye(CLASSES)[y]
    last = np.arange(COUNT) % 5 == 4
    errors = [
        np.square(h[last] @ solution(h[~last], y[~last], penalty) - targets[last]).sum() for penalty in RIDGES
    ]
    best = RIDGES[int(np.argmin(errors))]
    assert RIDGES[-1] < best < RIDGES[0]
    agree(scores(agent, x), h @ solution(h, y, best))
    assert agent.cache["ridge"] == best


def test_acil_equals_the_papers_recursion_batch_by_batch():
    x, y = data(COUNT)
    agent = learned(ACIL, x, y, 10, random_features=WIDE, ridge=2.0)
    h, targets = wide(agent, x), np.eye(CLASSES)[y]
    r, v = np.eye(WIDE) / 2.0, np.zeros((WIDE, CLASSES))
    for low in range(0, COUNT, 7):
        rows, of = h[low : low + 7], targets[low : low + 7]
        r = r - r @ rows.T @ np.linalg.inv(np.eye(len(rows)) + rows @ r @ rows.T) @ rows @ r  # equation 10
        v = v + r @ rows.T @ (of - rows @ v)  # equation 9
    agree(scores(agent, x), h @ v)


@pytest.mark.parametrize("agent_class", [ACIL, RanPAC])
def test_batch_sizes_change_no_bit(agent_class):
    x, y = data(COUNT)
    results = [
        scores(learned(agent_class, x, y, size, random_features=WIDE), x) for size in (1, 10, 321, COUNT)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_the_order_of_images_changes_nothing():
    x, y = data(COUNT)
    one = scores(learned(ACIL, x, y, random_features=WIDE), x)
    other = scores(learned(ACIL, *class_after_class(x, y), random_features=WIDE), x)
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_an_evaluation_between_changes_nothing():
    x, y = data(COUNT)
    once = learned(RanPAC, x, y, random_features=WIDE)
    asked = learned(RanPAC, x[:330], y[:330], random_features=WIDE)
    scores(asked, x)
    asked.observe(inputs(x[330:]), torch.from_numpy(y[330:]))
    np.testing.assert_array_equal(scores(asked, x), scores(once, x))


def test_strips_of_columns_are_the_lower_triangle_of_the_whole_product(monkeypatch):
    x, y = data(COUNT)
    monkeypatch.setattr(ridge, "_COLUMNS", 7)
    agent = learned(RanPAC, x, y, random_features=WIDE)
    gram, sums = agent.totals()
    h, last = wide(agent, x), np.arange(COUNT) % 5 == 4
    for part, rows in enumerate((~last, last)):
        agree(gram[part].numpy(), np.tril(h[rows].T @ h[rows]))
        agree(sums[part].numpy(), h[rows].T @ np.eye(CLASSES)[y[rows]])


def test_penalties_come_by_their_error_until_it_has_risen_three_times():
    x, y = data(COUNT)
    agent = learned(RanPAC, x, y, random_features=MANY)
    order = by_error(*agent.totals())
    tried = len(order)
    best = RIDGES.index(order[0])
    assert set(order) == set(RIDGES[:tried]) and tried == best + 1 + 3


def test_a_penalty_that_rounding_swallows_is_passed_over():
    x, y = data(10)  # far fewer images than random features, so that all else is the penalty
    agent = learned(RanPAC, 1e6 * x, y, random_features=WIDE)
    gram, sums = agent.totals()
    assert ridge.solve(gram[0], sums[0], RIDGES[-1]) is None
    assert RIDGES[-1] not in by_error(gram, sums)
    assert np.isfinite(scores(agent, 1e6 * x)).all()
    with pytest.raises(InputError, match=r"ridge: expected a penalty that float64 can tell .* try 1e-06"):
        scores(learned(ACIL, 1e6 * x, y, random_features=WIDE, ridge=1e-8), x)


def test_before_a_fifth_image_the_largest_penalty_is_taken():
    x, y = data(4)
    agent = learned(RanPAC, x, y, random_features=WIDE)
    scores(agent, x)
    assert agent.cache["ridge"] == RIDGES[0]


def test_random_layers_are_those_of_the_papers():
    x, y = data(1)
    normal = learned(RanPAC, x, y, random_features=WIDE).draw(SIZE, 20_000)
    assert normal.std().item() == pytest.approx(1, rel=0.02)
    uniform = learned(ACIL, x, y, random_features=WIDE).draw(SIZE, 20_000)
    assert uniform.abs().max().item() == pytest.approx(SIZE**-0.5, rel=0.01)
    assert uniform.std().item() == pytest.approx((3 * SIZE) ** -0.5, rel=0.02)
