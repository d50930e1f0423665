"""Draw what was learned in a maze: episodes of the data, of behaviour cloning and of DMG, over its value V.

    python dmg_offline.py --seed 1 2 3
    python dmg_offline.py --seed 1 2 3 --exp-name cloning --lam 0 --q-weight 0 --nu 1 --inverse-temperature 0
    python benchmark/plot_maze.py runs/*__dmg_offline__* --cloning runs/*__cloning__* --output maze.png

For runs in Gymnasium-Robotics' PointMaze and AntMaze. All members are drawn, and the mean of their V.
The share of the data's episodes that reach the goal is of those that begin in the start's cell.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import report
from render import load, whole_file

import dmg_offline as dmg


@dataclass
class Args:
    run: Annotated[Path, tyro.conf.Positional]  # folder of a run
    cloning: Path | None = None  # folder of a run of behaviour cloning, for a panel of its own
    episodes: int = 50  # episodes that each member plays, for the share that reaches the goal
    drawn_episodes: int = 5  # of these, drawn
    data_episodes: int = 30  # of the data, drawn
    output: Path = Path("maze.png")  # picture to write
    script: Path | None = None  # script that made the runs; otherwise this repository's of that name


def play(env, agent, members, episodes):
    """For every member, the positions (T + 1, 2) of its episodes, and which of these reached the goal."""
    paths, is_success = [], []

    def trace(observation):
        paths[-1].append(observation[:2])
        return observation

    env = gym.wrappers.TransformObservation(env, trace, None)  # calls trace at each reset and step
    for m in range(members):
        policy = dmg.actor_of(agent, m), agent.mean, agent.std
        for seed in range(episodes):
            paths.append([])
            is_success.append(dmg.play(env, *policy, seed) > 0)
    return [np.array(path) for path in paths], is_success


def draw_maze(axes, env, title, subtitle, caption):
    """Walls, start and goal."""
    maze = env.unwrapped.maze
    size = maze.maze_size_scaling  # of a cell
    start = maze.cell_rowcol_to_xy(env.get_wrapper_attr("start"))
    goal = env.get_wrapper_attr("goal")
    axes.set_facecolor("0.35")
    for cell in np.argwhere(np.array(maze.maze_map, dtype=str) != "1"):
        corner = maze.cell_rowcol_to_xy(cell) - size / 2
        axes.add_patch(Rectangle(corner, size, size, color="white", zorder=0))
    for (x, y), name, marker in ((start, "start", "o"), (goal, "goal", "*")):
        axes.scatter(x, y, 200, "white", marker=marker, edgecolors="black", zorder=5)
        box = dict(boxstyle="round", facecolor="white", edgecolor="none", alpha=0.7, pad=0.1)
        axes.annotate(name, (x, y), (0, 10), textcoords="offset points", ha="center", bbox=box, zorder=4)
    axes.add_patch(Circle(goal, 0.5, fill=False, linestyle=":"))  # where it counts as reached
    x_end = maze.x_map_center - size / 2  # half of the outer walls is left out
    y_end = maze.y_map_center - size / 2
    axes.set(aspect="equal", xticks=[], yticks=[], xlim=(-x_end, x_end), ylim=(-y_end, y_end))
    axes.set_title(title, loc="left", weight="bold", pad=20)
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, va="bottom")
    axes.set_xlabel(caption)
    print(f"{title}: {subtitle}")


def draw_paths(axes, paths, color):
    """A line for each episode, with a dot where it ended."""
    for path in paths:
        axes.plot(*path.T, color=color, linewidth=0.8, alpha=0.8)
        axes.scatter(*path[-1], 14, color, zorder=3)


def draw_data(axes, env, episodes, drawn_episodes):
    """The panel of the data's episodes, observations (T + 1, n) that begin with the position."""
    paths = [episode[:, :2] for episode in episodes]
    maze = env.unwrapped.maze
    start_cell = env.get_wrapper_attr("start")
    from_start = [path for path in paths if (maze.cell_xy_to_rowcol(path[0]) == start_cell).all()]
    successes = sum(env.get_wrapper_attr("is_at_goal")(path).any() for path in from_start)
    subtitle = f"from the start, {successes} of {len(from_start)} reach the goal"
    drawn = paths[:drawn_episodes]
    caption = f"{len(drawn)} of {len(paths):,} episodes, dots at their ends"
    draw_maze(axes, env, "Data", subtitle, caption)
    draw_paths(axes, drawn, "tab:blue")


def draw_learned(axes, env, name, color, run, agent, args):
    """The panel of what a run's members do."""
    members = len(run["members"])
    paths, is_success = play(env, agent, members, args.episodes)
    drawn = [path for i, path in enumerate(paths) if i % args.episodes < args.drawn_episodes]
    title = f"{name}, {members} runs" if members > 1 else name
    subtitle = f"{sum(is_success)} of {len(paths):,} episodes reach the goal"
    caption = f"{len(drawn)} of them, {env.spec.max_episode_steps} steps at most"
    draw_maze(axes, env, title, subtitle, caption)
    draw_paths(axes, drawn, color)


def draw_values(axes, agent, members, states):
    """In every hexagon the mean of V over the states (N, n) that the data have there."""
    x = (torch.from_numpy(states) - agent.mean) / agent.std
    with torch.no_grad():
        values = agent.vf(x.expand(members, -1, -1)).mean(0)
    heat_map = axes.hexbin(*states[:, :2].T, values, gridsize=50, cmap="YlGnBu", zorder=1)
    label = "V, mean over the data's states around a place\n(discounted rewards, -1 a step until the goal)"
    axes.figure.colorbar(heat_map, ax=axes, label=label, shrink=0.9)


def main():
    args = tyro.cli(Args, description=__doc__)
    least = min(args.episodes, args.drawn_episodes, args.data_episodes)
    dmg.require(least >= 1, "--episodes, --drawn-episodes and --data-episodes: 1 or more")
    is_picture = args.output.suffix in (".png", ".pdf", ".svg")
    dmg.require(is_picture, f"--output {args.output}: the name must end in .png, .pdf or .svg")
    run, dataset, _, agent = load(args.run, args.script)
    dmg.require(hasattr(agent, "vf"), f"{args.run} has no V to draw: give a run of DMG or IQL")
    is_maze = hasattr(dataset, "iterate_episodes") and dmg.task_of(dataset) in ("minari-antmaze", "pointmaze")
    dmg.require(is_maze, f"{dataset.id} is not data of Gymnasium-Robotics' PointMaze or AntMaze")
    with dmg.explained(f"cannot make the environment of {dataset.id}"):
        env = dmg.make_env(dataset)
    method = report.members_of(run, str(args.run))[0].method
    learned = [(method, "black", run, agent)]
    if args.cloning:
        cloning_run, its_dataset, _, cloning = load(args.cloning, args.script)
        dmg.require(its_dataset.id == dataset.id, f"{args.cloning} has learned from {its_dataset.id}")
        learned.insert(0, ("Behaviour cloning", "tab:red", cloning_run, cloning))
    keys = ("achieved_goal", "observation")
    episodes = [dmg.flatten({key: e.observations[key] for key in keys}) for e in dataset.iterate_episodes()]

    panels = 1 + len(learned)
    figure = Figure(figsize=(3.3 * panels, 3.65), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    data_axes, *learned_axes = figure.subplots(1, panels)
    draw_data(data_axes, env, episodes, args.data_episodes)
    for axes, panel in zip(learned_axes, learned):
        draw_learned(axes, env, *panel, args)
    draw_values(learned_axes[-1], agent, len(run["members"]), np.concatenate(episodes))
    with whole_file(args.output) as file:
        figure.savefig(file, dpi=150)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
