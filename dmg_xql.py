"""Doubly Mild Generalization (DMG) for offline reinforcement learning, with XQL's Gumbel value.

Paper: Mao et al., NeurIPS 2024, https://arxiv.org/abs/2411.07934
Authors' code: https://github.com/maoyixiu/DMG

For transitions (s, a, r, s') of the dataset, with A = min Q'(s, a) - V(s), where min is over the critics and
Q' and pi' are target networks (Polyak averages):

    V       minimises        E[ exp(z) - z - 1 ],  z = min(A / gumbel_beta, max_clip)                   XQL
    Q       is regressed on  r + gamma (1 - termination) [ lam min Q'(s', a') + (1 - lam) V(s') ]   Eq. (16)
    policy  minimises        E[ -q_scale min Q(s, pi(s)) + nu w |pi(s) - a|^2 ]                     Eq. (14)

where a' = pi'(s') + clipped noise, w = min(exp(inverse_temperature A), max_weight), and |pi(s) - a|^2 is a
mean over the dimensions of the action. lam is the share of the policy's own action in the target of Q, nu the
strength of the pull towards good data actions. q_scale = q_weight / mean|min Q(s, pi(s))|, a constant to the
gradient, takes the scale of Q out of the first term; w still has it, through A. Where paper and authors' code
differ (benchmark/README.md), this file follows the code, which produced the paper's numbers.

Unclipped, V = gumbel_beta log E exp(min Q' / gumbel_beta), the maximum of Q' for small gumbel_beta, the mean
for large; but as in XQL's code a batch counts the less the larger its largest z, which makes V smaller
(benchmark/variants.md). XQL: Garg et al., ICLR 2023, https://arxiv.org/abs/2301.02328. DMG's authors
released no code for this variant.

    python dmg_xql.py                                               # a small maze recorded on this machine
    python dmg_xql.py --env-id antmaze-large-play --lam 0.25        # a short name, or any Minari id
    python dmg_xql.py --env-id hopper-medium --seed 1 2 3           # three runs (members) trained as one

To read it: new are value_loss() and its flags; all else is as in dmg_offline.py.
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
    """Defaults are the authors' for locomotion; presets() has what differs for other tasks."""

    exp_name: str = Path(__file__).stem  # name of the experiment
    env_id: str = "pointmaze-umaze"  # short name such as antmaze-large-play, or the id of any Minari dataset
    seed: tuple[int, ...] = (1,)  # --seed 1 2 3 trains three runs (members) as one; so do several lam or nu
    runs_dir: str = "runs"  # the run's folder is {runs_dir}/{env_id}__{exp_name}__{time}
    resume: str = ""  # folder of a run to go on with; it keeps its arguments but for --device and --trust-env
    device: str = "cuda" if torch.cuda.is_available() else "cpu"  # where to train: cpu, cuda, cuda:1
    cuda_graph: bool = True  # on a GPU, replay the updates as a CUDA graph
    matmul_precision: Literal["highest", "high", "medium"] = "highest"  # PyTorch's; lower can be faster
    track: bool = False  # log to Weights & Biases too (pip install wandb)
    wandb_project: str = "dmg"  # project there
    trust_env: bool = False  # run whatever environment code the data set names; else only known code
    log_interval: int = 1000  # updates between two entries of the losses; a GPU synchronises only then
    eval_interval: int = 20_000  # updates between two evaluations, each followed by a checkpoint
    eval_episodes: int = 10  # episodes of an evaluation, for each member; 0: no evaluation

    offline_steps: int = 1_000_000  # number of updates
    batch_size: int = 256  # transitions in an update of a member
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    critics: int = 2  # number of Q networks, of which the minimum is used
    learning_rate: float = 3e-4  # of Adam, for all networks; the actor's is cosine-decayed to 0
    normalize_observations: bool = True  # standardise with the data's mean and std + 1e-3
    step_cost: float = 0.0  # subtracted from every reward in training; 1 in mazes: -1 a step, 0 at the goal
    gamma: float = 0.99  # discount
    tau: float = 0.005  # Polyak rate of the target networks (not the expectile)
    policy_frequency: int = 2  # the actor and all targets are updated every this many updates
    policy_noise: float = 0.2  # std of the noise on the target policy's action
    noise_clip: float = 0.5  # bound of that noise

    lam: tuple[float, ...] = (0.25,)  # share of the policy's value in the target of Q; 0: IQL's, 1: TD3's
    nu: tuple[float, ...] = (0.1,)  # strength of the pull towards good data actions
    q_weight: float = 1.0  # factor on q_scale; 0: weighted imitation only, as in IQL and AWAC
    inverse_temperature: float = 3.0  # how steeply a data action's weight grows with its advantage
    max_weight: float = 3.0  # cap on that weight
    gumbel_beta: float = 5.0  # of the in-sample value, in units of Q: towards 0 the maximum, large the mean
    max_clip: float = 7.0  # upper bound of A / gumbel_beta; what lies above does not move V


MEMBERS = ("seed", "lam", "nu")  # flags of which every combination is a member
IN_RESULT = {"q_mean": "q_values"}  # what result.json notes of the losses at each evaluation


# As in dmg_offline.py
class Linear(nn.Module):
    """nn.Linear for N networks side by side: (N, B, inputs) -> (N, B, outputs), one batched product.

    Initialised like nn.Linear, uniformly within 1 / sqrt(inputs), network i from generators[i]. A parameter
    without this leading axis, such as nn.LayerNorm's, would be shared by members and by the twin critics.
    """

    def __init__(self, generators, inputs, outputs):
        super().__init__()

        def uniform(*shape):
            draws = torch.stack([torch.rand(shape, generator=generator) for generator in generators])
            return nn.Parameter((2 * draws - 1) / math.sqrt(inputs))

        self.weight = uniform(inputs, outputs)
        self.bias = uniform(1, outputs)

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


# As in dmg_offline.py
class Agent(nn.Module):
    """The networks of M members (seed, lam, nu), their coefficients (M, 1), and the normaliser (n,).

    For observations (M, B, n), standardised in train_run(), actor gives actions (M, B, m) in [-1, 1], vf
    values (M, B).
    """

    def __init__(self, members, mean, std, action_dim, args):
        super().__init__()
        n = len(mean)
        generators = [torch.Generator().manual_seed(seed) for seed, _, _ in members]
        self.actor = nn.Sequential(*mlp(generators, n, args.hidden, action_dim), nn.Tanh())
        self.qf = Critic(generators, n + action_dim, args.hidden, args.critics)
        self.vf = nn.Sequential(*mlp(generators, n, args.hidden, 1), nn.Flatten(-2))  # drops the trailing 1
        self.actor_target = deepcopy(self.actor).requires_grad_(False)
        self.qf_target = deepcopy(self.qf).requires_grad_(False)
        self.register_buffer("lam", torch.tensor([[float(lam)] for _, lam, _ in members]))
        self.register_buffer("nu", torch.tensor([[float(nu)] for _, _, nu in members]))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))


def value_loss(advantage, args):
    """Gumbel regression: A = min Q'(s, a) - V(s), (M, B) -> loss (M,)."""
    z = (advantage / args.gumbel_beta).clamp(max=args.max_clip)
    z_max = z.detach().amax(-1, keepdim=True).clamp(min=-1)  # as in XQL's code, exp(-z_max) scales the loss
    return ((z - z_max).exp() - z * (-z_max).exp() - (-z_max).exp()).mean(-1)


# As in dmg_offline.py
def update(agent, optimizers, batch, args, update_actor):
    """One update of all members (Algorithm 1); returns their losses, (M,) each.

    batch: observations (M, B, n), actions (M, B, m) in [-1, 1], rewards (M, B), next observations (M, B, n),
    terminations (M, B), and noise (M, B, m) for the target policy's action. Losses are means over the batch,
    summed over members: every member's gradient is its own, and a NaN stays with its member. There may be no
    member axis: plain networks V(s) -> (B,), pi(s) -> (B, m), Q(s, a) -> (2, B) train as they are.
    No random numbers, no .item() and no branch on data in here: a CUDA graph can capture neither the members'
    generators nor .item(), and it would freeze the branch.
    """
    observations, actions, rewards, next_observations, terminations, noise = batch

    # --- V, the in-sample value, Eq. (15) ---
    with torch.no_grad():
        q_data = agent.qf_target(observations, actions).amin(0)
    values = agent.vf(observations)
    shape = actions.shape[:-1]
    shapes = [tuple(x.shape) for x in (q_data, values, rewards, terminations)]
    assert shapes == 4 * [shape], f"min Q, V, rewards, terminations must be {tuple(shape)}, not {shapes}"
    advantage = q_data - values
    vf_loss = value_loss(advantage, args)
    optimizers["vf"].zero_grad()
    vf_loss.sum().backward()
    optimizers["vf"].step()

    # --- Q, mild generalization propagation, Eq. (16); V is the one just updated ---
    with torch.no_grad():
        next_actions = (agent.actor_target(next_observations) + noise).clamp(-1, 1)
        q_next = agent.qf_target(next_observations, next_actions).amin(0)
        next_values = agent.lam * q_next + (1 - agent.lam) * agent.vf(next_observations)
        target = rewards + args.gamma * (1 - terminations) * next_values
    qf_loss = (agent.qf(observations, actions) - target).square().mean(-1).sum(0)
    optimizers["qf"].zero_grad()
    qf_loss.sum().backward()
    optimizers["qf"].step()
    losses = {"vf_loss": vf_loss, "qf_loss": qf_loss, "q_values": q_data.mean(-1)}

    # --- Policy, mild action generalization, Eq. (14), and targets ---
    if update_actor:
        with torch.no_grad():
            advantage = q_data - agent.vf(observations)  # V just updated, Q' not
            weight = (args.inverse_temperature * advantage).exp().clamp(max=args.max_weight)
        policy_actions = agent.actor(observations)
        q = agent.qf(observations, policy_actions).amin(0)
        q_scale = args.q_weight / q.detach().abs().mean(-1, keepdim=True)
        distance = (policy_actions - actions).square().mean(-1)
        actor_loss = (-q_scale * q + agent.nu * weight * distance).mean(-1)
        optimizers["actor"].zero_grad()
        actor_loss.sum().backward(inputs=list(agent.actor.parameters()))  # none for Q's weights
        optimizers["actor"].step()
        targets = [*agent.actor_target.parameters(), *agent.qf_target.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(targets, [*agent.actor.parameters(), *agent.qf.parameters()], args.tau)
        losses |= {"actor_loss": actor_loss, "weight": weight.mean(-1)}
    return {name: loss.detach() for name, loss in losses.items()}


# As in dmg_offline.py
def make_optimizers(agent, args):
    """Adam for V, Q and policy; the learning rate is a tensor, because a CUDA graph would freeze a number."""
    optimizers = {}
    is_cuda = args.device.startswith("cuda")
    for name in ("vf", "qf", "actor"):
        learning_rate = torch.tensor(args.learning_rate, device=args.device)
        parameters = getattr(agent, name).parameters()
        optimizers[name] = torch.optim.Adam(parameters, learning_rate, fused=True, capturable=is_cuda)
    return optimizers


# As in dmg_offline.py
def draw(generators, updates, n_data, action_dim, args):
    """Indices (updates, M, B) and TD3's noise (updates, M, B, m), each member's from its own generator."""
    shape, device = (updates, args.batch_size), generators[0].device
    indices = [torch.randint(n_data, shape, generator=g, device=device) for g in generators]
    noise = [torch.randn(*shape, action_dim, generator=g, device=device) for g in generators]
    noise = args.policy_noise * torch.stack(noise, 1)
    return torch.stack(indices, 1), noise.clamp(-args.noise_clip, args.noise_clip)


# As in dmg_offline.py
def train(train_step, optimizers, generators, n_data, action_dim, step, updates, args):
    """Updates step + 1, ..., step + updates, on batches of the n_data transitions; returns the last losses.

    train_step(indices, noise, update_actor=...), of train_run(), is update() on the rows with these indices.
    All indices and noise are drawn first: updates should be a thousand or so.
    """
    indices, noise = draw(generators, updates, n_data, action_dim, args)
    actor_lr = optimizers["actor"].param_groups[0]["lr"]  # a tensor: filling it sets the rate
    losses = {}
    for i in range(updates):
        step += 1
        update_actor = step % args.policy_frequency == 0
        if update_actor:  # cosine to 0, from the full rate at the actor's first update
            progress = (step - args.policy_frequency) / args.offline_steps
            actor_lr.fill_(args.learning_rate * (1 + math.cos(math.pi * progress)) / 2)
        losses |= train_step(indices[i], noise[i], update_actor=update_actor)
    return losses


LOCOMOTION = ("hopper", "halfcheetah", "walker2d", "ant", "humanoid", "swimmer")


def presets(dataset):
    """What differs from the defaults of Args for the dataset's task."""
    task = task_of(dataset)
    # in data of Minari's form raw observations did worse (benchmark/results/antmaze.md)
    maze = dict(normalize_observations=task == "minari-antmaze", step_cost=1.0, nu=(0.5,))
    maze |= dict(inverse_temperature=10.0, max_weight=100.0, gumbel_beta=0.6)
    if task in ("minari-antmaze", "d4rl-antmaze"):
        gamma = 0.995 if task == "minari-antmaze" else 0.99  # acts every 0.05 s instead of 0.1 s
        return maze | dict(gamma=gamma, eval_interval=50_000, eval_episodes=100)
    if task == "ogbench":  # the benchmark's protocol; nu from our search (benchmark/results/ogbench.md)
        return dict(nu=(100.0,), eval_interval=100_000, eval_episodes=50)
    if task == "pointmaze":  # ours, for a quick look on a CPU
        return maze | dict(offline_steps=15_000, eval_interval=500, eval_episodes=50, tau=0.02)
    if task in EPISODE_STEPS:
        print("note: there are no published settings of DMG for Adroit and Kitchen: locomotion's are used")
    is_expert = task in (*LOCOMOTION, *EPISODE_STEPS) and "expert" in dataset.id
    return dict(nu=(10.0,)) if is_expert else {}


def check_flags(args):
    """Refuse values of this method's own flags that no member could train with."""
    counts = (args.offline_steps, args.policy_frequency, args.critics)
    require(min(counts) >= 1, "--offline-steps, --policy-frequency and --critics: 1 or more")
    require(max(*args.lam, args.gamma, args.tau) <= 1, "--lam, --gamma and --tau must be at most 1")
    require(args.gumbel_beta > 0, "--gumbel-beta must be above 0")


# ==========================================================================================================
# You may stop here: the method is complete. Its harness is the same in all offline scripts.
# main() and train_run() come first, then their helpers: messages and flags, data and environment, the run's
# folder and log, the CUDA graph, evaluation, checkpoints.
# ==========================================================================================================


def main(args=None):
    """Train with these Args, or those of the command line; returns what result.json holds, and its folder."""
    command = sys.argv[1:] if args is None else []
    args = parse_args(command) if args is None else args
    checkpoint = load_checkpoint(args.resume, Path(__file__).stem) if args.resume else None
    if checkpoint:
        args = replace(args, **saved_args(checkpoint["run"], args))
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

    # --- Data, environment, agent ---
    dataset = open_dataset(args.env_id)
    with explained(f"cannot make the environment of {dataset.id}"):
        env = make_env(dataset, args.trust_env)
    data, returns = load_transitions(dataset, env, args)
    n_data, action_dim = data[1].shape
    low, high = reference_returns(dataset)
    print(f"mean return {returns.mean():.6g}, normalized score {score(returns.mean(), low, high):.1f}")
    mean, std = np.zeros(data[0].shape[1]), np.ones(data[0].shape[1])
    if args.normalize_observations:
        mean = data[0].mean(0, dtype=np.float64)  # a float32 mean over 1e6 rows is off by 1e-3
        std = data[0].std(0, dtype=np.float64) + 1e-3
    members = list(itertools.product(*[getattr(args, flag) for flag in MEMBERS]))
    agent = Agent(members, mean, std, action_dim, args).to(args.device)
    optimizers = make_optimizers(agent, args)
    generators = [torch.Generator(args.device).manual_seed(seed) for seed, *_ in members]
    data_crc32 = zlib.crc32(np.column_stack(data))
    data = [torch.from_numpy(part).to(args.device) for part in data]
    data[0], data[3] = [(observations - agent.mean) / agent.std for observations in (data[0], data[3])]

    # --- The run: new, or as the checkpoint left it ---
    if checkpoint:
        run_dir, run = Path(args.resume), checkpoint["run"]
        require(run["data_crc32"] == data_crc32, f"{dataset.id} has changed since the checkpoint")
        restore(checkpoint, agent, optimizers, generators, args)
    else:
        run_dir, run = start_run(args, command, dataset, data_crc32, members)
    lock_run(run_dir, run, args, held)
    results, step = run["members"], run["step"]
    losses = {}
    writers = start_logging(run_dir, run, args, held)

    # --- One update, as a CUDA graph on a GPU ---
    def train_step(indices, *drawn, **flags):
        batch = [part[indices] for part in data] + list(drawn)
        return update(agent, optimizers, batch, args, **flags)

    if is_cuda and args.cuda_graph:
        train_step = graphed(train_step)

    # --- One evaluation and checkpoint ---
    bar = tqdm(total=args.offline_steps, initial=step, unit=" updates", smoothing=0.05, disable=None)
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
            evaluation |= {name: losses[loss][m].item() for name, loss in IN_RESULT.items() if loss in losses}
            results[m]["evaluations"].append({"step": step, "returns": episodes} | evaluation)
        text = " ".join([shown, *[f"{result['evaluations'][-1][shown]:.1f}" for result in results]])
        bar.set_postfix_str(text)
        if bar.disable:  # no terminal
            print(f"{step:,} of {args.offline_steps:,} updates, {text}", flush=True)
        save(run_dir, run, agent, optimizers, generators)

    # --- Blocks of updates; after each a look at the losses, after some an evaluation and a checkpoint ---
    print(f"{len(members)} member(s) on {args.device}: {run_dir}", flush=True)
    first_step, seconds = step, 0.0
    if not checkpoint:
        evaluate_and_save()  # what could go wrong there goes wrong before the training
    while step < args.offline_steps and not all(result["diverged_at"] for result in results):
        began = time.perf_counter()
        ends = [(step // interval + 1) * interval for interval in (args.log_interval, args.eval_interval)]
        n = min(*ends, args.offline_steps) - step
        losses |= train(train_step, optimizers, generators, n_data, action_dim, step, n, args)
        scalars = {f"losses/{name}": loss.tolist() for name, loss in losses.items()}  # waits for the GPU
        seconds += time.perf_counter() - began
        step += n
        run |= {"step": step, "updates_per_second": (step - first_step) / seconds}
        bar.update(n)
        log(writers, results, scalars, run)
        has_ended = step == args.offline_steps or all(result["diverged_at"] for result in results)
        if step % args.eval_interval == 0 or has_ended:
            evaluate_and_save()
    bar.close()
    for writer, result in zip(writers, results):
        writer.close()
        last = result["evaluations"][-1]
        print(f"{result['name']}: return {last['episodic_return']:.6g}, score {last['normalized_score']:.4g}")
    return run | {"run_dir": str(run_dir)}


def parse_args(words):
    """Args of a command line; flags not given come from --env-id's presets, or from the run to --resume."""
    parse = functools.partial(tyro.cli, Args, description=__doc__)
    others = [word for word in words if word not in ("-h", "--help")]
    first = parse(args=others)
    saved = {}
    if first.resume:
        saved = saved_args(load_checkpoint(first.resume, Path(__file__).stem)["run"], first)
    env_id = saved.get("env_id", first.env_id)
    dataset = open_dataset(env_id) if others == words else named_dataset(env_id)  # --help needs no data
    args = parse(args=words, default=replace(Args(), **(presets(dataset) | saved)))
    changed = [name for name, value in saved.items() if getattr(args, name) != value]
    require(not changed, f"the checkpoint has its own {', '.join(changed)}: leave that out or begin anew")
    return args


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
