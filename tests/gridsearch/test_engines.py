"""The machines of the local engine's workers, and the measured overhead of a search."""

import argparse
import functools

import pytest
import torch

from lethe.benchmarks.run.experiment import Machine
from lethe.common.errors import InputError
from lethe.gridsearch import speed
from lethe.gridsearch.engines import choose as engines


def machines(**options) -> list[Machine]:
    values = {
        "engine": "local", "workers": None, "threads": 1, "gpus": None, "trials_per_gpu": 1,
        "address": None, "checkpoint_batches": None, "keep_model": False, "store": "auto",
        "max_memory": "8GB", **options,
    }  # fmt: skip
    return engines.engine(argparse.Namespace(**values))[1]


machine = functools.partial(Machine, max_memory=8 * 10**9)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8, 16)))
    assert machines() == [machine("cpu", 1)] * 8
    assert machines(threads=4, checkpoint_batches=9) == [machine("cpu", 4, 9)] * 2
    assert machines(threads=16) == [machine("cpu", 16)]
    assert machines(workers=3) == [machine("cpu", 1)] * 3


def test_runs_spread_over_all_gpus_before_they_share_one(two_gpus):
    assert [found.device for found in machines(trials_per_gpu=2)] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
        "cuda:1",
    ]
    assert machines(gpus="1", checkpoint_batches=9) == [machine("cuda:1", 1, 9)]
    assert machines(gpus="none", workers=1) == [machine("cpu", 1)]


@pytest.mark.parametrize("gpus", ["2", "0,2", "x", "", "-1"])
def test_a_gpu_that_is_not_there_is_told(two_gpus, gpus):
    with pytest.raises(InputError, match="expected numbers below 2"):
        machines(gpus=gpus)


@pytest.mark.parametrize("name", ["runs", "workers", "threads", "trials_per_gpu", "checkpoint_batches"])
@pytest.mark.parametrize("value", [0, -1])
def test_what_is_counted_is_at_least_one(name, value):
    option = name.replace("_", "-")
    with pytest.raises(InputError, match=f"^--{option}: expected at least 1, got {value}$"):
        machines(**{name: value})


def test_workers_are_not_counted_twice_on_gpus(two_gpus):
    with pytest.raises(InputError, match="--trials-per-gpu"):
        machines(workers=3)


def test_what_a_search_costs_beside_learning_is_measured():
    figures = speed.measure(speed.Sizes(trivial=3, points=2, dataset="digits"))
    assert len(figures) == 4
    assert all(figure.ours > 0 for figure in figures)
    assert [figure.ratio is None for figure in figures] == [False, False, True, False]
    # Learning is a part of running, and running a part of the workers' time.
    assert all(figure.ratio >= 1 for figure in figures if figure.ratio is not None)
