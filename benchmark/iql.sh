#!/usr/bin/env bash
# The tables of IQL's paper: locomotion and AntMaze (its Table 1), and each task of its totals of Kitchen and Adroit.
# Locomotion and AntMaze are D4RL's own v2 files, each imported once beforehand (python benchmark/import_d4rl.py
# --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# The paper's AntMaze, Kitchen and Adroit are D4RL's v0. Here AntMaze is v2, and Kitchen and Adroit are Minari's:
# report.py says so beside these numbers. Settings come from the task, also those of Kitchen and Adroit.
# 1e6 updates, five seeds a command; a command is a row, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
# Locomotion
python baselines/iql.py --env-id halfcheetah-medium-v2        --seed 1 2 3 4 5
python baselines/iql.py --env-id hopper-medium-v2             --seed 1 2 3 4 5
python baselines/iql.py --env-id walker2d-medium-v2           --seed 1 2 3 4 5
python baselines/iql.py --env-id halfcheetah-medium-replay-v2 --seed 1 2 3 4 5
python baselines/iql.py --env-id hopper-medium-replay-v2      --seed 1 2 3 4 5
python baselines/iql.py --env-id walker2d-medium-replay-v2    --seed 1 2 3 4 5
python baselines/iql.py --env-id halfcheetah-medium-expert-v2 --seed 1 2 3 4 5
python baselines/iql.py --env-id hopper-medium-expert-v2      --seed 1 2 3 4 5
python baselines/iql.py --env-id walker2d-medium-expert-v2    --seed 1 2 3 4 5
# AntMaze
python baselines/iql.py --env-id antmaze-umaze-v2          --seed 1 2 3 4 5
python baselines/iql.py --env-id antmaze-umaze-diverse-v2  --seed 1 2 3 4 5
python baselines/iql.py --env-id antmaze-medium-play-v2    --seed 1 2 3 4 5
python baselines/iql.py --env-id antmaze-medium-diverse-v2 --seed 1 2 3 4 5
python baselines/iql.py --env-id antmaze-large-play-v2     --seed 1 2 3 4 5
python baselines/iql.py --env-id antmaze-large-diverse-v2  --seed 1 2 3 4 5
# Kitchen
python baselines/iql.py --env-id kitchen-complete --seed 1 2 3 4 5
python baselines/iql.py --env-id kitchen-partial  --seed 1 2 3 4 5
python baselines/iql.py --env-id kitchen-mixed    --seed 1 2 3 4 5
# Adroit
python baselines/iql.py --env-id pen-human       --seed 1 2 3 4 5
python baselines/iql.py --env-id hammer-human    --seed 1 2 3 4 5
python baselines/iql.py --env-id door-human      --seed 1 2 3 4 5
python baselines/iql.py --env-id relocate-human  --seed 1 2 3 4 5
python baselines/iql.py --env-id pen-cloned      --seed 1 2 3 4 5
python baselines/iql.py --env-id hammer-cloned   --seed 1 2 3 4 5
python baselines/iql.py --env-id door-cloned     --seed 1 2 3 4 5
python baselines/iql.py --env-id relocate-cloned --seed 1 2 3 4 5
python benchmark/report.py runs/*__iql__*/
