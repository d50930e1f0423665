#!/usr/bin/env bash
# The fine-tuning table of IQL's paper: AntMaze, 1e6 offline updates, then 1e6 online steps, five seeds a command, on
# D4RL's own v2 files (the paper's are v0), each imported once beforehand (python benchmark/import_d4rl.py --help says
# where they are):
#   python benchmark/import_d4rl.py Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5
# IQL's authors keep the discount online, also in the large mazes. The table's first number of a pair is the score where
# the phases meet: report.py gives it a row of its own.
# The table's other rows cannot be run: pen-binary, door-binary and relocate-binary are data and environments of AWAC's
# authors, which neither D4RL nor Minari has.
# A command is a row, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python baselines/iql.py --env-id antmaze-umaze-v2          --online-steps 1000000 --online-gamma 0.99 --seed 1 2 3 4 5 --exp-name iql_online
python baselines/iql.py --env-id antmaze-umaze-diverse-v2  --online-steps 1000000 --online-gamma 0.99 --seed 1 2 3 4 5 --exp-name iql_online
python baselines/iql.py --env-id antmaze-medium-play-v2    --online-steps 1000000 --online-gamma 0.99 --seed 1 2 3 4 5 --exp-name iql_online
python baselines/iql.py --env-id antmaze-medium-diverse-v2 --online-steps 1000000 --online-gamma 0.99 --seed 1 2 3 4 5 --exp-name iql_online
python baselines/iql.py --env-id antmaze-large-play-v2     --online-steps 1000000 --online-gamma 0.99 --seed 1 2 3 4 5 --exp-name iql_online
python baselines/iql.py --env-id antmaze-large-diverse-v2  --online-steps 1000000 --online-gamma 0.99 --seed 1 2 3 4 5 --exp-name iql_online
python benchmark/report.py runs/antmaze-*__iql_online__*/ --curves iql_online.png
