"""What becomes of a data set: transitions, one-goal mazes, environments, trust, and all kinds of bad data."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
import torch
from conftest import (
    LARGE_GOAL,
    PENDULUM,
    PENDULUM_ENV,
    TINY,
    antmaze_episodes,
    checkpoint,
    make_episode,
    pendulum_episodes,
    refused,
    result,
    run,
    run_dir,
    store,
)
from copies import SCRIPTS
from gymnasium.envs.registration import EnvSpec, WrapperSpec

import dmg_offline as dmg
import dmg_sql
import dmg_xql

ARGS, DATA = dmg.Args(), Path("minari", PENDULUM, "data")


def box(*shape, bound=1.0, dtype=np.float32):
    return gym.spaces.Box(-bound, bound, shape, dtype)


BOX3, BOX1, TORQUE = box(3, bound=np.inf, dtype=np.float64), box(1), box(1, bound=2.0)


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


def plain_env(observation_space, action_space):
    """An environment that has no more than its spaces."""
    env = gym.Env()
    env.observation_space, env.action_space = observation_space, action_space
    return env


def test_transitions_stay_within_episodes():
    """The first episode ends by termination, the second by truncation, which is none."""
    first, second = np.arange(4)[:, None] * np.ones(3), 100 + np.arange(3)[:, None] * np.ones(3)
    episodes = [make_episode(0, first, np.zeros((3, 1)), [1, 2, 3], terminated=True)]
    episodes += [make_episode(1, second, np.zeros((2, 1)), [1, 2], truncated=True)]
    dataset = store("test/two-v0", episodes, observation_space=BOX3, action_space=TORQUE)
    data, returns = dmg.load_transitions(dataset, dmg.make_env(dataset), replace(ARGS, step_cost=0.5))
    observations, _, rewards, next_observations, terminations = data
    assert [part.shape for part in data] == [(5, 3), (5, 1), (5,), (5, 3), (5,)]
    assert {part.dtype for part in data} == {np.dtype(np.float32)}
    assert observations[:, 0].tolist() == [0, 1, 2, 100, 101]
    assert next_observations[:, 0].tolist() == [1, 2, 3, 101, 102]  # nothing leads from 3 to 100
    assert rewards.tolist() == [0.5, 1.5, 2.5, 0.5, 1.5]
    assert terminations.tolist() == [0, 0, 1, 0, 0]
    assert returns.tolist() == [6, 3]  # without the cost


def test_actions_are_scaled_to_one():
    space = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([4, 10], np.float32))
    episode = make_episode(0, np.zeros((4, 3)), [[-2, 0], [1, 5], [4, 7.5]], [1.0, 2.0, 3.0])
    dataset = store("test/scaled-v0", [episode], observation_space=BOX3, action_space=space)
    (_, actions, *_), _ = dmg.load_transitions(dataset, plain_env(BOX3, space), ARGS)
    assert actions.tolist() == [[-1, -1], [0, 0], [1, 0.5]]


def test_dictionaries_are_joined_as_gymnasium_does():
    inner = gym.spaces.Dict({"y": BOX1, "x": BOX3})
    space = gym.spaces.Dict({"observation": BOX3, "desired_goal": inner, "achieved_goal": BOX1})
    samples = [space.sample() for _ in range(4)]
    stacked = gym.vector.utils.concatenate(space, samples, gym.vector.utils.create_empty_array(space, 4))
    expected = np.array([gym.spaces.flatten(space, sample) for sample in samples], np.float32)
    np.testing.assert_array_equal(dmg.flatten(stacked), expected)


def test_an_environment_joins_them_in_the_same_order(monkeypatch):
    """Its space has another order than its sorted keys."""
    assert list(GoalEnv.observation_space) != sorted(GoalEnv.observation_space)
    first = {key: np.full(3, float(i)) for i, key in enumerate(sorted(GoalEnv.observation_space))}
    monkeypatch.setattr(GoalEnv, "reset", lambda self, seed=None, options=None: (first, {}))
    observations = {key: np.tile(value, (6, 1)) for key, value in first.items()}
    dataset = store(
        "test/goal-v0", [make_episode(0, observations, np.zeros((5, 1)), np.zeros(5))], env="Goal-v0"
    )
    env = dmg.make_env(dataset)
    (found, *_), _ = dmg.load_transitions(dataset, env, ARGS)
    assert env.reset()[0].tolist() == found[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_only_a_maze_loses_its_goal():
    rng = np.random.default_rng(0)
    observations = {key: rng.normal(size=(6, 3)) for key in GoalEnv.observation_space}
    episodes = [make_episode(0, observations, rng.uniform(-1, 1, (5, 1)), rng.normal(size=5), truncated=True)]
    dataset = store("test/goal-v0", episodes, env="Goal-v0")
    (found, *_), _ = dmg.load_transitions(dataset, dmg.make_env(dataset), ARGS)
    expected = [observations[key][:-1] for key in ("achieved_goal", "desired_goal", "observation")]
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-6)
    run("dmg_offline", *TINY, "--env-id", "test/goal-v0")  # plays there, too


def test_mazes_are_relabelled_for_one_goal(antmaze):
    """Termination and reward 1 where the next position is within 0.5 of the goal; episodes go on after it."""
    near = LARGE_GOAL + [[0.29, 0.4], [0.31, 0.4], [-0.49, 0], [0.36, -0.36]]
    env = dmg.make_env(antmaze)
    assert env.get_wrapper_attr("is_at_goal")(near).tolist() == [True, False, True, False]
    data, returns = dmg.load_transitions(antmaze, env, replace(ARGS, step_cost=1.0))
    observations, _, rewards, next_observations, terminations = data
    assert [part.shape for part in data] == [(90, 29), (90, 8), (90,), (90, 29), (90,)]
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
    env, total, truncated = gym.make(PENDULUM_ENV), 0.0, False
    observation, _ = env.reset(seed=32)
    while not truncated:
        with torch.no_grad():
            x = torch.tensor((observation - mean) / std, dtype=torch.float32)
            action = 2 * agent.actor(x.expand(2, 1, 3))[1, 0].numpy()
        observation, reward, _, truncated, _ = env.step(action)
        total += reward
    played = dmg.play(dmg.make_env(pendulum), dmg.actor_of(agent, 1), agent.mean, agent.std, 32)
    assert played == pytest.approx(total, rel=1e-4)


class SeedEnv(gym.Env):
    """One step, whose reward is the seed of the episode."""

    observation_space, action_space = BOX3, BOX1

    def reset(self, seed=None, options=None):
        self.seed = seed
        return np.zeros(3), {}

    def step(self, action):
        assert np.isfinite(action).all()
        return np.zeros(3), float(self.seed), True, False, {}


def test_every_member_and_step_has_its_episodes_and_a_diverged_member_is_not_played():
    members = [(1, 0.25, 0.1), (2, 0.25, 0.1), (3, 0.25, 0.1)]
    agent = dmg.Agent(members, np.zeros(3), np.ones(3), 1, ARGS)
    for parameter in agent.actor.parameters():
        parameter.data[1] = torch.nan
    results = [{"seed": m, "diverged_at": 5 if m == 2 else None} for m in (1, 2, 3)]
    args, env, seen = replace(ARGS, eval_episodes=4), SeedEnv(), []
    for step in (10, 20):
        first, diverged, third = dmg.evaluate(agent, env, None, results, step, args)
        np.testing.assert_array_equal(diverged, [np.nan] * 4)
        seen += first + third
    assert len(set(seen)) == 16
    again = dmg.evaluate(agent, env, None, results[2:], 20, args)  # whoever else is evaluated
    assert again == [third]


def test_the_normaliser_is_computed_in_float64():
    """float32 sums of numbers far from 0 go astray."""
    rng = np.random.default_rng(0)
    observations = (1000 + rng.normal(size=(10_001, 3))).astype(np.float32)
    episode = make_episode(0, observations, np.zeros((10_000, 1)), rng.normal(size=10_000))
    store("test/far-v0", [episode], observation_space=BOX3, action_space=TORQUE)
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
    for name, dataset in (("antmaze-large-play", antmaze), ("antmaze-large-play-v2", d4rls)):
        assert dmg.presets(dmg.named_dataset(name)) == dmg.presets(dataset)  # before it is there, for --help
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
    names |= {"pointmaze-umaze": "local/pointmaze/umaze-v0", "ant-expert": "mujoco/ant/expert-v0"}
    names |= {"walker2d-medium-replay-v2": "imported/walker2d/medium-replay-v2"}
    names |= {"antmaze-umaze-v2": "imported/antmaze/umaze-v2", "my/own/data-v3": "my/own/data-v3"}
    for name, dataset_id in names.items():
        assert dmg.named_dataset(name).id == dataset_id
        assert minari.dataset.minari_dataset.parse_dataset_id(dataset_id)
    d4rl = {"hopper-medium-v2": (-20.272305, 3234.3), "halfcheetah-medium": (-280.178953, 12135.0)}
    d4rl |= {"walker2d-medium": (1.629008, 4592.3), "ant-medium": (-325.6, 3879.7)}
    d4rl |= dict.fromkeys(("antmaze-umaze", "antmaze-umaze-v2", "pointmaze-umaze"), (0, 1))
    for name, expected in d4rl.items():
        dataset = dmg.named_dataset(name)
        dataset.storage = SimpleNamespace(metadata={"ref_min_score": 7.0, "ref_max_score": 8.0})
        assert dmg.reference_returns(dataset) == expected  # not those that the data set brings


# ---- odd data: a note, and training ----


def data(observations=None, actions=((0.5,),) * 3, rewards=(1, 2, 3), terminations=None, **options):
    """The arguments of store for an episode of three steps in Pendulum."""
    observations = np.zeros((4, 3)) if observations is None else observations
    episode = make_episode(0, observations, actions, rewards)
    if terminations is not None:
        episode = replace(episode, terminations=np.array(terminations))
    return dict(episodes=[episode], observation_space=BOX3, action_space=TORQUE) | options


def assert_trained():
    assert result()["step"] == 40
    assert all(x.isfinite().all() for name, x in checkpoint()["agent"].items())


@pytest.mark.parametrize("reward", [0, 1])
def test_rewards_that_are_all_equal_are_noted(reward):
    """As in InvertedPendulum, where each step gives 1: how long an episode lasts is all that counts."""
    store("test/odd-v0", **data(rewards=[reward] * 3, terminations=[False, False, True]))
    done = run("dmg_offline", *TINY, "--env-id", "test/odd-v0")
    assert f"note: all rewards are {reward}: " in done.out
    assert_trained()


def test_actions_a_little_outside_are_clipped_and_counted(capsys):
    options = data(actions=[[2.4], [-1.0], [-2.4]])  # 1.2 times the bounds
    dataset = store("test/odd-v0", **options)
    (_, actions, *_), _ = dmg.load_transitions(dataset, dmg.make_env(dataset), ARGS)
    assert actions.tolist() == [[1], [-0.5], [-1]]
    assert "note: 2 of 3 numbers in actions lay outside" in capsys.readouterr().out
    run("dmg_offline", *TINY, "--env-id", "test/odd-v0")
    assert_trained()


def test_rounding_of_actions_is_not_worth_a_note(capsys):
    dataset = store("test/odd-v0", **data(actions=[[2.00001], [0.0], [-2.0]]))
    (_, actions, *_), _ = dmg.load_transitions(dataset, dmg.make_env(dataset), ARGS)
    assert actions.tolist() == [[1], [0], [-1]] and "note" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float64])
def test_terminations_may_be_numbers(kind):
    dataset = store("test/odd-v0", **data(terminations=np.array([0, 0, 1], kind)))
    transitions, _ = dmg.load_transitions(dataset, dmg.make_env(dataset), ARGS)
    assert transitions[4].tolist() == [0, 0, 1]


def metadata(**changes):
    """Change what the stored data set PENDULUM says of itself."""
    path = DATA / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


UNKNOWN = {
    "none": {},
    "NaN": (np.nan, 1.0),
    "infinite": (0.0, np.inf),
    "equal": (5.0, 5.0),
    "text": ("1", "2"),
}


@pytest.mark.parametrize("scores", UNKNOWN)
def test_without_reference_returns_the_returns_are_shown(scores, pendulum):
    metadata(**dict(zip(("ref_min_score", "ref_max_score"), UNKNOWN[scores])))
    done = run("dmg_offline", *TINY)
    assert "returns are shown, not scores" in done.out
    (member,) = result()["members"]
    for evaluation in member["evaluations"]:
        assert np.isnan(evaluation["normalized_score"]) and np.mean(evaluation["returns"]) < -100
    assert f"40 of 40 updates, episodic_return {evaluation['episodic_return']:.1f}\n" in done.out


def test_with_reference_returns_the_scores_are_shown(pendulum):
    metadata(ref_min_score=-2000.0, ref_max_score=0.0)
    done, last = run("dmg_offline", *TINY), result()["members"][0]["evaluations"][-1]
    assert last["normalized_score"] == pytest.approx(100 + last["episodic_return"] / 20)
    assert f"40 of 40 updates, normalized_score {last['normalized_score']:.1f}\n" in done.out


# ---- bad data: one line, before training, and no folder ----

DISCRETE, IMAGE = gym.spaces.Discrete(5), box(8, 8, 3)
MISFIT, NOT_ITS = "do not fit each other", "the environment's are in"
BAD_DATA = {
    "NaN in observations": (data(np.full((4, 3), np.nan)), "must be finite"),
    "infinite reward": (data(rewards=[1, 2, np.inf]), "must be finite"),
    "NaN in actions": (data(actions=[[0], [np.nan], [0]]), "must be finite"),
    "NaN in terminations": (data(terminations=[0, 0, np.nan]), "must be finite"),
    "half a termination": (data(terminations=[0, 0, 0.5]), "terminations 0 or 1"),
    "a termination of 2": (data(terminations=[0, 2, 0]), "terminations 0 or 1"),
    "a termination of -1": (data(terminations=[0, 0, -1]), "terminations 0 or 1"),
    "action far out of range": (data(actions=[[0], [3.1], [0]]), "must lie within"),
    "too few actions": (data(actions=np.zeros((2, 1))), MISFIT),
    "actions (m, T)": (data(actions=np.zeros((1, 3))), MISFIT),
    "actions (T,)": (data(actions=np.zeros(3)), MISFIT),
    "actions (T, 3) in a space of 1": (data(actions=np.zeros((3, 3))), MISFIT),
    "observations (n, T + 1)": (data(np.zeros((3, 4))), MISFIT),
    "an observation too few": (data(np.zeros((3, 3))), MISFIT),
    "rewards (T, 1)": (data(rewards=[[1], [2], [3]], terminations=[0, 0, 0]), MISFIT),
    "too few terminations": (data(terminations=[0, 1]), MISFIT),
    "images": (data(np.zeros((4, 8, 8, 3)), observation_space=IMAGE), MISFIT),
    "discrete observations": (data(np.zeros(4), observation_space=DISCRETE), MISFIT),
    "observations not the environment's": (data(np.zeros((4, 2)), observation_space=box(2)), MISFIT),
    "actions not the environment's": (data(actions=np.zeros((3, 2)), action_space=box(2)), NOT_ITS),
    "bounds not the environment's": (data(action_space=BOX1), NOT_ITS),
    "unbounded actions": (data(action_space=box(1, bound=np.inf)), NOT_ITS),
    "discrete actions": (data(actions=np.zeros(3), action_space=DISCRETE), "actions must be"),
    "no actions": (data(actions=np.zeros((3, 0)), action_space=box(0)), NOT_ITS),
    "no environment": (data(env=None), "environment"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(name):
    options, words = BAD_DATA[name]
    store("test/bad-v0", **options)
    assert words in refused("dmg_offline", *TINY, "--env-id", "test/bad-v0")


@pytest.mark.parametrize("which", ["every episode", "no episode"])
def test_data_without_a_step(which, pendulum):
    """Minari stores none; others might."""
    with h5py.File(DATA / "main_data.hdf5", "a") as file:
        for name, group in file.items():
            if which == "no episode":
                del file[name]
            else:
                for key in ("observations", "actions", "rewards", "terminations", "truncations"):
                    rows = group[key][: key == "observations"]
                    del group[key]
                    group[key] = rows
    metadata(total_episodes=4 if which == "every episode" else 0, total_steps=0)
    assert "has no transitions" in refused("dmg_offline", *TINY)


def test_an_action_without_a_choice(capsys):
    space = gym.spaces.Box(np.array([-1, 0], np.float32), np.array([1, 0], np.float32))
    dataset = store("test/bad-v0", **data(actions=np.zeros((3, 2)), action_space=space))
    with pytest.raises(SystemExit):
        dmg.load_transitions(dataset, plain_env(BOX3, space), ARGS)
    assert "vectors between two bounds" in capsys.readouterr().err


def test_actions_stored_the_other_way_round_are_not_reshaped(capsys):
    """(2, 3) has as many numbers as (3, 2)."""
    dataset = store("test/bad-v0", **data(actions=np.zeros((2, 3)), action_space=box(2)))
    with pytest.raises(SystemExit):
        dmg.load_transitions(dataset, plain_env(BOX3, box(2)), ARGS)
    assert MISFIT in capsys.readouterr().err


def test_a_broken_file(pendulum, tmp_path):
    path = tmp_path / "minari" / PENDULUM / "data/main_data.hdf5"
    path.write_bytes(path.read_bytes()[:2000])
    refused("dmg_offline", *TINY)
    (path.parent / "metadata.json").write_text("{")
    assert f"cannot read {PENDULUM}" in refused("dmg_offline", *TINY)


@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json"])
def test_a_folder_in_the_place_of_a_file(name, pendulum):
    (DATA / name).unlink()
    (DATA / name).mkdir()
    line = refused("dmg_offline", *TINY)
    assert PENDULUM in line and "read" in line


ABSENT = {
    "antmaze-large-plai": ["cannot download D4RL/antmaze/large-plai-v1", "minari list remote"],
    "": ["there is no data set", "antmaze-"],
    "cartpole": ["there is no data set cartpole", "name/name-v0"],
    "nothing/like-this-v0": ["cannot download nothing/like-this-v0"],
    "pointmaze-medium": ["local/pointmaze/medium-v0", "collect_local.py"],
    "hopper-medium-v2": ["imported/hopper/medium-v2", "import_d4rl.py"],
    "local/ogbench/scene-play-singletask-v0": ["collect_local.py ogbench-scene-play\n"],
    "hopper-medium-replay": ["mujoco/hopper/medium-replay-v0", "Name or service"],
}


@pytest.mark.parametrize("env_id", ABSENT)
def test_data_that_are_not_there(env_id, monkeypatch):
    def download(dataset_id):
        raise ConnectionError("[Errno -2] Name or service not known")

    monkeypatch.setattr(minari, "download_dataset", download)
    line = refused("dmg_offline", "--env-id", env_id)
    assert all(words in line for words in ABSENT[env_id])


# ---- trust: nothing that a data set or a checkpoint names is executed ----

OWN_MODULE = """
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv

open("executed", "w").close()


class Own(PendulumEnv):
    pass


class OwnWrapper(gymnasium.Wrapper):
    pass


gymnasium.register("Registers-v0", "own:Own", max_episode_steps=20)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's, found like all modules: own.py, which leaves a file when it is imported."""
    Path("own.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own", None)
    for name in ("Own-v0", "Registers-v0"):
        gym.registry.pop(name, None)


def is_executed():
    """Whether the file is there that all code in these tests would leave."""
    return Path("executed").exists()


def spec(entry_point, env_id="Pendulum-v1", wrapper=None, **kwargs):
    """What metadata.json says of an environment: a name, and code to run."""
    wrappers = (WrapperSpec("Wrapper", wrapper, {}),) if wrapper else ()
    own_spec = EnvSpec(
        env_id, "Pendulum-v1", max_episode_steps=20, kwargs=kwargs, additional_wrappers=wrappers
    )
    own_spec.entry_point = entry_point
    return json.dumps(json.loads(own_spec.to_json()))


PENDULUMS = "gymnasium.envs.classic_control.pendulum:PendulumEnv"
FOREIGN = {
    "a shell": ("os:system", spec("os:system", command="touch executed")),
    "a program": ("subprocess:run", spec("subprocess:run", args=["touch", "executed"])),
    "an import": ("builtins:__import__", spec("builtins:__import__", name="own")),
    "a module": ("own:Own", spec("own:Own")),
    "a module under a namespace": ("own:Own", spec("own:Own", "own/Own-v0")),
    "gymnasium.make": (
        "gymnasium.envs.registration:make",
        spec("gymnasium.envs.registration:make", id="own:Registers-v0"),
    ),
    "gymnasium.make, shorter": ("gymnasium:make", spec("gymnasium:make", id="own:Registers-v0")),
    "a wrapper": ("own:OwnWrapper", spec(PENDULUMS, wrapper="own:OwnWrapper")),
    "a wrapper that is a shell": ("os:system", spec(PENDULUMS, wrapper="os:system")),
    "a name that begins like one of ours": ("gymnasium_evil:Own", spec("gymnasium_evil:Own")),
    "a list": ("os:system", spec(["os:system"], command="touch executed")),
}


@pytest.mark.parametrize("field", ["env_spec", "eval_env_spec"])
@pytest.mark.parametrize("name", FOREIGN)
def test_code_that_a_data_set_names_is_not_executed(name, field, pendulum, own):
    words, env_spec = FOREIGN[name]
    metadata(**{field: env_spec})
    line = refused("dmg_offline", *TINY)
    assert words in line and "--trust-env" in line and not is_executed()


@pytest.mark.parametrize("space", ["observation_space", "action_space"])
def test_nor_to_learn_the_spaces_that_a_data_set_does_not_name(space, pendulum, own):
    """Minari would make the environment as soon as it opens the data set."""
    metadata(env_spec=FOREIGN["a shell"][1])
    stored = json.loads((DATA / "metadata.json").read_text())
    del stored[space]
    (DATA / "metadata.json").write_text(json.dumps(stored))
    assert "lack the spaces" in refused("dmg_offline", *TINY) and not is_executed()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_executes_it(path, pendulum, own):
    """With the flag, each does: os:system leaves its file, and then is no environment."""
    metadata(env_spec=FOREIGN["a shell"][1])
    assert "--trust-env" in refused(path.stem, "--env-id", PENDULUM, "--device", "cpu")
    assert not is_executed()
    line = refused(path.stem, "--env-id", PENDULUM, "--device", "cpu", "--trust-env")
    assert "cannot make the environment" in line and is_executed()


@pytest.mark.parametrize("env_spec", [spec("own:Own"), spec(PENDULUMS, wrapper="own:OwnWrapper")])
def test_with_trust_env_ones_own_code_is_run(env_spec, pendulum, own):
    metadata(env_spec=env_spec)
    run("dmg_offline", *TINY, "--trust-env")
    assert is_executed()
    assert_trained()


def test_a_module_that_is_not_there(pendulum):
    metadata(env_spec=spec("lost:Lost"))
    line = refused("dmg_offline", *TINY, "--trust-env")
    assert "cannot make the environment" in line and "lost" in line


@pytest.mark.parametrize("is_class", [False, True])
def test_an_environment_registered_in_this_process_needs_no_flag(is_class, pendulum, own):
    """But under its own id, and no other."""
    import own as module

    gym.register("Own-v0", module.Own if is_class else "own:Own", max_episode_steps=20)
    metadata(env_spec=spec("own:Own", "Other-v0"))
    assert "--trust-env" in refused("dmg_offline", *TINY)
    metadata(env_spec=spec("own:Own", "Own-v0"))
    run("dmg_offline", *TINY)
    assert_trained()


KNOWN = ["Hopper-v5", "AntMaze_Large-v4", "FrankaKitchen-v1", "AdroitHandDoor-v1", "CartPole-v1"]


@pytest.mark.parametrize("env_id", [*KNOWN, "benchmark.d4rl_antmaze:D4RLAntMaze/umaze-v2"])
def test_environments_of_gymnasium_gymnasium_robotics_and_this_project_need_no_flag(env_id):
    """Even where nobody has registered them: a script does not import what it may not need."""
    unregistered = replace(gym.make(env_id).spec, id="Renamed-v0")
    dmg.check_trust(SimpleNamespace(env_spec=unregistered, _eval_env_spec=unregistered))


def test_gymnasiums_wrappers_need_no_flag(pendulum):
    wrapper = "gymnasium.wrappers.common:RecordEpisodeStatistics"
    metadata(env_spec=spec(PENDULUMS, wrapper=wrapper))
    run("dmg_offline", *TINY)
    assert_trained()


IDS = [
    "/tmp/x-v0",
    "../pendulum/random-v0",
    "test/../random-v0",
    "./random-v0",
    "~/random-v0",
    "test//random-v0",
]
IDS += ["own:Registers-v0", "own:test/pendulum/random-v0", "test/pendulum/random-v0\n", "test\\random-v0"]
IDS += ["hopper-../../../x", "antmaze-own:x", "pointmaze-/x", "test/pendulum/random-v0/..", "random-v0;ls"]


@pytest.mark.parametrize("script", ["dmg_offline", "dmg_finetune"])
def test_ids_have_no_paths_and_no_modules(script, pendulum, own, monkeypatch):
    """Also of a set that is there: minari would read it."""
    read = []
    monkeypatch.setattr(minari, "load_dataset", lambda *args, **options: read.append(args))
    for env_id, flags in itertools.product(IDS, ([], ["--trust-env"])):
        assert "there is no data set" in refused(script, "--env-id", env_id, *flags), env_id
        assert not read and not is_executed(), env_id


def change_checkpoint(**changes):
    """Change the arguments that a run's checkpoint brings."""
    state = checkpoint()
    state["run"]["args"] |= changes
    torch.save(state, run_dir() / "checkpoint.pt")


EVIL_ARGS = {
    "a module": (dict(env_id="own:Registers-v0"), "there is no data set"),
    "a path": (dict(env_id="../minari/test/pendulum/random-v0"), "there is no data set"),
    "trust": (dict(trust_env=True), "only with --trust-env"),
}


@pytest.mark.parametrize("name", EVIL_ARGS)
@pytest.mark.parametrize("script", ["dmg_offline", "dmg_finetune"])
def test_a_checkpoint_executes_nothing(script, name, pendulum, own):
    """Nor does it bring the trust in what its data set names: that is for the command line to say."""
    online = ["--online-steps", 10] if script == "dmg_finetune" else []
    run(script, *TINY, *online)
    before = (run_dir() / "result.json").read_bytes()
    metadata(env_spec=spec("own:Own"))
    changes, words = EVIL_ARGS[name]
    change_checkpoint(**changes)
    assert words in refused(script, "--resume", run_dir())
    assert not is_executed() and (run_dir() / "result.json").read_bytes() == before
    if name == "trust":
        run(script, "--resume", run_dir(), "--trust-env")
        assert is_executed()


@pytest.mark.parametrize("name", EVIL_ARGS)
def test_fine_tuning_from_a_checkpoint_executes_nothing(name, pendulum, own):
    run("dmg_offline", *TINY)
    metadata(env_spec=spec("own:Own"))
    changes, words = EVIL_ARGS[name]
    change_checkpoint(**changes)
    assert words in refused("dmg_finetune", "--checkpoint", run_dir(), "--online-steps", 10)
    assert not is_executed()


SCRATCH = "--offline-steps 0 --online-steps 10 --learning-starts 5 --eval-episodes 1 --device cpu".split()


def test_learning_from_scratch_imports_no_module_without_trust(own):
    """Gymnasium imports what stands before the colon, as soon as it is asked for the environment."""
    flags = [*SCRATCH, "--env-id", "own:Registers-v0"]
    line = refused("dmg_finetune", *flags)
    assert "imports own" in line and "--trust-env" in line and not is_executed()
    run("dmg_finetune", *flags, "--trust-env")
    assert is_executed() and result()["step"] == 10


def test_a_checkpoint_of_a_run_from_scratch_imports_nothing(own):
    run("dmg_finetune", *SCRATCH, "--env-id", "Pendulum-v1")
    change_checkpoint(env_id="own:Registers-v0", trust_env=True)
    assert "imports own" in refused("dmg_finetune", "--resume", run_dir())
    assert not is_executed()


def test_an_environment_registered_in_this_process_can_be_learned_from_scratch(own):
    gym.register("Own-v0", "own:Own", max_episode_steps=20)
    run("dmg_finetune", *SCRATCH, "--env-id", "Own-v0")
    assert result()["step"] == 10


@pytest.mark.parametrize("size", [1e30, 1e3, 1, 1e-3, 1e-30, 0])
def test_observations_of_odd_size_are_noted(size, capsys):
    observations = np.ones((4, 3))
    observations[:, 1] = size * np.arange(4)
    dataset = store("test/odd-v0", **data(observations=observations))
    dmg.load_transitions(dataset, plain_env(BOX3, TORQUE), ARGS)
    is_noted = "note: the largest of observed numbers [1] are" in capsys.readouterr().out
    assert is_noted == (size in (1e30, 1e-30))


def test_mazes_leave_no_files(antmaze, tmp_path, monkeypatch):
    """Gymnasium-Robotics writes the maze for MuJoCo and forgets it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    dmg.make_env(antmaze).close()
    assert not list((tmp_path / "temporary").iterdir())
