"""What becomes of a data set: transitions, the one-goal mazes, evaluation, and every kind of bad data."""

import gymnasium as gym
import gymnasium_robotics
import minari
import numpy as np
import pytest
import torch
from conftest import antmaze_episodes, make_episode, pendulum_episodes, store

import dmg_offline as dmg

gym.register_envs(gymnasium_robotics)
LARGE_GOAL = np.array([14.0, -12.0])  # centre of cell (7, 9) of the large AntMaze, in Gymnasium-Robotics' coordinates
BOX3 = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
BOX1 = gym.spaces.Box(-1, 1, (1,), np.float32)


def two_episodes():
    """Observations count up from 0 and from 100; the first episode ends by termination, the second by truncation."""
    episodes = []
    for number, (first, length) in enumerate(((0, 3), (100, 2))):
        observations = first + np.arange(length + 1)[:, None] * np.ones(3)
        ends = dict(terminated=number == 0, truncated=number == 1)
        episodes.append(make_episode(number, observations, np.full((length, 1), 0.5), 1.0 + np.arange(length), **ends))
    return episodes


def fails(capsys, function, *args):
    """The one line that a failing call writes to stderr; its exit code must be 2."""
    with pytest.raises(SystemExit) as error:
        function(*args)
    assert error.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_transitions_stay_within_episodes(capsys):
    dataset = store("test/two-v0", two_episodes(), env=None, observation_space=BOX3, action_space=BOX1)
    rows, widths, returns = dmg.load_transitions(dataset)
    observations, actions, rewards, next_observations, terminations = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    assert widths == [3, 1, 1, 3, 1] and rows.dtype == np.float32
    assert observations[:, 0].tolist() == [0, 1, 2, 100, 101]
    assert next_observations[:, 0].tolist() == [1, 2, 3, 101, 102]  # nothing leads from 3 to 100
    assert rewards[:, 0].tolist() == [1, 2, 3, 1, 2]
    assert terminations[:, 0].tolist() == [0, 0, 1, 0, 0]  # the truncation at the end of the second is none
    assert returns.tolist() == [6, 3]
    printed = capsys.readouterr().out
    for fact in (
        "5 transitions",
        "2 episodes",
        "1 terminations",
        "1 truncations",
        "observations 3",
        "actions 1",
        "3 to 6",
    ):
        assert fact in printed


def test_a_truncation_bootstraps_and_a_termination_does_not():
    """The Q target of Eq. (16), read off where Q lands when it is fitted to one transition."""
    targets = []
    for termination in (0.0, 1.0):
        agent = dmg.Agent([(1, 0.0, 0.1)], np.zeros(3, np.float32), np.ones(3, np.float32), 1)
        optimizers = {
            n: torch.optim.Adam(getattr(agent, n).parameters(), torch.tensor(1e-3)) for n in ("vf", "qf", "actor")
        }
        optimizers["vf"].param_groups[0]["lr"].zero_()
        with torch.no_grad():
            for layer in agent.vf.layers:
                layer.zero_()
            agent.vf.layers[5].fill_(10.0)  # V = 10 everywhere
        parts = [torch.ones(1, 8, 3), torch.zeros(1, 8, 1), torch.ones(1, 8, 1), torch.ones(1, 8, 3)]
        parts.append(torch.full((1, 8, 1), termination))
        args = dmg.Args(expectile=0.7)
        for _ in range(300):
            dmg.update(agent, optimizers, parts, torch.zeros(1, 8, 1), args, False)
        targets.append(agent.qf(parts[0], parts[1]).mean().item())
    assert targets == pytest.approx([1 + 0.99 * 10, 1.0], abs=0.05)


def test_actions_are_scaled_to_one(pendulum):
    rows, widths, _ = dmg.load_transitions(pendulum)
    raw = np.concatenate([episode.actions for episode in pendulum.iterate_episodes()])
    np.testing.assert_allclose(rows[:, 3:4], raw / 2, atol=1e-6)  # Pendulum's torque lies in [-2, 2]


def test_dictionary_observations_are_joined_by_key_without_the_goal():
    nested = {"observation": np.ones((4, 3)), "desired_goal": np.full((4, 2), 9), "achieved_goal": np.zeros((4, 2))}
    flat = dmg.flatten(nested)
    assert flat.shape == (4, 5) and flat.dtype == np.float32
    assert flat[0].tolist() == [0, 0, 1, 1, 1]  # D4RL's order: x, y, then the body
    assert dmg.flatten({"b": {"y": np.ones(1), "x": np.zeros(1)}, "a": np.full(1, 2)}).tolist() == [2, 0, 1]


def test_antmaze_is_relabelled_for_one_goal():
    """Reward 0 and termination where the next position is within 0.5 of the goal, -1 elsewhere; data are not cut."""
    dataset = store("D4RL/antmaze/large-play-v1", antmaze_episodes(LARGE_GOAL), env="AntMaze_Large-v4")
    env = dmg.make_env(dataset, is_maze=True)
    goal = env.unwrapped.maze.unique_goal_locations[0]
    np.testing.assert_allclose(goal, LARGE_GOAL)
    rows, widths, returns = dmg.load_transitions(dataset, goal)
    observations, _, rewards, next_observations, terminations = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    assert widths == [29, 8, 1, 29, 1] and len(rows) == 90
    hits = np.flatnonzero(terminations)
    assert hits.tolist() == [10, 40, 70]  # row 11 of every episode is the next observation of transition 10
    np.testing.assert_array_equal(rewards, terminations - 1)
    assert (np.linalg.norm(next_observations[hits, :2] - LARGE_GOAL, axis=1) <= 0.5).all()
    assert returns.tolist() == [1, 1, 1]
    env.close()


def test_the_evaluation_maze_is_the_one_of_the_data_and_ends_at_the_goal():
    dataset = store("D4RL/antmaze/large-play-v1", antmaze_episodes(LARGE_GOAL), env="AntMaze_Large-v4")
    env = dmg.make_env(dataset, is_maze=True)
    maze, positions = env.unwrapped, []
    for seed in (1, 2):
        observation, _ = env.reset(seed=seed)
        positions.append(observation["achieved_goal"])
        np.testing.assert_array_equal(observation["desired_goal"], LARGE_GOAL)
        np.testing.assert_allclose(positions[-1], [-18, 12], atol=0.21)  # D4RL's start cell (1, 1), with its noise
    assert not np.allclose(positions[0], positions[1])
    walls = [[int(cell == 1) for cell in row] for row in maze.maze.maze_map]
    assert walls == [[int(cell == 1) for cell in row] for row in dataset.env_spec.kwargs["maze_map"]]
    qpos = maze.ant_env.data.qpos.copy()
    qpos[:2] = LARGE_GOAL + [0.3, 0.3]  # 0.42 from the goal
    maze.ant_env.set_state(qpos, 0 * maze.ant_env.data.qvel)
    _, reward, terminated, truncated, _ = env.step(np.zeros(8, np.float32))
    assert (reward, terminated, truncated) == (1.0, True, False)
    env.close()


def test_a_maze_that_names_its_start_and_goal_keeps_them():
    """Minari's antmaze/umaze goes from the lower left to the upper left, against D4RL's direction."""
    rows = [[1, 1, 1, 1, 1], [1, "g", 0, 0, 1], [1, 1, 1, 0, 1], [1, "r", 0, 0, 1], [1, 1, 1, 1, 1]]
    env = gym.make("AntMaze_UMaze-v4", maze_map=rows)
    dataset = store("D4RL/antmaze/umaze-v1", antmaze_episodes(np.array([-4.0, 4.0])), env=env)
    made = dmg.make_env(dataset, is_maze=True)
    np.testing.assert_allclose(made.unwrapped.maze.unique_goal_locations, [[-4, 4]])
    np.testing.assert_allclose(made.unwrapped.maze.unique_reset_locations, [[-4, -4]])


def test_evaluation_plays_every_member_and_skips_the_diverged(pendulum):
    """Returns equal those of playing each episode alone, whatever the number of environments."""
    members = [(1, 0.25, 0.1), (2, 0.25, 0.1), (3, 0.25, 0.1)]
    agent = dmg.Agent(members, np.zeros(3, np.float32), np.ones(3, np.float32), 1)
    envs = [dmg.make_env(pendulum, False) for _ in range(6)]
    seeds = np.array([[11, 12], [21, 22], [31, 32]])
    returns = dmg.evaluate(agent, envs, [], pendulum.action_space, seeds, np.array([True, False, True]))
    assert np.isnan(returns[1]).all() and np.isfinite(returns[[0, 2]]).all()
    alone = dmg.Agent(members[2:], np.zeros(3, np.float32), np.ones(3, np.float32), 1)
    env, total, done = dmg.make_env(pendulum, False), 0.0, False
    observation, _ = env.reset(seed=32)
    while not done:
        with torch.no_grad():
            action = 2 * alone.actor(torch.from_numpy(observation).view(1, 1, 3)).flatten().numpy()
        observation, reward, terminated, truncated, _ = env.step(action)
        total, done = total + reward, terminated or truncated
    assert returns[2, 1] == pytest.approx(total, rel=1e-4)


def test_short_names():
    for name, dataset_id in {
        "antmaze-large-play": "D4RL/antmaze/large-play-v1",
        "hopper-medium": "mujoco/hopper/medium-v0",
        "pointmaze-umaze": "local/pointmaze/umaze-v0",
        "walker2d-medium-replay-v2": "d4rl/walker2d/medium-replay-v2",
    }.items():
        assert dmg.DATASETS[name] == dataset_id
        assert minari.dataset.minari_dataset.parse_dataset_id(dataset_id)


def test_presets_follow_the_family_and_the_level(pendulum):
    args, family = dmg.resolve_args(dmg.Args(), pendulum)
    assert (family, args.max_weight, args.expectile, args.device) == ("other", 3.0, 0.7, "cpu")
    maze = store("D4RL/antmaze/large-play-v1", antmaze_episodes(LARGE_GOAL), env="AntMaze_Large-v4")
    args, family = dmg.resolve_args(dmg.Args(max_weight=7.0), maze)
    assert (family, args.max_weight, args.expectile, args.nu) == ("antmaze", 7.0, 0.9, (0.5,))
    assert (args.normalize_observations, args.eval_episodes, args.eval_interval) == (False, 100, 50_000)
    for level, nu in (("expert", 10.0), ("medium-expert", 10.0), ("medium", 0.1)):
        hopper = store(f"test/hopper/{level}-v0", pendulum_episodes(1), env="Hopper-v5",
                       observation_space=BOX3, action_space=gym.spaces.Box(-2, 2, (1,)))  # fmt: skip
        args, family = dmg.resolve_args(dmg.Args(), hopper)
        assert (family, args.nu, args.normalize_observations) == ("locomotion", (nu,), True)


@pytest.mark.parametrize(
    "changes, words",
    [({"lam": (1.5,)}, "--lam"), ({"lam": (float("nan"),)}, "--lam"), ({"lam": ()}, "--lam"), ({"nu": (-0.1,)}, "--nu"),
     ({"nu": (float("inf"),)}, "--nu"), ({"seed": ()}, "--seed"), ({"seed": (1, 1)}, "--seed"),
     ({"batch_size": 0}, "batch size"), ({"offline_steps": 0}, "steps"), ({"mode": "cudagraph"}, "GPU"),
     ({"expectile": 0.0}, "--expectile"), ({"expectile": 1.1}, "--expectile")],
)  # fmt: skip
def test_bad_arguments(changes, words, capsys, pendulum):
    assert words in fails(capsys, dmg.resolve_args, dmg.Args(**changes), pendulum)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is asked for")
def test_cuda_asked_for_and_absent(capsys, pendulum):
    assert "GPU" in fails(capsys, dmg.resolve_args, dmg.Args(device="cuda"), pendulum)


@pytest.mark.parametrize(
    "env_id, words",
    [("antmaze-large-plai", ["unknown", "antmaze-large-play"]),
     ("hopper-medium-replay", ["import_d4rl.py", "hopper-medium-replay-v2"]),
     ("hopper-medium-v2", ["import_d4rl.py"]), ("pointmaze-medium", ["collect_local.py pointmaze-medium"]),
     ("local/hopper/expert-v0", ["collect_local.py hopper-expert"])],
)  # fmt: skip
def test_data_sets_that_are_not_there(env_id, words, capsys):
    line = fails(capsys, dmg.open_dataset, env_id)
    assert all(word in line for word in words)


def test_no_network(capsys, monkeypatch):
    monkeypatch.setattr(minari, "load_dataset", _no_network)
    line = fails(capsys, dmg.open_dataset, "antmaze-large-play")
    assert "minari download D4RL/antmaze/large-play-v1" in line and "Name or service not known" in line


def _no_network(dataset_id, download):
    assert download
    raise ConnectionError("[Errno -2] Name or service not known")


def test_a_broken_file(capsys, pendulum, tmp_path):
    path = tmp_path / "minari/test/pendulum/random-v0/data/main_data.hdf5"
    path.write_bytes(path.read_bytes()[:2000])
    dataset = dmg.open_dataset("test/pendulum/random-v0")
    capsys.readouterr()
    assert "delete its folder" in fails(capsys, dmg.load_transitions, dataset)
    (path.parent / "metadata.json").write_text("{")
    assert "delete its folder" in fails(capsys, dmg.open_dataset, "test/pendulum/random-v0")


@pytest.mark.parametrize(
    "spoil, words",
    [(lambda e: e.observations.__setitem__((1, 0), np.nan), "NaN"), (lambda e: e.rewards.__setitem__(1, np.inf), "NaN"),
     (lambda e: e.actions.__setitem__(1, np.nan), "NaN"), (lambda e: e.actions.__setitem__(1, 3.0), "outside"),
     (lambda e: e.rewards.__setitem__(slice(None), 1.0), "all rewards are 1.0")],
)  # fmt: skip
def test_bad_numbers(spoil, words, capsys):
    episodes = two_episodes()[:1]
    spoil(episodes[0])
    space = gym.spaces.Box(-1, 1, (1,), np.float32)
    dataset = store("test/bad-v0", episodes, env=None, observation_space=BOX3, action_space=space)
    assert words in fails(capsys, dmg.load_transitions, dataset)


def test_arrays_of_different_lengths(capsys):
    episode = make_episode(0, np.zeros((4, 3)), np.zeros((2, 1)), [1.0, 2.0, 3.0])
    dataset = store("test/bad-v0", [episode], env=None, observation_space=BOX3, action_space=BOX1)
    assert "cannot read the episodes" in fails(capsys, dmg.load_transitions, dataset)


def test_a_maze_in_which_no_episode_reaches_the_goal(capsys):
    dataset = store("D4RL/antmaze/large-play-v1", antmaze_episodes(LARGE_GOAL + 50), env="AntMaze_Large-v4")
    assert "none at the goal" in fails(capsys, dmg.load_transitions, dataset, LARGE_GOAL)


@pytest.mark.parametrize(
    "observation_space, action_space, observations, actions",
    [(gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), BOX1, np.zeros((4, 8, 8, 3), np.uint8), np.zeros((3, 1))),
     (BOX3, gym.spaces.Discrete(2), np.zeros((4, 3)), np.zeros(3, np.int64)),
     (gym.spaces.Dict(image=gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)), BOX1,
      {"image": np.zeros((4, 8, 8, 3), np.uint8)}, np.zeros((3, 1))),
     (gym.spaces.Discrete(5), BOX1, np.zeros(4, np.int64), np.zeros((3, 1)))],
)  # fmt: skip
def test_images_and_discrete_spaces(observation_space, action_space, observations, actions, capsys):
    episode = make_episode(0, observations, actions, [1.0, 2.0, 3.0], terminated=True)
    dataset = store("test/bad-v0", [episode], env=None, observation_space=observation_space, action_space=action_space)
    assert "vectors of real numbers" in fails(capsys, dmg.load_transitions, dataset)


def test_reference_returns_of_d4rl():
    returns = np.array([3234.3, -20.272305])
    low, high = dmg.REFERENCE_RETURNS["hopper"]
    assert (100 * (returns - low) / (high - low)).tolist() == pytest.approx([100, 0])
