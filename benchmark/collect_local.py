"""Record small data sets on this machine, so that everything can be tried without a network.

    python benchmark/collect_local.py pointmaze-umaze hopper-medium antmaze-umaze

- pointmaze-*: a waypoint controller with noise runs between random cells, the way D4RL's maze2d was made, at
  a speed of its own in each episode.
- *-random: D4RL's random-v2: 1,000,000 steps of uniformly drawn actions in the environments that D4RL's own
  data are evaluated in. No policy is involved, so these are D4RL's data but for the draws and the version of
  the simulator (data.md).
- *-medium: D4RL's recipe for locomotion. dmg_finetune.py trains online without data (TD3) in a run folder
  here, until its policy first scores a third of the expert. local/*/medium-replay-v0 is what it has seen
  until then, local/*/medium-v0 episodes of that policy with its noise. A training that was interrupted goes
  on.
- antmaze-*: D4RL's recipe for AntMaze v2, in its environment (d4rl_antmaze.py). A trained ant is led from
  cell to cell, with noise of 0.3 (D4RL's 0.2) on its actions; in umaze from D4RL's start to its goal, in
  medium and large from anywhere to the goals of the play data, in antmaze-*-diverse from anywhere to
  anywhere. At its goal it runs on to the end of the episode, and after a fall it stays on its back. Rewards
  and terminations are for one goal, the middle of those that an evaluation draws, at every transition that
  ends within 0.5 m of it.
- antmaze_v4-*: the same ant in Gymnasium-Robotics' mazes, in the form of Minari's D4RL/antmaze: each episode
  keeps its own goal, which does not end it, and there are 0.05 s between two actions instead of 0.1 s. Five
  times D4RL's torque is at hand there; the ant asks for a quarter of it.
- ogbench-*: OGBench's recipe in its environments (pip install ogbench==1.2.2 dm_control==1.0.44), without its
  files: the package's scripted robot play, or a noisy point led from cell to cell. Written as the library's
  files are, NAME-v0.npz and NAME-v0-val.npz in --folder, from which import_ogbench.py --path makes the data
  set of any task.

The ant is ant.npz, trained in an open field and saved by

    python dmg_finetune.py --env-id benchmark.d4rl_antmaze:D4RLAntMaze/open-v2 --offline-steps 0 \
        --online-steps 60000 --lam 1 --nu 0 --learning-starts 10000 --exploration-noise 0.2 --eval-episodes 5
    python benchmark/save_ant.py runs/RUN

The sets go to Minari's folder (MINARI_DATASETS_PATH, or ~/.minari/datasets) as local/<env>/<level>-v0. The
same --seed gives the same data on the same kind of processor. But for the random ones they are not D4RL's
data: scores on them compare only with each other.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import export_replay
import gymnasium as gym
import numpy as np
import tyro
from import_d4rl import ENVIRONMENTS
from store import check_room, errors_in_one_line, fail, is_stored, make_env, rollouts, store
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))
from benchmark import d4rl_antmaze

RANDOM_STEPS = 1_000_000
# Environment, transitions, steps of an episode: so few that an average driver does not reach the far goal
POINTMAZES = {"umaze": ("PointMaze_UMaze-v3", 50_000, 200), "medium": ("PointMaze_Medium-v3", 100_000, 400)}
SPEEDS = (0.5, 4.0)  # in m/s, drawn for each episode
# The online training of *-medium
LOCOMOTION = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
MEDIUM_SCORE = 100 / 3  # ends it
EVAL_INTERVAL = 5_000
LEARNING_STARTS = 10_000
MEDIUM_STEPS = 200_000  # to record of the trained policy
ANT = Path(__file__).with_name("ant.npz")
ANT_STEPS = 1_000_000
ANT_NOISE = 0.3  # standard deviation, on actions in [-1, 1]
ROBOTICS_MAZES = {"umaze": "AntMaze_UMaze-v4", "medium": "AntMaze_Medium-v4", "large": "AntMaze_Large-v4"}
ROBOTICS_STRENGTH = 0.25  # of motors five times as strong as D4RL's; with more of it the ant falls
OGBENCH = ("cube-single-play", "scene-play", "puzzle-3x3-play", "pointmaze-medium-navigate")
OGBENCH_STEPS = 1_000_000
OGBENCH_EPISODE = 1001  # steps, the last of which leads nowhere
POINT_NOISE = 0.5  # on OGBench's point

NAMES = [f"pointmaze-{maze}" for maze in POINTMAZES]
NAMES += [f"{env}-{level}" for env in LOCOMOTION for level in ("random", "medium", "medium-replay")]
NAMES += [f"{env}-{maze}" for env in ("antmaze", "antmaze_v4") for maze in ROBOTICS_MAZES]
NAMES += [f"antmaze-{maze}-diverse" for maze in ROBOTICS_MAZES]
NAMES += [f"ogbench-{name}" for name in OGBENCH]


@dataclass
class Args:
    names: Annotated[tuple[str, ...], tyro.conf.Positional]  # data sets to record
    seed: int = 0  # of the policies and the environments
    # transitions to record, instead of the set's own number (at most so many of training too)
    steps: int | None = None
    overwrite: bool = False  # record again what is already there
    folder: Path = Path("ogbench_data")  # where the files of ogbench-* go


def random_policy(env, rng):
    """Uniform actions, from the action space's own generator as in D4RL."""
    return lambda observation: env.action_space.sample()


@cache
def next_cells(maze, goal):
    """The shortest ways to a goal by breadth-first search: cell (row, column) -> the cell after it.

    The maze is Gymnasium-Robotics', or the name of one of D4RL's.
    """
    rows = d4rl_antmaze.MAZES[maze].split() if isinstance(maze, str) else maze.maze_map
    following = {goal: goal}
    queue = deque([goal])
    while queue:
        row, column = queue.popleft()
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            # no bounds to check: walls (1) surround every maze
            if cell not in following and str(rows[cell[0]][cell[1]]) != "1":
                following[cell] = (row, column)
                queue.append(cell)
    return following


def next_center(maze, observation):
    """The goal if it lies in this cell, else the middle of the next one (x, y); Gymnasium-Robotics' maze."""
    goal = tuple(maze.cell_xy_to_rowcol(observation["desired_goal"]))
    cell = tuple(maze.cell_xy_to_rowcol(observation["achieved_goal"]))
    following = next_cells(maze, goal)
    if cell == goal or cell not in following:
        return observation["desired_goal"]
    return maze.cell_rowcol_to_xy(np.array(following[cell]))


def waypoint_policy(env, rng):
    """Drive at some speed to the next cell on the shortest way to the goal, with Gaussian noise on forces."""
    speed = rng.uniform(*SPEEDS)

    def policy(observation):
        position, velocity = np.split(observation["observation"], 2)
        way = next_center(env.unwrapped.maze, observation) - position
        distance = np.linalg.norm(way) + 1e-6
        wanted_velocity = min(speed, 5 * distance) * way / distance
        return 2 * (wanted_velocity - velocity) + 0.5 * rng.normal(size=2)

    return policy


def next_waypoint(maze, position, goal, rng):
    """The goal if it lies in the next cell on the shortest way to it, otherwise a point in that cell (x, y).

    For D4RL a cell begins at its middle, so that the ant runs through the middle before it turns.
    """

    def cell_of(xy, begin):
        row, column = np.maximum(xy[::-1] / d4rl_antmaze.CELL_SIZE - begin, 0) + 1
        return int(row), int(column)

    goal_cell = cell_of(goal, 0)
    following = next_cells(maze, goal_cell)
    cell = cell_of(position, 0)
    true_cell = cell_of(position, -0.5)
    between = {(cell[0], true_cell[1]), (true_cell[0], cell[1])}
    if cell not in following or between.isdisjoint(following):  # a wall, or behind a corner
        cell = true_cell
    if following[cell] == goal_cell:
        return goal
    return d4rl_antmaze.cell_center(maze, following[cell]) + rng.uniform(0, 1, 2)


def load_ant(file):
    """The trained ant, a ReLU network that ends in tanh: d4rl_antmaze.running_observation -> action."""
    arrays = dict(np.load(file))  # weights (inputs, outputs), biases (outputs,)

    def act(observation):
        x = observation.astype(np.float32)
        for i in range(2):
            x = np.maximum(x @ arrays[f"weight{i}"] + arrays[f"bias{i}"], 0)
        return np.tanh(x @ arrays["weight2"] + arrays["bias2"])

    return act


def ant_policy(env, rng):
    """Run to the next waypoint, with Gaussian noise on the actions."""
    act = load_ant(ANT)

    def policy(observation):
        waypoint = next_waypoint(env.unwrapped.maze, observation[:2], env.unwrapped.goal, rng)
        action = act(d4rl_antmaze.running_observation(observation[:15], observation[15:], waypoint))
        return action + ANT_NOISE * rng.normal(size=action.shape)

    return policy


def robotics_ant_policy(env, rng):
    """The same in Gymnasium-Robotics' maze, where an action of 1 is five times as strong."""
    act = load_ant(ANT)

    def policy(observation):
        position = np.concatenate([observation["achieved_goal"], observation["observation"][:13]])
        velocity = observation["observation"][13:]
        waypoint = next_center(env.unwrapped.maze, observation)
        action = act(d4rl_antmaze.running_observation(position, velocity, waypoint))
        noisy = np.clip(action + ANT_NOISE * rng.normal(size=action.shape), -1, 1)
        return ROBOTICS_STRENGTH * noisy

    return policy


class AntMazeRecording(gym.Wrapper):
    """Starts and goals of D4RL's recordings, anywhere in diverse ones; a goal does not end an episode."""

    def __init__(self, env, rng, is_diverse=False):
        super().__init__(env)
        self.rng = rng
        maze = env.unwrapped.maze
        cells = d4rl_antmaze.cells(maze)
        self.goals = cells if is_diverse else d4rl_antmaze.DATA_GOALS[maze]
        self.starts = cells if is_diverse else [cell for cell in cells if cell not in self.goals]

    def reset(self, *, seed=None, options=None):
        if len(self.goals) > 1:
            options = {"start_cell": tuple(self.rng.choice(self.starts))}
            options["goal_cell"] = tuple(self.rng.choice(self.goals))
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        observation, reward, _, truncated, info = self.env.step(action)
        return observation, reward, False, truncated, info


def recipe(env_name, level):
    """How a set is made: environment, new_policy(env, rng), transitions, and Minari's keywords about it."""
    about = dict(ref_min_score=0.0, ref_max_score=1.0, requirements=["gymnasium[mujoco]"])
    if level == "random":
        env_id, low, high, *_ = ENVIRONMENTS[env_name]
        about |= dict(ref_min_score=low, ref_max_score=high, algorithm_name="uniform actions")
        return make_env(env_id), random_policy, RANDOM_STEPS, about
    if env_name == "antmaze":
        env = make_env(f"benchmark.d4rl_antmaze:D4RLAntMaze/{level.removesuffix('-diverse')}-v2")
        space = gym.spaces.Box(-np.inf, np.inf, (29,), np.float32)
        about |= dict(algorithm_name="TD3 ant with waypoints", observation_space=space)
        return env, ant_policy, ANT_STEPS, about
    about["requirements"] = ["gymnasium-robotics"]
    if env_name == "pointmaze":
        env_id, steps, limit = POINTMAZES[level]
        env = make_env(f"gymnasium_robotics:{env_id}", continuing_task=False, max_episode_steps=limit)
        return env, waypoint_policy, steps, about | dict(algorithm_name="waypoint controller")
    options = dict(continuing_task=True, reset_target=False)
    if level == "umaze":  # one start and one goal, as in Minari's
        rows = d4rl_antmaze.MAZES[level].lower().split()
        options["maze_map"] = [[int(mark) if mark.isdigit() else mark for mark in row] for row in rows]
    env = make_env(f"gymnasium_robotics:{ROBOTICS_MAZES[level]}", **options)
    return env, robotics_ant_policy, ANT_STEPS, about | dict(algorithm_name="TD3 ant with waypoints")


def is_on_back(quaternion):
    """Whether the ant's own z axis points down; for (w, x, y, z) of length 1 it ends at 1 - 2 (x^2 + y^2)."""
    return quaternion[1] ** 2 + quaternion[2] ** 2 > 0.5


def relabel(env, episodes):
    """The episodes with rewards and terminations for one goal, and a line about them.

    D4RL's own data were made so, and what follows after the goal is reached stays in. D4RL draws that goal;
    this is the middle of the square from which every evaluation draws its own.
    """
    goal = env.unwrapped.goal_cell_xy + d4rl_antmaze.GOAL_OFFSET
    relabelled = []
    for episode in episodes:
        observations = episode.observations.astype(np.float32)
        is_reached = np.linalg.norm(observations[1:, :2] - goal, axis=1) <= d4rl_antmaze.GOAL_RADIUS
        changes = dict(rewards=is_reached.astype(np.float32), terminations=is_reached)
        relabelled.append(replace(episode, observations=observations, **changes))
    own = np.mean([episode.rewards.any() for episode in episodes])
    fallen = np.mean([is_on_back(episode.observations[-1, 3:7]) for episode in episodes])
    rewards = np.array([episode.rewards.sum() for episode in relabelled])
    line = (
        f"goal ({goal[0]:.2f}, {goal[1]:.2f}) reached in {np.mean(rewards > 0):.1%} of the episodes and "
        f"{rewards.sum():,.0f} transitions, the episode's own in {own:.1%}, {fallen:.1%} end on the back"
    )
    return relabelled, line


def record(env_name, level, args):
    """Record a random set or one in a maze, store it in Minari's folder and print a line about it."""
    began = time.time()
    dataset_id = f"local/{env_name}/{level}-v0"
    if is_stored(dataset_id) and not args.overwrite:
        print(f"{dataset_id} is there already (--overwrite records it again)")
        return
    env, new_policy, steps, about = recipe(env_name, level)
    env.action_space.seed(args.seed)  # where random_policy draws
    rng = np.random.default_rng(args.seed)
    is_antmaze = env_name == "antmaze"
    recorded_env = AntMazeRecording(env, rng, level.endswith("-diverse")) if is_antmaze else env
    with tqdm(desc=f"{env_name}-{level}", unit="", disable=None) as bar:
        episodes = rollouts(recorded_env, lambda: new_policy(env, rng), rng, args.steps or steps, bar)
    origin = "not D4RL's data"
    if level == "random":
        origin = "by D4RL's recipe for random-v2"
        returns = np.array([episode.rewards.sum() for episode in episodes])
        outcome = f"returns of {returns.mean():.4g} +- {returns.std():.4g}, at most {returns.max():.4g}"
    elif is_antmaze:
        episodes, outcome = relabel(env, episodes)
    else:
        is_reached = [episode.rewards.any() for episode in episodes]
        outcome = f"goal reached in {np.mean(is_reached):.1%} of the episodes"
    about["description"] = f"{dataset_id}, seed {args.seed}, by collect_local.py, {origin}: {outcome}"
    stored = store(dataset_id, episodes, env=env, eval_env=env, author="DMG contributors", **about)
    print(f"{stored}, {outcome}, {time.time() - began:.0f} s")


# ---- *-medium ----


def find_training(pattern):
    """The newest folder and whether its training is over; (None, False) if there is none."""
    for checkpoint in sorted(Path("runs").glob(pattern), reverse=True):
        result = checkpoint.with_name("result.json")
        try:
            run = json.loads(result.read_text())
        except (OSError, ValueError):
            fail(f"{result} is damaged: remove that folder")
        is_saved = checkpoint.stat().st_mtime >= result.stat().st_mtime  # it is saved after result.json
        is_medium = run["members"][0]["evaluations"][-1]["normalized_score"] >= MEDIUM_SCORE
        return checkpoint.parent, is_saved and (is_medium or run["step"] == run["args"]["online_steps"])
    return None, False


def train(options, is_over):
    """Run dmg_finetune.py until is_over() or it ends by itself; returns its exit code."""
    script = Path(__file__).resolve().parent.parent / "dmg_finetune.py"
    process = subprocess.Popen([sys.executable, script, *options], stdout=sys.stderr)
    try:
        while process.poll() is None and not is_over():
            time.sleep(0.5)
    finally:
        process.terminate()  # the checkpoint stays as it is
        process.wait()
    return process.returncode


def train_until_medium(env_id, args):
    """Train online, or go on with it, until the policy scores MEDIUM_SCORE; returns the run's folder."""
    exp_name = f"medium_seed{args.seed}"
    if args.steps:
        exp_name += f"_steps{args.steps}"
    pattern = f"{env_id}__{exp_name}__*/checkpoint.pt"
    folder, is_over = find_training(pattern)
    if not is_over:
        options = f"--env-id {env_id} --exp-name {exp_name} --seed {args.seed}"
        options += f" --eval-interval {EVAL_INTERVAL} --offline-steps 0"
        options += f" --online-steps {args.steps or 1_000_000} --lam 1 --nu 0"
        options += f" --learning-starts {LEARNING_STARTS}"
        options = ["--resume", folder] if folder else options.split()
        code = train(options, lambda: find_training(pattern)[1])
        folder, is_over = find_training(pattern)
    member = json.loads((folder / "result.json").read_text())["members"][0] if folder else {}
    if member.get("diverged_at"):
        fail(f"the training in {folder} has diverged: give another --seed")
    if not is_over:
        fail(f"the training ended with code {code}: the same command goes on with it")
    score = member["evaluations"][-1]["normalized_score"]
    if score < MEDIUM_SCORE:
        print(f"note: the policy in {folder} scores {score:.1f}, which is less than a third of the expert")
    return folder


def record_medium(env_name, args):
    """Make local/*/medium-replay-v0 and local/*/medium-v0, or the one that is missing, from one training."""
    levels = {"medium-replay": 0, "medium": args.steps or MEDIUM_STEPS}  # steps of the policy; 0: the buffer
    ids = {f"local/{env_name}/{level}-v0": steps for level, steps in levels.items()}
    missing = {name: steps for name, steps in ids.items() if args.overwrite or not is_stored(name)}
    for name in ids.keys() - missing.keys():
        print(f"{name} is there already (--overwrite stores it again)")
    if missing:
        run_dir = train_until_medium(LOCOMOTION[env_name], args)
        for name, steps in missing.items():
            export_replay.export(run_dir, name, steps, args.seed)


# ---- ogbench-*: policies of an observation and an info, with options for the episode's reset ----


def robot_policy(env, outcomes):
    """Scripted play: a plan to a random target, then to the next one; outcomes notes which are reached."""
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    is_puzzle = env.spec.id.startswith("puzzle")
    oracles = {
        "cube": cube_plan.CubePlanOracle(env=env),
        "button": button_plan.ButtonPlanOracle(env=env, gripper_always_closed=is_puzzle),
        "drawer": drawer_plan.DrawerPlanOracle(env=env),
        "window": window_plan.WindowPlanOracle(env=env),
    }
    oracle = None

    def policy(observation, info):
        nonlocal oracle
        if oracle is None or oracle.done:
            begin = observation, info
            if oracle:
                outcomes.append(bool(info["success"]))
                begin = env.unwrapped.set_new_target()
            oracle = oracles[begin[1]["privileged/target_task"]]
            oracle.reset(*begin)
        return oracle.select_action(observation, info)

    return policy, {}


def point_policy(env, outcomes):
    """Straight to the next cell on the way to a random goal, with Gaussian noise, then to the next goal."""
    maze = env.unwrapped
    walls = maze.maze_map

    def is_corridor(i, j):
        """Whether walls are on two opposite sides alone; a goal never lies there."""
        rows = walls[[i - 1, i + 1], j]
        columns = walls[i, [j - 1, j + 1]]
        return rows[0] == rows[1] and columns[0] == columns[1] and rows[0] != columns[0]

    def draw(cells):
        return cells[np.random.randint(len(cells))]

    def policy(observation, info):
        if info.get("success"):
            outcomes.append(True)
            maze.set_goal(goal_xy=maze.add_noise(maze.ij_to_xy(draw(goals))))
        position = maze.get_xy()
        subgoal, _ = maze.get_oracle_subgoal(position, maze.cur_goal_xy)
        way = subgoal - position
        return way / (np.linalg.norm(way) + 1e-6) + POINT_NOISE * np.random.normal(size=2)

    free = [(int(i), int(j)) for i, j in np.argwhere(walls == 0)]
    goals = [cell for cell in free if not is_corridor(*cell)]
    return policy, {"task_info": {"init_ij": draw(free), "goal_ij": draw(goals)}}


def play_ogbench(env, new_policy, outcomes, seed):
    """One episode as OGBench's files have it: a row a step, with the state that it begins in."""
    np.random.seed(seed)  # the library's plans and mazes draw there
    policy, options = new_policy(env, outcomes)
    observation, info = env.reset(seed=seed, options=options)
    rows = []
    is_over = False
    while not is_over:
        action = np.clip(policy(observation, info), -1, 1)
        next_observation, _, _, is_over, info = env.step(action)
        row = {"observations": observation, "actions": action, "terminals": is_over}
        for key in ("qpos", "qvel", "button_states"):
            if f"prev_{key}" in info:
                row[key] = info[f"prev_{key}"]
        rows.append(row)
        observation = next_observation
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return {key: x.astype(np.float32) if x.dtype == np.float64 else x for key, x in columns.items()}


def is_out_of_sight(episode):
    """Whether the scene's cube was beside the table; its place (m) is part of qpos. The drawer is no loss."""
    _, y, z = episode["qpos"][:, 14:17].T
    is_in_drawer = (z >= 0.06) & (z <= 0.08)
    return (y >= 0.29).any() or ((y <= -0.3) & ~is_in_drawer).any()


def check_folder(folder):
    """Fail where files cannot be written, and not when all is recorded."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_room(folder)
    except OSError as error:
        fail(f"cannot write to --folder {folder} ({error})")


def write_ogbench(path, count, episodes, origin):
    """Write the first count episodes to path, and before them the others to a file for validation."""
    validation = path.with_name(f"{path.stem}-val.npz")
    try:
        for file, part in ((validation, episodes[count:]), (path, episodes[:count])):
            columns = {key: np.concatenate([episode[key] for episode in part]) for key in part[0]}
            unfinished = file.with_suffix(".unfinished.npz")
            np.savez_compressed(unfinished, origin=np.array(origin), **columns)
            os.replace(unfinished, file)
    except OSError as error:
        fail(f"cannot write to --folder {path.parent} ({error})")


def record_ogbench(name, args):
    """Record a set as OGBench's files, with a tenth more for validation, and print a line about it."""
    began = time.time()
    path = args.folder / f"{name}-v0.npz"
    if path.exists() and not args.overwrite:
        print(f"{path} is there already (--overwrite records it again)")
        return
    try:
        import ogbench  # noqa: F401  (registers its environments)
    except ImportError:
        fail("OGBench is missing: pip install ogbench==1.2.2 dm_control==1.0.44")
    check_folder(args.folder)
    options = dict(terminate_at_goal=False, max_episode_steps=OGBENCH_EPISODE)
    new_policy = point_policy
    if not name.startswith("pointmaze"):
        options |= dict(mode="data_collection", visualize_info=False)
        new_policy = robot_policy
    env = make_env(f"{name.rpartition('-')[0]}-v0", disable_env_checker=True, **options)
    rng = np.random.default_rng(args.seed)
    count = math.ceil((args.steps or OGBENCH_STEPS) / (OGBENCH_EPISODE - 1))
    total = count + math.ceil(count / 10)
    episodes, outcomes = [], []
    with tqdm(total=total, desc=name, unit=" episodes", disable=None) as bar:
        while len(episodes) < total:
            episode = play_ogbench(env, new_policy, outcomes, seed=int(rng.integers(2**31)))
            if name != "scene-play" or not is_out_of_sight(episode):
                episodes.append(episode)
                bar.update()
    origin = f"{name} by OGBench's recipe, seed {args.seed}, by collect_local.py; not OGBench's file"
    write_ogbench(path, count, episodes, origin)
    clipped = np.mean([np.abs(episode["actions"]) == 1 for episode in episodes[:count]])
    print(
        f"{path}: {count * (OGBENCH_EPISODE - 1):,} transitions, {count:,} episodes, {clipped:.1%} of the "
        f"numbers in actions are -1 or 1; with validation, {sum(outcomes):,} of {len(outcomes):,} targets "
        f"were reached; {time.time() - began:.0f} s"
    )


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
        env_name, level = name.split("-", 1)
        if "medium" in level and env_name in LOCOMOTION:
            record_medium(env_name, args)
        elif env_name == "ogbench":
            record_ogbench(level, args)
        else:
            record(env_name, level, args)


if __name__ == "__main__":
    main()
