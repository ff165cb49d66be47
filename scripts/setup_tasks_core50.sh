#!/usr/bin/env bash
# The task lists of CORe50, all paradigms and runs, from the dirmap that comes with the project.
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m lethe data tasks core50 "$@"
