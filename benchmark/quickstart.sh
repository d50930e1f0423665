#!/usr/bin/env bash
# From a fresh clone to a learned policy: virtual environment, data recorded on this machine, training, curve.
# It can be run again: what is installed or recorded is kept, the training makes a new run folder.
set -euo pipefail
cd "$(dirname "$0")/.."
source benchmark/environment.sh
echo "== recording local/pointmaze/umaze-v0 (seconds; kept if it is there)"
python benchmark/collect_local.py pointmaze-umaze
echo "== training DMG: python dmg_offline.py"
python dmg_offline.py
echo "== scores of the last policies, and the learning curves in runs/quickstart.png"
python benchmark/report.py runs/pointmaze-umaze__* --plot runs/quickstart.png
