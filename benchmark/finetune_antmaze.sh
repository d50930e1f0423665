#!/usr/bin/env bash
# Table 4 and Figure 6 of the paper: AntMaze, 1e6 offline updates, then 1e6 online steps, five seeds as members;
# last, TD3 from scratch, the baseline's rows. A command is a row, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_finetune.py --seed 1 2 3 4 5 --env-id antmaze-umaze
python dmg_finetune.py --seed 1 2 3 4 5 --env-id antmaze-umaze-diverse
python dmg_finetune.py --seed 1 2 3 4 5 --env-id antmaze-medium-play
python dmg_finetune.py --seed 1 2 3 4 5 --env-id antmaze-medium-diverse
python dmg_finetune.py --seed 1 2 3 4 5 --env-id antmaze-large-play
python dmg_finetune.py --seed 1 2 3 4 5 --env-id antmaze-large-diverse
for maze in umaze umaze-diverse medium-play medium-diverse large-play large-diverse; do
    python dmg_finetune.py --seed 1 2 3 4 5 --env-id "antmaze-$maze" --exp-name td3 \
        --offline-steps 0 --learning-starts 25000 --lam 1 --nu 0
done
python benchmark/report.py runs/antmaze-*__dmg_finetune__* runs/antmaze-*__td3__*
