"""Run the rows of a runner side by side: on this machine, or as jobs of a Slurm cluster.

    python benchmark/launch.py benchmark/table3.sh --dry-run
    python benchmark/launch.py benchmark/table3.sh           # as many rows at a time as there are cores
    python benchmark/launch.py benchmark/table3.sh --cluster slurm --options gpus_per_node=1

A row is a line `python SCRIPT.py ...`. Each has a folder named after its command, with its run and
output.txt. Rows that have finished are skipped, interrupted ones go on from their last checkpoint, and those
that fail are named at the end. This program waits for all; ctrl-C stops them, and the same command goes on.
"""

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal

import report
import submitit
import torch
import tyro
from store import fail

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Args:
    runner: Annotated[Path, tyro.conf.Positional]
    """shell script whose rows are to be run, such as benchmark/table3.sh"""
    cluster: Literal["local", "slurm"] = "local"
    """where: on this machine, or as Slurm jobs"""
    jobs: int = 0
    """rows at a time; 0: as many as there are GPUs or, without one, cores; on Slurm all"""
    threads: int = 1
    """threads of a row on a CPU"""
    options: tuple[str, ...] = ()
    """settings of Slurm jobs, as submitit names them: slurm_partition=gpu gpus_per_node=1 timeout_min=600"""
    runs_dir: Path = Path("runs")
    """rows go to {runs_dir}/{runner}/"""
    dry_run: bool = False
    """say what would be done, and do nothing"""


def read_rows(runner):
    """The arguments of every row, such as ["dmg_offline.py", "--env-id", "hopper-medium"], up to > or &."""
    text = runner.read_text().replace("\\\n", " ")
    commands = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("python ")]
    rows = [list(takewhile(re.compile(r"(?!\d?[<>]|[&|;])").match, words[1:])) for words in commands]
    rows = [row for row in rows if row and re.fullmatch(r"\w+\.py", row[0])]  # not benchmark/report.py, -m
    unknown = [row[0] for row in rows if not (ROOT / row[0]).is_file()]
    if unknown:
        fail(f"{runner} has rows of {', '.join(unknown)}, which this repository does not have")
    return rows


def next_command(row, folder):
    """What is to be done for a row in its folder: a command, or None if it has finished."""
    script, *options = row
    runs = {path.parent for name in ("result.json", "checkpoint.pt") for path in folder.glob(f"*/{name}")}
    for run in sorted(runs, reverse=True):
        if all(member.has_ended for member in report.load(run)):
            return None
        if (run / "checkpoint.pt").exists():
            return [script, "--resume", str(run)]
    return [script, *options, "--runs-dir", str(folder)]


def plan(rows, parent):
    """Say what is to be done for each row; returns (row, command, file for its output) of the unfinished."""
    todo = []
    for row in dict.fromkeys(map(tuple, rows)):
        folder = parent / re.sub(r"[^\w.=-]+", "_", " ".join(row))
        try:
            command = next_command(row, folder)
        except Exception as error:  # of many classes, because the file may hold anything
            fail(f"{folder}: the result.json of its run is damaged ({error!r:.200}); remove that folder")
        what = "finished" if command is None else "go on " if command[1] == "--resume" else "start "
        print(f"{what}: {shlex.join(row)}")
        if command is not None:
            todo.append((row, command, folder / "output.txt"))
    return todo


def run_row(command, output, threads, gpu=None, started=lambda process: None):
    """Run the command here, on that GPU, with all that it prints in a file; returns its exit code."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)} | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    command = [sys.executable, str(ROOT / command[0]), *command[1:]]
    with open(output, "a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=env)
    started(process)
    return process.wait()


def visible_gpus():
    """Names of the GPUs of this machine, as CUDA_VISIBLE_DEVICES takes them."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [names[i] if i < len(names) and names[i] else str(i) for i in range(torch.cuda.device_count())]


def slurm_executor(args, folder):
    """Submitit's executor with the settings of the command line."""
    settings = dict(option.partition("=")[::2] for option in args.options)
    settings = {name: int(value) if value.isdigit() else value for name, value in settings.items()}
    executor = submitit.AutoExecutor(folder / "submitit", cluster="slurm")
    # submitit's own limit is 5 minutes
    executor.update_parameters(**{"cpus_per_task": args.threads, "timeout_min": 24 * 60, **settings})
    return executor


def main():
    args = tyro.cli(Args, description=__doc__)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the rows too, like ctrl-C
    if not args.runner.is_file():
        fail(f"there is no runner {args.runner}")
    if args.jobs < 0 or args.threads < 1:
        fail(f"--jobs {args.jobs} --threads {args.threads}: jobs of 0 or more and threads of 1 or more")
    try:
        rows = read_rows(args.runner)
    except (OSError, ValueError) as error:
        fail(f"{args.runner} is no shell script that can be read ({error})")
    parent = args.runs_dir / args.runner.stem
    if not rows:
        fail(f"{args.runner} has no rows: lines that begin with python and a script of this repository")
    todo = plan(rows, parent)
    if args.dry_run or not todo:
        return
    is_local = args.cluster == "local"
    try:
        executor = None if is_local else slurm_executor(args, parent)
    except Exception as error:
        fail(f"cannot submit to Slurm with --options {' '.join(args.options)} ({error})")
    try:
        for *_, output in todo:
            output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot make the folders of the rows ({error})")
    cores, gpus = len(os.sched_getaffinity(0)) // args.threads, visible_gpus()
    places = args.jobs or (len(gpus) or max(cores, 1) if is_local else len(todo))
    free = queue.SimpleQueue()  # GPUs, each once for every row that may run on it
    for place in range(places):
        free.put(gpus[place % len(gpus)] if gpus else None)
    processes, failed, is_stopping = [], [], threading.Event()  # failed: messages

    def started(process):
        processes.append(process)
        if is_stopping.is_set():
            process.terminate()

    def launch(task):
        row, command, output = task
        if is_local:
            gpu = free.get()
            code = run_row(command, output, args.threads, gpu, started)
            free.put(gpu)
        else:
            try:
                job = executor.submit(run_row, command, output, args.threads)
                while not job.done() and not is_stopping.wait(1):
                    pass
                code = -15 if is_stopping.is_set() else job.result()
                if is_stopping.is_set():
                    job.cancel(check=False)
            except Exception as error:  # the job was refused, lost, cancelled or ran out of time
                code = (str(error).strip() or repr(error)).splitlines()[0]
        outcome = {0: "finished", -15: "stopped", 130: "stopped"}.get(code, "FAILED")
        print(f"{outcome}: {shlex.join(row)}", flush=True)
        if code != 0:
            said = output.read_text().strip().replace("\r", "\n").splitlines() if output.exists() else []
            failed.append(f"{shlex.join(row)} (code {code}, {output}: {said[-1] if said else 'nothing'})")

    with ThreadPoolExecutor(places) as pool:
        try:
            for future in [pool.submit(launch, task) for task in todo]:
                future.result()
        except KeyboardInterrupt:
            is_stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            fail("interrupted: the same command goes on with what was running", code=130)
    for message in failed:
        print(f"error: failed: {message}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
