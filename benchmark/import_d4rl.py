"""Import a locomotion file of D4RL (v2) into Minari's folder on this machine, once.

    python benchmark/import_d4rl.py hopper_medium_replay-v2.hdf5
    python dmg_offline.py --env-id hopper-medium-replay-v2

The files are at http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/ (hopper, halfcheetah, walker2d;
random, medium, medium_replay, medium_expert, expert, full_replay). Cutting the imported episodes into transitions gives
what D4RL's qlearning_dataset gives: steps with a timeout are left out, because the file does not hold what came after.
"""

import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import h5py
import minari
import numpy as np
import tyro
from minari.data_collector.episode_buffer import EpisodeBuffer

ENVIRONMENTS = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4"}
REFERENCE_RETURNS = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
}


@dataclass
class Args:
    file: Annotated[Path, tyro.conf.Positional]
    """D4RL's file, under its own name"""


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def cut(observations, actions, rewards, terminals, timeouts, next_observations=None):
    """Cut flat arrays (N rows, one a step) into Minari's episodes.

    A timeout ends an episode before its own step, whose next observation is unknown; a terminal ends it after. The
    last row only serves as the next observation of the one before.
    """
    episodes, start = [], 0
    for end in np.flatnonzero(terminals | timeouts | (np.arange(len(rewards)) == len(rewards) - 1)):
        terminated = bool(terminals[end] and not timeouts[end] and end < len(rewards) - 1)
        stop = end + 1 if terminated else end  # transitions start .. stop - 1
        if stop > start:
            last = observations[end] if not terminated or next_observations is None else next_observations[end]
            flags = np.zeros(stop - start, bool)
            terminations, truncations = flags.copy(), flags.copy()
            terminations[-1], truncations[-1] = terminated, not terminated
            episodes.append(
                EpisodeBuffer(
                    id=len(episodes),
                    observations=np.concatenate([observations[start:stop], last[None]]),
                    actions=actions[start:stop],
                    rewards=rewards[start:stop],
                    terminations=terminations,
                    truncations=truncations,
                )
            )
        start = end + 1
    return episodes


def main():
    path = tyro.cli(Args, description=__doc__).file
    match = re.fullmatch(r"(hopper|halfcheetah|walker2d)_(\w+)-v2\.hdf5", path.name)
    if not match:
        fail(f"{path.name} is not named like a locomotion file of D4RL v2 (see --help); AntMaze comes with Minari")
    name, level = match[1], match[2].replace("_", "-")
    dataset_id = f"d4rl/{name}/{level}-v2"
    if dataset_id in minari.list_local_datasets():
        fail(f"{dataset_id} is there already: minari delete {dataset_id} removes it")
    try:
        with h5py.File(path) as file:
            arrays = [file[key][:].astype(np.float32) for key in ("observations", "actions", "rewards")]
            arrays += [file[key][:].astype(bool) for key in ("terminals", "timeouts")]
            following = file["next_observations"][:].astype(np.float32) if "next_observations" in file else None
        episodes = cut(*arrays, following)
    except (OSError, KeyError, ValueError) as error:
        fail(f"cannot read {path} as a D4RL file ({error}): download it again")
    low, high = REFERENCE_RETURNS[name]
    shape = arrays[0].shape[1:], arrays[1].shape[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari misses an e-mail address, Gymnasium calls the v4 environment old
        minari.create_dataset_from_buffers(
            dataset_id, episodes, env=ENVIRONMENTS[name], ref_min_score=low, ref_max_score=high,
            observation_space=gym.spaces.Box(-np.inf, np.inf, shape[0], np.float32),
            action_space=gym.spaces.Box(-1, 1, shape[1], np.float32), author="D4RL", algorithm_name=level,
            description=f"{path.name} of D4RL, imported", requirements=["gymnasium[mujoco]"],
        )  # fmt: skip
    transitions = sum(len(episode.rewards) for episode in episodes)
    print(f"{dataset_id}: {transitions:,} transitions, {len(episodes):,} episodes")


if __name__ == "__main__":
    main()
