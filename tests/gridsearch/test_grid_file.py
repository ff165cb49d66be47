"""Grid files: their trials, and the messages on mistakes in them."""

import pytest

from lethe.common.errors import InputError
from lethe.gridsearch import grid

HEAD = 'datasets = ["digits"]\nparadigms = ["class_iid"]\n'


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> grid.Grid:
        path = tmp_path / "some.toml"
        path.write_text(text)
        return grid.read(path)

    return read


@pytest.fixture
def problems(read, tmp_path):
    """The problems of a grid file, without the name of its folder."""

    def problems(text: str) -> list[str]:
        with pytest.raises(InputError) as error:
            read(text)
        return [problem.removeprefix(f"{tmp_path}/") for problem in error.value.problems]

    return problems


def points(found: grid.Grid, *keys: str) -> list[tuple]:
    return [tuple(trial.settings[key] for key in keys) for trial in found.trials]


def test_every_value_meets_every_value_of_the_other_keys_sorted_by_size(read):
    found = read(HEAD + "[agents.ewc]\nlr = [1e-2, 1e-4]\npenalty_weight = [100, 5, 1]\n")
    assert points(found, "lr", "penalty_weight") == [
        (1e-4, 1), (1e-4, 5), (1e-4, 100), (1e-2, 1), (1e-2, 5), (1e-2, 100)
    ]  # fmt: skip
    assert grid.searched(found.trials) == ["lr", "penalty_weight"]


def test_blocks_of_one_agent_are_joined_and_a_point_named_twice_counts_once(read):
    found = read(
        HEAD + "[[agents.er]]\nlr = [0.1, 0.01]\n[[agents.er]]\nmemory_size = 50\n[[agents.er]]\nlr=0.10\n"
    )
    assert points(found, "lr", "memory_size") == [(1e-4, 50), (0.01, 1200), (0.1, 1200)]


def test_a_block_may_have_streams_of_its_own(read):
    found = read(
        HEAD + '[agents.finetune]\n[agents.er]\ndatasets = ["core50_mini"]\nparadigms = ["iid", "instance"]\n'
    )
    assert [grid.place_of(trial) for trial in found.trials] == [
        ("core50_mini", "iid", "er"),
        ("core50_mini", "instance", "er"),
        ("digits", "class_iid", "finetune"),
    ]


def test_without_paradigms_all_that_the_dataset_knows_are_meant(read):
    found = read('datasets = ["digits"]\n[agents.finetune]\n')
    assert [trial.paradigm for trial in found.trials] == ["iid", "class_iid"]


def test_what_all_trials_share_reaches_them_and_a_search_is_judged_on_validation_lists(read):
    found = read(HEAD + 'runs = 3\nseed = 7\npretrained = false\nnetwork = "small"\n[agents.finetune]\n')
    (trial,) = found.trials
    assert (found.runs, trial.seed, trial.pretrained, trial.network) == (3, 7, False, "small")
    assert trial.split == "validation"
    assert grid.for_test(trial).split == "test"
    assert grid.for_test(trial).settings == trial.settings


def test_groups_are_what_selection_chooses_among(read):
    found = read('datasets = ["digits"]\n[agents.er]\nlr = [0.1, 0.2]\n[agents.finetune]\n')
    assert [(grid.place_of(group[0])[1:], len(group)) for group in found.groups()] == [
        (("iid", "er"), 2), (("iid", "finetune"), 1), (("class_iid", "er"), 2), (("class_iid", "finetune"), 1)
    ]  # fmt: skip


def test_all_problems_are_told_at_once_each_with_its_line(problems):
    told = problems(
        'datasets = ["digits"]\n'  # 1
        'paradigms = ["class_iid"]\n'
        "runs = 0\n"  # 3
        "colour = 1\n"
        "[agents.finetun]\n"  # 5
        "lr = 1e-3\n"
        "[agents.er]\n"
        "lr = [-1, 0.1]\n"  # 8
        "\n"
        "memory_imgs = 4\n"  # 10
        "momentum = []\n"
        "[[agents.ewc]]\n"
        "lr = 0.1\n"
        "[[agents.ewc]]\n"
        'lr = ["0.1"]\n'  # 15
        "batch_size = [1.5]\n"
    )
    starts = [
        "some.toml:3: runs: expected a number from 1, got 0",
        "some.toml:4: unknown key 'colour'",
        "some.toml:5: unknown agent 'finetun': did you mean 'finetune'?",
        "some.toml:8: agent er: lr: expected more than 0, got -1",
        "some.toml:10: agent er: unknown hyperparameter 'memory_imgs': did you mean 'memory_size'?",
        "some.toml:11: momentum: expected at least one value, got an empty list",
        "some.toml:15: agent ewc: lr: expected float, got the text '0.1'",
        "some.toml:16: agent ewc: batch_size: expected int, got 1.5",
    ]
    assert len(told) == len(starts), told
    for problem, start in zip(told, starts, strict=True):
        assert problem.startswith(start)


def test_an_unknown_dataset_hides_no_unknown_paradigm(problems):
    found = problems('datasets = ["digit"]\nparadigms = ["class_idd"]\n[agents.er]\n')
    assert [problem.partition(": did")[0] for problem in found] == [
        "some.toml:1: unknown dataset 'digit'",
        "some.toml:2: unknown paradigm 'class_idd'",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = [\n", "some.toml: is not valid TOML: "),
        (HEAD, "some.toml: agents: expected a table for each agent"),
        ("agents = 3\n" + HEAD, "some.toml:1: agents: expected a table for each agent"),
        ('paradigms = ["iid"]\n[agents.er]\n', "some.toml: datasets is missing"),
        (
            "datasets = []\n[agents.er]\n",
            "some.toml:1: datasets: expected a list of names, at least one, got []",
        ),
        (
            'datasets = ["digits", 1]\n[agents.er]\n',
            "some.toml:1: datasets: expected a list of names, at least one, got ['digits', 1]",
        ),
        (
            'datasets = ["digit"]\n[agents.er]\n',
            "some.toml:1: unknown dataset 'digit': did you mean 'digits'?",
        ),
        (
            'datasets = ["digits"]\nparadigms = ["instance"]\n[agents.er]\n',
            "some.toml:2: unknown paradigm of digits 'instance'",
        ),
        (
            HEAD + '[agents.er]\nparadigms = ["instance"]\n',
            "some.toml:4: unknown paradigm of digits 'instance'",
        ),
        (
            HEAD + 'network = "smal"\n[agents.er]\n',
            "some.toml:3: unknown network 'smal': did you mean 'small'?",
        ),
        (
            HEAD + 'network = "small"\nfeature_dtype = "bfloat16"\ncut = "conv9"\n[agents.er]\n',
            "some.toml:5: unknown stage to cut small at 'conv9'",
        ),
        (
            HEAD + 'network = "small"\nfeature_dtype = "bfloat16"\n[agents.er]\n',
            "some.toml:4: feature_dtype bfloat16: nothing of the network is frozen",
        ),
        (HEAD + "pretrained = 1\n[agents.er]\n", "some.toml:3: pretrained: expected bool, got 1"),
        (HEAD + "[agents.er.lr]\nx = 1\n", "some.toml:3: agent er: lr: expected float, got {'x': 1}"),
        (HEAD + "[agents]\ner = 3\n", "some.toml:4: agents.er: expected a table, got 3"),
    ],
)
def test_a_mistake_is_told_with_its_line(problems, text, told):
    (problem,) = problems(text)
    assert problem.startswith(told)


def test_none_stands_for_no_value(read):
    found = read(HEAD + '[agents.er]\nepochs_first_task = ["none", 3]\n')
    assert points(found, "epochs_first_task") == [(None,), (3,)]


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot be read: No such file"):
        grid.read(tmp_path / "nowhere.toml")
