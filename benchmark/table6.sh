#!/usr/bin/env bash
# Table 6 of the paper: Table 2 with ten seeds and 95 % confidence intervals, on D4RL's own v2
# files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# A command is a row, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id halfcheetah-medium-v2        --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id hopper-medium-v2             --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id walker2d-medium-v2           --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id halfcheetah-medium-replay-v2 --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id hopper-medium-replay-v2      --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id walker2d-medium-replay-v2    --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id halfcheetah-medium-expert-v2 --nu 10  --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id hopper-medium-expert-v2      --nu 10  --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id walker2d-medium-expert-v2    --nu 10  --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id halfcheetah-expert-v2        --nu 10  --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id hopper-expert-v2             --nu 10  --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id walker2d-expert-v2           --nu 10  --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id halfcheetah-random-v2        --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id hopper-random-v2             --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id walker2d-random-v2           --nu 0.1 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id antmaze-umaze-v2             --nu 0.5 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id antmaze-umaze-diverse-v2     --nu 0.5 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id antmaze-medium-play-v2       --nu 0.5 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id antmaze-medium-diverse-v2    --nu 0.5 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id antmaze-large-play-v2        --nu 0.5 --seed 1 2 3 4 5 6 7 8 9 10
python dmg_offline.py --env-id antmaze-large-diverse-v2     --nu 0.5 --seed 1 2 3 4 5 6 7 8 9 10
python benchmark/report.py runs/*-v2__dmg_offline__*/
