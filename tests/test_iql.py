"""iql.py: the update against a reference of its own, preprocessing, both phases, resuming, bad input."""

import math
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import iql
import numpy as np
import pytest
import torch
from conftest import (
    PENDULUM,
    TINY,
    assert_equal,
    checkpoint,
    die_at,
    ended,
    fork,
    online_rows,
    pendulum_episodes,
    refused,
    result,
    returns,
    run,
    run_dir,
    store,
)
from reference import Plain, Reference, arrays_of, expectile_value
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_finetune import Recorder, assert_stored_as_it_was, store_recorder
from test_math import ACT, BATCH, OBS, assert_close, batch_of

OFFLINE = [*TINY, "--offline-steps", 15, "--hidden", 16, 16]
BOTH = [*OFFLINE, "--online-steps", 25]  # checkpoints at 0, 10, 15, 20, 30 and 40


class ReferenceIQL(Reference):
    """IQL for one member: V, then the policy, then Q, then its target."""

    def __init__(self, nets, log_std, args):
        super().__init__(nets, args, lam=0, nu=0, value=expectile_value, q_factor=0)
        self.log_std, self.log_std_moments = log_std, [0 * log_std, 0 * log_std]

    def update(self, batch, lr=3e-4, actor_lr=3e-4):
        (s, a, r, s2, d), args, n = batch, self.args, len(batch[0])
        q_data = np.min(self.q("qf_target", s, a), 0)
        vf_loss, slope = self.value(q_data - self.v(s), args)
        self.adam("vf", [slope[:, None]], s, lr)

        self.weights = weight = self.weight(q_data - self.v(s))
        mean = self.pi("actor", s)
        log_std = np.clip(self.log_std, -5, 2)
        density = stats.norm.logpdf(a, mean, np.exp(log_std)).sum(1)
        z = (a - mean) / np.exp(log_std)
        self.adam("actor", [-weight[:, None] * z / np.exp(log_std) * (1 - mean**2) / n], s, actor_lr)
        slope = np.where(log_std == self.log_std, -(weight[:, None] * (z**2 - 1)).mean(0), 0)
        first, second = self.log_std_moments
        first += 0.1 * (slope - first)
        second += 0.001 * (slope**2 - second)
        t = self.steps["actor"]
        self.log_std -= actor_lr * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)

        y = r + args.gamma * (1 - d) * self.v(s2)
        errors = [q - y for q in self.q("qf", s, a)]
        self.adam("qf", [2 * error[:, None] / n for error in errors], np.concatenate([s, a], 1), lr)
        for slow, fast in zip(self.nets["qf_target"], self.nets["qf"]):
            for w_slow, w_fast in zip(slow, fast):
                w_slow += args.tau * (w_fast - w_slow)
        losses = {"vf_loss": vf_loss, "qf_loss": np.square(errors).mean(1).sum(), "q_values": q_data.mean()}
        losses |= {"actor_loss": -(weight * density).mean(), "weight": weight.mean()}
        return losses | {"log_std": log_std.mean()}


def nets_of(agent, m=0, what="data"):
    """Member m's networks, or their gradients, as arrays."""
    view = SimpleNamespace(lam=agent.log_std, actor_target=agent.actor, qf_target=agent.qf_target)
    view.actor, view.qf, view.vf = agent.actor, agent.qf, agent.vf
    return without_actor_target(arrays_of(view, m, what))


def without_actor_target(nets):
    return {name: nets[name] for name in nets if name != "actor_target"}


def make(seeds, **changes):
    args = replace(iql.Args(), device="cpu", batch_size=BATCH, **{"hidden": (32, 32)} | changes)
    return iql.Agent([(seed,) for seed in seeds], np.zeros(OBS), np.ones(OBS), ACT, args), args


def floats(*leading, seed=0):
    """Transitions in float32."""
    return [part.float() for part in batch_of(*leading, seed=seed)[:5]]


# ---- the update ----

MAZES = dict(expectile=0.9, inverse_temperature=10.0)
CASES = {"locomotion": {}, "mazes": MAZES, "others": dict(critics=5, hidden=(24, 24, 24), max_weight=3.0)}


@pytest.mark.parametrize("has_member_axis", [True, False], ids=["members", "plain networks"])
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_updates_equal_the_reference(changes, has_member_axis):
    """Losses, gradients and weights over four updates; of log_std one is below its range, one above."""
    seeds = (1, 2, 3) if has_member_axis else (1,)
    agent, args = make(seeds, gamma=0.9, tau=0.1, **changes)
    agent.double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        agent.log_std[:] = torch.tensor([-5.5, 0.3, 2.5])
        agent.log_std[0] = torch.tensor([-1.0, 0.3, 2.5])
        for network in (agent.qf_target, agent.actor, agent.vf):
            for parameter in network.parameters():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        list(agent.qf_target.parameters())[-1][:] += 1.5
    references = [
        ReferenceIQL(nets_of(agent, m), agent.log_std[m, 0].detach().numpy().copy(), args)
        for m in range(len(seeds))
    ]
    if has_member_axis:
        optimizers, lr = iql.make_optimizers(agent, args), float(np.float32(3e-4))
        read = [lambda what="data", m=m: nets_of(agent, m, what) for m in range(len(seeds))]
    else:
        nets, log_std = nets_of(agent), agent.log_std[0, 0].detach().clone()
        agent, lr = Plain(nets | {"actor_target": nets["actor"]}, 0, 0), 3e-4
        agent.log_std = torch.nn.Parameter(log_std)
        of_actor = [*agent.actor.parameters(), agent.log_std]
        parameters = {"vf": agent.vf.parameters(), "qf": agent.qf.parameters(), "actor": of_actor}
        optimizers = {name: torch.optim.Adam(those, lr) for name, those in parameters.items()}
        read = [lambda what="data": without_actor_target(agent.arrays(what))]
    weights = []
    for seed in range(4):
        batch = batch_of(*([len(seeds)] if has_member_axis else []), seed=seed)[:5]
        losses = iql.update(agent, optimizers, batch, args)
        for m, reference in enumerate(references):
            own = m if has_member_axis else ...
            expected = reference.update([part[own].numpy() for part in batch], lr, lr)
            assert_close({name: loss[own].numpy() for name, loss in losses.items()}, expected, "losses")
            assert_close(read[m]("grad"), reference.gradients, f"update {seed}: gradients of member {m}")
            assert_close(read[m](), reference.nets, f"update {seed}: weights of member {m}")
            log_std = agent.log_std.detach()[own].numpy().reshape(ACT)
            np.testing.assert_allclose(log_std, reference.log_std, rtol=1e-6)
            weights += reference.weights.tolist()
    assert min(weights) < args.max_weight == max(weights)
    assert log_std[2] == 2.5 and log_std[1] != 0.3  # outside of its range it has no gradient


def test_log_likelihood_is_scipys():
    rng = np.random.default_rng(0)
    actions, means = rng.uniform(-1, 1, (2, 3, BATCH, ACT))
    log_std = rng.uniform(-5, 2, (3, 1, ACT))
    found = iql.log_likelihood(*map(torch.tensor, (actions, means, log_std)))
    np.testing.assert_allclose(found, stats.norm.logpdf(actions, means, np.exp(log_std)).sum(-1))


@pytest.mark.parametrize("gap, expected", [(1000.0, 100.0), (-1000.0, 0.0)])
def test_weights_are_capped(gap, expected):
    """Where exp overflows as well; the losses stay finite."""
    agent, args = make((1, 2))
    with torch.no_grad():
        list(agent.qf_target.parameters())[-1][:] = gap
    losses = iql.update(agent, iql.make_optimizers(agent, args), floats(2), args)
    assert losses["weight"].tolist() == [expected] * 2
    assert all(loss.isfinite().all() for loss in losses.values())


def test_shapes_that_would_broadcast_are_an_error():
    agent, args = make((1,))
    batch = floats(1)
    batch[2] = batch[2].unsqueeze(-1)
    with pytest.raises(AssertionError, match="rewards"):
        iql.update(agent, iql.make_optimizers(agent, args), batch, args)


def test_initialisation_is_orthogonal_and_of_the_seed():
    (agent, _), (alone, _) = make((1, 2, 3), hidden=(64, 32)), make((2,), hidden=(64, 32))
    for m in range(3):
        nets = nets_of(agent, m)
        assert [len(nets[name]) for name in ("actor", "qf", "vf")] == [1, 2, 1]
        for net in (*nets["actor"], *nets["qf"], *nets["vf"]):
            assert [w.shape for w in net[::2]][1] == (64, 32)  # (inputs, outputs)
            for weight, bias in zip(net[::2], net[1::2]):
                product = weight.T @ weight if len(weight) >= weight.shape[1] else weight @ weight.T
                np.testing.assert_allclose(product, 2 * np.eye(len(product)), atol=1e-5)
                assert not bias.any()
        assert_close(nets["qf_target"], nets["qf"])
    assert_close(nets_of(agent, 1), nets_of(alone))
    (first, second), (other, _) = nets_of(agent)["qf"], nets_of(agent, 1)["qf"]
    assert not np.allclose(first[0], second[0]) and not np.allclose(first[0], other[0])
    assert agent.log_std.shape == (3, 1, ACT) and not agent.log_std.any()


def test_the_policy_moves_to_the_better_action_and_becomes_sure_of_it():
    """Episodes of one step: action 0.5 is worth 1, action -0.5 is worth 0, V lies between, nearer to 1."""
    agent, args = make((1, 2), learning_rate=1e-2, tau=0.1, **MAZES)
    optimizers, rng = iql.make_optimizers(agent, args), np.random.default_rng(0)
    for _ in range(300):
        is_good = torch.tensor(rng.integers(0, 2, (2, BATCH)), dtype=torch.float32)
        actions = (is_good - 0.5).unsqueeze(-1).expand(2, BATCH, ACT)
        nothing = torch.zeros(2, BATCH, OBS)
        batch = nothing, actions, is_good, nothing, torch.ones(2, BATCH)
        losses = iql.update(agent, optimizers, batch, args)
    np.testing.assert_allclose(agent.vf(nothing)[:, 0].detach(), 0.9, atol=0.05)
    np.testing.assert_allclose(agent.actor(nothing)[:, 0].detach(), 0.5, atol=0.05)
    assert (losses["log_std"] < -0.5).all() and losses["qf_loss"].max() < 0.05


# ---- the data, as the update sees them ----


def spied(monkeypatch, *argv):
    """Run the script; returns the batch, the learning rates and the discount of each of its updates."""
    calls, update = [], iql.update

    def watched(agent, optimizers, batch, args):
        rates = {name: optimizer.param_groups[0]["lr"].item() for name, optimizer in optimizers.items()}
        calls.append(SimpleNamespace(batch=[part.clone() for part in batch], rates=rates, gamma=args.gamma))
        return update(agent, optimizers, batch, args)

    with monkeypatch.context() as patch:
        patch.setattr(iql, "update", watched)
        patch.setattr(sys, "argv", ["iql", *map(str, argv)])
        iql.main()
    return calls


def extreme_pendulum():
    """Store episodes with actions on the bounds; -> actions as trained on, rewards, span of the returns."""
    episodes = pendulum_episodes()
    episodes[0].actions[:20], episodes[1].actions[:20] = 2, -2
    store(PENDULUM, episodes)
    sums = [episode.rewards.sum() for episode in episodes]
    actions = np.concatenate([episode.actions for episode in episodes]) / 2
    rewards = np.concatenate([episode.rewards for episode in episodes])
    return actions[:, 0].clip(-1 + 1e-5, 1 - 1e-5), rewards, max(sums) - min(sums)


def pendulums_rewards(rows):
    """From the observations and actions in rows, by Pendulum's definition."""
    cosine, sine, speed, action = np.transpose(rows)[:4]
    return -(np.arctan2(sine, cosine) ** 2) - 0.1 * speed**2 - 0.001 * (2 * action) ** 2


@pytest.mark.parametrize("flag", ["--normalize-rewards", "--no-normalize-rewards"])
def test_rewards_and_actions_are_preprocessed(flag, monkeypatch):
    """Offline rows are those of the data, actions 1e-5 within the bounds; online rewards have their scale."""
    actions, rewards, span = extreme_pendulum()
    scale = 1000 / span if flag == "--normalize-rewards" else 1.0
    options = ["--eval-episodes", 0, "--batch-size", 256, "--step-cost", 1.5]
    calls = spied(monkeypatch, *BOTH, flag, *options)
    stored = dict(zip(actions.astype(np.float32), scale * (rewards - 1.5)))
    seen, bounds = set(), {np.float32(-1 + 1e-5), np.float32(1 - 1e-5)}
    for call in calls[:15]:
        for action, reward in zip(call.batch[1].flatten().numpy(), call.batch[2].flatten().numpy()):
            assert action in bounds or reward == pytest.approx(stored[action], rel=1e-5)
            seen.add(action)
    assert seen == set(stored) and bounds < seen and max(map(abs, seen)) < 1
    (rows,) = online_rows().double().numpy()
    np.testing.assert_allclose(rows[:, 4], scale * (pendulums_rewards(rows) - 1.5), rtol=1e-3)


def test_a_whole_run_equals_the_reference():
    """Twelve updates from the command line: data, reward scale, batches, cosine, both members."""
    actions, rewards, span = extreme_pendulum()
    run("iql", *TINY, *"--normalize-rewards --offline-steps 12 --seed 1 2 --learning-rate 1e-3".split())
    episodes, args = pendulum_episodes(), iql.Args(**result()["args"])
    s = np.concatenate([episode.observations[:-1] for episode in episodes]).astype(float)
    s2 = np.concatenate([episode.observations[1:] for episode in episodes]).astype(float)
    d = np.concatenate([episode.terminations for episode in episodes]).astype(float)
    columns = s, actions[:, None].astype(float), rewards * 1000 / span, s2, d
    last = iql.Agent([(1,), (2,)], np.zeros(3), np.ones(3), 1, args)
    last.load_state_dict(checkpoint()["agent"])
    for m, seed in enumerate((1, 2)):
        first = iql.Agent([(seed,)], np.zeros(3), np.ones(3), 1, args)
        reference = ReferenceIQL(nets_of(first), np.zeros(1), args)
        generator, number = [torch.Generator().manual_seed(seed)], 0
        for n in (5, 5, 2):  # the loop draws a block up to the next look at the losses
            for index in iql.draw(generator, n, len(s), args)[:, 0].numpy():
                cosine = 1e-3 * (1 + np.cos(np.pi * number / 12)) / 2
                losses = reference.update([column[index] for column in columns], 1e-3, cosine)
                number += 1
        (*_, evaluation) = result()["members"][m]["evaluations"]
        assert evaluation["q_mean"] == pytest.approx(losses["q_values"] * span / 1000, rel=1e-3)
        for name, nets in nets_of(last, m).items():
            for found, expected in zip(nets, reference.nets[name]):
                for x, y in zip(found, expected):
                    np.testing.assert_allclose(x, y, atol=1e-4, rtol=0, err_msg=name)
        np.testing.assert_allclose(last.log_std[m, 0].detach(), reference.log_std, atol=1e-5)
        assert abs(reference.log_std) > 1e-3


def test_presets():
    """Only the three locomotion tasks of IQL's authors have scaled rewards."""
    of_mazes = dict(inverse_temperature=10.0, expectile=0.9, step_cost=1.0)
    tasks = {"Hopper-v5": {}, "HalfCheetah-v5": {}, "Walker2d-v5": {}, "Ant-v5": {}, "Pendulum-v1": {}}
    minaris = of_mazes | dict(gamma=0.995)
    tasks |= {"AntMaze_Large-v4": minaris, "AntMaze_UMaze-v4": minaris, "PointMaze_UMaze-v3": of_mazes}
    tasks |= {"D4RLAntMaze/large-v2": of_mazes}
    online_gamma = {"AntMaze_Large-v4": 0.9975, "D4RLAntMaze/large-v2": 0.995}
    of_locomotion = dict(inverse_temperature=3.0, expectile=0.7, step_cost=0.0)
    of_all = dict(max_weight=100.0, normalize_observations=False, gamma=0.99, online_steps=0, seed=(1,))
    for env_id, expected in tasks.items():
        dataset = SimpleNamespace(id=f"x/{env_id}", env_spec=SimpleNamespace(id=env_id))
        args = iql.Args(**iql.presets(dataset))
        assert (of_all | of_locomotion | expected).items() <= vars(args).items(), env_id
        assert args.normalize_rewards == env_id.startswith(("Hopper", "HalfCheetah", "Walker2d"))
        assert args.online_gamma == online_gamma.get(env_id, 0)


# ---- the two phases ----


def test_learning_rates_and_discount(pendulum, monkeypatch):
    """The actor's rate falls along a cosine in an offline run, but is constant in one that goes online."""
    offline = spied(monkeypatch, *OFFLINE, "--runs-dir", "offline")
    both = spied(monkeypatch, *BOTH, "--online-gamma", 0.5)
    cosine = [3e-4 * (1 + math.cos(math.pi * k / 15)) / 2 for k in range(15)]
    assert [call.rates["actor"] for call in offline] == pytest.approx(cosine)
    assert [call.rates["actor"] for call in both] == pytest.approx([3e-4] * 40)
    for calls in (offline, both):
        assert {call.rates[name] for call in calls for name in ("qf", "vf")} == {np.float32(3e-4)}
    assert [call.gamma for call in both] == [0.99] * 15 + [0.5] * 25


def test_members_sample_the_data_and_their_own_steps(pendulum, monkeypatch):
    """Of which a batch online may hold all up to the newest."""
    calls = spied(monkeypatch, *BOTH, "--seed", 1, 2, "--batch-size", 256)

    def speeds(call, m):  # angular velocities and actions: enough to tell rows apart
        return set(zip(call.batch[0][m, :, 2].tolist(), call.batch[1][m, :, 0].tolist()))

    data = set().union(*(speeds(call, m) for call in calls[:15] for m in range(2)))
    assert len(data) == 4 * 60
    for m, rows in enumerate(online_rows().tolist()):
        own = [(row[2], row[3]) for row in rows]
        sampled = [speeds(call, m) for call in calls[15:]]
        assert all(those <= data.union(own[:t]) for t, those in enumerate(sampled, 1))
        assert set().union(*sampled) >= set(own[:20]) and len(set().union(*sampled) & data) > 200
        assert sum(newest in those for newest, those in zip(own, sampled)) > 5


def test_every_online_step_is_stored_as_it_was():
    Recorder.made.clear()
    store_recorder()
    options = ["--env-id", "test/recorder/random-v0", "--eval-episodes", 0, "--online-steps", 40]
    run("iql", *BOTH, *options, "--seed", 1, 2, "--step-cost", 1.5)
    assert_stored_as_it_was(online_rows(), step_cost=1.5)


def test_the_acting_policy_sees_standardised_observations(pendulum, monkeypatch):
    """With hardly any spread, and networks that stand still, its actions are the means."""
    monkeypatch.setattr(iql, "LOG_STD_RANGE", (-9.0, -9.0))
    spied(monkeypatch, *BOTH, "--normalize-observations", "--learning-rate", 0)
    agent = iql.Agent([(1,)], np.zeros(3), np.ones(3), 1, iql.Args(**result()["args"]))
    agent.load_state_dict(checkpoint()["agent"])
    data = np.concatenate([episode.observations[:-1] for episode in pendulum_episodes()])
    (rows,), mean, std = online_rows(), data.mean(0), data.std(0) + 1e-3
    means = agent.actor((rows[None, :, :3] - mean) / std)[0, :, 0].detach()
    np.testing.assert_allclose(rows[:, 3], means.clip(-1, 1), atol=2e-3)
    assert (agent.actor(rows[None, :, :3])[0, :, 0] - means).abs().max() > 0.1


def test_online_actions_are_samples_of_the_policy(pendulum):
    """With the standard deviation 1 of the start; they are clipped, and stored as they were played."""
    options = ["--learning-rate", 0, "--online-steps", 600, "--eval-interval", 1000, "--log-interval", 1000]
    run("iql", *BOTH, *options, "--eval-episodes", 0)
    agent = iql.Agent([(1,)], np.zeros(3), np.ones(3), 1, iql.Args(**result()["args"]))
    agent.load_state_dict(checkpoint()["agent"])
    (rows,) = online_rows()
    means = agent.actor(rows[None, :, :3])[0, :, 0].detach().numpy()
    actions = rows[:, 3].numpy()
    at_bounds = stats.norm.cdf(-1, means) + stats.norm.sf(1, means)
    assert np.abs(actions).max() == 1
    assert (np.abs(actions) == 1).mean() == pytest.approx(at_bounds.mean(), abs=0.06)
    inside = np.abs(actions) < 1
    low, high = stats.norm.cdf(-1, means), stats.norm.cdf(1, means)
    ranks = ((stats.norm.cdf(actions, means) - low) / (high - low))[inside]
    assert stats.kstest(ranks, "uniform").pvalue > 0.01
    np.testing.assert_allclose(rows[:, 4], pendulums_rewards(rows.double().numpy()), rtol=1e-3, atol=1e-3)


def test_the_spread_of_samples_is_log_std_within_its_range():
    agent, _ = make((1, 2))
    with torch.no_grad():
        agent.log_std[:] = torch.tensor([[[-9.0, -4.0, 0.0]], [[-3.0, -4.0, 9.0]]])
        list(agent.actor.parameters())[-2][:] = 0  # the means are 0
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    nothing = torch.zeros(2, OBS)
    actions = np.array([iql.explore(agent, nothing, generators, t, None) for t in range(2000)])
    np.testing.assert_allclose(actions[:, 0, :2].std(0), np.exp([-5, -4]), rtol=0.05)
    np.testing.assert_allclose(actions[:, 1, :2].std(0), np.exp([-3, -4]), rtol=0.05)
    at_bounds = (np.abs(actions[..., 2]) == 1).mean(0)
    np.testing.assert_allclose(at_bounds, 2 * stats.norm.sf([1, np.exp(-2)]), atol=0.04)
    assert np.abs(actions.mean(0)).max() < 0.1 and np.abs(actions).max() == 1


def test_what_members_write(pendulum):
    run("iql", *BOTH, "--seed", 4, 2)
    saved = result()
    assert saved["script"] == "iql" and run_dir().name.split("__")[1] == "iql"
    assert [member["name"] for member in saved["members"]] == ["seed4", "seed2"]
    losses = {
        f"losses/{name}" for name in ("vf_loss", "qf_loss", "actor_loss", "q_values", "weight", "log_std")
    }
    for member in saved["members"]:
        assert member.keys() == {"name", "seed", "diverged_at", "evaluations"}
        assert [entry["step"] for entry in member["evaluations"]] == [0, 10, 15, 20, 30, 40]
        events = EventAccumulator(str(run_dir() / member["name"])).Reload()
        tags = losses | {"charts/SPS", "eval/episodic_return", "eval/normalized_score"}
        assert set(events.Tags()["scalars"]) == tags
    first, second = returns()
    assert first != second


def test_two_members_are_two_runs(pendulum):
    run("iql", *BOTH, "--dropout", 0.4, "--seed", 1, 2)
    two = checkpoint()
    for m in range(2):
        run("iql", *BOTH, "--dropout", 0.4, "--seed", m + 1, "--runs-dir", f"alone{m}")
        one = checkpoint(f"alone{m}")
        assert torch.equal(two["generators"][m], one["generators"][0])
        torch.testing.assert_close(online_rows()[m], online_rows(f"alone{m}")[0], atol=1e-3, rtol=1e-3)
        for name in one["agent"].keys() - {"mean", "std"}:
            of_member = two["agent"][name].unflatten(0, (-1, 2))[:, m]
            torch.testing.assert_close(
                of_member.flatten(), one["agent"][name].flatten(), atol=1e-4, rtol=1e-4
            )
    assert not torch.allclose(*online_rows(), atol=0.1)


# ---- on after a kill, and bad input ----


def killed(call, *argv):
    """Kill the script as it is about to rename a file: result.json and checkpoint.pt, at every checkpoint."""
    ended(fork("iql", *argv, before=die_at(call)), -signal.SIGKILL)


def test_a_killed_run_resumes_bit_for_bit(pendulum):
    """In each phase and between them."""
    options = [*BOTH, "--seed", 1, 2, "--normalize-rewards", "--dropout", 0.4, "--runs-dir"]
    run("iql", *options, "unbroken")
    for call, step in (5, 10), (7, 15), (11, 30):
        folder = f"killed{call}"
        killed(call, *options, folder)
        assert checkpoint(folder)["run"]["step"] == step
        run("iql", "--resume", run_dir(folder))
        assert_equal(checkpoint("unbroken"), checkpoint(folder))
        assert_equal(result("unbroken"), result(folder))


def test_a_killed_offline_run_resumes_bit_for_bit(pendulum):
    """With the actor's rate on its cosine."""
    run("iql", *OFFLINE, "--runs-dir", "unbroken")
    killed(5, *OFFLINE)
    assert checkpoint()["run"]["step"] == 10
    run("iql", "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert online_rows().shape[1] == 0


@pytest.mark.parametrize("is_finished", [True, False])
def test_an_offline_run_goes_online(is_finished, pendulum, monkeypatch):
    """--checkpoint: from its networks and with its arguments, at a rate that is constant from there on."""
    if is_finished:
        run("iql", *OFFLINE, "--seed", 2, "--runs-dir", "offline")
    else:
        killed(5, *OFFLINE, "--seed", 2, "--runs-dir", "offline")  # has saved at 0 and 10
    before = checkpoint("offline")
    start = before["run"]["step"]
    calls = spied(monkeypatch, *BOTH, "--checkpoint", run_dir("offline"), "--online-gamma", 0.5)
    assert start == (15 if is_finished else 10) and result()["args"]["seed"] == [2]
    assert [call.gamma for call in calls] == [0.99] * (15 - start) + [0.5] * 25
    assert [call.rates["actor"] for call in calls] == pytest.approx([3e-4] * len(calls))
    steps = [entry["step"] for entry in result()["members"][0]["evaluations"]]
    assert steps == [step for step in (10, 15, 20, 30, 40) if step >= start]
    assert returns()[0][0] == returns("offline")[0][-1]
    for name, optimizer in checkpoint()["optimizers"].items():
        assert {state["step"].item() for state in optimizer["state"].values()} == {40}, name
    assert_equal(before, checkpoint("offline"))


def test_hand_over_ends_as_both_phases_in_one_run(pendulum):
    """From the last checkpoint of the offline phase, of a run that would have gone online itself."""
    run("iql", *BOTH, "--seed", 1, 2, "--runs-dir", "unbroken")
    killed(7, *BOTH, "--seed", 1, 2, "--runs-dir", "offline")
    run("iql", *BOTH, "--checkpoint", run_dir("offline"))
    for name in ("agent", "optimizers", "generators", "online"):
        assert_equal(checkpoint("unbroken")[name], checkpoint()[name], name)


def test_checkpoints_that_are_refused(pendulum):
    run("iql", *OFFLINE)
    run("dmg_offline", *OFFLINE, "--runs-dir", "dmg")
    assert "give --online-steps" in refused("iql", "--checkpoint", run_dir())
    for flag, value in {"gamma": 0.5, "seed": 2, "online-steps": 5, "max-weight": 3}.items():
        line = refused("iql", "--resume", run_dir(), f"--{flag}", value)
        assert flag.replace("-", "_") in line and "leave that out" in line
    assert "not of iql.py, but of dmg_offline.py" in refused("iql", "--resume", run_dir("dmg"))
    assert "not of dmg_offline.py, but of iql.py" in refused("dmg_offline", "--resume", run_dir())
    hand_over = ["--online-steps", 35, "--checkpoint"]
    assert "seed" in refused("iql", *hand_over, run_dir(), "--seed", 2)
    assert "not of iql.py, but of dmg_offline.py" in refused("iql", *hand_over, run_dir("dmg"))
    run("iql", *BOTH, "--runs-dir", "online")
    assert "has gone online already" in refused("iql", *hand_over, run_dir("online"))
    with open(run_dir() / "checkpoint.pt", "r+b") as file:
        file.truncate(1000)
    assert "damaged" in refused("iql", "--resume", run_dir())


@pytest.mark.parametrize(
    "options, word",
    [(["--offline-steps", 0], "--offline-steps"), (["--seed", 1, 1], "--seed"), (["--seed"], "--seed"),
     (["--eval-interval", 0], "intervals"), (["--batch-size", 0], "sizes"), (["--tau", 1.5], "--tau"),
     (["--gamma", 1.1], "--gamma"), (["--online-gamma", 1.1], "gamma"), (["--expectile", 0], "--expectile"),
     (["--max-weight", "nan"], "--max-weight"), (["--online-steps", -1], "--online-steps"),
     (["--online-steps", 10**12], "no memory"),
     (["--resume", "nowhere"], "folder of a run"), (["--env-id", "pointmaze-umaze"], "collect_local.py")],
)  # fmt: skip
def test_bad_arguments(options, word, pendulum):
    assert word in refused("iql", *BOTH, *options)


def test_flags_of_dmg_are_unknown():
    for flag in ("--lam", "--nu", "--policy-frequency"):
        assert flag in run("iql", flag, "1", code=2).err


def test_equal_returns_cannot_be_scaled():
    episode = pendulum_episodes(count=1)[0]
    store(PENDULUM, [episode])
    assert "--no-normalize-rewards" in refused("iql", *OFFLINE, "--normalize-rewards")
    run("iql", *OFFLINE, "--eval-episodes", 0)
