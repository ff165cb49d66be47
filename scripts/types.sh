#!/usr/bin/env bash
# Checks types with mypy. mypy knows nothing of package-dir (pyproject.toml), so it is shown the packages by links.
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements-dev.txt

links=.venv/types
rm -rf "$links"
mkdir -p "$links/lethe"
ln -s "$PWD"/lethe/* "$PWD"/{agents,benchmarks,common,dataloaders,gridsearch} "$links/lethe"
MYPYPATH=$links "$PYTHON" -m mypy --package lethe "$@"
