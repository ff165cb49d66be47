"""The plan of a search: which runs are finished, which failed, and which are left, in what order."""

from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.job import Job
from lethe.gridsearch.plan import TimeEstimate, duration_text, plan
from tests.made_grid import fail, finish, grid, pick
from tests.made_records import run

TEXT = """
datasets = ["digits"]
paradigms = ["class_iid"]
runs = 3
[agents.finetune]
epochs = [1, 5]
"""


def made(tmp_path):
    """Of the run with one epoch, run 0 is finished and run 1 failed; nothing of the other."""
    trials = grid(tmp_path, TEXT).trials
    places = Places(tmp_path / "results", tmp_path / "data", tmp_path / "lists")
    once, five = pick(trials, epochs=1), pick(trials, epochs=5)
    finish(places.results, once, run(0, [50.0], wall_seconds=30.0))
    fail(places.results, once, {1: "out of luck"})
    return trials, places, once, five


def test_a_failed_run_is_left_alone_unless_it_is_to_be_tried_again(tmp_path):
    trials, places, once, five = made(tmp_path)
    found = plan(trials, 3, places, retry_failed=False)
    assert found.finished == (Job(once, 0),)
    assert [(job, failure.reason) for job, failure in found.failed] == [(Job(once, 1), "out of luck")]
    assert set(found.left) == {Job(once, 2), *(Job(five, number) for number in range(3))}
    again = plan(trials, 3, places, retry_failed=True)
    assert again.failed == () and set(again.left) == {*found.left, Job(once, 1)}
    assert found.total == again.total == 6


def test_the_time_left_is_the_mean_of_runs_of_the_kind_shared_by_the_workers(tmp_path):
    trials, places, once, five = made(tmp_path)
    estimate = TimeEstimate(plan(trials, 3, places, retry_failed=False).finished, places)
    assert estimate.left([Job(once, 1), Job(once, 2)], workers=2) == 30
    estimate.note(Job(once, 1), 50.0)
    assert estimate.left([Job(once, 2)], workers=1) == 40
    estimate.note(Job(five, 0), 200.0)
    assert estimate.left([Job(once, 2), Job(five, 1)], workers=1) == 40 + 200


def test_a_duration_is_told_in_whole_minutes_and_from_two_hours_on_in_hours():
    told = [duration_text(seconds) for seconds in (29, 31, 119 * 60, 120 * 60, 9000)]
    assert told == ["less than a minute", "about 1 min", "about 119 min", "about 2.0 h", "about 2.5 h"]
