"""Representation Distinction (RD) for offline reinforcement learning, on TD3+BC and on TD3-N.

RD: Ma, Tang, Li and Meng, "Reining Generalization in Offline Reinforcement Learning via Representation
Distinction", NeurIPS 2023. TD3+BC: Fujimoto and Gu, NeurIPS 2021, https://arxiv.org/abs/2106.06860

THIS IS OUR READING OF RD, not a reproduction: we found no code of its authors, and had no access to the text
of the paper. The list below says what is known and what was chosen here.

The base algorithm, for transitions (s, a, r, s') of the dataset:

    Q_i     is regressed on  r + gamma (1 - termination) LB Q'(s', a')
    policy  minimises        E[ -q_scale LB Q(s, pi(s)) + bc_weight |pi(s) - a|^2 ]

where a' = pi'(s') + clipped noise. Q' and pi' are target networks (Polyak averages); |pi(s) - a|^2 is a mean
over the dimensions of the action; q_scale = q_weight / mean|LB Q(s, pi(s))|, or 1 if bc_weight is 0. Learning
rates are constant. LB is a lower bound over the critics:

    kappa = 0, as in TD3+BC    min Q' for the critics, Q_1 for the policy
    kappa > 0, as in TD3-N     mean - kappa std over N critics for both; the paper's name is TD3-N-Unc

RD adds a penalty to the loss of every critic. phi_i(s, a) are critic i's features, in our reading the output
of its last hidden layer:

    stage 1    rd_coef E[ phi_i(s, a) . phi_i(s, pi(s)) ]         the policy's actions against the data's
    stage 2    rd_coef E[ phi_i(s, pi(s)) . phi_i(s, pi_o(s)) ]   against those of an OOD policy

(OOD: out of distribution). A gradient step on Q_i at one pair (s, a) moves Q_i at another pair in proportion
to their neural tangent kernel. The last layer's part of the kernel is phi_i(s, a) . phi_i(s', a') + 1: the
smaller it is, the less an error at one pair spreads to the other.

Known, from the authors' slides and from descriptions by others: RD is a plug-in that lowers the dot products
of features; it has two stages, against the data and then against OOD actions; the OOD policy is learned.
Chosen here:

    phi        the last hidden layer, after its ReLU
    penalty    raw dot products, neither cosines nor divided by the width; after ReLU they are not negative.
               The gradient passes through both factors, and into no policy. Stage 2 replaces stage 1
    rd_coef    1e-3
    switch     from stage 1 to 2, for good, after rd_start updates and once D <= rd_switch D_BC. D is a
               running mean of |pi(s) - a|^2, and D_BC that of a policy cloned from the data alongside
    pi_o       deterministic; maximises the critics' maximum, or mean + kappa_ood std, without any cloning,
               and is trained from the start
    TD3-N      this LB, N = 10 and kappa = 2.5; PyTorch's initialisation, not EDAC's; all else as in TD3+BC

    python rd_td3.py                                             # a small maze recorded on this machine
    python rd_td3.py --env-id hopper-medium --rd-coef 0 0.001    # TD3+BC without and with RD, trained as one
    python rd_td3.py --critics 10 --kappa 2.5 --bc-weight 0 --hidden 256 256 256    # RD on TD3-N

To read it: update() is the algorithm, main() the training loop, and what lies between them is plumbing.
"""

import contextlib
import fcntl
import io
import itertools
import json
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

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
    """Defaults are TD3+BC's and, for RD, ours; presets() has what differs for other tasks."""

    exp_name: str = Path(__file__).stem  # name of the experiment
    env_id: str = "pointmaze-umaze"  # short name such as antmaze-large-play, or the id of any Minari dataset
    seed: tuple[int, ...] = (1,)  # --seed 1 2 3 trains three runs (members) as one; so do several rd-coef
    runs_dir: str = "runs"  # the run's folder is {runs_dir}/{env_id}__{exp_name}__{time}
    resume: str = ""  # folder of a run to go on with; all other arguments come from its checkpoint
    device: str = "cuda" if torch.cuda.is_available() else "cpu"  # where to train: cpu, cuda, cuda:1
    cuda_graph: bool = True  # on a GPU, replay the updates as a CUDA graph
    tf32: bool = False  # on a GPU, multiply matrices in TF32: faster, with a mantissa of 10 bits
    log_interval: int = 1000  # updates between two entries of the losses; a GPU synchronises only then
    eval_interval: int = 20_000  # updates between two evaluations, each followed by a checkpoint
    eval_episodes: int = 10  # episodes of an evaluation, for each member; 0: no evaluation

    offline_steps: int = 1_000_000  # number of updates
    batch_size: int = 256  # transitions in an update of a member
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of every network
    critics: int = 2  # number of Q networks, N of TD3-N
    learning_rate: float = 3e-4  # of Adam, for all networks, constant
    normalize_observations: bool = True  # standardise with the data's mean and std + 1e-3
    step_cost: float = 0.0  # subtracted from every reward in training; 1 in mazes: -1 a step, 0 at the goal
    gamma: float = 0.99  # discount
    tau: float = 0.005  # Polyak rate of the target networks
    policy_frequency: int = 2  # both actors and all targets are updated every this many updates
    policy_noise: float = 0.2  # std of the noise on the target policy's action
    noise_clip: float = 0.5  # bound of that noise

    kappa: float = 0.0  # of the lower bound mean - kappa std over the critics; 0: TD3's minimum
    q_weight: float = 2.5  # factor on q_scale: alpha of TD3+BC
    bc_weight: float = 1.0  # strength of the pull towards the data's actions; 0: none, as in TD3
    rd_coef: tuple[float, ...] = (1e-3,)  # strength of RD's penalty on the critics; 0: the base algorithm
    rd_start: int = 50_000  # updates before which stage 2 cannot begin
    rd_switch: float = 1.5  # distance from the data, in units of a clone's, at which it begins; 0: never
    ood: str = "policy"  # actions of stage 2: of the learned OOD policy, or uniform, which is a control
    kappa_ood: float = 0.0  # the OOD policy maximises mean + kappa_ood std over the critics; 0: their maximum


class Linear(nn.Module):
    """nn.Linear for N networks side by side: (N, B, inputs) -> (N, B, outputs), one batched product.

    Initialised like nn.Linear, uniformly within 1 / sqrt(inputs), network i from generators[i].
    """

    def __init__(self, generators, inputs, outputs):
        super().__init__()

        def uniform(*shape):
            draws = torch.stack([torch.rand(shape, generator=generator) for generator in generators])
            return nn.Parameter((2 * draws - 1) / math.sqrt(inputs))

        self.weight = uniform(inputs, outputs)
        self.bias = uniform(1, outputs)

    def forward(self, x):
        if self.weight.shape[-1] == 1:  # faster on a CPU than a product with one column
            return (x * self.weight.mT).sum(-1, keepdim=True) + self.bias
        return torch.baddbmm(self.bias, x, self.weight)


def mlp(generators, inputs, hidden, outputs):
    """The layers of a ReLU network for each of N generators: (N, B, inputs) -> (N, B, outputs)."""
    layers = []
    for width in hidden:
        layers += [Linear(generators, inputs, width), nn.ReLU(inplace=True)]
        inputs = width
    return [*layers, Linear(generators, inputs, outputs)]


class Critic(nn.Module):
    """Several Q(s, a): observations (M, B, n) and actions (M, B, m) -> (critics, M, B)."""

    def __init__(self, generators, inputs, hidden, critics):
        super().__init__()
        self.critics = critics
        copies = generators * critics  # all members of the first critic, then of the second, ...
        self.net = nn.Sequential(*mlp(copies, inputs, hidden, 1))

    def features(self, observations, actions):
        """phi_i(s, a), the output of the last hidden layer: (critics, M, B, width)."""
        x = torch.cat([observations, actions], -1)
        return self.net[:-1](x.repeat(self.critics, 1, 1)).view(self.critics, *x.shape[:-1], -1)

    def values(self, phi):
        """Q_i, which is linear in phi_i: (critics, M, B, width) -> (critics, M, B)."""
        return self.net[-1](phi.flatten(0, 1)).view(phi.shape[:-1])

    def forward(self, observations, actions):
        return self.values(self.features(observations, actions))


class Agent(nn.Module):
    """The networks of M members (seed, rd_coef), what RD remembers of each (M,), and the normaliser (n,).

    For observations (M, B, n) actor, clone and ood_actor give actions (M, B, m) in [-1, 1]. The last two are
    RD's. They are drawn last: a seed's other networks begin as they would without them.
    """

    def __init__(self, members, mean, std, action_dim, args):
        super().__init__()
        generators, n = [torch.Generator().manual_seed(seed) for seed, _ in members], len(mean)
        self.actor = nn.Sequential(*mlp(generators, n, args.hidden, action_dim), nn.Tanh())
        self.qf = Critic(generators, n + action_dim, args.hidden, args.critics)
        self.clone = nn.Sequential(*mlp(generators, n, args.hidden, action_dim), nn.Tanh())
        self.ood_actor = nn.Sequential(*mlp(generators, n, args.hidden, action_dim), nn.Tanh())
        self.actor_target = deepcopy(self.actor).requires_grad_(False)
        self.qf_target = deepcopy(self.qf).requires_grad_(False)
        self.register_buffer("rd_coef", torch.tensor([rd_coef for _, rd_coef in members]))
        self.register_buffer("updates", torch.zeros(len(members), dtype=torch.int64))
        self.register_buffer("distance", torch.zeros(len(members)))  # D
        self.register_buffer("clone_distance", torch.zeros(len(members)))  # D_BC
        self.register_buffer("in_stage_2", torch.zeros(len(members), dtype=torch.bool))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))


def lower_bound(q, kappa):
    """LB over the critics: mean - kappa std, or the minimum if kappa is 0; (critics, M, B) -> (M, B)."""
    return q.mean(0) - kappa * q.std(0) if kappa else q.amin(0)


def spread(name, q):
    """To be logged: the std over the critics, mean over the batch, (critics, M, B) -> (M,)."""
    return {f"q_std_{name}": q.std(0).mean(-1)} if len(q) > 1 else {}


def switch_stage(agent, optimizers, observations, actions, policy_actions, args):
    """Train the clone, and let members whose policy is near the data enter stage 2; returns D / D_BC, (M,).

    D and D_BC average some 1,000 updates. Both begin at 0, a bias that cancels in the ratio.
    """
    clone_loss = (agent.clone(observations) - actions).square().mean((-2, -1))
    optimizers["clone"].zero_grad()
    clone_loss.sum().backward()
    optimizers["clone"].step()
    with torch.no_grad():
        agent.updates += 1
        agent.distance.lerp_((policy_actions - actions).square().mean((-2, -1)), 1 - 0.999)
        agent.clone_distance.lerp_(clone_loss, 1 - 0.999)
        is_near = agent.distance <= args.rd_switch * agent.clone_distance
        agent.in_stage_2 |= is_near & (agent.updates >= args.rd_start)
        return agent.distance / agent.clone_distance


def rd_penalty(agent, phi, observations, policy_actions, ood_actions):
    """RD's penalty, summed over the critics, and what is to be logged, (M,) each.

    phi: the features (critics, M, B, width) of the data's pairs. Dot products fall also where features merely
    shrink; their norm in the log tells, and the cosine, which then does not fall.
    """
    phi_policy = agent.qf.features(observations, policy_actions)
    phi_ood = agent.qf.features(observations, ood_actions)
    rd1 = (phi * phi_policy).sum(-1).mean(-1)  # (critics, M)
    rd2 = (phi_policy * phi_ood).sum(-1).mean(-1)
    penalty = torch.where(agent.in_stage_2, rd2, rd1).sum(0)
    with torch.no_grad():
        cosine = nn.functional.cosine_similarity(phi, phi_policy, -1).mean((0, -1))
        losses = {"rd1": rd1.mean(0), "rd2": rd2.mean(0), "cosine": cosine}
        losses |= {"phi_norm": phi.norm(dim=-1).mean((0, -1)), "in_stage_2": agent.in_stage_2.float()}
        return penalty, losses | spread("ood", agent.qf.values(phi_ood))


def update(agent, optimizers, batch, args, update_actor):
    """One update of all members; returns their losses, (M,) each.

    batch: observations (M, B, n), actions (M, B, m) in [-1, 1], rewards (M, B), next observations (M, B, n),
    terminations (M, B), noise (M, B, m) for the target policy's action, and uniform actions (M, B, m).
    Losses are means over the batch, summed over critics and members: every member's gradient is its own, and
    a NaN stays with its member. If all rd_coef are 0, everything of RD is left out. If only some are, their
    members still have exactly the base algorithm's gradients, to which 0 times the penalty's are added.
    No random numbers, no .item() and no branch on data in here: a CUDA graph would freeze them.
    """
    observations, actions, rewards, next_observations, terminations, noise, uniform = batch

    # --- Q: TD3's regression ---
    with torch.no_grad():
        next_actions = (agent.actor_target(next_observations) + noise).clamp(-1, 1)
        q_next = lower_bound(agent.qf_target(next_observations, next_actions), args.kappa)
        target = rewards + args.gamma * (1 - terminations) * q_next
    shapes = [x.shape for x in (target, rewards, terminations)]
    assert shapes == 3 * [actions.shape[:-1]], f"target, rewards and terminations are (M, B), not {shapes}"
    phi = agent.qf.features(observations, actions)
    q = agent.qf.values(phi)
    qf_loss = (q - target).square().mean(-1).sum(0)
    losses = {"qf_loss": qf_loss, "q_values": lower_bound(q, args.kappa).mean(-1)} | spread("data", q)

    # --- Q: RD's penalty ---
    penalty = 0.0
    if any(args.rd_coef):
        with torch.no_grad():
            policy_actions = agent.actor(observations)
            ood_actions = uniform if args.ood == "uniform" else agent.ood_actor(observations)
        losses["distance_ratio"] = switch_stage(
            agent, optimizers, observations, actions, policy_actions, args
        )
        penalty, rd_losses = rd_penalty(agent, phi, observations, policy_actions, ood_actions)
        losses |= rd_losses
    optimizers["qf"].zero_grad()
    (qf_loss + agent.rd_coef * penalty).sum().backward()
    optimizers["qf"].step()

    # --- Policy, OOD policy, and targets ---
    if update_actor:
        policy_actions = agent.actor(observations)
        q = agent.qf(observations, policy_actions)
        losses |= spread("policy", q)
        q = lower_bound(q, args.kappa) if args.kappa else q[0]  # TD3's policy uses Q_1, not the minimum
        q_scale = args.q_weight / q.detach().abs().mean(-1, keepdim=True) if args.bc_weight else 1.0
        distance = (policy_actions - actions).square().mean(-1)
        actor_loss = (-q_scale * q + args.bc_weight * distance).mean(-1)
        optimizers["actor"].zero_grad()
        actor_loss.sum().backward(inputs=list(agent.actor.parameters()))  # none for Q's weights
        optimizers["actor"].step()
        losses["actor_loss"] = actor_loss
        if any(args.rd_coef) and args.ood == "policy":
            q = agent.qf(observations, agent.ood_actor(observations))
            ood_loss = lower_bound(-q, args.kappa_ood).mean(-1)  # minus the critics' upper bound
            optimizers["ood_actor"].zero_grad()
            ood_loss.sum().backward(inputs=list(agent.ood_actor.parameters()))
            optimizers["ood_actor"].step()
        targets = [*agent.actor_target.parameters(), *agent.qf_target.parameters()]
        with torch.no_grad():
            torch._foreach_lerp_(targets, [*agent.actor.parameters(), *agent.qf.parameters()], args.tau)
    return {name: loss.detach() for name, loss in losses.items()}


def make_batch(rows, noise, uniform, widths, agent):
    """What update takes, from rows (M, B, columns) of load_transitions, with standardised observations."""
    observations, actions, rewards, next_observations, terminations = rows.split(widths, -1)
    observations = (observations - agent.mean) / agent.std
    next_observations = (next_observations - agent.mean) / agent.std
    rewards, terminations = rewards.squeeze(-1), terminations.squeeze(-1)
    return observations, actions, rewards, next_observations, terminations, noise, uniform


def make_optimizers(agent, args):
    """Adam for Q, the policy and RD's two policies."""
    optimizers, is_cuda = {}, args.device.startswith("cuda")
    for name in ("qf", "actor", "clone", "ood_actor"):
        parameters = getattr(agent, name).parameters()
        optimizers[name] = torch.optim.Adam(parameters, args.learning_rate, fused=True, capturable=is_cuda)
    return optimizers


def draw(generators, updates, transitions, action_dim, args):
    """Indices (updates, M, B), TD3's noise and uniform actions (updates, M, B, m), each member's own."""
    shape, device = (updates, args.batch_size), generators[0].device
    indices = [torch.randint(transitions, shape, generator=g, device=device) for g in generators]
    noise = [torch.randn(*shape, action_dim, generator=g, device=device) for g in generators]
    noise = args.policy_noise * torch.stack(noise, 1)
    uniform = [2 * torch.rand(*shape, action_dim, generator=g, device=device) - 1 for g in generators]
    return torch.stack(indices, 1), noise.clamp(-args.noise_clip, args.noise_clip), torch.stack(uniform, 1)


def graphed(function):
    """Capture function(flag, *tensors) as a CUDA graph for each flag, and from then on replay it.

    The networks are so small that launching some 300 kernels takes longer than running them. A replay
    launches all at once, with the new tensors copied to where the capture found the old ones.
    """
    calls, captured = {True: 0, False: 0}, {}

    def call(flag, *tensors):
        calls[flag] += 1
        if calls[flag] <= 2:  # Adam's state and the libraries must be set up before a capture
            return function(flag, *tensors)
        if flag not in captured:
            graph, inputs = torch.cuda.CUDAGraph(), [tensor.clone() for tensor in tensors]
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                outputs = function(flag, *inputs)  # captured, not run
            captured[flag] = graph, inputs, outputs
        graph, inputs, outputs = captured[flag]
        torch._foreach_copy_(inputs, tensors)
        graph.replay()
        return outputs

    return call


# Short names of datasets. D4RL's own data end in -v2 (benchmark/import_d4rl.py); Minari's are other tasks.
LOCOMOTION = ("hopper", "halfcheetah", "walker2d", "ant", "humanoid", "swimmer")
LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay", "simple")
MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
DATASETS = {f"{env}-{level}": f"mujoco/{env}/{level}-v0" for env in LOCOMOTION for level in LEVELS}
DATASETS |= {f"{env}-{level}-v2": f"d4rl/{env}/{level}-v2" for env in LOCOMOTION[:3] for level in LEVELS[:-1]}
DATASETS |= {f"antmaze-{maze}": f"D4RL/antmaze/{maze}-v1" for maze in MAZES}
DATASETS |= {f"antmaze-{maze}-v2": f"d4rl/antmaze/{maze}-v2" for maze in MAZES}
DATASETS |= {f"pointmaze-{maze}": f"local/pointmaze/{maze}-v0" for maze in ("umaze", "medium")}
# Returns that score 0 and 100, those of D4RL's random and expert policies; other datasets bring their own
REFERENCE_RETURNS = {"hopper": (-20.272305, 3234.3), "halfcheetah": (-280.178953, 12135.0)}
REFERENCE_RETURNS |= {"walker2d": (1.629008, 4592.3), "ant": (-325.6, 3879.7)}
REFERENCE_RETURNS |= dict.fromkeys(("antmaze", "pointmaze", "d4rlantmaze"), (0.0, 1.0))
# D4RL's start and goal cells (row, column), for mazes of these shapes whose map marks none
MAZE_CELLS = {(5, 5): ((1, 1), (3, 1)), (8, 8): ((1, 1), (6, 6)), (9, 12): ((1, 1), (7, 9))}


def fail(message, code=2):
    """End the program with one line that says what is wrong and what to do."""
    tqdm.write("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def explained(message):
    """End the program with message if anything in here goes wrong: libraries raise errors of many classes."""
    try:
        yield
    except Exception as error:
        fail(f"{message} ({type(error).__name__}: {str(error)[:200]})")


def require(holds, message):
    """End the program with message unless the condition holds."""
    if not holds:
        fail(message)


def task_of(dataset):
    """The name of the environment without its maze and version, such as hopper or antmaze."""
    return re.split("[-_/]", dataset.env_spec.id)[0].lower() if dataset.env_spec else "unknown"


def presets(dataset):
    """What differs from the defaults of Args for the dataset's task."""
    task, maze = task_of(dataset), dict(step_cost=1.0)
    if task in ("antmaze", "d4rlantmaze"):
        gamma = 0.995 if task == "antmaze" else 0.99  # Minari's ant acts every 0.05 s, D4RL's every 0.1 s
        return maze | dict(gamma=gamma, eval_interval=50_000, eval_episodes=100)
    if task == "pointmaze":  # ours, for a quick look on a CPU
        return maze | dict(offline_steps=15_000, eval_interval=500, eval_episodes=50, tau=0.02, rd_start=1000)
    return {}


def check(args):
    """Refuse arguments that no member could train with."""
    for name, value in asdict(args).items():
        numbers = [x for x in np.ravel(value).tolist() if not isinstance(x, str)]
        is_fine = all(0 <= x < 2**63 for x in numbers)
        require(is_fine, f"--{name.replace('_', '-')} {value}: must be finite and not negative")
    for name in ("seed", "rd_coef"):
        values, flag = getattr(args, name), name.replace("_", "-")
        require(len(set(values)) == len(values) > 0, f"--{flag}: must be one or more numbers, all different")
    steps = (args.offline_steps, args.eval_interval, args.log_interval, args.policy_frequency)
    sizes = (args.batch_size, args.critics, *args.hidden)
    require(min(*steps, *sizes) >= 1, "steps, intervals, sizes and --policy-frequency must be 1 or more")
    require(max(args.gamma, args.tau) <= 1, "--gamma and --tau must be at most 1")
    require(args.hidden, "--hidden: RD is about the last hidden layer, give one or more")
    is_fine = args.critics > 1 or args.kappa == args.kappa_ood == 0
    require(is_fine, "--kappa and --kappa-ood are about the spread of critics: give --critics 2 or more")
    require(args.ood in ("policy", "uniform"), f"--ood {args.ood}: must be policy or uniform")
    require(args.batch_size * args.log_interval <= 1e8, "--batch-size times --log-interval is above 1e8")
    require(re.fullmatch(r"[\w-][\w.-]*", args.exp_name), "--exp-name must be letters, digits, _, - and .")
    require(args.runs_dir.strip(), "--runs-dir must be the name of a folder")
    with explained(f"--device {args.device} cannot be used"):
        torch.empty(0, device=args.device)


def open_dataset(env_id):
    """Find a dataset by its short name or Minari id: on this machine, or else on Minari's server."""
    dataset_id = DATASETS.get(env_id, env_id)
    near = ", ".join(get_close_matches(env_id.lower(), DATASETS, cutoff=0.4)) or "none"
    require("/" in dataset_id, f"there is no dataset {env_id}; nearest: {near}; or give a Minari id")
    with explained(f"cannot read {dataset_id}"), contextlib.suppress(FileNotFoundError):
        return minari.load_dataset(dataset_id)
    kind, *name = dataset_id.removesuffix("-v0").split("/")
    tool = {"local": f"collect_local.py {'-'.join(name)}", "d4rl": "import_d4rl.py FILE.hdf5"}.get(kind)
    require(not tool, f"{dataset_id} is not on this machine; make it with: python benchmark/{tool}")
    print(f"{dataset_id} is not on this machine: asking Minari's server", flush=True)
    hint = f"; D4RL's own data are --env-id {env_id}-v2" if f"{env_id}-v2" in DATASETS else ""
    with explained(f"cannot download {dataset_id}: no network, or not in `minari list remote`{hint}"):
        return minari.load_dataset(dataset_id, download=True)


class OneGoal(gym.Wrapper):
    """A Gymnasium-Robotics maze as D4RL's task: one start, one goal, over with a reward of 1 at the goal."""

    def __init__(self, env):
        super().__init__(env)
        maze, robot = env.unwrapped.maze, getattr(env.unwrapped, "ant_env", None)
        grid = np.array(maze.maze_map, dtype=str)
        cells = [*np.argwhere(grid == "r"), *np.argwhere(grid == "g")]
        self.start, self.goal_cell = cells if len(cells) == 2 else np.array(MAZE_CELLS[grid.shape])
        self.goal = maze.cell_rowcol_to_xy(self.goal_cell)
        # D4RL's noise at the start: 0.1 on every position; the ant's own reset adds it to x and y as well
        env.unwrapped.position_noise_range = 0.0 if robot else 0.1 / maze.maze_size_scaling
        if robot:
            robot._reset_noise_scale = 0.1

    def is_reached(self, xy):
        """Whether positions (..., 2) lie within 0.5 m of the goal."""
        return np.linalg.norm(xy - self.goal, axis=-1) <= 0.5

    def reset(self, *, seed=None, options=None):
        return self.env.reset(seed=seed, options={"reset_cell": self.start, "goal_cell": self.goal_cell})

    def step(self, action):
        observation, _, _, truncated, info = self.env.step(action)
        is_reached = bool(self.is_reached(observation["achieved_goal"]))
        return observation, float(is_reached), is_reached, truncated, info


def make_env(dataset, **options):
    """The dataset's environment, with flat observations and actions in [-1, 1]; options such as render_mode.

    A maze is that of the data, not the one stored for evaluation, which may be another. Its goal is not
    observed, and OneGoal ends its episodes.
    """
    if task_of(dataset) in ("antmaze", "pointmaze"):
        env = dataset.recover_environment(continuing_task=True, reset_target=False, **options)
        env = gym.wrappers.FilterObservation(OneGoal(env), ("achieved_goal", "observation"))
    else:
        env = dataset.recover_environment(eval_env=True, **options)
    return gym.wrappers.RescaleAction(gym.wrappers.FlattenObservation(env), np.float32(-1), np.float32(1))


def flatten(observations):
    """Concatenate a dictionary's entries by sorted key, as gymnasium.wrappers.FlattenObservation does."""
    if isinstance(observations, dict):
        return np.concatenate([flatten(observations[key]) for key in sorted(observations)], axis=-1)
    return np.asarray(observations, np.float32)


def load_transitions(dataset, is_reached, args):
    """Cut episodes into transitions; those of a maze, which have goals of their own, for its one goal.

    is_reached: whether positions (T, 2) lie at the maze's goal; None outside mazes. Returns float32 rows
    (N, columns) of observation, action in [-1, 1], reward, next observation and termination; the widths of
    these; and the undiscounted return of every episode. Truncations are not terminations: they bootstrap.
    """
    space, episodes, returns = dataset.action_space, [], []
    is_box = isinstance(space, gym.spaces.Box) and space.is_bounded() and len(space.shape) == 1
    require(is_box and space.shape != (0,), f"{dataset.id}: actions must be bounded vectors, not {space}")
    middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
    with explained(f"{dataset.id}: the arrays of an episode cannot be read or do not fit each other"):
        for episode in dataset.iterate_episodes():
            observations, rewards, terminations = episode.observations, episode.rewards, episode.terminations
            if is_reached:
                terminations = is_reached(observations["achieved_goal"][1:])
                rewards = terminations.astype(np.float32)
                observations = {key: observations[key] for key in ("achieved_goal", "observation")}
            # recordings may go on after a termination, where an evaluation ends
            length = terminations.argmax() + 1 if terminations.any() else len(rewards)
            returns.append(rewards[:length].sum())
            observations = flatten(observations)
            actions = (episode.actions.reshape(len(rewards), *space.shape) - middle) / half
            rewards, terminations = rewards[:, None], terminations[:, None]
            parts = observations[:-1], actions, rewards - args.step_cost, observations[1:], terminations
            episodes.append(np.concatenate(parts, axis=1, dtype=np.float32))
        rows, widths = np.concatenate(episodes), [part.shape[1] for part in parts]
    _, actions, rewards, _, terminations = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    require(np.isfinite(rows).all(), f"{dataset.id}: observations, actions and rewards must be finite")
    require(np.abs(actions).max() <= 1 + 1e-4, f"{dataset.id}: actions must lie within {space}")
    require(np.ptp(rewards) > 0, f"{dataset.id}: all rewards are equal, there is nothing to learn")
    print(f"{len(rows):,} transitions, {len(returns):,} episodes, {terminations.sum():,.0f} terminations,")
    print(f"rewards {rewards.min():.4g} to {rewards.max():.4g}; widths {widths}")
    return rows, widths, np.array(returns)


def start_worker(dataset):
    """Give this process an environment to evaluate in, and let it end with the process that trains."""
    global env
    env, parent = make_env(dataset), multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def get_policy(agent, m):
    """Member m's actor for play, in NumPy, which is faster than PyTorch on single observations."""
    layers = [layer for layer in agent.actor if isinstance(layer, Linear)]
    weights = [(layer.weight[m].numpy(force=True), layer.bias[m, 0].numpy(force=True)) for layer in layers]
    return agent.mean.numpy(force=True), agent.std.numpy(force=True), weights


def play(policy, seed):
    """Play an episode in this process's environment; returns its undiscounted return."""
    mean, std, (*hidden, (last_weight, last_bias)) = policy
    observation, _ = env.reset(seed=int(seed))
    episode_return, is_over = 0.0, False
    while not is_over:
        x = (observation.astype(np.float32) - mean) / std
        for weight, bias in hidden:
            x = np.maximum(x @ weight + bias, 0)
        action = np.tanh(x @ last_weight + last_bias)
        observation, reward, terminated, truncated, _ = env.step(action)
        episode_return += float(reward)
        is_over = terminated or truncated
    return episode_return


def evaluate(agent, results, step, run_tasks, args):
    """Undiscounted returns (M, eval_episodes), NaN where a member has diverged; each step has its seeds."""
    n, returns = args.eval_episodes, np.full((len(results), args.eval_episodes), np.nan)
    alive = [m for m, result in enumerate(results) if not result["diverged_at"]]
    policies = [get_policy(agent, m) for m in alive for _ in range(n)]
    seeds = [np.random.SeedSequence((results[m]["seed"], step)).generate_state(n) for m in alive]
    with explained("evaluation failed: go on with --resume and the run's folder"):
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is not for processes that start here
        episodes = run_tasks(play, policies, np.ravel(seeds))
        signal.signal(signal.SIGINT, handler)
        returns[alive] = np.reshape(list(episodes), (len(alive), n))
    return returns


def write(path, content):
    """Write bytes under another name, then rename: a kill or a full disk leaves the old file as it was."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def start_run(args, dataset, data_crc32, members):
    """Make the run's folder; returns it and what its result.json begins with."""
    env_id = re.sub(r"[^\w.-]", "-", args.env_id)
    run_dir = Path(args.runs_dir) / f"{env_id}__{args.exp_name}__{time.time_ns() // 10**6}"
    with explained(f"cannot make the run's folder in --runs-dir {args.runs_dir}"):
        run_dir.mkdir(parents=True)
    command = ["git", "-C", Path(__file__).parent, "rev-parse", "HEAD"]
    git = subprocess.run(command, capture_output=True, text=True)
    run = {"script": Path(__file__).stem, "env_id": args.env_id, "dataset_id": dataset.id}
    run |= {"data_crc32": data_crc32, "git_commit": git.stdout.strip(), "args": asdict(args)}
    packages = ("torch", "numpy", "gymnasium", "minari", "mujoco", "gymnasium-robotics")
    run |= {"versions": {name: version(name) for name in packages}}
    run |= {"step": 0, "updates_per_second": None, "members": []}
    for seed, rd_coef in members:
        name = f"seed{seed}"
        if len(args.rd_coef) > 1:
            name += f"_rd{rd_coef}"
        member = {"name": name, "seed": seed, "rd_coef": rd_coef, "diverged_at": None, "evaluations": []}
        run["members"].append(member)
    return run_dir, run


def save(run_dir, run, agent, optimizers, generators):
    """Write result.json, then the checkpoint: all that the next update depends on."""
    state = {"run": run, "agent": agent.state_dict()}
    state["optimizers"] = {name: optimizer.state_dict() for name, optimizer in optimizers.items()}
    state["generators"] = [generator.get_state() for generator in generators]
    torch.save(state, buffer := io.BytesIO())
    write(run_dir / "result.json", json.dumps(run, indent=1).encode())
    write(run_dir / "checkpoint.pt", buffer.getvalue())


def load_checkpoint(run_dir, script, device):
    """Read the checkpoint of one of script's runs, intact; nothing in it is executed."""
    path = Path(run_dir) / "checkpoint.pt"
    require(path.is_file(), f"there is no {path}: give the folder of a run")
    with explained(f"{path} is damaged"):
        is_intact = zipfile.ZipFile(path).testzip() is None
        state = torch.load(path, map_location=device, weights_only=True) if is_intact else None
        made_by = state["run"]["script"]
    require(made_by == script, f"{path} is not of {script}.py, but of {made_by}.py")
    return state


def parse_args():
    """Parse the command line twice (--env-id or --resume picks the defaults): args, dataset, checkpoint."""
    args, state, saved = tyro.cli(Args, description=__doc__), None, {}
    if args.resume:
        state = load_checkpoint(args.resume, Path(__file__).stem, args.device)
        saved = state["run"]["args"] | {"resume": args.resume, "device": args.device}
        is_same = saved.keys() == asdict(args).keys()
        require(is_same, f"{args.resume} is of another version of {Path(__file__).name}")
    dataset = open_dataset(saved.get("env_id", args.env_id))
    args = tyro.cli(Args, default=replace(Args(), **(presets(dataset) | saved)), description=__doc__)
    changed = [name for name, value in saved.items() if getattr(args, name) != value]
    require(not changed, f"the checkpoint has its own {', '.join(changed)}: leave that out")
    check(args)
    return args, dataset, state


def main():
    args, dataset, state = parse_args()
    members = list(itertools.product(args.seed, args.rd_coef))
    torch.set_float32_matmul_precision("high" if args.tf32 else "highest")
    is_cuda = args.device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_stream(torch.cuda.Stream())  # the default stream cannot be captured

    # --- Environment and data ---
    global env  # in which play evaluates, here or in every evaluation process
    with explained(f"cannot make the environment of {dataset.id}"):
        env = make_env(dataset)
        is_reached = env.get_wrapper_attr("is_reached") if env.has_wrapper_attr("is_reached") else None
    rows, widths, returns = load_transitions(dataset, is_reached, args)
    shapes = [*env.observation_space.shape, *env.action_space.shape]
    require(shapes == widths[:2], f"{dataset.id}: widths {widths[:2]} are not the environment's, {shapes}")
    bounds, own = dataset.action_space, env.unwrapped.action_space
    is_same = np.allclose([bounds.low, bounds.high], [own.low, own.high])
    require(is_same, f"{dataset.id}: actions in {bounds}, but the environment's are in {own}")
    mean, std, observations = np.zeros(widths[0]), np.ones(widths[0]), rows[:, : widths[0]]
    if args.normalize_observations:
        mean = observations.mean(0, dtype=np.float64)  # a float32 mean over 1e6 rows is off by 1e-3
        std = observations.std(0, dtype=np.float64) + 1e-3
    data_crc32 = zlib.crc32(rows)
    rows = torch.from_numpy(rows).to(args.device)
    stored = [dataset.storage.metadata.get(key, math.nan) for key in ("ref_min_score", "ref_max_score")]
    low, high = REFERENCE_RETURNS.get(task_of(dataset), stored)
    with explained(f"{dataset.id}: its reference scores must be two different numbers"):
        print(f"normalized score of the data: {100 * (float(returns.mean()) - low) / (high - low):.1f}")

    # --- Agent and run, new or as the checkpoint left them ---
    agent = Agent(members, mean, std, widths[1], args).to(args.device)
    optimizers = make_optimizers(agent, args)
    generators = [torch.Generator(args.device).manual_seed(seed) for seed, _ in members]
    if state:
        run_dir, run = Path(args.resume), state["run"]
        require(run["data_crc32"] == data_crc32, f"{dataset.id} has changed since the checkpoint")
        with explained(f"the checkpoint in {run_dir} does not fit the networks"):
            agent.load_state_dict(state["agent"])
            for name, optimizer in optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            for generator, generator_state in zip(generators, state["generators"]):
                generator.set_state(generator_state.cpu())
    else:
        run_dir, run = start_run(args, dataset, data_crc32, members)
    lock = open(run_dir / "lock", "w")
    with explained(f"{run_dir} is being trained by another process"):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends, however it ends
    results, step = run["members"], run["step"]
    writers = [SummaryWriter(str(run_dir / result["name"]), purge_step=step + 1) for result in results]
    for writer in writers:
        lines = [f"|{name}|{value}|" for name, value in asdict(args).items()]
        writer.add_text("hyperparameters", "\n".join(["|param|value|", "|-|-|", *lines]))
    run_tasks, processes = map, min(torch.get_num_threads(), 16)  # of evaluation; OMP_NUM_THREADS sets them
    if args.eval_episodes and processes > 1:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy in each of them
        spawn = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        run_tasks = ProcessPoolExecutor(processes, spawn, start_worker, (dataset,)).map

    # --- One update, as a CUDA graph on a GPU ---
    def train_step(update_actor, indices, noise, uniform):
        batch = make_batch(rows[indices], noise, uniform, widths, agent)
        return update(agent, optimizers, batch, args, update_actor)

    if is_cuda and args.cuda_graph:
        train_step = graphed(train_step)

    # --- One evaluation and checkpoint ---
    bar, losses = tqdm(total=args.offline_steps, initial=step, unit=" updates", smoothing=0.05), {}

    def evaluate_and_save():
        returns = evaluate(agent, results, step, run_tasks, args)
        for m, (writer, result) in enumerate(zip(writers, results)):
            mean = returns[m].mean() if args.eval_episodes else math.nan
            score = 100 * (mean - low) / (high - low)
            evaluation = {"episodic_return": float(mean), "normalized_score": float(score)}
            for name, value in evaluation.items():
                writer.add_scalar(f"eval/{name}", value, step)
            evaluation["q_mean"] = losses["q_values"][m].item() if losses else math.nan
            evaluation |= {name: losses[name][m].item() for name in ("cosine", "phi_norm") if name in losses}
            result["evaluations"].append({"step": step, "returns": returns[m].tolist()} | evaluation)
        scores = [result["evaluations"][-1]["normalized_score"] for result in results]
        bar.set_postfix_str("score " + " ".join(f"{score:.1f}" for score in scores))
        save(run_dir, run, agent, optimizers, generators)

    # --- Blocks of updates; after each a look at the losses, after some an evaluation and a checkpoint ---
    print(f"{len(members)} member(s) on {args.device}: {run_dir}", flush=True)
    first_step, seconds = step, 0.0
    if not state:
        evaluate_and_save()  # what could go wrong there goes wrong before the training
    while step < args.offline_steps and not all(result["diverged_at"] for result in results):
        began = time.perf_counter()
        ends = [(step // interval + 1) * interval for interval in (args.log_interval, args.eval_interval)]
        n = min(*ends, args.offline_steps) - step
        indices, noise, uniform = draw(generators, n, len(rows), widths[1], args)
        for i in range(n):
            step += 1
            update_actor = step % args.policy_frequency == 0
            losses |= train_step(update_actor, indices[i], noise[i], uniform[i])
        scalars = {f"losses/{name}": loss.tolist() for name, loss in losses.items()}  # waits for the GPU
        seconds += time.perf_counter() - began
        run |= {"step": step, "updates_per_second": (step - first_step) / seconds}
        bar.update(n)
        for m, (writer, result) in enumerate(zip(writers, results)):
            writer.add_scalar("charts/SPS", run["updates_per_second"], step)
            for name, values in scalars.items():
                writer.add_scalar(name, values[m], step)
                if not math.isfinite(values[m]) and not result["diverged_at"]:
                    result["diverged_at"] = step
                    tqdm.write(f"{result['name']} has diverged by update {step}: {name} is {values[m]}")
        has_ended = step == args.offline_steps or all(result["diverged_at"] for result in results)
        if step % args.eval_interval == 0 or has_ended:
            evaluate_and_save()
    bar.close()
    for writer, result in zip(writers, results):
        writer.close()
        last = result["evaluations"][-1]
        print(f"{result['name']}: return {last['episodic_return']:.6g}, score {last['normalized_score']:.4g}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; go on from the last checkpoint with --resume and the run's folder", code=130)
    except OSError as error:
        fail(f"{error}; what was written is intact, go on with --resume and the run's folder")
