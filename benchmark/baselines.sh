#!/usr/bin/env bash
# The methods that DMG is compared with, on data made here, which are not D4RL's (python benchmark/collect_local.py
# hopper-medium): IQL as its authors run it beside DMG's IQL corner and DMG; TD3+BC and TD3-N without and with RD (our
# reading). 200,000 updates, three seeds a command; a command is a row, and each can be copied and run.
#   python benchmark/launch.py benchmark/baselines.sh
set -euo pipefail
cd "$(dirname "$0")/.."
python iql.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3 --rd-coef 0
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3 --rd-coef 0.001
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3 --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0
python rd_td3.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1 2 3 --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256 --rd-coef 0.001
