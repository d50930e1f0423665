"""The value estimators, and the corners of the paper's Table 1: a method's flags against its own formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import tyro
from reference import VALUES
from test_math import SCRIPTS, check_updates

ARGS = {name: script.Args(device="cpu") for name, script in SCRIPTS.items()}


def gradient(script, args, q, v):
    """d value_loss / d V at the number v, of one member."""
    v = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    SCRIPTS[script].value_loss((q - v)[None], args).sum().backward()
    return v.grad.item()


def estimate(script, args, q, low, high):
    """The V between low and high at which the gradient of value_loss changes from down to up."""
    assert gradient(script, args, q, low) < 0 < gradient(script, args, q, high)
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if gradient(script, args, q, middle) < 0 else (low, middle)
    return (low + high) / 2


ESTIMATES = [
    ("dmg_offline", dict(expectile=0.5), (0.0, 0.0, 0.0)),
    ("dmg_offline", dict(expectile=0.7), (0.337, 1.011, 3.371)),
    ("dmg_offline", dict(expectile=0.9), (0.862, 2.585, 8.616)),
    ("dmg_xql", dict(gumbel_beta=5.0, max_clip=1e9), (0.100, 0.900, 10.000)),
    ("dmg_xql", dict(gumbel_beta=5.0, max_clip=7.0), (0.100, 0.900, 9.97)),
    ("dmg_sql", dict(sql_alpha=0.5), (0.101, 1.417, 10.02)),
    ("dmg_sql", dict(sql_alpha=2.0), (0.000, 0.141, 3.979)),
    ("dmg_sql", dict(sql_alpha=5.0), (0.000, 0.000, 1.005)),
]


@pytest.mark.parametrize("script, changes, expected", ESTIMATES)
def test_estimates_of_a_gaussian(script, changes, expected):
    """V for Q ~ N(0, sigma^2), sigma 1, 3 and 10, from quantiles: no sampling error."""
    for sigma, value in zip((1, 3, 10), expected):
        points = 1_000_000 if script == "dmg_xql" and sigma == 10 else 20_000
        uniform = (torch.arange(points, dtype=torch.float64) + 0.5) / points
        q = sigma * math.sqrt(2) * torch.erfinv(2 * uniform - 1)
        found = estimate(script, replace(ARGS[script], **changes), q, -2.0 * sigma, 2.0 * sigma)
        assert found == pytest.approx(value, abs=0.003 if sigma < 10 else 0.015)


def test_gumbel_without_clip_is_the_soft_maximum():
    """beta log E exp(Q / beta) of any distribution; the clip lowers it, and only where it bites."""
    q = torch.tensor(np.random.default_rng(0).gamma(2, 3, 1000))
    for beta in (0.5, 2.0, 5.0, 100.0):
        soft_maximum = (beta * (torch.logsumexp(q / beta, 0) - math.log(len(q)))).item()
        wide, narrow = (replace(ARGS["dmg_xql"], gumbel_beta=beta, max_clip=clip) for clip in (1e9, 5.0))
        found = estimate("dmg_xql", wide, q, q.min().item(), q.max().item())
        assert found == pytest.approx(soft_maximum, abs=1e-4)
        clipped = estimate("dmg_xql", narrow, q, q.mean().item(), q.max().item())
        assert (
            clipped < found - 0.01
            if (q.max() - found) / beta > 5
            else clipped == pytest.approx(found, abs=1e-4)
        )
    assert q.mean() < found < q.mean() + 0.2  # a large beta gives the mean


def test_gumbel_over_small_batches_is_lower():
    """XQL scales each batch's loss by exp(-max z): what benchmark/variants.md says of batches of 256."""
    batches = torch.tensor(np.random.default_rng(0).standard_normal((4000, 256)))
    for sigma, beta, expected in ((10, 5.0, 9.1), (3, 0.6, 4.7)):
        args = replace(ARGS["dmg_xql"], gumbel_beta=beta, max_clip=7.0)
        found = estimate("dmg_xql", args, sigma * batches, 0.0, 4.0 * sigma)
        assert found == pytest.approx(expected, abs=0.05)


def test_sparse_lies_between_mean_and_maximum_and_is_the_mean_for_a_large_alpha():
    q = torch.tensor(np.random.default_rng(0).uniform(-3, 3, 999))
    found = []
    for alpha in (0.01, 0.1, 1.0, 10.0):
        found.append(estimate("dmg_sql", replace(ARGS["dmg_sql"], sql_alpha=alpha), q, -4.0, 4.0))
        u = 1 + (q - found[-1]) / (2 * alpha)
        assert u.clamp(min=0).mean().item() == pytest.approx(1, abs=1e-3)  # E[max(u, 0)] = 1
    assert q.max() > found[0] > found[1] > found[2] > found[3] == pytest.approx(q.mean().item(), abs=1e-4)
    assert found[0] > 2.5


# batches as at the start, with some clipped, below -1 as a whole (z_max is floored), and above as a whole
ADVANTAGES = np.random.default_rng(2).normal(size=(4, 32)) * [[1], [6], [0.5], [0.1]] + [[0], [0], [-5], [30]]
LOSSES = [("dmg_offline", dict(expectile=0.9)), ("dmg_xql", dict(gumbel_beta=1.0)), ("dmg_sql", {})]
LOSSES += [("dmg_xql", dict(gumbel_beta=0.6, max_clip=5.0)), ("dmg_sql", dict(sql_alpha=0.5))]


@pytest.mark.parametrize("script, changes", LOSSES)
def test_value_losses_and_their_gradients(script, changes):
    """Each member's is that of its batch alone: its largest z, too, is its own."""
    args = replace(ARGS[script], **changes)
    v = torch.zeros(4, 32, dtype=torch.float64, requires_grad=True)
    loss = SCRIPTS[script].value_loss(torch.tensor(ADVANTAGES) - v, args)
    loss.sum().backward()
    for m, advantage in enumerate(ADVANTAGES):
        expected, slope = VALUES[script](advantage, args)
        assert loss[m].item() == pytest.approx(expected, rel=1e-7)
        np.testing.assert_allclose(v.grad[m].numpy(), slope, rtol=1e-6, atol=1e-15)
    if script == "dmg_xql":
        assert (v.grad[2] > 0).all() and (v.grad[3] == 0).all()  # clipped as a whole: nothing pulls V up
        assert 0 < (v.grad[1] == 0).sum() < 32


def test_sparse_in_the_older_form():
    """u = 1/2 + A / alpha and 1(u > 0) u^2 + V / alpha, with four times our alpha: a quarter of our loss."""
    args, alpha = replace(ARGS["dmg_sql"], sql_alpha=0.5), 2.0
    for v in (-1.0, 0.3, 2.0):
        q = torch.tensor(ADVANTAGES.ravel())
        number = torch.tensor(v, dtype=torch.float64, requires_grad=True)
        ((0.5 + (q - number) / alpha).clamp(min=0).square().mean() + number / alpha).backward()
        assert 4 * number.grad.item() == pytest.approx(gradient("dmg_sql", args, q, v), rel=1e-9)


# ---- the corners of Table 1 ----

IMITATION = "--lam 0 --q-weight 0 --nu 1 --max-weight 100"
MEAN_IMITATION = "--lam 1 --expectile 0.5 --q-weight 0 --nu 1 --max-weight 100"
IN_SAMPLE, OF_THE_POLICY, UNIFORM = (lambda q, v: v), (lambda q, v: q), np.ones_like


def exponential(cap):
    return lambda a: np.minimum(np.exp(3 * a), cap)


def mean_value(a, args):
    return (a**2).mean() / 2, -a / len(a)


# script, flags; then the method's own: next value in Q's target, weight of a data action, factors of the two
# terms of the policy, - mean Q / mean |Q| and mean weight (pi - a)^2; and the value loss, if not the script's
CORNERS = {
    "IQL": ("dmg_offline", IMITATION, IN_SAMPLE, exponential(100), 0, 1),
    "XQL": ("dmg_xql", IMITATION, IN_SAMPLE, exponential(100), 0, 1),
    "SQL": ("dmg_sql", IMITATION + " --relu-weight", IN_SAMPLE, lambda a: np.clip(a, 0, 100), 0, 1),
    "TD3": ("dmg_offline", "--lam 1 --nu 0", OF_THE_POLICY, None, 1, 0),
    "TD3+BC": (
        "dmg_offline",
        "--lam 1 --nu 1 --inverse-temperature 0 --q-weight 2.5",
        OF_THE_POLICY,
        UNIFORM,
        2.5,
        1,
    ),
    "AWAC": ("dmg_offline", MEAN_IMITATION, OF_THE_POLICY, exponential(100), 0, 1, mean_value),
    "OneStep": ("dmg_offline", "--lam 0 --expectile 0.5", IN_SAMPLE, exponential(3), 1, 0.1, mean_value),
    "cloning": (
        "dmg_offline",
        "--lam 0 --q-weight 0 --nu 1 --inverse-temperature 0",
        IN_SAMPLE,
        UNIFORM,
        0,
        1,
    ),
    "DMG": ("dmg_offline", "", lambda q, v: 0.25 * q + 0.75 * v, exponential(3), 1, 0.1),
}


@pytest.mark.parametrize("name", CORNERS)
def test_a_corners_update_is_the_methods(name):
    script, flags, next_value, weight, q_factor, nu, *value = CORNERS[name]
    args = replace(tyro.cli(SCRIPTS[script].Args, args=flags.split()), device="cpu", hidden=(32, 32))
    own = dict(next_value=next_value, weight=weight, q_factor=q_factor, nu=nu) | (
        {"value": value[0]} if value else {}
    )
    check_updates(SCRIPTS[script], args, [(1, args.lam[0], args.nu[0])], True, **own)


def test_the_presets_of_locomotion_are_table_3s_numbers():
    assert (ARGS["dmg_xql"].gumbel_beta, ARGS["dmg_xql"].max_clip) == (5.0, 7.0)
    assert ARGS["dmg_sql"].sql_alpha == 2.0 and not ARGS["dmg_sql"].relu_weight
