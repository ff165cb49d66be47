#!/usr/bin/env bash
# REMIND's ImageNet experiment, from files to the table, with all its set-up:
#   bash scripts/remind_imagenet.sh DIR
# DIR holds train/ and val/, a folder per class in each (a flat val/ beside the ground-truth file of ILSVRC-2012 is sorted),
# and imagenet_class_order.txt, one class folder a line. With 1,000 classes the settings are the published ones
# (scripts/optimal/imagenet), for a GPU; with fewer those of scripts/grids/imagenet_small, for a laptop.
# All lands in data/ and results/imagenet/. Each step can be repeated: what is finished is kept.
set -euo pipefail
if [ $# -ne 1 ] || [ ! -d "$1/train" ]; then
    echo "error: expected a folder that holds train/ and val/: bash scripts/remind_imagenet.sh DIR" >&2
    exit 2
fi
images=$(CDPATH='' cd -- "$1" && pwd)
. "$(dirname "$0")/setup.sh" requirements.txt

folders=("$images"/train/*/)
out=results/imagenet
if [ ${#folders[@]} -eq 1000 ]; then
    base=scripts/optimal/imagenet/base.toml stream=scripts/optimal/imagenet/remind.toml
    curve=(--offline-curve results/offline_curves/imagenet_remind.csv)
else
    base=scripts/grids/imagenet_small/base.toml stream=scripts/grids/imagenet_small/stream.toml
    curve=()
fi
"$PYTHON" -m lethe data prepare imagenet --root "$images"
"$PYTHON" -m lethe final "$base" --runs 1 --keep-model --out "$out/base"
"$PYTHON" -m lethe final "$stream" --runs 1 --out "$out/stream"
"$PYTHON" -m lethe export remind "$out"/stream/imagenet/class_ordered/remind/* --out "$out/files"
"$PYTHON" -m lethe report "$out/stream" --out "$out/report" "${curve[@]}"
