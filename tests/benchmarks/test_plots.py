import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.figures import agent_style, entry_styles, known_styles
from lethe.benchmarks.report.plots import paradigm_figure, write_plots
from tests.made_records import run, trial

ROOT = Path(__file__).resolve().parents[2]
STYLES = known_styles()
GREY = STYLES["finetune"].colour


def trials(paradigm="class_iid", dataset="core50"):
    runs = [run(r, [90.0 + 2 * r, 50.0 + 2 * r], [80.0, 10.0]) for r in range(3)]
    where = {"paradigm": paradigm, "dataset": dataset}
    return [
        trial("er", *runs, **where),
        trial("ewc", *runs[:2], **where),
        trial("finetune", *runs, **where),
        trial("offline", *runs, offline=True, **where),
    ]


def figure(records, curve="accuracy"):
    return paradigm_figure(compare(records), curve, "accuracy (%)")


def curves(axes):
    """The error bar containers of a panel, by label."""
    return {container.get_label(): container for container in axes.containers}


def legend_labels(drawn):
    return [text.get_text() for text in drawn.legends[0].get_texts()]


def test_a_panel_per_paradigm_in_order():
    drawn = figure([*trials("instance"), *trials("iid"), *trials("class_iid")])
    assert [axes.get_title() for axes in drawn.axes] == ["iid", "class_iid", "instance"]


def test_a_row_per_dataset_and_no_panel_where_there_is_no_trial():
    drawn = figure([*trials("iid"), *trials(), *trials(dataset="digits")])
    places = [(axes.get_title(), axes.get_subplotspec().rowspan.start) for axes in drawn.axes]
    assert places == [("iid", 0), ("class_iid", 0), ("class_iid", 1)]
    named = [[text.get_text() for text in axes.texts if "accuracy" in text.get_text()] for axes in drawn.axes]
    assert named == [["CORe50\naccuracy (%)"], [], ["Digits\naccuracy (%)"]]


def test_a_curve_is_the_mean_with_standard_errors():
    (axes,) = figure(trials()).axes
    line, _, (bars,) = curves(axes)["er"]
    np.testing.assert_allclose(line.get_xydata(), [[1, 92], [2, 52]])
    sem = 2 / np.sqrt(3)
    np.testing.assert_allclose(
        [segment[:, 1] for segment in bars.get_segments()], [[92 - sem, 92 + sem], [52 - sem, 52 + sem]]
    )


def test_the_first_task_has_its_own_curve():
    (axes,) = figure(trials(), "first_task").axes
    np.testing.assert_allclose(curves(axes)["er"][0].get_ydata(), [80, 10])


def test_chance_is_dotted_and_in_the_legend():
    drawn = figure(trials())
    (chance,) = [line for line in drawn.axes[0].lines if line.get_label() == "chance"]
    np.testing.assert_allclose(chance.get_xydata(), [[1, 50], [2, 25]])
    assert chance.get_linestyle() == ":"
    assert legend_labels(drawn)[-1] == "chance"


def test_axes_run_from_0_to_100_percent_and_from_task_1():
    (axes,) = figure(trials()).axes
    assert axes.get_ylim() == (0, 100)
    assert list(axes.get_xticks()) == [1, 2]


def test_an_agent_has_one_colour_in_every_panel():
    drawn = figure([*trials("iid"), *trials(), trial("si", run(0, [50, 50]))])
    first, second = (curves(axes) for axes in drawn.axes)
    for label in first:
        assert first[label][0].get_color() == second[label][0].get_color()
    assert to_hex(second["er"][0].get_color()).upper() == STYLES["er"].colour


def test_bounds_are_grey_and_differ_in_dashes_and_marker():
    (axes,) = figure(trials()).axes
    lower, upper = (curves(axes)[name][0] for name in ("finetune", "offline"))
    assert lower.get_color() == upper.get_color() == GREY
    assert lower.get_marker() != upper.get_marker()
    assert lower.get_linestyle() != upper.get_linestyle() or lower._dash_pattern != upper._dash_pattern


def test_any_agent_that_needs_offline_lists_is_a_grey_bound():
    styles = entry_styles(compare([trial("joint", run(0, [50]), offline=True), *trials()]).entries)
    assert styles["joint"].colour == GREY


def test_known_agents_look_different_in_colour_and_in_grey():
    # More agents than markers, filled or not: those that share one differ in dashes, and in colour.
    assert len({(style.marker, style.filled, style.dashes) for style in STYLES.values()}) == len(STYLES)
    assert len({(style.marker, style.filled, style.colour) for style in STYLES.values()}) == len(STYLES)
    contenders = [style for name, style in STYLES.items() if name not in ("finetune", "offline")]
    okabe_ito = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"}
    assert {style.colour for style in contenders} == okabe_ito


def styles_of(*agents):
    return entry_styles(compare([trial(agent, run(0, [50])) for agent in agents]).entries)


def test_an_unknown_agent_has_a_style_by_its_name():
    assert styles_of("mine")["mine"] == styles_of("finetune", "mine")["mine"] == agent_style("mine")
    assert agent_style("mine") not in STYLES.values()


def test_an_unknown_agent_has_a_colour_that_no_other_has_while_there_is_one():
    mine = agent_style("mine")
    like = next(n for n, s in STYLES.items() if s.colour == mine.colour and s.filled)
    styles = styles_of(like, "mine", "hat", "cap", "hood")
    assert styles[like] == STYLES[like]
    assert len({style.colour for style in styles.values()}) == 5
    assert replace(styles["mine"], colour=mine.colour) == mine
    assert styles == styles_of("hood", "cap", "hat", "mine", like)
    assert styles_of(*STYLES, "mine")["mine"] == mine, "none is free"


def test_a_bound_takes_no_colour():
    records = [trial("cap", run(0, [50])), trial("top", run(0, [50]), offline=True)]
    assert agent_style("top").colour == agent_style("cap").colour
    assert entry_styles(compare(records).entries)["cap"] == agent_style("cap")


def test_one_agent_of_a_long_name_with_fewer_runs_is_one_agent():
    records = [
        trial("er", run(0, [50]), run(1, [50])),
        trial("agents.nearest_mean:NearestMean", run(0, [50])),
    ]
    (axes,) = figure(records).axes
    assert "2 runs (1 agent: fewer)" in [text.get_text() for text in axes.texts]


def test_configurations_of_an_agent_share_its_colour_and_differ_otherwise():
    rates = (0.1, 0.01, 0.001, 0.0001)
    records = [trial("er", run(0, [50]), settings={"lr": rate}, folder=str(rate)) for rate in rates]
    styles = entry_styles(compare(records).entries)
    assert {style.colour for style in styles.values()} == {STYLES["er"].colour}
    assert len(set(styles.values())) == 4


def test_the_legend_is_one_and_ordered_as_the_tables():
    drawn = figure([*trials("iid"), *trials()])
    assert legend_labels(drawn) == ["finetune", "er", "ewc", "offline", "chance"]
    assert all(axes.get_legend() is None for axes in drawn.axes)


def test_missing_runs_are_said_in_the_panel():
    (axes,) = figure(trials()).axes
    assert "3 runs (ewc: 2)" in [text.get_text() for text in axes.texts]


def test_hostile_names_are_drawn_as_they_are(tmp_path):
    names = [r"$\frac{$", "_hidden", "a_b^c", r"\bogus"]
    records = [trial(name, run(0, [50, 40]), dataset=r"$\x$", paradigm=r"$\y$") for name in names]
    assert set(names) < set(legend_labels(figure(records)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_plots(compare(records), tmp_path)


def test_one_run_one_task_and_no_finished_run_are_drawn_without_a_warning(tmp_path):
    records = [
        trial("er", run(0, [50])),
        trial("ewc", unfinished=[0]),
        trial("si", unfinished=[0], paradigm="iid"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_plots(compare(records), tmp_path)
    assert legend_labels(figure(records)) == ["er", "chance"]


def test_twenty_tasks_are_ticked_and_ten_numbered():
    (axes,) = figure([trial("er", run(0, [50.0] * 20))]).axes
    assert list(axes.get_xticks()) == list(range(1, 21, 2))


SCRIPT = """
import sys
from pathlib import Path
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.plots import write_plots
from tests.benchmarks.test_plots import trials
write_plots(compare(trials()), Path(sys.argv[1]))
sys.exit("matplotlib.pyplot" in sys.modules)
"""


def test_another_process_writes_the_same_bytes_without_pyplot(tmp_path):
    paths = write_plots(compare(trials()), tmp_path / "here")
    # matplotlib reads the settings file of the folder it starts in.
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 5\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "there")], env=environment, check=True, cwd=tmp_path
    )
    assert [path.name for path in paths] == [
        "paradigms.png", "paradigms.pdf", "paradigms.txt", "first_task.png", "first_task.pdf", "first_task.txt",
    ]  # fmt: skip
    for path in paths:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name


def test_png_is_200_dots_per_inch(tmp_path):
    path = write_plots(compare(trials()), tmp_path)[0]
    header = path.read_bytes()
    at = header.index(b"pHYs") + 4
    assert round(int.from_bytes(header[at : at + 4], "big") * 0.0254) == 200


def test_matplotlib_is_left_as_it_was(tmp_path):
    with matplotlib.rc_context({"font.size": 13}):
        before = dict(matplotlib.rcParams)
        write_plots(compare(trials()), tmp_path)
        assert dict(matplotlib.rcParams) == before
