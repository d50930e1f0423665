"""Updates per second of the scripts beside a straightforward implementation, on this machine.

    python benchmark/throughput.py                                       # all scripts, 1 and 5 members
    python benchmark/throughput.py --scripts dmg_offline.py my_dmg.py    # two versions of one script

A variant is the script itself in a process of its own, as its command line would start it, on a made-up
dataset of HalfCheetah's size and without evaluation. Only its progress bar is another: it waits for its turn
after each block of updates, so that what else the machine does hits all variants. Timed is all that a script
does for its updates: drawing, updates, a look at the losses, logging. The first block warms up. The table
has medians over rounds, and of the ratios to the baseline within a round. On a GPU every variant holds memory
for itself all the time: name fewer --scripts on a small card.

The baseline is the algorithm as it is usually written, in the shape of the authors' code: two critics of
nn.Linear layers, a NumPy replay buffer, PyTorch's default Adam, one run at a time.
"""

import contextlib
import copy
import itertools
import multiprocessing
import os
import platform
import resource
import runpy
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import torch
import tqdm
import tyro
from minari.data_collector.episode_buffer import EpisodeBuffer
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
BASELINE = None  # in the place of a script
IS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if IS_CUDA else "cpu"
OBSERVATION_DIM, ACTION_DIM = 17, 6  # HalfCheetah's
MODES = {"eager": []}  # name: flags
if IS_CUDA:
    MODES = {"eager": ["--no-cuda-graph"], "CUDA graph": []}
    MODES["CUDA graph, TF32"] = ["--matmul-precision", "high"]


@dataclass
class Args:
    # scripts to time
    scripts: tuple[Path, ...] = tuple(sorted([*ROOT.glob("*.py"), *ROOT.glob("baselines/*.py")]))
    members: tuple[int, ...] = (1, 5)  # numbers of members
    updates: int = 500 if IS_CUDA else 100  # updates of a block
    rounds: int = 8  # rounds; in each every variant trains for one block


def record_noise():
    """A Minari dataset local/noise-v0 of 100,000 made-up transitions for HalfCheetah."""
    rng = np.random.default_rng(0)
    ends = dict(terminations=np.arange(1000) == 999, truncations=np.zeros(1000, bool))
    episodes = []
    for _ in range(100):
        observations = rng.normal(size=(1001, OBSERVATION_DIM))
        actions = rng.uniform(-1, 1, (1000, ACTION_DIM)).astype(np.float32)
        arrays = dict(observations=observations, actions=actions, rewards=rng.normal(size=1000))
        episodes.append(EpisodeBuffer(**arrays, **ends))
    minari.create_dataset_from_buffers("local/noise-v0", episodes, env=gym.make("HalfCheetah-v5"))


def noise_batches():
    """Endless batches of 256 made-up transitions: states, actions, rewards, next states, terminations."""
    rng = np.random.default_rng(0)
    widths = OBSERVATION_DIM, ACTION_DIM, 1, OBSERVATION_DIM, 1
    columns = [rng.uniform(-1, 1, (100_000, width)).astype(np.float32) for width in widths]
    columns[4] = (columns[4] > 0.98).astype(np.float32)
    while True:
        index = rng.integers(0, 100_000, 256)
        yield [torch.from_numpy(column[index]).to(DEVICE) for column in columns]


def mlp(inputs, outputs):
    layers = nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs)
    return nn.Sequential(*layers).to(DEVICE)


def descend(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train_baseline(finish_block, updates):
    """The baseline, in blocks of updates without an end."""
    actor, vf = mlp(OBSERVATION_DIM, ACTION_DIM), mlp(OBSERVATION_DIM, 1)
    critics = [mlp(OBSERVATION_DIM + ACTION_DIM, 1) for _ in range(2)]
    actor_target, targets = copy.deepcopy(actor), copy.deepcopy(critics)
    actor_adam, v_adam = (torch.optim.Adam(network.parameters(), lr=3e-4) for network in (actor, vf))
    q_adam = torch.optim.Adam([*critics[0].parameters(), *critics[1].parameters()], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_adam, 500_000)
    for step, (s, a, r, s2, done) in enumerate(noise_batches(), start=1):
        # --- V ---
        sa = torch.cat([s, a], 1)
        with torch.no_grad():
            q_data = torch.min(targets[0](sa), targets[1](sa))
        difference = q_data - vf(s)
        v_loss = (torch.where(difference > 0, 0.7, 0.3) * difference**2).mean()
        descend(v_adam, v_loss)
        # --- Q ---
        with torch.no_grad():
            noise = (0.2 * torch.randn_like(a)).clamp(-0.5, 0.5)
            sa2 = torch.cat([s2, (actor_target(s2).tanh() + noise).clamp(-1, 1)], 1)
            mixed = 0.25 * torch.min(targets[0](sa2), targets[1](sa2)) + 0.75 * vf(s2)
            y = r + 0.99 * (1 - done) * mixed
        descend(q_adam, sum(nn.functional.mse_loss(critic(sa), y) for critic in critics))
        # --- The actor and the targets ---
        if step % 2 == 0:
            policy_actions = actor(s).tanh()
            spi = torch.cat([s, policy_actions], 1)
            q = torch.min(critics[0](spi), critics[1](spi))
            with torch.no_grad():
                q_data = torch.min(targets[0](sa), targets[1](sa))
                weight = (3 * (q_data - vf(s))).exp().clamp(max=3)
            imitation = (weight * (policy_actions - a) ** 2).mean()
            descend(actor_adam, -q.mean() / q.abs().mean().detach() + 0.1 * imitation)
            schedule.step()
            for network, target in ((actor, actor_target), *zip(critics, targets)):
                for p, slow in zip(network.parameters(), target.parameters()):
                    slow.data.copy_(0.005 * p.data + 0.995 * slow.data)
        if step % updates == 0:
            v_loss.item()  # waits for the GPU
            finish_block(updates)


def train_script(finish_block, script, flags):
    """A script as its command line would start it, with a silent progress bar that calls finish_block."""

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **options | {"disable": True})

        def update(self, n=1):
            finish_block(n)

    tqdm.tqdm = Bar  # which the script imports
    sys.argv = [str(script), *flags]
    with contextlib.redirect_stdout(None):
        runpy.run_path(str(script), run_name="__main__")


def serve(pipe, script, members, mode, updates, runs_dir):
    """A variant's process: after each block it sends updates/s and peak MiB, and waits for its turn."""
    began = time.perf_counter()

    def finish_block(n):
        nonlocal began
        speed = n / (time.perf_counter() - began)
        peak = torch.cuda.max_memory_reserved() / 2**20 if IS_CUDA else 0
        unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss: macOS counts in bytes
        pipe.send((speed, peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit))
        try:
            pipe.recv()
        except EOFError:  # measure() has closed the other end
            sys.exit()
        began = time.perf_counter()

    if script == BASELINE:
        train_baseline(finish_block, updates)
    flags = ["--env-id", "local/noise-v0", "--runs-dir", runs_dir, "--log-interval", str(updates)]
    flags += ["--eval-interval", "1000000000", "--eval-episodes", "0"]
    train_script(finish_block, script, [*flags, *MODES[mode], "--seed", *map(str, range(members))])


def measure(variants, rounds, updates):
    """Let the variants (script, members, mode) take turns; returns the speeds of each, and its memory."""
    context = multiprocessing.get_context("spawn")
    pipes, speeds, memory = {}, defaultdict(list), {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder  # of the processes as well
        record_noise()
        for variant in variants:
            pipes[variant], other_end = context.Pipe()
            arguments = other_end, *variant, updates, f"{folder}/runs"
            context.Process(target=serve, args=arguments, daemon=True).start()
            other_end.close()
            pipes[variant].recv()  # its first block is done; from now on it sleeps until its turn
        for _ in range(rounds):
            for variant, pipe in pipes.items():
                pipe.send("your turn")
                speed, memory[variant] = pipe.recv()
                speeds[variant].append(speed)
        for pipe in pipes.values():
            pipe.close()
        for process in multiprocessing.active_children():
            process.join()
    return speeds, memory


def main():
    args = tyro.cli(Args, description=__doc__)
    variants = [(BASELINE, 1, "eager"), *itertools.product(args.scripts, args.members, MODES)]
    try:
        speeds, memory = measure(variants, args.rounds, args.updates)
    except EOFError:
        sys.exit("error: a script has ended before its time, see above")
    device = torch.cuda.get_device_name() if IS_CUDA else platform.processor() or "CPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{device}, {torch.get_num_threads()} threads, {versions}\n")
    print("| script | members | mode | updates/s | member-updates/s | over baseline | MiB |")
    print("|-" * 7 + "|")
    for variant, values in speeds.items():
        script, members, mode = variant
        name = os.path.relpath(script) if script else "baseline"
        speed = statistics.median(values)
        ratio = statistics.median(members * a / b for a, b in zip(values, speeds[variants[0]]))
        numbers = f"{speed:,.0f} | {members * speed:,.0f} | {ratio:.2f} | {memory[variant]:,.0f}"
        print(f"| {name} | {members} | {mode} | {numbers} |")


if __name__ == "__main__":
    main()
