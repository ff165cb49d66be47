"""Optimisers on one vector against PyTorch's on every parameter, schedules against PyTorch's, and agents with them."""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents.augmem import AugMem
from lethe.agents.augmem_published import AugMemPublished
from lethe.agents.config import OPTIMIZERS, SCHEDULES, SGDConfig, setting
from lethe.agents.contract import state, toy
from lethe.agents.ewc import EWC, EWCConfig
from lethe.agents.offline import Offline
from lethe.agents.parts.sgd import build_optimizer
from lethe.agents.parts.vector_optimizer import VectorSGD, cosine_schedule
from lethe.agents.remind import REMIND
from lethe.agents.si import SI
from lethe.common.errors import InputError

THEIRS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8, weight_decay=0.05),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.999), weight_decay=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.999), weight_decay=0.05),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01, betas=(0.8, 0.999), weight_decay=0.05),
}


def config(optimizer="sgd", schedule="constant", steps=7, factor=0.2, **more):
    return SGDConfig(
        lr=0.01,
        momentum=0.8,
        weight_decay=0.05,
        optimizer=optimizer,
        schedule=schedule,
        schedule_steps=steps,
        schedule_factor=factor,
        **more,
    )


def net():
    """float64, in which rounding is far below what two formulas differ by; no size that vector units divide."""
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5 * 16, 3)).double()
    for p in module.parameters():
        nn.init.uniform_(p, -0.3, 0.3, generator=generator)
    return module.to(memory_format=torch.channels_last)


def step(module, optimizer, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, 6, 6, generator=generator, dtype=torch.float64)
    optimizer.zero_grad()
    F.cross_entropy(module(x), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


@pytest.fixture(autouse=True)
def global_generator():
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)


def test_each_name_of_the_configuration_is_tested():
    assert set(THEIRS) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_on_the_vector_are_those_of_pytorch_on_every_parameter(name):
    plain, module = net(), net()
    theirs, ours = THEIRS[name](plain.parameters()), build_optimizer(config(name), module.parameters())
    for seed in range(20):
        step(plain, theirs, seed)
        step(module, ours, seed)
        for a, b in zip(plain.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert (ours.theta - ours.gather(net().parameters())).abs().max() > 0.01
    assert len(ours.param_groups) == 1 and ours.param_groups[0]["params"] == [ours.theta]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_further_group_moves_as_with_pytorch(name):
    slots = [torch.linspace(-1, 1, 5, requires_grad=True) for _ in range(2)]
    theirs = THEIRS[name]([slots[0]])
    ours = build_optimizer(config(name), net().parameters())
    ours.add_param_group({"params": [slots[1]]})
    for _ in range(5):
        for slot, optimizer in zip(slots, (theirs, ours), strict=True):
            optimizer.zero_grad()
            slot.square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(*slots, rtol=1e-6, atol=1e-7)


THEIR_SCHEDULES = {
    "constant": lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1.0),
    "step": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.2),
    "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7, eta_min=0.01 * 0.2),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_each_step_is_that_of_pytorchs_scheduler(name):
    plain, module = net(), net()
    theirs, ours = (
        THEIRS["sgd"](plain.parameters()),
        build_optimizer(config("sgd", name), module.parameters()),
    )
    scheduler = THEIR_SCHEDULES[name](theirs)
    for seed in range(8 if name == "cosine" else 20):  # PyTorch's cosine rises again after its last step
        due = rates(theirs)
        step(plain, theirs, seed)
        scheduler.step()
        step(module, ours, seed)
        assert rates(ours) == pytest.approx(due, rel=1e-12), seed
    for a, b in zip(plain.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_cosine_ends_at_its_last_rate_and_stays_there():
    """PyTorch's rises again."""
    share = cosine_schedule(10, 0.25)
    assert share(0) == 1 and share(5) == pytest.approx(0.625)
    assert [share(n) for n in (10, 11, 20, 1000)] == [0.25] * 4


def test_a_constant_schedule_leaves_rates_and_state_as_they_were():
    """Rates are the agents' to set, and a saved state is that of earlier versions."""
    ours = build_optimizer(config(), net().parameters())
    assert {"initial_lr", "steps"}.isdisjoint(ours.param_groups[0])
    ours.param_groups[0]["lr"] = 0.5
    ours.descend(torch.zeros_like(ours.theta))
    assert rates(ours) == [0.5]


def test_a_group_added_later_has_its_own_rate_and_count():
    ours = build_optimizer(config(schedule="step", steps=1, factor=0.5), net().parameters())
    ours.descend(torch.zeros_like(ours.theta))
    ours.add_param_group({"params": [torch.ones(2, requires_grad=True)], "lr": 8.0})
    ours.descend(torch.zeros_like(ours.theta))
    assert rates(ours) == [0.005, 8.0]
    ours.descend(torch.zeros_like(ours.theta))
    assert rates(ours) == [0.0025, 4.0]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_restored_or_copied_in_the_middle_goes_on_to_the_bit(name, schedule):
    module = net()
    ours = build_optimizer(config(name, schedule), module.parameters())
    for seed in range(5):
        step(module, ours, seed)
    other = net()
    restored = build_optimizer(config(name, schedule), other.parameters())
    other.load_state_dict(module.state_dict())
    restored.load_state_dict(copy.deepcopy(ours.state_dict()))
    twin, copied = copy.deepcopy((module, ours))
    assert type(copied) is type(ours)
    for seed in range(5, 10):
        for pair in ((module, ours), (other, restored), (twin, copied)):
            step(*pair, seed)
    assert torch.equal(ours.theta, restored.theta) and torch.equal(ours.theta, copied.theta)
    assert rates(ours) == rates(restored) == rates(copied)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_bits_do_not_depend_on_the_number_of_threads(name):
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            p = nn.Parameter(torch.randn(100_003, generator=torch.Generator().manual_seed(0)))
            ours = build_optimizer(config(name), [p])
            for seed in range(3):
                ours.descend(torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)))
            found.append(ours.theta.clone())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_restart_forgets_moments_and_steps_but_no_parameter():
    module = net()
    ours = build_optimizer(config("adam", "step", steps=2), module.parameters())
    for seed in range(5):
        step(module, ours, seed)
    theta = ours.theta.clone()
    ours.restart()
    assert torch.equal(ours.theta, theta) and not ours.state
    fresh_module = net()
    fresh_module.load_state_dict(module.state_dict())
    fresh = build_optimizer(config("adam", "step", steps=2), fresh_module.parameters())
    assert rates(ours) == rates(fresh)
    for seed in range(5):
        step(module, ours, seed)
        step(fresh_module, fresh, seed)
    assert torch.equal(ours.theta, fresh.theta)


def test_a_momentum_of_one_is_refused_but_for_sgd():
    with pytest.raises(InputError, match="momentum: expected less than 1 with optimizer=adamw, whose β1"):
        build_optimizer(SGDConfig(momentum=1.0, optimizer="adamw"), net().parameters())
    assert isinstance(build_optimizer(SGDConfig(momentum=1.0), net().parameters()), VectorSGD)


# Agents


def test_ewc_learns_with_adam_and_its_penalty_holds():
    """A task of two classes is learned, and a heavier penalty keeps θ nearer to its solution."""
    moved = []
    for weight in (0.0, 1e4):
        agent = toy.build(EWC, optimizer="adam", lr=0.01, penalty_weight=weight)
        toy.learn(agent, tasks=(0,), steps=range(10))
        x, y = toy.batch([0, 1] * 10, seed=99)
        assert (toy.scores(agent, x).argmax(1) == y).float().mean() > 0.9
        anchor, importance = agent.anchor.clone(), agent.importance.clone()
        toy.learn(agent, tasks=(1,), steps=range(20))
        moved.append(float((importance * (agent.theta - anchor).square()).sum()))
    assert moved[1] < 0.5 * moved[0]


def ewc_with(name, plan):
    """EWC whose defaults are another optimiser and schedule, as the contract's checks take classes."""

    @dataclass(frozen=True)
    class EWCWithConfig(EWCConfig):
        optimizer: str = setting(name, "Optimiser.", choices=OPTIMIZERS)
        schedule: str = setting(plan, "Schedule.", choices=SCHEDULES)
        schedule_steps: int = setting(6, "Steps.", low=1)

    return type("EWCWith", (EWC,), {"Config": EWCWithConfig})


@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_agents_with_every_optimiser_and_schedule_resume(optimizer, schedule):
    agent_class = ewc_with(optimizer, schedule)
    built = toy.build(agent_class)
    assert (built.config.optimizer, built.config.schedule) == (optimizer, schedule)
    state.resumes(agent_class)
    state.state_saved(agent_class)
    state.same_seed(agent_class)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_si_measures_the_whole_move_of_the_optimiser(optimizer):
    """w is -Σ g Δθ with the gradient of the loss alone, whatever rule made Δθ."""
    agent = toy.build(SI, optimizer=optimizer, weight_decay=0.1)
    toy.learn(agent, tasks=(0,))
    path, twin = torch.zeros_like(agent.theta), toy.build(SI, optimizer=optimizer, weight_decay=0.1)
    for seed in range(4):
        before = agent.theta.clone()
        twin.network.plastic.load_state_dict(agent.network.plastic.state_dict())
        twin.seen = agent.seen.clone()
        labels = [2, 3] * 5
        x, y = toy.batch(labels, seed)
        twin.seen[y] = True
        loss = F.cross_entropy(twin.network.plastic(x).masked_fill(~twin.seen, -torch.inf), y)
        gradient = twin.gradient(loss).clone()
        toy.observe(agent, labels, seed)
        path -= gradient * (agent.theta - before)
    assert path.abs().max() > 0
    torch.testing.assert_close(agent.path, path, rtol=1e-5, atol=1e-8)


def test_offline_with_retrain_begins_the_schedule_anew():
    settings = {"retrain": True, "optimizer": "adam", "schedule": "cosine", "schedule_steps": 5}
    agent, fresh = (toy.build(Offline, **settings) for _ in range(2))
    toy.learn(agent, tasks=(0,), steps=range(6))
    for each in (agent, fresh):
        toy.learn(each, tasks=(1,), steps=range(3))
    assert torch.equal(agent.theta, fresh.theta)
    assert rates(agent.optimizer) == rates(fresh.optimizer)


def test_augmem_runs_its_slots_through_the_schedule():
    agent = toy.build(AugMem, optimizer="adamw", schedule="step", schedule_steps=2, schedule_factor=0.5)
    toy.learn(agent)
    assert len(set(rates(agent.optimizer))) == 1 and rates(agent.optimizer)[0] < 0.02 / 2
    assert all(torch.isfinite(p).all() for p in (agent.theta, agent.memory.slots))


def test_agents_that_set_rates_themselves_refuse_a_schedule():
    with pytest.raises(
        InputError, match=r"schedule: expected constant with lr_after_first=0\.001, which sets the rate"
    ):
        toy.build(AugMemPublished, schedule="step")
    toy.build(AugMemPublished, schedule="step", lr_after_first=None)
    with pytest.raises(InputError) as error:
        toy.build(REMIND, schedule="cosine", optimizer="adam")
    assert "optimizer: expected sgd, got adam: REMIND sets the rate" in str(error.value)
    assert "schedule: expected constant, got cosine: REMIND sets the rate" in str(error.value)


def test_an_unknown_optimiser_or_schedule_is_refused_with_the_nearest_name():
    with pytest.raises(InputError) as error:
        SGDConfig.from_settings(
            {"optimizer": "adm", "schedule": "cosin", "schedule_steps": 0, "schedule_factor": 2}
        )
    for words in (
        "'adam'",
        "'cosine'",
        "schedule_steps: expected at least 1",
        "schedule_factor: expected at most 1",
    ):
        assert words in str(error.value)
