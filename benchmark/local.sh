#!/usr/bin/env bash
# The paper's Figures 1 and 2 in a small maze whose data are made here (python benchmark/collect_local.py pointmaze-umaze).
# Three seeds a command and 15,000 updates, an hour on two cores; a command is a row, and each can be copied and run.
#   python benchmark/launch.py benchmark/local.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# Figure 1: lam
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0.25
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0.5
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0.75
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 1
# Figure 2: nu, beside nu 0.5 above
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 0.01
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 0.1
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 1
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 10
