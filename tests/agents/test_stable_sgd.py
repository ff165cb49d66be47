"""Stable SGD against SGD by hand, and against fine-tuning where its rate does not fall."""

import pytest
import torch
import torch.nn.functional as F

from lethe.agents.base import TaskInfo
from lethe.agents.contract.toy import TinyNet, batch, build
from lethe.agents.finetune import Finetune
from lethe.agents.stable_sgd import StableSGD
from lethe.common.errors import InputError

PLAIN = {"momentum": 0.8, "weight_decay": 0.0, "lr": 0.02}
TASKS = ([0, 1] * 5, [2, 3] * 5, [1, 2] * 5)


def learned(agent):
    for task, labels in enumerate(TASKS):
        if agent.needs.task_boundaries:
            agent.begin_task(TaskInfo(task, ()))
        for step in range(3):
            agent.observe(*batch(labels, seed=10 * task + step))
    return agent


def test_with_a_constant_rate_it_is_fine_tuning_to_the_bit():
    ours, plain = learned(build(StableSGD, decay=1.0, **PLAIN)), learned(build(Finetune, **PLAIN))
    assert torch.equal(ours.theta, plain.theta)
    floored = learned(build(StableSGD, decay=0.5, lr_floor=0.02, **PLAIN))
    assert torch.equal(floored.theta, plain.theta)


@pytest.mark.parametrize("mask", ["seen", "task"])
def test_the_rate_falls_from_task_to_task_down_to_its_floor(mask):
    agent = learned(build(StableSGD, decay=0.5, lr_floor=0.006, mask=mask, **PLAIN))
    net = TinyNet(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.8)
    met = set()
    for task, labels in enumerate(TASKS):
        optimizer.param_groups[0]["lr"] = (0.02, 0.01, 0.006)[task]
        met = set(labels) | (met if mask == "seen" else set())
        columns = sorted(met)
        for step in range(3):
            x, y = batch(labels, seed=10 * task + step)
            optimizer.zero_grad()
            places = torch.tensor([columns.index(label) for label in y.tolist()])
            F.cross_entropy(net(x)[:, columns], places).backward()
            optimizer.step()
    for ours, theirs in zip(agent.network.plastic.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_another_optimiser_or_schedule_is_refused():
    with pytest.raises(InputError, match="schedule: expected constant, got cosine: stable_sgd sets the rate"):
        build(StableSGD, schedule="cosine")
