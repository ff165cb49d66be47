"""A new dataset is one file and one line: both are put into a copy of the project, and every command knows it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = '''"""Blocks: grey images whose brightness is the class."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lethe.dataloaders.index.spec import Dataset, Expected


def draw(root: Path, seed: int = 0, workers: int | None = None) -> None:
    """Write 2 classes x 2 sessions x 3 images of 8 x 8 pixels."""
    root.mkdir(parents=True, exist_ok=True)
    for row in index(root).itertuples():
        Image.fromarray(np.full((8, 8), 100 * row[1], np.uint8)).save(root / row[5])


def index(root: Path) -> pd.DataFrame:
    """The dirmap of the images below `root`."""
    rows = [(c, 0, s, n, f"{c}_{s}_{n}.png") for c in (1, 2) for s in (0, 1) for n in (1, 2, 3)]
    return pd.DataFrame(rows, columns=["class", "object", "session", "im_num", "im_path"])


DATASET = Dataset(
    name="blocks",
    title="Blocks",
    classes=("dark", "light"),
    test_sessions=(1,),
    paradigms=("iid", "class_iid"),
    iid_task_images=3,
    task_classes=1,
    task_instances=0,
    instance_images=0,
    image_size=(8, 8),
    default_variant="corrected",
    expected=Expected(2, (1, 1), (2, 2), (3, 3), (6, 6)),
    index=index,
    draw=draw,
)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with the made dataset."""
    project = tmp_path_factory.mktemp("project")
    for package in ("lethe", "common", "agents", "dataloaders", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "*.csv")
        shutil.copytree(ROOT / package, project / package, ignore=ignored)
    before = {path: path.read_text() for path in project.rglob("*.py")}
    (project / "dataloaders" / "datasets" / "blocks.py").write_text(MADE)
    catalogue = project / "dataloaders" / "index" / "catalogue.py"
    catalogue.write_text(catalogue.read_text().replace('    "digits",\n', '    "digits",\n    "blocks",\n'))
    touched = {path for path in project.rglob("*.py") if before.get(path) != path.read_text()}
    assert {path.name for path in touched} == {"blocks.py", "catalogue.py"}
    assert catalogue.read_text().count("\n") == before[catalogue].count("\n") + 1
    return project


def ran(project: Path, module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    environment = {"PYTHONPATH": str(project), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_data_command_knows_a_new_dataset(project):
    assert "blocks" in ran(project, "dataloaders", "index", "--help")
    assert "blocks is in data/blocks" in ran(project, "dataloaders", "draw", "blocks")
    assert "12 images in 2 classes" in ran(project, "dataloaders", "index", "blocks")
    assert "2 tasks of 3 images" in ran(
        project, "dataloaders", "tasks", "blocks", "--paradigm", "class_iid", "--runs", "1"
    )
    told = ran(project, "dataloaders", "check", "blocks")
    assert "Blocks, data/lists/blocks_dirmap.csv:" in told and "wrong" not in told
    ran(project, "dataloaders", "show", "blocks", "iid")
    assert (project / "blocks_iid.png").exists()


def test_a_new_dataset_can_be_run_and_has_its_title_in_reports(project):
    told = ran(project, "benchmarks", "run", "blocks/class_iid", "--agent", "finetune", "--no-pretrained",
               "--network", "small", "--runs", "2")  # fmt: skip
    assert "blocks/class_iid finetune" in told
    assert "Blocks: " in ran(project, "benchmarks", "report", "results", "--out", "report")
