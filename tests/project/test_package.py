"""What `pip install .` installs: every package of the checkout, their data files, one name."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_folder_with_modules_is_a_package_of_the_installation():
    there = {
        ".".join([name, *file.parent.relative_to(ROOT / folder).parts])
        for name, folder in SETUPTOOLS["package-dir"].items()
        for file in (ROOT / folder).rglob("__init__.py")
        if name != "lethe.results"
    }
    assert len(there) > 20
    assert {*SETUPTOOLS["packages"]} == there | {"lethe.results"}


def test_data_files_are_named():
    for package, patterns in SETUPTOOLS["package-data"].items():
        parent = max((name for name in SETUPTOOLS["package-dir"] if package.startswith(name)), key=len)
        folder = (
            ROOT
            / SETUPTOOLS["package-dir"][parent]
            / package.removeprefix(parent).strip(".").replace(".", "/")
        )
        assert all(list(folder.glob(pattern)) for pattern in patterns), package


@pytest.mark.slow
def test_a_wheel_works_beside_modules_of_the_same_names(tmp_path):
    """Built and installed by pip; run in a folder with an `errors.py` and an `agents.py` that must not be imported."""
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, ROOT]
    subprocess.run(install, check=True)
    names = {path.name.partition("-")[0] for path in target.iterdir()} - {"bin"}
    assert names == {"lethe"}
    assert (target / "lethe" / "results" / "published.csv").is_file()
    here = tmp_path / "here"
    here.mkdir()
    for name in ("errors", "agents"):
        (here / f"{name}.py").write_text(f"raise SystemExit('the wrong {name}')\n")
    command = [sys.executable, "-m", "lethe", "run", "digits/class_iid", "--agent", "er", "--runs", "1"]
    done = subprocess.run(
        command,
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
