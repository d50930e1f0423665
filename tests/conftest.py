"""Small data sets that the tests make themselves; nothing here needs a network or an earlier download."""

import sys
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmark")]
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Every test has an empty Minari folder and its own working directory."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)


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


def store(dataset_id, episodes, env="Pendulum-v1", **options):
    return minari.create_dataset_from_buffers(dataset_id, episodes, env=env, **options)


def pendulum_episodes(count=4, length=60, seed=0):
    """Random play on Pendulum-v1 (3 observations, 1 action in [-2, 2]); every second episode is marked terminated."""
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
    """Random arrays in the schema of Minari's AntMaze; every episode passes the goal (x, y) once, at row 11."""
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
        episodes.append(make_episode(number, observations, actions, rng.integers(0, 2, length), truncated=True))
    return episodes


@pytest.fixture
def pendulum():
    """A stored data set test/pendulum/random-v0."""
    return store("test/pendulum/random-v0", pendulum_episodes())
