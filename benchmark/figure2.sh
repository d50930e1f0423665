#!/usr/bin/env bash
# Figure 2 of the paper: score and Q over nu, on D4RL's own v2
# files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# The values are those on the figure's axis. The 35 members of a command are trained as one; on a CPU, give each nu and
# seed a command of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id walker2d-medium-v2    --lam 0.25 --nu 0.001 0.01 0.05 0.1 0.5 1 10 --seed 1 2 3 4 5 --exp-name figure2
python dmg_offline.py --env-id hopper-medium-v2      --lam 0.25 --nu 0.001 0.01 0.05 0.1 0.5 1 10 --seed 1 2 3 4 5 --exp-name figure2
python dmg_offline.py --env-id halfcheetah-medium-v2 --lam 0.25 --nu 0.001 0.01 0.05 0.1 0.5 1 10 --seed 1 2 3 4 5 --exp-name figure2
python dmg_offline.py --env-id halfcheetah-random-v2 --lam 0.25 --nu 0.001 0.01 0.05 0.1 0.5 1 10 --seed 1 2 3 4 5 --exp-name figure2
python benchmark/report.py runs/*__figure2__*/ --nu-plot figure2.png
