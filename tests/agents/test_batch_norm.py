"""Batches of one image where maps shrink to one value a channel: learned if they are few, refused if they are all."""

import pytest
import torch
import torchvision
from torch import nn

from lethe.agents import registry
from lethe.agents.base import Network, Problem
from lethe.agents.contract.toy import CPU, predict
from lethe.agents.networks import build as networks
from lethe.agents.networks.registry import get
from lethe.common.errors import InputError


def make(agent="finetune", network="resnet18", cut="last_block", shape=None, **settings):
    """An agent on the last block of a network, for images of 32 px unless `shape` is another."""
    agent_class = registry.get(agent)
    built, _ = networks.build(network, 4, cut=cut, pretrained=False, seed=0, device=CPU)
    if shape is None:
        with torch.no_grad():
            shape = tuple(built.frozen(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape[1:])
    config = agent_class.Config.from_settings(settings)
    return agent_class(Problem(4, shape), config, built, seed=0, device=CPU)


def maps(count, seed=0, shape=(512, 1, 1)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *shape, generator=generator), torch.arange(count) % 4


def statistics(agent):
    return {n: t.clone() for n, t in agent.network.plastic.state_dict().items() if "running" in n}


@pytest.mark.parametrize("agent", ["finetune", "icarl", "lwf", "ewc"])
def test_a_last_batch_of_one_image_is_learned_with_the_running_statistics(agent):
    agent = make(agent, batch_size=10)
    agent.observe(*maps(10))
    before, weights = statistics(agent), [p.clone() for p in agent.network.plastic.parameters()]
    assert torch.isfinite(agent.observe(*maps(1, seed=1))["loss"])
    after = statistics(agent)
    assert before and all(torch.equal(before[name], after[name]) for name in before)
    now = agent.network.plastic.parameters()
    assert not any(torch.equal(a, b) for a, b in zip(weights, now, strict=True))


def test_a_batch_of_one_is_normalised_as_in_evaluation_and_larger_ones_are_not():
    agent = make(batch_size=10)
    agent.observe(*maps(10))
    x, _ = maps(1, seed=1)
    assert torch.equal(agent.network.plastic(x), predict(agent, x))
    x, _ = maps(2, seed=1)
    assert not torch.allclose(agent.network.plastic(x), predict(agent, x))


def test_one_image_whose_maps_are_larger_has_statistics_of_its_own():
    agent = make(shape=(512, 7, 7), batch_size=1)
    before = statistics(agent)
    agent.observe(*maps(1, shape=(512, 7, 7)))
    assert not any(torch.equal(t, before[name]) for name, t in statistics(agent).items())


@pytest.mark.parametrize("agent", ["finetune", "er", "offline"])
@pytest.mark.parametrize("sizes", [{"batch_size": 1}, {"batch_size": 10, "batch_size_first_task": 1}])
def test_batches_that_can_have_no_statistics_are_refused_at_birth(agent, sizes):
    before = torch.get_rng_state()
    with pytest.raises(InputError, match=r"at least 2, got 1: of one input of 512 x 1 x 1 .*first_task"):
        make(agent, **sizes)
    assert torch.equal(torch.get_rng_state(), before)


def test_mobilenet_is_refused_as_well_and_whole_networks_too():
    with pytest.raises(InputError, match="of one input of 3 x 32 x 32"):
        make(network="mobilenet", cut=None, shape=(3, 32, 32), batch_size=1)


@pytest.mark.parametrize(
    ("agent", "network", "cut"),
    [
        ("remind", "resnet18", "last_block"),  # a first task in batches of 32, then replay
        ("finetune", "squeezenet", "last_block"),  # no batch-norm
        ("finetune", "resnet18", "head"),  # none that learns
        ("slda", "resnet18", "last_block"),  # learns no network
    ],
)
def test_what_trains_no_batch_norm_on_single_images_is_not_refused(agent, network, cut):
    make(agent, network, cut, batch_size=1)


def test_a_network_of_ones_own_is_looked_at_and_left_as_it_was():
    plastic = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4))
    network, finetune = Network(nn.Identity(), plastic), registry.get("finetune")
    with pytest.raises(InputError, match="at least 2, got 1"):
        finetune(Problem(4, (1, 2, 2)), finetune.Config(batch_size=1), network, seed=0, device=CPU)
    assert plastic.training and plastic[2].num_batches_tracked == 0 and not plastic[2]._forward_pre_hooks


@pytest.mark.parametrize("name", ["resnet18", "mobilenet"])
def test_the_layer_has_the_name_and_the_state_of_torchvisions_so_that_fingerprints_stay(name):
    body = networks._blank(name, get(name), 4).body
    with torch.device("meta"):
        if name == "resnet18":
            theirs = torchvision.models.resnet18(weights=None)
            theirs.fc = nn.Identity()
        else:
            theirs = torchvision.models.mobilenet_v2(weights=None).features
    assert repr(body) == repr(theirs)
    assert body.state_dict().keys() == theirs.state_dict().keys()
