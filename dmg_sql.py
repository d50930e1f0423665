"""Doubly Mild Generalization (DMG) for offline reinforcement learning, with SQL's sparse value.

Paper: Mao et al., NeurIPS 2024, https://arxiv.org/abs/2411.07934   Authors' code: https://github.com/maoyixiu/DMG
For transitions (s, a, r, s') of the data set and w = min(exp(inverse_temperature (min Q'(s, a) - V(s))), max_weight):

    V       minimises  E[ 1(u > 0) u^2 + V / sql_alpha ],  u = 1 + (min Q'(s, a) - V) / (2 sql_alpha)  Table 3
    Q       regresses  on r + gamma [ lam min Q'(s', pi'(s')) + (1 - lam) V(s') ]                      Eq. (16)
    policy  minimises  E[ - q_scale min Q(s, pi(s)) + nu w |pi(s) - a|^2 ]                             Eq. (14)

Q' and pi' are slowly moving targets. lam: how far the values leave the data; nu: how close the policy stays to it.

    python dmg_sql.py                                                  # a small maze recorded on this machine
    python dmg_sql.py --env-id antmaze-large-play --lam 0.25           # a short name, or the id of a Minari data set
    python dmg_sql.py --env-id hopper-medium --seed 1 2 3 4 5          # five runs (members), trained as one

At the minimum E[max(u, 0)] = 1: V is the mean of Q' unless some action lies more than 2 sql_alpha below V.
SQL: Xu et al., ICLR 2023, https://arxiv.org/abs/2303.15810. All but V is that of dmg_offline.py: DMG's authors
released no code for this variant; SQL's own weight of the data's actions is at --relu-weight.
"""

import contextlib
import difflib
import io
import itertools
import json
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import gymnasium as gym
import minari
import numpy as np
import torch
import tyro
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm


@dataclass
class Args:
    exp_name: str = "dmg_sql"  # name of the experiment
    seed: tuple[int, ...] = (1,)  # each combination of seed, lam and nu is a member; all are trained side by side
    env_id: str = "pointmaze-umaze"  # short name such as antmaze-large-play, or the id of any Minari data set
    runs_dir: str = "runs"  # where run folders {env_id}__{exp_name}__{seed}__{time} are made
    resume: str | None = None  # run folder to go on with; all other arguments come from its checkpoint
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: CUDA where there is a GPU
    mode: Literal["auto", "eager", "compile", "cudagraph"] = "auto"  # of the updates; auto: cudagraph on a GPU
    matmul_precision: Literal["highest", "high", "medium"] = "highest"  # high: TF32 on a GPU; medium: bfloat16 on a CPU
    log_interval: int = 1000  # updates between two looks at the losses; a GPU is not waited for in between

    # None: the value of the task family, see PRESETS
    offline_steps: int | None = None  # number of updates
    eval_interval: int | None = None  # updates between two evaluations, each followed by a checkpoint
    eval_episodes: int | None = None  # episodes an evaluation plays for each member; 0: no evaluation
    normalize_observations: bool | None = None  # standardise with the data's mean and std + 1e-3
    batch_size: int = 256  # transitions in an update of a member
    learning_rate: float = 3e-4  # of Adam, for all networks; the actor's falls to 0 along a cosine
    gamma: float = 0.99  # discount
    tau: float | None = None  # Polyak rate of both target networks (not the expectile)
    policy_frequency: int = 2  # the actor and both targets are updated every this many updates
    policy_noise: float = 0.2  # std of the noise on the target policy's action
    noise_clip: float = 0.5  # bound of that noise
    lam: tuple[float, ...] = (0.25,)  # lambda, share of the policy's value in the Q target; 0: IQL's, 1: TD3's
    nu: tuple[float, ...] | None = None  # nu, strength of the pull towards good data actions
    q_weight: float = 1.0  # factor of the policy's Q term; 0 leaves weighted imitation alone, as in IQL and AWAC
    inverse_temperature: float | None = None  # alpha, how steeply a data action's weight grows with its advantage
    max_weight: float | None = None  # cap on that weight
    layer_norm: bool = False  # normalise V's hidden layers before their ReLU, as XQL's and SQL's own code do
    relu_weight: bool = False  # weigh a data action by max(min Q' - V, 0), as SQL itself (with cap 100), not by exp
    # Table 3's 2.0 (5.0 on medium-expert) are the settings of SQL's code before March 2023, with u = 1/2 + (Q - V) /
    # alpha. For alpha = 4 sql_alpha that u is half of ours and that loss a quarter: 0.5 and 1.25 in this unit.
    # The preset is the literal 2, with which DMG did better on the data recorded here (benchmark/results/table3.md).
    sql_alpha: float | None = None  # of the in-sample value, in units of Q: towards 0 the maximum, large the mean


# The authors' values; nu is 10 on expert and medium-expert locomotion data. PointMaze is for a quick look on a CPU.
# sql_alpha: as measured on locomotion (see the flag), SQL's for AntMaze (but for umaze-diverse, 3)
FAMILIES = ("locomotion", "antmaze", "pointmaze", "other")
PRESETS = {
    "offline_steps": (1_000_000, 1_000_000, 15_000, 1_000_000),
    "eval_interval": (20_000, 50_000, 500, 20_000),
    "eval_episodes": (10, 100, 50, 10),
    "normalize_observations": (True, False, False, True),
    "tau": (0.005, 0.005, 0.02, 0.005),
    "nu": ((0.1,), (0.5,), (0.5,), (0.1,)),
    "inverse_temperature": (3.0, 10.0, 10.0, 3.0),
    "max_weight": (3.0, 100.0, 100.0, 3.0),
    "sql_alpha": (2.0, 0.1, 0.1, 2.0),
}
LOCOMOTION = ("hopper", "halfcheetah", "walker2d", "ant", "humanoid", "swimmer")
LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
DATASETS = {f"{e}-{level}": f"mujoco/{e}/{level}-v0" for e in LOCOMOTION for level in ("simple", "medium", "expert")}
DATASETS |= {f"antmaze-{maze}": f"D4RL/antmaze/{maze}-v1" for maze in MAZES}
DATASETS |= {f"pointmaze-{maze}": f"local/pointmaze/{maze}-v0" for maze in ("umaze", "medium")}
DATASETS |= {f"{e}-replay": f"local/{e}/replay-v0" for e in LOCOMOTION[:3]}
DATASETS |= {f"{e}-{level}-v2": f"d4rl/{e}/{level}-v2" for e in LOCOMOTION[:3] for level in LEVELS}
# Returns that score 0 and 100 (of D4RL's random and expert policies) where the data set brings none
REFERENCE_RETURNS = {"hopper": (-20.272305, 3234.3), "halfcheetah": (-280.178953, 12135.0)}
REFERENCE_RETURNS |= {"walker2d": (1.629008, 4592.3), "ant": (-325.6, 3879.7)}
# Start and goal cells (row, column) of D4RL's evaluation mazes, which are known by their shape
MAZE_CELLS = {(5, 5): ((1, 1), (3, 1)), (8, 8): ((1, 1), (6, 6)), (9, 12): ((1, 1), (7, 9))}
GOAL_RADIUS = 0.5


def fail(message):
    """End the program with one line that says what is wrong and what to do."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def resolve_args(args, dataset):
    """Fill in the presets of the data set's family, print them, and refuse what no member could train with."""
    name = dataset.env_spec.id.replace("_", "-").split("-")[0].lower() if dataset.env_spec else "none"
    family = "locomotion" if name in LOCOMOTION else name if name in FAMILIES else "other"
    preset = {key: row[FAMILIES.index(family)] for key, row in PRESETS.items() if getattr(args, key) is None}
    if "nu" in preset and family == "locomotion" and "expert" in dataset.id:
        preset["nu"] = (10.0,)
    device = args.device.replace("auto", "cuda" if torch.cuda.is_available() else "cpu")
    mode = args.mode.replace("auto", "cudagraph" if device == "cuda" else "eager")
    args = replace(args, **preset, device=device, mode=mode)
    counts = (args.batch_size, args.policy_frequency, args.log_interval, args.eval_interval, args.offline_steps)
    problems = {
        "--seed needs one or more different numbers": not args.seed or len(set(args.seed)) < len(args.seed),
        "--lam must lie in [0, 1]": not args.lam or not all(0 <= lam <= 1 for lam in args.lam),
        "--nu must be 0 or more": not args.nu or not all(0 <= nu < math.inf for nu in args.nu),
        "batch size, policy frequency, steps and intervals must be 1 or more": min(counts) < 1,
        "--sql-alpha must be above 0": not args.sql_alpha > 0,
        "torch sees no GPU: leave out --device": device == "cuda" and not torch.cuda.is_available(),
        "--mode cudagraph needs a GPU: leave it out": mode == "cudagraph" and device == "cpu",
    }
    for problem in (text for text, is_there in problems.items() if is_there):
        fail(problem)
    print(f"presets ({family}): " + ", ".join(f"{key} {value}" for key, value in preset.items()))
    return args, family


def open_dataset(env_id):
    """Find a data set by its short name or Minari id, on this machine or else on Minari's server."""
    dataset_id = DATASETS.get(env_id, env_id)
    if f"{dataset_id}-v2" in DATASETS:
        fail(f"Minari carries no {env_id}: import D4RL's file (benchmark/import_d4rl.py), then use {env_id}-v2")
    if "/" not in dataset_id:
        near = ", ".join(difflib.get_close_matches(env_id, DATASETS, cutoff=0.4)) or "none"
        fail(f"unknown --env-id {env_id}; nearest: {near}; see the README, or give the id of a Minari data set")
    root = Path(os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")).expanduser()
    local, (kind, *rest) = (root / dataset_id / "data").is_dir(), dataset_id.split("/")
    if not local and kind in ("local", "d4rl"):
        script = f"collect_local.py {'-'.join(rest)[:-3]}" if kind == "local" else "import_d4rl.py FILE.hdf5"
        fail(f"{dataset_id} is not in {root}; make it with  python benchmark/{script}")
    print(f"data set {dataset_id}, " + (f"from {root}" if local else f"not in {root}: asking Minari's server"))
    try:
        return minari.load_dataset(dataset_id, download=not local)
    except Exception as error:  # its class depends on what is broken and on the version of huggingface_hub
        if local:
            fail(f"cannot read {dataset_id} in {root} ({error}): delete its folder and get it again")
        fail(f"cannot download {dataset_id} ({error}); with a network: minari download {dataset_id}, into {root}")


def flatten(observation):
    """Concatenate a dictionary observation by sorted key, without a maze's goal. AntMaze: D4RL's 29 numbers."""
    if not isinstance(observation, dict):
        return np.asarray(observation, np.float32)
    return np.concatenate([flatten(observation[k]) for k in sorted(observation) if k != "desired_goal"], axis=-1)


def make_env(dataset, is_maze):
    """The environment of the data. A maze is D4RL's task: one start, one goal, over at the first success."""
    if not is_maze:
        return dataset.recover_environment(eval_env=True)
    rows = [[0 if cell == "c" else cell for cell in row] for row in dataset.env_spec.kwargs["maze_map"]]
    if sorted(cell for row in rows for cell in row if cell in ("r", "g")) != ["g", "r"]:  # no single start and goal
        rows = [[int(cell == 1) for cell in row] for row in rows]
        for (row, column), mark in zip(MAZE_CELLS[len(rows), len(rows[0])], "rg", strict=True):
            rows[row][column] = mark
    env = dataset.recover_environment(maze_map=rows, continuing_task=False)
    maze, goal = env.unwrapped, env.unwrapped.maze.unique_goal_locations[0].copy()
    maze.compute_terminated = lambda xy, desired_goal, info: bool(np.linalg.norm(xy - goal) <= GOAL_RADIUS)
    maze.compute_reward = lambda xy, desired_goal, info: float(np.linalg.norm(xy - goal) <= GOAL_RADIUS)
    # D4RL's noise at the start; none on the goal, for which the data's rewards are recomputed
    maze.add_xy_position_noise = lambda xy: xy if (xy == goal).all() else xy + maze.np_random.uniform(-0.1, 0.1, 2)
    if hasattr(maze, "ant_env"):
        maze.ant_env._reset_noise_scale = 0.1
    return env


def action_range(space):
    """Middle and half width of the bounds: the data's actions are scaled to [-1, 1], the policy's back."""
    return (space.high + space.low) / 2, (space.high - space.low) / 2


def load_transitions(dataset, goal=None):
    """Cut episodes into transitions; with a goal (x, y), recompute rewards and terminations for it, as D4RL did.

    Returns float32 rows (N, columns): observation, action in [-1, 1], reward, next observation, termination (a
    truncation is none: its value is bootstrapped); the five widths; and the undiscounted return of each episode.
    """
    space = dataset.observation_space
    spaces = *(space.values() if isinstance(space, gym.spaces.Dict) else [space]), dataset.action_space
    if not all(isinstance(s, (gym.spaces.Box, gym.spaces.Dict)) and len(s.shape or ()) < 2 for s in spaces):
        fail(f"{dataset.id}: observations and actions must be vectors of real numbers, not {spaces}")
    middle, half = action_range(dataset.action_space)
    episodes, returns, truncated = [], [], 0
    try:
        for episode in dataset.iterate_episodes():
            observations, rewards, terminations = flatten(episode.observations), episode.rewards, episode.terminations
            if goal is not None:  # the recorded rewards are for a goal of the episode's own
                xy = episode.observations["achieved_goal"][1:]
                terminations = np.linalg.norm(xy - goal, axis=-1) <= GOAL_RADIUS
                rewards = terminations - 1.0
            actions = (episode.actions - middle) / half
            parts = observations[:-1], actions, rewards[:, None], observations[1:], terminations[:, None]
            episodes.append(np.concatenate(parts, axis=1, dtype=np.float32))  # raises where lengths differ
            returns.append(rewards.sum() if goal is None else float(terminations.any()))
            truncated += int(episode.truncations[-1])
        rows, widths = np.concatenate(episodes), [part.shape[1] for part in parts]
    except Exception as error:
        fail(f"cannot read the episodes of {dataset.id} ({error!r}): delete its folder and get it again")
    _, actions, rewards, _, terminations = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    if not np.isfinite(rows).all():
        fail(f"{dataset.id}: NaN or infinity in columns {np.flatnonzero(~np.isfinite(rows).all(0))} of {widths}")
    if np.abs(actions).max() > 1 + 1e-4:
        fail(f"{dataset.id}: actions lie outside the action space {dataset.action_space}")
    if np.ptp(rewards) == 0:
        fail(f"{dataset.id}: all rewards are {rewards[0, 0]}" + f", none at the goal {goal}" * (goal is not None))
    print(f"{len(rows):,} transitions, {len(returns):,} episodes, {terminations.sum():,.0f} terminations, {truncated:,}"
          f" truncations; observations {widths[0]}, actions {widths[1]}; rewards {rewards.min():.4g} to "
          f"{rewards.max():.4g}, {'as recorded' if goal is None else f'1[goal {np.round(goal, 2)} reached] - 1'}; "
          f"episode returns {min(returns):.4g} to {max(returns):.4g}, mean {np.mean(returns):.4g}")  # fmt: skip
    return rows, widths, np.array(returns)


def normalize(rows, widths, is_wanted):
    """Standardise the observations of rows in place, if that is wanted; returns mean and std, (obs_dim,) each."""
    observations, _, _, next_observations, _ = np.split(rows, np.cumsum(widths)[:-1], axis=1)  # views of rows
    mean, std = np.zeros(widths[0], np.float32), np.ones(widths[0], np.float32)
    if is_wanted:
        mean, std = observations.mean(0), observations.std(0) + 1e-3
    observations[:], next_observations[:] = (observations - mean) / std, (next_observations - mean) / std
    return mean, std


def reference_returns(dataset, is_maze):
    """The returns that score 0 and 100: the data set's own, or else D4RL's; NaN where there are none."""
    stored = tuple(dataset.storage.metadata.get(key) for key in ("ref_min_score", "ref_max_score"))
    name = dataset.env_spec.id.split("-")[0].lower() if dataset.env_spec else None
    return (0, 1) if is_maze else REFERENCE_RETURNS.get(name, (math.nan, math.nan)) if None in stored else stored


class MLP(nn.Module):
    """A 256-256 ReLU network for each member and head, all evaluated as one batched product a layer.

    Inputs (M, B, n), concatenated -> (M, B, out_dim), with two heads (M, 2, B, out_dim). PyTorch's default
    initialisation of Linear, drawn from each member's own generator. layer_norm has no gain or bias of its own.
    """

    def __init__(self, generators, in_dim, out_dim, heads=1, tanh=False, layer_norm=False):
        super().__init__()
        self.heads, self.tanh, self.layer_norm = heads, tanh, layer_norm
        shapes = [(in_dim, 256), (1, 256), (256, 256), (1, 256), (out_dim, 256), (1, out_dim)]  # weight, bias, ...
        bounds = [fan_in**-0.5 for fan_in in (in_dim, in_dim, 256, 256, 256, 256)]
        uniform = [[2 * torch.rand(heads, *shape, generator=g) - 1 for shape in shapes] for g in generators]
        self.layers = nn.ParameterList(bound * torch.cat(u) for bound, u in zip(bounds, zip(*uniform)))

    def forward(self, *inputs):
        x = torch.cat(inputs, -1)
        lead = x.shape[:-1] if self.heads == 1 else (len(x), self.heads, x.shape[1])
        x = x.repeat_interleave(self.heads, 0) if self.heads > 1 else x
        w1, b1, w2, b2, w3, b3 = self.layers
        # PyTorch's own "medium" gains little on a CPU; the last layer stays float32, so that outputs are not rounded
        with torch.autocast("cpu", torch.bfloat16, torch.get_float32_matmul_precision() == "medium"):
            for weight, bias in (w1, b1), (w2, b2):
                x = torch.baddbmm(bias, x, weight)
                x = (nn.functional.layer_norm(x, x.shape[-1:]) if self.layer_norm else x).relu_()
        # for a single column, multiply and sum is a little faster on CPUs than a matrix product
        x = torch.baddbmm(b3, x.float(), w3.mT) if w3.shape[1] > 1 else (x * w3).sum(-1, keepdim=True) + b3
        return x.view(*lead, -1).tanh() if self.tanh else x.view(*lead, -1)


class Agent(nn.Module):
    """Networks, targets, coefficients and normaliser of all members, each given as (seed, lam, nu)."""

    def __init__(self, members, mean, std, act_dim, layer_norm=False):
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed, _, _ in members]
        self.actor = MLP(generators, len(mean), act_dim, tanh=True)
        self.qf = MLP(generators, len(mean) + act_dim, 1, heads=2)
        self.vf = MLP(generators, len(mean), 1, layer_norm=layer_norm)
        self.actor_target = deepcopy(self.actor).requires_grad_(False)
        self.qf_target = deepcopy(self.qf).requires_grad_(False)
        _, lam, nu = torch.tensor(members, dtype=torch.float64).T.float().view(3, -1, 1, 1)
        state = dict(lam=lam, nu=nu, actor_updates=torch.zeros(()), mean=torch.tensor(mean), std=torch.tensor(std))
        for name, tensor in state.items():
            self.register_buffer(name, tensor)


def make_optimizers(agent, args):
    """Adam for V, Q and policy; the learning rate is a tensor, because a CUDA graph would keep a number for ever."""
    lr, on_gpu = torch.tensor(args.learning_rate, device=args.device), args.device == "cuda"
    networks = {"vf": agent.vf, "qf": agent.qf, "actor": agent.actor}
    return {
        name: torch.optim.Adam(network.parameters(), lr.clone(), fused=True, capturable=on_gpu)
        for name, network in networks.items()
    }


def value_loss(advantage, args):
    """Sparse regression; advantage: min Q'(s, a) - V(s), (M, B, 1) -> loss (M,), up to a constant."""
    u = 1 + advantage / (2 * args.sql_alpha)
    # V / alpha is Q' / alpha - advantage / alpha, and Q' does not depend on V's weights
    return (u.relu() ** 2 - advantage / args.sql_alpha).mean((1, 2))


def update(agent, optimizers, batch, noise, args, update_actor):
    """One update of all members (Algorithm 1). batch: five tensors (M, B, n); noise (M, B, act_dim); losses (M,).

    Losses are summed over members, so each member's gradient is its own, and a NaN stays with its member.
    """
    observations, actions, rewards, next_observations, terminations = batch

    # --- V, the in-sample value, Eq. (15) ---
    with torch.no_grad():
        q_data = agent.qf_target(observations, actions).amin(1)
    vf_loss = value_loss(q_data - agent.vf(observations), args)
    optimizers["vf"].zero_grad()
    vf_loss.sum().backward()
    optimizers["vf"].step()

    # --- Q, mild generalization propagation, Eq. (16); V is the one just updated ---
    with torch.no_grad():
        next_actions = (agent.actor_target(next_observations) + noise).clamp(-1, 1)
        q_next, v_next = agent.qf_target(next_observations, next_actions).amin(1), agent.vf(next_observations)
        target = rewards + args.gamma * (1 - terminations) * (agent.lam * q_next + (1 - agent.lam) * v_next)
    qf_loss = (agent.qf(observations, actions) - target.unsqueeze(1)).square().mean((2, 3)).sum(1)
    optimizers["qf"].zero_grad()
    qf_loss.sum().backward()
    optimizers["qf"].step()
    losses = {"vf_loss": vf_loss, "qf_loss": qf_loss, "q_values": q_data.mean((1, 2))}

    # --- Policy, mild action generalization, Eq. (14), and targets ---
    if update_actor:
        with torch.no_grad():
            advantage = q_data - agent.vf(observations)
            weight = advantage.relu() if args.relu_weight else (args.inverse_temperature * advantage).exp()
            weight = weight.clamp(max=args.max_weight)
        policy_actions = agent.actor(observations)
        q = agent.qf(observations, policy_actions).amin(1)
        q_scale = args.q_weight / q.detach().abs().mean((1, 2), keepdim=True)
        actor_loss = (-q_scale * q + agent.nu * weight * (policy_actions - actions) ** 2).mean((1, 2))
        optimizers["actor"].zero_grad()
        actor_loss.sum().backward(inputs=list(agent.actor.parameters()))  # spares the gradients of Q's weights
        # cosine to 0; a tensor, because a CUDA graph would keep a number for ever
        progress = agent.actor_updates * args.policy_frequency / args.offline_steps
        optimizers["actor"].param_groups[0]["lr"].copy_(args.learning_rate * (1 + torch.cos(math.pi * progress)) / 2)
        optimizers["actor"].step()
        agent.actor_updates += 1
        targets = [*agent.actor_target.parameters(), *agent.qf_target.parameters()]
        torch._foreach_lerp_(targets, [*agent.actor.parameters(), *agent.qf.parameters()], args.tau)
        losses |= {"actor_loss": actor_loss, "weight": weight.mean((1, 2))}
    return {f"losses/{name}": loss.detach() for name, loss in losses.items()}


def make_block_runner(agent, optimizers, rows, widths, generators, args):
    """Return run_block(step, n): the n updates that follow step, without waiting for the GPU -> the last losses.

    rows: transitions (N, sum of widths). A block's row numbers and noise are drawn ahead, each member's from its own
    generator, so that every mode and any set of neighbours sees the same batches.
    """
    shape = (args.log_interval, len(generators), args.batch_size)
    indices = torch.zeros(shape, dtype=torch.long, device=rows.device)
    noise = torch.zeros((*shape, widths[1]), device=rows.device)
    position = torch.zeros(1, dtype=torch.long, device=rows.device)  # in the block; a tensor, as graphs need
    if args.mode == "compile":  # networks alone: compiling the whole update gave wrong targets with torch 2.13
        torch._dynamo.config.recompile_limit = 64  # five networks, with and without gradients, share one forward
        for network in agent.children():
            network.compile()
    graphs, losses, warm_up = {}, {}, 2 * args.policy_frequency

    def next_update(update_actor):
        batch = rows[indices.index_select(0, position)[0]].split(widths, -1)
        batch_noise = noise.index_select(0, position)[0]
        position.add_(1)
        return update(agent, optimizers, batch, batch_noise, args, update_actor)

    def run_block(step, n):
        nonlocal warm_up
        for m, generator in enumerate(generators):
            options = dict(generator=generator, device=rows.device)
            indices[:n, m] = torch.randint(len(rows), (n, args.batch_size), **options)
            drawn = args.policy_noise * torch.randn((n, args.batch_size, widths[1]), **options)
            noise[:n, m] = drawn.clamp(-args.noise_clip, args.noise_clip)
        position.zero_()
        for number in range(step + 1, step + n + 1):
            update_actor = number % args.policy_frequency == 0
            if args.mode != "cudagraph" or warm_up > 0:  # a capture wants Adam's state and the libraries set up
                warm_up -= 1
                losses.update(next_update(update_actor))
                continue
            if update_actor not in graphs:  # a capture records the kernels without running them
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                    graphs[update_actor] = graph, next_update(update_actor)
            graphs[update_actor][0].replay()
            losses.update(graphs[update_actor][1])
        return losses

    return run_block


@torch.no_grad()
def play(agent, envs, action_space, seeds, alive):
    """Play one episode for each of the seeds (M, E), all side by side, one policy call a step for all members.

    agent: needs actor, mean and std; envs: M * E of them; alive: bool (M,), the members that play. Returns (M, E), NaN
    where a member does not play.
    """
    middle, half = action_range(action_space)
    observations = np.stack([flatten(env.reset(seed=int(seed))[0]) for env, seed in zip(envs, seeds.flat)])
    running = np.repeat(alive, seeds.shape[1])
    returns = np.where(running, 0.0, np.nan)
    while running.any():
        inputs = torch.from_numpy(observations).to(agent.mean.device).view(*seeds.shape, -1)
        actions = agent.actor((inputs - agent.mean) / agent.std).flatten(0, 1).cpu().numpy()
        actions = (middle + half * actions).astype(action_space.dtype)
        for i in np.flatnonzero(running):
            observation, reward, terminated, truncated, _ = envs[i].step(actions[i])
            observations[i], running[i] = flatten(observation), not (terminated or truncated)
            returns[i] += reward
    return returns.reshape(seeds.shape)


def serve(pipe, dataset, is_maze):
    """What an evaluation process does: play with the policies that come, until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the training process; this one follows it
    torch.set_num_threads(1)
    envs = []
    try:
        while True:
            policy, seeds, alive = pickle.loads(pipe.recv_bytes())
            with contextlib.redirect_stderr(io.StringIO()):  # the training process has shown the libraries' warnings
                envs += [make_env(dataset, is_maze) for _ in range(seeds.size - len(envs))]
            pipe.send(play(policy, envs, dataset.action_space, seeds, alive))
    except (EOFError, BrokenPipeError):
        pass


def start_workers(dataset, is_maze, episodes):
    """Start a process for evaluation on each of PyTorch's cores (OMP_NUM_THREADS); returns the pipes to them."""
    count = min(torch.get_num_threads(), episodes, 16)
    if episodes < 10 or count == 1:
        return []  # few episodes do not repay the seconds that the start of a process takes
    context, workers = multiprocessing.get_context("spawn"), []  # CUDA and threads do not survive a fork
    for _ in range(count):
        worker, other_end = context.Pipe()
        context.Process(target=serve, args=(other_end, dataset, is_maze), daemon=True).start()
        other_end.close()
        workers.append(worker)
    return workers


def evaluate(agent, envs, workers, action_space, seeds, alive):
    """Play one episode for each of the seeds (M, E), in the workers if there are any; returns as in play."""
    if not workers:
        return play(agent, envs, action_space, seeds, alive)
    policy = SimpleNamespace(actor=deepcopy(agent.actor).cpu(), mean=agent.mean.cpu(), std=agent.std.cpu())
    try:
        for worker, share in zip(workers, np.array_split(seeds, len(workers), axis=1)):
            worker.send_bytes(pickle.dumps((policy, share, alive)))
        return np.concatenate([worker.recv() for worker in workers], axis=1)
    except (EOFError, OSError):
        fail("an evaluation process has ended (no memory?): --resume with the run folder goes on from its last "
             "checkpoint; with OMP_NUM_THREADS=1 evaluation needs no other process")  # fmt: skip


def write_file(path, content):
    """Write bytes under another name, then rename: a kill or a full disk leaves the old file as it was."""
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(run_dirs, results, agent, optimizers, generators, **state):
    """Write every member's result.json, then one checkpoint of all; state: what else it holds."""
    for run_dir, result in zip(run_dirs, results):
        run_dir.mkdir(parents=True, exist_ok=True)
        write_file(run_dir / "result.json", json.dumps(result, indent=1).encode())
    state |= {"made_by": Path(__file__).stem, "args": results[0]["args"], "results": results}
    state |= {"agent": agent.state_dict(), "optimizers": {k: v.state_dict() for k, v in optimizers.items()}}
    state["generators"] = [generator.get_state() for generator in generators]
    state["run_dirs"] = [run_dir.name for run_dir in run_dirs]
    torch.save(state, buffer := io.BytesIO())
    write_file(run_dirs[0] / "checkpoint.pt", buffer.getvalue())


def load_checkpoint(run, script):
    """Read the checkpoint of a run folder, which result.json names; nothing in it is executed."""
    try:
        path = Path(run) / json.loads((Path(run) / "result.json").read_text())["checkpoint"]
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["made_by"] != script:
            raise ValueError(f"made by {state['made_by']}.py")
        return state
    except OSError as error:
        fail(f"no checkpoint ({error}): give a run folder that training has printed")
    except Exception as error:
        fail(f"the checkpoint of {run} is damaged or not of {script}.py ({str(error)[:80]})")


def restore(state, data_mark, agent, optimizers, generators):
    """Put networks, optimizers and random numbers where the checkpoint left them."""
    if state["data"] != data_mark:
        fail(f"the checkpoint belongs to data {state['data']} (id, transitions, columns), here {data_mark}")
    agent.load_state_dict(state["agent"])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].to(agent.mean.device)
    for generator, generator_state in zip(generators, state["generators"]):
        generator.set_state(generator_state)


def start_runs(args, members, dataset):
    """Make a new folder for each member; returns the folders and what their result.json begins with."""
    stem, stamp = f"{args.runs_dir}/{args.env_id.replace('/', '-')}__{args.exp_name}", int(time.time())
    varied = [f"__lam{lam:g}" * (len(args.lam) > 1) + f"__nu{nu:g}" * (len(args.nu) > 1) for _, lam, nu in members]
    names = [f"{stem}__{seed}{suffix}__" for (seed, _, _), suffix in zip(members, varied)]
    while os.path.exists(f"{names[0]}{stamp}"):
        stamp += 1
    run_dirs = [Path(f"{name}{stamp}") for name in names]
    for run_dir in run_dirs:
        run_dir.mkdir(parents=True)  # fails if another run has just made it
    git = subprocess.run(["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"], capture_output=True, text=True)
    common = {"env_id": args.env_id, "dataset_id": dataset.id, "args": asdict(args), "git_commit": git.stdout[:40]}
    common["versions"] = {module.__name__: str(module.__version__) for module in (torch, np, gym, minari)}
    common |= {"checkpoint": f"../{run_dirs[0].name}/checkpoint.pt", "diverged_at": None}
    return run_dirs, [{**common, "seed": seed, "lam": lam, "nu": nu, "evaluations": []} for seed, lam, nu in members]


def open_writers(run_dirs, args, step):
    """A TensorBoard writer for each member, which drops what a killed run wrote after its checkpoint."""
    writers = [SummaryWriter(str(run_dir), purge_step=step + 1) for run_dir in run_dirs]
    table = "|param|value|\n|-|-|\n" + "\n".join(f"|{name}|{value}|" for name, value in asdict(args).items())
    for writer in writers:
        writer.add_text("hyperparameters", table)
    return writers


def mark_diverged(agent, results, step):
    """Write NaN and infinity in a member's networks into its results; returns who is alive, bool (M,)."""
    finite = torch.stack([p.isfinite().view(len(results), -1).all(1) for p in agent.parameters()]).all(0)
    for result, is_finite in zip(results, finite.tolist()):
        if not is_finite and result["diverged_at"] is None:
            result["diverged_at"] = step
            tqdm.write(f"seed {result['seed']}, lam {result['lam']}, nu {result['nu']} diverged by step {step}: NaN")
    return np.array([result["diverged_at"] is None for result in results])


def log(writers, results, step, losses, charts, returns, low, high, is_maze):
    """Write every member's scalars; with the returns (M, E) of an evaluation, these too, also into its results."""
    for m, (writer, result) in enumerate(zip(writers, results)):
        scalars = {name: loss[m] for name, loss in losses.items()} | charts
        if returns is not None:
            mean = float(returns[m].mean())
            evaluation = {"episodic_return": mean, "normalized_score": 100 * (mean - low) / (high - low)}
            evaluation |= {
                "success_rate": mean if is_maze else math.nan,
                "q_mean": scalars.get("losses/q_values", math.nan),
            }
            scalars |= {f"eval/{name}": value for name, value in evaluation.items()}
            entry = {"step": step, "returns": None if math.isnan(mean) else returns[m].tolist()}
            entry |= {name: value if math.isfinite(value) else None for name, value in evaluation.items()}
            result["evaluations"].append(entry)
        for name, value in scalars.items():
            if math.isfinite(value):
                writer.add_scalar(name, value, step)


def train(args, state=None):
    """Train all members, from scratch or on from a checkpoint; returns their run folders."""
    dataset = open_dataset(args.env_id)
    args, family = resolve_args(args, dataset)
    members = list(itertools.product(args.seed, args.lam, args.nu))
    torch.set_float32_matmul_precision(args.matmul_precision)
    if args.device == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream())  # the default stream cannot be captured

    # --- Data ---
    is_maze = family in ("antmaze", "pointmaze")
    try:
        workers = start_workers(dataset, is_maze, args.eval_episodes)
        count = 1 if workers else len(members) * args.eval_episodes or int(is_maze)
        envs = [make_env(dataset, is_maze) for _ in range(count)]
    except Exception as error:
        fail(f"cannot make the environment of {dataset.id} ({error!r}); but for mazes, --eval-episodes 0 needs none")
    rows, widths, returns = load_transitions(
        dataset, envs[0].unwrapped.maze.unique_goal_locations[0] if is_maze else None
    )
    mean, std = normalize(rows, widths, args.normalize_observations)
    rows = torch.from_numpy(rows).to(args.device)
    low, high = reference_returns(dataset, is_maze)
    scores = 100 * (returns - low) / (high - low)
    print(f"normalized score of the data's episodes: mean {scores.mean():.1f}, best {scores.max():.1f}")

    # --- Agent and results, new or as the checkpoint left them ---
    agent = Agent(members, mean, std, widths[1], args.layer_norm).to(args.device)
    optimizers = make_optimizers(agent, args)
    generators = [torch.Generator(args.device).manual_seed(seed) for seed, _, _ in members]
    data_mark, step = [dataset.id, *rows.shape], 0
    if state is None:
        run_dirs, results = start_runs(args, members, dataset)
    else:
        restore(state, data_mark, agent, optimizers, generators)
        step, results, run_dirs = state["step"], state["results"], [Path(args.runs_dir) / n for n in state["run_dirs"]]
    kept = run_dirs, results, agent, optimizers, generators

    # --- Blocks of updates; after each a look at the losses, after some an evaluation and a checkpoint ---
    print(f"{len(members)} member(s) on {args.device}, {args.mode}, evaluation in {len(workers) or 1} processes: "
          + " ".join(map(str, run_dirs)), flush=True)  # fmt: skip
    save_checkpoint(*kept, data=data_mark, step=step)  # a folder that cannot be written shows now
    writers = open_writers(run_dirs, args, step)
    run_block = make_block_runner(agent, optimizers, rows, widths, generators, args)
    bar = tqdm(total=args.offline_steps, initial=step, unit=" updates", smoothing=0.05)
    first_step, seconds, alive = step, 0.0, mark_diverged(agent, results, step)
    while step < args.offline_steps and alive.any():
        began = time.perf_counter()
        ends = [(step // interval + 1) * interval for interval in (args.log_interval, args.eval_interval)]
        n = min(*ends, args.offline_steps) - step
        losses = {name: loss.tolist() for name, loss in run_block(step, n).items()}  # waits for the GPU
        step, seconds = step + n, seconds + time.perf_counter() - began
        bar.update(n)
        alive, returns = mark_diverged(agent, results, step), None
        charts = {"charts/SPS": (step - first_step) / seconds}
        charts["charts/learning_rate"] = float(optimizers["actor"].param_groups[0]["lr"])
        if step % args.eval_interval == 0 or step == args.offline_steps or not alive.any():
            seeds = [np.random.SeedSequence((seed, step)).generate_state(args.eval_episodes) for seed, _, _ in members]
            returns = np.full((len(members), 1), np.nan)
            if args.eval_episodes:
                returns = evaluate(agent, envs, workers, dataset.action_space, np.stack(seeds), alive)
        for result in results:
            result["updates_per_second"] = charts["charts/SPS"]
        log(writers, results, step, losses, charts, returns, low, high, is_maze)
        if returns is not None:
            save_checkpoint(*kept, data=data_mark, step=step)
            scores = [result["evaluations"][-1]["normalized_score"] for result in results]
            bar.set_postfix_str("score " + " ".join("-" if score is None else f"{score:.1f}" for score in scores))
    bar.close()
    for writer, run_dir, result in zip(writers, run_dirs, results):
        writer.close()
        last = result["evaluations"][-1]
        print(f"{run_dir}: last return {last['episodic_return']}, normalized score {last['normalized_score']}")
    return run_dirs


def main():
    args, state = tyro.cli(Args, description=__doc__), None
    if args.resume is not None:
        state = load_checkpoint(args.resume, Path(__file__).stem)
        saved = replace(Args(**state["args"]), resume=args.resume, runs_dir=str(Path(args.resume).resolve().parent))
        args = tyro.cli(Args, default=saved, description=__doc__)
        if replace(args, mode=saved.mode) != saved:
            fail("--resume takes its arguments from the checkpoint: give no others, but for --mode")
    try:
        train(args, state)
    except OSError as error:
        fail(f"cannot write ({error}): make room or choose another --runs-dir; what was written before is intact, and "
             "--resume with a run folder goes on from its last checkpoint")  # fmt: skip


if __name__ == "__main__":
    main()
