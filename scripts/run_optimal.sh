#!/usr/bin/env bash
# The published optimal settings on the test lists: of one agent, or of all agents of a dataset.
#   bash scripts/run_optimal.sh core50 augmem
#   bash scripts/run_optimal.sh core50 all --runs 3     options go to `lethe final`
set -euo pipefail
CDPATH='' cd -- "$(dirname "$0")/.."

# check KIND GIVEN NAME...: stop unless GIVEN is one of the names.
check() {
    local kind=$1 given=$2 name
    shift 2
    for name; do [ "$name" = "$given" ] && return; done
    printf "error: expected %s (%s), got '%s': bash scripts/run_optimal.sh DATASET AGENT [options]\n" \
        "$kind" "$*" "$given" >&2
    exit 2
}

folders=(scripts/optimal/*/)
folders=("${folders[@]%/}")
check "a dataset" "${1-}" "${folders[@]##*/}"
files=("scripts/optimal/$1"/*.toml)
agents=("${files[@]##*/}")
check "an agent of $1" "${2-}" all "${agents[@]%.toml}"
[ "$2" = all ] || files=("scripts/optimal/$1/$2.toml")
shift 2

. scripts/setup.sh requirements.txt
"$PYTHON" -m lethe final "${files[@]}" "$@"
