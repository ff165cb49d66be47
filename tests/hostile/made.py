"""A small dataset with finished, failed and interrupted runs of it, for cases to damage copies of."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.replay import execute

CLASSES = ("ant", "bee", "cow", "dog")
AGENTS = '''
from lethe.agents.finetune import Finetune
class Stops(Finetune):
    """Ends in its second task, after a checkpoint; where the file `go` lies beside it, it learns to the end."""
    def end_task(self, task, data):
        from pathlib import Path
        if task.index and not Path("go").exists():
            raise ZeroDivisionError("stopped")
Stops.needs = type(Stops.needs)(task_boundaries=True)
'''
GRID = """
datasets = ["pets"]
paradigms = ["class_iid"]
runs = 2
pretrained = false
[agents.finetune]
lr = [0.01, 0.001]
[agents.er]
memory_size = 8
"""
STOPS = ("run", "pets/class_iid", "--agent", "agents_of_mine:Stops", "--no-pretrained", "--set", "lr=0.01",
         "--predictions")  # fmt: skip
RUN = ("run", "pets/class_iid", "--agent", "finetune", "er", "--runs", "2", "--no-pretrained", "--set", "lr=0.01",
       "er.memory_size=8")  # fmt: skip
KEEP = ("run", "pets/class_iid", "--agent", "slda", "--no-pretrained", "--keep-model")
SEARCH = ("search", "grid.toml", "--out", "searched")


def data(folder: Path) -> None:
    """Make an indexed dataset of four classes in `folder`."""
    draws = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        for number in range(15):
            image = draws.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            image[4 * label : 4 * label + 4] += 120
            path = folder / "data" / "pets" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (folder / "data" / "pets" / "dataset.toml").write_text(
        'layout = "class"\ntest_fraction = 0.4\nimage_size = 16\ntask_classes = 2\n'
    )
    _execute(folder, ("data", "index", "pets"), 0)


def project(folder: Path) -> None:
    """Make a project in `folder`: data, finished runs, a search (searched), an interrupted run (stopped)."""
    data(folder)
    (folder / "agents_of_mine.py").write_text(AGENTS)
    (folder / "grid.toml").write_text(GRID)
    for arguments, status in ((RUN, 0), (SEARCH, 0), ((*STOPS, "--out", "stopped"), 1)):
        _execute(folder, arguments, status)


def kept(folder: Path) -> None:
    """Make a project in `folder` with a run whose agent was kept."""
    data(folder)
    _execute(folder, KEEP, 0)


def _execute(folder: Path, arguments: Sequence[str], status: int) -> None:
    """`RuntimeError` if a command does not end with that status."""
    ended = execute(list(arguments), folder)
    if ended.status != status:
        raise RuntimeError(f"{arguments}: status {ended.status}: {ended.out}{ended.err}")


def copied(base: Path, folder: Path, *names: str) -> None:
    """Put the project of `base` into `folder`: its folders `names` copied, all else as links."""
    for path in base.iterdir():
        if path.name not in names:
            (folder / path.name).symlink_to(path)
        elif path.is_dir():
            shutil.copytree(path, folder / path.name, symlinks=True)
        else:
            shutil.copy(path, folder)


def once(make: Callable[[Path], None], folder: Path) -> Path:
    """`folder`, made with `make` if it is not there."""
    if not folder.exists():
        folder.mkdir()
        make(folder)
    return folder
