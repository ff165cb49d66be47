"""Records say what was measured, or that they are damaged; a damaged one ends its own trial only."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from lethe.agents.config import Config
from lethe.benchmarks.records import checkpoint, going_on, read, schema, seal
from lethe.common.errors import Damaged, InputError
from tests.made_records import run, trial, write

CONFIG = Config(batch_size=3, epochs_first_task=2)
TASKS = (7, 5)
"""Three and two batches; the first task is learned twice."""


@pytest.fixture
def folder(tmp_path):
    """A trial with one sealed run."""
    made = write(tmp_path, trial("er", run(0, [90.0, 60.0], first=[90.0, 40.0])))
    path = made / "run0" / "summary.json"
    path.write_text(json.dumps(seal.sealed(made / "run0", json.loads(path.read_text()))))
    return made


def edit(path: Path, **values: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))


def test_a_sealed_run_is_read(folder):
    (found,) = read.read_trial(folder).runs
    assert found.accuracy.tolist() == [[90, 90], [60, 40]] and found.classes_seen == (2, 4)


def test_a_number_that_changed_since_it_was_written_is_told(folder):
    path = folder / "run0" / "summary.json"
    metrics = json.loads(path.read_text())["metrics"]
    edit(path, metrics={**metrics, "memory_bytes": metrics["memory_bytes"] + 1})
    with pytest.raises(
        Damaged, match=r"summary\.json: damaged \(it has changed since it was written\): delete"
    ):
        read.read_trial(folder)


def test_an_accuracy_that_changed_since_it_was_written_is_told(folder):
    path = folder / "run0" / "accuracy.csv"
    path.write_text(path.read_text().replace("60.0", "61.0"))
    with pytest.raises(Damaged, match=r"accuracy\.csv: damaged \(it has changed since it was written\)"):
        read.read_trial(folder)
    path.unlink()
    with pytest.raises(Damaged, match=r"accuracy\.csv: damaged \(cannot be read: No such file"):
        read.read_summary(folder / "run0")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"metrics": []}, "metrics: expected an object, got []"),
        ({"metrics": {}}, "metrics.accuracy_mean is missing"),
        ({"classes_seen": []}, "classes_seen: expected a list with values, got []"),
        ({"classes_seen": [2, 0]}, "classes_seen[1]: expected a whole number from 1 to"),
        ({"classes_seen": [2, True]}, "classes_seen[1]: expected a whole number"),
        ({"collapsed": 7}, "collapsed: expected a text, got 7"),
    ],
)
def test_a_summary_of_other_types_is_refused(folder, values, problem):
    edit(folder / "run0" / "summary.json", **values)
    with pytest.raises(Damaged) as told:
        read.read_summary(folder / "run0")
    assert problem in str(told.value) and len(told.value.problems) == 1


@pytest.mark.parametrize(
    ("name", "value", "fine"),
    [
        ("accuracy_mean", 5000, False),
        ("accuracy_mean", None, False),
        ("forgetting", None, True),
        ("forgetting", -100, True),
        ("forgetting", -101, False),
        ("memory_bytes", 1.5, False),
        ("total_bytes", 10**9, True),
        ("total_bytes", -1, False),
        ("learn_flops", 2.5e9, True),
        ("something_new", 3, True),
        ("something_new", "3", False),
        ("seconds", math.inf, False),
    ],
)
def test_metrics_are_in_their_ranges(name, value, fine):
    metrics = {**run(0, [50.0]).summary["metrics"], name: value}
    content = {"metrics": metrics, "classes_seen": [2]}
    if fine:
        schema.check(Path("x"), content, schema.SUMMARY)
    else:
        with pytest.raises(Damaged, match=rf"x: damaged \(metrics\.{name}: expected "):
            schema.check(Path("x"), content, schema.SUMMARY)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not enough values"),
        ("task,seen,group_0\n", "a row a task"),
        ("task,group_0,seen\n0,1,1\n", "expected columns task, seen, group_0"),
        ("task,seen,group_0\n0,5000.0,1\n", "expected a number from 0 to 100, got 5000.0"),
        ("task,seen,group_0\n0,nan,1\n", "expected a number from 0 to 100, got nan"),
        ("task,seen,group_0\n0,,1\n", "could not convert"),
        ("task,seen,group_0\n0,1\n", "expected 3 values in each row"),
        ("task,seen,group_0\n1,1,1\n0,1,1\n", "expected tasks 0, 1, ... in order"),
    ],
)
def test_accuracies_are_percentages_of_tasks_in_order(tmp_path, text, problem):
    path = tmp_path / "accuracy.csv"
    path.write_text(text)
    with pytest.raises(Damaged) as told:
        read.read_accuracy(path)
    assert problem in str(told.value) and str(told.value).startswith(f"{path}: damaged (")


def test_a_configuration_that_its_folder_is_not_named_after_is_refused(folder):
    named = folder.with_name(f"default-{read.fingerprint(json.loads((folder / 'config.json').read_text()))}")
    shutil.move(folder, named)
    assert read.read_config(named)["seed"] == 0
    edit(named / "config.json", seed=1)
    with pytest.raises(Damaged, match="it is not what the folder is named after"):
        read.read_config(named)


def test_needs_are_all_there(folder):
    edit(folder / "env.json", needs={"offline": True})
    with pytest.raises(Damaged, match=r"env\.json: damaged \(needs\.task_boundaries is missing\)"):
        read.read_trial(folder)


def state(**changes: object) -> dict[str, object]:
    """What is saved after the first batch of the second task."""
    saved = {
        "identity": {"run": 0},
        "position": [1, 0, 1],
        "rows": [[50.0, 50.0, math.nan]],
        "top5": [None],
        "steps": 7,
        "images": 17,
        "seconds": 1.0,
        "wall_seconds": 2.0,
        "software": [],
        "conditions": [],
        "flops": {"total": 9.5, "steps": {2: [1, 1, 8]}},
        "log_bytes": 4,
        "log_crc32": 0x9BE3E0A3,
        "images_again": 7,
        "appended": {"confusion.csv": [0, 0]},
        "further": {},
        "agent": {"weight": torch.arange(6.0)},
        **changes,
    }
    count = len(saved["rows"])
    return {"collapses": [""] * count, "groups_top5": [None] * count, **saved}


def check(saved: dict[str, object]) -> None:
    going_on.check(Path("x"), saved, {"run": 0}, CONFIG, TASKS)


def test_a_checkpoint_of_the_stream_is_gone_on_from():
    check(state())
    check(state(top5=[90.0], groups_top5=[[90.0, math.nan]]))
    check(state(position=[0, 1, 3], steps=6, images=14, rows=[], top5=[]))
    check(state(position=[2, 0, 0], steps=8, images=19, rows=[[1.0, 1.0]] * 2, top5=[None] * 2))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"position": [1, 0, 3]}, "position 1, 0, 3 is not in the stream"),
        ({"position": [1, 1, 1]}, "position 1, 1, 1 is not in the stream"),
        ({"position": [3, 0, 0]}, "position 3, 0, 0 is not in the stream"),
        ({"position": [1, 0, 2]}, "steps: expected 8 at position 1, 0, 2, got 7"),
        ({"position": [-1, 0, 1]}, "position[0]: expected a whole number"),
        ({"position": [1, 0]}, "position: expected a list"),
        ({"images": 16}, "images: expected 17"),
        ({"rows": []}, "rows: expected 1"),
        ({"rows": [[5000.0, 1.0]]}, "rows[0][0]: expected a number from 0 to 100, got 5000.0"),
        ({"top5": [None, None]}, "top5: expected 1"),
        ({"seconds": -1.0}, "seconds: expected a number of at least 0"),
        ({"flops": {"total": 0, "steps": {3: [1]}}}, "flops.steps.3: expected a list"),
        ({"log_bytes": None}, "log_bytes: expected a whole number"),
        ({"agent": 7}, "agent: expected an object"),
        ({"flops": {"total": -1.0, "steps": {}}}, "flops.total: expected a number of at least 0"),
        ({"flops": {"total": 1.0, "steps": {2: [1]}}}, "flops.steps.2: expected a list"),
        (
            {"conditions": [{"load_average": -1.0}]},
            "conditions[0].load_average: expected a number of at least 0",
        ),
        ({"images_again": -1}, "images_again: expected a whole number"),
        ({"collapses": []}, "collapses: expected 1"),
        ({"appended": {"confusion.csv": [0]}}, "appended.confusion.csv: expected a list"),
        (
            {"further": {"direct": {"rows": [], "top5": [], "groups_top5": []}}},
            "further.direct.rows: expected 1",
        ),
        (
            {"further": {"direct": {"rows": [[1.0]], "top5": [None], "groups_top5": [None]}}},
            "further.direct.rows[0]: expected a list",
        ),
        (
            {"further": {"direct": {"rows": [[1.0, 1.0]], "top5": [None], "groups_top5": [None]}}},
            "rows: expected one length",
        ),
        ({"groups_top5": []}, "groups_top5: expected 1"),
        ({"groups_top5": [[101.0, 1.0]]}, "groups_top5[0][0]: expected a number from 0 to 100"),
        ({"groups_top5": [[1.0]], "top5": [1.0]}, "groups_top5: expected one length"),
        ({"groups_top5": [[1.0, 1.0]]}, "groups_top5: expected one row for each value of top5"),
        ({"top5": [1.0]}, "groups_top5: expected one row for each value of top5"),
    ],
)
def test_a_checkpoint_out_of_range_is_refused(changes, problem):
    with pytest.raises(Damaged) as told:
        check(state(**changes))
    assert problem in str(told.value) and "delete it to restart this run" in str(told.value)


def test_other_data_are_told_before_all_else():
    with pytest.raises(InputError, match=r"made with .*restore the data"):
        check(state(identity={"run": 1}, position=[9, 9, 9]))


def test_every_bit_of_a_checkpoint_counts(tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, state())
    whole = path.read_bytes()
    told = 0
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(Damaged, match="damaged checkpoint"):
            checkpoint.load(path)
        told += 1
    assert told == 8 * len(whole) > 4000


def test_the_log_is_as_long_as_the_checkpoint_says_and_unchanged(tmp_path):
    log = tmp_path / "metrics.jsonl"
    for content, problem in (
        (b"", "is 4 bytes too short"),
        (b"\0\0\0\0", "has changed"),
        (b"tesT and more", "has changed"),
    ):
        log.write_bytes(content)
        with pytest.raises(Damaged, match=f"damaged .it {problem}.*delete this run's folder"):
            going_on.check_log(log, 4, 0xD87F7E0C)
    log.write_bytes(b"test and more, from after the checkpoint")
    going_on.check_log(log, 4, 0xD87F7E0C)
    log.unlink()
    going_on.check_log(log, 0, 0)
    with pytest.raises(Damaged, match="cannot be read"):
        going_on.check_log(log, 4, 0xD87F7E0C)
