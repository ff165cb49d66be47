"""NCM and FeCAM equal their formulas on all images at once, in NumPy, in any order and batch size."""

import numpy as np
import pytest

from lethe.agents.fecam import FeCAM
from lethe.agents.ncm import NCM
from tests.agents.feature_streams import CLASSES, SIZE, class_after_class, data, learned, scores


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def means(x, y):
    return np.stack([x[y == k].mean(0) for k in range(CLASSES)])


def nearest_mean(x, y, distance):
    x = x.astype(np.float64)
    if distance == "cosine":
        return unit(x) @ unit(means(x, y)).T
    return np.square(x).sum(1, keepdims=True) - np.square(x[:, None] - means(x, y)).sum(2)


def fecam(x, y, power=0.5, diagonal=1.0, off_diagonal=1.0, shrinkings=2):
    """Scores by the formulas, class by class."""
    x = np.sign(x) * np.abs(x.astype(np.float64)) ** power
    columns = []
    for k in range(CLASSES):
        covariance = np.cov(x[y == k].T)
        for _ in range(shrinkings):
            on, off = np.diag(covariance).mean(), covariance[~np.eye(SIZE, dtype=bool)].mean()
            covariance = covariance + np.where(np.eye(SIZE), diagonal * on, off_diagonal * off)
        deviations = np.sqrt(np.diag(covariance))
        inverse = np.linalg.pinv(covariance / np.outer(deviations, deviations))
        away = unit(x) - unit(x[y == k].mean(0))
        columns.append([-row @ inverse @ row for row in away])
    return np.array(columns).T


@pytest.mark.parametrize("batch_size", [1, 7, 200])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_ncm_is_the_nearest_mean_of_all_images(batch_size, distance):
    x, y = data()
    for given in ((x, y), class_after_class(x, y)):
        agent = learned(NCM, *given, batch_size, distance=distance)
        np.testing.assert_allclose(scores(agent, x), nearest_mean(x, y, distance), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_fecam_is_its_formula_on_all_images(batch_size):
    x, y = data()
    for given in ((x, y), class_after_class(x, y)):
        np.testing.assert_allclose(scores(learned(FeCAM, *given, batch_size), x), fecam(x, y), rtol=1e-6)


def test_every_setting_of_fecam_is_that_of_the_formula():
    x, y = data()
    x = x - 1  # below 0 too
    agent = learned(FeCAM, x, y, tukey=0.7, shrink_diagonal=3.0, shrink_off_diagonal=0.5, shrinkings=1)
    np.testing.assert_allclose(scores(agent, x), fecam(x, y, 0.7, 3.0, 0.5, 1), rtol=1e-6)


def test_a_class_of_one_image_has_the_euclidean_distance():
    x, y = data()
    x, y = np.concatenate([x[y != 3], x[y == 3][:1]]), np.append(y[y != 3], 3)
    found = scores(learned(FeCAM, x, y), x)[:, 3]
    root = unit(np.sqrt(x.astype(np.float64)))
    np.testing.assert_allclose(found, -np.square(root - root[-1]).sum(1), atol=1e-9)


def test_classes_of_different_spread_are_told_apart_by_their_covariances_and_not_by_their_means():
    random = np.random.RandomState(0)
    y = np.arange(400) % 2
    spread = np.where(y[:, None] == 0, [0.05, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 0.05, 1.0, 1.0, 1.0, 1.0])
    x = (8 + spread * random.randn(400, SIZE)).astype(np.float32)

    def right(agent_class, **settings):
        return (scores(learned(agent_class, x, y, **settings), x)[:, :2].argmax(1) == y).mean()

    few = {"shrink_diagonal": 1e-3, "shrink_off_diagonal": 0.0, "shrinkings": 1}
    assert right(NCM) < 0.65
    assert right(FeCAM, **few) > right(NCM)
