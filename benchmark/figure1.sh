#!/usr/bin/env bash
# Figure 1 of the paper: score and Q over lam, on D4RL's own v2
# files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# The 25 members of a command are trained as one; on a CPU, give each lam and seed a command of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id walker2d-medium-v2    --nu 0.1 --lam 0 0.25 0.5 0.75 1 --seed 1 2 3 4 5 --exp-name figure1
python dmg_offline.py --env-id hopper-medium-v2      --nu 0.1 --lam 0 0.25 0.5 0.75 1 --seed 1 2 3 4 5 --exp-name figure1
python dmg_offline.py --env-id halfcheetah-medium-v2 --nu 0.1 --lam 0 0.25 0.5 0.75 1 --seed 1 2 3 4 5 --exp-name figure1
python dmg_offline.py --env-id halfcheetah-random-v2 --nu 0.1 --lam 0 0.25 0.5 0.75 1 --seed 1 2 3 4 5 --exp-name figure1
python benchmark/report.py runs/*__figure1__*/ --lam-plot figure1.png
