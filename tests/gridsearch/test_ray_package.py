"""The copy of the package that Ray sends to its nodes is whole, and nothing else is sent."""

import subprocess
import sys
from pathlib import Path

import pytest

from lethe.gridsearch.engines.ray_package import PACKAGES, package_copy

ROOT = Path(__file__).parents[2]
IMPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
import lethe
from lethe.agents import registry
from lethe.agents.networks import build
from lethe.dataloaders.index import catalogue
from lethe.gridsearch.engines import ray_actor
print(*lethe.__path__)
for name, module in sys.modules.items():
    if name.startswith("lethe."):
        print(module.__file__)
"""


@pytest.fixture(scope="module")
def copy():
    with package_copy() as folder:
        yield folder
    assert not folder.exists()


def test_a_process_that_has_only_the_copy_imports_what_a_run_needs_from_it(copy, tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", IMPORTS, copy],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"{copy}/lethe", "no second place to look for packages"
    # An installation in editable mode would quietly serve what the copy lacks.
    assert len(lines) > len(PACKAGES)
    assert all(line.startswith(f"{copy}/lethe/") for line in lines[1:]), lines


def test_it_has_every_module_and_data_file_of_the_package_and_nothing_else(copy):
    sources = {
        path for name in PACKAGES for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts
    }
    expected = {f"lethe/{path.relative_to(ROOT)}" for path in sources if path.is_file()}
    expected |= {"lethe/__init__.py", "lethe/py.typed"}
    files = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    assert expected <= files
    assert any(name.startswith("lethe/agents/networks/weights/") for name in files)
    assert any(name.endswith("_dirmap_sampled.csv") for name in files)
    assert {path.name for path in copy.iterdir()} == {"lethe"}
    assert {path.name for path in (copy / "lethe").iterdir() if path.is_dir()} == set(PACKAGES)
    assert not [name for name in files if "__pycache__" in name or "/." in name]
