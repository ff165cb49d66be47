"""The agent of CONTRIBUTING.md is one file and one line: both are put into a copy of the project, which then has it."""

import csv
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("lethe", "common", "agents", "benchmarks", "dataloaders", "gridsearch")


@dataclass(frozen=True)
class Copy:
    """A copy of the project with one agent more."""

    folder: Path

    def run(self, *arguments: str) -> str:
        """Standard output of `python -m ARGUMENTS` in the copy, which has to succeed."""
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str) -> str:
        """Standard output of `code`, run in the copy."""
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def changed(self) -> list[str]:
        """The files that differ from the project's, `+` before those that it does not have."""
        found = []
        for path in (path for package in PACKAGES for path in (self.folder / package).rglob("*.py")):
            name = path.relative_to(self.folder)
            if not (ROOT / name).exists():
                found.append(f"+{name}")
            elif (ROOT / name).read_bytes() != path.read_bytes():
                found.append(str(name))
        return sorted(found)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    folder = tmp_path_factory.mktemp("project")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*_task_filelists", "*.csv")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "agents.md", folder / "docs")
    agent, line, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert agent.count("\n") <= 32
    (folder / "agents" / "nearest_mean.py").write_text(agent)
    registry = folder / "agents" / "registry.py"
    before = registry.read_text()
    registry.write_text(before.replace('        "offline":', line + '        "offline":'))
    assert registry.read_text().count("\n") == before.count("\n") + 1
    return Copy(folder)


def test_one_file_is_new_and_one_has_a_line_more(copy):
    assert copy.changed() == ["+agents/nearest_mean.py", "agents/registry.py"]


def test_it_runs_and_is_in_tables_and_plots(copy):
    copy.run(
        "benchmarks", "run", "digits/class_iid", "--agent", "nearest_mean", "--runs", "2", "--no-pretrained"
    )
    told = copy.run("benchmarks", "report", "results", "--out", "report")
    assert "nearest_mean" in told
    with (copy.folder / "report" / "comparison.csv").open() as file:
        rows = {row["metric"]: row for row in csv.DictReader(file) if row["agent"] == "nearest_mean"}
    assert float(rows["accuracy_last"]["mean"]) > 60
    assert float(rows["memory_bytes"]["mean"]) == 10 * (3 * 32 * 32 + 1) * 4
    assert (copy.folder / "report" / "paradigms.png").stat().st_size > 10_000


def test_it_is_listed_and_checked(copy):
    assert re.search(r"^nearest_mean: Nearest class mean", copy.run("agents"), re.MULTILINE)
    assert "FAIL" not in copy.run("agents", "check", "nearest_mean")


def test_it_has_a_derived_card_a_row_of_the_documentation_and_the_last_place(copy):
    code = "from lethe.agents import registry; c = registry.card('nearest_mean'); print(c.title, c.family, c.memory)"
    assert copy.python(code) == "NearestMean other None"
    copy.run("benchmarks.report.agents_page")
    page = (copy.folder / "docs" / "agents.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(#\w+\) \|.*$", page, re.MULTILINE)
    assert rows[-1] == "nearest_mean" and len(rows) > 10
    assert "| [nearest_mean](#nearest_mean) | NearestMean | other | - | - | - | - | - |" in page


def test_the_copy_is_what_is_run(copy):
    """Else these tests would run the project itself, in which there is no such agent."""
    assert copy.python("import lethe.agents.registry as r; print(r.__file__)").startswith(str(copy.folder))
