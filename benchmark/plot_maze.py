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
from render import load

import dmg_offline as dmg


@dataclass
class Args:
    run: Annotated[Path, tyro.conf.Positional]  # folder of a run
    cloning: Path | None = None  # folder of a run of behaviour cloning, for a panel of its own
    episodes: int = 50  # episodes that each member plays, for the share that reaches the goal
    drawn_episodes: int = 5  # of these, drawn
    data_episodes: int = 30  # of the data, drawn
    output: Path = Path("maze.png")  # picture to write


def play(env, members, agent, episodes):
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
    maze, start, goal = env.unwrapped.maze, env.get_wrapper_attr("start"), env.get_wrapper_attr("goal")
    start, size = maze.cell_rowcol_to_xy(start), maze.maze_size_scaling
    axes.set_facecolor("0.35")
    for cell in np.argwhere(np.array(maze.maze_map, dtype=str) != "1"):
        corner = maze.cell_rowcol_to_xy(cell) - size / 2
        axes.add_patch(Rectangle(corner, size, size, color="white", zorder=0))
    for (x, y), name, marker in ((start, "start", "o"), (goal, "goal", "*")):
        axes.scatter(x, y, 200, "white", marker=marker, edgecolors="black", zorder=5)
        box = dict(boxstyle="round", facecolor="white", edgecolor="none", alpha=0.7, pad=0.1)
        axes.annotate(name, (x, y), (0, 10), textcoords="offset points", ha="center", bbox=box, zorder=4)
    axes.add_patch(Circle(goal, 0.5, fill=False, linestyle=":"))  # where it counts as reached
    border = 0.5 * size  # of the outer walls
    width, height = maze.x_map_center - border, maze.y_map_center - border
    axes.set(aspect="equal", xticks=[], yticks=[], xlim=(-width, width), ylim=(-height, height))
    axes.set_title(title, loc="left", weight="bold", pad=20)
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, va="bottom")
    axes.set_xlabel(caption)
    print(f"{title}: {subtitle}")


def draw_paths(axes, paths, color):
    """A line for each episode, with a dot where it ended."""
    for path in paths:
        axes.plot(*path.T, color=color, linewidth=0.8, alpha=0.8)
        axes.scatter(*path[-1], 14, color, zorder=3)


def main():
    args = tyro.cli(Args, description=__doc__)
    least = min(args.episodes, args.drawn_episodes, args.data_episodes)
    dmg.require(least >= 1, "--episodes, --drawn-episodes and --data-episodes: 1 or more")
    run, dataset, _, agent = load(args.run)
    is_maze = hasattr(dataset, "iterate_episodes") and dmg.task_of(dataset) in ("minari-antmaze", "pointmaze")
    dmg.require(is_maze, f"{dataset.id} is not data of Gymnasium-Robotics' PointMaze or AntMaze")
    with dmg.explained(f"cannot make the environment of {dataset.id}"):
        env = dmg.make_env(dataset)
    agents = {"DMG": (run, agent)}
    if args.cloning:
        cloning_run, its_dataset, _, cloning = load(args.cloning)
        dmg.require(its_dataset.id == dataset.id, f"{args.cloning} has learned from {its_dataset.id}")
        agents = {"Behaviour cloning": (cloning_run, cloning), "DMG": (run, agent)}
    panels = 1 + len(agents)
    figure = Figure(figsize=(3.3 * panels, 3.65), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    all_axes = figure.subplots(1, panels)

    # --- The data ---
    keys = ("achieved_goal", "observation")
    episodes = [dmg.flatten({key: e.observations[key] for key in keys}) for e in dataset.iterate_episodes()]
    paths = [episode[:, :2] for episode in episodes]
    start_cell, maze = env.get_wrapper_attr("start"), env.unwrapped.maze
    from_start = [path for path in paths if (maze.cell_xy_to_rowcol(path[0]) == start_cell).all()]
    successes = sum(env.get_wrapper_attr("is_at_goal")(path).any() for path in from_start)
    subtitle = f"from the start, {successes} of {len(from_start)} reach the goal"
    drawn = paths[: args.data_episodes]
    caption = f"{len(drawn)} of {len(paths):,} episodes, dots at their ends"
    draw_maze(all_axes[0], env, "Data", subtitle, caption)
    draw_paths(all_axes[0], drawn, "tab:blue")

    # --- What was learned from them ---
    limit = env.spec.max_episode_steps
    for axes, (name, (its_run, its_agent)) in zip(all_axes[1:], agents.items()):
        members = len(its_run["members"])
        paths, is_success = play(env, members, its_agent, args.episodes)
        drawn = [path for i, path in enumerate(paths) if i % args.episodes < args.drawn_episodes]
        subtitle = f"{sum(is_success)} of {len(paths):,} episodes reach the goal"
        caption = f"{len(drawn)} of them, {limit} steps at most"
        draw_maze(axes, env, name + f", {members} runs" * (members > 1), subtitle, caption)
        draw_paths(axes, drawn, "black" if name == "DMG" else "tab:red")

    # --- V, in every hexagon the mean over the states that the data have there ---
    states = torch.from_numpy(np.concatenate(episodes))
    with torch.no_grad():
        values = agent.vf(((states - agent.mean) / agent.std).expand(members, -1, -1)).mean(0)
    heat_map = axes.hexbin(*states[:, :2].T, values, gridsize=50, cmap="YlGnBu", zorder=1)
    label = "V, mean over the data's states around a place\n(discounted rewards, -1 a step until the goal)"
    figure.colorbar(heat_map, ax=axes, label=label, shrink=0.9)
    with dmg.explained(f"cannot write {args.output}"):
        unfinished = args.output.with_stem(f".unfinished-{args.output.stem}")
        figure.savefig(unfinished, dpi=150)
        unfinished.replace(args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
