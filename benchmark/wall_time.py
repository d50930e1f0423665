"""What a user waits for besides updates: loading, evaluation, and five seeds in one process or in five.

    python benchmark/collect_local.py hopper-replay
    python benchmark/wall_time.py --env-ids hopper-replay

Loading and evaluation are timed inside dmg_offline.py's own functions, evaluation with an untrained policy and scaled
to episodes of full length, the longest it can take. "five runs" are five processes started together, as one would
start them in a shell. Prints Markdown tables.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import tyro

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import dmg_offline as dmg  # noqa: E402


@dataclass
class Args:
    env_ids: tuple[str, ...] = ("hopper-replay",)
    """data sets, as in the scripts' --env-id; the first one serves for the five seeds"""
    episodes: int = 20
    """episodes of the timed evaluation"""
    steps: int = 1000
    """updates, or online steps, of each of the five seeds; 0 leaves that part out"""
    updates_per_second: float = 0.0
    """of one member, for evaluation's share of the wall time; 0: measured by the five seeds' part"""


def loading(dataset, goal):
    """Seconds to iterate over the episodes, and to have the transitions on the device."""
    began = time.perf_counter()
    for episode in dataset.iterate_episodes():
        episode.rewards.sum()
    middle = time.perf_counter()
    rows, widths, _ = dmg.load_transitions(dataset, goal)
    torch.from_numpy(rows).to("cuda" if torch.cuda.is_available() else "cpu")
    return middle - began, time.perf_counter() - middle, len(rows), widths


def evaluation(dataset, is_maze, widths, episodes):
    """Seconds for an environment's step and its share of the policy's calls, in this process and in the workers."""
    agent = dmg.Agent([(1, 0.25, 0.1)], np.zeros(widths[0], np.float32), np.ones(widths[0], np.float32), widths[1])
    envs, steps = [dmg.make_env(dataset, is_maze) for _ in range(episodes)], 0

    def counted(step):
        def call(action):
            nonlocal steps
            steps += 1
            return step(action)

        return call

    for env in envs:
        env.step = counted(env.step)
    seconds = []
    for are_wanted in (False, True):
        workers = dmg.start_workers(dataset, is_maze, episodes) if are_wanted else []
        for _ in range(2):  # the first time is a warm-up, in which the workers start and make their environments
            steps, began = steps if workers else 0, time.perf_counter()
            dmg.evaluate(agent, envs, workers, dataset.action_space, np.arange(episodes)[None], np.array([True]))
        seconds.append((time.perf_counter() - began) / steps)
    return seconds


def together(commands):
    """Run all commands at once; returns the sum of what their members did in a second."""
    with tempfile.TemporaryDirectory() as folder:
        for number, command in enumerate(commands):
            command += ["--runs-dir", f"{folder}/{number}"]
        running = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in commands
        ]
        if any(process.wait() for process in running):
            sys.exit(f"failed: {' '.join(commands[0])}")
        results = [json.loads(path.read_text()) for path in Path(folder).glob("*/*/result.json")]
        return sum(result["updates_per_second"] for result in results)


def main():
    args = tyro.cli(Args, description=__doc__)
    speed = args.updates_per_second
    if args.steps:
        print("| script | one run | five members | five runs at once | five runs, one thread each |\n|-|-|-|-|-|")
        for script, flags in (
            ("dmg_offline", ["--offline-steps", str(args.steps)]),
            ("dmg_finetune", ["--offline-steps", "2", "--online-steps", str(args.steps)]),
        ):
            base = [
                sys.executable,
                str(ROOT / f"{script}.py"),
                "--env-id",
                args.env_ids[0],
                "--eval-episodes",
                "0",
                *flags,
            ]
            one = together([[*base, "--seed", "1"]])
            five = together([[*base, "--seed", "1", "2", "3", "4", "5"]])
            runs = together([[*base, "--seed", str(seed)] for seed in range(1, 6)])
            with mock.patch.dict(os.environ, OMP_NUM_THREADS="1"):
                single = together([[*base, "--seed", str(seed)] for seed in range(1, 6)])
            print(f"| {script}, member-steps/s | {one:.0f} | {five:.0f} | {runs:.0f} | {single:.0f} |", flush=True)
            speed = speed or one
    cores = torch.get_num_threads()
    print(f"\n| data | transitions | iterate | load | step, 1 process | {cores} processes | evaluation, 1 process | "
          f"{cores} processes |\n|-|-|-|-|-|-|-|-|")  # fmt: skip
    for env_id in args.env_ids:
        dataset = dmg.open_dataset(env_id)
        resolved, family = dmg.resolve_args(dmg.Args(env_id=env_id), dataset)
        is_maze = family in ("antmaze", "pointmaze")
        goal = dmg.make_env(dataset, is_maze).unwrapped.maze.unique_goal_locations[0] if is_maze else None
        iterate, load, transitions, widths = loading(dataset, goal)
        serial, parallel = evaluation(dataset, is_maze, widths, args.episodes)
        length = dataset.env_spec.max_episode_steps * resolved.eval_episodes
        shares = [t * length / (t * length + resolved.eval_interval / speed) for t in (serial, parallel)]
        print(f"| {env_id} | {transitions:,} | {iterate:.1f} s | {load:.1f} s | {1e6 * serial:.0f} us | "
              f"{1e6 * parallel:.0f} us | {100 * shares[0]:.1f} % | {100 * shares[1]:.1f} % |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
