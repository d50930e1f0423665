"""Store an online run of dmg_finetune.py as a Minari data set: what it has seen, or what its policy does.

    python benchmark/export_replay.py runs/RUN local/hopper/medium-replay-v0
    python benchmark/export_replay.py runs/RUN local/hopper/medium-v0 --policy-steps 200000

The first is the replay buffer up to the last checkpoint, like D4RL's medium-replay: every transition in its
order, in episodes cut where they ended. (dmg_finetune.py also begins new episodes after every checkpoint; the
printed returns count those that it cut.) The second is new episodes of the last policy with the noise that it
explored with, like D4RL's medium. The run must be from scratch (--offline-steps 0), in an environment whose
observations are vectors; of several members the first one is stored.
"""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import torch
import tyro
from minari.data_collector.episode_buffer import EpisodeBuffer
from store import check_id, errors_in_one_line, fail, is_stored, quiet_stderr, rollouts, store
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))
import dmg_finetune as ft
import dmg_offline as dmg


@dataclass
class Args:
    run: Annotated[Path, tyro.conf.Positional]
    """folder of the run"""
    dataset_id: Annotated[str, tyro.conf.Positional]
    """name of the data set, such as local/hopper/medium-replay-v0"""
    policy_steps: int = 0
    """record about this many steps of the last policy instead of storing the buffer"""
    seed: int = 0
    """of the recorded episodes"""
    overwrite: bool = False
    """store again what is already there"""


def buffer_episodes(columns, env, step_cost):
    """The buffer's five arrays (T, ...) as EpisodeBuffers; an episode that did not terminate was truncated.

    Episodes are not marked in a buffer: they end where the next row's observation is not the one seen next.
    """
    observations, actions, rewards, next_observations, terminations = columns
    space = env.action_space
    actions = space.low + (space.high - space.low) * (actions + 1) / 2
    rewards, terminations = rewards + step_cost, terminations > 0
    is_last = np.append((next_observations[:-1] != observations[1:]).any(1), True) | terminations
    episodes, begin = [], 0
    for last in np.flatnonzero(is_last):
        steps = slice(begin, last + 1)
        truncations = np.zeros(last + 1 - begin, bool)
        truncations[-1] = not terminations[last]
        episode = EpisodeBuffer(
            id=len(episodes),
            observations=np.concatenate([observations[steps], next_observations[last : last + 1]]),
            actions=actions[steps].astype(space.dtype),
            rewards=rewards[steps],
            terminations=terminations[steps],
            truncations=truncations,
        )
        episodes.append(episode)
        begin = last + 1
    return episodes


def load_policy(state):
    """The first member's trained actor: observation -> action in [-1, 1]."""
    weights, args = state["agent"], ft.Args(**state["run"]["args"])
    members = [tuple(member[flag] for flag in ft.MEMBERS) for member in state["run"]["members"]]
    action_dim = [weight.shape[-1] for name, weight in weights.items() if name.startswith("actor.")][-1]
    agent = ft.Agent(members, weights["mean"].numpy(), weights["std"].numpy(), action_dim, args)
    agent.load_state_dict(weights)
    actor = ft.actor_of(agent, 0)

    def policy(observation):
        x = (torch.as_tensor(observation, dtype=torch.float32) - agent.mean) / agent.std
        return actor(x.view(1, 1, -1))[0, 0].numpy()

    return policy


def policy_episodes(policy, env, noise, steps, seed):
    """Whole episodes of a policy with Gaussian noise of this standard deviation on actions in [-1, 1]."""
    rng, space = np.random.default_rng(seed), env.action_space
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2

    def noisy_policy(observation):
        action = policy(observation) + noise * rng.normal(size=space.shape)
        return middle + half * action  # clipped where it is played

    with tqdm(unit=" steps") as bar:
        return rollouts(env, lambda: noisy_policy, rng, steps, bar)


def export(run_dir, dataset_id, policy_steps=0, seed=0):
    """Store the run's buffer, or steps of its policy, and print a line about it."""
    state = dmg.load_checkpoint(run_dir, "dmg_finetune")
    run, train_args = state["run"], state["run"]["args"]
    dmg.require(train_args["offline_steps"] == 0, f"{run_dir} has learned from data: give one from scratch")
    module, colon, _ = run["env_id"].partition(":")
    is_known = not colon or module == "benchmark.d4rl_antmaze"
    dmg.require(is_known, f"{run_dir}: its environment {run['env_id']} would import {module}")
    with dmg.explained(f"cannot make {run['env_id']}"), quiet_stderr():
        env = gym.make(run["env_id"])
    is_vector = isinstance(env.observation_space, gym.spaces.Box) and len(env.observation_space.shape) == 1
    dmg.require(is_vector, f"the observations of {run['env_id']} are no vectors")
    if policy_steps:
        has_diverged = run["members"][0]["diverged_at"]
        dmg.require(not has_diverged, f"{run_dir} has diverged: its policy cannot be played")
        policy, noise = load_policy(state), train_args["exploration_noise"]
        episodes = policy_episodes(policy, env, noise, policy_steps, seed)
    else:
        columns = [part[0].numpy() for part in state["online"]]  # not standardised in runs from scratch
        dmg.require(len(columns[0]), f"{run_dir} has seen nothing before its last checkpoint")
        episodes = buffer_episodes(columns, env, train_args["step_cost"])
    episodes = [replace(episode, observations=np.float32(episode.observations)) for episode in episodes]
    bounds = [np.float32(env.observation_space.low), np.float32(env.observation_space.high)]
    about = dict(env=env, eval_env=env, observation_space=gym.spaces.Box(*bounds, dtype=np.float32))
    about |= dict(author="DMG contributors", requirements=["gymnasium[mujoco]"])
    returns = np.array([episode.rewards.sum() for episode in episodes])
    outcome = f"return {returns.mean():.1f} (best {returns.max():.1f})"
    if reference := dmg.REFERENCE_RETURNS.get(re.split("[-_/]", env.spec.id)[0].lower()):
        low, high = reference
        about |= dict(ref_min_score=low, ref_max_score=high)
        scores = 100 * (returns - low) / (high - low)
        outcome += f", score {scores.mean():.1f} (best {scores.max():.1f})"
    source = f"{policy_steps:,} steps of the policy" if policy_steps else "the replay buffer"
    source += f" after {run['step']:,} steps of online TD3 (dmg_finetune.py) in {run['env_id']}"
    about |= dict(algorithm_name="TD3", description=f"{source}, not D4RL's data: {outcome}")
    store(dataset_id, episodes, **about)
    steps = sum(len(episode.rewards) for episode in episodes)
    print(f"{dataset_id}: {steps:,} transitions, {len(episodes):,} episodes, {outcome}; {source}")


@errors_in_one_line()
def main():
    args = tyro.cli(Args, description=__doc__)
    check_id(args.dataset_id)
    if is_stored(args.dataset_id) and not args.overwrite:
        fail(f"{args.dataset_id} is there already: --overwrite stores it again")
    if args.policy_steps < 0 or args.seed < 0:
        fail("--policy-steps and --seed must not be negative")
    export(args.run, args.dataset_id, args.policy_steps, args.seed)


if __name__ == "__main__":
    main()
