"""Small data sets that the tests make themselves, and the scripts as a user runs them, without a network."""

import contextlib
import io
import itertools
import json
import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import gymnasium_robotics
import minari
import numpy as np
import pytest
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer
from tqdm import tqdm

if "TEST_CUDA" not in os.environ:  # runs are forked and compared bit by bit, for which the CPU is the place
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "baselines"), str(ROOT / "benchmark")]
torch.set_num_threads(1)  # also: evaluation in the process that trains
gym.register_envs(gymnasium_robotics)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs without it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup without this

PENDULUM = "test/pendulum/random-v0"
TINY = f"--env-id {PENDULUM} --device cpu --offline-steps 40 --eval-interval 10 --log-interval 5".split()
TINY += "--eval-episodes 2 --batch-size 16".split()
LARGE_GOAL = np.array(
    [14.0, -12.0]
)  # centre of cell (7, 9) of the large AntMaze, in Gymnasium-Robotics' coordinates


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Every test has an empty Minari folder and its own working directory."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)


# ---- data sets ----


def make_episode(number, observations, actions, rewards, terminated=False, truncated=False):
    """An EpisodeBuffer; observations: T + 1 rows, or a dictionary of such arrays."""
    flags = np.zeros(len(rewards), bool)
    terminations, truncations = flags.copy(), flags.copy()
    terminations[-1], truncations[-1] = terminated, truncated
    return EpisodeBuffer(
        id=number,
        observations=observations,
        actions=np.asarray(actions, np.float32),
        rewards=np.asarray(rewards, np.float64),
        terminations=terminations,
        truncations=truncations,
    )


# Episodes of 60 steps as in the data below, not 200: evaluations took a third of a tiny run's time
PENDULUM_ENV = gym.make("Pendulum-v1", max_episode_steps=60).spec


def store(dataset_id, episodes, env=PENDULUM_ENV, **options):
    return minari.create_dataset_from_buffers(dataset_id, episodes, env=env, **options)


def pendulum_episodes(count=4, length=60, seed=0):
    """Random play (3 observations, 1 action in [-2, 2]); every second episode is marked terminated."""
    rng, env, episodes = np.random.default_rng(seed), gym.make("Pendulum-v1"), []
    for number in range(count):
        observations, actions, rewards = [env.reset(seed=number)[0]], [], []
        for _ in range(length):
            actions.append(rng.uniform(-2, 2, 1))
            observation, reward, *_ = env.step(actions[-1])
            observations.append(observation)
            rewards.append(reward)
        ends = dict(terminated=number % 2 == 0, truncated=number % 2 == 1)
        episodes.append(make_episode(number, np.array(observations, np.float32), actions, rewards, **ends))
    return episodes


def antmaze_episodes(goal, count=3, length=30, seed=0):
    """Random arrays in the schema of Minari's AntMaze; every episode is at goal (x, y) once, in row 11."""
    rng, episodes = np.random.default_rng(seed), []
    for number in range(count):
        xy = rng.uniform(-20, -16, (length + 1, 2)) + 0.0
        xy[11] = goal + rng.uniform(-0.3, 0.3, 2)
        observations = {
            "achieved_goal": xy,
            "desired_goal": np.tile(rng.normal(size=2), (length + 1, 1)),
            "observation": rng.normal(size=(length + 1, 27)),
        }
        actions = rng.uniform(-1, 1, (length, 8))
        episodes.append(
            make_episode(number, observations, actions, rng.integers(0, 2, length), truncated=True)
        )
    return episodes


@pytest.fixture
def pendulum():
    """A stored data set test/pendulum/random-v0."""
    return store(PENDULUM, pendulum_episodes())


@pytest.fixture
def antmaze():
    """A tiny D4RL/antmaze/large-play-v1."""
    scores = dict(ref_min_score=0.0, ref_max_score=500.0)  # Minari's, which count all steps at the goal
    return store("D4RL/antmaze/large-play-v1", antmaze_episodes(LARGE_GOAL), env="AntMaze_Large-v4", **scores)


# ---- runs ----


def path_of(script):
    if str(script).endswith(".py"):
        return Path(script)
    return next(path for path in (ROOT / f"{script}.py", ROOT / f"baselines/{script}.py") if path.exists())


def execute(script, argv):
    """The script as from the command line, in this process: imports alone take 4 s in a new one."""
    old, sys.argv = sys.argv, [f"{script}.py", *map(str, argv)]
    try:
        runpy.run_path(str(path_of(script)), run_name="__main__")
    finally:
        sys.argv = old


def run(script, *argv, code=0):
    """Execute the script; it must end with this exit code."""
    out, err, ended = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            execute(script, argv)
        except SystemExit as stop:
            ended = stop.code
    assert ended == code, out.getvalue() + err.getvalue()
    return SimpleNamespace(out=out.getvalue(), err=err.getvalue())


def fork(script, *argv, before=lambda: None):
    """Start the script in a copy of this process, which can be killed; it writes to the files out and err."""

    def child():
        tqdm.set_lock(threading.RLock())  # not one that is shared with processes that are killed
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = open(1, "w", buffering=1), open(2, "w", buffering=1)
        before()
        execute(script, argv)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    return process


def ended(process, code):
    """Wait for a forked script; it must end with this exit code (minus a signal's number)."""
    process.join(120)
    done = SimpleNamespace(out=Path("out").read_text(), err=Path("err").read_text())
    assert process.exitcode == code, done.out + done.err
    return done


def die_at(call):
    """For fork: SIGKILL at the call-th renaming. Each save renames result.json, then the checkpoint."""
    calls, real = itertools.count(1), os.replace

    def dying(*args):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    return lambda: setattr(os, "replace", dying)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")  # of Linux, where an ended process may lie about for long
    return not status.exists() or "zombie" not in status.read_text()


def wait_until(holds):
    until = time.time() + 60
    while not holds():
        assert time.time() < until
        time.sleep(0.02)


def wait_for_evaluations(number, folder="runs"):
    """Until the run of a process has made so many evaluations."""
    wait_until(lambda: list(Path(folder).glob("*/result.json")) and len(returns(folder)[0]) >= number)


def error_line(done):
    """The one line of a failure; a progress bar may stand before it."""
    lines = [
        line for line in done.err.replace("\r", "\n").splitlines() if "rror" in line or "Traceback" in line
    ]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.err
    return lines[0]


def refused(script, *argv):
    """The one line with which a script refuses to begin; no run folder may be made."""
    before = sorted(Path().glob("**/result.json"))
    done = run(script, *argv, code=2)
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    assert sorted(Path().glob("**/result.json")) == before and (before or not Path("runs").exists())
    return done.err


def run_dir(folder="runs"):
    (path,) = Path(folder).iterdir()
    return path


def result(folder="runs"):
    return json.loads((run_dir(folder) / "result.json").read_text())


def returns(folder="runs"):
    """The returns of every evaluation of every member."""
    return [[e["returns"] for e in member["evaluations"]] for member in result(folder)["members"]]


def checkpoint(folder="runs"):
    return torch.load(run_dir(folder) / "checkpoint.pt", weights_only=True)


def online_rows(folder="runs"):
    """What the members have seen online: observation, action, reward, next observation, termination."""
    state = checkpoint(folder)
    mean, std = state["agent"]["mean"], state["agent"]["std"]
    observations, actions, rewards, next_observations, terminations = state["online"]
    columns = [observations * std + mean, actions, rewards[..., None]]
    return torch.cat([*columns, next_observations * std + mean, terminations[..., None]], -1)


def assert_equal(a, b, where=""):
    """Bit-for-bit equality of nested structures, leaving out the measured speed and the folders' names."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"updates_per_second", "runs_dir", "resume", "command"}:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b or a != a and b != b, where
