"""SLDA equals linear discriminant analysis on all data at once, in any order and batch size."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from lethe.agents.base import Network, Problem
from lethe.agents.contract.toy import CPU
from lethe.agents.slda import SLDA

CLASSES, SIZE, COUNT = 4, 6, 200


def data(seed=0):
    random = np.random.RandomState(seed)
    mixing, means = random.randn(SIZE, SIZE), 2 * random.randn(CLASSES, SIZE)
    y = random.choice(CLASSES, COUNT, p=[0.4, 0.3, 0.2, 0.1])
    x = (means[y] + random.randn(COUNT, SIZE) @ mixing + 50).astype(
        np.float32
    )  # far from the origin on purpose
    return x, y


def learn(x, y, batch_size, shrinkage=1e-4):
    problem = Problem(CLASSES, (SIZE, 1, 1))
    config = SLDA.Config(shrinkage=shrinkage)
    agent = SLDA(problem, config, Network(nn.Identity(), nn.Flatten()), seed=0, device=CPU)
    for low in range(0, len(y), batch_size):
        part = slice(low, low + batch_size)
        agent.observe(torch.from_numpy(x[part]).view(-1, SIZE, 1, 1), torch.from_numpy(y[part]))
    return agent


def scores(agent, x):
    return agent.predict(torch.from_numpy(x).view(-1, SIZE, 1, 1)).numpy()


def lda(x, y, epsilon):
    """Scores by the formulas, from all data at once."""
    x = x.astype(np.float64)
    means = np.stack([x[y == k].mean(0) for k in range(CLASSES)])
    covariance = sum((x[y == k] - means[k]).T @ (x[y == k] - means[k]) for k in range(CLASSES)) / len(y)
    weights = means @ np.linalg.inv((1 - epsilon) * covariance + epsilon * np.eye(SIZE))
    return x @ weights.T - (weights * means).sum(1) / 2


@pytest.mark.parametrize("batch_size", [1, 7, COUNT])
@pytest.mark.parametrize("order", ["shuffled", "class after class"])
def test_it_equals_batch_lda(batch_size, order):
    x, y = data()
    if order == "class after class":
        x, y = x[np.argsort(y, kind="stable")], y[np.argsort(y, kind="stable")]
    np.testing.assert_allclose(scores(learn(x, y, batch_size, 0.01), x), lda(x, y, 0.01), rtol=1e-6)


def test_it_agrees_with_scikit_learn():
    x, y = data(1)
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(x.astype(np.float64), y)
    theirs = oracle.decision_function(x.astype(np.float64)) - np.log(oracle.priors_)  # SLDA has no priors
    ours = scores(learn(x, y, 10, shrinkage=1e-12), x)
    np.testing.assert_allclose(ours - ours[:, :1], theirs - theirs[:, :1], rtol=1e-5, atol=1e-5)


def test_the_papers_covariance_depends_on_the_order_and_is_another_one():
    """The negative control: with the count of all classes in place of the class's own, the result is no LDA."""
    x, y = data()
    means, scatter, counts = np.zeros((CLASSES, SIZE)), np.zeros((SIZE, SIZE)), np.zeros(CLASSES)
    for total, (image, label) in enumerate(zip(x.astype(np.float64), y, strict=True)):
        difference = image - means[label]
        scatter += total / (total + 1) * np.outer(difference, difference)
        counts[label] += 1
        means[label] += difference / counts[label]
    assert np.abs(learn(x, y, 1).scatter.numpy() - scatter).max() > 100 * SIZE


def test_maps_are_averaged_over_positions():
    problem = Problem(CLASSES, (SIZE, 2, 3))
    agent = SLDA(problem, SLDA.Config(), Network(nn.Identity(), nn.Flatten()), seed=0, device=CPU)
    x, y = data()
    maps = torch.from_numpy(x)[:, :, None, None] + torch.tensor([[-1.0, 0, 1], [2, 0, -2]])
    agent.observe(maps, torch.from_numpy(y))
    torch.testing.assert_close(agent.means, learn(x, y, COUNT).means, rtol=1e-6, atol=1e-6)
