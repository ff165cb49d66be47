"""What the comparison says where trials are unlike: orders of notes, trials without runs, names of settings."""

from dataclasses import replace

from lethe.benchmarks.report import collapsed
from lethe.benchmarks.report.comparison import compare
from lethe.benchmarks.report.differences import Difference
from lethe.benchmarks.report.notes import notes
from lethe.benchmarks.report.pages import markdown_page
from lethe.benchmarks.report.point_names import _common
from lethe.benchmarks.report.tested_tables import difference_text
from lethe.benchmarks.report.trial_names import text_of
from tests.made_records import run, trial


def test_a_trial_without_a_finished_run_has_no_point_on_any_curve():
    entries = compare([trial("er", run(0, [50.0, 40])), trial("si", unfinished=[0])]).entries
    by_agent = {entry.agent: entry for entry in entries}
    assert len(by_agent["er"].curves["accuracy"]) == 2
    assert set(by_agent["si"].curves.values()) == {()}


def test_task_lists_are_noted_in_the_order_of_the_alphabet():
    variants = ["delta", "alpha", "zeta", "gamma", "beta", "omega"]
    comparison = compare([trial("er", run(0, [50]), variant=name, folder=name) for name in variants])
    assert any("alpha and beta and delta and gamma and omega and zeta" in note for note in notes(comparison))


def test_what_networks_were_pretrained_on_is_noted_with_the_weights():
    pretrained = [
        replace(trial(agent, run(0, [50]), network=network), weights=digest * 64, pretraining=images)
        for agent, network, digest, images in (
            ("si", "resnet18", "a", "ImageNet-1k"),
            ("er", "resnet18", "a", "ImageNet-1k"),
            ("l2", "mine", "b", ""),
        )
    ]
    comparison = compare([*pretrained, trial("ewc", run(0, [50]))])
    told = notes(comparison)
    assert told[0] == (
        "pretrained: mine on images that are not known (weights bbbbbbbbbbbb); "
        "resnet18 on ImageNet-1k (weights aaaaaaaaaaaa)"
    )
    assert f"## Notes\n\n- {told[0]}\n" in markdown_page("Comparison", comparison, {})
    assert not any("pretrained" in note for note in notes(compare([trial("ewc", run(0, [50]))])))


def test_equal_values_of_a_setting_have_equal_texts():
    assert (
        text_of({"b": 1, "a": [2, None]}) == text_of({"a": [2, None], "b": 1}) == '{"a": [2, null], "b": 1}'
    )
    assert text_of("0.1") == "0.1" and text_of(True) == "true"


def test_values_that_differ_are_noted_in_their_order_and_not_in_that_of_the_agents():
    trials = [trial("er", run(0, [50]), network="small"), trial("si", run(0, [50]), network="resnet18")]
    assert "core50/class_iid: not one network, but resnet18 (si); small (er)" in notes(compare(trials))


def test_one_collapsed_run_is_named_without_more_words_than_it_needs():
    alone = compare([trial("er", run(0, [50], collapsed="it is stuck"))]).entries
    assert collapsed.notes(alone) == ("† class_iid: er has collapsed in run 0: it is stuck",)
    one_of_two = compare([trial("er", run(0, [50]), run(1, [50], collapsed="it is stuck"))]).entries
    assert collapsed.notes(one_of_two) == ("† class_iid: er has collapsed in run 1 of 2: it is stuck",)


def test_a_run_with_as_many_tasks_as_the_reference_is_enough_for_omega():
    offline = trial("offline", run(0, [80.0, 50]), offline=True)
    both = compare([trial("er", run(0, [40.0, 25]), run(1, [40.0])), offline]).entries
    (er,) = [entry for entry in both if entry.agent == "er"]
    assert (er.stats["omega_all"].mean, er.stats["omega_all"].runs) == (0.5, 1)


def test_boxes_that_are_apart_in_one_direction_share_no_area():
    assert _common((0, 0, 4, 3), (2, 1, 9, 9)) == 2 * 2
    for apart in (5, 0, 9, 3), (0, 4, 4, 9), (5, 4, 9, 9), (4, 0, 9, 3):
        assert _common((0, 0, 4, 3), apart) == 0


def test_a_small_p_value_is_told_as_long_as_three_digits_show_it():
    def told(p):
        return difference_text(Difference(mean=-2.0, pairs=16, p=p, p_adjusted=p, least=2**-15))

    assert told(0.0005) == "-2.0 (p = 0.001)"
    assert told(0.00049) == "-2.0 (p < 0.001)"
