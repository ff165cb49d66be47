"""Worker processes that do not run the program's main module again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_main() -> Iterator[None]:
    """Start processes in this context without the main module.

    A spawned process imports the main module of its parent first: a script without `if __name__ == "__main__":` would
    run a second time there. The functions that workers run are not in it.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # it has neither a file nor a specification
    try:
        yield
    finally:
        sys.modules["__main__"] = main
