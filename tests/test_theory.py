"""The five theorems of the DMG paper as numerical checks (arXiv 2411.07934, Section 3 and Appendix B).

Setting, common to all tests. A finite MDP with known rewards R(s, a) and transitions P(s' | s, a), actions
on a one-dimensional grid. The data set is a handful of actions in every state, so that every next state is in
the data, as the theorems need. It gives two supports:

    data[s, a]   a is a data action of s                       (the support of the empirical behaviour policy)
    mild[s, a]   a is within eps_a of a data action of s       (the support of the mildly generalized policy)

    T_In  Q(s, a) = R + gamma E_s'[ max_data Q(s', .) ]                                              (Eq. 7)
    T_DMG Q(s, a) = R + gamma E_s'[ lam max_mild Q(s', .) + (1 - lam) max_data Q(s', .) ]            (Eq. 6)

R and P are known and expectations are exact: what is tested is the algebra, not sampling. Each theorem has
its check, and each check is also run on planted violations, which it has to catch. A failing property prints
its seed.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

ACTIONS = np.linspace(-1.0, 1.0, 65)  # spacing 1/32 is exact in binary, so distances compare exactly with eps_a
SPACING = ACTIONS[1] - ACTIONS[0]
STATES = 4
TOLERANCE = 1e-9

PROPERTY = settings(derandomize=True, database=None, deadline=None, max_examples=150)
SEEDS = st.integers(0, 2**32 - 1)
LAMS = st.floats(0.0, 1.0)
GAMMAS = st.floats(0.0, 0.95)
RADII = st.integers(0, 12)  # eps_a in grid steps


# --- finite MDPs ----------------------------------------------------------------------------------------


class MDP(NamedTuple):
    rewards: np.ndarray  # (S, A)
    transitions: np.ndarray  # (S, A, S)
    start: np.ndarray  # (S,)
    gamma: float


def random_mdp(rng, gamma, state_rewards=False):
    """Rewards and transitions are smooth in the action; `state_rewards`: R of the state alone."""

    def wave():
        frequency, phase = rng.uniform(0.5, 4.0, (STATES, 1)), rng.uniform(0.0, 2 * np.pi, (STATES, 1))
        return np.sin(frequency * ACTIONS + phase)

    rewards = rng.uniform(-1.0, 1.0, (STATES, 1)) + (0.0 if state_rewards else 1.0) * wave()
    weight = 0.5 + 0.5 * wave()[:, :, None]
    one, other = rng.dirichlet(np.full(STATES, 0.5), (2, STATES, 1))
    return MDP(rewards, weight * one + (1 - weight) * other, rng.dirichlet(np.ones(STATES)), gamma)


def random_data(rng, per_state=None):
    """One to four data actions in every state, or exactly `per_state`."""
    data = np.zeros((STATES, len(ACTIONS)), dtype=bool)
    for row in data:
        row[rng.choice(len(ACTIONS), per_state or rng.integers(1, 5), replace=False)] = True
    return data


def nearest_data_action(data):
    """For every (s, a): the index of the nearest data action of s, and the distance to it."""
    distances = np.where(data[:, None, :], np.abs(ACTIONS[:, None] - ACTIONS[None, :]), np.inf)
    return distances.argmin(axis=2), distances.min(axis=2)


def widen(data, eps_a):
    return nearest_data_action(data)[1] <= eps_a


def best(q, support):
    return np.where(support, q, -np.inf).max(axis=1)


def greedy(q, support):
    """The deterministic policy argmax_support Q, as a matrix of probabilities (S, A)."""
    return np.eye(len(ACTIONS))[np.where(support, q, -np.inf).argmax(axis=1)]


def backup(mdp, next_values):
    return mdp.rewards + mdp.gamma * mdp.transitions @ next_values


def dmg_operator(mdp, data, mild, lam):
    return lambda q: backup(mdp, lam * best(q, mild) + (1 - lam) * best(q, data))


def in_sample_operator(mdp, data):
    return lambda q: backup(mdp, best(q, data))


def fixed_point(operator):
    q = np.zeros((STATES, len(ACTIONS)))
    for _ in range(2000):
        previous, q = q, operator(q)
        if np.abs(q - previous).max() < 1e-13:
            break
    return q


def policy_value(mdp, policy):
    """V of a policy (S, A), from the linear Bellman equation."""
    transitions = np.einsum("sa,sat->st", policy, mdp.transitions)
    return np.linalg.solve(np.eye(STATES) - mdp.gamma * transitions, (policy * mdp.rewards).sum(axis=1))


def occupancy(mdp, policy):
    """d(s) = (1 - gamma) sum_t gamma^t P(s_t = s)."""
    transitions = np.einsum("sa,sat->st", policy, mdp.transitions)
    return (1 - mdp.gamma) * np.linalg.solve(np.eye(STATES) - mdp.gamma * transitions.T, mdp.start)


def performance(mdp, policy):
    return mdp.start @ policy_value(mdp, policy)


def lipschitz(table):
    """The Lipschitz constant along the action axis of (S, A) or (S, A, S), entry by entry."""
    return np.abs(np.diff(table, axis=1)).max() / SPACING


def extrapolate(q, data, slope):
    """Keeps Q on the data; elsewhere Q(nearest data action) + slope * distance, slope a number or (S, A).

    |slope| <= K_Q is all that Theorems 4 and 5 use of Assumption 2 (a K_Q-Lipschitz Q): their proofs compare
    an action of the mild area with the data action next to it, and no other pair. slope = K_Q overestimates
    the most.
    """
    nearest, distance = nearest_data_action(data)
    return np.take_along_axis(q, nearest, axis=1) + slope * distance


# --- Theorem 1: what a gradient step at (s, a) does to a nearby action ----------------------------------
#
#     Q_theta'(s, a~) = Q_theta(s, a~) + C1 (T_u Q(s, a~) - Q(s, a~) + C2 |a~ - a|) + O(|theta' - theta|^2)
#
# with theta' = theta + alpha (T_u Q(s, a) - Q(s, a)) grad Q(s, a), where T_u is the backup with the maximum
# over any support u, C1 = alpha grad Q(s, a~) . grad Q(s, a) is in [0, 1], and
# |C2| <= K_Q + K_R + gamma K_P |S| Q_max.


def cosine_features(rng, width=6):
    """phi[s, a, i], smooth in a. Q = phi @ theta is linear in theta, hence grad Q = phi and no O(.) term."""
    frequency = rng.uniform(0.5, 2.0, (STATES, 1, width))
    phase = rng.uniform(0.0, 2 * np.pi, (STATES, 1, width))
    return np.cos(frequency * ACTIONS[:, None] + phase)


def step_features(rng, width=6):
    """Every feature jumps once on the action axis: Q and its gradient are not continuous in the action."""
    jump = rng.uniform(-0.5, 0.5, (STATES, 1, width))
    low, high = rng.uniform(0.2, 1.0, (2, STATES, 1, width))
    return np.where(ACTIONS[:, None] < jump, low, high)


class Step(NamedTuple):
    """What one step on (state, action) did, for every action a~ of the state."""

    change: np.ndarray  # Q_theta'(s, a~) - Q_theta(s, a~)
    c1: np.ndarray
    residual: np.ndarray  # T_u Q(s, a~) - Q(s, a~), before the step
    distance: np.ndarray  # |a~ - a|
    c2_bound: float


def linear_gradient_step(mdp, support, features, theta, state, action, rate):
    q = features @ theta
    residual = (backup(mdp, best(q, support)) - q)[state]
    stepped = theta + rate * residual[action] * features[state, action]
    k_t = lipschitz(mdp.rewards) + mdp.gamma * lipschitz(mdp.transitions) * STATES * np.abs(q).max()
    return Step(
        change=(features @ stepped - q)[state],
        c1=rate * features[state] @ features[state, action],
        residual=residual,
        distance=np.abs(ACTIONS - ACTIONS[action]),
        c2_bound=lipschitz(q) + k_t,
    )


def check_theorem_1(step, reach):
    """At every action within `reach` of the one that was updated."""
    change, c1, residual, distance = (array[step.distance <= reach] for array in step[:4])
    assert np.all((c1 >= -TOLERANCE) & (c1 <= 1 + TOLERANCE))
    assert np.all(np.abs(change - c1 * residual) <= c1 * step.c2_bound * distance + TOLERANCE)


def theorem_1_conditions(features, state, action):
    """The largest learning rate and the largest distance that the theorem allows."""
    norms = np.linalg.norm(features, axis=2)
    k_g = np.linalg.norm(np.diff(features, axis=1), axis=2).max() / SPACING
    return 1 / norms.max() ** 2, norms[state, action] / k_g


@PROPERTY
@given(seed=SEEDS, gamma=GAMMAS, shrink=st.floats(0.01, 1.0))
def test_theorem_1_linear_q(seed, gamma, shrink):
    """For Q linear in theta the remainder is zero, and the statement is exact with its proof's constants.

    Assumptions: alpha <= 1 / max |grad Q|^2 and |a~ - a| <= |grad Q(s, a)| / K_g, K_g the Lipschitz constant
    of the gradient. Fails if the update is not the one above, or if the two conditions are not enough.
    """
    rng = np.random.default_rng(seed)
    mdp, support = random_mdp(rng, gamma), random_data(rng)
    features, theta = cosine_features(rng), rng.normal(size=6)
    state, action = rng.integers(STATES), rng.integers(len(ACTIONS))
    rate, reach = theorem_1_conditions(features, state, action)
    check_theorem_1(linear_gradient_step(mdp, support, features, theta, state, action, shrink * rate), reach)


@pytest.mark.parametrize("violation", ["twice the step", "large rate", "far action"])
def test_theorem_1_check_catches(violation):
    rng = np.random.default_rng(0)
    mdp, support, theta, state, action = random_mdp(rng, gamma=0.9), random_data(rng), np.ones(1), 0, 60
    features = np.tile(np.sin(2 * ACTIONS)[:, None], (STATES, 1, 1))  # the gradient turns round at a = 0
    rate, reach = theorem_1_conditions(features, state, action)
    check_theorem_1(linear_gradient_step(mdp, support, features, theta, state, action, rate), reach)
    if violation == "large rate":  # C1 > 1
        rate *= 2
    if violation == "far action":  # C1 < 0
        reach = 2.0
    step = linear_gradient_step(mdp, support, features, theta, state, action, rate)
    if violation == "twice the step":
        step = step._replace(change=2 * step.change)
    with pytest.raises(AssertionError):
        check_theorem_1(step, reach)


def check_order(errors, order):
    """`errors` were measured while the small quantity was halved: their rate of decay must be the order."""
    measured = np.log2(errors[:-1] / errors[1:])
    assert np.all(np.abs(measured - order) < 0.15), measured


def worst_error(seed, make_features, steps):
    """The largest |change - C1 residual| over all pairs (a, a~) that are `steps` grid steps apart."""
    rng = np.random.default_rng(seed)
    mdp, features, support = random_mdp(rng, 0.9), make_features(rng), random_data(rng)
    theta, rate, worst = rng.normal(size=features.shape[2]), 1 / np.square(features).sum(axis=2).max(), 0.0
    for state in range(STATES):
        for action in range(len(ACTIONS) - steps):
            step = linear_gradient_step(mdp, support, features, theta, state, action, rate)
            worst = max(worst, np.abs(step.change - step.c1 * step.residual)[action + steps])
    return worst


@pytest.mark.parametrize("seed", range(5))
def test_theorem_1_error_is_first_order_in_the_distance(seed):
    """A step at (s, a) acts on a~ as a step of size C1 on a~'s own residual would, but for C1 C2 |a~ - a|.

    Halving the distance halves the largest such error. Fails if Q is not continuous in the action (planted).
    """
    check_order(np.array([worst_error(seed, cosine_features, steps) for steps in (4, 2, 1)]), order=1)
    with pytest.raises(AssertionError):
        check_order(np.array([worst_error(seed, step_features, steps) for steps in (4, 2, 1)]), order=1)


def network(theta, actions):
    """Q(a) = v . tanh(w a + b) and its gradient in theta = (v, w, b), for a vector of actions."""
    v, w, b = theta
    hidden = np.tanh(np.outer(actions, w) + b)
    slope = v * (1 - hidden**2)
    return hidden @ v, np.stack([hidden, slope * actions[:, None], slope], axis=1)  # (A,), (A, 3, H)


@pytest.mark.parametrize("seed", range(5))
def test_theorem_1_remainder_is_second_order_in_the_step(seed):
    """For Q not linear in theta, what the first-order change leaves is O(|theta' - theta|^2).

    Halving the learning rate divides the largest remainder over the actions by four. The target is a
    constant, 3: the remainder depends on the step, not on where its residual comes from. Fails, with order 1,
    if the gradient is incomplete (planted: the output layer's alone).
    """
    theta, action = np.random.default_rng(seed).normal(size=(3, 8)), 40
    q, gradient = network(theta, ACTIONS)
    residual = 3.0 - q[action]

    def remainders(layers):
        c1_per_rate = (gradient * gradient[action])[:, layers].sum(axis=(1, 2))
        errors = []
        for rate in 1e-3 / 2.0 ** np.arange(4):
            change = network(theta + rate * residual * gradient[action], ACTIONS)[0] - q
            errors.append(np.abs(change - rate * c1_per_rate * residual).max())
        return np.array(errors)

    check_order(remainders(layers=[0, 1, 2]), order=2)
    with pytest.raises(AssertionError):
        check_order(remainders(layers=[0]), order=2)


# --- Theorem 2: contraction -----------------------------------------------------------------------------


def pairs_of_q(rng, data, mild):
    """Random pairs, and those on which a wrong operator shows itself best."""
    first, second = rng.normal(size=(2, *data.shape))
    yield first, second
    yield first, 10 * second
    yield first, first + 1.0  # only the discount counts
    yield first, np.where(mild, first, second)  # differs outside the mild area only
    yield np.zeros(data.shape), np.where(data, -1.0, 1.0)  # moves the two maxima in opposite directions


def check_contraction(operator, gamma, area, pairs):
    for first, second in pairs:
        before = np.abs(first - second)[area].max()
        after = np.abs(operator(first) - operator(second))[area].max()
        assert after <= gamma * before + TOLERANCE


@PROPERTY
@given(seed=SEEDS, lam=LAMS, gamma=GAMMAS, radius=RADII)
def test_theorem_2_contraction(seed, lam, gamma, radius):
    """Under oracle generalization (Assumption 1: T_DMG is defined on the whole mild area), for any Q1 and Q2

        max_mild |T_DMG Q1 - T_DMG Q2| <= gamma max_mild |Q1 - Q2|,

    so that the iterates converge to one Q*_DMG from anywhere. Fails if the target looks outside the mild
    area, is not a convex combination of the two maxima, or is not discounted as a whole.
    """
    rng = np.random.default_rng(seed)
    mdp, data = random_mdp(rng, gamma), random_data(rng)
    mild = widen(data, radius * SPACING)
    operator = dmg_operator(mdp, data, mild, lam)
    check_contraction(operator, gamma, mild, pairs_of_q(rng, data, mild))

    # no smaller factor would do: adding a constant to Q is discounted by gamma, no more
    q = rng.normal(size=data.shape)
    np.testing.assert_allclose(operator(q + 1.0) - operator(q), gamma, atol=TOLERANCE)

    limit = fixed_point(operator)
    distance = np.abs(q - limit)[mild].max()
    for k in range(1, 21):
        q = operator(q)
        assert np.abs(q - limit)[mild].max() <= gamma**k * distance + TOLERANCE


@pytest.mark.parametrize("violation", ["lam above 1", "max over all actions", "mild term not discounted"])
def test_theorem_2_check_catches(violation):
    rng = np.random.default_rng(0)
    mdp, data = random_mdp(rng, gamma=0.9), random_data(rng)
    mild = widen(data, 3 * SPACING)
    wrong = {
        "lam above 1": dmg_operator(mdp, data, mild, lam=1.3),
        "max over all actions": dmg_operator(mdp, data, np.ones_like(mild), lam=0.25),
        "mild term not discounted": lambda q: backup(mdp, (0.25 / 0.9) * best(q, mild) + 0.75 * best(q, data)),
    }[violation]
    pairs = list(pairs_of_q(rng, data, mild))
    check_contraction(dmg_operator(mdp, data, mild, lam=0.25), 0.9, mild, pairs)
    with pytest.raises(AssertionError):
        check_contraction(wrong, 0.9, mild, pairs)


# --- Theorem 3: performance under oracle generalization -------------------------------------------------


def check_at_least_as_good(mdp, policy, baseline):
    assert np.all(policy_value(mdp, policy) >= policy_value(mdp, baseline) - TOLERANCE)


@PROPERTY
@given(seed=SEEDS, lam=LAMS, gamma=GAMMAS, radius=RADII)
def test_theorem_3_performance(seed, lam, gamma, radius):
    """Under oracle generalization, in every state V of argmax_mild Q*_DMG >= V of argmax_data Q*_In.

    The proof takes V^pi(s) = Q*_DMG(s, pi(s)) for DMG's policy pi, which holds for lam = 1. For lam < 1 the
    target is below pi's own, hence V^pi(s) >= Q*_DMG(s, pi(s)), which is enough. Both are checked. Fails if Q
    is wrong in the mild area, or if the mild area leaves out a data action.
    """
    rng = np.random.default_rng(seed)
    mdp, data = random_mdp(rng, gamma), random_data(rng)
    mild = widen(data, radius * SPACING)
    q_in = fixed_point(in_sample_operator(mdp, data))
    q_dmg = fixed_point(dmg_operator(mdp, data, mild, lam))
    policy = greedy(q_dmg, mild)

    assert np.all(q_dmg[mild] >= q_in[mild] - TOLERANCE)
    check_at_least_as_good(mdp, policy, greedy(q_in, data))
    assert np.all(policy_value(mdp, policy) >= best(q_dmg, mild) - TOLERANCE)

    q_full = fixed_point(dmg_operator(mdp, data, mild, lam=1.0))
    np.testing.assert_allclose(policy_value(mdp, greedy(q_full, mild)), best(q_full, mild), atol=TOLERANCE)


def test_theorem_3_is_not_an_equality():
    """With better actions near the data DMG is strictly better, and for lam < 1 V^pi > Q*_DMG(s, pi(s))."""
    rng = np.random.default_rng(0)
    mdp, data = random_mdp(rng, gamma=0.9), random_data(rng)
    mild = widen(data, 3 * SPACING)
    q_in, q_dmg = (fixed_point(in_sample_operator(mdp, data)), fixed_point(dmg_operator(mdp, data, mild, lam=0.25)))
    value = policy_value(mdp, greedy(q_dmg, mild))
    assert np.all(value > policy_value(mdp, greedy(q_in, data)) + 1e-3)
    assert np.all(value > best(q_dmg, mild) + 1e-3)


@pytest.mark.parametrize("violation", ["no oracle", "data not in the mild area"])
def test_theorem_3_check_catches(violation):
    rng = np.random.default_rng(0)
    mdp, data = random_mdp(rng, gamma=0.9), random_data(rng)
    mdp = mdp._replace(rewards=np.where(data, mdp.rewards, -5.0))  # every action but the data's is bad
    mild = widen(data, 3 * SPACING)
    baseline = greedy(fixed_point(in_sample_operator(mdp, data)), data)
    check_at_least_as_good(mdp, greedy(fixed_point(dmg_operator(mdp, data, mild, 0.25)), mild), baseline)
    if violation == "no oracle":  # Q rises away from the data, though the rewards fall
        operator = worst_case_operator(mdp, data, mild, 0.25, slope=1.0)
    else:
        mild &= ~data
        operator = dmg_operator(mdp, data, mild, 0.25)
    with pytest.raises(AssertionError):
        check_at_least_as_good(mdp, greedy(fixed_point(operator), mild), baseline)


# --- Theorem 4: limited overestimation under worst-case generalization ----------------------------------


def worst_case_operator(mdp, data, mild, lam, slope):
    """T_DMG backs up the data actions only; every other value comes from generalization, right or wrong."""
    operator = dmg_operator(mdp, data, mild, lam)
    return lambda q: extrapolate(operator(q), data, slope)


def overestimation(mdp, data, mild, lam, slope, q, steps=30):
    """Qhat_DMG^k - Q_In^k at the data actions for k = 1 .. steps, both from the same Q^0."""
    dmg, in_sample = worst_case_operator(mdp, data, mild, lam, slope), in_sample_operator(mdp, data)
    q_dmg, q_in, differences = extrapolate(q, data, slope), q, []
    for _ in range(steps):
        q_dmg, q_in = dmg(q_dmg), in_sample(q_in)
        differences.append((q_dmg - q_in)[data])
    return np.array(differences)  # (steps, data actions)


def theorem_4_bound(lam, eps_a, k_q, gamma, steps=30):
    k = np.arange(1, steps + 1)
    return lam * eps_a * k_q * gamma * (1 - gamma**k) / (1 - gamma)


def check_theorem_4(differences, bound):
    assert np.all(differences >= -TOLERANCE)
    assert np.all(differences <= bound[:, None] + TOLERANCE)


@PROPERTY
@given(seed=SEEDS, lam=LAMS, gamma=GAMMAS, radius=RADII, k_q=st.floats(0.0, 10.0))
def test_theorem_4_limited_overestimation(seed, lam, gamma, radius, k_q):
    """For Qhat^k = T_DMG Qhat^(k-1) with any K_Q-Lipschitz generalization, Q_In^k = T_In Q_In^(k-1), the same
    Q^0, every k >= 1 and every data action:

        Q_In^k  <=  Qhat_DMG^k  <=  Q_In^k + lam eps_a K_Q gamma (1 - gamma^k) / (1 - gamma).

    Checked with the greatest overestimation that K_Q allows, the greatest underestimation, and random errors
    between. Fails below if the mild area leaves out a data action; above if lam, eps_a, K_Q or gamma is
    larger than stated.
    """
    rng = np.random.default_rng(seed)
    mdp, data = random_mdp(rng, gamma), random_data(rng)
    mild = widen(data, radius * SPACING)
    q = 5 * rng.normal(size=data.shape)
    for slope in (k_q, -k_q, rng.uniform(-k_q, k_q, data.shape)):
        differences = overestimation(mdp, data, mild, lam, slope, q)
        check_theorem_4(differences, theorem_4_bound(lam, radius * SPACING, k_q, gamma))


def tight_overestimation(lam=0.25, eps_a=4 * SPACING, k_q=2.0, gamma=0.9, every_action=False, data_in_mild=True):
    """One data action in a state: the best extrapolated value exceeds it by exactly eps_a K_Q."""
    rng = np.random.default_rng(0)
    mdp, data = random_mdp(rng, gamma), random_data(rng, per_state=1)
    mild = np.ones_like(data) if every_action else widen(data, eps_a)
    return overestimation(mdp, data, mild & (data_in_mild | ~data), lam, k_q, rng.normal(size=data.shape))


def test_theorem_4_is_tight():
    """With one data action in a state and slope K_Q everywhere the upper bound is an equality, at every k.

    Fails if the bound had one factor too many or too few.
    """
    difference = tight_overestimation(lam=0.25, eps_a=4 * SPACING, k_q=2.0, gamma=0.9)
    bound = theorem_4_bound(lam=0.25, eps_a=4 * SPACING, k_q=2.0, gamma=0.9)
    np.testing.assert_allclose(difference, np.broadcast_to(bound[:, None], difference.shape), atol=TOLERANCE)


@pytest.mark.parametrize(
    "violation",
    [
        {"lam": 0.3},
        {"eps_a": 5 * SPACING},
        {"k_q": 2.1},
        {"gamma": 0.91},
        {"every_action": True},
        {"k_q": -2.0, "data_in_mild": False},  # the lower bound
    ],
    ids=["larger lam", "larger eps_a", "larger K_Q", "larger gamma", "max over all actions", "data not in mild area"],
)
def test_theorem_4_check_catches_an_operator(violation):
    bound = theorem_4_bound(lam=0.25, eps_a=4 * SPACING, k_q=2.0, gamma=0.9)
    with pytest.raises(AssertionError):
        check_theorem_4(tight_overestimation(**violation), bound)


@pytest.mark.parametrize("factor", ["lam", "gamma", "horizon"])
def test_theorem_4_check_catches_a_smaller_bound(factor):
    """Bounds with lam^2 for lam, gamma^2 for gamma, or without the sum over k that errors build up by."""
    bound = theorem_4_bound(lam=0.25, eps_a=4 * SPACING, k_q=2.0, gamma=0.9)
    smaller = {"lam": 0.25 * bound, "gamma": 0.9 * bound, "horizon": np.full_like(bound, bound[0])}[factor]
    with pytest.raises(AssertionError):
        check_theorem_4(tight_overestimation(), smaller)


@PROPERTY
@given(seed=SEEDS, lams=st.tuples(LAMS, LAMS), radii=st.tuples(RADII, RADII))
def test_theorem_4_overestimation_shrinks_with_lam_and_eps_a(seed, lams, radii):
    """Milder is safer, in the measured overestimation and not in the bound alone: it never grows when lam or
    eps_a gets smaller, and it is zero when either is zero. Fails if generalization has another way in."""
    rng = np.random.default_rng(seed)
    mdp, data, q = random_mdp(rng, 0.9), random_data(rng), rng.normal(size=(STATES, len(ACTIONS)))

    def measured(lam, radius):
        return overestimation(mdp, data, widen(data, radius * SPACING), lam, slope=2.0, q=q)

    reference = measured(max(lams), max(radii))
    assert np.all(measured(min(lams), max(radii)) <= reference + TOLERANCE)
    assert np.all(measured(max(lams), min(radii)) <= reference + TOLERANCE)
    np.testing.assert_allclose(measured(0.0, max(radii)), 0.0, atol=TOLERANCE)
    np.testing.assert_allclose(measured(max(lams), 0), 0.0, atol=TOLERANCE)


# --- Theorem 5: performance lower bound under worst-case generalization ---------------------------------
#
#     J(pihat_DMG) >= J(pi*) - C K_P R_max eps_a / (1 - gamma) - eps_D,      eps_D = J(pi*) - J(pi*_In),
#
# with pihat_DMG = argmax_mild Qhat_DMG and Qhat_DMG the limit of Theorem 4's iteration. What the proof needs:
#   1. |Q(s, a~) - Q(s, a)| <= K_Q |a~ - a| from a data action a to the mild area, and each P(s' | s, .)
#      K_P-Lipschitz;
#   2. one best data action in each state, ahead of the next in Q*_In by more than
#      K_Q eps_a (1 + lam gamma / (1 - gamma)): the "sufficiently small eps_a", by which pihat_DMG comes to
#      lie within eps_a of pi*_In;
#   3. rewards that depend on the state alone: the proof writes J as a sum of d(s) r(s).
# The paper leaves C open. From |d_1 - d_2|_1 <= gamma / (1 - gamma) max_s |P(. | s, pi_1) - P(. | s, pi_2)|_1
# follows C = gamma |S| / (1 - gamma); with two states no smaller one will do (test_theorem_5_is_tight).


def theorem_5_constant(gamma, states=STATES):
    return gamma * states / (1 - gamma)


def in_sample_margin(q_in, data):
    """How far the best data action is ahead of the next, in the state where it is least so (inf if alone)."""
    ranked = np.sort(np.where(data, q_in, -np.inf), axis=1)
    return (ranked[:, -1] - ranked[:, -2]).min()


def theorem_5_policies(mdp, data, mild, lam, slope):
    """pihat_DMG, pi*_In, pi*."""
    everything = np.ones_like(data)
    return (
        greedy(fixed_point(worst_case_operator(mdp, data, mild, lam, slope)), mild),
        greedy(fixed_point(in_sample_operator(mdp, data)), data),
        greedy(fixed_point(in_sample_operator(mdp, everything)), everything),
    )


def check_theorem_5(mdp, policies, eps_a, constant, k_r=0.0):
    """`k_r`, not in the paper: rewards K_R-Lipschitz in the action add K_R eps_a / (1 - gamma) to the gap."""
    dmg, in_sample, optimal = (performance(mdp, policy) for policy in policies)
    gap = (constant * lipschitz(mdp.transitions) * np.abs(mdp.rewards).max() + k_r) * eps_a / (1 - mdp.gamma)
    assert dmg >= optimal - gap - (optimal - in_sample) - TOLERANCE
    return gap


@PROPERTY
@given(seed=SEEDS, lam=LAMS, gamma=st.floats(0.1, 0.95), radius=st.integers(1, 12))
def test_theorem_5_performance_lower_bound(seed, lam, gamma, radius):
    """The bound above under its three assumptions; K_Q is set to 0.9 of the most that the second allows.

    On the way, the two steps of the proof: |pihat_DMG(s) - pi*_In(s)| <= eps_a, and the distance between the
    occupancies (the paper's Lemma 9, with our C). And a corollary: as pi*_In is at least as good as the
    behaviour policy, pihat_DMG is at least as good as that one up to the same gap. Fails if DMG's policy
    leaves the neighbourhood of the best data action.
    """
    rng = np.random.default_rng(seed)
    mdp, data, eps_a = random_mdp(rng, gamma, state_rewards=True), random_data(rng), radius * SPACING
    margin = in_sample_margin(fixed_point(in_sample_operator(mdp, data)), data)
    assume(margin > 1e-6)
    k_q = 0.9 * min(margin, 1.0) * (1 - gamma) / (eps_a * (1 - gamma + lam * gamma))
    behaviour = data * rng.uniform(0.1, 1.0, data.shape)
    behaviour /= behaviour.sum(axis=1, keepdims=True)

    for slope in (k_q, rng.uniform(-k_q, k_q, data.shape)):
        policies = theorem_5_policies(mdp, data, widen(data, eps_a), lam, slope)
        moved = np.abs((policies[0] - policies[1]) @ ACTIONS).max()
        assert moved <= eps_a
        drift = np.abs(occupancy(mdp, policies[0]) - occupancy(mdp, policies[1])).sum()
        assert drift <= theorem_5_constant(gamma) * lipschitz(mdp.transitions) * moved + TOLERANCE
        gap = check_theorem_5(mdp, policies, eps_a, theorem_5_constant(gamma))
        assert performance(mdp, policies[0]) >= performance(mdp, behaviour) - gap - TOLERANCE


def chain(leak, rewards, gamma=0.9):
    """State 0 falls into state 1, for good, with probability leak(a). States 2 and 3 are never reached."""
    transitions = np.zeros((STATES, len(ACTIONS), STATES))
    transitions[1:] = np.eye(STATES)[1:, None, :]
    transitions[0, :, 0], transitions[0, :, 1] = 1 - leak, leak
    return MDP(rewards, transitions, np.eye(STATES)[0], gamma)


def rewards_by_state(*rewards):
    return np.tile(np.array(rewards)[:, None], len(ACTIONS))


def only_data_action_is(action, *more):
    """Data at `action` in every state, and at `more` in state 0."""
    data = np.tile(ACTIONS == action, (STATES, 1))
    data[0] |= np.isin(ACTIONS, more)
    return data


@pytest.mark.parametrize("constant", ["ours", "none", "without horizon"])
def test_theorem_5_is_tight(constant):
    """A policy that should stay in state 0 (reward 1) moves by eps_a and leaks into state 1 (reward -1) for
    good.

    Its loss is the gap with C = 2 gamma / (1 - gamma) (two states matter) up to 1 %, hence C has to grow with
    the horizon: a C without 1 / (1 - gamma), or no gap at all, fails.
    """
    mdp = chain(leak=1e-3 * np.abs(ACTIONS), rewards=rewards_by_state(1.0, -1.0, 0.0, 0.0))
    data, eps_a = only_data_action_is(0.0), 2 * SPACING
    policies = theorem_5_policies(mdp, data, widen(data, eps_a), lam=0.25, slope=1.0)
    if constant == "ours":
        gap = check_theorem_5(mdp, policies, eps_a, theorem_5_constant(mdp.gamma, states=2))
        loss = performance(mdp, policies[1]) - performance(mdp, policies[0])
        assert 0.99 * gap < loss <= gap
    else:
        with pytest.raises(AssertionError):
            check_theorem_5(mdp, policies, eps_a, {"none": 0.0, "without horizon": 2.0}[constant])


@pytest.mark.parametrize("k_q, small_enough", [(0.1, True), (10.0, False)])
def test_theorem_5_needs_a_small_eps_a(k_q, small_enough):
    """Q is overestimated next to the worse of two data actions only.

    If eps_a is small enough for K_Q nothing happens. If not, pihat_DMG goes there, farther than eps_a from
    the best data action, and the bound does not cover the loss.
    """
    mdp = chain(leak=0.1 * (1 + ACTIONS), rewards=rewards_by_state(1.0, -1.0, 0.0, 0.0), gamma=0.5)
    data, eps_a = only_data_action_is(-0.75, 0.75), SPACING
    policies = theorem_5_policies(mdp, data, widen(data, eps_a), lam=0.25, slope=np.where(ACTIONS > 0, k_q, 0.0))
    margin = in_sample_margin(fixed_point(in_sample_operator(mdp, data)), data)
    assert (k_q * eps_a * (1 + 0.25 * 0.5 / 0.5) < margin) == small_enough
    if small_enough:
        check_theorem_5(mdp, policies, eps_a, theorem_5_constant(mdp.gamma))
    else:
        with pytest.raises(AssertionError):
            check_theorem_5(mdp, policies, eps_a, theorem_5_constant(mdp.gamma))


def test_theorem_5_needs_state_rewards():
    """With rewards R(s, a) the statement is false for every C: if the action does not affect the transitions
    then K_P = 0 and there is no gap, yet DMG pays for each step that it takes beside the data action.

    With rewards K_R-Lipschitz in the action (Assumption 8, which the paper makes for Theorem 1 only) the gap
    grows by K_R eps_a / (1 - gamma), and here that is exactly the loss.
    """
    k_r, eps_a = 0.5, 4 * SPACING
    mdp = chain(leak=np.zeros(len(ACTIONS)), rewards=np.tile(-k_r * np.abs(ACTIONS), (STATES, 1)))
    data = only_data_action_is(0.0)
    policies = theorem_5_policies(mdp, data, widen(data, eps_a), lam=0.25, slope=1.0)
    assert lipschitz(mdp.transitions) == 0.0
    with pytest.raises(AssertionError):
        check_theorem_5(mdp, policies, eps_a, theorem_5_constant(mdp.gamma))
    gap = check_theorem_5(mdp, policies, eps_a, theorem_5_constant(mdp.gamma), k_r=k_r)
    np.testing.assert_allclose(performance(mdp, policies[1]) - performance(mdp, policies[0]), gap, atol=TOLERANCE)
