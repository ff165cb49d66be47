"""Records as they are written and read back: columns, orders, ends of logs."""

import json

import numpy as np
import pytest

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.read import read_trial
from lethe.benchmarks.records.write import Position, Recorder
from lethe.common.errors import Damaged
from tests.made_records import run, trial, write


def test_groups_and_top5_are_read_from_their_own_columns(tmp_path):
    folder = write(tmp_path, trial("er", run(0, [50.0, 40])))
    table = "task,seen,group_0,group_1,top5_seen\n0,50.0,50.0,,90.0\n1,40.0,30.0,45.0,80.0\n"
    (folder / "run0" / "accuracy.csv").write_text(table)
    (folder / "run0" / "top5_groups.csv").write_text("task,group_0,group_1\n0,90.0,\n1,70.0,85.0\n")
    (record,) = read_trial(folder).runs
    np.testing.assert_array_equal(record.accuracy, [[50, 50, np.nan], [40, 30, 45]])
    np.testing.assert_array_equal(record.top5, [90, 80])
    np.testing.assert_array_equal(record.groups_top5, [[90, np.nan], [70, 85]])


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("task,group_0\n0,90.0\n1,70.0\n", "expected columns task, group_0, group_1"),
        ("task,group_0,group_1\n0,90.0,\n", "expected 2 tasks, got 1"),
        ("task,group_0,group_1\n0,90.0,\n1,70.0,100.5\n", "accuracy: expected a number from 0 to 100"),
        ("", "not enough values"),
    ],
)
def test_a_damaged_table_of_top5_is_told(tmp_path, table, problem):
    folder = write(tmp_path, trial("er", run(0, [50.0, 40])))
    accuracies = "task,seen,group_0,group_1,top5_seen\n0,50.0,50.0,,90.0\n1,40.0,30.0,45.0,80.0\n"
    (folder / "run0" / "accuracy.csv").write_text(accuracies)
    (folder / "run0" / "top5_groups.csv").write_text(table)
    with pytest.raises(Damaged, match=rf"top5_groups\.csv: damaged \(.*{problem}"):
        read_trial(folder)


def test_images_of_other_groups_than_the_accuracies_have_are_told(tmp_path):
    record = run(0, [50.0, 40])
    record.summary["group_images"] = [3, 4]
    with pytest.raises(Damaged, match="group_images: expected 1 numbers, got 2"):
        read_trial(write(tmp_path, trial("er", record)))


def test_runs_are_read_in_the_order_of_their_numbers(tmp_path):
    finished, unfinished = [10, 2, 0, 33, 1, 7], [12, 4, 40, 3]
    record = trial("er", *(run(number, [50]) for number in finished), unfinished=unfinished)
    found = read_trial(write(tmp_path, record))
    assert [one.run for one in found.runs] == sorted(finished)
    assert list(found.unfinished) == sorted(unfinished)


def test_a_failure_keeps_the_end_of_its_log(tmp_path):
    (tmp_path / failures.LOG).write_text("\n".join(f"line {number}" for number in range(100)))
    failures.write(tmp_path, failures.failure(tmp_path, "the reason"))
    assert failures.read(tmp_path).log == tuple(f"line {number}" for number in range(80, 100))


def test_values_of_a_step_are_logged_by_name_whatever_order_the_agent_gives(tmp_path):
    recorder = Recorder(tmp_path, 0, {})
    recorder.step(Position(0, 0, 1), 3, {"loss": 1.0, "accuracy": 0.5}, None)
    recorder.step(Position(0, 0, 2), 3, {"accuracy": 0.25, "loss": 2.0}, None)
    recorder.flush()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["name"], line["value"]) for line in lines] == [
        (1, "accuracy", 0.5), (1, "loss", 1.0), (2, "accuracy", 0.25), (2, "loss", 2.0)
    ]  # fmt: skip
