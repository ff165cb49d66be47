#!/usr/bin/env bash
# The whole way on a small generated dataset, with all its set-up: images, index, task lists, four agents under
# four paradigms with three runs each, table, plots. Everything lands in data/, dataloaders/ and results/demo/.
set -euo pipefail
. "$(dirname "$0")/setup.sh" requirements.txt

"$PYTHON" -m dataloaders draw core50_mini
"$PYTHON" -m dataloaders index core50_mini
"$PYTHON" -m dataloaders tasks core50_mini --runs 3
"$PYTHON" -m benchmarks run core50_mini/{iid,class_iid,instance,class_instance} \
    --agent finetune ewc er offline --runs 3 --workers 2 \
    --set lr=0.003 offline.lr=0.01 er.memory_images=200 --out results/demo
"$PYTHON" -m benchmarks report results/demo --out results/demo/report
