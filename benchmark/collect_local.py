"""Record small data sets on this machine, so that everything can be tried without a network.

    python benchmark/collect_local.py pointmaze-umaze hopper-medium antmaze-umaze

pointmaze-*: a waypoint controller with noise runs between random cells, the way D4RL's maze2d was
             made, at a speed of its own in each episode.
*-random:    D4RL's random-v2: 1,000,000 steps of uniformly drawn actions in the environments that D4RL's own
             data are evaluated in. No policy is involved, so these are D4RL's data but for the draws and
             the version of the simulator (data.md).
*-medium:    D4RL's recipe for locomotion. dmg_finetune.py trains online without data (TD3) in a run folder
             here, until its policy first scores a third of the expert. local/*/medium-replay-v0 is what it
             has seen until then, local/*/medium-v0 episodes of that policy with its noise. A training that
             was interrupted goes on.
antmaze-*:   D4RL's recipe for AntMaze v2, in its environment (d4rl_antmaze.py). A trained ant is led from
             cell to cell, with noise on its actions; in umaze from D4RL's start to its goal, in medium and
             large from anywhere to the goals of the play data, in antmaze-*-diverse from anywhere to
             anywhere. At its goal it runs on to the end of the episode, and after a fall it stays on its
             back. Rewards and terminations are for one goal, the middle of those that an evaluation draws,
             at every transition that ends within 0.5 m of it.
antmaze_v4-*: the same ant in Gymnasium-Robotics' mazes, in the form of Minari's D4RL/antmaze: each episode
             keeps its own goal, which does not end it, and there are 0.05 s between two actions instead of
             0.1 s. Five times D4RL's torque is at hand there; the ant asks for a quarter of it.
ogbench-*:   OGBench's recipe in its environments (pip install ogbench==1.2.2 dm_control==1.0.44), without
             its files: the package's scripted robot play, or a noisy point led from cell to cell. Written
             as the library's files are, NAME-v0.npz and NAME-v0-val.npz in --folder, from which
             import_ogbench.py --path makes the data set of any task.

The ant is ant.npz, trained in an open field and saved by

    python dmg_finetune.py --env-id benchmark.d4rl_antmaze:D4RLAntMaze/open-v2 --offline-steps 0 \
        --online-steps 60000 --lam 1 --nu 0 --learning-starts 10000 --exploration-noise 0.2 --eval-episodes 5
    python benchmark/save_ant.py runs/RUN

The sets go to Minari's folder (MINARI_DATASETS_PATH, or ~/.minari/datasets) as local/<env>/<level>-v0. The
same --seed gives the same data. But for the random ones they are not D4RL's data: scores on them compare only
with each other.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import export_replay
import gymnasium as gym
import numpy as np
import tyro
from import_d4rl import ENVIRONMENTS
from store import errors_in_one_line, fail, forward, is_stored, quiet_stderr, rollouts, store
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))
from benchmark import d4rl_antmaze

# Environment, transitions, steps of an episode: so few that an average driver does not reach the far goal
MAZES = {"umaze": ("PointMaze_UMaze-v3", 50_000, 200), "medium": ("PointMaze_Medium-v3", 100_000, 400)}
SPEEDS = (0.5, 4.0)  # in m/s, drawn for each episode
# Online training of *-medium: environment, score that ends it, steps between evaluations, first random steps
LOCOMOTION = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
RANDOM_STEPS = 1_000_000
MEDIUM_SCORE, EVAL_INTERVAL, LEARNING_STARTS, MEDIUM_STEPS = 100 / 3, 5_000, 10_000, 200_000
ANT = Path(__file__).with_name("ant.npz")
ROBOTICS_MAZES = {"umaze": "AntMaze_UMaze-v4", "medium": "AntMaze_Medium-v4", "large": "AntMaze_Large-v4"}
ROBOTICS_STRENGTH = 0.25  # of motors five times as strong as D4RL's; with more of it the ant falls
ANT_STEPS, ANT_NOISE = 1_000_000, 0.3
# Of OGBench: steps of an episode, the last of which leads nowhere; noise on the point's actions
OGBENCH = ("cube-single-play", "scene-play", "puzzle-3x3-play", "pointmaze-medium-navigate")
OGBENCH_STEPS, OGBENCH_EPISODE, POINT_NOISE = 1_000_000, 1001, 0.5
NAMES = [f"pointmaze-{maze}" for maze in MAZES]
NAMES += [f"{env}-{level}" for env in LOCOMOTION for level in ("random", "medium", "medium-replay")]
NAMES += [f"{env}-{maze}" for env in ("antmaze", "antmaze_v4") for maze in ROBOTICS_MAZES]
NAMES += [f"antmaze-{maze}-diverse" for maze in ROBOTICS_MAZES]
NAMES += [f"ogbench-{name}" for name in OGBENCH]


@dataclass
class Args:
    names: Annotated[tuple[str, ...], tyro.conf.Positional]
    """data sets to record"""
    seed: int = 0
    """of the policies and the environments"""
    steps: int | None = None
    """transitions to record, instead of the set's own number (at most so many of training too)"""
    overwrite: bool = False
    """record again what is already there"""
    folder: Path = Path("ogbench_data")
    """where the files of ogbench-* go"""


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


def next_center(maze, ways, observation):
    """The goal if it lies in this cell, else the middle of the next one (x, y); Gymnasium-Robotics' maze."""
    goal = tuple(maze.cell_xy_to_rowcol(observation["desired_goal"]))
    cell = tuple(maze.cell_xy_to_rowcol(observation["achieved_goal"]))
    if goal not in ways:
        ways[goal] = next_cells(maze.maze_map, goal)
    if cell == goal or cell not in ways[goal]:
        return observation["desired_goal"]
    return maze.cell_rowcol_to_xy(np.array(ways[goal][cell]))


def waypoint_policy(env, rng):
    """Drive at some speed to the next cell on the shortest way to the goal, with Gaussian noise on forces."""
    maze, ways, speed = env.unwrapped.maze, {}, rng.uniform(*SPEEDS)

    def policy(observation):
        position, velocity = observation["observation"][:2], observation["observation"][2:]
        way = next_center(maze, ways, observation) - position
        distance = np.linalg.norm(way) + 1e-6
        return 2 * (min(speed, 5 * distance) * way / distance - velocity) + 0.5 * rng.normal(size=2)

    return policy


class AntMazeRecording(gym.Wrapper):
    """Starts and goals of D4RL's recordings, anywhere in diverse ones; a goal does not end an episode."""

    def __init__(self, env, rng, is_diverse=False):
        super().__init__(env)
        self.rng, maze = rng, env.unwrapped.maze
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
    layers = [(arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(3)]
    return lambda observation: forward(layers, observation.astype(np.float32))


def ant_policy(env, rng):
    """Run to the next waypoint, with Gaussian noise on the actions."""
    act, ways = load_ant(ANT), {}

    def policy(observation):
        maze, goal = env.unwrapped.maze, env.unwrapped.goal
        waypoint = next_waypoint(maze, ways, observation[:2], goal, rng)
        action = act(d4rl_antmaze.running_observation(observation[:15], observation[15:], waypoint))
        return action + ANT_NOISE * rng.normal(size=action.shape)

    return policy


def robotics_ant_policy(env, rng):
    """The same in Gymnasium-Robotics' maze, where an action of 1 is five times as strong."""
    act, ways, maze = load_ant(ANT), {}, env.unwrapped.maze

    def policy(observation):
        position = np.concatenate([observation["achieved_goal"], observation["observation"][:13]])
        velocity, waypoint = observation["observation"][13:], next_center(maze, ways, observation)
        action = act(d4rl_antmaze.running_observation(position, velocity, waypoint))
        noisy = np.clip(action + ANT_NOISE * rng.normal(size=action.shape), -1, 1)
        return ROBOTICS_STRENGTH * noisy

    return policy


def is_on_back(quaternion):
    """Whether the ant's own z axis points down."""
    return quaternion[1] ** 2 + quaternion[2] ** 2 > 0.5


def relabel(env, episodes):
    """The episodes with rewards and terminations for one goal, and a line about them.

    D4RL's own data were made so, and what follows after the goal is reached stays in. D4RL draws that goal;
    this is the middle of the square from which every evaluation draws its own.
    """
    goal, relabelled = env.unwrapped.goal_cell_xy + d4rl_antmaze.GOAL_OFFSET, []
    for episode in episodes:
        observations = episode.observations.astype(np.float32)
        is_reached = np.linalg.norm(observations[1:, :2] - goal, axis=1) <= d4rl_antmaze.GOAL_RADIUS
        changes = dict(rewards=is_reached.astype(np.float32), terminations=is_reached)
        relabelled.append(replace(episode, observations=observations, **changes))
    own = np.mean([episode.rewards.any() for episode in episodes])
    fallen = np.mean([is_on_back(episode.observations[-1, 3:7]) for episode in episodes])
    rewards = np.array([episode.rewards.sum() for episode in relabelled])
    return relabelled, (
        f"goal ({goal[0]:.2f}, {goal[1]:.2f}) reached in {np.mean(rewards > 0):.1%} of the episodes and "
        f"{rewards.sum():,.0f} transitions, the episode's own in {own:.1%}, {fallen:.1%} end on the back"
    )


def train_until_medium(env_id, args):
    """Train online, or go on with it, until the policy scores MEDIUM_SCORE; returns the run's folder."""
    exp_name = f"medium_seed{args.seed}" + f"_steps{args.steps}" * bool(args.steps)
    pattern = f"{env_id}__{exp_name}__*/checkpoint.pt"
    options = f"--env-id {env_id} --exp-name {exp_name} --seed {args.seed} --eval-interval {EVAL_INTERVAL}"
    options += f" --offline-steps 0 --online-steps {args.steps or 1_000_000} --lam 1 --nu 0"
    options += f" --learning-starts {LEARNING_STARTS}"

    def find_run():
        """The newest folder and whether its training is over; result.json is saved before the checkpoint."""
        for checkpoint in sorted(Path("runs").glob(pattern), reverse=True):
            result = checkpoint.with_name("result.json")
            try:
                run = json.loads(result.read_text())
            except (OSError, ValueError):
                fail(f"{result} is damaged: remove that folder")
            is_saved = checkpoint.stat().st_mtime >= result.stat().st_mtime
            is_medium = run["members"][0]["evaluations"][-1]["normalized_score"] >= MEDIUM_SCORE
            return checkpoint.parent, is_saved and (is_medium or run["step"] == run["args"]["online_steps"])
        return None, False

    folder, is_over = find_run()
    if not is_over:
        options = options.split() if folder is None else ["--resume", folder]
        script = Path(__file__).resolve().parent.parent / "dmg_finetune.py"
        process = subprocess.Popen([sys.executable, script, *options], stdout=sys.stderr)
        try:
            while process.poll() is None and not is_over:
                time.sleep(0.5)
                folder, is_over = find_run()
        finally:
            process.terminate()  # the checkpoint stays as it is
            process.wait()
    folder, is_over = find_run()
    member = json.loads((folder / "result.json").read_text())["members"][0] if folder else {}
    if member.get("diverged_at"):
        fail(f"the training in {folder} has diverged: give another --seed")
    if not is_over:
        fail(f"the training ended with code {process.returncode}: the same command goes on with it")
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


def random_policy(env, rng):
    """Uniform actions, from the action space's own generator as in D4RL."""
    return lambda observation: env.action_space.sample()


def record(env_name, level, args):
    """Record a random set or one in a maze, store it in Minari's folder and print a line about it."""
    dataset_id, began = f"local/{env_name}/{level}-v0", time.time()
    if is_stored(dataset_id) and not args.overwrite:
        return print(f"{dataset_id} is there already (--overwrite records it again)")
    rng, references = np.random.default_rng(args.seed), (0.0, 1.0)
    if level == "random":
        env_id, *references, _, _ = ENVIRONMENTS[env_name]
        with quiet_stderr():
            env = gym.make(env_id)
        env.action_space.seed(args.seed)
        algorithm, package, steps = "uniform actions", "gymnasium[mujoco]", RANDOM_STEPS
        recorded, new_policy = env, random_policy
    elif env_name == "pointmaze":
        env_id, steps, limit = MAZES[level]
        with quiet_stderr():
            env = gym.make(f"gymnasium_robotics:{env_id}", continuing_task=False, max_episode_steps=limit)
        algorithm, package = "waypoint controller", "gymnasium-robotics"
        recorded, new_policy = env, waypoint_policy
    elif env_name == "antmaze_v4":
        options = dict(continuing_task=True, reset_target=False)
        if level == "umaze":  # one start and one goal, as in Minari's
            rows = d4rl_antmaze.MAZES[level].lower().split()
            options["maze_map"] = [[int(mark) if mark.isdigit() else mark for mark in row] for row in rows]
        with quiet_stderr():
            env = gym.make(f"gymnasium_robotics:{ROBOTICS_MAZES[level]}", **options)
        algorithm, package, steps = "TD3 ant with waypoints", "gymnasium-robotics", ANT_STEPS
        recorded, new_policy = env, robotics_ant_policy
    else:
        maze = level.removesuffix("-diverse")
        with quiet_stderr():
            env = gym.make(f"benchmark.d4rl_antmaze:D4RLAntMaze/{maze}-v2")
        algorithm, package, steps = "TD3 ant with waypoints", "gymnasium[mujoco]", ANT_STEPS
        recorded, new_policy = AntMazeRecording(env, rng, is_diverse=maze != level), ant_policy
    if maze_file := getattr(env.unwrapped, "tmp_xml_file_path", None):  # Gymnasium-Robotics leaves it there
        Path(maze_file).unlink(missing_ok=True)
    with tqdm(desc=f"{env_name}-{level}", unit="") as bar:
        episodes = rollouts(recorded, lambda: new_policy(env, rng), rng, args.steps or steps, bar)
    about = dict(env=env, eval_env=env, author="DMG contributors")
    about |= dict(
        zip(("ref_min_score", "ref_max_score"), references), algorithm_name=algorithm, requirements=[package]
    )
    origin = "not D4RL's data"
    if level == "random":
        origin = "by D4RL's recipe for random-v2"
        returns = np.array([episode.rewards.sum() for episode in episodes])
        outcome = f"returns of {returns.mean():.4g} +- {returns.std():.4g}, at most {returns.max():.4g}"
    elif env_name == "antmaze":
        episodes, outcome = relabel(env, episodes)
        about["observation_space"] = gym.spaces.Box(-np.inf, np.inf, (29,), np.float32)
    else:
        is_reached = [episode.rewards.any() for episode in episodes]
        outcome = f"goal reached in {np.mean(is_reached):.1%} of the episodes"
    about["description"] = f"{dataset_id}, seed {args.seed}, by collect_local.py, {origin}: {outcome}"
    store(dataset_id, episodes, **about)
    steps, seconds = sum(len(episode.rewards) for episode in episodes), time.time() - began
    print(f"{dataset_id}: {steps:,} transitions, {len(episodes):,} episodes, {outcome}, {seconds:.0f} s")


def robot_policy(env, outcomes):
    """Scripted play: a plan to a random target, then to the next one; outcomes notes which are reached."""
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    is_puzzle, oracle = env.spec.id.startswith("puzzle"), None
    oracles = {
        "cube": cube_plan.CubePlanOracle(env=env),
        "button": button_plan.ButtonPlanOracle(env=env, gripper_always_closed=is_puzzle),
        "drawer": drawer_plan.DrawerPlanOracle(env=env),
        "window": window_plan.WindowPlanOracle(env=env),
    }

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
    free = [(int(i), int(j)) for i, j in np.argwhere(walls == 0)]

    def is_corridor(i, j):  # where a goal never is
        ahead, across = walls[[i - 1, i + 1], j], walls[i, [j - 1, j + 1]]
        return ahead[0] == ahead[1] != across[0] == across[1]

    goals = [cell for cell in free if not is_corridor(*cell)]

    def draw(cells):
        return cells[np.random.randint(len(cells))]

    def policy(observation, info):
        if info.get("success"):
            outcomes.append(True)
            maze.set_goal(goal_xy=maze.add_noise(maze.ij_to_xy(draw(goals))))
        way = maze.get_oracle_subgoal(maze.get_xy(), maze.cur_goal_xy)[0] - maze.get_xy()
        return way / (np.linalg.norm(way) + 1e-6) + POINT_NOISE * np.random.normal(size=2)

    return policy, {"task_info": {"init_ij": draw(free), "goal_ij": draw(goals)}}


def play_ogbench(env, new_policy, outcomes, seed):
    """One episode as OGBench's files have it: a row a step, with the state that it begins in."""
    np.random.seed(seed)  # the library's plans and mazes draw there
    policy, options = new_policy(env, outcomes)
    observation, info = env.reset(seed=seed, options=options)
    rows, is_over = [], False
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
    return (y >= 0.29).any() or ((y <= -0.3) & ((z < 0.06) | (z > 0.08))).any()


def record_ogbench(name, args):
    """Record a set as OGBench's files, with a tenth more for validation, and print a line about it."""
    path, began = args.folder / f"{name}-v0.npz", time.time()
    if path.exists() and not args.overwrite:
        return print(f"{path} is there already (--overwrite records it again)")
    try:
        import ogbench  # noqa: F401  (registers its environments)
    except ImportError:
        fail("OGBench is missing: pip install ogbench==1.2.2 dm_control==1.0.44")
    is_maze = name.startswith("pointmaze")
    options = dict(terminate_at_goal=False, max_episode_steps=OGBENCH_EPISODE)
    options |= {} if is_maze else dict(mode="data_collection", visualize_info=False)
    with quiet_stderr():
        env = gym.make(f"{name.rpartition('-')[0]}-v0", disable_env_checker=True, **options)
    rng, outcomes, episodes = np.random.default_rng(args.seed), [], []
    count = math.ceil((args.steps or OGBENCH_STEPS) / (OGBENCH_EPISODE - 1))
    new_policy = point_policy if is_maze else robot_policy
    with tqdm(total=count + math.ceil(count / 10), desc=name, unit=" episodes") as bar:
        while bar.n < bar.total:
            episode = play_ogbench(env, new_policy, outcomes, int(rng.integers(2**31)))
            if not (name == "scene-play" and is_out_of_sight(episode)):
                episodes.append(episode)
                bar.update()
    origin = np.array(
        f"{name} by OGBench's recipe, seed {args.seed}, by collect_local.py; not OGBench's file"
    )
    validation = path.with_name(f"{name}-v0-val.npz")
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
        for file, part in ((validation, episodes[count:]), (path, episodes[:count])):
            columns = {key: np.concatenate([episode[key] for episode in part]) for key in part[0]}
            np.savez_compressed(unfinished := file.with_suffix(".unfinished.npz"), origin=origin, **columns)
            os.replace(unfinished, file)
    except OSError as error:
        fail(f"cannot write to --folder {args.folder} ({error})")
    clipped, seconds = np.mean(np.abs(columns["actions"]) == 1), time.time() - began
    print(
        f"{path}: {count * (OGBENCH_EPISODE - 1):,} transitions, {count:,} episodes, {clipped:.1%} of the "
        f"numbers in actions are -1 or 1; with validation, {sum(outcomes):,} of {len(outcomes):,} targets "
        f"were reached; {seconds:.0f} s"
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
