#!/usr/bin/env bash
# The AntMaze half of the paper's Table 2, on Minari's data read the D4RL way; they are not D4RL's.
# 1e6 updates, five seeds a command, 100 episodes at the end; a command is a row, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id antmaze-umaze          --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-umaze-diverse  --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-medium-play    --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-medium-diverse --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-large-play     --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-large-diverse  --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python benchmark/report.py runs/antmaze-*__dmg_offline__*
