"""What the comparison says where trials are unlike: orders of notes, trials without runs, names of settings."""

from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.trial_names import text_of
from tests.made_records import run, trial


def test_a_trial_without_a_finished_run_has_no_point_on_any_curve():
    entries = compare([trial("er", run(0, [50.0, 40])), trial("si", unfinished=[0])]).entries
    by_agent = {entry.agent: entry for entry in entries}
    assert len(by_agent["er"].curves["accuracy"]) == 2
    assert by_agent["si"].curves == {"accuracy": (), "first_task": ()}


def test_task_lists_are_noted_in_the_order_of_the_alphabet():
    variants = ["delta", "alpha", "zeta", "gamma", "beta", "omega"]
    comparison = compare([trial("er", run(0, [50]), variant=name, folder=name) for name in variants])
    assert any("alpha and beta and delta and gamma and omega and zeta" in note for note in notes(comparison))


def test_equal_values_of_a_setting_have_equal_texts():
    assert (
        text_of({"b": 1, "a": [2, None]}) == text_of({"a": [2, None], "b": 1}) == '{"a": [2, null], "b": 1}'
    )
    assert text_of("0.1") == "0.1" and text_of(True) == "true"
