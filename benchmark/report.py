"""Tables and pictures from the result.json of runs, beside the paper's numbers, and from nothing else.

    python benchmark/report.py runs/hopper-medium-v2__*/ --curves curves.png
    python benchmark/report.py runs/figure1/*/*/ --lam-plot lam.png
    python benchmark/report.py runs/figure2/*/*/ --nu-plot nu.png
    python benchmark/report.py runs/*/ --runtime-plot runtime.png
    python benchmark/report.py runs/baselines/rd_td3*/*/ --curves rd.png --values q_mean cosine phi_norm

A row is an experiment: members that differ in their seed alone. Its score is that of each seed's last policy,
never the best; the 95 % interval is Student's t over seeds. Diverged members are named and have no score,
interrupted runs are named and left out. The paper's numbers are those of paper.csv, with standard deviations
in Table 2 and 95 % intervals in Table 6; only data sets that end in -v2 are D4RL's, as the paper's are.
"""

import csv
import itertools
import json
import math
import re
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import matplotlib
import numpy as np
import tyro
from matplotlib import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation
from scipy import stats

VALUES = ("normalized_score", "episodic_return", "q_mean")  # that every evaluation has
# Arguments that each row has in a column, and those that do not matter for what is learned
NOT_COMPARED = ("env_id", "seed", "lam", "nu", "runs_dir", "resume", "checkpoint", "device", "cuda_graph")
NOT_COMPARED += ("log_interval",)
# What else a member has sets it apart, such as rd_coef
OF_MEMBER = ("name", "seed", "diverged_at", "evaluations")
HEAD = "env_id|script|lam|nu|other arguments|updates|seeds|scores|mean ± 95 %|return|mean Q|paper".split("|")
COLORS = matplotlib.color_sequences["petroff10"]  # which the colour-blind and grey prints tell apart


@dataclass
class Args:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # run folders
    curves: Path | None = None  # write learning curves to this picture
    values: tuple[str, ...] = ()  # of evaluations: a panel of the curves and a column of the table for each
    lam_plot: Path | None = None  # write score and mean Q over lam to this picture (Figure 1)
    nu_plot: Path | None = None  # write score and mean Q over nu to this picture (Figure 2)
    runtime_plot: Path | None = None  # write hours per million updates to this picture (Figure 3)


def load(folder):
    """The members of a run. Numbers are converted here, so that a damaged file fails here and not later."""
    run, members = json.loads((folder / "result.json").read_text()), []
    args = run["args"] | {"data_crc32": run["data_crc32"]}
    offline, online = int(args["offline_steps"]), int(args.get("online_steps", 0))
    step, total = int(run["step"]), offline + online
    has_ended = step >= total or all(result["diverged_at"] for result in run["members"])
    dataset = re.sub(r"-v\d+$", "", str(run.get("dataset_id", run["env_id"]))).split("/")
    for result in run["members"]:
        evaluations = {
            float(e["step"]): {name: float(e[name]) for name in {*VALUES, *e} - {"step", "returns"}}
            for e in result["evaluations"]
        }
        member = SimpleNamespace(step=step, total=total, has_ended=has_ended, evaluations=evaluations)
        member.name, member.task = f"{folder} {result['name']}", (str(run["env_id"]), str(run["script"]))
        member.seed = int(result["seed"])
        member.lam, member.nu = (float(result.get(name, math.nan)) for name in ("lam", "nu"))
        settings = args | {name: value for name, value in result.items() if name not in OF_MEMBER}
        member.others = {
            name: json.dumps(value) for name, value in settings.items() if name not in NOT_COMPARED
        }
        member.diverged_at = int(result["diverged_at"] or 0)
        member.dataset, member.is_d4rl = "-".join(dataset[1:] or dataset), dataset[0] == "d4rl"
        member.method = method_of(str(run["script"]), member.lam, args, offline, online)
        member.is_papers = has_papers_settings(member, args)
        member.online_from = offline if online else None
        member.speed, member.together = float(run.get("updates_per_second") or math.nan), len(run["members"])
        member.device = str(args["device"])
        members.append(member)
    if not members:
        raise ValueError("no members")
    return members


def method_of(script, lam, args, offline_steps, online_steps):
    """The paper's name for what a run has trained, or None; 0.25 is the paper's lam everywhere."""
    value = {"dmg_offline": "IQL", "dmg_xql": "XQL", "dmg_sql": "SQL"}.get(script)
    q_weight = args.get("q_weight", 1)
    if value and lam == 0 and q_weight == 0 and args.get("inverse_temperature", 1):
        return value
    if value and lam == 0.25 and q_weight == 1:
        return "DMG" if value == "IQL" else f"{value} + DMG"
    if script == "dmg_finetune" and online_steps and q_weight == 1:
        return "DMG online" if offline_steps and lam == 0.25 else "TD3 online" if not offline_steps else None
    if script == "iql":
        return "IQL online" if online_steps else "IQL"
    return None


def has_papers_settings(member, args):
    """Whether a run's length and constants are those of the paper's numbers."""
    is_maze = "antmaze" in member.dataset
    expected = {"hidden": [256, 256], "batch_size": 256, "gamma": 0.99, "tau": 0.005, "decay": 0.99}
    expected |= {"inverse_temperature": 10.0 if is_maze else 3.0, "expectile": 0.9 if is_maze else 0.7}
    if "DMG" in (member.method or ""):
        expected |= {"max_weight": 100.0 if is_maze else 3.0}
        expected |= {"nu": 0.5 if is_maze else 10.0 if "expert" in member.dataset else 0.1}
    settings = args | {"nu": member.nu}
    is_same = all(settings.get(name, value) == value for name, value in expected.items())
    return is_same and member.total in (10**6, 2 * 10**6)


def load_paper():
    """(table, data set, method) -> the paper's number in paper.csv, as text."""
    paper = {}
    for row in csv.DictReader(open(Path(__file__).with_name("paper.csv"))):
        text = row["value"] + f" ± {row['deviation']}" * bool(row["deviation"])
        paper[row["source"], row["dataset"], row["method"]] = text
    return paper


def paper_number(members, paper):
    """What the paper has for these members' data set and method, with what differs in brackets.

    Ten seeds compare with Table 6. "play" is D4RL's name of the larger mazes' sets.
    """
    member = members[0]
    tables = ["Table 6"] * (len(members) >= 10) + ["Table 2", "Table 3", "Table 4"]
    for table, end in itertools.product(tables, ("", "-play")):
        if text := paper.get((table, member.dataset + end, member.method)):
            differs = ["other data"] * (not member.is_d4rl) + ["other settings"] * (not member.is_papers)
            return text + f" ({', '.join(differs)})" * bool(differs)
    return "-"


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
            experiments[(*task, number(member.lam, "g"), number(member.nu, "g"), others)].append(member)
    return experiments


def mean_and_interval(values):
    """Mean and half the 95 % interval over the first axis, without NaN; the interval of one seed is NaN."""
    values = np.ma.masked_invalid(values)
    n = values.count(0)
    interval = stats.t.ppf(0.975, n - 1) * values.std(0, ddof=1) / np.sqrt(n)
    return np.ma.filled(values.mean(0), np.nan), np.ma.filled(interval, np.nan)


def value(member, name, step=None):
    """What an evaluation of a member has under that name, the last one unless a step is given; else NaN."""
    return member.evaluations.get(member.step if step is None else step, {}).get(name, math.nan)


def last_of(members, name):
    """Mean and half the 95 % interval of what the members have last."""
    mean, interval = mean_and_interval([value(member, name) for member in members])
    return float(mean), float(interval)


def number(value, form=".1f"):
    return f"{value:{form}}" if math.isfinite(value) else "-"


def markdown(rows):
    rows = [rows[0], ["-"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table(experiments, paper, values):
    """Markdown, with a row for each experiment, and a column for each further value."""
    values = [name for name in values if name not in VALUES]
    rows = [[*HEAD, *values]]
    for experiment, members in experiments.items():
        scores = [
            "diverged" if member.diverged_at else number(value(member, "normalized_score"))
            for member in members
        ]
        mean, interval = last_of(members, "normalized_score")
        row = [*experiment, f"{max(member.step for member in members):,}"]
        row += [", ".join(str(member.seed) for member in members), ", ".join(scores)]
        row += [number(mean) + f" ± {interval:.1f}" * math.isfinite(interval)]
        row += [number(last_of(members, "episodic_return")[0], ".5g"), number(last_of(members, "q_mean")[0])]
        row += [paper_number(members, paper)]
        rows.append([*row, *(number(last_of(members, name)[0], ".3g") for name in values)])
    return markdown(rows)


def paper_table(experiments, paper):
    """The same in the paper's form, data sets x methods, for the methods it has; None without any."""
    cells = {}  # (data set, method): mean, our text, the paper's text
    for experiment, members in experiments.items():
        key = experiment[0], f"{members[0].method}, {experiment[1]}"
        if members[0].method and (key not in cells or members[0].is_papers):  # the paper's settings go first
            mean, interval = last_of(members, "normalized_score")
            ours = number(mean) + f" ± {interval:.1f}" * math.isfinite(interval)
            cells[key] = mean, ours, paper_number(members, paper)
    datasets, methods = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    if len(datasets) < 2:
        return None
    head, total = ["data set"], ["total"]
    columns = [datasets]
    for method in methods:
        column = [cells.get((dataset, method), (math.nan, "-", "-")) for dataset in datasets]
        means, ours, theirs = zip(*column)
        head += [method, "paper"]
        columns += [ours, theirs]
        total.append(number(sum(means)))
        is_comparable = not any(text == "-" or "(" in text for text in theirs)
        total.append(f"{sum(float(text.split()[0]) for text in theirs):.1f}" if is_comparable else "-")
    return markdown([head, *zip(*columns), total])


def panels(names, height=4.0):
    """A figure with a panel under each name, two or three in a row; returns it and the panels."""
    if not names:
        raise ValueError("there is nothing to draw")
    columns = 2 if len(names) == 4 else min(len(names), 3)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(7 if columns == 1 else 4.5 * columns, height * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes[len(names) :]:
        axes.remove()
    for axes, name in zip(all_axes, names):
        axes.set_title(name, fontsize="medium")
    return figure, all_axes[: len(names)]


def axis_label(name, data):
    """What an evaluation's value is called in a picture; a maze's score is its success rate."""
    if name == "normalized_score" and "maze" in data:
        return "success rate in %"
    return "mean Q" if name == "q_mean" else name.replace("_", " ")


def draw_curves(experiments, values):
    """Learning curves, a panel for each data set and value; by default scores or, without them, returns."""
    everyone = list(itertools.chain(*experiments.values()))
    has_scores = any(math.isfinite(value(member, "normalized_score")) for member in everyone)
    values = values or (["normalized_score"] if has_scores else ["episodic_return"])
    curves, settings_of = {}, {}  # curves: (experiment, value) -> steps, members' values
    for experiment, members in experiments.items():
        _, script, lam, nu, others = experiment
        settings = [f"{name} {value}" for name, value in (("lam", lam), ("nu", nu)) if value != "-"]
        settings += [text for text in (others, f"{len(members)} seed(s)") if text]
        steps = sorted({step for member in members for step in member.evaluations})
        for name in values:
            rows = [[value(member, name, step) for step in steps] for member in members]
            if np.isfinite(rows).any():
                curves[experiment, name] = steps, np.ma.masked_invalid(rows)
                settings_of[experiment] = settings
            else:
                text = ", ".join([experiment[0], script, *settings])
                print(f"- without a curve of {name}, because there is nothing to draw: {text}")
    # What all have in common is said once, above the legend
    common = set.intersection(*map(set, settings_of.values())) if len(settings_of) > 1 else set()
    labels = {}
    for experiment, settings in settings_of.items():
        words = [experiment[1], *(setting for setting in settings if setting not in common)]
        labels[experiment] = textwrap.fill(", ".join(words), 90)
    pairs = list(dict.fromkeys((experiment[0], name) for experiment, name in curves))
    figure, all_axes = panels([data for data, _ in pairs])
    axes_of = dict(zip(pairs, all_axes))
    cycle = cycler(linestyle=["-", "--", ":"]) * cycler(color=COLORS)
    styles = dict(zip(dict.fromkeys(labels.values()), itertools.cycle(cycle)))
    opacity = min(0.15, 0.4 / len(styles))  # where there are many, intervals lie on each other
    limits = defaultdict(list)
    for (experiment, name), (steps, rows) in curves.items():
        axes, label = axes_of[experiment[0], name], labels[experiment]
        mean, interval = mean_and_interval(rows)
        axes.plot(steps, mean, label=label, **styles[label])
        color = styles[label]["color"]
        axes.fill_between(steps, mean - interval, mean + interval, color=color, alpha=opacity, lw=0)
        limits[axes] += [rows.min(), rows.max()]
        if online_from := experiments[experiment][0].online_from:
            axes.axvline(online_from, color="0.5", lw=0.8, ls=":")
    for (data, name), axes in axes_of.items():
        margin = 0.05 * (max(limits[axes]) - min(limits[axes])) or 1.0
        axes.set_ylim(min(limits[axes]) - margin, max(limits[axes]) + margin)  # two seeds' interval is wider
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1M
        axes.set(xlabel="updates", ylabel=f"{axis_label(name, data)}, mean and 95 % interval")
    lines = {line.get_label(): line for axes in axes_of.values() for line in axes.lines}
    lines = {label: line for label, line in lines.items() if not label.startswith("_")}
    figure.set_figheight(figure.get_figheight() + 0.3 * (len(lines) + bool(common)))
    title = ", ".join(sorted(common))
    figure.legend(lines.values(), lines.keys(), title=title, loc="outside lower center", fontsize="small")
    return figure


def draw_ablation(experiments, name):
    """Score (left) and mean Q (right) of the last policies over lam or nu, a panel for each data set.

    Dots are seeds; bars, which the panel may cut, are 95 % intervals.
    """
    groups = defaultdict(list)
    for (env_id, script, _, _, others), members in experiments.items():
        if math.isnan(members[0].lam):
            continue
        fixed = "nu" if name == "lam" else "lam"
        title = ", ".join(filter(None, (env_id, script, f"{fixed} {getattr(members[0], fixed):g}", others)))
        groups[textwrap.fill(title, 45)].append((getattr(members[0], name), members))
    groups = {title: sorted(points, key=lambda point: point[0]) for title, points in groups.items()}
    titles = [title for title, points in groups.items() if len(points) > 1]
    figure, all_axes = panels(titles, height=3.4)
    for title, axes in zip(titles, all_axes):
        places = [place for place, _ in groups[title]]
        place_of_seeds = [place for place, members in groups[title] for _ in members]
        is_free_below = any(member.diverged_at for _, members in groups[title] for member in members)
        right = axes.twinx()
        axes.margins(x=0.1)
        for side, name_of_value, color, style, points in (
            (axes, "normalized_score", COLORS[0], "o-", -3),
            (right, "q_mean", COLORS[2], "s--", 3),
        ):
            mean, interval = zip(*(last_of(members, name_of_value) for _, members in groups[title]))
            bars = side.errorbar(places, mean, interval, fmt=style, color=color, elinewidth=1, capsize=3)
            seeds = [value(member, name_of_value) for _, members in groups[title] for member in members]
            dots = side.plot(place_of_seeds, seeds, ".", color=color, ms=4)
            shift = ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)  # neither covers the other
            for artist in (*bars.get_children(), *dots):
                artist.set_transform(side.transData + shift)
            side.set_ylabel(axis_label(name_of_value, title), color=color)
            side.tick_params(axis="y", colors=color)
            finite = [seed for seed in seeds if math.isfinite(seed)] or [0]
            margin = (0.4 if is_free_below else 0.1) * (max(finite) - min(finite)) or 1.0
            side.set_ylim(min(finite) - margin, max(finite) + margin)  # few seeds' interval is wider
        for place, members in groups[title]:
            diverged = sum(bool(member.diverged_at) for member in members)
            if diverged:
                base = axes.get_xaxis_transform()
                axes.plot(place, 0.05, "x", color="black", ms=7, mew=2, transform=base)
                text = f"{diverged} of {len(members)}\ndiverged"
                axes.text(place, 0.09, text, transform=base, ha="center", va="bottom", fontsize="x-small")
        axes.set_xlabel(name)
        if name == "nu" and min(places) > 0:
            axes.set_xscale("log")
        rotation = 45 if len(places) > 5 else 0
        axes.set_xticks(places, [f"{place:g}" for place in places], rotation=rotation)
        axes.minorticks_off()
    return figure


def draw_runtimes(experiments):
    """Hours for a million updates of one member, without evaluation; the paper's on its GPU beside them."""
    bars = {}
    for (_, script, *_), members in experiments.items():
        for member in members:
            if math.isfinite(member.speed):
                label = f"{script}, {member.together} member(s), {member.device}"
                bars.setdefault(label, []).append(1e6 / 3600 / member.speed / member.together)
    bars = {label: float(np.mean(hours)) for label, hours in bars.items()}
    if not bars:
        raise ValueError("there is nothing to draw")
    rows = csv.DictReader(open(Path(__file__).with_name("paper.csv")))
    paper = {f"{row['method']} (paper)": float(row["value"]) for row in rows if row["source"] == "Figure 3"}
    figure = Figure(figsize=(7, 1 + 0.3 * (len(bars) + len(paper))), layout="constrained")
    axes = figure.subplots()
    labels, hours = [*bars, *paper], [*bars.values(), *paper.values()]
    drawn = axes.barh(labels, hours, color=[COLORS[0]] * len(bars) + ["0.7"] * len(paper))
    axes.bar_label(drawn, [f"{hour:.2g}" for hour in hours], padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("hours per million updates and member; paper: GeForce RTX 3090")
    return figure


def main():
    args = tyro.cli(Args, description=__doc__)
    members, problems = [], [] if args.runs else ["give the folders of runs"]
    for folder in {path.resolve(): path for path in args.runs}.values():
        try:
            members += load(folder)
        except Exception as error:  # of many classes, because the file may hold anything
            problems.append(f"{folder}: no result.json, or a damaged or old one ({error!r:.200})")
    experiments, paper = group(member for member in members if member.has_ended), load_paper()
    for experiment, those in list(experiments.items()):
        for one, other in itertools.pairwise(those):
            if one.seed == other.seed:
                problems.append(f"the same experiment and seed, left out: {one.name} and {other.name}")
                experiments.pop(experiment, None)
    if text := paper_table(experiments, paper):
        print(text, end="\n\n")
    print(table(experiments, paper, args.values))
    for member in members:
        if member.diverged_at:
            print(f"- diverged by update {member.diverged_at:,}: {member.name}")
        if not member.has_ended:
            score = number(value(member, "normalized_score"))
            progress = f"at {member.step:,} of {member.total:,} updates, score {score}"
            print(f"- interrupted {progress}, left out: {member.name}")
    pictures = [(args.curves, lambda those: draw_curves(those, args.values))]
    pictures += [(args.runtime_plot, draw_runtimes)]
    pictures += [(args.lam_plot, lambda those: draw_ablation(those, "lam"))]
    pictures += [(args.nu_plot, lambda those: draw_ablation(those, "nu"))]
    for path, draw in pictures:
        try:
            if path:
                draw(experiments).savefig(path, format=path.suffix[1:] or "png", dpi=150)
        except (OSError, ValueError) as error:
            problems.append(f"cannot write {path} ({error})")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
