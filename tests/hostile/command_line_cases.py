"""Command lines: values that no option can have, names of every kind, and paths that lead to no file."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile.case import Case

NUMBERS = ("-1", "0", "1.5", "", "nan", "1e9", "٣", "9" * 30, "9" * 5000, "0x10", " ")
NAMES = ("", " ", "..", "../..", "/", "a/b", "x" * 300, "\x1b[2J\x1b]0;owned\x07", "a\nb", "\u202ecilbup", "\udcff",
         "%s%n", "-", "--", "'; rm -rf .", "$(id)", "core50_mini", "nul\0byte")  # fmt: skip
RUN = ("run", "digits/class_iid", "--agent", "finetune", "--dry-run")


def _case(name: str, *arguments: str, expect: str = "told") -> Case:
    return Case(f"command_line/{name}", lambda folder: list(arguments), expect)


def _made(name: str, make: Callable[[Path], object], *arguments: str, expect: str = "told") -> Case:
    def prepare(folder: Path) -> list[str]:
        make(folder)
        return list(arguments)

    return Case(f"command_line/{name}", prepare, expect)


def cases(base: Path) -> Iterator[Case]:
    """Numbers, names and paths of each command."""
    for option in ("--runs", "--workers", "--threads", "--checkpoint-batches", "--until-class", "--seed"):
        for value in NUMBERS:
            fine = "any" if option == "--seed" or value in ("٣", "9" * 30) else "told"
            yield _case(f"run {option} {value[:20]!r}", *RUN, f"{option}={value}", expect=fine)
    for place, value in enumerate(NAMES):
        yield _case(f"stream {place}", "run", f"{value}/class_iid", "--agent", "finetune", "--dry-run", expect="told"
                    if value != "core50_mini" else "any")  # fmt: skip
        yield _case(f"paradigm {place}", "run", f"digits/{value}", "--agent", "finetune", "--dry-run")
        yield _case(f"agent {place}", "run", "digits/class_iid", f"--agent={value}", "--dry-run")
        yield _case(f"agent module {place}", "run", "digits/class_iid", f"--agent={value}:A", "--dry-run")
        yield _case(f"agents {place}", "agents", "--", value)
        yield _case(f"check {place}", "check", "--", value)
        yield _case(f"network {place}", *RUN, f"--network={value}")
        yield _case(f"cut {place}", *RUN, f"--cut={value}", expect="any" if value == "" else "told")
        yield _case(f"set {place}", *RUN, f"--set={value}")
        yield _case(f"set key {place}", *RUN, f"--set={value}=1")
        yield _case(f"set lr {place}", *RUN, f"--set=lr={value}")
        yield _case(f"device {place}", *RUN[:-1], f"--device={value}")
        yield _case(f"report {place}", "report", "--out=report", "--", value)
        yield _case(f"offline curve {place}", "report", "--out=report", f"--offline-curve={value}", "results")
        yield _case(f"predictions {place}", *RUN, f"--predictions={value}")
        yield _case(f"export {place}", "export", "remind", "--out=out", "--", value)
        yield _case(f"search {place}", "search", "--dry-run", "--", value)
        yield _case(f"best {place}", "best", "--", value)
        yield _case(f"table {place}", "table", "--", value)
        yield _case(f"final {place}", "final", "--dry-run", "--", value)
        yield _case(f"index {place}", "data", "index", "--", value, expect="told")
        yield _case(f"show {place}", "data", "show", "--", value)
    for device in ("meta", "hpu", "xla", "cuda:99", "cuda:-1", "mps", "cpu:7", "privateuseone", "vulkan", "xpu", "ipu",
                   "mtia", "lazy", "fpga", "maia", "hip", "ort", "cpu:0:0", "CPU", "mkldnn"):  # fmt: skip
        yield _case(f"device {device}", *RUN[:-1], f"--device={device}", "--data=data", "--lists=lists",
                    expect="any" if device == "cpu:7" else "told")  # fmt: skip
    for value in NUMBERS:
        fine = "any" if value in ("٣", "1e9") else "told"
        yield _case(f"set batch {value[:20]!r}", *RUN, f"--set=batch_size={value}",
                    expect="any" if value == "٣" else "told")  # fmt: skip
        yield _case(f"set lr {value[:20]!r}", *RUN, f"--set=lr={value}",
                    expect="any" if value in ("1.5", "1e9", "٣", "9" * 30) else "told")  # fmt: skip
        yield _case(f"show run {value[:20]!r}", "data", "show", "digits/class_iid", f"--run={value}", "--out=x.png",
                    expect=fine)  # fmt: skip
    for size in ("1000000000000", "9" * 18, "9" * 19, "9" * 30, "9" * 400):
        for agent, key in (("er", "memory_size"), ("icarl", "memory_size"), ("gem", "memory_size")):
            yield _case(
                f"{agent} {key} {len(size)} digits",
                "run",
                "digits/class_iid",
                "--agent",
                agent,
                f"--set={key}={size}",
                "--no-pretrained",
                expect="any" if agent == "icarl" else "told",
            )  # fmt: skip  (its exemplars are never allocated)
    kinds: dict[str, Callable[[Path], object]] = {
        "pipe": lambda folder: os.mkfifo(folder / "there"),
        "file": lambda folder: (folder / "there").write_text("text"),
        "loop": lambda folder: (folder / "there").symlink_to("there"),
        "dangling": lambda folder: (folder / "there").symlink_to("nowhere/at/all"),
        "no rights": lambda folder: (folder / "there").mkdir(mode=0),
        "empty": lambda folder: (folder / "there").mkdir(),
        "bytes": lambda folder: (folder / "there").write_bytes(bytes(range(256)) * 20),
    }
    for kind, make in kinds.items():
        if kind not in ("no rights", "empty"):
            yield _made(f"out is a {kind}", make, *RUN[:-1], "--out=there/below")
        if kind not in ("no rights", "empty", "dangling"):
            yield _made(f"data is a {kind}", make, *RUN[:-1], "--data=there/below", "--lists=lists")
            yield _made(f"lists is a {kind}", make, *RUN[:-1], "--data=data", "--lists=there/below")
        yield _made(f"report of a {kind}", make, "report", "there", "--out", "report")
        for command in ("search", "best", "table", "final"):
            yield _made(f"{command} of a {kind}", make, command, "there")
