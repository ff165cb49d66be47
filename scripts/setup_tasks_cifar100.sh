#!/usr/bin/env bash
# The task lists of CIFAR-100, all runs; first: lethe data prepare cifar100 --root DIR
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m lethe data tasks cifar100 "$@"
