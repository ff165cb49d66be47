"""Trials and jobs: checked when they are made, equal where their content is, and usable as keys."""

import pickle
from dataclasses import replace

import pytest

from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.common.input_problems import InputErrorByKey


def trial(**settings) -> Trial:
    return Trial.create("digits", "class_iid", "finetune", {"lr": 0.01, **settings})


def test_equal_trials_have_equal_hashes_whatever_the_order_of_their_settings():
    one = trial()
    turned = replace(one, settings=dict(reversed(one.settings.items())))
    assert list(turned.settings) != list(one.settings)
    assert turned == one and hash(turned) == hash(one)
    assert len({one, turned, trial(momentum=0.5), replace(one, seed=1)}) == 3


def test_a_copy_of_a_job_from_another_process_finds_the_jobs_entry():
    jobs = {Job(trial(), 0): "first", Job(trial(), 1): "second", Job(trial(lr=0.1), 0): "third"}
    assert len(jobs) == 3
    assert jobs[pickle.loads(pickle.dumps(Job(trial(), 1)))] == "second"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"dataset": "digit", "network": "smal"}, [("dataset", "digit"), ("network", "smal")]),
        ({"paradigm": "class_id", "settings": {"lr": -1}}, [("paradigm", "class_id"), ("settings", "lr")]),
        ({"agent": "fintune", "cut": "conv9"}, [("agent", "fintune")]),  # whose own cut it may have been
        ({"cut": "conv9", "feature_dtype": "bfloat16"}, [("cut", "conv9")]),  # frozen or not, it is unknown
        ({"agent": "slda", "network": "small", "feature_dtype": "f"}, [("feature_dtype", "'f'")]),
    ],
)
def test_each_problem_of_a_trial_is_told_once_with_its_key(given, found):
    arguments = {"dataset": "digits", "paradigm": "class_iid", "agent": "finetune"} | given
    with pytest.raises(InputErrorByKey) as caught:
        Trial.create(**arguments)
    assert [key for key, _ in caught.value.by_key] == [key for key, _ in found]
    for (_, problem), (_, word) in zip(caught.value.by_key, found, strict=True):
        assert word in problem
    assert caught.value.problems == tuple(problem for _, problem in caught.value.by_key)


def test_a_trial_shows_itself_without_the_whole_dataset():
    assert "dataset='digits'" in repr(trial()) and "spec" not in repr(trial())
