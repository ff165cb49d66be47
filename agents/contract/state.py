"""Checks of what an agent keeps, saves and draws; see `agents.contract.checks`."""

import copy
import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

from lethe.agents.base import Agent
from lethe.agents.contract import toy
from lethe.agents.contract.probes import (
    ContractFailure,
    bits,
    bits_by_name,
    differing,
    global_seeds,
    global_states,
    kept,
    kept_bytes,
    odd_types,
    overrides,
    saved,
    training_calls,
)


def memory_counted(agent_class: type[Agent]) -> None:
    """At least the tensors that it keeps are counted by memory_bytes."""
    agent = toy.build(agent_class)
    for moment in ("at birth", "after two tasks"):
        if moment != "at birth":
            toy.learn(agent)
        said, there = agent.memory_bytes(), kept_bytes(agent)
        if not isinstance(said, int) or said < there:
            raise ContractFailure(
                f"memory_bytes to count at least the {there} bytes of tensors kept {moment}",
                f"{said}",
                "remove the override, which is right for tensors among the agent's attributes, or count them all",
            )


def memory_budget(agent_class: type[Agent]) -> None:
    """The memory keeps to each integer setting named memory_..., and follows it."""
    for field in dataclasses.fields(agent_class.Config):
        if field.name.startswith("memory_") and isinstance(field.default, int):
            _check_budget(agent_class, field.name)


def _check_budget(agent_class: type[Agent], name: str) -> None:
    budget = toy.PROBLEM.num_classes + 1  # no multiple of the classes, nor of what tasks and batches bring
    small, large = (toy.build(agent_class, **{name: size}) for size in (budget, 2 * budget))
    toy.learn(small)
    toy.learn(large)
    first = small.memory_bytes()
    images = 0
    if name == "memory_size":  # what rows of anything else look like is the agent's own affair
        images = sum(len(t) for t in kept(small) if t.ndim == 4 and t.shape[1:] == small.problem.input_shape)
    toy.learn(small, tasks=(1,), steps=range(4, 12))
    more = small.memory_bytes() - first
    if images > budget or more > 0:
        got = f"{images} images" if images > budget else f"{more} bytes more after another task"
        advice = "give up a stored row for each new one once it is full"
        raise ContractFailure(f"at most {name}={budget} to be stored", got, advice)
    if large.memory_bytes() <= first:
        raise ContractFailure(
            f"more to be stored with {name}={2 * budget} than with {budget}",
            f"{large.memory_bytes()} and {first} bytes",
            f"use {name}, or give a setting that is no budget another name",
        )


def state_saved(agent_class: type[Agent]) -> None:
    """All that it learns can be saved."""
    agent = toy.build(agent_class)
    toy.learn(agent)
    try:
        odd = sorted(set(odd_types(agent.state_dict())))
    except TypeError as error:
        expected = "state_dict to save every attribute"
        raise ContractFailure(expected, "one that it cannot", str(error)) from error
    if odd:
        advice = "turn them into tensors, numbers or lists"
        raise ContractFailure("tensors and plain values in state_dict", ", ".join(odd), advice)


def predict_pure(agent_class: type[Agent]) -> None:
    """Nothing changes when predict and predict_also are asked."""
    agent = toy.build(agent_class)
    toy.learn(agent)
    x = toy.inputs(agent, toy.batch([0, 1, 2, 3, 0])[0])
    agent.fill_cache()  # what this changes is the matter of `prepare_pure`

    def all_there_is() -> dict[str, object]:
        given = {"network": agent.network.state_dict(), "the input": x, "self.cache": agent.cache}
        return bits_by_name({**saved(agent), **given})

    def answers() -> dict[str, object]:
        return bits_by_name({"": toy.predict(agent, x), **toy.further_scores(agent, x)})

    before = all_there_is()
    with training_calls(agent.network.plastic) as calls:
        once = answers()
    changed = differing(before, all_there_is())
    if calls:
        changed.append("the mode of the network, which ran in training, where batch-norm changes")
    if not changed and answers() != once:
        changed.append("its own answer when asked again, so of something outside its state")
    if changed:
        raise ContractFailure(
            "predict to change nothing",
            f"a change of {', '.join(changed)}",
            "the network comes in evaluation mode: leave it there, draw nothing, count nothing, write to a copy",
        )


def prepare_pure(agent_class: type[Agent]) -> None:
    """Nothing but the cache changes in prepare, and the same state gives the same cache."""
    if not overrides(agent_class, "prepare"):
        return
    agent = toy.build(agent_class)
    toy.learn(agent)
    _check_prepare_changes_nothing(agent)
    x = toy.batch([0, 1, 2, 3])[0]
    once = toy.scores(agent, x)
    agent.cache = {}
    _check_same_scores(once, toy.scores(agent, x), "made twice from the same state")
    if agent_class.resumable:
        twin = toy.build(agent_class, seed=5)
        twin.network.frozen.load_state_dict(agent.network.frozen.state_dict())
        toy.scores(twin, x)  # a cache that has to go
        twin.load_state_dict(copy.deepcopy(agent.state_dict()))
        _check_same_scores(once, toy.scores(twin, x), "made before saving and after restoring")
    other = toy.build(agent_class)
    toy.learn(other)
    for one in (agent, other):  # one that was asked between the tasks, and one that was not
        toy.learn(one, tasks=(1,), steps=range(4, 8))
    _check_same_scores(
        toy.scores(other, x), toy.scores(agent, x), "made once, and made a second time after learning"
    )


def _check_prepare_changes_nothing(agent: Agent) -> None:
    def all_there_is() -> dict[str, object]:
        given = {"network": agent.network.state_dict(), "generator": agent.generator.get_state()}
        return bits_by_name({**given, **saved(agent)})

    before, counted = all_there_is(), agent.memory_bytes()
    agent.prepare()
    changed = differing(before, all_there_is())
    if changed:
        raise ContractFailure(
            "prepare to change nothing but self.cache, which is not saved",
            f"a change of {', '.join(changed)}",
            "write to self.cache alone; draw from a generator seeded there, train a copy, and switch the network to "
            "evaluation mode for a forward pass with batch-norm, and back",
        )
    if agent.memory_bytes() != counted:
        raise ContractFailure(
            "memory_bytes to leave out self.cache",
            f"{agent.memory_bytes()} bytes after prepare and {counted} before",
            "count what learning keeps, and put what prepare computes into self.cache",
        )


def _check_same_scores(one: Tensor, other: Tensor, when: str) -> None:
    if bits(one) != bits(other):
        raise ContractFailure(
            f"the same scores from a cache {when}",
            f"scores that differ by up to {(one - other).nan_to_num().abs().max():.3g}",
            "compute it from the saved state alone, keep it in self.cache alone, and let gradients and all else be "
            "as they were",
        )


def same_seed(agent_class: type[Agent]) -> None:
    """The same seed gives the same agent, to the bit."""
    states = []
    for _ in range(2):
        with global_seeds(1):  # use of the global generators is tested by the next check
            states.append(_learned(agent_class))
    if states[0] != states[1]:
        raise ContractFailure(
            "two agents of the same seed to end the same",
            f"differences in {', '.join(differing(*states))}",
            "let nothing depend on clocks, hashes or the order of sets, nor on what agents share: class attributes, "
            "variables of the module",
        )


def _learned(agent_class: type[Agent]) -> dict[str, object]:
    """State of an agent of seed 1 after two tasks and a prediction, and the prediction."""
    agent = toy.build(agent_class, seed=1)
    toy.learn(agent)
    predicted = toy.scores(agent, toy.batch([0, 1, 2, 3])[0])
    return bits_by_name({**saved(agent), "scores": predicted})


def global_random(agent_class: type[Agent]) -> None:
    """The global random generators are neither read nor changed."""
    advice = (
        "draw with generator=self.generator; a module built inside the agent draws too: copy one of the network's, "
        'or build it under torch.device("meta") and initialise it with the generator'
    )
    states = []
    for seed in (1, 2):
        with global_seeds(seed):
            before = global_states()
            states.append(_learned(agent_class))
            after = global_states()
        changed = [name for name, state in before.items() if state != after[name]]
        if changed:
            expected = "the global random state to stay as it was"
            raise ContractFailure(expected, f"a change of that of {', '.join(changed)}", advice)
    if states[0] != states[1]:
        expected = "the same agent whatever the global seeds"
        raise ContractFailure(expected, f"differences in {', '.join(differing(*states))}", advice)


def resumes(
    agent_class: type[Agent], carry: Callable[[dict[str, object]], Mapping[str, object]] = copy.deepcopy
) -> None:
    """An agent restored from state_dict goes on as the one that was saved, to the bit.

    `carry` takes the state from the one to the other, as a checkpoint does.
    """
    agent = toy.build(agent_class)
    twin = toy.build(agent_class, seed=5)  # other weights, other random numbers: all must come from the state
    twin.network.frozen.load_state_dict(agent.network.frozen.state_dict())  # given, not learned
    toy.learn(agent)
    twin.load_state_dict(carry(agent.state_dict()))
    for moment in ("right after", "four batches and an end of task after"):
        if moment != "right after":
            toy.learn(agent, tasks=(1,), steps=range(4, 8))
            toy.learn(twin, tasks=(1,), steps=range(4, 8))
        names = differing(bits_by_name(agent.state_dict()), bits_by_name(twin.state_dict()))
        if names:
            raise ContractFailure(
                "a restored agent to equal the one that was saved, and to go on as it does",
                f"differences in {', '.join(names)} {moment} load_state_dict",
                "keep all that learning changes in attributes of the agent; objects of its own need state_dict and "
                "load_state_dict that hold everything",
            )
