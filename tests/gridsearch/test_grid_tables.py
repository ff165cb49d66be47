import csv
import re
import warnings

import pytest

from lethe.benchmarks.report import published_numbers
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.differences import column
from lethe.benchmarks.report.tested_tables import difference_table, main_table
from lethe.common.errors import InputError
from lethe.gridsearch.grid import for_test
from lethe.gridsearch.report.final_results import final_comparison
from lethe.gridsearch.report.final_tables import final_tables
from lethe.gridsearch.report.write import report
from lethe.gridsearch.selection import choose_all
from tests.made_grid import fail, finish, grid
from tests.made_records import run, trial

TEXT = """
datasets = ["toybox"]
paradigms = ["class_iid", "iid"]
runs = 2
[agents.finetune]
lr = [1e-3, 1e-4]
[agents.ewc]
lr = [1e-3, 1e-4, 1e-5]
penalty_weight = [1, 100]
[agents.offline]
"""


@pytest.fixture
def searched(tmp_path):
    """A finished search; lr 1e-4 is best, and penalty 100 for it; one of ewc's candidates failed."""
    found = grid(tmp_path, TEXT)
    for made in found.trials:
        settings = made.settings
        if made.agent == "ewc" and (settings["lr"], settings["penalty_weight"]) == (1e-3, 100):
            fail(tmp_path, made, {0: "killed", 1: "killed"})
            continue
        accuracy = 30 + 5 * (settings["lr"] == 1e-4) + 2 * (settings.get("penalty_weight") == 100)
        finish(tmp_path, made, run(0, [accuracy - 1]), run(1, [accuracy + 1]))
    return found


def learn_final(found, results, runs=10, agents=("finetune", "ewc", "offline")):
    """Test results under class_iid alone: ewc is 2 better than finetune in every run."""
    level = {"finetune": 20.0, "ewc": 22.0, "offline": 80.0}
    for choice in choose_all(found, results):
        if choice.trial.paradigm == "class_iid" and choice.trial.agent in agents:
            value = level[choice.trial.agent]
            finish(
                results,
                for_test(choice.trial),
                *(run(r, [value + r % 3, value + r % 3]) for r in range(runs)),
            )


def rows(table):
    return {line[0]: dict(zip(table.header, line, strict=True)) for line in table.rows}


def entries(**accuracies):
    """Entries of one paradigm with a run per accuracy; None is a run that is not there."""
    return compare(
        [
            trial(
                agent,
                *(run(r, [value]) for r, value in enumerate(values) if value is not None),
                offline=agent == "offline",
            )
            for agent, values in accuracies.items()
        ]
    )


def marks(**accuracies):
    (table,) = [main_table(entries(**accuracies), "core50")]
    return {line[0]: re.findall(r"\((best|=|\?)\)", line[1]) for line in table.rows}, table.notes


def test_what_is_worse_than_the_best_has_no_mark_and_what_is_not_told_apart_has_one():
    ten = [50.0 + r for r in range(10)]
    noisy = [value + (7 if r % 2 else -8) for r, value in enumerate(ten)]
    found, _ = marks(er=ten, ewc=[value - 1 for value in ten], si=noisy, offline=[99.0] * 10)
    assert found == {"er": ["best"], "ewc": [], "si": ["="], "offline": []}


def test_too_few_runs_are_said_with_how_many_would_do():
    found, notes = marks(er=[50.0, 51, 52], ewc=[10.0, 11, 12], si=[20.0, 21, 22])
    assert found == {"er": ["best"], "ewc": [], "si": []}  # a mark on all would tell nothing of any
    # 2 comparisons x 2 / 2^3 = 0.5; 2 x 2 / 2^7 is the first below 5 %.
    assert notes[1] == (
        "class_iid: too few runs to reach 5%: 3 common runs and 2 comparisons reach p = 0.5 at the least; "
        "7 runs would do; no mark there but that of the best mean"
    )


def test_more_comparisons_need_more_runs():
    # 2 / 2^6 = 3.1 % for one comparison, 9.4 % for three.
    six = [50.0 + r for r in range(6)]
    worse = [value - 9 for value in six]
    assert "too few runs to reach" not in " ".join(marks(er=six, ewc=worse)[1])
    assert "too few runs to reach" in " ".join(marks(er=six, ewc=worse, si=worse, mas=worse)[1])


def test_where_some_agents_can_be_told_apart_those_with_too_few_runs_are_marked():
    ten = [50.0 + r for r in range(10)]
    found, _ = marks(er=ten, ewc=[value - 9 for value in ten], si=[40.0, 41, 42])
    assert found == {"er": ["best"], "ewc": [], "si": ["?"]}


def test_an_agent_with_few_runs_is_told_apart_where_its_adjusted_p_value_says_so():
    ten = [50.0 + r for r in range(10)]
    worse = [value - 9 for value in ten]
    comparison = entries(er=ten, ewc=worse, si=worse, mas=worse[:6])
    # 2 / 2^6 alone is left to compare when the two others are done: Holm multiplies it by one.
    assert rows(difference_table(comparison, "core50"))["mas"]["class_iid"] == "-9.0 (p = 0.031)"
    found, notes = marks(er=ten, ewc=worse, si=worse, mas=worse[:6])
    assert found["mas"] == []
    assert not any("too few runs to reach" in note for note in notes)


def test_an_agent_whose_runs_could_have_told_has_not_too_few():
    ten = [50.0 + r for r in range(10)]
    worse, mixed = [value - 9 for value in ten], [59.0, 42, 61, 44, 63, 40]
    assert marks(er=ten, ewc=worse, si=worse, mas=mixed)[0]["mas"] == ["="]


def test_the_least_p_value_that_is_told_counts_the_comparisons_that_are_left():
    ten = [50.0 + r for r in range(10)]
    worse, mixed = [value - 9 for value in ten], [59.0, 42, 61, 44, 63, 40]
    found, notes = marks(er=ten, ewc=worse, si=mixed, mas=worse[:6])
    # ewc comes first; then two comparisons are left, and 2 x 2 / 2^6 is above the level.
    assert found == {"er": ["best"], "ewc": [], "si": ["?"], "mas": ["?"]}
    assert "6 common runs and 3 comparisons reach p = 0.062 at the least; 7 runs would do" in notes[1]


def test_one_agent_is_compared_with_nothing():
    assert marks(er=[50.0], offline=[90.0]) == ({"er": [], "offline": []}, ())


def test_the_test_is_paired_over_common_runs_and_adjusted():
    comparison = entries(er=[50.0, 60, 70, 80], ewc=[49.0, None, 68, 77], si=[10.0, 10, 10, 10])
    tested = column(comparison.entries, "accuracy_mean")
    assert tested.best == "er"
    ewc, si = tested.others["ewc"], tested.others["si"]
    assert (ewc.mean, ewc.pairs, ewc.p, ewc.p_adjusted) == (-2, 3, 0.25, 0.25)
    assert (si.mean, si.pairs, si.p, si.p_adjusted) == (-55, 4, 0.125, 0.25)
    cells = rows(difference_table(comparison, "core50"))
    assert cells["er"]["class_iid"] == "best"
    assert cells["ewc"]["class_iid"] == "-2.0 (p = 0.250, too few runs)"


def test_without_a_common_run_nothing_is_said_of_a_difference():
    comparison = entries(er=[50.0, None], ewc=[None, 40.0])
    assert rows(difference_table(comparison, "core50"))["ewc"]["class_iid"] == "no common run"


def test_less_forgetting_is_better():
    comparison = compare(
        [trial("er", run(0, [50], forgetting=3.0)), trial("si", run(0, [60], forgetting=9.0))]
    )
    assert column(comparison.entries, "forgetting").best == "er"
    assert column(comparison.entries, "accuracy_mean").best == "si"


def test_a_column_without_numbers_has_no_best():
    assert column(entries(er=[], ewc=[]).entries, "accuracy_mean") is None


def test_missing_test_results_are_shown_and_noted(searched, tmp_path):
    learn_final(searched, tmp_path, agents=("ewc", "offline"))
    comparison = final_comparison(choose_all(searched, tmp_path), tmp_path)
    table = rows(main_table(comparison, "toybox"))
    assert table["finetune"] == {
        "agent": "finetune",
        "iid (0 runs)": "–",
        "class_iid (10 runs)": "(0/10 runs)",
    }
    cost = rows(final_tables(comparison, "toybox", {})[-2])
    assert cost["ewc"]["task boundaries"] == "yes"
    assert cost["finetune"]["runs"] == "0/10"
    notes = report(searched, tmp_path, tmp_path / "out").notes
    assert notes[0].startswith("4 of 6 chosen configurations have no finished run on test images: ")
    assert f"`lethe final {searched.path}`" in notes[0]


def test_no_test_result_at_all_still_gives_the_search(searched, tmp_path):
    summary = report(searched, tmp_path, tmp_path / "out")
    assert "ewc" in summary.table
    assert not any(path.name.startswith("cost_") for path in summary.files)


def test_an_unfinished_search_gives_no_table(searched, tmp_path):
    path = searched.trials[0].folder(tmp_path) / "run1" / "summary.json"
    path.unlink()
    with pytest.raises(InputError, match="the search is not finished: 1 run missing"):
        report(searched, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_numbers_stand_beside_with_the_warning_of_their_source(searched, tmp_path):
    learn_final(searched, tmp_path)
    comparison = final_comparison(choose_all(searched, tmp_path), tmp_path)
    table = final_tables(comparison, "toybox", published_numbers.read())[0]
    assert table.header == ("agent", "iid (0 runs)", "class_iid (10 runs)", "published")
    cells = {line[0]: line[3] for line in table.rows}
    # Of nine published settings the best average, over two runs.
    assert cells["ewc"] == "39.8 ± 0.2 (2)"
    (warning,) = [note for note in table.notes if note.startswith("(2) ")]
    for part in (
        "EWC [lr-0.0001,reg_coef-500.0]",
        "runs: 2",
        "EARLIER 28-objects",
        "the best of 9 published",
    ):
        assert part in warning
    assert (
        "class_iid: the published numbers are of the published task lists, ours of corrected" in table.notes
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("core50", "class_iid", "augmem", "accuracy_mean"), 52.5416),  # all ten runs, not the figure's seven
        (("core50", "class_iid", "augmem", "accuracy_last"), 31.1378),
        (("core50", "class_instance", "slda", "omega_all"), 0.959),
        (("cifar100", "class_iid", "remind", "first_task_last"), 91.06),
        (("toybox", "class_instance", "offline", "accuracy_last"), 87.7374),
    ],
)
def test_what_is_published(key, value):
    assert published_numbers.read()[key].value == value


def test_what_never_did_what_its_paper_says_is_warned_of():
    known = published_numbers.read()
    for agent in ("gem", "er"):
        assert "never executes" in known["toybox", "class_iid", agent, "accuracy_mean"].warning
    assert "collapses" in known["cifar100", "class_iid", "remind", "accuracy_mean"].warning


@pytest.mark.parametrize("line", ["a,toybox,class_iid,EWC,Omega_all,all,high,,2,\n", "a,b\n"])
def test_a_damaged_file_of_published_numbers_is_named_with_its_line(tmp_path, line):
    path = tmp_path / "published.csv"
    path.write_text(
        "source,dataset,paradigm,agent,metric,task_index_or_all,value,stderr,n_runs,note\n"
        "a,toybox,class_iid,EWC,Omega_all,all,0.5,,2,\n" + line
    )
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}:3: damaged"):
        published_numbers.read(path)


def test_the_report_is_complete(searched, tmp_path):
    learn_final(searched, tmp_path)
    out = tmp_path / "out"
    summary = report(searched, tmp_path, out)
    plots = [f"{name}.{kind}" for name in ("search_lr", "search_penalty_weight", "heat_ewc", "cost_toybox")
             for kind in ("png", "pdf", "txt")]  # fmt: skip
    assert [path.name for path in summary.files] == [
        "tables.md", "tables.tex", "search.csv", "final.csv", *plots,
    ]  # fmt: skip
    assert {path.name for path in out.iterdir()} == {path.name for path in summary.files}
    assert "22.9 ± 0.3 (best)" in summary.table
    assert "published" not in summary.table


def test_the_search_is_listed_with_failures_and_choices(searched, tmp_path):
    report(searched, tmp_path, tmp_path / "out")
    with (tmp_path / "out" / "search.csv").open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if (line["agent"], line["paradigm"]) == ("ewc", "iid")]
    assert [line["chosen"] for line in lines] == ["yes"] + ["no"] * 5
    assert (lines[0]["validation_accuracy_mean"], lines[0]["runs"]) == ("37.0", "2")
    assert "lr=0.0001, " in lines[0]["settings"]
    assert lines[0]["reason"] == "the highest of 5 candidates; 1 candidate failed"
    assert (lines[-1]["runs"], lines[-1]["failed"]) == ("0", "run 0: killed; run 1: killed")


def test_the_final_numbers_are_listed_with_their_tests(searched, tmp_path):
    learn_final(searched, tmp_path)
    report(searched, tmp_path, tmp_path / "out")
    with (tmp_path / "out" / "final.csv").open(encoding="utf-8", newline="") as file:
        lines = {
            (line["agent"], line["paradigm"], line["metric"]): line for line in csv.DictReader(file)
        }  # fmt: skip
    found = lines["finetune", "class_iid", "accuracy_mean"]
    assert (found["settings"], found["runs"], found["best"], found["pairs"]) == (
        "lr=0.0001",
        "10",
        "ewc",
        "10",
    )
    assert float(found["difference"]) == pytest.approx(-2)
    assert float(found["p_adjusted"]) == 2 / 2**10
    assert float(found["published"]) == pytest.approx(39.3474)
    assert "NormalNN lower bound" in found["published_note"]
    missing = lines["ewc", "iid", "accuracy_mean"]
    assert (missing["mean"], missing["runs"], missing["best"]) == ("", "0", "")


def test_latex_is_escaped_and_every_row_is_full(searched, tmp_path):
    learn_final(searched, tmp_path)
    report(searched, tmp_path, tmp_path / "out")
    page = (tmp_path / "out" / "tables.tex").read_text(encoding="utf-8")
    floats = re.findall(r"\\begin\{table\}.*?\\end\{table\}", page, re.DOTALL)
    assert len(floats) == 9
    for drawn in floats:
        kinds = re.search(r"\\begin\{tabular\}\{(.*)\}$", drawn, re.MULTILINE)[1]
        columns = len(kinds.replace("p{5cm}", "p"))
        body = [line for line in drawn.split("\n") if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in body} == {columns}
        scaled = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
        assert scaled in drawn
        drawn = drawn.replace(scaled, "{")
        text = re.sub(r"\\(begin|end|caption|label|tab:)\S*|\\text\w+\{\}|\$\\pm\$|\\[#$%&_{}]", "", drawn)
        assert not set(text) & set("#$%_~^<>|"), drawn
        assert page.isascii()
        assert drawn.count("{") == drawn.count("}")


def test_plots_are_drawn_without_a_warning(searched, tmp_path):
    learn_final(searched, tmp_path, runs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(searched, tmp_path, tmp_path / "out")


def test_collapsed_runs_of_a_search_are_said(tmp_path):
    found = grid(
        tmp_path, 'datasets = ["digits"]\nparadigms = ["iid"]\n[agents.er]\nlr = [1e-3, 1e-2, 1e-1]\n'
    )
    how = "class 3 was predicted for 98 % of the test images after task 4"
    for level, made in zip((60, 20, 10), found.trials, strict=True):
        finish(tmp_path, made, run(0, [level], collapsed=how))
    summary = report(found, tmp_path, tmp_path / "out")
    assert f"the chosen configuration of er in iid has collapsed in run 0: {how}" in summary.table
    assert "2 other candidates of er in iid collapsed: search.csv says how" in summary.table
    with (tmp_path / "out" / "search.csv").open(encoding="utf-8", newline="") as file:
        assert [line["collapsed"] for line in csv.DictReader(file)] == [f"run 0: {how}"] * 3
