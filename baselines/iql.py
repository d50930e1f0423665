"""Implicit Q-Learning (IQL), the method that DMG starts from: offline reinforcement learning, then online.

Paper: Kostrikov, Nair and Levine, ICLR 2022, https://arxiv.org/abs/2110.06169
Authors' code: https://github.com/ikostrikov/implicit_q_learning

For transitions (s, a, r, s') of the dataset, with the advantage A = min Q'(s, a) - V(s):

    V       minimises        E[ |expectile - 1(A < 0)| A^2 ]           Eq. (5)
    Q       is regressed on  r + gamma (1 - termination) V(s')         Eq. (6)
    policy  minimises        E[ -w log pi(a|s) ]                       Eq. (7)

where w = min(exp(inverse_temperature A), max_weight). Q' is a target network (Polyak average); min is over
the critics. Q is only ever evaluated at recorded actions. The policy is a diagonal Gaussian: its mean, a
network that ends in tanh, acts in evaluations; its standard deviation is learned, the same in all states.
Where paper and authors' code differ, the code is followed.

Online each update follows a step in the environment, with an action sampled from the policy and clipped to
[-1, 1]; the data stay in the buffer. The actor's learning rate falls along a cosine to 0 in a run that is
offline alone (also if another one goes online from it, with --checkpoint), and is constant in both phases of
a run that goes online. In D4RL's large AntMazes the discount is 0.995 online, as in DMG's comparison (in
Minari's it rises from 0.995 to 0.9975); IQL's authors keep it (--online-gamma 0). In Adroit and Kitchen the
actor's hidden layers have dropout in training (--dropout).

    python baselines/iql.py --env-id hopper-medium --seed 1 2 3  # three runs (members) trained as one
    python baselines/iql.py --env-id antmaze-large-play --online-steps 1000000   # offline, then online

dmg_offline.py with `--lam 0 --q-weight 0 --nu 1 --max-weight 100` has IQL's objectives too; what differs:

    here, as IQL's authors have it                      there
    log-likelihood of a Gaussian, its std learned       squared error of a deterministic policy
    orthogonal initialisation, gain sqrt(2), bias 0     PyTorch's default
    policy and Q' change in every update                policy, pi' and Q' in every second update
    hopper, halfcheetah, walker2d: rewards scaled       rewards raw
    observations raw                                    standardised (not in D4RL's AntMaze and point mazes)
    Adroit, Kitchen: dropout, inverse temperature 0.5   no dropout, inverse temperature 3
    data's actions at least 1e-5 within their bounds    as they are
    online: the policy's samples                        dmg_finetune.py: the policy's action plus noise
    actor's rate constant in a run that goes online     cosine offline, then constant

To read it: update() is the algorithm, train() the loop around it. Below the banner is the harness.
"""

import contextlib
import errno
import fcntl
import functools
import io
import itertools
import json
import math
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args, get_origin

import gymnasium as gym
import minari
import numpy as np
import torch
import tyro
from minari.storage import get_dataset_path
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


@dataclass
class Args:
    """Defaults are the authors' for locomotion, but for evaluations; presets() has what differs elsewhere."""

    exp_name: str = Path(__file__).stem  # name of the experiment
    env_id: str = "pointmaze-umaze"  # short name such as antmaze-large-play, or the id of any Minari dataset
    seed: tuple[int, ...] = (1,)  # --seed 1 2 3 trains three runs (members) as one
    runs_dir: str = "runs"  # the run's folder is {runs_dir}/{env_id}__{exp_name}__{time}
    checkpoint: str = ""  # folder of an offline run of this script to go online from, with its arguments
    resume: str = ""  # folder of a run to go on with; it keeps its arguments but for --device and --trust-env
    device: str = "cuda" if torch.cuda.is_available() else "cpu"  # where to train: cpu, cuda, cuda:1
    cuda_graph: bool = True  # on a GPU, replay the updates as a CUDA graph
    matmul_precision: Literal["highest", "high", "medium"] = "highest"  # PyTorch's; lower can be faster
    track: bool = False  # log to Weights & Biases too (pip install wandb)
    wandb_project: str = "dmg"  # project there
    trust_env: bool = False  # run whatever environment code the data set names; else only known code
    log_interval: int = 1000  # updates between two entries of the losses; offline a GPU waits only then
    eval_interval: int = 20_000  # updates between two evaluations, each followed by a checkpoint
    eval_episodes: int = 10  # episodes of an evaluation, for each member; 0: no evaluation

    online_steps: int = 0  # steps of a member's environment, each followed by an update; 0: offline alone
    online_gamma: float = 0.0  # discount online; 0: as offline

    offline_steps: int = 1_000_000  # number of offline updates
    batch_size: int = 256  # transitions in an update of a member
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    critics: int = 2  # number of Q networks, of which the minimum is used
    learning_rate: float = 3e-4  # of Adam, for all networks; without online steps the actor's goes to 0
    normalize_observations: bool = False  # standardise with the data's mean and std + 1e-3
    normalize_rewards: bool = True  # scale them so that the returns of the data's episodes span 1000
    step_cost: float = 0.0  # subtracted from every reward in training; 1 in mazes: -1 a step, 0 at the goal
    gamma: float = 0.99  # discount
    tau: float = 0.005  # Polyak rate of the target networks (not the expectile)

    inverse_temperature: float = 3.0  # how steeply a data action's weight grows with its advantage
    max_weight: float = 100.0  # cap on that weight
    expectile: float = 0.7  # of the in-sample value; 0.5 is the mean, 1 the maximum
    dropout: float = 0.0  # share of the actor's hidden units that an update leaves out, at random


MEMBERS = ("seed",)  # flags of which every combination is a member
IN_RESULT = {"q_mean": "q_values"}  # what result.json notes of the losses, without the rewards' factor
STARTS_FROM = "iql"  # whose checkpoints --checkpoint takes


class Linear(nn.Module):
    """nn.Linear for N networks side by side: (N, B, inputs) -> (N, B, outputs), one batched product.

    Initialised with orthogonal weights of gain sqrt(2), network i from generators[i], and with biases 0.
    """

    def __init__(self, generators, inputs, outputs):
        super().__init__()
        weights = torch.empty(len(generators), inputs, outputs)
        for weight, generator in zip(weights, generators):
            nn.init.orthogonal_(weight, math.sqrt(2), generator)
        self.weight = nn.Parameter(weights)
        self.bias = nn.Parameter(torch.zeros(len(generators), 1, outputs))

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


# As in dmg_offline.py
def mlp(generators, inputs, hidden, outputs):
    """The layers of a ReLU network for each of N generators: (N, B, inputs) -> (N, B, outputs)."""
    layers = []
    for width in hidden:
        layers += [Linear(generators, inputs, width), nn.ReLU(inplace=True)]
        inputs = width
    return [*layers, Linear(generators, inputs, outputs)]


# As in dmg_offline.py
class Critic(nn.Module):
    """Several Q(s, a): observations (M, B, n) and actions (M, B, m) -> (critics, M, B)."""

    def __init__(self, generators, inputs, hidden, critics):
        super().__init__()
        self.critics = critics
        # All members of the first critic, then of the second, ...; generators go on, so that these differ
        copies = generators * critics
        self.net = nn.Sequential(*mlp(copies, inputs, hidden, 1))

    def forward(self, observations, actions):
        x = torch.cat([observations, actions], -1)
        return self.net(x.repeat(self.critics, 1, 1)).view(self.critics, *x.shape[:-1])


LOG_STD_RANGE = (-5.0, 2.0)  # to which the log of the policy's standard deviation is clipped


class Agent(nn.Module):
    """The networks of M members, one for each seed, and the normaliser (n,).

    For observations (M, B, n) actor gives the policy's means (M, B, m) in [-1, 1] and vf values (M, B).
    log_std (M, 1, m) is the log of the policy's standard deviation, not yet clipped.
    """

    def __init__(self, members, mean, std, action_dim, args):
        super().__init__()
        n = len(mean)
        generators = [torch.Generator().manual_seed(seed) for (seed,) in members]
        self.actor = nn.Sequential(*mlp(generators, n, args.hidden, action_dim), nn.Tanh())
        self.log_std = nn.Parameter(torch.zeros(len(members), 1, action_dim))
        self.qf = Critic(generators, n + action_dim, args.hidden, args.critics)
        self.vf = nn.Sequential(*mlp(generators, n, args.hidden, 1), nn.Flatten(-2))  # drops the trailing 1
        self.qf_target = deepcopy(self.qf).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))


def log_likelihood(actions, means, log_std):
    """log pi(a|s) of a diagonal Gaussian: actions and means (M, B, m), log_std (M, 1, m) -> (M, B)."""
    z = (actions - means) / log_std.exp()
    return (-0.5 * z**2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def value_loss(advantage, args):
    """Expectile regression, Eq. (5): A = min Q'(s, a) - V(s), (M, B) -> loss (M,)."""
    weight = torch.where(advantage > 0, args.expectile, 1 - args.expectile)
    return (weight * advantage**2).mean(-1)


def with_dropout(actor, observations, factors):
    """The policy's means (M, B, m), its hidden layer k times factors[k] (M, B, width) of draw_factors."""
    x = observations
    factors = iter(factors)
    for layer in actor:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            x = x * next(factors)
    return x


def update(agent, optimizers, batch, args):
    """One update of all members; returns their losses, (M,) each.

    batch: observations (M, B, n), actions (M, B, m) in [-1, 1], rewards (M, B), next observations (M, B, n),
    and terminations (M, B); with dropout also what draw_factors gives. Losses are means over the batch,
    summed over members: every member's gradient is its own, and a NaN stays with its member. There may be no
    member axis: plain networks V(s) -> (B,), mean of pi(s) -> (B, m) in [-1, 1], Q(s, a) -> (2, B) train as
    they are, with a parameter log_std (m,): give it to the actor's optimizer, or the std silently stays.
    No random numbers, no .item() and no branch on data in here: a CUDA graph can capture neither the members'
    generators nor .item(), and it would freeze the branch.
    """
    observations, actions, rewards, next_observations, terminations, *factors = batch

    # --- V, the in-sample value, Eq. (5) ---
    with torch.no_grad():
        q_data = agent.qf_target(observations, actions).amin(0)
    advantage = q_data - agent.vf(observations)
    shapes = [x.shape for x in (q_data, advantage, rewards, terminations)]
    assert shapes == 4 * [actions.shape[:-1]], f"min Q, A, rewards and terminations are (M, B), not {shapes}"
    vf_loss = value_loss(advantage, args)
    optimizers["vf"].zero_grad()
    vf_loss.sum().backward()
    optimizers["vf"].step()

    # --- Policy, advantage-weighted regression, Eq. (7); V is the one just updated ---
    with torch.no_grad():
        advantage = q_data - agent.vf(observations)
        weight = (args.inverse_temperature * advantage).exp().clamp(max=args.max_weight)
    means = with_dropout(agent.actor, observations, factors) if factors else agent.actor(observations)
    assert means.shape == actions.shape, f"the policy's means are {means.shape}, not {actions.shape}"
    log_std = agent.log_std.clamp(*LOG_STD_RANGE).expand_as(means)
    actor_loss = -(weight * log_likelihood(actions, means, log_std)).mean(-1)
    optimizers["actor"].zero_grad()
    actor_loss.sum().backward()
    optimizers["actor"].step()

    # --- Q, Eq. (6), with the same V; and its target network ---
    with torch.no_grad():
        target = rewards + args.gamma * (1 - terminations) * agent.vf(next_observations)
    qf_loss = (agent.qf(observations, actions) - target).square().mean(-1).sum(0)
    optimizers["qf"].zero_grad()
    qf_loss.sum().backward()
    optimizers["qf"].step()
    with torch.no_grad():
        torch._foreach_lerp_([*agent.qf_target.parameters()], [*agent.qf.parameters()], args.tau)

    losses = {"vf_loss": vf_loss, "qf_loss": qf_loss, "q_values": q_data.mean(-1), "actor_loss": actor_loss}
    losses |= {"weight": weight.mean(-1), "log_std": log_std.mean((-2, -1))}
    return {name: loss.detach() for name, loss in losses.items()}


def make_optimizers(agent, args):
    """Adam for V, Q and policy; the learning rate is a tensor, because a CUDA graph would freeze a number."""
    optimizers = {}
    is_cuda = args.device.startswith("cuda")
    for name in ("vf", "qf", "actor"):
        learning_rate = torch.tensor(args.learning_rate, device=args.device)
        parameters = [*getattr(agent, name).parameters()]
        if name == "actor":
            parameters.append(agent.log_std)
        optimizers[name] = torch.optim.Adam(parameters, learning_rate, fused=True, capturable=is_cuda)
    return optimizers


def draw(generators, updates, n_data, args):
    """Indices (updates, M, B), each member's from its own generator."""
    shape, device = (updates, args.batch_size), generators[0].device
    indices = [torch.randint(n_data, shape, generator=g, device=device) for g in generators]
    return torch.stack(indices, 1)


def draw_factors(generators, args):
    """Dropout for one update: 0 with probability --dropout, else 1 / (1 - dropout), (M, B, width) a layer.

    Each member's are from its own generator. Nothing is drawn without dropout. They are not drawn ahead:
    those of a block of updates would take gigabytes.
    """
    device = generators[0].device
    factors = []
    for width in args.hidden if args.dropout else ():
        shape = (args.batch_size, width)
        uniform = [torch.rand(shape, generator=g, device=device) for g in generators]
        factors.append((torch.stack(uniform) >= args.dropout) / (1 - args.dropout))
    return factors


def train(train_step, optimizers, generators, n_data, action_dim, step, updates, args):
    """Updates step + 1, ..., step + updates, on batches of the n_data transitions; returns the last losses.

    train_step(indices, *factors) is update() on the transitions with these indices.
    """
    indices = draw(generators, updates, n_data, args)
    actor_lr = optimizers["actor"].param_groups[0]["lr"]  # a tensor: filling it sets the rate
    losses = {}
    for i in range(updates):
        # offline alone: a cosine to 0, from the full rate at the first update
        progress = 0 if args.online_steps else (step + i) / args.offline_steps
        actor_lr.fill_(args.learning_rate * (1 + math.cos(math.pi * progress)) / 2)
        losses |= train_step(indices[i], *draw_factors(generators, args))
    return losses


@torch.no_grad()
def explore(agent, observations, generators, t, args):
    """Actions (M, m) for standardised observations (M, n): samples of the policy, clipped to [-1, 1]."""
    device = generators[0].device
    means = agent.actor(observations.unsqueeze(1)).squeeze(1)
    std = agent.log_std.squeeze(1).clamp(*LOG_STD_RANGE).exp()
    noise = [torch.randn(means.shape[1:], generator=g, device=device) for g in generators]
    actions = (means + std * torch.stack(noise)).clamp(-1, 1)
    return actions.nan_to_num().cpu().numpy()  # a diverged member stands still


def train_online(
    interact, train_step, agent, members, optimizers, generators, n_data, action_dim, step, steps, args
):
    """Online steps step + 1, ..., step + steps: each acts once and updates once.

    interact(t) acts in every member's environment and adds what it sees to the n_data transitions.
    """
    losses = {}
    optimizers["actor"].param_groups[0]["lr"].fill_(args.learning_rate)  # constant online
    for t in range(step + 1 - args.offline_steps, step + 1 - args.offline_steps + steps):  # t = 1, 2, ...
        interact(t)
        indices = draw(generators, 1, n_data + t, args)
        losses |= train_step(indices[0], *draw_factors(generators, args))
    return losses


def preprocess(data, returns, args):
    """Clip the actions and scale the rewards in the arrays of load_transitions; returns the factor."""
    _, actions, rewards, _, _ = data
    np.clip(actions, -1 + 1e-5, 1 - 1e-5, out=actions)
    reward_scale = 1.0
    if args.normalize_rewards:
        require(np.ptp(returns) > 0, "all episodes have the same return: use --no-normalize-rewards")
        reward_scale = 1000 / float(np.ptp(returns))
        print(f"rewards times {reward_scale:.4g}: the returns of the episodes span 1000")
    rewards *= reward_scale
    return reward_scale


def presets(dataset):
    """What differs from the defaults of Args for the dataset's task."""
    task = task_of(dataset)
    maze = dict(normalize_rewards=False, step_cost=1.0, inverse_temperature=10.0, expectile=0.9)
    if task in ("minari-antmaze", "d4rl-antmaze"):
        gamma = 0.995 if task == "minari-antmaze" else 0.99  # acts every 0.05 s instead of 0.1 s
        online_gamma = (1 + gamma) / 2 if "large" in dataset.id.lower() else 0.0  # D4RL: the paper's 0.995
        return maze | dict(gamma=gamma, online_gamma=online_gamma, eval_interval=50_000, eval_episodes=100)
    if task == "ogbench":  # the benchmark's protocol
        return dict(normalize_rewards=False, eval_interval=100_000, eval_episodes=50)
    if task == "pointmaze":  # ours, for a quick look on a CPU
        return maze | dict(offline_steps=15_000, eval_interval=500, eval_episodes=50, tau=0.02)
    if task in EPISODE_STEPS:  # Adroit and Kitchen
        return dict(normalize_rewards=False, inverse_temperature=0.5, dropout=0.1)
    return {} if task in ("hopper", "halfcheetah", "walker2d") else dict(normalize_rewards=False)


def check_flags(args):
    """Refuse values of this method's own flags that no member could train with."""
    require(min(args.offline_steps, args.critics) >= 1, "--offline-steps and --critics: 1 or more")
    shares = (args.gamma, args.online_gamma, args.tau)
    require(max(shares) <= 1, "--gamma, --online-gamma and --tau must be at most 1")
    require(0 < args.expectile <= 1, "--expectile must be above 0 and at most 1")
    require(args.dropout < 1, "--dropout must be below 1")
    require(args.online_steps or not args.checkpoint, "--checkpoint goes online: give --online-steps, too")


# ==========================================================================================================
# You may stop here: the method is complete. Its harness is the same in both scripts that go online.
# main() and train_run() come first, then their helpers: messages and flags, data and environment, the run's
# folder and log, the CUDA graph, evaluation, checkpoints.
# ==========================================================================================================


def main(args=None):
    """Train with these Args, or those of the command line; returns what result.json holds, and its folder."""
    command = sys.argv[1:] if args is None else []
    args = parse_args(command) if args is None else args
    checkpoint = None
    if args.resume:
        checkpoint = load_checkpoint(args.resume, Path(__file__).stem)
        args = replace(args, **saved_args(checkpoint["run"], args))
    elif args.checkpoint:
        checkpoint = load_checkpoint(args.checkpoint, STARTS_FROM)
        args = replace(args, **offline_args(checkpoint["run"], args))
    check(args)
    with contextlib.ExitStack() as held:  # lock, workers, bar: a notebook's traceback would keep them
        return train_run(args, command, checkpoint, held)


def train_run(args, command, checkpoint, held):
    """A run, new or resumed, from its data to its last score; held closes what is put into it."""
    torch.set_float32_matmul_precision(args.matmul_precision)
    is_cuda = args.device.startswith("cuda")
    if is_cuda:
        warnings.filterwarnings("ignore", ".*capturable=True")  # the first updates are not captured
        torch.cuda.set_stream(torch.cuda.Stream(args.device))  # the default stream cannot be captured

    # --- Data, environments, agent ---
    dataset = open_source(args)
    members = list(itertools.product(*[getattr(args, flag) for flag in MEMBERS]))
    with explained(f"cannot make the environment of {dataset.id}"):
        env = make_env(dataset, args.trust_env)
        acting = [make_env(dataset, args.trust_env) for _ in members] if args.online_steps else []
        acting = [gym.wrappers.RecordEpisodeStatistics(member_env) for member_env in acting]
    low, high = reference_returns(dataset)
    n, action_dim = env.observation_space.shape[0], env.action_space.shape[0]
    mean, std, reward_scale = np.zeros(n), np.ones(n), 1.0
    if args.offline_steps:
        data, returns = load_transitions(dataset, env, args)
        print(f"mean return {returns.mean():.6g}, normalized score {score(returns.mean(), low, high):.1f}")
        reward_scale = preprocess(data, returns, args)
    else:
        data = [np.empty((0, *shape), np.float32) for shape in ((n,), (action_dim,), (), (n,), ())]
    if args.normalize_observations and args.offline_steps:
        mean = data[0].mean(0, dtype=np.float64)  # a float32 mean over 1e6 rows is off by 1e-3
        std = data[0].std(0, dtype=np.float64) + 1e-3
    agent = Agent(members, mean, std, action_dim, args).to(args.device)
    optimizers = make_optimizers(agent, args)
    generators = [torch.Generator(args.device).manual_seed(seed) for seed, *_ in members]

    def standardised(observations):
        return (torch.as_tensor(observations, device=args.device) - agent.mean) / agent.std

    # --- Replay buffer: the data, which all members share, then what each member adds online ---
    data_crc32 = zlib.crc32(np.column_stack(data))
    n_data = len(data[0])
    data = [torch.from_numpy(part).to(args.device) for part in data]
    data[0], data[3] = standardised(data[0]), standardised(data[3])
    rows = len(members) * args.online_steps
    with explained(f"no memory for {args.online_steps:,} online steps of {len(members)} member(s)"):
        buffer = [torch.cat([part, part.new_zeros(rows, *part.shape[1:])]) for part in data]
    del data
    own = [part[n_data:].view(len(members), args.online_steps, *part.shape[1:]) for part in buffer]
    # member m's own rows begin at n_data + m * online_steps
    own_offsets = args.online_steps * torch.arange(len(members), device=args.device).unsqueeze(1)

    # --- The run: new, from an offline run, or as its checkpoint left it ---
    if checkpoint:
        is_same = checkpoint["run"]["data_crc32"] == data_crc32
        require(is_same, f"{dataset.id} has changed since the checkpoint")
        may_go_on = args.resume or checkpoint["run"]["step"] <= args.offline_steps
        require(may_go_on, f"{args.checkpoint} has gone online already: --resume goes on with it")
        restore(checkpoint, agent, optimizers, generators, args)
    if args.resume:
        run_dir, run = Path(args.resume), checkpoint["run"]
        for part, saved in zip(own, checkpoint["online"]):
            part[:, : saved.shape[1]] = saved
    else:
        run_dir, run = start_run(args, command, dataset, data_crc32, members)
        if checkpoint:
            run["step"] = checkpoint["run"]["step"]
            for result, old in zip(run["members"], checkpoint["run"]["members"]):
                result["diverged_at"] = old["diverged_at"]
    lock_run(run_dir, run, args, held)
    results, step = run["members"], run["step"]
    losses = {}
    total = args.offline_steps + args.online_steps
    writers = start_logging(run_dir, run, args, held)

    # --- One update, as a CUDA graph on a GPU; offline and online differ in the discount ---
    def train_step(indices, *drawn, gamma=args.gamma, **flags):
        indices = torch.where(indices < n_data, indices, indices + own_offsets)
        batch = [part[indices] for part in buffer] + list(drawn)
        return update(agent, optimizers, batch, replace(args, gamma=gamma), **flags)

    if is_cuda and args.cuda_graph:
        train_step = graphed(train_step)
    train_online_step = functools.partial(train_step, gamma=args.online_gamma or args.gamma)

    # --- Online step t = 1, 2, ... of every member in its environment ---
    def interact(t):
        nonlocal observations
        if observations is None:  # new episodes begin after every checkpoint
            last = args.offline_steps + t - 1
            seeds = [np.random.SeedSequence((seed, last, 1)).generate_state(1)[0] for seed, *_ in members]
            resets = [member_env.reset(seed=int(seed))[0] for member_env, seed in zip(acting, seeds)]
            observations = np.array(resets, np.float32)
        before = standardised(observations)
        actions = explore(agent, before, generators, t, args)
        next_observations = np.empty_like(observations)
        rewards, terminations = np.zeros((2, len(members)), np.float32)
        for m, member_env in enumerate(acting):
            next_observations[m], reward, terminations[m], truncated, info = member_env.step(actions[m])
            reward = info.get("training_reward", reward)  # OGBench's data have others than its evaluation
            rewards[m] = reward_scale * (reward - args.step_cost)
            observations[m] = next_observations[m]
            if terminations[m] or truncated:  # only a termination ends the values, a truncation bootstraps
                episode_return = info["episode"]["r"]
                with explained(CANNOT_LOG):
                    writers[m].add_scalar("charts/episodic_return", episode_return, args.offline_steps + t)
                observations[m], _ = member_env.reset()
        seen = before, actions, rewards, standardised(next_observations), terminations
        for part, value in zip(own, seen):
            part[:, t - 1] = torch.as_tensor(value)

    # --- One evaluation and checkpoint ---
    bar = tqdm(total=total, initial=step, unit=" steps", smoothing=0.05, disable=None)
    held.callback(bar.close)
    if pool := start_workers(dataset, args):
        held.callback(pool.shutdown, wait=False, cancel_futures=True)
    shown = "episodic_return" if math.isnan(low) else "normalized_score"

    def evaluate_and_save():
        for m, episodes in enumerate(evaluate(agent, env, pool, results, step, args)):
            mean_return = float(np.mean(episodes)) if episodes else math.nan
            evaluation = {"episodic_return": mean_return, "normalized_score": score(mean_return, low, high)}
            with explained(CANNOT_LOG):
                for name, value in evaluation.items():
                    writers[m].add_scalar(f"eval/{name}", value, step)
            for name, loss in IN_RESULT.items():
                if loss in losses:
                    evaluation[name] = losses[loss][m].item() / reward_scale
            results[m]["evaluations"].append({"step": step, "returns": episodes} | evaluation)
        text = " ".join([shown, *[f"{result['evaluations'][-1][shown]:.1f}" for result in results]])
        bar.set_postfix_str(text)
        if bar.disable:  # no terminal
            print(f"{step:,} of {total:,} steps, {text}", flush=True)
        seen = [part[:, : max(step - args.offline_steps, 0)].clone() for part in own]
        save(run_dir, run, agent, optimizers, generators, online=seen)

    # --- Blocks of updates; after each a look at the losses, after some an evaluation and a checkpoint ---
    print(f"{len(members)} member(s) on {args.device}: {run_dir}", flush=True)
    first_step, seconds = step, 0.0
    observations = None
    if not args.resume:
        evaluate_and_save()  # what could go wrong there goes wrong before the training
    while step < total and not all(result["diverged_at"] for result in results):
        began = time.perf_counter()
        ends = [(step // interval + 1) * interval for interval in (args.log_interval, args.eval_interval)]
        is_online = step >= args.offline_steps
        steps = min(*ends, total if is_online else args.offline_steps) - step
        rest = optimizers, generators, n_data, action_dim, step, steps, args
        if is_online:
            losses |= train_online(interact, train_online_step, agent, members, *rest)
        else:
            losses |= train(train_step, *rest)
        scalars = {f"losses/{name}": loss.tolist() for name, loss in losses.items()}  # waits for the GPU
        seconds += time.perf_counter() - began
        step += steps
        run |= {"step": step, "updates_per_second": (step - first_step) / seconds}
        bar.update(steps)
        log(writers, results, scalars, run)
        has_ended = step in (args.offline_steps, total) or all(result["diverged_at"] for result in results)
        if step % args.eval_interval == 0 or has_ended:
            evaluate_and_save()
            losses = {}  # as after a resume
            observations = None
    bar.close()
    for writer, result in zip(writers, results):
        writer.close()
        last = result["evaluations"][-1]
        print(f"{result['name']}: return {last['episodic_return']:.6g}, score {last['normalized_score']:.4g}")
    return run | {"run_dir": str(run_dir)}


def parse_args(words):
    """Args of a command line; the rest is as for --env-id, or as in --resume's or --checkpoint's run."""
    parse = functools.partial(tyro.cli, Args, description=__doc__)
    others = [word for word in words if word not in ("-h", "--help")]
    first = parse(args=others)
    saved = {}
    if first.resume:
        saved = saved_args(load_checkpoint(first.resume, Path(__file__).stem)["run"], first)
    elif first.checkpoint:
        saved = offline_args(load_checkpoint(first.checkpoint, STARTS_FROM)["run"], first)
    wanted = replace(first, **saved)
    dataset = open_source(wanted) if others == words else named_dataset(wanted.env_id)  # --help needs none
    args = parse(args=words, default=replace(Args(), **(presets(dataset) | saved)))
    changed = [name for name, value in saved.items() if getattr(args, name) != value]
    require(not changed, f"the checkpoint has its own {', '.join(changed)}: leave that out or begin anew")
    return args


def offline_args(run, args):
    """The arguments that --checkpoint takes over from its run: all but how it runs and what is online."""
    free = "exp_name runs_dir resume checkpoint device cuda_graph matmul_precision track wandb_project"
    free = f"{free} trust_env log_interval eval_interval eval_episodes online_steps online_gamma".split()
    saved = {name: value for name, value in run["args"].items() if name not in free}
    unknown = ", ".join(sorted(saved.keys() - asdict(args).keys()))
    require(not unknown, f"{args.checkpoint} is of another version, with other flags: {unknown}")
    return saved


class Simulator:
    """Stands in for a data set where there is none: the environment of a Gymnasium id."""

    _eval_env_spec = None

    def __init__(self, env_id):
        self.id = env_id
        self.env_spec = gym.make(env_id).spec
        self.storage = SimpleNamespace(metadata={})

    def recover_environment(self, eval_env=True, **options):
        return gym.make(self.id, **options)


def open_source(args):
    """The data set of --env-id, or without offline steps the environment of a Gymnasium id."""
    env_id = args.env_id
    if args.offline_steps or named_dataset(env_id).env_spec:
        return open_dataset(env_id)
    module, colon, _ = env_id.partition(":")  # which Gymnasium imports
    is_trusted = not colon or module == "benchmark.d4rl_antmaze" or args.trust_env
    require(is_trusted, f"--env-id {env_id} imports {module}: if you trust it, give --trust-env")
    with explained(f"--offline-steps 0: {env_id} is neither a short name nor the id of an environment"):
        return Simulator(env_id)


# ==========================================================================================================
# The helpers of the harness: the same in all scripts.
# ==========================================================================================================


def fail(message, code=2):
    """End the program with one line that says what is wrong and what to do."""
    tqdm.write("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def require(holds, message):
    """End the program with message unless the condition holds."""
    if not holds:
        fail(message)


@contextlib.contextmanager
def explained(message):
    """For what comes from outside: end the program with message where it goes wrong."""
    try:
        yield
    except Exception as error:
        fail(f"{message} ({type(error).__name__}: {str(error)[:400]})")


def saved_args(run, args):
    """The arguments that --resume takes over from its run; these three have to be given again."""
    changed = sorted(run["args"].keys() ^ asdict(args).keys())
    require(not changed, f"{args.resume} is of another version, with other flags: {', '.join(changed)}")
    return {name: x for name, x in run["args"].items() if name not in ("resume", "device", "trust_env")}


def check(args):
    """Values have the form of their defaults; numbers are finite, and not negative unless a default is."""
    plain = (bool, int, float, str, type(None))  # what a checkpoint keeps: no NumPy numbers
    kinds = {bool: [bool], str: [str], int: [int], float: [int, float]}  # 1e6 is no int: it would fail late
    kinds |= {tuple[int, ...]: [int], tuple[float, ...]: [int, float]}
    for field in fields(args):
        name, value, default = field.name, getattr(args, field.name), field.default
        flag = "--" + name.replace("_", "-")
        values, defaults = [x if isinstance(x, tuple) else (x,) for x in (value, default)]
        is_fine = isinstance(value, tuple) == isinstance(default, tuple)
        is_fine = is_fine and all(type(x) in kinds.get(field.type, plain) for x in values)
        is_fine = is_fine and (get_origin(field.type) is not Literal or value in get_args(field.type))
        require(is_fine, f"{name}={value!r}: write it like {default!r}, in Python's own numbers and words")
        numbers = [x for x in values if isinstance(x, int | float)]
        may_be_negative = any(isinstance(x, int | float) and x < 0 for x in defaults)
        is_fine = all(math.isfinite(x) and x < 2**63 and (x >= 0 or may_be_negative) for x in numbers)
        require(is_fine, f"{flag} {value}: must be finite and not negative")
        is_fine = name not in MEMBERS or len(set(values)) == len(values) > 0
        require(is_fine, f"{flag}: must be one or more numbers, all different")
    counts = (args.eval_interval, args.log_interval, args.batch_size, *args.hidden)
    require(min(counts) >= 1, "intervals and sizes must be 1 or more")
    check_flags(args)
    with explained(f"--device {args.device} cannot be used"):
        torch.empty(0, device=args.device)


# Short names of data sets: pattern -> Minari's id, name of the environment. Those in -v2 are D4RL's own files
# (benchmark/import_d4rl.py); Minari's sets of the same names are other data.
SHORT_NAMES = {
    r"(hopper|halfcheetah|walker2d)-(.+)-v2": (r"imported/\1/\2-v2", r"\1"),
    r"(hopper|halfcheetah|walker2d|ant|humanoid|swimmer)-(.+)": (r"mujoco/\1/\2-v0", r"\1"),
    r"([^/]+)-singletask(-task.)?(-v0)?": (r"ogbench/\1-singletask\2-v0", "OGBench"),
    r"antmaze-(.+)-v2": (r"imported/antmaze/\1-v2", "D4RLAntMaze"),
    r"antmaze-(.+)": (r"D4RL/antmaze/\1-v1", "AntMaze"),
    r"pointmaze-(.+)": (r"local/pointmaze/\1-v0", "PointMaze"),
    r"(pen|hammer|door|relocate)-(.+)": (r"D4RL/\1/\2-v2", r"AdroitHand\1"),
    r"kitchen-(.+)": (r"D4RL/kitchen/\1-v2", "FrankaKitchen"),
}
# Entry points that a data set's metadata may name without --trust-env
TRUSTED = r"gymnasium\.(envs|wrappers)\.(?!registration)[\w.]+:\w+|gymnasium_robotics\.envs\.[\w.]+:\w+"
TRUSTED += r"|benchmark\.(d4rl_antmaze|ogbench_env):\w+"
# So that benchmark can be imported, from baselines/ too
sys.path += [str(folder) for folder in Path(__file__).resolve().parents[:2]]
# Returns that score 0 and 100, those of D4RL's random and expert policies; other data sets bring their own
REFERENCE_RETURNS = {"hopper": (-20.272305, 3234.3), "halfcheetah": (-280.178953, 12135.0)}
REFERENCE_RETURNS |= {"walker2d": (1.629008, 4592.3), "ant": (-325.6, 3879.7)}
REFERENCE_RETURNS |= dict.fromkeys(("minari-antmaze", "d4rl-antmaze", "pointmaze"), (0.0, 1.0))
REFERENCE_RETURNS |= {"pen": (96.262799, 3076.8331017826877), "hammer": (-274.856578, 12794.134825156867)}
REFERENCE_RETURNS |= {"door": (-56.512833, 2880.5693087298737), "relocate": (-6.425911, 4233.877797728884)}
REFERENCE_RETURNS |= {"kitchen": (0.0, 4.0)}
# Steps of D4RL's episodes, to which these returns belong; most of Minari's environments play longer
EPISODE_STEPS = {"pen": 100, "hammer": 200, "door": 200, "relocate": 200, "kitchen": 280}
# D4RL's start and goal cells (row, column), for mazes of these shapes whose map marks none
MAZE_CELLS = {(5, 5): ((1, 1), (3, 1)), (8, 8): ((1, 1), (6, 6)), (9, 12): ((1, 1), (7, 9))}


def named_dataset(env_id):
    """What a name stands for, before anything is read: the data set's id and the name of its environment."""
    for pattern, (dataset_id, environment) in SHORT_NAMES.items():
        if match := re.fullmatch(pattern, env_id):
            spec = SimpleNamespace(id=match.expand(environment))
            return SimpleNamespace(id=match.expand(dataset_id), env_spec=spec)
    return SimpleNamespace(id=env_id, env_spec=None)


def open_dataset(env_id):
    """A data set by its short name or Minari id: on this machine, or else from Minari's server."""
    dataset_id = named_dataset(env_id).id
    is_id = re.fullmatch(r"([\w-]+/)*[\w-]+-v\d+", dataset_id)
    known = ", ".join(SHORT_NAMES).replace("(.+)", "NAME").replace("([^/]+)", "NAME")
    require(is_id, f"there is no data set {env_id}: give a Minari id (name/name-v0), or a name like {known}")
    with explained("there is no folder for data sets: set MINARI_DATASETS_PATH"):
        folder = get_dataset_path(dataset_id) / "data"
    if not folder.exists():
        kind, _, name = dataset_id.removesuffix("-v0").replace("/", "-").partition("-")
        recorded = name.split("-singletask")[0]  # OGBench's tasks share a recording
        tools = {"local": f"collect_local.py {recorded}", "ogbench": f"import_ogbench.py {name}"}
        tools |= {"imported": "import_d4rl.py FILE.hdf5"}
        tool = tools.get(kind)
        missing = f"{dataset_id} is not in {get_dataset_path()}"
        require(not tool, f"{missing}; make it with: python benchmark/{tool}")
        print(f"{missing}: asking Minari's server", flush=True)
        elsewhere = f"no network (where there is one: minari download {dataset_id})"
        with explained(f"cannot download {dataset_id}: not in `minari list remote`, or {elsewhere}"):
            minari.download_dataset(dataset_id)
    with explained(f"cannot read {dataset_id}; if that was downloaded in part: minari download --force"):
        metadata = json.loads((folder / "metadata.json").read_text())
        if not {"observation_space", "action_space"} <= metadata.keys():
            raise ValueError("its metadata lack the spaces, for which Minari would run what env_spec names")
        return minari.load_dataset(dataset_id)


def task_of(dataset):
    """hopper, pen, kitchen, minari-antmaze, d4rl-antmaze, ...: the environment without maze and version."""
    name = re.split("[-_/]", dataset.env_spec.id)[0].lower() if dataset.env_spec else "unknown"
    name = re.sub("^(adroithand|franka)", "", name)
    return {"antmaze": "minari-antmaze", "d4rlantmaze": "d4rl-antmaze"}.get(name, name)


def reference_returns(dataset):
    """The returns that score 0 and 100; NaN, and a line that says so, where nobody knows them."""
    names = ("ref_min_score", "ref_max_score")
    stored = [dataset.storage.metadata.get(name) for name in names]
    low, high = REFERENCE_RETURNS.get(task_of(dataset), stored)
    if all(isinstance(x, int | float) and math.isfinite(x) for x in (low, high)) and low != high:
        return low, high
    print(f"note: {dataset.id} has no two different {' and '.join(names)}: returns are shown, not scores")
    return math.nan, math.nan


def score(episodic_return, low, high):
    return float(100 * (episodic_return - low) / (high - low))


class OneGoal(gym.Wrapper):
    """A Gymnasium-Robotics maze as D4RL's task: one start, one goal, over with a reward of 1 at the goal."""

    def __init__(self, env):
        super().__init__(env)
        maze = env.unwrapped.maze
        robot = getattr(env.unwrapped, "ant_env", None)
        grid = np.array(maze.maze_map, dtype=str)
        cells = [*np.argwhere(grid == "r"), *np.argwhere(grid == "g")]
        self.start, self.goal_cell = cells if len(cells) == 2 else np.array(MAZE_CELLS[grid.shape])
        self.goal = maze.cell_rowcol_to_xy(self.goal_cell)
        # D4RL's noise at the start: 0.1 on every position; the ant's own reset adds it to x and y as well
        env.unwrapped.position_noise_range = 0.0 if robot else 0.1 / maze.maze_size_scaling
        if robot:
            robot._reset_noise_scale = 0.1
        Path(env.unwrapped.tmp_xml_file_path).unlink(missing_ok=True)  # which the library leaves behind

    def is_at_goal(self, xy):
        """Whether positions (..., 2) lie within 0.5 m of the goal."""
        return np.linalg.norm(xy - self.goal, axis=-1) <= 0.5

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options={"reset_cell": self.start, "goal_cell": self.goal_cell})

    def step(self, action):
        observation, _, _, truncated, info = self.env.step(action)
        terminated = bool(self.is_at_goal(observation["achieved_goal"]))
        return observation, float(terminated), terminated, truncated, info


def check_trust(dataset):
    """Refuse environment code, which Gymnasium would run, that is neither TRUSTED nor registered here."""
    for spec in filter(None, (dataset.env_spec, dataset._eval_env_spec)):
        own = gym.registry[spec.id].entry_point if spec.id in gym.registry else None
        if callable(own):
            own = f"{own.__module__}:{own.__name__}"
        for name in (spec.entry_point, *[wrapper.entry_point for wrapper in spec.additional_wrappers]):
            if name != own and not re.fullmatch(TRUSTED, str(name)):
                raise PermissionError(f"it names {name}, which is run only with --trust-env")


def make_env(dataset, trust_env=False, **options):
    """The dataset's environment, with flat observations and actions in [-1, 1]; options such as render_mode.

    A maze is that of the data, not the one stored for evaluation, which may be another. Its goal is not
    observed, and OneGoal ends its episodes. A kitchen pays once for a task and ends when all are done; the
    stored one pays again at every later step.
    """
    if not trust_env:
        check_trust(dataset)
    task = task_of(dataset)
    if task in EPISODE_STEPS:
        options["max_episode_steps"] = EPISODE_STEPS[task]
    if task in ("minari-antmaze", "pointmaze"):
        env = dataset.recover_environment(continuing_task=True, reset_target=False, **options)
        env = gym.wrappers.FilterObservation(OneGoal(env), ("achieved_goal", "observation"))
    elif task == "kitchen":  # whose observations share their goals, of which Gymnasium's checker warns
        options |= dict(remove_task_when_completed=True, terminate_on_tasks_completed=True)
        env = dataset.recover_environment(eval_env=True, disable_env_checker=True, **options)
        env = gym.wrappers.FilterObservation(env, ("observation",))
    else:
        env = dataset.recover_environment(eval_env=True, **options)
    one = env.action_space.dtype.type(1)  # a kitchen has float64 and warns of float32
    flat_space = gym.spaces.flatten_space(env.observation_space)
    env = gym.wrappers.TransformObservation(env, flatten, flat_space)  # as load_transitions does
    return gym.wrappers.RescaleAction(env, -one, one)


def flatten(observations):
    """Concatenate a dictionary's entries by sorted key."""
    if isinstance(observations, dict):
        return np.concatenate([flatten(observations[key]) for key in sorted(observations)], axis=-1)
    return np.asarray(observations, np.float32)


def load_transitions(dataset, env, args):
    """Cut episodes into transitions; in a maze rewards and terminations become those of its one goal.

    Returns float32 arrays of N observations, actions in [-1, 1], rewards, next observations and terminations,
    and the undiscounted return of every episode. Truncations are not terminations: they bootstrap.
    """
    space, own = dataset.action_space, env.unwrapped.action_space
    is_box = isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and (space.low < space.high).all()
    require(is_box, f"{dataset.id}: actions must be vectors between two bounds, not {space}")
    is_same = space.shape == own.shape and np.allclose([space.low, space.high], [own.low, own.high])
    require(is_same, f"{dataset.id}: actions in {space}, but the environment's are in {own}")
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    task, is_maze = task_of(dataset), env.has_wrapper_attr("is_at_goal")
    episodes, returns = [], []
    print(f"{dataset.id}: reading {dataset.total_episodes:,} episodes", flush=True)
    bar = dict(total=dataset.total_episodes, unit=" episodes", delay=2, leave=False, disable=None)
    with explained(f"{dataset.id}: the arrays of an episode cannot be read or do not fit each other"):
        for episode in tqdm(dataset.iterate_episodes(), **bar):
            observations, rewards, terminations = episode.observations, episode.rewards, episode.terminations
            if is_maze:
                terminations = env.get_wrapper_attr("is_at_goal")(observations["achieved_goal"][1:])
                rewards = terminations.astype(np.float32)
                observations = {key: observations[key] for key in ("achieved_goal", "observation")}
            elif task == "kitchen":
                # as in D4RL's data: rewards stay the number of tasks done at each step (the environment pays
                # once, which depends on the past), and demonstrations end in a terminal
                observations = observations["observation"]
                terminations = np.arange(1, len(rewards) + 1) == len(rewards)
            observations = flatten(observations)
            steps = len(rewards)
            shapes = [array.shape for array in (observations, episode.actions, rewards, terminations)]
            wanted = [(steps + 1, *env.observation_space.shape), (steps, *space.shape), (steps,), (steps,)]
            if shapes != wanted:
                raise ValueError(f"episode {episode.id}: shapes {shapes} instead of {wanted}")
            # recordings may go on after a termination, where an evaluation ends
            length = terminations.argmax() + 1 if terminations.any() else steps
            paid = (terminations if task == "ogbench" else rewards)[:length]  # as in an evaluation
            returns.append(paid.max() if task == "kitchen" else paid.sum())
            actions, rewards = (episode.actions - middle) / half, rewards - args.step_cost
            episodes.append((observations[:-1], actions, rewards, observations[1:], terminations))
        require(any(len(rewards) for _, _, rewards, _, _ in episodes), f"{dataset.id} has no transitions")
        data = [np.concatenate(parts, dtype=np.float32) for parts in zip(*episodes)]
    check_data(data, dataset)
    return data, np.array(returns)


def check_data(data, dataset):
    """Refuse numbers that cannot be meant, note odd ones, and clip the actions to [-1, 1] (in place)."""
    observations, actions, rewards, _, terminations = data
    is_fine = all(np.isfinite(part).all() for part in data) and np.isin(terminations, (0, 1)).all()
    require(is_fine, f"{dataset.id}: numbers must be finite, and terminations 0 or 1")
    space = dataset.action_space
    outside, largest = (np.abs(actions) > 1 + 1e-4).sum(), np.abs(actions).max()
    require(largest <= 1.5, f"{dataset.id}: actions must lie within {space}; one is {largest:.3g} times it")
    if outside:
        print(f"note: {outside:,} of {actions.size:,} numbers in actions lay outside {space} and are clipped")
    actions.clip(-1, 1, out=actions)
    size = np.abs(observations).max(0)
    odd = np.flatnonzero((size > 1e6) | (size > 0) & (size < 1e-6)).tolist()
    if odd:
        print(f"note: the largest of observed numbers {odd} are {size[odd]}: are their units meant?")
    if np.ptp(rewards) == 0:
        print(f"note: all rewards are {rewards[0]:.4g}: only how long an episode lasts makes a difference")
    print(f"{len(rewards):,} transitions, {terminations.sum():,.0f} terminations, ", end="")
    print(f"rewards {rewards.min():.4g} to {rewards.max():.4g}; {observations.shape[1]} numbers observed")


def restore(checkpoint, agent, optimizers, generators, args):
    """Networks, optimizers and generators as the checkpoint has them; the device may be another."""
    run = checkpoint["run"]
    with explained("the checkpoint does not fit the networks"):
        agent.load_state_dict(checkpoint["agent"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(checkpoint["optimizers"][name])
            for group in optimizer.param_groups:  # the old device's settings came with it
                group["capturable"] = args.device.startswith("cuda")
                if torch.is_tensor(group["lr"]):
                    group["lr"] = group["lr"].to(args.device)
        for generator, state in zip(generators, checkpoint["generators"]):
            if len(state) == len(generator.get_state()):
                generator.set_state(state)
            else:  # a GPU's generator draws other numbers
                generator.manual_seed(generator.initial_seed() + run["step"])
    run["args"]["device"] = args.device


def start_run(args, command, dataset, data_crc32, members):
    """Make the run's folder, with a copy of this script; returns it and what its result.json begins with."""
    name = re.sub(r"[^\w.-]", "-", f"{args.env_id}__{args.exp_name}")
    run_dir = Path(args.runs_dir) / f"{name}__{time.time_ns() // 10**3}"
    with explained(f"cannot make the run's folder in --runs-dir {args.runs_dir}"):
        run_dir.mkdir(parents=True)
        shutil.copy(__file__, run_dir)
    git = "git describe --always --dirty --abbrev=40 --exclude=*".split()
    run = {"script": Path(__file__).stem, "command": command, "env_id": args.env_id, "dataset_id": dataset.id}
    run |= {"data_crc32": data_crc32, "git_commit": "", "args": asdict(args), "versions": {}}
    with contextlib.suppress(OSError):  # no git
        done = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True)
        run["git_commit"] = done.stdout.strip()
    for package in ("torch", "numpy", "gymnasium", "minari", "mujoco", "gymnasium-robotics"):
        with contextlib.suppress(PackageNotFoundError):
            run["versions"][package] = version(package)
    run |= {"step": 0, "updates_per_second": None, "members": []}
    for values in members:
        member = dict(zip(MEMBERS, values))
        varied = [flag for flag in MEMBERS if flag == "seed" or len(getattr(args, flag)) > 1]
        name = "_".join(f"{flag}{member[flag]}" for flag in varied)
        run["members"].append({"name": name} | member | {"diverged_at": None, "evaluations": []})
    return run_dir, run


def lock_run(run_dir, run, args, held):
    """Keep other processes from training this run, until held is closed or this process dies."""
    with explained(f"{run_dir} is being trained by another process, or cannot be written to"):
        lock = held.enter_context(open(run_dir / "lock", "w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            print("note: this file system has no locks: see to it that only one process trains a run")
    # another process may have trained on between our reading of the checkpoint and our lock
    is_last = not args.resume or load_checkpoint(run_dir, run["script"])["run"]["step"] == run["step"]
    require(is_last, f"another process has gone on with {run_dir} meanwhile: --resume it again")


CANNOT_LOG = "cannot log for TensorBoard; --resume goes on from the last checkpoint, if any"


def start_logging(run_dir, run, args, held):
    """TensorBoard's writers, one a member, and with --track Weights & Biases, which copies from them."""
    if args.track:
        with explained("cannot --track: pip install wandb, then wandb login"):
            import wandb

            options = dict(id=run_dir.name, resume="allow", config=asdict(args), sync_tensorboard=True)
            options |= dict(project=args.wandb_project, name=run_dir.name, dir=run_dir)
            held.enter_context(wandb.init(**options))
    names = [member["name"] for member in run["members"]]
    lines = [f"|{name}|{value}|" for name, value in asdict(args).items()]
    with explained(CANNOT_LOG):
        writers = [SummaryWriter(str(run_dir / name), purge_step=run["step"] + 1) for name in names]
        for writer in writers:
            writer.add_text("hyperparameters", "\n".join(["|param|value|", "|-|-|", *lines]))
    return writers


def log(writers, results, scalars, run):
    """Write scalars (M,) for each member, and note which members have diverged."""
    for m, (writer, result) in enumerate(zip(writers, results)):
        with explained(CANNOT_LOG):
            for name, values in scalars.items():
                writer.add_scalar(name, values[m], run["step"])
            writer.add_scalar("charts/SPS", run["updates_per_second"], run["step"])
        diverged = [name for name, values in scalars.items() if not math.isfinite(values[m])]
        if diverged and not result["diverged_at"]:
            result["diverged_at"] = run["step"]
            tqdm.write(f"{result['name']} has diverged by update {run['step']}: {diverged[0]} is not finite")


def graphed(function):
    """Capture function(*tensors, **flags) as a CUDA graph for each value of the flags; then replay it.

    The networks are so small that launching some 300 kernels should take longer than running them. A replay
    launches all at once, with the new tensors copied to where the capture found the old ones, and writes its
    outputs over those of the last one.
    """
    calls, captured = Counter(), {}

    def call(*tensors, **flags):
        key = tuple(flags.values())
        calls[key] += 1
        if calls[key] <= 2:  # Adam's state and the libraries must be set up before a capture
            return function(*tensors, **flags)
        if key not in captured:
            graph, inputs = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in tensors]
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                captured[key] = graph, inputs, function(*inputs, **flags)  # captured, not run
        graph, inputs, outputs = captured[key]
        torch._foreach_copy_(inputs, tensors)
        graph.replay()
        return outputs

    return call


def start_workers(dataset, args):
    """Processes to evaluate in, one for each of PyTorch's threads (OMP_NUM_THREADS); None for one."""
    processes = min(torch.get_num_threads(), 16)
    is_daemon = multiprocessing.current_process().daemon  # such as a Pool's worker: it may start no others
    if processes == 1 or is_daemon or not args.eval_episodes:
        return None
    spawn = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    return ProcessPoolExecutor(processes, spawn, start_worker, (dataset,))


def start_worker(dataset):
    """In a worker: make its environment, which has been checked; end with the training."""
    global worker_env
    torch.set_num_threads(1)
    worker_env = make_env(dataset, trust_env=True)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def play_in_worker(policy, seed):
    return play(worker_env, *pickle.loads(policy), seed)


def evaluate(agent, env, pool, results, step, args):
    """Play eval_episodes episodes for each member; returns their returns, NaN if it has diverged.

    The seeds depend on the member's and on step alone.
    """
    alive = [m for m, result in enumerate(results) if not result["diverged_at"]]
    tasks = []
    for m in alive:
        policy = actor_of(agent, m), agent.mean.cpu(), agent.std.cpu()
        if pool:  # its thread would copy tensors by OpenMP threads of its own, which slow update()'s down
            policy = pickle.dumps(policy)
        seeds = np.random.SeedSequence((results[m]["seed"], step)).generate_state(args.eval_episodes)
        tasks += [(policy, int(seed)) for seed in seeds]
    evaluations = np.full((len(results), args.eval_episodes), math.nan)
    with explained("evaluation failed: go on with --resume and the run's folder"):
        if pool:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # in workers that start here
            try:
                returns = pool.map(play_in_worker, *zip(*tasks))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        else:
            returns = [play(env, *policy, seed) for policy, seed in tasks]
        evaluations[alive] = np.reshape(list(returns), (len(alive), args.eval_episodes))
    return evaluations.tolist()


def actor_of(agent, m):
    """Member m's actor, on the CPU: of parameters with a leading axis of members, its own alone."""
    actor = deepcopy(agent.actor).cpu().eval().requires_grad_(False)
    for parameter in actor.parameters():
        if parameter.dim() == 3:
            parameter.data = parameter.data[m : m + 1].clone()
    return actor


@torch.no_grad()
def play(env, actor, mean, std, seed):
    """Play an episode with one member's actor; returns its undiscounted return."""
    observation, _ = env.reset(seed=seed)
    episode_return, is_over = 0.0, False
    while not is_over:
        x = (torch.as_tensor(observation, dtype=torch.float32) - mean) / std
        action = actor(x.view(1, 1, -1)).view(env.action_space.shape)
        observation, reward, terminated, truncated, _ = env.step(action.numpy())
        episode_return += float(reward)
        is_over = terminated or truncated
    return episode_return


def save(run_dir, run, agent, optimizers, generators, **more):
    """Write result.json, then the checkpoint: all that the next update depends on."""
    state = {"run": run, "agent": agent.state_dict()} | more
    state["optimizers"] = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
    state["generators"] = [generator.get_state() for generator in generators]
    torch.save(state, buffer := io.BytesIO())
    contents = {"result.json": json.dumps(run, indent=1).encode(), "checkpoint.pt": buffer.getvalue()}
    with explained(f"cannot write to {run_dir}; --resume goes on from the last checkpoint, if any"):
        for name, content in contents.items():  # a kill or a full disk leaves the old file as it was
            temporary = run_dir / f"{name}.tmp"
            temporary.write_bytes(content)
            os.replace(temporary, run_dir / name)


def load_checkpoint(run_dir, script):
    """Read the checkpoint of one of script's runs, on the CPU and intact; nothing in it is executed."""
    path = Path(run_dir) / "checkpoint.pt"
    require(path.is_file(), f"there is no {path}: give the folder of a run")
    with explained(f"{path} is damaged"):
        archive = zipfile.ZipFile(path)
        # torch.save leaves the attributes 0, and torch.load reads other numbers where they are not
        if archive.testzip() or any(entry.external_attr for entry in archive.infolist()):
            raise ValueError("its checksums are wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        made_by = state["run"]["script"]
    require(made_by == script, f"{path} is not of {script}.py, but of {made_by}.py")
    return state


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; --resume and the run's folder go on from the last checkpoint, if any", code=130)
