"""The local recorder and the importer of D4RL's files: what they store, what they refuse, what stops them."""

import itertools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import collect_local
import gymnasium as gym
import h5py
import import_d4rl
import minari
import numpy as np
import pytest
import save_ant
import torch
from conftest import ROOT

import dmg_offline as dmg
from benchmark import d4rl_antmaze

HOPPER = "hopper_medium_replay-v2.hdf5"
ANTMAZE = "Ant_maze_{}-maze_noisy_multistart_{}_multigoal_{}_sparse_fixed.hdf5"
ANTMAZES = {
    "umaze": ANTMAZE.format("u", False, False),
    "umaze-diverse": ANTMAZE.format("u", True, True),
    "medium-play": ANTMAZE.format("big", True, False),
    "medium-diverse": ANTMAZE.format("big", True, True),
    "large-play": ANTMAZE.format("hardest", True, False),
    "large-diverse": ANTMAZE.format("hardest", True, True),
}


@pytest.fixture
def run(capfd):
    """run(tool, *arguments, before=...) in a process group of its own -> exit code, stdout, stderr."""

    def run(tool, *args, before=lambda: None):
        def target():
            os.setpgid(0, 0)
            np.random.seed()  # as in a new process
            sys.argv = [tool.__name__, *map(str, args)]
            before()
            tool.main()

        capfd.readouterr()
        process = multiprocessing.get_context("fork").Process(target=target)
        process.start()
        process.join()
        return process.exitcode, *capfd.readouterr()

    return run


@pytest.fixture
def refused(run):
    """What the one line on stderr says."""

    def refused(*args, **options):
        code, out, err = run(*args, **options)
        assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1, (code, out, err)
        return err

    return refused


def transitions(dataset_id):
    """Observations, actions, rewards, next observations and terminations of a stored data set."""
    episodes = list(minari.load_dataset(dataset_id))
    flat = [dmg.flatten(episode.observations) for episode in episodes]
    columns = [[o[:-1] for o in flat], [e.actions for e in episodes], [e.rewards for e in episodes]]
    columns += [[o[1:] for o in flat], [e.terminations for e in episodes]]
    return [np.concatenate(column) for column in columns]


def reference_scores(dataset):
    return dataset.storage.metadata["ref_min_score"], dataset.storage.metadata["ref_max_score"]


def equal(first, second):
    return all(a.shape == b.shape and (a == b).all() for a, b in zip(first, second, strict=True))


def left_over():
    """What lies in Minari's folder beside data sets and their namespaces."""
    return [path.name for path in Path(os.environ["MINARI_DATASETS_PATH"]).rglob(".*")]


# --- what is recorded ---


@pytest.mark.parametrize("name", ["pointmaze-umaze", "hopper-expert"])
def test_the_same_seed_records_the_same_data(run, name):
    dataset_id, is_maze = f"local/{name.replace('-', '/')}-v0", "maze" in name
    args = (collect_local, name, "--steps", 300)
    code, out, err = run(*args)
    assert code == 0 and out.startswith(f"{dataset_id}: ") and out.count("\n") == 1
    assert all(name in line for line in err.split("\n") if line.strip())  # the progress bar alone
    dataset, first = minari.load_dataset(dataset_id), transitions(dataset_id)
    assert reference_scores(dataset) == ((0.0, 1.0) if is_maze else dmg.REFERENCE_RETURNS["hopper"])
    assert dataset.recover_environment().spec.id == ("PointMaze_UMaze-v3" if is_maze else "Hopper-v5")
    for episode in dataset:
        assert (episode.terminations | episode.truncations).sum() == 1
        assert episode.terminations[-1] or episode.truncations[-1]
        assert not is_maze or (episode.rewards == episode.terminations).all()
    assert "is there already" in run(*args)[1]
    for seed in (0, 1):
        assert run(*args, "--overwrite", "--seed", seed)[0] == 0
        assert equal(first, transitions(dataset_id)) == (seed == 0)
    assert not left_over()


def make_antmaze(maze):
    return gym.make(f"benchmark.d4rl_antmaze:D4RLAntMaze/{maze}-v2")


def test_antmaze_is_recorded_for_one_goal(run):
    dataset_id, args = "local/antmaze/umaze-v0", (collect_local, "antmaze-umaze", "--steps", 701)
    code, out, _ = run(*args)
    assert code == 0 and out.startswith(f"{dataset_id}: ") and out.count("\n") == 1
    env = make_antmaze("umaze")
    env.reset(seed=0)
    goal, dataset, first = env.unwrapped.goal, minari.load_dataset(dataset_id), transitions(dataset_id)
    is_near = np.hypot(*(first[3][:, :2] - goal).T) <= 0.5
    assert 0 < is_near.sum() < len(is_near) and f"{is_near.sum():,} transitions" in out
    assert (first[2] == is_near).all() and (first[4] == is_near).all()
    assert any(episode.terminations[:-1].any() for episode in dataset)  # episodes go on at the goal
    for episode in dataset:
        x, y = episode.observations[-25:, 4:6].T
        assert len(episode.rewards) == 700 or (x**2 + y**2 > 0.5).all()  # a fall
        assert episode.truncations.sum() == episode.truncations[-1] == 1
        assert np.abs(episode.observations[0, :2]).max() <= 0.1
    assert first[0].dtype == np.float32 and reference_scores(dataset) == (0.0, 1.0)
    for seed in (1, 0):
        assert run(*args, "--overwrite", "--seed", seed)[0] == 0
        assert equal(first, transitions(dataset_id)) == (seed == 0)
    code = "import dmg_offline as dmg; dataset = dmg.open_dataset('local/antmaze/umaze-v0'); "
    code += "print(dmg.task_of(dataset), dmg.make_env(dataset).spec.max_episode_steps); "
    code += "args = dmg.Args(**dmg.presets(dataset)); rows = dmg.load_transitions(dataset, None, args)[0]; "
    code += "print(*(rows[:, 37] == rows[:, -1] - 1).nonzero()[0].shape, *rows.shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "d4rlantmaze 700" and lines[-1] == f"{len(is_near)} {len(is_near)} 68"


@pytest.mark.parametrize("maze", ["medium", "large"])
def test_recordings_of_larger_antmazes_start_anywhere(maze):
    env = make_antmaze(maze)
    recording, starts, goals = collect_local.AntMazeRecording(env, np.random.default_rng(0)), set(), set()
    for _ in range(300):
        xy = recording.reset()[0][:2]
        corners = np.floor(np.stack([xy, env.unwrapped.goal]) / 4).astype(int)
        starts.add(tuple(corners[0, ::-1] + 1))
        goals.add(tuple(corners[1, ::-1] + 1))
        assert (xy - 4 * corners[0] <= 1).all() and (env.unwrapped.goal - 4 * corners[1] <= 1.5).all()
    assert goals == set(d4rl_antmaze.DATA_GOALS[maze])
    assert starts == set(d4rl_antmaze.cells(maze)) - goals


def test_an_antmaze_recording_ends_after_a_fall_and_not_at_the_goal():
    env = make_antmaze("umaze")
    recording = collect_local.AntMazeRecording(env, None)
    recording.reset(seed=0)
    ant = env.unwrapped
    position = ant.data.qpos.copy()
    position[:2] = ant.goal
    for quaternion, steps in (([1, 0, 0, 0], None), ([0, 1, 0, 0], 25), ([1, 0, 0, 0], None)):
        position[3:7] = quaternion
        ant.set_state(position, np.zeros(14))
        ends = [recording.step(np.zeros(8))[2:4] for _ in range(steps or 30)]
        assert not any(terminated for terminated, _ in ends)
        assert [truncated for _, truncated in ends] == [False] * (len(ends) - 1) + [steps is not None]


@pytest.mark.parametrize("maze", d4rl_antmaze.MAZES)
def test_waypoints_lead_from_everywhere_to_the_goal(maze):
    rng, free, ways = np.random.default_rng(0), d4rl_antmaze.cells(maze), {}
    for start in free:
        for goal_cell in d4rl_antmaze.DATA_GOALS[maze]:
            goal = d4rl_antmaze.cell_center(maze, goal_cell) + rng.uniform(0, 1.5, 2)
            position = d4rl_antmaze.cell_center(maze, start) - 1.5  # for D4RL in another cell
            for _ in range(1000):
                way = collect_local.next_waypoint(maze, ways, position, goal, rng) - position
                step = 0.2 * way / max(np.linalg.norm(way), 0.2)
                for move in (step * [1, 0], step * [0, 1]):  # a point that slides along walls
                    if tuple(np.round((position + move)[::-1] / 4 + 1).astype(int)) in free:
                        position = position + move
                if np.linalg.norm(position - goal) < 0.5:
                    break
            else:
                pytest.fail(f"{start} to {goal_cell}: stuck at {position}")


def test_the_ant_is_the_actor_of_a_run(tmp_path):
    agent = dmg.Agent([(1, 1.0, 0.0), (2, 1.0, 0.0)], np.zeros(29), np.ones(29), 8, dmg.Args())
    state = {"run": {"script": "dmg_finetune"}, "agent": agent.state_dict()}
    torch.save(state, tmp_path / "checkpoint.pt")
    save_ant.main(tmp_path, tmp_path / "ant.npz")
    observation = np.random.default_rng(0).normal(size=29)
    action = agent.actor(torch.tensor(observation, dtype=torch.float32).expand(2, 1, 29))[0, 0].detach()
    assert np.allclose(collect_local.load_ant(tmp_path / "ant.npz")(observation), action, atol=1e-6)


def test_thinning_is_even():
    episodes = [type("Episode", (), {"rewards": np.zeros(10), "number": i})() for i in range(100)]
    kept = [episode.number for episode in collect_local.thin(episodes, 250)]
    assert kept == list(range(3, 100, 4))


# --- what is imported ---


def d4rl_file(folder, name=HOPPER, seed=0, rows=60, **changes):
    """A made-up file of D4RL: terminals, timeouts, rows with both, an unfinished tail; seed 0 is by hand.

    Random ends also stand next to each other and on the last row. changes: arrays to replace, None for none.
    """
    rng, is_maze = np.random.default_rng(seed), "maze" in name
    terminals, timeouts = np.zeros((2, rows), bool)
    terminals[[7, 20, 33]], timeouts[[15, 33, 44]] = True, True
    if seed:
        terminals, timeouts = rng.random((2, rows)) < 0.3
        terminals[-1], timeouts[-1] = seed == 1, seed == 2
    data = {
        "observations": rng.normal(size=(rows, 29 if is_maze else 11)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (rows, 8 if is_maze else 3)).astype(np.float32),
        "rewards": np.where(is_maze, terminals, rng.normal(size=rows)).astype(np.float32),
        "terminals": terminals,
        "timeouts": timeouts,
    }
    data["actions"][0, 0] = 1 + 5e-5  # rounding is no reason to refuse a file
    data |= changes
    with h5py.File(folder / name, "w") as file:
        for key, array in data.items():
            if array is not None:
                file[key] = array
    return folder / name, data


def qlearning_dataset(data):
    """D4RL's rule: no row with a timeout, never the last row, and the row below is what came next."""
    k = np.flatnonzero(~data["timeouts"][:-1])
    observations, terminals = data["observations"], data["terminals"]
    return [observations[k], data["actions"][k], data["rewards"][k], observations[k + 1], terminals[k]]


@pytest.mark.parametrize("seed, level, name", [(i % 3, *file) for i, file in enumerate(ANTMAZES.items())])
def test_antmaze_is_imported_as_d4rl_reads_it(run, tmp_path, seed, level, name):
    path, data = d4rl_file(tmp_path, name, seed)
    assert run(import_d4rl, path)[0] == 0
    dataset = dmg.open_dataset(f"antmaze-{level}-v2")
    assert list(minari.list_local_datasets()) == [dataset.id] == [f"d4rl/antmaze/{level}-v2"]
    assert equal(qlearning_dataset(data), transitions(dataset.id))
    kept = ~data["timeouts"][:-1]
    assert dataset.total_episodes == (np.diff(kept, prepend=False) & kept).sum()  # cut at timeouts alone
    assert dataset.env_spec.id == f"D4RLAntMaze/{level.split('-')[0]}-v2"
    assert reference_scores(dataset) == (0.0, 1.0)


@pytest.mark.parametrize("seed, offset", [(0, 100), (1, 0), (2, 100)])
def test_locomotion_is_imported_as_d4rl_reads_it(run, tmp_path, seed, offset):
    path, data = d4rl_file(tmp_path, seed=seed)
    if offset:
        path, data = d4rl_file(tmp_path, seed=seed, next_observations=data["observations"] + offset)
    assert run(import_d4rl, path)[0] == 0
    dataset = dmg.open_dataset("hopper-medium-replay-v2")
    ours, theirs = transitions(dataset.id), qlearning_dataset(data)
    # after a terminal D4RL has another episode's observation, which is masked in every target
    theirs[3][theirs[4]] = theirs[0][theirs[4]] + offset
    assert equal(theirs, ours)
    assert ours[0].dtype == ours[1].dtype == np.float32 and dataset.env_spec.id == "Hopper-v4"
    assert reference_scores(dataset) == dmg.REFERENCE_RETURNS["hopper"]


def test_an_imported_antmaze_is_recovered_in_a_new_process(tmp_path):
    path, _ = d4rl_file(tmp_path, ANTMAZES["large-play"])
    subprocess.run([sys.executable, ROOT / "benchmark" / "import_d4rl.py", path], check=True)
    code = "import minari; env = minari.load_dataset('d4rl/antmaze/large-play-v2').recover_environment(); "
    code += "print(env.spec.max_episode_steps, *env.reset(seed=0)[0].shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["1000", "29"], done.stderr


# --- what is refused ---


def with_one(key, value):
    """Changes the first number of one of the arrays."""
    return lambda data: {key: np.r_[value, data[key].ravel()[1:].astype(float)].reshape(data[key].shape)}


@pytest.mark.parametrize(
    "change, words",
    [
        (with_one("observations", np.nan), "observations hold NaN or infinity in 1 places"),
        (with_one("rewards", -np.inf), "rewards hold NaN"),
        (with_one("rewards", 1e300), "rewards hold NaN"),
        (with_one("terminals", np.nan), "terminals hold NaN"),
        (with_one("actions", -5.0), "actions go up to 5"),
        (lambda data: {"timeouts": np.ones(60, bool)}, "no step that can be used"),
        (lambda data: {key: array[:1] for key, array in data.items()}, "no step that can be used"),
        (lambda data: {key: array[:0] for key, array in data.items()}, "no step that can be used"),
        (lambda data: {"timeouts": None}, "timeouts"),
        (lambda data: {"rewards": data["rewards"][:-1]}, "shape"),
        (lambda data: {"observations": data["observations"][:, :-1]}, "observations have the shape (60, 10)"),
        (lambda data: {"rewards": np.array(["none"] * 60, "S4")}, "sound"),
    ],
)
def test_unsound_files(refused, tmp_path, change, words):
    path, _ = d4rl_file(tmp_path, **change(d4rl_file(tmp_path)[1]))
    assert words in refused(import_d4rl, path)
    assert not minari.list_local_datasets() and not left_over()


@pytest.mark.parametrize(
    "name, args, words",
    [
        (HOPPER, ["--id", "mine"], "--id"),
        (HOPPER, ["--id", "../mine-v0"], "--id"),
        (HOPPER, ["--id", "é/x-v0"], "--id"),
        (HOPPER, ["--id", "d4rl/é-v0"], "--id"),
        (HOPPER, ["--id", "a/x-v0"], "--id"),
        (HOPPER, ["--id", "d4rl/x-v²"], "--id"),
        ("hopper_mine.hdf5", [], "not named like"),
        ("hopper_medium.hdf5", [], "not named like"),
        (ANTMAZE.format("u", True, False), [], "not named like"),
        (ANTMAZES["umaze"].replace("_fixed", ""), [], "not named like"),
    ],
)
def test_names_that_cannot_be_imported(refused, tmp_path, name, args, words):
    path, _ = d4rl_file(tmp_path, name)
    assert words in refused(import_d4rl, path, *args)
    assert not minari.list_local_datasets()


def test_other_refusals(run, refused, tmp_path):
    for args in (["pointmaze-umaze", "hoper-replay"], []):
        assert "hopper-replay" in refused(collect_local, *args)
    for args in (["--steps", 0], ["--seed", -1]):
        assert args[0] in refused(collect_local, "hopper-replay", *args)
    assert "there is no file" in refused(import_d4rl, tmp_path / HOPPER)
    (tmp_path / HOPPER).write_bytes(b"no HDF5")
    assert "download it again" in refused(import_d4rl, tmp_path / HOPPER)
    path, _ = d4rl_file(tmp_path, "hopper_mine.hdf5")
    assert not minari.list_local_datasets()
    assert run(import_d4rl, path, "--id", "d4rl/hopper/mine-v0")[0] == 0
    assert list(minari.list_local_datasets()) == ["d4rl/hopper/mine-v0"]
    assert "is there already" in refused(import_d4rl, path, "--id", "d4rl/hopper/mine-v0")


# --- what stops them ---


def stop(kind, rename=0):
    """Signals the tool and its writer before the rename-th renaming, or else in the middle of the writing."""
    owner, name, number = (Path, "rename", rename) if rename else (h5py.Group, "create_dataset", 9)

    def before():
        original, calls = getattr(owner, name), itertools.count(1)

        def patched(*args, **kwargs):
            if next(calls) == number:
                os.killpg(0, kind)
            return original(*args, **kwargs)

        setattr(owner, name, patched)

    return before


KILL, CTRL_C = signal.SIGKILL, signal.SIGINT


@pytest.mark.parametrize("rename", [0, 2, 3])
@pytest.mark.parametrize("kind", [KILL, CTRL_C])
def test_an_overwrite_that_is_stopped_leaves_the_old_data_or_the_new(run, tmp_path, kind, rename):
    path, old = d4rl_file(tmp_path, ANTMAZES["umaze"], seed=0)
    assert run(import_d4rl, path)[0] == 0
    _, new = d4rl_file(tmp_path, ANTMAZES["umaze"], seed=1)
    code, out, err = run(import_d4rl, path, "--overwrite", before=stop(kind, rename))
    assert (code, out, err.count("\n")) == ((-9, "", 0) if kind == KILL else (130, "", 1))
    assert "is there already" in run(import_d4rl, path)[2]
    assert kind == KILL or not left_over()
    (dataset_id,) = minari.list_local_datasets()
    assert equal(qlearning_dataset(new if rename == 3 else old), transitions(dataset_id))
    assert run(import_d4rl, path, "--overwrite")[0] == 0
    assert equal(qlearning_dataset(new), transitions(dataset_id))


def fill_disk(limit):
    def before():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # HDF5 crashes
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return before


def commands(folder):
    """A short call of each tool, and the data set that it makes."""
    yield (collect_local, "hopper-replay", "--steps", 300), "local/hopper/replay-v0"
    yield (import_d4rl, d4rl_file(folder)[0]), "d4rl/hopper/medium-replay-v2"


@pytest.mark.parametrize(
    "before, expected, words",
    [
        (stop(KILL), -9, None),
        (stop(CTRL_C), 130, "interrupted"),
        (fill_disk(1_000), 2, "cannot write to"),
        (fill_disk(20_000), 2, "cannot write to"),
    ],
)
def test_a_stop_while_writing_stores_nothing(run, tmp_path, before, expected, words):
    for command, dataset_id in commands(tmp_path):
        code, out, err = run(*command, before=before)
        assert code == expected and not out and dataset_id not in minari.list_local_datasets()
        assert not words or err.splitlines()[-1].startswith(f"error: {words}") and not left_over()
        assert run(*command)[0] == 0 and dataset_id in minari.list_local_datasets()


def test_a_folder_that_cannot_be_written(refused, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for root in ("file", "file/below"):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / root))
        for command, _ in commands(tmp_path):
            assert "MINARI_DATASETS_PATH" in refused(*command)
