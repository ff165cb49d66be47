"""EWC against per-sample automatic differentiation and against the paper's sum of one term a task."""

import torch
import torch.nn.functional as F

from lethe.agents.contract.toy import Batches, TinyNet, batch, build
from lethe.agents.ewc import EWC, squared_gradients
from lethe.agents.finetune import Finetune
from tests.agents.vectors import by_name, penalty_gradient

SEEN = torch.tensor([True, True, False, True])


def squares_one_by_one(module, x, y):
    """The same, with one backward pass an image."""
    total = [torch.zeros_like(p) for p in module.parameters()]
    for image, label in zip(x, y, strict=True):
        loss = F.cross_entropy(module(image[None])[:, SEEN], (SEEN.cumsum(0) - 1)[label][None])
        for sum_, g in zip(total, torch.autograd.grad(loss, list(module.parameters())), strict=True):
            sum_ += g**2
    return total


def test_fisher_is_the_sum_of_squared_gradients_of_single_images():
    module = TinyNet()
    x, y = batch([0, 1, 3, 3, 0], seed=1)
    ours = squared_gradients(module, x, y, SEEN)
    for (name, _), oracle in zip(module.named_parameters(), squares_one_by_one(module, x, y), strict=True):
        torch.testing.assert_close(ours[name], oracle, rtol=1e-4, atol=1e-9, msg=name)


def test_the_square_of_a_batch_gradient_is_something_else():
    """The negative control: what the authors' code computes must fail the comparison."""
    module = TinyNet()
    x, y = batch([0, 1, 3, 3, 0], seed=1)
    loss = F.cross_entropy(module(x).masked_fill(~SEEN, -torch.inf), y)
    squared_mean = sum(g.square().sum() for g in torch.autograd.grad(loss, list(module.parameters())))
    exact = sum(g.sum() for g in squared_gradients(module, x, y, SEEN).values()) / len(y)
    assert squared_mean < 0.8 * exact


def test_the_penalty_has_the_gradient_of_one_term_a_task():
    agent = build(EWC, penalty_weight=7.0)
    terms = []
    for task, labels in enumerate([[0, 1], [2, 3], [0, 3]]):
        x, y = batch(labels * 8, seed=task)
        agent.observe(x, y)
        state = agent.generator.get_state()
        fisher = agent.fisher(Batches(x, y))
        agent.generator.set_state(state)  # the same labels are drawn again below
        agent.end_task(None, Batches(x, y))
        terms.append((by_name(agent, fisher), by_name(agent, agent.theta.clone())))
    x, y = batch([0, 1, 2, 3], seed=9)
    agent.observe(x, y)

    ours = penalty_gradient(agent)
    for name, p in agent.network.plastic.named_parameters():
        paper = sum(7.0 * fisher[name] * (p - old[name]) for fisher, old in terms)
        torch.testing.assert_close(ours[name], paper.detach(), rtol=1e-3, atol=1e-7, msg=name)
        assert paper.abs().max() > 0


def test_without_penalty_it_is_finetune_to_the_bit():
    ewc, plain = build(EWC, penalty_weight=0.0), build(Finetune)
    for task in range(3):
        x, y = batch([0, 1, 2, 3] * 4, seed=task)
        ewc.observe(x, y)
        plain.observe(x, y)
        ewc.end_task(None, Batches(x, y))
    for ours, other in zip(ewc.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_a_penalty_holds_the_parameters_back():
    moved = {}
    for weight in (0.0, 20.0):
        agent = build(EWC, penalty_weight=weight)
        x, y = batch([0, 1] * 16, seed=0)
        for _ in range(10):
            agent.observe(x, y)
        agent.end_task(None, Batches(x, y))
        # Weighted by importance: the penalty lets unimportant parameters move.
        before, importance = agent.theta.clone(), agent.importance.clone()
        for _ in range(10):
            agent.observe(*batch([2, 3] * 16, seed=1))
        moved[weight] = (importance * (agent.theta - before) ** 2).sum().item()
    assert moved[20.0] < 0.5 * moved[0.0]
