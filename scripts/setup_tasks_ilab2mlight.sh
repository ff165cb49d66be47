#!/usr/bin/env bash
# The task lists of iLab-2M-Light, all paradigms and runs; first: lethe data prepare ilab2mlight --root DIR
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m lethe data tasks ilab2mlight "$@"
