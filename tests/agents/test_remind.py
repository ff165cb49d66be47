"""REMIND piece by piece: codes against faiss, crops and rates against the formulas, the memory's budget."""

import copy
import math

import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents.base import Network, Problem, TaskInfo
from lethe.agents.contract.toy import CPU, Batches
from lethe.agents.networks.quantised import quantised
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.quantised_memory import CodeMemory
from lethe.agents.remind import REMIND, REMINDConfig, beta_draw, class_lr, random_crops
from lethe.common.errors import InputError

C, SIDE = 12, 5


def maps(count, seed=0):
    return torch.randn(count, C, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def centroids():
    return product_quantiser.fit(maps(40).permute(0, 2, 3, 1).reshape(-1, C), 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_codes_and_maps_are_those_of_faiss(centroids):
    oracle = faiss.ProductQuantizer(C, 4, 8)
    faiss.copy_array_to_vector(centroids.reshape(-1).numpy(), oracle.centroids)
    x = maps(6, seed=1)
    vectors = x.permute(0, 2, 3, 1).reshape(-1, C).contiguous().numpy()
    codes = product_quantiser.encode(x, centroids)
    assert codes.shape == (6, SIDE, SIDE, 4) and codes.dtype == torch.uint8
    assert np.array_equal(codes.reshape(-1, 4).numpy(), oracle.compute_codes(vectors))
    decoded = product_quantiser.decode(codes, centroids)
    theirs = oracle.decode(oracle.compute_codes(vectors)).reshape(6, SIDE, SIDE, C)
    assert np.array_equal(decoded.permute(0, 2, 3, 1).numpy(), theirs)
    assert decoded.is_contiguous(memory_format=torch.channels_last)


def test_codebooks_are_a_function_of_the_vectors(centroids):
    vectors = maps(40).permute(0, 2, 3, 1).reshape(-1, C)
    np.random.seed(3)
    torch.manual_seed(3)
    before = faiss.omp_get_max_threads()
    assert torch.equal(product_quantiser.fit(vectors, 4), centroids)
    assert faiss.omp_get_max_threads() == before


def test_codebooks_that_cannot_be_fitted_are_refused():
    with pytest.raises(InputError, match="divides the 12 channels, got 5"):
        product_quantiser.fit(torch.zeros(300, C), 5)
    with pytest.raises(InputError, match="at least 256 vectors"):
        product_quantiser.fit(torch.zeros(200, C), 4)


def test_what_cannot_be_quantised_is_refused_before_it_is_learned():
    with pytest.raises(InputError, match="codebooks: expected a number that divides the 12 channels, got 5"):
        build(codebooks=5)
    agent = build()
    with pytest.raises(InputError, match=r"got 250 \(10 maps of 5 x 5 in the first task\)"):
        agent.begin_task(TaskInfo(0, (0, 1), 10))
    agent.begin_task(TaskInfo(0, (0, 1), 11))
    started().begin_task(TaskInfo(1, (0, 1, 2), 1))  # there are codebooks by then


def test_the_learning_rate_of_a_class_is_the_closed_form():
    config = REMINDConfig(start_lr=0.1)
    gamma = math.exp(100 * math.log(0.001 / 0.1) / 1300)
    assert gamma == pytest.approx(0.7017, abs=1e-4)
    counts = torch.tensor([0, 99, 100, 250, 1300])
    expected = [0.1 * gamma ** (n // 100) for n in counts.tolist()]
    torch.testing.assert_close(class_lr(counts, config), torch.tensor(expected))
    assert class_lr(counts, config)[-1].item() == pytest.approx(0.001, rel=1e-4)


def test_a_new_class_starts_at_the_start_again():
    """The negative control of the published code on newer PyTorch: chained schedulers never do."""
    agent = started()
    rates = []
    for label, count in ((2, 4), (3, 2)):
        for _ in range(count):
            agent.observe(maps(1, seed=label), torch.tensor([label]))
            rates.append(float(agent.optimizer.param_groups[0]["lr"]))
    expected = [class_lr(torch.tensor(n), agent.config).item() for n in (0, 1, 2, 3, 0, 1)]
    assert rates == pytest.approx(expected)
    assert rates[4] == rates[0] > rates[3]


def test_crops_are_crops_resized_by_interpolation():
    x = maps(1)
    found = random_crops(x.expand(300, -1, -1, -1), 2 / 7, generator())
    boxes = {}
    for h in range(1, SIDE + 1):
        for w in range(1, SIDE + 1):
            for top in range(SIDE - h + 1):
                for left in range(SIDE - w + 1):
                    crop = x[:, :, top : top + h, left : left + w]
                    boxes[h, w, top, left] = F.interpolate(
                        crop, (SIDE, SIDE), mode="bilinear", align_corners=False
                    )
    keys, candidates = list(boxes), torch.cat(list(boxes.values()))
    errors = (found[:, None] - candidates[None]).abs().amax((2, 3, 4))
    nearest = errors.argmin(1)
    assert errors.gather(1, nearest[:, None]).max() < 1e-5, "each is one of the possible crops"
    chosen = [keys[i] for i in nearest.tolist()]
    assert len(set(chosen)) > 30
    shares = [h * w / SIDE**2 for h, w, *_ in chosen]
    assert min(shares) >= 0.2 and max(shares) == 1
    assert all(0.5 <= w / h <= 2 for h, w, *_ in chosen), "aspects near 3/4 .. 4/3, up to rounding"


def test_beta_draws_have_the_moments_of_the_distribution():
    """Beta(α, α) has mean 1/2 and variance 1 / (4 (2α + 1))."""
    rng = generator()
    draws = np.array([beta_draw(0.1, rng) for _ in range(4000)])
    assert abs(draws.mean() - 0.5) < 0.03
    assert abs(draws.var() - 1 / (4 * 1.2)) < 0.01
    assert ((draws >= 0) & (draws <= 1)).all()


def filled(capacity, labels, seed=0):
    memory = CodeMemory(capacity, 4, generator(seed), CPU)
    codes = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    memory.add(codes, torch.tensor(labels))
    return memory


def test_the_memory_keeps_its_budget_and_takes_from_the_largest_class():
    memory = filled(12, [0] * 10 + [1] * 10 + [2] * 3)
    codes, labels = memory.sample(100)
    assert len(codes) == 12
    counts = torch.bincount(labels, minlength=4).tolist()
    assert counts == [5, 4, 3, 0] or counts == [4, 5, 3, 0]
    origin = codes[:, 0, 0, 0].tolist()
    assert len(set(origin)) == 12
    assert all(
        (label == 0) == (code < 10) and (label == 2) == (code >= 20)
        for code, label in zip(origin, labels, strict=True)
    )
    assert memory.memory_bytes() == 12 * (2 * 2 * 3 + 8)


def test_samples_are_different_rows_also_of_a_large_memory():
    memory = filled(200, [0] * 150)
    for count in (5, 30, 100):
        assert len(set(memory.sample(count)[0][:, 0, 0, 0].tolist())) == count


def test_a_restored_memory_goes_on_to_the_bit():
    memory = filled(20, [0, 1] * 30, seed=1)
    twin = CodeMemory(20, 4, generator(9), CPU)
    twin.load_state_dict(memory.state_dict())
    twin.generator.set_state(memory.generator.get_state())
    new = torch.full((30, 2, 2, 3), 77, dtype=torch.uint8), torch.tensor([2, 3, 0] * 10)
    for each in (memory, twin):
        each.add(*new)
    for a, b in zip(memory.sample(20), twin.sample(20), strict=True):
        assert torch.equal(a, b)


def build(**settings):
    config = REMIND.Config.from_settings(
        {
            "codebooks": 4,
            "start_lr": 0.02,
            "end_lr": 0.002,
            "lr_step": 2,
            "class_images": 20,
            "replay_images": 10,
            **settings,
        }
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(C * SIDE * SIDE, 4))
    nn.init.zeros_(head[1].weight)
    nn.init.zeros_(head[1].bias)
    return REMIND(Problem(4, (C, SIDE, SIDE)), config, Network(nn.Identity(), head), seed=0, device=CPU)


def batch(labels, seed=0):
    """Maps whose class is the channel that is high."""
    x = 0.3 * maps(len(labels), seed)
    x[torch.arange(len(labels)), labels] += 2
    return x, torch.tensor(labels)


def started(**settings):
    """An agent after base initialisation on classes 0 and 1."""
    agent = build(**settings)
    x, y = batch([0, 1] * 20)
    for part in range(4):
        agent.observe(x[10 * part : 10 * part + 10], y[10 * part : 10 * part + 10])
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    return agent


@pytest.mark.parametrize("settings", [{}, {"mixup": 0, "smallest_crop": 1}, {"memory_size": 25}])
def test_it_learns_new_classes_and_keeps_the_old(settings):
    agent = started(**settings)
    assert len(agent.memory) == min(40, agent.config.memory_size)
    agent.observe(*batch([2, 3] * 20, seed=1))
    x, y = batch([0, 1, 2, 3] * 10, seed=2)
    assert (agent.predict(x).argmax(1) == y).float().mean() > 0.9
    assert agent.images.tolist() == [0, 0, 20, 20], "those of base initialisation are none of streaming"


@pytest.mark.parametrize("mixup", [0.0, 0.5])
@pytest.mark.parametrize("smallest_crop", [0.3, 1.0])
def test_a_step_is_that_of_the_formula(mixup, smallest_crop):
    """Base initialisation's momentum is forgotten: θ moves by the class's rate times the gradient and weight decay."""
    agent = started(mixup=mixup, smallest_crop=smallest_crop)
    agent.observe(*batch([2, 2, 2, 3], seed=3))
    agent.optimizer.state.clear()  # so that this step has no momentum either
    state, (x, y) = agent.generator.get_state(), batch([2], seed=4)
    before, head = agent.theta.clone(), copy.deepcopy(agent.network.plastic)

    new = product_quantiser.encode(x, agent.centroids)
    old, labels = agent.memory.sample(20 if mixup else 10)
    maps = product_quantiser.decode(torch.cat([new, old]), agent.centroids)
    if smallest_crop < 1:
        cropped = random_crops(maps, smallest_crop, agent.generator)
        assert not torch.equal(cropped, maps)
        maps = cropped
    share = beta_draw(mixup, agent.generator) if mixup else 1.0
    scores, losses = head(maps[:1]), []
    losses.append(F.cross_entropy(scores, y))
    for row in range(1, 11):
        partner = row + 10 if mixup else row
        scores = head(share * maps[row : row + 1] + (1 - share) * maps[partner : partner + 1])
        first, second = (F.cross_entropy(scores, labels[i - 1 : i]) for i in (row, partner))
        losses.append(share * first + (1 - share) * second)
    assert len(labels) == (20 if mixup else 10)
    loss = torch.stack(losses).mean()
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(head.parameters()))])

    agent.generator.set_state(state)
    logged = agent.observe(x, y)["loss"]
    torch.testing.assert_close(logged, loss.detach())
    rate = class_lr(torch.tensor(3), agent.config)  # three images of class 2 were streamed
    moved = rate * (gradient + agent.config.weight_decay * before)
    torch.testing.assert_close(before - agent.theta, moved, rtol=1e-3, atol=1e-6)


def test_streaming_begins_without_the_momentum_of_base_initialisation():
    agent = started()
    assert not agent.optimizer.state


def test_without_replay_of_the_old_they_are_forgotten():
    """The negative control: the same steps with an empty memory of the old classes."""
    agent = started(mixup=0)
    agent.memory = CodeMemory(1000, 4, agent.generator, CPU)
    agent.memory.add(product_quantiser.encode(batch([2])[0], agent.centroids), torch.tensor([2]))
    agent.observe(*batch([2, 3] * 20, seed=1))
    x, y = batch([0, 1] * 20, seed=2)
    assert (agent.predict(x).argmax(1) == y).float().mean() < 0.6


def test_predictions_are_made_from_quantised_maps():
    agent = started()
    x, _ = batch([0, 1, 0], seed=5)
    coded = product_quantiser.decode(product_quantiser.encode(x, agent.centroids), agent.centroids)
    assert torch.equal(agent.predict(x), agent.network.plastic(coded))
    assert not torch.equal(agent.predict(x), agent.network.plastic(x))


def test_without_passes_over_the_first_task_it_is_only_stored():
    """The network learned the task before: it stays as it is, and its labels count as seen."""
    agent = build(epochs_first_task=0)
    assert agent.config.epochs_of(0) == 0 and agent.config.epochs_of(1) == 1
    before, (x, y) = agent.theta.clone(), batch([0, 1] * 20)
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    assert torch.equal(agent.theta, before) and len(agent.memory) == 40
    assert agent.seen.tolist() == [True, True, False, False]


@pytest.mark.parametrize("mixup", [0.0, 0.5])
@pytest.mark.parametrize("all_labels", [True, False])
def test_losses_run_over_all_labels_or_over_those_seen(all_labels, mixup):
    """With scores of zero the loss is the logarithm of the number of labels that count."""
    agent = build(all_labels=all_labels, mixup=mixup, start_lr=1e-9, end_lr=1e-9, lr=1e-9)
    x, y = batch([0, 1] * 20)
    count = 4 if all_labels else 2
    assert agent.observe(x, y)["loss"].item() == pytest.approx(math.log(count), abs=1e-4)
    agent.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    count = 4 if all_labels else 3
    assert agent.observe(*batch([2], seed=1))["loss"].item() == pytest.approx(math.log(count), abs=1e-4)


def test_the_rates_of_a_stream_are_the_closed_form():
    """Rates of 2,600 images of two classes in turn, from the published start, end, step and count of images."""
    config = REMINDConfig(start_lr=0.1, end_lr=0.001)
    counts = torch.zeros(2, dtype=torch.int64)
    for image in range(2600):
        label, n = image % 2, image // 2
        expected = 0.1 * math.exp((n // 100) * 100 * math.log(0.001 / 0.1) / 1300)
        assert class_lr(counts[label], config).item() == pytest.approx(expected, rel=1e-5)
        counts[label] += 1
    assert class_lr(counts, config).tolist() == pytest.approx([0.001, 0.001], rel=1e-4)


def test_codebooks_and_codes_take_two_passes_over_the_first_task():
    agent, (x, y), passes = build(), batch([0, 1] * 20), []

    class Watched(Batches):
        def batches(self, batch_size):
            passes.append(batch_size)
            return super().batches(batch_size)

    agent.end_task(TaskInfo(0, (0, 1)), Watched(x, y))
    assert passes == [64, 64]
    fitted = product_quantiser.fit(x.permute(0, 2, 3, 1).reshape(-1, C), 4)
    assert torch.equal(agent.centroids, fitted), "where all vectors are few enough, none is left out"


def test_codes_that_are_given_are_used_as_they_are():
    """From codes of the same codebooks it learns, stores and predicts what it does from the maps."""
    x, y = batch([0, 1] * 20)
    ours = build(epochs_first_task=0)
    ours.end_task(TaskInfo(0, (0, 1)), Batches(x, y))
    frozen = nn.Sequential(nn.Identity())
    network = quantised(Network(frozen, copy.deepcopy(build().network.plastic)), ours.centroids)
    problem = Problem(4, (4, SIDE, SIDE))
    coded = REMIND(problem, ours.config, network, seed=0, device=CPU)
    encode = network.frozen
    coded.begin_task(TaskInfo(0, (0, 1), 1))
    coded.end_task(TaskInfo(0, (0, 1)), Batches(encode(x), y))
    assert coded.centroids is not None and torch.equal(coded.centroids, ours.centroids)
    new = batch([2, 3, 2, 3], seed=1)
    ours.observe(*new)
    coded.observe(encode(new[0]), new[1])
    assert torch.equal(coded.theta, ours.theta)
    assert all(map(torch.equal, coded.memory.sample(9), ours.memory.sample(9)))
    assert torch.equal(coded.predict(encode(x)), ours.predict(x))
    with pytest.raises(InputError, match="codebooks: expected 4, those of the codes"):
        REMIND(problem, REMINDConfig(codebooks=2), network, seed=0, device=CPU)
