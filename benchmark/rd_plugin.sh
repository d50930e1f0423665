#!/usr/bin/env bash
# RD's table of methods that RD is added to: TD3+BC and CQL, each without and with RD (our reading: see
# baselines/rd_td3.py). CQL is what CORL ran in locomotion, but for what the docstring of baselines/rd_sac.py lists: the
# initialisation, the order in an update, the log std, and rewards that CORL scales on hopper-medium.
# Of the published numbers some are at hand, from the authors' slides (RD slides in paper.csv); the others are not.
# MuJoCo's data are D4RL's own v2 files, each imported once beforehand (python benchmark/import_d4rl.py --help says
# where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# pen-human and pen-cloned are Minari's, with the settings of locomotion; whether this table has them is not known here.
# --rd-coef 0 is the method without RD. A command is two rows of the table, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python baselines/rd_td3.py --env-id halfcheetah-medium-v2        --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-medium-v2             --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-medium-v2           --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id halfcheetah-medium-replay-v2 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-medium-replay-v2      --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-medium-replay-v2    --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id halfcheetah-medium-expert-v2 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-medium-expert-v2      --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-medium-expert-v2    --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id pen-human                    --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id pen-cloned                   --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-medium-v2        --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-medium-v2             --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-medium-v2           --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-medium-replay-v2 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-medium-replay-v2      --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-medium-replay-v2    --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-medium-expert-v2 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-medium-expert-v2      --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-medium-expert-v2    --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id pen-human                    --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id pen-cloned                   --rd-coef 0 1 --seed 1 2 3 4 5
python benchmark/report.py runs/*__rd_*__*/
