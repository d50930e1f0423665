"""Film the last policy of a run: a GIF, or an MP4, which is smaller.

    python benchmark/render.py runs/hopper-medium__dmg_offline__1764000000 --output policy.mp4

Plays the actor that was trained. For runs of a script of your own give --script.
"""

import contextlib
import ctypes.util
import importlib.util
import itertools
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import imageio
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import dmg_offline as dmg
from dmg_finetune import open_source

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Args:
    run: Annotated[Path, tyro.conf.Positional]  # folder of a run
    member: str = "0"  # name or number of the member
    episodes: int = 3  # episodes to show, one after the other
    seed: int = 0  # of the first episode; the others follow
    output: Path = Path("policy.gif")  # file to write: .gif or .mp4
    speed: float = 1.0  # times real time
    max_fps: int = 25  # pictures a second; the others are left out
    script: Path | None = None  # script that made the run; otherwise this repository's of that name
    trust_env: bool = False  # make the environment whatever code its metadata name


def script_of(run, path):
    """The module that made a run: the one at --script, or that of its name in this repository."""
    name = f"{run['script']}.py"
    places = [path] if path else [ROOT / name, ROOT / "baselines" / name]
    file = next((place for place in places if place.is_file()), None)
    unknown = f"{name}, which made the run, is not in this repository: give --script, such as the run's copy"
    dmg.require(file, f"there is no {path}" if path else unknown)
    spec = importlib.util.spec_from_file_location(f"script_{file.stem}", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_agent(module, state):
    """The agent in a checkpoint, by the module of the script that made it."""
    weights = state["agent"]
    run = state["run"]
    members = [tuple(member[flag] for flag in module.MEMBERS) for member in run["members"]]
    action_dim = [weight.shape[-1] for name, weight in weights.items() if name.startswith("actor.")][-1]
    mean, std = weights["mean"].numpy(), weights["std"].numpy()
    agent = module.Agent(members, mean, std, action_dim, module.Args(**run["args"]))
    agent.load_state_dict(weights)
    return agent


def load(run_dir, script=None, trust_env=False):
    """A run's result.json, its data set, the module of its script and its agent."""
    path = run_dir / "checkpoint.pt"
    dmg.require(path.is_file(), f"there is no {path}: give the folder of a run")
    with dmg.explained(f"{path} is damaged"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        run = state["run"]
    module = script_of(run, script)
    with dmg.explained(f"{path} does not fit {module.__file__}: give --script the script that made it"):
        agent = load_agent(module, state)
    if run["args"]["offline_steps"]:
        return run, dmg.open_dataset(run["dataset_id"]), module, agent
    args = module.Args(**run["args"] | {"env_id": run["env_id"], "trust_env": trust_env})
    return run, open_source(args), module, agent


@contextlib.contextmanager
def whole_file(path):
    """Gives another name to write to; the file gets its own when all is written."""
    unfinished = path.with_stem(f".unfinished-{path.stem}")
    with dmg.explained(f"cannot write {path}"):
        yield unfinished
        unfinished.replace(path)


def choose_opengl():
    """Without a display, tell MuJoCo which OpenGL to use; macOS and Windows know theirs."""
    for name, library in {"egl": "EGL", "osmesa": "OSMesa"}.items():
        if not os.environ.get("DISPLAY") and ctypes.util.find_library(library):
            os.environ.setdefault("MUJOCO_GL", name)


def main():
    args = tyro.cli(Args, description=__doc__)
    is_known = args.output.suffix in (".gif", ".mp4")
    dmg.require(is_known, f"--output {args.output}: the name must end in .gif or .mp4")
    dmg.require(min(args.episodes, args.max_fps) >= 1, "--episodes and --max-fps: 1 or more")
    dmg.require(args.seed >= 0, "--seed: not negative")
    dmg.require(0 < args.speed < math.inf, "--speed: a number above 0")
    run, dataset, module, agent = load(args.run, args.script, args.trust_env)
    names = [member["name"] for member in run["members"]]
    numbers = {str(m): m for m in range(len(names))} | {name: m for m, name in enumerate(names)}
    dmg.require(args.member in numbers, f"no --member {args.member}; there are {', '.join(names)}")
    m = numbers[args.member]

    # --- An environment with pictures ---
    choose_opengl()
    # Where there is no OpenGL, deleting Gymnasium's viewer raises once more
    sys.unraisablehook = lambda _: None
    with dmg.explained("cannot render; if OpenGL is missing: apt install libegl1 libopengl0 libgl1-mesa-dri"):
        env = dmg.make_env(dataset, args.trust_env, render_mode="rgb_array")
        env.reset(seed=args.seed)
        env.render()
    fps = args.speed * env.metadata.get("render_fps", 30)
    every = math.ceil(fps / args.max_fps)  # steps from one picture to the next
    fps /= every
    steps = itertools.count()

    def film(observation):
        if next(steps) % every == 0:
            writer.append_data(env.render())
        return observation

    # --- The film ---
    env = gym.wrappers.TransformObservation(env, film, None)  # calls film at each reset and step
    policy = module.actor_of(agent, m), agent.mean, agent.std
    is_gif = args.output.suffix == ".gif"
    options = dict(duration=1000 / fps, loop=0) if is_gif else dict(fps=fps)
    with whole_file(args.output) as file, imageio.get_writer(file, **options) as writer:
        returns = [dmg.play(env, *policy, args.seed + i) for i in range(args.episodes)]
    print(f"{names[m]} after {run['step']:,} updates: returns {' '.join(f'{x:.6g}' for x in returns)}")
    print(f"wrote {args.output}, {fps:.3g} pictures a second")


if __name__ == "__main__":
    main()
