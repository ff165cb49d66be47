"""`scripts/setup.sh` with a Python that only notes what it is asked: what is installed when, and after what mishaps."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands for the system's Python, and, copied into .venv/bin, for that of the environment.
PYTHON = """#!/bin/sh
case "$*" in
-c*) exit 0 ;;
"-m venv --clear .venv") rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; touch .venv/pip ;;
"-m pip --version") [ -f .venv/pip ] ;;
"-m pip install"*) for last; do :; done; [ ! -f offline ] && echo "$last" >>installed ;;
*) exit 9 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder with a blank in its path that has the script and small requirements files."""
    root = tmp_path / "a checkout"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", root / "scripts")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "requirements.txt").write_text("torch==1  # learning\n")
    (root / "requirements-ray.txt").write_text("# A comment.\n-r requirements.txt\nray==1\n")
    (root / "requirements-dev.txt").write_text("-r requirements.txt\n-r requirements-ray.txt\npytest==1\n")
    (root / "bin").mkdir()
    (root / "bin" / "python3").write_text(PYTHON)
    (root / "bin" / "python3").chmod(0o755)
    return root


def install(root, name, cwd=None, **environment):
    """Run the script as the others do, and return what it installed."""
    log = root / "installed"
    log.unlink(missing_ok=True)
    path = f"{root / 'bin'}:/usr/bin:/bin"
    command = f'set -euo pipefail; . "{root}/scripts/setup.sh" {name}; "$PYTHON" -m pip --version'
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd or root,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, log.read_text().split() if log.exists() else [], done.stderr


def test_it_installs_once_and_again_when_any_file_that_counts_changes(checkout):
    assert install(checkout, "requirements-dev.txt")[:2] == (0, ["requirements-dev.txt", "."])
    assert install(checkout, "requirements-dev.txt") == (0, [], "")
    assert install(checkout, "requirements.txt") == (0, [], ""), "the larger file includes it"
    (checkout / "requirements-ray.txt").write_text("-r requirements.txt\nray==2\n")
    assert install(checkout, "requirements.txt") == (0, [], "")
    assert install(checkout, "requirements-dev.txt")[:2] == (0, ["requirements-dev.txt", "."])


def test_a_changed_package_is_installed_again(checkout):
    install(checkout, "requirements.txt")
    (checkout / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert install(checkout, "requirements.txt")[:2] == (0, ["requirements.txt", "."])


def test_an_installation_forgets_what_it_may_have_replaced(checkout):
    install(checkout, "requirements-dev.txt")
    before = (checkout / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text("torch==0  # an older commit\n")
    assert install(checkout, "requirements.txt")[1] == ["requirements.txt", "."]
    (checkout / "requirements.txt").write_text(before)
    assert install(checkout, "requirements-dev.txt")[1] == ["requirements-dev.txt", "."]


@pytest.mark.parametrize("mishap", ["without pip", "dangling", "failed"])
def test_a_broken_environment_is_made_again(checkout, mishap):
    venv = checkout / ".venv"
    if mishap == "failed":
        (checkout / "offline").touch()
        assert install(checkout, "requirements.txt")[:2] == (1, [])
        (checkout / "offline").unlink()
    else:
        install(checkout, "requirements.txt")
    if mishap == "without pip":
        (venv / "pip").unlink()
        (venv / ".installed-requirements.txt").unlink()
    elif mishap == "dangling":
        (venv / "bin" / "python").unlink()
        (venv / "bin" / "python").symlink_to("/nowhere/python3")
    assert install(checkout, "requirements.txt")[:2] == (0, ["requirements.txt", "."])


def test_it_stays_in_its_own_checkout(checkout, tmp_path):
    (tmp_path / "elsewhere" / "scripts").mkdir(parents=True)
    other = tmp_path / "elsewhere"
    assert install(checkout, "requirements.txt", cwd=other, CDPATH=str(other))[0] == 0
    assert (checkout / ".venv").exists() and not (other / ".venv").exists()


def test_without_a_python_it_says_what_it_needs(checkout, tmp_path):
    (checkout / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")
    for name in ("bash", "dirname", "rm", "cat", "sort"):
        (checkout / "bin" / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["bash", "-c", ". scripts/setup.sh requirements.txt"],
        cwd=checkout,
        env={"PATH": os.fspath(checkout / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "expected Python 3.11 or newer with its venv module" in done.stderr
    assert not (checkout / ".venv").exists()
