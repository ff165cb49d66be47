"""Configurations: text and typed values become typed settings, and every mistake is told."""

import sys
import types
from dataclasses import asdict, dataclass, fields

import pytest

from lethe.agents import registry
from lethe.agents.base import Agent
from lethe.agents.config import Config, SGDConfig
from lethe.agents.er import ER, ERConfig
from lethe.agents.ewc import EWC, EWCConfig
from lethe.agents.finetune import Finetune
from lethe.agents.parts.sgd import SGDAgent
from lethe.common.errors import InputError


def test_text_and_typed_values_give_the_same_configuration():
    text = {"lr": "1e-2", "memory_size": "200", "epochs_first_task": "none"}
    typed = {"lr": 0.01, "memory_size": 200, "epochs_first_task": None}
    assert ERConfig.from_settings(text) == ERConfig.from_settings(typed)
    assert ERConfig.from_settings({"lr": 1}).lr == 1.0


def test_all_mistakes_are_told_at_once_and_the_nearest_key_is_named():
    with pytest.raises(InputError) as error:
        ERConfig.from_settings({"memry_size": 3, "lr": "fast", "batch_size": 0, "momentum": 1.5})
    text = str(error.value)
    assert "did you mean 'memory_size'?" in text
    assert "lr: expected float, got 'fast'" in text
    assert "batch_size: expected at least 1, got 0" in text
    assert "momentum: expected at most 1, got 1.5" in text


@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 0},
        {"lr": "nan"},
        {"lr": "inf"},
        {"lr": True},
        {"epochs": 1.5},
        {"epochs": "1.5"},
        {"epochs": None},
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused(settings):
    with pytest.raises(InputError):
        ERConfig.from_settings(settings)


@pytest.mark.parametrize("name", registry.AGENTS)
def test_every_field_of_every_agent_says_what_it_is(name):
    config = registry.get(name).Config
    for field in fields(config):
        assert field.metadata["help"].endswith("."), field.name
    assert config.from_settings(asdict(config())) == config()


def test_epochs_of_the_first_task_may_differ():
    config = ERConfig.from_settings({"epochs": 2, "epochs_first_task": 10})
    assert [config.epochs_of(task) for task in range(3)] == [10, 2, 2]
    assert ERConfig.from_settings({"epochs": 2}).epochs_of(0) == 2


def test_registry_names_the_nearest_agent_and_refuses_what_is_none():
    with pytest.raises(InputError, match="did you mean 'finetune'"):
        registry.get("finetun")
    with pytest.raises(InputError, match="module 'nowhere' is not found"):
        registry.get("nowhere:Agent")
    with pytest.raises(InputError, match="no subclass"):
        registry.get("lethe.agents.base:Problem")
    with pytest.raises(InputError, match=r"lethe\.agents\.er has no Nope"):
        registry.get("lethe.agents.er:Nope")
    with pytest.raises(InputError, match="one of your own is given as module:Class"):
        registry.get("nobody")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere:A", "expected nowhere.py in the current folder, or an installed module"),
        ("nowhere.near:A", "expected nowhere/near.py in the current folder"),
        ("agents.nowhere:A", "module 'agents.nowhere' is not found: expected agents/nowhere.py"),
        ("needy:A", "needy is there, but what it imports is not installed: No module named 'nosuchpackage'"),
    ],
)
def test_a_module_that_is_not_there_is_told_from_one_that_lacks_what_it_imports(
    name, told, tmp_path, monkeypatch
):
    (tmp_path / "needy.py").write_text("import nosuchpackage\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as error:
        registry.get(name)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "name", [":", ":X", "x:", "lethe.agents.er:", "a b:C", ".er:ER", "agents..er:ER", "agents/er.py:ER"]
)
def test_a_name_that_is_no_module_and_class_is_told_how_to_be_one(name):
    with pytest.raises(InputError, match="expected module:Class, such as"):
        registry.get(name)


def test_an_agents_configuration_class_is_its_parameter():
    class Own(SGDAgent[ERConfig]):
        pass

    class Further(ER):
        pass

    class Stated(SGDAgent):
        Config = ERConfig

    class Plain(Agent):
        pass

    class Raised(EWC):
        pass

    found = [agent.Config for agent in (Own, Further, Stated, Plain, Raised, SGDAgent, Agent)]
    assert found == [ERConfig, ERConfig, ERConfig, Config, EWCConfig, SGDConfig, Config]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", r"broken.py:1: SyntaxError: invalid syntax"),
        ("x = 1\n1 / 0\n", r"broken.py:2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)\n", r"broken.py:2: SystemExit: 0"),
        ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_in_one_line_with_its_place(
    text, told, tmp_path, monkeypatch
):
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=f"agent 'broken:A': broken cannot be imported: .*{told}") as caught:
        registry.get("broken:A")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"needs": None}, "needs: expected Needs"),
        ({"needs": "offline"}, "needs: expected Needs"),
        ({"Config": {}}, "Config: expected a class derived from"),
        ({"cut": 5}, "cut: expected the name of a stage or None, got 5"),
        ({"resumable": "no"}, "resumable: expected True or False"),
    ],
)
def test_what_a_class_declares_is_of_the_right_kind(declared, told, monkeypatch):
    module = types.ModuleType("declares")
    module.A = type("A", (Finetune,), declared)
    monkeypatch.setitem(sys.modules, "declares", module)
    with pytest.raises(InputError, match=f"agent 'declares:A': {told}"):
        registry.get("declares:A")


def test_a_configuration_of_ones_own_that_is_broken_is_told():
    @dataclass(frozen=True)
    class Untyped(Config):
        extra: "Nowhere" = 3  # noqa: F821

    @dataclass(frozen=True)
    class Picky(Config):
        def __post_init__(self):
            raise KeyError("never")

    with pytest.raises(InputError, match=r"Untyped: its types cannot be read: .*Nowhere"):
        Untyped.from_settings({})
    with pytest.raises(InputError, match=r"Picky: cannot be made: .*KeyError: 'never'"):
        Picky.from_settings({})


def test_a_field_without_help_and_range_is_taken_as_it_is():
    @dataclass(frozen=True)
    class Plain(Config):
        extra: int = 3

    assert Plain.from_settings({"extra": "4"}).extra == 4


@pytest.mark.parametrize("value", [2**63, 10**400, -(10**30), "9" * 30])
def test_a_number_that_no_tensor_holds_is_refused(value):
    with pytest.raises(InputError, match="batch_size: expected "):
        Config.from_settings({"batch_size": value})
