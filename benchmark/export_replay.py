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
from render import load_agent
from store import check_id, cut_episode, errors_in_one_line, fail, is_stored, make_env, rollouts, store
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parent.parent))
import dmg_finetune
import dmg_offline as dmg


@dataclass
class Args:
    run: Annotated[Path, tyro.conf.Positional]  # folder of the run
    # name of the data set, such as local/hopper/medium-replay-v0
    dataset_id: Annotated[str, tyro.conf.Positional]
    policy_steps: int = 0  # record about this many steps of the last policy instead of storing the buffer
    seed: int = 0  # of the recorded episodes
    overwrite: bool = False  # store again what is already there
    trust_env: bool = False  # make the run's environment whatever module it imports


def buffer_episodes(columns, env, step_cost):
    """The buffer's five arrays (T, ...) as EpisodeBuffers; an episode that did not terminate was truncated.

    Episodes are not marked in a buffer: they end where the next row's observation is not the one seen next.
    """
    observations, actions, rewards, next_observations, terminations = columns
    space = env.action_space
    actions = space.low + (space.high - space.low) * (actions + 1) / 2
    terminations = terminations > 0
    arrays = observations, actions.astype(space.dtype), rewards + step_cost, terminations
    was_cut = (next_observations[:-1] != observations[1:]).any(1)
    is_last = np.append(was_cut, True) | terminations
    episodes = []
    begin = 0
    for last in np.flatnonzero(is_last):
        rows = slice(begin, last + 1)
        episodes.append(cut_episode(rows, next_observations[last], not terminations[last], *arrays))
        begin = last + 1
    return episodes


def load_policy(state):
    """The first member's trained actor: observation -> action in [-1, 1]."""
    agent = load_agent(dmg_finetune, state)
    actor = dmg_finetune.actor_of(agent, 0)

    def policy(observation):
        x = (torch.as_tensor(observation, dtype=torch.float32) - agent.mean) / agent.std
        return actor(x.view(1, 1, -1))[0, 0].numpy()

    return policy


def policy_episodes(policy, env, noise, steps, seed):
    """Whole episodes of a policy with Gaussian noise of this standard deviation on actions in [-1, 1]."""
    rng = np.random.default_rng(seed)
    space = env.action_space
    middle = (space.high + space.low) / 2
    half = (space.high - space.low) / 2

    def noisy_policy(observation):
        action = policy(observation) + noise * rng.normal(size=space.shape)
        return middle + half * action  # clipped where it is played

    with tqdm(unit=" steps", disable=None) as bar:
        return rollouts(env, lambda: noisy_policy, rng, steps, bar)


def environment_of(run_dir, env_id, trust_env):
    """The environment that a run was trained in, which must have vectors as observations."""
    module, colon, _ = env_id.partition(":")
    is_known = not colon or module == "benchmark.d4rl_antmaze" or trust_env
    dmg.require(is_known, f"{run_dir}: {env_id} imports {module}: if you trust it, give --trust-env")
    with dmg.explained(f"cannot make {env_id}"):
        env = make_env(env_id)
    space = env.observation_space
    is_vector = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
    dmg.require(is_vector, f"the observations of {env_id} are no vectors")
    return env


def export(run_dir, dataset_id, policy_steps=0, seed=0, trust_env=False):
    """Store the run's buffer, or steps of its policy, and print a line about it."""
    state = dmg.load_checkpoint(run_dir, "dmg_finetune")
    run = state["run"]
    train_args = run["args"]
    dmg.require(train_args["offline_steps"] == 0, f"{run_dir} has learned from data: give one from scratch")
    env = environment_of(run_dir, run["env_id"], trust_env)
    if policy_steps:
        has_diverged = run["members"][0]["diverged_at"]
        dmg.require(not has_diverged, f"{run_dir} has diverged: its policy cannot be played")
        noise = train_args["exploration_noise"]
        episodes = policy_episodes(load_policy(state), env, noise, policy_steps, seed)
        source = f"{policy_steps:,} steps of the policy"
    else:
        columns = [part[0].numpy() for part in state["online"]]  # not standardised in runs from scratch
        dmg.require(len(columns[0]), f"{run_dir} has seen nothing before its last checkpoint")
        episodes = buffer_episodes(columns, env, train_args["step_cost"])
        source = "the replay buffer"
    source += f" after {run['step']:,} steps of online TD3 (dmg_finetune.py) in {run['env_id']}"
    episodes = [replace(episode, observations=np.float32(episode.observations)) for episode in episodes]

    bounds = np.float32(env.observation_space.low), np.float32(env.observation_space.high)
    about = dict(env=env, eval_env=env, observation_space=gym.spaces.Box(*bounds, dtype=np.float32))
    returns = np.array([episode.rewards.sum() for episode in episodes])
    outcome = f"return {returns.mean():.1f} (best {returns.max():.1f})"
    if reference := dmg.REFERENCE_RETURNS.get(re.split("[-_/]", env.spec.id)[0].lower()):
        low, high = reference
        about |= dict(ref_min_score=low, ref_max_score=high)
        scores = 100 * (returns - low) / (high - low)
        outcome += f", score {scores.mean():.1f} (best {scores.max():.1f})"
    about |= dict(algorithm_name="TD3", description=f"{source}, not D4RL's data: {outcome}")
    about |= dict(author="DMG contributors", requirements=["gymnasium[mujoco]"])
    print(f"{store(dataset_id, episodes, **about)}, {outcome}; {source}")


@errors_in_one_line()
def main():
    args = tyro.cli(Args, description=__doc__)
    check_id(args.dataset_id)
    if is_stored(args.dataset_id) and not args.overwrite:
        fail(f"{args.dataset_id} is there already: --overwrite stores it again")
    if args.policy_steps < 0 or args.seed < 0:
        fail("--policy-steps and --seed must not be negative")
    export(args.run, args.dataset_id, args.policy_steps, args.seed, args.trust_env)


if __name__ == "__main__":
    main()
