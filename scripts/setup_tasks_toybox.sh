#!/usr/bin/env bash
# The task lists of Toybox, all paradigms and runs; first: lethe data prepare toybox --root DIR
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m lethe data tasks toybox "$@"
