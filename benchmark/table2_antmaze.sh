#!/usr/bin/env bash
# The AntMaze half of the paper's Table 2, on D4RL's own v2
# files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5
# 1e6 updates, five seeds a command, 100 episodes at the end; a command is a row, and each can be copied and run.
# Minari's data, which are not D4RL's, have the same names without -v2: antmaze_minari.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id antmaze-umaze-v2          --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-umaze-diverse-v2  --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-medium-play-v2    --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-medium-diverse-v2 --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-large-play-v2     --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python dmg_offline.py --env-id antmaze-large-diverse-v2  --lam 0.25 --nu 0.5 --seed 1 2 3 4 5
python benchmark/report.py runs/antmaze-*__dmg_offline__*/ --curves figure5.png
