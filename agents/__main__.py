"""`python -m agents`: every agent, what it needs, and what can be set; and a check of one's own."""

import argparse
import dataclasses
import sys

from errors import InputError

# What knows agents imports torch, which takes a second, so it waits until the command line is understood.


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if an agent fails a check, 2 for a mistake in the command."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except InputError as error:
        print("\n".join(f"error: {problem}" for problem in error.problems), file=sys.stderr)
        return 2


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
    check.add_argument("agents", nargs="+", metavar="NAME", help="a registered agent, or module:Class")
    check.set_defaults(command=_check)
    return parser


def _list(options: argparse.Namespace) -> int:
    from agents import registry

    for name in sorted(registry.AGENTS):
        agent = registry.get(name)
        summary = sys.modules[agent.__module__].__doc__.partition("\n")[0]
        needs = [need.replace("_", " ") for need, wanted in dataclasses.asdict(agent.needs).items() if wanted]
        print(f"{name}: {summary}")
        print(f"    needs: {', '.join(needs) or 'nothing but the stream'}")
        for field in dataclasses.fields(agent.Config):
            print(f"    {field.name}={field.default}  {field.metadata['help']}")
        print()
    return 0


def _check(options: argparse.Namespace) -> int:
    held = [_report(name, agent) for name, agent in _found(options.agents).items()]
    return 0 if all(held) else 1


def _report(name: str, agent: type) -> bool:
    """Print what each check says of an agent; whether all hold."""
    from agents.contract import CHECKS, verdicts

    print(f"{name}:")
    failures = []
    for check, failure in verdicts(agent):
        promise = CHECKS[check].__doc__.partition("\n")[0]
        print(f"    {'ok  ' if failure is None else 'FAIL'}  {check}: {promise}", flush=True)
        if failure is not None:
            print(f"          {failure}")
        failures.append(failure)
    held, left = failures.count(None), len(CHECKS) - len(failures)
    rest = f"; {left} wait until {check} holds" if left else ""
    print(f"{name}: {held} of {len(CHECKS)} checks hold{rest}")
    return held == len(CHECKS)


def _found(names: list[str]) -> dict[str, type]:
    """The agents' classes by name; an `InputError` tells all names that are none."""
    from agents import registry

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
