"""The package as pip installs it: one name, whole, and unmoved by what lies in the user's folder."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
IMPORTS = """
import sys
import lethe, lethe.agents.base, lethe.gridsearch.grid
from lethe.gridsearch.engines.ray_package import package_copy
with package_copy() as folder:
    copies = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
print(*lethe.__path__)
print(*{module.__file__ for name, module in sys.modules.items() if name.startswith("lethe.")}, sep="\\n", end="\\n\\n")
print(*copies, sep="\\n")
"""


def test_every_folder_with_modules_is_listed_as_a_package():
    folders = {SETUPTOOLS["package-dir"][name]: name for name in SETUPTOOLS["package-dir"]}
    found = {"lethe.results"}  # without modules: only published.csv
    for folder, name in folders.items():
        for path in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join((name, *path.parent.relative_to(ROOT / folder).parts)))
    assert set(SETUPTOOLS["packages"]) == found
    assert len(SETUPTOOLS["packages"]) == len(found)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which a wheel of the files that git knows is installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("no git repository")
    source, wheels, installed = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "installed"))
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--wheel-dir", wheels, source)
    (wheel,) = wheels.glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", installed, wheel)
    return installed


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_puts_one_name_with_its_data_files_into_site_packages(installed):
    names = {path.name for path in installed.iterdir()}
    (info,) = {name for name in names if name.endswith(".dist-info")}
    assert names - {"bin"} == {"lethe", info}
    files = {str(path.relative_to(installed / "lethe")) for path in installed.glob("lethe/**/*")}
    assert {"py.typed", "results/published.csv", "dataloaders/datasets/core50_dirmap_sampled.csv"} <= files
    weights = (ROOT / "agents" / "networks" / "weights").iterdir()
    assert {f"agents/networks/weights/{path.name}" for path in weights} <= files
    assert not [name for name in files if name.startswith(("tests", "docs", "data/", "scripts"))]


@pytest.mark.slow
def test_it_is_imported_beside_a_users_files_of_the_same_names_and_ships_itself(installed, tmp_path):
    for name in ("errors", "agents", "common", "gridsearch"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the user')\n")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules, copies = (part.split("\n") for part in done.stdout.strip().split("\n\n"))
    assert modules[0] == str(installed / "lethe"), (
        "the installed package is the only place to look for modules"
    )
    assert all(module.startswith(f"{installed}/lethe/") for module in modules[1:]), modules
    sources = {path.relative_to(installed) for path in installed.glob("lethe/**/*.py")}
    assert {str(path) for path in sources} == {name for name in copies if name.endswith(".py")}
