"""OGBench: what the importer hands on, how its tasks are scored, what is recorded by its recipe."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import collect_local
import gymnasium as gym
import numpy as np
import pytest
import store
import torch
from conftest import ROOT, ended, fork, returns, run

import dmg_offline as dmg

IMPORT, COLLECT = ROOT / "benchmark/import_ogbench.py", ROOT / "benchmark/collect_local.py"
MAZE, CUBE = "pointmaze-medium-navigate-singletask-task1", "cube-single-play-singletask-task2"
SCENE = "scene-play-singletask"
# Numbers in an observation, an action and qpos, and what puts rows of qpos where the task is solved
LAYOUTS = {
    MAZE: (2, 2, 2, {0: 20.0, 1: 20.0}),
    CUBE: (28, 5, 21, {14: 0.5, 15: 0.0, 16: 0.02}),
    SCENE: (40, 5, 25, {}),
}


@pytest.fixture
def ogbench():
    return pytest.importorskip("ogbench")


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    monkeypatch.setattr(store, "ROOM", 1000)


def write_files(name, lengths=(7, 5, 1)):
    """FILE.npz and FILE-val.npz of random rows in the library's layout, some of them solved; returns FILE."""
    observations, actions, qpos, solution = LAYOUTS[name]
    for suffix in ("", "-val"):
        rng, rows = np.random.default_rng(0), sum(lengths)
        widths = {"observations": observations, "qpos": qpos, "qvel": qpos}
        arrays = {key: rng.normal(size=(rows, width)) for key, width in widths.items()}
        arrays["actions"] = rng.uniform(-1, 1, (rows, actions))
        for index, value in solution.items():
            arrays["qpos"][[2, 3, 9], index] = value + rng.uniform(-0.01, 0.01, 3)
        arrays = {key: array.astype(np.float32) for key, array in arrays.items()}
        if name == SCENE:
            arrays["button_states"] = rng.integers(0, 2, (rows, 2))
        terminals = np.zeros(rows, bool)
        terminals[np.cumsum(lengths) - 1] = True
        np.savez(f"file{suffix}.npz", terminals=terminals, **arrays)
    return "file.npz"


def tool(*argv, code=0, before=lambda: None):
    """A tool in a process of its own: it sets signal handlers."""
    return ended(fork(*argv, before=before), code)


def refused(*argv, before=lambda: None):
    done = tool(*argv, code=2, before=before)
    assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    return done.err


def without_ogbench():
    sys.modules["ogbench"] = None  # as where it is not installed
    sys.modules.pop("benchmark.ogbench_env", None)


# --- the importer ---


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_loader_cuts_exactly_the_librarys_transitions(ogbench, name):
    file = write_files(name)
    out = tool(IMPORT, name, "--path", file).out
    _, wanted, _ = ogbench.make_env_and_datasets(f"{name}-v0", dataset_path=file)
    dataset = dmg.open_dataset(name)
    assert dataset.id == f"ogbench/{name}-v0" and dmg.open_dataset(f"{name}-v0").id == dataset.id
    data, returns_of_data = dmg.load_transitions(dataset, dmg.make_env(dataset), dmg.Args())
    keys = ("observations", "actions", "rewards", "next_observations")
    for part, key in zip(data, keys):
        np.testing.assert_array_equal(part, wanted[key], key)
    np.testing.assert_array_equal(data[4], 1 - wanted["masks"])
    solved = [] if name == SCENE else [2, 3, 8]  # rows 2, 3 and 9: row 6 leads nowhere, and is left out
    assert len(data[0]) == 6 + 4 and data[4].nonzero()[0].tolist() == solved
    lowest, highest = (-5, -3) if name == SCENE else (-1, 0)  # minus the conditions that are not met
    assert data[2].min() == lowest and data[2].max() == highest
    assert "10 transitions, 2 episodes" in out
    assert f"{len(solved)} transitions of {2 if solved else 0} episodes" in out
    assert returns_of_data.tolist() == 2 * [1.0 if solved else 0.0]
    assert dmg.reference_returns(dataset) == (0.0, 1.0) and dmg.task_of(dataset) == "ogbench"


def test_a_set_recorded_here_has_another_name_than_the_librarys(ogbench):
    file = write_files(MAZE)
    for path in ("file.npz", "file-val.npz"):
        arrays = dict(np.load(path))
        np.savez(path, origin="by OGBench's recipe, seed 0", **arrays)
    tool(IMPORT, MAZE, "--path", file)
    dataset = dmg.open_dataset(f"local/ogbench/{MAZE}-v0")
    assert dataset.storage.metadata["description"] == "by OGBench's recipe, seed 0"
    assert dmg.task_of(dataset) == "ogbench"


def test_a_set_trains_and_its_score_is_the_share_of_successes(ogbench):
    tool(IMPORT, MAZE, "--path", write_files(MAZE))
    flags = "--device cpu --offline-steps 4 --eval-interval 4 --eval-episodes 2 --batch-size 8".split()
    run("dmg_offline", "--env-id", MAZE, *flags)
    assert returns() == [[[0.0, 0.0]] * 2]
    line = tool(ROOT / "dmg_offline.py", "--env-id", MAZE, *flags, code=2, before=without_ogbench).err
    assert "pip install ogbench==" in line and "Traceback" not in line


@pytest.mark.parametrize("script", ["dmg_finetune", "iql"])
def test_online_steps_are_trained_with_the_rewards_of_the_data(ogbench, script):
    tool(IMPORT, MAZE, "--path", write_files(MAZE))
    flags = "--device cpu --offline-steps 2 --online-steps 4 --eval-episodes 1 --batch-size 8".split()
    run(script, "--env-id", MAZE, *flags)
    (checkpoint,) = Path("runs").glob("*/checkpoint.pt")
    _, _, rewards, *_ = torch.load(checkpoint, weights_only=True)["online"]
    assert rewards.unique().tolist() == [-1.0]


def test_names_files_and_a_missing_package_are_refused_in_one_line(ogbench):
    file = write_files(MAZE)
    assert "not named like a single task" in refused(IMPORT, "cube-single-play")
    assert "no task visual-cube-single-" in refused(IMPORT, f"visual-{CUBE}")
    assert "no task cube-single-singletask-task6-v0" in refused(IMPORT, "cube-single-play-singletask-task6")
    assert "--id x" in refused(IMPORT, CUBE, "--id", "x")
    assert "no file nowhere.npz" in refused(IMPORT, CUBE, "--path", "nowhere.npz")
    assert "another environment" in refused(IMPORT, "antmaze-large-navigate-singletask", "--path", file)
    with open("text.npz", "w") as text, open("text-val.npz", "w"):
        text.write("no archive")
    assert "cannot read text.npz" in refused(IMPORT, CUBE, "--path", "text.npz")
    for path in ("empty.npz", "empty-val.npz"):
        np.savez(path)
    assert "does not get" in refused(IMPORT, CUBE, "--path", "empty.npz")
    tool(IMPORT, MAZE, "--path", file)
    assert "--overwrite" in refused(IMPORT, MAZE, "--path", file)
    tool(IMPORT, MAZE, "--path", file, "--overwrite")


def test_without_the_package_one_line_says_how_to_install_it():
    for argv in ((IMPORT, CUBE), (COLLECT, "ogbench-cube-single-play")):
        assert "pip install ogbench==1.2.2 dm_control==1.0.44" in refused(*argv, before=without_ogbench)


def test_presets_and_short_names():
    for name in ("scene-play-singletask", "antmaze-large-navigate-singletask-task3"):
        for env_id in (name, f"{name}-v0"):
            named = dmg.named_dataset(env_id)
            assert named.id == f"ogbench/{name}-v0" and dmg.task_of(named) == "ogbench"
        args = dmg.Args(**dmg.presets(named))
        assert (args.gamma, args.offline_steps, args.eval_episodes) == (0.99, 1_000_000, 50)
        assert (args.lam, args.nu) == ((0.25,), (100.0,))  # the search's, on benchmark/results/ogbench.md
    for env_id in ("ogbench/scene-play-singletask-v0", "mine/x-singletask-v0"):
        assert dmg.named_dataset(env_id).id == env_id


# --- the environment ---


@pytest.fixture(params=[MAZE, CUBE])
def task(ogbench, request):
    """A task's environment as it is scored, and the library's own name of it."""
    name = request.param.replace("-navigate", "").replace("-play", "") + "-v0"
    return gym.make(f"benchmark.ogbench_env:OGBench/{name}"), name


def test_success_pays_1_and_ends_the_episode_and_nothing_else_does_but_time(task):
    env, name = task
    env.reset(seed=0)
    inner = env.unwrapped.env.unwrapped
    still = np.zeros(env.action_space.shape, np.float32)
    *result, info = env.step(still)
    assert result[1:] == [0.0, False, False] and info["training_reward"] == -1
    if "maze" in name:
        inner.set_xy(np.array([20.5, 20.5]))
    else:
        inner.data.joint("object_joint_0").qpos[:3] = inner.data.mocap_pos[0]
        assert env.step(still)[1:4] == (0.0, False, False)  # this step did not begin in a solved state
    *result, info = env.step(still)
    assert result[1:] == [1.0, True, False] and info["training_reward"] == 0
    env.reset(seed=0)
    ends = [env.step(still)[1:4] for _ in range(gym.spec(name).max_episode_steps)]
    assert ends == [(0.0, False, False)] * (len(ends) - 1) + [(0.0, False, True)]


def test_a_seed_repeats_bit_for_bit(task):
    env, name = task

    def rollout(env, seed):
        rng, rows = np.random.default_rng(0), [env.reset(seed=seed)[0]]
        rows += [env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))[0] for _ in range(8)]
        return np.array(rows)

    first, other = rollout(env, 3), gym.make(f"OGBench/{name}")
    assert (rollout(env, 3) == first).all() and (rollout(other, 3) == first).all()
    second = rollout(env, None)
    assert (second[0] != first[0]).any() and (rollout(other, None) == second).all()
    assert (rollout(env, 4)[0] != first[0]).any()


def test_only_the_librarys_tasks_are_made(ogbench):
    from benchmark.ogbench_env import OGBenchEnv

    with pytest.raises(ValueError, match="none of OGBench's tasks"):
        OGBenchEnv("antigravity:x-v0")


# --- what is recorded ---


@pytest.fixture
def record(ogbench, monkeypatch, tmp_path, capsys):
    """record(name, episodes, steps of one, seed) -> the arrays of both files, and what was printed."""

    def record(name, count=1, steps=11, seed=0):
        monkeypatch.setattr(collect_local, "OGBENCH_EPISODE", steps)
        options = dict(seed=seed, steps=count * (steps - 1), overwrite=True, folder=tmp_path)
        collect_local.record_ogbench(name, SimpleNamespace(**options))
        files = [dict(np.load(tmp_path / f"{name}-v0{suffix}.npz")) for suffix in ("", "-val")]
        return *files, capsys.readouterr().out

    return record


@pytest.mark.parametrize("name", collect_local.OGBENCH)
def test_recordings_have_the_librarys_layout_and_its_tasks(ogbench, record, tmp_path, name):
    training, validation, _ = record(name, count=2)
    is_maze = name.startswith("point")
    keys = {"observations", "actions", "terminals", "qpos", "qvel", "origin"}
    assert (
        training.keys()
        == validation.keys()
        == keys | ({"button_states"} if name.startswith(("scene", "puzzle")) else set())
    )
    assert training["terminals"].nonzero()[0].tolist() == [10, 21] and len(validation["actions"]) == 11
    assert np.abs(training["actions"]).max() <= 1 and training["actions"].dtype == np.float32
    assert (training["observations"][:11] != validation["observations"]).any()
    start = slice(None) if is_maze else slice(6)  # the robot's joints
    np.testing.assert_allclose(training["observations"][:, start], training["qpos"][:, start], atol=1e-6)
    path = str(tmp_path / f"{name}-v0.npz")
    _, data, _ = ogbench.make_env_and_datasets(f"{name}-singletask-task4-v0", dataset_path=path)
    assert len(data["rewards"]) == 20 and (data["rewards"] <= 0).all()


@pytest.mark.parametrize("name", ["cube-single-play", "pointmaze-medium-navigate"])
def test_the_seed_decides_what_is_recorded(record, name):
    (first, *_), (again, *_), (other, *_) = [record(name, seed=seed) for seed in (0, 0, 1)]
    assert all((first[key] == again[key]).all() for key in first)
    assert (first["observations"] != other["observations"]).any()


def test_a_folder_that_cannot_be_written_is_refused_before_a_recording(ogbench):
    Path("file").touch()
    line = refused(COLLECT, "ogbench-pointmaze-medium-navigate", "--folder", "file/data")
    assert "cannot write to --folder file/data" in line and "episodes" not in line


def test_the_point_goes_where_its_action_says_and_round_corners(record, ogbench):
    training, _, out = record("pointmaze-medium-navigate", steps=600)
    moves = np.diff(training["qpos"], axis=0)
    free = np.abs(moves - 0.2 * training["actions"][:-1]).max(1) < 1e-5  # not against a wall
    assert free.mean() > 0.5
    assert re.search(r" (\d+) of \1 targets were reached", out)
    env = gym.make("pointmaze-medium-v0")
    tasks = [collect_local.point_policy(env, [])[1]["task_info"] for _ in range(300)]
    starts, goals = [{task[key] for task in tasks} for key in ("init_ij", "goal_ij")]
    assert (3, 3) in starts - goals and (6, 6) in starts & goals  # a corridor, a corner


def test_the_cube_is_carried_to_one_target_after_the_other(record):
    training, _, out = record("cube-single-play", steps=201)
    cube = training["qpos"][:, 14:17]
    np.testing.assert_allclose(training["observations"][:, 19:22], 10 * (cube - [0.425, 0, 0]), atol=1e-5)
    assert cube[:, 2].max() > 0.06 and np.linalg.norm(np.ptp(cube[:, :2], axis=0)) > 0.05  # lifted, and moved
    assert " of 4 targets were reached" in out  # a cube can slip


def test_a_cube_beside_the_table_is_out_of_sight_but_not_in_the_drawer():
    for y, z, hidden in ((0.0, 0.02, False), (0.29, 0.02, True), (-0.3, 0.02, True), (-0.35, 0.07, False)):
        qpos = np.zeros((3, 25))
        qpos[1, 15:17] = y, z
        assert collect_local.is_out_of_sight({"qpos": qpos}) == hidden
