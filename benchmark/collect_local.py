"""Record small data sets on this machine, so that everything can be tried without a network.

    python benchmark/collect_local.py pointmaze-umaze hopper-replay antmaze-umaze

pointmaze-*: a waypoint controller with noise runs between random cells, the way D4RL's maze2d was
             made, at a speed of its own in each episode.
*-replay:    every rollout of a short augmented random search (ARS V2-t, Mania et al. 2018) for a linear
             policy, thinned evenly by whole episodes: like D4RL's replay sets, the history of one training.
*-expert:    rollouts of the policy that this search ends with, with a little noise on its actions.
antmaze-*:   D4RL's recipe for AntMaze v2, in its environment (d4rl_antmaze.py). A trained ant is led from
             cell to cell, with noise on its actions; in umaze from D4RL's start to its goal, in medium and
             large from anywhere to the goals of the play data. At its goal it runs on to the end of the
             episode; 25 steps after a fall on its back the episode is cut short. Rewards and terminations
             are for one goal in the goal cell, at every transition that ends within 0.5 m of it.

The ant is ant.npz: 100,000 steps of this training (with dmg_finetune.py of commit 65c4268), then saved by

    python dmg_finetune.py --env-id benchmark.d4rl_antmaze:D4RLAntMaze/open-v2 --offline-steps 0 \
        --lam 1 --nu 0 --learning-starts 10000 --exploration-noise 0.2 --eval-episodes 5
    python benchmark/save_ant.py runs/RUN

The sets go to Minari's folder (MINARI_DATASETS_PATH, or ~/.minari/datasets) as local/<env>/<level>-v0. The
same --seed gives the same data. They are not D4RL's data: scores on them compare only with each other.
"""

import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import tyro
from minari.data_collector.episode_buffer import EpisodeBuffer
from store import errors_in_one_line, fail, is_stored, quiet_stderr, store
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))
from benchmark import d4rl_antmaze

# Environment, transitions, steps of an episode: so few that an average driver does not reach the far goal
MAZES = {"umaze": ("PointMaze_UMaze-v3", 50_000, 200), "medium": ("PointMaze_Medium-v3", 100_000, 400)}
SPEEDS = (0.5, 4.0)  # in m/s, drawn for each episode
# Environment; ARS: iterations, directions, directions used, step size, noise; reward for staying alive
SEARCHES = {
    "hopper": ("Hopper-v5", 150, 16, 8, 0.02, 0.03, 1.0),
    "halfcheetah": ("HalfCheetah-v5", 75, 16, 8, 0.02, 0.03, 0.0),
    "walker2d": ("Walker2d-v5", 150, 30, 15, 0.03, 0.03, 1.0),
}
REPLAY_STEPS, EXPERT_STEPS, EXPERT_NOISE = 200_000, 100_000, 0.1
ANT = Path(__file__).with_name("ant.npz")
ANT_STEPS, ANT_NOISE, STEPS_ON_BACK = 1_000_000, 0.2, 25
# D4RL's random and expert returns: the scores 0 and 100
REFERENCE_RETURNS = {
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "pointmaze": (0.0, 1.0),
    "antmaze": (0.0, 1.0),
}
NAMES = [f"pointmaze-{maze}" for maze in MAZES]
NAMES += [f"{env}-{level}" for env in SEARCHES for level in ("replay", "expert")]
NAMES += [f"antmaze-{maze}" for maze in d4rl_antmaze.MAZES]


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
    columns = dict(zip(("actions", "rewards", "terminations", "truncations"), map(np.array, zip(*steps))))
    return EpisodeBuffer(seed=seed, observations=observations, **columns)


def next_cells(maze_map, goal):
    """The shortest ways to a goal by breadth-first search: cell (row, column) -> the cell after it."""
    following, queue = {goal: goal}, deque([goal])
    while queue:
        row, column = queue.popleft()
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            # no bounds to check: walls (1) surround every maze
            if cell not in following and maze_map[cell[0]][cell[1]] != 1:
                following[cell] = (row, column)
                queue.append(cell)
    return following


def waypoint_policy(env, rng, speed, noise=0.5):
    """Drive at `speed` to the next cell on the shortest way to the goal, with Gaussian noise on forces."""
    maze, ways = env.unwrapped.maze, {}

    def policy(observation):
        position, velocity = observation["observation"][:2], observation["observation"][2:]
        goal = tuple(maze.cell_xy_to_rowcol(observation["desired_goal"]))
        cell = tuple(maze.cell_xy_to_rowcol(position))
        if goal not in ways:
            ways[goal] = next_cells(maze.maze_map, goal)
        if cell == goal or cell not in ways[goal]:
            waypoint = observation["desired_goal"]
        else:
            waypoint = maze.cell_rowcol_to_xy(np.array(ways[goal][cell]))
        way = waypoint - position
        distance = np.linalg.norm(way) + 1e-6
        return 2 * (min(speed, 5 * distance) * way / distance - velocity) + noise * rng.normal(size=2)

    return policy


class AntMazeRecording(gym.Wrapper):
    """Starts, goals and ends of D4RL's recordings, but for falls: D4RL leaves the ant on its back."""

    def __init__(self, env, rng):
        super().__init__(env)
        self.rng, maze = rng, env.unwrapped.maze
        self.goals = d4rl_antmaze.DATA_GOALS[maze]
        self.starts = [cell for cell in d4rl_antmaze.cells(maze) if cell not in self.goals]

    def reset(self, *, seed=None, options=None):
        self.steps_on_back = 0
        if len(self.goals) > 1:
            options = {"start_cell": tuple(self.rng.choice(self.starts))}
            options["goal_cell"] = tuple(self.rng.choice(self.goals))
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        observation, reward, _, truncated, info = self.env.step(action)
        x, y = observation[4:6]  # of the quaternion
        self.steps_on_back = self.steps_on_back + 1 if x * x + y * y > 0.5 else 0
        return observation, reward, False, truncated or self.steps_on_back == STEPS_ON_BACK, info


def next_waypoint(maze, ways, position, goal, rng):
    """The goal if it lies in the next cell on the shortest way to it, otherwise a point in that cell (x, y).

    For D4RL a cell begins at its middle, so that the ant runs through the middle before it turns.
    """

    def cell_of(xy, begin):
        row, column = np.maximum(xy[::-1] / d4rl_antmaze.CELL_SIZE - begin, 0) + 1
        return int(row), int(column)

    goal_cell = cell_of(goal, 0)
    if goal_cell not in ways:
        walls = [[int(mark == "1") for mark in row] for row in d4rl_antmaze.MAZES[maze].split()]
        ways[goal_cell] = next_cells(walls, goal_cell)
    cell, true_cell = cell_of(position, 0), cell_of(position, -0.5)
    between = {(cell[0], true_cell[1]), (true_cell[0], cell[1])}
    if cell not in ways[goal_cell] or between.isdisjoint(ways[goal_cell]):  # a wall, or behind a corner
        cell = true_cell
    next_cell = ways[goal_cell][cell]
    if next_cell == goal_cell:
        return goal
    return d4rl_antmaze.cell_center(maze, next_cell) + rng.uniform(0, 1, 2)


def load_ant(file):
    """The trained ant: what it sees (d4rl_antmaze.running_observation) -> action."""
    arrays = np.load(file)
    *hidden, (last_weight, last_bias) = [(arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(3)]

    def act(observation):
        x = observation.astype(np.float32)
        for weight, bias in hidden:
            x = np.maximum(x @ weight + bias, 0)
        return np.tanh(x @ last_weight + last_bias)

    return act


def ant_policy(env, rng):
    """Run to the next waypoint, with Gaussian noise on the actions."""
    act, ways = load_ant(ANT), {}

    def policy(observation):
        maze, goal = env.unwrapped.maze, env.unwrapped.goal
        waypoint = next_waypoint(maze, ways, observation[:2], goal, rng)
        action = act(d4rl_antmaze.running_observation(observation[:15], observation[15:], waypoint))
        return action + ANT_NOISE * rng.normal(size=action.shape)

    return policy


def relabel(env, episodes, seed):
    """The episodes with rewards and terminations for one goal, and a line about them.

    D4RL's own data were made so: the goal is drawn once, and what follows after it is reached stays in.
    """
    env.reset(seed=seed)
    goal, relabelled = env.unwrapped.goal, []
    for episode in episodes:
        observations = episode.observations.astype(np.float32)
        is_reached = np.linalg.norm(observations[1:, :2] - goal, axis=1) <= d4rl_antmaze.GOAL_RADIUS
        changes = dict(rewards=is_reached.astype(np.float32), terminations=is_reached)
        relabelled.append(replace(episode, observations=observations, **changes))
    own = np.mean([episode.rewards.any() for episode in episodes])
    fallen = np.mean([len(episode.rewards) < env.spec.max_episode_steps for episode in episodes])
    rewards = np.array([episode.rewards.sum() for episode in relabelled])
    return relabelled, (
        f"goal ({goal[0]:.2f}, {goal[1]:.2f}) reached in {np.mean(rewards > 0):.1%} of the episodes and "
        f"{rewards.sum():,.0f} transitions, the episode's own in {own:.1%}, {fallen:.1%} end with a fall"
    )


def rollouts(env, new_policy, rng, steps, bar):
    """Whole episodes, each of a new_policy() with a new seed, until there are `steps` transitions or more."""
    episodes = []
    bar.reset(steps)
    while bar.n < steps:
        episodes.append(play(env, new_policy(), int(rng.integers(2**31))))
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

        def new_policy():
            return waypoint_policy(env, rng, rng.uniform(*SPEEDS))

        return rollouts(env, new_policy, rng, args.steps or MAZES[level][1], bar)
    if env_name == "antmaze":
        policy = ant_policy(env, rng)
        return rollouts(AntMazeRecording(env, rng), lambda: policy, rng, args.steps or ANT_STEPS, bar)
    episodes, final_policy = search(env, env_name, args, bar)
    if level == "replay":
        return thin(episodes, args.steps or REPLAY_STEPS)

    def noisy_policy(observation):
        return final_policy(observation) + EXPERT_NOISE * rng.normal(size=env.action_space.shape)

    return rollouts(env, lambda: noisy_policy, rng, args.steps or EXPERT_STEPS, bar)


def record(name, args):
    """Record one set, store it in Minari's folder and print a line about it."""
    env_name, level = name.split("-")
    dataset_id, began = f"local/{env_name}/{level}-v0", time.time()
    if is_stored(dataset_id) and not args.overwrite:
        return print(f"{dataset_id} is there already (--overwrite records it again)")
    algorithm, package = "augmented random search", "gymnasium[mujoco]"
    with quiet_stderr():
        if env_name == "pointmaze":
            algorithm, package = "waypoint controller", "gymnasium-robotics"
            env_id, _, limit = MAZES[level]
            env = gym.make(f"gymnasium_robotics:{env_id}", continuing_task=False, max_episode_steps=limit)
        elif env_name == "antmaze":
            algorithm = "TD3 ant with waypoints"
            env = gym.make(f"benchmark.d4rl_antmaze:D4RLAntMaze/{level}-v2")
        else:
            env = gym.make(SEARCHES[env_name][0])
    with tqdm(desc=name, unit="") as bar:
        episodes = collect(env, env_name, level, args, bar)
    low, high = REFERENCE_RETURNS[env_name]
    about = dict(env=env, eval_env=env, ref_min_score=low, ref_max_score=high, author="DMG contributors")
    about |= dict(algorithm_name=algorithm, requirements=[package])
    if env_name == "antmaze":
        episodes, outcome = relabel(env, episodes, args.seed)
        about["observation_space"] = gym.spaces.Box(-np.inf, np.inf, (29,), np.float32)
    else:
        returns = np.array([episode.rewards.sum() for episode in episodes])
        scores = 100 * (returns - low) / (high - low)
        outcome = f"return {returns.mean():.1f} (best {returns.max():.1f}), "
        outcome += f"score {scores.mean():.1f} (best {scores.max():.1f})"
    about["description"] = f"{name}, seed {args.seed}, by collect_local.py, not D4RL's data: {outcome}"
    store(dataset_id, episodes, **about)
    steps, seconds = sum(len(episode.rewards) for episode in episodes), time.time() - began
    print(f"{dataset_id}: {steps:,} transitions, {len(episodes):,} episodes, {outcome}, {seconds:.0f} s")


@errors_in_one_line()
def main():
    """Everything is checked before the first recording."""
    args = tyro.cli(Args, description=__doc__ + "\nNames: " + ", ".join(NAMES))
    unknown = [name for name in args.names if name not in NAMES]
    if unknown or not args.names:
        fail(f"{' '.join(unknown) or 'no name'}: give one or more of {', '.join(NAMES)}")
    if args.seed < 0 or args.steps is not None and args.steps < 1:
        fail(f"--seed {args.seed} --steps {args.steps}: a seed of 0 or more and steps of 1 or more")
    for name in args.names:
        record(name, args)


if __name__ == "__main__":
    main()
