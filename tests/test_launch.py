"""benchmark/launch.py: which rows it finds, what it does with them, here and on Slurm, and what stops it."""

import json
import os
import pty
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock

import collect_local
import launch
import pytest
import submitit
import torch
import tyro
from conftest import PENDULUM, ROOT, TINY, ended, error_line, fork, is_alive, refused, result, run, wait_until

import dmg_offline

# Stands in for a script of the repository: 20 updates, which it does not reach where a flag says so
SCRIPT = """
import json, os, pathlib, signal, sys, time
words, is_new = sys.argv[1:], "--resume" not in sys.argv
print("given", *words, os.environ["OMP_NUM_THREADS"], os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
if "--fail" in words:
    sys.exit("error: no good")
if "--killed" in words:
    os.kill(os.getpid(), signal.SIGKILL)
if "--sede" in words:
    import tyro
    def script(seed: int = 1):
        pass
    tyro.cli(script)
if "--stubborn" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
folder = pathlib.Path(words[-1]) / "env__fake__1" if is_new else pathlib.Path(words[-1])
folder.mkdir(exist_ok=True)
is_half = is_new and bool({"--half", "--wait"} & set(words))
member = {"name": "seed1", "seed": 1, "lam": 0.25, "nu": 0.1, "diverged_at": None, "evaluations": []}
args = {"device": "cpu", "offline_steps": 20, "runs_dir": str(folder.parent)}
run = {"script": "fake", "env_id": "env", "data_crc32": 0, "args": args}
run |= {"step": 10 if is_half else 20, "members": [member]}
(folder / "result.json").write_text(json.dumps(run))
(folder / "checkpoint.pt").touch()
if "--wait" in words and is_new:
    (folder / str(os.getpid())).touch()
    until = time.time() + 100
    while time.time() < until and not pathlib.Path("go").exists():
        time.sleep(0.02)
sys.exit(130 if is_half else 0)
"""


@pytest.fixture(autouse=True)
def own_signals():
    """What launch.py does with signals ends with the test."""
    handlers = {number: signal.getsignal(number) for number in launch.SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(rows, options) runs launch.py in a repository that has this script alone."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "repository/benchmark").mkdir(parents=True)
    tool = shutil.copy(ROOT / "benchmark/launch.py", tmp_path / "repository/benchmark")
    Path("repository/fake.py").write_text(SCRIPT)

    def start(rows, *options, how=run, script="fake.py", **more):
        Path("rows.sh").write_text("\n".join(f"python {script} {row}" for row in rows))
        return how(tool, "rows.sh", *options, **more)

    return start


def folder_of(row):
    return Path("runs/rows", f"fake.py_{row.replace(' ', '_')}")


def output(row):
    return (folder_of(row) / "output.txt").read_text().splitlines()


def processes():
    """The process ids of the rows that wait."""
    return [int(path.name) for path in Path("runs/rows").glob("*/*/*") if path.name.isdigit()]


def stopped(process):
    """What a launcher says that has been interrupted; its rows would wait for longer than a minute."""
    began = time.time()
    done = ended(process, 130)
    assert "the same command goes on" in error_line(done) and time.time() - began < 60
    return done


# ---- rows ----


def test_what_is_a_row(monkeypatch):
    text = """#!/usr/bin/env bash
# python dmg_offline.py --env-id a
set -euo pipefail
python dmg_offline.py --env-id b  --lam 0.25 1 # with spaces
python dmg_xql.py --env-id 'c d' \\
    --seed 1 2 \\
    --nu 0.1
python baselines/iql.py --seed 1
python dmg_offline.py --exp-name e &> runs/e.txt &
python dmg_offline.py --exp-name f 2>&1 | tee f.txt; echo
python benchmark/report.py "$runs"/*
python -m pytest
python
echo "it's done: dmg_offline.py"
"""
    Path("runner.sh").write_text(text)
    for script in ("dmg_offline.py", "dmg_xql.py", "baselines/iql.py"):
        Path(script).parent.mkdir(exist_ok=True)
        Path(script).touch()
    monkeypatch.setattr(launch, "ROOT", Path())
    assert launch.read_rows(Path("runner.sh")) == [
        ["dmg_offline.py", "--env-id", "b", "--lam", "0.25", "1"],
        ["dmg_xql.py", "--env-id", "c d", "--seed", "1", "2", "--nu", "0.1"],
        ["baselines/iql.py", "--seed", "1"],
        ["dmg_offline.py", "--exp-name", "e"],
        ["dmg_offline.py", "--exp-name", "f"],
    ]


@pytest.mark.parametrize(
    "line",
    ["    python fake.py --in a-loop", "for seed in 1 2; do python fake.py --half; done", "python3 fake.py",
     "OMP_NUM_THREADS=1 python fake.py", "python -u fake.py", "echo python fake.py", "python | fake.py",
     "python fake.py --exp-name $DATA", "python fake.py --eval-interval 4; echo"],
)  # fmt: skip
def test_a_line_that_would_train_but_is_no_row_is_refused(start, line):
    error = error_line(start(["--half", f"--half\n{line}"], "--dry-run", code=2))
    assert error.startswith("error: rows.sh: a row is") and error.endswith(f"not: {line.strip()}")


ROW = re.compile(r"^ *python (?!benchmark)[\w-]", re.MULTILINE)
RUNNERS = {path.name: path for path in sorted(ROOT.glob("benchmark/*.sh")) if ROW.search(path.read_text())}


@pytest.mark.parametrize("name", RUNNERS)
def test_every_row_of_a_runner_is_found_and_can_be_run(name, monkeypatch):
    """None is hidden in a loop, none has an unknown flag or data set, and each has a folder of its own."""
    monkeypatch.syspath_prepend(ROOT / "baselines")
    rows = launch.read_rows(RUNNERS[name])
    assert len(rows) == len(ROW.findall(RUNNERS[name].read_text()))
    for script, *options in rows:
        module = import_module(Path(script).stem)
        args = tyro.cli(module.Args, args=[*options, "--device", "cpu"])
        module.check(args)
        kind, *level = args.env_id.removesuffix("-v0").split("/")
        recorded = "-".join(level).split("-singletask")[0]  # one recording of OGBench's is of several tasks
        is_local = kind == "local" and recorded in collect_local.NAMES
        assert is_local or module.named_dataset(args.env_id).id != args.env_id
    assert len(set(map(launch.folder_name, rows))) == len(set(map(tuple, rows)))


def test_names_of_folders():
    row = ["iql.py", "--env-id", "local/hopper/random-v0", "--lam", "0.25", "1"]
    assert launch.folder_name(row) == "iql.py_--env-id_local_hopper_random-v0_--lam_0.25_1"
    assert launch.folder_name(["baselines/iql.py", *row[1:]]) == launch.folder_name(row)
    at_most = ["iql.py", "x" * (255 - len("iql.py_"))]
    assert launch.folder_name(at_most) == "_".join(at_most)
    assert len(launch.folder_name([at_most[0], at_most[1] + "x"])) < 255
    long = [["iql.py", letter * count, end] for letter, count in (("x", 300), ("ä", 150)) for end in "ab"]
    names = [launch.folder_name(row) for row in long]
    assert len(set(names)) == 4 and all(len(name.encode()) <= 255 for name in names)
    assert all(name[:100] == "_".join(row)[:100] for name, row in zip(names, long))


def test_a_row_that_is_longer_than_a_file_name(start):
    rows = [f"--seed {' '.join(map(str, range(100)))} {last}" for last in (100, 101)]
    assert start(rows).out.count("finished: ") == 2
    assert start(rows).out.count("finished: ") == len(list(Path("runs/rows").iterdir())) == 2


def test_a_row_in_a_folder_of_the_repository(start):
    start(["--half"], code=1)  # of before it was moved there
    Path("repository/baselines").mkdir()
    Path("repository/fake.py").rename("repository/baselines/fake.py")
    done = start(["--half"], script="baselines/fake.py")
    assert done.out == "go on : baselines/fake.py --half\nfinished: baselines/fake.py --half\n"


def test_a_row_of_the_repository_is_run(pendulum):
    Path("tiny.sh").write_text(f"python dmg_offline.py {shlex.join(map(str, TINY))}\n")
    for outcome in ("start : ", "finished: "):
        done = run("benchmark/launch", "tiny.sh", "--runs-dir", "results")
        assert (
            done.out.startswith(f"{outcome}dmg_offline.py --env-id {PENDULUM} --device cpu") and not done.err
        )
    (folder,) = Path("results/tiny").iterdir()
    text = (folder / "output.txt").read_text()
    assert text.count("seed1: return -") == 1 and str(folder) in text
    (folder / "output.txt").unlink()
    assert result(folder)["step"] == 40 and result(folder)["script"] == "dmg_offline"


# ---- what is done with them ----


def test_each_row_is_run_once_and_those_that_fail_are_named(start):
    rows = ["--seed 1 2", "--fail", "--half", "--seed 1 2"]
    done = start(rows, "--threads", 3, code=1)
    starts = [f"start : fake.py {row}" for row in rows[:3]]
    assert done.out.splitlines()[:3] == starts
    ends = ["FAILED: fake.py --fail", "finished: fake.py --seed 1 2", "stopped: fake.py --half"]
    assert sorted(done.out.splitlines()[3:]) == ends
    fail, half = sorted(done.err.splitlines())
    assert fail == f"error: failed: fake.py --fail (code 1, error: no good; {folder_of('--fail')}/output.txt)"
    assert half.startswith("error: failed: fake.py --half (code 130, ")
    assert output("--seed 1 2") == [f"given --seed 1 2 --runs-dir {folder_of('--seed 1 2')} 3 None"]

    done = start(rows, code=1)
    assert done.out.splitlines()[:3] == ["finished: fake.py --seed 1 2", starts[1], "go on : fake.py --half"]
    assert sorted(done.out.splitlines()[3:]) == ["FAILED: fake.py --fail", "finished: fake.py --half"]
    assert done.err == f"{fail}\n" and len(output("--seed 1 2")) == 1
    assert output("--half")[-1] == f"given --half --resume {folder_of('--half')}/env__fake__1 1 None"

    done = start(["--seed 1 2", "--half"])
    assert done.out == "finished: fake.py --seed 1 2\nfinished: fake.py --half\n" and not done.err
    assert len(output("--seed 1 2")) == 1 and len(output("--half")) == 3


def test_data_are_asked_for_once_and_before_the_rows(start, monkeypatch):
    """Two rows that download one data set at the same time spoil it; TD3's environment is none."""
    asked = []

    def open_dataset(env_id):
        assert not Path("runs").exists()
        asked.append(env_id)
        if env_id == "missing":
            sys.exit(2)

    monkeypatch.setattr(dmg_offline, "open_dataset", open_dataset)
    rows = ["--env-id missing", "--env-id a --seed 1", "--env-id a --seed 2", "--env-id b", "--seed 1"]
    start([*rows, "--env-id Hopper-v5 --offline-steps 0"])
    assert asked == ["missing", "a", "b"] and len(list(Path("runs/rows").iterdir())) == 6


def test_ctrl_c_while_data_are_downloaded_is_one_line(start, monkeypatch):
    monkeypatch.setattr(dmg_offline, "open_dataset", Mock(side_effect=KeyboardInterrupt))
    assert "interrupted" in error_line(start(["--env-id a"], code=130)) and not Path("runs").exists()


def test_a_diverged_run_has_finished(start):
    start(["--half"], code=1)
    path = folder_of("--half") / "env__fake__1/result.json"
    run = json.loads(path.read_text())
    run["members"][0]["diverged_at"] = 5
    path.write_text(json.dumps(run))
    assert start(["--half"]).out == "finished: fake.py --half\n"


def test_a_finished_run_is_its_result_alone(start):
    start(["--seed 1", "--half"], code=1)
    for checkpoint in Path("runs").glob("*/*/*/checkpoint.pt"):
        checkpoint.unlink()
    assert (
        start(["--seed 1", "--half"], "--dry-run").out
        == "finished: fake.py --seed 1\nstart : fake.py --half\n"
    )


def test_a_dry_run_does_nothing(start):
    assert (
        start(["--seed 1", "--half"], "--dry-run").out == "start : fake.py --seed 1\nstart : fake.py --half\n"
    )
    assert not Path("runs").exists()
    start(["--half"], code=1)
    for options in ([], ["--cluster", "slurm"]):
        assert start(["--half"], "--dry-run", *options).out == "go on : fake.py --half\n"
    assert output("--half") == [f"given --half --runs-dir {folder_of('--half')} 1 None", ""]


def test_rows_that_are_kept_in_a_file_have_finished(start):
    """What report.py --keep writes: a result.json a line."""
    rows = ["--seed 1", "--seed 1 --lam 0.5"]
    start(rows)
    kept = Path("repository/benchmark/results/rows.jsonl")
    kept.parent.mkdir()
    runs = [json.loads((folder_of(row) / "env__fake__1/result.json").read_text()) for row in rows]
    kept.write_text(json.dumps(runs[0]) + "\n")
    shutil.rmtree("runs")
    begins = "kept: fake.py --seed 1\nstart : fake.py --seed 1 --lam 0.5\n"
    assert start(rows, "--dry-run").out == begins
    assert start(rows).out == begins + "finished: fake.py --seed 1 --lam 0.5\n"
    assert start(rows[:1], "--again").out == "start : fake.py --seed 1\nfinished: fake.py --seed 1\n"
    shutil.rmtree("runs")
    kept.write_text(json.dumps(runs[1]) + "\n")
    assert start(rows, "--dry-run").out == "start : fake.py --seed 1\nkept: fake.py --seed 1 --lam 0.5\n"
    by_hand = runs[0] | {"args": runs[0]["args"] | {"runs_dir": "runs"}}
    kept.write_text(json.dumps(by_hand) + "\n")
    assert start(rows, "--dry-run").out.count("start : ") == 2
    kept.write_text('{"args": {}}\n')
    assert "rows.jsonl is damaged" in start(rows, how=refused)


def test_more_jobs_than_rows_cost_nothing(start, monkeypatch):
    class Queue(queue.SimpleQueue):
        def put(self, item):
            assert self.qsize() < 2
            super().put(item)

    monkeypatch.setattr(queue, "SimpleQueue", Queue)
    assert start(["--seed 1"], "--jobs", 10**9).out.endswith("finished: fake.py --seed 1\n")


@pytest.mark.parametrize("visible, names", [(None, "01"), ("3,5", "35")])
def test_rows_are_spread_over_gpus(start, monkeypatch, visible, names):
    """And the cores with them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(9), raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    start(["--seed 1", "--seed 2", "--seed 3"])
    assert all(output(f"--seed {seed}")[0].split()[-2] == "4" for seed in (1, 2, 3))
    seen = [output(f"--seed {seed}")[0][-1] for seed in (1, 2, 3)]
    assert "".join(sorted(seen[:2])) == names and seen[2] in names


# ---- what stops it ----


WAITING = ["--wait --seed 1", "--wait --seed 2", "--seed 3"]


def go_on(start):
    """After an interruption: nothing runs, the third row was not begun, and the same command does all."""
    assert not any(map(is_alive, processes())) and not (folder_of(WAITING[2]) / "output.txt").exists()
    done = start(WAITING)
    assert done.out.count("go on : ") == 2 and done.out.count("finished: ") == 3 and not done.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_what_is_running_and_the_same_command_goes_on(start, name):
    process = start(WAITING, "--jobs", 2, how=fork)
    wait_until(lambda: len(processes()) == 2)
    for _ in range(2):  # a shell that ends may send a second one
        os.kill(process.pid, signal.Signals[name])
    assert stopped(process).err.count("\n") == 1
    go_on(start)


def test_rows_end_with_a_launcher_that_is_killed(start):
    process = start(WAITING, "--jobs", 2, how=fork)
    wait_until(lambda: len(processes()) == 2)
    process.kill()
    ended(process, -9)
    wait_until(lambda: not any(map(is_alive, processes())))
    go_on(start)


def test_rows_end_with_the_terminal(start):
    terminal, launchers = pty.openpty()

    def enter():
        os.close(terminal)
        os.setsid()
        os.open(os.ttyname(launchers), os.O_RDWR)  # the first one that a session opens is its own
        os.close(launchers)

    process = start(WAITING, "--jobs", 2, how=fork, before=enter)
    wait_until(lambda: len(processes()) == 2)
    os.close(launchers)
    os.close(terminal)
    stopped(process)
    go_on(start)


def test_nohup_outlives_the_terminal(start):
    process = start(["--wait"], how=fork, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until(processes)
    for pid in (process.pid, *processes()):
        os.kill(pid, signal.SIGHUP)
    Path("go").touch()
    assert "(code 130, " in error_line(ended(process, 1))  # the row's own


def test_what_ends_a_row_is_told_when_it_has_ended(start, monkeypatch):
    """Or else it would end whatever process has that number by then."""
    monkeypatch.setattr(launch, "ROOT", Path("repository"))
    shell = launch.SHELL.replace("read line <&3 || kill $$", "read line <&3 && touch told || touch killed")
    monkeypatch.setattr(launch, "SHELL", shell)
    Path("runs").mkdir()
    with open("output.txt", "ab") as output:
        assert launch.run_row(["fake.py", "--runs-dir", "runs"], output, 1) == 0
    wait_until(lambda: Path("told").exists() or Path("killed").exists())
    assert not Path("killed").exists()


def test_ctrl_c_while_a_row_is_being_started(start):
    def interrupt():
        def popen(*args, real=subprocess.Popen, **options):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
            return real(*args, **options)

        subprocess.Popen = popen

    done = stopped(start(["--wait"], how=fork, before=interrupt))
    assert done.out.endswith("stopped: fake.py --wait\n")


# ---- several launchers ----


def test_a_row_has_one_launcher(start):
    rows = ["--wait", "--seed 1"]
    first = start(rows, "--jobs", 1, how=fork)
    wait_until(processes)
    done = start(rows)
    ends = ["finished: fake.py --seed 1", "left alone, another launcher runs it: fake.py --wait"]
    assert sorted(done.out.splitlines()[2:]) == ends and not done.err and len(processes()) == 1
    Path("go").touch()
    assert "finished: fake.py --seed 1" in ended(first, 1).out  # what the second has done is not done again
    assert len(output("--seed 1")) == 1
    assert start(rows).out.endswith("finished: fake.py --wait\n")


def test_a_row_that_outlives_its_launcher_keeps_others_away(start):
    process = start(["--wait --stubborn"], how=fork)
    wait_until(processes)
    process.kill()
    ended(process, -9)
    (row,) = processes()
    assert "left alone" in start(["--wait --stubborn"]).out and is_alive(row)
    os.kill(row, signal.SIGKILL)
    wait_until(lambda: not is_alive(row))
    assert start(["--wait --stubborn"]).out.endswith("finished: fake.py --wait --stubborn\n")


# ---- why a row has failed ----


SAID = {
    "Traceback (most recent call last):\n  File x\nValueError: bad\nand more": "ValueError: bad",
    "torch.OutOfMemoryError: CUDA out of memory\nTry this": "torch.OutOfMemoryError: CUDA out of memory",
    "error: no data\n\r 0%|   | 0/9\r 0%|   | 0/9\n": "error: no data",
    "Error in cpuinfo: nothing\n12%|   | 1/9\n----\n\n": "12%|   | 1/9",
    "": "nothing",
    "\n----\n": "nothing",
}


@pytest.mark.parametrize("text", SAID)
def test_the_line_that_says_why(text):
    with open("output.txt", "ab") as file:
        file.write(b"error: of the time before\n")
        start = file.tell()
        file.write(text.encode())
        file.flush()
        assert launch.reason(file, start) == SAID[text]


def test_a_mistyped_flag_and_a_killed_row(start):
    sede, killed = sorted(start(["--sede 1", "--killed"], code=1).err.splitlines())[::-1]
    assert (
        "--sede 1 (code 2, Unrecognized options: --sede, 1, --runs-dir, runs/rows/fake.py_--sede_1;" in sede
    )
    assert f"--killed (code -9, given --killed --runs-dir {folder_of('--killed')} 1 None; " in killed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's full disk")
def test_a_full_disk_is_named(start):
    folder_of("--seed 1").mkdir(parents=True)
    (folder_of("--seed 1") / "output.txt").symlink_to("/dev/full")
    line = error_line(start(["--seed 1"], code=1))
    assert "(code 1, its output cannot be written: No space left on device; " in line


def test_an_output_that_cannot_be_opened(start):
    (folder_of("--seed 1") / "output.txt").mkdir(parents=True)
    done = start(["--seed 1", "--seed 2"], code=1)
    assert "Is a directory" in error_line(done) and "finished: fake.py --seed 2" in done.out


# ---- what is refused ----


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 20}'])
def test_a_damaged_result_is_one_line(start, content):
    start(["--half"], code=1)
    path = folder_of("--half") / "env__fake__1/result.json"
    path.unlink() if content is None else path.write_text(content)
    line = error_line(start(["--seed 1", "--half"], code=2))
    assert str(folder_of("--half")) in line and "is damaged" in line and "remove that folder" in line
    assert not folder_of("--seed 1").exists()
    shutil.rmtree(folder_of("--half"))
    assert start(["--seed 1"]).out.endswith("finished: fake.py --seed 1\n")


BAD_RUNNERS = {
    "a script that is missing": (b"python dmg_none.py\n", "rows of dmg_none.py, which"),
    "nothing that runs": (b"echo\npython -m pytest\n", "has no rows"),
    "an open quote": (b"python dmg_offline.py 'a\n", "No closing quotation"),
    "no text": (b"\xff\xfe", "no shell script"),
}


@pytest.mark.parametrize("name", BAD_RUNNERS)
def test_bad_runners(name):
    content, words = BAD_RUNNERS[name]
    Path("rows.sh").write_bytes(content)
    assert words in refused("benchmark/launch", "rows.sh")


def test_other_refusals(start, monkeypatch):
    assert "nowhere.sh is no shell script" in refused("benchmark/launch", "nowhere.sh")
    for flag, number in (("--jobs", -1), ("--threads", -1)):
        assert flag in start(["--seed 1"], flag, number, how=refused)
    Path("file").touch()
    assert "cannot make" in start(["--seed 1"], "--runs-dir", "file", how=refused)
    monkeypatch.setenv("PATH", os.getcwd())  # without Slurm
    assert "srun" in start(["--seed 1"], "--cluster", "slurm", how=refused)
    Path("srun").touch(mode=0o755)
    options = ["--cluster", "slurm", "--options", "slurm_partition=gpu", "gpus=1"]
    assert "gpus" in start(["--seed 1"], *options, how=refused)


# ---- Slurm ----


class Executor:
    """Stands in for submitit's: a job runs when its result is asked for."""

    def __init__(self, folder, cluster):
        assert (folder, cluster) == (Path("runs/rows/submitit"), "slurm")

    def update_parameters(self, **settings):
        Path("settings.json").write_text(json.dumps(settings))

    def submit(self, function, command, *args):
        if "--refused" in command:
            raise RuntimeError("\nsbatch: error: invalid partition\nand more")
        return self.Job(function, command, *args)

    class Job:
        def __init__(self, function, *args):
            self.function, self.args, self.looks = function, args, 0

        def done(self):
            self.looks += 1
            return self.looks > 1

        def result(self):
            if "--lost" in self.args[0]:
                raise RuntimeError("Job 7 has no output\nas its state: OUT_OF_MEMORY says\nand more")
            if "--late" in self.args[0]:
                raise RuntimeError("Job failed with trace:\nand more\nException: Job not requeued: timed-out")
            if "--requeued" in self.args[0]:  # Slurm begins a job again by itself
                assert self.function(*self.args) == 130
            if "--nameless" in self.args[0]:
                raise TimeoutError
            return self.function(*self.args)


def test_rows_are_jobs_of_slurm(start, monkeypatch):
    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    outcomes = {"--seed 1": "", "--half --requeued": "", "--fail": "code 1, ", "--half": "code 130, "}
    outcomes |= {"--lost": "as its state: OUT_OF_MEMORY says", "--nameless": "TimeoutError()"}
    outcomes |= {"--late": "Exception: Job not requeued", "--refused": "sbatch: error: invalid partition"}
    options = "--options slurm_partition=gpu gpus_per_node=1 timeout_min=60 slurm_exclusive=True mem_gb=0.5"
    done = start(outcomes, *f"--cluster slurm --threads 2 {options}".split(), code=1)
    settings = {"cpus_per_task": 2, "timeout_min": 60, "slurm_partition": "gpu", "gpus_per_node": 1}
    settings |= {"slurm_exclusive": True, "mem_gb": 0.5}
    assert json.loads(Path("settings.json").read_text()) == settings
    assert output("--seed 1") == [f"given --seed 1 --runs-dir {folder_of('--seed 1')} 2 None"]
    folder = folder_of("--half --requeued")
    assert output("--half --requeued")[-1] == f"given --half --requeued --resume {folder}/env__fake__1 2 None"
    ends = {row: "FAILED" if why else "finished" for row, why in outcomes.items()} | {"--half": "stopped"}
    ended = done.out.splitlines()[len(outcomes) :]
    assert sorted(ended) == sorted(f"{end}: fake.py {row}" for row, end in ends.items())
    errors = [f"error: failed: fake.py {row} ({why}" for row, why in outcomes.items() if why]
    assert all(map(str.startswith, sorted(done.err.splitlines()), sorted(errors)))
    assert len(done.err.splitlines()) == len(errors)
    done = start(["--seed 1", "--half"], "--cluster", "slurm")
    assert done.out.count("finished: ") == 2 and "go on : fake.py --half" in done.out
    assert json.loads(Path("settings.json").read_text()) == {"cpus_per_task": 1, "timeout_min": 1440}


# Slurm's programs on one machine; a job's id is that of its process group
SLURM = {
    "sbatch": """cp "$1" job.sh  # submitit moves its script as soon as it knows the id
setsid bash -c 'export SLURM_JOB_ID=$$; exec bash job.sh' &> job.txt &
echo "Submitted batch job $!" """,
    "srun": """shift 5; exec "$@" """,  # --unbuffered --output FILE --error FILE
    "sacct": """echo "JobID|State|NodeList"; while [ $# -gt 0 ]; do
if [ "$1" = -j ]; then kill -0 "$2" && echo "$2|RUNNING|here" || echo "$2|COMPLETED|here"; fi; shift; done""",
    "scancel": """kill -KILL -- "-$1" """,
}


@pytest.mark.skipif(not shutil.which("setsid"), reason="the stand-in for Slurm starts jobs by setsid")
def test_ctrl_c_cancels_jobs_and_the_same_command_goes_on(start, monkeypatch, tmp_path):
    """With all of submitit."""
    (tmp_path / "bin").mkdir()
    for name, script in SLURM.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    options = ["--cluster", "slurm", "--options", "slurm_partition=gpu"]
    process = start(["--wait"], *options, how=fork)
    wait_until(processes)
    os.kill(process.pid, signal.SIGINT)
    assert "stopped: fake.py --wait" in stopped(process).out
    wait_until(lambda: not any(map(is_alive, processes())))
    (script,) = Path("runs/rows/submitit").glob("[0-9]*.sh")
    settings = ["--partition=gpu", "--time=1440", "--cpus-per-task=1"]
    assert all(f"#SBATCH {setting}" in script.read_text() for setting in settings)
    done = start(["--wait"], *options)
    assert done.out == "go on : fake.py --wait\nfinished: fake.py --wait\n" and not done.err
    assert output("--wait")[-1:] == [f"given --wait --resume {folder_of('--wait')}/env__fake__1 1 None"]
