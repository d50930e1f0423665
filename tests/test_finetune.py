"""dmg_finetune.py: what it stores, the schedule, members, the way from offline to online, resuming, bad input."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import gymnasium_robotics
import numpy as np
import pytest
import torch
from conftest import antmaze_episodes, make_episode, store
from gymnasium.wrappers import TimeLimit
from test_runs import assert_equal

import dmg_finetune as ft
import dmg_offline as off

gym.register_envs(gymnasium_robotics)
COLUMNS = [3, 2, 1, 3, 1]
TINY = ["--eval-interval", "10", "--log-interval", "5", "--eval-episodes", "0", "--batch-size", "8"]
TINY += ["--device", "cpu", "--mode", "eager"]
SCRATCH = ["--env-id", "Counter-v0", "--offline-steps", "0", "--lam", "1", "--nu", "0", *TINY]
DATA = ["--env-id", "test/counter/random-v0", *TINY]


class Counter(gym.Env):
    """Observations are (number of the episode, step, last action); the number is made of the seed of its reset.

    An episode lasts 2 to 5 steps and is over by termination, by truncation or by both at once, which stands for a
    success on the last allowed step. Every environment writes down its seeds and steps.
    """

    observation_space = gym.spaces.Box(-1000, 1000, (3,), np.float32)
    action_space = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    made, forgetful = [], False

    def __init__(self):
        self.observation, self.seeds, self.steps = np.zeros(3, np.float32), [], []
        Counter.made.append(self)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.end = 2 + seed % 4, (seed // 4) % 3
        self.seeds.append(seed)
        self.observation[:] = seed % 997, 0, 0  # in place, as some environments do
        return self.observation, {}

    def step(self, action):
        before = self.observation.copy()
        self.observation[1:] = before[1] + 1, action[0] + (np.random.rand() if self.forgetful else 0)
        is_over = self.observation[1] == self.length
        terminated, truncated = bool(is_over and self.end != 1), bool(is_over and self.end != 0)
        reward = 10 * float(before[0]) + float(before[1])
        self.steps.append((before, np.array(action), reward, self.observation.copy(), terminated, truncated))
        return self.observation, reward, terminated, truncated, {}


gym.register("Counter-v0", f"{__name__}:Counter", disable_env_checker=True, order_enforce=False)


@pytest.fixture(autouse=True)
def forget_environments(monkeypatch):
    monkeypatch.setattr(Counter, "made", [])
    monkeypatch.setattr(Counter, "forgetful", False)


@pytest.fixture
def counter():
    rng, episodes = np.random.default_rng(0), []
    for number in range(6):
        observations = rng.normal((100 * number, 3, 0.5), (300, 2, 3), (9, 3)).astype(np.float32)
        actions = rng.uniform((-2, 0), (2, 10), (8, 2))
        episodes.append(make_episode(number, observations, actions, rng.normal(size=8), terminated=True))
    return store("test/counter/random-v0", episodes, env="Counter-v0")


def main(script, *argv):
    """The script as from the command line, in this process: that saves the imports."""
    sys.argv = [script.__name__, *map(str, argv)]
    Counter.made.clear()
    script.main()


def fails(capsys, *argv):
    """The one line with which the script refuses its arguments, having made no run folder."""
    before = sorted(Path().glob("**/result.json"))
    if not {"--resume", "--online-steps"} & set(map(str, argv)):
        argv = "--online-steps", 4, *argv  # lest it trains for long, should it not refuse
    with pytest.raises(SystemExit) as stop:
        main(ft, *argv)
    assert stop.value.code == 2 and sorted(Path().glob("**/result.json")) == before
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def checkpoint(folder="runs"):
    (path,) = Path(folder).glob("*/checkpoint.pt")
    return torch.load(path, weights_only=True)


def result(folder="runs"):
    (path,) = Path(folder).glob("*/result.json")
    return json.loads(path.read_text())


def run_dir(folder="runs"):
    return sorted(Path(folder).iterdir())[0]


def own_rows(member=0, folder="runs"):
    return [part.numpy() for part in checkpoint(folder)["own_rows"][member].split(COLUMNS, -1)]


class Stop(Exception):
    """Stands for a kill: nothing is saved any more."""


def stop_at(monkeypatch, function, call):
    """Let the script's function raise when it is called for the call-th time."""
    real, calls = getattr(ft, function), []

    def counting(*args):
        calls.append(1)
        if len(calls) == call:
            raise Stop
        return real(*args)

    monkeypatch.setattr(ft, function, counting)


def spy(monkeypatch, see):
    """Call see(agent, optimizers, args) after each update."""
    real = ft.update

    def watched(agent, optimizers, batch, noise, args, update_actor):
        losses = real(agent, optimizers, batch, noise, args, update_actor)
        see(agent, optimizers, args)
        return losses

    monkeypatch.setattr(ft, "update", watched)


# ---- lam and nu ----


def relaxed(members, t, **changes):
    agent = SimpleNamespace(lam=torch.zeros(len(members), 1, 1), nu=torch.zeros(len(members), 1, 1))
    ft.relax(agent, members, t, replace(ft.Args(), **changes))
    return agent.lam.flatten().tolist(), agent.nu.flatten().tolist()


@pytest.mark.parametrize(
    "t, lam, nu",
    [(0, 0.25, 0.5), (999, 0.25, 0.5), (1000, 0.2525, 0.49505), (1999, 0.2525, 0.49505), (69_000, 0.37504, 0.25242),
     (460_000, 0.49754, 0.009863), (1_000_000, 0.49999, 0.0050214)],
)  # fmt: skip
def test_schedule(t, lam, nu):
    assert relaxed([(1, 0.25, 0.5)], t) == ([pytest.approx(lam, rel=2e-5)], [pytest.approx(nu, rel=2e-4)])


def test_schedule_of_several_members_and_its_flags():
    members = [(1, 0.0, 0.1), (1, 0.75, 10.0), (1, 1.0, 0.0)]
    lam, nu = relaxed(members, 100_000_000)
    assert lam == pytest.approx([0.5, 0.75, 1.0]) and nu == pytest.approx([0.001, 0.1, 0.0])
    assert relaxed(members, 5_000_000, decay=1.0) == (pytest.approx([0, 0.75, 1]), pytest.approx([0.1, 10, 0]))
    lam, nu = relaxed(members, 20, lam_end=0.0, nu_end=2.0, decay=0.5, decay_interval=10)
    assert lam == pytest.approx([0, 0.1875, 0.25]) and nu == pytest.approx([1.525, 4.0, 1.5])


def test_training_follows_the_schedule(counter, monkeypatch):
    """Constant offline and before the third online step; then one update for each step of the environment."""
    seen = []
    spy(monkeypatch, lambda agent, optimizers, args: seen.append((agent.lam.item(), agent.nu.item())))
    main(ft, *DATA, "--offline-steps", 4, "--online-steps", 7, "--decay-interval", 3, "--decay", 0.5, "--nu", 0.5)
    k = np.array([0, 0, 0, 0] + [t // 3 for t in range(1, 8)])
    np.testing.assert_allclose(seen, np.stack([0.5 - 0.25 * 0.5**k, 0.005 + 0.495 * 0.5**k], 1), rtol=1e-5)


# ---- what is stored ----


def assert_stored(env, rows, steps, mean=0.0, std=1.0):
    """Each step of the environment is a row, in order, and none reaches across the end of an episode."""
    assert len(env.steps) == steps == len(rows[0])
    before, actions, rewards, after, terminated, truncated = (np.array(part) for part in zip(*env.steps, strict=True))
    observations, stored_actions, stored_rewards, next_observations, terminations = rows
    np.testing.assert_allclose(observations * std + mean, before, atol=1e-3)
    np.testing.assert_allclose(next_observations * std + mean, after, atol=1e-3)
    np.testing.assert_allclose(stored_actions * [2, 5] + [0, 5], actions, atol=1e-5)
    np.testing.assert_array_equal(stored_rewards[:, 0], rewards)
    np.testing.assert_array_equal(terminations[:, 0], terminated)  # also where the episode was cut at that very step
    over = terminated | truncated
    assert {(True, False), (False, True), (True, True)} <= set(
        zip(terminated.tolist(), truncated.tolist(), strict=True)
    )
    numbers = np.array(env.seeds)[np.cumsum([0, *over[:-1]])] % 997  # of the episode, a new one after each end
    np.testing.assert_array_equal(before[:, 0], numbers)
    np.testing.assert_array_equal(after[:, 0], numbers)
    np.testing.assert_array_equal(before[1:, 1], np.where(over, 0, after[:, 1])[:-1])
    assert len(set(env.seeds)) == len(env.seeds) == 1 + over.sum()


def test_random_transitions_are_stored_as_they_happen(monkeypatch):
    """Also that the first steps are uniform in the action space and come without updates."""
    updates = []
    spy(monkeypatch, lambda *args: updates.append(1))
    main(ft, *SCRATCH, "--online-steps", 60, "--learning-starts", 60)
    rows = own_rows()
    assert_stored(Counter.made[1], rows, 60)  # the first was only looked at
    assert not updates and np.abs(rows[1]).max() <= 1
    for column in rows[1].T:
        assert column.min() < -0.8 and column.max() > 0.8 and abs(column.mean()) < 0.25


def test_transitions_of_the_policy_are_stored_normalized(counter):
    main(
        ft,
        *DATA,
        "--offline-steps",
        2,
        "--online-steps",
        40,
        "--normalize-observations",
        "True",
        "--exploration-noise",
        1,
    )
    agent, rows = checkpoint()["agent"], own_rows()
    assert agent["std"].min() > 0.5 and agent["mean"].abs().max() > 1
    assert_stored(Counter.made[0], rows, 40, agent["mean"].numpy(), agent["std"].numpy())
    assert np.abs(rows[1]).max() == 1  # noise of std 1 meets the bounds


def test_exploration_noise(counter):
    main(ft, *DATA, "--offline-steps", 2, "--online-steps", 40, "--learning-rate", 0, "--exploration-noise", 0.01)
    agent = ft.Agent([(1, 0.25, 0.1)], np.zeros(3, np.float32), np.ones(3, np.float32), 2)
    agent.load_state_dict(checkpoint()["agent"])
    observations, actions, *_ = own_rows()
    with torch.no_grad():
        distance = actions - agent.actor(torch.from_numpy(observations)[None])[0].numpy()
    assert 0.007 < distance.std() < 0.013 and abs(distance.mean()) < 0.005


def test_charts_of_training_episodes(counter):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    main(ft, *DATA, "--offline-steps", 10, "--online-steps", 20)
    events = EventAccumulator(str(run_dir())).Reload()
    ends, total = [], 0.0
    for t, (_, _, reward, _, terminated, truncated) in enumerate(Counter.made[0].steps, 1):
        total += reward
        if terminated or truncated:
            ends, total = [*ends, (t, total)], 0.0
    assert [(e.step, e.value) for e in events.Scalars("charts/episodic_return")] == ends and len(ends) > 3
    assert [e.step for e in events.Scalars("charts/lam")] == [-5, 0, 5, 10, 15, 20]
    assert [e["step"] for e in result()["evaluations"]] == [0, 10, 20]


def test_rewards_of_a_maze_and_a_success_on_the_last_allowed_step():
    """-1 a step and no termination at the time limit; at the goal 0 and a termination, even on the last step."""
    dataset = store("D4RL/antmaze/umaze-v1", antmaze_episodes(np.zeros(2)), env="PointMaze_UMaze-v3")
    agent = ft.Agent([(1, 0.25, 0.1)], np.zeros(6, np.float32), np.ones(6, np.float32), 2)
    args, generators = ft.Args(learning_starts=9), [torch.Generator().manual_seed(1)]
    space = gym.spaces.Box(-1, 1, (2,), np.float32)
    ends = {}
    for at_goal in (False, True):
        env = ft.make_env(dataset, is_maze=True)
        player = {"env": env, "seed": 1}
        ft.start_episode(player, 0)
        limit = env
        while not isinstance(limit, TimeLimit):
            limit = limit.env
        limit._elapsed_steps = limit._max_episode_steps - 2
        rows = []
        for t in (1, 2):
            if t == 2 and at_goal:
                env.unwrapped.point_env.set_state(env.unwrapped.maze.unique_goal_locations[0], np.zeros(2))
            row, returns = ft.interact(agent, [player], space, generators, True, t, np.array([True]), args)
            rows.append(row[0])
        assert player["episode"] == 1 and player["actions"] == []  # over, and the next one has begun
        ends[at_goal] = rows[1][8].item(), rows[1][-1].item(), returns.item()
        assert (rows[0][8].item(), rows[0][-1].item()) == (-1, 0)
        env.close()
    assert ends == {False: (-1, 0, 0), True: (0, 1, 1)}


# ---- members ----


def test_two_members_store_and_learn_what_each_would_alone(counter):
    options = [*DATA, "--offline-steps", 4, "--online-steps", 30]
    main(ft, *options, "--seed", 1, 2, "--runs-dir", "both")
    assert [len(env.steps) for env in Counter.made] == [30, 30]
    together = torch.load(run_dir("both") / "checkpoint.pt", weights_only=True)
    for m, seed in enumerate((1, 2)):
        main(ft, *options, "--seed", seed, "--runs-dir", f"alone{seed}")
        alone = checkpoint(f"alone{seed}")
        torch.testing.assert_close(together["own_rows"][m], alone["own_rows"][0], atol=1e-4, rtol=1e-4)
        for name, tensor in alone["agent"].items():
            if name not in ("mean", "std", "actor_updates"):
                heads = len(tensor)
                torch.testing.assert_close(together["agent"][name][m * heads :][:heads], tensor, atol=1e-4, rtol=0)
    clocks = together["own_rows"][:, :, 1]  # the second observation number is the step in the episode
    assert not torch.equal(clocks[0], clocks[1])


def test_a_nan_stays_with_its_member_whose_environment_rests(counter, monkeypatch):
    """The second of three is spoiled after the seventh online update, between two looks at the losses."""
    options = [*DATA, "--offline-steps", 4, "--online-steps", 20, "--seed", 1, 2, 3]
    main(ft, *options, "--runs-dir", "clean")
    updates = []

    def spoil(agent, optimizers, args):
        updates.append(1)
        if len(updates) == 4 + 7:
            with torch.no_grad():
                agent.actor.layers[0][1] = math.nan

    spy(monkeypatch, spoil)
    main(ft, *options, "--runs-dir", "spoiled")
    assert [len(env.steps) for env in Counter.made] == [20, 7, 20]
    assert all(np.isfinite(step[1]).all() for env in Counter.made for step in env.steps)
    clean, spoiled = (torch.load(run_dir(f) / "checkpoint.pt", weights_only=True) for f in ("clean", "spoiled"))
    assert [r["diverged_at"] for r in spoiled["results"]] == [None, 10, None]
    for m in (0, 2):
        assert torch.equal(clean["own_rows"][m], spoiled["own_rows"][m])
        for name, tensor in clean["agent"].items():
            if name not in ("mean", "std", "actor_updates"):
                heads = len(tensor) // 3
                a, b = (state["agent"][name][m * heads :][:heads] for state in (clean, spoiled))
                assert torch.equal(a, b), name
    assert spoiled["agent"]["actor.layers.0"][1].isnan().all()


def test_the_environment_of_a_diverged_member_rests():
    """Also where its actions are finite, as the random ones at the start are."""
    agent = ft.Agent([(1, 0.25, 0.1), (2, 0.25, 0.1)], np.zeros(3, np.float32), np.ones(3, np.float32), 2)
    players, generators = [{"env": Counter(), "seed": seed} for seed in (1, 2)], [torch.Generator(), torch.Generator()]
    for player in players:
        ft.start_episode(player, 0)
    alive, args = np.array([False, True]), ft.Args(learning_starts=1)
    for t in (1, 2):
        ft.interact(agent, players, Counter.action_space, generators, False, t, alive, args)
    assert [len(player["env"].steps) for player in players] == [0, 2]


def test_samples_come_from_the_shared_rows_and_a_members_own(monkeypatch):
    shared, own, online_steps, members = 10, 7, 20, [(1, 0.25, 0.1), (2, 0.25, 0.1), (3, 0.25, 0.1)]
    rows = torch.arange(shared + 3 * online_steps, dtype=torch.float32)[:, None].repeat(1, sum(COLUMNS))
    seen = []
    monkeypatch.setattr(ft, "update", lambda agent, optimizers, batch, *rest: seen.append(batch[0][..., 0]) or {})
    args = ft.Args(batch_size=64, online_steps=online_steps, log_interval=5, mode="eager", device="cpu")
    agent = ft.Agent(members, np.zeros(3, np.float32), np.ones(3, np.float32), 2)
    generators = [torch.Generator().manual_seed(seed) for seed, _, _ in members]
    run_block = ft.make_block_runner(agent, {}, rows, COLUMNS, generators, args, shared)
    run_block(0, 5, own)
    for m, numbers in enumerate(torch.stack(seen, 1).flatten(1).int().tolist()):
        start = shared + m * online_steps
        assert set(numbers) == {*range(shared), *range(start, start + own)}
    seen.clear()
    run_block(5, 5)  # offline
    assert set(torch.stack(seen).flatten().int().tolist()) == set(range(shared))


# ---- offline, then online ----


def test_learning_rate_and_discount_of_the_two_phases(counter, monkeypatch):
    seen = []

    def see(agent, optimizers, args):
        seen.append((args.gamma, *(optimizers[n].param_groups[0]["lr"].item() for n in ("actor", "qf", "vf"))))

    spy(monkeypatch, see)
    main(ft, *DATA, "--offline-steps", 8, "--online-steps", 6, "--policy-frequency", 1, "--online-gamma", 0.5)
    cosine = [3e-4 * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    gammas, *rates = zip(*seen, strict=True)
    assert gammas == (0.99,) * 8 + (0.5,) * 6
    assert rates[0] == pytest.approx(cosine + [3e-4] * 6, rel=1e-4)
    assert set(rates[1]) == set(rates[2]) and rates[1] == pytest.approx([3e-4] * 14)


@pytest.mark.parametrize(
    "dataset_id, gamma",
    [("D4RL/antmaze/large-play-v1", 0.995), ("D4RL/antmaze/large-diverse-v1", 0.995),
     ("D4RL/antmaze/medium-play-v1", 0.99), ("mujoco/hopper/medium-v0", 0.99)],
)  # fmt: skip
def test_discount_of_antmaze_large(dataset_id, gamma):
    spec = SimpleNamespace(id="AntMaze_Large-v4" if "antmaze" in dataset_id else "Hopper-v5")
    dataset = SimpleNamespace(id=dataset_id, env_spec=spec)
    args, _ = ft.resolve_args(ft.Args(device="cpu"), dataset)
    assert (args.gamma, args.online_gamma, args.learning_starts) == (0.99, gamma, 0)
    assert ft.resolve_args(ft.Args(device="cpu", online_gamma=0.9), dataset)[0].online_gamma == 0.9


@pytest.mark.parametrize("updates", [20, 13])
def test_hand_over_from_dmg_offline_is_the_run_in_one_go(counter, monkeypatch, updates):
    """Bit for bit: the policy at step 0; networks, optimizers and own rows at the end. 13 fits no interval."""
    options = [*DATA, "--offline-steps", updates, "--seed", 3, "--nu", 0.3]
    main(off, *options, "--runs-dir", "offline")
    before = checkpoint("offline")
    online = ["--checkpoint", run_dir("offline"), "--online-steps", 12, *TINY]
    with monkeypatch.context() as patch:
        stop_at(patch, "interact", 1)
        with pytest.raises(Stop):
            main(ft, *online, "--runs-dir", "stopped")
    start = checkpoint("stopped")
    assert start["step"] == 0 and [e["step"] for e in result("stopped")["evaluations"]] == [0]
    assert_equal(before["agent"], start["agent"])
    assert_equal(before["optimizers"], start["optimizers"])
    main(ft, *online, "--runs-dir", "handed")
    main(ft, *options, "--online-steps", 12, "--runs-dir", "one_go")
    handed, one_go = checkpoint("handed"), checkpoint("one_go")
    for name in ("agent", "optimizers", "generators", "own_rows", "players", "step"):
        assert_equal(handed[name], one_go[name], name)
    assert handed["step"] == 12 and not torch.equal(handed["agent"]["actor.layers.0"], start["agent"]["actor.layers.0"])
    assert result("handed")["args"]["nu"] == [0.3] and result("handed")["evaluations"][0]["step"] == 0


def test_evaluations_leave_the_training_episode_alone(counter):
    options = [*DATA, "--offline-steps", 5, "--online-steps", 12, "--eval-interval", 4]
    main(ft, *options, "--eval-episodes", 3)
    main(ft, *options, "--runs-dir", "silent")
    assert torch.equal(checkpoint()["own_rows"], checkpoint("silent")["own_rows"])
    assert all(len(evaluation["returns"]) == 3 for evaluation in result()["evaluations"])


# ---- resuming ----


@pytest.mark.parametrize("function, call, saved_step", [("update", 15, -10), ("interact", 4, 0), ("interact", 18, 10)])
def test_a_stopped_run_resumes_bit_for_bit(counter, monkeypatch, function, call, saved_step):
    """Stopped in the offline phase, just after it, and in the online phase, where the checkpoint is in mid-episode."""
    options = [*DATA, "--offline-steps", 20, "--online-steps", 25, "--seed", 1, 2, "--decay-interval", 4]
    main(ft, *options, "--runs-dir", "unbroken")
    with monkeypatch.context() as patch:
        stop_at(patch, function, call)
        with pytest.raises(Stop):
            main(ft, *options)
    stopped = checkpoint_of_two("runs")
    assert stopped["step"] == saved_step and stopped["own_rows"].shape[1] == max(saved_step, 0)
    if saved_step > 0:
        assert any(len(player["actions"]) for player in stopped["players"])
    main(ft, "--resume", sorted(Path("runs").iterdir())[1])
    unbroken, resumed = checkpoint_of_two("unbroken"), checkpoint_of_two("runs")
    assert resumed["step"] == 25 and resumed["own_rows"].shape == (2, 25, sum(COLUMNS))
    assert_equal(unbroken, resumed)


def checkpoint_of_two(folder):
    return torch.load(run_dir(folder) / "checkpoint.pt", weights_only=True)


@pytest.mark.parametrize("env_id", ["Hopper-v5", "D4RL/antmaze/umaze-v1"])
def test_mujoco_resumes_in_mid_episode(env_id, monkeypatch, capsys):
    """Not the first episode: the new environment must not differ from one that has played before."""
    options, steps = ["--env-id", env_id, *TINY], 30
    if env_id == "Hopper-v5":
        options += ["--offline-steps", 0, "--learning-starts", 100]
        steps = 100
    else:
        store(
            env_id, antmaze_episodes(np.array([-4.0, -4.0])), env="AntMaze_UMaze-v4", ref_min_score=0, ref_max_score=1
        )
        monkeypatch.setattr(ft, "make_env", short(ft.make_env))
        options += ["--offline-steps", 2]
    options += ["--online-steps", steps + 7]
    main(ft, *options, "--runs-dir", "unbroken")
    with monkeypatch.context() as patch:
        stop_at(patch, "interact", steps + 2)
        with pytest.raises(Stop):
            main(ft, *options)
    (player,) = checkpoint()["players"]
    assert player["episode"] > 0 and len(player["actions"]) > 0
    main(ft, "--resume", run_dir())
    assert "does not repeat itself" not in capsys.readouterr().out
    assert_equal(checkpoint("unbroken"), checkpoint())


def short(make_env):
    """Mazes whose episodes are cut after 12 steps."""
    return lambda *args: TimeLimit(make_env(*args), 12)


def test_a_run_stopped_before_its_first_evaluation_makes_it_on_resuming(monkeypatch):
    options = [*SCRATCH, "--online-steps", 10, "--learning-starts", 5]
    with monkeypatch.context() as patch:
        stop_at(patch, "log", 1)
        with pytest.raises(Stop):
            main(ft, *options)
    main(ft, "--resume", run_dir())
    assert [evaluation["step"] for evaluation in result()["evaluations"]] == [0, 10]


def test_an_environment_that_does_not_repeat_itself_begins_a_new_episode(monkeypatch, capsys):
    monkeypatch.setattr(Counter, "forgetful", True)
    options = [*SCRATCH, "--online-steps", 20, "--learning-starts", 20, "--eval-interval", 1]
    call = 2
    while True:  # until a checkpoint lies within an episode
        with monkeypatch.context() as patch:
            stop_at(patch, "interact", call)
            with pytest.raises(Stop):
                main(ft, *options, "--runs-dir", f"runs{call}")
        if len(checkpoint(f"runs{call}")["players"][0]["actions"]):
            break
        call += 1
    episode = checkpoint(f"runs{call}")["players"][0]["episode"].item()
    capsys.readouterr()
    main(ft, "--resume", run_dir(f"runs{call}"))
    assert "does not repeat itself, so a new episode begins" in capsys.readouterr().out
    rows = own_rows(folder=f"runs{call}")
    assert len(rows[0]) == 20 and rows[0][call - 1, 1] == 0  # the first row after the break is a first step
    assert checkpoint(f"runs{call}")["players"][0]["episode"] > episode


# ---- from scratch ----


def test_lam_1_nu_0_is_td3(monkeypatch):
    """By hand: TD3's target, and a policy gradient without imitation; the schedule leaves both as they are."""
    torch.manual_seed(0)
    seen = []
    with monkeypatch.context() as patch:
        spy(patch, lambda agent, optimizers, args: seen.append((agent.lam.item(), agent.nu.item())))
        main(ft, *SCRATCH, "--online-steps", 20, "--learning-starts", 8, "--decay-interval", 2)
    assert seen == [(1.0, 0.0)] * 12
    agent = ft.Agent([(1, 1.0, 0.0)], np.zeros(3, np.float32), np.ones(3, np.float32), 2)
    agent.load_state_dict(checkpoint()["agent"])
    args = ft.Args(**checkpoint()["args"])
    args = replace(args, gamma=args.online_gamma, offline_steps=math.inf)
    s, a, r, s2, d = batch = torch.randn(1, 16, sum(COLUMNS)).split(COLUMNS, -1)
    a.clamp_(-1, 1), d.copy_(d > 0)
    noise = 0.2 * torch.ones(1, 16, 2)
    with torch.no_grad():
        a2 = (agent.actor_target(s2) + noise).clamp(-1, 1)
        target = r + 0.99 * (1 - d) * torch.minimum(*agent.qf_target(s2, a2).unbind(1))
    loss = sum(((q - target) ** 2).mean() for q in agent.qf(s, a).unbind(1))
    expected_q = torch.autograd.grad(loss, list(agent.qf.parameters()))
    networks = {"vf": agent.vf, "qf": agent.qf, "actor": agent.actor}
    optimizers = {name: torch.optim.SGD(net.parameters(), torch.tensor(0.0)) for name, net in networks.items()}
    args = replace(args, learning_rate=0.0)
    ft.update(agent, optimizers, batch, noise, args, True)
    for ours, theirs in zip(agent.qf.parameters(), expected_q, strict=True):
        torch.testing.assert_close(ours.grad, theirs, atol=1e-5, rtol=1e-4)
    q = torch.minimum(*agent.qf(s, agent.actor(s)).unbind(1))
    expected_actor = torch.autograd.grad(-q.mean() / q.detach().abs().mean(), list(agent.actor.parameters()))
    for ours, theirs in zip(agent.actor.parameters(), expected_actor, strict=True):
        torch.testing.assert_close(ours.grad, theirs, atol=1e-6, rtol=1e-4)
    assert max(gradient.abs().max() for gradient in expected_actor) > 1e-4


def test_td3_learns_to_balance_a_pole_from_scratch():
    """1,000 updates: about 100 steps upright, where the new policy and a random one stand for 6 to 10."""
    main(ft, "--env-id", "InvertedPendulum-v5", *SCRATCH[2:], "--online-steps", 1500, "--learning-starts", 500, "--tau",
         0.02, "--learning-rate", 1e-3, "--batch-size", 64, "--eval-interval", 500, "--eval-episodes", 5)  # fmt: skip
    returns = [evaluation["episodic_return"] for evaluation in result()["evaluations"]]
    assert max(returns[:2]) < 15 and min(returns[2:]) > 30


# ---- bad input ----


def test_bad_checkpoints_to_start_from(counter, capsys):
    assert "no checkpoint" in fails(capsys, "--checkpoint", "nowhere")
    main(off, *DATA, "--offline-steps", 4, "--runs-dir", "offline")
    folder = run_dir("offline")
    for flag, value in (("env-id", "hopper-medium"), ("nu", 0.7), ("lam", 0.5), ("gamma", 0.5), ("seed", 2),
                        ("offline-steps", 0), ("batch-size", 9)):  # fmt: skip
        line = fails(capsys, "--checkpoint", folder, f"--{flag}", value)
        assert flag.replace("-", "_") in line and "leave that out" in line
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    for data in (["test/other-v0", 48, 10], ["test/counter/random-v0", 48, 12]):  # other data, other observations
        torch.save({**state, "data": data}, folder / "checkpoint.pt")
        line = fails(capsys, "--checkpoint", folder)
        assert str(data) in line and "['test/counter/random-v0', 48, 10]" in line
    torch.save({**state, "made_by": "dmg_sql"}, folder / "checkpoint.pt")
    assert "not of dmg_offline.py (made by dmg_sql.py)" in fails(capsys, "--checkpoint", folder)
    main(ft, *SCRATCH, "--online-steps", 4, "--learning-starts", 4)
    assert "not of dmg_offline.py" in fails(capsys, "--checkpoint", run_dir())
    assert "give no others" in fails(capsys, "--resume", run_dir(), "--online-steps", 8)
    assert "not of dmg_finetune.py" in fails(capsys, "--resume", folder)


@pytest.mark.parametrize(
    "changes, words",
    [(["--learning-starts", 0], "--learning-starts of 1 or more"), (["--lam-end", 1.5], "--lam-end"),
     (["--lam-end", -0.1], "--lam-end"), (["--nu-end", -1], "--nu-end"), (["--decay", 1.1], "--decay"),
     (["--decay-interval", 0], "intervals"), (["--online-steps", 0], "steps"), (["--learning-starts", -1], "0 or more"),
     (["--offline-steps", -1, "--env-id", "test/counter/random-v0"], "0 or more"),
     (["--online-steps", 10**12], "takes 40,000,000,000,000 bytes"),
     (["--env-id", "CartPole-v1"], "vectors of real numbers"), (["--env-id", "Coutner-v0"], "unknown --env-id"),
     (["--env-id", "Hopper-v2"], "cannot make the environment Hopper-v2")],
)  # fmt: skip
def test_bad_arguments(changes, words, counter, capsys):
    assert words in fails(capsys, *SCRATCH, *changes)
