"""`docs/agents.md` says what the code does: agents, needs, hyperparameters and memory."""

import re
import sys
from dataclasses import dataclass, replace

import pytest
import torch

from lethe.agents import registry
from lethe.agents.base import TaskInfo, UndeclaredTaskData
from lethe.agents.card import Setting
from lethe.agents.config import SGDConfig, setting
from lethe.agents.contract.toy import Batches, batch, build, inputs
from lethe.benchmarks.report import agents_page
from lethe.benchmarks.report.agents_page import PAGE

TEXT = PAGE.read_text(encoding="utf-8")
AGENTS = sorted(registry.AGENTS)
SMALL = {"memory_size": 4}  # budgets that two tasks of twenty images fill


@dataclass(frozen=True)
class OtherConfig(SGDConfig):
    """One field of its own, and one with another default."""

    lr: float = setting(0.5, "Learning rate.", above=0)
    heat: float = setting(1.0, "How |hot| it is.")


def test_generated_parts_are_as_the_code_is_now():
    assert agents_page.filled(TEXT) == TEXT, "run `python -m lethe.benchmarks.report.agents_page`"


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_has_a_row_and_a_section_with_its_generated_part(name):
    assert "card" in vars(registry.get(name)), f"{name}: give the class a card, as agents/er.py does"
    sections = re.findall(r"^### (\w+)$.*?^<!-- generated: (\w+) -->$", TEXT, re.MULTILINE | re.DOTALL)
    assert (name, name) in sections, (
        f"docs/agents.md: add '### {name}' with '<!-- generated: {name} -->' and '<!-- end -->' below it, then run "
        "`python -m lethe.benchmarks.report.agents_page`"
    )


def test_the_page_tells_of_no_agent_that_is_not_registered():
    assert set(re.findall(r"^### (\w+)$", TEXT, re.MULTILINE)) <= set(AGENTS)


def test_every_source_is_that_of_the_agents_docstring():
    for name in AGENTS:
        assert registry.card(name).source in sys.modules[registry.get(name).__module__].__doc__


def test_every_test_file_named_exists():
    named = set(re.findall(r"tests/[\w/]+\.py", TEXT))
    assert len(named) > 5
    assert not [name for name in named if not (PAGE.parents[1] / name).exists()]


def test_a_changed_default_or_need_makes_the_page_wrong(monkeypatch):
    agent = registry.get("finetune")
    monkeypatch.setattr(agent, "Config", OtherConfig)
    assert agents_page.filled(TEXT) != TEXT
    monkeypatch.undo()
    monkeypatch.setattr(agent, "needs", replace(agent.needs, task_data=True))
    assert agents_page.filled(TEXT) != TEXT


def test_a_table_has_what_is_not_shared_and_no_broken_cell():
    assert agents_page.hyperparameters(OtherConfig, SGDConfig).splitlines() == [
        "| name | default | meaning |",
        "| --- | --- | --- |",
        "| `lr` | 0.5 | Learning rate. |",
        "| `heat` | 1 | How \\|hot\\| it is. |",
    ]
    assert agents_page.hyperparameters(SGDConfig, SGDConfig) == "No hyperparameters of its own."


@pytest.mark.parametrize("name", AGENTS)
def test_memory_is_what_the_formula_says(name):
    agent_class = registry.get(name)
    agent = build(
        agent_class, **{k: v for k, v in SMALL.items() if k in agent_class.Config.__dataclass_fields__}
    )
    given = torch.empty(0)
    images = 0
    for task in range(2):
        labels = [2 * task, 2 * task + 1] * 10
        info = TaskInfo(task, tuple(range(2 * task + 2)))
        x, y = batch(labels, seed=task)
        given = inputs(agent, x)
        agent.begin_task(info)
        agent.observe(given, y)
        agent.end_task(info, Batches(given, y) if agent.needs.task_data else UndeclaredTaskData())
        images += len(y)
    s = Setting(agent.network.plastic, agent.problem.input_shape, given[0].nbytes, (2, 2), images)
    assert agent_class.card.memory(agent.config, s) == agent.memory_bytes()
