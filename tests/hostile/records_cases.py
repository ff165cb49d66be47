"""Damaged records of trials and runs, under the commands that read them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lethe.benchmarks.records import checkpoint
from tests.hostile import damage, made
from tests.hostile.case import Case

TIMES = ("seconds", "wall_seconds", "images_per_second", "learn_seconds_per_image", "trunk_seconds_per_image")
REPORT = ("report", "results", "--out", "out")
FILES = {
    "summary.json": ("results", "pets/class_iid/er/*/run0/summary.json"),
    "config.json": ("results", "pets/class_iid/er/*/config.json"),
    "env.json": ("results", "pets/class_iid/er/*/env.json"),
    "accuracy.csv": ("results", "pets/class_iid/er/*/run0/accuracy.csv"),
}


def compared(folder: Path) -> object:
    """The numbers of a report."""
    return (folder / "out" / "comparison.csv").read_bytes()


def numbers(name: str) -> Callable[[Path], object]:
    """Of a results folder: all accuracies, logs and scores, and the summaries without times."""

    def found(folder: Path) -> object:
        contents: dict[str, object] = {}
        for path in sorted((folder / name).rglob("run*/*")):
            if path.suffix in (".csv", ".jsonl", ".npz"):
                contents[str(path.relative_to(folder))] = path.read_bytes()
            elif path.name == "summary.json":
                summary = json.loads(path.read_text())
                metrics = {key: value for key, value in summary["metrics"].items() if key not in TIMES}
                kept = {key: summary[key] for key in ("classes_seen", "images", "steps", "run", "lists")}
                contents[str(path.relative_to(folder))] = kept | metrics
        return contents

    return found


def _damaged(base: Path, name: str, pattern: str, how: damage.Damage, arguments: tuple[str, ...],
             *more: Callable[[Path], object]) -> Callable[[Path], list[str]]:  # fmt: skip
    def prepare(folder: Path) -> list[str]:
        made.copied(base, folder, name)
        for change in more:
            change(folder)
        (path,) = (folder / name).glob(pattern)
        how(path)
        return list(arguments)

    return prepare


def cases(base: Path) -> Iterator[Case]:
    """Each file, each damage; each key missing and of wrong types; checkpoints, their logs, grids of damaged trials."""
    project = made.once(made.project, base / "project")
    clean = base / "clean"
    clean.mkdir()
    made.copied(project, clean, "results", "stopped", "searched")
    assert made.execute(list(REPORT), clean).status == 0
    table = compared(clean)
    for file, (name, pattern) in FILES.items():
        (path,) = (project / name).glob(pattern)
        ways = dict(damage.KINDS)
        ways |= {f"first {share:.0%}": damage.truncated(share) for share in (0.1, 0.5, 0.9, 0.99)}
        ways |= {f"bit {seed}": damage.flipped(seed) for seed in range(20)}
        if path.suffix == ".json":
            found = list(damage.keys(json.loads(path.read_text())))
            ways |= {f"without {key}": damage.without(key) for key in found}
            for number, key in enumerate(found):
                kinds = list(damage.WRONG)
                for kind in (kinds[number % len(kinds)], kinds[(number * 7 + 3) % len(kinds)]):
                    ways[f"{key} is {kind}"] = damage.replaced(key, damage.WRONG[kind])
        else:
            for cell in ("5000", "-1", "nan", "inf", "x", "1e999", "", "٣", "1" * 5000):
                ways[f"cell {cell[:9]}"] = lambda path, cell=cell: path.write_text(
                    path.read_text().replace(path.read_text().splitlines()[1].split(",")[1], cell, 1)
                )
        for way, how in ways.items():
            yield Case(
                f"{file}/report/{way}",
                _damaged(project, name, pattern, how, REPORT),
                "either",
                compared,
                table,
            )
        clean_results = numbers("results")(clean)
        for way in list(ways)[::3]:
            yield Case(f"{file}/run/{way}", _damaged(project, name, pattern, ways[way], made.RUN), "either",
                       numbers("results"), clean_results)  # fmt: skip
    yield from _searches(project, clean)
    yield from _checkpoints(project, clean)
    yield from _failures(project)


def _searches(project: Path, clean: Path) -> Iterator[Case]:
    """One trial of a search is damaged: the others go on."""
    searched = numbers("searched")

    def others(folder: Path) -> object:
        found = searched(folder)
        assert isinstance(found, dict)
        return {key: value for key, value in found.items() if "/er/" not in key}

    for command in (made.SEARCH, ("table", "grid.toml", "--out", "searched"), ("best", "grid.toml", "--out", "searched",
                    "--into", "best"), ("final", "grid.toml", "--out", "searched", "--dry-run")):  # fmt: skip
        for file in ("config.json", "env.json", "run0/summary.json", "run0/accuracy.csv"):
            for way in ("emptied", "pipe", "deep", "an empty object", "5000 digits", "folder"):
                lost = [
                    lambda folder: _remove(
                        folder / "searched", "pets/class_iid/finetune/lr=0.01*/run1/summary.json"
                    )
                ]
                more = lost if command == made.SEARCH else []
                yield Case(
                    f"search/{command[0]}/{file}/{way}",
                    _damaged(
                        project, "searched", f"pets/class_iid/er/*/{file}", damage.KINDS[way], command, *more
                    ),
                    "told" if command == made.SEARCH else "either",
                    others,
                    others(clean),
                )


def _remove(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def _checkpoints(project: Path, clean: Path) -> Iterator[Case]:
    """An interrupted run with a damaged checkpoint or log; the command goes on with it."""
    state = "pets/class_iid/*/*/run0/checkpoint/state.safetensors"
    arguments = (*made.STOPS, "--out", "stopped")

    def go(folder: Path) -> None:
        (folder / "go").touch()

    go(clean)
    assert made.execute(list(arguments), clean).status == 0
    whole = numbers("stopped")(clean)
    ways = {**damage.KINDS, **{f"first {share:.0%}": damage.truncated(share) for share in (0.01, 0.5, 0.99)}}
    ways |= {f"bit {seed}": damage.flipped(seed) for seed in range(60)}
    for key, values in {
        "position": ([0, 0, 1], [1, 0, 1], [2, 0, 0], [9, 0, 0], [-1, 0, 0], [1, 5, 0], [0], [], None, ["1", 0, 0],
                     [1.0, 0, 0], [True, 0, 0], [10**18, 0, 0]),
        "rows": ([], [[50.0]], [[5000.0, 5000.0, 0.0]], [[]], None, [["x", 1.0]], [[50.0, 1.0, 2.0], [50.0]], 7),
        "top5": ([], [50.0, 50.0], None, [900.0]),
        "steps": (0, -1, 10**9, None, 1.5), "images": (0, -1, 7, None), "seconds": (-1.0, None, float("inf")),
        "wall_seconds": (-5.0, "x"), 
        "log_bytes": (3, -1, 10**15, None), "log_crc32": (1, None, -1), "appended": ({}, None), "further": (7, None),
        "images_again": (5, -1), "collapses": ([], 7),
        "identity": ({}, None, {"run": 1}), "software": (7, [7]),
        "agent": ({}, None, [], {"plastic": {}}, {"plastic": torch.zeros(2)}),
    }.items():  # fmt: skip
        for number, value in enumerate(values):
            ways[f"{key} {number}"] = _saved_otherwise(
                lambda saved, key=key, value=value: saved.update({key: value})
            )
        ways[f"without {key}"] = _saved_otherwise(lambda saved, key=key: saved.pop(key))
    for way, how in ways.items():
        yield Case(f"checkpoint/{way}", _damaged(project, "stopped", state, how, arguments, go), "either",
                   numbers("stopped"), whole)  # fmt: skip
    logs = {name: how for name, how in damage.KINDS.items() if name not in ("deep", "deep object")}
    logs |= {f"bit {seed}": damage.flipped(seed) for seed in range(10)}
    logs |= {f"first {share:.0%}": damage.truncated(share) for share in (0.1, 0.5, 0.99)} | {
        "gone": Path.unlink
    }
    log = "pets/class_iid/*/*/run0/metrics.jsonl"
    for way, how in logs.items():
        yield Case(f"log/{way}", _damaged(project, "stopped", log, how, arguments, go),
                   "either", numbers("stopped"), whole)  # fmt: skip


def _saved_otherwise(change: Callable[[dict[str, object]], object]) -> damage.Damage:
    def how(path: Path) -> None:
        saved = checkpoint.load(path)
        change(saved)
        checkpoint.save(path, saved)

    return how


def _failures(project: Path) -> Iterator[Case]:
    """Damaged records of failure: told, or tried again."""
    arguments = (*made.STOPS, "--out", "stopped")
    for way, how in damage.KINDS.items():
        yield Case(f"failed.json/run/{way}", _damaged(project, "stopped", "pets/class_iid/*/*/run0/failed.json", how,
                   arguments), "told", of_agent=True)  # fmt: skip
