"""Import a locomotion file of D4RL (v2) into Minari's folder on this machine, once.

    python benchmark/import_d4rl.py hopper_medium_replay-v2.hdf5
    python dmg_offline.py --env-id hopper-medium-replay-v2

The files are at http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/ (hopper, halfcheetah,
walker2d; random, medium, medium_replay, medium_expert, expert, full_replay). Cutting the imported episodes
into transitions gives what D4RL's qlearning_dataset gives: steps with a timeout are left out, because the
file does not hold what came after.
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
from minari.storage.datasets_root_dir import get_dataset_path

# Gymnasium's environment, returns that score 0 and 100, dimensions of observations and actions
ENVIRONMENTS = {
    "hopper": ("Hopper-v4", -20.272305, 3234.3, 11, 3),
    "halfcheetah": ("HalfCheetah-v4", -280.178953, 12135.0, 17, 6),
    "walker2d": ("Walker2d-v4", 1.629008, 4592.3, 17, 6),
}


@dataclass
class Args:
    file: Annotated[Path, tyro.conf.Positional]
    """D4RL's file, under its own name (begins with the environment's)"""
    id: str | None = None
    """of the Minari data set to write; otherwise d4rl/<env>/<level>-v2, from the name of the file"""


def fail(message):
    """End the program with one line that says what is wrong and what to do."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def cut(observations, actions, rewards, terminals, timeouts, next_observations=None):
    """Cut flat arrays (N rows, one a step) into Minari's episodes.

    A timeout ends an episode before its own step, whose next observation is unknown; a terminal ends it
    after. The last row only serves as the next observation of the one before.
    """
    episodes, start, last_row = [], 0, len(rewards) - 1
    for end in np.flatnonzero(terminals | timeouts | (np.arange(len(rewards)) == last_row)):
        terminated = bool(terminals[end] and not timeouts[end] and end < last_row)
        stop = end + 1 if terminated else end  # transitions start .. stop - 1
        if stop > start:
            # what follows a terminal is masked in every target: without a stored one any row does
            following = next_observations if terminated and next_observations is not None else observations
            terminations, truncations = np.zeros((2, stop - start), bool)
            terminations[-1], truncations[-1] = terminated, not terminated
            episodes.append(
                EpisodeBuffer(
                    id=len(episodes),
                    observations=np.concatenate([observations[start:stop], following[end][None]]),
                    actions=actions[start:stop],
                    rewards=rewards[start:stop],
                    terminations=terminations,
                    truncations=truncations,
                )
            )
        start = end + 1
    return episodes


def read(path, env_name):
    """The arrays of D4RL's file in the order of cut's arguments; ValueError if their shapes do not fit."""
    with h5py.File(path) as file:
        arrays = [file[key][:].astype(np.float32) for key in ("observations", "actions", "rewards")]
        arrays += [file[key][:].astype(bool) for key in ("terminals", "timeouts")]
        if "next_observations" in file:
            arrays.append(file["next_observations"][:].astype(np.float32))
    rows, (*_, observation_dim, action_dim) = len(arrays[0]), ENVIRONMENTS[env_name]
    wanted = [(rows, observation_dim), (rows, action_dim), (rows,), (rows,), (rows,), (rows, observation_dim)]
    shapes = [array.shape for array in arrays]
    if shapes != wanted[: len(shapes)] or rows < 2:
        raise ValueError(f"arrays of shapes {shapes} do not fit {env_name}")
    return arrays


def main():
    """Everything is checked before anything is written."""
    args = tyro.cli(Args, description=__doc__)
    name = args.file.name.lower()
    if "maze" in name:
        fail(f"{name}: AntMaze data come from Minari's own D4RL/antmaze sets (--env-id antmaze-large-play)")
    match = re.match(r"(hopper|halfcheetah|walker2d)_(\w+)-v2\.hdf5$", name)
    match = match or (args.id and re.match("(hopper|halfcheetah|walker2d)_", name))
    if not match:
        fail(f"{name} is not named like a locomotion file of D4RL v2, such as hopper_medium_replay-v2.hdf5")
    env_name = match[1]
    dataset_id = args.id or f"d4rl/{env_name}/{match[2].replace('_', '-')}-v2"
    if not re.fullmatch(r"([\w-]+/)*[\w-]+-v\d+", dataset_id):
        fail(f"--id {dataset_id} must be letters, digits, -, _ and / and end in -v and a number")
    if get_dataset_path(dataset_id).exists():
        fail(f"{dataset_id} is there already: minari delete {dataset_id} removes it")
    if not args.file.is_file():
        fail(f"there is no file {args.file}")
    try:
        arrays = read(args.file, env_name)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        fail(f"cannot read {args.file} as a D4RL file ({error}): download it again")
    episodes = cut(*arrays)
    env_id, low, high, observation_dim, action_dim = ENVIRONMENTS[env_name]
    about = dict(env=env_id, eval_env=env_id, ref_min_score=low, ref_max_score=high, author="D4RL")
    about |= dict(author_email="none", code_permalink="benchmark/import_d4rl.py", algorithm_name="see D4RL")
    about |= dict(description=f"{args.file.name} of D4RL, imported", requirements=["gymnasium[mujoco]"])
    about["observation_space"] = gym.spaces.Box(-np.inf, np.inf, (observation_dim,), np.float32)
    about["action_space"] = gym.spaces.Box(-1, 1, (action_dim,), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Gymnasium calls the v4 environments old
        minari.create_dataset_from_buffers(dataset_id, episodes, **about)
    transitions = sum(len(episode.rewards) for episode in episodes)
    print(f"{dataset_id}: {transitions:,} transitions, {len(episodes):,} episodes")


if __name__ == "__main__":
    main()
