#!/usr/bin/env bash
# Figure 3 of the paper: hours for a million updates on halfcheetah-medium-replay, without evaluation, one at a time
# (with launch.py: --jobs 1). With --rd-coef 0 rd_td3.py is TD3+BC and rd_sac.py CQL.
# The figure's GPU is a GeForce RTX 3090. The data are D4RL's own v2
# files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium_replay-v2.hdf5
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_offline.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3
python dmg_offline.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3 --seed 1 2 3 4 5
python dmg_xql.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3
python dmg_sql.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3
python baselines/iql.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3
python baselines/rd_td3.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3 --rd-coef 0
python baselines/rd_sac.py --env-id halfcheetah-medium-replay-v2 --eval-episodes 0 --offline-steps 100000 --exp-name figure3 --rd-coef 0
python benchmark/report.py runs/*__figure3__*/ --runtime-plot figure3.png
