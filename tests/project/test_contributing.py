"""The agent of CONTRIBUTING.md really is one file and one line: put both into a copy of the project and run it."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_agent_is_one_file_and_one_registry_line(tmp_path):
    agent, line, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert agent.count("\n") <= 32
    for package in ("lethe", "common", "agents", "benchmarks", "dataloaders"):
        ignored = shutil.ignore_patterns("__pycache__", "*_task_filelists", "*.csv")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    (tmp_path / "agents" / "nearest_mean.py").write_text(agent)
    registry = tmp_path / "agents" / "registry.py"
    before = registry.read_text()
    registry.write_text(before.replace('        "offline":', line + '        "offline":'))
    assert registry.read_text().count("\n") == before.count("\n") + 1

    def benchmarks(*arguments):
        command = [sys.executable, "-m", "benchmarks", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    benchmarks("run", "digits/class_iid", "--agent", "nearest_mean", "--runs", "2", "--no-pretrained")
    benchmarks("report", "results", "--out", "report")
    with (tmp_path / "report" / "comparison.csv").open() as file:
        rows = {row["metric"]: row for row in csv.DictReader(file) if row["agent"] == "nearest_mean"}
    assert float(rows["accuracy_last"]["mean"]) > 60
    assert float(rows["memory_bytes"]["mean"]) == 10 * (3 * 32 * 32 + 1) * 4
    assert (tmp_path / "report" / "paradigms.png").stat().st_size > 10_000
