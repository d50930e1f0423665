"""Doubly Mild Generalization (DMG) for offline reinforcement learning, with IQL's expectile value.

Paper: Mao et al., NeurIPS 2024, https://arxiv.org/abs/2411.07934   Authors' code: https://github.com/maoyixiu/DMG

For transitions (s, a, r, s') of the data set and w = min(exp(inverse_temperature (min Q'(s, a) - V(s))), max_weight):

    V       minimises  E[ |expectile - 1(min Q'(s, a) < V(s))| (min Q'(s, a) - V(s))^2 ]               Eq. (15)
    Q       regresses  on r + gamma [ lam min Q'(s', pi'(s')) + (1 - lam) V(s') ]                      Eq. (16)
    policy  minimises  E[ - q_scale min Q(s, pi(s)) + nu w |pi(s) - a|^2 ]                             Eq. (14)

Q' and pi' are slowly moving targets. lam: how far the values leave the data; nu: how close the policy stays to it.

    python dmg_offline.py                                              # a small maze recorded on this machine
    python dmg_offline.py --env-id antmaze-large-play --lam 0.25       # a short name, or the id of a Minari data set
    python dmg_offline.py --env-id hopper-medium --seed 1 2 3 4 5      # five runs (members), trained as one

Where the paper and the authors' code differ this follows the code, which made the numbers (README, Differences).
"""

import difflib
import io
import itertools
import json
import math
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
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
    exp_name: str = "dmg_offline"
    """name of the experiment"""
    seed: tuple[int, ...] = (1,)
    """seeds; each combination of seed, lam and nu is a member, all members are trained side by side"""
    env_id: str = "pointmaze-umaze"
    """short name such as antmaze-large-play, or the id of any Minari data set"""
    runs_dir: str = "runs"
    """where run folders {env_id}__{exp_name}__{seed}__{time} are made"""
    resume: str | None = None
    """run folder to go on with; all other arguments come from its checkpoint"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is a GPU"""
    mode: Literal["auto", "eager", "compile", "cudagraph"] = "auto"
    """how updates are run; auto: as a CUDA graph on a GPU, eager on a CPU"""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """of float32 matrix products; high and medium allow TF32 and bfloat16"""
    log_interval: int = 1000
    """updates between two looks at the losses; a GPU does not wait in between"""

    # None in the rest: the value of the task family, see PRESETS
    eval_interval: int | None = None
    """updates between two evaluations, each followed by a checkpoint"""
    eval_episodes: int | None = None
    """episodes of an evaluation, per member; 0: train without evaluation"""
    normalize_observations: bool | None = None
    """standardise observations with the data's mean and std + 1e-3"""
    offline_steps: int | None = None
    """number of updates"""
    batch_size: int = 256
    """transitions of an update, per member"""
    learning_rate: float = 3e-4
    """of Adam for all networks; the actor's follows a cosine down to 0"""
    gamma: float = 0.99
    """discount"""
    tau: float = 0.005
    """Polyak rate of both target networks (not the expectile)"""
    policy_frequency: int = 2
    """updates per update of the actor and of both targets"""
    policy_noise: float = 0.2
    """std of the noise on the target policy's action"""
    noise_clip: float = 0.5
    """bound of that noise"""
    lam: tuple[float, ...] = (0.25,)
    """lambda: share of the policy's value in the Q target; 0 is IQL's target, 1 is TD3's"""
    nu: tuple[float, ...] | None = None
    """nu: strength of the pull towards good data actions"""
    q_weight: float = 1.0
    """factor of the policy's Q term; 0 leaves weighted imitation alone, as in IQL"""
    inverse_temperature: float | None = None
    """alpha: how steeply the weight of a data action grows with its advantage; 0: all weigh 1"""
    max_weight: float | None = None
    """cap on that weight"""
    expectile: float | None = None
    """expectile of the in-sample value; 0.5 is the mean, 1 the maximum"""


# The authors' values; nu is 10 on expert and medium-expert locomotion data. pointmaze is small enough for a CPU.
FAMILIES = ("locomotion", "antmaze", "pointmaze", "other")
PRESETS = {
    "eval_interval": (20_000, 50_000, 4_000, 20_000),
    "eval_episodes": (10, 100, 50, 10),
    "normalize_observations": (True, False, False, True),
    "offline_steps": (1_000_000, 1_000_000, 20_000, 1_000_000),
    "nu": ((0.1,), (0.5,), (0.5,), (0.1,)),
    "inverse_temperature": (3.0, 10.0, 10.0, 3.0),
    "max_weight": (3.0, 100.0, 100.0, 3.0),
    "expectile": (0.7, 0.9, 0.9, 0.7),
}


def fail(message):
    """End the program with one line that says what is wrong and what to do."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def check_args(args):
    """Refuse arguments with which no member could train, before anything is loaded."""
    if not args.seed or len(set(args.seed)) < len(args.seed):
        fail(f"--seed needs one or more different numbers, not {args.seed}")
    if not args.lam or not all(0 <= lam <= 1 for lam in args.lam):
        fail(f"--lam must lie in [0, 1], not {args.lam}")
    if args.nu is not None and (not args.nu or not all(0 <= nu < math.inf for nu in args.nu)):
        fail(f"--nu must be 0 or more, not {args.nu}")
    for name in ("batch_size", "policy_frequency", "log_interval", "eval_interval", "offline_steps"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            fail(f"--{name.replace('_', '-')} must be positive, not {getattr(args, name)}")
    if "cuda" in args.device + args.mode and (args.device == "cpu" or not torch.cuda.is_available()):
        fail("CUDA asked for, but there is no GPU that torch can use: leave out --device and --mode")


def resolve_args(args, dataset):
    """Fill in the presets of the data set's family and print them."""
    name = dataset.env_spec.id.replace("_", "-").split("-")[0].lower() if dataset.env_spec else "none"
    locomotion = name in ("hopper", "halfcheetah", "walker2d", "ant", "humanoid", "swimmer")
    family = "locomotion" if locomotion else name if name in FAMILIES else "other"
    preset = {key: row[FAMILIES.index(family)] for key, row in PRESETS.items() if getattr(args, key) is None}
    if "nu" in preset and locomotion and "expert" in dataset.id:
        preset["nu"] = (10.0,)
    device = args.device.replace("auto", "cuda" if torch.cuda.is_available() else "cpu")
    mode = args.mode.replace("auto", "cudagraph" if device == "cuda" else "eager")
    print(f"presets ({family}): " + ", ".join(f"{key} {value}" for key, value in preset.items()))
    return replace(args, **preset, device=device, mode=mode), family


# --- Data --------------------------------------------------------------------------------------------------------

D4RL_LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
ANTMAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
DATASETS = {f"antmaze-{maze}": f"D4RL/antmaze/{maze}-v1" for maze in ANTMAZES}
DATASETS |= {f"pointmaze-{maze}": f"local/pointmaze/{maze}-v0" for maze in ("umaze", "medium")}
for _env in ("hopper", "halfcheetah", "walker2d"):
    DATASETS |= {f"{_env}-{level}": f"mujoco/{_env}/{level}-v0" for level in ("simple", "medium", "expert")}
    DATASETS |= {f"{_env}-replay": f"local/{_env}/replay-v0"}
    DATASETS |= {f"{_env}-{level}-v2": f"d4rl/{_env}/{level}-v2" for level in D4RL_LEVELS}
# Returns that score 0 and 100 (D4RL's random and expert policies) where the data set brings none.
REFERENCE_RETURNS = {"hopper": (-20.272305, 3234.3), "halfcheetah": (-280.178953, 12135.0)}
REFERENCE_RETURNS |= {"walker2d": (1.629008, 4592.3), "ant": (-325.6, 3879.7)}
# Start and goal cells (row, column) of D4RL's evaluation mazes, by the shape of the maze; radius of the goal.
MAZE_CELLS = {(5, 5): ((1, 1), (3, 1)), (8, 8): ((1, 1), (6, 6)), (9, 12): ((1, 1), (7, 9))}
GOAL_RADIUS = 0.5


def open_dataset(env_id):
    """Find a data set by its short name or Minari id, on this machine or else on Minari's server."""
    dataset_id = DATASETS.get(env_id, env_id)
    if f"{env_id}-v2" in DATASETS and env_id not in DATASETS:
        fail(f"Minari carries no {env_id}: import D4RL's file (benchmark/import_d4rl.py), then --env-id {env_id}-v2")
    if "/" not in dataset_id:
        near = ", ".join(difflib.get_close_matches(env_id, DATASETS, cutoff=0.4)) or "see the README"
        fail(f"unknown --env-id {env_id}; nearest: {near}; or give the id of a Minari data set")
    root = os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")
    local = (Path(root).expanduser() / dataset_id / "data").is_dir()
    made_by = {"local": f"collect_local.py {'-'.join(dataset_id.split('/')[1:])[:-3]}", "d4rl": "import_d4rl.py FILE"}
    command = made_by.get(dataset_id.split("/")[0])
    if not local and command:
        fail(f"{dataset_id} is not in {root}: make it with  python benchmark/{command}")
    if not local:
        print(f"{dataset_id} is not in {root}, asking Minari's server")
    try:
        return minari.load_dataset(dataset_id, download=not local)
    except Exception as error:  # of many classes, depending on what is broken and on the version of huggingface_hub
        remedy = "delete its folder and get it again" if local else f"with a network: minari download {dataset_id}"
        fail(f"cannot {'read' if local else 'download'} {dataset_id} ({error}); {remedy} (data folder: {root})")


def flatten(observation):
    """Concatenate a dictionary observation by sorted key, without a maze's goal: (..., n) arrays -> (..., sum of n).

    For AntMaze that is achieved_goal (x, y), then observation (27): D4RL's 29 numbers.
    """
    if not isinstance(observation, dict):
        return np.asarray(observation, np.float32)
    return np.concatenate([flatten(observation[k]) for k in sorted(observation) if k != "desired_goal"], axis=-1)


def goal_reached(xy, goal):
    """D4RL's rule for one goal, in the data and in evaluation alike: positions (..., 2) -> bool (...)."""
    return np.linalg.norm(xy - goal, axis=-1) <= GOAL_RADIUS


def make_env(dataset, is_maze):
    """The environment of the data; a maze gets D4RL's single start and goal and ends at the first success."""
    if not is_maze:
        return dataset.recover_environment(eval_env=True)
    rows = [[0 if cell == "c" else cell for cell in row] for row in dataset.env_spec.kwargs["maze_map"]]
    if sorted(cell for row in rows for cell in row if cell in ("r", "g")) != ["g", "r"]:
        rows = [[int(cell == 1) for cell in row] for row in rows]
        for (row, column), mark in zip(MAZE_CELLS[len(rows), len(rows[0])], "rg", strict=True):
            rows[row][column] = mark
    env = dataset.recover_environment(maze_map=rows, continuing_task=False)
    maze = env.unwrapped
    goal = maze.maze.unique_goal_locations[0].copy()
    maze.compute_reward = lambda xy, desired_goal, info: float(goal_reached(xy, goal))
    maze.compute_terminated = lambda xy, desired_goal, info: bool(goal_reached(xy, goal))
    # D4RL's noise at the start, none on the goal, which is where the rewards were computed for
    maze.add_xy_position_noise = lambda xy: xy if (xy == goal).all() else xy + maze.np_random.uniform(-0.1, 0.1, 2)
    if hasattr(maze, "ant_env"):
        maze.ant_env._reset_noise_scale = 0.1
    return env


def load_transitions(dataset, goal=None):
    """Cut episodes into transitions, never across episodes; with a goal (x, y), make D4RL's one-goal task of them.

    Returns float32 arrays observations (N, obs_dim), actions (N, act_dim) in [-1, 1], rewards (N, 1),
    next_observations and terminations (N, 1; a truncation is none, its value is bootstrapped), and the episodes'
    undiscounted returns.
    """
    space = dataset.observation_space
    for part in (*(space.spaces.values() if isinstance(space, gym.spaces.Dict) else [space]), dataset.action_space):
        if not isinstance(part, (gym.spaces.Box, gym.spaces.Dict)) or len(part.shape or ()) > 1:
            fail(f"{dataset.id}: observations and actions must be vectors of real numbers, not {part}")
    low, high = dataset.action_space.low, dataset.action_space.high
    names = ("observations", "actions", "rewards", "next_observations", "terminations")
    parts, returns, truncated = [], [], 0
    try:
        for episode in dataset.iterate_episodes():
            observations, rewards, terminations = flatten(episode.observations), episode.rewards, episode.terminations
            if goal is not None:  # the recorded rewards are for a goal of the episode's own
                terminations = goal_reached(episode.observations["achieved_goal"][1:], goal)
                rewards = terminations - 1.0
            actions = 2 * (episode.actions - low) / (high - low) - 1
            columns = (observations[:-1], actions, rewards[:, None], observations[1:], terminations[:, None])
            parts.append([np.asarray(column, np.float32) for column in columns])
            returns.append(float(rewards.sum() if goal is None else terminations.any()))
            truncated += int(episode.truncations[-1:].sum())
        data = {name: np.concatenate(column) for name, column in zip(names, zip(*parts))}
        np.concatenate(list(data.values()), axis=1)  # raises where lengths differ
    except Exception as error:
        fail(f"cannot read the episodes of {dataset.id} ({error}): delete its folder and get it again")
    for name, column in data.items():
        if not np.isfinite(column).all():
            fail(f"{dataset.id}: {name} hold NaN or infinity (for actions: is the action space bounded?)")
    if np.abs(data["actions"]).max() > 1 + 1e-4:
        fail(f"{dataset.id}: actions lie outside the action space {dataset.action_space}")
    if np.ptp(data["rewards"]) == 0:
        where = "" if goal is None else f" (no episode reaches the goal at {goal})"
        fail(f"{dataset.id}: all rewards are {data['rewards'][0, 0]}{where}, there is nothing to learn")
    print(
        f"{dataset.id}: {len(data['rewards']):,} transitions, {len(returns):,} episodes, "
        f"{int(data['terminations'].sum()):,} terminations, {truncated:,} truncations; observations "
        f"{data['observations'].shape[1]}, actions {data['actions'].shape[1]}\nrewards "
        f"{'as recorded' if goal is None else f'1[goal {goal} reached] - 1'}, {data['rewards'].min():.4g} to "
        f"{data['rewards'].max():.4g}; returns {min(returns):.4g} to {max(returns):.4g}, mean {np.mean(returns):.4g}"
    )
    return data, np.array(returns)


# --- Networks ----------------------------------------------------------------------------------------------------


class MLP(nn.Module):
    """A 256-256 ReLU network for each member and head, all evaluated as one batched product a layer.

    Inputs (M, B, n), concatenated -> (M, B, out_dim), with two heads (M, 2, B, out_dim). PyTorch's default
    initialisation of Linear, drawn from each member's own generator.
    """

    def __init__(self, generators, in_dim, out_dim, heads=1, tanh=False):
        super().__init__()
        self.heads, self.tanh = heads, tanh
        shapes = [(in_dim, 256), (1, 256), (256, 256), (1, 256), (out_dim, 256), (out_dim, 1)]  # weight, bias, ...
        bounds = [fan_in**-0.5 for fan_in in (in_dim, in_dim, 256, 256, 256, 256)]
        uniform = [[2 * torch.rand(heads, *s, generator=g) - 1 for s in shapes] for g in generators]
        self.layers = nn.ParameterList(bound * torch.cat(u) for bound, u in zip(bounds, zip(*uniform)))

    def forward(self, *inputs):
        x = torch.cat(inputs, -1)
        lead = x.shape[:-1] if self.heads == 1 else (len(x), self.heads, x.shape[1])
        x = x.repeat_interleave(self.heads, 0) if self.heads > 1 else x
        w1, b1, w2, b2, w3, b3 = self.layers
        x = torch.baddbmm(b1, x, w1).relu_()
        x = torch.baddbmm(b2, x, w2).relu_()
        # matrix products with a single column are slow on CPUs
        x = (x * w3).sum(-1, keepdim=True) + b3 if w3.shape[1] == 1 else torch.baddbmm(b3.mT, x, w3.mT)
        x = x.view(*lead, -1)
        return x.tanh() if self.tanh else x


class Agent(nn.Module):
    """Networks, targets and coefficients of all members, each given as (seed, lam, nu)."""

    def __init__(self, obs_dim, act_dim, members):
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed, _, _ in members]
        self.actor = MLP(generators, obs_dim, act_dim, tanh=True)
        self.qf = MLP(generators, obs_dim + act_dim, 1, heads=2)
        self.vf = MLP(generators, obs_dim, 1)
        self.actor_target = deepcopy(self.actor).requires_grad_(False)
        self.qf_target = deepcopy(self.qf).requires_grad_(False)
        self.register_buffer("lam", torch.tensor([lam for _, lam, _ in members]).view(-1, 1, 1))
        self.register_buffer("nu", torch.tensor([nu for _, _, nu in members]).view(-1, 1, 1))
        self.register_buffer("actor_updates", torch.zeros(()))


# --- DMG ---------------------------------------------------------------------------------------------------------


def value_loss(advantage, args):
    """Expectile regression, Eq. (15); advantage: min Q'(s, a) - V(s), (M, B, 1) -> loss (M,)."""
    return (torch.where(advantage > 0, args.expectile, 1 - args.expectile) * advantage**2).mean((1, 2))


def update(agent, optimizers, batch, noise, args, update_actor):
    """One update of all members (Algorithm 1). batch: five tensors (M, B, n); noise (M, B, act_dim); losses (M,).

    Losses are summed over members, so each member's gradient is its own; a NaN stays with its member.
    """
    observations, actions, rewards, next_observations, terminations = batch

    # --- In-sample value V ---
    with torch.no_grad():
        q_data = agent.qf_target(observations, actions).amin(1)
    vf_loss = value_loss(q_data - agent.vf(observations), args)
    optimizers["vf"].zero_grad()
    vf_loss.sum().backward()
    optimizers["vf"].step()

    # --- Q: mild generalization propagation, Eq. (16); V is the one just updated ---
    with torch.no_grad():
        next_actions = (agent.actor_target(next_observations) + noise).clamp(-1, 1)
        q_next = agent.qf_target(next_observations, next_actions).amin(1)
        v_next = agent.vf(next_observations)
        target = rewards + args.gamma * (1 - terminations) * (agent.lam * q_next + (1 - agent.lam) * v_next)
    qf_loss = (agent.qf(observations, actions) - target.unsqueeze(1)).square().mean((2, 3)).sum(1)
    optimizers["qf"].zero_grad()
    qf_loss.sum().backward()
    optimizers["qf"].step()
    losses = {"vf_loss": vf_loss, "qf_loss": qf_loss, "q_values": q_data.mean((1, 2))}

    # --- Policy: mild action generalization, Eq. (14) ---
    if update_actor:
        with torch.no_grad():
            advantage = q_data - agent.vf(observations)
            weight = (args.inverse_temperature * advantage).exp().clamp(max=args.max_weight)
        policy_actions = agent.actor(observations)
        q = agent.qf(observations, policy_actions).amin(1)
        q_scale = args.q_weight / q.detach().abs().mean((1, 2), keepdim=True)
        actor_loss = (-q_scale * q + agent.nu * weight * (policy_actions - actions) ** 2).mean((1, 2))
        optimizers["actor"].zero_grad()
        actor_loss.sum().backward(inputs=list(agent.actor.parameters()))  # spares the gradients of Q's weights
        # cosine from learning_rate to 0, computed in a tensor: a CUDA graph would freeze a number
        progress = agent.actor_updates / max(args.offline_steps // args.policy_frequency, 1)
        optimizers["actor"].param_groups[0]["lr"].copy_(args.learning_rate * (1 + torch.cos(math.pi * progress)) / 2)
        agent.actor_updates += 1
        optimizers["actor"].step()
        targets = [*agent.actor_target.parameters(), *agent.qf_target.parameters()]
        torch._foreach_lerp_(targets, [*agent.actor.parameters(), *agent.qf.parameters()], args.tau)
        losses |= {"actor_loss": actor_loss, "weight": weight.mean((1, 2))}
    return {f"losses/{name}": loss.detach() for name, loss in losses.items()}


def make_block_runner(agent, optimizers, data, generators, args):
    """Return run_block(step, n): the n updates after step with no wait for the GPU in between -> last losses.

    data: rows (N, columns) and the widths of the five columns. A block's row numbers and noise are drawn ahead, each
    member's from its own generator: every mode and any set of neighbours sees the same batches.
    """
    rows, widths = data
    shape = (args.log_interval, len(generators), args.batch_size)
    indices = torch.zeros(shape, dtype=torch.long, device=rows.device)
    noise = torch.zeros((*shape, widths[1]), device=rows.device)
    position = torch.zeros(1, dtype=torch.long, device=rows.device)  # in the block; graphs need it as a tensor
    update_fn = torch.compile(update) if args.mode == "compile" else update
    graphs, losses, warm_up = {}, {}, 2 * args.policy_frequency

    def one_update(update_actor):
        batch = rows[indices.index_select(0, position)[0]].split(widths, -1)
        batch_noise = noise.index_select(0, position)[0]
        position.add_(1)
        return update_fn(agent, optimizers, batch, batch_noise, args, update_actor)

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
            if args.mode != "cudagraph" or warm_up > 0:  # graphs want Adam's state and the libraries set up
                warm_up -= 1
                losses.update(one_update(update_actor))
                continue
            if update_actor not in graphs:  # capturing runs nothing, it only records
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                    graphs[update_actor] = graph, one_update(update_actor)
            graphs[update_actor][0].replay()
            losses.update(graphs[update_actor][1])
        return losses

    return run_block


@torch.no_grad()
def evaluate(agent, normalizer, envs, action_space, seeds, alive):
    """Play the episodes of all members side by side, one policy call a step.

    envs: M * E environments; seeds: ints (M, E); alive: bool (M,), the members that play. Returns (M, E), NaN where
    a member does not play.
    """
    mean, std = normalizer
    low, high = action_space.low, action_space.high
    observations = np.stack([flatten(env.reset(seed=int(seed))[0]) for env, seed in zip(envs, seeds.flat)])
    running = np.repeat(alive, seeds.shape[1])
    returns = np.where(running, 0.0, np.nan)
    # MuJoCo simulates outside Python's lock: threads pay where a step is long, as an Ant's is
    workers = os.cpu_count() if "Ant" in envs[0].spec.id else 1

    def play(chunk):
        for i in chunk:
            observation, reward, terminated, truncated, _ = envs[i].step(actions[i])
            observations[i] = flatten(observation)
            returns[i] += reward
            running[i] = not (terminated or truncated)

    with ThreadPoolExecutor(workers) as pool:
        while running.any():
            inputs = torch.from_numpy((observations - mean) / std).view(*seeds.shape, -1)
            actions = agent.actor(inputs.to(agent.lam.device)).flatten(0, 1).cpu().numpy()
            actions = (low + (actions + 1) / 2 * (high - low)).astype(action_space.dtype)
            list(pool.map(play, np.array_split(np.flatnonzero(running), workers)))
    return returns.reshape(seeds.shape)


# --- Runs --------------------------------------------------------------------------------------------------------


def write_file(path, content):
    """Write bytes under another name, then rename: a kill or a full disk leaves the old file as it was."""
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(run, exp_name):
    """Read the checkpoint of a run folder; members share one file, result.json says where. Nothing in it is executed."""
    try:
        path = Path(run) / json.loads((Path(run) / "result.json").read_text())["checkpoint"]
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        fail(f"no checkpoint ({error}): give a run folder that training printed")
    except Exception as error:
        fail(f"the checkpoint of {run} is damaged or foreign ({str(error)[:80]})")
    if not isinstance(state, dict) or state.get("made_by") != exp_name:
        fail(f"{path} is not a checkpoint of {exp_name}.py")
    return state, path


def make_run_dirs(args, members):
    """Make runs/{env_id}__{exp_name}__{seed}__{time} for each member, lam and nu in the name where they vary."""
    for stamp in itertools.count(int(time.time())):
        names = [
            f"{args.env_id.replace('/', '-')}__{args.exp_name}__{seed}"
            + f"__lam{lam:g}" * (len(args.lam) > 1) + f"__nu{nu:g}" * (len(args.nu) > 1) + f"__{stamp}"
            for seed, lam, nu in members
        ]  # fmt: skip
        run_dirs = [Path(args.runs_dir) / name for name in names]
        if not any(run_dir.exists() for run_dir in run_dirs):
            break
    for run_dir in run_dirs:
        run_dir.mkdir(parents=True)
    return run_dirs


def train(args, state=None, checkpoint=None):
    """Train all members, from scratch or on from a checkpoint's state; returns their run folders."""
    check_args(args)
    dataset = open_dataset(args.env_id)
    args, family = resolve_args(args, dataset)
    is_maze = family in ("antmaze", "pointmaze")
    device = torch.device(args.device)
    torch.set_float32_matmul_precision(args.matmul_precision)
    if device.type == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream())  # the default stream cannot be captured

    # --- Data ---
    members = list(itertools.product(args.seed, args.lam, args.nu))
    try:
        envs = [make_env(dataset, is_maze) for _ in range(len(members) * args.eval_episodes or is_maze)]
    except Exception as error:
        fail(f"cannot make the environment of {dataset.id} ({error!r}); --eval-episodes 0 does without, but for mazes")
    data, returns = load_transitions(dataset, envs[0].unwrapped.maze.unique_goal_locations[0] if is_maze else None)
    mean, std = np.zeros_like(data["observations"][0]), np.ones_like(data["observations"][0])
    if args.normalize_observations:
        mean, std = data["observations"].mean(0), data["observations"].std(0) + 1e-3
    for name in ("observations", "next_observations"):
        data[name] = (data[name] - mean) / std
    rows = torch.from_numpy(np.concatenate(list(data.values()), axis=1)).to(device)
    widths = [column.shape[1] for column in data.values()]
    metadata = dataset.storage.metadata
    reference = (0, 1) if is_maze else (metadata.get("ref_min_score"), metadata.get("ref_max_score"))
    if None in reference:
        reference = REFERENCE_RETURNS.get(dataset.env_spec.id.split("-")[0].lower() if dataset.env_spec else None)

    def score(returns):
        return float(100 * (np.mean(returns) - reference[0]) / (reference[1] - reference[0])) if reference else None

    print(f"normalized score of the data: mean {score(returns)}, best episode {score(returns.max())}")

    # --- Agent: new, or as the checkpoint left it ---
    agent = Agent(widths[0], widths[1], members).to(device)
    optimizers = {
        name: torch.optim.Adam(
            getattr(agent, name).parameters(), torch.tensor(args.learning_rate), fused=True, capturable=device.type == "cuda"
        )
        for name in ("vf", "qf", "actor")
    }
    generators = [torch.Generator(device).manual_seed(seed) for seed, _, _ in members]
    step, evaluations, diverged_at = 0, [[] for _ in members], [None for _ in members]
    if state is None:
        try:
            run_dirs = make_run_dirs(args, members)
        except OSError as error:
            fail(f"cannot make run folders ({error}): choose another --runs-dir")
        checkpoint = run_dirs[0] / "checkpoint.pt"
    else:
        if state["data"] != [dataset.id, len(rows), *widths]:
            fail(f"{checkpoint} belongs to other data: {state['data']}, here {[dataset.id, len(rows), *widths]}")
        run_dirs = [checkpoint.parent.parent / name for name in state["run_dirs"]]
        agent.load_state_dict(state["agent"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for generator, generator_state in zip(generators, state["generators"], strict=True):
            generator.set_state(generator_state)
        step, evaluations, diverged_at = state["step"], state["evaluations"], state["diverged_at"]
    writers = [SummaryWriter(str(run_dir), purge_step=step + 1) for run_dir in run_dirs]
    run_block = make_block_runner(agent, optimizers, (rows, widths), generators, args)
    versions = {module.__name__: module.__version__ for module in (torch, np, gym, minari)}
    git = subprocess.run(["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"], capture_output=True, text=True)

    def save():
        """Write every member's result.json, then the checkpoint."""
        for m, (seed, lam, nu) in enumerate(members):
            result = {"env_id": args.env_id, "dataset_id": dataset.id, "seed": seed, "lam": lam, "nu": nu,
                      "args": asdict(args), "versions": versions, "git_commit": git.stdout.strip() or None,
                      "evaluations": evaluations[m], "updates_per_second": updates_per_second,
                      "diverged_at": diverged_at[m], "checkpoint": os.path.relpath(checkpoint, run_dirs[m])}  # fmt: skip
            write_file(run_dirs[m] / "result.json", json.dumps(result, indent=1).encode())
        state = {"made_by": args.exp_name, "args": asdict(args), "data": [dataset.id, len(rows), *widths], "step": step,
                 "agent": agent.state_dict(), "optimizers": {k: v.state_dict() for k, v in optimizers.items()},
                 "generators": [generator.get_state() for generator in generators], "evaluations": evaluations,
                 "mean": torch.from_numpy(mean), "std": torch.from_numpy(std), "diverged_at": diverged_at,
                 "run_dirs": [run_dir.name for run_dir in run_dirs]}  # fmt: skip
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_file(checkpoint, buffer.getvalue())

    # --- Blocks of updates; after each a look at the losses, after some an evaluation and a checkpoint ---
    print(f"training {len(members)} member(s) on {args.device}, {args.mode}: {', '.join(map(str, run_dirs))}")
    first_step, training_seconds, updates_per_second = step, 0.0, None
    try:
        save()
        for writer in writers:
            writer.add_text("hyperparameters", "|param|value|\n|-|-|\n" + "\n".join(f"|{k}|{v}|" for k, v in asdict(args).items()))
        bar = tqdm(total=args.offline_steps, initial=step, unit=" updates", smoothing=0.05)
        while step < args.offline_steps:
            began = time.perf_counter()
            ends = [(step // interval + 1) * interval for interval in (args.log_interval, args.eval_interval)]
            n = min(*ends, args.offline_steps) - step
            scalars = {name: loss.tolist() for name, loss in run_block(step, n).items()}  # waits for the GPU
            step += n
            training_seconds += time.perf_counter() - began
            updates_per_second = (step - first_step) / training_seconds
            finite = torch.stack([p.isfinite().view(len(members), -1).all(1) for p in agent.parameters()]).all(0)
            for m in range(len(members)):
                if not finite[m] and diverged_at[m] is None:
                    diverged_at[m] = step
                    bar.write(f"{run_dirs[m]} diverged (NaN or infinity in a network) by update {step}")
            evaluated = step % args.eval_interval == 0 or step == args.offline_steps
            alive = np.array([at is None for at in diverged_at])
            if evaluated and args.eval_episodes:
                seeds = [np.random.SeedSequence((seed, step)).generate_state(args.eval_episodes) for seed, _, _ in members]
                returns = evaluate(agent, (mean, std), envs, dataset.action_space, np.stack(seeds), alive)
            for m, writer in enumerate(writers):
                tags = {name: values[m] for name, values in scalars.items()} | {"charts/SPS": updates_per_second}
                tags["charts/learning_rate"] = float(optimizers["actor"].param_groups[0]["lr"])
                if evaluated:
                    played = returns[m] if args.eval_episodes and alive[m] else None
                    entry = {"step": step, "returns": played if played is None else played.tolist(),
                             "normalized_score": played if played is None else score(played),
                             "success_rate": played.mean() if is_maze and played is not None else None,
                             "q_mean": tags["losses/q_values"] if alive[m] else None}  # fmt: skip
                    evaluations[m].append(entry)
                    tags |= {f"eval/{k}": entry[k] for k in ("normalized_score", "success_rate") if entry[k] is not None}
                    tags |= {} if played is None else {"eval/episodic_return": played.mean()}
                for tag, value in tags.items():
                    writer.add_scalar(tag, value, step)
            bar.update(n)
            if evaluated:
                save()
                bar.set_postfix_str("score " + " ".join(f"{e[-1]['normalized_score'] or math.nan:.1f}" for e in evaluations))
                if not alive.any():
                    break
        bar.close()
        for writer in writers:
            writer.close()
    except OSError as error:
        fail(f"cannot write at update {step} ({error}): make room; --resume {run_dirs[0]} goes on from the last checkpoint")
    for run_dir, history, at in zip(run_dirs, evaluations, diverged_at):
        print(f"{run_dir}: last normalized score {history[-1]['normalized_score']}" + f", diverged by {at}" * bool(at))
    return run_dirs


def main():
    args, state, path = tyro.cli(Args, description=__doc__), None, None
    if args.resume is not None:
        state, path = load_checkpoint(args.resume, args.exp_name)
        saved = replace(Args(**state["args"]), resume=args.resume)
        args = tyro.cli(Args, default=saved, description=__doc__)
        if replace(args, device=saved.device, mode=saved.mode) != saved:
            fail("--resume goes on with the arguments of the checkpoint: leave out the others (but --device, --mode)")
    train(args, state, path)


if __name__ == "__main__":
    main()
