"""Mutation testing: small changes of the code that some test should notice, and those that none does.

    python -m tests.mutation                                        twenty changes of benchmarks/ and gridsearch/
    python -m tests.mutation benchmarks/report --count 40 --seed 1

Each change is made alone, in a copy of the working tree, and the tests that belong to its file (`belonging.py`) run
there, the quickest files first, until one fails. What takes four times as long as without a change hangs, which counts
as noticed. Survivors are printed with their difference: write the test that fails there, or, where no test
could, say why in `equivalent.toml`. Exit status 1 if there are survivors.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutation.belonging import belonging_tests
from tests.mutation.copied import Copy
from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", nargs="*", default=["benchmarks", "gridsearch"], help="files or folders to change"
    )
    parser.add_argument("--count", type=int, default=20, help="number of changes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of changes (default %(default)s)")
    options = parser.parse_args()
    if options.count < 1:
        parser.error(f"--count {options.count}: expected a number from 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the copy is removed
    belonging = belonging_tests(ROOT)
    unknown = [path for path in options.paths if not any(_below(file, path) for file in belonging)]
    if unknown:
        parser.error(
            f"{', '.join(unknown)}: expected files or folders of Lethe's packages, such as benchmarks/report"
        )
    files = [file for file in belonging if any(_below(file, path) for path in options.paths)]
    chosen = choose(files, options.count, options.seed, known_equivalents())
    needed = set().union(*(belonging[mutant.path] for mutant in chosen))
    with tempfile.TemporaryDirectory(prefix="m-") as folder:
        copy = Copy(ROOT, Path(folder))
        print(f"{len(chosen)} changes; {len(needed)} test files without a change ...", flush=True)
        copy.measure(sorted(needed))
        survivors = [mutant for mutant in chosen if not _noticed(copy, mutant, belonging[mutant.path])]
    print(f"\nnoticed: {len(chosen) - len(survivors)} of {len(chosen)}; survivors: {len(survivors)}")
    for mutant in survivors:
        print(f"  {mutant.path}:{mutant.line}: {mutant.kind}")
    return 1 if survivors else 0


def choose(
    files: Sequence[str], count: int, seed: int, equivalent: set[tuple[str, str, str]]
) -> list[Mutant]:
    """`count` mutants, spread over the files in turn, and in a file over the kinds of change."""
    generator = random.Random(seed)
    order = generator.sample(sorted(files), len(files))
    drawn = [_drawn(file, generator.random(), equivalent) for file in order]
    chosen: list[Mutant] = []
    while drawn and len(chosen) < count:
        source = drawn.pop(0)
        if (mutant := next(source, None)) is not None:
            chosen.append(mutant)
            drawn.append(source)
    return chosen


def _drawn(file: str, seed: float, equivalent: set[tuple[str, str, str]]) -> Iterator[Mutant]:
    text, generator = (ROOT / file).read_text(encoding="utf-8"), random.Random(seed)
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants(file, text):
        kinds[mutant.kind].append(mutant)
    while kinds:
        kind = generator.choice(sorted(kinds))
        mutant = kinds[kind].pop(generator.randrange(len(kinds[kind])))
        if not kinds[kind]:
            del kinds[kind]
        if mutant.is_another(text) and (file, *mutant.change(text)) not in equivalent:
            yield mutant


def known_equivalents(path: Path = EQUIVALENT) -> set[tuple[str, str, str]]:
    """File and changed lines (before, after) of the mutants that no test can tell from the original."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", [])
    return {(entry["file"], entry["before"], entry["after"]) for entry in entries if entry["reason"]}


def _noticed(copy: Copy, mutant: Mutant, files: set[str]) -> bool:
    begun = time.monotonic()
    by = copy.fails(mutant, files)
    told = f"noticed by {by}" if by else "SURVIVED"
    print(
        f"{mutant.path}:{mutant.line}: {mutant.kind}: {told} ({time.monotonic() - begun:.0f} s)", flush=True
    )
    return bool(by)


def _below(file: str, path: str) -> bool:
    path = Path(path).as_posix().rstrip("/")
    return file == path or file.startswith(f"{path}/")


if __name__ == "__main__":
    sys.exit(main())
