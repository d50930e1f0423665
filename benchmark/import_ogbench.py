"""Import a single-task data set of OGBench into Minari's folder on this machine, once.

    pip install ogbench==1.2.2 dm_control==1.0.44
    python benchmark/import_ogbench.py cube-single-play-singletask-task2
    python dmg_offline.py --env-id cube-single-play-singletask-task2

Names are the library's, with or without -v0; without -task and a number it is the default task. All arrays
come from its make_env_and_datasets, which downloads to ~/.ogbench/data unless --path names a file, its own or
one by collect_local.py, whose set is local/ogbench/NAME-v0. An evaluation scores successes in %
(ogbench_env.py).
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import tyro
from store import check_id, cut_episode, errors_in_one_line, fail, is_stored, quiet_stderr, store

sys.path.append(str(Path(__file__).resolve().parent.parent))  # where benchmark.ogbench_env is found


@dataclass
class Args:
    name: Annotated[str, tyro.conf.Positional]  # the library's name of the data set and the task
    path: Path | None = None  # FILE.npz instead of a download; FILE-val.npz must lie beside it
    id: str | None = None  # of the Minari data set to write, instead of ogbench/NAME-v0
    overwrite: bool = False  # import again what is already there


def cut(observations, actions, next_observations, rewards, masks, terminals):
    """Cut the library's arrays (N rows, one a transition) into Minari's episodes, one a trajectory.

    A mask of 0 is a termination. It says that the task was solved before the action, and play goes on.
    """
    ends = np.flatnonzero(terminals) + 1
    columns = observations, actions, rewards, masks == 0
    episodes = []
    for start, end in zip([0, *ends[:-1]], ends):
        episodes.append(cut_episode(slice(start, end), next_observations[end - 1], True, *columns))
    after = [episode.observations[1:] for episode in episodes]
    if not episodes or not np.array_equal(np.concatenate(after), next_observations):
        raise ValueError("its trajectories do not end where terminals say")
    return episodes


def recipe_of(path):
    """What collect_local.py wrote into a file about how it was recorded; nothing in the library's own."""
    with np.load(path) as file:
        return str(file["origin"]) if "origin" in file else ""


@errors_in_one_line()
def main():
    """Everything is checked before anything is written."""
    args = tyro.cli(Args, description=__doc__)
    match = re.fullmatch(r"([\w-]+)-\w+-(singletask(?:-task\d)?)(?:-v0)?", args.name)
    if not match:
        fail(f"{args.name} is not named like a single task, such as cube-single-play-singletask-task2")
    name, task = args.name.removesuffix("-v0"), f"{match[1]}-{match[2]}-v0"
    try:
        from benchmark.ogbench_env import TASKS, ogbench
    except ImportError as error:
        fail(str(error))
    if task not in TASKS:
        fail(f"the library has no task {task} whose observations are vectors")
    recipe = ""
    if args.path:
        for path in (args.path, Path(str(args.path).replace(".npz", "-val.npz"))):
            if path.suffix != ".npz" or not path.is_file():
                fail(f"there is no file {path}: the library reads FILE.npz and FILE-val.npz")
        try:
            recipe = recipe_of(args.path)
        except Exception as error:  # NumPy's, of many classes
            fail(f"cannot read {args.path} ({error})")
    dataset_id = args.id or f"{'local/' if recipe else ''}ogbench/{name}-v0"
    check_id(dataset_id, "--id ")
    if is_stored(dataset_id) and not args.overwrite:
        fail(f"{dataset_id} is there already: --overwrite imports it again")
    try:
        path = args.path and str(args.path)
        with quiet_stderr():
            _, data, _ = ogbench.make_env_and_datasets(f"{name}-v0", dataset_path=path)
            env = gym.make(f"OGBench/{task}")
        if data["observations"].shape[1:] != env.observation_space.shape:
            raise ValueError("it is of another environment")
        episodes = cut(**data)
    except Exception as error:  # the library's and NumPy's, of many classes
        fail(f"the library does not get {name} from {args.path or 'its server'} ({error})")
    about = dict(env=env, eval_env=env, ref_min_score=0.0, ref_max_score=1.0)
    about["author"] = "DMG contributors" if recipe else "OGBench"
    about |= dict(algorithm_name="see OGBench", requirements=["ogbench==1.2.2", "dm_control==1.0.44"])
    about["description"] = recipe or f"{args.path.name if args.path else name} of OGBench"
    about["observation_space"] = gym.spaces.Box(-np.inf, np.inf, env.observation_space.shape, np.float32)
    about["action_space"] = env.action_space
    stored = store(dataset_id, episodes, **about)
    solved = (data["masks"] == 0).sum()
    solved_episodes = sum(episode.terminations.any() for episode in episodes)
    print(
        f"{stored}; {about['description']}; the task is solved in {solved:,} transitions of "
        f"{solved_episodes:,} episodes"
    )


if __name__ == "__main__":
    main()
