"""RD on CQL and SAC-N: the policy's density, CQL's penalty, updates against their formulas, runs.

What rd_sac.py has from rd_td3.py to the letter (tests/copies.py) is tested there: the penalty, the stages.
"""

import math
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rd_sac as rd
import test_rd
import torch
from conftest import (
    TINY,
    assert_equal,
    checkpoint,
    die_at,
    ended,
    fork,
    refused,
    result,
    returns,
    run,
    run_dir,
)
from scipy.special import logsumexp
from scipy.stats import norm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import dmg_offline as dmg

OBS, ACT, BATCH, K = 5, 3, 16, 4
SAC_N = dict(cql_alpha=0.0, critics=10, kappa=2.5, backup_entropy=True, policy_learning_rate=3e-4)
BASE, RD = ("actor", "log_std", "qf", "qf_target"), ("clone", "ood_actor")
MEMBERS = [(1, 0.1), (2, 0.0), (3, 1.0)]


def make(members=MEMBERS, dtype=torch.double, **changes):
    """An agent whose targets are not its networks, its optimizers and arguments."""
    coefs = tuple(rd_coef for _, rd_coef in members)
    args = dict(device="cpu", hidden=(24, 24), rd_coef=coefs, rd_start=3, cql_actions=K)
    args = replace(rd.Args(), **args | changes)
    agent = rd.Agent(members, np.zeros(OBS), np.ones(OBS), ACT, args)
    agent = agent.double() if dtype is torch.double else agent
    with torch.no_grad():
        for p in agent.qf_target.parameters():
            p *= 1.5
        agent.log_alpha += 0.3 * agent.rd_coef - 0.2
    return agent, rd.make_optimizers(agent, args), args


def batch_of(members=3, seed=0, k=K):
    """Transitions, of which a fifth end their episode, normal noise and uniform actions."""
    rng, n = np.random.default_rng(seed), (members, BATCH)
    (s, s2), r, end = rng.normal(size=(2, *n, OBS)), rng.normal(size=n), rng.random(n) < 0.2
    a, noise = rng.uniform(-1, 1, (*n, ACT)), rng.normal(size=(2 + 2 * k, *n, ACT))
    uniform = rng.uniform(-1, 1, (1 + k, *n, ACT))
    return [torch.tensor(x, dtype=torch.double) for x in (s, a, r, s2, end, noise, uniform)]


def of_members(batch, rows):
    return [x[rows] for x in batch[:5]] + [x[:, rows] for x in batch[5:]]


def nets_of(agent, m):
    """Name -> networks of member m, one or a critic each -> copies of their arrays [w1, b1, w2, b2, ...]."""
    found, members = {}, len(agent.in_stage_2)
    for name in (*BASE, *RD):
        parameters = list(getattr(agent, name).parameters())
        rows = range(m, len(parameters[0]), members)
        found[name] = [[p[row].detach().clone() for p in parameters] for row in rows]
    return found | {"log_alpha": [[agent.log_alpha[m].detach().clone()]]}


# ---- the policy ----


def moments(agent, s):
    """Mean and standard deviation of the Gaussian, in NumPy: (M, B, m) each."""
    with torch.no_grad():
        x, layers = s, [layer for layer in agent.actor if isinstance(layer, rd.Linear)]
        for layer in layers[:-1]:
            x = (x @ layer.weight + layer.bias).clamp(min=0)
        log_std = (x @ agent.log_std.weight + agent.log_std.bias).numpy()
        return (x @ layers[-1].weight + layers[-1].bias).numpy(), np.exp(np.clip(log_std, -5, 2))


def log_density(actions, mean, std, h=1e-6):
    """log pi(a|s), from differences of the distribution function of a = tanh(u)."""
    below, above = (norm.cdf(np.arctanh(actions + d), mean, std) for d in (-h, h))
    return np.log((above - below) / (2 * h)).sum(-1)


def test_density_of_the_policy_by_a_change_of_variables():
    """Several draws for every state; tanh(mean) is what actor gives."""
    agent, _, _ = make()
    with torch.no_grad():
        agent.log_std.bias[1] -= 1.0
        agent.log_std.bias[2] += 0.5
    s, *_, noise, _ = batch_of()
    mean, std = moments(agent, s)
    actions, log_pi = rd.sample(agent, s, 0.5 * noise[:4])
    assert actions.shape == (4, 3, BATCH, ACT) and log_pi.shape == (4, 3, BATCH)
    u = mean + std * 0.5 * noise[:4].numpy()
    np.testing.assert_allclose(actions.detach(), np.tanh(u), atol=1e-12)
    np.testing.assert_allclose(log_pi.detach(), log_density(np.tanh(u), mean, std), atol=1e-5)
    jacobian = (np.tanh(u + 1e-6) - np.tanh(u - 1e-6)) / 2e-6
    expected = (norm.logpdf(u, mean, std) - np.log(jacobian)).sum(-1)
    np.testing.assert_allclose(log_pi.detach(), expected, atol=1e-7)
    torch.testing.assert_close(rd.sample(agent, s, 0 * noise[0])[0], agent.actor(s))
    np.testing.assert_allclose(agent.actor(s).detach(), np.tanh(mean), atol=1e-12)


def test_the_density_far_out_and_the_clipped_deviation():
    """float32 where tanh rounds to 1: finite, with finite gradients; the log std between -5 and 2."""
    agent, _, _ = make(dtype=torch.float32)
    s, zero = batch_of()[0].float(), torch.zeros(3, BATCH, ACT)
    for shift, log_std in ((30.0, 2.0), (-30.0, -5.0)):
        with torch.no_grad():
            agent.actor[-2].bias.fill_(shift)
            agent.log_std.bias.fill_(shift)
        actions, log_pi = rd.sample(agent, s, zero)
        assert (actions == math.copysign(1, shift)).all()
        u = agent.actor[-2](agent.actor[:-2](s)).abs()
        expected = (2 * u - 2 * math.log(2) - 0.5 * math.log(2 * math.pi) - log_std).sum(-1)
        torch.testing.assert_close(log_pi, expected)
        log_pi.sum().backward()
        assert all(p.grad.isfinite().all() for p in agent.actor.parameters())


# ---- CQL's penalty ----


def test_cqls_penalty_against_a_loop():
    """Every critic, member, transition and action by itself; its gradient reaches the critics alone."""
    agent, _, _ = make(hidden=(8, 8))
    s, a, _, s2, _, noise, uniform = batch_of()
    found = rd.cql_gap(agent, agent.qf(s, a), s, s2, noise[2:], uniform[1:])
    here, there = ((*moments(agent, x), z.numpy()) for x, z in ((s, noise[2 : 2 + K]), (s2, noise[2 + K :])))

    def q(i, m, b, action):
        x = np.concatenate([s[m, b].numpy(), action])
        layers = [p[3 * i + m].detach().numpy() for p in agent.qf.parameters()]
        for weight, bias in zip(layers[:-2:2], layers[1:-2:2]):
            x = np.maximum(x @ weight + bias[0], 0)
        return (x @ layers[-2] + layers[-1][0]).item()

    for i in range(2):
        for m in range(3):
            gaps = []
            for b in range(BATCH):
                values = [q(i, m, b, action) - math.log(0.5**ACT) for action in uniform[1:, m, b].numpy()]
                for mean, std, z in (here, there):
                    for k in range(K):
                        u = mean[m, b] + std[m, b] * z[k, m, b]
                        log_pi = (norm.logpdf(u, mean[m, b], std[m, b]) + 2 * np.log(np.cosh(u))).sum()
                        values.append(q(i, m, b, np.tanh(u)) - log_pi)
                assert len(values) == 3 * K
                gaps.append(logsumexp(values) - q(i, m, b, a[m, b].numpy()))
            assert found[i, m].item() == pytest.approx(np.mean(gaps), rel=1e-9)
    found.sum().backward()
    assert all(p.grad.abs().max() > 0 for p in list(agent.qf.parameters())[:-1])
    for network in (agent.actor, agent.log_std, agent.ood_actor, agent.qf_target):
        assert all(p.grad is None for p in network.parameters())


# ---- the updates ----


def plain(arrays):
    """A network of nn.Linear, with copies of these arrays."""
    layers = []
    for weight, bias in zip(arrays[::2], arrays[1::2]):
        layer = nn.Linear(*weight.shape).double()
        layer.weight.data, layer.bias.data = weight.mT.clone(), bias[0].clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Reference(test_rd.Reference):
    """One member in plain PyTorch: every critic by itself, formulas as rd_sac's docstring has them."""

    def __init__(self, agent, m, args):
        nets = {
            name: [plain(net) for net in found]
            for name, found in nets_of(agent, m).items()
            if len(found[0]) > 1
        }
        self.nets, self.args, self.rd_coef = nets, args, agent.rd_coef[m].item()
        self.log_alpha = agent.log_alpha[m].detach().clone().requires_grad_()
        self.t, self.z, self.distance, self.clone_distance = 0, 0, agent.distance[m].item(), 0.0
        parameters = {
            name: [p for net in nets[name] for p in net.parameters()] for name in ("qf", "actor", *RD)
        }
        parameters["actor"] += nets["log_std"][0].parameters()
        parameters["log_alpha"] = [self.log_alpha]
        rates = {name: args.learning_rate for name in parameters}
        rates |= {name: args.policy_learning_rate for name in ("actor", "log_alpha")}
        self.adam = {name: torch.optim.Adam(p, rates[name]) for name, p in parameters.items()}

    def mean(self, name, s):
        return torch.tanh(self.nets[name][0](s))

    def pi(self, s, noise):
        actor = self.nets["actor"][0]
        log_std = self.nets["log_std"][0](actor[:-1](s)).clamp(-5, 2)
        u = actor(s) + log_std.exp() * noise
        log_pi = torch.distributions.Normal(actor(s), log_std.exp()).log_prob(u) - torch.log(
            1 - torch.tanh(u) ** 2
        )
        return torch.tanh(u), log_pi.sum(1)

    def q(self, name, s, a):
        return [net(torch.cat([s, a], 1))[:, 0] for net in self.nets[name]]

    def update(self, batch, update_actor):
        s, a, r, s2, d, noise, uniform = batch
        args, nets, losses = self.args, self.nets, {}
        is_rd = args.rd_coef != (0.0,)
        if update_actor:
            actions, log_pi = self.pi(s, noise[0])
            self.step("log_alpha", -self.log_alpha * (log_pi.detach() - ACT).mean())
            alpha, qs = math.exp(self.log_alpha.item()), self.q("qf", s, actions)
            loss = (alpha * log_pi - self.bound(qs, args.kappa)).mean()
            losses |= {"actor_loss": loss.item(), "alpha": alpha, "entropy": -log_pi.mean().item()}
            losses["q_std_policy"] = torch.stack(qs).std(0).mean().item()
            self.step("actor", loss)
            if is_rd and args.ood == "policy":
                qs = self.q("qf", s, self.mean("ood_actor", s))
                self.step("ood_actor", -self.bound(qs, args.kappa_ood, 1).mean())
        with torch.no_grad():
            a2, log_pi = self.pi(s2, noise[1])
            soft = math.exp(self.log_alpha.item()) * log_pi if args.backup_entropy else 0
            y = r + args.gamma * (1 - d) * (self.bound(self.q("qf_target", s2, a2), args.kappa) - soft)
            draws = [(x, torch.full([BATCH], ACT * math.log(0.5))) for x in uniform[1:]]
            draws += [self.pi(s, z) for z in noise[2 : 2 + K]] + [self.pi(s2, z) for z in noise[2 + K :]]
            p = self.mean("actor", s)
            ood = uniform[0] if args.ood == "uniform" else self.mean("ood_actor", s)
        losses["q_values"] = self.bound(self.q("qf", s, a), args.kappa).mean().item()
        losses["q_std_data"] = torch.stack(self.q("qf", s, a)).std(0).mean().item()
        if is_rd:
            clone_loss = ((self.mean("clone", s) - a) ** 2).mean()
            self.step("clone", clone_loss)
            self.t += 1
            self.distance = 0.999 * self.distance + 0.001 * ((p - a) ** 2).mean().item()
            self.clone_distance = 0.999 * self.clone_distance + 0.001 * clone_loss.item()
            if self.t >= args.rd_start and self.distance <= args.rd_switch * self.clone_distance:
                self.z = 1
            losses |= {"in_stage_2": self.z, "distance_ratio": self.distance / self.clone_distance}
            losses["q_std_ood"] = torch.stack(self.q("qf", s, ood)).std(0).mean().item()
        td, gaps, cosines, cosines_ood, norms = [], [], [], [], []
        for i, net in enumerate(nets["qf"]):
            q = self.q("qf", s, a)[i]
            td.append(((q - y) ** 2).mean())
            if args.cql_alpha:
                terms = [self.q("qf", s, x)[i] - log_pi for x, log_pi in draws]
                gaps.append((torch.log(sum(term.exp() for term in terms)) - q).mean())
            data, policy, other = (net[:-1](torch.cat([s, x], 1)) for x in (a, p, ood))
            cosines.append(((data * policy).sum(1) / (data.norm(dim=1) * policy.norm(dim=1))).mean())
            cosines_ood.append(((policy * other).sum(1) / (policy.norm(dim=1) * other.norm(dim=1))).mean())
            norms.append(data.norm(dim=1).mean())
        penalty = sum(cosines_ood if self.z else cosines)
        self.step("qf", sum(td) + args.cql_alpha * sum(gaps) + self.rd_coef * penalty)
        logged = {"cosine": cosines, "cosine_ood": cosines_ood, "phi_norm": norms} if is_rd else {}
        logged |= {"cql_gap": gaps} if gaps else {}
        losses |= {name: (sum(values) / len(values)).item() for name, values in logged.items()}
        losses["qf_loss"] = sum(td).item()
        with torch.no_grad():
            for slow, fast in zip(nets["qf_target"], nets["qf"]):
                for w_slow, w_fast in zip(slow.parameters(), fast.parameters()):
                    w_slow += args.tau * (w_fast - w_slow)
        return losses


ONE = [(2, 0.0)]
CASES = {
    "CQL": (ONE, {}),
    "CQL, entropy in the target": (ONE, dict(backup_entropy=True, cql_alpha=1.0, learning_rate=1e-3)),
    "SAC-N": (ONE, SAC_N),
    "SAC-N, minimum": (ONE, SAC_N | dict(kappa=0.0)),
    "RD on CQL": (MEMBERS, {}),
    "RD on CQL, uniform, delayed": (MEMBERS, dict(ood="uniform", rd_start=0, policy_frequency=2)),
    "RD on SAC-N": (MEMBERS, SAC_N | dict(rd_switch=1e9)),
    "RD on SAC-N, mean + std": (MEMBERS, SAC_N | dict(kappa_ood=1.0, gamma=0.9, tau=0.1)),
}


@pytest.mark.parametrize("name", CASES)
def test_updates_equal_their_formulas(name):
    """Losses, all networks, the temperature and the stages over six updates."""
    members, changes = CASES[name]
    agent, optimizers, args = make(members, **changes)
    if len(members) > 1 and args.rd_switch == 1.5:  # the last member as if its policy had been far away
        agent.distance[2] = 0.01
    references = [Reference(agent, m, args) for m in range(len(members))]
    for t in range(1, 7):
        batch = batch_of(len(members), seed=t, k=K if args.cql_alpha else 0)
        update_actor = t % args.policy_frequency == 0
        losses = rd.update(agent, optimizers, batch, args, update_actor)
        for m, reference in enumerate(references):
            expected = reference.update(of_members(batch, m), update_actor)
            assert losses.keys() == expected.keys()
            for loss, value in expected.items():
                assert losses[loss][m].item() == pytest.approx(value, rel=1e-6, abs=1e-9), (loss, t)
            found = nets_of(agent, m)
            assert found.pop("log_alpha")[0][0].item() == pytest.approx(reference.log_alpha.item(), abs=1e-9)
            for net in found:
                for arrays, network in zip(found[net], reference.nets[net]):
                    for x, y in zip(arrays, network.parameters()):
                        y = y.mT if y.ndim == 2 else y
                        torch.testing.assert_close(
                            x, y.reshape(x.shape), rtol=0, atol=1e-9, msg=f"{net} at {t}"
                        )
    stages = agent.in_stage_2.tolist()
    assert stages == [reference.z == 1 for reference in references]
    if len(members) > 1:
        assert stages == (3 * [True] if args.rd_switch > 1e6 else [True, True, False])


# ---- the temperature ----


def test_the_temperature_rises_where_the_entropy_is_too_low():
    """Below minus the actions' dimension; each member by itself, at the policy's rate."""
    agent, optimizers, args = make(MEMBERS[:2])
    with torch.no_grad():
        agent.actor[-2].weight.zero_()
        agent.actor[-2].bias.zero_()
        agent.log_std.weight.zero_()
        agent.log_std.bias.copy_(torch.tensor([-3.0, -1.0])[:, None, None])  # entropies about -4.8 and 0.9
    before = agent.log_alpha.detach().clone()
    losses = rd.update(agent, optimizers, batch_of(2), args, True)
    assert losses["entropy"][0] < -ACT < losses["entropy"][1]
    moved = torch.tensor([3e-5, -3e-5], dtype=torch.double)
    torch.testing.assert_close(agent.log_alpha.detach() - before, moved, rtol=1e-4, atol=0)
    torch.testing.assert_close(losses["alpha"], agent.log_alpha.detach().exp())


def test_the_entropy_tends_to_its_target():
    """With critics that stand still."""
    agent, optimizers, args = make([(1, 0.0)], cql_alpha=0.0, policy_learning_rate=0.02, hidden=(16,))
    optimizers["qf"].param_groups[0]["lr"] = 0.0
    entropies = []
    for t in range(400):
        entropies.append(rd.update(agent, optimizers, batch_of(1, t, 0), args, True)["entropy"].item())
    assert entropies[0] > 0 and np.mean(entropies[-50:]) == pytest.approx(-ACT, abs=0.3)


# ---- ensembles and members ----


def test_what_a_seed_draws():
    """Its own, whatever its neighbours; rows and networks as in dmg_offline; nothing of CQL without CQL."""
    args = replace(rd.Args(), batch_size=100, cql_actions=K)

    def draw(*seeds, script=rd, **changes):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return script.draw(generators, 20, 50, ACT, replace(args, **changes) if script is rd else dmg.Args())

    (rows, noise, uniform), alone = draw(1, 2, 7), draw(7)
    assert torch.equal(rows[:, 2:], alone[0]) and rows.shape == (20, 3, 100)
    for x, y, samples in zip((noise, uniform), alone[1:], (2 + 2 * K, 1 + K)):
        assert x.shape == (20, samples, 3, 100, ACT) and torch.equal(x[:, :, 2:], y)
        assert not torch.equal(x[:, :, 0], x[:, :, 1]) and not torch.equal(x[:, 0], x[:, 1])
    assert noise.mean().abs() < 0.01 and noise.std() == pytest.approx(1, abs=0.01) and noise.abs().max() > 4
    assert uniform.mean().abs() < 0.01 and uniform.std() == pytest.approx(3**-0.5, abs=0.01)
    assert uniform.abs().max() <= 1
    assert [x.shape[1] for x in draw(1, cql_alpha=0.0)[1:]] == [2, 1]
    ours = rd.Agent([(5, 0.1)], np.zeros(OBS), np.ones(OBS), ACT, args)
    theirs = dmg.Agent([(5, 0.0, 0.0)], np.zeros(OBS), np.ones(OBS), ACT, args)
    for name in ("actor", "qf", "qf_target"):
        assert_equal(getattr(ours, name).state_dict(), getattr(theirs, name).state_dict())


# ---- runs ----

FAST = [*TINY, *"--hidden 16 16 --cql-actions 3".split()]
LOSSES = "qf_loss actor_loss q_values alpha entropy q_std_data q_std_policy".split()
RD_LOSSES = "cosine cosine_ood phi_norm distance_ratio in_stage_2 q_std_ood".split()


def losses_of(member):
    events = EventAccumulator(str(run_dir() / member)).Reload()
    tags = {tag.removeprefix("losses/") for tag in events.Tags()["scalars"] if "losses" in tag}
    assert all(math.isfinite(event.value) for tag in tags for event in events.Scalars(f"losses/{tag}"))
    return tags


def test_what_members_write(pendulum):
    run("rd_sac", *FAST, *"--seed 1 2 --rd-coef 0 0.01 --rd-start 20 --rd-switch 9".split())
    saved = result()
    members = [(f"seed{seed}_rd_coef{coef}", seed, coef) for seed in (1, 2) for coef in (0.0, 0.01)]
    assert [(member["name"], member["seed"], member["rd_coef"]) for member in saved["members"]] == members
    assert saved["script"] == "rd_sac" and saved["step"] == 40
    for member in saved["members"]:
        assert losses_of(member["name"]) == {*LOSSES, *RD_LOSSES, "cql_gap"}
        assert [entry["step"] for entry in member["evaluations"]] == [0, 10, 20, 30, 40]
        assert member["diverged_at"] is None and len(member["evaluations"][-1]["returns"]) == 2
    assert returns()[0] != returns()[2]


def test_sac_n_without_rd_logs_what_it_has(pendulum):
    flags = "--cql-alpha 0 --critics 4 --kappa 2.5 --backup-entropy --policy-learning-rate 3e-4 --rd-coef 0"
    run("rd_sac", *FAST, *flags.split(), "--offline-steps", 10)
    assert losses_of("seed1") == set(LOSSES)
    state = checkpoint()["optimizers"]
    assert not state["clone"]["state"] and not state["ood_actor"]["state"]
    rates = {name: state[name]["param_groups"][0]["lr"] for name in state}
    assert rates == {name: 3e-4 for name in ("qf", "actor", "log_alpha", "clone", "ood_actor")}


def test_a_killed_run_resumes_bit_for_bit(pendulum):
    """SIGKILL in the third save, before stage 2."""
    options = [*FAST, *"--seed 4 2 --rd-coef 0.01 --rd-start 17 --rd-switch 9 --learning-rate 0.003".split()]
    run("rd_sac", *options, "--runs-dir", "unbroken")
    ended(fork("rd_sac", *options, before=die_at(5)), -signal.SIGKILL)
    state = checkpoint()
    assert state["run"]["step"] == 10 and state["agent"]["updates"].tolist() == [10, 10]
    assert not state["agent"]["in_stage_2"].any() and (state["agent"]["log_alpha"] != 0).all()
    names = ("qf", "actor", "log_alpha", "clone", "ood_actor")
    assert all(state["optimizers"][name]["state"][0]["step"] == 10 for name in names)
    assert len(state["optimizers"]["actor"]["state"]) == 8  # three layers, and the head of the log std
    run("rd_sac", "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert_equal(result("unbroken"), result())
    assert checkpoint()["agent"]["in_stage_2"].all()


REFUSED = {
    "--kappa 2.5 --critics 1": "--critics 2 or more",
    "--cql-alpha -1": "--cql-alpha -1.0: must be finite and not negative",
    "--cql-actions 0": "1 or more",
    "--offline-steps 0": "--offline-steps",
    "--policy-learning-rate nan": "--policy-learning-rate",
    "--policy-frequency 0": "--policy-frequency",
    "--rd-coef 0.1 0.1": "--rd-coef: must be one or more numbers, all different",
    "--hidden": "--hidden",
    "--log-interval 100000": "lower --log-interval",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_bad_flags(flags, pendulum):
    assert REFUSED[flags] in refused("rd_sac", *TINY, *flags.split())


def test_what_is_drawn_at_once_has_a_bound():
    """A gigabyte for HalfCheetah's six dimensions; without CQL it lasts for more updates."""
    args = replace(rd.Args(), device="cpu", seed=(1, 2, 3, 4, 5), rd_coef=(0.0, 1e-3))
    rd.check(args)
    for changes in (dict(log_interval=1000), dict(log_interval=250, seed=tuple(range(10)))):
        with pytest.raises(SystemExit):
            rd.check(replace(args, **changes))
    rd.check(replace(args, log_interval=1000, cql_alpha=0.0))


def test_defaults_and_presets():
    values = dict(
        critics=2,
        kappa=0.0,
        cql_alpha=10.0,
        cql_actions=10,
        backup_entropy=False,
        policy_learning_rate=3e-5,
        hidden=(256, 256, 256),
        policy_frequency=1,
    )
    values |= dict(rd_coef=(1.0,), rd_start=50_000, rd_switch=1.5, ood="policy", kappa_ood=0.0)
    values |= dict(learning_rate=3e-4, tau=0.005, batch_size=256, normalize_observations=True)
    for env_id in ("Hopper-v5", "AntMaze_Large-v4", "D4RLAntMaze/umaze-v2"):
        dataset = SimpleNamespace(id="x", env_spec=SimpleNamespace(id=env_id))
        args = rd.Args(**rd.presets(dataset))
        assert values.items() <= vars(args).items(), env_id
        assert args.step_cost == ("AntMaze" in env_id)
        assert args.gamma == (0.995 if env_id == "AntMaze_Large-v4" else 0.99)
