"""Imports run one way: agents, dataloaders <- benchmarks <- gridsearch <- lethe."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMON = {"common"}
MAY_IMPORT = {
    "common": COMMON,
    "agents": {"agents", *COMMON},
    "dataloaders": {"dataloaders", *COMMON},
    "benchmarks": {"benchmarks", "agents", "dataloaders", *COMMON},
    "gridsearch": {"gridsearch", "benchmarks", "agents", "dataloaders", *COMMON},
    "lethe": {"gridsearch", "benchmarks", "agents", "dataloaders", "lethe", *COMMON},
}
"""Packages of `lethe` that the modules of each may import."""
OURS = {*MAY_IMPORT, "scripts", "tests", "results"}


def imported(source: str) -> list[tuple[int, str]]:
    """(line, package) of every import statement, those inside functions included; of `lethe`, the package in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides where it goes"
            inner = [f"lethe.{alias.name}" for alias in node.names]
            names = inner if node.module == "lethe" else [node.module]
        for name in names:
            top, *rest = name.split(".")
            if name != "lethe":  # the package itself, which knows its version and folder
                found.append((node.lineno, rest[0] if top == "lethe" else top))
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
    assert wrong_way("agents", "def f():\n    from lethe.dataloaders.index.find import get\n") == [
        (2, "dataloaders")
    ]
    assert wrong_way("benchmarks", "import lethe.gridsearch.engine\n") == [(1, "gridsearch")]
    assert wrong_way("agents", "from lethe import benchmarks\n") == [(1, "benchmarks")]
    assert wrong_way("common", "from lethe.agents.base import Agent\n") == [(1, "agents")]
    assert wrong_way("agents", "import benchmarks.run\n") == [(1, "benchmarks")]
    assert wrong_way("benchmarks", "import lethe.agents.base, numpy\n") == []
