"""The memories of GSS and GDumb against plain loops with the same draws, and what is learned from them."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from lethe.agents.base import Network, Problem
from lethe.agents.contract.toy import CPU, batch, build
from lethe.agents.er import ER
from lethe.agents.gdumb import GDumb, GreedyBuffer, warm_restarts
from lethe.agents.gss import GSS, DiverseBuffer
from lethe.agents.parts.augment import CutMix
from lethe.common.errors import InputError
from tests.agents.test_buffers import numbered

# GSS.


class PlainGSS:
    """Algorithm 2, an image at a time, on unit vectors and lists; a row is (number, vector, score)."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.rows = []

    def offer(self, vectors, first, drawn, uniforms):
        compared = [self.rows[place] for place in drawn]
        for offset, (vector, (u1, u2)) in enumerate(zip(vectors, uniforms, strict=True)):
            there = [row[1] for row in compared if row in self.rows]
            score = (
                1 + max(sum(a * b for a, b in zip(vector, other, strict=True)) for other in there)
                if there
                else 0.1
            )
            newcomer = (first + offset, vector, score)
            if len(self.rows) < self.capacity:
                self.rows.append(newcomer)
            elif score < 1:
                wanted, candidate = u1 * sum(row[2] for row in self.rows), 0
                while wanted >= self.rows[candidate][2]:
                    wanted -= self.rows[candidate][2]
                    candidate += 1
                if u2 < self.rows[candidate][2] / (self.rows[candidate][2] + score):
                    self.rows[candidate] = newcomer
            compared.append(newcomer)


@pytest.mark.parametrize("seed", range(4))
def test_gss_keeps_what_a_plain_loop_keeps_with_the_same_draws(seed):
    generator, random = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(100 + seed)
    buffer, plain = DiverseBuffer(12, generator, CPU), PlainGSS(12)
    vectors = F.normalize(torch.randn(200, 3, generator=random, dtype=torch.float64), dim=1)
    vectors[50:60] = vectors[40:50]  # twins
    for low in range(0, 200, 5):
        x, y = numbered(low, low + 5)
        places = buffer.drawn(2)[0] if len(buffer) else y[:0]
        stored = [row[0] for row in plain.rows]
        of_drawn = vectors[[stored[place] for place in places.tolist()]].reshape(-1, 3)
        state = generator.get_state()
        uniforms = torch.rand(5, 2, generator=generator, dtype=torch.float64).tolist()
        generator.set_state(state)
        new = vectors[low : low + 5]
        buffer.add(x, y, places, new @ torch.cat([of_drawn, new]).T)
        plain.offer(new.tolist(), low, places.tolist(), uniforms)
        inputs, labels = buffer.sample(12)
        assert labels.tolist() == [row[0] for row in plain.rows]
        assert torch.equal(inputs[:, 0].long(), labels)
    scores = buffer.state_dict()["columns"][2].tolist()
    assert scores == pytest.approx([row[2] for row in plain.rows], abs=1e-9)
    assert len([row for row in plain.rows if row[0] >= 12]) >= 4, "the memory changed after it was full"


def test_directions_are_the_unit_gradients_of_single_images():
    agent = build(GSS)
    agent.observe(*batch([0, 1, 3]))
    x, y = batch([0, 3, 1, 1, 0], seed=5)
    ours = agent.directions(x, y)
    assert agent.network.plastic.training
    for row, image, label in zip(ours, x.split(1), y.split(1), strict=True):
        scores = agent.network.plastic(image)[:, [0, 1, 3]]
        loss = torch.logsumexp(scores[0], 0) - agent.network.plastic(image)[0, label]
        parts = torch.autograd.grad(loss, list(agent.network.plastic.parameters()))
        vector = torch.cat([part.flatten() for part in parts])
        torch.testing.assert_close(row, vector / vector.norm(), rtol=1e-3, atol=1e-5)


def test_scores_are_those_of_the_network_after_the_step():
    """All stored images are compared with, so that no draw matters."""
    agent = build(GSS, compared_images=50, memory_size=50)
    for seed in range(3):
        x, y = batch([0, 1, 2, 3, 1], seed=seed)
        stored = agent.buffer.sample(50) if len(agent.buffer) else (x[:0], y[:0])
        agent.observe(x, y)
        directions = agent.directions(torch.cat([stored[0], x]), torch.cat([stored[1], y]))
        cosines = directions @ directions.T
        first = len(stored[1])
        expected = [1 + cosines[row, :row].max().item() if row else 0.1 for row in range(first, first + 5)]
        assert agent.buffer.state_dict()["columns"][2][first:].tolist() == pytest.approx(expected, abs=1e-4)


def test_comparing_with_a_large_part_of_the_memory_is_remarked_on():
    assert GSS.Config().notes() == GSS.Config(memory_size=100).notes() == ()
    (note,) = GSS.Config(memory_size=99).notes()
    assert note.startswith("compared_images=10 is more than a tenth of memory_size=99: ")


def test_a_duplicate_never_enters_a_full_memory():
    agent = build(GSS, memory_size=6, compared_images=6)
    agent.observe(*batch([0, 1, 2, 3, 0, 1]))
    before = agent.buffer.sample(6)[0].clone()
    for _ in range(20):
        agent.observe(*batch([0, 1, 2, 3, 0, 1]))
        assert torch.equal(agent.buffer.sample(6)[0], before)


def test_of_a_stream_with_a_rare_class_more_is_kept_than_its_part():
    """Nine images in ten are of label 0; a reservoir keeps the rare one in its proportion."""

    def rare(agent_class, seed, **settings):
        agent = build(agent_class, seed=seed, memory_size=20, **settings)
        for step in range(60):
            labels = torch.zeros(10, dtype=torch.int64)
            labels[step % 10] = 1
            agent.observe(*batch(labels.tolist(), seed=1000 * seed + step))
        return (agent.buffer.sample(20)[1] == 1).sum().item()

    diverse = [rare(GSS, seed, compared_images=3) for seed in range(3)]
    uniform = [rare(ER, seed) for seed in range(3)]
    assert min(diverse) > 4 and sum(diverse) > 2 * sum(uniform)


def test_a_restored_memory_of_gss_goes_on_to_the_bit():
    buffer, twin = (DiverseBuffer(10, torch.Generator().manual_seed(seed), CPU) for seed in (1, 2))
    random = torch.Generator().manual_seed(3)

    def offer(low, *buffers):
        cosines = torch.rand(6, 6, generator=random) * 2 - 1
        for one in buffers:
            one.add(*numbered(low, low + 6), torch.empty(0, dtype=torch.int64), cosines)

    for low in range(0, 30, 6):
        offer(low, buffer)
    twin.load_state_dict(buffer.state_dict())
    twin.generator.set_state(buffer.generator.get_state())
    for low in range(30, 90, 6):
        offer(low, buffer, twin)
    assert torch.equal(buffer.sample(10)[1], twin.sample(10)[1])
    assert torch.equal(buffer.state_dict()["columns"][2], twin.state_dict()["columns"][2])


# GDumb.


def plain_greedy(labels, capacity, uniforms):
    """Algorithm 1 on a list: the number of the image at each place."""
    places, of = [], []
    for number, (label, draw) in enumerate(zip(labels, uniforms, strict=True)):
        counts = {c: of.count(c) for c in set(of)}
        if label in counts and counts[label] >= capacity / len(counts):
            continue
        if len(of) < capacity:
            places.append(number)
            of.append(label)
            continue
        largest = min(c for c in counts if counts[c] == max(counts.values()))
        rows = [place for place, c in enumerate(of) if c == largest]
        row = rows[int(draw * len(rows))]
        places[row], of[row] = number, label
    return places


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("capacity", [5, 8, 13])
def test_the_greedy_memory_is_a_plain_loop_whatever_the_batches(capacity, size):
    random = torch.Generator().manual_seed(capacity)
    labels = torch.cat([torch.zeros(20, dtype=torch.int64), torch.randint(5, (80,), generator=random)])
    buffer = GreedyBuffer(5, capacity, torch.Generator().manual_seed(4), CPU)
    x, _ = numbered(0, 100)
    for part, y in zip(x.split(size), labels.split(size), strict=True):
        buffer.add(part, y)
    uniforms = torch.rand(100, generator=torch.Generator().manual_seed(4), dtype=torch.float64).tolist()
    inputs, kept = buffer.sample(capacity)
    assert inputs[:, 0].long().tolist() == plain_greedy(labels.tolist(), capacity, uniforms)
    assert kept.tolist() == labels[inputs[:, 0].long()].tolist()
    assert kept.bincount().max() - kept.bincount().min() <= 1


def test_the_greedy_memory_counted_by_hand():
    buffer = GreedyBuffer(3, 4, torch.Generator().manual_seed(0), CPU)
    counts = []
    for number, label in enumerate([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 0]):
        buffer.add(numbered(number, number + 1)[0], torch.tensor([label]))
        counts.append(tuple(buffer.sample(4)[1].bincount(minlength=3).tolist()))
    assert counts == [
        (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (4, 0, 0), (3, 1, 0), (2, 2, 0), (2, 2, 0),
        (1, 2, 1), (1, 1, 2), (2, 1, 1),
    ]  # fmt: skip


def test_at_its_quota_a_label_keeps_its_first_images_even_where_there_is_room():
    buffer = GreedyBuffer(2, 6, torch.Generator().manual_seed(0), CPU)
    x, _ = numbered(0, 20)
    buffer.add(x, torch.tensor([1] + [0] * 19))
    assert buffer.sample(6)[0][:, 0].tolist() == [0, 1, 2, 3] and len(buffer) == 4
    assert buffer.memory_bytes() == 4 * (4 + 8)


def test_rates_are_those_of_the_authors_loop():
    """Their training loop on PyTorch's scheduler."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=1, T_mult=2, eta_min=0.0005
    )
    for epoch in range(64):
        if epoch > 1:
            scheduler.step()
        theirs = [0.005, 0.05][epoch] if epoch < 2 else optimizer.param_groups[0]["lr"]
        assert 0.05 * warm_restarts(epoch) == pytest.approx(theirs, rel=1e-9)
    assert warm_restarts(31) < 0.02, "lowest after a power of two"


def trained(agent):
    """Scores of ten images after `prepare`."""
    agent.fill_cache()
    with torch.no_grad():
        return agent.predict(batch([0, 1, 2, 3] * 2 + [0, 1], seed=77)[0])


def test_gdumb_learns_from_its_memory_and_birth_alone():
    """Images that its memory drops leave nothing behind, nor does an evaluation."""
    one, other = build(GDumb, memory_size=4), build(GDumb, memory_size=4)
    for agent in (one, other):
        agent.observe(*batch([0, 1, 2, 3]))
    trained(other)
    for seed in range(5):
        other.observe(*batch([0, 1, 2, 3, 3], seed=seed + 10))
    other.generator.set_state(one.generator.get_state())
    assert torch.equal(trained(one), trained(other))
    other.cache = {}
    other.generator.manual_seed(8)
    assert not torch.equal(trained(one), trained(other)), "the order of the memory is the agent's own draw"
    born = build(GDumb, memory_size=4).network.plastic.state_dict()
    assert all(torch.equal(born[name], value) for name, value in other.network.plastic.state_dict().items())
    assert not torch.equal(trained(one), one.network.plastic(batch([0, 1, 2, 3] * 2 + [0, 1], seed=77)[0]))


def test_gdumb_trains_by_plain_sgd_on_what_is_stored():
    """One pass in one mini-batch of all, without mixing, against PyTorch's SGD; only stored labels compete."""
    agent = build(GDumb, memory_size=6, passes=1, passes_batch_size=6, cutmix=0.0)
    agent.observe(*batch([0, 1, 3, 0, 1, 3]))
    x, y = agent.buffer.sample(6)
    module = copy.deepcopy(agent.network.plastic)
    optimizer = torch.optim.SGD(
        module.parameters(), agent.config.lr * 0.1, weight_decay=agent.config.weight_decay
    )
    labels = torch.tensor([0, 1, 9, 2])[y]
    F.cross_entropy(module(x)[:, [0, 1, 3]], labels).backward()
    optimizer.step()
    torch.testing.assert_close(trained(agent), module(batch([0, 1, 2, 3] * 2 + [0, 1], seed=77)[0]))


def test_the_loss_of_mixed_images_weighs_labels_by_pixels():
    agent = build(GDumb, cutmix=1.0)
    x, y = batch([0, 1, 2, 0])
    seen, plastic = torch.tensor([True, True, True, False]), agent.network.plastic
    ours = agent._loss(plastic, x, y, seen, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    torch.rand(1, generator=generator)
    images, partner, share = CutMix()(x, generator)
    total = 0.0
    for number in range(4):
        scores = plastic(images[number : number + 1])[0, :3].tolist()
        norm = math.log(sum(math.exp(score) for score in scores))
        pasted = y[partner[number]]
        total += share[number].item() * (norm - scores[y[number]]) + (1 - share[number].item()) * (
            norm - scores[pasted]
        )
    assert ours.item() == pytest.approx(total / 4, rel=1e-4)
    assert 0 < share.min() < 1


def test_what_gdumb_cannot_learn_from_is_refused():
    with pytest.raises(InputError, match="memory_size: expected at least 4, one for each class, got 3: set"):
        build(GDumb, memory_size=3)
    net = Network(torch.nn.Identity(), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 4)))
    problem = Problem(4, (32, 1, 1))
    with pytest.raises(InputError, match=r"got inputs of 32 x 1 x 1: .* or set cutmix=0"):
        GDumb(problem, GDumb.Config(), net, seed=0, device=CPU)
    GDumb(problem, GDumb.Config(cutmix=0.0), net, seed=0, device=CPU)
