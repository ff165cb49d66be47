"""FLOPs of agents against counts by hand, for a network of one convolution and a head; counting changes no bit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents import registry
from lethe.agents.base import Network, Problem
from lethe.agents.contract import toy
from lethe.agents.contract.probes import bits_by_name
from lethe.agents.parts import flops
from lethe.benchmarks.measure.costs import Trunk
from lethe.benchmarks.measure.evaluate import Evaluator
from lethe.benchmarks.measure.flops import FlopCount, FlopMeter, forward_flops
from lethe.benchmarks.records.write import Recorder
from lethe.benchmarks.run.loop import learn
from lethe.dataloaders.streams import Images, Stream, Task

K, SIDE, CHANNELS = 4, 8, 16
PIXELS = SIDE * SIDE
IMAGES = 24  # of each of two tasks
BATCH = 5  # so that the last of a task is short
CONV = 2 * PIXELS * CHANNELS * 3 * 9
HEAD = 2 * CHANNELS * K


class Whole(nn.Sequential):
    """A 3 x 3 convolution to 16 channels, its mean, a linear head."""

    def __init__(self):
        super().__init__(
            toy.Scale(), nn.Conv2d(3, CHANNELS, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(CHANNELS, K),
        )  # fmt: skip


def measured(name, tmp_path, network, **settings):
    """The costs of `name` on two tasks of two classes each, and the agent."""
    agent_class = registry.get(name)
    pixels = torch.randint(0, 256, (2 * IMAGES, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.no_grad():
        inputs = network.frozen(pixels.permute(0, 3, 1, 2))
    labels = torch.cat([torch.arange(IMAGES) % 2, 2 + torch.arange(IMAGES) % 2])
    rows = torch.arange(2 * IMAGES)
    tasks = tuple(
        Task(part, seen) for part, seen in zip(rows.split(IMAGES), labels.split(IMAGES), strict=True)
    )
    stream = Stream(tasks, Task(rows, labels), K)
    images = Images(inputs.permute(0, 2, 3, 1).contiguous().numpy(), toy.CPU)
    config = agent_class.Config.from_settings(settings)
    agent = agent_class(Problem(K, images.shape), config, network, seed=0, device=toy.CPU)
    evaluator = Evaluator(stream, images, toy.CPU)
    recorder = Recorder(tmp_path, 0, {})
    learn(agent, stream, images, evaluator, recorder)
    trunk = Trunk(0.25, forward_flops(network.frozen, pixels[:1].permute(0, 3, 1, 2)))
    return recorder.finish(agent, evaluator, predictions=False, trunk=trunk)["metrics"]


def whole():
    torch.manual_seed(0)
    return Network(nn.Identity(), Whole())


def cut():
    """The same network, its head alone learning."""
    torch.manual_seed(0)
    scale, conv, pool, flatten, head = Whole()
    return Network(nn.Sequential(scale, conv), nn.Sequential(pool, flatten, head))


FORWARD = CONV + HEAD
# Backward: the gradient of the weights is as much as the forward pass, and so is that of the input, which the
# convolution, being first, has no use for.
BOTH_WAYS = 2 * CONV + 3 * HEAD


def test_finetune_costs_a_pass_both_ways_and_predicts_with_one(tmp_path):
    found = measured("finetune", tmp_path, whole(), batch_size=BATCH)
    assert found["learn_flops"] == pytest.approx(BOTH_WAYS, rel=0.01)
    assert found["predict_flops"] == pytest.approx(FORWARD, rel=0.01)


def test_passes_over_a_task_cost_as_much_again(tmp_path):
    found = measured("finetune", tmp_path, whole(), batch_size=BATCH, epochs_first_task=3)
    assert found["learn_flops"] == pytest.approx(2 * BOTH_WAYS, rel=0.01)
    assert (found["passes"], found["passes_first_task"]) == (2, 3)


def test_replay_costs_the_images_that_are_replayed(tmp_path):
    found = measured("er", tmp_path, whole(), batch_size=BATCH, replay_images=7, memory_size=30)
    # All steps but the first replay; in the second there are but the five images of the first.
    steps = 2 * -(-IMAGES // BATCH)
    seen = 2 * IMAGES + 5 + 7 * (steps - 2)
    assert found["learn_flops"] == pytest.approx(BOTH_WAYS * seen / (2 * IMAGES), rel=0.01)


def test_slda_costs_its_covariance_and_predicting_costs_a_linear_system(tmp_path):
    found = measured("slda", tmp_path, cut(), batch_size=BATCH)
    batches = 2 * -(-IMAGES // BATCH)
    # Class means and scatter of the images; scatter of the means' shift, once for each batch.
    learning = 2 * K * CHANNELS * 2 * IMAGES + 2 * CHANNELS**2 * 2 * IMAGES + 2 * CHANNELS**2 * K * batches
    assert found["learn_flops"] == pytest.approx(CONV + learning / (2 * IMAGES), rel=0.01)
    judged = 2 * IMAGES
    solving = 2 / 3 * CHANNELS**3 + 2 * CHANNELS**2 * K
    assert found["predict_flops"] == pytest.approx(CONV + HEAD + solving / judged, rel=0.01)


def test_remind_costs_its_codebooks_codes_and_replayed_maps(tmp_path):
    settings = {"batch_size_first_task": 8, "epochs_first_task": 2, "codebooks": 2, "replay_images": 5}
    found = measured("remind", tmp_path, cut(), **settings, mixup=0, smallest_crop=1)
    vectors = IMAGES * PIXELS
    base = 2 * IMAGES * (3 * HEAD - HEAD)  # features need no gradient: forward, and the head's weights
    fitting = 2 * vectors * 256 * CHANNELS * 25  # 25 rounds of k-means
    encoding = 2 * 256 * CHANNELS * PIXELS  # distances of an image's vectors to all centroids
    streaming = IMAGES * (encoding + 6 * 2 * HEAD)
    learning = base + fitting + IMAGES * encoding + streaming
    assert found["learn_flops"] == pytest.approx(CONV + learning / (2 * IMAGES), rel=0.01)
    assert found["predict_flops"] == pytest.approx(CONV + encoding + HEAD, rel=0.01)


def test_what_pytorchs_counter_leaves_out_is_counted():
    a, b, v = (
        torch.randn(6, 6).double() + 6 * torch.eye(6),
        torch.randn(6, 3).double(),
        torch.randn(6).double(),
    )
    cases = {
        "solve": (lambda: torch.linalg.solve(a, b), 2 * 6**3 // 3 + 2 * 36 * 3),
        "Cholesky decomposition": (lambda: torch.linalg.cholesky_ex(a @ a.T), 6**3 // 3 + 2 * 6**3),
        "Cholesky solution": (lambda: torch.cholesky_solve(b, a), 2 * 36 * 3),
        "inverse": (lambda: torch.linalg.inv(a), 2 * 6**3),
        "matrix times vector": (lambda: a @ v, 72),
        "inner product": (lambda: v @ v, 12),
        "distances": (lambda: torch.cdist(a, b.T.repeat(1, 1)[:, :6]), 2 * 6 * 6 * 3),
        "weighted rows": (
            lambda: F.embedding_bag(
                torch.zeros(4, 2, dtype=torch.int64), a.float(), per_sample_weights=torch.ones(4, 2), mode="sum"
            ),
            2 * 8 * 6,
        ),
        "attention": (
            lambda: F.scaled_dot_product_attention(*(torch.randn(1, 1, n, 8) for n in (50, 20, 20))),
            2 * 2 * 50 * 20 * 8,
        ),
    }  # fmt: skip
    for name, (work, expected) in cases.items():
        with FlopCount() as count:
            work()
        assert count.flops == expected, name


def test_work_that_was_told_is_not_counted_again():
    with FlopCount() as count:
        flops.tell(5)
        with flops.uncounted():
            torch.randn(3, 3) @ torch.randn(3, 3)
    assert count.flops == 5


@pytest.mark.parametrize("name", registry.AGENTS)
def test_counting_changes_no_bit_of_what_an_agent_learns_and_answers(name):
    def learned():
        agent = toy.build(registry.get(name))
        toy.learn(agent)
        scores = toy.scores(agent, toy.batch([0, 1, 2, 3])[0])
        return bits_by_name({**agent.state_dict(), "scores": scores})

    plain = learned()
    with FlopCount() as count:
        assert learned() == plain
    assert count.flops > 0


def test_few_steps_are_counted_and_those_between_taken_from_them():
    """Steps of 1, 2, 3, ... multiply-adds: a straight line, which the means between counted steps follow exactly."""
    meter, counted = FlopMeter(), set()
    for number in range(1, 65):
        with meter.step(10):
            torch.randn(1, number) @ torch.randn(number, 1)
        counted.add(meter.state()["steps"][10][1])
    assert counted == {1, 2, 4, 16, 64}
    assert meter.total == sum(2 * number for number in range(1, 65))
    for _ in range(3):
        with meter.step(10):
            torch.randn(1, 999) @ torch.randn(999, 1)
    assert meter.total == sum(2 * number for number in range(1, 65)) + 3 * 128, "as the last that was counted"
    with meter.whole():
        torch.randn(1, 5) @ torch.randn(5, 1)
    with meter.step(10):
        torch.randn(1, 7) @ torch.randn(7, 1)
    assert meter.total == sum(2 * number for number in range(1, 65)) + 3 * 128 + 10 + 14, "a new task"


def test_a_meter_goes_on_from_its_state():
    def go(meter, numbers):
        for number in numbers:
            with meter.step(1 + number % 2):
                torch.randn(1, number) @ torch.randn(number, 1)

    whole, first, second = FlopMeter(), FlopMeter(), FlopMeter()
    go(whole, range(1, 30))
    go(first, range(1, 12))
    second.restore(first.state())
    go(second, range(12, 30))
    assert second.total == whole.total and second.state() == whole.state()
