"""Agents of a user's own that are broken, leave, keep memory or answer nonsense, under the commands that load them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.hostile import made
from tests.hostile.case import Case

HEAD = """
import os, sys
from dataclasses import dataclass, field
import torch
from lethe.agents.base import Agent, Needs
from lethe.agents.config import Config, SGDConfig, setting
from lethe.agents.finetune import Finetune
"""

MODULES = {
    "syntax error": "def f(:\n",
    "bad indent": "if True:\nx = 1\n",
    "NUL byte": "x = '\0'\n",
    "no UTF-8": "x = '\udcff'\n",
    "unclosed": "x = '''\n",
    "raises": "raise RuntimeError('\x1b[31mno\\nmore')\n",
    "leaves with 0": "import sys; sys.exit(0)\n",
    "leaves": "import sys; sys.exit()\n",
    "leaves with text": "import sys; sys.exit('bye')\n",
    "recursion": "def f(): return f()\nf()\n",
    "imports nothing": "import no_such_module_at_all\n",
    "divides": "1 / 0\n",
    "asserts": "assert False\n",
    "empty": "",
    "not a class": "A = 7\n",
    "not an agent": "class A: pass\n",
    "an own __getattr__": "def __getattr__(name): raise KeyError(name)\n",
    "memory": "x = bytearray(1 << 45)\n",
}
"""Modules that cannot be imported, or hold no agent A."""

CLASSES = {
    "needs None": "needs = None",
    "needs text": "needs = 'task_data'",
    "needs class": "needs = Needs",
    "cut number": "cut = 5",
    "cut unknown": "cut = '\x1b[31mnowhere'",
    "resumable text": "resumable = 'yes'",
    "config None": "Config = None",
    "config object": "Config = SGDConfig()",
    "config dict": "Config = {}",
}
"""Bodies of a class A(Finetune) that is refused."""

CONFIGS = {
    "no dataclass": "class C(SGDConfig):\n    lr: float = 0.1\n    extra: int = 3",
    "unknown type": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    extra: 'Nowhere' = 3",
    "no metadata": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    extra: int = 3",
    "a list": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    extra: list = field(default_factory=list)",
    "a tensor": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    extra: object = torch.zeros(3)",
    "raises": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    def __post_init__(self): raise KeyError('no')",
    "leaves": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    def __post_init__(self): sys.exit(0)",
    "no default": "@dataclass(frozen=True, kw_only=True)\nclass C(SGDConfig):\n    extra: int",
    "lr is a text": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    lr: str = 'fast'",
    "epochs 0": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    epochs: int = 0",
    "batch_size text": "@dataclass(frozen=True)\nclass C(SGDConfig):\n    batch_size: str = 'x'",
}
"""Configurations C of a class A(Finetune)."""

METHODS = {
    "constructor raises": "def __init__(self, *a, **k): raise OSError(5, 'no', 'file')",
    "constructor leaves": "def __init__(self, *a, **k): sys.exit(0)",
    "constructor without super": "def __init__(self, *a, **k): pass",
    "constructor of no arguments": "def __init__(self): pass",
    "observe leaves": "def observe(self, x, y): sys.exit(0)",
    "observe leaves quietly": "def observe(self, x, y): raise SystemExit",
    "observe raises": "def observe(self, x, y): raise ValueError('\x1b[2J')",
    "observe raises with no text": "def observe(self, x, y): raise ValueError",
    "observe returns None": "def observe(self, x, y): return None",
    "observe returns a list": "def observe(self, x, y): return [1]",
    "observe logs a text": "def observe(self, x, y): return {'loss': 'low'}",
    "observe logs a vector": "def observe(self, x, y): return {'loss': torch.zeros(3)}",
    "observe logs by number": "def observe(self, x, y): return {1: 2.0, 'a': 1.0}",
    "observe logs NaN": "def observe(self, x, y): return {'loss': float('nan')}",
    "observe recurses": "def observe(self, x, y): return self.observe(x, y)",
    "observe asks for 2^45 bytes": "def observe(self, x, y): torch.ones(1 << 43)",
    "observe asks Python for 2^45 bytes": "def observe(self, x, y): bytearray(1 << 45)",
    "observe stops": "def observe(self, x, y): raise StopIteration",
    "observe generator exit": "def observe(self, x, y): raise GeneratorExit",
    "predict leaves": "def predict(self, x): sys.exit(0)",
    "predict None": "def predict(self, x): return None",
    "predict labels": "def predict(self, x): return torch.zeros(len(x), dtype=torch.int64)",
    "predict integers": "def predict(self, x): return torch.zeros(len(x), 4, dtype=torch.int64)",
    "predict narrow": "def predict(self, x): return torch.zeros(len(x), 1)",
    "predict wide": "def predict(self, x): return torch.zeros(len(x), 9)",
    "predict short": "def predict(self, x): return torch.zeros(1, 4)",
    "predict NaN": "def predict(self, x): return torch.full((len(x), 4), float('nan'))",
    "predict inf": "def predict(self, x): return torch.full((len(x), 4), float('inf'))",
    "predict complex": "def predict(self, x): return torch.zeros(len(x), 4, dtype=torch.complex64)",
    "predict bool": "def predict(self, x): return torch.zeros(len(x), 4, dtype=torch.bool)",
    "memory text": "def memory_bytes(self): return 'much'",
    "memory negative": "def memory_bytes(self): return -5",
    "memory infinite": "def memory_bytes(self): return float('inf')",
    "state of objects": "def state_dict(self): return {'x': object()}",
    "state None": "def state_dict(self): return None",
    "state leaves": "def state_dict(self): sys.exit(0)",
    "state loops": "def state_dict(self):\n        x = {}\n        x['x'] = x\n        return x",
    "prepare leaves": "def prepare(self): sys.exit(0)",
    "keeps all memory": "def observe(self, x, y):\n        k = []\n        while True: k.append(torch.ones(1 << 22))",
}
"""Methods of a class A(Finetune)."""

FINE = {"memory negative", "predict bool", "predict inf", "predict wide", "observe logs by number"}
"""Left to the contract check, or to what others of the record refuse."""
COMMANDS: dict[str, tuple[str, ...]] = {
    "agents": ("agents", "mine:A"),
    "check": ("check", "mine:A"),
    "dry run": (*made.STOPS[:3], "mine:A", "--no-pretrained", "--dry-run"),
    "run": (*made.STOPS[:3], "mine:A", "--no-pretrained", "--max-memory", "1.5GB"),
    "run in workers": (*made.STOPS[:3], "mine:A", "--no-pretrained", "--max-memory", "1GB", "--runs", "2",
                       "--workers", "2"),
    "search": ("search", "mine.toml", "--dry-run"),
}  # fmt: skip


def _case(project: Path, name: str, text: str, command: str, expect: str) -> Case:
    def prepare(folder: Path) -> list[str]:
        made.copied(project, folder)
        (folder / "mine.py").write_text(text, encoding="utf-8", errors="surrogateescape")
        grid = made.GRID.partition("[agents")[0] + '[agents."mine:A"]\n'
        (folder / "mine.toml").write_text(grid)
        return [*COMMANDS[command], *(("--out", "new") if "run" in command else ())]

    return Case(f"agents/{name}/{command}", prepare, expect, of_agent=command.startswith("run"))


def cases(base: Path) -> Iterator[Case]:
    """Modules, declarations, configurations and methods, each under the commands that meet them."""
    project = made.once(made.project, base / "project")

    def under(
        commands: tuple[str, ...], name: str, text: str, expect: Callable[[str], str]
    ) -> Iterator[Case]:
        for command in commands:
            yield _case(project, name, text, command, expect(command))

    loading = tuple(name for name in COMMANDS if name != "run in workers")
    for name, text in MODULES.items():
        yield from under(loading, f"module {name}", text, lambda command: "told")
    for name, text in CLASSES.items():
        fine = ("agents", "check") if name == "cut unknown" else ()
        yield from under(loading, name, f"{HEAD}class A(Finetune):\n    {text}\n",
                         lambda command, fine=fine: "any" if command in fine else "told")  # fmt: skip
    for name, text in CONFIGS.items():
        whole = f"{HEAD}{text}\nclass A(Finetune):\n    Config = C\n"
        yield from under(loading, f"config {name}", whole, lambda command: "any")
    for name, text in METHODS.items():
        commands = ("check", "run", "run in workers") if name not in FINE else ("check", "run")
        fine = commands if name in FINE else ("check",) if name == "keeps all memory" else ()
        yield from under(commands, name, f"{HEAD}class A(Finetune):\n    {text}\n",
                         lambda command, fine=fine: "any" if command in fine else "told")  # fmt: skip
    whole = f"{HEAD}class A(Finetune):\n    def observe(self, x, y): os._exit(0)\n"
    yield from under(("run in workers",), "os._exit(0)", whole, lambda command: "told")
