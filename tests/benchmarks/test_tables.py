import csv
import re
from dataclasses import replace

import pytest

from lethe.benchmarks.report.comparison import compare, rows
from lethe.benchmarks.report.entries import Stat
from lethe.benchmarks.report.latex import floats
from lethe.benchmarks.report.pages import dataset_tables, write_tables
from lethe.benchmarks.report.tables import (
    ABSENT,
    Table,
    accuracy_cell,
    accuracy_table,
    escape_markdown,
    format_bytes,
    format_seconds,
    markdown,
    plain_text,
)
from tests.made_records import NO_NEEDS, run, trial

HOSTILE = r"a|b_c & 50% $x$ #1 {y} ~^ <i> `c` [l](http://x) *e* \input{/etc/passwd}"


@pytest.fixture
def comparison():
    """er and finetune under two paradigms; er lacks a run in class_iid, finetune all of iid."""
    three = [run(r, [90.0 + r, 50.0 + r]) for r in range(3)]
    return compare(
        [
            trial("finetune", *three),
            trial("er", *three[:2]),
            trial("er", run(0, [70.0, 75.0]), paradigm="iid"),
            trial("offline", *three, offline=True),
        ]
    )


def columns(line):
    """The cells of a Markdown row."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.parametrize(
    ("stat", "expected", "cell"),
    [
        (Stat(61.23, 1.28, 3), 3, "61.2 ± 1.3"),
        (Stat(61.23, 1.28, 2), 3, "61.2 ± 1.3 (2/3 runs)"),
        (Stat(61.23, None, 1), 1, "61.2"),
        (Stat(61.23, None, 1), 3, "61.2 (1/3 runs)"),
        (Stat(None, None, 0), 3, "(0/3 runs)"),
        (Stat(None, None, 0), 0, "–"),
    ],
)
def test_a_cell_says_how_many_runs_it_lacks(stat, expected, cell):
    assert accuracy_cell(stat, expected) == cell


def test_what_is_undefined_is_no_missing_run():
    undefined = [run(r, [50], forgetting=None) for r in range(2)]
    comparison = compare(
        [
            trial("er", *undefined),
            trial("ewc", undefined[0], run(1, [50], forgetting=3.0)),
            trial("si", unfinished=[0, 1]),
        ]
    )
    table = accuracy_table(comparison, "core50", "forgetting", "forgetting", "Forgetting")
    assert dict(table.rows) == {"er": ABSENT, "ewc": "3.0 (1/2 runs)", "si": "(0/2 runs)"}


def test_a_ratio_has_as_many_digits_as_are_asked_for():
    assert accuracy_cell(Stat(0.8552, 0.0061, 3), 3, digits=3) == "0.855 ± 0.006"


def test_agents_by_paradigms(comparison):
    table = dataset_tables(comparison, "core50")[0]
    assert table.header == ("agent", "iid (1 run)", "class_iid (3 runs)")
    # Means over tasks: 70, 71, 72 over three runs, 70 and 71 over two; 72.5 under iid.
    assert table.rows == (
        ("finetune", "–", "71.0 ± 0.6 (best)"),
        ("er", "72.5", "70.5 ± 0.5 (2/3 runs)"),
        ("offline", "–", "71.0 ± 0.6"),
    )


def test_a_collapsed_run_is_marked_and_explained_below_the_table():
    how = "class 3 was predicted for 98 % of the test images after task 4"
    runs = [run(0, [90, 50]), run(1, [90, 12], collapsed=how), run(2, [90, 10], collapsed="\033[2Jx")]
    compared = compare(
        [trial("er", runs[0]), trial("remind", *runs), trial("remind", runs[0], paradigm="iid")]
    )
    table = dataset_tables(compared, "core50")[1]
    assert table.rows == (
        ("er", "–", "50.0 (1/3 runs) (best)"),
        ("remind", "50.0", "24.0 ± 13.0 †"),
    )
    assert table.notes[-1] == f"† class_iid: remind has collapsed in runs 1, 2 of 3: in run 1, {how}"
    assert r"24.0 $\pm$ 13.0 $\dagger$" in floats(table, "", "x", {})[0]
    assert "\033" not in compared.select("core50", "class_iid")[1].collapsed[2]


def test_costs_show_needs_ranges_and_missing_runs(comparison):
    table = dataset_tables(comparison, "core50")[-2]
    lines = {line[0]: dict(zip(table.header, line, strict=True)) for line in table.rows}
    assert lines["offline"]["offline lists"] == "yes"
    assert lines["er"]["offline lists"] == "no"
    assert lines["er"]["runs"] == "3/4"
    assert lines["er"]["memory"] == "1.0 kB"


def test_of_data_seen_again_the_images_of_a_run_are_shown():
    needs = {**NO_NEEDS, "task_data": True}
    runs = [run(r, [50], images_again=again) for r, again in enumerate((1200, 1400))]
    compared = compare(
        [replace(trial("icarl", *runs), needs=needs), trial("er", run(0, [50], images_again=0))]
    )
    table = next(t for t in dataset_tables(compared, "core50") if "task data again" in t.header)
    cells = {line[0]: dict(zip(table.header, line, strict=True))["task data again"] for line in table.rows}
    assert cells == {"icarl": "1,300 images", "er": "no"}
    (row,) = [r for r in rows(compared) if (r.agent, r.metric) == ("icarl", "images_again")]
    assert row.mean == 1300


def test_costs_span_the_paradigms():
    comparison = compare(
        [
            trial("gem", run(0, [50], memory_bytes=0, seconds=5.0, wall_seconds=7.0)),
            trial("gem", run(0, [50], memory_bytes=2_500_000, seconds=5.0, wall_seconds=8.0), paradigm="iid"),
        ]
    )
    memory, table = dataset_tables(comparison, "core50")[-2:]
    assert dict(zip(memory.header, memory.rows[0], strict=True))["memory"] == "0 B – 2.5 MB"
    costs = dict(zip(table.header, table.rows[0], strict=True))
    assert (costs["training time"], costs["wall time"]) == ("5.0 s", "7.0 s – 8.0 s")


def test_a_time_that_older_records_lack_is_absent():
    record = trial("er", run(0, [50], seconds=5.0))
    del record.runs[0].summary["metrics"]["wall_seconds"]
    table = dataset_tables(compare([record]), "core50")[-1]
    costs = dict(zip(table.header, table.rows[0], strict=True))
    assert (costs["training time"], costs["wall time"]) == ("5.0 s", ABSENT)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (123e6, "123 MB"),
        (4.2e12, "4200 GB"),
    ],
)
def test_bytes(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_long_form_has_a_line_per_mean(comparison, tmp_path):
    path = write_tables(comparison, tmp_path)[0]
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["dataset", "paradigm", "agent", "metric", "mean", "sem", "runs"]
    by_key = {(line["paradigm"], line["agent"], line["metric"]): line for line in lines}
    assert len(by_key) == len(lines)
    assert float(by_key["class_iid", "er", "accuracy_task_1"]["mean"]) == 90.5
    assert by_key["class_iid", "er", "accuracy_task_1"]["runs"] == "2"
    assert float(by_key["iid", "er", "first_task_task_2"]["mean"]) == 75
    assert by_key["iid", "er", "accuracy_last"]["sem"] == ""
    assert by_key["iid", "er", "omega_all"]["mean"] == ""
    assert ("iid", "er", "top5_last") not in by_key


def test_top5_is_listed_where_it_was_measured(tmp_path):
    comparison = compare([trial("er", run(0, [50], top5_last=88.0))])
    assert "core50,class_iid,er,top5_last,88.0,,1\n" in write_tables(comparison, tmp_path)[0].read_text()


def test_hostile_names_stay_in_their_markdown_cell():
    table = Table("t", "c", ("agent", "iid"), ((HOSTILE, "1.0"),))
    lines = markdown(table).split("\n")
    assert [len(columns(line)) for line in lines] == [2, 2, 2]
    assert re.search(r"(?<!\\)[<>`*$\[\]]", lines[2]) is None


def test_notes_stand_below_a_table_and_are_escaped():
    table = Table("t", "c", ("agent", "iid"), (("er", "1.0"),), (HOSTILE, "second"))
    assert markdown(table).endswith(f"\n\n{escape_markdown(HOSTILE)}\n\nsecond")
    assert plain_text(table).split("\n")[-2:] == [HOSTILE, "second"]


def test_underscores_inside_words_stay_readable():
    assert escape_markdown("class_iid") == "class_iid"
    assert escape_markdown("_em_") == r"\_em\_"


def test_names_from_files_are_escaped_on_the_pages(tmp_path):
    agent = r"<b>|&%\x"
    _, page, tex = write_tables(compare([trial(agent, run(0, [50]), dataset=agent)]), tmp_path)
    assert r"| \<b\>\|\&%\\x |" in page.read_text()
    assert r"## \<b\>\|\&%\\x" in page.read_text()
    assert r"\textless{}b\textgreater{}\textbar{}\&\%\textbackslash{}x & 50.0" in tex.read_text()


def test_text_is_aligned(comparison):
    text = plain_text(dataset_tables(comparison, "core50")[0])
    assert text.split("\n")[2:7] == [
        "agent     iid (1 run)     class_iid (3 runs)",
        "--------------------------------------------",
        "finetune            –      71.0 ± 0.6 (best)",
        "er               72.5  70.5 ± 0.5 (2/3 runs)",
        "offline             –             71.0 ± 0.6",
    ]
