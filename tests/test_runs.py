"""The script as a user runs it: the canonical command, members, resuming, kills, full disks, broken checkpoints."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import gymnasium_robotics
import numpy as np
import pytest
import torch
from conftest import ROOT, antmaze_episodes, store
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

gym.register_envs(gymnasium_robotics)
SCRIPT = str(ROOT / "dmg_offline.py")
TINY = ["--env-id", "test/pendulum/random-v0", "--offline-steps", "40", "--eval-interval", "10", "--log-interval", "5",
        "--eval-episodes", "2", "--batch-size", "16"]  # fmt: skip


def run(*args, code=0, **options):
    done = subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def error_line(done):
    """The single line of a failure; progress bars and warnings of libraries may come before it."""
    assert "Traceback" not in done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


def results(folder="runs"):
    """result.json of every run folder, by name, in the order of the members."""
    found = {path.parent.name: json.loads(path.read_text()) for path in Path(folder).glob("*/result.json")}
    return dict(sorted(found.items(), key=lambda item: (item[1]["seed"], item[1]["lam"], item[1]["nu"])))


def checkpoint(folder="runs"):
    (path,) = Path(folder).glob("*/checkpoint.pt")
    return torch.load(path, weights_only=True)


def assert_equal(a, b, where=""):
    """Bit-for-bit equality of nested structures, leaving out the measured speed and the folders' names."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"updates_per_second", "run_dirs", "runs_dir", "resume", "checkpoint"}:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def test_the_canonical_command():
    """On a tiny set in the schema of Minari's data, stored under the real id."""
    episodes = antmaze_episodes(np.array([14.0, -12.0]))
    store("D4RL/antmaze/large-play-v1", episodes, env="AntMaze_Large-v4", ref_min_score=0.0, ref_max_score=500.0)
    tiny = ["--offline-steps", "4", "--eval-interval", "2", "--eval-episodes", "2", "--batch-size", "8"]
    done = run("--env-id", "antmaze-large-play", "--lam", "0.25", *tiny)
    assert "90 transitions, 3 episodes" in done.stdout and "1[goal [ 14. -12.] reached] - 1" in done.stdout
    assert "presets (antmaze): " in done.stdout and "max_weight 100.0" in done.stdout
    ((name, result),) = results().items()
    assert name.startswith("antmaze-large-play__dmg_offline__1__")
    assert (
        result["dataset_id"] == "D4RL/antmaze/large-play-v1"
        and result["lam"] == 0.25
        and result["args"]["expectile"] == 0.9
    )
    assert [entry["step"] for entry in result["evaluations"]] == [2, 4]
    for entry in result["evaluations"]:
        assert len(entry["returns"]) == 2 and set(entry["returns"]) <= {0.0, 1.0}
        assert entry["normalized_score"] == 100 * entry["success_rate"] == 100 * np.mean(entry["returns"])


def test_members_write_their_own_folders(pendulum):
    done = run(*TINY, "--seed", "1", "2", "--lam", "0", "0.5", "--nu", "0.1", "--eval-interval", "40")
    found = results()
    assert [(r["seed"], r["lam"]) for r in found.values()] == [(1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5)]
    assert all("__lam0" in name and "__nu" not in name and name in done.stdout for name in found)
    for name, result in found.items():
        events = EventAccumulator(f"runs/{name}").Reload()
        tags = set(events.Tags()["scalars"])
        assert {"losses/vf_loss", "losses/qf_loss", "losses/actor_loss", "losses/q_values", "losses/weight"} <= tags
        assert {"charts/SPS", "charts/learning_rate", "eval/episodic_return"} <= tags
        assert [e.step for e in events.Scalars("losses/qf_loss")] == list(range(5, 41, 5))
        assert events.Scalars("eval/episodic_return")[0].value == pytest.approx(
            np.mean(result["evaluations"][0]["returns"])
        )
        assert result["updates_per_second"] > 0 and result["diverged_at"] is None
        assert result["evaluations"][0]["normalized_score"] is None  # Pendulum has no reference returns
    ends = [r["evaluations"][0]["returns"] for r in found.values()]
    assert ends[0] != ends[1] and ends[0] != ends[2]
    alone = run(*TINY, "--seed", "2", "--lam", "0.5", "--nu", "0.1", "--eval-interval", "40", "--runs-dir", "alone")
    ((_, single),) = results("alone").items()
    np.testing.assert_allclose(single["evaluations"][0]["returns"], ends[3], rtol=1e-3)
    assert "1 member(s)" in alone.stdout


def test_evaluations_play_different_episodes_each_time_and_the_same_ones_on_a_rerun(pendulum):
    run(*TINY, "--learning-rate", "0", "--offline-steps", "20")
    run(*TINY, "--learning-rate", "0", "--offline-steps", "20", "--runs-dir", "again")
    first, second = ([e["returns"] for e in next(iter(results(f).values()))["evaluations"]] for f in ("runs", "again"))
    assert first == second
    assert len({value for returns in first for value in returns}) == 4  # 2 evaluations of 2 episodes, one policy


def test_without_an_environment(pendulum):
    run(*TINY, "--eval-episodes", "0")
    ((_, result),) = results().items()
    assert result["evaluations"][-1]["returns"] is None and result["evaluations"][-1]["q_mean"] is not None


def test_the_layer_norm_flag_reaches_v(pendulum):
    """With a learning rate of 0 V stays the same network, but its loss is another one."""
    runs = {"plain": [], "normed": ["--layer-norm"]}
    for folder, flags in runs.items():
        run(*TINY, "--learning-rate", "0", "--eval-episodes", "0", "--runs-dir", folder, *flags)
    plain, normed = (checkpoint(folder)["agent"] for folder in runs)
    assert_equal(plain, normed)
    vf_loss = []
    for folder in runs:
        (events,) = Path(folder).glob("*/events*")
        accumulator = EventAccumulator(str(events)).Reload()
        vf_loss.append(accumulator.Scalars("losses/vf_loss")[-1].value)
    assert abs(vf_loss[0] - vf_loss[1]) > 1e-3


def test_compiled_updates_agree_with_eager(pendulum):
    if not os.path.exists("/usr/bin/g++"):
        pytest.skip("torch.compile needs a C++ compiler")
    run(*TINY, "--offline-steps", "10", "--eval-episodes", "0")
    run(*TINY, "--offline-steps", "10", "--eval-episodes", "0", "--mode", "compile", "--runs-dir", "compiled")
    eager, compiled = checkpoint()["agent"], checkpoint("compiled")["agent"]
    for name, tensor in eager.items():
        torch.testing.assert_close(
            tensor, compiled[name], atol=2e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}"
        )


CRASH = """
import os, runpy, signal, sys
calls, real = 0, os.{function}
def dying(*args):
    global calls
    calls += 1
    if calls == {number}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
os.{function} = dying
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("function, number", [("replace", 8), ("replace", 9)])
def test_a_run_killed_while_it_saves_resumes_bit_for_bit(pendulum, function, number):
    """SIGKILL in the third save; each save writes two members' result.json, then the checkpoint."""
    options = [*TINY, "--seed", "1", "2"]
    run(*options, "--runs-dir", "unbroken")
    crash = CRASH.format(function=function, number=number)
    done = subprocess.run([sys.executable, "-c", crash, SCRIPT, *options], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert checkpoint()["step"] == 10  # of the second save: the third did not come to its checkpoint
    second = sorted(str(path) for path in Path("runs").iterdir())[1]  # any member's folder will do
    run("--resume", second)
    assert_equal(checkpoint("unbroken"), checkpoint())
    for a, b in zip(results("unbroken").values(), results().values(), strict=True):
        assert_equal(a["evaluations"], b["evaluations"])
    events = EventAccumulator(second).Reload()
    assert [e.step for e in events.Scalars("eval/episodic_return")] == [10, 20, 30, 40]


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(pendulum):
    options = [*TINY, "--offline-steps", "400"]
    run(*options, "--runs-dir", "unbroken")
    process = subprocess.Popen([sys.executable, SCRIPT, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (results() and len(next(iter(results().values()))["evaluations"]) > 2):
        time.sleep(0.01)
    assert process.poll() is None, "the run ended before it could be killed"
    process.kill()
    process.wait()
    assert checkpoint()["step"] < 400
    run("--resume", str(next(Path("runs").iterdir())))
    assert_equal(checkpoint("unbroken"), checkpoint())


def test_a_finished_run_resumes_to_itself(pendulum):
    run(*TINY)
    before = checkpoint()
    run("--resume", str(next(Path("runs").iterdir())))
    assert_equal(before, checkpoint())


def limit_file_size():
    """Writing past 1 MB fails, as on a full disk; result.json and the event file stay below."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


def test_a_full_disk_leaves_what_was_written(pendulum):
    line = error_line(run(*TINY, "--runs-dir", "full", code=2, preexec_fn=limit_file_size))
    assert "cannot write" in line and "make room" in line
    run(*TINY, "--offline-steps", "20", "--runs-dir", "runs")
    before = checkpoint()
    state = torch.load(next(Path("runs").glob("*/checkpoint.pt")), weights_only=True)
    state["args"]["offline_steps"] = 40
    torch.save(state, next(Path("runs").glob("*/checkpoint.pt")))
    line = error_line(run("--resume", str(next(Path("runs").iterdir())), code=2, preexec_fn=limit_file_size))
    assert "--resume" in line
    assert_equal(before["agent"], checkpoint()["agent"])
    assert not list(Path("runs").glob("*/*.tmp"))
    assert results()


def test_a_folder_that_cannot_be_written(pendulum):
    Path("blocked").write_text("a file where the folder should be")
    assert "choose another --runs-dir" in error_line(run(*TINY, "--runs-dir", "blocked", code=2))


class Foreign:
    """Unpickling this would create a file."""

    def __reduce__(self):
        return (open, ("executed", "w"))


def test_bad_checkpoints(pendulum):
    assert "no checkpoint" in error_line(run("--resume", "nowhere", code=2))
    run(*TINY)
    folder = next(Path("runs").iterdir())
    path = folder / "checkpoint.pt"
    good = path.read_bytes()
    for content in (good[: len(good) // 2], b"", b"junk" * 1000):
        path.write_bytes(content)
        assert "damaged" in error_line(run("--resume", str(folder), code=2))
    torch.save({"made_by": "dmg_offline", "x": Foreign()}, path)
    assert "damaged" in error_line(run("--resume", str(folder), code=2))
    assert not Path("executed").exists()
    torch.save({"made_by": "dmg_xql"}, path)
    assert "not of dmg_offline.py" in error_line(run("--resume", str(folder), code=2))
    path.unlink()
    assert "no checkpoint" in error_line(run("--resume", str(folder), code=2))
    path.write_bytes(good)
    assert "give no others" in error_line(run("--resume", str(folder), "--gamma", "0.5", code=2))


def test_a_checkpoint_of_other_data(pendulum):
    run(*TINY)
    folder = next(Path("runs").iterdir())
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["data"][2] += 6  # as of a task with three observation numbers more
    torch.save(state, folder / "checkpoint.pt")
    assert "belongs to data" in error_line(run("--resume", str(folder), code=2))


def test_a_diverged_member_is_marked_and_the_others_go_on(pendulum):
    """nu = 1e39 is infinite in float32; its neighbour does not notice."""
    done = run(*TINY, "--nu", "0.1", "1e39", "--offline-steps", "20")
    ordinary, broken = results().values()
    assert "diverged" in done.stderr + done.stdout
    assert broken["diverged_at"] in (5, 10, 15, 20) and broken["evaluations"][-1]["returns"] is None
    assert ordinary["diverged_at"] is None and len(ordinary["evaluations"][-1]["returns"]) == 2


def test_unknown_flags_and_help():
    assert run("--env", "hopper-medium", code=2).stderr
    text = run("--help").stdout
    for flag in (
        "--lam",
        "--nu",
        "--expectile",
        "--inverse-temperature",
        "--max-weight",
        "--policy-frequency",
        "--resume",
    ):
        assert flag in text
    assert "Eq. (15)" in text and "share of the policy's value" in " ".join(text.split())


def test_bad_data_ends_before_training():
    line = error_line(run("--env-id", "antmaze-large-plai", code=2))
    assert "antmaze-large-play" in line
    assert not Path("runs").exists()
