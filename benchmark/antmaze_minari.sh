#!/usr/bin/env bash
# AntMaze on Minari's data, read as D4RL's one-goal task. They are not D4RL's: another ant, and scores do not compare with
# the paper's. 1e6 updates, five seeds a command, 100 episodes at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id antmaze-umaze             --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-umaze-diverse     --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-medium-play       --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-medium-diverse    --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-large-play        --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-large-diverse     --seed 1 2 3 4 5
python benchmark/report.py runs/antmaze-*__dmg_offline__*/
