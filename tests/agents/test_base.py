"""The contract's defaults: state and memory by looking at the attributes."""

import copy

import pytest
import torch
from torch import nn

from lethe.agents.base import Agent
from lethe.agents.contract.toy import CPU, build, network
from lethe.agents.networks.layers import Dropout


class Hoarder(Agent):
    """Keeps something of every kind that the default state knows."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.means = torch.zeros(4, 2)
        self.counts = {0: 3, 1: 4}
        self.shelf = [torch.ones(5, dtype=torch.uint8)]
        self.old = nn.Linear(2, 3)
        self.last = None

    def observe(self, x, y):
        self.shelf.append(torch.full((5,), len(self.shelf), dtype=torch.uint8))
        self.counts[int(y[0])] = 7
        self.last = y
        return {}

    def predict(self, x):
        return torch.rand(len(x), 4, generator=self.generator)


def test_every_kind_of_attribute_is_saved_and_restored():
    agent, twin = build(Hoarder), build(Hoarder, seed=9)
    agent.observe(None, torch.tensor([2]))
    twin.load_state_dict(copy.deepcopy(agent.state_dict()))
    assert twin.counts == {0: 3, 1: 4, 2: 7}
    assert [t.tolist() for t in twin.shelf] == [t.tolist() for t in agent.shelf]
    assert torch.equal(twin.old.weight, agent.old.weight)
    assert torch.equal(twin.last, torch.tensor([2]))
    assert torch.equal(twin.predict([0]), agent.predict([0])), "the generator's state"


def test_memory_is_what_is_kept_beyond_the_network_and_the_optimiser():
    agent = build(Hoarder)
    assert agent.memory_bytes() == 4 * 2 * 4 + 5 + (2 * 3 + 3) * 4


def test_what_cannot_be_saved_is_named():
    agent = build(Hoarder)
    agent.open_file = object()
    with pytest.raises(TypeError, match="attribute 'open_file' holds a object"):
        agent.state_dict()


def test_the_state_of_another_agent_is_refused():
    agent = build(Hoarder)
    with pytest.raises(ValueError, match="expected the state of"):
        agent.load_state_dict({"means": torch.zeros(4, 2)})


def test_a_cache_holds_from_prepare_to_the_next_call_that_may_change_the_state():
    found = []

    class Stashes(Hoarder):
        """Tries to learn from the cache, and to keep something in it."""

        def stash(self, *_):
            found.append(dict(self.cache))
            self.cache["stashed"] = 1

        observe = begin_task = end_task = load_state_dict = stash

        def prepare(self):
            self.cache["mean"] = self.means.mean()

    agent = build(Stashes)
    for change in (agent.observe, agent.begin_task, agent.end_task):
        agent.fill_cache()
        assert list(agent.cache) == ["mean"]
        change(None, None)
        assert agent.cache == {}
    agent.fill_cache()
    agent.load_state_dict({})
    assert agent.cache == {}
    assert found == [{}] * 4


def test_the_frozen_part_stays_frozen():
    net = network()
    net.frozen = nn.BatchNorm2d(3)
    net.train()
    assert net.plastic.training and not net.frozen.training


def test_dropout_draws_from_its_own_generator_and_goes_on():
    one, other = Dropout(0.5, 1, CPU), Dropout(0.5, 2, CPU)
    x = torch.ones(1000)
    first = one(x)
    assert 400 < (first == 0).sum() < 600
    assert set(first.unique().tolist()) == {0.0, 2.0}
    other.load_state_dict(one.state_dict())
    twin = copy.deepcopy(one)
    second = one(x)
    assert torch.equal(other(x), second) and torch.equal(twin(x), second)
    assert not torch.equal(first, second)
    assert torch.equal(one.eval()(x), x)
