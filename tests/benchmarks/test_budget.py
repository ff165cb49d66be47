"""A budget in bytes: the memory setting that it allows, which the record confirms; and who is refused."""

from dataclasses import replace

import pytest

from lethe.benchmarks.__main__ import main
from lethe.benchmarks.run import budget
from lethe.benchmarks.run.experiment import Machine, Places, run
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError
from lethe.gridsearch import grid

BUDGET = 2_300_000
SETTINGS = {
    "finetune": {},
    "er": {"batch_size": 50},
    "icarl": {"batch_size": 50},
    "derpp": {"batch_size": 50, "optimizer": "adam"},
    "slda": {"batch_size": 50},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("budget")
    return Places(root / "results", root / "data", root / "lists")


def made(agent, places, **settings):
    return Trial.create("digits", "class_iid", agent, settings, data=places.data)


@pytest.mark.parametrize("agent", SETTINGS)
def test_what_is_kept_is_what_was_said_and_one_more_would_not_fit(agent, places):
    trial, kept = budget.within(made(agent, places, **SETTINGS[agent]), BUDGET, places)
    metrics = run(trial, 0, places, Machine())["metrics"]
    assert metrics["total_bytes"] == kept.total <= BUDGET
    assert metrics["network_bytes"] == kept.network and metrics["optimizer_bytes"] == kept.optimizer
    assert metrics["memory_bytes"] == kept.memory
    if "memory_size" in trial.settings:
        more = replace(trial, settings={**trial.settings, "memory_size": trial.settings["memory_size"] + 1})
        one_more = run(more, 0, replace(places, results=places.results / "more"), Machine())["metrics"]
        assert one_more["total_bytes"] > BUDGET


def test_memory_that_the_stream_cannot_fill_is_not_asked_for(places):
    trial, kept = budget.within(made("er", places), 10**9, places)
    assert trial.settings["memory_size"] == 1442 and kept.total < 7 * 10**6


def test_an_offline_learners_data_count(places):
    _, kept = budget.within(made("offline", places), 10**9, places)
    assert kept.data == 1442 * (32 * 32 * 3 + 8)


def test_those_that_cannot_are_told_the_least(places):
    # Network and momentum are 1,309,032 bytes; an image with its label 3,080; a flag per class 10.
    for agent, problem in {
        "er": "expected a budget of at least 1,312,122 bytes (network 654,528, optimiser 654,504, memory 3,090) "
              "at memory_size=1, the least, got 1,000,000 bytes",
        "gem": "at least 1,339,842 bytes (network 654,528, optimiser 654,504, memory 30,810) at memory_size=10, ",
        "finetune": "at least 1,309,042 bytes (network 654,528, optimiser 654,504, memory 10) whatever the memory, ",
        "avalanche:Naive": "no formula says what it will keep",
    }.items():  # fmt: skip
        with pytest.raises(InputError) as error:
            budget.within(made(agent, places), 1_000_000, places)
        assert str(error.value).startswith(f"agent {agent}, digits/class_iid: ") and problem in str(
            error.value
        )


def test_the_memory_is_set_by_the_user_or_by_the_budget(places):
    with pytest.raises(
        InputError, match="agent er: memory_size is what the budget sets: leave out one of both"
    ):
        budget.within(made("er", places), BUDGET, places, given=["lr", "memory_size"])


@pytest.mark.parametrize(
    ("text", "size"),
    [("10MB", 10**7), (" 1.5 GB ", 1_500_000_000), ("64 KiB", 65536), ("12 kB", 12_000), ("7B", 7)],
)
def test_sizes(text, size):
    assert budget.parse(text) == size


@pytest.mark.parametrize(
    "text", ["", "10", "MB", "-1 MB", "1e9 B", "10 mb", "9" * 5000 + "B", "1.2.3 MB", "∞ MB"]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(
        InputError, match="budget: expected a size in B, kB, MB, GB, KiB, MiB, GiB, such as 10MB"
    ):
        budget.parse(text)


def test_the_command_sets_it_and_tells_all_who_cannot(places, capsys):
    def go(*options):
        where = ["--data", str(places.data), "--lists", str(places.lists), "--out", str(places.results / "c")]
        return main(["run", "digits/class_iid", *where, "--dry-run", *options])

    assert go("--agent", "er", "slda", "--budget", "2.3MB") == 0
    told = capsys.readouterr().out
    assert "digits/class_iid er: memory_size=321: will keep 2,297,722 bytes (" in told
    assert "digits/class_iid slda: default: will keep 795,920 bytes (" in told
    assert "er digits/class_iid run 0" in told and "/er/memory_size=321-" in told
    assert go("--agent", "er", "gem", "slda", "--budget", "1MB") == 2
    problems = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in problems] == ["error: agent er", "error: agent gem"]
    assert go("--agent", "er", "--budget", "1MB", "--set", "memory_size=3") == 2
    assert "leave out one of both" in capsys.readouterr().err


def test_a_grid_file_names_it(places, tmp_path):
    path = tmp_path / "g.toml"
    head = 'datasets = ["digits"]\nparadigms = ["class_iid"]\n'
    path.write_text(f'{head}budget = "2.3 MB"\n[agents.er]\nmomentum = [0.0, 0.9]\n[agents.slda]\n')
    found = grid.read(path, places.data, places.lists)
    sizes = {trial.settings["momentum"]: trial.settings["memory_size"] for trial in found.trials[:2]}
    assert sizes == {0.0: 534, 0.9: 321}, "momentum takes as much as the network"
    assert "budget" not in found.shared, "what the winners repeat is the memory setting"
    assert {trial.split for trial in found.trials} == {"validation"}
    path.write_text(f'{head}budget = "1 MB"\n[agents.er]\nlr = [1.0, 2.0]\n[[agents.gem]]\nmemory_size = 5\n')
    with pytest.raises(InputError) as error:
        grid.read(path, places.data, places.lists)
    lines = error.value.problems
    assert lines[0].startswith(
        f"{path}:4: agent er, digits/class_iid: expected a budget of at least 1,312,122"
    )
    assert lines[1] == f"{path}:6: agent gem: memory_size is what the budget sets: leave out one of both"
    path.write_text(f"{head}budget = 10\n[agents.er]\n")
    with pytest.raises(InputError, match=r":3: budget: expected a size in .*, got '10'"):
        grid.read(path, places.data, places.lists)
