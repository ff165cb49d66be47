"""`lethe check`: a good agent passes, and each check fails the agents that break its promise, alone."""

import random
import re
import subprocess
import sys
import time
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lethe.agents import registry
from lethe.agents.__main__ import main
from lethe.agents.base import Agent, Needs
from lethe.agents.config import SGDConfig, setting
from lethe.agents.contract import toy
from lethe.agents.contract.checks import CHECKS, verdicts
from lethe.agents.contract.probes import kept_bytes
from lethe.agents.finetune import Finetune
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.cli import main as lethe


@dataclass(frozen=True)
class GoodConfig(SGDConfig):
    memory_size: int = setting(8, "Images kept.", low=1)


class Good(SGDAgent):
    """Fine-tuning that keeps the last images, a count of them, and a network of its own."""

    Config = GoodConfig

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.images = torch.zeros(0, *self.problem.input_shape)
        self.count = 0

    def observe(self, x, y):
        self.seen[y] = True
        self.count += len(y)
        self.images = torch.cat([self.images, x.float()])[-self.config.memory_size :].clone()
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        self.step(loss)
        return {"loss": loss.detach()}


BROKEN = []


def breaks(check, message):
    """Marks an agent that fails `check` alone, with a message that the regular expression `message` finds."""

    def note(agent_class):
        BROKEN.append(pytest.param(agent_class, check, message, id=agent_class.__name__))
        return agent_class

    return note


@breaks("config", "frozen dataclass .* got Loose")
class LooseConfig(Good):
    class Config(GoodConfig):
        memory_size: int = setting(3, "Not a field: the dataclass line is missing.")


LooseConfig.Config.__name__ = "Loose"


@breaks("config", "a sentence and a range .* got none for depth: write it as")
class UnexplainedConfig(Good):
    @dataclass(frozen=True)
    class Config(SGDConfig):
        depth: int = 3


@breaks("config", "JSON gives back .* got others for shape")
class TupleConfig(Good):
    @dataclass(frozen=True)
    class Config(SGDConfig):
        shape: tuple = setting((1, 2), "JSON makes it a list.")


@breaks("runs", r"got ZeroDivisionError: .* \(test_check_command.py:\d+, in predict\)")
class Crashes(Good):
    def predict(self, x):
        return 1 / 0


@breaks("runs", r"got NameError: name 'slef' .* in observe\)$")
class Misspells(Good):
    def observe(self, x, y):
        return slef.count  # noqa: F821


@breaks("runs", "got no predict: define predict as")
class PredictsNever(Good):
    predict = Agent.predict


@breaks(
    "runs", "got RuntimeError: .* in observe.: if defaults of Config do not fit 4 classes and images of 8x8"
)
class ExpectsLargeImages(Good):
    def observe(self, x, y):
        nn.functional.avg_pool2d(x.float(), 9)


@breaks("runs", "task data were read by an agent that does not declare to need them: write .needs = Needs")
class ReadsDataUndeclared(Good):
    needs = Needs(task_boundaries=True)

    def end_task(self, task, data):
        list(data.batches(10))


@breaks("logs", "'loss' to be logged without its graph.*detach")
class LogsGraph(Good):
    def observe(self, x, y):
        super().observe(x, y)
        return {"loss": self.network.plastic(x).mean()}


@breaks("logs", r"a scalar to log as 'losses'; got a tensor of shape \[3\]")
class LogsVector(Good):
    def observe(self, x, y):
        return super().observe(x, y) | {"losses": torch.ones(3)}


@breaks("logs", "a finite number to log as 'ratio'; got nan")
class LogsNaN(Good):
    def observe(self, x, y):
        return super().observe(x, y) | {"ratio": torch.zeros(()) / 0}


@breaks("logs", "a number to log as 'note'; got 'hello'")
class LogsText(Good):
    def observe(self, x, y):
        return super().observe(x, y) | {"note": "hello"}


@breaks("logs", "to return what to log, scalars by name, or {}; got None")
class LogsNothing(Good):
    def observe(self, x, y):
        super().observe(x, y)


@breaks("scores", r"scores \[10, 4\] for 10 images of 4 classes; got torch.int64 \[10\]")
class PredictsLabels(Good):
    def predict(self, x):
        return super().predict(x).argmax(1)


@breaks("scores", r"finite scores .* got \[nan, nan\]")
class PredictsNaN(Good):
    def predict(self, x):
        return super().predict(x) * torch.nan


@breaks("further_scores", r"predict_also to give floating-point scores \[10, 4\].*got torch.int64 \[10\]")
class NamesLabels(Good):
    def predict_also(self, x):
        return {"direct": self.predict(x).argmax(1)}


@breaks("further_scores", "a plain name of each further output; got further output 'Up/There'")
class NamesPaths(Good):
    def predict_also(self, x):
        return {"Up/There": self.predict(x)}


@breaks("further_scores", "the same outputs after every task; got late after another, none before")
class NamesLate(Good):
    def predict_also(self, x):
        return {"late": self.predict(x)} if self.count > 10 else {}


@breaks("predict_pure", "a change of count")
class CountsFurther(Good):
    def predict_also(self, x):
        self.count += 1
        return {"direct": self.predict(x)}


@breaks("short_batches", "a batch of 1 to be learned and judged; got RuntimeError: .*in observe.*size from x")
class AssumesBatchSize(Good):
    def observe(self, x, y):
        return super().observe(x.view(self.config.batch_size, 3, 8, 8), y)


@breaks("short_batches", r"scores \[1, 4\] .* got torch.float32 \[4\]")
class Squeezes(Good):
    def predict(self, x):
        return super().predict(x).squeeze()


@breaks("judged_alone", "the same scores .* differ by up to .* judge each row by itself")
class CentresTheBatch(Good):
    def predict(self, x):
        scores = super().predict(x)
        return scores - 0.01 * scores.mean()


@breaks("learns", r"more than 90 % .* got \d+ %: see that observe, or end_task, takes its steps")
class NeverSteps(Good):
    def step(self, loss):
        pass


@breaks("learns", "more than 90 % .* got .* %: see that observe, or end_task")
class LearnsFromWrongData(Good):
    """It learns in end_task alone, and not from the task that was."""

    needs = Needs(task_boundaries=True, task_data=True)

    def observe(self, x, y):
        return {"images": float(len(y))}

    def end_task(self, task, data):
        for x, y in data.batches(10):
            super().observe(x, y.flip(0))


@breaks("needs_declared", "got end_task without it: add needs")
class EndsTasksUndeclared(Good):
    def end_task(self, task, data):
        self.count = 0


@breaks("needs_declared", "got begin_task without it: add needs")
class BeginsTasksUndeclared(Good):
    def begin_task(self, task):
        self.count = 0


@breaks("needs_declared", "got cut = 'head' without it: add frozen_trunk=True")
class CutsUndeclared(Good):
    cut = "head"


@breaks("needs_used", "task_boundaries to be used; got neither")
class IgnoresBoundaries(Good):
    needs = Needs(task_boundaries=True)


@breaks("needs_used", "frozen_trunk to be used; got cut is None")
class FreezesNothing(Good):
    needs = Needs(frozen_trunk=True)


@breaks("needs_used", "task_data to be used; got end_task never calls data.batches")
class IgnoresData(Good):
    needs = Needs(task_boundaries=True, task_data=True)

    def end_task(self, task, data):
        self.count += len(data)


@breaks("data_alone", r"all that a run hands over; got a look for __dict__, images: keep")
class LooksForTestImages(Good):
    needs = Needs(task_boundaries=True, task_data=True)

    def end_task(self, task, data):
        self.count += sum(len(y) for _, y in data.batches(10))
        store = getattr(data, "images", None) or getattr(data, "__dict__", {}).get("store")
        if store is not None:
            self.images = store


@breaks("memory_counted", r"at least the \d+ bytes .* at birth; got 0: remove the override")
class CountsNothing(Good):
    def memory_bytes(self):
        return 0


@breaks("memory_counted", r"at least the \d+ bytes .* after two tasks; got \d+: remove the override")
class CountsNoImages(Good):
    def memory_bytes(self):
        return super().memory_bytes() - self.images.nbytes


@breaks("memory_budget", "at most memory_size=5 to be stored; got 80 images: give up")
class KeepsEverything(Good):
    def observe(self, x, y):
        images = torch.cat([self.images, x.float()])
        logged = super().observe(x, y)
        self.images = images
        return logged


@breaks("memory_budget", r"at most memory_size=5 to be stored; got \d+ bytes more after another task")
class KeepsEveryLabel(Good):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.labels = torch.zeros(0, dtype=torch.int64)

    def observe(self, x, y):
        self.labels = torch.cat([self.labels, y])
        return super().observe(x, y)


@breaks("memory_budget", "more to be stored with memory_depth=10 than with 5")
class IgnoresItsBudget(Good):
    @dataclass(frozen=True)
    class Config(GoodConfig):
        memory_depth: int = setting(2, "Nothing follows it.", low=1)


@breaks("state_saved", "attribute 'table' holds a ndarray, which cannot be saved: make it a tensor")
class KeepsAnArray(Good):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.table = np.zeros(3)


@breaks("state_saved", "tensors and plain values in state_dict; got set, tuple as a key")
class SavesOddThings(Good):
    def state_dict(self):
        return super().state_dict() | {"labels": {1, 2}, "pairs": {(0, 1): 2}}


@breaks("predict_pure", "predict to change nothing; got a change of count: the network comes in")
class CountsPredictions(Good):
    def predict(self, x):
        self.count += len(x)
        return super().predict(x)


@breaks("predict_pure", "a change of generator")
class DrawsToPredict(Good):
    def predict(self, x):
        torch.rand(1, generator=self.generator)
        return super().predict(x)


@breaks("predict_pure", "a change of normal")
class RenewsBatchNorm(Good):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.normal = nn.BatchNorm2d(3, affine=False)

    def predict(self, x):
        self.normal.train()
        self.normal(x.float())
        return super().predict(x)


@breaks("predict_pure", "a change of the mode of the network, which ran in training")
class PredictsInTraining(Good):
    def predict(self, x):
        self.network.train()
        return super().predict(x)


@breaks("predict_pure", "a change of the input")
class WritesToTheInput(Good):
    def predict(self, x):
        scores = super().predict(x)
        x += 1
        return scores


@breaks("predict_pure", "its own answer when asked again")
class RemembersBeingAsked(Good):
    def predict(self, x):
        self.network.asked = getattr(self.network, "asked", 0) + 1
        return super().predict(x) + 1e-7 * self.network.asked


class Prepared(Good):
    """Shifts its scores by means of its images, made once per evaluation."""

    def prepare(self):
        self.cache["shift"] = self.images.mean() / 1000 if len(self.images) else torch.zeros(())

    def predict(self, x):
        return super().predict(x) + self.cache["shift"]


@breaks("predict_pure", "a change of self.cache")
class AddsToItsCacheToPredict(Prepared):
    def predict(self, x):
        self.cache["asked"] = True
        return super().predict(x)


@breaks("prepare_pure", "prepare to change nothing but self.cache, .* got a change of generator: write to")
class DrawsToPrepare(Prepared):
    def prepare(self):
        super().prepare()
        self.cache["shift"] = 0.01 * torch.rand((), generator=self.generator)


@breaks("prepare_pure", "a change of shift: write to self.cache alone")
class PreparesAnAttribute(Prepared):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.shift = torch.zeros(())

    def prepare(self):
        self.shift = self.images.mean() / 1000
        self.cache["shift"] = self.shift


@breaks("prepare_pure", "a change of network, plastic: write to")
class TrainsItsNetworkToPrepare(Prepared):
    def prepare(self):
        super().prepare()
        self.network.plastic.head.bias.data += 0.01


@breaks(
    "prepare_pure", "prepare to change nothing but self.cache, which is not saved; got a change of cache:"
)
class SavesItsCache(Prepared):
    def state_dict(self):
        return super().state_dict() | {"cache": self.cache}

    def load_state_dict(self, state):
        super().load_state_dict({name: value for name, value in state.items() if name != "cache"})


@breaks("prepare_pure", r"to leave out self.cache; got \d+ bytes after prepare and \d+ before")
class CountsItsCache(Prepared):
    def memory_bytes(self):
        return super().memory_bytes() + sum(tensor.nbytes for tensor in self.cache.values())


@breaks("prepare_pure", "a cache made twice from the same state; got scores that differ by up to 0.0")
class CountsItsPreparations(Prepared):
    def prepare(self):
        self.network.made = getattr(self.network, "made", 0) + 1
        self.cache["shift"] = torch.tensor(0.01 * self.network.made)


@breaks("prepare_pure", "a cache made before saving and after restoring; got scores that differ")
class PreparesFromWhatIsNotSaved(Prepared):
    def observe(self, x, y):
        self.network.last = y.float().mean()
        return super().observe(x, y)

    def prepare(self):
        self.cache["shift"] = getattr(self.network, "last", torch.zeros(()))


@breaks("prepare_pure", "a cache made once, and made a second time after learning; got scores that differ")
class RemembersPreparing(Prepared):
    """Its next step depends on whether it was evaluated before."""

    def prepare(self):
        super().prepare()
        self.network.stale = True

    def observe(self, x, y):
        logged = super().observe(x, y)
        if getattr(self.network, "stale", False):
            self.network.plastic.head.bias.data += 0.01
            self.network.stale = False
        return logged


@breaks("same_seed", "two agents of the same seed to end the same; got differences in clock")
class ReadsTheClock(Good):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.clock = time.perf_counter()


@breaks("same_seed", "differences in count: .*class attributes")
class SharesACounter(Good):
    observed = 0

    def observe(self, x, y):
        logged = super().observe(x, y)
        SharesACounter.observed += 1
        self.count = SharesACounter.observed
        return logged


@breaks("global_random", "a change of that of torch: draw with generator=self.generator")
class DrawsGlobally(Good):
    def observe(self, x, y):
        return super().observe(x, y) | {"draw": torch.rand(())}


@breaks("global_random", "a change of that of torch: .*a module built inside the agent draws too")
class BuildsALayer(Good):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.layer = nn.Linear(2, 2)


@breaks("global_random", "a change of that of numpy.random, random: ")
class DrawsElsewhere(Good):
    def observe(self, x, y):
        return super().observe(x, y) | {"draw": random.random() + float(np.random.rand())}


@breaks("global_random", "the same agent whatever the global seeds; got differences in own")
class SeedsFromTheGlobalSeed(Good):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.own = torch.Generator().manual_seed(torch.initial_seed())


@breaks("resumes", "go on as it does; got differences in count four batches and an end of task after")
class CountsOutside(Good):
    def observe(self, x, y):
        logged = super().observe(x, y)
        self.network.steps = getattr(self.network, "steps", 0) + 1
        self.count = self.network.steps
        return logged


@breaks("resumes", "differences in count right after load_state_dict")
class RestoresTooLittle(Good):
    def load_state_dict(self, state):
        super().load_state_dict(state | {"count": 0})


@breaks("resumes", "differences in plastic, optimizer four batches")
class SavesTooLittle(Good):
    """Its learning rate falls with the images that it saw, and it does not save how many."""

    def state_dict(self):
        return {name: value for name, value in super().state_dict().items() if name != "count"}

    def load_state_dict(self, state):
        super().load_state_dict(state | {"count": self.count})

    def observe(self, x, y):
        self.optimizer.param_groups[0]["lr"] = self.config.lr / (1 + self.count)
        return super().observe(x, y)


def test_a_good_agent_of_ones_own_passes(capsys):
    assert main(["check", f"{__name__}:Good"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ok") == len(CHECKS) and "FAIL" not in printed
    assert f"{len(CHECKS)} of {len(CHECKS)} checks hold" in printed


class SaysNothing(Prepared):
    """Has nothing to log."""

    def observe(self, x, y):
        super().observe(x, y)
        return {}


class PreparesAtTheEnd(Prepared):
    """Learns in end_task alone, prepares, and cannot be saved."""

    needs = Needs(task_boundaries=True, task_data=True)
    resumable = False

    def observe(self, x, y):
        return {}

    def end_task(self, task, data):
        for x, y in data.batches(10):
            Good.observe(self, x, y)

    def state_dict(self):
        raise NotImplementedError


@pytest.mark.parametrize("agent_class", [Prepared, SaysNothing, PreparesAtTheEnd])
def test_an_agent_that_prepares_or_logs_nothing_passes(agent_class):
    assert [v for v in verdicts(agent_class) if v.failure is not None] == []


class DrawsToPrepareAndCannotBeSaved(PreparesAtTheEnd):
    def prepare(self):
        self.cache["shift"] = 0 * torch.rand((), generator=self.generator)


def test_draws_to_prepare_are_found_in_an_agent_that_cannot_be_saved():
    failures = {v.check: v.failure for v in verdicts(DrawsToPrepareAndCannotBeSaved) if v.failure is not None}
    assert "a change of generator" in failures["prepare_pure"]


def test_a_cache_is_not_among_the_tensors_kept():
    agent = toy.build(Prepared)
    toy.learn(agent)
    agent.fill_cache()
    assert kept_bytes(agent) == agent.memory_bytes() and agent.cache


@pytest.mark.parametrize("agent_class, check, message", BROKEN)
def test_a_broken_promise_is_found_and_explained_and_nothing_else(agent_class, check, message):
    failures = {v.check: v.failure for v in verdicts(agent_class) if v.failure is not None}
    assert list(failures) == [check], failures
    assert re.search(message, failures[check]), failures[check]


def test_every_check_has_an_agent_that_fails_it():
    assert {case.values[1] for case in BROKEN} == set(CHECKS)


class LearnsAtTheEnd(LearnsFromWrongData):
    """It learns in end_task alone, and cannot be saved."""

    resumable = False

    def end_task(self, task, data):
        for x, y in data.batches(10):
            Good.observe(self, x, y)

    def state_dict(self):
        raise NotImplementedError

    def load_state_dict(self, state):
        raise NotImplementedError


class DrawsAtTheEnd(LearnsAtTheEnd):
    """As its parent, from global random numbers."""

    def end_task(self, task, data):
        super().end_task(task, data)
        with torch.no_grad():
            self.network.plastic.head.bias += torch.rand(4)


class DependsOnOthers(LearnsAtTheEnd):
    """As its parent, but each agent learns from another beginning."""

    built = 0

    def end_task(self, task, data):
        DependsOnOthers.built += 1
        self.network.plastic.head.bias.data += 0.01 * DependsOnOthers.built
        super().end_task(task, data)


class ChangesWhenAsked(LearnsAtTheEnd):
    """As its parent, and what it is asked changes it."""

    def predict(self, x):
        self.network.plastic.head.bias += 1
        return super().predict(x)


def test_an_agent_that_learns_at_the_end_of_a_task_and_cannot_be_saved_passes_and_is_told_why(capsys):
    assert main(["check", f"{__name__}:LearnsAtTheEnd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith("    skip")]
    assert [lines[number].split()[1] for number in at] == ["state_saved:", "resumes:"]
    assert all("resumable is False: an interrupted run begins anew" in lines[number + 1] for number in at)
    assert lines[-1].endswith(f":LearnsAtTheEnd: {len(CHECKS) - 2} of {len(CHECKS)} checks hold; 2 skipped")


@pytest.mark.parametrize(
    "agent_class, check",
    [(DrawsAtTheEnd, "global_random"), (DependsOnOthers, "same_seed"), (ChangesWhenAsked, "predict_pure")],
)
def test_an_agent_that_cannot_be_saved_is_judged_by_its_network_and_its_answers(agent_class, check):
    assert check in [v.check for v in verdicts(agent_class) if v.failure is not None]


@pytest.mark.parametrize("strategy", ["Naive", "Replay"])
def test_a_strategy_of_avalanche_passes(strategy):
    found = list(verdicts(registry.get(f"avalanche:{strategy}")))
    assert [v for v in found if v.failure is not None] == []
    assert len(found) == len(CHECKS)


def test_a_failure_is_printed_below_its_check_and_the_others_are_still_run(capsys):
    assert main(["check", f"{__name__}:LogsGraph", "finetune"]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if "FAIL" in line)
    assert "logs: The values that observe returns can be logged." in lines[at]
    assert "expected 'loss' to be logged without its graph; got " in lines[at + 1]
    assert f"{__name__}:LogsGraph: {len(CHECKS) - 1} of {len(CHECKS)} checks hold" in lines
    assert lines[-1] == f"finetune: {len(CHECKS)} of {len(CHECKS)} checks hold"


def test_what_a_failure_makes_meaningless_waits(capsys):
    assert main(["check", f"{__name__}:Crashes"]) == 1
    printed = capsys.readouterr().out
    assert f"1 of {len(CHECKS)} checks hold; {len(CHECKS) - 2} wait until runs holds" in printed
    assert "scores" not in printed


def test_unknown_agents_are_told_before_anything_is_checked(capsys):
    assert main(["check", "finetune", "finetun", "no.such:Agent"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("error: ") == 2
    assert "did you mean 'finetune'?" in printed.err and "'no' is not found" in printed.err


def test_without_a_command_the_agents_are_listed(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "er: Experience replay" in printed
    assert f"avalanche:STRATEGY: Any of {len(registry.AVALANCHE)} strategies" in printed
    assert all(strategy in printed for strategy in registry.AVALANCHE)


def test_a_named_agent_is_told_with_its_paper_and_every_hyperparameter(capsys):
    assert lethe(["agents", "er"]) == 0
    printed = capsys.readouterr().out
    assert "arXiv 1902.10486" in printed and "Differences from the paper" in printed
    assert "Needs: nothing but the stream." in printed
    assert all(f"    {field}=" in printed for field in registry.get("er").Config.__dataclass_fields__)
    assert lethe(["agents", "nobody"]) == 2


def test_a_reader_that_leaves_early_ends_the_list_without_a_traceback():
    folder = Path(__file__).parents[2]
    command = [sys.executable, "-u", "-m", "agents"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        listing.stdout.close()
        told = listing.stderr.read()
    assert told == b"" and listing.returncode == 1


@pytest.mark.parametrize("method", ["observe", "predict", "__init__", "state_dict"])
def test_an_agent_that_ends_the_program_fails_its_check(method, capsys, monkeypatch):
    def leave(*arguments, **named):
        sys.exit(0)

    module = types.ModuleType("leaves")
    module.A = type("A", (Finetune,), {method: leave})
    monkeypatch.setitem(sys.modules, "leaves", module)
    assert lethe(["check", "leaves:A"]) == 1
    assert "SystemExit" in capsys.readouterr().out
