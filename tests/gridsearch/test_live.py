"""The progress display of a search."""

import pytest

from lethe.benchmarks.records.failures import Failure
from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.run.trial import Trial
from lethe.benchmarks.workers.messages import Failed, Finished
from lethe.gridsearch.live import Live, run_label
from lethe.gridsearch.plan import TimeEstimate, duration_text, plan
from tests.made_grid import finish
from tests.made_records import run


def trial(agent: str, lr: float) -> Trial:
    return Trial.create("digits", "class_iid", agent, {"lr": lr}, split="validation", pretrained=False)


def outcome(job: Job, accuracy: float, seconds: float | None = 60.0) -> Finished:
    return Finished(job, {"metrics": {"accuracy_mean": accuracy, "wall_seconds": seconds}}, seconds)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def test_each_end_is_a_line_and_only_complete_trials_compete(places, capsys):
    todo = plan([trial("finetune", 0.1), trial("finetune", 0.2), trial("er", 0.1)], 2, places, False)
    jobs = {run_label(job): job for job in todo.left}
    with Live(todo, 2, 2, places) as live:
        first, second = "digits/class_iid finetune lr=0.1 run 0", "digits/class_iid finetune lr=0.1 run 1"
        live.started(jobs[first])
        live.learned(jobs[first], 50, 200, 12.5)
        live.ended(outcome(jobs[first], 40.0))
        assert live.best() == []
        live.ended(outcome(jobs[second], 41.0, None))
        assert live.best() == ["digits/class_iid: finetune 40.5"]
        lost = jobs["digits/class_iid er lr=0.1 run 0"]
        live.ended(Failed(lost, Failure("it broke", ("a line",)), 1.0))
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"[1/6] {first}: 40.0 %, 60.0 s",
        f"[2/6] {second}: 41.0 %, by another process",
        "[3/6] digits/class_iid er lr=0.1 run 0: failed: it broke",
    ]
    assert live.failed == 1


def test_the_lines_below_show_what_runs_and_what_is_left(places, monkeypatch):
    todo = plan([trial("finetune", 0.1)], 3, places, False)
    shown: list[str] = []
    monkeypatch.setattr(
        "lethe.gridsearch.live.tqdm.set_description_str", lambda line, text: shown.append(text)
    )
    with Live(todo, 3, 1, places) as live:
        assert shown == ["0 of 3 runs done, 0 failed, 3 left, time unknown until a run has ended"]
        live.started(todo.left[0])
        live.learned(todo.left[0], 50, 200, 12.5)
        live.ended(outcome(todo.left[0], 40.0))
        shown.clear()
        live.started(todo.left[1])
    assert shown[0] == "1 of 3 runs done, 0 failed, 2 left, about 2 min"
    assert shown[1].startswith("  digits/class_iid finetune lr=0.1 run 1")


def test_time_left_counts_each_kind_of_run_as_it_was(places):
    slow, fast = Job(trial("er", 0.1), 0), Job(trial("finetune", 0.1), 0)
    estimate = TimeEstimate([], places)
    assert estimate.left([slow], 1) is None
    estimate.note(slow, 100.0)
    estimate.note(fast, 10.0)
    assert estimate.left([slow, fast, fast], 2) == 60.0
    assert estimate.left([Job(trial("l2", 0.1), 0)], 1) == 55.0
    assert [duration_text(seconds) for seconds in (20, 150, 3 * 3600)] == [
        "less than a minute",
        "about 2 min",
        "about 3.0 h",
    ]


def test_what_finished_before_is_known_to_the_plan(places):
    job = Job(trial("finetune", 0.1), 1)
    finish(places.results, job.trial, run(1, [33.0], wall_seconds=7.0))
    todo = plan([job.trial, trial("finetune", 0.1)], 2, places, False)
    assert ([str(done) for done in todo.finished], len(todo.left), todo.total) == ([str(job)], 1, 2)
    assert TimeEstimate(todo.finished, places).left(todo.left, 1) == 7.0


def test_a_collapsed_run_says_so_at_its_end(places, capsys):
    todo = plan([trial("finetune", 0.1)], 1, places, False)
    ended = outcome(todo.left[0], 20.0, None)
    ended.summary["collapsed"] = "class 3 was predicted\x1b for 98 % of the test images"
    with Live(todo, 1, 1, places) as live:
        live.ended(ended)
    assert "20.0 %, collapsed: class 3 was predicted? for 98 % of the test images" in capsys.readouterr().out
