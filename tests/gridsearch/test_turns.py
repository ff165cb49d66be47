"""The order of a grid's runs, the limit of their number, and the agents that a dry run builds."""

import ast
import time
from dataclasses import replace

import pytest

from lethe.benchmarks.run import construction
from lethe.benchmarks.run.construction import refusals
from lethe.benchmarks.run.experiment import Places
from lethe.benchmarks.run.job import MOST_RUNS
from lethe.benchmarks.run.trial import Trial
from lethe.cli import main
from lethe.common.errors import InputError
from lethe.gridsearch.plan import plan
from tests.made_grid import finish, grid
from tests.made_records import run

TEXT = """
datasets = ["digits"]
paradigms = ["iid", "class_iid"]
[agents.er]
lr = [1e-3, 1e-2, 1e-1]
[agents.slda]
[agents.offline]
lr = [1e-3, 1e-2]
"""


def turns(todo):
    return [
        (job.trial.agent, job.trial.paradigm, job.trial.settings.get("lr"), job.number) for job in todo.left
    ]


def test_trials_take_turns_over_paradigms_and_agents_with_all_their_runs(tmp_path):
    found = turns(plan(grid(tmp_path, TEXT).trials, 2, Places(tmp_path), False))
    assert found[:12] == [
        (agent, paradigm, lr, number)
        for agent, paradigm, lr in (
            ("offline", "iid", 1e-3),
            ("offline", "class_iid", 1e-3),
            ("er", "iid", 1e-3),
            ("slda", "iid", None),
            ("er", "class_iid", 1e-3),
            ("slda", "class_iid", None),
        )
        for number in (0, 1)
    ]
    assert [lr for _, _, lr, _ in found[12:]] == [1e-2] * 8 + [1e-1] * 4


def test_a_search_that_goes_on_takes_turns_over_what_is_left(tmp_path):
    made = grid(tmp_path, TEXT)
    for trial in made.trials:
        if (trial.agent, trial.paradigm) == ("er", "iid") and trial.settings["lr"] < 0.1:
            finish(tmp_path, trial, run(0, [50]))
    found = turns(plan(made.trials, 1, Places(tmp_path), False))
    assert [turn for turn in found if turn[0] == "er"][:2] == [
        ("er", "iid", 0.1, 0),
        ("er", "class_iid", 1e-3, 0),
    ]


@pytest.mark.parametrize(
    "text",
    [
        'datasets = ["digits"]\nruns = 1000000000\n[agents.er]\n',
        'datasets = ["digits"]\n[agents.er]\n'
        + "".join(
            f"{key} = {list(range(1, 201))}\n" for key in ("memory_size", "batch_size", "epochs", "lr")
        ),
    ],
    ids=["runs", "points"],
)
def test_a_grid_of_too_many_runs_is_refused_before_it_is_expanded(tmp_path, text):
    start = time.process_time()
    with pytest.raises(InputError, match=f"made.toml: .* expected at most {MOST_RUNS:,} runs at a time"):
        grid(tmp_path, text)
    assert time.process_time() - start < 5


def test_too_many_runs_of_a_command_are_refused(tmp_path, capsys):
    path = grid(tmp_path, 'datasets = ["digits"]\n[agents.er]\n').path
    out = ["--out", str(tmp_path / "results")]
    assert main(["final", str(path), "--runs", "1000000000", "--gpus", "none", *out]) == 2
    assert main(["run", "digits/iid", "--agent", "er", "--runs", "1000000000", *out]) == 2
    assert capsys.readouterr().err.count("expected at most 100,000 runs") == 2


AGENT = """
from lethe.agents.finetune import Finetune

class Picky(Finetune):
    def __init__(self, problem, config, network, *, seed, device):
        with open({built!r}, "a") as file:
            file.write(f"{{problem.num_classes}} {{problem.input_shape}}\\n")
        if config.lr > 1:
            raise ValueError(f"lr {{config.lr}} is too high")
        if config.batch_size == 7:
            raise SystemExit(0)
"""


@pytest.fixture
def picky(tmp_path, monkeypatch):
    """The name of an agent whose constructor refuses an lr above 1, and the file of what it was built with."""
    name = f"picky_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(AGENT.format(built=str(tmp_path / "built")))
    monkeypatch.syspath_prepend(tmp_path)
    return f"{name}:Picky", tmp_path / "built"


def test_a_dry_run_builds_each_agent_once_and_tells_what_its_constructor_refuses(picky, tmp_path, capsys):
    name, built = picky
    text = f'datasets = ["digits"]\nruns = 3\n[agents."{name}"]\nlr = [0.1, 2, 3]\n'
    path = grid(tmp_path, text).path
    assert main(["search", str(path), "--dry-run", "--gpus", "none", "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert told.out.count("\nto do ") == 3 * 3 * 2
    assert built.read_text() == "10 (3, 32, 32)\n" * 3
    errors = told.err.strip().split("\n")
    assert [line.rpartition(": ")[2] for line in errors] == ["lr 2.0 is too high", "lr 3.0 is too high"]
    assert "digits/iid" in errors[0] and "ValueError" in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_one_trial_builds_its_agent_too(picky, tmp_path, capsys):
    arguments = ["run", "digits/iid", "--agent", picky[0], "--dry-run", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", "lr=2"]) == 2
    assert "lr 2.0 is too high" in capsys.readouterr().err
    assert main([*arguments, "--set", "batch_size=7"]) == 2
    assert "SystemExit: 0" in capsys.readouterr().err
    assert main(arguments) == 0


def test_the_agent_is_built_for_the_output_of_its_trunk(picky, tmp_path):
    name, built = picky
    trial = Trial.create("core50_mini", "iid", name, cut="last_block")
    assert refusals([trial]) == ({}, [])
    channels, height, width = ast.literal_eval(built.read_text().partition(" ")[2])
    assert channels > 3 and height == width < trial.image_size[0]


def test_agents_that_are_not_built_are_said(picky, monkeypatch):
    name, built = picky
    trials = [Trial.create("digits", "iid", name, {"lr": lr}) for lr in (0.1, 0.2)]
    unknown = [replace(trial, spec=replace(trial.spec, classes=())) for trial in trials]
    assert refusals(unknown) == (
        {},
        ["digits: no agent is built, because its classes are not known before its images are there"],
    )
    assert not built.exists()
    monkeypatch.setattr(construction, "MOST", 1)
    assert refusals(trials) == ({}, ["only the first 1 of 2 agents were built"])
