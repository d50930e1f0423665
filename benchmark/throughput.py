"""Updates per second of the scripts in every mode of this machine, beside a straightforward implementation.

    python benchmark/throughput.py                        # every dmg_*.py, members 1, 5, 25, every mode of this device
    python benchmark/throughput.py --members 1 5 --modes eager --precisions highest medium

Synthetic transitions of a locomotion task's size, no evaluation. Each variant has a process of its own; they are timed
in turn, round after round, so that what else the machine does hits all of them. The table has medians over the rounds
and ratios within the rounds; "peak" is the GFLOP/s of the dominant matrix product alone, MiB the peak memory of the
process (of PyTorch on a GPU).
"baseline" is the algorithm as it is usually written, the shape of the authors' code: two separate critics of nn.Linear
layers, a NumPy replay buffer, PyTorch's default Adam, one run at a time.
"""

import copy
import importlib.util
import itertools
import multiprocessing
import platform
import resource
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
TRANSITIONS, WIDTHS = 100_000, [17, 6, 1, 17, 1]  # halfcheetah: observation, action, reward, next observation, end


@dataclass
class Args:
    scripts: tuple[str, ...] = tuple(sorted(path.stem for path in ROOT.glob("dmg_*.py")))
    """scripts to time"""
    members: tuple[int, ...] = (1, 5, 25)
    """numbers of members"""
    modes: tuple[str, ...] = ("eager", "compile", "cudagraph") if torch.cuda.is_available() else ("eager", "compile")
    """modes of the updates"""
    precisions: tuple[str, ...] = ("highest", "high", "medium")
    """precisions of float32 matrix products"""
    rounds: int = 5
    """rounds; each times every variant once"""
    seconds: float = 2.0
    """time for one variant in a round, about"""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """where to run"""


def transitions(device):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(TRANSITIONS, sum(WIDTHS), generator=generator)
    rows[:, WIDTHS[0] : WIDTHS[0] + WIDTHS[1]].clamp_(-1, 1)
    rows[:, -1] = (rows[:, -1] > 2.5).float()
    return rows.to(device)


def gflop_per_update():
    """Arithmetic of one member's update, averaged over the two kinds (with and without the policy), batch 256.

    A backward pass costs one forward pass for the gradients of the weights and one for those of the layer's inputs.
    """
    observations, actions = WIDTHS[:2]
    first_v, first_q, hidden = observations * 256, (observations + actions) * 256, 256 * 256
    v, q, actor = first_v + hidden + 256, first_q + hidden + 256, first_v + hidden + 256 * actions
    every = v + (v - first_v) * 2 + first_v  # V loss: forward, backward (no gradient of the observations)
    every += v + actor + 2 * 2 * q  # V(s'), pi'(s'), both target critics on data and on the policy's action
    every += 2 * (q + 2 * (q - first_q) + first_q)  # both critics: forward, backward
    second = v + actor + 2 * (actor - first_v) + first_v + 2 * (q + q)  # weight, policy, critics without their weights
    return 2 * 256 * (every + second / 2) / 1e9


def straightforward(rows):
    """The baseline: returns run(n), n updates of one run."""
    device = rows.device
    columns = [part.cpu().numpy() for part in rows.split(WIDTHS, -1)]

    def mlp(i, o):
        return nn.Sequential(nn.Linear(i, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, o)).to(device)

    observations, actions = WIDTHS[:2]
    actor, vf = mlp(observations, actions), mlp(observations, 1)
    critics = [mlp(observations + actions, 1) for _ in range(2)]
    actor_target, targets = copy.deepcopy(actor), copy.deepcopy(critics)
    actor_adam, v_adam = (torch.optim.Adam(net.parameters(), lr=3e-4) for net in (actor, vf))
    q_adam = torch.optim.Adam([*critics[0].parameters(), *critics[1].parameters()], lr=3e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(actor_adam, 500_000)
    rng, total = np.random.default_rng(0), 0

    def run(n):
        nonlocal total
        for _ in range(n):
            total += 1
            index = rng.integers(0, TRANSITIONS, 256)
            s, a, r, s2, done = (torch.from_numpy(column[index]).to(device) for column in columns)
            sa = torch.cat([s, a], 1)
            with torch.no_grad():
                q_data = torch.min(targets[0](sa), targets[1](sa))
            difference = q_data - vf(s)
            v_loss = (torch.where(difference > 0, 0.7, 0.3) * difference**2).mean()
            v_adam.zero_grad()
            v_loss.backward()
            v_adam.step()
            with torch.no_grad():
                noise = (0.2 * torch.randn_like(a)).clamp(-0.5, 0.5)
                sa2 = torch.cat([s2, (actor_target(s2).tanh() + noise).clamp(-1, 1)], 1)
                mixed = 0.25 * torch.min(targets[0](sa2), targets[1](sa2)) + 0.75 * vf(s2)
                y = r + 0.99 * (1 - done) * mixed
            q_loss = sum(nn.functional.mse_loss(critic(sa), y) for critic in critics)
            q_adam.zero_grad()
            q_loss.backward()
            q_adam.step()
            if total % 2:
                continue
            policy_actions = actor(s).tanh()
            spi = torch.cat([s, policy_actions], 1)
            q = torch.min(critics[0](spi), critics[1](spi))
            with torch.no_grad():
                q_data = torch.min(targets[0](sa), targets[1](sa))
                weight = (3 * (q_data - vf(s))).exp().clamp(max=3)
            imitation = (weight * (policy_actions - a) ** 2).mean()
            actor_loss = -q.mean() / q.abs().mean().detach() + 0.1 * imitation
            actor_adam.zero_grad()
            actor_loss.backward()
            actor_adam.step()
            schedule.step()
            for net, target in ((actor, actor_target), *zip(critics, targets, strict=True)):
                for p, slow in zip(net.parameters(), target.parameters(), strict=True):
                    slow.data.copy_(0.005 * p.data + 0.995 * slow.data)

    return run


def ours(script, rows, members, mode):
    """Returns run(n): n updates of all members by the script's own code."""
    spec = importlib.util.spec_from_file_location(script, ROOT / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    preset = {name: row[0] for name, row in module.PRESETS.items()}
    args = replace(module.Args(), **preset, mode=mode, log_interval=100, device=rows.device.type)
    mean = np.zeros(WIDTHS[0], np.float32)
    agent = module.Agent([(seed, 0.25, 0.1) for seed in range(members)], mean, mean + 1, WIDTHS[1]).to(rows.device)
    optimizers = module.make_optimizers(agent, args)
    generators = [torch.Generator(rows.device).manual_seed(seed) for seed in range(members)]
    shared = (len(rows),) if script == "dmg_finetune" else ()  # its buffer goes on with the members' own transitions
    run_block = module.make_block_runner(agent, optimizers, rows, WIDTHS, generators, args, *shared)
    step = 0

    def run(n):
        nonlocal step
        for done in range(0, n, 100):
            block = min(n - done, 100)
            run_block(step, block)
            step += block

    return run


def timed(run, n, device):
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run(n)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def matmul_peak(members, precision, device):
    """GFLOP/s of the batched 256 x 256 x 256 product that dominates an update."""
    torch.set_float32_matmul_precision(precision)
    dtype = torch.bfloat16 if precision == "medium" and device == "cpu" else torch.float32  # as the scripts do
    x, w = torch.randn(2, 2 * members, 256, 256, device=device, dtype=dtype)
    count = max(20, 400 // members)
    timed(lambda n: [torch.bmm(x, w) for _ in range(n)], count, device)
    seconds = min(timed(lambda n: [torch.bmm(x, w) for _ in range(n)], count, device) for _ in range(3))
    return count * 2 * members * 2 * 256**3 / seconds / 1e9


def serve(pipe, script, members, mode, precision, args):
    """A variant in a process of its own: each message is answered with the updates per second of one more round."""
    torch.set_float32_matmul_precision(precision)
    if args.device == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream())
    rows = transitions(args.device)
    run = straightforward(rows) if script == "baseline" else ours(script, rows, members, mode)
    run(20)  # warm-up: compilation, graphs, Adam's state
    count = max(int(args.seconds / (timed(run, 20, args.device) / 20)), 4)
    speed = None
    while pipe.send(speed) or pipe.recv():
        speed = count / timed(run, count, args.device)
    gpu_memory = torch.cuda.max_memory_allocated() if args.device == "cuda" else 0
    pipe.send(gpu_memory or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main():
    args = tyro.cli(Args, description=__doc__)
    variants = [("baseline", 1, "eager", "highest")]
    variants += itertools.product(args.scripts, args.members, args.modes, args.precisions)
    context, pipes, speeds = multiprocessing.get_context("spawn"), {}, {key: [] for key in variants}
    for key in variants:
        pipes[key], other_end = context.Pipe()
        context.Process(target=serve, args=(other_end, *key, args), daemon=True).start()
        other_end.close()
        pipes[key].recv()  # ready; from now on it sleeps until its turn
    for _ in range(args.rounds):
        for key, pipe in pipes.items():
            pipe.send(True)
            speeds[key].append(pipe.recv())
    name = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.processor() or 'CPU'}"
    print(f"{name}, {torch.get_num_threads()} threads, Python {platform.python_version()}, torch {torch.__version__}")
    print()
    print(
        "| script | members | mode | precision | updates/s | member-updates/s | over baseline | GFLOP/s | peak | MiB |"
    )
    print("|-|-|-|-|-|-|-|-|-|-|")
    for (script, members, mode, precision), values in speeds.items():
        speed = statistics.median(values)
        ratio = statistics.median(members * a / b for a, b in zip(values, speeds[variants[0]], strict=True))
        peak = matmul_peak(members, precision, args.device)
        gflops = members * speed * gflop_per_update()
        pipes[script, members, mode, precision].send(False)
        memory = pipes[script, members, mode, precision].recv() / 2**20
        print(f"| {script} | {members} | {mode} | {precision} | {speed:,.0f} | {members * speed:,.0f} | {ratio:.2f} | "
              f"{gflops:,.0f} | {peak:,.0f} | {memory:,.0f} |")  # fmt: skip


if __name__ == "__main__":
    main()
