from dataclasses import dataclass

import pytest

from lethe.agents.config import SGDConfig, setting
from lethe.agents.finetune import Finetune
from lethe.common.errors import InputError
from lethe.gridsearch.grid import for_test, read
from lethe.gridsearch.selection import Unfinished, best_toml, choose, choose_all
from tests.made_grid import fail, finish, grid, pick
from tests.made_records import run


@dataclass(frozen=True)
class LimitedConfig(SGDConfig):
    """A hyperparameter whose default is a number, and which may be none."""

    limit: int | None = setting(3, "Some limit.")


class Limited(Finetune):
    """An agent of a user's."""

    Config = LimitedConfig


TEXT = """
datasets = ["digits"]
paradigms = ["class_iid"]
runs = 2
[agents.ewc]
lr = [1e-2, 1e-3]
penalty_weight = [1, 100]
"""


@pytest.fixture
def found(tmp_path):
    return grid(tmp_path, TEXT)


def learn(results, trial, *accuracies):
    """Two tasks a run; their mean is the accuracy given."""
    finish(
        results,
        trial,
        *(
            run(r, [min(value + 10, 100), max(value - 10, 2 * value - 100, 0)])
            for r, value in enumerate(accuracies)
        ),
    )


def test_the_highest_mean_over_runs_is_chosen_and_the_others_are_ranked(found, tmp_path):
    group = found.trials
    for trial, accuracies in zip(group, [(40, 42), (60, 20), (44, 46), (10, 12)], strict=True):
        learn(tmp_path, trial, *accuracies)
    choice = choose(group, tmp_path, 2)
    assert choice.trial == group[2]
    assert (choice.validation.mean, choice.validation.runs) == (45, 2)
    assert choice.validation.sem == pytest.approx(1)
    assert [candidate.trial for candidate in choice.ranking] == [group[i] for i in (2, 0, 1, 3)]
    assert choice.reason == "the highest of 4 candidates"


def test_only_the_runs_of_the_search_count(found, tmp_path):
    for trial in found.trials:
        learn(tmp_path, trial, 50, 50)
    best = pick(found.trials, lr=0.01, penalty_weight=100.0)
    results = tmp_path / "more"
    for trial in found.trials:
        learn(results, trial, *((51, 51, 0) if trial == best else (50, 50, 90)))
    assert choose(found.trials, results, 2).trial == best


def test_equal_means_go_to_the_smaller_value_and_the_reason_says_so(found, tmp_path):
    for trial in found.trials:
        learn(tmp_path, trial, *((41.25, 41.25) if trial.settings["lr"] == 0.01 else (40, 41.5)))
    choice = choose(found.trials, tmp_path, 2)
    assert choice.trial == pick(found.trials, lr=0.01, penalty_weight=1.0)
    assert choice.reason == "tie of 2 trials at 41.25 %: the smaller penalty_weight, 1.0, is taken"


def test_every_setting_that_decides_a_tie_is_named(found, tmp_path):
    for trial in found.trials:
        learn(tmp_path, trial, 41, 42)
    choice = choose(found.trials, tmp_path, 2)
    assert choice.trial == pick(found.trials, lr=0.001, penalty_weight=1.0)
    assert choice.reason == (
        "tie of 4 trials at 41.50 %: the smaller lr, 0.001, then the smaller penalty_weight, 1.0, is taken"
    )


def test_a_setting_that_no_longer_decides_is_not_named(found, tmp_path):
    for trial in found.trials:
        tied = (trial.settings["lr"], trial.settings["penalty_weight"]) in ((0.001, 100), (0.01, 1))
        learn(tmp_path, trial, *[60 if tied else 50] * 2)
    choice = choose(found.trials, tmp_path, 2)
    assert choice.trial == pick(found.trials, lr=0.001, penalty_weight=100)
    assert choice.reason == "tie of 2 trials at 60.00 %: the smaller lr, 0.001, is taken"


def test_means_that_differ_by_rounding_alone_are_a_tie(found, tmp_path):
    # The same three numbers in another order have another sum in floating point.
    assert sum([0.1, 0.2, 0.3]) != sum([0.3, 0.2, 0.1])
    for trial in found.trials:
        order = [0.3, 0.2, 0.1] if trial.settings == found.trials[0].settings else [0.1, 0.2, 0.3]
        finish(tmp_path, trial, *(run(r, [1], accuracy_mean=sum(order)) for r in range(2)))
    choice = choose(found.trials, tmp_path, 2)
    assert choice.trial == found.trials[0]
    assert choice.reason.startswith("tie of 4 trials")


def test_one_image_of_difference_is_no_tie(found, tmp_path):
    # 45,000 test images, 20 tasks, 10 runs: 100 / 45,000 / 20 / 10.
    for trial in found.trials:
        learn(tmp_path, trial, *([50 + 1.1e-5] * 2 if trial == found.trials[-1] else [50] * 2))
    assert choose(found.trials, tmp_path, 2).trial == found.trials[-1]


def test_a_candidate_with_a_failed_run_is_not_chosen_and_listed_with_its_reason(found, tmp_path):
    for trial in found.trials[:3]:
        learn(tmp_path, trial, 30, 30)
    learn(tmp_path, found.trials[3], 99)
    fail(tmp_path, found.trials[3], {1: "Diverged: the loss became nan"})
    choice = choose(found.trials, tmp_path, 2)
    assert choice.trial == found.trials[0]
    assert choice.reason.endswith("is taken; 1 candidate failed")
    last = choice.ranking[-1]
    assert (last.trial, last.failed) == (found.trials[3], ("run 1: Diverged: the loss became nan",))


def test_where_all_failed_the_reasons_are_told(found, tmp_path):
    for trial in found.trials:
        learn(tmp_path, trial, 50)
        fail(tmp_path, trial, {1: "killed"})
    with pytest.raises(InputError) as caught:
        choose(found.trials, tmp_path, 2)
    assert str(caught.value) == (
        "digits/class_iid, ewc: all 4 candidates failed: lr=0.001, penalty_weight=1.0: run 1: killed; "
        "lr=0.001, penalty_weight=100.0: run 1: killed; lr=0.01, penalty_weight=1.0: run 1: killed; and 1 more"
    )


def test_missing_runs_of_all_groups_are_counted_and_the_command_is_told(tmp_path):
    found = grid(tmp_path, TEXT.replace('"class_iid"', '"class_iid", "iid"') + "[agents.finetune]\n")
    first, _ = (group for group in found.groups() if group[0].agent == "ewc")
    for trial in first[:3]:
        learn(tmp_path, trial, 50, 50)
    learn(tmp_path, first[3], 50)
    with pytest.raises(Unfinished, match="1 run missing"):
        choose(first, tmp_path, 2)
    with pytest.raises(InputError) as caught:
        choose_all(found, tmp_path)
    assert caught.value.problems == (
        f"the search is not finished: 9 runs missing: `lethe search {found.path}` goes on",
        "digits/iid, ewc: 1 run missing",
        "digits/class_iid, ewc: 8 runs missing",
    )


def test_a_group_of_one_is_chosen_without_records(tmp_path):
    (choice,) = choose_all(grid(tmp_path, TEXT.split("[agents")[0] + "[agents.finetune]"), tmp_path)
    assert choice.reason == "the only candidate"
    assert (choice.validation.mean, choice.validation.runs) == (None, 0)


def test_the_failures_of_an_only_candidate_are_told(tmp_path):
    only = grid(tmp_path, TEXT.split("[agents")[0] + "[agents.finetune]").trials
    learn(tmp_path, only[0], 50)
    fail(tmp_path, only[0], {1: "killed"})
    choice = choose(only, tmp_path, 2)
    assert choice.reason == "the only candidate; 1 of 2 runs failed"
    assert choice.validation.mean == 50
    fail(tmp_path / "all", only[0], {0: "killed", 1: "crashed"})
    with pytest.raises(InputError, match="finetune: the only candidate failed: defaults: run 0: killed"):
        choose(only, tmp_path / "all", 2)


def test_test_images_choose_nothing(found, tmp_path):
    trials = [for_test(trial) for trial in found.trials]
    for trial in trials:
        learn(tmp_path, trial, 50, 50)
    with pytest.raises(ValueError, match="validation"):
        choose(trials, tmp_path, 2)
    with pytest.raises(InputError, match="8 runs missing"):
        choose(found.trials, tmp_path, 2)


def test_a_damaged_summary_is_named(found, tmp_path):
    for trial in found.trials:
        finish(tmp_path, trial, *(run(r, [50], accuracy_mean=None) for r in range(2)))
    with pytest.raises(
        InputError,
        match=r"run0/summary\.json: damaged .metrics.accuracy_mean: expected .*, got None",
    ):
        choose(found.trials, tmp_path, 2)


GRIDS = {
    "several settings": TEXT,
    "top": TEXT.replace(
        "runs = 2", 'seed = 3\nnetwork = "resnet18"\ncut = "last_block"\nvariant = "corrected"'
    ),
    "networks that differ": TEXT.replace('["digits"]', '["digits", "core50"]'),
    "a cut in networks that differ": TEXT.replace('["digits"]', '["digits", "core50"]').replace(
        "runs = 2", 'cut = "last_block"'
    ),
    "cuts of the agents": TEXT.replace('["digits"]', '["core50"]') + "[agents.slda]\n[agents.finetune]\n",
    "texts": TEXT + '[agents.er]\nbuffer = "balanced"\n',
    "none": TEXT + '[agents."tests.gridsearch.test_selection:Limited"]\nlimit = "none"\n',
    "a name that is no bare key": TEXT + '[agents."lethe.agents.finetune:Finetune"]\nlr = 1e-05\n',
}


@pytest.mark.parametrize("text", GRIDS.values(), ids=GRIDS)
def test_the_winners_file_reads_back_to_the_winners(text, tmp_path):
    found = grid(tmp_path, text)
    for number, trial in enumerate(found.trials):
        learn(tmp_path, trial, *[20 + number % 7] * found.runs)
    choices = choose_all(found, tmp_path)
    path = tmp_path / "best.toml"
    path.write_text(best_toml(choices, found.shared), encoding="utf-8")
    assert read(path).trials == tuple(choice.trial for choice in choices)


def test_the_winners_file_says_why(found, tmp_path):
    for trial in found.trials:
        learn(tmp_path, trial, 40, 42)
    text = best_toml(choose_all(found, tmp_path), found.shared)
    assert (
        "# 41.00 ± 1.00 % on validation images, over tasks; runs: 2; candidates: 4; "
        "tie of 4 trials at 41.00 %: the smaller lr, 0.001, then the smaller penalty_weight, 1.0, is taken\n"
        '[[agents.ewc]]\ndatasets = ["digits"]\nparadigms = ["class_iid"]\nlr = 0.001\npenalty_weight = 1.0\n'
    ) in text
