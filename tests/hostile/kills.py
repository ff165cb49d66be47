"""Random kills: `python -m tests.hostile.kills [--kills N]`, from the root of the project.

Runs, searches, the preparation of data (index, lists) and the building of stores are killed with SIGKILL at random
moments, workers and all, and started again until they end. Every byte of what is left must be that of an undisturbed
one, but for times. Prints how many kills hit a living command, and each difference; exits with 1 if there is any.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.hostile import made, replay

TIMES = ("seconds", "wall_seconds", "images_per_second", "learn_seconds_per_image", "trunk_seconds_per_image")
VARYING = ("sha256", "software", "conditions", "started")
RUN = ("run", "pets/class_iid", "--agent", "er", "icarl", "--no-pretrained", "--set", "lr=0.01", "epochs=4",
       "batch_size=2", "--checkpoint-batches", "3")  # fmt: skip
SUBJECTS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    # name: command, what is removed beforehand
    "run": ([*RUN, "--out", "killed"], ()),
    "run in workers": ([*RUN, "--out", "killed", "--workers", "2"], ()),
    "search": (["search", "grid.toml", "--out", "killed", "--workers", "2"], ()),
    "prepare": (["data", "index", "pets"], ("data/lists",)),
    "tasks": (["data", "tasks", "pets", "--runs", "3"], ()),
    "stores": ([*RUN, "--out", "killed"], ("data/stores",)),
    "report": (["report", "results", "--out", "killed"], ()),
}


def content(folder: Path) -> dict[str, object]:
    """Every file below `folder` that a reader would find, without times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.name in ("stdout", "stderr", "env.json"):
            continue
        if path.suffix in (".pdf", ".png") and "killed" in name:
            found[name] = "a picture"
        elif path.name == "summary.json":
            summary = {
                key: value for key, value in json.loads(path.read_text()).items() if key not in VARYING
            }
            summary["metrics"] = {key: value for key, value in summary["metrics"].items() if key not in TIMES}
            found[name] = summary
        else:
            found[name] = path.read_bytes()
    return found


def left_over(folder: Path) -> list[str]:
    """Temporary files and checkpoints that nothing needs any more."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", ".safetensors"))
    ]


def start(arguments: list[str], folder: Path) -> int:
    """The process of a command, the leader of its group."""
    child = os.fork()
    if child == 0:
        replay._child(arguments, folder)
    return child


def killed(arguments: list[str], folder: Path, after: float) -> bool:
    """Kill the command and its workers after some seconds; whether it was alive, else it has ended with 0."""
    child, limit = start(arguments, folder), time.monotonic() + after
    while time.monotonic() < limit:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            if code:
                raise RuntimeError(f"{arguments}: {(folder / 'stderr').read_text()}")
            return False
        time.sleep(0.001)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has no group of its own yet
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def subject(name: str, project: Path, root: Path, kills: int, tell: Callable[[str], None]) -> tuple[int, int]:
    """Kill one command `kills` times; returns how many hit and how many results differ."""
    arguments, removed = SUBJECTS[name]
    draw, hits, different, number = random.Random(name), 0, 0, 0

    def fresh(folder: Path) -> Path:
        folder.mkdir()
        made.copied(project, folder, "data", "results", "grid.toml", "agents_of_mine.py")
        for part in removed:
            shutil.rmtree(folder / part)
        return folder

    begun = time.monotonic()
    whole = fresh(root / "again")  # names of stores hold the path of the images
    if killed(arguments, whole, 600):
        raise RuntimeError(f"{arguments}: did not end")
    length = time.monotonic() - begun
    expected = content(whole)
    shutil.rmtree(whole)
    while hits < kills:
        folder = fresh(root / "again")
        for _ in range(6):
            hit = killed(arguments, folder, draw.uniform(0, 0.7) * length)
            hits += hit
            if not hit:
                break
        while killed(arguments, folder, 600):
            pass
        found = content(folder)
        names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        stale = left_over(folder / "killed") if (folder / "killed").exists() else []
        if names or stale:
            different += 1
            tell(f"{name}, try {number}: different: {names}; left over: {stale}")
        shutil.rmtree(folder)
        number += 1
    tell(f"{name}: {hits} kills of a command of {length:.1f} s, {number} results, {different} different")
    return hits, different


def main(arguments: list[str] | None = None) -> int:
    """Kill; returns the exit status."""
    parser = argparse.ArgumentParser(description="Kill commands at random moments and compare what is left.")
    parser.add_argument("--kills", type=int, default=300, help="kills in all (default %(default)s)")
    parser.add_argument("--only", choices=SUBJECTS, help="one subject")
    options = parser.parse_args(arguments)
    replay._preload()
    names = [options.only] if options.only else list(SUBJECTS)
    hits = different = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        root = Path(name)
        project = made.once(made.project, root / "project")
        for one in names:
            more = subject(
                one, project, root, -(-options.kills // len(names)), lambda line: print(line, flush=True)
            )
            hits, different = hits + more[0], different + more[1]
    print(f"{hits} kills, {different} results that differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
