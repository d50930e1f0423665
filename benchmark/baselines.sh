#!/usr/bin/env bash
# TD3+BC without (--rd-coef 0) and with RD (our reading), on data made here, which are not D4RL's (python
# benchmark/collect_local.py hopper-medium). IQL and DMG on such data are rows of random.sh. The first row takes
# 35 minutes of one core, the second 93; each can be copied and run.
#   python benchmark/launch.py benchmark/baselines.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python baselines/rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 100000 --rd-coef 0 --seed 1 2 3
python baselines/rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 100000 --rd-coef 1 --seed 1 2 3
