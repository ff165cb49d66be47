import json
import math
from dataclasses import replace

import numpy as np
import pytest

from lethe.benchmarks.report.comparison import chance_level, compare, rows
from lethe.benchmarks.report.entries import summarise
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.tables import ABSENT
from lethe.benchmarks.report.tested_tables import measured_tables
from lethe.benchmarks.report.write import report
from lethe.common.errors import InputError
from tests.made_records import run, trial, write

NO_COST_PLOT = (
    "CORe50: no plot of accuracy against FLOPs of learning per image and total memory: no record has it"
)


def row(comparison, agent, metric, paradigm="class_iid"):
    (found,) = [r for r in rows(comparison) if (r.agent, r.metric, r.paradigm) == (agent, metric, paradigm)]
    return found


def test_mean_and_standard_error_by_hand():
    # Means over tasks: 70, 60, 80. Their std (ddof 1) is 10; 10 / sqrt(3) = 5.7735.
    comparison = compare([trial("er", run(0, [90, 50]), run(1, [80, 40]), run(2, [100, 60]))])
    found = row(comparison, "er", "accuracy_mean")
    assert (found.mean, found.runs) == (70, 3)
    assert found.sem == pytest.approx(10 / math.sqrt(3), rel=1e-12)
    assert row(comparison, "er", "accuracy_task_2").mean == 50


def test_a_single_run_has_no_standard_error():
    assert row(compare([trial("er", run(0, [90, 50]))]), "er", "accuracy_last").sem is None


def test_undefined_is_blank_and_not_zero():
    comparison = compare(
        [trial("er", run(0, [50], backward_transfer=None), run(1, [50], backward_transfer=None))]
    )
    found = row(comparison, "er", "backward_transfer")
    assert (found.mean, found.sem, found.runs) == (None, None, 0)


def test_nan_is_no_value():
    assert summarise([1.0, math.nan, 3.0]).runs == 2
    assert summarise([1.0, math.nan, 3.0]).mean == 2


def test_omega_is_a_mean_of_ratios_to_the_offline_mean():
    # Offline means per task: 80, 50. Run 0: (40/80 + 25/50) / 2 = 0.5; run 1: (80/80 + 10/50) / 2 = 0.6.
    offline = trial("offline", run(0, [70, 60]), run(1, [90, 40]), offline=True)
    comparison = compare([trial("er", run(0, [40, 25]), run(1, [80, 10])), offline])
    assert row(comparison, "er", "omega_all").mean == pytest.approx(0.55, rel=1e-12)
    assert row(comparison, "er", "omega_all").sem == pytest.approx(0.05, rel=1e-12)


@pytest.mark.parametrize(
    "reference",
    [
        trial("offline", run(0, [80, 80]), offline=True, paradigm="iid"),
        trial("offline", run(0, [80, 80]), offline=True, dataset="digits"),
        trial("offline", run(0, [80, 80]), offline=True, variant="corrected"),
        trial("offline", run(0, [80, 80]), offline=True, network="resnet18"),
        trial("offline", run(0, [80, 80]), offline=True, pretrained=False),
        trial("offline", run(0, [80, 80]), offline=True, seed=1),
        trial("offline", run(0, [80, 80]), offline=True, image_size=[32, 32]),
        trial("offline", run(0, [80, 80, 80]), offline=True),
        trial("offline", run(0, [80, 0]), offline=True),
        trial("offline", offline=True, unfinished=[0]),
    ],
    ids=[
        "paradigm",
        "dataset",
        "variant",
        "network",
        "pretrained",
        "seed",
        "size",
        "tasks",
        "zero",
        "unfinished",
    ],
)
def test_omega_is_blank_without_a_fitting_reference(reference):
    comparison = compare([trial("er", run(0, [40, 25])), reference])
    assert row(comparison, "er", "omega_all").mean is None


def test_of_two_offline_trials_the_most_accurate_is_the_reference_of_omega_and_said():
    rivals = [
        trial("offline", run(0, [level, level]), offline=True, settings={"retrain": again}, folder=str(again))
        for again, level in ((False, 50), (True, 80))
    ]
    comparison = compare([trial("er", run(0, [40, 20])), *rivals])
    assert row(comparison, "er", "omega_all").mean == pytest.approx((0.5 + 0.25) / 2)
    assert notes(comparison) == [
        "core50/class_iid: omega_all is relative to offline [retrain=true], the most accurate of 2 offline trials"
    ]


def test_an_offline_trial_without_a_finished_run_leaves_the_reference_to_the_other():
    done = trial("offline", run(0, [50, 50]), offline=True, settings={"retrain": False}, folder="a")
    begun = trial("offline", offline=True, settings={"retrain": True}, folder="b", unfinished=[0])
    assert row(
        compare([trial("er", run(0, [40, 20])), done, begun]), "er", "omega_all"
    ).mean == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("offline", "reason"),
    [
        (None, "there is no offline trial"),
        (trial("offline", run(0, [80, 80]), offline=True, seed=1), "no offline trial has the same seed"),
        (
            trial("offline", run(0, [80, 80]), offline=True, network="resnet18", variant="corrected"),
            "no offline trial has the same variant and network",
        ),
        (trial("offline", offline=True, unfinished=[0]), "no run of the offline trial has finished"),
        (trial("offline", run(0, [80] * 3), offline=True), "the offline trial has 3 tasks, not 2"),
        (
            trial("offline", run(0, [80, 0]), offline=True),
            "the offline trial has an accuracy of 0 after a task",
        ),
        (
            trial("offline", run(0, [80, 80]), run(1, [80]), offline=True),
            "the runs of the offline trial have unlike numbers of tasks",
        ),
    ],
)
def test_the_omega_table_says_why_a_number_is_blank(offline, reason):
    comparison = compare([trial("er", run(0, [40, 25])), *([offline] if offline else [])])
    (table,) = [table for table in measured_tables(comparison, "core50") if table.name == "omega"]
    assert table.rows[0] == ("er", ABSENT)
    (note,) = [note for note in table.notes if "blank" in note and reason in note]
    assert note.startswith("class_iid: omega_all ")


def test_bounds_come_first_and_last_whatever_the_order_of_the_trials():
    names = ["offline", "zeta", "finetune", "agem"]
    for order in (names, names[::-1]):
        trials = [trial(name, run(0, [50]), offline=name == "offline") for name in order]
        assert [entry.label for entry in compare(trials).entries] == ["finetune", "agem", "zeta", "offline"]


def test_datasets_and_paradigms_come_in_their_own_order():
    trials = [
        trial("er", run(0, [50]), dataset=dataset, paradigm=paradigm)
        for dataset in ("zoo", "digits", "core50")
        for paradigm in ("odd", "class_iid", "iid")
    ]
    comparison = compare(trials)
    assert comparison.datasets() == ["core50", "digits", "zoo"]
    assert comparison.paradigms("zoo", "core50") == ["iid", "class_iid", "odd"]


def test_configurations_of_one_agent_are_told_apart_by_what_differs():
    common = {"momentum": 0.9}
    trials = [
        trial("er", run(0, [50]), settings={**common, "lr": 0.01}, folder="a"),
        trial("er", run(0, [60]), settings={**common, "lr": 0.1}, folder="b"),
        trial("er", run(0, [70]), settings={**common, "lr": 0.1}, paradigm="iid", folder="b"),
        trial("ewc", run(0, [50]), settings={"lr": 0.5}),
    ]
    labels = {(entry.paradigm, entry.label) for entry in compare(trials).entries}
    assert labels == {
        ("class_iid", "er [lr=0.01]"),
        ("class_iid", "er [lr=0.1]"),
        ("iid", "er [lr=0.1]"),
        ("class_iid", "ewc"),
    }


def test_one_configuration_per_paradigm_needs_no_brackets():
    trials = [
        trial("er", run(0, [50]), settings={"lr": 0.01}, paradigm="iid"),
        trial("er", run(0, [50]), settings={"lr": 0.1}, paradigm="class_iid"),
    ]
    assert {entry.label for entry in compare(trials).entries} == {"er"}


def test_trials_of_equal_configuration_are_named_by_folder():
    trials = [trial("er", run(0, [50]), folder=name) for name in ("first", "second")]
    assert {entry.label for entry in compare(trials).entries} == {"er [first]", "er [second]"}


def test_further_outputs_are_rows_of_their_own_and_the_tables_show_the_answer():
    made = run(0, [90, 80], [90, 70])
    summary = {**made.summary, "further": {"direct": {"accuracy_mean": 60.0, "forgetting": None}}}
    other = replace(made, summary=summary, further={"direct": np.array([[70.0, 70], [50, 40]])})
    compared = compare([trial("augmem", other)])
    found = {row.metric: row.mean for row in rows(compared) if row.agent == "augmem [direct]"}
    assert found == {
        "accuracy_mean": 60,
        "accuracy_task_1": 70, "accuracy_task_2": 50, "first_task_task_1": 70, "first_task_task_2": 40,
    }  # fmt: skip
    assert compared.entries[0].stats["accuracy_mean"].mean == 85


def test_names_lose_control_characters():
    (entry,) = compare([trial("er\x1b[31m\nx", run(0, [50]))]).entries
    assert entry.label == "er?[31m?x"


def test_expected_runs_are_those_of_the_most_complete_trial_of_the_paradigm():
    trials = [
        trial("er", *[run(r, [50]) for r in range(3)]),
        trial("ewc", run(0, [50]), unfinished=[2]),
        trial("er", run(0, [50]), paradigm="iid"),
    ]
    comparison = compare(trials)
    assert comparison.expected_runs("core50", "class_iid") == 3
    assert comparison.expected_runs("core50", "iid") == 1
    assert notes(comparison) == ["core50/class_iid: ewc has 1 finished run, unfinished: run 2"]


def test_chance_is_the_mean_over_runs():
    # After the first task 2 classes are seen in one run and 4 in the other: (50 + 25) / 2.
    trials = [
        trial(agent, run(0, [50, 50], classes_seen=[2, 4]), run(1, [50, 50], classes_seen=[4, 4]))
        for agent in ("er", "ewc")
    ]
    trials.append(trial("si", run(0, [50, 50], classes_seen=[2, 4])))
    np.testing.assert_array_equal(chance_level(compare(trials).entries), [37.5, 25])


def test_mixed_task_lists_are_said():
    comparison = compare([trial("er", run(0, [50])), trial("ewc", run(0, [50]), variant="corrected")])
    assert notes(comparison) == [
        "core50/class_iid: not one stream, but the task lists corrected and published"
    ]


def test_trials_judged_on_validation_images_are_never_mixed_with_others():
    validated = trial("er", run(0, [10, 10]), split="validation")
    comparison = compare([validated, trial("er", run(0, [90, 50])), validated])
    assert [entry.label for entry in comparison.entries] == ["er"]
    assert row(comparison, "er", "accuracy_mean").mean == 70
    assert notes(comparison) == ["left out: 2 trial(s) judged on validation images, not on test images"]


def test_a_validation_trial_is_no_reference_of_omega():
    offline = trial("offline", run(0, [80, 80]), offline=True, split="validation")
    assert row(compare([trial("er", run(0, [40, 40])), offline]), "er", "omega_all").mean is None


def test_validation_trials_alone_are_compared_and_said_to_be():
    comparison = compare([trial(agent, run(0, [50]), split="validation") for agent in ("er", "ewc")])
    assert len(comparison.entries) == 2
    (note,) = notes(comparison)
    assert "validation images, held out of training" in note


def test_unfinished_test_trials_are_not_replaced_by_validation_trials(tmp_path):
    write(tmp_path, trial("er", unfinished=[0], folder="tested"))
    write(tmp_path, trial("er", run(0, [12.5, 12.5]), folder="validated", split="validation"))
    with pytest.raises(InputError, match="none of the runs of its 1 trial"):
        report(tmp_path, tmp_path / "report")


def test_results_of_another_format_are_refused(tmp_path):
    folder = write(tmp_path, trial("er", run(0, [50])))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 4}))
    with pytest.raises(InputError, match="expected results of format 5, got 4"):
        report(tmp_path, tmp_path / "report")


def test_report_reads_folders_and_says_what_is_missing(tmp_path):
    write(tmp_path, trial("er", run(0, [90, 50]), run(1, [80, 40]), folder="er"))
    write(tmp_path, trial("ewc", run(0, [90, 30]), unfinished=[1], folder="ewc"))
    write(tmp_path, trial("er", run(0, [12.5, 12.5]), folder="validated", split="validation"))
    out = tmp_path / "report"
    summary = report(tmp_path, out)
    assert sorted(path.name for path in summary.files) == [
        "comparison.csv", "comparison.md", "comparison.tex",
        "first_task.pdf", "first_task.png", "first_task.txt", "increments.csv",
        "paradigms.pdf", "paradigms.png", "paradigms.txt",
    ]  # fmt: skip
    assert {path.name for path in out.iterdir()} == {path.name for path in summary.files}
    assert "65.0 ± 5.0" in summary.table
    assert "60.0 (1/2 runs)" in summary.table
    assert summary.notes == (
        "left out: 1 trial(s) judged on validation images, not on test images",
        "core50/class_iid: ewc has 1 finished run, unfinished: run 1",
        NO_COST_PLOT,
    )
    assert "12.5" not in (out / "comparison.csv").read_text()
    assert report(tmp_path, out) == summary  # its own output is no trial


def test_a_dataset_on_which_no_run_has_finished_is_left_out_and_said(tmp_path):
    """A trial whose images were not there must not put empty panels beside others' curves."""
    write(tmp_path, trial("er", run(0, [90, 50]), folder="er"))
    write(tmp_path, trial("er", dataset="toybox", unfinished=[0], folder="er"))
    summary = report(tmp_path, tmp_path / "report")
    assert "Toybox" not in summary.table
    assert "toybox" not in (tmp_path / "report" / "comparison.csv").read_text()
    assert summary.notes == ("Toybox: left out, because none of its runs has finished", NO_COST_PLOT)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_trials_is_a_clear_error(tmp_path, exists):
    results = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(InputError, match=r"lethe run") as caught:
        report(results, tmp_path / "out")
    assert str(results) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_reports_place_is_a_clear_error_and_stays(tmp_path):
    write(tmp_path, trial("er", run(0, [50])))
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(InputError, match="expected a folder"):
        report(tmp_path, out)
    assert out.read_text() == "mine"


def test_trials_without_a_finished_run_are_a_clear_error(tmp_path):
    write(tmp_path, trial("er", unfinished=[0, 1]))
    with pytest.raises(InputError, match="none of the runs"):
        report(tmp_path, tmp_path / "out")


def test_damaged_records_are_told_together_and_nothing_is_written(tmp_path):
    write(tmp_path, trial("er", run(0, [50]), folder="fine"))
    strange = write(tmp_path, trial("er", run(0, [50]), folder="strange"))
    config = json.loads((strange / "config.json").read_text())
    (strange / "config.json").write_text(json.dumps({**config, "dataset": 7, "settings": []}))
    wordy = write(tmp_path, trial("er", run(0, [50], seconds="long"), folder="wordy"))
    with pytest.raises(InputError) as caught:
        report(tmp_path, tmp_path / "out")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        str(strange / "config.json"),
        str(wordy / "run0" / "summary.json"),
    ]
    assert not (tmp_path / "out").exists()


def test_an_offline_trial_of_another_network_is_no_second_reference():
    fitting = trial("offline", run(0, [80, 50]), offline=True, folder="a")
    other = trial("offline", run(0, [80, 50]), offline=True, network="resnet18", folder="b")
    comparison = compare([trial("er", run(0, [40, 25])), fitting, other])
    assert row(comparison, "er", "omega_all").mean == pytest.approx(0.5)
    assert not any("omega_all" in note for note in notes(comparison))


def test_what_is_not_alike_is_said():
    trials = [
        trial("er", run(0, [40]), pretrained=True, feature_dtype="float32"),
        trial("ewc", run(0, [40]), pretrained=True, network="resnet18"),  # its features are not known
        trial("si", run(0, [40]), pretrained=False, seed=3, feature_dtype="bfloat16"),
        trial("offline", run(0, [80]), offline=True, pretrained=True, feature_dtype="float32"),
    ]
    assert notes(compare(trials)) == [
        "core50/class_iid: not one network, but resnet18 (ewc); small (er, si, offline)",
        "core50/class_iid: not one pretrained, but false (si); true (er, ewc, offline)",
        "core50/class_iid: not one feature_dtype, but bfloat16 (si); float32 (er, offline)",
        "core50/class_iid: not one seed, but 0 (er, ewc, offline); 3 (si)",
        "core50/class_iid: omega_all of ewc is blank, because no offline trial has the same network",
        "core50/class_iid: omega_all of si is blank, because no offline trial has the same pretrained and seed",
    ]


def test_runs_of_different_commits_are_said():
    one, other = {"commit": "a" * 40, "dirty": False}, {"commit": "b" * 40, "dirty": True}
    alike = trial("er", run(0, [40], software=[one]), run(1, [40], software=[one]), run(2, [40]))
    assert notes(compare([alike])) == []
    unlike = trial(
        "er", *alike.runs, run(3, [40], software=[one, other]), run(4, [40], software=[{"commit": None}])
    )
    assert notes(compare([unlike])) == [
        "core50/class_iid: er was made by different commits: aaaaaaaaaa (run 0, 1); "
        "aaaaaaaaaa, then bbbbbbbbbb with changes (run 3)"
    ]
    installed = {"version": "0.1.0", "commit": None, "dirty": None}
    assert notes(compare([trial("er", *alike.runs, run(3, [40], software=[installed]))])) == [
        "core50/class_iid: er was made by different commits: aaaaaaaaaa (run 0, 1); version 0.1.0 (run 3)"
    ]
