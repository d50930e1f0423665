#!/usr/bin/env bash
# OGBench's cube-single-play on its default task, from data made here by the benchmark's recipe. DMG's lam and nu are chosen
# by the first two rows, of one seed that is in no other (the second because the first was best at its largest nu); then
# DMG, IQL and TD3+BC, one seed a row. They are evaluated every 20,000 updates (the benchmark's protocol: 100,000), for the
# curves and so that a stopped row loses little.
#   pip install ogbench==1.2.2 dm_control==1.0.44
#   python benchmark/collect_local.py ogbench-cube-single-play --folder ogbench_data
#   python benchmark/import_ogbench.py cube-single-play-singletask-task2 --path ogbench_data/cube-single-play-v0.npz
#   python benchmark/launch.py benchmark/ogbench.sh
set -euo pipefail
cd "$(dirname "$0")/.."
# Search
python dmg_offline.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 100000 --eval-interval 20000 --lam 0.25 0.75 --nu 0.1 1 10 --seed 11
python dmg_offline.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 100000 --eval-interval 20000 --lam 0.25 0.75 --nu 100 --seed 11
# DMG, IQL, TD3+BC
python dmg_offline.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --seed 1
python dmg_offline.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --seed 2
python dmg_offline.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --seed 3
python baselines/iql.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --seed 1
python baselines/iql.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --seed 2
python baselines/iql.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --seed 3
python baselines/rd_td3.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --rd-coef 0 --seed 1
python baselines/rd_td3.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --rd-coef 0 --seed 2
python baselines/rd_td3.py --env-id local/ogbench/cube-single-play-singletask-task2-v0 --offline-steps 300000 --eval-interval 20000 --rd-coef 0 --seed 3
