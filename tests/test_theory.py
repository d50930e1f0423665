"""The paper's theorems (arXiv 2411.07934, Section 3) about the targets that `update` of a script computes.

`update` is run on tables in a finite MDP. With SGD of the right step an update of Q sets every pair of the
batch to its target, which makes it the operator

    T Q(s, a) = R + gamma E_s'[ lam max_mild Q(s', .) + (1 - lam) max_data Q(s', .) ]     (Eq. 6)

where V is the exact maximum over the data's actions of a state, and the policy takes the best action of the
mild area: all actions within eps_a of a data action. lam = 0 is the in-sample operator (Eq. 7).
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_math import SCRIPTS

STATES, GRID = 4, torch.linspace(-1, 1, 33, dtype=torch.float64)
STEP, GAMMA = 1 / 16, 0.9
ROWS = torch.arange(STATES)


class World:
    """A random MDP: two equally likely successors of every (s, a), and one to three data actions a state."""

    def __init__(self, seed, radius=3, per_state=None):
        self.rng = np.random.default_rng(seed)
        self.rewards = torch.tensor(self.rng.normal(size=(STATES, len(GRID))))
        self.next = torch.tensor(self.rng.integers(STATES, size=(2, STATES, len(GRID))))
        self.data = torch.zeros(STATES, len(GRID), dtype=torch.bool)
        for row in self.data:
            row[self.rng.choice(len(GRID), per_state or self.rng.integers(1, 4), replace=False)] = True
        gaps = (GRID[:, None] - GRID).abs().expand(STATES, -1, -1).masked_fill(~self.data[:, None], torch.inf)
        self.distance, self.nearest = gaps.min(-1)
        self.mild = self.distance <= radius * STEP

    def random_q(self, scale=1.0):
        return torch.tensor(scale * self.rng.normal(size=(STATES, len(GRID))))


def best(q, support):
    return q.masked_fill(~support, -torch.inf).max(-1)


def operator(world, lam, script="dmg_offline", slope=None):
    """Q -> Q after one update.

    Without a slope Q is learned in the whole mild area ("oracle generalization"). With one it is learned on
    the data alone, and elsewhere it is that of the nearest data action plus slope times the distance to it.
    """
    pairs = (world.mild if slope is None else world.data).nonzero().repeat(2, 1)
    i, j = pairs.T
    next_states = torch.cat(list(world.next[:, i[: len(i) // 2], j[: len(i) // 2]]))
    batch = (
        i[:, None],
        GRID[j][:, None],
        world.rewards[i, j],
        next_states[:, None],
        torch.zeros(len(i)),
        0.0,
    )

    def apply(q):
        table = torch.stack([q, q + q.abs()]).requires_grad_()  # the minimum of the two is q
        zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)

        def values():
            return table if slope is None else table[:, ROWS[:, None], world.nearest] + slope * world.distance

        def qf(states, actions):
            return values()[:, states[:, 0], ((actions[:, 0] + 1) / STEP).round().long()]

        agent = SimpleNamespace(qf=qf, qf_target=qf, lam=lam)
        agent.vf = lambda states: best(values().detach().amin(0), world.data).values[states[:, 0]] + zero
        agent.actor_target = lambda states: GRID[best(values().amin(0), world.mild).indices[states]]
        optimizers = {"vf": torch.optim.SGD([zero], 0.0), "qf": torch.optim.SGD([table], len(i) / 4)}
        SCRIPTS[script].update(agent, optimizers, batch, SCRIPTS[script].Args(gamma=GAMMA), False)
        return values().detach().amin(0)

    return apply


def fixed_point(step, q):
    for _ in range(200):
        q = step(q)
    return q


def policy_value(world, actions):
    """V of the policy that takes GRID[actions[s]] in state s."""
    moves = torch.nn.functional.one_hot(world.next[:, ROWS, actions], STATES).double().mean(0)
    return torch.linalg.solve(torch.eye(STATES) - GAMMA * moves, world.rewards[ROWS, actions])


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_target_is_eq_6(script):
    world = World(0)
    q = world.random_q()
    for lam in (0.0, 0.3, 1.0):
        mixed = lam * best(q, world.mild).values + (1 - lam) * best(q, world.data).values
        expected = world.rewards + GAMMA * mixed[world.next].mean(0)
        torch.testing.assert_close(operator(world, lam, script)(q)[world.mild], expected[world.mild])


@pytest.mark.parametrize("seed", range(3))
def test_theorem_2_contraction(seed):
    """T contracts by gamma in the mild area, no more and no less: updates converge from anywhere."""
    world = World(seed)
    step, q = operator(world, lam=0.3), world.random_q()
    for other in (world.random_q(), world.random_q(10), torch.where(world.data, -1.0, 1.0).double()):
        after, before = ((a - b)[world.mild].abs().max() for a, b in ((step(q), step(other)), (q, other)))
        assert after <= GAMMA * before + 1e-9
    torch.testing.assert_close((step(q + 1) - step(q))[world.mild], torch.full_like(q[world.mild], GAMMA))
    ends = [fixed_point(step, start)[world.mild] for start in (q, world.random_q(10))]
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("seed", range(3))
def test_theorem_3_performance(seed):
    """Where generalization is right, DMG's policy is in no state worse than the in-sample policy."""
    world, q = World(seed), torch.zeros(STATES, len(GRID), dtype=torch.float64)
    in_sample = policy_value(world, best(fixed_point(operator(world, 0.0), q), world.data).indices)
    q_dmg = fixed_point(operator(world, 0.3), q)
    dmg = policy_value(world, best(q_dmg, world.mild).indices)
    assert (dmg >= in_sample - 1e-9).all() and (dmg > in_sample + 1e-3).any()
    assert (dmg >= best(q_dmg, world.mild).values - 1e-9).all()  # what lam < 1 gives away


def overestimation(world, lam, slope, q, updates=20):
    """Q of DMG minus in-sample Q at the data's actions, after 1, 2, ... updates from the same Q."""
    dmg, in_sample, found = operator(world, lam, slope=slope), operator(world, 0.0, slope=slope), []
    a = b = q
    for _ in range(updates):
        a, b = dmg(a), in_sample(b)
        found.append((a - b)[world.data])
    return torch.stack(found)


def theorem_4_bound(lam, eps_a, k_q, updates=20):
    powers = GAMMA ** torch.arange(1, updates + 1, dtype=torch.float64)
    return (lam * eps_a * k_q * GAMMA * (1 - powers) / (1 - GAMMA))[:, None]


@pytest.mark.parametrize("seed", range(3))
def test_theorem_4_limited_overestimation(seed):
    """However wrong Q is off the data, with slopes up to K_Q: 0 <= Q_DMG - Q_In <= the bound, always."""
    world, k_q = World(seed), 2.0
    q = world.random_q(5)
    for slope in (k_q, -k_q, torch.tensor(world.rng.uniform(-k_q, k_q, q.shape))):
        found = overestimation(world, 0.3, slope, q)
        assert (found >= -1e-9).all() and (found <= theorem_4_bound(0.3, 3 * STEP, k_q) + 1e-9).all()
        assert (overestimation(world, 0.1, slope, q) <= found + 1e-9).all()  # the milder, the less
        assert (overestimation(World(seed, radius=0), 0.3, slope, q).abs() < 1e-9).all()


def test_theorem_4_is_tight():
    """With one data action a state and slope K_Q everywhere the bound is an equality, after every update."""
    world = World(1, per_state=1)
    assert (world.mild.sum(1) >= 4).all()
    found = overestimation(world, 0.3, 2.0, world.random_q())
    torch.testing.assert_close(found, theorem_4_bound(0.3, 3 * STEP, 2.0).expand_as(found))
