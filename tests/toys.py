"""The smallest things an agent can learn with: a tiny network and a tiny stream, made in place."""

import torch
from torch import nn

from agents.base import Network, Problem

PROBLEM = Problem(num_classes=4, input_shape=(3, 8, 8))
CPU = torch.device("cpu")


class TinyNet(nn.Module):
    """Two convolutions and a linear layer on uint8 images."""

    def __init__(self, seed: int = 0, num_classes: int = PROBLEM.num_classes):
        super().__init__()
        with torch.device("meta"):  # so that the constructors draw nothing from the global generator
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten()
            )
            self.head = nn.Linear(32, num_classes)
        self.to_empty(device=CPU)
        generator = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            nn.init.uniform_(p, -0.3, 0.3, generator=generator)

    def forward(self, x):
        return self.head(self.body(x.float() / 128 - 1))


def network(seed: int = 0) -> Network:
    return Network(nn.Identity(), TinyNet(seed))


def build(agent_class, seed: int = 0, **settings):
    """An agent on the tiny network; the learning rate is one at which it learns."""
    if "lr" in agent_class.Config.__dataclass_fields__:
        settings = {"lr": 0.02, **settings}
    config = agent_class.Config.from_settings(settings)
    return agent_class(PROBLEM, config, network(seed), seed=seed, device=CPU)


def batch(labels, seed: int = 0):
    """uint8 images [B, 3, 8, 8] in which the class is the bright quarter, and the labels as a tensor."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor(labels)
    x = torch.randint(0, 80, (len(y), 3, 8, 8), generator=generator)
    for image, label in zip(x, y.tolist(), strict=True):
        top, left = divmod(label, 2)
        image[:, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] += 120
    return x.to(torch.uint8), y


class Batches:
    """Task data over a list of (x, y)."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def batches(self, batch_size):
        yield from zip(self.x.split(batch_size), self.y.split(batch_size), strict=True)
