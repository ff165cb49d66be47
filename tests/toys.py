"""The smallest things an agent can learn with: a tiny network and a tiny stream, made in place."""

from collections import OrderedDict

import torch
from torch import nn

from agents.base import Network, Problem

PROBLEM = Problem(num_classes=4, input_shape=(3, 8, 8))
CPU = torch.device("cpu")


class Scale(nn.Module):
    """uint8 pixels to -1 .. 1."""

    def forward(self, x):
        return x.float() / 128 - 1


class TinyNet(nn.Sequential):
    """Two convolutions and a linear layer on uint8 images."""

    def __init__(self, seed: int = 0, num_classes: int = PROBLEM.num_classes):
        with torch.device("meta"):  # so that the constructors draw nothing from the global generator
            body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Flatten()
            )
            head = nn.Linear(32, num_classes)
        super().__init__(OrderedDict(scale=Scale(), body=body, head=head))
        self.to_empty(device=CPU)
        generator = torch.Generator().manual_seed(seed)
        for p in self.parameters():
            nn.init.uniform_(p, -0.3, 0.3, generator=generator)


def network(seed: int = 0, cut: str | None = None) -> Network:
    """The tiny network: whole, cut after the first convolution (8 x 4 x 4), or before the head (32 x 1 x 1)."""
    whole = TinyNet(seed)
    if cut is None:
        return Network(nn.Identity(), whole)
    scale, body, head = whole
    if cut == "head":
        return Network(
            nn.Sequential(scale, body, nn.Unflatten(1, (32, 1, 1))), nn.Sequential(nn.Flatten(), head)
        )
    return Network(nn.Sequential(scale, body[:2]), nn.Sequential(body[2:], head))


# What an agent must be told to learn from so little.
SETTINGS = {
    "lr": 0.02,
    "codebooks": 2,
}


def build(agent_class, seed: int = 0, **settings):
    """An agent on the tiny network, cut where it wants it, with settings at which it learns."""
    known = agent_class.Config.__dataclass_fields__
    settings = {key: value for key, value in SETTINGS.items() if key in known} | settings
    net = network(seed, agent_class.cut)
    blank = torch.zeros(1, *PROBLEM.input_shape, dtype=torch.uint8)
    problem = Problem(PROBLEM.num_classes, tuple(net.frozen(blank).shape[1:]))
    return agent_class(problem, agent_class.Config.from_settings(settings), net, seed=seed, device=CPU)


def inputs(agent, x):
    """What `agent` gets of the images: they themselves, or its trunk's features."""
    with torch.no_grad():
        return agent.network.frozen(x)


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
