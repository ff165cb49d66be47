#!/usr/bin/env bash
# The tests, with all their set-up: `bash scripts/test.sh`. Arguments go to pytest: `--slow`, `-k loop`, ...
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements-dev.txt
export OMP_NUM_THREADS=1 # two test processes share two cores; a file stays in one, for what its tests share
exec "$PYTHON" -m pytest --numprocesses 2 --dist loadfile "$@"
