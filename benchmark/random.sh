#!/usr/bin/env bash
# The paper on D4RL's random data (its Tables 2 and 6, a panel each of its Figures 1 and 2), which depend on no policy and
# are made here by D4RL's recipe; then two replay buffers of this machine. One seed a row, so that a row is a few hours of
# one core.
#   python benchmark/collect_local.py halfcheetah-random hopper-random walker2d-random halfcheetah-medium hopper-medium
#   python benchmark/launch.py benchmark/random.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# HalfCheetah: DMG, the paper's length
python dmg_offline.py --env-id local/halfcheetah/random-v0 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --seed 3
# IQL, TD3+BC, and DMG's code set to IQL
python baselines/iql.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --seed 1
python baselines/iql.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --seed 2
python baselines/iql.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --seed 3
python baselines/rd_td3.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --rd-coef 0 --seed 1
python baselines/rd_td3.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --rd-coef 0 --seed 2
python baselines/rd_td3.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --rd-coef 0 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 300000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 3
# Hopper: DMG, IQL, TD3+BC
python dmg_offline.py --env-id local/hopper/random-v0 --seed 1
python dmg_offline.py --env-id local/hopper/random-v0 --seed 2
python dmg_offline.py --env-id local/hopper/random-v0 --seed 3
python baselines/iql.py --env-id local/hopper/random-v0 --offline-steps 300000 --seed 1
python baselines/iql.py --env-id local/hopper/random-v0 --offline-steps 300000 --seed 2
python baselines/iql.py --env-id local/hopper/random-v0 --offline-steps 300000 --seed 3
python baselines/rd_td3.py --env-id local/hopper/random-v0 --offline-steps 300000 --rd-coef 0 --seed 1
python baselines/rd_td3.py --env-id local/hopper/random-v0 --offline-steps 300000 --rd-coef 0 --seed 2
python baselines/rd_td3.py --env-id local/hopper/random-v0 --offline-steps 300000 --rd-coef 0 --seed 3
# Walker2d: DMG, IQL, TD3+BC
python dmg_offline.py --env-id local/walker2d/random-v0 --seed 1
python dmg_offline.py --env-id local/walker2d/random-v0 --seed 2
python dmg_offline.py --env-id local/walker2d/random-v0 --seed 3
python baselines/iql.py --env-id local/walker2d/random-v0 --offline-steps 300000 --seed 1
python baselines/iql.py --env-id local/walker2d/random-v0 --offline-steps 300000 --seed 2
python baselines/iql.py --env-id local/walker2d/random-v0 --offline-steps 300000 --seed 3
python baselines/rd_td3.py --env-id local/walker2d/random-v0 --offline-steps 300000 --rd-coef 0 --seed 1
python baselines/rd_td3.py --env-id local/walker2d/random-v0 --offline-steps 300000 --rd-coef 0 --seed 2
python baselines/rd_td3.py --env-id local/walker2d/random-v0 --offline-steps 300000 --rd-coef 0 --seed 3
# Figure 1: lam
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.25 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.25 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.25 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.5 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.5 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.5 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.75 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.75 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 0.75 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 1 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 1 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --nu 0.1 --lam 1 --seed 3
# Figure 2: nu, beside nu 0.1 above
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 0.01 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 0.01 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 0.01 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 1 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 1 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 1 --seed 3
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 10 --seed 1
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 10 --seed 2
python dmg_offline.py --env-id local/halfcheetah/random-v0 --offline-steps 200000 --lam 0.25 --nu 10 --seed 3
# Replay buffer of Hopper: DMG, IQL, and DMG's code set to IQL
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 2
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 3
python baselines/iql.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 1
python baselines/iql.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 2
python baselines/iql.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --seed 3
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 2
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 200000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 3
# Replay buffer of HalfCheetah: DMG, IQL, and DMG's code set to IQL
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --seed 1
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --seed 2
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --seed 3
python baselines/iql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --seed 1
python baselines/iql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --seed 2
python baselines/iql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --seed 3
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 2
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 200000 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 3
