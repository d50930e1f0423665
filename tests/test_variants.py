"""The value estimators of the variants, and the corners of the paper's Table 1, each against its own formula."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro
from conftest import ROOT
from test_math import ACT, BATCH, OBS, backward, batch_of, forward, weights_of
from test_runs import CRASH, TINY, assert_equal, checkpoint, results

import dmg_offline
import dmg_sql
import dmg_xql

IQL, XQL, SQL = dmg_offline.Args(), dmg_xql.Args(), dmg_sql.Args()


# ---- value estimators side by side ----


def gaussian(sigma, points):
    """Quantiles of N(0, sigma^2), float64: no sampling error."""
    uniform = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    return sigma * math.sqrt(2) * torch.erfinv(2 * uniform - 1)


def gradient(script, args, q, v):
    """d value_loss / d V at the number v, of one member."""
    v = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    script.value_loss((q - v).view(1, -1, 1), args).sum().backward()
    return v.grad.item()


def estimate(script, args, q, low, high):
    """The V between low and high at which the gradient of value_loss changes from down to up."""
    assert gradient(script, args, q, low) < 0 < gradient(script, args, q, high)
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if gradient(script, args, q, middle) < 0 else (low, middle)
    return (low + high) / 2


ESTIMATORS = {
    "expectile 0.7": (dmg_offline, replace(IQL, expectile=0.7), (0.337, 1.011, 3.371)),
    "expectile 0.9": (dmg_offline, replace(IQL, expectile=0.9), (0.862, 2.585, 8.616)),
    "Gumbel, beta 5": (dmg_xql, replace(XQL, gumbel_beta=5.0, max_clip=1e9), (0.100, 0.900, 10.000)),
    "Gumbel, beta 5, clip 7": (dmg_xql, replace(XQL, gumbel_beta=5.0), (0.100, 0.900, 9.97)),
    "sparse, alpha 2": (dmg_sql, replace(SQL, sql_alpha=2.0), (0.000, 0.141, 3.979)),
    "sparse, alpha 5": (dmg_sql, replace(SQL, sql_alpha=5.0), (0.000, 0.000, 1.005)),
    "sparse, alpha 2 of the older form": (dmg_sql, replace(SQL, sql_alpha=2 / 4), (0.101, 1.417, 10.02)),
    "sparse, alpha 5 of the older form": (dmg_sql, replace(SQL, sql_alpha=5 / 4), (0.002, 0.438, 5.95)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_of_a_gaussian(name):
    """V for Q ~ N(0, sigma^2), sigma 1, 3 and 10."""
    script, args, expected = ESTIMATORS[name]
    for sigma, value in zip((1, 3, 10), expected, strict=True):
        q = gaussian(sigma, 1_000_000 if script is dmg_xql and sigma == 10 else 20_000)
        assert estimate(script, args, q, -2.0 * sigma, 2.0 * sigma) == pytest.approx(
            value, abs=0.003 if sigma < 10 else 0.015
        )


def test_gumbel_without_clip_is_the_soft_maximum():
    """beta log E exp(Q / beta) of any distribution; the clip lowers it, and only where it bites."""
    q = torch.tensor(np.random.default_rng(0).gamma(2, 3, 1000))
    for beta in (0.5, 2.0, 5.0, 100.0):
        soft_maximum = (beta * (torch.logsumexp(q / beta, 0) - math.log(len(q)))).item()
        found = estimate(dmg_xql, replace(XQL, gumbel_beta=beta, max_clip=1e9), q, q.min().item(), q.max().item())
        assert found == pytest.approx(soft_maximum, abs=1e-4)
        clipped = estimate(dmg_xql, replace(XQL, gumbel_beta=beta, max_clip=5.0), q, q.mean().item(), q.max().item())
        assert clipped < found - 0.01 if (q.max() - found) / beta > 5 else clipped == pytest.approx(found, abs=1e-4)
    assert q.mean() < found < q.mean() + 0.2  # a large beta gives the mean


def test_sparse_lies_between_mean_and_maximum_and_is_the_mean_for_a_large_alpha():
    q = torch.tensor(np.random.default_rng(0).uniform(-3, 3, 999))
    low, high, found = q.mean().item(), q.max().item(), []
    for alpha in (0.01, 0.1, 1.0, 10.0):
        found.append(estimate(dmg_sql, replace(SQL, sql_alpha=alpha), q, q.min().item() - 1, high + 1))
        u = 1 + (q - found[-1]) / (2 * alpha)
        assert u.clamp(min=0).mean().item() == pytest.approx(1, abs=1e-3)  # E[max(u, 0)] = 1
    assert high > found[0] > found[1] > found[2] > found[3] == pytest.approx(low, abs=1e-4) and found[0] > 2.5


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_optimiser_gets_there_from_above_and_below(name):
    """Two members with a batch of their own, from 6 below and 6 above, by Adam."""
    script, args, _ = ESTIMATORS[name]
    q = torch.tensor(np.random.default_rng(1).normal(size=(2, 64, 1)) * [[[1.0]], [[3.0]]])
    v = (q.mean((1, 2), keepdim=True) + torch.tensor([[[-6.0]], [[6.0]]])).requires_grad_()
    optimizer = torch.optim.Adam([v], 0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        optimizer.zero_grad()
        script.value_loss(q - v, args).sum().backward()
        optimizer.step()
        scheduler.step()
    for m in range(2):
        assert v[m].item() == pytest.approx(estimate(script, args, q[m, :, 0], -8.0, 8.0), abs=0.02)


def test_the_defaults_on_locomotion_are_table_3s_numbers():
    assert dmg_xql.PRESETS["gumbel_beta"][0] == 5.0 and XQL.max_clip == 7.0
    assert dmg_sql.PRESETS["sql_alpha"][0] == 2.0 and not SQL.relu_weight


# ---- gradients of the losses, in NumPy ----


def expectile_gradient(advantage, args):
    return -2 * np.where(advantage > 0, args.expectile, 1 - args.expectile) * advantage / len(advantage)


def gumbel_gradient(advantage, args):
    z = advantage / args.gumbel_beta
    largest = max(-1, min(z.max(), args.max_clip))
    moves = np.exp(np.minimum(z, 50)) - 1
    return np.where(z < args.max_clip, -moves * np.exp(-largest) / args.gumbel_beta, 0) / len(advantage)


def sparse_gradient(advantage, args):
    """Of the published loss, 1(u > 0) u^2 + V / alpha."""
    u = 1 + advantage / (2 * args.sql_alpha)
    return (-np.where(u > 0, u, 0) / args.sql_alpha + 1 / args.sql_alpha) / len(advantage)


def older_sparse_gradient(advantage, args):
    """The same from the older form, u = 1/2 + (Q - V) / alpha: its alpha is four times ours, its loss a quarter."""
    alpha = 4 * args.sql_alpha
    u = 0.5 + advantage / alpha
    return 4 * (-2 * np.where(u > 0, u, 0) / alpha + 1 / alpha) / len(advantage)


GRADIENTS = [
    (dmg_offline, replace(IQL, expectile=0.9), expectile_gradient),
    (dmg_xql, replace(XQL, gumbel_beta=1.0), gumbel_gradient),
    (dmg_xql, replace(XQL, gumbel_beta=0.6, max_clip=5.0), gumbel_gradient),
    (dmg_sql, replace(SQL, sql_alpha=0.5), sparse_gradient),
    (dmg_sql, replace(SQL, sql_alpha=2.0), older_sparse_gradient),
]
# a batch as at the start, one in which some are clipped, one that lies below -1 whole (z_max is floored), one above c
ADVANTAGES = np.random.default_rng(2).normal(size=(4, 32, 1)) * [[[1]], [[6]], [[0.5]], [[0.1]]]
ADVANTAGES += np.array([0, 0, -5, 30]).reshape(4, 1, 1)


@pytest.mark.parametrize("script, args, expected", GRADIENTS)
def test_gradients_of_the_value_losses(script, args, expected):
    v = torch.zeros(4, 32, 1, dtype=torch.float64, requires_grad=True)
    loss = script.value_loss(torch.tensor(ADVANTAGES) - v, args)
    assert loss.shape == (4,)
    loss.sum().backward()
    for m, advantage in enumerate(ADVANTAGES):
        np.testing.assert_allclose(v.grad[m].numpy(), expected(advantage, args), rtol=1e-7, atol=1e-15)
    if script is dmg_xql:
        assert (ADVANTAGES[2] < -args.gumbel_beta).all() and (v.grad[2] > 0).all()
        assert (v.grad[3] == 0).all()  # clipped as a whole: nothing pulls V up
        assert 0 < (v.grad[1] == 0).sum() < 32
    if script is dmg_sql:
        assert (v.grad[2] > 0).all() and (v.grad[3] < 0).all()


@pytest.mark.parametrize("script, args, _", GRADIENTS)
def test_a_members_value_loss_is_that_of_the_member_alone(script, args, _):
    """Its largest z, too, is that of its own batch; an infinite neighbour changes nothing."""
    advantage = torch.tensor(ADVANTAGES)
    together = script.value_loss(advantage, args)
    advantage[3] = math.nan
    beside_nan = script.value_loss(advantage, args)
    for m in range(3):
        alone = script.value_loss(torch.tensor(ADVANTAGES[m : m + 1]), args)
        assert together[m].item() == beside_nan[m].item() == pytest.approx(alone.item(), rel=1e-12)
    assert beside_nan[3].isnan()


def test_the_values_of_the_losses():
    advantage = torch.tensor([[[-2.0], [1.0], [0.0], [30.0]], [[-2.0], [-3.0], [-4.0], [-5.0]]], dtype=torch.float64)
    largest = dmg_xql.value_loss(advantage, replace(XQL, gumbel_beta=2.0, max_clip=7.0))
    z = np.array([[-1, 0.5, 0, 7], [-1, -1.5, -2, -2.5]])
    expected = [np.mean(np.exp(row) - row - 1) * np.exp(-m) for row, m in zip(z, (7, -1), strict=True)]
    assert largest.tolist() == pytest.approx(expected, rel=1e-12)
    sparse = dmg_sql.value_loss(advantage, replace(SQL, sql_alpha=0.5))
    u, linear = 1 + advantage.numpy()[..., 0], -2 * advantage.numpy()[..., 0]
    assert sparse.tolist() == pytest.approx((np.where(u > 0, u, 0) ** 2 + linear).mean(1).tolist(), rel=1e-12)


# ---- the corners of Table 1: the flags of a method, and its own formulas ----

IMITATION = "--lam 0 --q-weight 0 --nu 1 --max-weight 100"


def exponential(advantage):
    return np.minimum(np.exp(3 * advantage), 100)


def capped_exponential(advantage):
    return np.minimum(np.exp(3 * advantage), 3)


def in_sample(q_next, v_next):
    return v_next


def of_the_policy(q_next, v_next):
    return q_next


def a_quarter_of_the_policy(q_next, v_next):
    return 0.25 * q_next + 0.75 * v_next


# name: script, flags, gradient of the value loss, next value in Q's target, weight of a data action,
#       factors of the policy's two terms, - mean Q / mean |Q| and mean weight (pi - a)^2
CORNERS = {
    "IQL": (dmg_offline, IMITATION, expectile_gradient, in_sample, exponential, 0, 1),
    "XQL": (dmg_xql, IMITATION, gumbel_gradient, in_sample, exponential, 0, 1),
    "SQL": (dmg_sql, IMITATION + " --relu-weight", sparse_gradient, in_sample, lambda a: np.clip(a, 0, 100), 0, 1),
    "TD3": (dmg_offline, "--lam 1 --nu 0", expectile_gradient, of_the_policy, np.ones_like, 1, 0),
    "TD3+BC": (dmg_offline, "--lam 1 --inverse-temperature 0 --q-weight 2.5 --nu 1",
               expectile_gradient, of_the_policy, np.ones_like, 2.5, 1),
    "AWAC": (dmg_offline, "--lam 1 --expectile 0.5 --q-weight 0 --nu 1 --max-weight 100",
             lambda a, _: -a / len(a), of_the_policy, exponential, 0, 1),
    "OneStep": (dmg_offline, "--lam 0 --expectile 0.5",
                lambda a, _: -a / len(a), in_sample, capped_exponential, 1, 0.1),
    "behaviour cloning": (dmg_offline, "--lam 0 --q-weight 0 --nu 1 --inverse-temperature 0",
                          expectile_gradient, in_sample, np.ones_like, 0, 1),
    "DMG": (dmg_offline, "", expectile_gradient, a_quarter_of_the_policy, capped_exponential, 1, 0.1),
    "DMG with XQL": (dmg_xql, "--nu 10", gumbel_gradient, a_quarter_of_the_policy, capped_exponential, 1, 10),
    "DMG with SQL": (dmg_sql, "--nu 10", sparse_gradient, a_quarter_of_the_policy, capped_exponential, 1, 10),
}  # fmt: skip


def locomotion(script, flags):
    """The arguments as resolved for locomotion data."""
    args = tyro.cli(script.Args, args=flags.split())
    preset = {name: row[0] for name, row in script.PRESETS.items() if getattr(args, name) is None}
    return replace(args, **preset | {"device": "cpu", "mode": "eager", "batch_size": BATCH})


@pytest.mark.parametrize("name", CORNERS)
def test_a_corners_update_is_the_methods(name):
    """The gradients that one update leaves in V, Q and policy."""
    script, flags, value_gradient, next_value, weight_of, q_factor, nu = CORNERS[name]
    args = locomotion(script, flags)
    agent = script.Agent([(1, args.lam[0], args.nu[0])], np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT)
    with torch.no_grad():  # advantages of some size and both signs
        for layer in agent.qf_target.layers[4:]:
            layer.mul_(20)
    old = {n: [weights_of(getattr(agent, n), h) for h in (0, 1)] for n in ("qf", "qf_target")}
    old |= {n: weights_of(getattr(agent, n)) for n in ("actor", "actor_target", "vf")}
    batch, noise = batch_of()
    losses = script.update(agent, script.make_optimizers(agent, args), batch, noise, args, True)
    s, a, r, s2, d = (part[0].double().numpy() for part in batch)
    new_qf, new_vf = [weights_of(agent.qf, h) for h in (0, 1)], weights_of(agent.vf)

    def smaller(nets, states, actions):
        return np.minimum(*(forward(net, np.concatenate([states, actions], 1))[0] for net in nets))

    def check(network, head, expected):
        found = [layer.grad[head].double().numpy() for layer in network.layers]
        w1, b1, w2, b2, w3, b3 = found
        for ours, theirs in zip([w1, b1[0], w2, b2[0], w3.T, b3[0]], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(np.abs(theirs).max(), 1e-2), rtol=1e-4)

    q_data = smaller(old["qf_target"], s, a)
    v, cache = forward(old["vf"], s)
    check(agent.vf, 0, backward(old["vf"], cache, value_gradient(q_data - v, args))[0])

    a2 = np.clip(np.tanh(forward(old["actor_target"], s2)[0]) + noise[0].double().numpy(), -1, 1)
    following = next_value(smaller(old["qf_target"], s2, a2), forward(new_vf, s2)[0])
    for head, net in enumerate(old["qf"]):
        q, cache = forward(net, np.concatenate([s, a], 1))
        check(agent.qf, head, backward(net, cache, 2 * (q - r - 0.99 * (1 - d) * following) / BATCH)[0])

    advantage = q_data - forward(new_vf, s)[0]
    weight = weight_of(advantage)
    assert (advantage > 0.4).any() and (advantage < -0.4).any()
    if nu > 0:
        assert losses["losses/weight"].item() == pytest.approx(weight.mean(), rel=1e-4)
    raw, actor_cache = forward(old["actor"], s)
    p = np.tanh(raw)
    outs = [forward(net, np.concatenate([s, p], 1)) for net in new_qf]
    q = np.minimum(outs[0][0], outs[1][0])
    up = sum(
        backward(net, cache, out == q)[1][:, OBS:] for net, (out, cache) in zip(new_qf, outs, strict=True)
    )  # d min Q / d action
    of_actions = -q_factor * up / np.abs(q).sum() + nu * 2 * weight * (p - a) / p.size
    check(agent.actor, 0, backward(old["actor"], actor_cache, of_actions * (1 - p**2))[0])


def test_with_weighted_imitation_alone_the_size_of_nu_does_not_matter():
    """q_weight 0: Adam's steps do not depend on the scale of the loss, so nu only has to be above 0."""
    ends = []
    for nu in (0.5, 10.0):
        args = locomotion(dmg_offline, "--lam 0 --q-weight 0")
        agent = dmg_offline.Agent([(1, 0.0, nu)], np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT)
        optimizers = dmg_offline.make_optimizers(agent, args)
        for number in range(5):
            dmg_offline.update(agent, optimizers, *batch_of(seed=number), args, True)
        ends.append(agent.actor.layers[0].detach())
    torch.testing.assert_close(*ends, atol=1e-5, rtol=0)


def test_xqls_huber_loss():
    """One update's gradients of Q are those of Huber's loss; without --huber-delta they are the squared error's."""
    found = {}
    for delta in (None, 0.5, 1000.0):
        args = replace(locomotion(dmg_xql, "--lam 0"), huber_delta=delta)
        agent = dmg_xql.Agent([(1, 0.0, 0.1)], np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT)
        batch, noise = batch_of(seed=3)
        batch = [batch[0], batch[1], 3 * torch.randn(batch[2].shape, generator=torch.Generator().manual_seed(0)),
                 batch[3], torch.ones_like(batch[4])]  # fmt: skip
        dmg_xql.update(agent, dmg_xql.make_optimizers(agent, args), batch, noise, args, False)
        found[delta] = [parameter.grad.clone() for parameter in agent.qf.parameters()]
        fresh = dmg_xql.Agent([(1, 0.0, 0.1)], np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT)
        q, target = fresh.qf(*batch[:2]), batch[2].unsqueeze(1).expand(-1, 2, -1, -1)  # all terminal: the rewards
        loss = torch.nn.functional.huber_loss(q, target, delta=delta or 1000.0, reduction="none")
        assert ((q - target).abs() > 0.5).any() and ((q - target).abs() < 0.5).any()
        (2 * loss).mean((2, 3)).sum().backward()
        for gradient, parameter in zip(found[delta], fresh.qf.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found[None][0], found[0.5][0])


# ---- the scripts as a user runs them ----


@pytest.mark.parametrize("script, name", [(dmg_xql, "gumbel_beta"), (dmg_xql, "huber_delta"), (dmg_sql, "sql_alpha")])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_value_parameter_that_is_not_above_0_is_refused(script, name, value, pendulum, capsys):
    with pytest.raises(SystemExit):
        script.resolve_args(script.Args(**{name: value}), pendulum)
    assert f"--{name.replace('_', '-')} must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("script, flags", [("dmg_xql", ["--gumbel-beta", "2"]), ("dmg_sql", ["--relu-weight"])])
def test_a_run_killed_while_it_saves_resumes_bit_for_bit(script, flags, pendulum):
    path, options = str(ROOT / f"{script}.py"), [*TINY, *flags, "--offline-steps", "20", "--seed", "1", "2"]
    unbroken = [sys.executable, path, *options, "--runs-dir", "unbroken"]
    done = subprocess.run(unbroken, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    crash = CRASH.format(function="replace", number=8)  # in the third save; each writes three files
    done = subprocess.run([sys.executable, "-c", crash, path, *options], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL and checkpoint()["step"] == 10
    folder = str(next(Path("runs").iterdir()))
    done = subprocess.run([sys.executable, path, "--resume", folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert all(f"__{script}__" in name for name in results())
    for result in results().values():
        assert result["evaluations"][-1]["step"] == 20 and len(result["evaluations"][-1]["returns"]) == 2
        assert result["diverged_at"] is None and json.dumps(result["args"]).count("expectile") == 0
        own = ("gumbel_beta", 2.0) if script == "dmg_xql" else ("relu_weight", True)
        assert result["args"][own[0]] == own[1]
