#!/usr/bin/env bash
# The methods that DMG is compared with, on data made here, which are not D4RL's (python benchmark/collect_local.py
# hopper-medium): IQL as its authors run it; TD3+BC and TD3-N without (--rd-coef 0) and with RD (our reading). DMG and its
# IQL corner are rows of local.sh. Three seeds a command, and RD's stages begin early, because the runs are short; a command
# is a row, and each can be copied and run.
#   python benchmark/launch.py benchmark/baselines.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python iql.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3
# Without and with RD as members of one run, so that the features of both are logged
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --rd-start 6000 --seed 1 2 3 --rd-coef 0 0.001
# An update of ten critics takes five times as long: 6,000 of them
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 6000 --eval-interval 1000 --rd-start 1500 --seed 1 2 3 --rd-coef 0 0.001 --critics 10 --kappa 2.5 --bc-weight 0
