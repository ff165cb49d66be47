"""Inputs of ImageNet's protocol: two trees, class orders, descriptions, labels of a flat val, exported labels."""

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests import imagenet_trees as trees
from tests.hostile.case import Case
from tests.hostile.data_cases import VALUES, _flipped, _kinds, _write

CLASSES = 4
NAMES = trees.wnids(CLASSES)
ORDER = f"download/{trees.ORDER}"
LABELS = "download/imagenet_2012_validation_synset_labels.txt"
PREPARE = ["data", "prepare", "imagenet", "--root", "download"]
TASKS = ["data", "tasks", "net", "--runs=1", "--paradigm", "class_ordered"]
INDEX = ["data", "index", "net"]
TOML = (
    'layout = "class"\nimages = "train"\ntest_images = "val"\nclass_order = "imagenet_class_order.txt"\n'
    "image_size = 8\nresize = 9\ntask_classes = 2\nfirst_task_classes = 1\n"
)

Damage = Callable[[Path], object]


def _case(name: str, arguments: list[str], damage: Damage, expect: str = "told") -> Case:
    """A case of a download in `download`, or with `net` in the command of a described dataset in `data/net`."""

    def prepare(folder: Path) -> list[str]:
        place = folder / ("data/net" if "net" in arguments else "download")
        trees.tree(place, CLASSES, 2, 1, 8)
        if "net" in arguments:
            _write(place / "dataset.toml", TOML)
        damage(folder)
        return arguments

    return Case(f"imagenet/{name}", prepare, expect)


def _replaced(name: str, arguments: list[str], path: str, content: bytes | str, expect: str = "told") -> Case:
    return _case(name, arguments, lambda folder: _write(folder / path, content), expect)


def _stands(kind: str, path: str, folder: Path) -> None:
    """Put another kind of thing in the place of the file, or of the folder, at `path`."""
    place = folder / path
    if place.is_dir():
        place.rename(folder / "away")
    else:
        place.unlink(missing_ok=True)
    _kinds(place)[kind]()


def _flat(folder: Path) -> None:
    """One folder for all validation images, with a file of their classes."""
    val = folder / "download/val"
    for number, image in enumerate(sorted(val.glob("*/*")), 1):
        image.rename(val / f"ILSVRC2012_val_{number:08d}.JPEG")
    for name in NAMES:
        (val / name).rmdir()
    _write(folder / LABELS, "\n".join(NAMES) + "\n")


def cases(base: Path) -> Iterator[Case]:
    """Every kind of input, damaged in every way."""
    yield from _descriptions()
    yield from _orders()
    yield from _trees()
    yield from _flat_vals()
    yield from _exports()


def _descriptions() -> Iterator[Case]:
    for key in ("test_images", "class_order", "resize", "first_task_classes"):
        rest = "".join(line + "\n" for line in TOML.splitlines() if not line.startswith(key))
        for place, value in enumerate(VALUES):
            yield _replaced(f"toml/{key} {place}", INDEX, "data/net/dataset.toml", f"{rest}{key} = {value}\n")
    places = (
        "/",
        "..",
        "train",
        ".",
        "/dev/zero",
        "/proc/self/fd",
        "x/../val/../train",
        "a\\u0000b",
        "~",
        "x" * 300,
    )
    for number, place in enumerate(places):
        for key in ("test_images", "class_order"):
            rest = "".join(line + "\n" for line in TOML.splitlines() if not line.startswith(key))
            text = f'{rest}{key} = "{place}"\n'
            yield _replaced(f"toml/{key} at {number}", INDEX, "data/net/dataset.toml", text)


def _orders() -> Iterator[Case]:
    whole = "\n".join(trees.class_order(CLASSES)) + "\n"
    texts: dict[str, bytes | str] = {
        "empty": "",
        "blank": "\n \n",
        "a class less": "\n".join(NAMES[1:]),
        "a class twice": whole + NAMES[0],
        "a class too many": whole + "n99999999",
        "escape": whole + "\x1b[2J",
        "NUL": whole.replace(NAMES[0], NAMES[0] + "\0"),
        "UTF-16": whole.encode("utf-16"),
        "binary": bytes(range(256)),
        "random": random.Random(0).randbytes(5000),
        "one line": " ".join(NAMES),
        "a long line": whole + "x" * 1_000_000,
        "many lines": whole + "".join(f"n{number}\n" for number in range(100_000)),
        "outside": whole.replace(NAMES[0], "../../etc"),
    }
    for name, text in texts.items():
        yield _replaced(f"order/{name}", PREPARE, ORDER, text)
        yield _replaced(f"order of a description/{name}", TASKS, f"data/net/{trees.ORDER}", text)
    for seed in range(5):
        yield _replaced(f"order/flip {seed}", PREPARE, ORDER, _flipped(whole.encode(), seed), "any")
    for kind in _kinds(Path()):
        yield _case(f"order/{kind}", PREPARE, partial(_stands, kind, ORDER))


def _trees() -> Iterator[Case]:
    for tree in ("train", "val"):
        for kind in _kinds(Path()):
            yield _case(f"{tree}/{kind}", PREPARE, partial(_stands, kind, f"download/{tree}"))
            yield _case(
                f"{tree}/class: {kind}", PREPARE, partial(_stands, kind, f"download/{tree}/{NAMES[1]}")
            )
        for name in ("\x1b[2J", "a\nb", "x" * 200):
            yield _case(
                f"{tree}/a folder called {name[:5]!r}", PREPARE,
                lambda folder, tree=tree, name=name: (folder / "download" / tree / name).mkdir(),
            )  # fmt: skip

    def loop(folder: Path) -> None:
        (folder / "download/val").rename(folder / "away")
        (folder / "download/val").symlink_to("train")

    yield _case("val is train", PREPARE, loop)
    for name in ("train", "val", "dataset.toml", trees.ORDER):
        for kind in _kinds(Path()):
            if kind != "nothing":
                # A link that leads nowhere is replaced where a link is expected.
                expect = "any" if name in ("train", "val") or name == trees.ORDER else "told"
                yield _case(f"out/{name}/{kind}", PREPARE, partial(_out, kind, name), expect)


def _out(kind: str, name: str, folder: Path) -> None:
    (folder / "data/imagenet").mkdir(parents=True)
    _kinds(folder / "data/imagenet" / name)[kind]()


def _flat_vals() -> Iterator[Case]:
    texts: dict[str, bytes | str] = {
        "empty": "",
        "short": f"{NAMES[0]}\n",
        "unknown": "n1\n" * CLASSES,
        "numbers": "1\n" * CLASSES,
        "large numbers": "9" * 400 + "\n",
        "escape": "\x1b[2J\n" * CLASSES,
        "UTF-16": "\n".join(NAMES).encode("utf-16"),
        "outside": "../..\n" * CLASSES,
        "gap": "\n\n".join(NAMES),
    }
    for name, text in texts.items():

        def damage(folder: Path, text: bytes | str = text) -> None:
            _flat(folder)
            _write(folder / LABELS, text)

        yield _case(f"labels/{name}", PREPARE, damage)
    for kind in _kinds(Path()):

        def stands(folder: Path, kind: str = kind) -> None:
            _flat(folder)
            _stands(kind, LABELS, folder)

        def image(folder: Path, kind: str = kind) -> None:
            _flat(folder)
            _stands(kind, "download/val/ILSVRC2012_val_00000002.JPEG", folder)

        yield _case(f"labels/{kind}", PREPARE, stands)
        yield _case(f"flat image/{kind}", PREPARE, image)
    for options in (["--val-labels", "/dev/zero"], ["--synsets", "none"], ["--class-order", "download"],
                    ["--task-classes", "-1"], ["--image-size", "99999999"], ["--first-task-classes", "5"]):  # fmt: skip
        yield _case(f"option/{options[0]}", [*PREPARE, *options], _flat if options[0] == "--val-labels" else os.stat,
                    "any" if options[0] == "--synsets" else "told")  # fmt: skip


def _exports() -> Iterator[Case]:
    export = ["data", "export-labels"]
    yield _case("export/not indexed", [*export, "net"], os.stat)
    yield _case("export/unknown", [*export, "imagenet"], os.stat)
    yield _case("export/not prepared", ["data", "check", "imagenet"], os.stat)
