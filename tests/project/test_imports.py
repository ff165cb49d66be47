"""Imports run one way: agents, dataloaders <- benchmarks <- gridsearch <- lethe."""

import ast
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
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


def modules() -> dict[str, Path]:
    """File of each module, by its name without `lethe.`."""
    files = (file for package in MAY_IMPORT for file in (ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}


def edges(known: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules that each imports when it is loaded; imports inside functions wait."""
    found: dict[str, set[str]] = {}
    for name, source in known.items():
        targets = []
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import):
                targets += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found[name] = {target.removeprefix("lethe.") for target in targets} & known.keys() - {name}
    return found


def rooms(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same between rooms, the folders inside packages; files beside the rooms of a package are in none."""
    room = {name: name.rpartition(".")[0] for name in graph if name.count(".") > 1}
    return {
        there: {
            room[to] for name, tos in graph.items() if room.get(name) == there for to in tos if to in room
        }
        - {there}
        for there in room.values()
    }


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_neither_modules_nor_rooms_import_in_a_circle():
    graph = edges({name: file.read_text() for name, file in modules().items()})
    assert len(graph) > 150 and len(rooms(graph)) > 15
    assert not circle(graph)
    assert not circle(rooms(graph))


def test_a_circle_of_modules_and_one_of_rooms_are_found():
    sources = {"a.x.one": "from lethe.a.y import two", "a.y.two": "", "a.y.three": "import lethe.a.x.one"}
    assert not circle(edges(sources))
    assert circle(rooms(edges(sources)))
    assert circle(edges(sources | {"a.y.two": "from lethe.a.x.one import name"}))
