"""The report as a whole: what is left out, two folders, figures with captions, and many trials."""

import csv
import json
import time

import pytest
from matplotlib.text import Text

from lethe.benchmarks.records import failures
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.cost_plots import cost_figure, write_cost_plots
from lethe.benchmarks.report.plots import best_of_agents, paradigm_figure
from lethe.benchmarks.report.tested_tables import main_table
from lethe.benchmarks.report.write import report
from lethe.cli import main
from lethe.common.errors import InputError
from tests.made_records import run, search_of, trial, write


def names(summary):
    return [path.name for path in summary.files]


def test_forgetting_and_differences_are_among_the_tables(tmp_path):
    write(tmp_path, trial("er", *(run(r, [50.0 + r], forgetting=1.0) for r in range(6)), folder="a"))
    write(tmp_path, trial("ewc", *(run(r, [40.0 + r], forgetting=9.0) for r in range(6)), folder="b"))
    report(tmp_path, tmp_path / "out")
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert "1.0 ± 0.0 (best) |" in page
    assert "-10.0 (p = 0.031)" in page
    assert "Exact paired permutation test over runs at 5%" in page


def test_a_trial_whose_runs_all_failed_leaves_no_row_and_is_said(tmp_path):
    write(tmp_path, trial("er", run(0, [50]), folder="fine", settings={"lr": 1}))
    failed = write(tmp_path, trial("er", unfinished=[0], folder="bad", settings={"lr": 9}))
    failures.write(failed / "run0", failures.Failure("ValueError: lr", ()))
    going = write(tmp_path, trial("er", unfinished=[0, 1], folder="on", settings={"lr": 2}))
    failures.write(going / "run0", failures.Failure("killed", ()))
    summary = report(tmp_path, tmp_path / "out")
    assert "lr=9" not in summary.table
    assert "lr=2" in summary.table  # run 1 may still end
    assert "core50/class_iid: er [bad] is left out, because run 0 failed: ValueError: lr" in summary.notes


def test_two_folders_are_told_apart_and_tested_over_the_runs_that_both_have(tmp_path):
    settings = {"settings": {"lr": 0.1}, "folder": "x"}
    old, new = tmp_path / "old", tmp_path / "a new one"
    write(old, trial("er", *(run(r, [50.0 + r]) for r in range(7)), **settings))
    write(new, trial("er", *(run(r, [52.0 + r]) for r in range(1, 8)), **settings))
    write(old, trial("si", run(0, [50.0]), folder="y"))
    summary = report(old, tmp_path / "out", new)
    assert "er (old)" in summary.table and "er (a new one)" in summary.table
    assert "a new one minus old" in summary.table
    assert "+2.0 (p = 0.031)" in summary.table  # 2 / 2^6 for the runs 1 to 6
    assert "core50/class_iid: only in old: si" in summary.notes
    with (tmp_path / "out" / "differences.csv").open(newline="") as file:
        lines = {(line["agent"], line["metric"]): line for line in csv.DictReader(file)}
    found = lines["er", "accuracy_mean"]
    assert (found["first"], found["second"], found["pairs"]) == ("old", "a new one", "6")
    assert (float(found["mean_first"]), float(found["mean_second"])) == (53, 56)
    assert float(found["difference"]) == 2
    assert float(found["p"]) == 2 / 2**6
    assert not any(agent == "si" for agent, _ in lines)


def test_two_folders_have_references_of_omega_of_their_own(tmp_path):
    for name, level in (("one", 50), ("two", 80)):
        write(tmp_path / name, trial("er", run(0, [40]), folder="er"))
        write(tmp_path / name, trial("offline", run(0, [level]), offline=True, folder="offline"))
    report(tmp_path / "one", tmp_path / "out", tmp_path / "two")
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        found = {
            line["agent"]: line["mean"] for line in csv.DictReader(file) if line["metric"] == "omega_all"
        }
    assert (float(found["er (one)"]), float(found["er (two)"])) == (0.8, 0.5)


def test_folders_of_one_name_are_named_by_their_paths(tmp_path):
    paths = [tmp_path / part / "results" for part in ("a", "b")]
    for path in paths:
        write(path, trial("er", run(0, [50])))
    assert f"er ({paths[1]})" in report(paths[0], tmp_path / "out", paths[1]).table


def test_a_second_folder_without_trials_is_a_clear_error(tmp_path, capsys):
    write(tmp_path / "one", trial("er", run(0, [50])))
    assert main(["report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "out")]) == 2
    assert "two: expected a folder of results" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_ones_own_has_its_title(tmp_path):
    write(tmp_path / "results", trial("er", run(0, [50]), dataset="pets"))
    folder = tmp_path / "data" / "pets"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    (folder / "dataset.toml").write_text(
        'layout = "class"\ntest_fraction = 0.5\nimage_size = 8\ntask_classes = 1\ntitle = "My pets"\n'
    )
    arguments = ["report", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--data", str(tmp_path / "data")]) == 0
    assert "## My pets" in (tmp_path / "out" / "comparison.md").read_text()
    assert "My pets: " in (tmp_path / "out" / "paradigms.txt").read_text()
    assert main([*arguments, "--data", str(tmp_path / "nowhere")]) == 0
    assert "## pets" in (tmp_path / "out" / "comparison.md").read_text()


COSTS = {"learn_flops": 2e6, "total_bytes": 3_000_000}


def test_accuracy_against_flops_and_bytes_has_named_points_and_the_front(tmp_path):
    records = [
        trial("er", run(0, [60], **COSTS)),
        trial("si", run(0, [50], learn_flops=1e6, total_bytes=4_000_000)),
        trial("offline", run(0, [90], learn_flops=1e7, total_bytes=9_000_000), offline=True),
    ]
    comparison = compare(records)
    paths, missing = write_cost_plots(comparison, tmp_path)
    assert [path.name for path in paths] == ["pareto_core50.png", "pareto_core50.pdf", "pareto_core50.txt"]
    assert not missing
    flops, memory = cost_figure(comparison, "core50", "pareto").axes
    assert (flops.get_xlabel(), memory.get_xlabel()) == ("FLOPs of learning per image", "total memory")
    assert [text.get_text() for text in flops.get_xticklabels()] == ["500 kFLOP", "2 MFLOP", "20 MFLOP"]
    for axes, front in ((flops, [1e6, 2e6]), (memory, [3e6])):
        assert {text.get_text() for text in axes.texts} == {"er", "si", "offline"}
        assert sorted(line.get_xdata()[0] for line in axes.lines if line.get_markersize() > 8) == front
    assert "Pareto front" in (tmp_path / "pareto_core50.txt").read_text()


def test_a_cost_that_no_record_has_leaves_no_plot_and_is_said(tmp_path):
    comparison = compare([trial("er", run(0, [60]))])
    assert write_cost_plots(comparison, tmp_path) == (
        [],
        [
            "CORe50: no plot of accuracy against FLOPs of learning per image and total memory: no record has it"
        ],
    )


def test_names_of_points_hide_neither_each_other_nor_points():
    levels = {"er": 60, "ewc": 60.1, "si": 59.9, "mas": 60.2, "agem": 50}
    records = [trial(agent, run(0, [level], **COSTS)) for agent, level in levels.items()]
    figure = cost_figure(compare(records), "core50", "pareto")
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without the lines to points
    hidden = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    assert len(boxes) == 5 and not hidden


def test_costs_are_listed_where_they_are_recorded(tmp_path):
    write(tmp_path, trial("er", run(0, [60], **COSTS), folder="a"))
    write(tmp_path, trial("si", run(0, [60]), folder="b"))
    report(tmp_path, tmp_path / "out")
    text = (tmp_path / "out" / "comparison.csv").read_text()
    assert "core50,class_iid,er,learn_flops,2000000.0,,1\n" in text
    assert "core50,class_iid,si,learn_flops" not in text


def test_figures_of_many_trials_show_the_best_of_each_agent_and_say_so():
    records = search_of(trials=120, runs=2, agents=("er", "si", "gem"))
    shown, sentence = best_of_agents(compare(records))
    assert len(main_table(compare(records), "core50_mini").rows) == 30
    for paradigm in shown.paradigms("core50_mini"):
        entries = shown.select("core50_mini", paradigm)
        assert [entry.label for entry in entries] == ["er", "gem", "si"]
        of_er = [e for e in compare(records).select("core50_mini", paradigm) if e.agent == "er"]
        best = max(of_er, key=lambda entry: entry.stats["accuracy_mean"].mean)
        assert entries[0].stats == best.stats
        assert f"core50_mini/{paradigm}: {best.label}" in sentence
    assert "Of the 120 trials each agent's best is shown" in sentence
    few = compare(search_of(trials=8, runs=1))
    assert best_of_agents(few) == (few, "")


def test_a_figure_of_500_trials_has_as_many_artists_as_one_of_its_agents():
    """The time of a figure is that of its artists."""
    many, _ = best_of_agents(compare(search_of(trials=500, runs=1)))
    few, _ = best_of_agents(compare(search_of(trials=48, runs=1)))
    counts = [len(paradigm_figure(found, "accuracy", "").findobj()) for found in (many, few)]
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_a_report_of_500_trials_of_ten_runs_takes_seconds(tmp_path):
    for made in search_of(trials=500, runs=10):
        write(tmp_path / "results", made)
    start = time.process_time()
    summary = report(tmp_path / "results", tmp_path / "out")
    assert time.process_time() - start < 10
    assert summary.table.count("\n") > 125
    pictures = [path for path in summary.files if path.suffix == ".png"]
    assert all(path.stat().st_size < 500_000 for path in pictures)


def test_damage_in_a_second_folder_is_told_before_anything_is_written(tmp_path):
    write(tmp_path / "one", trial("er", run(0, [50])))
    folder = write(tmp_path / "two", trial("er", run(0, [50])))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"settings": 3}))
    with pytest.raises(InputError, match="settings: expected an object"):
        report(tmp_path / "one", tmp_path / "out", tmp_path / "two")
    assert not (tmp_path / "out").exists()
