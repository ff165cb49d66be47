"""FSA: SGD in the first task, then linear discriminant analysis on features that stay as they are."""

import torch

from lethe.agents.base import TaskInfo, UndeclaredTaskData
from lethe.agents.contract import toy
from lethe.agents.finetune import Finetune
from lethe.agents.fsa import FSA
from lethe.agents.networks.features import features
from lethe.agents.slda import discriminants, merge

FIRST, SECOND = TaskInfo(0, (0, 1)), TaskInfo(1, (0, 1, 2, 3))
LABELS = [0, 1] * 10
NEXT = [2, 3, 0] * 7


def first_task(agent):
    for step in range(4):
        toy.observe(agent, LABELS, seed=step)
    return toy.Batches(*toy.batch(LABELS * 4, seed=50))


def test_the_first_task_is_fine_tuning_to_the_bit():
    ours, theirs = toy.build(FSA), toy.build(Finetune)
    first_task(ours)
    first_task(theirs)
    assert torch.equal(ours.theta, theirs.theta)
    x, _ = toy.batch([0, 1])
    assert torch.equal(toy.scores(ours, x), toy.scores(theirs, x))


def test_after_it_the_network_stays_and_all_features_are_those_of_the_adapted_one():
    agent = toy.build(FSA)
    data = first_task(agent)
    agent.end_task(FIRST, data)
    adapted = agent.theta.clone()
    x, y = toy.batch(NEXT, seed=60)
    for rows in (slice(0, 5), slice(5, None)):
        agent.observe(x[rows], y[rows])
    agent.end_task(SECOND, UndeclaredTaskData())
    assert torch.equal(agent.theta, adapted)
    with torch.no_grad():
        seen = features(agent.network.plastic, torch.cat([data.x, x])).double()
    labels = torch.cat([data.y, y])
    means = torch.stack([seen[labels == k].mean(0) for k in range(4)])
    torch.testing.assert_close(agent.means, means)
    torch.testing.assert_close(agent.scatter, (seen - means[labels]).T @ (seen - means[labels]))
    weights, biases = discriminants(means, agent.counts, agent.scatter, 1e-4)
    torch.testing.assert_close(toy.scores(agent, x), seen[len(data.y) :] @ weights + biases)


def test_features_are_taken_without_dropout_and_training_goes_on():
    agent = toy.build(FSA)
    agent.network.plastic.body.append(torch.nn.Dropout(0.5))
    agent.end_task(FIRST, first_task_data := toy.Batches(*toy.batch(LABELS)))
    assert agent.network.plastic.training
    means, counts, scatter = (torch.zeros_like(t) for t in (agent.means, agent.counts, agent.scatter))
    agent.network.eval()
    merge(
        features(agent.network.plastic, first_task_data.x).detach().double(),
        first_task_data.y,
        means,
        counts,
        scatter,
    )
    torch.testing.assert_close(agent.means, means)
