"""Import a v2 file of D4RL, locomotion or AntMaze, into Minari's folder on this machine, once.

    python benchmark/import_d4rl.py hopper_medium_replay-v2.hdf5
    python dmg_offline.py --env-id hopper-medium-replay-v2

The files are at http://rail.eecs.berkeley.edu/datasets/offline_rl/: in gym_mujoco_v2/ hopper, halfcheetah and
walker2d with random, medium, medium_replay, medium_expert, expert and full_replay, in ant_maze_v2/ the six
whose names end in _fixed. Cutting the imported episodes into transitions gives what D4RL's qlearning_dataset
gives: steps with a timeout are left out, because the file does not hold what came after.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import h5py
import numpy as np
import tyro
from store import check_id, cut_episode, errors_in_one_line, fail, is_stored, make_env, store

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where benchmark.d4rl_antmaze is found

# Environment, returns that score 0 and 100, numbers in an observation and in an action
ENVIRONMENTS = {
    "hopper": ("Hopper-v4", -20.272305, 3234.3, 11, 3),
    "halfcheetah": ("HalfCheetah-v4", -280.178953, 12135.0, 17, 6),
    "walker2d": ("Walker2d-v4", 1.629008, 4592.3, 17, 6),
    "antmaze": ("benchmark.d4rl_antmaze:D4RLAntMaze/{}-v2", 0.0, 1.0, 29, 8),
}
# Maze, many starts, many goals in the name of the file -> level in the name of the data set
ANTMAZES = {
    ("u", "False", "False"): "umaze",
    ("u", "True", "True"): "umaze-diverse",
    ("big", "True", "False"): "medium-play",
    ("big", "True", "True"): "medium-diverse",
    ("hardest", "True", "False"): "large-play",
    ("hardest", "True", "True"): "large-diverse",
}
ANTMAZE_FILE = r"Ant_maze_(\w+)-maze_noisy_multistart_(\w+)_multigoal_(\w+)_sparse_fixed\.hdf5"


@dataclass
class Args:
    file: Annotated[Path, tyro.conf.Positional]  # D4RL's file, under its own name
    # of the Minari data set to write; otherwise imported/<env>/<level>-v2, from the name of the file
    id: str | None = None
    overwrite: bool = False  # import again what is already there


def identify(file_name, has_id):
    """Environment and level that the name of D4RL's file stands for, such as antmaze and large-play."""
    level = r"(.*)" if has_id else r"(\w+)-v2\.hdf5$"
    if match := re.match(f"(hopper|halfcheetah|walker2d)_{level}", file_name):
        return match[1], match[2].replace("_", "-")
    match = re.fullmatch(ANTMAZE_FILE, file_name)
    if not match or match.groups() not in ANTMAZES:
        fail(f"{file_name} is not named like a v2 file of D4RL, such as hopper_medium_replay-v2.hdf5")
    return "antmaze", ANTMAZES[match.groups()]


def read(path, observation_dim, action_dim):
    """The arrays that cut takes, one row a step, in float32; ValueError if they cannot be D4RL's."""
    keys = ["observations", "actions", "rewards", "terminals", "timeouts"]
    with h5py.File(path) as file, np.errstate(over="ignore"):
        keys += ["next_observations"] if "next_observations" in file else []
        data = {key: file[key][:].astype(np.float32) for key in keys}
    shapes = {"observations": (observation_dim,), "actions": (action_dim,)}
    shapes["next_observations"] = shapes["observations"]
    for key, array in data.items():
        wanted = (len(data["rewards"]), *shapes.get(key, ()))
        if array.shape != wanted:
            raise ValueError(f"{key} have the shape {array.shape} instead of {wanted}")
        if not np.isfinite(array).all():
            raise ValueError(f"{key} hold NaN or infinity in {(~np.isfinite(array)).sum()} places")
    if (largest := np.abs(data["actions"]).max(initial=0)) > 1 + 1e-4:
        raise ValueError(f"actions go up to {largest:g}, and D4RL's stay within -1 and 1")
    # what follows a terminal is masked in every target: without a stored one any row does
    return data | {"next_observations": data.get("next_observations", data["observations"])}


def cut(observations, actions, rewards, terminals, timeouts, next_observations, at_terminals=True):
    """Cut flat arrays (N rows, one a step) into Minari's episodes.

    A timeout ends an episode before its own step, whose next observation is unknown, and a terminal ends it
    after, but not in AntMaze, where trajectories go on. The last row only serves as a next observation.
    """
    terminals = terminals.astype(bool)
    timeouts = timeouts.astype(bool)
    timeouts[-1:] = True
    episodes = []
    start = 0
    for end in np.flatnonzero(timeouts | (terminals & at_terminals)):
        if timeouts[end]:
            rows, last_observation = slice(start, end), observations[end]
        else:
            rows, last_observation = slice(start, end + 1), next_observations[end]
        if rows.stop > rows.start:
            columns = observations, actions, rewards, terminals
            episodes.append(cut_episode(rows, last_observation, timeouts[end], *columns))
        start = end + 1
    return episodes


@errors_in_one_line()
def main():
    """Everything is checked before anything is written."""
    args = tyro.cli(Args, description=__doc__)
    env_name, level = identify(args.file.name, args.id)
    dataset_id = args.id or f"imported/{env_name}/{level}-v2"
    check_id(dataset_id, "--id ")
    if is_stored(dataset_id) and not args.overwrite:
        fail(f"{dataset_id} is there already: --overwrite imports it again")
    if not args.file.is_file():
        fail(f"there is no file {args.file}")
    env_id, low, high, observation_dim, action_dim = ENVIRONMENTS[env_name]
    try:
        data = read(args.file, observation_dim, action_dim)
    except Exception as error:  # h5py raises errors of many classes
        fail(f"{args.file} is not a sound D4RL file ({error}): download it again")
    episodes = cut(**data, at_terminals=env_name != "antmaze")
    env = make_env(env_id.format(level.split("-")[0]))
    about = dict(author="D4RL", algorithm_name="see D4RL", description=f"{args.file.name} of D4RL, imported")
    about |= dict(ref_min_score=low, ref_max_score=high, requirements=["gymnasium[mujoco]"])
    about["observation_space"] = gym.spaces.Box(-np.inf, np.inf, (observation_dim,), np.float32)
    about["action_space"] = gym.spaces.Box(-1, 1, (action_dim,), np.float32)
    print(store(dataset_id, episodes, env=env, eval_env=env, **about))


if __name__ == "__main__":
    main()
