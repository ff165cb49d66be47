"""Agents learn what they should: all of them a shuffled stream, and those that remember do not forget."""

import functools

import pytest
import torch

from lethe.agents import registry
from lethe.agents.base import TaskInfo, UndeclaredTaskData
from lethe.agents.contract import toy

IID = ((0, 1, 2, 3),)
CLASS_IID = ((0, 1), (2, 3))
IMAGES = 200  # of a task

# All that store images or features of them and learn from these, and those that learn on frozen features. Not A-GEM,
# which does no better than finetuning on so small a problem.
REMEMBER = [
    "augmem", "augmem_published", "bic", "cope", "crumb", "derpp", "er", "er_ace", "gdumb", "gem", "gss", "icarl",
    "mir", "rainbow", "remind", "scr", "siesta", "slda", "acil", "exstream", "fecam", "ncm", "ranpac",
]  # fmt: skip
MARGIN = 0.3
FLOOR = 0.9

SETTINGS = {
    "remind": {"batch_size_first_task": 10},  # 32 make too few steps of so few images
    "siesta": {"batch_size_first_task": 10},
    "augmem": {"regulariser_weight": 10.0},  # the default oscillates at the toy's learning rate
    "augmem_published": {"regulariser_weight": 10.0},
}


@functools.cache
def accuracy(name, tasks):
    """Of an agent taught `tasks`, on new images of all four classes."""
    agent = toy.build(registry.get(name), **SETTINGS.get(name, {}))
    for index in range(len(tasks)):
        met = sum(tasks[: index + 1], ())
        labels = torch.tensor(met if agent.needs.offline else tasks[index])
        shuffled = torch.randint(len(labels), (IMAGES,), generator=torch.Generator().manual_seed(index))
        x, y = toy.batch(labels[shuffled].tolist(), seed=index)
        data, info = toy.Batches(toy.inputs(agent, x), y), TaskInfo(index, met)
        agent.begin_task(info)
        for _ in range(agent.config.epochs_of(index)):
            for inputs, targets in data.batches(agent.config.batch_size_of(index)):
                agent.observe(inputs, targets)
        agent.end_task(info, data if agent.needs.task_data else UndeclaredTaskData())
    x, y = toy.batch([0, 1, 2, 3] * 50, seed=999)
    return (toy.scores(agent, x).argmax(1) == y).float().mean().item()


@pytest.mark.parametrize("name", sorted(registry.AGENTS))
def test_every_agent_learns_a_shuffled_stream(name):
    assert accuracy(name, IID) > FLOOR


@pytest.mark.parametrize("name", REMEMBER)
def test_what_remembers_beats_fine_tuning_on_new_classes(name):
    assert accuracy(name, CLASS_IID) > accuracy("finetune", CLASS_IID) + MARGIN


def test_fine_tuning_forgets_the_first_task_of_two():
    assert 0.4 < accuracy("finetune", CLASS_IID) < 0.6


def test_no_agent_beats_offline_learning_at_convergence():
    best = max(accuracy(name, CLASS_IID) for name in registry.AGENTS)
    assert accuracy("offline", CLASS_IID) >= best
