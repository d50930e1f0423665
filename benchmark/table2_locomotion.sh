#!/usr/bin/env bash
# The locomotion half of the paper's Table 2, on D4RL's own v2 files, each imported once beforehand
# (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# 1e6 updates, five seeds a command, 10 episodes at the end; a command is a row, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id halfcheetah-medium-v2        --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id hopper-medium-v2             --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id walker2d-medium-v2           --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id halfcheetah-medium-replay-v2 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id hopper-medium-replay-v2      --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id walker2d-medium-replay-v2    --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id halfcheetah-medium-expert-v2 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_offline.py --env-id hopper-medium-expert-v2      --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_offline.py --env-id walker2d-medium-expert-v2    --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_offline.py --env-id halfcheetah-expert-v2        --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_offline.py --env-id hopper-expert-v2             --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_offline.py --env-id walker2d-expert-v2           --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_offline.py --env-id halfcheetah-random-v2        --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id hopper-random-v2             --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_offline.py --env-id walker2d-random-v2           --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python benchmark/report.py runs/*-v2__dmg_offline__*/ --curves figure4.png
