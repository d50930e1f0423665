#!/usr/bin/env bash
# RD's table of ensembles: TD3-N and SAC-N, which the authors call TD3-N-Unc and SAC-N-Unc, each without and with RD
# (our reading: see baselines/rd_td3.py). The paper's N, kappa, number of layers and number of updates are not known here;
# there are three hidden layers, as in EDAC, and 1e6 updates.
# Of the published numbers some are at hand, from the authors' slides (RD slides in paper.csv); the others are not.
# The 15 MuJoCo rows with RD add up to 1259.4 for TD3-N and 1252.6 for SAC-N, of which no other number is at hand.
# MuJoCo's data are D4RL's own v2 files, each imported once beforehand (python benchmark/import_d4rl.py --help says
# where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# pen-human and pen-cloned are Minari's.
# --rd-coef 0 is the method without RD. A command is two rows of the table, and each can be copied and run.
set -euo pipefail
cd "$(dirname "$0")/.."
python baselines/rd_td3.py --env-id halfcheetah-medium-v2        --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-medium-v2             --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-medium-v2           --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id halfcheetah-medium-replay-v2 --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-medium-replay-v2      --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-medium-replay-v2    --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id halfcheetah-medium-expert-v2 --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-medium-expert-v2      --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-medium-expert-v2    --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id halfcheetah-expert-v2        --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-expert-v2             --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-expert-v2           --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id halfcheetah-random-v2        --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id hopper-random-v2             --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id walker2d-random-v2           --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id pen-human                    --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_td3.py --env-id pen-cloned                   --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-medium-v2        --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-medium-v2             --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-medium-v2           --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-medium-replay-v2 --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-medium-replay-v2      --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-medium-replay-v2    --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-medium-expert-v2 --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-medium-expert-v2      --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-medium-expert-v2    --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-expert-v2        --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-expert-v2             --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-expert-v2           --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id halfcheetah-random-v2        --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id hopper-random-v2             --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id walker2d-random-v2           --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id pen-human                    --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python baselines/rd_sac.py --env-id pen-cloned                   --cql-alpha 0 --critics 10 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0 1 --seed 1 2 3 4 5
python benchmark/report.py runs/*__rd_*__*/
