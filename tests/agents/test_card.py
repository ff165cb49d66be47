"""Cards: an agent's own facts, derived where it has none, and the orders and tables made of them."""

import pytest

from lethe.agents import registry
from lethe.agents.agem import AGEM
from lethe.agents.base import Agent
from lethe.agents.card import COLOURS, FAMILIES, Card, Style, card_of
from lethe.agents.contract import toy
from lethe.agents.er import ER
from lethe.agents.remind import REMIND


class Derived(ER):
    """An agent of a user's own."""


class OfPaper(Agent):
    """An agent whose module cites a paper."""

    __module__ = "lethe.agents.agem"


def test_a_card_is_the_agents_own_and_not_that_of_what_it_derives_from():
    assert registry.card("agem") is AGEM.card and AGEM.card.title == "A-GEM"
    assert registry.card("ewc_online").title == "Online EWC"
    found = card_of(Derived)
    assert (found.title, found.family, found.style, found.memory, found.published) == (
        "Derived", "other", None, None, ()
    )  # fmt: skip


def test_a_derived_card_has_the_source_that_the_docstring_cites():
    assert card_of(Derived).source == ""
    assert card_of(OfPaper).source == AGEM.card.source == "1812.00420"


def test_a_strategy_of_avalanche_has_a_derived_card():
    assert registry.card("avalanche:Naive").title == "Naive"


def test_tables_show_families_in_order_and_in_each_the_registrys_order():
    assert registry.by_family() == (
        "finetune", "offline", "l2", "ewc", "ewc_online", "si", "mas", "lwf", "stable_sgd", "er", "er_ace", "mir",
        "gss", "gdumb", "gem", "agem", "icarl", "derpp", "bic", "scr", "cope", "rainbow", "slda", "ncm", "ranpac",
        "acil", "fecam", "exstream", "fsa", "remind", "siesta", "augmem", "crumb",
        "augmem_published",
    )  # fmt: skip


def test_an_agent_without_a_card_comes_last(monkeypatch):
    agents = {"mine": f"{__name__}:Derived", **registry.AGENTS}
    monkeypatch.setattr(registry, "AGENTS", agents)
    assert registry.by_family()[-1] == "mine" and len(registry.by_family()) == len(agents)


def test_no_published_system_has_two_counterparts():
    systems = [system for name in registry.AGENTS for system in registry.card(name).published]
    assert len(systems) == len(set(systems)) > 10


def test_formula_and_function_come_together():
    for name in registry.AGENTS:
        card = registry.card(name)
        assert bool(card.formula) == (card.memory is not None)


def test_families_and_colours_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match=r"family of X: expected one of bound, .* got rehearsal"):
        Card("X", "rehearsal", "")
    with pytest.raises(ValueError, match=r"colour of X: expected one of blue, .* got pink"):
        Card("X", FAMILIES[0], "", style=Style("pink", "o"))
    assert set(COLOURS) > {"blue", "grey"}


def test_toy_settings_hold_for_what_derives_from_the_agent():
    class Other(REMIND):
        """Another agent."""

    assert toy.build(Other).config.codebooks == REMIND.card.toy_settings["codebooks"] == 2
    assert toy.build(Other, codebooks=4).config.codebooks == 4
