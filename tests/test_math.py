"""The update of dmg_offline.py against an independent NumPy implementation, in float64 and with gradients by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import dmg_offline as dmg

OBS, ACT, BATCH = 5, 3, 16
ARGS = dmg.Args(
    batch_size=BATCH, offline_steps=40, tau=0.005, nu=(0.1,), inverse_temperature=3.0, max_weight=3.0, expectile=0.7,
    log_interval=10, device="cpu", mode="eager",
)  # fmt: skip


def transitions(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    parts = (rng.normal(size=(rows, OBS)), rng.uniform(-1, 1, (rows, ACT)), rng.normal(size=(rows, 1)))
    parts += (rng.normal(size=(rows, OBS)), rng.random((rows, 1)) < 0.2)
    return torch.tensor(np.concatenate(parts, 1), dtype=torch.float32), [OBS, ACT, 1, OBS, 1]


def make(members=((1, 0.25, 0.1),), args=ARGS):
    agent = dmg.Agent(list(members), np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT)
    return agent, dmg.make_optimizers(agent, args)


def batch_of(members=1, seed=0):
    rows, widths = transitions(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(len(rows), (members, BATCH), generator=generator)
    noise = (0.2 * torch.randn(members, BATCH, ACT, generator=generator)).clamp(-0.5, 0.5)
    return rows[index].split(widths, -1), noise


# ---- the reference: one member, lists of [w1, b1, w2, b2, w3, b3] with w of shape (in, out) ----


def weights_of(mlp, head=0):
    w1, b1, w2, b2, w3, b3 = (layer[head].detach().double().numpy().copy() for layer in mlp.layers)
    return [w1, b1[0], w2, b2[0], w3.T, b3[0]]


def forward(net, x):
    h1 = np.maximum(x @ net[0] + net[1], 0)
    h2 = np.maximum(h1 @ net[2] + net[3], 0)
    return h2 @ net[4] + net[5], (x, h1, h2)


def backward(net, cache, gradient):
    """-> gradients of the six arrays and of the input."""
    x, h1, h2 = cache
    g2 = (gradient @ net[4].T) * (h2 > 0)
    g1 = (g2 @ net[2].T) * (h1 > 0)
    grads = [x.T @ g1, g1.sum(0), h1.T @ g2, g2.sum(0), h2.T @ gradient, gradient.sum(0)]
    return grads, g1 @ net[0].T


class ReferenceAdam:
    def __init__(self, net):
        self.m, self.v, self.t = [0 * w for w in net], [0 * w for w in net], 0

    def step(self, net, grads, lr):
        self.t += 1
        for i, gradient in enumerate(grads):
            self.m[i] = 0.9 * self.m[i] + 0.1 * gradient
            self.v[i] = 0.999 * self.v[i] + 0.001 * gradient**2
            m, v = self.m[i] / (1 - 0.9**self.t), self.v[i] / (1 - 0.999**self.t)
            net[i] -= lr * m / (np.sqrt(v) + 1e-8)


class Reference:
    """Algorithm 1 for one member, written from the paper's equations and the authors' constants."""

    def __init__(self, agent, args, lam, nu):
        self.actor, self.q, self.v = (
            weights_of(agent.actor),
            [weights_of(agent.qf, h) for h in (0, 1)],
            weights_of(agent.vf),
        )
        self.actor_target = [w.copy() for w in self.actor]
        self.q_target = [[w.copy() for w in net] for net in self.q]
        self.adam = {"actor": ReferenceAdam(self.actor), "v": ReferenceAdam(self.v)}
        self.adam_q = [ReferenceAdam(net) for net in self.q]
        self.args, self.lam, self.nu, self.updates, self.actor_updates = args, lam, nu, 0, 0

    def min_q(self, nets, s, a):
        return np.minimum(*(forward(net, np.concatenate([s, a], 1))[0] for net in nets))

    def update(self, batch, noise):
        s, a, r, s2, d = (part[0].double().numpy() for part in batch)
        args, n = self.args, len(s)
        self.updates += 1
        q_data = self.min_q(self.q_target, s, a)
        v, cache = forward(self.v, s)
        factor = np.where(q_data - v > 0, args.expectile, 1 - args.expectile)  # Eq. (15)
        self.adam["v"].step(self.v, backward(self.v, cache, -2 * factor * (q_data - v) / n)[0], args.learning_rate)

        a2 = np.clip(np.tanh(forward(self.actor_target, s2)[0]) + noise[0].double().numpy(), -1, 1)
        mixed = self.lam * self.min_q(self.q_target, s2, a2) + (1 - self.lam) * forward(self.v, s2)[0]
        target = r + args.gamma * (1 - d) * mixed  # Eq. (16)
        for net, adam in zip(self.q, self.adam_q, strict=True):
            q, cache = forward(net, np.concatenate([s, a], 1))
            adam.step(net, backward(net, cache, 2 * (q - target) / n)[0], args.learning_rate)

        if self.updates % args.policy_frequency:
            return
        weight = np.minimum(np.exp(args.inverse_temperature * (q_data - forward(self.v, s)[0])), args.max_weight)
        raw, cache = forward(self.actor, s)
        p = np.tanh(raw)
        outs = [forward(net, np.concatenate([s, p], 1)) for net in self.q]
        q = np.minimum(outs[0][0], outs[1][0])
        scale = args.q_weight / np.abs(q).mean()
        gradient = 2 * self.nu * weight * (p - a) / p.size  # Eq. (14): towards the data
        for head, net in enumerate(self.q):
            chosen = outs[head][0] == q
            gradient += backward(net, outs[head][1], -scale / n * chosen)[1][:, OBS:]  # and up the smaller Q
        horizon = args.offline_steps // args.policy_frequency
        lr = args.learning_rate * 0.5 * (1 + np.cos(np.pi * self.actor_updates / horizon))
        self.actor_updates += 1
        self.adam["actor"].step(self.actor, backward(self.actor, cache, gradient * (1 - p**2))[0], lr)
        pairs = [(self.actor_target, self.actor), *zip(self.q_target, self.q, strict=True)]
        for slow, fast in pairs:
            for w_slow, w_fast in zip(slow, fast, strict=True):
                w_slow += args.tau * (w_fast - w_slow)


def assert_same(reference, agent, tolerance):
    pairs = [("actor", 0, reference.actor), ("vf", 0, reference.v), ("actor_target", 0, reference.actor_target)]
    pairs += [
        (name, h, nets[h]) for name, nets in (("qf", reference.q), ("qf_target", reference.q_target)) for h in (0, 1)
    ]
    for name, head, net in pairs:
        for ours, theirs in zip(weights_of(getattr(agent, name), head), net, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize(
    "changes, lam, nu",
    [({}, 0.25, 0.1), ({}, 0.0, 0.5), ({}, 1.0, 0.0), ({"q_weight": 0.0, "max_weight": 100.0}, 0.0, 1.0),
     ({"expectile": 0.9, "inverse_temperature": 10.0, "max_weight": 100.0, "policy_frequency": 3}, 0.5, 2.0),
     ({"gamma": 0.9, "tau": 0.1, "learning_rate": 1e-3, "policy_frequency": 1}, 0.75, 0.1)],
)  # fmt: skip
def test_ten_complete_updates_equal_the_reference(changes, lam, nu):
    """V, Q, policy, both targets, Adam, the delay and the learning rate's cosine, from the same batches."""
    args = replace(ARGS, **changes)
    agent, optimizers = make([(1, lam, nu)], args)
    reference = Reference(agent, args, lam, nu)
    start = weights_of(agent.actor)
    for number in range(1, 11):
        batch, noise = batch_of(seed=number)
        dmg.update(agent, optimizers, batch, noise, args, number % args.policy_frequency == 0)
        reference.update(batch, noise)
        assert_same(reference, agent, tolerance=3e-5)
    assert max(np.abs(a - b).max() for a, b in zip(start, weights_of(agent.actor), strict=True)) > 3e-4  # it did move


def test_lam_0_is_iqls_target_and_lam_1_is_td3s():
    """At lam = 0 the policy's target network has no part in Q, at lam = 1 the value network has none."""
    for lam, outsider, insider in ((0.0, "actor_target", "vf"), (1.0, "vf", "actor_target")):
        after = {}
        for changed in (None, outsider, insider):
            agent, optimizers = make([(1, lam, 0.1)])
            if changed:
                with torch.no_grad():
                    for layer in getattr(agent, changed).layers:
                        layer.mul_(1.5)
            dmg.update(agent, optimizers, *batch_of(), ARGS, False)
            after[changed] = torch.cat([layer.flatten() for layer in agent.qf.layers])
        assert torch.equal(after[None], after[outsider])
        assert not torch.equal(after[None], after[insider])


def test_expectile_loss_values():
    advantage = torch.tensor([[[-2.0], [1.0], [0.0], [3.0]]])
    loss = dmg.value_loss(advantage, replace(ARGS, expectile=0.9))
    assert loss.tolist() == pytest.approx([(0.1 * 4 + 0.9 * 1 + 0.9 * 9) / 4])
    half = dmg.value_loss(advantage, replace(ARGS, expectile=0.5))
    assert half.tolist() == pytest.approx([0.5 * 14 / 4])


def test_expectile_of_a_gaussian():
    """Minimiser of the loss for Q ~ N(0, 3^2): 1.011 at 0.7 and 2.585 at 0.9."""
    q = 3 * torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for expectile, value in ((0.7, 1.011), (0.9, 2.585)):
        v = torch.zeros((), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([v], max_iter=50)
        optimizer.step(lambda v=v, e=expectile: _loss_with_gradient(v, q, e))
        assert v.item() == pytest.approx(value, abs=0.02)


def _loss_with_gradient(v, q, expectile):
    v.grad = None
    loss = dmg.value_loss((q - v).view(1, -1, 1), replace(ARGS, expectile=expectile)).sum()
    loss.backward()
    return loss


def test_weight_is_capped_and_a_larger_nu_pulls_towards_the_data():
    batch, noise = batch_of()
    distances = []
    for nu in (0.0, 100.0):
        agent, optimizers = make([(1, 0.25, nu)])
        for _ in range(50):
            losses = dmg.update(agent, optimizers, batch, noise, replace(ARGS, offline_steps=1000), True)
        distances.append((agent.actor(batch[0]) - batch[1]).square().mean().item())
        assert losses["losses/weight"].item() <= ARGS.max_weight
    assert distances[1] < 0.2 * distances[0]
    agent, optimizers = make()
    with torch.no_grad():
        agent.qf_target.layers[5].fill_(1000)  # a huge advantage everywhere
    losses = dmg.update(agent, optimizers, batch, noise, ARGS, True)
    assert losses["losses/weight"].item() == ARGS.max_weight


def test_the_policy_goes_up_q_whatever_the_scale_of_q():
    """nu = 0: the policy's Q grows; q_scale makes the step the same when Q is a hundred times larger."""
    steps = []
    for scale in (1.0, 100.0):
        agent, optimizers = make([(1, 0.25, 0.0)])
        batch, noise = batch_of()
        with torch.no_grad():
            agent.qf.layers[4].mul_(scale), agent.qf.layers[5].mul_(scale)
            before = agent.qf(batch[0], agent.actor(batch[0])).amin(1).mean()
        optimizers["qf"].param_groups[0]["lr"].zero_()  # hold Q still, look at the policy alone
        for _ in range(5):
            dmg.update(agent, optimizers, batch, noise, ARGS, True)
        assert agent.qf(batch[0], agent.actor(batch[0])).amin(1).mean() > before
        steps.append(torch.cat([layer.detach().flatten() for layer in agent.actor.layers]))
    torch.testing.assert_close(steps[0], steps[1], atol=1e-5, rtol=0)


def test_actor_and_targets_move_only_every_second_update():
    agent, optimizers = make()
    run_block = dmg.make_block_runner(agent, optimizers, *transitions(), [torch.Generator().manual_seed(1)], ARGS)
    slow = [*agent.actor.parameters(), *agent.actor_target.parameters(), *agent.qf_target.parameters()]
    moved = []
    for step in range(6):
        before = [p.clone() for p in slow]
        run_block(step, 1)
        moved.append(all(not torch.equal(old, new) for old, new in zip(before, slow, strict=True)))
        assert moved[-1] or all(torch.equal(old, new) for old, new in zip(before, slow, strict=True))
    assert moved == [False, True, False, True, False, True]


def test_cosine_schedule():
    """learning_rate at the first actor update, half of it half way, nearly 0 at the last, and never on V or Q."""
    args = replace(ARGS, offline_steps=40)
    agent, optimizers = make(args=args)
    rates = []
    for _ in range(20):
        dmg.update(agent, optimizers, *batch_of(), args, True)
        rates.append(optimizers["actor"].param_groups[0]["lr"].item())
    expected = [3e-4 * (1 + np.cos(np.pi * k / 20)) / 2 for k in range(20)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert (
        optimizers["vf"].param_groups[0]["lr"].item()
        == optimizers["qf"].param_groups[0]["lr"].item()
        == pytest.approx(3e-4)
    )


def test_initialisation_is_pytorchs_and_of_the_seed():
    agent, _ = make([(1, 0.25, 0.1), (2, 0.25, 0.1)])
    alone, _ = make([(2, 0.25, 0.1)])
    for fan_in, layer in zip((OBS, OBS, 256, 256, 256, 256), agent.actor.layers, strict=True):
        assert layer.abs().max() <= fan_in**-0.5
    assert agent.actor.layers[2].std().item() == pytest.approx(256**-0.5 / 3**0.5, rel=0.01)
    for name in ("actor", "qf", "vf"):
        heads = getattr(agent, name).heads
        for both, single in zip(getattr(agent, name).layers, getattr(alone, name).layers, strict=True):
            assert torch.equal(both[heads:], single)
    assert not torch.equal(agent.qf.layers[0][0], agent.qf.layers[0][1])  # the two heads differ


def test_layer_norm_is_pytorchs_and_of_v_alone():
    """With the same weights, V is that of nn.Linear, nn.LayerNorm and nn.ReLU; policy and Q do not know of it."""
    members = [(1, 0.25, 0.1), (2, 0.25, 0.1)]
    agent = dmg.Agent(members, np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT, layer_norm=True)
    plain, _ = make(members)
    observations = torch.randn(2, BATCH, OBS, generator=torch.Generator().manual_seed(0))
    for m in range(2):
        weights = [torch.tensor(array, dtype=torch.float32).T for array in weights_of(agent.vf, m)]
        norm = torch.nn.LayerNorm(256, elementwise_affine=False)
        hidden = torch.nn.functional.linear(observations[m], *weights[:2])
        hidden = torch.nn.functional.linear(norm(hidden).relu(), *weights[2:4])
        expected = torch.nn.functional.linear(norm(hidden).relu(), *weights[4:])
        torch.testing.assert_close(agent.vf(observations)[m], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(agent.vf(observations), plain.vf(observations), atol=1e-2)
    assert torch.equal(agent.actor(observations), plain.actor(observations))
    actions = torch.zeros(2, BATCH, ACT)
    assert torch.equal(agent.qf(observations, actions), plain.qf(observations, actions))


def run_members(seeds, updates=30, poison=None):
    agent, optimizers = make([(seed, 0.25, 0.1) for seed in seeds])
    if poison is not None:
        with torch.no_grad():
            agent.qf.layers[0][2 * poison] = float("nan")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    run_block = dmg.make_block_runner(agent, optimizers, *transitions(), generators, ARGS)
    for step in range(0, updates, 10):
        run_block(step, 10)
    return agent


def member(agent, i):
    networks = (agent.actor, agent.qf, agent.vf, agent.qf_target)
    return [p.detach()[i * net.heads : (i + 1) * net.heads] for net in networks for p in net.layers]


def test_a_member_among_five_is_the_run_alone():
    five = run_members((3, 1, 4, 5, 9))
    for i, seed in enumerate((3, 1, 4, 5, 9)):
        for together, alone in zip(member(five, i), member(run_members((seed,)), 0), strict=True):
            torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)
    assert not torch.allclose(member(five, 0)[0], member(five, 1)[0])


def test_a_nan_stays_with_its_member():
    clean, poisoned = run_members((1, 2, 3, 4, 5)), run_members((1, 2, 3, 4, 5), poison=2)
    for i in range(5):
        same = [torch.equal(a, b) for a, b in zip(member(clean, i), member(poisoned, i), strict=True)]
        assert all(same) == (i != 2)
    assert member(poisoned, 2)[0].isnan().any()


def test_batches_do_not_depend_on_the_neighbours():
    def rows_seen(seeds, blocks):
        agent, optimizers = make([(seed, 0.25, 0.1) for seed in seeds])
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        seen = []
        original = dmg.update
        dmg.update = lambda agent, optimizers, batch, noise, args, update_actor: (
            seen.append((batch[0][-1], noise[-1])) or {}
        )
        try:
            run_block = dmg.make_block_runner(agent, optimizers, *transitions(), generators, ARGS)
            step = 0
            for n in blocks:
                run_block(step, n)
                step += n
        finally:
            dmg.update = original
        return [torch.stack(part) for part in zip(*seen, strict=True)]

    alone, among = rows_seen((7,), (10, 10)), rows_seen((1, 2, 7), (10, 10))
    assert torch.equal(alone[0], among[0]) and torch.equal(alone[1], among[1])
    assert not torch.equal(alone[0][0], alone[0][1])


def test_an_update_asks_nothing_of_the_host():
    """Tensors without values: reading one, as .item() or an if would, raises. So a GPU is never waited for."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        agent, optimizers = make([(1, 0.25, 0.1), (2, 0.5, 0.1)])
        for update_actor in (False, True):
            batch = [torch.zeros(2, BATCH, n) for n in (OBS, ACT, 1, OBS, 1)]
            losses = dmg.update(agent, optimizers, batch, torch.zeros(2, BATCH, ACT), ARGS, update_actor)
        with pytest.raises(DataDependentOutputException):
            losses["losses/vf_loss"].tolist()


def test_updates_work_in_place():
    """A CUDA graph goes on with the memory it was captured with: nothing that lasts may move."""

    def addresses():
        state = [t for optimizer in optimizers.values() for s in optimizer.state.values() for t in s.values()]
        rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers.values()]
        return [t.data_ptr() for t in (*agent.state_dict().values(), *state, *rates)]

    agent, optimizers = make()
    run_block = dmg.make_block_runner(agent, optimizers, *transitions(), [torch.Generator().manual_seed(1)], ARGS)
    run_block(0, 4)  # Adam makes its state in the first update
    before, values = addresses(), [t.clone() for t in agent.state_dict().values()]
    run_block(4, 6)
    assert addresses() == before
    assert not all(torch.equal(old, new) for old, new in zip(values, agent.state_dict().values(), strict=True))


def test_medium_precision_changes_the_losses_little():
    """bfloat16 in the hidden layers (8 bits of mantissa); outputs are not rounded to it."""
    ends = {}
    try:
        for precision in ("highest", "medium"):
            torch.set_float32_matmul_precision(precision)
            agent, optimizers = make()
            rows, widths = transitions()
            runner = dmg.make_block_runner(agent, optimizers, rows, widths, [torch.Generator().manual_seed(1)], ARGS)
            ends[precision] = {name: loss.item() for name, loss in runner(0, 10).items()}
            q = agent.qf(*rows[None, :BATCH].split(widths, -1)[:2])
            assert q.dtype == torch.float32 and not torch.equal(q, q.bfloat16().float())
    finally:
        torch.set_float32_matmul_precision("highest")
    for name, loss in ends["highest"].items():
        assert ends["medium"][name] == pytest.approx(loss, rel=0.03, abs=0.01), name
        assert ends["medium"][name] != loss, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_ends_where_eager_updates_end():
    """Also that the schedule goes on inside the graph: both end at the same learning rate."""
    torch.cuda.set_stream(torch.cuda.Stream())
    ends, rates = [], []
    for mode in ("eager", "cudagraph"):
        args = replace(ARGS, mode=mode, device="cuda", offline_steps=200)
        agent = dmg.Agent(
            [(1, 0.25, 0.1), (2, 0.5, 0.1)], np.zeros(OBS, np.float32), np.ones(OBS, np.float32), ACT
        ).cuda()
        optimizers = dmg.make_optimizers(agent, args)
        rows, widths = transitions()
        generators = [torch.Generator("cuda").manual_seed(seed) for seed in (1, 2)]
        run_block = dmg.make_block_runner(agent, optimizers, rows.cuda(), widths, generators, args)
        for step in range(0, 100, 10):
            run_block(step, 10)
        ends.append([p.detach().cpu() for p in agent.parameters()])
        rates.append(optimizers["actor"].param_groups[0]["lr"].item())
    assert rates[0] == rates[1] < 3e-4
    for eager, graph in zip(*ends, strict=True):
        torch.testing.assert_close(eager, graph, atol=1e-4, rtol=0)
