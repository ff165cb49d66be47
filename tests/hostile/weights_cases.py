"""Weights that are damaged, of another network, hostile or none; tasks, stores and codebooks that cannot be."""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import safetensors.torch
import torch

from lethe.agents.networks import build as networks
from tests.hostile import damage, made
from tests.hostile.case import Case
from tests.hostile.command_line_cases import NAMES, NUMBERS

KEPT = "results/pets/class_iid/slda/*/run0"
GRID = 'datasets = ["pets"]\nparadigms = ["class_iid"]\nnetwork = "small"\n'


class Hostile:
    """A pickle that would send an escape sequence to the terminal, which no command may do."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("printf '\\033[31mowned'",)


def cases(base: Path) -> Iterator[Case]:
    """Files of every kind, then options."""
    project = made.once(made.kept, base / "kept")
    state = _state("small")
    yield from _kept(project)
    yield from _files(project, state)
    for place, name in enumerate(
        (*NAMES, "/dev/zero", "/dev/stdin", "/proc/self/mem", "data", "data/pets/ant/0.png")
    ):
        yield _case(project, f"name {place}", lambda folder: None, f"--weights={name}")
    for value in NUMBERS:
        fine = "any" if value in ("0", "٣") else "told"
        yield _case(
            project, f"only task {value[:20]!r}", lambda folder: None, f"--only-task={value}", expect=fine
        )
        yield _case(project, f"codebooks {value[:20]!r}", lambda folder: None, "--cut=conv4", "--store=codes",
                    f"--codebooks={value}", expect="any" if value == "٣" else "told")  # fmt: skip
        for key in ("only_task", "codebooks", "weights"):
            yield _grid(project, f"{key} {value[:20]!r}", f"{key} = {value}")
            yield _grid(project, f"{key} text {value[:20]!r}", f'{key} = "{value}"')
    for place, name in enumerate(NAMES):
        yield _case(project, f"store {place}", lambda folder: None, f"--store={name}")
        if name.isprintable():
            yield _grid(project, f"weights {place}", f"weights = '''{name}'''")


def _state(network: str) -> dict[str, torch.Tensor]:
    """The state of a whole network, by its stages."""
    made, _ = networks.build(network, 4, pretrained=False, seed=0, device=torch.device("cpu"))
    found = networks.by_stage(network, None, {}, made.plastic.state_dict())
    return {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in found.items()}


def _kept(project: Path) -> Iterator[Case]:
    """Both files of a kept agent, each damage."""
    yield _case(project, "kept/whole", lambda folder: None, f"--weights={KEPT}", expect="same")
    flips = {f"bit {seed}": damage.flipped(seed) for seed in range(10)}
    parts = {f"first {share:.1%}": damage.truncated(share) for share in (0.01, 0.5, 0.999)}
    for way, how in {**damage.KINDS, **flips, **parts}.items():
        for file in ("model.safetensors", "model.json"):
            # Root reads what has no rights; a bit of the description may be one of the machine's name.
            fine = way == "no rights" or (file == "model.json" and way.startswith("bit"))
            yield _case(project, f"kept/{file}/{way}", _damaged(f"{KEPT}/{file}", how), f"--weights={KEPT}",
                        expect="any" if fine else "told")  # fmt: skip


def _files(project: Path, state: dict[str, torch.Tensor]) -> Iterator[Case]:
    """State dicts of another program, each damage, and what is none."""
    flips = {f"bit {seed}": damage.flipped(seed) for seed in range(20)}
    parts = {f"first {share:.1%}": damage.truncated(share) for share in (0.01, 0.5, 0.999)}
    for suffix, save in (("safetensors", safetensors.torch.save_file), ("pth", torch.save)):
        for way, how in {**damage.KINDS, **flips, **parts}.items():

            def prepare(folder: Path, save=save, suffix: str = suffix, how: damage.Damage = how) -> None:
                save(state, folder / f"w.{suffix}")
                how(folder / f"w.{suffix}")

            # A bit of a number is another weight, which no checksum of theirs tells.
            fine = way == "no rights" or way.startswith("bit") or way == "one NUL more"
            yield _case(
                project, f"{suffix}/{way}", prepare, f"--weights=w.{suffix}", expect="any" if fine else "told"
            )

        def whole(folder: Path, save=save, suffix: str = suffix) -> None:
            save(state, folder / f"w.{suffix}")

        yield _case(project, f"{suffix}/whole", whole, f"--weights=w.{suffix}", expect="same")
    first = next(iter(state))
    others: dict[str, object] = {
        "hostile": Hostile(),
        "hostile inside": {**state, "more": Hostile()},
        "hostile below": {"state_dict": {**state, "more": Hostile()}},
        "a list": [1, 2],
        "numbers": {1: 2},
        "empty": {},
        "nothing inside": {"state_dict": {}},
        "a tensor": torch.zeros(3),
        "one less": {key: value for key, value in state.items() if key != first},
        "one more": {**state, "conv9.0.weight": torch.zeros(3)},
        "another shape": {**state, first: torch.zeros(1)},
        "scalar": {**state, first: torch.tensor(1.0)},
        "another type": {**state, first: state[first].to(torch.complex64)},
        "words": {**state, first: "weights"},
        "another network": _state("mobilenet"),
        "long names": {f"{'x' * 5000}{number}": torch.zeros(1) for number in range(50)},
        "escape": {**state, "\x1b[2J": torch.zeros(1)},
        "no outputs": {key: value[:0] if "head" in key else value for key, value in state.items()},
    }  # fmt: skip
    for name, content in others.items():

        def save(folder: Path, content: object = content) -> None:
            torch.save(content, folder / "w.pth")

        yield _case(project, f"content/{name}", save, "--weights=w.pth",
                    expect="any" if name in ("another type", "no outputs") else "told")  # fmt: skip
    for protocol in (0, 2, 5):

        def plain(folder: Path, protocol: int = protocol) -> None:
            (folder / "w.pth").write_bytes(pickle.dumps(Hostile(), protocol))
            (folder / "w.safetensors").write_bytes(pickle.dumps(Hostile(), protocol))

        for suffix in ("pth", "safetensors"):
            yield _case(project, f"pickle {protocol}/{suffix}", plain, f"--weights=w.{suffix}")


def _damaged(file: str, how: damage.Damage) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        (path,) = folder.glob(file)
        how(path)

    return prepare


def _case(
    project: Path, name: str, prepare: Callable[[Path], object], *options: str, expect: str = "told"
) -> Case:
    """A run that would be learned, with the options; a pattern in them is expanded as a shell does."""

    def prepared(folder: Path) -> list[str]:
        made.copied(project, folder, "results")
        prepare(folder)
        given = [
            option.replace(KEPT, str(next(folder.glob(KEPT)).relative_to(folder)))
            if KEPT in option
            else option
            for option in options
        ]
        command = ["run", "pets/class_iid", "--agent", "finetune", "--no-pretrained", "--network", "small"]
        return [*command, "--out", "out", *given]

    return Case(f"weights/{name}", prepared, expect)


def _grid(project: Path, name: str, line: str) -> Case:
    def prepare(folder: Path) -> list[str]:
        made.copied(project, folder)
        text = f"{GRID}{line}\n[agents.finetune]\n"
        (folder / "mine.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
        return ["search", "mine.toml", "--dry-run", "--out", "searched"]

    return Case(f"weights/grid/{name}", prepare, "any")
