"""The reservoir keeps a uniform sample within its budget and goes on to the bit."""

import pytest
import torch

from lethe.agents.contract.toy import CPU
from lethe.agents.parts.buffers import ReservoirBuffer


def numbered(low, high):
    """Inputs whose value is their number."""
    numbers = torch.arange(low, high)
    return numbers.view(-1, 1).float(), numbers


def fill(capacity, count, seed, batch=7):
    buffer = ReservoirBuffer(capacity, torch.Generator().manual_seed(seed), CPU)
    for low in range(0, count, batch):
        buffer.add(*numbered(low, min(low + batch, count)))
    return buffer


def test_everything_is_kept_while_there_is_room():
    buffer = fill(50, 40, seed=0)
    x, y = buffer.sample(1000)
    assert len(buffer) == 40
    assert y.tolist() == list(range(40))
    assert torch.equal(x[:, 0].long(), y)


def test_the_budget_is_kept_and_inputs_stay_with_their_labels():
    buffer = fill(10, 500, seed=1)
    x, y = buffer.sample(10)
    assert len(buffer) == 10 == len(set(y.tolist()))
    assert torch.equal(x[:, 0].long(), y)


def test_each_input_is_kept_with_the_same_probability():
    """Chi-square over 40 inputs, 4000 fillings: 39 degrees of freedom, 99.99 % quantile 80.7."""
    counts = torch.zeros(40)
    fillings = 4000
    for seed in range(fillings):
        counts[fill(8, 40, seed, batch=9).sample(8)[1]] += 1
    expected = fillings * 8 / 40
    # Each filling keeps exactly 8 of 40, so counts vary less than a multinomial's: scale by (1 - 8/40).
    chi_square = ((counts - expected) ** 2 / (expected * (1 - 8 / 40))).sum() * 39 / 40
    assert chi_square < 80.7
    assert chi_square > 12.8, "too even to be random (0.01 % quantile)"


def test_samples_are_drawn_without_replacement():
    buffer = fill(30, 30, seed=3)
    _, y = buffer.sample(12)
    assert len(set(y.tolist())) == 12


def test_a_restored_buffer_goes_on_to_the_bit():
    buffer = fill(10, 100, seed=4)
    twin = ReservoirBuffer(10, torch.Generator(), CPU)
    twin.load_state_dict(buffer.state_dict())
    twin.generator.set_state(buffer.generator.get_state())
    for each in (buffer, twin):
        each.add(*numbered(100, 150))
    assert torch.equal(buffer.sample(10)[1], twin.sample(10)[1])
    assert buffer.added == twin.added == 150


def test_memory_counts_what_is_stored():
    buffer = ReservoirBuffer(10, torch.Generator(), CPU)
    assert buffer.memory_bytes() == 0
    buffer.add(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    assert buffer.memory_bytes() == 4 * (3 * 8 * 8 + 8)
    buffer.add(torch.zeros(40, 3, 8, 8, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    assert buffer.memory_bytes() == 10 * (3 * 8 * 8 + 8)


def test_sampling_an_empty_buffer_is_an_error():
    with pytest.raises(ValueError, match="nothing has been added"):
        ReservoirBuffer(10, torch.Generator(), CPU).sample(1)
