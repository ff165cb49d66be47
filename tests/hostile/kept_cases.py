"""Damaged trained agents, and images that are none, under `predict`."""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.hostile import damage, made
from tests.hostile.case import Case

RUN = "pets/class_iid/slda/*/run0"
IMAGE = "ant/0.png"


def cases(base: Path) -> Iterator[Case]:
    """Both files of a model and an image, each damage; each key of the description missing and of wrong types."""
    project = made.once(made.kept, base / "kept")
    clean = base / "clean"
    clean.mkdir()
    arguments = _prepared(project, clean)
    printed = made.execute(arguments, clean).out
    assert printed.startswith("image.png: ")

    def case(name: str, file: str, how: damage.Damage, expect: str) -> Case:
        def prepare(folder: Path) -> list[str]:
            given = _prepared(project, folder)
            (path,) = folder.glob(file)
            how(path)
            return given

        return Case(name, prepare, expect, lambda folder: (folder / "stdout").read_text(), printed)

    state, description = f"results/{RUN}/model.safetensors", f"results/{RUN}/model.json"
    for way, how in {**damage.KINDS, **{f"bit {seed}": damage.flipped(seed) for seed in range(40)}}.items():
        # Root reads what has no rights.
        yield case(f"state/{way}", state, how, "either" if way == "no rights" else "told")
    for share in (0.01, 0.5, 0.999):
        yield case(f"state/first {share:.1%}", state, damage.truncated(share), "told")
    ways = {**damage.KINDS, **{f"bit {seed}": damage.flipped(seed) for seed in range(20)}}
    (path,) = project.glob(description)
    for key in damage.keys(json.loads(path.read_text())):
        ways[f"without {key}"] = damage.without(key)
        ways |= {f"{key} is {kind}": damage.replaced(key, value) for kind, value in damage.WRONG.items()}
    for agent in ("os:system", "er", "x" * 5000, "../er", "lethe.agents.er:ER"):
        ways[f"agent {agent[:20]}"] = damage.replaced(("trial", "agent"), agent)
    for way, how in ways.items():
        # Much of it only tells where the model comes from.
        yield case(f"description/{way}", description, how, "any" if "bit" in way else "either")
    images = {**damage.KINDS, **{f"first {share:.0%}": damage.truncated(share) for share in (0.1, 0.5)}}
    for way, how in images.items():
        yield case(f"image/{way}", "image.png", how, "either")
    for name in ("", ".", "/dev/zero", "x" * 300, "a\nb\x1b[31m", "\0"):
        yield Case(f"folder/{name[:10]!r}", lambda folder, name=name: ["predict", name, "image.png"])
        yield Case(
            f"image/name {name[:10]!r}", lambda folder, name=name: [*_prepared(project, folder)[:2], name]
        )


def _prepared(project: Path, folder: Path) -> list[str]:
    """Copies of the results and of an image in `folder`, and the command that reads them."""
    made.copied(project, folder, "results")
    (folder / "image.png").write_bytes((project / "data" / "pets" / IMAGE).read_bytes())
    (run,) = folder.glob(f"results/{RUN}")
    return ["predict", str(run.relative_to(folder)), "image.png"]
