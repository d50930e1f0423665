"""Run the rows of a runner side by side: on this machine, or as jobs of a Slurm cluster.

    python benchmark/launch.py benchmark/table3.sh --dry-run
    python benchmark/launch.py benchmark/table3.sh           # as many rows at a time as there are cores
    python benchmark/launch.py benchmark/table3.sh --cluster slurm --threads 8 --options gpus_per_node=1

A row is a line `python SCRIPT.py ...`, without variables. Each has a folder named after its command, with its
run and output.txt. Rows that have finished, there or in benchmark/results/table3.jsonl, are skipped,
interrupted ones go on from their last checkpoint, and those that fail are named at the end. This program
waits for all. They end with it, however it ends (only jobs of Slurm outlive a kill -9), and the same command
goes on. Several may share the rows of a runner: a row that another is running is left alone.
"""

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Annotated, Literal

import report
import submitit
import torch
import tyro

sys.path.append(str(Path(__file__).resolve().parent.parent))
from dmg_offline import fail, open_dataset

ROOT = Path(__file__).resolve().parent.parent
# A shell that becomes the row's command, "$@". Beside it waits another, which ends the row unless it is told
# that the row has ended: this program's end of the pipe closes with this program, whatever ends that
SHELL = 'exec 3<&0 </dev/null; (read line <&3 || kill $$) >/dev/null 2>&1 & exec "$@" 3<&-'
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that end this program
SCRIPT = r"(\./)?(?!benchmark/)[\w/]+\.py"  # that trains
STOPPED = (130, *(-number for number in SIGNALS))  # exit codes of a row that was ended from outside
signals = []  # that have come


@dataclass
class Args:
    # shell script whose rows are to be run, such as benchmark/table3.sh
    runner: Annotated[Path, tyro.conf.Positional]
    cluster: Literal["local", "slurm"] = "local"  # where: on this machine, or as Slurm jobs
    jobs: int = 0  # rows at a time; 0: as many as there are GPUs or, without one, cores; on Slurm all
    threads: int = 0  # threads of a row; 0: one, or beside a GPU of this machine its share of the cores
    # settings of Slurm jobs, as submitit names them: slurm_partition=gpu gpus_per_node=1 timeout_min=600
    options: tuple[str, ...] = ()
    runs_dir: Path = Path("runs")  # rows go to {runs_dir}/{runner}/
    again: bool = False  # train also what is kept in benchmark/results/{runner}.jsonl
    dry_run: bool = False  # say what would be done, and do nothing


def read_rows(runner):
    """The arguments of every row, such as ["dmg_offline.py", "--env-id", "hopper-medium"], up to > or &."""
    try:
        lines = [line for line in runner.read_text().replace("\\\n", " ").splitlines() if ".py" in line]
        commands = [shlex.split(line, comments=True) for line in lines]
    except (OSError, ValueError) as error:
        fail(f"{runner} is no shell script that can be read ({error})")
    rows = []
    for line, words in zip(lines, commands):
        if not any(re.fullmatch(SCRIPT, word) for word in words):
            continue
        row = list(takewhile(lambda word: not re.match(r"\d?[<>]|[&|;]", word), words[1:]))
        is_row = line.startswith("python ") and row and re.fullmatch(SCRIPT, row[0])
        if not is_row or re.search("[$;`]", " ".join(row)):
            fail(f"{runner}: a row is `python SCRIPT.py ...`, without variables or ;, not: {line.strip()}")
        rows.append(row)
    if not rows:
        fail(f"{runner} has no rows: lines that begin with python and a script of this repository")
    unknown = [row[0] for row in rows if not (ROOT / row[0]).is_file()]
    if unknown:
        fail(f"{runner} has rows of {', '.join(unknown)}, which this repository does not have")
    return rows


def folder_name(row):
    """A row's command without the script's folder, which may change; shortened to what a file name may be."""
    script, *options = row
    name = re.sub(r"[^\w.=-]+", "_", " ".join([Path(script).name, *options]))
    encoded = name.encode()
    if len(encoded) <= 255:
        return name
    return encoded[:200].decode(errors="ignore") + "_" + hashlib.sha256(encoded).hexdigest()[:16]


def kept_names(path):
    """Folder names of the rows whose runs are kept in a file, a result.json a line, as report.py writes it.

    A run that was started here has its row's folder as --runs-dir. Arguments alone would not tell the row,
    because presets have filled them in.
    """
    try:
        lines = path.read_text().splitlines() if path.exists() else []
        return {Path(json.loads(line)["args"]["runs_dir"]).name for line in lines}
    except Exception as error:  # of many classes, because the file may hold anything
        fail(f"{path} is damaged ({error!r:.200})")


def next_command(row, folder):
    """What is to be done for a row in its folder: a command, or None if it has finished."""
    script, *options = row
    runs = {path.parent for name in ("result.json", "checkpoint.pt") for path in folder.glob(f"*/{name}")}
    for run in sorted(runs, reverse=True):
        if all(member.has_ended for member in report.load(run)):
            return None
        if (run / "checkpoint.pt").exists():
            return [script, *options, "--resume", str(run)]
    return [script, *options, "--runs-dir", str(folder)]


def plan(rows, parent, kept):
    """Say what is to be done for each row; returns (row, folder) of the unfinished."""
    todo = []
    for row in dict.fromkeys(map(tuple, rows)):
        folder = parent / folder_name(row)
        try:
            command = next_command(row, folder)
        except Exception as error:  # of many classes, because the file may hold anything
            fail(f"{folder}: the result.json of its run is damaged ({error!r:.200}); remove that folder")
        if command is None or folder.name in kept:
            print(f"{'kept' if command else 'finished'}: {shlex.join(row)}")
            continue
        print(f"{'go on ' if '--resume' in command else 'start '}: {shlex.join(row)}")
        todo.append((row, folder))
    return todo


def fetch(rows):
    """Have Minari's data sets here before any row starts: two rows that download the same one spoil it.

    What cannot be had is named; its rows fail, the others are trained.
    """
    values = [dict(pairwise(row)) for row in rows]  # of flags, the word behind each
    env_ids = [value.get("--env-id") for value in values if value.get("--offline-steps") != "0"]
    for env_id in filter(None, dict.fromkeys(env_ids)):
        with contextlib.suppress(SystemExit):
            open_dataset(env_id)


def lock(file):
    """Lock a file until it is closed, here and in the row whose output it is; returns whether it was free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def run_row(command, output, threads, gpu=None):
    """Run the command here, on that GPU, with all that it prints in an open file; returns its exit code."""
    script, *options = command
    command = ["sh", "-c", SHELL, "sh", sys.executable, str(ROOT / script), *options]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if gpu:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    pipes = {"stdin": subprocess.PIPE, "stdout": output, "stderr": subprocess.STDOUT, "bufsize": 0}
    with subprocess.Popen(command, env=env, **pipes) as process:
        while process.poll() is None and not signals:
            time.sleep(0.1)
        process.terminate()  # does nothing to a row that has ended
        process.wait()
        with contextlib.suppress(BrokenPipeError):  # the second shell may have been ended too
            process.stdin.write(b"ended\n")
    return process.returncode


def run_in_job(command, path, threads):
    """The same in a job of Slurm, with the name of that file; goes on where the row has been begun by now.

    Slurm may begin a job again, and an older job of the row may still be there, whose launcher was killed.
    """
    folder = Path(path).parent
    with open(path, "ab") as output, open(folder / "job.lock", "w") as turn:
        while not lock(turn):
            time.sleep(1)
        if checkpoints := sorted(folder.glob("*/checkpoint.pt")):
            command = [*command[:-2], "--resume", str(checkpoints[-1].parent)]
        return run_row(command, output, threads)


def reason(output, start):
    """What a failed row printed that says why, in its output from byte `start` on."""
    try:
        os.write(output.fileno(), b"\n")
    except OSError as error:  # a full disk, for one, of which the row could say nothing either
        return f"its output cannot be written: {error.strerror}"
    text = Path(output.name).read_bytes()[start:].decode(errors="replace").replace("\r", "\n").strip()
    if text.endswith("╯"):  # tyro's box about a flag: the reason, a rule, help
        lines = takewhile(lambda line: "──" not in line, text.rpartition("╭")[2].splitlines()[1:])
        return " ".join(line.strip("│ ") for line in lines)
    lines = [line for line in text.splitlines() if re.search(r"\w", line)]
    errors = [line for line in lines if re.match(r"error: |[\w.]+(Error|Exception)\b", line)]
    return (errors or lines or ["nothing"])[-1]  # a progress bar may follow the error


def launch(row, folder, run):
    """Do a row by run(command, output) -> exit code; returns a message if it fails."""
    if signals:  # this program is ending
        return None
    name = shlex.join(row)
    path = folder / "output.txt"
    outcome, why = "finished", None
    try:
        with open(path, "ab") as output:
            if not lock(output):
                outcome = "left alone, another launcher runs it"
            elif command := next_command(row, folder):  # None: another launcher has finished it
                start = output.seek(0, os.SEEK_END)
                if code := run(command, output):
                    outcome = "stopped" if code in STOPPED else "FAILED"
                    why = f"code {code}, {reason(output, start)}"
    except Exception as error:  # of many classes: a file, or a job that was refused, lost or cancelled
        lines = (str(error).strip() or repr(error)).splitlines()  # submitit's begin or end with the reason
        said = [line for line in lines if re.search(r"not requeued|state: |^[\w.]+(Error|Exception)\b", line)]
        outcome, why = "FAILED", (said or lines)[0]
    print(f"{outcome}: {name}", flush=True)
    return why and f"{name} ({why}; {path})"


def visible_gpus():
    """Names of the GPUs of this machine, as CUDA_VISIBLE_DEVICES takes them."""
    count = torch.cuda.device_count()
    if names := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return names.split(",")[:count]
    return [str(i) for i in range(count)]


def local_runner(threads, gpus, places):
    """run(command, output) -> exit code, here. A row takes one of so many places, each of which has a GPU."""
    free = queue.SimpleQueue()
    for place in range(places):
        free.put(gpus[place % len(gpus)] if gpus else None)

    def run(command, output):
        gpu = free.get()
        try:
            return run_row(command, output, threads, gpu)
        finally:
            free.put(gpu)

    return run


def slurm_runner(threads, options, folder):
    """run(command, output) -> exit code, as a job of Slurm with submitit's settings in options."""
    settings = {"cpus_per_task": threads, "timeout_min": 24 * 60}  # submitit's own limit is 5 minutes
    for option in options:
        name, _, value = option.partition("=")
        settings[name] = value
        with contextlib.suppress(ValueError, SyntaxError):  # a word
            settings[name] = ast.literal_eval(value)
    executor = submitit.AutoExecutor(folder, cluster="slurm")
    executor.update_parameters(**settings)

    def run(command, output):
        job = executor.submit(run_in_job, command, output.name, settings["cpus_per_task"])
        while not job.done() and not signals:
            time.sleep(1)
        if not signals:
            return job.result()
        job.cancel(check=False)
        return -signal.SIGTERM

    return run


def main():
    args = tyro.cli(Args, description=__doc__)
    if args.jobs < 0 or args.threads < 0:
        fail(f"--jobs {args.jobs} --threads {args.threads}: must be 0 or more")
    rows = read_rows(args.runner)
    parent = args.runs_dir / args.runner.stem
    results = ROOT / "benchmark/results" / f"{args.runner.stem}.jsonl"
    todo = plan(rows, parent, set() if args.again else kept_names(results))
    if args.dry_run or not todo:
        return
    try:
        fetch([row for row, _ in todo])
    except KeyboardInterrupt:
        fail("interrupted: the same command goes on", code=130)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's stays
            signal.signal(number, lambda number, _: signals.append(number))
    gpus = visible_gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # macOS
    is_local = args.cluster == "local"
    threads = args.threads or 1
    places = (len(gpus) or max(cores // threads, 1)) if is_local else len(todo)
    places = min(args.jobs or places, len(todo))
    try:
        if is_local:
            if gpus and not args.threads:
                threads = max(cores // places, 1)
            run = local_runner(threads, gpus, places)
        else:
            run = slurm_runner(threads, args.options, parent / "submitit")
    except Exception as error:
        fail(f"cannot submit to Slurm with --options {' '.join(args.options)} ({error})")
    try:
        for _, folder in todo:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot make the folders of the rows ({error})")
    with ThreadPoolExecutor(places) as pool:
        messages = list(pool.map(lambda task: launch(*task, run), todo))
    if signals:
        fail("interrupted: the same command goes on with what was running", code=130)
    failed = [message for message in messages if message]
    for message in failed:
        print(f"error: failed: {message}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
