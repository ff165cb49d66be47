"""The memory of codes beside a plain one that scans, what it costs, and the vectors that codebooks are fitted to."""

import weakref

import pytest
import torch

from lethe.agents.contract.toy import CPU
from lethe.agents.parts import product_quantiser, quantised_memory
from lethe.agents.parts.draws import different
from lethe.agents.parts.quantised_memory import CodeMemory

SHAPE = (2, 2, 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, first=0):
    """Codes that tell their number."""
    numbers = torch.arange(first, first + count)
    codes = torch.stack([numbers % 256, numbers // 256], 1).to(torch.uint8)
    return codes.view(-1, 2, 1, 1).expand(-1, *SHAPE).contiguous()


class Plain:
    """The rule of the paper by scans of lists: the class that has most gives up a random one."""

    def __init__(self, capacity, num_classes, generator):
        self.capacity, self.generator = capacity, generator
        self.items = [[] for _ in range(num_classes)]

    def add(self, number, label):
        self.items[label].append(number)
        counts = [len(items) for items in self.items]
        if sum(counts) > self.capacity:
            items = self.items[counts.index(max(counts))]
            items.pop(int(torch.randint(len(items), (1,), generator=self.generator)))


def stored(memory):
    """Numbers by label."""
    codes, labels = memory._codes[: len(memory)], memory._labels[: len(memory)]
    numbers = (codes[:, 0, 0, 0].int() + 256 * codes[:, 1, 0, 0].int()).tolist()
    found = [set() for _ in memory._rows]
    for number, label in zip(numbers, labels.tolist(), strict=True):
        found[label].add(number)
    return found


def test_sizes_of_classes_are_those_of_a_plain_memory():
    labels = torch.randint(7, (600,), generator=generator(1)) ** 2 % 7
    memory, plain = CodeMemory(100, 7, generator(), CPU), Plain(100, 7, generator())
    for number, label in enumerate(labels.tolist()):
        memory.add(numbered(1, number), labels[number : number + 1])
        plain.add(number, label)
        if number % 50 == 0 or number > 590:
            assert [len(items) for items in stored(memory)] == [len(items) for items in plain.items]
    assert all(found <= {n for n in range(600) if labels[n] == k} for k, found in enumerate(stored(memory)))
    assert len(memory) == 100 == sum(map(len, stored(memory)))


def test_each_of_the_largest_class_is_given_up_as_often_the_new_one_too():
    left = torch.zeros(5)
    for seed in range(3000):
        memory = CodeMemory(5, 2, generator(seed), CPU)
        memory.add(numbered(5), torch.tensor([0, 0, 0, 0, 1]))
        memory.add(numbered(1, 5), torch.tensor([0]))
        kept = stored(memory)
        assert kept[1] == {4} and len(kept[0]) == 4
        for place, number in enumerate((0, 1, 2, 3, 5)):
            left[place] += number not in kept[0]
    assert left.sum() == 3000
    assert ((left / 3000 - 0.2).abs() < 0.03).all()


def test_a_batch_gives_what_one_code_after_the_other_gives():
    labels = torch.randint(4, (80,), generator=generator(1))
    whole, single = CodeMemory(30, 4, generator(), CPU), CodeMemory(30, 4, generator(), CPU)
    whole.add(numbered(80), labels)
    for number in range(80):
        single.add(numbered(1, number), labels[number : number + 1])
    assert all(map(torch.equal, whole.state_dict().values(), single.state_dict().values()))


def test_labels_are_read_once_for_a_batch_and_not_while_there_is_room(monkeypatch):
    memory, reads = CodeMemory(10, 4, generator(), CPU), []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: (reads.append(len(self)), tolist(self))[1])
    labels = torch.tensor([0, 1, 2, 3, 0])
    for _ in range(2):
        assert memory.read(labels) is None
        for row in range(5):
            memory.add(numbered(1), labels[row : row + 1])
    assert not reads
    known = memory.read(labels)
    for row in range(5):
        memory.add(numbered(1), labels[row : row + 1], known[row : row + 1])
    assert reads == [5, 10], "the batch's labels, and those of all rows when the memory has become full"


def test_a_full_memory_of_many_classes_scans_nothing():
    classes = 1000
    memory = CodeMemory(2 * classes, classes, generator(), CPU)
    memory.add(numbered(2 * classes), torch.arange(2 * classes) % classes)
    memory.add(numbered(1), torch.tensor([0]))
    looked = []

    class Watched(list):
        def __getitem__(self, key):
            looked.append(key)
            return super().__getitem__(key)

        def __iter__(self):
            looked.extend(range(len(self)))
            return super().__iter__()

    memory._rows = Watched(memory._rows)
    additions = 10 * classes
    labels = torch.randint(classes, (additions,), generator=generator())
    memory.add(numbered(1).expand(additions, *SHAPE), labels, labels.tolist())
    assert len(looked) < 20 * additions
    assert len(memory._largest) <= 4 * classes


@pytest.mark.parametrize(("free", "allocations"), [(10**12, 1), (0, 5)])
def test_the_memory_is_allocated_once_where_there_is_room(monkeypatch, free, allocations):
    monkeypatch.setattr(quantised_memory, "free_bytes", lambda device: free)
    memory, places = CodeMemory(1000, 2, generator(), CPU), []
    for number in range(1000):
        memory.add(numbered(1, number), torch.tensor([number % 2]))
        if memory._codes.data_ptr() not in places[-1:]:
            places.append(memory._codes.data_ptr())
    assert len(places) == allocations
    twin = CodeMemory(1000, 2, generator(), CPU)
    twin.load_state_dict(memory.state_dict())
    assert stored(twin) == stored(memory) and memory.memory_bytes() == 1000 * (12 + 8)
    assert len(twin._codes) == 1000


@pytest.mark.parametrize(("count", "of"), [(5, 3), (5, 18), (5, 1000), (200, 900)])
def test_draws_are_different_and_uniform(count, of):
    rng, times = generator(), torch.zeros(of)
    for _ in range(2000):
        found = different(count, of, rng)
        assert len(found.unique()) == len(found) == min(count, of)
        times[found] += 1
    share = min(count, of) / of
    assert ((times / 2000 - share).abs() < 6 * (share / 2000) ** 0.5).all()


def of_batches(batches, alive):
    """Copies of `batches`, of which at most one is held by whoever reads them."""
    for batch in batches:
        given = batch.clone()
        alive.append(weakref.ref(given))
        yield given
        del given


def test_vectors_to_fit_are_all_in_order_or_so_many_at_random(monkeypatch):
    maps = torch.randn(30, 6, 4, 5, generator=generator())
    rows = maps.permute(0, 2, 3, 1).reshape(-1, 6)
    monkeypatch.setattr(product_quantiser, "FITTED", 600)
    rng = generator()
    assert torch.equal(product_quantiser.taken(maps.split(7), product_quantiser.chosen(600, rng)), rows)
    assert torch.equal(rng.get_state(), generator().get_state()), "nothing is drawn"
    monkeypatch.setattr(product_quantiser, "FITTED", 100)
    times = torch.zeros(600)
    for _ in range(500):
        found = product_quantiser.taken(maps.split(7), product_quantiser.chosen(600, rng))
        places = [int((rows == vector).all(1).nonzero()) for vector in found]
        assert len(places) == 100 and places == sorted(set(places))
        times[places] += 1
    assert ((times / 500 - 1 / 6).abs() < 0.1).all()


def test_vectors_of_many_maps_take_no_more_memory_than_those_to_fit(monkeypatch):
    monkeypatch.setattr(product_quantiser, "FITTED", 100)
    alive = []
    most = 0

    def batches():
        nonlocal most
        for _ in range(60):
            yield from of_batches([torch.zeros(64, 6, 4, 5)], alive)
            most = max(most, sum(ref() is not None for ref in alive))

    found = product_quantiser.taken(batches(), product_quantiser.chosen(60 * 64 * 20, generator()))
    assert len(found) == 100 and found.untyped_storage().nbytes() == 100 * 6 * 4
    assert most <= 1, "a batch is let go before the next comes"
