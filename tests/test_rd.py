"""RD on TD3+BC and TD3-N: updates against their formulas, the penalty's kernel, the stages, runs."""

import math
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import rd_td3 as rd
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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dmg_offline as dmg

OBS, ACT, BATCH = 5, 3, 16
TD3_N = dict(critics=10, kappa=2.5, bc_weight=0.0, hidden=(16, 16, 16))
BASE, RD = ("actor", "qf", "actor_target", "qf_target"), ("clone", "ood_actor")
MEMBERS = [(1, 0.1), (2, 0.0), (3, 1.0)]


def make(members=MEMBERS, **changes):
    """An agent whose targets are not its networks, its optimizers and arguments."""
    coefs = tuple(rd_coef for _, rd_coef in members)
    args = replace(rd.Args(), **dict(device="cpu", hidden=(24, 24), rd_coef=coefs, rd_start=3) | changes)
    agent = rd.Agent(members, np.zeros(OBS), np.ones(OBS), ACT, args).double()
    for p in (*agent.qf_target.parameters(), *agent.actor_target.parameters()):
        p *= 1.5
    return agent, rd.make_optimizers(agent, args), args


def batch_of(members=3, seed=0):
    """Transitions, noise and uniform actions; a fifth of the transitions end their episode."""
    rng, n = np.random.default_rng(seed), (members, BATCH)
    (s, s2), r, end = rng.normal(size=(2, *n, OBS)), rng.normal(size=n), rng.random(n) < 0.2
    a, noise = rng.uniform(-1, 1, (*n, ACT)), rng.normal(scale=0.4, size=(*n, ACT)).clip(-0.5, 0.5)
    return [
        torch.tensor(x, dtype=torch.double) for x in (s, a, r, s2, end, noise, rng.uniform(-1, 1, a.shape))
    ]


def nets_of(agent, m):
    """Name -> networks of member m, one or a critic each -> copies of their arrays [w1, b1, w2, b2, ...]."""
    found, members = {}, len(agent.in_stage_2)
    for name in (*BASE, *RD):
        parameters = list(getattr(agent, name).parameters())
        rows = range(m, len(parameters[0]), members)
        found[name] = [[p[row].detach().clone() for p in parameters] for row in rows]
    return found


# ---- the updates ----


class Reference:
    """One member in plain PyTorch: every critic by itself, formulas as rd_td3's docstring has them."""

    def __init__(self, nets, args, rd_coef):
        self.nets, self.args, self.rd_coef, self.t, self.z = nets, args, rd_coef, 0, 0
        self.distance = self.clone_distance = 0.0
        self.adam = {}
        for name in ("qf", "actor", *RD):
            parameters = [w.requires_grad_() for net in nets[name] for w in net]
            self.adam[name] = torch.optim.Adam(parameters, args.learning_rate)

    def phi(self, net, *inputs):
        x = torch.cat(inputs, 1)
        for w, b in zip(net[:-2:2], net[1:-2:2]):
            x = torch.relu(x @ w + b)
        return x

    def out(self, net, *inputs):
        return self.phi(net, *inputs) @ net[-2] + net[-1]

    def pi(self, name, s):
        return torch.tanh(self.out(self.nets[name][0], s))

    def q(self, name, s, a):
        return [self.out(net, s, a)[:, 0] for net in self.nets[name]]

    def bound(self, qs, kappa, sign=-1):
        """Mean + sign kappa std; minimum (sign -1) or maximum (sign 1) if kappa is 0."""
        if not kappa:
            return torch.stack(qs).min(0)[0] if sign < 0 else torch.stack(qs).max(0)[0]
        mean = sum(qs) / len(qs)
        return mean + sign * kappa * (sum((q - mean) ** 2 for q in qs) / (len(qs) - 1)).sqrt()

    def step(self, name, loss):
        """A step of Adam with this loss's gradient, which must not reach other networks."""
        parameters = self.adam[name].param_groups[0]["params"]
        for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            p.grad = gradient
        self.adam[name].step()

    def update(self, batch, update_actor):
        s, a, r, s2, d, noise, uniform = batch
        args, nets = self.args, self.nets
        policy_actions = self.pi("actor", s).detach()
        ood_actions = uniform if args.ood == "uniform" else self.pi("ood_actor", s).detach()
        if args.rd_coef != (0.0,):
            clone_loss = ((self.pi("clone", s) - a) ** 2).mean()
            self.step("clone", clone_loss)
            self.t += 1
            self.distance = 0.999 * self.distance + 0.001 * ((policy_actions - a) ** 2).mean().item()
            self.clone_distance = 0.999 * self.clone_distance + 0.001 * clone_loss.item()
            if self.t >= args.rd_start and self.distance <= args.rd_switch * self.clone_distance:
                self.z = 1
        a2 = (self.pi("actor_target", s2) + noise).clamp(-1, 1)
        y = r + args.gamma * (1 - d) * self.bound(self.q("qf_target", s2, a2), args.kappa, -1)
        losses = {"q_values": self.bound(self.q("qf", s, a), args.kappa, -1).mean().item()}
        td, cosines, cosines_ood, norms = 0.0, [], [], []
        for net in nets["qf"]:
            td = td + ((self.out(net, s, a)[:, 0] - y.detach()) ** 2).mean()
            data, policy, ood = (self.phi(net, s, actions) for actions in (a, policy_actions, ood_actions))
            cosines.append(((data * policy).sum(1) / (data.norm(dim=1) * policy.norm(dim=1))).mean())
            cosines_ood.append(((policy * ood).sum(1) / (policy.norm(dim=1) * ood.norm(dim=1))).mean())
            norms.append(data.norm(dim=1).mean())
        losses["q_std_data"] = torch.stack(self.q("qf", s, a)).std(0).mean().item()
        q_std_ood = torch.stack(self.q("qf", s, ood_actions)).std(0).mean().item()
        penalty = sum(cosines_ood if self.z else cosines)
        self.step("qf", td + self.rd_coef * penalty)
        losses["qf_loss"] = td.item()
        if args.rd_coef != (0.0,):
            for name, values in dict(cosine=cosines, cosine_ood=cosines_ood, phi_norm=norms).items():
                losses[name] = (sum(values) / len(values)).item()
            ratio = self.distance / self.clone_distance
            losses |= {"in_stage_2": self.z, "distance_ratio": ratio, "q_std_ood": q_std_ood}
        if update_actor:
            p = self.pi("actor", s)
            qs = self.q("qf", s, p)
            q = self.bound(qs, args.kappa, -1) if args.kappa else qs[0]
            scale = args.q_weight / q.detach().abs().mean() if args.bc_weight else 1
            loss = -scale * q.mean() + args.bc_weight * ((p - a) ** 2).mean()
            losses |= {"actor_loss": loss.item(), "q_std_policy": torch.stack(qs).std(0).mean().item()}
            self.step("actor", loss)
            if args.rd_coef != (0.0,) and args.ood == "policy":
                qs = self.q("qf", s, self.pi("ood_actor", s))
                self.step("ood_actor", -self.bound(qs, args.kappa_ood, 1).mean())
            with torch.no_grad():
                for name in ("actor", "qf"):
                    for slow, fast in zip(nets[f"{name}_target"], nets[name]):
                        for w_slow, w_fast in zip(slow, fast):
                            w_slow += args.tau * (w_fast - w_slow)
        return losses


ONE = [(2, 0.0)]
CASES = {
    "TD3+BC": (ONE, {}),
    "TD3": (ONE, dict(bc_weight=0.0)),
    "TD3-N": (ONE, TD3_N),
    "RD on TD3+BC": (MEMBERS, {}),
    "RD on TD3+BC, stage 1 alone": (MEMBERS, dict(rd_switch=0.0)),
    "RD on TD3+BC, uniform": (MEMBERS, dict(ood="uniform", rd_start=0)),
    "RD on TD3-N": (MEMBERS, TD3_N | dict(rd_switch=1e9)),
    "RD on TD3-N, mean + std": (MEMBERS, TD3_N | dict(kappa_ood=1.0, gamma=0.9, tau=0.1)),
}


@pytest.mark.parametrize("name", CASES)
def test_updates_equal_their_formulas(name):
    """Losses, all networks and what RD remembers over six updates, the actor's in every second."""
    members, changes = CASES[name]
    agent, optimizers, args = make(members, **changes)
    if args.rd_switch == 1.5 and len(members) > 1:  # the last member as if its policy had been far away
        agent.distance[2] = 0.01
    references = []
    for m, rd_coef in enumerate(agent.rd_coef.tolist()):
        references.append(Reference(nets_of(agent, m), args, rd_coef))
        references[m].distance = agent.distance[m].item()
    for t in range(1, 7):
        batch = batch_of(len(members), seed=t)
        losses = rd.update(agent, optimizers, batch, args, t % 2 == 0)
        for m, reference in enumerate(references):
            expected = reference.update([part[m] for part in batch], t % 2 == 0)
            assert losses.keys() == expected.keys()
            for loss, value in expected.items():
                assert losses[loss][m].item() == pytest.approx(value, rel=1e-6, abs=1e-9), loss
            for net, found in nets_of(agent, m).items():
                for x, y in zip(sum(found, []), sum(reference.nets[net], [])):
                    torch.testing.assert_close(x, y.reshape(x.shape), rtol=0, atol=1e-9, msg=f"{net} at {t}")
    stages = agent.in_stage_2.tolist()
    assert stages == [reference.z == 1 for reference in references]
    if len(members) > 1:
        assert stages == (3 * [args.rd_switch > 1e6] if args.rd_switch != 1.5 else [True, True, False])


# ---- the penalty ----


def test_the_penalty_is_the_cosine_of_the_last_layers_kernel():
    """Of the explicit kernel without the bias's part, with its gradient, in either stage."""
    agent, _, _ = make(hidden=(8, 8))
    s, a, *_, ood = batch_of()
    with torch.no_grad():
        phi, p = agent.qf.features(s, a), agent.actor(s)
        assert phi.min() == 0 and phi.shape == (2, 3, BATCH, 8)  # so that cosines are not negative
        torch.testing.assert_close(agent.qf.values(phi), agent.qf(s, a))
    last, hidden = list(agent.qf.net[-1].parameters()), list(agent.qf.net[:-1].parameters())

    def cosine_of(i, m, b, one, other):
        """Of critic i's last layer, member m, between the b-th of the actions `one` and `other`."""
        sides = []
        for actions in (one, other):
            q = agent.qf(s[:, b : b + 1], actions[:, b : b + 1])[i, m, 0]
            weight, bias = (g[3 * i + m] for g in torch.autograd.grad(q, last, create_graph=True))
            assert bias.item() == 1  # the part that is left out
            sides.append(weight.flatten())
        return sides[0] @ sides[1] / (sides[0].norm() * sides[1].norm())

    for stage, (one, other) in enumerate(((a, p), (p, ood))):
        agent.in_stage_2.fill_(stage == 1)
        penalty, losses = rd.rd_penalty(agent, agent.qf.features(s, a), s, p, ood)
        pairs = [(i, m, b) for i in range(2) for m in range(3) for b in range(BATCH)]
        expected = torch.stack([cosine_of(*pair, one, other) for pair in pairs]).view(2, 3, BATCH).mean(-1)
        torch.testing.assert_close(penalty, expected.sum(0))
        torch.testing.assert_close(losses["cosine_ood" if stage else "cosine"], expected.mean(0).detach())
        found = torch.autograd.grad(penalty.sum(), hidden)
        for x, y in zip(found, torch.autograd.grad(expected.sum(), hidden)):
            assert x.abs().max() > 1e-4
            torch.testing.assert_close(x, y)


def test_the_penalty_separates_features():
    """The critics alone learn, from it alone; a stage lowers its own cosine."""
    for stage in (1, 2):
        agent, optimizers, args = make([(1, 1.0)], rd_start=0, rd_switch=0.0)
        agent.in_stage_2.fill_(stage == 2)
        s, a, *_, ood = batch_of(1)
        cosines = []
        for _ in range(100):
            penalty, losses = rd.rd_penalty(agent, agent.qf.features(s, a), s, agent.actor(s).detach(), ood)
            optimizers["qf"].zero_grad()
            penalty.sum().backward()
            optimizers["qf"].step()
            cosines.append(losses["cosine" if stage == 1 else "cosine_ood"].item())
        assert cosines[-1] < 0.8 * cosines[0]


# ---- the stages ----


def test_when_a_member_enters_stage_2():
    """Not before rd_start; then by the ratio, each member for itself; and it does not go back."""
    agent, optimizers, args = make(rd_start=3)
    agent.distance[:], agent.clone_distance[:] = torch.tensor([1.4e6, 1.6e6, 1.6e6]), 1e6
    stages = []
    for t in range(1, 7):
        if t == 5:
            agent.distance[:2] = torch.tensor([1e9, 1.4e6])
        losses = rd.update(agent, optimizers, batch_of(seed=t), args, False)
        stages.append(agent.in_stage_2.tolist())
        assert (
            losses["in_stage_2"].tolist() == agent.in_stage_2.tolist() and agent.updates.tolist() == [t] * 3
        )
        torch.testing.assert_close(losses["distance_ratio"], agent.distance / agent.clone_distance)
    out, first, both = [False] * 3, [True, False, False], [True, True, False]
    assert stages == [out, out, first, first, both, both]


def test_distances_from_the_data():
    """Running means, begun at 0, over the dimensions of the action too; a NaN is in no stage."""
    agent, optimizers, args = make(rd_start=0, rd_switch=1e9)
    with torch.no_grad():
        next(agent.actor.parameters())[1] = torch.nan
    s, a, *_ = batch_of()
    before = [(network(s) - a).square().mean((1, 2)).detach() for network in (agent.actor, agent.clone)]
    rd.update(agent, optimizers, batch_of(), args, False)
    for found, expected in zip((agent.distance, agent.clone_distance), before):
        torch.testing.assert_close(found, 0.001 * expected, equal_nan=True)
    assert agent.in_stage_2.tolist() == [True, False, True]


@pytest.mark.parametrize("kappa_ood", [0.0, 2.0])
def test_the_clone_and_the_ood_policy_learn(kappa_ood):
    """The one imitates, the other climbs: the maximum of critics that stand still, or their mean + 2 std."""
    agent, optimizers, args = make([(1, 0.0), (2, 0.1)], critics=4, kappa_ood=kappa_ood, learning_rate=1e-3)
    optimizers["qf"].param_groups[0]["lr"] = 0.0
    s, a, *others = batch_of(2)

    def errors_and_heights():
        q = agent.qf(s, agent.ood_actor(s))
        heights = q.mean(0) + 2 * q.std(0) if kappa_ood else q.amax(0)
        return (agent.clone(s) - a).square().mean((1, 2)), heights.mean(1)

    errors, heights = errors_and_heights()
    for _ in range(100):
        rd.update(agent, optimizers, [s, a, *others], args, True)
    later_errors, later_heights = errors_and_heights()
    assert (later_errors < 0.8 * errors).all() and (later_heights > heights + 0.01).all()


# ---- ensembles and members ----


def test_a_seeds_base_does_not_depend_on_rd():
    """The networks begin as those of dmg_offline, and its first batches and noise are the same."""
    args = replace(rd.Args(), batch_size=100)

    def draw(*seeds, script=rd):
        return script.draw([torch.Generator().manual_seed(seed) for seed in seeds], 50, 20, ACT, args)

    (rows, noise, uniform), alone, of_dmg = draw(1, 2, 7), draw(7), draw(1, 2, 7, script=dmg)
    assert torch.equal(rows, of_dmg[0]) and torch.equal(noise, of_dmg[1])
    assert all(torch.equal(x[:, 2:], y) for x, y in zip((rows, noise, uniform), alone))
    assert uniform.shape == noise.shape == (50, 3, 100, ACT) and not torch.equal(uniform[:, 0], uniform[:, 1])
    assert uniform.abs().max() <= 1 and uniform.mean().abs() < 0.02
    assert uniform.std().item() == pytest.approx(3**-0.5, rel=0.02)
    ours = rd.Agent([(5, 0.1)], np.zeros(OBS), np.ones(OBS), ACT, args)
    theirs = dmg.Agent([(5, 0.0, 0.0)], np.zeros(OBS), np.ones(OBS), ACT, args)
    for name in BASE:
        assert_equal(getattr(ours, name).state_dict(), getattr(theirs, name).state_dict())
    ensemble = make(**TD3_N)[0].qf.net[0].weight.detach().flatten(1)
    assert torch.pdist(ensemble).min() > 0.1  # critics and members begin differently


# ---- runs ----

FAST = [*TINY, "--hidden", 16, 16]


def scalars(member):
    """Tag without its group -> [(step, value), ...] of a member's TensorBoard folder."""
    events = EventAccumulator(str(run_dir() / member)).Reload()
    tags = events.Tags()["scalars"]
    return {tag.split("/")[1]: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def test_what_members_write(pendulum):
    run("rd_td3", *FAST, *"--seed 1 2 --rd-coef 0 0.01 --rd-start 20 --rd-switch 9".split())
    saved = result()
    members = [(f"seed{seed}_rd_coef{coef}", seed, coef) for seed in (1, 2) for coef in (0.0, 0.01)]
    assert [(member["name"], member["seed"], member["rd_coef"]) for member in saved["members"]] == members
    assert saved["script"] == "rd_td3" and saved["step"] == 40 and saved["args"]["rd_coef"] == [0.0, 0.01]
    tags = "qf_loss actor_loss q_values cosine cosine_ood phi_norm distance_ratio in_stage_2"
    tags += " q_std_data q_std_policy q_std_ood SPS episodic_return normalized_score"
    for member in saved["members"]:
        found, entries = scalars(member["name"]), member["evaluations"]
        assert found.keys() == set(tags.split())
        assert found["in_stage_2"][2:5] == [(15, 0), (20, 1), (25, 1)]
        assert [entry["step"] for entry in entries] == [0, 10, 20, 30, 40]
        assert all(math.isfinite(entry["q_mean"]) for entry in entries[1:])
        for name in ("cosine", "phi_norm"):
            logged = [dict(found[name])[step] for step in (10, 20, 30, 40)]
            assert [entry[name] for entry in entries[1:]] == pytest.approx(logged)
        assert member["diverged_at"] is None and len(entries[-1]["returns"]) == 2
    assert returns()[0] != returns()[1] != returns()[3]


def test_a_single_critic_and_the_base_alone(pendulum):
    """They log what they have: no spread of one critic, nothing of RD."""
    run("rd_td3", *FAST, "--critics", 1, "--rd-coef", 0, "--offline-steps", 10)
    plain = {"qf_loss", "actor_loss", "q_values", "SPS", "episodic_return", "normalized_score"}
    assert scalars("seed1").keys() == plain
    state = checkpoint()["optimizers"]
    assert state["qf"]["state"] and not state["clone"]["state"] and not state["ood_actor"]["state"]


def test_a_killed_run_resumes_bit_for_bit(pendulum):
    """SIGKILL in the third save; one seed is in stage 2 by then, the other enters it later."""
    options = [
        *FAST,
        *"--seed 4 2 --rd-coef 0.01 --rd-start 8 --rd-switch 1.05 --learning-rate 0.003".split(),
    ]
    run("rd_td3", *options, "--runs-dir", "unbroken")
    ended(fork("rd_td3", *options, before=die_at(5)), -signal.SIGKILL)
    state = checkpoint()
    assert state["run"]["step"] == 10 and state["agent"]["updates"].tolist() == [10, 10]
    assert state["agent"]["in_stage_2"].tolist() == [True, False] and (state["agent"]["distance"] > 0).all()
    assert all(state["optimizers"][name]["state"] for name in ("qf", "actor", "clone", "ood_actor"))
    run("rd_td3", "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert_equal(result("unbroken"), result())
    assert checkpoint()["agent"]["in_stage_2"].all() and checkpoint()["agent"]["updates"].tolist() == [40, 40]


REFUSED = {
    "--kappa 2.5 --critics 1": "--critics 2 or more",
    "--kappa-ood 1 --critics 1": "--critics 2 or more",
    "--kappa -1": "--kappa -1.0: must be finite and not negative",
    "--rd-coef nan": "--rd-coef",
    "--rd-coef 0.1 0.1": "--rd-coef: must be one or more numbers, all different",
    "--hidden": "--hidden",
    "--critics 0": "1 or more",
    "--offline-steps 0": "--offline-steps",
    "--gamma 1.1": "--gamma",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_bad_flags(flags, pendulum):
    assert REFUSED[flags] in refused("rd_td3", *TINY, *flags.split())


@pytest.mark.parametrize("script", ["rd_td3", "rd_sac"])
def test_ood_has_two_choices(script):
    assert "--ood" in run(script, "--ood", "other", code=2).err


def test_defaults_and_presets():
    values = dict(
        critics=2,
        kappa=0.0,
        q_weight=2.5,
        bc_weight=1.0,
        policy_frequency=2,
        hidden=(256, 256),
        policy_noise=0.2,
        noise_clip=0.5,
    )
    values |= dict(rd_coef=(1.0,), rd_start=50_000, rd_switch=1.5, ood="policy", kappa_ood=0.0)
    values |= dict(learning_rate=3e-4, tau=0.005, batch_size=256, normalize_observations=True)
    for env_id in ("Hopper-v5", "AntMaze_Large-v4", "D4RLAntMaze/umaze-v2"):
        dataset = SimpleNamespace(id="x", env_spec=SimpleNamespace(id=env_id))
        args = rd.Args(**rd.presets(dataset))
        assert values.items() <= vars(args).items(), env_id
        assert args.step_cost == ("AntMaze" in env_id)
        assert args.gamma == (0.995 if env_id == "AntMaze_Large-v4" else 0.99)
