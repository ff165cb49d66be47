"""iCaRL's loss, herding, budget and classification against the paper's formulas in NumPy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lethe.agents.base import TaskInfo
from lethe.agents.contract.toy import CPU, Batches, TinyNet, batch, build
from lethe.agents.icarl import ICaRL, herd, icarl_loss, shares
from lethe.agents.networks import build as networks
from lethe.agents.networks.build import features
from lethe.common.errors import InputError


def unit(seed, count=12, size=5):
    vectors = torch.randn(count, size, generator=torch.Generator().manual_seed(seed)).abs()
    return vectors / vectors.norm(dim=1, keepdim=True)


def taught(tasks=((0, 1), (2, 3)), images=40, **settings):
    """An agent that has learned these labels task by task, and the data of each task."""
    agent, data = build(ICaRL, **settings), []
    for number, labels in enumerate(tasks):
        info = TaskInfo(number, tuple(labels))
        agent.begin_task(info)
        data.append(Batches(*batch(list(labels) * (images // len(labels)), seed=number)))
        for x, y in data[-1].batches(10):
            agent.observe(x, y)
        agent.end_task(info, data[-1])
    return agent, data


def exemplars(agent):
    labels = agent.buffer["labels"]
    return {label: agent.buffer["inputs"][labels == label] for label in labels.unique().tolist()}


def test_the_loss_is_that_of_algorithm_3():
    random = np.random.RandomState(0)
    scores, old_scores = (random.randn(6, 5).astype(np.float32) * 2 for _ in "ab")
    y, new, old = [3, 2, 2, 0, 1, 3], [2, 3], [0, 1]  # label 4 was never seen
    g, q = (1 / (1 + np.exp(-a)) for a in (scores, old_scores))
    expected = 0.0
    for image in range(6):
        for label in new:
            expected -= np.log(g[image, label] if y[image] == label else 1 - g[image, label]) / 6
        for label in old:
            kept = q[image, label]
            expected -= (kept * np.log(g[image, label]) + (1 - kept) * np.log(1 - g[image, label])) / 6
    is_new, is_old = torch.zeros(5, dtype=torch.bool), torch.zeros(5, dtype=torch.bool)
    is_new[new], is_old[[*old, 3]] = True, True  # 3 is both, and counts as new
    ours = icarl_loss(torch.from_numpy(scores), torch.from_numpy(old_scores), torch.tensor(y), is_new, is_old)
    assert ours.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_herding_chooses_what_a_search_over_all_candidates_chooses(seed):
    vectors = unit(seed)
    v = vectors.double().numpy()
    mean = v.mean(0) / np.linalg.norm(v.mean(0))
    chosen = []
    for k in range(1, len(v) + 1):
        distances = [
            np.inf if row in chosen else np.linalg.norm(mean - v[[*chosen, row]].sum(0) / k)
            for row in range(len(v))
        ]
        chosen.append(int(np.argmin(distances)))
    assert herd(vectors, len(v)).tolist() == chosen
    assert herd(vectors, 4).tolist() == chosen[:4]


def test_herding_takes_nothing_twice_and_all_if_there_are_few():
    vectors = torch.cat([unit(0, count=1)] * 5 + [unit(1, count=3)])
    assert sorted(herd(vectors, 100).tolist()) == list(range(8))
    assert herd(vectors, 0).tolist() == []


def test_the_budget_is_shared_and_earlier_classes_keep_their_first_exemplars():
    agent, _ = taught(tasks=((0, 1),), memory_size=11)
    first = exemplars(agent)
    assert {label: len(x) for label, x in first.items()} == {0: 6, 1: 5}
    agent, _ = taught(memory_size=11)
    both = exemplars(agent)
    assert {label: len(x) for label, x in both.items()} == {0: 3, 1: 3, 2: 3, 3: 2}
    assert all(torch.equal(both[label], first[label][:3]) for label in (0, 1))
    assert shares(3, 4) == [1, 1, 1, 0]


def test_a_budget_smaller_than_the_classes_is_refused():
    with pytest.raises(InputError, match="memory_size: expected at least 4, one for each class, got 3: set"):
        build(ICaRL, memory_size=3)
    build(ICaRL, memory_size=4)


def test_exemplars_are_images_of_the_task_under_their_label_in_the_order_of_herding():
    agent, data = taught(tasks=((0, 1),), images=200, memory_size=30)  # more than one pass takes
    agent.network.eval()
    with torch.no_grad():
        for label, found in exemplars(agent).items():
            images = data[0].x[data[0].y == label]
            rows = herd(agent.unit_features(images), 15)
            assert torch.equal(found, images[rows])


def test_a_class_that_comes_back_is_learned_and_chosen_anew_from_old_and_new_images():
    agent, _ = taught(tasks=((0, 1),), memory_size=10)
    before = exemplars(agent)
    x, y = batch([1, 2] * 10, seed=5)
    agent.observe(x, y)
    assert agent.new.tolist() == [False, True, True, False]
    agent.end_task(TaskInfo(1, (0, 1, 2)), Batches(x, y))
    agent.network.eval()
    with torch.no_grad():
        candidates = torch.cat([before[1], x[y == 1]])
        chosen = candidates[herd(agent.unit_features(candidates), 3)]
    assert torch.equal(exemplars(agent)[1], chosen)
    assert torch.equal(exemplars(agent)[0], before[0][:4])


def test_the_label_is_that_of_the_nearest_mean_of_exemplars():
    agent, _ = taught(memory_size=12)
    plastic, (x, _) = agent.network.plastic.eval(), batch([0, 1, 2, 3] * 3, seed=7)

    def phi(images):
        vectors = plastic.body(plastic.scale(images)).detach().double().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    means = np.stack([phi(found).mean(0) for _, found in sorted(exemplars(agent).items())])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    expected = -((phi(x)[:, None] - means[None]) ** 2).sum(2)
    with torch.no_grad():
        np.testing.assert_allclose(agent.predict(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_label_without_exemplars_has_a_finite_score_below_all_others():
    agent, _ = taught(tasks=((0, 1), (2,)), memory_size=4)  # 3 never came by
    agent.network.eval()
    agent.means = -agent.means  # the other means are now as far as can be
    with torch.no_grad():
        scores = agent.predict(batch([0, 1, 2, 3])[0])
    assert torch.isfinite(scores).all()
    assert (scores[:, 3] < scores[:, :3].min(1).values).all()


def test_old_labels_are_distilled_from_the_network_as_it_was_when_the_task_began():
    agent, _ = taught(tasks=((0, 1),), memory_size=4, replay_images=100)
    before = copy.deepcopy(agent.network.plastic).eval()
    for step in range(3):
        x, y = batch([2, 3] * 5, seed=30 + step)
        replayed = torch.cat([x, agent.buffer["inputs"]]), torch.cat([y, agent.buffer["labels"]])
        with torch.no_grad():
            expected = icarl_loss(
                agent.network.plastic(replayed[0]),
                before(replayed[0]),
                replayed[1],
                torch.tensor([False, False, True, True]),
                torch.tensor([True, True, False, False]),
            )
        torch.testing.assert_close(agent.observe(x, y)["loss"], expected)
    assert not torch.equal(agent.network.plastic.head.weight, before.head.weight)
    assert torch.equal(agent.old_network.head.weight, before.head.weight)


@pytest.mark.parametrize(("name", "size"), [("small", 128), ("resnet18", 512), ("tiny", 32)])
def test_features_are_what_the_head_sees(name, size):
    plastic = TinyNet() if name == "tiny" else network_of(name)
    x, _ = batch([0, 1, 2])
    with torch.no_grad():
        found = features(plastic, x)
        assert found.shape == (3, size)
        torch.testing.assert_close(plastic[-1](found), plastic(x))


def test_features_of_squeezenet_are_the_average_of_its_last_fire_module():
    plastic, seen = network_of("squeezenet"), []
    fires = [module for module in plastic.modules() if type(module).__name__ == "Fire"]
    fires[-1].register_forward_hook(lambda module, given, result: seen.append(result))
    x = batch([0, 1, 2])[0].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    with torch.no_grad():
        found = features(plastic, x)
    assert len(fires) == 8 and found.shape == (3, 512)
    torch.testing.assert_close(found, seen[0].mean((2, 3)))


def network_of(name):
    return networks.build(name, 4, pretrained=False, seed=0, device=CPU)[0].plastic.eval()


def test_a_network_without_a_last_layer_is_refused():
    with pytest.raises(TypeError, match="whose last layer is the head"):
        features(nn.Linear(2, 3), torch.zeros(1, 2))
