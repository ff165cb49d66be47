#!/usr/bin/env bash
# The whole way on a small generated dataset, with all its set-up: images, index, task lists, ten agents under four
# paradigms with three runs each, table, plots. The settings are the winners of the search scripts/grids/core50_mini.toml.
# All lands in data/ and results/demo/.
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m lethe data draw core50_mini
"$PYTHON" -m lethe data index core50_mini
"$PYTHON" -m lethe final scripts/best/core50_mini.toml --runs 3 --out results/demo
"$PYTHON" -m lethe report results/demo --out results/demo/report
