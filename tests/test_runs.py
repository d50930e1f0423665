"""The scripts as a user runs them: members, resuming, kills, full disks, bad arguments, worker processes."""

import errno
import fcntl
import functools
import io
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import (
    PENDULUM,
    PENDULUM_ENV,
    ROOT,
    TINY,
    assert_equal,
    checkpoint,
    die_at,
    ended,
    error_line,
    fork,
    is_alive,
    pendulum_episodes,
    refused,
    result,
    returns,
    run,
    run_dir,
    store,
    wait_for_evaluations,
    wait_until,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_math import SCRIPTS
from torch.utils.tensorboard import SummaryWriter

import dmg_offline as dmg

FAST = [*TINY, "--hidden", 16, 16]


def scalars(member="seed1", folder="runs"):
    """Tag -> steps, of a member's TensorBoard folder."""
    events = EventAccumulator(str(run_dir(folder) / member)).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


# ---- what a run writes ----


def test_the_canonical_command(antmaze):
    """On a tiny set in the schema of Minari's data, stored under the real id."""
    tiny = "--device cpu --offline-steps 4 --eval-interval 4 --eval-episodes 2 --batch-size 8".split()
    done = run("dmg_offline", "--env-id", "antmaze-large-play", "--lam", "0.25", *tiny)
    assert "90 transitions" in done.out and "normalized score 100.0" in done.out
    assert run_dir().name.startswith("antmaze-large-play__dmg_offline__") and str(run_dir()) in done.out
    saved = result()
    assert (saved["script"], saved["dataset_id"]) == ("dmg_offline", "D4RL/antmaze/large-play-v1")
    assert saved["args"]["expectile"] == 0.9
    assert torch.__version__.split("+")[0] == saved["versions"]["torch"].split("+")[0]  # +cu130: the build
    (member,) = saved["members"]
    assert [member[key] for key in ("name", "seed", "lam", "nu")] == ["seed1", 1, 0.25, 0.5]
    assert [entry["step"] for entry in member["evaluations"]] == [0, 4]
    for entry in member["evaluations"]:
        assert len(entry["returns"]) == 2 and set(entry["returns"]) <= {0.0, 1.0}
        assert entry["normalized_score"] == 100 * entry["episodic_return"] == 100 * np.mean(entry["returns"])


def test_what_members_write(pendulum):
    run("dmg_offline", *FAST, "--seed", 1, 2, "--lam", 0.5, 0.1234567, 0.1234568)
    saved = result()
    names = [f"seed{seed}_lam{lam}" for seed in (1, 2) for lam in (0.5, 0.1234567, 0.1234568)]
    assert [member["name"] for member in saved["members"]] == names
    assert saved["step"] == 40 and saved["updates_per_second"] > 0
    losses = {f"losses/{name}" for name in ("vf_loss", "qf_loss", "actor_loss", "q_values", "weight")}
    for member in saved["members"]:
        found, last = scalars(member["name"]), member["evaluations"][-1]
        assert found.keys() == losses | {"charts/SPS", "eval/episodic_return", "eval/normalized_score"}
        assert found["losses/qf_loss"] == list(range(5, 41, 5))
        assert found["eval/episodic_return"] == [0, 10, 20, 30, 40]
        assert last["episodic_return"] == np.mean(last["returns"]) and math.isfinite(last["q_mean"])
        assert math.isnan(last["normalized_score"])  # Pendulum has no reference returns
        assert member["diverged_at"] is None
    first, other_lam, _, other_seed, *_ = returns()
    assert first != other_lam and first != other_seed


def test_an_evaluation_has_episodes_of_its_own_and_the_same_on_a_rerun(pendulum):
    for folder in ("runs", "again"):
        run("dmg_offline", *FAST, "--learning-rate", 0, "--seed", 1, 2, "--runs-dir", folder)
    assert returns() == returns("again")
    assert len({value for evaluation in returns()[0] for value in evaluation}) == 5 * 2  # of one policy


def test_no_evaluation(pendulum):
    run("dmg_offline", *FAST, "--eval-episodes", 0)
    assert returns() == [[[]] * 5] and math.isfinite(result()["members"][0]["evaluations"][-1]["q_mean"])


def test_a_copy_of_the_script_names_its_own_runs(pendulum, tmp_path):
    copy = tmp_path / "elsewhere" / "my_dmg.py"
    copy.parent.mkdir()
    shutil.copy(ROOT / "dmg_offline.py", copy)
    run(copy, *FAST)
    assert "__my_dmg__" in run_dir().name and result()["script"] == "my_dmg" and result()["git_commit"] == ""
    run(copy, "--resume", run_dir())
    assert "my_dmg.py" in refused("dmg_offline", "--resume", run_dir())


def test_the_readmes_code_to_copy_runs(pendulum):
    """Training on plain networks; and acting from a checkpoint, as the last evaluation did."""
    training, acting = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    exec(training, found := {})
    assert all(loss.isfinite() for loss in found["losses"].values()) and len(found["losses"]) == 5
    run("dmg_offline", *TINY)
    run_dir().rename("runs/RUN")
    exec(acting, found)
    env, total, truncated = gym.make(PENDULUM_ENV), 0.0, False
    seed = np.random.SeedSequence((1, 40)).generate_state(1)  # of the last evaluation's first episode
    observation, _ = env.reset(seed=int(seed[0]))
    while not truncated:
        observation, reward, _, truncated, _ = env.step(2 * found["act"](observation))
        total += reward
    assert total == pytest.approx(returns()[0][-1][0], rel=1e-3)


def test_two_starts_in_the_same_second(pendulum, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1.7e9)
    for _ in range(3):
        run("dmg_offline", *FAST, "--eval-episodes", 0)
    assert len(list(Path("runs").glob("*/checkpoint.pt"))) == 3


def test_a_diverged_member_is_marked_and_the_others_go_on(pendulum):
    """The second of three, with a NaN in its Q; when all have diverged the run ends."""
    options = [*FAST, "--seed", 1, 2, 3]
    run("dmg_offline", *options)
    # killed after the checkpoint of step 0
    ended(fork("dmg_offline", *options, "--runs-dir", "spoiled", before=die_at(4)), -signal.SIGKILL)
    clean, state, path = checkpoint(), checkpoint("spoiled"), run_dir("spoiled") / "checkpoint.pt"
    q = next(name for name in state["agent"] if name.startswith("qf."))
    state["agent"][q][1] = torch.nan
    torch.save(state, path)
    done = run("dmg_offline", "--resume", path.parent)
    assert "seed2 has diverged by update 5" in done.out + done.err
    spoiled = checkpoint("spoiled")
    for name in clean["agent"].keys() - {"mean", "std"}:
        for m in (0, 2):
            assert torch.equal(clean["agent"][name][m::3], spoiled["agent"][name][m::3]), name
    first, second, third = spoiled["run"]["members"]
    assert_equal([first, third], clean["run"]["members"][::2])
    assert second["diverged_at"] == 5 and np.isnan([e["returns"] for e in second["evaluations"][1:]]).all()
    state["agent"][q][:] = torch.nan
    torch.save(state, path)
    run("dmg_offline", "--resume", path.parent)
    assert result("spoiled")["step"] == 5


# ---- interruptions ----


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.fixture
def stopped(pendulum):
    """The checkpoint of a run that was killed half way."""
    ended(fork("dmg_offline", *FAST, before=die_at(5)), -signal.SIGKILL)
    return run_dir() / "checkpoint.pt"


@pytest.mark.parametrize("call", [5, 6])
def test_a_run_killed_while_it_saves_resumes_bit_for_bit(call, pendulum):
    """SIGKILL in the third save, before result.json or the checkpoint is in place."""
    options = [*FAST, "--seed", 1, 2]
    run("dmg_offline", *options, "--runs-dir", "unbroken")
    ended(fork("dmg_offline", *options, before=die_at(call)), -signal.SIGKILL)
    assert checkpoint()["run"]["step"] == 10  # of the second save
    run("dmg_offline", "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert_equal(result("unbroken"), result())


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(pendulum):
    options = [*FAST, "--offline-steps", 400]
    run("dmg_offline", *options, "--runs-dir", "unbroken")
    process = fork("dmg_offline", *options)
    wait_for_evaluations(5)
    process.kill()
    ended(process, -signal.SIGKILL)
    with SummaryWriter(str(run_dir() / "seed1")) as writer:  # as if more had come to the disk by then
        writer.add_scalar("losses/qf_loss", 1.0, 399)
    time.sleep(1)  # TensorBoard's files are in order by the second
    run("dmg_offline", "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert_equal(result("unbroken"), result())
    assert scalars() == scalars(folder="unbroken")


def test_a_finished_run_resumes_to_itself(pendulum):
    run("dmg_offline", *FAST)
    before = checkpoint()
    run("dmg_offline", "--resume", run_dir())
    assert_equal(before, checkpoint())


@pytest.mark.parametrize("move", [shutil.copytree, os.rename])
def test_a_copied_or_renamed_folder_is_where_its_run_goes_on(move, stopped):
    original = stopped.parent
    move(original, "elsewhere")
    before = contents(original)
    run("dmg_offline", "--resume", "elsewhere")
    assert contents(original) == before
    assert set(os.listdir("elsewhere")) == {"checkpoint.pt", "result.json", "dmg_offline.py", "lock", "seed1"}
    assert torch.load("elsewhere/checkpoint.pt", weights_only=True)["run"]["step"] == 40


def test_a_file_system_without_locks_is_no_error(pendulum, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "has no locks" in run("dmg_offline", *TINY).out and result()["step"] == 40


def test_a_log_that_cannot_be_written_is_one_line(pendulum, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    assert "cannot log for TensorBoard" in error_line(run("dmg_offline", *TINY, code=2))


def test_ctrl_c_ends_in_one_line(pendulum):
    process = fork("dmg_offline", *FAST, "--offline-steps", 10**6)
    wait_for_evaluations(2)
    os.kill(process.pid, signal.SIGINT)
    assert "--resume" in error_line(ended(process, 130))


def test_a_full_disk_leaves_what_was_written(pendulum):
    """Writing past 1 MB fails, as on a full disk; result.json and the event file stay below."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    run("dmg_offline", *TINY, "--runs-dir", "unbroken")
    assert "too large" in error_line(ended(fork("dmg_offline", *TINY, "--runs-dir", "full", before=limit), 2))
    ended(fork("dmg_offline", *TINY, before=die_at(5)), -signal.SIGKILL)
    before = (run_dir() / "checkpoint.pt").read_bytes()
    assert "--resume" in error_line(ended(fork("dmg_offline", "--resume", run_dir(), before=limit), 2))
    assert (run_dir() / "checkpoint.pt").read_bytes() == before
    run("dmg_offline", "--resume", run_dir())
    assert_equal(checkpoint("unbroken"), checkpoint())
    assert not list(run_dir().glob("*.tmp"))


# ---- bad arguments ----


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_every_number_must_be_finite_and_not_negative(script, capsys):
    for field in fields(script.Args):
        value = getattr(script.Args(), field.name)
        is_list = isinstance(value, tuple)
        kind = type(value[0] if is_list else value)
        for bad in {int: (-1, 2**64), float: (-0.1, math.nan, math.inf)}.get(kind, ()):
            changes = {field.name: (bad,) if is_list else bad}
            with pytest.raises(SystemExit):
                script.check(replace(script.Args(device="cpu"), **changes))
            assert capsys.readouterr().err.startswith(f"error: --{field.name.replace('_', '-')} ")
    script.check(script.Args(device="cpu"))


BAD_FLAGS = {
    "seed": ["-1", "18446744073709551616", "1 2 1", ""],
    "lam": ["0.5 0.5", "1.5", "nan", ""],
    "nu": ["1 1", "-0.1", "inf"],
    "gamma": ["1.1"],
    "tau": ["2"],
    "device": ["tpu"] + ["cuda"] * (not torch.cuda.is_available()),
    "expectile": ["0", "1.1"],
}


@pytest.mark.parametrize("flag, value", [(flag, value) for flag in BAD_FLAGS for value in BAD_FLAGS[flag]])
def test_bad_flags(flag, value, pendulum):
    assert f"--{flag}" in refused("dmg_offline", *TINY, f"--{flag}", *value.split())


def test_a_name_for_a_folder_is_made_of_any_name(pendulum):
    run("dmg_offline", *FAST, "--exp-name", "../a b")
    assert re.fullmatch(r"test-pendulum-random-v0__..-a-b__\d+", run_dir().name)


def test_other_bad_flags(pendulum):
    for name in ("offline-steps", "eval-interval", "log-interval", "batch-size", "critics", "hidden"):
        assert "1 or more" in refused("dmg_offline", *TINY, f"--{name}", 0)
    assert "--gumbel-beta" in refused("dmg_xql", *TINY, "--gumbel-beta", 0)
    assert "--sql-alpha" in refused("dmg_sql", *TINY, "--sql-alpha", 0)


def test_a_folder_that_cannot_be_made(pendulum):
    Path("blocked").write_text("a file where the folder should be")
    assert "blocked" in error_line(run("dmg_offline", *TINY, "--runs-dir", "blocked", code=2))


def test_unknown_flags_and_help():
    assert "--env" in run("dmg_offline", "--env", "hopper-medium", code=2).err
    text = " ".join(run("dmg_offline", "--help").out.split())
    assert "--inverse-temperature" in text and "Eq. (15)" in text and "share of the policy's value" in text


# ---- bad checkpoints ----


class Foreign:
    """Unpickling this would create a file."""

    def __reduce__(self):
        return (open, ("executed", "w"))


def resume_is_refused(path, *flags):
    """In one line, without a change to the run."""
    before = contents(path.parent)
    line = refused("dmg_offline", "--resume", path.parent, *flags)
    assert contents(path.parent) == before
    return line


def test_damaged_checkpoints(stopped):
    """Among them bits flipped anywhere in the stored data."""
    good, rng = stopped.read_bytes(), np.random.default_rng(0)
    broken = [good[: len(good) // 2], b"", b"junk" * 1000]
    with zipfile.ZipFile(stopped) as archive:
        entries = [info for info in archive.infolist() if info.file_size > 64]
    for info in rng.choice(entries, 30):
        start = good.index(info.filename.encode(), info.header_offset) + len(info.filename)
        extra = int.from_bytes(good[info.header_offset + 28 : info.header_offset + 30], "little")
        flipped = bytearray(good)
        flipped[start + extra + rng.integers(info.file_size)] ^= 1 << rng.integers(8)
        broken.append(bytes(flipped))
    for content in broken:
        stopped.write_bytes(content)
        assert "damaged" in resume_is_refused(stopped)
    stopped.write_bytes(good)
    run("dmg_offline", "--resume", stopped.parent)


BAD_CHECKPOINTS = {
    "another script": (lambda state: state["run"].update(script="dmg_xql"), "dmg_xql.py"),
    "another version": (lambda state: state["run"]["args"].pop("tau"), "another version"),
    "no run in it": (lambda state: state.pop("run"), "damaged"),
    "no generators": (lambda state: state.pop("generators"), "does not fit"),
    "no optimizer": (lambda state: state["optimizers"].pop("qf"), "does not fit"),
    "a missing array": (lambda state: state["agent"].popitem(), "does not fit"),
    "another shape": (lambda state: state["run"]["args"].update(hidden=(16, 8)), "does not fit"),
    "code": (lambda state: state.update(x=Foreign()), "damaged"),
}


def test_bad_checkpoints(stopped):
    good = stopped.read_bytes()
    for kind, (spoil, words) in BAD_CHECKPOINTS.items():
        state = torch.load(io.BytesIO(good), weights_only=True)
        spoil(state)
        torch.save(state, stopped)
        assert words in resume_is_refused(stopped), kind
        assert not Path("executed").exists(), kind


def test_a_run_that_another_process_finishes_meanwhile_stays_finished(stopped, monkeypatch, capsys):
    folder, load = stopped.parent, dmg.load_transitions

    def load_slowly(*args):
        run("dmg_offline", "--resume", folder)
        return load(*args)

    monkeypatch.setattr(dmg, "load_transitions", load_slowly)
    with pytest.raises(SystemExit):
        dmg.main(dmg.Args(resume=str(folder), device="cpu"))
    assert "another process has gone on" in capsys.readouterr().err
    step = result()["step"]
    assert step == checkpoint()["run"]["step"] == result()["args"]["offline_steps"]


def test_what_else_cannot_be_resumed(stopped, tmp_path):
    assert "give the folder of a run" in refused("dmg_offline", "--resume", "nowhere")
    assert "gamma" in resume_is_refused(stopped, "--gamma", "0.5")
    assert "dmg_offline.py" in refused("dmg_xql", "--resume", stopped.parent)
    with open(stopped.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process" in resume_is_refused(stopped)
    Path(lock.name).unlink()
    Path(lock.name).mkdir()
    assert "cannot be written to" in resume_is_refused(stopped)
    shutil.rmtree(tmp_path / "minari" / PENDULUM)
    episodes = pendulum_episodes()
    episodes[0].rewards[3] += 0.1
    store(PENDULUM, episodes)
    assert "changed" in resume_is_refused(stopped)


# ---- evaluation in processes of its own ----


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in Linux's /proc")


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def workers_of(process):
    """The ids of the two processes that a run evaluates in."""
    wait_until(lambda: len(children(process.pid)) == 2)
    return children(process.pid)


@needs_proc
def test_ctrl_c_ends_the_workers_too_and_in_one_line(pendulum):
    """A terminal sends it to all; here while the workers start. They hold the output open, till they end."""
    command = [sys.executable, str(ROOT / "dmg_offline.py"), *map(str, FAST), "--offline-steps", "1000000"]
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "2"}, **streams) as process:
        try:
            workers = workers_of(process)
            time.sleep(0.7)  # they are importing
            for pid in (process.pid, *workers):
                os.kill(pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130 and "--resume" in error_line(SimpleNamespace(err=err))


@pytest.fixture
def in_processes(pendulum):
    """A long run that evaluates in two processes, and their ids."""
    two = functools.partial(torch.set_num_threads, 2)
    process = fork("dmg_offline", *FAST, "--offline-steps", 10**6, before=two)
    try:
        yield process, workers_of(process)
    finally:
        process.kill()


@needs_proc
def test_no_worker_outlives_a_killed_run(in_processes):
    process, workers = in_processes
    process.kill()
    wait_until(lambda: not any(map(is_alive, workers)))


@needs_proc
def test_workers_play_the_same_episodes_and_a_killed_one_is_one_error_line(in_processes):
    process, workers = in_processes
    wait_for_evaluations(2)
    os.kill(workers[0], signal.SIGKILL)
    line = error_line(ended(process, 2))
    assert "evaluation failed" in line and "--resume" in line
    wait_until(lambda: not any(map(is_alive, workers)))
    run("dmg_offline", *FAST, "--runs-dir", "in_one")
    np.testing.assert_allclose(returns()[0][:2], returns("in_one")[0][:2], rtol=1e-3)
