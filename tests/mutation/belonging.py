"""Which test files belong to a module: those whose imports, and the imports of these, reach it.

Imports inside functions count, and so do modules that are named in a text ("lethe.gridsearch.command", as commands name
what they load) and packages that are run (`[sys.executable, "-m", "gridsearch", ...]`). Of these, the tests in the
file's own room and in those above it: `tests/gridsearch` belongs to `benchmarks` too, `tests/agents` does not.
"""

import ast
import itertools
import re
from pathlib import Path

_HEIGHT = {
    "common": 0,
    "agents": 1,
    "dataloaders": 1,
    "benchmarks": 2,
    "gridsearch": 3,
    "lethe": 4,
    "project": 5,
}
"""Of the rooms, in the direction of imports; `project` is a room of tests alone."""
_NAMED = re.compile(r"lethe(\.\w+)+")


def belonging_tests(root: Path) -> dict[str, set[str]]:
    """For every file of the product, the test files that belong to it; paths relative to `root`."""
    files = {_module(path): path for path in _files(root)}
    imports = {name: _imports(root / path) & files.keys() - {name} for name, path in files.items()}
    belonging: dict[str, set[str]] = {path: set() for path in files.values() if not path.startswith("tests/")}
    for name, path in files.items():
        if Path(path).name.startswith("test_"):
            for reached in _reached(name, imports):
                if _may_test(path, files[reached]):
                    belonging[files[reached]].add(path)
    return belonging


def _may_test(test: str, path: str) -> bool:
    room, package = test.split("/")[1], path.split("/")[0]
    return package in _HEIGHT and (room == package or _HEIGHT.get(room, -1) > _HEIGHT[package])


def _files(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix()
        for top in (*_HEIGHT, "tests")
        for path in (root / top).rglob("*.py")
    )


def _module(path: str) -> str:
    """The name by which others import the file: `lethe.agents.base`, `lethe.cli`, `tests.made_grid`."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.split(".")[0] in ("lethe", "tests") else f"lethe.{name}"


def _imports(path: Path) -> set[str]:
    """Every name that may be that of an imported module."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
            case ast.List(elts=[_, *_]):
                texts = [one.value if isinstance(one, ast.Constant) else None for one in node.elts]
                run = {name for flag, name in itertools.pairwise(texts) if flag == "-m"}
                found |= {f"lethe.{name}.__main__".replace("lethe.lethe.", "lethe.") for name in run}
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                found |= {named.group() for named in _NAMED.finditer(text)}
    return found


def _reached(name: str, imports: dict[str, set[str]]) -> set[str]:
    found, left = set(), [name]
    while left:
        if (one := left.pop()) not in found:
            found.add(one)
            left += imports[one]
    return found
