"""Seconds that training needs besides its updates: for loading the data, and for each evaluation.

    python benchmark/wall_time.py --env-ids local/hopper/medium-replay-v0 pointmaze-umaze

Both by dmg_offline.py's own functions. The evaluation is one member's, with a new policy, in this process
and in as many as a training uses (OMP_NUM_THREADS), which have been started before. A new policy's episodes
can be short, such as a hopper's, which falls at once: then the time of a step says more.
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import dmg_offline as dmg  # noqa: E402


@dataclass
class Args:
    env_ids: tuple[str, ...] = ("pointmaze-umaze",)  # datasets, as in the scripts' --env-id
    episodes: int = 100  # of the evaluation


def timed(function, *args):
    """Seconds that function(*args) takes, and its result."""
    began = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - began, result


def measure(env_id, episodes, processes):
    """Transitions, seconds to load them, steps of the evaluation, its seconds in one and in all processes."""
    dataset = dmg.open_dataset(env_id)
    args = replace(dmg.Args(), **dmg.presets(dataset) | {"eval_episodes": episodes})
    env = gym.wrappers.RecordEpisodeStatistics(dmg.make_env(dataset), buffer_length=episodes)
    loading, (data, _) = timed(dmg.load_transitions, dataset, env, args)
    n, action_dim = data[0].shape[1], data[1].shape[1]
    agent = dmg.Agent([(1, 0.25, 0.1)], np.zeros(n), np.ones(n), action_dim, args)
    evaluation = [{"seed": 1, "diverged_at": None}], 0
    alone, _ = timed(dmg.evaluate, agent, env, None, *evaluation, args)
    with ProcessPoolExecutor(processes, get_context("spawn"), dmg.start_worker, (dataset,)) as pool:
        # starts all of them
        dmg.evaluate(agent, env, pool, *evaluation, replace(args, eval_episodes=4 * processes))
        together, _ = timed(dmg.evaluate, agent, env, pool, *evaluation, args)
    return len(data[0]), loading, sum(env.length_queue), alone, together


def main():
    args, processes = tyro.cli(Args, description=__doc__), min(torch.get_num_threads(), 16)
    print(f"An evaluation of {args.episodes} episodes, in one process and in {processes}:\n")
    head = "data|transitions|loading, s|steps|1 process, s|all processes, s|us a step|us a step, all"
    rows = [head.split("|"), "-" * len(head.split("|"))]
    for env_id in args.env_ids:
        transitions, loading, steps, alone, together = measure(env_id, args.episodes, processes)
        row = f"{transitions:,}", f"{loading:.2f}", f"{steps:,}", f"{alone:.2f}", f"{together:.2f}"
        rows.append((env_id, *row, f"{1e6 * alone / steps:.0f}", f"{1e6 * together / steps:.0f}"))
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
