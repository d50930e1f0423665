"""Keep the policy of a run of dmg_finetune.py as ant.npz, the ant that collect_local.py records with.

    python benchmark/save_ant.py runs/RUN

Of several members the first one is kept.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))
import dmg_offline as dmg


def main(run_dir, file):
    agent, arrays = dmg.load_checkpoint(run_dir, "dmg_finetune")["agent"], {}
    for i in range(3):
        arrays[f"weight{i}"] = agent[f"actor.{2 * i}.weight"][0].numpy()
        arrays[f"bias{i}"] = agent[f"actor.{2 * i}.bias"][0, 0].numpy()
    np.savez(file, **arrays)


if __name__ == "__main__":
    main(sys.argv[1], Path(__file__).with_name("ant.npz"))
