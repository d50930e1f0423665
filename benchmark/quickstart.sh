#!/usr/bin/env bash
# From a fresh clone to a learned policy: virtual environment, data recorded on this machine, training, pictures.
# It can be run again: what is installed or recorded is kept, each training makes a new run folder.
set -euo pipefail
cd "$(dirname "$0")/.."
source benchmark/environment.sh
export OMP_NUM_THREADS=1 # two trainings side by side
newest() { ls -td runs/pointmaze-umaze__"$1"__* | head -1; }

echo "== recording local/pointmaze/umaze-v0 (seconds; kept if it is there)"
python benchmark/collect_local.py pointmaze-umaze
mkdir -p runs
echo "== behaviour cloning, in the background: DMG's corner without values (output in runs/cloning.txt)"
python dmg_offline.py --exp-name cloning --lam 0 --q-weight 0 --nu 1 --inverse-temperature 0 &> runs/cloning.txt &
cloning=$!
trap 'kill $cloning 2> /dev/null || true' EXIT
echo "== DMG: python dmg_offline.py"
python dmg_offline.py
wait $cloning || { tail -3 runs/cloning.txt; exit 1; }
runs=("$(newest dmg_offline)" "$(newest cloning)")
echo "== drawing what both learned"
python benchmark/plot_maze.py "${runs[0]}" --cloning "${runs[1]}" --output runs/pointmaze.png
echo "== scores of the last policies"
python benchmark/report.py "${runs[@]}" --curves runs/quickstart.png
echo "== pictures: runs/pointmaze.png (the maze), runs/quickstart.png (learning curves)"
