"""The upper bound goes on from task to task, or begins anew at each."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lethe.agents.base import Network, Problem, TaskInfo
from lethe.agents.card import Setting
from lethe.agents.config import setting
from lethe.agents.contract.checks import CHECKS
from lethe.agents.contract.probes import bits, kept_bytes
from lethe.agents.contract.state import resumes
from lethe.agents.contract.toy import CPU, TinyNet, batch, build, learn
from lethe.agents.networks import build as networks
from lethe.agents.networks.quantised import quantised
from lethe.agents.offline import Offline, OfflineConfig
from lethe.agents.parts.augment import RandomFlip, RandomResizedCrop
from lethe.benchmarks.records import checkpoint
from lethe.common.errors import InputError


@dataclass(frozen=True)
class RetrainedConfig(OfflineConfig):
    retrain: bool = setting(True, "Begin anew at each task.")


class Retrained(Offline):
    Config = RetrainedConfig


def squeezenet(retrain):
    """An agent on a network with dropout, whose random numbers count as well."""
    network, _ = networks.build("squeezenet", 4, cut="head", pretrained=False, seed=0, device=CPU)
    config = OfflineConfig(retrain=retrain, lr=0.1)
    return Offline(Problem(4, (512, 3, 3)), config, network, seed=0, device=CPU)


def taught(agent, tasks):
    """Give an agent the cumulative data of these tasks."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 20, 512, 3, 3, generator=generator)
    y = torch.tensor([3, 2, 1, 0]).repeat_interleave(5)  # old labels come last: until then they are not known
    for task in tasks:
        agent.begin_task(TaskInfo(task, tuple(range(2 * task + 2))))
        for inputs, labels in zip(x[task].split(10), y.split(10), strict=True):
            agent.observe(inputs, labels % (2 * task + 2))
    return bits(agent.state_dict())


def test_retrained_it_is_at_each_task_a_new_agent_with_all_the_data():
    assert taught(squeezenet(True), (0, 1)) == taught(squeezenet(True), (1,))


def test_otherwise_it_goes_on():
    assert taught(squeezenet(False), (0, 1)) != taught(squeezenet(False), (1,))
    agent = squeezenet(False)
    taught(agent, (0,))
    before = bits(agent.state_dict())
    agent.begin_task(TaskInfo(1, (0, 1, 2, 3)))
    assert bits(agent.state_dict()) == before


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_retrained_it_keeps_the_contract(check):
    check(Retrained)


def test_restored_from_a_file_it_goes_on_to_the_bit_and_returns_to_the_same_initial_weights(tmp_path):
    def through_a_file(state):
        checkpoint.save(tmp_path / "state.safetensors", state)
        return checkpoint.load(tmp_path / "state.safetensors")

    resumes(Retrained, carry=through_a_file)


def test_the_initial_weights_are_counted_as_memory():
    agent = build(Retrained)
    learn(agent)
    s = Setting(agent.network.plastic, agent.problem.input_shape, 192, (2, 2), 40)
    formula = Offline.card.memory(agent.config, s)
    assert agent.memory_bytes() == kept_bytes(agent) == formula
    assert formula == build(Offline).memory_bytes() + s.copy


# Base initialisation: crops, flips and a rate that falls by epochs


def test_the_published_schedule_is_what_40_epochs_of_the_base_classes_have():
    agent = build(Offline, batch_size=256, lr=0.1, schedule="step", schedule_epochs=15, schedule_factor=0.1)
    agent.begin_task(TaskInfo(0, (0, 1), 129_395))
    epoch = 506  # batches of 256, the last of them short
    for steps, lr in (
        (0, 0.1),
        (15 * epoch - 1, 0.1),
        (15 * epoch, 0.01),
        (30 * epoch, 0.001),
        (40 * epoch - 1, 0.001),
    ):
        agent.optimizer.param_groups[0]["steps"] = steps
        agent.observe(*batch([0, 1]))
        assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(lr)


def test_restored_within_an_epoch_the_rate_falls_at_the_same_step():
    settings = {
        "batch_size": 10,
        "schedule": "step",
        "schedule_epochs": 1,
        "augmentation": "resized_crop_flip",
    }
    whole, stopped, again = (build(Offline, **settings) for _ in range(3))
    whole.begin_task(TaskInfo(0, (0, 1), 30))
    stopped.begin_task(TaskInfo(0, (0, 1), 30))
    for seed in range(8):
        whole.observe(*batch([0, 1] * 5, seed))
        if seed == 4:
            again.load_state_dict(stopped.state_dict())
        (stopped if seed < 4 else again).observe(*batch([0, 1] * 5, seed))
    assert bits(again.state_dict()) == bits(whole.state_dict())
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(again.config.lr * 0.01)


def test_without_being_told_the_length_of_an_epoch_it_refuses_to_begin():
    agent = build(Offline, schedule="step", schedule_epochs=15)
    with pytest.raises(InputError, match="expected to be told the images of a pass"):
        agent.begin_task(TaskInfo(0, (0, 1)))


def test_a_schedule_by_epochs_without_a_schedule_is_told():
    assert not OfflineConfig(schedule="step", schedule_epochs=15).notes() + OfflineConfig().notes()
    (note,) = OfflineConfig(schedule_epochs=15).notes()
    assert "changes nothing with schedule=constant" in note


def test_images_are_cropped_and_flipped_as_published_from_the_agents_own_generator():
    seen = []

    class Watching(TinyNet):
        def forward(self, x):
            seen.append(x.clone())
            return super().forward(x)

    agent = build(Offline, augmentation="resized_crop_flip")
    agent.network.plastic = Watching(0)
    x, y = batch([0, 1] * 5)
    twin = torch.Generator()
    twin.set_state(agent.generator.get_state())
    agent.observe(x, y)
    cropped = RandomResizedCrop((0.08, 1.0), (3 / 4, 4 / 3))(x, twin)
    assert torch.equal(seen[0], RandomFlip(0.5)(cropped, twin)) and not torch.equal(seen[0], x)
    assert torch.equal(agent.generator.get_state(), twin.get_state())
    agent = build(Offline)
    agent.network.plastic = Watching(0)
    agent.observe(x, y)
    assert torch.equal(seen[1], x)


def test_codes_are_no_images_to_crop():
    network = quantised(Network(nn.Sequential(), nn.Sequential(nn.Conv2d(8, 4, 1))), torch.zeros(4, 256, 2))
    with pytest.raises(InputError, match="augmentation: expected images of 3 channels"):
        Offline(
            Problem(4, (4, 2, 2)),
            OfflineConfig(augmentation="resized_crop_flip"),
            network,
            seed=0,
            device=CPU,
        )
