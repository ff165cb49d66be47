"""`lethe agents`: every agent, what it needs, and what can be set; and a check of one's own."""

import argparse
import dataclasses
import sys
import textwrap

from lethe.common.command_line import exit_status
from lethe.common.errors import InputError

# What knows agents imports torch, which takes a second, so it waits until the command line is understood.


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if an agent fails a check, 2 for a mistake in the command."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: options.command(options), stopped="stopped")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agents",
        description="Without a command: list every agent, what it needs, and what can be set.",
    )
    parser.set_defaults(command=_list)
    commands = parser.add_subparsers(metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="see whether agents keep the contract, and what is wrong where they do not",
        description="Let agents learn a tiny problem, and check all that agents/base.py asks of them.",
    )
    check.add_argument(
        "agents", nargs="+", metavar="NAME", help="a registered agent, avalanche:STRATEGY, or module:Class"
    )
    check.set_defaults(command=_check)
    return parser


def _list(options: argparse.Namespace) -> int:
    from lethe.agents import registry

    for name in sorted(registry.AGENTS):
        agent = registry.get(name)
        summary = sys.modules[agent.__module__].__doc__.partition("\n")[0]
        needs = [need.replace("_", " ") for need, wanted in dataclasses.asdict(agent.needs).items() if wanted]
        print(f"{name}: {summary}")
        print(f"    needs: {', '.join(needs) or 'nothing but the stream'}")
        for field in dataclasses.fields(agent.Config):
            print(f"    {field.name}={field.default}  {field.metadata['help']}")
        print()
    strategies = registry.AVALANCHE
    print(f"avalanche:STRATEGY: Any of {len(strategies)} strategies of avalanche-lib, wrapped.")
    print(textwrap.fill(", ".join(strategies), 100, initial_indent="    ", subsequent_indent="    "))
    print("    what each needs, and which others do not fit: docs/agents.md")
    return 0


def _check(options: argparse.Namespace) -> int:
    held = [_report(name, agent) for name, agent in _found(options.agents).items()]
    return 0 if all(held) else 1


def _report(name: str, agent: type) -> bool:
    """Print what each check says of an agent; whether all hold."""
    from lethe.agents.contract.checks import CHECKS, verdicts

    print(f"{name}:")
    found = []
    for verdict in verdicts(agent):
        found.append(verdict)
        promise = CHECKS[verdict.check].__doc__.partition("\n")[0]
        mark = "FAIL" if verdict.failure else "skip" if verdict.skipped else "ok  "
        print(f"    {mark}  {verdict.check}: {promise}", flush=True)
        if verdict.failure or verdict.skipped:
            print(f"          {verdict.failure or verdict.skipped}")
    failed = sum(verdict.failure is not None for verdict in found)
    skipped = sum(verdict.skipped is not None for verdict in found)
    left = len(CHECKS) - len(found)
    rest = f"; {skipped} skipped" if skipped else ""
    rest += f"; {left} wait until {found[-1].check} holds" if left else ""
    print(f"{name}: {len(found) - failed - skipped} of {len(CHECKS)} checks hold{rest}")
    return failed == 0


def _found(names: list[str]) -> dict[str, type]:
    """The agents' classes by name; an `InputError` tells all names that are none."""
    from lethe.agents import registry

    found, problems = {}, []
    for name in names:
        try:
            found[name] = registry.get(name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return found


if __name__ == "__main__":
    sys.exit(main())
