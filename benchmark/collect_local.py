"""Record small data sets on this machine, so that everything can be tried without a network.

    python benchmark/collect_local.py pointmaze-umaze hopper-replay

pointmaze-*: a waypoint controller with noise runs between random cells, the way D4RL's maze2d was made.
*-replay:    every rollout of a short augmented random search (ARS V2-t, Mania et al. 2018) for a linear policy,
             thinned evenly by whole episodes: like D4RL's replay sets, the history of one training.
*-expert:    rollouts of the policy that this search ends with, with a little noise on its actions.

The sets go to Minari's folder (MINARI_DATASETS_PATH, or ~/.minari/datasets) as local/<env>/<level>-v0. The same
--seed gives the same data. They are not D4RL's data, and scores on them compare only with each other.
"""

import difflib
import sys
import time
import warnings
from collections import deque
from dataclasses import dataclass, replace
from typing import Annotated

import gymnasium as gym
import minari
import numpy as np
import tyro
from minari.data_collector.episode_buffer import EpisodeBuffer
from tqdm import tqdm

MAZES = {"umaze": ("PointMaze_UMaze-v3", 50_000), "medium": ("PointMaze_Medium-v3", 100_000)}
# environment, ARS: iterations, directions, directions used, step size, noise; reward that staying alive is worth
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


def play(env, policy, seed):
    """One episode of policy(observation) -> action, as a Minari EpisodeBuffer."""
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards, terminations, truncations = [observation], [], [], [], []
    ended = False
    while not ended:
        action = np.clip(policy(observation), env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
        terminations.append(terminated)
        truncations.append(truncated)
        ended = terminated or truncated
    if isinstance(observation, dict):
        observations = {key: np.array([o[key] for o in observations]) for key in observation}
    return EpisodeBuffer(
        seed=seed, observations=observations if isinstance(observations, dict) else np.array(observations),
        actions=np.array(actions), rewards=np.array(rewards), terminations=np.array(terminations),
        truncations=np.array(truncations),
    )  # fmt: skip


def waypoint_policy(env, rng, noise=0.5):
    """Proportional-derivative controller towards the next cell on the shortest way to the goal, plus noise."""
    maze, ways = env.unwrapped.maze, {}

    def next_cells(goal):
        """Breadth-first search from the goal: cell -> the cell after it."""
        following, queue = {goal: goal}, deque([goal])
        while queue:
            row, column = queue.popleft()
            for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if cell not in following and maze.maze_map[cell[0]][cell[1]] != 1:  # walls surround every maze
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
        return 10 * (waypoint - position) - velocity + noise * rng.normal(size=2)

    return policy


def record_maze(maze, args, bar):
    import gymnasium_robotics  # here, because it prints a notice of its own

    gym.register_envs(gymnasium_robotics)
    env_id, steps = MAZES[maze]
    env = gym.make(env_id, continuing_task=False)
    policy = waypoint_policy(env, np.random.default_rng(args.seed))
    episodes, seeds = [], np.random.SeedSequence(args.seed)
    bar.reset(args.steps or steps)
    while bar.n < bar.total:
        episodes.append(play(env, policy, int(seeds.spawn(1)[0].generate_state(1)[0])))
        bar.update(len(episodes[-1].rewards))
    return env, episodes


def search(name, args, bar):
    """Augmented random search; returns the environment, all rollouts and the final policy."""
    env_id, iterations, directions, used, step_size, noise, alive_reward = SEARCHES[name]
    if args.steps:
        iterations = max(iterations * args.steps // REPLAY_STEPS, 1)
    env, rng = gym.make(env_id), np.random.default_rng(args.seed)
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
        weights += step_size / (used * gains[best].std() + 1e-8) * np.einsum("k,kij->ij", difference, deltas[best])
    std = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return env, episodes, lambda observation: weights @ ((observation - mean) / std)


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


def record(name, args):
    env_name, level = name.split("-", 1)
    dataset_id = f"local/{env_name}/{level}-v0"
    if dataset_id in minari.list_local_datasets():
        if not args.overwrite:
            return print(f"{dataset_id} is there already (--overwrite records it again)")
        minari.delete_dataset(dataset_id)
    began = time.time()
    with tqdm(desc=name, unit="") as bar:
        if env_name == "pointmaze":
            env, episodes = record_maze(level, args, bar)
        else:
            env, episodes, policy = search(env_name, args, bar)
            if level == "replay":
                episodes = thin(episodes, args.steps or REPLAY_STEPS)
            else:
                rng, episodes, steps = np.random.default_rng(args.seed + 1), [], args.steps or EXPERT_STEPS
                while sum(len(episode.rewards) for episode in episodes) < steps:
                    noisy = lambda o: policy(o) + EXPERT_NOISE * rng.normal(size=env.action_space.shape)  # noqa: E731
                    episodes.append(play(env, noisy, int(rng.integers(2**31))))
    episodes = [replace(episode, id=number) for number, episode in enumerate(episodes)]
    low, high = REFERENCE_RETURNS[env_name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari misses an e-mail address and a link to the code
        minari.create_dataset_from_buffers(
            dataset_id, episodes, env=env, ref_min_score=low, ref_max_score=high, author="collect_local.py",
            algorithm_name="waypoint controller" if env_name == "pointmaze" else "augmented random search",
            description=f"{name}, seed {args.seed}, recorded by DMG's benchmark/collect_local.py; not D4RL's data",
            requirements=["gymnasium-robotics" if env_name == "pointmaze" else "gymnasium[mujoco]"],
        )  # fmt: skip
    env.close()
    returns = np.array([episode.rewards.sum() for episode in episodes])
    scores = 100 * (returns - low) / (high - low)
    print(
        f"{dataset_id}: {sum(len(e.rewards) for e in episodes):,} transitions, {len(episodes):,} episodes, return "
        f"{returns.mean():.1f} (best {returns.max():.1f}), score {scores.mean():.1f} (best {scores.max():.1f}), "
        f"{time.time() - began:.0f} s"
    )


def main():
    args = tyro.cli(Args, description=__doc__ + "\nNames: " + ", ".join(NAMES))
    for name in args.names:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.3)
            print(
                f"error: no data set {name!r}, nearest: {', '.join(near) or 'none'}; all: {', '.join(NAMES)}",
                file=sys.stderr,
            )
            sys.exit(2)
    for name in args.names:
        record(name, args)


if __name__ == "__main__":
    main()
