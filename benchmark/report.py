"""A table and learning curves from the result.json of runs, and from nothing else.

    python benchmark/report.py runs/hopper-medium__* --plot curves.png

A row is an experiment: members that differ in their seed alone. Its score is that of each seed's last policy,
never the best; the 95 % interval is Student's t over seeds. Diverged members are named and have no score,
interrupted runs are named and left out.
"""

import itertools
import json
import math
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import numpy as np
import tyro
from matplotlib import colormaps, cycler
from matplotlib.figure import Figure
from scipy import stats

VALUES = ("normalized_score", "episodic_return", "q_mean")  # of an evaluation
NO_VALUES = (math.nan,) * 3
# Arguments that each row has in a column, and those that do not matter for what is learned
NOT_COMPARED = ("env_id", "seed", "lam", "nu", "runs_dir", "resume", "checkpoint", "device", "cuda_graph")
NOT_COMPARED += ("log_interval",)
HEAD = "env_id|script|lam|nu|other arguments|updates|seeds|scores|mean ± 95 %|return|mean Q".split("|")


@dataclass
class Args:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # run folders
    plot: Path | None = None  # write the learning curves to this picture


def load(folder):
    """The members of a run. Numbers are converted here, so that a damaged file fails here and not later."""
    run, members = json.loads((folder / "result.json").read_text()), []
    args = run["args"] | {"data_crc32": run["data_crc32"]}
    step, total = int(run["step"]), int(args["offline_steps"]) + int(args.get("online_steps", 0))
    has_ended = step >= total or all(result["diverged_at"] for result in run["members"])
    for result in run["members"]:
        evaluations = {float(e["step"]): [float(e[name]) for name in VALUES] for e in result["evaluations"]}
        member = SimpleNamespace(step=step, total=total, has_ended=has_ended, evaluations=evaluations)
        member.name, member.task = f"{folder} {result['name']}", (str(run["env_id"]), str(run["script"]))
        member.lam, member.nu, member.seed = float(result["lam"]), float(result["nu"]), int(result["seed"])
        member.others = {name: json.dumps(value) for name, value in args.items() if name not in NOT_COMPARED}
        member.last, member.diverged_at = evaluations.get(step, NO_VALUES), int(result["diverged_at"] or 0)
        members.append(member)
    if not members:
        raise ValueError("no members")
    return members


def group(members):
    """Experiment -> its members by seed. Of the other arguments it names those that differ within a task."""
    tasks, experiments = defaultdict(list), defaultdict(list)
    for member in sorted(members, key=lambda member: (member.task, member.lam, member.nu, member.seed)):
        tasks[member.task].append(member)
    for task, rivals in tasks.items():
        names = dict.fromkeys(name for member in rivals for name in member.others)
        names = [name for name in names if len({member.others.get(name) for member in rivals}) > 1]
        for member in rivals:
            others = ", ".join(f"{name} {member.others.get(name)}" for name in names)
            experiments[(*task, f"{member.lam:g}", f"{member.nu:g}", others)].append(member)
    return experiments


def mean_and_interval(values):
    """Mean and half the 95 % interval over the first axis, without NaN; the interval of one seed is NaN."""
    values = np.ma.masked_invalid(values)
    n = values.count(0)
    interval = stats.t.ppf(0.975, n - 1) * values.std(0, ddof=1) / np.sqrt(n)
    return np.ma.filled(values.mean(0), np.nan), np.ma.filled(interval, np.nan)


def number(value, form=".1f"):
    return f"{value:{form}}" if math.isfinite(value) else "-"


def table(experiments):
    """Markdown, with a row for each experiment."""
    rows = [HEAD, ["-"] * len(HEAD)]
    for experiment, members in experiments.items():
        scores = ["diverged" if member.diverged_at else number(member.last[0]) for member in members]
        mean, interval = mean_and_interval([member.last for member in members])
        row = [*experiment, f"{max(member.step for member in members):,}"]
        row += [", ".join(str(member.seed) for member in members), ", ".join(scores)]
        row += [number(mean[0]) + f" ± {interval[0]:.1f}" * math.isfinite(interval[0])]
        rows.append([*row, number(mean[1], ".5g"), number(mean[2])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(experiments):
    """Learning curves, mean and interval over seeds; of the return where there are no scores."""
    everyone = itertools.chain(*experiments.values())
    column = 0 if any(math.isfinite(member.last[0]) for member in everyone) else 1
    figure, limits = Figure(figsize=(7, 4 + 0.3 * len(experiments)), layout="constrained"), []
    axes = figure.subplots()
    axes.set_prop_cycle(cycler(linestyle=["-", "--", ":"]) * cycler(color=colormaps["tab10"].colors))
    for (env_id, script, lam, nu, others), members in experiments.items():
        parts = env_id, script, f"lam {lam}", f"nu {nu}", others, f"{len(members)} seed(s)"
        label = ", ".join(filter(None, parts))
        steps = sorted({step for member in members for step in member.evaluations})
        curves = [[member.evaluations.get(step, NO_VALUES)[column] for step in steps] for member in members]
        curves = np.ma.masked_invalid(curves)
        if not curves.count():
            print(f"- without a curve, because there is nothing to draw: {label}")
            continue
        mean, interval = mean_and_interval(curves)
        (line,) = axes.plot(steps, mean, label=textwrap.fill(label, 90))
        axes.fill_between(steps, mean - interval, mean + interval, color=line.get_color(), alpha=0.15, lw=0)
        limits += [curves.min(), curves.max()]
    if not limits:
        raise ValueError("there is nothing to draw")
    margin = 0.05 * (max(limits) - min(limits)) or 1.0
    axes.set_ylim(min(limits) - margin, max(limits) + margin)  # the interval of two seeds is far wider
    axes.set_xlim(left=0)
    axes.set(xlabel="updates", ylabel=f"{VALUES[column].replace('_', ' ')}, mean and 95 % interval")
    figure.legend(loc="outside lower center", fontsize="small")
    return figure


def main():
    args = tyro.cli(Args, description=__doc__)
    members, problems = [], [] if args.runs else ["give the folders of runs"]
    for folder in {path.resolve(): path for path in args.runs}.values():
        try:
            members += load(folder)
        except Exception as error:  # of many classes, because the file may hold anything
            problems.append(f"{folder}: no result.json, or a damaged or old one ({error!r:.200})")
    experiments = group(member for member in members if member.has_ended)
    for experiment, those in list(experiments.items()):
        for one, other in itertools.pairwise(those):
            if one.seed == other.seed:
                problems.append(f"the same experiment and seed, left out: {one.name} and {other.name}")
                experiments.pop(experiment, None)
    print(table(experiments))
    for member in members:
        if member.diverged_at:
            print(f"- diverged by update {member.diverged_at:,}: {member.name}")
        if not member.has_ended:
            progress = f"at {member.step:,} of {member.total:,} updates, score {number(member.last[0])}"
            print(f"- interrupted {progress}, left out: {member.name}")
    if args.plot:
        try:
            draw(experiments).savefig(args.plot, format=args.plot.suffix[1:] or "png", dpi=150)
        except (OSError, ValueError) as error:
            problems.append(f"cannot write {args.plot} ({error})")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
