"""Named seeds of a run: every random number comes from (seed, run, name), and from nothing else."""

import hashlib


def derive(seed: int, run: int, name: str) -> int:
    """A 63-bit seed for `name` ("weights", "agent", ...) in run `run` of an experiment with `seed`.

    Runs do not depend on each other, nor on the order in which seeds are asked for.
    """
    digest = hashlib.sha256(f"{seed}/{run}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
