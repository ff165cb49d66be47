"""Imports run one way: agents, dataloaders <- benchmarks <- gridsearch; and heavy ones wait for their use."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "agents": {"agents", "errors", "command_line"},
    "dataloaders": {"dataloaders", "errors", "command_line"},
    "benchmarks": {"benchmarks", "agents", "dataloaders", "errors", "command_line"},
    "gridsearch": {"gridsearch", "benchmarks", "agents", "dataloaders", "errors", "command_line"},
}
OURS = {*MAY_IMPORT, "scripts", "tests", "errors", "command_line"}


def imported(source: str) -> list[tuple[int, str]]:
    """(line, top-level name) of every import statement, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides where it goes"
            found.append((node.lineno, node.module.split(".")[0]))
    return found


def wrong_way(package: str, source: str) -> list[tuple[int, str]]:
    return [(line, name) for line, name in imported(source) if name in OURS - MAY_IMPORT[package]]


@pytest.mark.parametrize("package", [name for name in MAY_IMPORT if (ROOT / name).exists()])
def test_a_package_imports_only_what_lies_below_it(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    problems = [f"{file.relative_to(ROOT)}:{line} imports {name}"
                for file in files for line, name in wrong_way(package, file.read_text())]  # fmt: skip
    assert not problems, "\n".join(problems)


def test_the_check_sees_an_import_that_runs_the_wrong_way():
    assert wrong_way("agents", "def f():\n    from dataloaders.specs import get\n") == [(2, "dataloaders")]
    assert wrong_way("benchmarks", "import gridsearch.engine\n") == [(1, "gridsearch")]
    assert wrong_way("benchmarks", "import agents.base, numpy\n") == []


@pytest.mark.parametrize("package", ["agents", "benchmarks", "dataloaders"])
def test_help_answers_without_loading_what_it_does_not_need(package):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['{package}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{package}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'torch', 'torchvision', 'pandas', 'matplotlib', 'avalanche', 'ray', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert time.perf_counter() - begun < 2
