"""What becomes of a data set: transitions, one-goal mazes, environments, and every kind of bad data."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from conftest import (
    LARGE_GOAL,
    PENDULUM,
    TINY,
    antmaze_episodes,
    checkpoint,
    make_episode,
    pendulum_episodes,
    refused,
    run,
    store,
)

import dmg_offline as dmg
import dmg_sql
import dmg_xql

BOX3 = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
BOX1 = gym.spaces.Box(-1, 1, (1,), np.float32)
ARGS = dmg.Args()


class GoalEnv(gym.Env):
    """Goal-conditioned, and not a maze."""

    observation_space = gym.spaces.Dict(observation=BOX3, desired_goal=BOX3, achieved_goal=BOX3)
    action_space = BOX1

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, True, {}


gym.register("Goal-v0", f"{__name__}:GoalEnv", disable_env_checker=True)


def environment(dataset):
    """What load_transitions asks an environment for, of spaces alone."""
    shape = (gym.spaces.flatdim(dataset.observation_space),)
    spaces = dict(observation_space=SimpleNamespace(shape=shape), action_space=dataset.action_space)
    unwrapped = SimpleNamespace(action_space=dataset.action_space)
    return SimpleNamespace(**spaces, unwrapped=unwrapped, has_wrapper_attr=lambda name: False)


def test_transitions_stay_within_episodes():
    """The first episode ends by termination, the second by truncation, which is none."""
    first, second = np.arange(4)[:, None] * np.ones(3), 100 + np.arange(3)[:, None] * np.ones(3)
    episodes = [make_episode(0, first, np.zeros((3, 1)), [1, 2, 3], terminated=True)]
    episodes += [make_episode(1, second, np.zeros((2, 1)), [1, 2], truncated=True)]
    dataset = store("test/two-v0", episodes, observation_space=BOX3, action_space=BOX1)
    columns, returns = dmg.load_transitions(dataset, environment(dataset), replace(ARGS, step_cost=0.5))
    observations, _, rewards, next_observations, terminations = columns
    assert [column.shape for column in columns] == [(5, 3), (5, 1), (5,), (5, 3), (5,)]
    assert {column.dtype for column in columns} == {np.dtype(np.float32)}
    assert observations[:, 0].tolist() == [0, 1, 2, 100, 101]
    assert next_observations[:, 0].tolist() == [1, 2, 3, 101, 102]  # nothing leads from 3 to 100
    assert rewards.tolist() == [0.5, 1.5, 2.5, 0.5, 1.5]
    assert terminations.tolist() == [0, 0, 1, 0, 0]
    assert returns.tolist() == [6, 3]  # without the cost


def test_actions_are_scaled_to_one():
    space = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([4, 10], np.float32))
    episode = make_episode(0, np.zeros((4, 3)), [[-2, 0], [1, 5], [4, 7.5]], [1.0, 2.0, 3.0])
    dataset = store("test/scaled-v0", [episode], observation_space=BOX3, action_space=space)
    (_, actions, *_), _ = dmg.load_transitions(dataset, environment(dataset), ARGS)
    assert actions.tolist() == [[-1, -1], [0, 0], [1, 0.5]]


def test_dictionaries_are_joined_as_gymnasium_does():
    inner = gym.spaces.Dict({"y": BOX1, "x": BOX3})
    space = gym.spaces.Dict({"observation": BOX3, "desired_goal": inner, "achieved_goal": BOX1})
    samples = [space.sample() for _ in range(4)]
    stacked = gym.vector.utils.concatenate(space, samples, gym.vector.utils.create_empty_array(space, 4))
    expected = np.array([gym.spaces.flatten(space, sample) for sample in samples], np.float32)
    np.testing.assert_array_equal(dmg.flatten(stacked), expected)


def test_only_a_maze_loses_its_goal():
    rng = np.random.default_rng(0)
    observations = {key: rng.normal(size=(6, 3)) for key in GoalEnv.observation_space}
    episodes = [make_episode(0, observations, rng.uniform(-1, 1, (5, 1)), rng.normal(size=5), truncated=True)]
    dataset = store("test/goal-v0", episodes, env="Goal-v0")
    (loaded, *_), _ = dmg.load_transitions(dataset, environment(dataset), ARGS)
    expected = [observations[key][:-1] for key in ("achieved_goal", "desired_goal", "observation")]
    np.testing.assert_allclose(loaded, np.concatenate(expected, 1), rtol=1e-6)
    run("dmg_offline", *TINY, "--env-id", "test/goal-v0")  # plays there, too


def test_mazes_are_relabelled_for_one_goal(antmaze):
    """Termination and reward 1 where the next position is within 0.5 of the goal; episodes go on after it."""
    near = LARGE_GOAL + [[0.29, 0.4], [0.31, 0.4], [-0.49, 0], [0.36, -0.36]]
    env = dmg.make_env(antmaze)
    assert env.get_wrapper_attr("is_at_goal")(near).tolist() == [True, False, True, False]
    columns, returns = dmg.load_transitions(antmaze, env, replace(ARGS, step_cost=1.0))
    observations, actions, rewards, next_observations, terminations = columns
    assert observations.shape == (90, 29) and actions.shape == (90, 8)
    hits = np.flatnonzero(terminations)
    assert hits.tolist() == [10, 40, 70]  # row 11 of every episode is the next observation of transition 10
    np.testing.assert_array_equal(rewards, terminations - 1)
    assert (np.linalg.norm(next_observations[hits, :2] - LARGE_GOAL, axis=1) <= 0.5).all()
    assert returns.tolist() == [1, 1, 1]
    episode = next(antmaze.iterate_episodes()).observations
    in_d4rls_order = np.concatenate([episode["achieved_goal"], episode["observation"]], 1)
    np.testing.assert_allclose(observations[:30], in_d4rls_order[:-1], rtol=1e-6)


def test_evaluation_is_in_the_maze_of_the_data_and_ends_at_the_goal(antmaze):
    env = dmg.make_env(antmaze)
    starts = np.array([env.reset(seed=seed)[0][:2] for seed in (1, 2, 1)])
    assert (np.abs(starts - [-18, 12]) < 0.21).all()  # D4RL's cell (1, 1), with the ant's noise
    assert not np.allclose(starts[0], starts[1]) and np.array_equal(starts[0], starts[2])
    maze = env.unwrapped
    walls = [[int(cell == 1) for cell in row] for row in maze.maze.maze_map]
    assert walls == [[int(cell == 1) for cell in row] for row in antmaze.env_spec.kwargs["maze_map"]]
    for offset, is_there in ((0.45, False), (0.3, True)):  # 0.64 and 0.42 from the goal
        qpos = maze.ant_env.data.qpos.copy()
        qpos[:2] = LARGE_GOAL + offset
        maze.ant_env.set_state(qpos, 0 * maze.ant_env.data.qvel)
        observation, reward, terminated, truncated, _ = env.step(np.zeros(8, np.float32))
        assert (reward, terminated, truncated) == (float(is_there), is_there, False)
    assert observation.shape == (29,)


def test_a_maze_that_names_its_start_and_goal_keeps_them():
    """Minari's antmaze/umaze goes from the lower left to the upper left, against D4RL's direction."""
    rows = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]
    env = gym.make("AntMaze_UMaze-v4", maze_map=rows)
    made = dmg.make_env(store("D4RL/antmaze/umaze-v1", antmaze_episodes(np.array([-4.0, 4.0])), env=env))
    np.testing.assert_allclose(made.get_wrapper_attr("goal"), [-4, 4])
    np.testing.assert_allclose(made.reset(seed=1)[0][:2], [-4, -4], atol=0.21)


def test_a_point_maze_starts_and_ends_as_d4rls():
    widths = {"achieved_goal": 2, "desired_goal": 2, "observation": 4}
    observations = {key: np.zeros((3, width)) for key, width in widths.items()}
    episodes = [make_episode(0, observations, np.zeros((2, 2)), [0, 1.0])]
    env = dmg.make_env(store("local/pointmaze/umaze-v0", episodes, env="PointMaze_UMaze-v3"))
    starts = np.array([env.reset(seed=seed)[0][:2] for seed in range(20)])
    assert env.observation_space.shape == (6,)
    np.testing.assert_allclose(env.get_wrapper_attr("goal"), [-1, -1])
    assert (np.abs(starts - [-1, 1]) <= 0.1).all() and starts.std(0).min() > 0.03


def test_play_normalises_rescales_and_gives_the_return(pendulum):
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0])
    agent = dmg.Agent([(1, 0.25, 0.1), (2, 0.25, 0.1)], mean, std, 1, ARGS)
    env, total, truncated = gym.make("Pendulum-v1"), 0.0, False
    observation, _ = env.reset(seed=32)
    while not truncated:
        with torch.no_grad():
            x = torch.tensor((observation - mean) / std, dtype=torch.float32)
            action = 2 * agent.actor(x.expand(2, 1, 3))[1, 0].numpy()
        observation, reward, _, truncated, _ = env.step(action)
        total += reward
    policy = dmg.actor_of(agent, 1), agent.mean, agent.std
    assert dmg.play(dmg.make_env(pendulum), *policy, 32) == pytest.approx(total, rel=1e-4)


def test_a_diverged_member_is_not_played(monkeypatch):
    agent = dmg.Agent([(1, 0.25, 0.1), (2, 0.25, 0.1)], np.zeros(3), np.ones(3), 1, ARGS)
    results = [{"seed": 1, "diverged_at": 5}, {"seed": 2, "diverged_at": None}]
    args = replace(ARGS, eval_episodes=4)
    played = iter(range(9))
    monkeypatch.setattr(dmg, "play", lambda *policy_and_seed: next(played))
    returns = dmg.evaluate(agent, None, None, results, 10, args)
    np.testing.assert_array_equal(returns, [[np.nan] * 4, [0, 1, 2, 3]])


def test_the_normaliser_is_computed_in_float64():
    """float32 sums of numbers far from 0 go astray."""
    rng = np.random.default_rng(0)
    observations = (1000 + rng.normal(size=(10_001, 3))).astype(np.float32)
    episode = make_episode(0, observations, np.zeros((10_000, 1)), rng.normal(size=10_000))
    store("test/far-v0", [episode], observation_space=BOX3, action_space=box(1, bound=2.0))
    run("dmg_offline", *TINY, "--env-id", "test/far-v0", "--eval-episodes", 0)
    state, exact = checkpoint()["agent"], observations[:-1].astype(float)
    assert np.abs(observations[:-1].mean(0) - exact.mean(0)).max() > 1e-3
    np.testing.assert_allclose(state["mean"], exact.mean(0), rtol=1e-7)
    np.testing.assert_allclose(state["std"], exact.std(0) + 1e-3, rtol=1e-5)


def test_presets_follow_the_task(antmaze, pendulum):
    assert dmg.presets(pendulum) == {}
    for level, own in (("expert", {"nu": (10.0,)}), ("medium-expert", {"nu": (10.0,)}), ("medium", {})):
        spaces = dict(observation_space=BOX3, action_space=BOX1)
        hopper = store(f"test/hopper/{level}-v0", pendulum_episodes(1), env="Hopper-v5", **spaces)
        assert dmg.presets(hopper) == own
    maze = dict(normalize_observations=True, step_cost=1.0, nu=(0.5,), inverse_temperature=10.0)
    maze |= dict(max_weight=100.0, eval_interval=50_000, eval_episodes=100, gamma=0.995)
    assert dmg.presets(antmaze) == maze | {"expectile": 0.9}
    d4rls = SimpleNamespace(id="x", env_spec=SimpleNamespace(id="D4RLAntMaze/umaze-v2"))
    assert dmg.presets(d4rls) == maze | {"expectile": 0.9, "gamma": 0.99, "normalize_observations": False}
    assert dmg_xql.presets(antmaze) == maze | {"gumbel_beta": 0.6}
    assert dmg_sql.presets(antmaze) == maze | {"sql_alpha": 0.1}


def test_the_defaults_are_the_authors_for_locomotion():
    values = dict(lam=(0.25,), nu=(0.1,), expectile=0.7, inverse_temperature=3.0, max_weight=3.0, gamma=0.99)
    values |= dict(tau=0.005, learning_rate=3e-4, batch_size=256, hidden=(256, 256), critics=2, q_weight=1.0)
    values |= dict(policy_frequency=2, policy_noise=0.2, noise_clip=0.5, offline_steps=1_000_000)
    values |= dict(step_cost=0.0, eval_interval=20_000, eval_episodes=10, normalize_observations=True)
    assert values.items() <= vars(ARGS).items()


def test_short_names_and_reference_returns():
    names = {"antmaze-large-play": "D4RL/antmaze/large-play-v1", "hopper-medium": "mujoco/hopper/medium-v0"}
    names |= {"pointmaze-umaze": "local/pointmaze/umaze-v0"}
    names |= {"walker2d-medium-replay-v2": "d4rl/walker2d/medium-replay-v2"}
    for name, dataset_id in names.items():
        assert dmg.named_dataset(name).id == dataset_id
        assert minari.dataset.minari_dataset.parse_dataset_id(dataset_id)
    d4rl = dict(hopper=(-20.272305, 3234.3), halfcheetah=(-280.178953, 12135.0), walker2d=(1.629008, 4592.3))
    d4rl |= {"ant": (-325.6, 3879.7), "minari-antmaze": (0, 1), "d4rl-antmaze": (0, 1), "pointmaze": (0, 1)}
    assert d4rl.items() <= dmg.REFERENCE_RETURNS.items()


# ---- bad data: one line, before training, and no folder ----


def data(observations=None, actions=((0.5,),) * 3, rewards=(1, 2, 3), terminations=None, **options):
    """The arguments of store for an episode of three steps."""
    observations = np.zeros((4, 3)) if observations is None else observations
    episode = make_episode(0, observations, actions, rewards)
    if terminations is not None:
        episode = replace(episode, terminations=np.array(terminations))
    options = {"observation_space": BOX3} | options
    return dict(episodes=[episode], action_space=BOX1) | options


def box(*shape, bound=1.0, dtype=np.float32):
    return gym.spaces.Box(-bound, bound, shape, dtype)


DISCRETE, IMAGE = gym.spaces.Discrete(5), box(8, 8, 3)
OWN_BOUNDS = data(action_space=box(1, bound=2.0))  # Pendulum's
BAD_DATA = {
    "NaN in observations": (data(np.full((4, 3), np.nan)), "must be finite"),
    "infinite reward": (data(rewards=[1, 2, np.inf]), "must be finite"),
    "NaN in actions": (data(actions=[[0], [np.nan], [0]]), "must be finite"),
    "action out of range": (data(actions=[[0], [1.51], [0]]), "must lie within"),
    "terminations of 0.5": (data(terminations=[0, 0.5, 0]), "must be 0 or 1"),
    "terminations of 2": (data(terminations=[0, 0, 2]), "must be 0 or 1"),
    "terminations of -1": (data(terminations=[0, 0, -1]), "must be 0 or 1"),
    "actions (m, T)": (data(actions=np.zeros((2, 3)), action_space=box(2)), "do not fit each other"),
    "bounds that are one": (data(action_space=gym.spaces.Box(1, 1, (1,))), "lower bound"),
    "too few actions": (data(actions=np.zeros((2, 1))), "do not fit each other"),
    "actions (T, 1) in a space of 3": (data(action_space=box(3)), "do not fit each other"),
    "an observation too few": (data(np.zeros((3, 3))), "do not fit each other"),
    "unbounded actions": (data(action_space=box(1, bound=np.inf)), "actions must be"),
    "discrete actions": (data(actions=np.zeros(3), action_space=DISCRETE), "actions must be"),
    "no actions": (data(actions=np.zeros((3, 0)), action_space=box(0)), "actions must be"),
    "images": (data(np.zeros((4, 8, 8, 3)), observation_space=IMAGE), "do not fit each other"),
    "discrete observations": (data(np.zeros(4), observation_space=DISCRETE), "do not fit each other"),
    "observations not the environment's": (data(np.zeros((4, 2)), observation_space=box(2)), "do not fit"),
    "actions not the environment's": (data(actions=np.zeros((3, 2)), action_space=box(2)), "do not fit"),
    "bounds not the environment's": (data(), "the environment's are in"),
    "no environment": (data(env=None), "environment"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(name):
    options, words = BAD_DATA[name]
    store("test/bad-v0", **options)
    assert words in refused("dmg_offline", *TINY, "--env-id", "test/bad-v0")


LOST = gym.envs.registration.EnvSpec("Lost-v0", "lost:Lost").to_json()
BAD_METADATA = [(dict(env_spec=LOST), "lost:Lost")]


@pytest.mark.parametrize("change, words", BAD_METADATA)
def test_bad_metadata(change, words, pendulum, tmp_path):
    path = tmp_path / "minari" / PENDULUM / "data/metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert words in refused("dmg_offline", *TINY)


def test_a_broken_file(pendulum, tmp_path):
    path = tmp_path / "minari" / PENDULUM / "data/main_data.hdf5"
    path.write_bytes(path.read_bytes()[:2000])
    refused("dmg_offline", *TINY)
    (path.parent / "metadata.json").write_text("{")
    assert f"cannot read {PENDULUM}" in refused("dmg_offline", *TINY)


ABSENT = {
    "antmaze-large-plai": ["cannot download D4RL/antmaze/large-plai-v1"],
    "": ["antmaze-(.+)"],
    "../hopper/expert-v0": ["there is no data set ../hopper/expert-v0"],
    "/data/hopper/expert-v0": ["there is no data set"],
    "os:hopper-v0": ["there is no data set"],
    "nothing/like-this-v0": ["cannot download nothing/like-this-v0"],
    "pointmaze-medium": ["local/pointmaze/medium-v0", "collect_local.py"],
    "hopper-medium-v2": ["d4rl/hopper/medium-v2", "import_d4rl.py"],
    "hopper-medium-replay": ["mujoco/hopper/medium-replay-v0", "Name or service"],
}


@pytest.mark.parametrize("env_id", ABSENT)
def test_data_that_are_not_there(env_id, monkeypatch):
    def load(dataset_id, download=False, load=minari.load_dataset):
        if download:
            raise ConnectionError("[Errno -2] Name or service not known")
        return load(dataset_id)

    monkeypatch.setattr(minari, "load_dataset", load)
    line = refused("dmg_offline", "--env-id", env_id)
    assert all(words in line for words in ABSENT[env_id])


# ---- what is worth a note, and trains ----


def trained(**options):
    """What the script prints when it trains on data() with Pendulum's bounds."""
    store("test/odd-v0", **data(action_space=box(1, bound=2.0), **options))
    return run("dmg_offline", *TINY, "--env-id", "test/odd-v0", "--eval-episodes", 1).out


def test_rewards_that_are_all_equal_are_a_note():
    assert "all rewards are 1" in trained(rewards=[1, 1, 1])


def test_actions_a_little_outside_are_clipped():
    out = trained(actions=[[0], [-2.4], [2.1]])
    assert "2 of 3 numbers in actions" in out
    dataset = minari.load_dataset("test/odd-v0")
    (_, actions, *_), _ = dmg.load_transitions(dataset, environment(dataset), ARGS)
    assert actions.ravel().tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    "scores", [{}, dict(ref_min_score=5.0, ref_max_score=5.0), dict(ref_min_score=np.nan)]
)
def test_without_reference_returns_the_returns_are_shown(scores):
    out = trained(**scores)
    assert "ref_min_score and ref_max_score" in out and "40 of 40 updates, return -" in out


# ---- nothing that a data set names is executed ----

OS_SYSTEM = dict(entry_point="os:system", kwargs={"command": "touch pwned"})
FOREIGN = {
    "os.system": OS_SYSTEM,
    "subprocess": dict(entry_point="subprocess:run", kwargs={"args": ["touch", "pwned"]}),
    "import": dict(entry_point="builtins:__import__", kwargs={"name": "pwned"}),
    "gymnasium's make": dict(entry_point="gymnasium.envs.registration:make", kwargs={"id": "pwned:X-v0"}),
    "a module's module": dict(entry_point="gymnasium.envs.registration:importlib.import_module"),
    "a wrapper": dict(additional_wrappers=[{"name": "x", "entry_point": "pwned:Wrapper", "kwargs": {}}]),
}


def rewrite_spec(path, **changes):
    metadata = json.loads(path.read_text())
    spec = json.loads(metadata["env_spec"]) | changes
    path.write_text(json.dumps(metadata | {"env_spec": json.dumps(spec), "eval_env_spec": json.dumps(spec)}))


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_code_is_not_executed(name, pendulum, tmp_path):
    (tmp_path / "pwned.py").write_text("open('pwned', 'w')")
    rewrite_spec(tmp_path / "minari" / PENDULUM / "data/metadata.json", **FOREIGN[name])
    line = refused("dmg_offline", *TINY)
    assert "--trust-env" in line and PENDULUM in line
    assert not (tmp_path / "pwned").exists()


OWN = """
import gymnasium as gym
from gymnasium.envs.classic_control.pendulum import PendulumEnv
class Own(PendulumEnv):
    pass
"""


def test_ones_own_environment_needs_trust_or_registration(pendulum, tmp_path, monkeypatch):
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "minari" / PENDULUM / "data/metadata.json"
    rewrite_spec(path, id="Own-v0", entry_point="own_module:Own")
    assert "own_module:Own" in refused("dmg_offline", *TINY)
    run("dmg_offline", *TINY, "--trust-env")
    gym.register("Own-v0", "own_module:Own", max_episode_steps=200)
    try:
        run("dmg_offline", *TINY)
    finally:
        del gym.registry["Own-v0"]


def test_a_checkpoint_cannot_point_to_a_path(pendulum):
    run("dmg_offline", *TINY)
    (folder,) = Path("runs").iterdir()
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["run"]["args"]["env_id"] = "../runs/evil-v0"
    torch.save(state, folder / "checkpoint.pt")
    assert "there is no data set" in refused("dmg_offline", "--resume", folder)
