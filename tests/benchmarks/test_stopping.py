"""Runs that stop on purpose, and scores of every evaluation: what goes on ends in the bits of what never stopped."""

import io
import json
import zipfile

import numpy as np
import pytest

from lethe.benchmarks.__main__ import main
from lethe.benchmarks.measure.evaluate import Evaluator
from lethe.benchmarks.records import predictions
from lethe.benchmarks.records.write import Recorder
from lethe.benchmarks.run.loop import learn
from lethe.benchmarks.run.stopping import Stop, cannot_stop, stop_before
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import Damaged, InputError
from tests.benchmarks.test_kill import content
from tests.benchmarks.test_loop import CPU, ER, Witness, make, world

LABELS = [[0, 1, 0, 1, 0, 1, 0], [2, 2, 2], [3, 3, 3, 3]]


def go(agent, folder, until_class=None, **options):
    """A run with scores of each evaluation; returns where it stopped, or its summary."""
    stream, images = world(LABELS)
    evaluator = Evaluator(stream, images, CPU, keep_scores=True)
    recorder = Recorder(folder, seed=7, identity={"run": 0}, **options)
    recorder.restore(agent, [len(task) for task in stream.tasks])
    if stop := learn(agent, stream, images, evaluator, recorder, until_class):
        return stop
    return recorder.finish(agent, evaluator, predictions=False)


@pytest.mark.parametrize(
    ("task", "until", "stop"),
    [
        (0, 1, None), (1, None, None), (1, 1, Stop(2, 4)), (1, 2, Stop(2, 4)), (1, 3, None), (2, 3, Stop(3, 4)),
        (2, 4, None), (2, 2, Stop(3, 4)),
    ],
)  # fmt: skip
def test_it_stops_before_the_first_task_after_enough_classes(task, until, stop):
    assert stop_before(task, [(0, 1), (0, 1, 2), (0, 1, 2, 3)], until) == stop


@pytest.mark.parametrize("agent", [Witness, ER])
def test_a_run_that_stopped_goes_on_to_the_bit(tmp_path, agent):
    go(make(agent), tmp_path / "whole")
    stopped = tmp_path / "stopped"
    assert go(make(agent), stopped, 1) == Stop(2, 4)
    assert go(make(agent), stopped, 2) == Stop(2, 4), "it is there already"
    assert sorted(p.name for p in stopped.glob("predictions*")) == ["predictions_task0.npz"]
    assert not (stopped / "summary.json").exists()
    assert go(make(agent), stopped, 3) == Stop(3, 4)
    assert go(make(agent), stopped, 99)["steps"] == 6
    assert content(stopped) == content(tmp_path / "whole")


def test_a_checkpoint_within_a_task_beyond_the_classes_asked_for_is_not_gone_on_from(tmp_path):
    class Interrupted(ER):
        def observe(self, x, y):
            if 3 in y:
                raise KeyboardInterrupt
            return super().observe(x, y)

    with pytest.raises(KeyboardInterrupt):
        go(make(Interrupted), tmp_path, checkpoint_batches=1)
    assert go(make(Interrupted), tmp_path, 2) == Stop(3, 4)


def test_the_scores_of_each_evaluation_are_those_that_were_judged(tmp_path):
    go(make(Witness), tmp_path)
    for task, classes in enumerate((2, 3, 4)):
        found = predictions.read_scores(tmp_path / predictions.of_task(task), ["0", "1", "2", "3"])
        assert found["scores"].shape == (2 * classes, 4) and found["scores"].dtype == np.float32
        assert (
            np.isneginf(found["scores"][:, classes:]).all()
            and np.isfinite(found["scores"][:, :classes]).all()
        )
        table = np.genfromtxt(tmp_path / "accuracy.csv", delimiter=",", skip_header=1)
        right = (found["scores"].argmax(1) == found["label"]).mean()
        assert table[task, 1] == 100 * right
    assert predictions.size((4, 6, 8), 4) == sum(n * 4 * 4 for n in (4, 6, 8))


def test_damaged_scores_are_told(tmp_path):
    go(make(Witness), tmp_path)
    path, names = tmp_path / predictions.of_task(2), ["0", "1", "2", "3"]
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-30], b"PK" + whole[5:]):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match=r"predictions_task2\.npz: damaged"):
            predictions.read_scores(path, names)
    arrays = {
        "row": np.arange(3),
        "label": np.zeros(3, np.int64),
        "scores": np.zeros((3, 4), np.float32),
        "classes": np.array(names),
    }
    predictions.write_scores(path, arrays)
    predictions.read_scores(path, names)
    for name, value in (
        ("row", np.zeros((3, 1), np.int64)),
        ("label", np.zeros(2, np.int64)),
        ("scores", np.zeros((3, 5), np.float32)),
        ("scores", np.zeros((3, 4))),
        ("classes", np.array(list("abcd"))),
        ("classes", np.array([None] * 4)),
    ):
        file = io.BytesIO()
        np.savez(file, **{**arrays, name: value})
        path.write_bytes(file.getvalue())
        with pytest.raises(Damaged, match="damaged"):
            predictions.read_scores(path, names)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("row.npy", b"none")
    with pytest.raises(Damaged, match="damaged"):
        predictions.read_scores(path, names)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        predictions.read_scores(path, names)


def test_an_agent_that_cannot_be_saved_cannot_stop():
    trial = Trial.create("digits", "class_iid", "tests.benchmarks.test_stopping:Unsaved")
    (problem,) = cannot_stop([trial, trial, Trial.create("digits", "class_iid", "er")])
    assert "--until-class: agent tests.benchmarks.test_stopping:Unsaved cannot be saved" in problem


class Unsaved(ER):
    """An agent without a state."""

    resumable = False


def test_the_command_stops_and_says_how_to_go_on(tmp_path, capsys):
    places = [
        "--data",
        str(tmp_path / "data"),
        "--lists",
        str(tmp_path / "lists"),
        "--out",
        str(tmp_path / "out"),
    ]
    command = [
        "run",
        "digits/class_iid",
        "--agent",
        "finetune",
        "--no-pretrained",
        "--set",
        "batch_size=100",
        *places,
    ]
    assert main([*command, "--until-class", "0"]) == 2
    assert "--until-class: expected at least 1, got 0" in capsys.readouterr().err
    unsaved = ["tests.benchmarks.test_stopping:Unsaved"]
    assert main([*command[:3], *unsaved, *command[4:-6], *places, "--until-class", "4"]) == 2
    assert "cannot be saved" in capsys.readouterr().err
    assert main([*command, "--until-class", "4", "--predictions", "each"]) == 0
    told = capsys.readouterr().out
    assert "finetune digits/class_iid run 0: stopped with 4 of 10 classes met" in told
    assert "the same command without --until-class, or with more classes, goes on from there" in told
    assert "--predictions each: up to " in told
    assert not list(tmp_path.rglob("summary.json"))
    assert main([*command, "--dry-run"]) == 0
    assert "1 runs, 0 finished, 1 to do" in capsys.readouterr().out
    assert main([*command, "--predictions", "each"]) == 0
    (summary,) = tmp_path.rglob("summary.json")
    assert json.loads(summary.read_text())["classes_seen"] == [2, 4, 6, 8, 10]
    assert len(list(tmp_path.rglob("predictions_task*.npz"))) == 5
    assert not list(tmp_path.rglob("predictions.npz"))
