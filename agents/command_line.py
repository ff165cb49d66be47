"""Commands on agents: the list of all, one in full, and a check of the contract."""

import argparse
import dataclasses
import sys
import textwrap
from typing import TYPE_CHECKING

from lethe.common.command_line import Commands
from lethe.common.errors import InputError
from lethe.common.printable import printable, printable_lines

if TYPE_CHECKING:
    from lethe.agents.base import Agent

# What knows agents imports torch, which takes a second, so it waits until the command line is understood.


def add_commands(commands: Commands) -> None:
    """Add the commands on agents."""
    listing = commands.add_parser(
        "agents",
        help="list the agents, or tell all about some: their paper, needs and hyperparameters",
        description="List all agents with what they need; of named ones, print their paper, differences from it, "
        "needs and hyperparameters.",
    )
    add_names(listing, "*")
    listing.set_defaults(command=show)
    add_check(commands)


def add_check(commands: Commands) -> None:
    """Add the command that checks the contract."""
    check = commands.add_parser(
        "check",
        help="check whether agents keep the contract, and what to do where they do not",
        description="Let agents learn a tiny problem, and check all that agents/base.py asks of them.",
    )
    add_names(check, "+")
    check.set_defaults(command=_check)


def add_names(parser: argparse.ArgumentParser, count: str) -> None:
    """Add the names of agents."""
    parser.add_argument(
        "agents", nargs=count, metavar="NAME", help="a registered agent, avalanche:STRATEGY, or module:Class"
    )


def show(options: argparse.Namespace) -> int:
    """Print a line per agent, or all about each that is named."""
    from lethe.agents import registry

    for name, agent in _found(options.agents).items():
        print(printable_lines(f"{name}: {_documentation(agent)}"))
        print(f"Needs: {_needs(agent)}.\n\nHyperparameters:\n")
        for field in dataclasses.fields(agent.Config):
            print(printable(f"    {field.name}={field.default}  {field.metadata.get('help', '')}"))
        print()
    if options.agents:
        return 0
    for name in sorted(registry.AGENTS):
        agent = registry.get(name)
        print(f"{name}: {_documentation(agent).partition(chr(10))[0]}")
        print(f"    needs: {_needs(agent)}")
    strategies = registry.AVALANCHE
    print(f"avalanche:STRATEGY: Any of {len(strategies)} strategies of avalanche-lib, wrapped.")
    print(textwrap.fill(", ".join(strategies), 100, initial_indent="    ", subsequent_indent="    "))
    print("    what each needs, and which others do not fit: docs/agents.md")
    print("\nlethe agents NAME: its paper and hyperparameters")
    return 0


def _documentation(agent: "type[Agent]") -> str:
    """The docstring of the agent's file, or of its class."""
    return (sys.modules[agent.__module__].__doc__ or agent.__doc__ or "").strip() + "\n"


def _needs(agent: "type[Agent]") -> str:
    needs = [need.replace("_", " ") for need, wanted in dataclasses.asdict(agent.needs).items() if wanted]
    return ", ".join(needs) or "nothing but the stream"


def _check(options: argparse.Namespace) -> int:
    held = [_report(name, agent) for name, agent in _found(options.agents).items()]
    return 0 if all(held) else 1


def _report(name: str, agent: "type[Agent]") -> bool:
    """Print what each check says of an agent; whether all hold."""
    from lethe.agents.contract.checks import CHECKS, verdicts

    print(f"{name}:")
    found = []
    for verdict in verdicts(agent):
        found.append(verdict)
        promise = (CHECKS[verdict.check].__doc__ or "").partition("\n")[0]
        mark = "FAIL" if verdict.failure else "skip" if verdict.skipped else "ok  "
        print(f"    {mark}  {verdict.check}: {promise}", flush=True)
        if verdict.failure or verdict.skipped:
            print(printable_lines(f"          {verdict.failure or verdict.skipped}"))
    failed = sum(verdict.failure is not None for verdict in found)
    skipped = sum(verdict.skipped is not None for verdict in found)
    left = len(CHECKS) - len(found)
    rest = f"; {skipped} skipped" if skipped else ""
    rest += f"; {left} wait until {found[-1].check} holds" if left else ""
    print(f"{name}: {len(found) - failed - skipped} of {len(CHECKS)} checks hold{rest}")
    return failed == 0


def _found(names: list[str]) -> "dict[str, type[Agent]]":
    """The agents' classes by name; an `InputError` tells all names that are none."""
    from lethe.agents import registry

    found: dict[str, type[Agent]] = {}
    problems: list[str] = []
    for name in names:
        try:
            found[name] = registry.get(name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return found
