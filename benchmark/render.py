"""Film the last policy of a run: a GIF, or an MP4, which is smaller.

    python benchmark/render.py runs/hopper-medium__dmg_offline__1764000000 --output policy.mp4

Works for the runs of every script, and of copies whose networks and environments are still dmg_offline.py's.
"""

import ctypes.util
import itertools
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import gymnasium as gym
import imageio
import torch
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import dmg_offline as dmg
from dmg_finetune import Simulator


@dataclass
class Args:
    run: Annotated[Path, tyro.conf.Positional]  # folder of a run
    member: str = "0"  # name or number of the member
    episodes: int = 3  # episodes to show, one after the other
    seed: int = 0  # of the first episode; the others follow
    output: Path = Path("policy.gif")  # file to write: .gif or .mp4
    speed: float = 1.0  # times real time
    max_fps: int = 25  # pictures a second; the others are left out


def load(run_dir, networks=("actor",)):
    """A run's result.json, data set and agent, of which these networks are the run's; any script's run."""
    path = run_dir / "checkpoint.pt"
    dmg.require(path.is_file(), f"there is no {path}: give the folder of a run")
    with dmg.explained(f"{path} is damaged, or its networks are not those of dmg_offline.py"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        run, weights = state["run"], state["agent"]
        members = [
            (member["seed"], member.get("lam", 0.0), member.get("nu", 0.0)) for member in run["members"]
        ]
        action_dim = [weight.shape[-1] for name, weight in weights.items() if name.startswith("actor.")][-1]
        mean, std = weights["mean"].numpy(), weights["std"].numpy()
        agent = dmg.Agent(members, mean, std, action_dim, SimpleNamespace(**run["args"]))
        missing, _ = agent.load_state_dict(weights, strict=False)  # IQL, for one, has no lam and nu
        missing = [name for name in missing if name.split(".")[0] in ("mean", "std", *networks)]
        if missing:
            raise KeyError(", ".join(missing))
    has_data = run["args"]["offline_steps"] or run["env_id"] in dmg.DATASETS  # not online from scratch
    dataset = dmg.open_dataset(run["dataset_id"]) if has_data else Simulator(run["dataset_id"])
    return run, dataset, agent


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
    run, dataset, agent = load(args.run)
    names = [member["name"] for member in run["members"]]
    numbers = {str(m): m for m in range(len(names))} | {name: m for m, name in enumerate(names)}
    dmg.require(args.member in numbers, f"no --member {args.member}; there are {', '.join(names)}")
    m = numbers[args.member]

    # --- An environment with pictures ---
    choose_opengl()
    # Where there is no OpenGL, deleting Gymnasium's viewer raises once more
    sys.unraisablehook = lambda _: None
    with dmg.explained("cannot render; if OpenGL is missing: apt install libegl1 libopengl0 libgl1-mesa-dri"):
        env = dmg.make_env(dataset, render_mode="rgb_array")
        env.reset(seed=args.seed)
        env.render()
    fps = args.speed * env.metadata["render_fps"]
    every, steps = math.ceil(fps / args.max_fps), itertools.count()
    fps /= every

    def film(observation):
        if next(steps) % every == 0:
            writer.append_data(env.render())
        return observation

    # --- The film ---
    dmg.env = gym.wrappers.TransformObservation(env, film, None)  # calls film at each reset and step
    options = dict(duration=1000 / fps, loop=0) if args.output.suffix == ".gif" else dict(fps=fps)
    with dmg.explained(f"cannot write {args.output}"):
        with imageio.get_writer(args.output, **options) as writer:
            returns = [dmg.play(dmg.get_policy(agent, m), args.seed + i) for i in range(args.episodes)]
    print(f"{names[m]} after {run['step']:,} updates: returns {' '.join(f'{x:.6g}' for x in returns)}")
    print(f"wrote {args.output}, {fps:.3g} pictures a second")


if __name__ == "__main__":
    main()
