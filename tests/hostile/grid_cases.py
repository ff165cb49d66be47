"""Grid files: damaged, of other types, of names from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

from tests.hostile import damage, made
from tests.hostile.case import Case

VALUES = {
    "a number": "7", "a text": '"x"', "a list": "[[1]]", "a table": "{a = 1}", "a date": "1979-05-27", "nan": "nan",
    "inf": "-inf", "long": "9" * 100, "longer": "9" * 5000, "deep": "[" * 300 + "]" * 300,
    "deeper": "[" * 9000 + "]" * 9000, "true": "true",
    "escape": '"\\u001b[31mred"', "long name": f'"{"x" * 300}"', "up": '"../.."', "root": '"/"', "blank": '""',
    "empty list": "[]", "zero": "0", "negative": "-1", "nothing": "", "huge hex": "0x" + "f" * 3000, "float": "1e999",
    "surrogate": '"\\ud800"', "names": '["pets", "\\u202e", "\\n", "x/y"]', "module": '"agents_of_mine:Stops"',
}  # fmt: skip
KEYS = ("datasets", "paradigms", "runs", "pretrained", "network", "cut", "feature_dtype", "variant", "seed", "agents",
        "agents.finetune", "agents.finetune.lr", "agents.finetune.batch_size", "agents.er.memory_size",
        "agents.finetune.optimizer", "agents.finetune.datasets", "unknown", "agents.\"\\u001b[2J\"")  # fmt: skip
COMMANDS = (("search", "--dry-run"), ("best", "--into", "best"), ("table",), ("final", "--dry-run"))


def cases(base: Path) -> Iterator[Case]:
    """Each key with each value; each kind of damage."""
    project = made.once(made.project, base / "project")
    number = 0
    for key in KEYS:
        for name, value in VALUES.items():
            number += 1
            command = COMMANDS[0] if number % 3 else COMMANDS[number % 4]
            yield _case(project, f"{key!a} is {name}", f"{key} = {value}\n", command)
    ways = {**damage.KINDS, **{f"bit {seed}": damage.flipped(seed) for seed in range(40)}}
    ways |= {f"first {share}": damage.truncated(share / 10) for share in range(1, 10)}
    for number, (name, how) in enumerate(ways.items()):
        yield _case(project, name, "", COMMANDS[number % 4], how)


def _case(
    project: Path, name: str, line: str, command: tuple[str, ...], how: damage.Damage | None = None
) -> Case:
    def prepare(folder: Path) -> list[str]:
        made.copied(project, folder, "grid.toml")
        path = folder / "grid.toml"
        key = line.partition(" ")[0]
        kept = [given for given in made.GRID.splitlines() if not key or not given.startswith(f"{key} ")]
        # Keys of the whole file come before its tables.
        path.write_text(line + "\n".join(kept) + "\n")
        if how is not None:
            how(path)
        return [command[0], "grid.toml", *command[1:], "--out", "searched"]

    return Case(f"grid/{command[0]}/{name}", prepare, "any")
