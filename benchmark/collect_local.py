"""Record small data sets on this machine, so that everything can be tried without a network.

    python benchmark/collect_local.py pointmaze-umaze hopper-replay

pointmaze-*: a waypoint controller with noise runs between random cells, the way D4RL's maze2d was
             made, at a speed of its own in each episode.
*-replay:    every rollout of a short augmented random search (ARS V2-t, Mania et al. 2018) for a linear
             policy, thinned evenly by whole episodes: like D4RL's replay sets, the history of one training.
*-expert:    rollouts of the policy that this search ends with, with a little noise on its actions.

The sets go to Minari's folder (MINARI_DATASETS_PATH, or ~/.minari/datasets) as local/<env>/<level>-v0. The
same --seed gives the same data. They are not D4RL's data: scores on them compare only with each other.
"""

import contextlib
import difflib
import os
import shutil
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Annotated

import gymnasium as gym
import minari
import numpy as np
import tyro
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.storage.datasets_root_dir import get_dataset_path
from tqdm import tqdm

# environment, transitions, steps an episode may take: few enough that an average driver does not reach the far goal
MAZES = {"umaze": ("PointMaze_UMaze-v3", 50_000, 200), "medium": ("PointMaze_Medium-v3", 100_000, 400)}
SPEEDS = (0.5, 4.0)  # in m/s, drawn for each episode
# environment; ARS: iterations, directions, directions used, step size, noise; reward for staying alive
SEARCHES = {
    "hopper": ("Hopper-v5", 150, 16, 8, 0.02, 0.03, 1.0),
    "halfcheetah": ("HalfCheetah-v5", 75, 16, 8, 0.02, 0.03, 0.0),
    "walker2d": ("Walker2d-v5", 150, 30, 15, 0.03, 0.03, 1.0),
}
REPLAY_STEPS, EXPERT_STEPS, EXPERT_NOISE = 200_000, 100_000, 0.1
# D4RL's random and expert returns: the scores 0 and 100
REFERENCE_RETURNS = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "pointmaze": (0.0, 1.0),
}
NAMES = [f"pointmaze-{maze}" for maze in MAZES] + [
    f"{env}-{level}" for env in SEARCHES for level in ("replay", "expert")
]


@dataclass
class Args:
    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """data sets to record"""
    seed: int = 0
    """of the policies and the environments"""
    steps: int | None = None
    """transitions to record, instead of the set's own number (a shorter search too, for trying things out)"""
    overwrite: bool = False
    """record again what is already there"""


@contextlib.contextmanager
def quiet_stderr():
    """Drop the notices of MuJoCo's C code and of Gymnasium-Robotics; exceptions get through."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def play(env, policy, seed):
    """One episode of policy(observation) -> action, clipped to the box: T + 1 observations, T of the rest."""
    observation, _ = env.reset(seed=seed)
    observations, steps, ended = [observation], [], False
    while not ended:
        action = np.clip(policy(observation), env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        steps.append((action, float(reward), terminated, truncated))
        ended = terminated or truncated
    if isinstance(observation, dict):  # a maze: Minari keeps the parts apart
        observations = {key: np.array([o[key] for o in observations]) for key in observation}
    else:
        observations = np.array(observations)
    names = ("actions", "rewards", "terminations", "truncations")
    columns = dict(zip(names, map(np.array, zip(*steps, strict=True)), strict=True))
    return EpisodeBuffer(seed=seed, observations=observations, **columns)


def waypoint_policy(env, rng, speed, noise=0.5):
    """Drive at `speed` towards the next cell on the shortest way to the goal, with Gaussian noise on both forces."""
    maze, ways = env.unwrapped.maze, {}

    def next_cells(goal):
        """Breadth-first search from the goal: cell -> the cell after it."""
        following, queue = {goal: goal}, deque([goal])
        while queue:
            row, column = queue.popleft()
            for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                # no bounds to check: walls (1) surround every maze
                if cell not in following and maze.maze_map[cell[0]][cell[1]] != 1:
                    following[cell] = (row, column)
                    queue.append(cell)
        return following

    def policy(observation):
        position, velocity = observation["observation"][:2], observation["observation"][2:]
        goal = tuple(maze.cell_xy_to_rowcol(observation["desired_goal"]))
        cell = tuple(maze.cell_xy_to_rowcol(position))
        if goal not in ways:
            ways[goal] = next_cells(goal)
        here = cell == goal or cell not in ways[goal]
        waypoint = observation["desired_goal"] if here else maze.cell_rowcol_to_xy(np.array(ways[goal][cell]))
        way = waypoint - position
        distance = np.linalg.norm(way) + 1e-6
        return 2 * (min(speed, 5 * distance) * way / distance - velocity) + noise * rng.normal(size=2)

    return policy


def rollouts(env, new_policy, next_seed, steps, bar):
    """Whole episodes, each of a new_policy() and a next_seed(), until there are at least `steps` transitions."""
    episodes = []
    bar.reset(steps)
    while bar.n < steps:
        episodes.append(play(env, new_policy(), next_seed()))
        bar.update(len(episodes[-1].rewards))
    return episodes


def search(env, name, args, bar):
    """Augmented random search; returns all its rollouts, in order, and the final policy (without noise)."""
    _, iterations, directions, used, step_size, noise, alive_reward = SEARCHES[name]
    if args.steps:
        iterations = max(iterations * args.steps // REPLAY_STEPS, 1)
    rng = np.random.default_rng(args.seed)
    weights = np.zeros((env.action_space.shape[0], env.observation_space.shape[0]))
    count, mean, square = 1e-4, np.zeros(weights.shape[1]), np.ones(weights.shape[1])
    episodes = []
    bar.reset(iterations * directions * 2)
    for _ in range(iterations):
        std = np.sqrt(np.maximum(square - mean**2, 1e-8))
        deltas, gains = rng.normal(size=(directions, *weights.shape)), np.zeros((directions, 2))
        for direction, delta in enumerate(deltas):
            for side, sign in enumerate((1, -1)):
                matrix = (weights + sign * noise * delta) / std
                offset = matrix @ mean
                episode = play(env, lambda o, m=matrix, b=offset: m @ o - b, int(rng.integers(2**31)))
                gains[direction, side] = (episode.rewards - alive_reward).sum()
                episodes.append(episode)
                seen = episode.observations
                count += len(seen)
                mean = mean + (seen - mean).sum(0) / count
                square = square + (seen**2 - square).sum(0) / count
                bar.update()
        best = np.argsort(-gains.max(1))[:used]
        difference = gains[best, 0] - gains[best, 1]
        scale = step_size / (used * gains[best].std() + 1e-8)
        weights += scale * np.einsum("k,kij->ij", difference, deltas[best])
    std = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return episodes, lambda observation: weights @ ((observation - mean) / std)


def thin(episodes, steps):
    """Every k-th episode, evenly over the training, so that about `steps` transitions remain."""
    total = sum(len(episode.rewards) for episode in episodes)
    share, kept, taken = min(steps / total, 1.0), [], 0.0
    for episode in episodes:
        taken += share
        if taken >= 1:
            taken -= 1
            kept.append(episode)
    return kept or episodes[:1]


def collect(env, env_name, level, args, bar):
    """All episodes of one set, in the order in which they are stored."""
    rng = np.random.default_rng(args.seed + (level == "expert"))
    if env_name == "pointmaze":
        steps = args.steps or MAZES[level][1]
        return rollouts(
            env, lambda: waypoint_policy(env, rng, rng.uniform(*SPEEDS)), lambda: int(rng.integers(2**31)), steps, bar
        )
    episodes, final_policy = search(env, env_name, args, bar)
    if level == "replay":
        return thin(episodes, args.steps or REPLAY_STEPS)

    def noisy_policy(observation):
        return final_policy(observation) + EXPERT_NOISE * rng.normal(size=env.action_space.shape)

    return rollouts(env, lambda: noisy_policy, lambda: int(rng.integers(2**31)), args.steps or EXPERT_STEPS, bar)


def record(name, args):
    """Record one set, store it in Minari's folder and print a line about it."""
    env_name, level = name.split("-", 1)
    dataset_id, maze = f"local/{env_name}/{level}-v0", env_name == "pointmaze"
    folder, began = get_dataset_path(dataset_id), time.time()
    if folder.exists() and not args.overwrite:
        return print(f"{dataset_id} is there already (--overwrite records it again)")
    with quiet_stderr():
        if maze:
            import gymnasium_robotics

            gym.register_envs(gymnasium_robotics)
            env_id, _, limit = MAZES[level]
            env = gym.make(env_id, continuing_task=False, max_episode_steps=limit)
        else:
            env = gym.make(SEARCHES[env_name][0])
    with tqdm(desc=name, unit="") as bar:
        episodes = collect(env, env_name, level, args, bar)
    episodes = [replace(episode, id=number) for number, episode in enumerate(episodes)]
    low, high = REFERENCE_RETURNS[env_name]
    about = dict(env=env, eval_env=env, ref_min_score=low, ref_max_score=high, author="DMG contributors")
    about |= dict(author_email="none", code_permalink="benchmark/collect_local.py")
    about["description"] = f"{name}, seed {args.seed}, recorded by collect_local.py; not D4RL's data"
    about["algorithm_name"] = "waypoint controller" if maze else "augmented random search"
    about["requirements"] = ["gymnasium-robotics" if maze else "gymnasium[mujoco]"]
    shutil.rmtree(folder, ignore_errors=True)  # not earlier: an interrupted recording costs no data
    with quiet_stderr():  # Minari makes the environment once more
        minari.create_dataset_from_buffers(dataset_id, episodes, **about)
    env.close()
    steps, returns = sum(len(e.rewards) for e in episodes), np.array([e.rewards.sum() for e in episodes])
    scores = 100 * (returns - low) / (high - low)
    print(
        f"{dataset_id}: {steps:,} transitions, {len(episodes):,} episodes, "
        f"return {returns.mean():.1f} (best {returns.max():.1f}), "
        f"score {scores.mean():.1f} (best {scores.max():.1f}), {time.time() - began:.0f} s"
    )


def main():
    """Check all names before the first recording."""
    args = tyro.cli(Args, description=__doc__ + "\nNames: " + ", ".join(NAMES))
    problems = []
    for name in (name for name in args.names if name not in NAMES):
        near = ", ".join(difflib.get_close_matches(name, NAMES, cutoff=0.3)) or "none"
        problems.append(f"no data set {name!r}; nearest: {near}; all: {', '.join(NAMES)}")
    if not args.names or (args.steps is not None and args.steps < 1):
        problems.append(f"give one or more names ({', '.join(NAMES)}), and --steps of 1 or more")
    if problems:
        print(f"error: {problems[0]}", file=sys.stderr)
        sys.exit(2)
    for name in args.names:
        record(name, args)


if __name__ == "__main__":
    main()
