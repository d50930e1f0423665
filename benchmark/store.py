"""What the data tools share: how episodes are played and cut, and how a set is stored: whole or not at all.

Minari writes into the data set's own folder, where a program that is killed leaves half of it. Here it writes
into a hidden folder, which is then renamed. What a kill leaves there (.unfinished-*) may be deleted.
"""

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from unittest import mock

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage.datasets_root_dir import get_dataset_path

ROOM = 2**28  # bytes that must be free before anything is recorded; a million steps take up to 0.9 GB


def fail(message, code=2):
    """End the program with one line that says what is wrong and what to do."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def interrupt(signal_number, frame):
    """End as ctrl-C does. A closed terminal sends HUP twice: the second must not stop the clearing up."""
    signal.signal(signal_number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def errors_in_one_line():
    """For main(): ctrl-C, TERM or HUP, and Minari's folder full or not to be written."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores HUP
            signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted: a data set that is not reported here is not stored", code=130)
    except OSError as error:
        root = os.environ.get("MINARI_DATASETS_PATH", "~/.minari/datasets")
        fail(f"cannot write to {root} ({error}): make room, or set MINARI_DATASETS_PATH to another folder")


@contextlib.contextmanager
def quiet_stderr():
    """Drop warnings and the notices of MuJoCo and Gymnasium-Robotics; exceptions get through."""
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def make_env(env_id, **options):
    """gym.make without notices, and without the maze's file that Gymnasium-Robotics leaves behind."""
    with quiet_stderr():
        env = gym.make(env_id, **options)
    if maze_file := getattr(env.unwrapped, "tmp_xml_file_path", None):
        Path(maze_file).unlink(missing_ok=True)
    return env


def play(env, policy, seed):
    """One episode of policy(observation) -> action, clipped to the box: T + 1 observations, T of the rest."""
    box = env.action_space
    observation, _ = env.reset(seed=seed)
    observations = [observation]
    steps = []
    ended = False
    while not ended:
        action = np.clip(policy(observation), box.low, box.high).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        steps.append((action, float(reward), terminated, truncated))
        ended = terminated or truncated
    if isinstance(observation, dict):  # a maze: Minari keeps the parts apart
        observations = {key: np.array([o[key] for o in observations]) for key in observation}
    else:
        observations = np.array(observations)
    columns = map(np.array, zip(*steps))
    return EpisodeBuffer(None, seed, None, observations, *columns)  # None: id and options


def rollouts(env, new_policy, rng, steps, bar):
    """Whole episodes, each of a new_policy() with a new seed, until there are `steps` transitions or more."""
    episodes = []
    played = 0
    bar.reset(steps)
    while played < steps:
        episode = play(env, new_policy(), seed=int(rng.integers(2**31)))
        episodes.append(episode)
        played += len(episode.rewards)
        bar.update(len(episode.rewards))
    return episodes


def cut_episode(rows, last_observation, is_truncated, observations, actions, rewards, terminations):
    """An episode out of flat arrays (N rows, one a step): a slice of rows, and what was seen after them."""
    truncations = np.zeros(len(rewards[rows]), bool)
    truncations[-1:] = is_truncated
    return EpisodeBuffer(
        observations=np.vstack([observations[rows], last_observation]),
        actions=actions[rows],
        rewards=rewards[rows],
        terminations=terminations[rows],
        truncations=truncations,
    )


def hidden_folder():
    """A temporary folder on the disk of the data sets, which Minari does not list."""
    root = get_dataset_path().resolve()  # Minari would join a relative one twice
    return tempfile.TemporaryDirectory(prefix=".unfinished-", dir=root, ignore_cleanup_errors=True)


def settle(dataset_id):
    """Wherever an overwrite stopped: the old data set goes if the new one is there, or comes back."""
    folder = get_dataset_path(dataset_id)
    old = folder.with_name(f".old-{folder.name}")
    with hidden_folder() as trash:
        if old.exists():
            old.rename(Path(trash, "old") if folder.exists() else folder)


def check_id(dataset_id, flag=""):
    """Refuse what Minari could not store or find again."""
    if not re.fullmatch(r"([A-Za-z0-9_-]{2,}/)+[A-Za-z0-9_-]+-v[0-9]+", dataset_id):
        example = "local/my-set_2/name-v0"
        fail(f"{flag}{dataset_id} must be like {example}: A-Z, a-z, 0-9, - and _, two or more each")


def check_room(folder):
    """Write ROOM bytes there for a moment; OSError if that is not possible."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(ROOM))


def is_stored(dataset_id):
    """Whether the data set is there. Where one cannot be written, this fails, and not hours later."""
    settle(dataset_id)
    with hidden_folder() as trash:
        check_room(trash)
    return get_dataset_path(dataset_id).exists()


def write(dataset_id, episodes, about):
    """Minari's create_dataset_from_buffers, quietly; exit code 1 where it cannot write."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they stop the parent, which ends this process
    # Minari makes the environment, and Gymnasium-Robotics leaves a file of every maze in the temporary folder
    with quiet_stderr(), tempfile.TemporaryDirectory() as tempfile.tempdir:
        try:
            minari.create_dataset_from_buffers(dataset_id, episodes, **about)
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, ValueError) and "errno" not in str(error):
                raise  # not what HDF5 says of a full disk
            os._exit(1)  # at once: HDF5 would complain of everything that it drops


def write_in_a_process(root, dataset_id, episodes, about):
    """Write below the folder root, in a process of its own, because HDF5 crashes where the disk is full."""
    # specs, because an environment loses its own when it is pickled
    about = {name: getattr(x, "spec", x) for name, x in about.items()}
    # a copy of this process; but on macOS, whose libraries may crash in a copy, a new one
    process = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "fork").Process
    writer = process(target=write, args=(dataset_id, episodes, about), daemon=True)
    with mock.patch.dict(os.environ, MINARI_DATASETS_PATH=root):
        writer.start()
    try:
        writer.join()
    finally:
        writer.kill()
        writer.join()
    if writer.exitcode:
        raise OSError(f"the writing process ended with code {writer.exitcode}")


def store(dataset_id, episodes, **about):
    """Store EpisodeBuffers with Minari's keywords, in place of an old data set; returns a line about it."""
    transitions = sum(len(episode.rewards) for episode in episodes)
    if not transitions:
        fail(f"{dataset_id} is not stored: there is not one step in its data")
    folder = get_dataset_path(dataset_id)
    namespace = dataset_id.rpartition("/")[0]
    with hidden_folder() as root:
        write_in_a_process(root, dataset_id, episodes, about)
        if namespace and namespace not in list_local_namespaces():
            create_namespace(namespace)
        try:
            if folder.exists():
                folder.rename(folder.with_name(f".old-{folder.name}"))
            Path(root, dataset_id).rename(folder)
        finally:
            settle(dataset_id)
    return f"{dataset_id}: {transitions:,} transitions, {len(episodes):,} episodes"
