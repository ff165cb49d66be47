"""`python -m agents`: every agent, what it needs, and what can be set."""

import dataclasses
import sys

from agents import registry


def main() -> int:
    """Print the list."""
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


if __name__ == "__main__":
    sys.exit(main())
