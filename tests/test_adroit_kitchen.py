"""Adroit and Kitchen: D4RL's episodes, returns and pay on sets of Minari's layout; IQL's dropout there."""

import itertools
import re
from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import iql
import minari
import numpy as np
import pytest
import rd_td3
import torch
from conftest import PENDULUM, ROOT, TINY, checkpoint, make_episode, refused, result, run, store
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import (
    OBS_ELEMENT_GOALS,
    OBS_ELEMENT_INDICES,
    KitchenEnv,
)

import dmg_finetune
import dmg_offline as dmg
import dmg_sql
import dmg_xql

ARGS = dmg.Args(device="cpu")
HANDS = {"pen": (100, 45, 24), "hammer": (200, 46, 26), "door": (200, 39, 28), "relocate": (200, 39, 30)}
TASKS = ("microwave", "kettle", "light switch", "slide cabinet")
DROPOUT = [*TINY, "--hidden", 16, 12, "--dropout", 0.4]


def stored(observations):
    """T + 1 observations as Minari stores them: arrays, or nested dictionaries of arrays."""
    if isinstance(observations[0], dict):
        return {key: stored([observation[key] for observation in observations]) for key in observations[0]}
    return np.array(observations)


def set_done(env, *tasks):
    """Put what these tasks of a kitchen are about where it shall be."""
    simulator = env.unwrapped
    qpos = simulator.data.qpos.copy()
    for task in tasks:
        qpos[OBS_ELEMENT_INDICES[task]] = OBS_ELEMENT_GOALS[task]
    simulator.robot_env.set_state(qpos, 0 * simulator.data.qvel)


def recorded(env, number, steps=6, done=()):
    """An episode of random actions, cut after some steps; before its fourth the tasks in done are done."""
    observation, _ = env.reset(seed=number)
    env.action_space.seed(number)
    observations, actions, rewards = [observation], [], []
    for step in range(steps):
        if step == 3 and done:
            set_done(env, *done)
        actions.append(env.action_space.sample())
        observation, reward, *_ = env.step(actions[-1])
        observations.append(observation)
        rewards.append(reward)
    return make_episode(number, stored(observations), actions, rewards, truncated=True)


def store_hand(name):
    """A tiny D4RL/{name}/human-v2; its environment plays longer than D4RL's, as Minari's do."""
    env = gym.make(f"AdroitHand{name.capitalize()}-v1", max_episode_steps=625)
    return store(f"D4RL/{name}/human-v2", [recorded(env, number) for number in range(2)], env=env)


@pytest.fixture
def kitchen():
    """A tiny D4RL/kitchen/complete-v2: one task is done in the first episode, two in the next, then none."""
    options = dict(remove_task_when_completed=False, terminate_on_tasks_completed=False)
    env = gym.make("FrankaKitchen-v1", tasks_to_complete=list(TASKS), max_episode_steps=450, **options)
    done = (TASKS[:1], TASKS[2:], ())
    return store(
        "D4RL/kitchen/complete-v2", [recorded(env, i, done=those) for i, those in enumerate(done)], env=env
    )


# ---- data and evaluation ----


def test_short_names_and_reference_returns():
    d4rl = {"pen-human": (96.262799, 3076.8331017826877), "door-cloned": (-56.512833, 2880.5693087298737)}
    d4rl |= {"hammer-expert": (-274.856578, 12794.134825156867)}
    d4rl |= {"relocate-human": (-6.425911, 4233.877797728884)}
    d4rl |= dict.fromkeys(("kitchen-complete", "kitchen-partial", "kitchen-mixed"), (0.0, 4.0))
    for name, expected in d4rl.items():
        dataset = dmg.named_dataset(name)
        dataset.storage = SimpleNamespace(metadata={})
        assert dataset.id == f"D4RL/{name.replace('-', '/')}-v2"
        assert dmg.task_of(dataset) == name.split("-")[0] and dmg.reference_returns(dataset) == expected


@pytest.mark.parametrize("name", HANDS)
def test_a_hand_is_evaluated_for_d4rls_steps(name):
    steps, observations, actions = HANDS[name]
    dataset = store_hand(name)
    env, played, truncated = dmg.make_env(dataset), 0, False
    data, returns = dmg.load_transitions(dataset, env, ARGS)
    assert [part.shape for part in data] == [
        (12, observations),
        (12, actions),
        (12,),
        (12, observations),
        (12,),
    ]
    assert not data[4].any()
    episodes = list(dataset.iterate_episodes())
    np.testing.assert_allclose(returns, [episode.rewards.sum() for episode in episodes], rtol=1e-6)
    np.testing.assert_allclose(data[3][5], episodes[0].observations[-1], rtol=1e-6)
    env.reset(seed=0)
    while not truncated:
        *_, terminated, truncated, _ = env.step(np.zeros(actions, np.float32))
        played += 1
        assert not terminated
    assert played == steps and dmg.task_of(dataset) == name


def test_a_kitchens_data_are_d4rls(kitchen):
    """The state alone; rewards are the number of tasks that are done; demonstrations end in a termination."""
    env = dmg.make_env(kitchen)
    data, returns = dmg.load_transitions(kitchen, env, ARGS)
    observations, _, rewards, next_observations, terminations = data
    assert rewards.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    assert np.flatnonzero(terminations).tolist() == [5, 11, 17]
    assert returns.tolist() == [1, 2, 0]  # tasks, as evaluations count them
    first = next(kitchen.iterate_episodes()).observations
    assert first.keys() == {"observation", "achieved_goal", "desired_goal"}
    np.testing.assert_allclose(observations[:6], first["observation"][:-1], rtol=1e-6)
    np.testing.assert_allclose(next_observations[:6], first["observation"][1:], rtol=1e-6)
    assert observations.shape[1:] == env.observation_space.shape == env.reset(seed=0)[0].shape == (59,)


def test_a_task_done_at_step_100_scores_25_and_not_4500(kitchen):
    env, paid, truncated, played = dmg.make_env(kitchen), [], False, 0
    env.reset(seed=0)
    while not truncated:
        if played == 100:
            set_done(env, "microwave")
        _, reward, terminated, truncated, _ = env.step(np.zeros(9, np.float32))
        paid.append(reward)
        played += 1
        assert not terminated
    assert played == 280 and np.flatnonzero(paid).tolist() == [100]
    assert dmg.score(sum(paid), *dmg.reference_returns(kitchen)) == 25
    env = kitchen.recover_environment()  # as it is stored
    env.reset(seed=0)
    set_done(env, "microwave")
    assert [env.step(np.zeros(9))[1] for _ in range(3)] == [1, 1, 1]


def test_a_kitchen_ends_when_all_tasks_are_done_and_begins_anew(kitchen):
    env = dmg.make_env(kitchen)
    for seed in (0, 1):
        env.reset(seed=seed)
        set_done(env, *TASKS[:3])
        assert env.step(np.zeros(9, np.float32))[1:4] == (3, False, False)
        set_done(env, *TASKS)
        assert env.step(np.zeros(9, np.float32))[1:4] == (1, True, False)


def test_a_simulator_that_cannot_make_it_ends_in_one_line(kitchen, monkeypatch):
    def broken(self, **options):
        raise ValueError("XML Error: unrecognized attribute\nElement 'geom', line 7")

    monkeypatch.setattr(KitchenEnv, "__init__", broken)
    line = refused("iql", *TINY, "--env-id", "kitchen-complete")
    assert "cannot make the environment of D4RL/kitchen/complete-v2 (ValueError: XML Error" in line


@pytest.mark.parametrize("script", ["dmg_offline", "iql"])
def test_a_run_by_its_short_name(script):
    store_hand("pen")
    done = run(script, *TINY, "--env-id", "pen-human", "--offline-steps", 5, "--eval-episodes", 1)
    saved = result()
    assert saved["dataset_id"] == "D4RL/pen/human-v2" and saved["step"] == 5
    (last,) = saved["members"][0]["evaluations"][-1]["returns"]
    found = saved["members"][0]["evaluations"][-1]["normalized_score"]
    assert found == pytest.approx(100 * (last - 96.262799) / (3076.8331017826877 - 96.262799))
    notes = [line for line in done.out.splitlines() if "no published settings" in line]
    assert len(notes) == (script == "dmg_offline")


# ---- settings ----


def test_dmg_has_locomotions_settings_and_says_so(capsys):
    for script in (dmg, dmg_xql, dmg_sql, dmg_finetune):
        for name, nu in ("pen-human", 0.1), ("kitchen-mixed", 0.1), ("door-expert", 10.0):
            args = script.Args(**script.presets(script.named_dataset(name)))
            locomotion = name.replace(name.split("-")[0], "hopper")
            assert args == script.Args(**script.presets(script.named_dataset(locomotion))) and args.nu == (
                nu,
            )
            assert capsys.readouterr().out.count("no published settings of DMG") == 1
    assert rd_td3.presets(rd_td3.named_dataset("pen-human")) == {}
    dmg.presets(dmg.named_dataset("hopper-medium"))
    assert not capsys.readouterr().out


def test_iql_has_its_authors_settings():
    expected = dict(expectile=0.7, inverse_temperature=0.5, dropout=0.1, hidden=(256, 256), gamma=0.99)
    expected |= dict(normalize_rewards=False, normalize_observations=False, step_cost=0.0, max_weight=100.0)
    for name in ("pen-human", "hammer-cloned", "door-expert", "relocate-human", "kitchen-partial"):
        assert expected.items() <= vars(iql.Args(**iql.presets(iql.named_dataset(name)))).items()
    for name in ("hopper-medium", "antmaze-large-play", "pointmaze-umaze", "ant-medium"):
        assert iql.Args(**iql.presets(iql.named_dataset(name))).dropout == 0


# ---- dropout ----


def agent_of(seeds, **changes):
    args = replace(iql.Args(), device="cpu", batch_size=8, hidden=(16, 12), **changes)
    return iql.Agent([(seed,) for seed in seeds], np.zeros(5), np.ones(5), 3, args), args


def batch_of(members, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(members, 8, 5), (members, 8, 3), (members, 8), (members, 8, 5)]
    batch = [torch.tensor(rng.normal(size=shape), dtype=torch.float32) for shape in shapes]
    return [*batch[:1], batch[1].clamp(-0.9, 0.9), *batch[2:], torch.zeros(members, 8)]


def generators_of(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_factors_are_of_each_members_own_generator():
    args = replace(iql.Args(), batch_size=512, hidden=(64, 32), dropout=0.1)
    together, alone = generators_of(1, 2, 7), generators_of(7)
    first, second = iql.draw_factors(together, args)
    assert first.shape == (3, 512, 64) and second.shape == (3, 512, 32)
    for factors, of_member in zip((first, second), iql.draw_factors(alone, args)):
        assert torch.equal(factors[2], of_member[0])
        assert factors.unique().tolist() == pytest.approx([0, 1 / 0.9])
        assert (factors == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(iql.draw_factors(alone, args)[0], first[2:])  # the next update's


def test_without_dropout_nothing_is_drawn():
    generators = generators_of(1)
    before = generators[0].get_state()
    assert iql.draw_factors(generators, iql.Args()) == []
    assert torch.equal(generators[0].get_state(), before)


def test_the_update_drops_units_of_the_actors_hidden_layers():
    """Against layers computed by hand; a unit that is left out everywhere gets no gradient."""
    agent, args = agent_of((1, 2), dropout=0.4)
    factors, (observations, actions, *_) = iql.draw_factors(generators_of(1, 2), args), batch_of(2)
    factors[0][0, :, 3] = factors[1][1, :, 5] = 0
    weights = [parameter.detach().clone() for parameter in agent.actor.parameters()]
    x = observations
    for weight, bias, factor in zip(weights[::2], weights[1::2], factors):
        x = torch.relu(x @ weight + bias) * factor
    expected = torch.tanh(x @ weights[4] + weights[5])
    found = iql.with_dropout(agent.actor, observations, factors)
    torch.testing.assert_close(found, expected)
    (found * actions).sum().backward()
    of_first, of_second, of_third = [layer.weight.grad for layer in agent.actor if hasattr(layer, "weight")]
    assert not of_first[0, :, 3].any() and not of_second[0, 3].any() and not of_third[1, 5].any()
    assert of_first[1, :, 3].any() and of_second[1, 3].any() and of_third[0, 5].any()
    for drawn, is_same in ((factors, False), ([torch.ones_like(factor) for factor in factors], True)):
        means = []
        for batch in (batch_of(2), batch_of(2) + drawn):
            agent, args = agent_of((1, 2), learning_rate=1e-2)
            iql.update(agent, iql.make_optimizers(agent, args), batch, args)
            means.append([agent.actor(observations), agent.qf(observations, actions), agent.vf(observations)])
        assert torch.equal(means[0][0], means[1][0]) == is_same  # of the actor alone
        assert all(torch.equal(*pair) for pair in zip(means[0][1:], means[1][1:]))


def test_every_update_of_both_phases_has_dropout_of_its_own():
    agent, args = agent_of((1, 2), dropout=0.4, offline_steps=3, online_steps=3)
    optimizers, generators, drawn = iql.make_optimizers(agent, args), generators_of(1, 2), []

    def train_step(indices, *factors):
        drawn.append(factors)
        return {}

    iql.train(train_step, optimizers, generators, 50, 3, 0, 3, args)
    iql.train_online(lambda t: None, train_step, agent, None, optimizers, generators, 50, 3, 3, 3, args)
    assert [[factor.shape for factor in factors] for factors in drawn] == 6 * [[(2, 8, 16), (2, 8, 12)]]
    assert not any(torch.equal(*pair) for pair in itertools.combinations([first for first, _ in drawn], 2))


def test_policies_act_without_dropout(monkeypatch):
    store(PENDULUM, [recorded(gym.make("Pendulum-v1"), number, 30) for number in range(2)])
    run("iql", *DROPOUT)
    args = iql.Args(**result()["args"])
    agent = iql.Agent([(1,)], np.zeros(3), np.ones(3), 1, args)
    agent.load_state_dict(checkpoint()["agent"])
    x, actor = torch.randn(1, 9, 3), iql.actor_of(agent, 0)
    assert torch.equal(actor(x), agent.actor(x)) and torch.equal(actor(x), actor(x))
    env = iql.make_env(iql.open_dataset(PENDULUM))
    seed = np.random.SeedSequence((1, 40)).generate_state(1)  # of the last evaluation's first episode
    played = iql.play(env, actor, agent.mean, agent.std, int(seed[0]))
    assert result()["members"][0]["evaluations"][-1]["returns"][0] == pytest.approx(played)
    with torch.no_grad():
        agent.log_std[:] = -5
    acts = [iql.explore(agent, x[0, :1], generators_of(seed), 1, args) for seed in range(20)]
    np.testing.assert_allclose(acts, agent.actor(x[:, :1])[0].detach().numpy()[None].repeat(20, 0), atol=0.05)


@pytest.mark.parametrize("value", ["1", "-0.1", "nan"])
def test_a_dropout_that_is_no_share_is_refused(value, pendulum):
    assert "--dropout" in refused("iql", *TINY, f"--dropout={value}")


# ---- the recipe for arrays from elsewhere ----


def test_the_pages_recipe_stores_demonstrations_and_iql_trains_on_them(capsys):
    (code,) = re.findall(
        r"```python\n([^`]*door_human_demonstrations[^`]*)```", (ROOT / "benchmark/data.md").read_text()
    )
    rng = np.random.default_rng(0)
    demos = dict(observations=rng.normal(size=(12, 39)), actions=rng.uniform(-1.3, 1.3, (12, 28)))
    demos |= dict(rewards=np.arange(12), lengths=np.array([5, 7]))
    kept = [value.astype(np.float32) if key != "lengths" else value for key, value in demos.items()]
    np.savez("door_human_demonstrations.npz", **dict(zip(demos, kept)))
    exec(code, {})
    dataset = minari.load_dataset("local/door/human-v0")
    (observations, actions, rewards, next_observations, terminations), returns = dmg.load_transitions(
        dataset, dmg.make_env(dataset), ARGS
    )
    rows = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert rewards.tolist() == rows and returns.tolist() == [6, 45] and not terminations.any()
    np.testing.assert_allclose(observations, demos["observations"][rows], rtol=1e-6)
    np.testing.assert_allclose(next_observations, demos["observations"][1:][rows], rtol=1e-6)
    np.testing.assert_allclose(actions, demos["actions"][rows].clip(-1, 1), rtol=1e-6)
    assert "are clipped" in capsys.readouterr().out
    options = ["--env-id", "local/door/human-v0", "--offline-steps", 5, "--eval-episodes", 1]
    run("iql", *TINY, *options)
    saved = result()
    assert saved["args"]["dropout"] == 0.1 and saved["args"]["inverse_temperature"] == 0.5
    assert np.isfinite(saved["members"][0]["evaluations"][-1]["normalized_score"])
