#!/usr/bin/env bash
# The whole way on a small generated dataset, with all its set-up: images, index, task lists, the ten agents of
# scripts/demo.toml under four paradigms with three runs each, table, plots. All lands in data/ and
# results/demo/.
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m dataloaders draw core50_mini
"$PYTHON" -m dataloaders index core50_mini
"$PYTHON" -m gridsearch final scripts/demo.toml --runs 3 --out results/demo
"$PYTHON" -m benchmarks report results/demo --out results/demo/report
