"""Features of a few classes, and agents that learn them in batches of any size, for witnesses in NumPy."""

import numpy as np
import torch
from torch import nn

from lethe.agents.base import Network, Problem
from lethe.agents.contract import toy
from lethe.agents.contract.toy import CPU

CLASSES, SIZE = 4, 6


def data(count=200, seed=0):
    """Features [count, SIZE], above 0, and labels of unequal frequency: NumPy, float32 and int64."""
    random = np.random.RandomState(seed)
    mixing, means = random.randn(SIZE, SIZE), 2 * random.randn(CLASSES, SIZE)
    y = random.choice(CLASSES, count, p=[0.4, 0.3, 0.2, 0.1])
    return np.abs(means[y] + random.randn(count, SIZE) @ mixing).astype(np.float32), y


def learned(agent_class, x, y, batch_size=10, **settings):
    """An agent that has observed features [N, SIZE] and labels [N], in batches of `batch_size`."""
    config = agent_class.Config.from_settings(settings)
    head = nn.Linear(SIZE, CLASSES, device="meta").to_empty(device=CPU)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    network = Network(nn.Identity(), nn.Sequential(nn.Flatten(), head))
    agent = agent_class(Problem(CLASSES, (SIZE, 1, 1)), config, network, seed=0, device=CPU)
    for low in range(0, len(y), batch_size):
        agent.observe(inputs(x[low : low + batch_size]), torch.from_numpy(y[low : low + batch_size]))
    return agent


def inputs(x):
    return torch.from_numpy(x).view(-1, SIZE, 1, 1)


def scores(agent, x):
    return toy.predict(agent, inputs(x)).numpy()


def class_after_class(x, y):
    order = np.argsort(y, kind="stable")
    return x[order], y[order]
