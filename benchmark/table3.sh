#!/usr/bin/env bash
# The paper's Table 3: DMG on XQL's and on SQL's value, each after its in-sample counterpart, on D4RL's own v2
# files, each imported once beforehand (python benchmark/import_d4rl.py --help says where they are):
#   python benchmark/import_d4rl.py halfcheetah_medium-v2.hdf5
# 1e6 updates, five seeds a command, 10 episodes at the end; a command is a row, and each can be copied and run.
# The counterparts have the same value, and weighted imitation with the weights of XQL and SQL. They are not XQL's
# and SQL's own code: networks, raw rewards and gumbel_beta are DMG's. IQL's rows are those of
# table2_locomotion.sh, and its counterpart is
#   python dmg_offline.py --env-id hopper-medium-v2 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
# sql_alpha 0.5 and 1.25 are the paper's 2.0 and 5.0 if they belong to SQL's first code (see dmg_sql.py); the
# default is the literal 2.
set -euo pipefail
cd "$(dirname "$0")/.."
python dmg_xql.py --env-id halfcheetah-medium-v2        --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id halfcheetah-medium-v2        --gumbel-beta 5 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_xql.py --env-id hopper-medium-v2             --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id hopper-medium-v2             --gumbel-beta 5 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_xql.py --env-id walker2d-medium-v2           --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id walker2d-medium-v2           --gumbel-beta 5 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_xql.py --env-id halfcheetah-medium-replay-v2 --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id halfcheetah-medium-replay-v2 --gumbel-beta 5 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_xql.py --env-id hopper-medium-replay-v2      --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id hopper-medium-replay-v2      --gumbel-beta 5 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_xql.py --env-id walker2d-medium-replay-v2    --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id walker2d-medium-replay-v2    --gumbel-beta 5 --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_xql.py --env-id halfcheetah-medium-expert-v2 --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id halfcheetah-medium-expert-v2 --gumbel-beta 5 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_xql.py --env-id hopper-medium-expert-v2      --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id hopper-medium-expert-v2      --gumbel-beta 5 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_xql.py --env-id walker2d-medium-expert-v2    --gumbel-beta 5 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --seed 1 2 3 4 5
python dmg_xql.py --env-id walker2d-medium-expert-v2    --gumbel-beta 5 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_sql.py --env-id halfcheetah-medium-v2        --sql-alpha 0.5  --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id halfcheetah-medium-v2        --sql-alpha 0.5  --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_sql.py --env-id hopper-medium-v2             --sql-alpha 0.5  --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id hopper-medium-v2             --sql-alpha 0.5  --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_sql.py --env-id walker2d-medium-v2           --sql-alpha 0.5  --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id walker2d-medium-v2           --sql-alpha 0.5  --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_sql.py --env-id halfcheetah-medium-replay-v2 --sql-alpha 0.5  --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id halfcheetah-medium-replay-v2 --sql-alpha 0.5  --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_sql.py --env-id hopper-medium-replay-v2      --sql-alpha 0.5  --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id hopper-medium-replay-v2      --sql-alpha 0.5  --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_sql.py --env-id walker2d-medium-replay-v2    --sql-alpha 0.5  --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id walker2d-medium-replay-v2    --sql-alpha 0.5  --lam 0.25 --nu 0.1 --seed 1 2 3 4 5
python dmg_sql.py --env-id halfcheetah-medium-expert-v2 --sql-alpha 1.25 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id halfcheetah-medium-expert-v2 --sql-alpha 1.25 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_sql.py --env-id hopper-medium-expert-v2      --sql-alpha 1.25 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id hopper-medium-expert-v2      --sql-alpha 1.25 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python dmg_sql.py --env-id walker2d-medium-expert-v2    --sql-alpha 1.25 --lam 0 --q-weight 0 --nu 1 --max-weight 100 --relu-weight --seed 1 2 3 4 5
python dmg_sql.py --env-id walker2d-medium-expert-v2    --sql-alpha 1.25 --lam 0.25 --nu 10  --seed 1 2 3 4 5
python benchmark/report.py runs/*-v2__dmg_xql__*/ runs/*-v2__dmg_sql__*/
