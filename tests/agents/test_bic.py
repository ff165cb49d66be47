"""BiC: its correction against SciPy's optimum, its losses against formulas, and its held-out images never learned."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from lethe.agents.base import TaskInfo, UndeclaredTaskData
from lethe.agents.bic import BiC, corrected, distillation, fit_correction, holdout_share
from lethe.agents.contract.toy import batch, build
from lethe.common.errors import InputError

NEW = torch.tensor([False, False, True, True, True])


def problem(seed, count=400, scale=1.0, shift=0.0):
    """Scores [N, 5] and labels [N] drawn from their softmax; scores of new labels then made (f - shift) / scale."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(count, 5, generator=generator, dtype=torch.float64)
    y = torch.multinomial(scores.softmax(1), 1, generator=generator).squeeze(1)
    return torch.where(NEW, (scores - shift) / scale, scores), y


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("separable", [False, True])
def test_the_correction_is_the_one_that_scipy_finds(seed, separable):
    scores, y = problem(seed, count=60, scale=0.6, shift=2.0)
    if separable:  # without the penalty the optimum would be infinitely far
        scores[torch.arange(60), y] += 20
    counts = np.bincount(y, minlength=5)

    def loss(point):
        q = scores.numpy().copy()
        q[:, 2:] = point[0] * q[:, 2:] + point[1]
        log_p = (
            q - np.log(np.exp(q - q.max(1, keepdims=True)).sum(1, keepdims=True)) - q.max(1, keepdims=True)
        )
        of_label = [-log_p[y == label, label].mean() for label in range(5) if counts[label]]
        return np.mean(of_label) + 5e-4 * ((point[0] - 1) ** 2 + point[1] ** 2)

    found = fit_correction(scores, y, NEW)
    best = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15})
    np.testing.assert_allclose(found.numpy(), best.x, rtol=1e-5, atol=1e-6)
    assert loss(found.numpy()) <= best.fun + 1e-9


def test_a_planted_distortion_is_found():
    scores, y = problem(7, count=20000, scale=0.5, shift=-1.5)
    alpha, beta = fit_correction(scores, y, NEW).tolist()
    assert (alpha, beta) == pytest.approx((0.5, -1.5), abs=0.1)
    right = corrected(scores, torch.tensor([alpha, beta]), NEW).argmax(1) == y
    assert right.float().mean() > (scores.argmax(1) == y).float().mean() + 0.02


def test_distillation_is_the_divergence_over_old_labels_and_nothing_without_any():
    scores, old_scores = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).unbind()
    p, q = (F.softmax(given[:, :2] / 2, dim=1) for given in (scores, old_scores))
    expected = (q * (q.log() - p.log())).sum(1).mean()
    torch.testing.assert_close(distillation(scores, old_scores, ~NEW, 2.0), expected)
    scores.requires_grad_()
    nothing = distillation(scores, old_scores, torch.zeros(5, dtype=torch.bool), 2.0)
    nothing.backward()
    assert nothing == 0 and torch.equal(scores.grad, torch.zeros_like(scores))


def second_task(**settings):
    """An agent in its second task, labels 2 and 3, and all images that it was shown."""
    agent = build(BiC, momentum=0.0, weight_decay=0.0, memory_size=40, **settings)
    shown = []
    for task, labels in enumerate(([0, 1], [2, 3])):
        agent.begin_task(TaskInfo(task, ()))
        for step in range(8):
            shown.append(batch(labels * 5, seed=10 * task + step))
            agent.observe(*shown[-1])
        if not task:
            agent.end_task(TaskInfo(task, ()), UndeclaredTaskData())
    return agent, shown


def test_one_image_of_each_ten_is_held_out_and_never_learned():
    agent = build(BiC, memory_size=100)
    learned = []
    handle = agent.network.plastic.register_forward_pre_hook(
        lambda _, given: learned.extend(given[0].tolist())
    )
    shown = []
    for step in range(20):
        x, y = batch([0, 1, 2, 3][: 1 + step % 4], seed=step)  # batches do not end where blocks do
        agent.observe(x, y)
        shown += x.tolist()
    handle.remove()
    assert agent.held_out.added == 5 and agent.buffer.added == 45
    held = agent.held_out.sample(100)[0].tolist()
    assert all(image in shown and image not in learned for image in held)
    assert all(image in learned for image in shown if image not in held)


def test_a_step_weighs_distillation_by_the_share_of_old_labels():
    agent, _ = second_task()
    agent.correction = torch.tensor([1.5, 0.3], dtype=torch.float64)
    agent.corrects = torch.tensor([False, True, False, False])
    x, y = batch([2, 3, 0, 1], seed=90)
    before = agent.theta.clone()
    scores = agent.network.plastic(x)
    with torch.no_grad():
        old = agent.old_network(x)[:, :2]
        old[:, 1] = 1.5 * old[:, 1] + 0.3
    p, q = (F.softmax(given / 2, dim=1) for given in (scores[:, :2], old))
    kept = (q * (q.log() - p.log())).sum(1).mean()
    loss = 0.5 * kept + 0.5 * F.cross_entropy(scores, y)
    agent.gradient(loss)
    gradient = agent.optimizer.gradient.clone()
    logged = agent._learn(x, y)
    torch.testing.assert_close(logged["loss"], loss.detach())
    torch.testing.assert_close(before - agent.theta, agent.config.lr * gradient, rtol=1e-3, atol=1e-7)


def test_the_task_ends_with_the_correction_of_its_held_out_scores():
    agent, _ = second_task()
    agent.end_task(TaskInfo(1, ()), UndeclaredTaskData())
    assert agent.corrects.tolist() == [False, False, True, True]
    x, y = agent.held_out.sample(100)
    assert set(y.tolist()) == {0, 1, 2, 3}
    with torch.no_grad():
        raw = agent.network.plastic(x)
        expected = fit_correction(raw, y, agent.corrects)
        assert torch.equal(agent.correction, expected)
        q = agent.predict(x)
    alpha, beta = expected.float()
    assert F.cross_entropy(q, y) < F.cross_entropy(raw, y)
    torch.testing.assert_close(q[:, 2:], alpha * raw[:, 2:] + beta)
    assert torch.equal(q[:, :2], raw[:, :2])


def test_labels_that_all_come_back_are_neither_corrected_nor_distilled():
    agent, _ = second_task()
    agent.end_task(TaskInfo(1, ()), UndeclaredTaskData())
    logged = agent.observe(*batch([0, 1, 2, 3] * 3, seed=50))
    assert logged["distillation"] == 0
    agent.end_task(TaskInfo(2, ()), UndeclaredTaskData())
    assert agent.correction.tolist() == [1, 0] and not agent.corrects.any()


def test_the_budget_holds_the_held_out_images_too():
    assert holdout_share(1200, 10, 10) == 120
    assert holdout_share(40, 10, 10) == 10, "one for each label"
    assert holdout_share(15, 10, 10) == 7, "half the budget at most"
    with pytest.raises(InputError, match="memory_size: expected at least 4, one for each class, got 3"):
        build(BiC, memory_size=3)
