"""The command `lethe` and the programs of the packages: help, version, and the folder in which they are given."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lethe import __version__
from lethe.cli import main

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "report", "pretrain", "search", "best", "final", "table", "agents", "check", "speed")
DATA_COMMANDS = ("prepare", "draw", "index", "tasks", "check", "show")
HELP = [[], ["data"], *([name] for name in COMMANDS), *(["data", name] for name in DATA_COMMANDS)]
PROGRAMS = ("lethe", "agents", "benchmarks", "dataloaders", "gridsearch")
HEAVY = ("torch", "torchvision", "pandas", "numpy", "matplotlib", "avalanche", "ray", "sklearn")


def run_here(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_every_command_has_help(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(" ".join(["usage: lethe", *arguments]))
    assert "python -m" not in printed


def test_the_list_of_commands_is_whole(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"    {name} " in printed for name in ("data", *COMMANDS))


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"lethe {__version__}\n"


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_answers_within_two_seconds_without_loading_what_it_does_not_need(program):
    code = (
        "import sys, runpy\n"
        "sys.argv = ['program', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{program}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        f"heavy = set({HEAVY}) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    begun = time.perf_counter()
    done = run_here(ROOT, "-c", code)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    "command", [["agents"], ["run", "digits/iid", "--agent", "er"], ["data", "draw", "digits"]]
)
def test_without_the_environment_one_sentence_says_to_activate_it(tmp_path, command):
    """Run by an interpreter that finds the checkout but no installed package."""
    blocker = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {HEAVY}: raise ModuleNotFoundError(f'No module named {{name}}', name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        f"sys.argv = ['lethe', *{command}]\n"
        "from lethe.cli import program\n"
        "sys.exit(program())\n"
    )
    done = run_here(tmp_path, "-c", blocker, PYTHONPATH=str(ROOT))
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "activate the environment" in done.stderr


def test_modules_of_the_folder_in_which_it_is_given_take_no_place_of_the_project(tmp_path):
    """A user's `errors.py` and `agents.py` must not be imported; an agent of the user's own must be found."""
    for name in ("errors", "agents", "common", "benchmarks", "statistics"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the wrong {name}')\n")
    (tmp_path / "mine.py").write_text(
        "from lethe.agents.finetune import Finetune\n\nclass Mine(Finetune):\n    pass\n"
    )
    code = "import sys; sys.path.remove(''); from lethe.cli import program; sys.exit(program())"
    trial = ["run", "digits/class_iid", "--agent", "mine:Mine", "--runs", "1"]
    done = run_here(tmp_path, "-c", code, *trial, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert sorted(
        path.name for path in tmp_path.iterdir() if path.is_dir() and path.name != "__pycache__"
    ) == [
        "data",
        "results",
    ]
