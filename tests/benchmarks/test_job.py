"""Jobs and trials as values: equal where their content is, and usable as keys."""

import pickle
from dataclasses import replace

from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial


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
