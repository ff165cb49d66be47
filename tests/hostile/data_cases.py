"""Inputs of the data side: images, descriptions, indexes, task lists, stores, archives, videos, names."""

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.case import Case
from tests.hostile.replay import execute

TOML = 'layout = "class"\ntest_fraction = 0.25\nimage_size = 8\ntask_classes = 1\n'
DIRMAP = "data/lists/pets_dirmap.csv"
STAMP = "data/lists/pets_dirmap.json"
LISTS = "data/lists/pets_task_filelists/class_iid/run0/stream"
TASKS = ["data", "tasks", "pets", "--runs=1"]
RUN = ["run", "pets/class_iid", "--agent=finetune", "--no-pretrained"]
INDEX = ["data", "index", "pets"]
CHECK = ["data", "check", "pets", "--all"]

Damage = Callable[[Path], object]

FOREIGN = {
    "empty": b"",
    "zeros": bytes(5000),
    "text": b"no image at all\n" * 50,
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n",
    "PDF": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>",
    "DDS": b"DDS " + bytes(range(124)) + bytes(range(256)),
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miafMA1B" + bytes(200),
    "ICO": b"\0\0\1\0\1\0\1\1\0\0\1\0\x18\0\x30\0\0\0\x16\0\0\0",
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\10\0\0\0\10\0\10\0\3" + bytes(40),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "FLI": bytes(4) + b"\x11\xaf" + bytes(300),
    "SGI": b"\x01\xda\1\1\0\3\0\x08\0\x08\0\3" + bytes(600),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "ffconcat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "zip": b"PK\3\4" + bytes(100),
    "random": random.Random(0).randbytes(5000),
}
VALUES = ("null", "-1", "true", '""', '"x"', "[]", "{}", "[[]]", "1e400", "1" * 5000, "[" * 5000 + "]" * 5000,
          '"\\u001b[2J"', f'"{"x" * 300}"', "0.5", "[1, 1]")  # fmt: skip
"""JSON values that no key of a damaged file expects, and a few that one may."""

NAMES = (
    "a b", " ", "a\tb", "a\nb", "\x1b[31m", "\x9b2J", "%2e%2e", "a,b", '"', "'", "$(id)", "-rf", "..x", "x" * 240,
    "\u202ereversed", "\u3000", "\udcff", "é", "e\u0301", "a\\b", "nul\u2028", "C:x", "*", "[a]", "#", "~",
)  # fmt: skip


def _flipped(content: bytes, seed: int, bits: int = 1) -> bytes:
    draw = random.Random(seed)
    changed = bytearray(content)
    for _ in range(bits):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))


def _kinds(path: Path) -> dict[str, Callable[[], object]]:
    """What may stand where a file is expected."""
    return {
        "a pipe": lambda: os.mkfifo(path),
        "a folder": lambda: path.mkdir(),
        "a link in a circle": lambda: path.symlink_to(path.name),
        "a link to nothing": lambda: path.symlink_to("nowhere"),
        "a link to a device": lambda: path.symlink_to("/dev/zero"),
        "a socket": lambda: _socket(path),
        "nothing": lambda: None,
    }


def _socket(path: Path) -> None:
    """A socket's address has at most 107 bytes: it is made in the folder."""
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


def _draw(folder: Path) -> None:
    """Three classes of eight images."""
    for number, class_ in enumerate(("cat", "dog", "emu")):
        for image in range(8):
            place = folder / class_ / f"{image}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 60 * number + image, np.uint8)).save(place)


def _lists(folder: Path) -> object:
    """Digests of the task lists, and the manifest but for its own."""
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / LISTS).glob("*.txt")
    }
    manifest = json.loads((folder / LISTS / "manifest.json").read_text())
    return digests, {key: value for key, value in manifest.items() if key != "sha256"}


def _accuracy(folder: Path) -> object:
    """The accuracies of the run."""
    return [path.read_text() for path in sorted((folder / "results").rglob("accuracy.csv"))]


class _Prepared:
    """A folder with an indexed dataset, its lists and stores, and what they make of a clean run."""

    def __init__(self, folder: Path, images: Path | None = None):
        """`images`: a folder that is not copied for a case, so that its store is met: the store's name has the path."""
        self.folder = folder
        _draw(images or folder / "data/pets")
        _write(folder / "data/pets/dataset.toml", TOML + (f'images = "{images}"\n' if images else ""))
        for command in (INDEX, TASKS, RUN):
            ended = execute(command, self.folder)
            if ended.status:
                raise RuntimeError(f"{command}: {ended.err}")
        self.accuracy, self.lists = _accuracy(self.folder), _lists(self.folder)
        shutil.rmtree(self.folder / "results")
        self.dirmap = (self.folder / DIRMAP).read_bytes()
        (self.store,) = (path.name for path in (self.folder / "data" / "stores").glob("pixels-*"))

    def case(
        self, name: str, arguments: list[str], damage: Damage, expect: str = "told", *, stores: bool = True
    ) -> Case:
        """A case of a damaged copy; without `stores`, images are decoded again."""

        def prepare(folder: Path) -> list[str]:
            left_out = () if stores else ("stores",)
            shutil.copytree(self.folder / "data", folder / "data", ignore=shutil.ignore_patterns(*left_out))
            damage(folder)
            return arguments

        result, clean = (_accuracy, self.accuracy) if arguments[0] == "run" else (_lists, self.lists)
        return Case(f"data/{name}", prepare, expect, result, clean)

    def replaced(
        self, name: str, arguments: list[str], path: str, content: bytes | str, expect: str = "told"
    ) -> Case:
        """A case where a file has another content."""
        return self.case(name, arguments, lambda folder: _write(folder / path, content), expect)

    def of_kinds(self, name: str, arguments: list[str], path: str, expect: str) -> Iterator[Case]:
        """A case for everything that may stand in the place of a file."""

        def damage(kind: str, folder: Path) -> None:
            (folder / path).unlink()
            _kinds(folder / path)[kind]()

        for kind in _kinds(Path()):
            yield self.case(f"{name}/{kind}", arguments, partial(damage, kind), expect)


def cases(base: Path) -> Iterator[Case]:
    """Every kind of input, damaged in every way."""
    pets = _Prepared(base / "clean")
    stored = _Prepared(base / "stored", base / "images")
    yield from _images(pets)
    yield from _descriptions(pets)
    yield from _dirmaps(pets)
    yield from _task_lists(pets)
    yield from _stores(stored)
    yield from _names(pets)
    yield from _links(pets)
    yield from _orders(pets)
    yield from _places(pets)
    yield from _archives()
    yield from _videos()


def _images(pets: _Prepared) -> Iterator[Case]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm"):
        file = io.BytesIO()
        image.save(file, format=kind, **({"exif": exif} if kind in ("png", "jpeg", "tiff", "webp") else {}))
        whole = file.getvalue()
        place = "data/pets/cat/3.png"
        for seed in range(8):
            # The first bytes hold sizes, offsets and types.
            few = _flipped(whole[:60], seed, 2) + whole[60:]
            yield pets.replaced(f"image/{kind}/flips {seed}", CHECK, place, few, "any")
        for share in (0.02, 0.3, 0.9):
            cut = whole[: int(len(whole) * share)]
            yield pets.replaced(f"image/{kind}/cut {share}", CHECK, place, cut)
    for name, content in FOREIGN.items():
        yield pets.replaced(f"image/foreign {name}", CHECK, "data/pets/cat/3.png", content)
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, format="png")
    yield pets.replaced("image/bomb", CHECK, "data/pets/cat/3.png", bomb.getvalue())
    yield from pets.of_kinds("image", CHECK, "data/pets/cat/3.png", "told")
    yield from pets.of_kinds("image of a run", RUN, "data/pets/cat/3.png", "told")


def _descriptions(pets: _Prepared) -> Iterator[Case]:
    path = "data/pets/dataset.toml"
    for key in ("layout", "test_fraction", "image_size", "task_classes", "classes", "images", "title"):
        rest = "".join(line + "\n" for line in TOML.splitlines() if not line.startswith(key))
        for place, value in enumerate(VALUES):
            fine = (
                "any"
                if key == "title" or (key, value) in (("test_fraction", "0.5"), ("image_size", "[1, 1]"))
                else "told"
            )
            yield pets.replaced(f"toml/{key} {place}", INDEX, path, f"{rest}{key} = {value}\n", fine)
    texts = {
        "nested": "a = " + "[" * 100_000,
        "dotted": ".".join("a" * 5000) + " = 1",
        "tables": "\n".join(f"[{'.'.join('a' * depth)}]" for depth in range(1, 200)),
        "binary": bytes(range(256)),
        "UTF-16": TOML.encode("utf-16"),
        "large": TOML + "# " + "x" * (2 << 20),
        "twice": TOML + TOML,
        "NUL": TOML + "\0",
        "escape": TOML + '"\x1b[2J" = 1',
        "long key": TOML + "x" * 100_000 + " = 1",
        "empty": "",
    }
    for name, text in texts.items():
        yield pets.replaced(f"toml/{name}", INDEX, path, text)
    yield from pets.of_kinds("toml", INDEX, path, "told")


def _dirmaps(pets: _Prepared) -> Iterator[Case]:
    for seed in range(10):
        yield pets.replaced(f"dirmap/flip {seed}", RUN, DIRMAP, _flipped(pets.dirmap, seed), "either")
    for share in range(1, 10):
        cut = pets.dirmap[: len(pets.dirmap) * share // 10]
        yield pets.replaced(f"dirmap/cut {share}", RUN, DIRMAP, cut, "either")
    lines = pets.dirmap.splitlines(keepends=True)
    yield pets.replaced("dirmap/a line less", RUN, DIRMAP, b"".join(lines[:-1]), "either")
    texts = {
        "packed": gzip.compress(pets.dirmap),
        "empty": b"",
        "header": lines[0],
        "NUL": pets.dirmap.replace(b"cat", b"c\0t"),
        "quotes": pets.dirmap.replace(b"cat", b'"cat'),
        "columns": b"," * 100_000 + b"\n" + pets.dirmap,
        "UTF-16": pets.dirmap.decode().encode("utf-16"),
        "escape": pets.dirmap.replace(b"cat", b"\x1b[2J"),
        "numbers": pets.dirmap.replace(b",1,", b"," + b"9" * 400 + b","),
        "outside": pets.dirmap.replace(b"cat/1.png", b"../../../etc/passwd"),
        "absolute": pets.dirmap.replace(b"cat/1.png", b"/etc/passwd"),
    }
    for name, content in texts.items():
        yield pets.replaced(f"dirmap/{name}", TASKS, DIRMAP, content)
    for ending in ("gz", "bz2", "zip", "xz", "zst", "tar"):
        for what, content in (("text", pets.dirmap[:-300]), ("packed", gzip.compress(b"a,b\n" * 9))):
            yield pets.replaced(
                f"dirmap/{what} called {ending}", [*TASKS, f"--dirmap=x.csv.{ending}"], f"x.csv.{ending}", content,
                "told" if what == "packed" else "any",
            )  # fmt: skip
    yield from pets.of_kinds("dirmap", RUN, DIRMAP, "told")
    noted = json.loads((pets.folder / STAMP).read_text())
    for key in noted:
        for place, value in enumerate(VALUES):
            text = json.dumps({name: old for name, old in noted.items() if name != key})[:-1]
            yield pets.replaced(f"stamp/{key} {place}", TASKS, STAMP, f'{text}, "{key}": {value}}}', "either")
    yield from pets.of_kinds("stamp", TASKS, STAMP, "either")


def _task_lists(pets: _Prepared) -> Iterator[Case]:
    path = f"{LISTS}/manifest.json"
    noted = json.loads((pets.folder / path).read_text())
    for key in noted:
        text = json.dumps({name: old for name, old in noted.items() if name != key})[:-1]
        yield pets.replaced(f"manifest/without {key}", TASKS, path, text + "}", "either")
        for place, value in enumerate(VALUES):
            yield pets.replaced(
                f"manifest/{key} {place}", TASKS, path, f'{text}, "{key}": {value}}}', "either"
            )
    whole = (pets.folder / path).read_bytes()
    for seed in range(10):
        yield pets.replaced(f"manifest/flip {seed}", RUN, path, _flipped(whole, seed), "either")
    yield pets.replaced("manifest/nested", RUN, path, "[" * 200_000, "either")
    yield from pets.of_kinds("manifest", RUN, path, "either")
    for name in ("train_task_00_filelist.txt", "test_filelist.txt", "train_all.txt"):
        whole = (pets.folder / LISTS / name).read_bytes()
        for seed in range(4):
            yield pets.replaced(
                f"list/{name}/flip {seed}", RUN, f"{LISTS}/{name}", _flipped(whole, seed), "either"
            )
        yield pets.replaced(f"list/{name}/cut", RUN, f"{LISTS}/{name}", whole[: len(whole) // 2], "either")
        yield pets.replaced(f"list/{name}/empty", RUN, f"{LISTS}/{name}", b"", "either")
        yield from pets.of_kinds(f"list/{name}", RUN, f"{LISTS}/{name}", "either")

    def without_manifest(content: str, folder: Path) -> None:
        (folder / path).unlink()
        _write(folder / LISTS / "train_all.txt", content)

    for name, content in {
        "NUL": "a,class\n\0,1",
        "long": "class,label\n" + "x" * 200_000,
        "bytes": "\udcff",
    }.items():
        yield pets.case(f"list/own, {name}", RUN, partial(without_manifest, content), "either")


def _stores(pets: _Prepared) -> Iterator[Case]:
    store = f"data/stores/{pets.store}"
    whole = (pets.folder / store / "array.npy").read_bytes()
    for seed in range(8):
        yield pets.replaced(f"store/flip {seed}", RUN, f"{store}/array.npy", _flipped(whole, seed))
    yield pets.replaced("store/50,000 flips", RUN, f"{store}/array.npy", _flipped(whole, 0, 50_000))
    for share in (0.0, 0.1, 0.99):
        yield pets.replaced(f"store/cut {share}", RUN, f"{store}/array.npy", whole[: int(len(whole) * share)])
    yield pets.replaced("store/longer", RUN, f"{store}/array.npy", whole + b"\0")
    yield pets.replaced("store/pickle", RUN, f"{store}/array.npy", whole.replace(b"'|u1'", b"'|O' "))
    noted = json.loads((pets.folder / store / "checksums.json").read_text())
    for key in noted:
        for place, value in enumerate(VALUES):
            text = json.dumps({name: old for name, old in noted.items() if name != key})[:-1]
            content = f'{text}, "{key}": {value}}}'
            yield pets.replaced(f"checksums/{key} {place}", RUN, f"{store}/checksums.json", content)
    for place, text in enumerate(("", "0" * 64, "x" * 64, "\0" * 64, "0" * 5000, "\x1b[2J")):
        yield pets.replaced(f"content/{place}", RUN, f"{store}/content.txt", text, "same")
    yield from pets.of_kinds("store/array", RUN, f"{store}/array.npy", "told")
    yield from pets.of_kinds("store/checksums", RUN, f"{store}/checksums.json", "told")
    yield from pets.of_kinds("store/content", RUN, f"{store}/content.txt", "either")


def _names(pets: _Prepared) -> Iterator[Case]:
    def image(name: str, folder: Path) -> None:
        (folder / "data/pets/cat/3.png").rename(folder / "data/pets/cat" / f"{name}.png")

    def class_(name: str, folder: Path) -> None:
        (folder / "data/pets/cat").rename(folder / "data/pets" / name)

    def ending(name: str, folder: Path) -> None:
        (folder / "data/pets/cat/3.png").rename(folder / "data/pets/cat" / f"3.{name}")

    for place, name in enumerate(NAMES):
        for what, damage in (("image", image), ("class", class_), ("ending", ending)):
            yield pets.case(f"name/{what} {place}", INDEX, partial(damage, name), "any")
        text = TOML + f"classes = [{json.dumps(name, ensure_ascii=False)}]\n"
        yield pets.replaced(f"name/classes {place}", INDEX, "data/pets/dataset.toml", text)


def _links(pets: _Prepared) -> Iterator[Case]:
    def outside(where: str, folder: Path) -> None:
        (folder / "data/pets" / where).rename(folder / "outside")
        (folder / "data/pets" / where).symlink_to(folder / "outside")

    for where in ("cat/3.png", "cat", "dog/0.png"):
        for name, command in (
            ("run", RUN),
            ("check", CHECK),
            ("show", ["data", "show", "pets", "class_iid"]),
        ):
            yield pets.case(f"link/{where}/{name}", command, partial(outside, where))
            yield pets.case(f"link/{where}/{name} anew", command, partial(outside, where), stores=False)

    def lock(folder: Path) -> None:
        (folder / LISTS / "manifest.json").unlink()
        (folder / LISTS).with_name(".stream.lock").unlink(missing_ok=True)
        (folder / LISTS).with_name(".stream.lock").symlink_to(folder / DIRMAP)

    yield pets.case("link/lock", TASKS, lock, "any")

    def pipe(folder: Path) -> None:
        os.mkfifo(folder / "data/pets/cat/new.png")

    yield pets.case("link/pipe among the images", INDEX, pipe)


def _orders(pets: _Prepared) -> Iterator[Case]:
    command = [*TASKS, "--paradigm=class_iid", "--class-order=order.txt"]
    texts = {
        "empty": b"", "binary": bytes(range(256)), "one": b"cat\n", "twice": b"cat\ndog\nemu\ncat\n",
        "escape": b"\x1b[2J\ndog\nemu\n", "long": b"x" * 1_000_000, "lines": b"cat\n" * 100_000,
        "NUL": b"cat\0\ndog\nemu\n", "other": b"cat\ndog\nemus\n",
    }  # fmt: skip
    for name, content in texts.items():
        yield pets.replaced(f"order/{name}", command, "order.txt", content)
        yield pets.replaced(f"order/run {name}", [*RUN, "--class-order=order.txt"], "order.txt", content)
    for kind in _kinds(Path()):

        def damage(folder: Path, kind: str = kind) -> None:
            _kinds(folder / "order.txt")[kind]()

        yield pets.case(f"order/{kind}", command, damage)
    for value in ("0", "-1", "4", "9" * 30, "x", "", "1.5"):
        yield pets.case(f"order/tasks {value[:9]!r}", [*TASKS, f"--tasks={value}"], lambda folder: None)
        yield pets.case(f"order/run tasks {value[:9]!r}", [*RUN, f"--tasks={value}"], lambda folder: None)
        if value not in ("0", "4"):
            yield pets.case(
                f"order/seed {value[:9]!r}", [*TASKS, f"--order-seed={value}"], lambda folder: None
            )


def _places(pets: _Prepared) -> Iterator[Case]:
    long = "x" * 300
    values = {
        "escape": "\x1b[2J",
        "long": long,
        "deep": "/".join(["x" * 200] * 30),
        "NUL": "a\0b",
        "file": f"{DIRMAP}/x",
    }
    for option, value in values.items():
        for name, arguments in {
            "index root": [*INDEX, f"--root={value}"],
            "index out": [*INDEX, f"--out={value}"],
            "check root": [*CHECK, f"--root={value}"],
            "check lists": [*CHECK, f"--lists={value}"],
            "tasks out": [*TASKS, f"--out={value}"],
            "tasks dirmap": [*TASKS, f"--dirmap={value}"],
            "show out": ["data", "show", "pets", "class_iid", f"--out={value}"],
            "prepare root": ["data", "prepare", "cifar100", f"--root={value}"],
            "prepare out": ["data", "prepare", "digits", f"--out={value}"],
            "draw root": ["data", "draw", "digits", f"--root={value}"],
            "run data": [*RUN, f"--data={value}"],
            "run lists": [*RUN, f"--lists={value}"],
            "dataset": ["data", "index", "--", value],
        }.items():
            expect = "any" if option == "escape" else "told"
            yield pets.case(f"place/{option} {name}", arguments, lambda folder: None, expect)


def _archives() -> Iterator[Case]:
    draw = random.Random(0)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for split in ("train", "test"):
            info = tarfile.TarInfo(f"cifar-100-python/{split}")
            info.size = 2000
            archive.addfile(info, io.BytesIO(draw.randbytes(2000)))
    packed = gzip.compress(plain.getvalue())

    def prepare(content: bytes, folder: Path) -> list[str]:
        _write(folder / "download/cifar-100-python.tar.gz", content)
        return ["data", "prepare", "cifar100", "--root=download", "--out=out"]

    def archive_of(*members: tuple[str, bytes, dict[str, object]]) -> bytes:
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
            for name, data, values in members:
                info = tarfile.TarInfo(f"cifar-100-python/{name}")
                info.size = len(data)
                for key, value in values.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(data))
        return file.getvalue()

    for seed in range(15):
        yield Case(f"data/archive/flip {seed}", partial(prepare, _flipped(packed, seed)))
        header = gzip.compress(_flipped(plain.getvalue()[:512], seed, 3) + plain.getvalue()[512:])
        yield Case(f"data/archive/header {seed}", partial(prepare, header))
    for share in (0.0, 0.01, 0.5, 0.95):
        yield Case(f"data/archive/cut {share}", partial(prepare, packed[: int(len(packed) * share)]))
    negative = bytearray(plain.getvalue())
    negative[124:136] = b"\xff" * 10 + b"\xfe\x00"
    contents = {
        "whole": packed,
        "text": b"no archive",
        "empty": gzip.compress(b""),
        "links": archive_of(
            ("train", b"", {"type": tarfile.SYMTYPE, "linkname": "train"}),
            ("test", b"", {"type": tarfile.LNKTYPE, "linkname": "cifar-100-python/train"}),
        ),
        "device": archive_of(
            ("train", b"", {"type": tarfile.CHRTYPE}), ("test", b"", {"type": tarfile.FIFOTYPE})
        ),
        "large": archive_of(("train", bytes(300 << 20), {})),
        "large before": archive_of(("meta", bytes(600 << 20), {}), ("train", b"x", {}), ("test", b"x", {})),
        "header only": gzip.compress(plain.getvalue()[:512]),
        "negative size": gzip.compress(bytes(negative)),
        "odd number": archive_of(("train", b"x", {"pax_headers": {"size": "9" * 5000}})),
        "headers": archive_of(*((f"train{n}", b"", {}) for n in range(500))),
    }
    for name, content in contents.items():
        yield Case(f"data/archive/{name}", partial(prepare, content))
    for kind in _kinds(Path()):

        def prepare_kind(folder: Path, kind: str = kind) -> list[str]:
            (folder / "download").mkdir()
            _kinds(folder / "download/cifar-100-python.tar.gz")[kind]()
            return ["data", "prepare", "cifar100", "--root=download", "--out=out"]

        yield Case(f"data/archive/{kind}", prepare_kind)


def _videos() -> Iterator[Case]:
    contents = FOREIGN | {
        "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat of itself": b"ffconcat version 1.0\nfile cup_01_pivothead_tx.mp4\n",
        "data": b"data:text/plain,x",
        "box": b"\0\0\0\x08ftyp" + b"\xff" * 100,
        "large box": b"\x7f\xff\xff\xffmoov" + bytes(100),
    }
    place = "download/household/cup_01_pivothead/cup_01_pivothead_tx.mp4"
    for name, content in contents.items():

        def prepare(folder: Path, content: bytes = content) -> list[str]:
            _write(folder / place, content)
            return ["data", "prepare", "toybox", "--root=download", "--out=out"]

        yield Case(f"data/video/{name}", prepare)
    for kind in _kinds(Path()):

        def prepare_kind(folder: Path, kind: str = kind) -> list[str]:
            (folder / place).parent.mkdir(parents=True)
            _kinds(folder / place)[kind]()
            return ["data", "prepare", "toybox", "--root=download", "--out=out"]

        yield Case(f"data/video/{kind}", prepare_kind)

        def journal(folder: Path, kind: str = kind) -> list[str]:
            _write(folder / place, b"no video")
            (folder / "out/images").mkdir(parents=True)
            _kinds(folder / "out/images/extracted.tsv")[kind]()
            return ["data", "prepare", "toybox", "--root=download", "--out=out"]

        yield Case(f"data/video/journal {kind}", journal)
