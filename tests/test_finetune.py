"""dmg_finetune.py: what it stores and samples, both phases, hand-over, resuming, bad input."""

import math
import signal
import sys
from itertools import product
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
    assert_equal,
    checkpoint,
    die_at,
    ended,
    fork,
    make_episode,
    online_rows,
    pendulum_episodes,
    refused,
    result,
    run,
    run_dir,
    store,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dmg_finetune as ft

FT, WIDTHS = "dmg_finetune", [3, 2, 1, 3, 1]
OFFLINE = [*TINY, "--offline-steps", 15]
BOTH = [*OFFLINE, "--online-steps", 25, "--decay-interval", 4]  # checkpoints at 0, 10, 15, 20, 30 and 40
RECORDER = [*BOTH, "--env-id", "test/recorder/random-v0", "--eval-episodes", 0]
SCRATCH = [*TINY, "--env-id", "Recorder-v0", "--eval-episodes", 0, "--offline-steps", 0, "--online-steps", 40]
SCRATCH += ["--learning-starts", 10]


class Recorder(gym.Env):
    """Observes (its own number, step, last action); the reward counts its steps; it keeps a record of all.

    An episode lasts 2 to 5 steps and ends by termination, by truncation, or by both at once, which is what a
    goal reached on the last allowed step looks like.
    """

    observation_space = gym.spaces.Box(-1000, 1000, (3,), np.float32)
    action_space = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    made = []

    def __init__(self):
        self.number, self.steps, self.seeds = len(self.made), [], {}
        self.made.append(self)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.seeds[len(self.steps)] = seed
        self.length, self.end = self.np_random.integers(2, 6), self.np_random.choice(["goal", "time", "both"])
        self.observation = np.array([self.number, 0, 0], np.float32)
        return self.observation, {}

    def step(self, action):
        before, reward = self.observation, float(len(self.steps))
        self.observation = after = np.array([self.number, before[1] + 1, action[0]], np.float32)
        is_over = after[1] == self.length
        terminated, truncated = bool(is_over and self.end != "time"), bool(is_over and self.end != "goal")
        self.steps.append((before, np.array(action), [reward], after, [terminated], [truncated]))
        return after, reward, terminated, truncated, {}

    @classmethod
    def of_members(cls):
        """Those in which the members act, in order; without evaluation no others are stepped."""
        return [env for env in cls.made if env.steps]


gym.register("Recorder-v0", f"{__name__}:Recorder", disable_env_checker=True)


@pytest.fixture(autouse=True)
def forget_environments():
    Recorder.made.clear()


@pytest.fixture
def recorder():
    store_recorder()


def store_recorder():
    """24 transitions, told from those of the environments by a negative first number."""
    rng, episodes = np.random.default_rng(0), []
    for number in range(3):
        observations = rng.uniform((-9, 0, -2), (-1, 5, 2), (9, 3)).astype(np.float32)
        actions, rewards = rng.uniform((-2, 0), (2, 10), (8, 2)), rng.normal(size=8)
        episodes.append(make_episode(number, observations, actions, rewards, terminated=True))
    store("test/recorder/random-v0", episodes, env="Recorder-v0")


def main_with(monkeypatch, update, *argv):
    """The script with another update."""
    with monkeypatch.context() as patch:
        patch.setattr(ft, "update", update)
        patch.setattr(sys, "argv", [FT, *map(str, argv)])
        ft.main()


def spied(monkeypatch, *argv):
    """Run the script; returns what update saw at each of its calls."""
    calls, update = [], ft.update

    def watched(agent, optimizers, batch, args, update_actor):
        rates = {name: optimizer.param_groups[0]["lr"].item() for name, optimizer in optimizers.items()}
        lam_nu = torch.cat([agent.lam, agent.nu], -1).tolist()
        columns = [part if part.ndim == 3 else part[..., None] for part in batch[:-1]]
        rows = [set(map(tuple, rows)) for rows in torch.cat(columns, -1).tolist()]  # of each member
        calls.append(SimpleNamespace(rates=rates, gamma=args.gamma, lam_nu=lam_nu, rows=rows))
        return update(agent, optimizers, batch, args, update_actor)

    main_with(monkeypatch, watched, *argv)
    return calls


def killed(call, script, *argv):
    """Kill the script as it is about to rename a file: result.json and checkpoint.pt, at every checkpoint."""
    ended(fork(script, *argv, before=die_at(call)), -signal.SIGKILL)


# ---- in the environment ----


def test_every_step_is_stored_as_it_was(monkeypatch):
    calls = spied(monkeypatch, *SCRATCH, "--seed", 1, 2, "--step-cost", 1.5)
    assert len(calls) == 40 - 10  # none before learning starts
    assert_stored_as_it_was(online_rows(), step_cost=1.5)


def assert_stored_as_it_was(all_rows, step_cost):
    """Online rows (M, T, columns) against the record of the members' environments."""
    ends = set()
    for rows, env in zip(all_rows, Recorder.of_members(), strict=True):
        observations, actions, rewards, next_observations, terminations = rows.split(WIDTHS, -1)
        before, played, reward, after, terminated, truncated = map(np.array, zip(*env.steps))
        np.testing.assert_array_equal(observations, before)
        np.testing.assert_allclose(actions * torch.tensor([2, 5]) + torch.tensor([0, 5]), played, atol=1e-5)
        np.testing.assert_array_equal(rewards, reward - step_cost)
        np.testing.assert_array_equal(next_observations, after)
        np.testing.assert_array_equal(terminations, terminated)
        ends |= set(zip(terminated.ravel().tolist(), truncated.ravel().tolist()))
    assert ends == set(product([False, True], repeat=2))  # going on, the goal, the time limit, both
    assert not torch.equal(all_rows[0, :, 3:5], all_rows[1, :, 3:5])


def test_new_episodes_begin_after_every_checkpoint(recorder):
    """With seeds that the member and the step make different."""
    run(FT, *RECORDER, "--seed", 1, 2)
    seeds = [env.seeds for env in Recorder.of_members()]
    assert [list(steps) for steps in seeds] == [[0, 5, 15]] * 2
    assert len({seed for steps in seeds for seed in steps.values()}) == 6
    assert not online_rows()[:, [0, 5, 15], 1].round(decimals=4).any()  # they are first steps


@pytest.mark.parametrize("std", [0.0, 0.1, 5.0])
def test_actions_are_random_at_first_then_the_policys_with_noise(recorder, std):
    options = ["--learning-rate", 0, "--online-steps", 500, "--learning-starts", 250, "--hidden", 8]
    run(FT, *RECORDER, *options, "--exploration-noise", std, "--eval-interval", 1000)
    (rows,), agent = online_rows(), checkpoint()["agent"]
    x, actions = (rows[:, :3] - agent["mean"]) / agent["std"], rows[:, 3:5]
    hidden = (x @ agent["actor.0.weight"][0] + agent["actor.0.bias"][0]).relu()
    noise = actions - (hidden @ agent["actor.2.weight"][0] + agent["actor.2.bias"][0]).tanh()
    assert actions.abs().max() <= 1
    assert actions[:250].std().item() == pytest.approx(1 / math.sqrt(3), rel=0.05)
    if std == 0.0:
        assert (noise.abs().amax(-1) > 1e-5).tolist() == [True] * 250 + [False] * 250
    elif std == 0.1:
        assert noise[250:].std().item() == pytest.approx(0.1, rel=0.1)
        assert noise[250:].mean().item() == pytest.approx(0, abs=0.02)
    else:
        assert (actions[250:].abs() == 1).float().mean() > 0.7


def test_members_sample_the_shared_rows_and_their_own(recorder, monkeypatch):
    options = ["--seed", 1, 2, "--batch-size", 64, "--no-normalize-observations"]
    calls = spied(monkeypatch, *RECORDER, *options)
    shared = set().union(*(rows for call in calls[:15] for rows in call.rows))
    assert len(shared) == 24 and all(row[0] < 0 for row in shared)
    for m, own in enumerate(online_rows().tolist()):
        own, sampled = list(map(tuple, own)), [call.rows[m] for call in calls[15:]]
        assert all(rows <= shared.union(own[:t]) for t, rows in enumerate(sampled, 1))
        assert set().union(*sampled) >= shared.union(own[:15])
        assert sum(row in rows for row, rows in zip(own, sampled)) > 5  # the newest can be among them


# ---- the two phases ----


@pytest.mark.parametrize("lam_end, nu_end, decay", [(0.5, 0.001, 0.5), (0.0, 2.0, 0.5), (0.5, 0.001, 1.0)])
def test_lam_and_nu_are_relaxed_online_and_never_tightened(pendulum, monkeypatch, lam_end, nu_end, decay):
    """Of four members, at every update; the second time the ends lie on the wrong side."""
    options = ["--lam", 0.1, 1, "--nu", 0.3, 0, "--decay", decay, "--lam-end", lam_end, "--nu-end", nu_end]
    found = np.array([call.lam_nu for call in spied(monkeypatch, *BOTH, *options)])
    left = decay ** np.array([0] * 15 + [t // 4 for t in range(1, 26)])
    for m, (lam, nu) in enumerate(product((0.1, 1.0), (0.3, 0.0))):
        rise, fall = max(lam_end - lam, 0), max(nu - nu_end, 0)
        expected = np.stack([lam + rise * (1 - left), nu - fall * (1 - left)], -1)
        np.testing.assert_allclose(found[:, m], expected, rtol=1e-6)
        events = EventAccumulator(str(run_dir() / f"seed1_lam{lam}_nu{nu}")).Reload()
        logged = [[event.value for event in events.Scalars(tag)] for tag in ("losses/lam", "losses/nu")]
        np.testing.assert_array_equal(np.transpose(logged), found[19::5, m])  # online


def test_learning_rates_and_discount(pendulum, monkeypatch):
    """The actor's rate falls along a cosine offline and is constant online, where the discount changes."""
    calls = spied(monkeypatch, *BOTH, "--online-gamma", 0.5)
    actor_steps = [max(2 * (step // 2), 2) for step in range(1, 16)]  # the last, or else the first one
    cosine = [3e-4 * (1 + math.cos(math.pi * (step - 2) / 15)) / 2 for step in actor_steps]
    assert [call.rates["actor"] for call in calls] == pytest.approx(cosine + [3e-4] * 25)
    assert [call.rates[name] for call in calls for name in ("qf", "vf")] == pytest.approx([3e-4] * 80)
    assert [call.gamma for call in calls] == [0.99] * 15 + [0.5] * 25
    assert {call.gamma for call in spied(monkeypatch, *BOTH, "--gamma", 0.9, "--runs-dir", "same")} == {0.9}


def test_the_canonical_command(monkeypatch):
    store("D4RL/antmaze/large-play-v1", antmaze_episodes(LARGE_GOAL), env="AntMaze_Large-v4")
    options = [*TINY[2:], "--eval-episodes", 0, "--offline-steps", 2, "--online-steps", 12]
    calls = spied(monkeypatch, "--env-id", "antmaze-large-play", *options)
    assert [call.gamma for call in calls] == [0.995] * 2 + [0.9975] * 12
    rows = online_rows()
    assert rows.shape == (1, 12, 29 + 8 + 1 + 29 + 1) and set(rows[0, :, 37].tolist()) == {-1.0}
    expected = dict(lam=[0.25], lam_end=0.5, nu=[0.5], nu_end=0.005, decay=0.99, decay_interval=1000)
    assert expected.items() <= result()["args"].items()


def test_presets():
    """nu falls to a hundredth of what it is offline; only the large AntMaze has an online discount."""
    online_gamma = {"D4RL/antmaze/large-diverse-v1": 0.9975, "imported/antmaze/large-play-v2": 0.995}
    tasks = {"D4RL/antmaze/large-diverse-v1": "AntMaze_Large-v4", "D4RL/antmaze/umaze-v1": "AntMaze_UMaze-v4"}
    tasks |= {"imported/antmaze/large-play-v2": "D4RLAntMaze/large-v2"}
    tasks |= {"ogbench/cube-single-play-singletask-v0": "OGBench/cube-single-singletask-v0"}
    tasks |= {"mujoco/hopper/medium-v0": "Hopper-v5", "mujoco/ant/expert-v0": "Ant-v5"}
    for name, env_id in tasks.items():
        args = ft.Args(**ft.presets(SimpleNamespace(id=name, env_spec=SimpleNamespace(id=env_id))))
        assert args.nu_end == pytest.approx(args.nu[0] / 100)
        assert args.online_gamma == online_gamma.get(name, 0)
        assert args.gamma == (0.995 if env_id.startswith("AntMaze") else 0.99)
        assert args.normalize_observations == (not env_id.startswith("D4RL"))


def test_two_members_are_two_runs(pendulum):
    options = [*BOTH, "--learning-starts", 5, "--seed"]
    run(FT, *options, 1, 2)
    two = checkpoint()
    for m in range(2):
        run(FT, *options, m + 1, "--runs-dir", f"alone{m}")
        one = checkpoint(f"alone{m}")
        assert torch.equal(two["generators"][m], one["generators"][0])
        torch.testing.assert_close(online_rows()[m], online_rows(f"alone{m}")[0], atol=1e-3, rtol=1e-3)
        for name in one["agent"].keys() - {"mean", "std"}:
            of_member = two["agent"][name].unflatten(0, (-1, 2))[:, m]
            torch.testing.assert_close(of_member, one["agent"][name], atol=1e-4, rtol=1e-4)


def test_a_diverged_member_stands_still_and_the_others_go_on(pendulum, monkeypatch):
    update = ft.update

    def spoiling(agent, *rest, **flags):
        agent.vf[0].bias.data[1] = math.nan
        return update(agent, *rest, **flags)

    main_with(monkeypatch, spoiling, *BOTH, "--nu", 0.1, 0.2)
    run(FT, *BOTH, "--nu", 0.1, "--runs-dir", "alone")
    assert [member["diverged_at"] for member in result()["members"]] == [None, 5]
    rows = online_rows()
    torch.testing.assert_close(rows[0], online_rows("alone")[0], atol=1e-3, rtol=1e-3)
    assert rows.isfinite().all() and not rows[1, :, 3].any()


# ---- from one phase to the other, and on after a kill ----


def test_the_offline_phase_is_dmg_offlines_run(pendulum):
    run("dmg_offline", *OFFLINE, "--seed", 1, 2, "--runs-dir", "offline")
    killed(7, FT, *BOTH, "--seed", 1, 2)  # has saved at 0, 10 and 15
    offline, online = checkpoint("offline"), checkpoint()
    assert online["run"]["step"] == 15 and online_rows().shape[1] == 0
    for name in ("agent", "optimizers", "generators"):
        assert_equal(offline[name], online[name], name)
    assert_equal(offline["run"]["members"], online["run"]["members"])


@pytest.mark.parametrize("is_finished", [True, False])
def test_hand_over_ends_as_both_phases_in_one_run(pendulum, is_finished):
    own = ["--seed", 3, "--nu", 0.3]
    if is_finished:
        run("dmg_offline", *OFFLINE, *own, "--runs-dir", "offline")
    else:
        killed(5, "dmg_offline", *OFFLINE, *own, "--runs-dir", "offline")  # has saved at 0 and 10
    before = checkpoint("offline")
    run(FT, *BOTH, "--checkpoint", run_dir("offline"))
    run(FT, *BOTH, *own, "--runs-dir", "one")
    for name in ("agent", "optimizers", "generators", "online"):
        assert_equal(checkpoint("one")[name], checkpoint()[name], name)
    (evaluations,), (expected,) = ([m["evaluations"] for m in result(f)["members"]] for f in ("runs", "one"))
    steps = [evaluation["step"] for evaluation in evaluations]
    assert steps == ([15, 20, 30, 40] if is_finished else [10, 15, 20, 30, 40])
    assert_equal(expected[1 - len(steps) :], evaluations[1:])
    assert_equal(before, checkpoint("offline"))


def test_from_python_too_a_checkpoint_brings_its_arguments(pendulum):
    own = ["--seed", 3, "--nu", 0.3, "--no-normalize-observations"]
    run("dmg_offline", *OFFLINE, *own, "--runs-dir", "offline")
    args = ft.Args(checkpoint=str(run_dir("offline")), online_steps=5, device="cpu", eval_episodes=1)
    args = ft.main(args)["args"]
    assert (args["seed"], args["nu"], args["normalize_observations"]) == ((3,), (0.3,), False)
    assert (args["offline_steps"], args["online_steps"], args["eval_episodes"]) == (15, 5, 1)


def test_a_killed_run_resumes_bit_for_bit(pendulum):
    """In each phase and between them; the third time it dies between the two files of a save."""
    options = [*BOTH, "--seed", 1, 2, "--learning-starts", 6, "--runs-dir"]
    run(FT, *options, "unbroken")
    steps = [evaluation["step"] for evaluation in result("unbroken")["members"][1]["evaluations"]]
    assert steps == [0, 10, 15, 20, 30, 40]
    for call, step in (5, 10), (7, 15), (10, 20), (11, 30):
        folder = f"killed{call}"
        killed(call, FT, *options, folder)
        assert checkpoint(folder)["run"]["step"] == step
        assert result(folder)["step"] == (30 if call == 10 else step)
        run(FT, "--resume", run_dir(folder))
        assert_equal(checkpoint("unbroken"), checkpoint(folder))
        assert_equal(result("unbroken"), result(folder))


def test_a_killed_run_in_mujoco_resumes_bit_for_bit():
    """Whose simulator keeps more than is observed."""
    options = [*SCRATCH, "--env-id", "InvertedPendulum-v5", "--eval-episodes", 2, "--runs-dir"]
    run(FT, *options, "unbroken")
    killed(9, FT, *options, "runs")
    assert checkpoint()["run"]["step"] == 30
    run(FT, "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())


# ---- from scratch, and bad input ----


def test_td3_learns_to_balance_a_pole_from_scratch():
    """lam 1 and nu 0 are TD3: from the 5 or so steps of a new policy to several times that."""
    options = ["--env-id", "InvertedPendulum-v5", "--lam", 1, "--nu", 0, "--online-steps", 1500]
    options += ["--learning-starts", 500, "--tau", 0.02, "--learning-rate", 1e-3, "--batch-size", 64]
    run(FT, *SCRATCH, *options, "--hidden", 64, 64, "--eval-interval", 1500, "--eval-episodes", 5)
    first, last = (evaluation["episodic_return"] for evaluation in result()["members"][0]["evaluations"])
    assert first < 15 and last > 30


def test_checkpoints_that_are_refused(pendulum):
    run("dmg_offline", *OFFLINE, "--runs-dir", "offline")
    run(FT, *BOTH)
    offline, online = run_dir("offline"), run_dir()
    hand_over = ["--online-steps", 25, "--checkpoint"]
    conflicts = {"nu": 0.7, "lam": 0.5, "seed": 2, "offline-steps": 20, "env-id": "hopper-medium"}
    for flag, value in conflicts.items():
        line = refused(FT, *hand_over, offline, f"--{flag}", value)
        assert flag.replace("-", "_") in line and "leave that out" in line
    assert "online_steps" in refused(FT, "--resume", online, "--online-steps", 50)
    assert "not of dmg_offline.py, but of dmg_finetune.py" in refused(FT, *hand_over, online)
    assert "not of dmg_finetune.py, but of dmg_offline.py" in refused(FT, "--resume", offline)
    minari.delete_dataset(PENDULUM)
    store(PENDULUM, pendulum_episodes(seed=1))
    assert f"{PENDULUM} has changed since the checkpoint" in refused(FT, *hand_over, offline)
    assert f"{PENDULUM} has changed since the checkpoint" in refused(FT, "--resume", online)


@pytest.mark.parametrize(
    "options, word",
    [(["--learning-starts", 0], "--learning-starts"), (["--lam-end", 1.5], "--lam-end"),
     (["--decay", 1.1], "--decay"), (["--decay-interval", 0], "1 or more"), (["--online-steps", 0], "steps"),
     (["--nu-end", -1], "--nu-end"), (["--online-gamma", 1.1], "gamma"),
     (["--online-steps", 10**12], "no memory"), (["--env-id", "Recodrer-v0"], "id of an environment"),
     (["--env-id", "CartPole-v1"], "Box action space"), (["--checkpoint", "nowhere"], "folder of a run")],
)  # fmt: skip
def test_bad_arguments(options, word):
    assert word in refused(FT, *SCRATCH, *options)
