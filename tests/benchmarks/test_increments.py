"""Accuracies of base and new classes, Ω_all in top-5 with its reference from a file, and published numbers."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from lethe.benchmarks.measure import metrics
from lethe.benchmarks.report import published_numbers
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.increments import increment_tables, write_increments
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.offline_curve import read_offline_curve
from lethe.benchmarks.report.tested_tables import measured_tables
from lethe.benchmarks.report.write import report
from lethe.cli import main
from lethe.common.errors import InputError
from tests.made_records import run, trial, write

SHIPPED = published_numbers.PATH.parent / "offline_curves" / "imagenet_remind.csv"
HUNDREDS = list(range(100, 1001, 100))
PUBLISHED = {  # tyler-hayes/REMIND, pull request 6: top-5 after 100, 200, ... 1000 classes, and its Ω
    0.855: [94.00, 87.57, 83.33, 79.54, 76.62, 75.80, 74.37, 72.97, 71.90, 70.68],
    0.297: [94.10, 47.44, 31.60, 23.70, 18.97, 15.80, 13.56, 11.85, 10.53, 9.48],
    0.854: [94.10, 87.26, 82.51, 79.88, 77.08, 75.56, 74.01, 72.92, 72.15, 70.77],
}
IMAGENET = {"dataset": "imagenet", "paradigm": "class_ordered"}


def of_imagenet(values, number=0, **more):
    return run(number, [50.0] * 10, classes_seen=HUNDREDS, top5=values, **more)


@pytest.mark.parametrize("omega", PUBLISHED)
def test_the_shipped_curve_gives_the_three_published_omegas(omega):
    record = trial("remind", of_imagenet(PUBLISHED[omega]), **IMAGENET)
    (entry,) = compare([record], curve=read_offline_curve(SHIPPED)).entries
    assert round(abs(entry.stats["omega_all_top5"].mean - omega), 4) <= 3e-4
    assert entry.stats["omega_all"].mean is None, "the file has no top-1"


def test_the_shipped_curve_is_the_straight_line_that_it_says():
    curve = read_offline_curve(SHIPPED)
    np.testing.assert_allclose(curve.at("top5", HUNDREDS), np.linspace(94.75, 89.08, 10), atol=1e-9)
    assert curve.at("top5", [550]) == pytest.approx(91.915)
    assert curve.at("top5", [99]) is None and curve.at("top5", [1001]) is None


def test_omega_of_a_curve_by_hand(tmp_path):
    path = tmp_path / "curve.csv"
    path.write_text("# made\nclasses,top1,top5\n2,80,100\n6,40,50\n")
    record = trial("er", run(0, [40, 30], classes_seen=[2, 4], top5=[100, 60]))
    (entry,) = compare([record], curve=read_offline_curve(path)).entries
    assert entry.stats["omega_all"].mean == pytest.approx((40 / 80 + 30 / 60) / 2)
    assert entry.stats["omega_all_top5"].mean == pytest.approx((100 / 100 + 60 / 75) / 2)


def test_own_offline_runs_are_the_reference_in_top5_as_well():
    bound = trial(
        "offline", run(0, [90, 80], top5=[100, 80]), run(1, [90, 80], top5=[100, 100]), offline=True
    )
    comparison = compare([trial("er", run(0, [45, 20], top5=[50, 45])), bound])
    er = comparison.entries[0]
    assert er.stats["omega_all"].mean == pytest.approx((0.5 + 0.25) / 2)
    assert er.stats["omega_all_top5"].mean == pytest.approx((0.5 + 0.5) / 2)
    names = [table.name for table in measured_tables(comparison, "core50")]
    assert names[-2:] == ["top5", "omega_top5"]
    (without,) = {
        table.name
        for table in measured_tables(compare([trial("er", run(0, [45, 20]))]), "core50")
        if "top5" in table.name
    } or {""}
    assert without == ""


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (run(0, [40, 30]), "omega_all_top5 is blank, because top-5 is measured above ten classes"),
        (
            run(0, [40, 30], classes_seen=[10, 20], top5=[50, 40]),
            "omega_all_top5 is blank, because the curve in imagenet_remind.csv is of 100 to 1000 classes, the "
            "stream of 10 to 20",
        ),
        (
            run(0, [40, 30], classes_seen=[100, 200], top5=[50, 40]),
            "omega_all_top5 is relative to the curve in imagenet_remind.csv",
        ),
    ],
)
def test_notes_say_what_a_curve_was_used_for_or_why_not(record, reason):
    found = notes(compare([trial("er", record)], curve=read_offline_curve(SHIPPED)))
    assert [note for note in found if "omega" in note] == [f"core50/class_iid: {reason}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected columns classes and top1, top5 or both in its first line, got 'nothing'"),
        ("# only a comment\n", "got 'nothing'"),
        ("classes\n1\n", "got 'classes'"),
        ("classes,top5,top5\n1,2,3\n", "got 'classes,top5,top5'"),
        ("classes,top5\n", "expected a row for each number of classes, got none"),
        ("classes,top5\n10,50\n10,40\n", ":3: expected more classes than in the row before, got 10"),
        ("classes,top5\n# why\n20,50\n10,40\n", ":4: expected more classes than in the row before, got 10"),
        ("classes,top5\n0,50\n", ":2: expected a whole number of classes, got '0'"),
        ("classes,top5\n1.5,50\n", ":2: expected a whole number of classes, got '1.5'"),
        ("classes,top5\n-1,50\n", ":2: expected a whole number of classes, got '-1'"),
        ("classes,top5\n99999999999999999999,50\n", "expected a whole number of classes"),
        ("classes,top5\n²,50\n", "expected a whole number of classes"),
        ("classes,top5\n10,0\n", ":2: expected an accuracy above 0, up to 100 percent, got '0'"),
        ("classes,top5\n10,100.1\n", "got '100.1'"),
        ("classes,top5\n10,nan\n", "got 'nan'"),
        ("classes,top5\n10,inf\n", "got 'inf'"),
        ("classes,top5\n10,\n", "got ''"),
        ("classes,top5\n10,0.9x\n", "got '0.9x'"),
        ("classes,top5\n10\n", ":2: expected 2 values, got 1"),
        ("classes,top5\n10,50,60\n", ":2: expected 2 values, got 3"),
        ('classes,top5\n10,"50\n20,40"\n', "expected columns|CSV"),
        ('classes,top5\n10,"50\n', "no CSV file"),
        ("classes,top5\n" + "0,1\n" * 50, "and 30 more"),
    ],
)
def test_a_curve_that_is_none_is_told_with_its_line(tmp_path, text, problem, capsys):
    path = tmp_path / "curve.csv"
    path.write_text(text)
    with pytest.raises(InputError) as told:
        read_offline_curve(path)
    assert any(part in str(told.value) for part in problem.split("|"))
    assert str(told.value).startswith(str(path))


def test_a_file_that_cannot_be_read_is_told_by_the_command(tmp_path, capsys):
    write(tmp_path / "results", trial("er", run(0, [40, 30])))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    command = ["report", str(tmp_path / "results"), "--out", str(tmp_path / "out"), "--offline-curve"]
    for name in ("absent.csv", "", "binary"):
        assert main([*command, str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.startswith(f"error: {tmp_path / name}: ".replace("/: ", ": "))
    assert not (tmp_path / "out").exists()


def test_new_classes_are_the_later_groups_weighted_by_their_images():
    groups = np.array([[90.0, np.nan, np.nan], [80, 60, np.nan], [70, 30, 90], [60, np.nan, np.nan]])
    found = metrics.new_classes(groups, np.array([5, 1, 3]))
    np.testing.assert_array_equal(found, [np.nan, 60, 75, np.nan])
    assert np.isnan(metrics.new_classes(groups[:, :1], np.array([5]))).all()


def with_groups(record, groups, groups_top5, images):
    """A run with those accuracies of groups; that on seen classes is their weighted mean."""
    groups, groups_top5 = np.array(groups, float), np.array(groups_top5, float)
    known = np.where(np.isnan(groups), 0, images)
    seen, top5 = (np.nansum(table * images, axis=1) / known.sum(1) for table in (groups, groups_top5))
    return replace(
        record,
        accuracy=np.column_stack([seen, groups]),
        top5=top5,
        groups_top5=groups_top5,
        group_images=tuple(images),
    )


def two_runs():
    nan = np.nan
    return [
        with_groups(run(r, [0, 0, 0], classes_seen=[4, 8, 12]), [[90 + r, nan, nan], [70, 50, nan], [60, 40, 80]],
                    [[100, nan, nan], [90, 80, nan], [80, 70, 100]], (8, 2, 4))
        for r in (0, 2)
    ]  # fmt: skip


def test_the_file_of_increments_has_a_line_per_trial_and_task(tmp_path):
    comparison = compare([trial("er", *two_runs()), trial("si", run(0, [50, 40]))])
    with write_increments(comparison, tmp_path / "increments.csv").open(newline="") as file:
        er = [line for line in csv.DictReader(file) if line["agent"] == "er"]
    assert [line["classes"] for line in er] == ["4", "8", "12"] and {line["runs"] for line in er} == {"2"}
    assert [line["base_top1"] for line in er] == ["91.0", "70.0", "60.0"]
    assert er[0]["base_top1_sem"] == "1.0" and er[0]["new_top1"] == er[0]["new_top5"] == ""
    assert [float(line["new_top1"]) for line in er[1:]] == [50, pytest.approx((2 * 40 + 4 * 80) / 6)]
    assert [float(line["new_top5"]) for line in er[1:]] == [80, 90]
    for line in er[1:]:
        new = 2 if line["classes"] == "8" else 6
        for top in ("top1", "top5"):
            seen = (8 * float(line[f"base_{top}"]) + new * float(line[f"new_{top}"])) / (8 + new)
            assert float(line[f"seen_{top}"]) == pytest.approx(seen)


def test_streams_of_a_given_order_have_a_table_of_increments_and_others_none(tmp_path):
    comparison = compare([trial("er", *two_runs(), paradigm=name) for name in ("class_ordered", "class_iid")])
    (table,) = increment_tables(comparison, "core50", {})
    assert table.header == ("curve", "4", "8", "12", "mean", "omega_all")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["er, base top-1"] == ("91.00", "70.00", "60.00", "73.67", "–")
    assert rows["er, new top-5"] == ("–", "80.00", "90.00", "85.00", "–")
    assert len(rows) == 6


def test_the_published_ten_numbers_stand_beside_ones_own(tmp_path):
    write(tmp_path / "results", trial("remind", of_imagenet(PUBLISHED[0.855]), **IMAGENET))
    known = published_numbers.read_curves()
    record = trial("remind", of_imagenet(PUBLISHED[0.854]), **IMAGENET)
    comparison = compare([record], curve=read_offline_curve(SHIPPED))
    (table,) = increment_tables(comparison, "imagenet", known)
    rows = [row for row in table.rows if "top-5" in row[0]]
    assert [row[0] for row in rows] == [
        "remind, seen top-5", "remind as published (1), seen top-5", "remind as published (2), seen top-5",
    ]  # fmt: skip
    assert list(map(float, rows[0][1:-2])) == PUBLISHED[0.854] == list(map(float, rows[2][1:-2]))
    assert rows[0][-1] == "0.854"
    assert list(map(float, rows[1][1:-2])) == PUBLISHED[0.855] and rows[1][-2:] == ("78.68", "0.855")
    assert any(
        note.startswith("(1) REMIND original code, PyTorch 1.3.1: tyler-hayes") for note in table.notes
    )
    summary = report(tmp_path / "results", tmp_path / "out", offline_curve=SHIPPED)
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert (
        "remind as published (1), seen top-5" in page
        and "remind as published (1), seen top-5" in summary.table
    )
    assert "0.855" in page


def test_published_numbers_of_other_classes_or_other_images_are_not_beside_ones_own():
    known = published_numbers.read_curves()
    fewer = trial("remind", run(0, [50.0] * 10, classes_seen=[n // 10 for n in HUNDREDS]), **IMAGENET)
    judged = trial("remind", of_imagenet(PUBLISHED[0.855]), split="validation", **IMAGENET)
    for record in (fewer, judged):
        (table,) = increment_tables(compare([record]), "imagenet", known)
        assert not any("published" in row[0] for row in table.rows)


def test_what_is_published_in_top5():
    known = published_numbers.read()
    place = ("imagenet", "class_ordered", "remind")
    assert (known[*place, "omega_all_top5"].value, known[*place, "top5_last"].value) == (0.855, 70.68)
    assert known[*place, "top5_mean"].value == 78.678 and known[*place, "top5_mean"].classes == 1000
