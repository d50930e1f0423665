"""The local recorder and the importer of D4RL's files."""

import subprocess
import sys
from dataclasses import replace

import collect_local
import gymnasium as gym
import h5py
import import_d4rl
import minari
import numpy as np
import pytest
from conftest import ROOT
from tqdm import tqdm

import dmg_offline as dmg


def run(script, *args, code=0):
    command = [sys.executable, str(ROOT / "benchmark" / script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def refused(script, *args):
    """What the one line on stderr says."""
    done = run(script, *args, code=2)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and not done.stdout
    return done.stderr


def arrays(dataset_id):
    rows, _, returns = dmg.load_transitions(minari.load_dataset(dataset_id))
    return rows, returns


@pytest.mark.parametrize("name", ["pointmaze-umaze", "hopper-replay", "hopper-expert"])
def test_the_same_seed_records_the_same_data(name):
    dataset_id = f"local/{name.replace('-', '/')}-v0"
    done = run("collect_local.py", name, "--steps", "600")
    assert done.stdout.startswith(f"{dataset_id}: ") and done.stdout.count("\n") == 1
    noise = [line for line in done.stderr.splitlines() if line.strip() and not line.lstrip().startswith(name)]
    assert not noise  # the progress bar alone
    first, _ = arrays(dataset_id)
    assert "is there already" in run("collect_local.py", name, "--steps", "600").stdout
    run("collect_local.py", name, "--steps", "600", "--overwrite")
    np.testing.assert_array_equal(first, arrays(dataset_id)[0])
    run("collect_local.py", name, "--steps", "600", "--overwrite", "--seed", "1")
    assert first.shape != arrays(dataset_id)[0].shape or not np.array_equal(first, arrays(dataset_id)[0])


def test_replay_and_expert_come_from_the_same_search():
    """Both levels search again, so the search itself must end at the same policy."""
    env, args = gym.make("Hopper-v5"), collect_local.Args(("hopper-expert",), steps=2000)
    first, second = (collect_local.search(env, "hopper", args, tqdm(disable=True)) for _ in range(2))
    observations = np.random.default_rng(0).normal(size=(5, 11))
    for observation in observations:
        np.testing.assert_array_equal(first[1](observation), second[1](observation))
    assert [e.rewards.sum() for e in first[0]] == [e.rewards.sum() for e in second[0]]
    env.close()


def test_a_recording_that_fails_leaves_the_old_data_alone(monkeypatch):
    args = collect_local.Args(("hopper-replay",), steps=300)
    collect_local.record("hopper-replay", args)
    before, _ = arrays("local/hopper/replay-v0")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(collect_local, "collect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect_local.record("hopper-replay", replace(args, overwrite=True))
    np.testing.assert_array_equal(before, arrays("local/hopper/replay-v0")[0])


def test_recorded_mazes_end_at_the_goal_and_serve_the_default_command():
    run("collect_local.py", "pointmaze-umaze", "--steps", "1500")
    dataset = dmg.open_dataset("pointmaze-umaze")
    for episode in dataset.iterate_episodes():
        assert episode.terminations[-1] != episode.truncations[-1] and not episode.terminations[:-1].any()
        assert (episode.rewards > 0).tolist() == episode.terminations.tolist()
    metadata = dataset.storage.metadata
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (0.0, 1.0)
    assert dataset.recover_environment().spec.id == "PointMaze_UMaze-v3"
    tiny = ["--offline-steps", "4", "--eval-interval", "4", "--eval-episodes", "2", "--batch-size", "8"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "dmg_offline.py"), *tiny], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "1[goal [-1. -1.] reached] - 1" in done.stdout


def test_recorded_locomotion_has_d4rls_reference_returns():
    run("collect_local.py", "hopper-replay", "--steps", "600")
    dataset = dmg.open_dataset("hopper-replay")
    metadata = dataset.storage.metadata
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == dmg.REFERENCE_RETURNS["hopper"]
    assert dataset.recover_environment().spec.id == "Hopper-v5"


def test_thinning_is_even():
    episodes = [type("Episode", (), {"rewards": np.zeros(10), "number": i})() for i in range(100)]
    kept = [episode.number for episode in collect_local.thin(episodes, 250)]
    assert kept == list(range(3, 100, 4))


def test_unknown_names_to_record():
    assert "hopper-replay" in refused("collect_local.py", "pointmaze-umaze", "hoper-replay")
    assert "pointmaze-umaze" in refused("collect_local.py")
    assert "--steps" in refused("collect_local.py", "hopper-replay", "--steps", "0")
    assert not minari.list_local_datasets()  # every name is checked before the first recording


def d4rl_arrays(seed=0, rows=60):
    """Flat arrays like a file of D4RL: terminals, timeouts, rows with both, an unfinished tail.

    Seed 0 is by hand; the others place many ends at random, also next to each other and on the last row.
    """
    rng = np.random.default_rng(seed)
    terminals, timeouts = np.zeros(rows, bool), np.zeros(rows, bool)
    terminals[[7, 20, 33]], timeouts[[15, 33, 44]] = True, True
    if seed:
        terminals, timeouts = rng.random((2, rows)) < 0.3
        terminals[-1], timeouts[-1] = seed == 1, seed == 2
    parts = (rng.normal(size=(rows, 11)), rng.uniform(-1, 1, (rows, 3)), rng.normal(size=rows))
    return [part.astype(np.float32) for part in parts] + [terminals, timeouts]


def qlearning_rule(observations, actions, rewards, terminals, timeouts):
    """D4RL's rule, row by row, without the last: a timeout's row is skipped, next is the row below."""
    kept = [
        np.concatenate([observations[i], actions[i], [rewards[i]], observations[i + 1], [terminals[i]]])
        for i in range(len(rewards) - 1)
        if not timeouts[i]
    ]
    return np.array(kept, np.float32)


def write_d4rl_file(path, data):
    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    with h5py.File(path, "w") as file:
        for name, array in zip(names, data, strict=True):
            file[name] = array
    return path


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_import_gives_d4rls_transitions(tmp_path, seed):
    data = d4rl_arrays(seed)
    path = write_d4rl_file(tmp_path / "hopper_medium_replay-v2.hdf5", data)
    run("import_d4rl.py", path)
    dataset = dmg.open_dataset("hopper-medium-replay-v2")
    ours, _ = arrays(dataset.id)
    theirs = qlearning_rule(*data)
    assert ours.shape == theirs.shape
    before, after = slice(0, 15), slice(15, 26)
    np.testing.assert_array_equal(ours[:, before], theirs[:, before])
    np.testing.assert_array_equal(ours[:, 26], theirs[:, 26])
    goes_on = theirs[:, 26] == 0  # what follows a termination is masked, and D4RL's is another episode's
    np.testing.assert_array_equal(ours[goes_on, after], theirs[goes_on, after])
    assert dataset.recover_environment().spec.id == "Hopper-v4"
    assert dataset[0].observations.dtype == dataset[0].actions.dtype == np.float32
    metadata = dataset.storage.metadata
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == dmg.REFERENCE_RETURNS["hopper"]
    assert "is there already" in refused("import_d4rl.py", path)


def test_the_import_takes_an_id(tmp_path):
    path = write_d4rl_file(tmp_path / "hopper_mine.hdf5", d4rl_arrays())
    assert "not named like" in refused("import_d4rl.py", path)
    assert "--id" in refused("import_d4rl.py", path, "--id", "mine")
    assert "--id" in refused("import_d4rl.py", path, "--id", "../mine-v0")
    run("import_d4rl.py", path, "--id", "d4rl/hopper/mine-v0")
    assert list(minari.list_local_datasets()) == ["d4rl/hopper/mine-v0"]


def test_files_that_cannot_be_imported(tmp_path):
    broken = tmp_path / "hopper_medium-v2.hdf5"
    broken.write_bytes(b"no HDF5")
    assert "download it again" in refused("import_d4rl.py", broken)
    assert "there is no file" in refused("import_d4rl.py", tmp_path / "hopper_expert-v2.hdf5")
    with h5py.File(tmp_path / "walker2d_medium-v2.hdf5", "w") as file:
        file["observations"] = np.zeros((3, 17))
    assert "download it again" in refused("import_d4rl.py", tmp_path / "walker2d_medium-v2.hdf5")
    wrong = write_d4rl_file(tmp_path / "walker2d_expert-v2.hdf5", d4rl_arrays())
    assert "do not fit walker2d" in refused("import_d4rl.py", wrong)
    assert "D4RL/antmaze" in refused("import_d4rl.py", "Ant_maze_u-maze_noisy_sparse_fixed.hdf5")
    assert not minari.list_local_datasets()


def test_a_termination_uses_the_stored_next_observation():
    observations, actions, rewards, terminals, timeouts = d4rl_arrays()
    following = observations + 100
    episodes = import_d4rl.cut(observations, actions, rewards, terminals, timeouts, following)
    assert episodes[0].terminations[-1] and (episodes[0].observations[-1] == following[7]).all()
    assert episodes[1].truncations[-1] and (episodes[1].observations[-1] == observations[15]).all()
