"""The film of a policy and the picture of a maze, of runs that a copied script has made."""

import shutil
import sys
from pathlib import Path

import gymnasium as gym
import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from conftest import ROOT, make_episode, run, store
from gymnasium.envs.mujoco import mujoco_rendering
from render import choose_opengl

import dmg_offline as dmg

MAZE = "test/pointmaze/tiny-v0"
TRAINING = "--device cpu --offline-steps 4 --eval-interval 4 --eval-episodes 1 --batch-size 8 --hidden 8 8"
EPISODE_STEPS = 60
RENDER, PLOT = ROOT / "benchmark" / "render.py", ROOT / "benchmark" / "plot_maze.py"
BY = ["--script", str(ROOT / "dmg_offline.py")]  # of which my_dmg.py is a copy


def straight_episodes(count=3, length=20):
    """PointMaze's schema; straight from start to goal, episode 0 by way of (0, 1), the goal in `folders`."""
    rng = np.random.default_rng(0)
    for number in range(count):
        xy = np.linspace((-1, 1), (-1, -1), length + 1) + rng.uniform(-0.1, 0.1, (length + 1, 2))
        xy[5] = (number, 1)
        states = np.concatenate([xy, rng.normal(size=xy.shape)], axis=1)
        observations = {"achieved_goal": xy, "desired_goal": xy, "observation": states}
        actions = rng.uniform(-1, 1, (length, 2))
        yield make_episode(number, observations, actions, np.zeros(length), truncated=True)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A folder with data, a copy of dmg_offline.py, and a run of two members that the copy has made."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copy(ROOT / "dmg_offline.py", folder / "my_dmg.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        env = gym.make("PointMaze_UMaze-v3", max_episode_steps=EPISODE_STEPS)
        store(MAZE, list(straight_episodes()), env=env)
        where = ("--runs-dir", folder / "runs")
        run(folder / "my_dmg.py", "--env-id", MAZE, "--seed", 1, 2, *TRAINING.split(), *where)
    next((folder / "runs").iterdir()).rename(folder / "run")
    return folder


@pytest.fixture
def folders(copied, monkeypatch):
    """The run, and copies whose policies (RIGHT: the second's) only go left or right, where the goal is."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(copied / "minari"))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # render.py replaces it
    monkeypatch.setitem(dmg.MAZE_CELLS, (5, 5), ((1, 1), (1, 2)))
    paths = {"RUN": copied / "run"}
    for name, actions in {"RIGHT": [-9.0, 9.0], "LEFT": [-9.0, -9.0]}.items():
        state = torch.load(paths["RUN"] / "checkpoint.pt", weights_only=True)
        weights = [weight for key, weight in state["agent"].items() if key.startswith("actor.")]
        weights[-2].zero_()
        weights[-1][:] = torch.tensor([[[action, 0.0]] for action in actions])
        paths[name] = copied / name
        paths[name].mkdir(exist_ok=True)
        torch.save(state, paths[name] / "checkpoint.pt")
    return paths


@pytest.fixture(scope="module")
def opengl():
    """For tests that need it."""
    choose_opengl()
    try:
        env = gym.make("PointMaze_UMaze-v3", render_mode="rgb_array")
        env.reset()
        env.render()
    except Exception as error:
        pytest.skip(f"OpenGL does not work on this machine: {error}")


def test_gif(folders, opengl):
    done = run(RENDER, folders["RIGHT"], *BY, "--member", "seed2", "--episodes", 2, "--speed", 0.5)
    assert "seed2 after 4 updates: returns 1 1\nwrote policy.gif, 25 pictures a second\n" in done.out
    frames = imageio.imread("policy.gif")
    assert frames.shape[1:] == (480, 480, 3)
    assert 20 < len(frames) < 2 * EPISODE_STEPS  # both reach the goal; equal pictures are stored as one


def test_mp4_leaves_pictures_out(folders, opengl):
    for max_fps, length in {50: EPISODE_STEPS + 1, 10: EPISODE_STEPS // 5 + 1}.items():
        run(RENDER, folders["LEFT"], *BY, "--episodes", 1, "--max-fps", max_fps, "--output", "policy.mp4")
        assert len(imageio.imread("policy.mp4")) == length
        assert imageio.immeta("policy.mp4")["fps"] == max_fps


def test_picture_of_a_maze(folders):
    argv = [PLOT, folders["RIGHT"], *BY, "--episodes", 2, "--output", "maze.png"]
    done = run(*argv, "--cloning", folders["LEFT"])
    assert done.out.splitlines()[:3] == [
        "Data: from the start, 1 of 3 reach the goal",
        "Behaviour cloning, 2 runs: 0 of 4 episodes reach the goal",
        "my_dmg, 2 runs: 2 of 4 episodes reach the goal",
    ]
    three_panels = imageio.imread("maze.png")
    run(*argv)
    width = imageio.imread("maze.png").shape[1]
    assert width == pytest.approx(three_panels.shape[1] * 2 / 3, abs=1) and three_panels.std() > 30


@pytest.mark.parametrize(
    "script, argv, words",
    [
        (RENDER, ["nowhere"], "there is no nowhere/checkpoint.pt"),
        (RENDER, ["RUN", "--script", "her_dmg.py"], "there is no her_dmg.py"),
        (PLOT, ["RUN"], "my_dmg.py, which made the run, is not in"),
        (RENDER, ["RUN", *BY, "--member", "seed3"], "there are seed1, seed2"),
        (RENDER, ["RUN", *BY, "--output", "policy.avi"], ".gif or .mp4"),
        (RENDER, ["RUN", *BY, "--output", "nowhere/policy.gif"], "cannot write nowhere/policy.gif"),
        (RENDER, ["RUN", *BY, "--speed", "0"], "--speed"),
        (PLOT, ["nowhere"], "there is no nowhere/checkpoint.pt"),
        (PLOT, ["RUN", *BY, "--episodes", "0"], "--episodes"),
        (PLOT, ["RUN", *BY, "--output", "maze"], ".png, .pdf or .svg"),
        (PLOT, ["RUN", *BY, "--episodes", "1", "--output", "no/maze.png"], "cannot write no/maze.png"),
    ],
)
def test_errors(folders, opengl, script, argv, words):
    done = run(script, *[folders.get(word, word) for word in argv], code=2)
    assert words in done.err.splitlines()[-1] and "Traceback" not in done.err


def test_no_opengl(folders, monkeypatch):
    def missing(*_):
        raise ImportError("no EGL")

    choose_opengl()
    monkeypatch.setattr(mujoco_rendering, "_ALL_RENDERERS", dict.fromkeys(("glfw", "egl", "osmesa"), missing))
    done = run(RENDER, folders["RUN"], *BY, code=2)
    assert done.err.splitlines()[-1].startswith("error: cannot render; if OpenGL is missing: apt install")
    assert "Traceback" not in done.err


def test_a_run_online_from_scratch(opengl):
    """It has no data, which a film does not need."""
    argv = "--env-id Hopper-v5 --offline-steps 0 --online-steps 4 --learning-starts 2 --eval-interval 4"
    run("dmg_finetune", *argv.split(), *"--eval-episodes 1 --batch-size 2 --hidden 8 --device cpu".split())
    (path,) = Path("runs").iterdir()
    assert "wrote policy.gif" in run(RENDER, path, "--episodes", 1, "--speed", 9).out
    assert "Hopper-v5 is not data of" in run(PLOT, path, code=2).err
