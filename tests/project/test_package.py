"""The package as pip installs it: one name, with every module and data file, unmoved by the user's own files."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
SENT = """
import sys
from lethe.gridsearch.engines.ray_package import package_copy
with package_copy() as folder:
    copies = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py"))
print(*(module.__file__ for name, module in sys.modules.items() if name.startswith("lethe.")), sep="\\n")
print("sent", *copies, sep="\\n")
"""


def folder_of(package: str) -> Path:
    parent = max((name for name in SETUPTOOLS["package-dir"] if package.startswith(name)), key=len)
    inner = package.removeprefix(parent).strip(".").replace(".", "/")
    return ROOT / SETUPTOOLS["package-dir"][parent] / inner


def test_every_folder_with_modules_is_listed_as_a_package_once():
    there = {
        ".".join([name, *file.parent.relative_to(ROOT / folder).parts])
        for name, folder in SETUPTOOLS["package-dir"].items()
        for file in (ROOT / folder).rglob("__init__.py")
        if name != "lethe.results"
    }
    assert len(there) > 20
    assert sorted(SETUPTOOLS["packages"]) == sorted(there | {"lethe.results"})


def test_data_files_are_named():
    for package, patterns in SETUPTOOLS["package-data"].items():
        assert all(list(folder_of(package).glob(pattern)) for pattern in patterns), package


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which a wheel is installed, made of a copy: pip leaves its `build/` where it builds."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("no git repository")
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, source]
    subprocess.run(install, env=ENVIRONMENT, check=True)
    return target


@pytest.fixture
def here(tmp_path):
    """A user's folder, with files of the packages' names that must not be imported."""
    for name in ("errors", "agents", "common", "gridsearch"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the wrong {name}')\n")
    return tmp_path


def run_installed(installed: Path, here: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=here,
        env=ENVIRONMENT | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_puts_one_name_with_its_data_files_into_site_packages(installed):
    assert {path.name.partition("-")[0] for path in installed.iterdir()} - {"bin"} == {"lethe"}
    for package, patterns in SETUPTOOLS["package-data"].items():
        for path in (path for pattern in patterns for path in folder_of(package).glob(pattern)):
            inner = path.relative_to(folder_of(package))
            assert (installed / package.replace(".", "/") / inner).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_wheel_works_beside_modules_of_the_same_names(installed, here):
    run_installed(installed, here, "-m", "lethe", "run", "digits/class_iid", "--agent", "er", "--runs", "1")
    assert list(here.glob("results/digits/class_iid/er/*/run0/summary.json"))


@pytest.mark.slow
def test_ray_is_sent_the_installed_package(installed, here):
    modules, sent = run_installed(installed, here, "-c", SENT).split("\nsent\n")
    assert all(module.startswith(f"{installed}/lethe/") for module in modules.split("\n")), modules
    assert sent.split() == sorted(
        str(path.relative_to(installed)) for path in installed.glob("lethe/**/*.py")
    )
