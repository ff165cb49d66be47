"""What every registered agent must keep to, whatever it learns by."""

import json

import pytest
import torch

from agents import registry
from agents.base import TaskInfo
from benchmarks import checkpoint
from tests.toys import PROBLEM, Batches, batch, build, inputs

AGENTS = sorted(registry.AGENTS)


def learn(agent, tasks=(0, 1), steps=4, first_step=0):
    """Some steps on two tasks of two classes, with the calls that the loop would make."""
    for task in tasks:
        labels = [2 * task, 2 * task + 1] * 5
        info = TaskInfo(task, tuple(range(2 * task + 2)))
        agent.begin_task(info)
        for step in range(first_step, steps):
            observe(agent, labels, seed=10 * task + step)
        x, y = batch(labels * 2, seed=task)
        agent.end_task(info, Batches(inputs(agent, x), y) if agent.needs.task_data else None)
    return agent


def observe(agent, labels, seed=0):
    x, y = batch(labels, seed)
    return agent.observe(inputs(agent, x), y)


def scores(agent, x):
    agent.network.eval()
    with torch.no_grad():
        found = agent.predict(inputs(agent, x))
    agent.network.train()
    return found


def bits(value):
    """Nested tensors as something that compares to the bit."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().view(-1).numpy().tobytes(), tuple(value.shape)
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.fixture(params=AGENTS)
def agent_class(request):
    return registry.get(request.param)


def test_observe_logs_finite_scalars_and_predict_gives_finite_scores(agent_class):
    agent = build(agent_class)
    logged = observe(agent, [0, 1, 0, 1])
    assert logged
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in logged.values())
    assert all(torch.as_tensor(value).ndim == 0 for value in logged.values())
    assert not any(torch.is_tensor(value) and value.requires_grad for value in logged.values())
    found = scores(agent, batch([0, 1, 0])[0])
    assert found.shape == (3, PROBLEM.num_classes)
    assert torch.isfinite(found[:, :2]).all()


def test_a_batch_of_one_is_learned_and_judged(agent_class):
    agent = build(agent_class)
    observe(agent, [1])
    assert scores(agent, batch([1])[0]).shape == (1, PROBLEM.num_classes)


def test_predict_changes_nothing_and_does_not_depend_on_the_batch(agent_class):
    agent = learn(build(agent_class))
    x, _ = batch([0, 1, 2, 3, 0])
    before = bits(agent.state_dict())
    together = scores(agent, x)
    assert bits(agent.state_dict()) == before
    alone = torch.cat([scores(agent, image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_it_learns_two_classes(agent_class):
    agent = build(agent_class)
    for step in range(60):
        observe(agent, [0, 1] * 5, seed=step)
    x, y = batch([0, 1] * 20, seed=999)
    assert (scores(agent, x)[:, :2].argmax(1) == y).float().mean() > 0.9


def test_a_restored_agent_goes_on_to_the_bit(agent_class, tmp_path):
    agent = learn(build(agent_class))
    checkpoint.save(tmp_path / "state.safetensors", agent.state_dict())
    twin = build(agent_class, seed=5)  # other weights, other random numbers: all must come from the state
    twin.network.frozen.load_state_dict(agent.network.frozen.state_dict())  # given, not learned
    twin.load_state_dict(checkpoint.load(tmp_path / "state.safetensors"))
    assert bits(twin.state_dict()) == bits(agent.state_dict())
    learn(agent, tasks=(1,), steps=8, first_step=4)
    learn(twin, tasks=(1,), steps=8, first_step=4)
    assert bits(twin.state_dict()) == bits(agent.state_dict())


def test_same_seed_same_agent_other_seed_another(agent_class):
    one, same, other = (learn(build(agent_class, seed=seed)) for seed in (1, 1, 2))
    assert bits(one.state_dict()) == bits(same.state_dict())
    assert bits(one.state_dict()) != bits(other.state_dict())


def test_global_random_state_is_neither_read_nor_changed(agent_class):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = learn(build(agent_class))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert bits(learn(build(agent_class)).state_dict()) == bits(one.state_dict())


def test_memory_is_counted_and_kept_within_its_budget(agent_class):
    agent = build(agent_class)
    assert agent.memory_bytes() >= 0
    grown = learn(agent).memory_bytes()
    assert grown >= build(agent_class).memory_bytes()
    if "memory_images" in agent_class.Config.__dataclass_fields__:
        small = learn(build(agent_class, memory_images=3))
        images = [t for t in _tensors(small.state_dict()["buffer"]) if t.dtype == torch.uint8]
        assert sum(len(t) for t in images) == 3


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def test_configuration_is_plain_json(agent_class):
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(agent_class.Config()))) == asdict(agent_class.Config())


def test_a_declared_need_for_task_data_is_used(agent_class):
    if not agent_class.needs.task_data:
        pytest.skip("declares no need for task data")
    agent = build(agent_class)
    observe(agent, [0, 1])
    with pytest.raises((AttributeError, TypeError)):
        agent.end_task(TaskInfo(0, (0, 1)), None)
