"""`python -m lethe`: the command `lethe`."""

import sys

from lethe.cli import program

if __name__ == "__main__":
    sys.exit(program())
