#!/usr/bin/env bash
# The paper's experiments on data made here, which are not D4RL's (python benchmark/collect_local.py hopper-medium
# halfcheetah-medium): Figures 1 and 2, the arrows of Table 3, the fine-tuning of Table 4. Three seeds a command and
# 30,000 updates instead of a million, which is a quarter of a day on two cores; a command is a row, and each can be
# copied and run.
#   python benchmark/launch.py benchmark/local.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# Figure 1: lam (0.25, the paper's, is also Table 3's DMG)
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0.25
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0.5
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0.75
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 1
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0.25
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0.5
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 0.75
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --nu 0.1 --lam 1
# Figure 2: nu, beside nu 0.1 above
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0.25 --nu 0.01
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0.25 --nu 1
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0.25 --nu 10
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0.25 --nu 0.01
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0.25 --nu 1
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0.25 --nu 10
# The same in a maze
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0.25
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0.5
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 0.75
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --nu 0.5 --lam 1
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 0.01
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 0.1
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 1
python dmg_offline.py --env-id pointmaze-umaze --seed 1 2 3 --lam 0.25 --nu 10
# Table 3: the in-sample methods, and DMG on XQL's and SQL's value
python dmg_offline.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100
python dmg_xql.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100
python dmg_xql.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3
python dmg_sql.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight
python dmg_sql.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3
python dmg_sql.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --sql-alpha 0.5
python dmg_offline.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100
python dmg_xql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100
python dmg_xql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3
python dmg_sql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight
python dmg_sql.py --env-id local/halfcheetah/medium-replay-v0 --offline-steps 30000 --eval-interval 3000 --seed 1 2 3
# Table 4: online after 30,000 offline updates
python dmg_finetune.py --env-id local/hopper/medium-replay-v0 --offline-steps 30000 --eval-interval 10000 --online-steps 100000 --seed 1 2 3
