"""Where `lethe best` and `table` write, with one grid and with several."""

import subprocess
import sys
from pathlib import Path

import pytest

from lethe.gridsearch.__main__ import main
from tests.made_grid import finish, grid
from tests.made_records import run

ROOT = Path(__file__).parents[2]
TEXT = """
datasets = ["toybox"]
paradigms = ["class_iid"]
[agents.{agent}]
lr = [1e-3, 1e-4]
"""


@pytest.fixture
def made(tmp_path):
    """Makes the file NAME of a grid of one agent whose search is finished."""

    def make(name: str, agent: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        found = grid(path.parent, TEXT.format(agent=agent))
        found.path.rename(path)
        for trial in found.trials:
            finish(tmp_path / "out", trial, run(0, [40.0]))
        return path

    return make


def test_each_of_several_grids_has_its_own_folder(made, tmp_path, capsys):
    paths = [str(made("one.toml", "finetune")), str(made("two.toml", "ewc"))]
    out, into = str(tmp_path / "out"), tmp_path / "report"
    assert main(["table", *paths, "--out", out, "--into", str(into)]) == 0
    assert sorted(path.name for path in into.iterdir()) == ["one", "two"]
    assert "finetune" in (into / "one" / "search.csv").read_text()
    assert "ewc" in (into / "two" / "search.csv").read_text()
    assert main(["table", paths[0], "--out", out, "--into", str(into / "alone")]) == 0
    assert "finetune" in (into / "alone" / "search.csv").read_text()


@pytest.mark.parametrize("command", ["best", "table"])
def test_grids_of_one_name_are_refused_before_one_replaces_the_other(made, tmp_path, capsys, command):
    paths = [str(made("a/x.toml", "finetune")), str(made("b/x.toml", "ewc")), str(made("y.toml", "er"))]
    options = ["--out", str(tmp_path / "out"), "--into", str(tmp_path / "into")]
    assert main([command, *paths, *options]) == 2
    told = capsys.readouterr().err
    assert f"error: {paths[0]}, {paths[1]}: expected grids of different names" in told
    assert "y.toml" not in told
    assert not (tmp_path / "into").exists()


def test_the_winners_do_not_take_the_place_of_their_grid(made, tmp_path, capsys):
    path = made("x.toml", "finetune")
    before = path.read_text()
    assert main(["best", str(path), "--out", str(tmp_path / "out"), "--into", str(tmp_path)]) == 2
    assert "give another --into" in capsys.readouterr().err
    assert path.read_text() == before


@pytest.mark.parametrize(("command", "written"), [("best", "two.toml"), ("table", "two/tables.md")])
def test_what_is_written_is_written_whether_or_not_its_print_is_read(made, tmp_path, command, written):
    paths = [made("one.toml", "finetune"), made("two.toml", "ewc")]
    options = ["--out", tmp_path / "out", "--into", tmp_path / "into"]
    started = subprocess.Popen(
        [sys.executable, "-u", "-m", "gridsearch", command, *paths, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.stdout.close()
    with started:
        assert started.wait() == 0
        assert "Traceback" not in started.stderr.read()
    assert (tmp_path / "into" / written).exists()
