"""Tables and pictures from the result.json of runs, beside the paper's numbers, and from nothing else.

    python benchmark/report.py runs/*/ --curves curves.png
    python benchmark/report.py runs/random/*/*/ --keep benchmark/results/random.jsonl
    python benchmark/report.py benchmark/results/random.jsonl --lam-plot lam.png --nu-plot nu.png
    python benchmark/report.py runs/figure3/*/*/ --runtime-plot runtime.png
    python benchmark/report.py runs/baselines/*/*/ --curves rd.png --values q_mean cosine phi_norm

Runs are folders, or files ending in .jsonl with the result.json of a run on each line. A row of the table is
an experiment: members, of one run or of several, that differ in their seed alone. Its score is that of each
seed's last policy, never the best; where the data have no reference returns it is the return. The standard
deviation is the sample's, and the 95 % interval is Student's t over seeds. An experiment has the name of its
method, and behind it the settings that are not the method's own. Diverged members are named and have no
score, interrupted runs are named and left out.

The paper's numbers are those of paper.csv, with standard deviations in Table 2 and 95 % intervals in Table 6,
which is for ten seeds. Where IQL's and RD's authors have numbers, these stand beside the scripts of their
methods, with their source. Only data sets that end in -v2 are D4RL's, as the paper's are; AntMaze of IQL's
authors is -v0. D4RL's random data depend on no policy: those recorded here by its recipe are like them, and
are marked as such.
"""

import csv
import itertools
import json
import math
import os
import re
import signal
import sys
import textwrap
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import tyro
from matplotlib import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation
from scipy import stats

# Arguments that do not matter for what is learned: what a run writes, and where and how it computes
IRRELEVANT = {"runs_dir", "resume", "checkpoint", "log_interval", "track", "wandb_project"}
IRRELEVANT |= {"device", "cuda_graph", "tf32", "trust_env"}
# What a result.json has of a member, or a run's arguments, that sets no two experiments apart
NOT_SETTINGS = {"env_id", "name", "seed", "diverged_at", "evaluations"}
HEAD = ["data", "method", "updates", "paper", "here, mean ± std", "95 % interval"]
HEAD += ["seeds", "every seed", "mean Q"]
COLORS = matplotlib.color_sequences["petroff10"]  # which the colour-blind and grey prints tell apart
# The in-sample value that DMG has in a script
VALUE_OF_SCRIPT = {"dmg_offline": "IQL", "dmg_xql": "XQL", "dmg_sql": "SQL"}
# Whose numbers come before those of DMG's paper, for the scripts of other methods
SOURCES = {"iql": ["IQL paper", "IQL paper fine-tuning"], "rd_td3": ["RD slides"], "rd_sac": ["RD slides"]}
# What the paper calls a method, where it is not the name that it has here
IN_PAPER = {f"{value} corner of DMG": value for value in VALUE_OF_SCRIPT.values()} | {"cloning": "BC"}
# How data here differ from those of the published numbers
V0 = "-v2 instead of -v0"
D4RLS_RECIPE = "D4RL's recipe"
OTHER_DATA = "other data"


@dataclass
class Args:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # run folders, and .jsonl files of kept runs
    keep: Path | None = None  # add the runs that have finished to this .jsonl file, but for those it has
    curves: Path | None = None  # write learning curves to this picture
    values: tuple[str, ...] = ()  # of evaluations: a panel of the curves and a column of the table for each
    lam_plot: Path | None = None  # write score and mean Q over lam to this picture (Figure 1)
    nu_plot: Path | None = None  # write score and mean Q over nu to this picture (Figure 2)
    runtime_plot: Path | None = None  # write hours per million updates to this picture (Figure 3)


@dataclass
class Member:
    """One policy of a run, with its own seed, and what is needed here of the run itself."""

    name: str  # folder or line of the run, and the member's name in it
    data: str  # the run's env_id
    dataset: str  # the data set's name as in paper.csv without a version, such as hopper-medium
    origin: str  # D4RLS_RECIPE or OTHER_DATA, empty for D4RL's own data
    script: str
    method: str  # what the script trains with these settings
    settings: dict  # the run's arguments and the member's own, but those that are not in names of experiments
    changed: list[str]  # names of the settings that are not the method's own
    seed: int
    lam: float  # NaN where the script has none, as nu
    nu: float
    step: int  # updates done
    total_steps: int  # updates to do, offline and online
    online_from: int | None  # updates before the online phase, None without one
    has_ended: bool  # all updates are done, or all members of the run have diverged
    diverged_at: int  # by which update, 0 for never
    evaluations: dict[float, dict[str, float]]  # step -> name of a value -> value
    updates_per_second: float  # of the run, each for all members; NaN if it was not measured
    members_in_run: int
    device: str

    def value(self, name, step=None):
        """What an evaluation has under that name, the last one unless a step is given; else NaN."""
        evaluation = self.evaluations.get(self.step if step is None else step, {})
        return evaluation.get(name, math.nan)


@dataclass
class Published:
    """A published number; without arguments, that there is none."""

    mean: float = math.nan
    spread: float = math.nan  # behind ±, NaN where none was published
    source: str = ""  # as in paper.csv, such as Table 2
    differences: tuple[str, ...] = ()  # in words, in what our members are not like those of the source


def read(path):
    """(name, JSON text) of the run in a folder, or of each run in a .jsonl file."""
    if path.suffix != ".jsonl":
        return [(str(path), (path / "result.json").read_text())]
    return [(f"{path} line {i}", line) for i, line in enumerate(path.read_text().splitlines(), 1)]


def load(path):
    """The members of the runs in a folder or a .jsonl file."""
    return [member for name, text in read(path) for member in members_of(json.loads(text), name)]


def arguments_of(run):
    """The arguments that matter, with those that came later than the run and what it did without them."""
    later = {"matmul_precision": "highest"}
    if run["script"] == "iql":
        later["dropout"] = 0.0
    return {name: value for name, value in (later | run["args"]).items() if name not in IRRELEVANT}


def members_of(run, run_name):
    """The members of a run. Numbers are converted here, so that a damaged file fails here and not later."""
    args = arguments_of(run) | {"data_crc32": run["data_crc32"]}
    offline_steps = int(args["offline_steps"])
    online_steps = int(args.get("online_steps", 0))
    total_steps = offline_steps + online_steps
    step = int(run["step"])
    has_ended = step >= total_steps or all(result["diverged_at"] for result in run["members"])
    dataset_id = str(run.get("dataset_id", run["env_id"]))
    dataset, origin = dataset_of(dataset_id)
    members = []
    for result in run["members"]:
        evaluations = evaluations_of(result)
        settings = {name: value for name, value in (args | result).items() if name not in NOT_SETTINGS}
        method, own_settings = method_of(run["script"], settings, dataset_id)
        member = Member(
            name=f"{run_name} {result['name']}",
            data=str(run["env_id"]),
            dataset=dataset,
            origin=origin,
            script=str(run["script"]),
            method=method,
            settings=settings,
            changed=[name for name, value in own_settings.items() if settings.get(name, value) != value],
            seed=int(result["seed"]),
            lam=float(result.get("lam", math.nan)),
            nu=float(result.get("nu", math.nan)),
            step=step,
            total_steps=total_steps,
            online_from=offline_steps if online_steps else None,
            has_ended=has_ended,
            diverged_at=int(result["diverged_at"] or 0),
            evaluations=evaluations,
            updates_per_second=float(run.get("updates_per_second") or math.nan),
            members_in_run=len(run["members"]),
            device=str(run["args"]["device"]),
        )
        members.append(member)
    if not members:
        raise ValueError("no members")
    return members


def evaluations_of(result):
    """step -> name -> value, for each evaluation of a member."""
    evaluations = {}
    for entry in result["evaluations"]:
        step = float(entry["step"])
        names = [name for name in entry if name not in ("step", "returns")]
        evaluations[step] = {name: float(entry[name]) for name in names}
    return evaluations


def dataset_of(dataset_id):
    """(name of a data set as in paper.csv without a version, what sets it apart from D4RL's or nothing)."""
    namespace, *rest = re.sub(r"-v\d+$", "", dataset_id).split("/")
    dataset = "-".join(rest or [namespace])
    if namespace == "imported":
        return dataset, ""
    if re.fullmatch(r"local/(halfcheetah|hopper|walker2d)/random-v0", dataset_id):
        return dataset, D4RLS_RECIPE
    return dataset, OTHER_DATA


def td3_settings(dataset_id):
    """The settings that all methods but CQL start from, on such data."""
    settings = {"hidden": [256, 256], "batch_size": 256, "critics": 2, "learning_rate": 3e-4}
    settings["gamma"] = 0.995 if re.match("D4RL/antmaze|local/antmaze_v4", dataset_id) else 0.99
    settings["tau"] = 0.02 if "pointmaze" in dataset_id else 0.005
    return settings | {"policy_frequency": 2, "policy_noise": 0.2, "noise_clip": 0.5}


def in_sample_settings(dataset_id):
    """Those of the methods with a value learned in sample, as IQL has it."""
    is_maze = "maze" in dataset_id
    settings = td3_settings(dataset_id)
    settings["inverse_temperature"] = 10.0 if is_maze else 3.0
    settings["expectile"] = 0.9 if is_maze else 0.7
    settings["max_weight"] = 100.0
    return settings


def iql_settings(dataset_id):
    settings = in_sample_settings(dataset_id)
    if re.match(r"\w+/(pen|hammer|door|relocate|kitchen)/", dataset_id):
        return settings | {"inverse_temperature": 0.5, "dropout": 0.1}
    return settings | {"dropout": 0.0}


def dmg_settings(dataset_id):
    is_maze = "maze" in dataset_id
    settings = in_sample_settings(dataset_id)
    settings["q_weight"] = 1.0
    settings["max_weight"] = 100.0 if is_maze else 3.0
    settings["lam"] = 0.25
    settings["nu"] = 0.5 if is_maze else 10.0 if "expert" in dataset_id else 0.1
    settings["decay"] = 0.99
    return settings


def method_of(script, settings, dataset_id):
    """(name of what a script trains with such settings, the settings that this method has on such data)."""
    online = " online" if settings.get("online_steps") else ""
    rd = " with RD" if settings.get("rd_coef") else ""
    if script in VALUE_OF_SCRIPT:
        value = VALUE_OF_SCRIPT[script]
        has_no_q = settings.get("lam") == 0 and settings.get("q_weight", 1) == 0
        if has_no_q and settings.get("inverse_temperature", 1) > 0:
            return f"{value} corner of DMG", in_sample_settings(dataset_id)
        if has_no_q:
            return "cloning", td3_settings(dataset_id)
        return "DMG" if value == "IQL" else f"{value} + DMG", dmg_settings(dataset_id)
    if script == "dmg_finetune" and not settings["offline_steps"]:
        return "TD3 online", td3_settings(dataset_id) | {"lam": 1.0, "nu": 0.0}
    if script == "dmg_finetune":
        return "DMG" + online, dmg_settings(dataset_id)
    if script == "iql":
        return "IQL" + online, iql_settings(dataset_id)
    if script == "rd_td3":
        own = td3_settings(dataset_id)
        if rd:
            own["rd_coef"] = 0.001
        if settings.get("kappa") and settings.get("bc_weight") == 0:
            hidden = settings.get("hidden")  # any, because RD's is not known
            return "TD3-N" + rd, own | {"critics": 10, "kappa": 2.5, "hidden": hidden}
        return "TD3+BC" + rd, own | {"kappa": 0.0, "bc_weight": 1.0, "q_weight": 2.5}
    if script == "rd_sac" and settings.get("cql_alpha"):
        own = {"hidden": 3 * [256], "critics": 2, "policy_learning_rate": 3e-5, "cql_alpha": 10.0}
        return "CQL" + rd, own
    if script == "rd_sac":
        return "SAC-N" + rd, {}
    return script, {}


def load_paper():
    """(source, data set without its version, method) -> Published, for each row of paper.csv."""
    paper = {}
    for row in csv.DictReader(open(Path(__file__).with_name("paper.csv"))):
        dataset = row["dataset"].removesuffix("-v0")
        paper[row["source"], dataset, row["method"]] = Published(
            mean=float(row["value"]),
            spread=float(row["deviation"] or math.nan),
            source=row["source"],
            differences=(V0,) if row["dataset"].endswith("-v0") else (),
        )
    return paper


def paper_of(members, paper):
    """The published number for what these members are, if there is one.

    Ten seeds compare with Table 6. "play" is D4RL's name of the larger mazes' sets.
    """
    member = members[0]
    if member.changed:
        return Published()
    sources = [*SOURCES.get(member.script, []), "Table 2", "Table 3", "Table 4"]
    if len(members) >= 10:
        sources.insert(sources.index("Table 2"), "Table 6")
    method = IN_PAPER.get(member.method, member.method)
    for source, end in itertools.product(sources, ("", "-play")):
        published = paper.get((source, member.dataset + end, method))
        if published:
            differences = (member.origin,) if member.origin else published.differences
            if member.total_steps not in (10**6, 2 * 10**6):
                differences += (f"{member.total_steps:,} updates",)
            return replace(published, differences=differences)
    return Published()


def published_text(published):
    """A published number in words: its source where that is not DMG's paper, and what differs in ours."""
    if not published.source:
        return "-"
    notes = []
    if not published.source.startswith("Table"):
        notes.append(published.source)
    if published.differences:
        notes.append(f"ours: {', '.join(published.differences)}")
    text = str(published.mean)
    if math.isfinite(published.spread):
        text += f" ± {published.spread}"
    if notes:
        text += f" ({'; '.join(notes)})"
    return text


def setting_text(name, value):
    """A setting in words, such as nu 0.1."""
    if name == "offline_steps":
        return f"{value:,} updates"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def names_that_differ(settings):
    """Names of the settings that are not the same in all; exp_name only if nothing else tells two apart."""

    def kinds(names):
        return {json.dumps([those.get(name) for name in names]) for those in settings}

    names = [name for name in dict.fromkeys(itertools.chain(*settings)) if len(kinds([name])) > 1]
    others = [name for name in names if name != "exp_name"]
    return others if len(kinds(others)) == len(kinds(names)) else names


def group(members):
    """(data set, name of the experiment) -> its members by seed."""

    def order(member):
        lam, nu = np.nan_to_num([member.lam, member.nu], nan=-1)  # some methods have none
        return member.data, member.method, lam, nu, member.seed

    named, experiments = defaultdict(list), defaultdict(list)
    for member in sorted(members, key=order):
        changes = [setting_text(name, member.settings[name]) for name in member.changed]
        named[member.data, ", ".join([member.method, *changes])].append(member)
    for (data, name), rivals in named.items():
        names = names_that_differ([member.settings for member in rivals])
        for member in rivals:
            words = [name, *(setting_text(other, member.settings.get(other)) for other in names)]
            experiments[data, ", ".join(words)].append(member)
    return experiments


def summary(values):
    """Mean, standard deviation and half the 95 % interval over the first axis, without NaN.

    The last two are NaN for a single number.
    """
    values = np.ma.masked_invalid(values)
    n, std = values.count(0), values.std(0, ddof=1)
    interval = stats.t.ppf(0.975, n - 1) * std / np.sqrt(n)
    return [np.ma.filled(numbers, np.nan) for numbers in (values.mean(0), std, interval)]


def last_of(members, name):
    """Mean, standard deviation and half the 95 % interval of what the members have last."""
    return [float(number) for number in summary([member.value(name) for member in members])]


def number_text(value, form=".1f"):
    return f"{value:{form}}" if math.isfinite(value) else "-"


def shared(members):
    """In words, the settings that all members have."""
    everyone = [member.settings for member in members]
    apart = {"exp_name", "data_crc32", *names_that_differ(everyone)}
    names = [name for name in (everyone[0] if everyone else ()) if name not in apart]
    return ", ".join(setting_text(name, everyone[0][name]) for name in names)


def table(experiments, paper, values):
    """Markdown, with a row for each experiment, and a column for each further value.

    Where data sets are like the paper's, a method on several of them has a row of totals, as in the paper,
    and one of its own for AntMaze.
    """
    values = [name for name in values if name not in ("normalized_score", "q_mean")]
    rows, totals = [[*HEAD, *values]], defaultdict(list)
    for (data, name), members in experiments.items():
        has_score, has_return = (
            math.isfinite(last_of(members, what)[0]) for what in ("normalized_score", "episodic_return")
        )
        what, unit = (
            ("episodic_return", " (return)") if has_return and not has_score else ("normalized_score", "")
        )
        (mean, std, interval), theirs = last_of(members, what), paper_of(members, paper)
        row = [data, name, f"{max(member.step for member in members):,}", published_text(theirs)]
        row += [number_text(mean) + f" ± {std:.1f}" * math.isfinite(std) + unit]
        row += [f"{mean - interval:.1f} to {mean + interval:.1f}" if math.isfinite(interval) else "-"]
        row += [", ".join(str(member.seed) for member in members)]
        each = ["diverged" if member.diverged_at else number_text(member.value(what)) for member in members]
        row += [", ".join(each), number_text(last_of(members, "q_mean")[0])]
        rows.append([*row, *(number_text(last_of(members, other)[0], ".3g") for other in values)])
        if theirs.source and set(theirs.differences) <= {D4RLS_RECIPE, V0}:
            # Table 6 and Table 2 are the same paper's
            source = "Table" if theirs.source.startswith("Table") else theirs.source
            totals[name, "antmaze" in data, source, V0 in theirs.differences].append((mean, theirs.mean))
    for (name, _, source, is_v0), sums in totals.items():
        if len(sums) > 1:
            ours, total = (round(total, 1) for total in np.sum(sums, 0).tolist())
            theirs = Published(total, source=source, differences=(V0,) if is_v0 else ())
            row = [f"total of {len(sums)}", name, "-", published_text(theirs), number_text(ours)]
            rows.append(row + ["-"] * (len(rows[0]) - len(row)))
    rows.insert(1, ["-"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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


def draw_curves(experiments, values, paper, notes):
    """Learning curves, a panel for each data set and value; by default scores or, without them, returns.

    Thin lines are seeds. A diamond at the end is the paper's number, with its spread. What there is no curve
    of is added to the notes.
    """
    everyone = list(itertools.chain(*experiments.values()))
    has_scores = any(math.isfinite(member.value("normalized_score")) for member in everyone)
    values = values or (["normalized_score"] if has_scores else ["episodic_return"])
    curves = {}  # (data set, name, value) -> steps, members' values
    for (data, name), members in experiments.items():
        steps = sorted({step for member in members for step in member.evaluations})
        for what in values:
            rows = [[member.value(what, step) for step in steps] for member in members]
            if np.isfinite(rows).any():
                curves[data, name, what] = steps, np.ma.masked_invalid(rows)
            else:
                notes.append(f"- without a curve of {what}, because there is nothing to draw: {data}, {name}")
    seeds = {len(experiments[data, name]) for data, name, _ in curves}
    pairs = list(dict.fromkeys((data, what) for data, _, what in curves))
    figure, all_axes = panels([data for data, _ in pairs])
    axes_of = dict(zip(pairs, all_axes))
    cycle = cycler(linestyle=["-", "--", ":"]) * cycler(color=COLORS)
    styles = dict(zip(dict.fromkeys(name for _, name, _ in curves), itertools.cycle(cycle)))
    opacity = min(0.15, 0.4 / len(styles))  # where there are many, intervals lie on each other
    limits, ends, lines = defaultdict(list), defaultdict(float), {}
    for (data, name, what), (steps, rows) in curves.items():
        axes, members = axes_of[data, what], experiments[data, name]
        mean, _, interval = summary(rows)
        label = textwrap.fill(name + f", {len(members)} seed(s)" * (len(seeds) > 1), 90)
        lines[label] = axes.plot(steps, mean, **styles[name])[0]
        color = styles[name]["color"]
        axes.fill_between(steps, mean - interval, mean + interval, color=color, alpha=opacity, lw=0)
        if len(members) > 1:
            axes.plot(steps, rows.T, color=color, lw=0.5, alpha=min(1, 4 * opacity))
        limits[axes] += [rows.min(), rows.max()]
        ends[axes] = max(ends[axes], steps[-1])
        if online_from := members[0].online_from:
            axes.axvline(online_from, color="0.5", lw=0.8, ls=":")
    title, diamonds = [f"{n} seed(s)" for n in seeds if len(seeds) == 1], {}
    for data, name, what in reversed(curves):  # IQL's colour, not that of its corner
        theirs = paper_of(experiments[data, name], paper)
        if what == "normalized_score" and math.isfinite(theirs.mean) and OTHER_DATA not in theirs.differences:
            diamonds[data, theirs.mean, np.nan_to_num(theirs.spread)] = styles[name]["color"]
    for (data, mean, spread), color in diamonds.items():
        axes = axes_of[data, "normalized_score"]
        axes.errorbar(ends[axes], mean, spread, fmt="D", ms=5, capsize=3, color=color, clip_on=False)
        limits[axes] += [mean - spread, mean + spread]
    title += ["diamonds: the paper, at its full length"] * bool(diamonds)
    for (data, what), axes in axes_of.items():
        margin = 0.05 * (max(limits[axes]) - min(limits[axes])) or 1.0
        axes.set_ylim(min(limits[axes]) - margin, max(limits[axes]) + margin)  # two seeds' interval is wider
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1M
        axes.set(xlabel="updates", ylabel=f"{axis_label(what, data)}, mean and 95 % interval")
    figure.set_figheight(figure.get_figheight() + 0.3 * (len(lines) + bool(title)))
    title = ", ".join(title)
    figure.legend(lines.values(), lines.keys(), title=title, loc="outside lower center", fontsize="small")
    return figure


def draw_ablation(experiments, name):
    """Score (left) and mean Q (right) of the last policies over lam or nu, a panel for each data set.

    Dots are seeds; bars, which the panel may cut, are 95 % intervals.
    """
    fixed, same = "nu" if name == "lam" else "lam", defaultdict(lambda: defaultdict(list))
    for member in itertools.chain(*experiments.values()):
        if math.isfinite(getattr(member, name)):
            others = {other: value for other, value in member.settings.items() if other != name}
            key = member.data, member.script, json.dumps(others, sort_keys=True)
            same[key][getattr(member, name)].append(member)
    same, groups = {key: sorted(points.items()) for key, points in same.items() if len(points) > 1}, {}
    for (data, script, _), points in same.items():
        names = names_that_differ([json.loads(key[2]) for key in same if key[:2] == (data, script)])
        member = points[-1][1][0]
        words = [data, member.method, setting_text(fixed, getattr(member, fixed))]
        words += [setting_text(other, member.settings.get(other)) for other in names if other != fixed]
        groups[textwrap.fill(", ".join(words), 45)] = points
    figure, all_axes = panels(list(groups), height=3.4)
    for title, axes in zip(groups, all_axes):
        places = [place for place, _ in groups[title]]
        place_of_seeds = [place for place, members in groups[title] for _ in members]
        is_free_below = any(member.diverged_at for _, members in groups[title] for member in members)
        right = axes.twinx()
        axes.margins(x=0.1)
        for side, name_of_value, color, style, points in (
            (axes, "normalized_score", COLORS[0], "o-", -3),
            (right, "q_mean", COLORS[2], "s--", 3),
        ):
            mean, _, interval = zip(*(last_of(members, name_of_value) for _, members in groups[title]))
            bars = side.errorbar(places, mean, interval, fmt=style, color=color, elinewidth=1, capsize=3)
            seeds = [member.value(name_of_value) for _, members in groups[title] for member in members]
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


def draw_runtimes(experiments, paper):
    """Hours for a million updates of one member, without evaluation; the paper's on its GPU beside them."""
    bars = {}
    for member in itertools.chain(*experiments.values()):
        if math.isfinite(member.updates_per_second):
            label = f"{member.script}, {member.members_in_run} member(s), {member.device}"
            bars.setdefault(label, []).append(1e6 / 3600 / member.updates_per_second / member.members_in_run)
    bars = {label: float(np.mean(hours)) for label, hours in bars.items()}
    if not bars:
        raise ValueError("there is nothing to draw")
    paper = {f"{key[2]} (paper)": number.mean for key, number in paper.items() if key[0] == "Figure 3"}
    figure = Figure(figsize=(7, 1 + 0.3 * (len(bars) + len(paper))), layout="constrained")
    axes = figure.subplots()
    labels, hours = [*bars, *paper], [*bars.values(), *paper.values()]
    drawn = axes.barh(labels, hours, color=[COLORS[0]] * len(bars) + ["0.7"] * len(paper))
    axes.bar_label(drawn, [f"{hour:.2g}" for hour in hours], padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("hours per million updates and member; paper: GeForce RTX 3090")
    return figure


def identity(run):
    """What a run has trained, as text."""
    return json.dumps([run["script"], run["env_id"], run["data_crc32"], arguments_of(run)], sort_keys=True)


def keep(runs, path, notes):
    """The text of a .jsonl file with those runs added of which it has none that trained the same."""
    lines = path.read_text().splitlines() if path.exists() else []
    known = {identity(json.loads(line)): line for line in lines}
    known = {identity(run): json.dumps(run, separators=(",", ":")) for run in runs} | known
    lines += [line for line in known.values() if line not in lines]
    if not lines:
        raise ValueError("no run has finished")
    notes.append(f"- kept in {path}: {len(lines)} run(s)")
    return "\n".join([*lines, ""])


def save(made, path):
    """Write a figure or a text under another name and rename it, so that a full disk leaves the old file."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        if isinstance(made, str):
            temporary.write_text(made)
        else:
            made.savefig(temporary, format=path.suffix[1:] or "png", dpi=150)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_all(paths):
    """Finished runs as dictionaries, the members of all, and what is wrong; no run counts twice."""
    ended, members, problems, seen, no_runs = [], [], [], set(), []
    for path in {path.resolve(): path for path in paths}.values():
        if path.exists() and path.suffix != ".jsonl" and not (path / "result.json").exists():
            no_runs.append(str(path))
            continue
        try:
            texts = read(path)
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read ({error})")
            continue
        for name, text in texts:
            try:
                run = json.loads(text)
                of_run, same = members_of(run, name), json.dumps(run)
            except Exception as error:  # of many classes, because the file may hold anything
                problems.append(f"{name}: damaged or of an old version ({error!r:.200})")
                continue
            if same not in seen:
                ended += [run] * of_run[0].has_ended
                members += of_run
            seen.add(same)
    if no_runs:
        print(f"passed over, without a result.json: {', '.join(no_runs)}", file=sys.stderr)
    if not members and not problems:
        problems.append("give the folders of runs, or .jsonl files of kept ones")
    return ended, members, problems


def main():
    args = tyro.cli(Args, description=__doc__)
    (ended, members, problems), notes = load_all(args.runs), []
    experiments, paper = group(member for member in members if member.has_ended), load_paper()
    for experiment, those in list(experiments.items()):
        for one, other in itertools.pairwise(those):
            if one.seed == other.seed:
                problems.append(f"the same experiment and seed, left out: {one.name} and {other.name}")
                experiments.pop(experiment, None)
    for member in members:
        if member.diverged_at:
            notes.append(f"- diverged by update {member.diverged_at:,}: {member.name}")
        if not member.has_ended:
            score = number_text(member.value("normalized_score"))
            progress = f"at {member.step:,} of {member.total_steps:,} updates, score {score}"
            notes.append(f"- interrupted {progress}, left out: {member.name}")
    for path, make, *what in (
        (args.curves, draw_curves, experiments, args.values, paper, notes),
        (args.runtime_plot, draw_runtimes, experiments, paper),
        (args.lam_plot, draw_ablation, experiments, "lam"),
        (args.nu_plot, draw_ablation, experiments, "nu"),
        (args.keep, keep, ended, args.keep, notes),
    ):
        try:
            if path:
                save(make(*what), path)
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"cannot write {path} ({error})")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if text := shared(list(itertools.chain(*experiments.values()))):
        print(textwrap.fill(f"All rows: {text}", 110), end="\n\n")
    print(table(experiments, paper, args.values), *notes, sep="\n")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    # | head ends this without a traceback, and after all files are written
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
