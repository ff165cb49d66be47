"""The commit of a result: this project's own, never that of a repository that merely holds the installed code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lethe
from lethe.benchmarks.records import provenance

ROOT = Path(__file__).parents[2]


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost"]
    done = subprocess.run(
        ["git", "-C", folder, *name, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit, and the code in a folder of it that git does not know."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "paper.txt").write_text("a user's own project")
    git(tmp_path, "add", "paper.txt")
    git(tmp_path, "commit", "--quiet", "-m", "begin")
    return tmp_path


def installed(folder: Path) -> Path:
    """The modules that `provenance` needs, laid out in `folder` as a wheel lays them out; returns the package."""
    package = folder / "lethe"
    (package / "benchmarks" / "records").mkdir(parents=True)
    (package / "agents").mkdir()  # by which an installation is told from a checkout
    (package / "common").mkdir()
    rooms = ("", "benchmarks/", "benchmarks/records/", "common/")
    for name in (*(f"{room}__init__.py" for room in rooms), "common/errors.py", "common/processor.py"):
        source = ROOT / ("lethe" if name == "__init__.py" else "") / name
        shutil.copy(source, package / name)
    shutil.copy(provenance.__file__, package / "benchmarks" / "records")
    return package


def test_an_installation_inside_another_repository_tells_its_version_and_no_commit(repository):
    site = repository / ".venv" / "site-packages"
    installed(site)
    script = "from lethe.benchmarks.records import provenance as p; print(p.__file__, p.code())"
    variables = {name: value for name, value in os.environ.items() if name != provenance.CODE}
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables | {"PYTHONPATH": str(site)}, cwd=repository,
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    path, told = done.stdout.split(maxsplit=1)
    assert Path(path).is_relative_to(site)
    assert told.strip() == str({"version": lethe.__version__, "commit": None, "dirty": None})


def test_a_checkout_tells_its_commit_and_whether_its_files_differ(repository):
    (repository / "pyproject.toml").touch()
    assert provenance.checkout(repository) == {"commit": None, "dirty": None}, "pyproject.toml is not tracked"
    git(repository, "add", "pyproject.toml")
    git(repository, "commit", "--quiet", "-m", "a project")
    commit = git(repository, "rev-parse", "HEAD")
    assert provenance.checkout(repository) == {"commit": commit, "dirty": False}
    (repository / "paper.txt").write_text("changed")
    assert provenance.checkout(repository) == {"commit": commit, "dirty": True}


def test_without_a_repository_or_without_git_there_is_no_commit(tmp_path, repository, monkeypatch):
    unknown = {"commit": None, "dirty": None}
    (repository / "copy").mkdir()
    (repository / "copy" / "pyproject.toml").touch()
    assert provenance.checkout(repository / "copy") == unknown
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.checkout(ROOT) == unknown


def test_this_checkout_tells_its_own_commit(monkeypatch):
    monkeypatch.delenv(provenance.CODE, raising=False)
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    assert provenance.code()["commit"] == git(ROOT, "rev-parse", "HEAD")
    assert provenance.code()["version"] == lethe.__version__


def test_a_copy_of_the_code_tells_what_its_sender_said(monkeypatch):
    monkeypatch.setenv(provenance.CODE, '{"version": "9", "commit": "abc", "dirty": true}')
    assert provenance.code() == {"version": "9", "commit": "abc", "dirty": True}
