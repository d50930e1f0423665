#!/usr/bin/env bash
# Table 4 and Figure 6 of the paper: AntMaze, 1e6 offline updates, then 1e6 online steps, five seeds a command, on
# D4RL's own v2 files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5
# Then TD3 from scratch. A command is a row, and each can be copied and run. Minari's data, which are not D4RL's, have
# the same names without -v2.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_finetune.py --env-id antmaze-umaze-v2 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-umaze-diverse-v2 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-medium-play-v2 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-medium-diverse-v2 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-large-play-v2 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-large-diverse-v2 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-umaze-v2 --exp-name td3 --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-umaze-diverse-v2 --exp-name td3 --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-medium-play-v2 --exp-name td3 --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-medium-diverse-v2 --exp-name td3 --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-large-play-v2 --exp-name td3 --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0 --seed 1 2 3 4 5
python dmg_finetune.py --env-id antmaze-large-diverse-v2 --exp-name td3 --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0 --seed 1 2 3 4 5
python benchmark/report.py runs/antmaze-*__dmg_finetune__*/ runs/antmaze-*__td3__*/ --curves figure6.png
