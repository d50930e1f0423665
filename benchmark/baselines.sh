#!/usr/bin/env bash
# TD3-N without (--rd-coef 0) and with RD (our reading), on data made here, which are not D4RL's (python
# benchmark/collect_local.py hopper-medium). IQL and DMG on the same data are rows of random.sh. The run is short, because an
# update of ten critics takes five times as long, and RD's second stage may begin early for that; the row can be copied and run.
#   python benchmark/launch.py benchmark/baselines.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# Both as members of one run, so that the features of both are logged
python baselines/rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 6000 --eval-interval 1000 --rd-start 1500 --seed 1 2 3 --rd-coef 0 0.001 --critics 10 --kappa 2.5 --bc-weight 0
