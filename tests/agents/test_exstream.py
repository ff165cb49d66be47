"""ExStream merges the nearest two prototypes of a class and replays all of them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from lethe.agents.base import Network, Problem
from lethe.agents.contract.toy import CPU
from lethe.agents.exstream import ExStream, merged
from lethe.common.errors import InputError
from tests.agents.feature_streams import CLASSES, SIZE, data, learned


def brute_force(x, y, capacity):
    """For each class a list of (prototype, count), by a search over all pairs."""
    kept = {k: [] for k in range(CLASSES)}
    for vector, label in zip(x.astype(np.float64), y.tolist(), strict=True):
        rows = kept[label]
        if len(rows) == capacity:
            i, j = min(
                itertools.combinations(range(capacity), 2),
                key=lambda pair: np.linalg.norm(rows[pair[0]][0] - rows[pair[1]][0]),
            )
            (p, n), (q, m) = rows[i], rows[j]
            rows[j] = ((n * p + m * q) / (n + m), n + m)
            rows[i] = (vector, 1)
        else:
            rows.append((vector, 1))
    return kept


@pytest.mark.parametrize("batch_size", [1, 9])
def test_prototypes_are_those_of_a_brute_force_search(batch_size):
    x, y = data(120)
    agent = learned(ExStream, x, y, batch_size, prototypes=5)
    for label, rows in brute_force(x, y, 5).items():
        assert agent.stored[label] == len(rows) == 5
        np.testing.assert_allclose(agent.prototypes[label].numpy(), [p for p, _ in rows], rtol=1e-4)
        assert agent.counts[label].tolist() == [n for _, n in rows]
        assert agent.counts[label].sum() == (y == label).sum(), "each image is counted once"


def test_prototypes_of_a_class_keep_its_mean():
    x, y = data(120)
    agent = learned(ExStream, x, y, prototypes=3)
    for label in range(CLASSES):
        weights = agent.counts[label] / agent.counts[label].sum()
        np.testing.assert_allclose(
            (weights @ agent.prototypes[label]).numpy(), x[y == label].mean(0), rtol=1e-4
        )


def test_of_two_pairs_as_near_the_one_kept_first_is_merged():
    prototypes = torch.tensor([[0.0], [5.0], [1.0], [6.0]])
    new, counts, free = merged(prototypes, torch.tensor([3.0, 1.0, 1.0, 1.0]))
    assert (new.squeeze(1).tolist(), counts.tolist(), free.item()) == ([0, 5, 0.25, 6], [3, 1, 4, 1], 0)


def test_every_image_is_followed_by_one_shuffled_pass_over_all_prototypes(monkeypatch):
    steps = []
    original = ExStream.step
    monkeypatch.setattr(
        ExStream, "step", lambda self, loss: (steps.append(sum(self.stored)), original(self, loss))
    )
    x, y = data(30)
    learned(ExStream, x, y, prototypes=4, replay_images=6)
    stored = [sum(min(4, (y[: n + 1] == k).sum()) for k in range(CLASSES)) for n in range(len(y))]
    assert steps == [count for count in stored for _ in range(-(-count // 6))]


def test_a_pass_is_the_same_as_steps_on_the_rows_by_hand():
    """Plain SGD, one mini-batch: the gradient of the mean loss of all prototypes, old and new."""
    x, _ = data(12)
    y = np.arange(12) % CLASSES
    settings = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1, "prototypes": 4}
    before, after = learned(ExStream, x[:11], y[:11], **settings), learned(ExStream, x, y, **settings)
    linear = before.network.plastic[1]
    rows = [(p, k) for k in range(CLASSES) for p in after.prototypes[k, : after.stored[k]]]
    vectors, labels = torch.stack([p for p, _ in rows]), torch.tensor([k for _, k in rows])
    loss = nn.functional.cross_entropy(linear(vectors), labels)
    (gradient,) = torch.autograd.grad(loss, [linear.weight])
    expected = linear.weight - 0.1 * gradient
    torch.testing.assert_close(after.network.plastic[1].weight, expected, rtol=1e-5, atol=1e-6)


def test_stages_that_do_not_take_pooled_features_are_refused():
    network = Network(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(SIZE * 4, CLASSES)))
    with pytest.raises(InputError, match=r"averaged over positions, 6 x 1 x 1, .* cut it at its head"):
        ExStream(Problem(CLASSES, (SIZE, 2, 2)), ExStream.Config(), network, seed=0, device=CPU)
