"""The recorder, the exporter and the importer of D4RL's files: what they store, and what stops them."""

import faulthandler
import fcntl
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import collect_local
import export_replay
import gymnasium as gym
import h5py
import import_d4rl
import minari
import numpy as np
import pytest
import save_ant
import store
import torch
from conftest import (
    PENDULUM,
    ROOT,
    TINY,
    checkpoint,
    die_at,
    ended,
    execute,
    fork,
    online_rows,
    result,
    run_dir,
    wait_for_evaluations,
)
from conftest import run as run_script
from minari.data_collector.episode_buffer import EpisodeBuffer
from tqdm import tqdm

import dmg_offline as dmg
from benchmark import d4rl_antmaze

HOPPER = "hopper_medium_replay-v2.hdf5"
ANTMAZE = "Ant_maze_{}-maze_noisy_multistart_{}_multigoal_{}_sparse_fixed.hdf5"
KILL, CTRL_C, TERM, HUP = signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP
ANTMAZES = {
    "umaze": ANTMAZE.format("u", False, False),
    "umaze-diverse": ANTMAZE.format("u", True, True),
    "medium-play": ANTMAZE.format("big", True, False),
    "medium-diverse": ANTMAZE.format("big", True, True),
    "large-play": ANTMAZE.format("hardest", True, False),
    "large-diverse": ANTMAZE.format("hardest", True, True),
}


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """Data sets are small here, and 256 MB are not written in no time."""
    monkeypatch.setattr(store, "ROOM", 1000)


@pytest.fixture
def run(capfd):
    """run(tool, *arguments, before=...) in a process group of its own -> exit code, stdout, stderr.

    A tool that hangs is killed; one that ends otherwise must leave no process behind.
    """

    def run(tool, *args, before=lambda: None):
        def target():
            os.setpgid(0, 0)
            tqdm.set_lock(threading.RLock())  # the inherited one would stay locked if this process is killed
            np.random.seed()  # as in a new process
            sys.stderr = open(2, "w", buffering=1)  # pytest's own goes past file descriptor 2
            sys.argv = [tool.__name__, *map(str, args)]
            before()
            tool.main()

        capfd.readouterr()
        process = multiprocessing.get_context("fork").Process(target=target)
        process.start()
        process.join(100)
        try:
            os.killpg(process.pid, KILL)
        except ProcessLookupError:
            is_over = True
        else:
            is_over = False
        process.join()
        assert is_over or process.exitcode == -KILL
        return process.exitcode, *capfd.readouterr()

    return run


@pytest.fixture
def refused(run):
    """What the one line on stderr says."""

    def refused(*args, **options):
        code, out, err = run(*args, **options)
        assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1, (code, out, err)
        return err

    return refused


def transitions(dataset_id):
    """Observations, actions, rewards, next observations and terminations of a stored data set."""
    episodes = list(minari.load_dataset(dataset_id))
    flat = [dmg.flatten(episode.observations) for episode in episodes]
    columns = [[o[:-1] for o in flat], [e.actions for e in episodes], [e.rewards for e in episodes]]
    columns += [[o[1:] for o in flat], [e.terminations for e in episodes]]
    return [np.concatenate(column) for column in columns]


def reference_scores(dataset):
    return dataset.storage.metadata["ref_min_score"], dataset.storage.metadata["ref_max_score"]


def equal(first, second):
    return all(a.shape == b.shape and (a == b).all() for a, b in zip(first, second, strict=True))


def left_over():
    """What lies in Minari's folder beside data sets and their namespaces."""
    return [path.name for path in Path(os.environ["MINARI_DATASETS_PATH"]).rglob(".*")]


# --- what is recorded ---


def test_the_same_seed_records_the_same_data(run):
    dataset_id, args = "local/pointmaze/umaze-v0", (collect_local, "pointmaze-umaze", "--steps", 300)
    code, out, err = run(*args)
    assert code == 0 and out.startswith(f"{dataset_id}: ") and out.count("\n") == 1
    assert all(
        "pointmaze-umaze" in line for line in err.split("\n") if line.strip()
    )  # the progress bar alone
    dataset, first = minari.load_dataset(dataset_id), transitions(dataset_id)
    assert reference_scores(dataset) == (0.0, 1.0)
    assert dataset.recover_environment().spec.id == "PointMaze_UMaze-v3"
    for episode in dataset:
        assert (episode.terminations | episode.truncations).sum() == 1
        assert episode.terminations[-1] or episode.truncations[-1]
        assert (episode.rewards == episode.terminations).all()
    assert "is there already" in run(*args)[1]
    for seed in (0, 1):
        assert run(*args, "--overwrite", "--seed", seed)[0] == 0
        assert equal(first, transitions(dataset_id)) == (seed == 0)
    assert not left_over()


def test_episodes_are_played_until_the_steps_are_there_also_without_a_bar():
    env = gym.make("Pendulum-v1", max_episode_steps=5)
    rng = np.random.default_rng(0)
    episodes = store.rollouts(env, lambda: lambda observation: [0.0], rng, 11, tqdm(disable=True))
    assert [len(episode.rewards) for episode in episodes] == [5, 5, 5]


@pytest.mark.parametrize("name", ["pointmaze-umaze", "antmaze_v4-umaze"])
def test_a_recording_leaves_no_maze_in_the_temporary_folder(run, tmp_path, monkeypatch, name):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    assert run(collect_local, name, "--steps", 10)[0] == 0
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    "env_name, env_id",
    [("halfcheetah", "HalfCheetah-v4"), ("hopper", "Hopper-v4"), ("walker2d", "Walker2d-v4")],
)
def test_random_data_are_made_by_d4rls_recipe(run, env_name, env_id):
    """Actions from the action space's generator, episodes that end by themselves or after 1,000 steps."""
    rollouts = collect_local.rollouts

    def shorten():  # 1,250 steps instead of 1,000,000
        collect_local.rollouts = lambda env, new, rng, steps, bar: rollouts(env, new, rng, steps // 800, bar)

    dataset_id = f"local/{env_name}/random-v0"
    code, out, _ = run(collect_local, f"{env_name}-random", "--seed", 3, before=shorten)
    assert code == 0 and out.count("\n") == 1
    env, rng, returns, steps = gym.make(env_id), np.random.default_rng(3), [], 0
    env.action_space.seed(3)
    dataset = minari.load_dataset(dataset_id)
    for episode in dataset:
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        for t, action in enumerate(episode.actions):
            np.testing.assert_array_equal(episode.observations[t], observation)
            np.testing.assert_array_equal(action, env.action_space.sample())
            observation, *outcome, _ = env.step(action)
            assert outcome == [episode.rewards[t], episode.terminations[t], episode.truncations[t]]
            assert any(outcome[1:]) == (t == len(episode.actions) - 1)
        np.testing.assert_array_equal(episode.observations[-1], observation)
        returns, steps = [*returns, episode.rewards.sum()], steps + len(episode.rewards)
        assert steps < 1250 or episode.id == dataset.total_episodes - 1
    assert steps >= 1250 and f"{steps:,} transitions, {len(returns)} episodes" in out
    assert f"returns of {np.mean(returns):.4g} +- {np.std(returns):.4g}, at most {max(returns):.4g}" in out
    lengths, is_truncated = zip(*((len(episode), episode.truncations.any()) for episode in dataset))
    if env_name == "halfcheetah":  # which never falls
        assert lengths == (1000, 1000) and all(is_truncated)
    else:
        assert max(lengths) < 200 and not any(is_truncated)
    actions = np.concatenate([episode.actions for episode in dataset])
    assert actions.min() < -0.99 and actions.max() > 0.99
    assert (np.abs(np.histogram(actions, 4, (-1, 1))[0] / actions.size - 0.25) < 0.03).all()  # uniform
    evaluated = dataset.recover_environment(eval_env=True)
    assert evaluated.spec.id == env_id and evaluated.spec.max_episode_steps == 1000
    assert reference_scores(dataset) == dmg.REFERENCE_RETURNS[env_name]


def make_antmaze(maze):
    return gym.make(f"benchmark.d4rl_antmaze:D4RLAntMaze/{maze}-v2")


def test_antmaze_is_recorded_for_one_goal(run):
    dataset_id, args = "local/antmaze/umaze-v0", (collect_local, "antmaze-umaze", "--steps", 701)
    code, out, _ = run(*args)
    assert code == 0 and out.startswith(f"{dataset_id}: ") and out.count("\n") == 1
    dataset, first = minari.load_dataset(dataset_id), transitions(dataset_id)
    is_near = np.hypot(*(first[3][:, :2] - (0.75, 8.75)).T) <= 0.5
    assert 0 < is_near.sum() < len(is_near) and f"{is_near.sum():,} transitions" in out
    assert (first[2] == is_near).all() and (first[4] == is_near).all()
    assert any(episode.terminations[:-1].any() for episode in dataset)  # episodes go on at the goal
    for episode in dataset:
        assert len(episode.rewards) == 700  # an episode goes on after a fall, too
        assert episode.truncations.sum() == episode.truncations[-1] == 1
        assert np.abs(episode.observations[0, :2]).max() <= 0.1
    assert first[0].dtype == np.float32 and reference_scores(dataset) == (0.0, 1.0)
    for seed in (1, 0):
        assert run(*args, "--overwrite", "--seed", seed)[0] == 0
        assert equal(first, transitions(dataset_id)) == (seed == 0)
    dataset = dmg.open_dataset(dataset_id)
    env, args = dmg.make_env(dataset), dmg.Args(**dmg.presets(dataset))
    (observations, _, rewards, _, terminations), _ = dmg.load_transitions(dataset, env, args)
    assert dmg.task_of(dataset) == "d4rl-antmaze" and env.spec.max_episode_steps == 700
    assert (rewards == terminations - 1).all() and observations.shape == (len(is_near), 29)


def test_antmaze_v4_is_recorded_as_minaris(run):
    dataset_id = "local/antmaze_v4/umaze-v0"
    code, out, _ = run(collect_local, "antmaze_v4-umaze", "--steps", 701)
    assert code == 0 and out.startswith(f"{dataset_id}: ") and out.count("\n") == 1
    dataset = dmg.open_dataset(dataset_id)
    settings, env = dmg.Args(**dmg.presets(dataset)), dmg.make_env(dataset)
    assert dmg.task_of(dataset) == "minari-antmaze" and env.spec.max_episode_steps == 700
    (observations, actions, rewards, next_observations, terminations), _ = dmg.load_transitions(
        dataset, env, settings
    )
    assert (observations.shape[1], actions.shape[1]) == (29, 8)
    start, goal = (env.unwrapped.maze.cell_rowcol_to_xy(np.array(cell)) for cell in ((1, 1), (3, 1)))
    is_near = np.hypot(*(next_observations[:, :2] - goal).T) <= 0.5
    assert is_near.any() and (terminations == is_near).all() and (rewards == is_near - 1.0).all()
    for episode in dataset:
        assert episode.observations["observation"].shape[1] == 27 and not episode.terminations.any()
        assert len(episode.rewards) == 700
        assert (np.abs(episode.observations["achieved_goal"][0] - start) <= 1.2).all()
        assert (np.abs(episode.observations["desired_goal"] - goal) <= 1).all()
        assert np.abs(episode.actions).max() <= 0.25


@pytest.mark.parametrize(
    ("maze", "is_diverse"), [("medium", False), ("large", False), ("umaze", True), ("large", True)]
)
def test_recordings_of_antmazes_start_anywhere(maze, is_diverse):
    env, starts, goals = make_antmaze(maze), set(), set()
    recording = collect_local.AntMazeRecording(env, np.random.default_rng(0), is_diverse)
    for _ in range(300):
        xy = recording.reset()[0][:2]
        corners = np.floor(np.stack([xy, env.unwrapped.goal]) / 4).astype(int)
        starts.add(tuple(corners[0, ::-1] + 1))
        goals.add(tuple(corners[1, ::-1] + 1))
        assert (xy - 4 * corners[0] <= 1).all() and (env.unwrapped.goal - 4 * corners[1] <= 1.5).all()
    free = set(d4rl_antmaze.cells(maze))
    assert goals == (free if is_diverse else set(d4rl_antmaze.DATA_GOALS[maze]))
    assert starts == (free if is_diverse else free - goals)


def test_an_antmaze_recording_goes_on_at_the_goal_and_after_a_fall():
    env = make_antmaze("umaze")
    recording = collect_local.AntMazeRecording(env, None)
    recording.reset(seed=0)
    ant = env.unwrapped
    position = ant.data.qpos.copy()
    position[:2] = ant.goal
    position[3:7] = [0, 1, 0, 0]
    assert collect_local.is_on_back(position[3:7]) and not collect_local.is_on_back([1, 0, 0, 0])
    ant.set_state(position, np.zeros(14))
    steps = [recording.step(np.zeros(8)) for _ in range(700)]
    assert steps[0][1] == 1.0 and not any(terminated for _, _, terminated, _, _ in steps)
    assert [truncated for *_, truncated, _ in steps] == 699 * [False] + [True]


@pytest.mark.parametrize("maze", d4rl_antmaze.MAZES)
def test_waypoints_lead_from_everywhere_to_the_goal(maze):
    rng, free = np.random.default_rng(0), d4rl_antmaze.cells(maze)
    for start in free:
        for goal_cell in d4rl_antmaze.DATA_GOALS[maze]:
            goal = d4rl_antmaze.cell_center(maze, goal_cell) + rng.uniform(0, 1.5, 2)
            position = d4rl_antmaze.cell_center(maze, start) - 1.5  # for D4RL in another cell
            for _ in range(1000):
                way = collect_local.next_waypoint(maze, position, goal, rng) - position
                step = 0.2 * way / max(np.linalg.norm(way), 0.2)
                for move in (step * [1, 0], step * [0, 1]):  # a point that slides along walls
                    if tuple(np.round((position + move)[::-1] / 4 + 1).astype(int)) in free:
                        position = position + move
                if np.linalg.norm(position - goal) < 0.5:
                    break
            else:
                pytest.fail(f"{start} to {goal_cell}: stuck at {position}")


def test_the_ant_is_the_actor_of_a_run(tmp_path):
    agent = dmg.Agent([(1, 1.0, 0.0), (2, 1.0, 0.0)], np.zeros(29), np.ones(29), 8, dmg.Args())
    state = {"run": {"script": "dmg_finetune"}, "agent": agent.state_dict()}
    torch.save(state, tmp_path / "checkpoint.pt")
    save_ant.main(tmp_path, tmp_path / "ant.npz")
    observation = np.random.default_rng(0).normal(size=29)
    action = agent.actor(torch.tensor(observation, dtype=torch.float32).expand(2, 1, 29))[0, 0].detach()
    assert np.allclose(collect_local.load_ant(tmp_path / "ant.npz")(observation), action, atol=1e-6)


# --- what an online run leaves ---

ONLINE = "--device cpu --offline-steps 0 --lam 1 --nu 0 --eval-episodes 0 --log-interval 50".split()
ONLINE += "--batch-size 16 --hidden 16 16".split()
HOPPER_RUN = [*ONLINE, "--env-id", "Hopper-v5", "--seed", 1, 2, "--learning-starts", 200]
HOPPER_RUN += ["--online-steps", 300, "--eval-interval", 90]  # new episodes begin after every checkpoint
HOPPER_RUN += ["--exploration-noise", 0]
REPLAY = "local/hopper/replay-v0"


@pytest.fixture(scope="module")
def hopper_runs(tmp_path_factory):
    """A folder with this run."""
    folder = tmp_path_factory.mktemp("hopper") / "runs"
    run_script("dmg_finetune", *HOPPER_RUN, "--runs-dir", folder)
    return folder


def edited(folder, change, copy="edited"):
    """A copy of the run in this folder, with changes to its checkpoint."""
    shutil.copytree(run_dir(folder), copy)
    change(state := checkpoint(folder))
    torch.save(state, Path(copy, "checkpoint.pt"))
    return copy


def check_buffer(dataset_id, rows, cuts, step_cost=0.0):
    """The stored transitions are these rows, in episodes that end at terminations and at the cuts."""
    dataset = dmg.open_dataset(dataset_id)
    columns, _ = dmg.load_transitions(dataset, dmg.make_env(dataset), dmg.Args(step_cost=step_cost))
    loaded, n, m = np.column_stack(columns), columns[0].shape[1], columns[1].shape[1]
    np.testing.assert_allclose(loaded, rows, rtol=0, atol=1e-6)
    others = np.r_[:n, n + m + 1 : rows.shape[1]]
    np.testing.assert_array_equal(loaded[:, others], rows[:, others])
    lasts = np.cumsum([len(episode.rewards) for episode in dataset]) - 1
    assert lasts.tolist() == sorted({*np.flatnonzero(rows[:, -1]), *cuts})
    for episode, last in zip(dataset, lasts):
        assert not episode.terminations[:-1].any() and not episode.truncations[:-1].any()
        assert episode.terminations[-1] == rows[last, -1] == 1 - episode.truncations[-1]
    return dataset


def test_a_buffer_is_stored_as_it_is(run, hopper_runs):
    """That of the first member, with the cuts at checkpoints."""
    code, out, err = run(export_replay, run_dir(hopper_runs), REPLAY)
    assert code == 0 and out.startswith(f"{REPLAY}: 300 transitions, ") and out.count("\n") == 1 and not err
    rows, cuts = online_rows(hopper_runs)[0].numpy(), [89, 179, 269, 299]
    assert (rows[cuts, -1] == 0).any() and rows[:, -1].sum() > 5
    dataset = check_buffer(REPLAY, rows, cuts)
    assert dataset.recover_environment().spec.id == "Hopper-v5"
    assert reference_scores(dataset) == dmg.REFERENCE_RETURNS["hopper"] and ", score " in out
    assert dataset[0].observations.dtype == np.float32 and not left_over()


def test_a_buffer_of_actions_with_other_bounds_and_of_rewards_with_a_cost(run):
    """Pendulum's episodes are truncated after 200 steps."""
    options = "--env-id Pendulum-v1 --learning-starts 440 --online-steps 450 --eval-interval 300".split()
    run_script("dmg_finetune", *ONLINE, *options, "--step-cost", 0.5)
    code, out, _ = run(export_replay, run_dir(), "local/pendulum/replay-v0")
    assert code == 0 and "450 transitions, 3 episodes" in out and "score" not in out
    rows = online_rows()[0].numpy()
    dataset = check_buffer("local/pendulum/replay-v0", rows, [199, 299, 449], step_cost=0.5)
    actions = np.concatenate([episode.actions for episode in dataset])
    np.testing.assert_allclose(actions, 2 * rows[:, 3:4], atol=1e-6)
    assert dataset.action_space == gym.spaces.Box(-2, 2, (1,)) and np.abs(actions).max() > 1.9
    env = gym.make("Pendulum-v1")  # whose reward is stored, without the cost
    env.reset(seed=0)
    env.unwrapped.state = np.arctan2(rows[0, 1], rows[0, 0]), rows[0, 2]
    assert env.step(actions[0])[1] == pytest.approx(dataset[0].rewards[0], rel=1e-4)


def test_new_episodes_are_of_the_last_policy_with_its_noise(run, hopper_runs):
    network = replace(dmg.Args(), hidden=(16, 16))
    agent = dmg.Agent([(1, 1.0, 0.0), (2, 1.0, 0.0)], np.zeros(11), np.ones(11), 3, network)

    def record(folder, *args):
        """Observations, actions, and how these differ from those of the first member's actor."""
        code, out, _ = run(export_replay, folder, REPLAY, "--policy-steps", 400, "--overwrite", *args)
        assert code == 0 and "400 steps of the policy after 300 steps of online TD3" in out
        observations, actions, *_ = transitions(REPLAY)
        agent.load_state_dict(torch.load(Path(folder, "checkpoint.pt"), weights_only=True)["agent"])
        inputs = (torch.from_numpy(observations) - agent.mean) / agent.std
        return observations, actions, actions - agent.actor(inputs.expand(2, -1, -1))[0].detach().numpy()

    _, actions, noise = record(run_dir(hopper_runs))
    assert 400 <= len(actions) < 500 and np.abs(noise).max() < 1e-5 and actions.std() > 0.01
    first, env = minari.load_dataset(REPLAY)[0], gym.make("Hopper-v5")
    observation, _ = env.reset(seed=int(np.random.default_rng(0).integers(2**31)))
    for t, action in enumerate(first.actions):  # played in the environment, to the end
        np.testing.assert_array_equal(first.observations[t], observation.astype(np.float32))
        observation, *outcome, _ = env.step(action)
        assert outcome == [first.rewards[t], first.terminations[t], first.truncations[t]]
    assert any(outcome[1:])

    def change(state):
        state["run"]["args"]["exploration_noise"] = 0.3
        state["agent"]["mean"][:], state["agent"]["std"][:] = torch.arange(11) / 10, 1.5

    noisy = record(edited(hopper_runs, change))
    noise = noisy[2][np.abs(noisy[1]) < 1]
    assert abs(noise.mean()) < 0.04 and noise.std() == pytest.approx(0.3, abs=0.03)
    assert np.abs(noisy[1]).max() <= 1
    assert equal(noisy, record("edited"))
    other = record("edited", "--seed", 1)
    assert (other[0][:50] != noisy[0][:50]).any() and (other[2][:50] != noisy[2][:50]).any()


class Rising(gym.Env):
    """Episodes of 5 steps, with large rewards in an instance that has been reset more than 20 times.

    In evaluations of 10 episodes, these are the third and all later ones.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Box(-2, 4, (1,))
    resets = 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.resets, self.steps = self.resets + 1, 0
        return np.float32([self.np_random.normal()]), {}

    def step(self, action):
        self.steps += 1
        reward = 1000.0 * (self.resets > 20)
        return np.float32([self.np_random.normal()]), reward, False, self.steps == 5, {}


gym.register("Hopper_Rising-v0", f"{__name__}:Rising")  # scored as Hopper


def test_lopsided_action_bounds_and_an_episode_that_begins_where_one_has_ended():
    rows = np.float32([[0, -1, 0, 1, 0], [1, 0, 0, 2, 1], [2, 1, 0, 3, 0]])
    columns = rows[:, :1], rows[:, 1:2], rows[:, 2], rows[:, 3:4], rows[:, 4]
    first, second = export_replay.buffer_episodes(columns, Rising(), 0.0)
    assert (first.actions.tolist(), second.actions.tolist()) == ([[-2], [1]], [[4]])
    assert (first.observations[:, 0].tolist(), second.observations[:, 0].tolist()) == ([0, 1, 2], [2, 3])
    for noise in (0.0, 1.0):
        episodes = export_replay.policy_episodes(lambda observation: 0.5, Rising(), noise, 99, seed=0)
        actions = np.concatenate([episode.actions for episode in episodes])
        assert len(actions) == 100 and actions.min() >= -2 and actions.max() <= 4
        assert (actions == 2.5).all() if noise == 0 else (actions == 4).any() and (actions == -2).any()


def test_runs_that_cannot_be_exported(run, refused, pendulum):
    assert "give the folder of a run" in refused(export_replay, "nowhere", REPLAY)
    run_script("dmg_finetune", *TINY, "--offline-steps", 5, "--online-steps", 5, "--runs-dir", "learned")
    assert "has learned from data" in refused(export_replay, run_dir("learned"), REPLAY)
    ended(fork("dmg_finetune", *HOPPER_RUN, before=die_at(3)), -signal.SIGKILL)
    assert "has seen nothing" in refused(export_replay, run_dir(), REPLAY)
    changes = {
        "of dmg_offline.py": lambda state: state["run"].update(script="dmg_offline"),
        "are no vectors": lambda state: state["run"].update(env_id="PointMaze_UMaze-v3"),
        "give --trust-env": lambda state: state["run"].update(env_id="sound:Nothing-v0"),
        "cannot make Nothing-v0": lambda state: state["run"].update(env_id="Nothing-v0"),
        "has diverged": lambda state: state["run"]["members"][0].update(diverged_at=5),
    }
    for words, change in changes.items():
        assert words in refused(export_replay, edited("runs", change, words), REPLAY, "--policy-steps", 9)
    for flag in ("--policy-steps", "--seed"):
        assert flag in refused(export_replay, run_dir(), REPLAY, flag, -1)
    assert list(minari.list_local_datasets()) == [PENDULUM]
    assert "is there already" in refused(export_replay, run_dir(), PENDULUM)
    assert run(export_replay, run_dir(), REPLAY, "--policy-steps", 9)[0] == 0 and not left_over()


@pytest.mark.parametrize(
    "dataset_id", ["mine", "", "x-v0", "../x-v0", "/x-v0", "local/é-v0", "a/x-v0", "local/x-v²"]
)
def test_names_that_cannot_be_stored(refused, tmp_path, dataset_id):
    """Nor is anything overwritten that they could point to."""
    (tmp_path / "x-v0").mkdir()
    assert "must be like" in refused(export_replay, "nowhere", dataset_id, "--overwrite")
    assert set(os.listdir(tmp_path)) <= {"minari", "x-v0"}


# --- locomotion, recorded from an online training ---

MEDIUM = [f"local/hopper/{level}-v0" for level in ("medium-replay", "medium")]


class Training:
    """Stands in for the Popen of a training: a copy of this process, where everything is imported."""

    before = None

    def __init__(self, command, **options):
        def child():
            sys.stdout = open(os.devnull, "w")
            self.before()
            execute("dmg_finetune", command[2:])

        self.process = multiprocessing.get_context("fork").Process(target=child)
        self.process.start()
        self.poll, self.terminate, self.wait = (
            lambda: self.returncode,
            self.process.terminate,
            self.process.join,
        )

    @property
    def returncode(self):
        return self.process.exitcode


def hold_at(call):
    """As die_at, but the training stands still, until it is ended from outside."""
    calls, real = itertools.count(1), os.replace

    def holding(*args):
        if next(calls) == call:
            time.sleep(100)
            os._exit(9)
        return real(*args)

    return lambda: setattr(os, "replace", holding)


@pytest.fixture
def train(monkeypatch):
    """train(before, **constants): what trainings do first, and constants of collect_local."""

    def train(before=lambda: None, **constants):
        monkeypatch.setattr(Training, "before", staticmethod(before))
        for name, value in constants.items():
            monkeypatch.setattr(collect_local, name, value)

    monkeypatch.setattr(collect_local, "time", SimpleNamespace(sleep=lambda seconds: time.sleep(0.02)))
    monkeypatch.setattr(collect_local, "subprocess", SimpleNamespace(Popen=Training))
    return train


def is_training():
    with open(run_dir() / "lock") as lock:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB) is not None
        except BlockingIOError:
            return True


def test_medium_and_medium_replay_are_made_from_one_training(run):
    args = (collect_local, "hopper-medium", "--steps", 250)
    code, out, err = run(*args)
    assert code == 0 and [line.split(":")[0] for line in out.splitlines()] == ["note", *MEDIUM]
    assert "250 of 250 steps, normalized_score " in err  # the training shows its progress
    assert "less than a third of the expert" in out.splitlines()[0]
    assert f"{MEDIUM[0]}: 250 transitions" in out and result()["step"] == 250
    assert result()["args"].items() >= {"lam": [1.0], "nu": [0.0], "learning_starts": 10_000}.items()
    replay, medium = map(minari.load_dataset, MEDIUM)
    assert 250 <= medium.total_steps < 300 and len({replay.total_episodes, medium.total_episodes}) == 2
    for dataset in (replay, medium):
        assert reference_scores(dataset) == dmg.REFERENCE_RETURNS["hopper"]
        assert dataset.recover_environment().spec.id == "Hopper-v5"
    first = [transitions(dataset_id) for dataset_id in MEDIUM]
    np.testing.assert_array_equal(first[0][0], online_rows()[0, :, :11])
    for name in ("hopper-medium", "hopper-medium-replay"):
        code, out, _ = run(collect_local, name, "--steps", 250)
        assert code == 0 and out.count("is there already") == 2 and all(name in out for name in MEDIUM)
    shutil.rmtree(Path(os.environ["MINARI_DATASETS_PATH"], MEDIUM[0]))
    for options in ([], ["--overwrite"]):  # without a second training
        code, out, _ = run(*args, *options)
        assert code == 0 and out.count("is there already") == (not options)
        assert all(equal(data, transitions(dataset_id)) for data, dataset_id in zip(first, MEDIUM))
    assert result()["step"] == 250 and not left_over()


@pytest.mark.parametrize("how", ["killed in a save", "SIGINT"])
def test_an_interrupted_training_goes_on(run, train, monkeypatch, how):
    """The kill is between result.json, which says that the training is over, and its checkpoint."""
    args = (collect_local, "hopper-medium-replay", "--steps", 160)
    train(EVAL_INTERVAL=80, LEARNING_STARTS=150)
    Path("unbroken").mkdir()
    monkeypatch.chdir("unbroken")
    assert run(*args)[0] == 0
    unbroken = [transitions(dataset_id) for dataset_id in MEDIUM]
    shutil.rmtree(os.environ["MINARI_DATASETS_PATH"])
    monkeypatch.chdir("..")
    if how.startswith("SIG"):
        train(hold_at(5))

        def interrupt(seconds):
            wait_for_evaluations(2)
            while checkpoint()["run"]["step"] < 80:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.Signals[how])

        with monkeypatch.context() as patch:
            patch.setattr(collect_local.time, "sleep", interrupt)
            code, out, err = run(*args)
        assert code == 130 and "error: interrupted" in err
    else:
        train(die_at(6))
        code, out, err = run(*args)
        assert code == 2 and "ended with code -9: the same command goes on" in err
        assert result()["step"] == 160
    assert not out and not minari.list_local_datasets() and not is_training()
    assert checkpoint()["run"]["step"] == 80
    train()
    assert run(*args)[0] == 0 and checkpoint()["run"]["step"] == 160
    assert all(equal(data, transitions(dataset_id)) for data, dataset_id in zip(unbroken, MEDIUM))


def test_half_a_result_of_an_earlier_training(refused):
    Path("runs/Hopper-v5__medium_seed0__1").mkdir(parents=True)
    for name, content in (("checkpoint.pt", ""), ("result.json", '{"members": [')):
        Path("runs/Hopper-v5__medium_seed0__1", name).write_text(content)
        assert "result.json is damaged" in refused(collect_local, "hopper-medium")


def test_a_training_ends_with_the_first_score_of_a_third(run, train):
    """A kill before that checkpoint does not count; then a new process counts its evaluations from 0."""
    args = (collect_local, "hopper-medium", "--steps", 1000)
    train(die_at(6), LOCOMOTION={"hopper": "Hopper_Rising-v0"}, EVAL_INTERVAL=50)
    assert run(*args)[0] == 2 and not minari.list_local_datasets()
    scores = [evaluation["normalized_score"] for evaluation in result()["members"][0]["evaluations"]]
    assert np.round(scores).tolist() == [1, 1, 154] and checkpoint()["run"]["step"] == 50
    train(hold_at(7))
    code, out, _ = run(*args)
    assert code == 0 and f"{MEDIUM[0]}: 200 transitions, 40 episodes" in out and not is_training()
    assert result()["step"] == checkpoint()["run"]["step"] == 200
    assert minari.load_dataset(MEDIUM[1]).total_steps == 1000


# --- what is imported ---


def d4rl_file(folder, name=HOPPER, seed=0, rows=60, **changes):
    """A made-up file of D4RL: terminals, timeouts, rows with both, an unfinished tail; seed 0 is by hand.

    Random ends also stand next to each other and on the last row. changes: arrays to replace, None for none.
    """
    rng, is_maze = np.random.default_rng(seed), "maze" in name
    terminals, timeouts = np.zeros((2, rows), bool)
    terminals[[7, 20, 33]], timeouts[[15, 33, 44]] = True, True
    if seed:
        terminals, timeouts = rng.random((2, rows)) < 0.3
        terminals[-1], timeouts[-1] = seed == 1, seed == 2
    data = {
        "observations": rng.normal(size=(rows, 29 if is_maze else 11)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (rows, 8 if is_maze else 3)).astype(np.float32),
        "rewards": np.where(is_maze, terminals, rng.normal(size=rows)).astype(np.float32),
        "terminals": terminals,
        "timeouts": timeouts,
    }
    data["actions"][0, 0] = 1 + 5e-5  # rounding is no reason to refuse a file
    data |= changes
    with h5py.File(folder / name, "w") as file:
        for key, array in data.items():
            if array is not None:
                file[key] = array
    return folder / name, data


def qlearning_dataset(data):
    """D4RL's rule: no row with a timeout, never the last row, and the row below is what came next."""
    k = np.flatnonzero(~data["timeouts"][:-1])
    observations, terminals = data["observations"], data["terminals"]
    return [observations[k], data["actions"][k], data["rewards"][k], observations[k + 1], terminals[k]]


@pytest.mark.parametrize("seed, level, name", [(i % 3, *file) for i, file in enumerate(ANTMAZES.items())])
def test_antmaze_is_imported_as_d4rl_reads_it(run, tmp_path, seed, level, name):
    path, data = d4rl_file(tmp_path, name, seed)
    assert run(import_d4rl, path)[0] == 0
    dataset = dmg.open_dataset(f"antmaze-{level}-v2")
    assert list(minari.list_local_datasets()) == [dataset.id] == [f"imported/antmaze/{level}-v2"]
    assert equal(qlearning_dataset(data), transitions(dataset.id))
    kept = ~data["timeouts"][:-1]
    assert dataset.total_episodes == (np.diff(kept, prepend=False) & kept).sum()  # cut at timeouts alone
    assert dataset.env_spec.id == f"D4RLAntMaze/{level.split('-')[0]}-v2"
    assert reference_scores(dataset) == (0.0, 1.0)


@pytest.mark.parametrize("seed, offset", [(0, 100), (1, 0), (2, 100)])
def test_locomotion_is_imported_as_d4rl_reads_it(run, tmp_path, seed, offset):
    path, data = d4rl_file(tmp_path, seed=seed)
    if offset:
        path, data = d4rl_file(tmp_path, seed=seed, next_observations=data["observations"] + offset)
    assert run(import_d4rl, path)[0] == 0
    dataset = dmg.open_dataset("hopper-medium-replay-v2")
    ours, theirs = transitions(dataset.id), qlearning_dataset(data)
    # after a terminal D4RL has another episode's observation, which is masked in every target
    theirs[3][theirs[4]] = theirs[0][theirs[4]] + offset
    assert equal(theirs, ours)
    assert ours[0].dtype == ours[1].dtype == np.float32 and dataset.env_spec.id == "Hopper-v4"
    assert reference_scores(dataset) == dmg.REFERENCE_RETURNS["hopper"]


def test_an_imported_antmaze_is_recovered_in_a_new_process(tmp_path):
    path, _ = d4rl_file(tmp_path, ANTMAZES["large-play"])
    subprocess.run([sys.executable, ROOT / "benchmark" / "import_d4rl.py", path], check=True)
    code = (
        "import minari; env = minari.load_dataset('imported/antmaze/large-play-v2').recover_environment(); "
    )
    code += "print(env.spec.max_episode_steps, *env.reset(seed=0)[0].shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["1000", "29"], done.stderr


# --- what is refused ---


def with_one(key, value):
    """Changes the first number of one of the arrays."""
    return lambda data: {key: np.r_[value, data[key].ravel()[1:].astype(float)].reshape(data[key].shape)}


@pytest.mark.parametrize(
    "change, words",
    [
        (with_one("observations", np.nan), "observations hold NaN or infinity in 1 places"),
        (with_one("rewards", -np.inf), "rewards hold NaN"),
        (with_one("rewards", 1e300), "rewards hold NaN"),
        (with_one("terminals", np.nan), "terminals hold NaN"),
        (with_one("actions", -5.0), "actions go up to 5"),
        (lambda data: {"timeouts": np.ones(60, bool)}, "not one step"),
        (lambda data: {key: array[:1] for key, array in data.items()}, "not one step"),
        (lambda data: {key: array[:0] for key, array in data.items()}, "not one step"),
        (lambda data: {"timeouts": None}, "timeouts"),
        (lambda data: {"rewards": data["rewards"][:-1]}, "shape"),
        (lambda data: {"observations": data["observations"][:, :-1]}, "observations have the shape (60, 10)"),
        (lambda data: {"rewards": np.array(["none"] * 60, "S4")}, "sound"),
    ],
)
def test_unsound_files(refused, tmp_path, change, words):
    path, _ = d4rl_file(tmp_path, **change(d4rl_file(tmp_path)[1]))
    assert words in refused(import_d4rl, path)
    assert not minari.list_local_datasets() and not left_over()


@pytest.mark.parametrize(
    "name, args, words",
    [
        (HOPPER, ["--id", "mine"], "--id"),
        ("hopper_mine.hdf5", [], "not named like"),
        ("hopper_medium.hdf5", [], "not named like"),
        (ANTMAZE.format("u", True, False), [], "not named like"),
        (ANTMAZES["umaze"].replace("_fixed", ""), [], "not named like"),
    ],
)
def test_names_that_cannot_be_imported(refused, tmp_path, name, args, words):
    path, _ = d4rl_file(tmp_path, name)
    assert words in refused(import_d4rl, path, *args)
    assert not minari.list_local_datasets()


def test_other_refusals(run, refused, tmp_path):
    for args in (["pointmaze-umaze", "hoper-medium"], []):
        assert "hopper-medium-replay" in refused(collect_local, *args)
    for args in (["--steps", 0], ["--seed", -1]):
        assert args[0] in refused(collect_local, "hopper-medium", *args)
    assert "there is no file" in refused(import_d4rl, tmp_path / HOPPER)
    (tmp_path / HOPPER).write_bytes(b"no HDF5")
    assert "download it again" in refused(import_d4rl, tmp_path / HOPPER)
    path, _ = d4rl_file(tmp_path, "hopper_mine.hdf5")
    assert not minari.list_local_datasets()
    assert run(import_d4rl, path, "--id", "imported/hopper/mine-v0")[0] == 0
    assert list(minari.list_local_datasets()) == ["imported/hopper/mine-v0"]
    assert "is there already" in refused(import_d4rl, path, "--id", "imported/hopper/mine-v0")


def test_episodes_without_a_step_are_not_stored(capsys):
    nothing = {key: np.zeros(0) for key in ("rewards", "terminations", "truncations")}
    empty = EpisodeBuffer(observations=np.zeros((1, 3)), actions=np.zeros((0, 1)), **nothing)
    for episodes in ([], [empty, empty]):
        with pytest.raises(SystemExit, match="2"):
            store.store("local/pendulum/empty-v0", episodes, env="Pendulum-v1")
        assert capsys.readouterr().err.startswith("error: local/pendulum/empty-v0 is not stored")
    assert not minari.list_local_datasets() and not left_over()


def test_pipes_in_the_place_of_files(run, refused, tmp_path):
    """Opening one would wait for whoever writes into it."""
    os.mkfifo(tmp_path / HOPPER)
    assert "there is no file" in refused(import_d4rl, tmp_path / HOPPER)
    (tmp_path / HOPPER).unlink()
    path, data = d4rl_file(tmp_path)
    assert run(import_d4rl, path)[0] == 0
    (stored,) = Path(os.environ["MINARI_DATASETS_PATH"]).rglob("main_data.hdf5")
    stored.unlink()
    os.mkfifo(stored)
    assert "is there already" in refused(import_d4rl, path)
    assert run(import_d4rl, path, "--overwrite")[0] == 0
    assert equal(qlearning_dataset(data)[:3], transitions("imported/hopper/medium-replay-v2")[:3])


# --- what stops them ---


def stop(kind, rename=0, is_alone=False):
    """Signals the tool and its writer before the rename-th renaming, or else in the middle of the writing.

    is_alone: the tool gets the signal alone, and its writer would go on for a long time.
    """
    owner, name, number = (Path, "rename", rename) if rename else (h5py.Group, "create_dataset", 9)

    def before():
        original, calls = getattr(owner, name), itertools.count(1)

        def patched(*args, **kwargs):
            if next(calls) == number:
                (os.kill if is_alone else os.killpg)(os.getpgrp(), kind)
                time.sleep(200 * is_alone)
            return original(*args, **kwargs)

        setattr(owner, name, patched)

    return before


@pytest.mark.parametrize("rename", [0, 2, 3])
@pytest.mark.parametrize("kind", [KILL, CTRL_C])
def test_an_overwrite_that_is_stopped_leaves_the_old_data_or_the_new(run, tmp_path, kind, rename):
    path, old = d4rl_file(tmp_path, ANTMAZES["umaze"], seed=0)
    assert run(import_d4rl, path)[0] == 0
    _, new = d4rl_file(tmp_path, ANTMAZES["umaze"], seed=1)
    code, out, err = run(import_d4rl, path, "--overwrite", before=stop(kind, rename))
    assert (code, out, err.count("\n")) == ((-9, "", 0) if kind == KILL else (130, "", 1))
    assert "is there already" in run(import_d4rl, path)[2]
    assert kind == KILL or not left_over()
    (dataset_id,) = minari.list_local_datasets()
    assert equal(qlearning_dataset(new if rename == 3 else old), transitions(dataset_id))
    assert run(import_d4rl, path, "--overwrite")[0] == 0
    assert equal(qlearning_dataset(new), transitions(dataset_id))


def close_terminal():
    """HUP while the writer is writing, and once more while the tool clears up."""
    stop(HUP, is_alone=True)()
    kill = multiprocessing.process.BaseProcess.kill

    def patched(process):
        os.kill(os.getpid(), HUP)
        kill(process)

    multiprocessing.process.BaseProcess.kill = patched


def fill_disk(limit):
    def before():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # HDF5 crashes,
        faulthandler.disable()  # and pytest would print where
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return before


def commands(folder, run="runs/RUN"):
    """A short call of each tool, and the data set that it makes."""
    yield (export_replay, run, REPLAY), REPLAY
    yield (collect_local, "pointmaze-umaze", "--steps", 201), "local/pointmaze/umaze-v0"
    yield (import_d4rl, d4rl_file(folder)[0]), "imported/hopper/medium-replay-v2"


@pytest.mark.parametrize(
    "before, expected, words, first",  # all tools write by store(): the last one stands for them
    [
        (stop(KILL), -9, None, 2),
        (stop(CTRL_C), 130, "interrupted", 0),
        (stop(TERM), 130, "interrupted", 2),
        (stop(TERM, is_alone=True), 130, "interrupted", 2),
        (close_terminal, 130, "interrupted", 2),
        (fill_disk(1_000), 2, "cannot write to", 0),
        (fill_disk(20_000), 2, "cannot write to", 2),
    ],
)
def test_a_stop_while_writing_stores_nothing(run, tmp_path, hopper_runs, before, expected, words, first):
    for command, dataset_id in list(commands(tmp_path, run_dir(hopper_runs)))[first:]:
        code, out, err = run(*command, before=before)
        assert code == expected and not out and dataset_id not in minari.list_local_datasets()
        assert not words or err.splitlines()[-1].startswith(f"error: {words}") and not left_over()
        assert run(*command)[0] == 0 and dataset_id in minari.list_local_datasets()


def test_under_nohup_hup_stops_nothing(run, tmp_path):
    def before():
        signal.signal(HUP, signal.SIG_IGN)
        stop(HUP)()

    for command, dataset_id in itertools.islice(commands(tmp_path), 1, None):
        assert run(*command, before=before)[0] == 0 and dataset_id in minari.list_local_datasets()


def test_a_relative_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", "my data")
    command, dataset_id = next(itertools.islice(commands(tmp_path), 1, None))
    assert run(*command)[0] == 0 and minari.load_dataset(dataset_id).total_episodes


@pytest.mark.parametrize("root", ["file", "file/below", "full disk"])
def test_a_folder_that_cannot_be_written(refused, tmp_path, monkeypatch, root):
    """It is refused before a recording (no progress bar) or a training (no run) begins."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / root))
    monkeypatch.setattr(store, "ROOM", 10_000_000)
    before = fill_disk(5_000_000) if root == "full disk" else lambda: None
    for command in [(collect_local, "hopper-medium"), *(command for command, _ in commands(tmp_path))]:
        assert "MINARI_DATASETS_PATH" in refused(*command, before=before)
    assert not Path("runs").exists() and not left_over()
