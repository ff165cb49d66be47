"""Agents on codes: the frozen part's output as uint8 indices of codebooks, which no agent takes for pixels."""

import copy

import pytest
import torch
from torch import nn

from lethe.agents import registry
from lethe.agents.base import Network, Problem, TaskInfo
from lethe.agents.contract import toy
from lethe.agents.networks import build as networks
from lethe.agents.networks.quantised import (
    Decode,
    Encode,
    blank,
    decoder,
    map_shape,
    maps,
    quantised,
)
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.augment import check_images
from lethe.agents.parts.sgd import SGDAgent
from lethe.common.errors import InputError

CODEBOOKS = 2
AUGMENTS = ("gdumb", "rainbow", "scr")
LABELS = [0, 1, 2, 3] * 64


def coded(cut="last_block", seed=0):
    """The toy network cut and quantised, the plain one, and codes, maps and labels of a batch."""
    plain = toy.network(seed, cut)
    x, y = toy.batch(LABELS)
    with torch.no_grad():
        found = plain.frozen(x)
    centroids = product_quantiser.fit(found.permute(0, 2, 3, 1).flatten(0, 2), CODEBOOKS)
    network = quantised(copy.deepcopy(plain), centroids)
    with torch.no_grad():
        return network, plain, network.frozen(x), found, y


def test_the_frozen_part_ends_in_codes_and_the_learning_part_begins_with_their_maps():
    network, plain, codes, found, _ = coded()
    assert codes.dtype == torch.uint8 and codes.shape == (len(LABELS), CODEBOOKS, *found.shape[2:])
    assert isinstance(network.frozen[-1], Encode) and isinstance(network.plastic[0], Decode)
    assert [*plain.plastic._modules] == [*network.plastic._modules][1:], "weights are loaded by these names"
    centroids = network.plastic[0].centroids
    by_hand = torch.empty_like(found)
    for image in range(0, len(found), 37):
        for row in range(found.shape[2]):
            for column in range(found.shape[3]):
                parts = found[image, :, row, column].view(CODEBOOKS, -1)
                nearest = [((centroids[m] - parts[m]) ** 2).sum(1).argmin().item() for m in range(CODEBOOKS)]
                assert codes[image, :, row, column].tolist() == nearest
                by_hand[image, :, row, column] = torch.cat([centroids[m, k] for m, k in enumerate(nearest)])
        assert torch.equal(network.plastic[0](codes[image : image + 1])[0], by_hand[image])
    with torch.no_grad():
        restored = network.plastic[0](codes)
        assert torch.equal(network.plastic(codes), plain.plastic(restored))
        assert torch.equal(network.plastic(codes.float()), network.plastic(codes)), (
            "numbers of a float memory"
        )
        assert torch.equal(network.plastic(restored), network.plastic(codes)), "maps stay as they are"
    assert (restored - found).square().mean() < 0.1 * found.var(), "codebooks that were fitted come near"


@pytest.mark.parametrize("name", registry.AGENTS)
def test_every_agent_learns_from_codes(name):
    """Three steps and a task's end; memory in inputs counts a byte per codebook and position."""
    agent_class = registry.get(name)
    network, _, codes, _, y = coded(agent_class.cut or "last_block")
    fields = agent_class.Config.__dataclass_fields__
    card = registry.card(name)
    wanted = {
        "lr": 0.05,
        "batch_size": 16,
        "batch_size_first_task": 16,
        "memory_size": 32,
        **card.toy_settings,
    }
    config = agent_class.Config.from_settings({k: v for k, v in wanted.items() if k in fields})
    problem = Problem(4, tuple(codes.shape[1:]))
    if name in AUGMENTS:
        with pytest.raises(InputError, match="augmentation: expected images of 3 channels"):
            agent_class(problem, config, network, seed=0, device=toy.CPU)
        return
    agent = agent_class(problem, config, network, seed=0, device=toy.CPU)
    before = copy.deepcopy(network.plastic.state_dict())
    info = TaskInfo(0, (0, 1, 2, 3), len(y))
    if agent.needs.task_boundaries:
        agent.begin_task(info)
    for low in range(0, 48, 16):
        agent.observe(codes[low : low + 16], y[low : low + 16])
    if agent.needs.task_boundaries:
        agent.end_task(info, toy.Batches(codes, y))
        agent.begin_task(TaskInfo(1, (0, 1, 2, 3), len(y)))
    agent.observe(codes[:16], y[:16])
    agent.fill_cache()
    agent.network.eval()
    with torch.no_grad():
        scores = agent.predict(codes[:5])
        also = agent.predict_also(codes[:5])
    for found in (scores, *also.values()):
        assert found.shape == (5, 4) and found.isfinite().all()
    after = network.plastic.state_dict()
    assert torch.equal(after["decode.centroids"], before["decode.centroids"]), "codebooks never learn"
    if issubclass(agent_class, SGDAgent):
        assert any(not torch.equal(before[key], after[key]) for key in before)


def test_replayed_codes_take_a_byte_per_codebook_and_position():
    """1,568 bytes an image at REMIND's size, where its map takes 100,352."""
    agent_class = registry.get("er")
    layers = nn.Sequential(nn.Conv2d(512, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    network = blank(Network(nn.Sequential(nn.Conv2d(3, 512, 1)), layers), 32, (512, 7, 7))
    config = agent_class.Config.from_settings({"memory_size": 10})
    agent = agent_class(Problem(4, (32, 7, 7)), config, network, seed=0, device=toy.CPU)
    codes = torch.randint(0, 256, (20, 7, 7, 32), dtype=torch.uint8).permute(0, 3, 1, 2)
    agent.observe(codes, torch.arange(20) % 4)
    assert agent.memory_bytes() == 10 * (1568 + 8) + 4
    assert agent.buffer.sample(10)[0].dtype == torch.uint8


def test_agents_that_look_at_features_see_maps():
    network, _, codes, found, _ = coded()
    assert map_shape(network, tuple(codes.shape[1:])) == tuple(found.shape[1:])
    assert torch.equal(maps(network, codes), network.plastic[0](codes))
    plain = toy.network(0, "last_block")
    assert maps(plain, found) is found and map_shape(plain, (5, 2, 2)) == (5, 2, 2) and decoder(plain) is None
    whole = toy.network(0, None)
    assert decoder(whole) is None


def test_codes_are_refused_where_images_are_needed_even_those_of_three_codebooks():
    network, *_ = coded()
    check_images(toy.network(0, None), (3, 8, 8))
    with pytest.raises(InputError, match=r"expected images of 3 channels, .* or set cutmix=0"):
        check_images(network, (3, 4, 4), "cutmix=0")


def test_what_cannot_be_quantised_is_refused():
    device = torch.device("cpu")
    whole, _ = networks.build("small", 3, pretrained=False, seed=0, device=device)
    with pytest.raises(InputError, match="nothing of the network is frozen"):
        quantised(whole, torch.zeros(2, 256, 4))
    cut, _ = networks.build("small", 3, cut="last_block", pretrained=False, seed=0, device=device)
    with pytest.raises(InputError, match="divides the 96 channels, got 7"):
        blank(cut, 7, (96, 4, 4))
    with pytest.raises(InputError, match="fewer than the 96 channels"):
        blank(cut, 96, (96, 4, 4))


def test_a_fingerprint_knows_the_codebooks():
    network, plain, *_ = coded()
    other = quantised(copy.deepcopy(plain), network.plastic[0].centroids + 1)
    prints = {networks.fingerprint(one.frozen) for one in (network, plain, other)}
    assert len(prints) == 3
