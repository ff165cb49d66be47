"""Generated parts of `docs/agents.md`: needs, hyperparameters and memory of each agent.

`python -m lethe.benchmarks.report.agents_page` writes what lies between `<!-- generated: NAME -->` and `<!-- end -->`.
Memory is a formula on each agent's card; `tests/project/test_docs.py` compares it with `memory_bytes()` of agents that
learned, and the page with this file.
"""

import functools
import re
from dataclasses import asdict, fields
from pathlib import Path

import torch

from lethe.agents import registry
from lethe.agents.base import Agent
from lethe.agents.card import Setting
from lethe.agents.config import Config, SGDConfig
from lethe.agents.networks import build as networks

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
RAW_IMAGE = 224 * 224 * 3
"""Bytes of a raw image, the unit of the comparison."""


@functools.cache
def protocol(cut: str | None) -> Setting:
    """CORe50 under class_iid: 224 x 224 images, SqueezeNet cut at `cut`, five tasks of two classes, 6,000 images."""
    network, _ = networks.build(
        "squeezenet", 10, cut=cut, pretrained=False, seed=0, device=torch.device("cpu")
    )
    with torch.no_grad():
        given = network.frozen(torch.zeros(1, 3, 224, 224, dtype=torch.uint8))
    return Setting(network.plastic, tuple(given.shape[1:]), given.nbytes, (2,) * 5, 6000)


def memory_bytes(name: str) -> int | None:
    """Bytes that agent `name` keeps by default at the end of the protocol's stream; None where there is no formula."""
    agent, memory = registry.get(name), registry.card(name).memory
    return None if memory is None else memory(agent.Config(), protocol(agent.cut))


def needs(agent: type[Agent]) -> str:
    """The needs that an agent declares, in words."""
    return ", ".join(n.replace("_", " ") for n, wanted in asdict(agent.needs).items() if wanted) or "-"


def hyperparameters(config: type[Config], beyond: type[Config] | None = None) -> str:
    """A table of the fields of `config`; with `beyond`, of those that it does not share with that class."""
    shared = {} if beyond is None else {f.name: (f.default, f.metadata["help"]) for f in fields(beyond)}
    rows: list[tuple[str, ...]] = [
        (f"`{f.name}`", _shown(f.default), f.metadata["help"])
        for f in fields(config)
        if shared.get(f.name) != (f.default, f.metadata["help"])
    ]
    return _table(("name", "default", "meaning"), rows) if rows else "No hyperparameters of its own."


def generated(name: str) -> str:
    """Content of the page between the marks of block `name`."""
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
    size = memory_bytes(name)
    memory = "" if size is None else f"\n\nMemory: {registry.card(name).formula}; {size:,} bytes."
    return f"{hyperparameters(agent.Config, base)}{memory}"


def filled(page: str) -> str:
    """`page` with every generated block as the code has it now."""
    return re.sub(
        r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{generated(found[2])}\n{found[3]}",
        page,
        flags=re.DOTALL,
    )


def _overview() -> str:
    head = ("agent", "method", "family", "needs", "keeps", "bytes", "raw images", "source")
    return _table(head, [_row(name) for name in registry.by_family()])


def _row(name: str) -> tuple[str, ...]:
    card, size = registry.card(name), memory_bytes(name)
    shown, images = "-", "-"
    if size is not None:
        shown, images = f"{size:,}", f"{size / RAW_IMAGE:,.1f}" if size >= RAW_IMAGE / 20 else "0"
    source = f"[{card.source}](https://arxiv.org/abs/{card.source})" if card.source else "-"
    return (
        f"[{name}](#{name})",
        card.title,
        card.family,
        needs(registry.get(name)),
        card.keeps or "-",
        shown,
        images,
        source,
    )


def _sizes() -> str:
    head = ("cut", "agents", "input, C x H x W", "X", "P", "S")
    cuts: dict[str | None, list[str]] = {}
    for name in registry.by_family():
        cuts.setdefault(registry.get(name).cut, []).append(name)
    rows: list[tuple[str, ...]] = []
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
