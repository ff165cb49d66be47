"""Generated parts of `docs/agents.md`: needs, hyperparameters and memory of each agent.

`python -m lethe.benchmarks.report.agents_page` writes what lies between `<!-- generated: NAME -->` and `<!-- end -->`.
Memory is a formula for each agent; `tests/project/test_docs.py` compares it with `memory_bytes()` of agents that
learned, and the page with this file.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from lethe.agents import registry
from lethe.agents.base import Agent
from lethe.agents.config import Config, SGDConfig
from lethe.agents.networks import build as networks
from lethe.agents.parts.product_quantiser import CENTROIDS

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
RAW_IMAGE = 224 * 224 * 3
"""Bytes of a raw image, the unit of the comparison."""


@dataclass(frozen=True)
class Setting:
    """What memory depends on beside the hyperparameters, at the end of a stream that fills every budget."""

    plastic: nn.Module
    """The part of the network that learns."""
    shape: tuple[int, int, int]
    """(C, H, W) of an input."""
    input_bytes: int
    """X: uint8 images have a byte a value, float32 features four."""
    tasks: tuple[int, ...]
    """New classes of each task."""
    images: int
    """Images of the whole stream."""

    @property
    def classes(self) -> int:
        """K, of the whole stream."""
        return sum(self.tasks)

    @property
    def parameters(self) -> int:
        """P, bytes of the parameters that learn."""
        return sum(p.nbytes for p in self.plastic.parameters())

    @property
    def copy(self) -> int:
        """S, bytes of a copy of what learns: P, and the state of its dropout's generator where it has one."""
        return sum(tensor.nbytes for tensor in self.plastic.state_dict().values())

    @property
    def features(self) -> int:
        """D, numbers that the head sees."""
        with torch.no_grad():
            return networks.features(self.plastic, torch.zeros(1, *self.shape)).shape[1]


Memory = Callable[[Any, Setting], int]
"""Bytes for a configuration and a setting."""


@dataclass(frozen=True)
class Entry:
    """What the code does not say of an agent."""

    family: str
    keeps: str
    source: str
    """An arXiv number; empty for a bound, which has no paper."""
    formula: str
    memory: Memory


def _buffer(c: Any, s: Setting) -> int:
    return c.memory_size * (s.input_bytes + 8) + s.classes


def _slots(c: Any, s: Setting, stored: int) -> int:
    channels, height, width = s.shape
    index = 1 if c.slots <= 256 else 2
    row = height * width * channels // c.slot_width * index + 4 * s.classes
    return 8 * c.slots * c.slot_width + c.slots + s.classes + stored * row


def _augmem(c: Any, s: Setting) -> int:
    return _slots(c, s, c.memory_size // s.classes * s.classes)


def _augmem_published(c: Any, s: Setting) -> int:
    met = [sum(s.tasks[: task + 1]) for task in range(len(s.tasks))]
    stored = sum(new * (c.memory_size // seen) for new, seen in zip(s.tasks, met, strict=True))
    return _slots(c, s, stored)


def _remind(c: Any, s: Setting) -> int:
    channels, height, width = s.shape
    stored = min(c.memory_size, s.images)
    return stored * (height * width * c.codebooks + 8) + 4 * CENTROIDS * channels + 9 * s.classes


def _icarl(c: Any, s: Setting) -> int:
    exemplars = c.memory_size * (s.input_bytes + 8)
    return exemplars + 4 * s.classes * s.features + s.copy + 3 * s.classes


_SLOTS = "8·N·F + N + K + n·(L + 4·K), N slots of F numbers, L = H·W·C / F indices"
ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "finetune": Entry("bound", "nothing", "", "K", lambda c, s: s.classes),
        "offline": Entry(
            "bound",
            "nothing of its own; it is handed all data so far",
            "",
            "K, with `retrain` S + K",
            lambda c, s: s.classes + (s.copy if c.retrain else 0),
        ),
        "l2": Entry(
            "regularisation",
            "the last solution",
            "1612.00796",
            "P + 4 + K",
            lambda c, s: s.parameters + 4 + s.classes,
        ),
        "ewc": Entry(
            "regularisation",
            "the weighted mean solution, an importance a parameter",
            "1612.00796",
            "2·P + K",
            lambda c, s: 2 * s.parameters + s.classes,
        ),
        "ewc_online": Entry(
            "regularisation",
            "the last solution, an importance a parameter",
            "1805.06370",
            "2·P + K",
            lambda c, s: 2 * s.parameters + s.classes,
        ),
        "si": Entry(
            "regularisation",
            "the last solution, an importance and a path integral a parameter",
            "1703.04200",
            "3·P + K",
            lambda c, s: 3 * s.parameters + s.classes,
        ),
        "mas": Entry(
            "regularisation",
            "the last solution, an importance a parameter",
            "1711.09601",
            "2·P + K",
            lambda c, s: 2 * s.parameters + s.classes,
        ),
        "lwf": Entry(
            "regularisation",
            "the network of the last task",
            "1606.09282",
            "S + 9·K",
            lambda c, s: s.copy + 9 * s.classes,
        ),
        "er": Entry("replay", "images, labels", "1902.10486", "m·(X + 8) + K, m = `memory_size`", _buffer),
        "gem": Entry("replay", "images, labels", "1706.08840", "m·(X + 8) + K, m = `memory_size`", _buffer),
        "agem": Entry("replay", "images, labels", "1812.00420", "m·(X + 8) + K, m = `memory_size`", _buffer),
        "icarl": Entry(
            "replay",
            "images, labels, a mean a class, the network of the last task",
            "1611.07725",
            "m·(X + 8) + 4·K·D + S + 3·K, m = `memory_size`",
            _icarl,
        ),
        "derpp": Entry(
            "replay",
            "images, labels, scores",
            "2004.07211",
            "m·(X + 8 + 4·K) + K, m = `memory_size`",
            lambda c, s: _buffer(c, s) + 4 * c.memory_size * s.classes,
        ),
        "slda": Entry(
            "streaming",
            "a mean a class, a covariance",
            "1909.01520",
            "8·(K·C + C² + K)",
            lambda c, s: 8 * (s.classes * s.shape[0] + s.shape[0] ** 2 + s.classes),
        ),
        "remind": Entry(
            "streaming",
            "quantised feature maps, labels, codebooks",
            "1910.02509",
            "n·(H·W·M + 8) + 4·256·C + 9·K, M codebooks, n the smaller of `memory_size` and the stream's images",
            _remind,
        ),
        "augmem": Entry(
            "augmented memory",
            "slots and their anchor, indices of slots, scores",
            "2104.02206",
            f"{_SLOTS}, n = `memory_size` in equal shares",
            _augmem,
        ),
        "augmem_published": Entry(
            "augmented memory",
            "slots and their anchor, indices of slots, scores",
            "2104.02206",
            f"{_SLOTS}, n the sum over tasks of new classes · ⌊`memory_size` / classes so far⌋",
            _augmem_published,
        ),
    }
)


@functools.cache
def protocol(cut: str | None) -> Setting:
    """CORe50 under class_iid: 224 x 224 images, SqueezeNet cut at `cut`, five tasks of two classes, 6,000 images."""
    network, _ = networks.build(
        "squeezenet", 10, cut=cut, pretrained=False, seed=0, device=torch.device("cpu")
    )
    with torch.no_grad():
        given = network.frozen(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    return Setting(network.plastic, tuple(given.shape[1:]), given.nbytes, (2,) * 5, 6000)


def memory_bytes(name: str) -> int:
    """Bytes that agent `name` keeps at default settings, at the end of the protocol's stream."""
    agent = registry.get(name)
    return ENTRIES[name].memory(agent.Config(), protocol(agent.cut))


def needs(agent: type[Agent]) -> str:
    """The needs that an agent declares, in words."""
    return ", ".join(n.replace("_", " ") for n, wanted in asdict(agent.needs).items() if wanted) or "-"


def hyperparameters(config: type[Config], beyond: type[Config] | None = None) -> str:
    """A table of the fields of `config`; with `beyond`, of those that it does not share with that class."""
    shared = {} if beyond is None else {f.name: (f.default, f.metadata["help"]) for f in fields(beyond)}
    rows = [
        (f"`{f.name}`", _shown(f.default), f.metadata["help"])
        for f in fields(config)
        if shared.get(f.name) != (f.default, f.metadata["help"])
    ]
    return _table(("name", "default", "meaning"), rows) if rows else "No hyperparameters of its own."


def generated(name: str) -> str:
    """What the page says between the marks of block `name`."""
    if name == "agents":
        return _overview()
    if name == "sizes":
        return _sizes()
    if name == "Config":
        return hyperparameters(Config)
    if name == "SGDConfig":
        return hyperparameters(SGDConfig, Config)
    agent = registry.get(name)
    base = SGDConfig if issubclass(agent.Config, SGDConfig) else Config
    memory = f"Memory: {ENTRIES[name].formula}; {memory_bytes(name):,} bytes."
    return f"{hyperparameters(agent.Config, base)}\n\n{memory}"


def filled(page: str) -> str:
    """`page` with every generated block as the code has it now."""
    return re.sub(
        r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{generated(found[2])}\n{found[3]}",
        page,
        flags=re.DOTALL,
    )


def _overview() -> str:
    head = ("agent", "family", "needs", "keeps", "bytes", "raw images", "source")
    return _table(head, [_row(name, entry) for name, entry in ENTRIES.items()])


def _row(name: str, entry: Entry) -> tuple[str, ...]:
    size = memory_bytes(name)
    source = f"[{entry.source}](https://arxiv.org/abs/{entry.source})" if entry.source else "-"
    images = f"{size / RAW_IMAGE:,.1f}" if size >= RAW_IMAGE / 20 else "0"
    return (
        f"[{name}](#{name})",
        entry.family,
        needs(registry.get(name)),
        entry.keeps,
        f"{size:,}",
        images,
        source,
    )


def _sizes() -> str:
    head = ("cut", "agents", "input, C x H x W", "X", "P", "S")
    cuts: dict[str | None, list[str]] = {}
    for name in ENTRIES:
        cuts.setdefault(registry.get(name).cut, []).append(name)
    rows = []
    for cut, names in cuts.items():
        s = protocol(cut)
        who = ", ".join(names) if cut else "all others"
        shape = " x ".join(map(str, s.shape))
        rows.append((cut or "none", who, shape, f"{s.input_bytes:,}", f"{s.parameters:,}", f"{s.copy:,}"))
    return _table(head, rows)


def _shown(default: object) -> str:
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
