#!/usr/bin/env bash
# The methods that DMG is compared with, on data made here, which are not D4RL's (python benchmark/collect_local.py
# hopper-medium): IQL as its authors run it; TD3+BC and TD3-N without and with RD (our reading). DMG and its IQL corner are
# rows of local.sh. Three seeds a command, and RD's stage 2 allowed early, because the runs are short; a command is a row,
# and each can be copied and run.
#   python benchmark/launch.py benchmark/baselines.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python iql.py --env-id local/hopper/medium-replay-v0 --offline-steps 50000 --eval-interval 5000 --seed 1 2 3
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 50000 --eval-interval 5000 --rd-start 10000 --seed 1 2 3 --rd-coef 0
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 50000 --eval-interval 5000 --rd-start 10000 --seed 1 2 3 --rd-coef 0.001
# An update of ten critics takes five times as long, with RD ten times: 20,000 of them
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 20000 --eval-interval 5000 --rd-start 5000 --seed 1 2 3 --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 20000 --eval-interval 5000 --rd-start 5000 --seed 1 2 3 --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0.001
