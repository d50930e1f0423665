"""The update of every script against an independent implementation (reference.py); members do not meet."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, checkpoint, result, run
from reference import NAMES, VALUES, Plain, Reference, arrays_of

import dmg_offline as dmg

OBS, ACT, BATCH = 5, 3, 16
SCRIPTS = {name: importlib.import_module(name) for name in VALUES}
MEMBERS = [(1, 0.25, 0.1), (2, 0.0, 0.5), (3, 1.0, 0.0)]


def make(script, members, **changes):
    args = replace(script.Args(), device="cpu", batch_size=BATCH, **changes)
    return script.Agent(members, np.zeros(OBS), np.ones(OBS), ACT, args), args


def batch_of(*leading, seed=0):
    """Transitions and noise, float64; a fifth of them end their episode."""
    rng, n = np.random.default_rng(seed), (*leading, BATCH)
    (s, s2), r, end = rng.normal(size=(2, *n, OBS)), rng.normal(size=n), rng.random(n) < 0.2
    a, noise = rng.uniform(-1, 1, (*n, ACT)), rng.normal(scale=0.4, size=(*n, ACT)).clip(-0.5, 0.5)
    return [torch.tensor(part, dtype=torch.float64) for part in (s, a, r, s2, end, noise)]


def assert_close(found, expected, where=""):
    """Of nested dictionaries and lists, to 1e-6 of the largest number in each array."""
    if isinstance(found, dict | list):
        assert len(found) == len(expected), where
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_close(found[key], expected[key], f"{where}/{key}")
    else:
        size = 1e-6 * np.abs(expected).max() + 1e-12
        np.testing.assert_allclose(found, expected, atol=size, rtol=0, err_msg=where)


def check_updates(script, args, members, has_member_axis, **formulas):
    """Losses, gradients and weights of all networks over four updates, the actor's in the last three."""
    agent = script.Agent(members, np.zeros(OBS), np.ones(OBS), ACT, args).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in (*agent.qf_target.parameters(), *agent.actor_target.parameters()):
        parameter += 0.3 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    for network in (agent.qf_target, agent.actor_target):  # advantages of some size, actions near the bounds
        for parameter in list(network.parameters())[-2:]:
            parameter *= 20
    references = []
    for m, (_, lam, nu) in enumerate(members):
        of_dmg = dict(value=VALUES[script.__name__], lam=lam, nu=nu)
        references.append(Reference(arrays_of(agent, m), args, **of_dmg | formulas))
    if has_member_axis:
        optimizers = script.make_optimizers(agent, args)
        read = [lambda what="data", m=m: arrays_of(agent, m, what) for m in range(len(members))]
        batches = [batch_of(len(members), seed=seed) for seed in range(4)]
    else:
        agent = Plain(arrays_of(agent), *members[0][1:])
        optimizers = {name: torch.optim.Adam(getattr(agent, name).parameters(), 3e-4) for name in NAMES[:3]}
        read, batches = [agent.arrays], [batch_of(seed=seed) for seed in range(4)]
    lr = float(np.float32(3e-4)) if has_member_axis else 3e-4
    for step, batch in enumerate(batches):
        losses = script.update(agent, optimizers, batch, args, step > 0)
        for m, reference in enumerate(references):
            own = m if has_member_axis else ...
            expected = reference.update([part[own].numpy() for part in batch], step > 0, lr, lr)
            assert_close({name: loss[own].numpy() for name, loss in losses.items()}, expected, "losses")
            assert_close(read[m]("grad"), reference.gradients, f"step {step}: gradient of member {m}")
            assert_close(read[m](), reference.nets, f"step {step}: weights of member {m}")


FAR = dict(gamma=0.9, tau=0.1, inverse_temperature=10.0, max_weight=100.0)
CASES = {
    "locomotion": ("dmg_offline", {}),
    "antmaze": ("dmg_offline", dict(expectile=0.9, **FAR)),
    "no Q in the policy": ("dmg_offline", dict(q_weight=0.0)),
    "five critics, three layers": ("dmg_offline", dict(critics=5, hidden=(64, 64, 64))),
    "XQL": ("dmg_xql", {}),
    "XQL, clipped": ("dmg_xql", dict(gumbel_beta=0.3, max_clip=2.0, **FAR)),
    "SQL": ("dmg_sql", {}),
    "SQL, small alpha": ("dmg_sql", dict(sql_alpha=0.1, **FAR)),
}


@pytest.mark.parametrize("has_member_axis", [True, False], ids=["members", "plain networks"])
@pytest.mark.parametrize("name", CASES)
def test_updates_equal_the_reference(name, has_member_axis):
    script, changes = SCRIPTS[CASES[name][0]], CASES[name][1]
    args = replace(script.Args(), device="cpu", **{"hidden": (32, 32)} | changes)
    check_updates(script, args, MEMBERS[: None if has_member_axis else 1], has_member_axis)


@pytest.mark.parametrize("flags", ["--policy-frequency 3", "--critics 5 --hidden 64 64 64 --step-cost 1"])
def test_a_whole_run_equals_the_reference(flags, pendulum):
    """Twelve updates from the command line: data, normaliser, batches, noise, delay, cosine, all members."""
    run("dmg_offline", *TINY, *flags.split(), *"--offline-steps 12 --seed 1 2 --learning-rate 1e-3".split())
    saved = result()
    args = dmg.Args(**saved["args"])
    episodes = list(pendulum.iterate_episodes())
    s = np.concatenate([e.observations[:-1] for e in episodes]).astype(float)
    mean, std = s.mean(0), s.std(0) + 1e-3
    s, s2 = (s - mean) / std, (np.concatenate([e.observations[1:] for e in episodes]) - mean) / std
    a = np.concatenate([e.actions for e in episodes]) / 2  # Pendulum's torque lies in [-2, 2]
    r = np.concatenate([e.rewards for e in episodes]) - args.step_cost
    d = np.concatenate([e.terminations for e in episodes]).astype(float)
    state = checkpoint()["agent"]
    np.testing.assert_allclose([*state["mean"], *state["std"]], [*mean, *std], rtol=1e-6)
    for m, seed in enumerate((1, 2)):
        first = dmg.Agent([(seed, args.lam[0], args.nu[0])], mean, std, 1, args)
        reference = Reference(arrays_of(first), args, args.lam[0], args.nu[0], VALUES["dmg_offline"])
        generator, number = [torch.Generator().manual_seed(seed)], 0
        for n in (5, 5, 2):  # the loop draws a block up to the next look at the losses
            indices, noises = dmg.draw(generator, n, len(s), 1, args)
            for index, noise in zip(indices[:, 0].numpy(), noises[:, 0].numpy()):
                number += 1
                progress = (number - args.policy_frequency) / 12
                batch = [part[index] for part in (s, a, r, s2, d)]
                cosine = 1e-3 * (1 + np.cos(np.pi * progress)) / 2
                reference.update([*batch, noise], number % args.policy_frequency == 0, 1e-3, cosine)
        last = dmg.Agent([(1, 0.0, 0.0), (2, 0.0, 0.0)], mean, std, 1, args)
        last.load_state_dict(state)
        for name in NAMES:
            for found, expected in zip(arrays_of(last, m)[name], reference.nets[name]):
                for x, y in zip(found, expected):
                    np.testing.assert_allclose(x, y, atol=2e-5, rtol=0, err_msg=name)


def test_batches_and_noise():
    """Every row is drawn, the noise is clipped; what a member gets does not depend on its neighbours."""
    args = replace(dmg.Args(), batch_size=100, policy_noise=0.3, noise_clip=0.5)

    def draw(*seeds):
        return dmg.draw([torch.Generator().manual_seed(seed) for seed in seeds], 50, 20, ACT, args)

    (rows, noise), (rows_alone, noise_alone) = draw(1, 2, 7), draw(7)
    assert rows.shape == (50, 3, 100) and noise.shape == (50, 3, 100, ACT)
    assert rows.unique().tolist() == list(range(20)) and not torch.equal(rows[0], rows[1])
    assert noise.abs().max() == 0.5 and noise.mean().abs() < 0.01 and not torch.equal(noise[0], noise[1])
    inside = noise[noise.abs() < 0.3]
    assert inside.std().item() == pytest.approx(0.3 * 0.5396, rel=0.02)  # of a normal cut off at one std
    assert torch.equal(rows[:, 2:], rows_alone) and torch.equal(noise[:, 2:], noise_alone)


def test_initialisation_is_pytorchs_and_of_the_seed():
    agent, _ = make(dmg, MEMBERS)
    alone, _ = make(dmg, MEMBERS[1:2])
    for fan_in, w in zip((OBS, OBS, 256, 256, 256, 256), arrays_of(agent)["actor"][0]):
        assert np.abs(w).max() <= fan_in**-0.5
        assert w.size < 100 or w.std() == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)
    assert_close(arrays_of(agent, 1), arrays_of(alone))
    first, second = arrays_of(agent)["qf"]
    assert not np.allclose(first[0], second[0]) and not np.allclose(first[0], arrays_of(agent, 1)["qf"][0][0])
    assert_close(arrays_of(agent)["qf_target"], arrays_of(agent)["qf"])
