"""LaTeX tables: they fit a page, no name breaks them, and emphasis says no more than the tests do."""

import re

from lethe.agents import registry
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.latex import display_names, escape_latex, floats, latex_page
from lethe.benchmarks.report.pages import write_tables
from lethe.benchmarks.report.tables import Table
from lethe.benchmarks.report.tested_tables import main_table
from tests.made_records import run, trial

HOSTILE = r"a|b_c & 50% $x$ #1 {y} ~^ <i> `c` [l](http://x) *e* \input{/etc/passwd}"


def float_of(table):
    (one,) = floats(table, table.caption, "t", {})
    return one


def body(drawn):
    """The rows of a float."""
    return drawn.split("\\midrule\n")[1].split("    \\bottomrule")[0].strip().split("\n")


def levels(**means):
    """Ten runs of each agent around its mean, alike in all agents."""
    return compare([trial(agent, *(run(r, [mean + r]) for r in range(10))) for agent, mean in means.items()])


def test_hostile_names_stay_in_their_cell():
    escaped = escape_latex(HOSTILE)
    own = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}|\\[{}#$%&_]"
    rest = re.sub(own + r"|\{[\[\]*]\}", "", escaped)
    assert not set(rest) & set("\\{}#$%&_~^<>|[]*")
    (line,) = body(float_of(Table("t", "c", ("agent", "iid"), ((HOSTILE, "1.0"),))))
    assert len(re.findall(r"(?<!\\)&", line)) == 1


def test_a_row_never_begins_with_an_option_of_the_row_before():
    lines = body(float_of(Table("t", "c", ("agent", "iid"), (("[x]", "1"), ("*", "2")))))
    assert [line.strip() for line in lines] == [r"{[}x{]} & 1 \\", r"{*} & 2 \\"]


def test_notes_are_escaped():
    drawn = float_of(Table("t", "c", ("agent", "iid"), (("er", "1.0"),), (HOSTILE, "second")))
    assert drawn.split("\n")[-3:] == [
        rf"  \par\footnotesize {escape_latex(HOSTILE)}",
        r"  \par\footnotesize second",
        r"\end{table}",
    ]


def test_a_page_is_booktabs_with_one_column_per_cell(tmp_path):
    three = [run(r, [90.0 + r, 50.0 + r]) for r in range(3)]
    comparison = compare([trial("finetune", *three), trial("er", run(0, [70.0, 75.0]), paradigm="iid")])
    page = write_tables(comparison, tmp_path)[2].read_text()
    assert page.count(r"\begin{table}") == page.count(r"\end{table}") == page.count(r"\toprule") == 8
    assert page.count(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%") == 8
    assert page.startswith(r"% Needs \usepackage{booktabs,graphicx}.")
    assert r"\label{tab:core50-first-task}" in page
    assert r"agent & iid (1 run) & class\_iid (3 runs) \\" in page
    assert r"ER & 72.5 & -- \\" in page
    for drawn in page.split("\n\n")[1:]:
        assert drawn.count("{") == drawn.count("}")
        columns = len(re.search(r"\\begin\{tabular\}\{(.*)\}$", drawn, re.M)[1].replace("p{5cm}", "p"))
        assert {line.count(" & ") + 1 for line in body(drawn)} == {columns}


def test_the_best_is_bold_and_the_second_underlined_where_the_tests_allow_it():
    drawn = float_of(main_table(levels(er=50, ewc=45, si=40), "core50"))
    assert [re.findall(r"\\(textbf|underline)\{", line) for line in body(drawn)] == [
        ["textbf"],
        ["underline"],
        [],
    ]
    assert "(best)" not in drawn and "(second)" not in drawn
    assert "bold: the best mean; underlined: the second best, where it differs significantly" in drawn


def test_a_second_that_does_not_differ_from_the_third_is_not_underlined():
    noisy = [45 + (9 if r % 2 else -9) for r in range(10)]
    records = [trial("er", *(run(r, [80.0 + r]) for r in range(10)))]
    records += [trial("ewc", *(run(r, [45.5 + r]) for r in range(10)))]
    records += [trial("si", *(run(r, [value + r]) for r, value in enumerate(noisy)))]
    table = main_table(compare(records), "core50")
    assert [row[1].endswith("(best)") for row in table.rows] == [True, False, False]
    assert r"\underline" not in float_of(table)


def test_a_second_that_does_not_differ_from_the_best_is_not_underlined():
    few = compare(
        [trial(agent, run(0, [mean]), run(1, [mean])) for agent, mean in (("er", 50.0), ("ewc", 40.0))]
    )
    drawn = float_of(main_table(few, "core50"))
    assert r"\textbf{50.0 $\pm$ 0.0}" in drawn
    assert r"\underline" not in drawn


def test_a_table_of_more_rows_than_a_page_holds_is_split():
    rows = tuple((f"er {number}", "1.0") for number in range(95))
    parts = floats(Table("t", "c", ("agent", "iid"), rows, ("a note",)), "All of them.", "x", {})
    assert [len(body(part)) for part in parts] == [40, 40, 15]
    labels = [re.search(r"\\label\{(.*)\}", part)[1] for part in parts]
    assert labels == ["tab:x", "tab:x-part2", "tab:x-part3"]
    assert "All of them. Part 3 of 3." in parts[2]
    assert ["a note" in part for part in parts] == [False, False, True]


def test_a_long_text_wraps():
    drawn = float_of(Table("t", "c", ("agent", "iid", "reason"), (("er", "1.0", "the highest " * 8),)))
    assert r"\begin{tabular}{lrp{5cm}}" in drawn


def test_no_two_labels_are_alike():
    records = [trial("er", run(0, [50]), dataset=name) for name in ("a-b", "a_b", "a b")]
    comparison = compare(records)
    table = Table("cost", "c", ("agent", "iid"), (("er", "1"),))
    page = latex_page(comparison, {key: [table] for key in comparison.datasets()}, "grid")
    labels = re.findall(r"\\label\{(.*)\}", page)
    assert sorted(labels) == ["tab:grid-a-b-cost", "tab:grid-a-b-cost-2", "tab:grid-a-b-cost-3"]


def test_agents_have_the_names_of_their_cards_and_no_module_is_imported_for_one():
    settings = [trial("ewc", run(0, [50]), settings={"lr": lr}, folder=str(lr)) for lr in (0.1, 0.2)]
    others = [trial(name, run(0, [50])) for name in ("derpp", "avalanche:AGEM", "not_there.here:Mine", "odd")]
    names = display_names(compare([*settings, *others]))
    assert names["ewc [lr=0.1]"] == f"{registry.card('ewc').title} [lr=0.1]"
    assert names["derpp"] == "DER++"
    assert (names["avalanche:AGEM"], names["not_there.here:Mine"], names["odd"]) == (
        "AGEM (Avalanche)", "Mine", "odd",
    )  # fmt: skip


def test_two_agents_never_share_a_name():
    names = display_names(compare([trial(name, run(0, [50])) for name in ("a:Mine", "b:Mine")]))
    assert "a:Mine" not in names
