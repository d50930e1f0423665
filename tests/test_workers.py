"""Evaluation in processes of its own: same episodes, none left behind, and clear words when one is lost."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import dmg_offline as dmg


@pytest.fixture
def workers(pendulum, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    yield dmg.start_workers(pendulum, False, 10)
    for process in multiprocessing.active_children():
        process.kill()
        process.join()  # or the next test takes it for one of its own


def make_agent():
    members = [(1, 0.25, 0.1), (2, 0.25, 0.1)]
    return dmg.Agent(members, np.zeros(3, np.float32), np.full(3, 2.0, np.float32), 1)


def test_workers_play_the_same_episodes(pendulum, workers):
    """Three episodes and then five a member, shared by two processes, with a member that does not play."""
    agent = make_agent()
    for n_episodes, alive in ((3, [True, True]), (5, [False, True])):
        seeds = np.arange(2 * n_episodes).reshape(2, n_episodes)
        envs = [dmg.make_env(pendulum, False) for _ in range(seeds.size)]
        expected = dmg.play(agent, envs, pendulum.action_space, seeds, np.array(alive))
        found = dmg.evaluate(agent, None, workers, pendulum.action_space, seeds, np.array(alive))
        assert found.shape == seeds.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        with torch.no_grad():  # the next evaluation is one of another policy
            for parameter in agent.actor.parameters():
                parameter.add_(0.1)


@pytest.mark.parametrize("threads, episodes, expected", [(1, 100, 0), (8, 9, 0), (3, 10, 3), (64, 100, 16)])
def test_how_many_workers(monkeypatch, threads, episodes, expected):
    """One a core where there is more than one, at most 16, and none for a few episodes."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", lambda process: None)
    assert len(dmg.start_workers(None, False, episodes)) == expected


def test_a_lost_worker_ends_in_one_line(pendulum, workers, capsys):
    lost = multiprocessing.active_children()[0]
    lost.kill()
    lost.join()
    with pytest.raises(SystemExit):
        seeds = np.arange(4).reshape(2, 2)
        dmg.evaluate(make_agent(), None, workers, pendulum.action_space, seeds, np.array([True, True]))
    assert "--resume" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("script, options", [
    ("dmg_offline", ["--env-id", "test/pendulum/random-v0", "--offline-steps", "4"]),
    ("dmg_finetune", ["--env-id", "Pendulum-v1", "--offline-steps", "0", "--online-steps", "4", "--lam", "1", "--nu",
                      "0", "--learning-starts", "2"]),
])  # fmt: skip
def test_a_run_evaluates_in_workers(pendulum, script, options):
    options += ["--eval-episodes", "10", "--eval-interval", "2", "--batch-size", "8", "--seed", "1", "2"]
    command = [sys.executable, str(ROOT / f"{script}.py"), *options, "--device", "cpu"]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in Path("runs").glob("*/result.json"):
        evaluations = json.loads(path.read_text())["evaluations"]
        assert [len(evaluation["returns"]) for evaluation in evaluations[-2:]] == [10, 10]
        assert len(set(evaluations[-1]["returns"])) == 10
    assert done.stdout.count("evaluation in 2 processes") == 1


def test_no_worker_outlives_a_killed_run(pendulum):
    """They hold the run's output open, so its end is theirs."""
    options = ["--env-id", "test/pendulum/random-v0", "--eval-episodes", "10", "--device", "cpu", "--batch-size", "8"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "dmg_offline.py"), *options, "--offline-steps", "1000000"],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while "evaluation in 2 processes" not in (line := process.stdout.readline()):
        assert line
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
