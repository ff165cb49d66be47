import pytest

from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.cost_plots import cost_figure, pareto_front
from lethe.benchmarks.report.entries import Stat
from lethe.benchmarks.report.figures import agent_style
from lethe.benchmarks.run.trial import Trial
from lethe.gridsearch.report.search_plots import (
    heat_figure,
    profile,
    profile_figure,
    scale,
    write_search_plots,
)
from lethe.gridsearch.selection import Candidate, Choice
from tests.made_records import run, trial


def choice_of(agent, points):
    """A choice among made candidates: (settings, mean or None where it failed), the best first."""
    candidates = []
    for settings, mean in points:
        made = Trial.create("digits", "class_iid", agent, settings, split="validation")
        stat = Stat(mean, 0.5, 2) if mean is not None else Stat(None, None, 0)
        candidates.append(Candidate(made, stat, () if mean is not None else ("run 0: killed",)))
    return Choice(candidates[0].trial, candidates[0].validation, "", tuple(candidates))


POINTS = [
    ({"lr": 1e-4, "penalty_weight": 100.0}, 60.0),
    ({"lr": 1e-4, "penalty_weight": 1.0}, 50.0),
    ({"lr": 1e-3, "penalty_weight": 1.0}, 40.0),
    ({"lr": 1e-3, "penalty_weight": 100.0}, 30.0),
    ({"lr": 1e-2, "penalty_weight": 1.0}, None),
    ({"lr": 1e-2, "penalty_weight": 100.0}, None),
]


def test_a_value_is_shown_with_the_best_of_all_other_settings():
    found = [
        (value, other and other.validation.mean) for value, other in profile(choice_of("ewc", POINTS), "lr")
    ]
    assert found == [(1e-4, 60), (1e-3, 40), (1e-2, None)]
    found = [
        (value, other.validation.mean) for value, other in profile(choice_of("ewc", POINTS), "penalty_weight")
    ]
    assert found == [(1, 50), (100, 60)]


def test_the_profile_has_a_panel_an_agent_error_bars_a_ring_and_says_validation():
    other = choice_of("l2", [({"lr": 1e-3}, 20.0), ({"lr": 1e-2}, 10.0)])
    still = choice_of("finetune", [({}, 20.0)])
    drawn = profile_figure([choice_of("ewc", POINTS), other, still], "lr")
    assert [axes.get_title() for axes in drawn.axes] == ["ewc", "l2"]
    ewc = drawn.axes[0]
    assert ewc.get_ylabel().startswith("validation accuracy (%)")
    assert ewc.get_xscale() == "log"
    assert ewc.get_xlabel() == "lr"
    (container,) = ewc.containers
    line, _, (bars,) = container
    assert [tuple(point) for point in line.get_xydata()[:2]] == [(1e-4, 60), (1e-3, 40)]
    assert sorted(bars.get_segments()[0][:, 1]) == [59.5, 60.5]
    assert any(ring.get_markersize() > 8 and ring.get_xydata().tolist() == [[1e-4, 60]] for ring in ewc.lines)
    assert "failed: 0.01" in [text.get_text() for text in ewc.texts]


def test_panels_share_their_vertical_axis_which_holds_all_points():
    """A difference between two agents must look as large as it is."""
    drawn = profile_figure(
        [choice_of("ewc", POINTS), choice_of("l2", [({"lr": 1e-3}, 20.0), ({"lr": 1e-2}, 10.0)])], "lr"
    )
    first, second = (axes.get_ylim() for axes in drawn.axes)
    assert first == second
    assert first[0] < 9.5 and first[1] > 60.5


def test_a_value_of_which_all_candidates_failed_has_a_cross_and_the_caption_says_why(tmp_path):
    choice = choice_of("ewc", POINTS)
    (axes,) = profile_figure([choice], "lr").axes
    (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [1e-2]
    paths = write_search_plots([choice], tmp_path)
    assert [path.name for path in paths if path.suffix == ".txt"] == [
        "search_lr.txt", "search_penalty_weight.txt", "heat_ewc.txt",
    ]  # fmt: skip
    assert all(
        "ewc, Digits class_iid, lr=0.01, penalty_weight=100.0: run 0: killed" in path.read_text()
        for path in paths
        if path.suffix == ".txt"
    )
    assert "all failed" in [text.get_text() for text in profile_figure([choice], "lr").legends[0].get_texts()]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-5, 1e-4, 1e-3], "log"),
        ([1, 100, 500], "log"),
        ([1, 2, 4, 8], "log"),
        ([10, 20, 30], "linear"),
        ([1, 2], "linear"),
        ([1e-3, 1e-2], "log"),
        ([0, 0.1, 1], "linear"),
        ([0, 10], "linear"),
        ([0.9, 0.99], "linear"),
        ([1e-3, 1e-2, 1e30], "names"),
        (["a", "b"], "names"),
        ([None, 3], "names"),
        ([False, True], "names"),
    ],
)
def test_an_axis_is_logarithmic_where_the_values_are(values, kind):
    assert scale(values) == kind


def test_the_heat_map_shows_every_pair_failures_and_frames_the_choice():
    axes, bar = heat_figure([choice_of("ewc", POINTS)]).axes
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {
        (1, 0): "60.0", (0, 0): "50.0", (0, 1): "40.0", (1, 1): "30.0", (0, 2): "failed", (1, 2): "failed",
    }  # fmt: skip
    (frame,) = axes.patches
    assert frame.get_xy() == (0.5, -0.5)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("penalty_weight", "lr")
    assert bar.get_ylabel() == "validation accuracy (%)"


def test_the_pareto_front_is_what_nothing_beats():
    points = [(1, 10), (2, 20), (2, 15), (3, 20), (4, 30), (0, 5), (4, 30)]
    assert pareto_front(points) == [5, 0, 1, 4, 6]
    assert pareto_front([]) == []


def test_the_cost_plot_marks_the_front_without_the_offline_learner():
    records = [
        trial("finetune", run(0, [20], memory_bytes=0, seconds=10.0, wall_seconds=35.0)),
        trial("er", run(0, [60], memory_bytes=10**6, seconds=20.0, wall_seconds=30.0)),
        trial("si", run(0, [40], memory_bytes=10**7, seconds=30.0, wall_seconds=40.0)),
        trial("offline", run(0, [90], memory_bytes=0, seconds=100.0, wall_seconds=200.0), offline=True),
    ]
    memory, training, wall = cost_figure(compare(records), "core50", "cost").axes
    assert [axes.get_xlabel() for axes in (memory, training, wall)] == [
        "memory beyond the network", "training time per run", "wall time per run",
    ]  # fmt: skip
    for axes, costs in ((memory, [0, 10**6]), (training, [10, 20]), (wall, [30])):
        rings = [line for line in axes.lines if line.get_markersize() > 8]
        assert [ring.get_xdata()[0] for ring in rings] == costs
        assert "test accuracy" in axes.get_ylabel()
    assert [text.get_text() for text in memory.get_xticklabels()][:2] == ["0", "1 MB"]
    colours = {line.get_color() for line in memory.lines}
    assert agent_style("er").colour in colours


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        ([35], ["30 s", "1 min"]),
        ([60], ["30 s", "1 min", "2 min"]),
        ([5.5, 9], ["5 s", "10 s"]),
        ([3, 4000], ["2 s", "2 min", "2 h"]),
        ([0, 35], ["0", "1 min"]),
        ([0, 3, 4000], ["0", "5 s", "5 min", "2 h"]),
        ([0.01], ["0.1 s"]),
        ([0], ["0"]),
    ],
)
def test_a_cost_axis_has_ticks_on_both_sides_of_all_points(seconds, labels):
    agents = ("er", "si", "ewc")
    records = [
        trial(agent, run(0, [60], seconds=float(value)))
        for agent, value in zip(agents, seconds, strict=False)
    ]
    axes = cost_figure(compare(records), "core50", "cost").axes[1]
    assert [text.get_text() for text in axes.get_xticklabels()] == labels
    left, right = axes.get_xlim()
    assert all(left <= value <= right for value in [*seconds, *axes.get_xticks()])


def test_a_cost_that_older_records_lack_has_no_empty_panel():
    record = trial("er", run(0, [60], wall_seconds=None))
    labels = [axes.get_xlabel() for axes in cost_figure(compare([record]), "core50", "cost").axes]
    assert labels == ["memory beyond the network", "training time per run"]
