"""Tables and pictures from the result.json of runs, beside the paper's numbers, and from nothing else.

    python benchmark/report.py runs/*/ --curves curves.png
    python benchmark/report.py runs/random/*/*/ --keep benchmark/results/random.jsonl
    python benchmark/report.py benchmark/results/random.jsonl --lam-plot lam.png --nu-plot nu.png
    python benchmark/report.py benchmark/results/random.jsonl --curves curves.png --methods DMG IQL TD3+BC
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
methods, with their source; those of IQL's fine-tuning are of two phases, each of which has a row. Only data
sets that end in -v2 are D4RL's, as the paper's are; AntMaze of IQL's authors is -v0. D4RL's random data
depend on no policy: those recorded here by its recipe are like them, and are marked as such, and so are
OGBench's.
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
from collections import Counter, defaultdict
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
NOT_VALUES = {"step", "returns"}  # of an evaluation
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
PAPER_UPDATES = 1_000_000  # of an offline training there, and as many more online
# How data here differ from those of the published numbers
V0 = "-v2 instead of -v0"
D4RLS_RECIPE = "D4RL's recipe"
OGBENCHS_RECIPE = "OGBench's recipe"
OTHER_DATA = "other data"


@dataclass
class Args:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # run folders, and .jsonl files of kept runs
    keep: Path | None = None  # add the runs that have finished to this .jsonl file, but for those it has
    curves: Path | None = None  # write learning curves to this picture
    values: tuple[str, ...] = ()  # of evaluations: a panel of the curves and a column of the table for each
    pool_recordings: bool = False  # count runs on different recordings of a data set as one experiment
    methods: tuple[str, ...] = ()  # to draw curves of, as in the table: DMG "DMG, lam 0.5"; otherwise all
    lam_plot: Path | None = None  # write score and mean Q over lam to this picture (Figure 1)
    nu_plot: Path | None = None  # write score and mean Q over nu to this picture (Figure 2)
    runtime_plot: Path | None = None  # write hours per million updates to this picture (Figure 3)


@dataclass
class Member:
    """One policy of a run, with its own seed, and what is needed here of the run itself."""

    name: str  # folder or line of the run, and the member's name in it
    data: str  # the run's env_id
    dataset: str  # the data set's name as in paper.csv without a version, such as hopper-medium
    origin: str  # one of the above, empty for D4RL's and OGBench's own data
    script: str
    method: str  # what the script trains with these settings
    settings: dict  # the run's arguments and the member's own, but those that are not in names of experiments
    changed: list[str]  # names of the settings that are not the method's own
    seed: int
    lam: float  # NaN where the script has none, as nu
    nu: float
    step: int  # updates done
    total_steps: int  # updates to do, offline and online
    has_ended: bool  # all updates are done, or all members of the run have diverged
    diverged_at: int  # by which update, 0 for never
    evaluations: dict[float, dict[str, float]]  # step -> name of a value -> value
    hours: float  # for a million updates of this one member, NaN if they were not measured
    setup: str  # what these hours are for, in words

    def value(self, name, step=None):
        """What an evaluation has under that name, the last one unless a step is given; else NaN."""
        return self.evaluations.get(self.step if step is None else step, {}).get(name, math.nan)


@dataclass
class Published:
    """A published number, or without arguments that there is none."""

    mean: float = math.nan
    spread: float = math.nan  # behind ±, NaN where none was published
    source: str = ""  # as in paper.csv, such as Table 2
    differences: tuple[str, ...] = ()  # in words, in what our members are not like those of the source
    offline: float = math.nan  # the same source's number for where the offline phase ends


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
    total_steps = int(args["offline_steps"]) + int(args.get("online_steps", 0))
    step = int(run["step"])
    has_ended = step >= total_steps or all(result["diverged_at"] for result in run["members"])
    dataset_id = str(run.get("dataset_id", run["env_id"]))
    dataset, origin = dataset_of(dataset_id)
    of_run = {"data": str(run["env_id"]), "dataset": dataset, "origin": origin, "script": str(run["script"])}
    of_run |= {"step": step, "total_steps": total_steps, "has_ended": has_ended}
    members = []
    for result in run["members"]:
        evaluations = {}
        for entry in result["evaluations"]:
            at = float(entry["step"])
            evaluations[at] = {name: float(value) for name, value in entry.items() if name not in NOT_VALUES}
        settings = {name: value for name, value in (args | result).items() if name not in NOT_SETTINGS}
        method, own_settings = method_of(str(run["script"]), settings, dataset_id)
        member = Member(
            **of_run,
            name=f"{run_name} {result['name']}",
            method=method,
            settings=settings,
            changed=[name for name, value in own_settings.items() if settings.get(name, value) != value],
            seed=int(result["seed"]),
            lam=float(result.get("lam", math.nan)),
            nu=float(result.get("nu", math.nan)),
            diverged_at=int(result["diverged_at"] or 0),
            evaluations=evaluations,
            hours=1e6 / 3600 / float(run.get("updates_per_second") or math.nan) / len(run["members"]),
            setup=f"{run['script']}, {len(run['members'])} member(s), {run['args']['device']}",
        )
        members.append(member)
    if not members:
        raise ValueError("no members")
    return members


def dataset_of(dataset_id):
    """(name of a data set as in paper.csv without a version, its origin as a Member has it)."""
    namespace, *rest = re.sub(r"-v\d+$", "", dataset_id).split("/")
    dataset = "-".join(rest or [namespace])
    if re.fullmatch(r"local/(halfcheetah|hopper|walker2d)/random-v0", dataset_id):
        return dataset, D4RLS_RECIPE
    if dataset_id.startswith("local/ogbench/"):
        return dataset.removeprefix("ogbench-"), OGBENCHS_RECIPE
    return dataset, "" if namespace in ("imported", "ogbench") else OTHER_DATA


def usual_settings(dataset_id):
    """The settings of TD3, of methods with an in-sample value, of IQL, and of DMG on such data."""
    is_ogbench = "-singletask" in dataset_id  # its mazes have the settings of its other tasks
    is_maze = "maze" in dataset_id and not is_ogbench
    td3 = {"hidden": [256, 256], "batch_size": 256, "critics": 2, "learning_rate": 3e-4}
    td3["gamma"] = 0.995 if re.match("D4RL/antmaze|local/antmaze_v4", dataset_id) else 0.99
    td3["tau"] = 0.02 if is_maze and "pointmaze" in dataset_id else 0.005
    td3 |= {"policy_frequency": 2, "policy_noise": 0.2, "noise_clip": 0.5}
    in_sample = td3 | {"inverse_temperature": 10.0 if is_maze else 3.0, "expectile": 0.9 if is_maze else 0.7}
    in_sample["max_weight"] = 100.0
    iql = in_sample | {"dropout": 0.0}
    if re.match(r"\w+/(pen|hammer|door|relocate|kitchen)/", dataset_id):
        iql |= {"inverse_temperature": 0.5, "dropout": 0.1}
    dmg = in_sample | {"q_weight": 1.0, "max_weight": 100.0 if is_maze else 3.0, "lam": 0.25}
    dmg["nu"] = 100.0 if is_ogbench else 0.5 if is_maze else 10.0 if "expert" in dataset_id else 0.1
    dmg["decay"] = 0.99
    return td3, in_sample, iql, dmg


def method_of(script, settings, dataset_id):
    """(name of what a script trains with such settings, the settings that this method has on such data)."""
    td3, in_sample, iql, dmg = usual_settings(dataset_id)
    online = " online" if settings.get("online_steps") else ""
    rd = " with RD" if settings.get("rd_coef") else ""
    if script in VALUE_OF_SCRIPT:
        value = VALUE_OF_SCRIPT[script]
        has_no_q = settings.get("lam") == 0 and settings.get("q_weight", 1) == 0
        if has_no_q and settings.get("inverse_temperature", 1) > 0:
            return f"{value} corner of DMG", in_sample
        if has_no_q:
            return "cloning", td3
        return "DMG" if value == "IQL" else f"{value} + DMG", dmg
    if script == "dmg_finetune" and not settings["offline_steps"]:
        return "TD3 online", td3 | {"lam": 1.0, "nu": 0.0}
    if script == "dmg_finetune":
        return "DMG" + online, dmg
    if script == "iql":
        return "IQL" + online, iql
    if script == "rd_td3":
        if rd:
            td3["rd_coef"] = 1.0
        if settings.get("kappa") and settings.get("bc_weight") == 0:
            hidden = settings.get("hidden")  # any, because RD's is not known
            return "TD3-N" + rd, td3 | {"critics": 10, "kappa": 2.5, "hidden": hidden}
        return "TD3+BC" + rd, td3 | {"kappa": 0.0, "bc_weight": 1.0, "q_weight": 2.5}
    if script == "rd_sac":
        sac = {"rd_coef": 1.0 if rd else 0.0, "hidden": 3 * [256]}
        if settings.get("cql_alpha"):
            cql = {"critics": 2, "kappa": 0.0, "policy_learning_rate": 3e-5, "cql_alpha": 10.0}
            return "CQL" + rd, sac | cql
        return "SAC-N" + rd, sac | {"critics": 10, "kappa": 2.5, "policy_learning_rate": 3e-4}
    return script, {}


def load_paper():
    """(source, data set without its version, method) -> Published, for each row of paper.csv."""
    paper = {}
    for row in csv.DictReader(open(Path(__file__).with_name("paper.csv"))):
        dataset = row["dataset"].removesuffix("-v0")
        differences = (V0,) if row["dataset"].endswith("-v0") else ()
        spread = float(row["deviation"] or math.nan)
        number = Published(float(row["value"]), spread, row["source"], differences)
        paper[row["source"], dataset, row["method"]] = number
    return paper


def paper_of(members, paper):
    """The published number for what these members are, if there is one.

    Ten seeds compare with Table 6. "play" is D4RL's name of the larger mazes' sets.
    """
    member = members[0]
    if member.changed:
        return Published()
    sources = list(SOURCES.get(member.script, []))
    if len(members) >= 10:
        sources.append("Table 6")
    sources += ["Table 2", "Table 3", "Table 4", "FQL paper"]
    method = IN_PAPER.get(member.method, member.method)
    for source, end in itertools.product(sources, ("", "-play")):
        published = paper.get((source, member.dataset + end, method))
        if published:
            differences = (member.origin,) if member.origin else published.differences
            if member.total_steps not in (PAPER_UPDATES, 2 * PAPER_UPDATES):
                differences += (f"{member.total_steps:,} updates",)
            published = replace(published, differences=differences)
            before = method.removesuffix(" online")
            offline = paper.get((source, member.dataset + end, before))
            return replace(published, offline=offline.mean) if offline and before != method else published
    return Published()


def published_text(published):
    """A published number in words: its source where that is not DMG's paper, and what differs in ours."""
    if not published.source:
        return "-"
    notes = [] if published.source.startswith("Table") else [published.source]
    if published.differences:
        notes.append(f"ours: {', '.join(published.differences)}")
    spread = f" ± {published.spread}" if math.isfinite(published.spread) else ""
    return f"{published.mean}{spread}" + (f" ({'; '.join(notes)})" if notes else "")


def setting_text(name, value):
    """A setting in words, such as nu 0.1."""
    if name == "offline_steps":
        return f"{value:,} updates"
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def names_that_differ(settings):
    """Names of the settings that are not the same in all; exp_name only if nothing else tells two apart."""

    def count_distinct(names):
        return len({json.dumps([one.get(name) for name in names]) for one in settings})

    names = [name for name in dict.fromkeys(itertools.chain(*settings)) if count_distinct([name]) > 1]
    others = [name for name in names if name != "exp_name"]
    return others if count_distinct(others) == count_distinct(names) else names


def group(members, pool_recordings=False):
    """(data set, name of the experiment) -> its members by seed.

    On each data set methods with their own settings come first, and of one method the longest training. The
    paper's number of updates is not named. Data of other contents are another experiment, unless pooled.
    """

    def order(member):
        lam, nu = np.nan_to_num([member.lam, member.nu], nan=-1)  # some methods have none
        is_changed = bool(member.changed)
        return member.data, is_changed, member.method, lam, nu, -member.total_steps, member.seed

    namesakes = defaultdict(list)  # members whose method, and what is not its own, are the same
    for member in sorted(members, key=order):
        changes = [setting_text(name, member.settings[name]) for name in member.changed]
        namesakes[member.data, ", ".join([member.method, *changes])].append(member)
    experiments = defaultdict(list)
    for (data, name), members in namesakes.items():
        names = names_that_differ([member.settings for member in members])
        for member in members:
            values = {other: member.settings.get(other) for other in names}
            if pool_recordings:
                values.pop("data_crc32", None)
            if values.get("offline_steps") == PAPER_UPDATES:
                del values["offline_steps"]
            differences = itertools.starmap(setting_text, values.items())
            experiments[data, ", ".join([name, *differences])].append(member)
    return experiments


def summary(values):
    """Mean, standard deviation and half the 95 % interval over the first axis, without NaN.

    The last two are NaN for a single number.
    """
    values = np.ma.masked_invalid(values)
    count = values.count(0)
    std = values.std(0, ddof=1)
    interval = stats.t.ppf(0.975, count - 1) * std / np.sqrt(count)
    return [np.ma.filled(numbers, np.nan) for numbers in (values.mean(0), std, interval)]


def last_summary(members, name):
    """Mean, standard deviation and half the 95 % interval of what the members have last."""
    return [float(number) for number in summary([member.value(name) for member in members])]


def number_text(number, form=".1f"):
    return f"{number:{form}}" if math.isfinite(number) else "-"


def shared_settings(members):
    """In words, the settings that all members have."""
    settings = [member.settings for member in members]
    if not settings:
        return ""
    apart = {"exp_name", "data_crc32", *names_that_differ(settings)}
    return ", ".join(setting_text(name, value) for name, value in settings[0].items() if name not in apart)


def judged_by(members):
    """Name of the value that members are compared by: the score, or the return where none has a score."""
    scores = [member.value("normalized_score") for member in members]
    return "normalized_score" if np.isfinite(scores).any() else "episodic_return"


def row_of(data, name, members, published, further):
    """The cells of an experiment: those of HEAD, then the means of further values."""
    judge = judged_by(members)
    mean, std, interval = last_summary(members, judge)
    ours = number_text(mean)
    if math.isfinite(std):
        ours += f" ± {std:.1f}"
    if judge == "episodic_return" and math.isfinite(mean):
        ours += " (return)"
    bounds = f"{mean - interval:.1f} to {mean + interval:.1f}" if math.isfinite(interval) else "-"
    seeds = ", ".join(str(member.seed) for member in members)
    each = ["diverged" if member.diverged_at else number_text(member.value(judge)) for member in members]
    row = [data, name, f"{max(member.step for member in members):,}", published_text(published)]
    row += [ours, bounds, seeds, ", ".join(each), number_text(last_summary(members, "q_mean")[0])]
    return row + [number_text(last_summary(members, other)[0], ".3g") for other in further]


def as_offline(members):
    """Members that have gone online, as they were where their offline phase ended."""
    end = members[0].settings["offline_steps"]
    offline = []
    for member in members:
        diverged_at = member.diverged_at if member.diverged_at <= end else 0
        offline.append(replace(member, step=end, diverged_at=diverged_at))
    return offline


def table(experiments, paper, values):
    """Markdown, with a row for each experiment, and a column for each further value.

    Where a source has numbers for the end of both phases, the offline phase has a row of its own before.
    Where data sets are like the paper's, a method on several of them has a row of totals, as in the paper,
    and one of its own for AntMaze.
    """
    further = [name for name in values if name not in ("normalized_score", "q_mean")]
    head = [*HEAD, *further]
    rows = [head, ["-"] * len(head)]
    means = defaultdict(list)  # what a total is of -> (our mean, the published one) of each data set
    compared = []
    for (data, name), members in experiments.items():
        published = paper_of(members, paper)
        if math.isfinite(published.offline):
            of_offline = replace(published, mean=published.offline)
            compared.append((data, f"{name}: offline phase", as_offline(members), of_offline))
        compared.append((data, name, members, published))
    for data, name, members, published in compared:
        rows.append(row_of(data, name, members, published, further))
        if published.source and set(published.differences) <= {D4RLS_RECIPE, V0}:
            # Table 6 and Table 2 are the same paper's
            source = "Table" if published.source.startswith("Table") else published.source
            total_of = name, "antmaze" in data, source, V0 in published.differences
            means[total_of].append((last_summary(members, judged_by(members))[0], published.mean))
    for (name, _, source, is_v0), pairs in means.items():
        if len(pairs) > 1:
            ours, theirs = np.sum(pairs, axis=0).tolist()
            published = Published(round(theirs, 1), source=source, differences=(V0,) if is_v0 else ())
            row = [f"total of {len(pairs)}", name, "-", published_text(published), number_text(ours)]
            rows.append(row + ["-"] * (len(head) - len(row)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figure_with_panels(titles, height=4.0):
    """A figure with a panel under each title, two or three in a row, and the axes of the panels."""
    if not titles:
        raise ValueError("there is nothing to draw")
    columns = 2 if len(titles) == 4 else min(len(titles), 3)
    rows = math.ceil(len(titles) / columns)
    width = 7 if columns == 1 else 4.5 * columns
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in all_axes[len(titles) :]:
        axes.remove()
    for axes, title in zip(all_axes, titles):
        axes.set_title(title, fontsize="medium")
    return figure, all_axes[: len(titles)]


def axis_label(name, data):
    """What an evaluation's value is called in a picture; a maze's or OGBench's score is a success rate."""
    if name == "normalized_score" and ("maze" in data or "-singletask" in data):
        return "success rate in %"
    return "mean Q" if name == "q_mean" else name.replace("_", " ")


def set_y_limits(axes, values, margin):
    """Show all values, with a part of their range as margin; the intervals of few seeds are wider."""
    space = margin * (max(values) - min(values)) or 1.0
    axes.set_ylim(min(values) - space, max(values) + space)


def curves_of(experiments, values, notes):
    """(data set, experiment, value) -> steps, and the members' values there: (members, steps), NaN masked."""
    curves = {}
    for (data, name), members in experiments.items():
        steps = sorted({step for member in members for step in member.evaluations})
        for what in values:
            numbers = [[member.value(what, step) for step in steps] for member in members]
            if np.isfinite(numbers).any():
                curves[data, name, what] = steps, np.ma.masked_invalid(numbers)
            else:
                notes.append(f"- without a curve of {what}, because there is nothing to draw: {data}, {name}")
    return curves


def draw_curve(axes, steps, numbers, style, opacity):
    """Draw mean, interval and seeds of numbers (members, steps); returns the line of the mean."""
    mean, _, interval = summary(numbers)
    (line,) = axes.plot(steps, mean, **style)
    color = style["color"]
    axes.fill_between(steps, mean - interval, mean + interval, color=color, alpha=opacity, lw=0)
    if len(numbers) > 1:
        axes.plot(steps, numbers.T, color=color, lw=0.5, alpha=max(0.3, 4 * opacity))
    return line


def diamonds_of(curves, experiments, paper, styles):
    """(data set, published mean, spread or 0) -> colour, for experiments with a curve of their scores."""
    diamonds = {}
    for data, name, what in reversed(curves):  # IQL's colour, not that of its corner
        published = paper_of(experiments[data, name], paper)
        if what == "normalized_score" and published.source and OTHER_DATA not in published.differences:
            diamonds[data, published.mean, np.nan_to_num(published.spread)] = styles[name]["color"]
    return diamonds


def only(methods, experiments):
    """The experiments with such names, all without a name."""
    missing = set(methods) - {name for _, name in experiments}
    if missing:
        raise ValueError(f"no row of the table is of {' or '.join(sorted(missing))}")
    return {key: members for key, members in experiments.items() if not methods or key[1] in methods}


def draw_curves(experiments, values, paper, notes):
    """Learning curves, a panel for each data set and value; by default scores or, without them, returns.

    Thin lines are seeds. A diamond at the end is the paper's number, with its spread. What there is no curve
    of is added to the notes.
    """
    curves = curves_of(experiments, values or [judged_by(itertools.chain(*experiments.values()))], notes)
    panels = list(dict.fromkeys((data, what) for data, _, what in curves))
    figure, all_axes = figure_with_panels([data for data, _ in panels])
    axes_of = dict(zip(panels, all_axes))
    cycle = cycler(linestyle=["-", "--", ":"]) * cycler(color=COLORS)
    styles = dict(zip(dict.fromkeys(name for _, name, _ in curves), itertools.cycle(cycle)))
    count_in = Counter((data, what) for data, _, what in curves)  # panel -> its curves
    seed_counts = defaultdict(set)  # experiment -> numbers of seeds, which may differ between panels
    for (_, name, _), (_, numbers) in curves.items():
        seed_counts[name].add(len(numbers))
    all_counts = set().union(*seed_counts.values())
    heights = defaultdict(list)  # axes -> what they have to show
    ends = defaultdict(float)  # axes -> last step
    lines = {}  # label -> line
    for (data, name, what), (steps, numbers) in curves.items():
        axes = axes_of[data, what]
        counts = " or ".join(map(str, sorted(seed_counts[name])))
        label = name if len(all_counts) == 1 else f"{name}, {counts} seed(s)"
        opacity = min(0.15, 0.4 / count_in[data, what])  # where there are many, intervals lie on each other
        lines[textwrap.fill(label, 90)] = draw_curve(axes, steps, numbers, styles[name], opacity)
        heights[axes] += [numbers.min(), numbers.max()]
        ends[axes] = max(ends[axes], steps[-1])
        settings = experiments[data, name][0].settings
        if settings.get("online_steps") and settings["offline_steps"]:
            axes.axvline(settings["offline_steps"], color="0.5", lw=0.8, ls=":")
    diamonds = diamonds_of(curves, experiments, paper, styles)
    for (data, mean, spread), color in diamonds.items():
        axes = axes_of[data, "normalized_score"]
        axes.errorbar(ends[axes], mean, spread, fmt="D", ms=5, capsize=3, color=color, clip_on=False)
        heights[axes] += [mean - spread, mean + spread]
    for (data, what), axes in axes_of.items():
        set_y_limits(axes, heights[axes], margin=0.05)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k, 1M
        axes.set(xlabel="updates", ylabel=f"{axis_label(what, data)}, mean and 95 % interval")
    title = [f"{min(all_counts)} seed(s)"] if len(all_counts) == 1 else []
    if diamonds:
        title.append("diamonds: the paper, at its full length")
    figure.set_figheight(figure.get_figheight() + 0.3 * (len(lines) + bool(title)))
    title = ", ".join(title)
    figure.legend(lines.values(), lines.keys(), title=title, loc="outside lower center", fontsize="small")
    return figure


def ablations_of(experiments, name):
    """Title of a panel -> (lam or nu, its members) in ascending order; all else is the same in a panel."""
    members_at = defaultdict(lambda: defaultdict(list))  # all else -> lam or nu -> members
    for member in itertools.chain(*experiments.values()):
        place = getattr(member, name)
        if math.isfinite(place):
            others = {other: value for other, value in member.settings.items() if other != name}
            all_else = member.data, member.script, json.dumps(others, sort_keys=True)
            members_at[all_else][place].append(member)
    ablations = {key: sorted(places.items()) for key, places in members_at.items() if len(places) > 1}
    fixed = "nu" if name == "lam" else "lam"
    panels = {}
    for (data, script, _), points in ablations.items():
        rivals = [json.loads(key[2]) for key in ablations if key[:2] == (data, script)]
        member = points[-1][1][0]
        words = [data, member.method, setting_text(fixed, getattr(member, fixed))]
        names = [other for other in names_that_differ(rivals) if other != fixed]
        words += [setting_text(other, member.settings.get(other)) for other in names]
        panels[textwrap.fill(", ".join(words), 45)] = points
    return panels


def draw_points(axes, points, what, color, style, shift):
    """Draw means, their intervals, and seeds as dots, all shifted to the right by so many points."""
    means, _, intervals = zip(*(last_summary(members, what) for _, members in points))
    places = [place for place, _ in points]
    bars = axes.errorbar(places, means, intervals, fmt=style, color=color, elinewidth=1, capsize=3)
    values = [member.value(what) for _, members in points for member in members]
    places = [place for place, members in points for _ in members]
    dots = axes.plot(places, values, ".", color=color, ms=4)
    transform = axes.transData + ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
    for artist in (*bars.get_children(), *dots):
        artist.set_transform(transform)
    axes.tick_params(axis="y", colors=color)
    has_diverged = any(member.diverged_at for _, members in points for member in members)
    finite = [value for value in values if math.isfinite(value)]
    set_y_limits(axes, finite or [0], margin=0.4 if has_diverged else 0.1)  # the crosses need room below


def draw_ablation(experiments, name):
    """Score (left) and mean Q (right) of the last policies over lam or nu, a panel for each data set.

    Dots are seeds; bars, which the panel may cut, are 95 % intervals. A cross stands where some diverged.
    """
    panels = ablations_of(experiments, name)
    figure, all_axes = figure_with_panels(list(panels), height=3.4)
    for axes, (title, points) in zip(all_axes, panels.items()):
        right = axes.twinx()
        axes.margins(x=0.1)
        draw_points(axes, points, "normalized_score", COLORS[0], "o-", shift=-3)
        draw_points(right, points, "q_mean", COLORS[2], "s--", shift=3)  # neither covers the other
        axes.set_ylabel(axis_label("normalized_score", title), color=COLORS[0])
        right.set_ylabel("mean Q", color=COLORS[2])
        bottom = axes.get_xaxis_transform()
        for place, members in points:
            if diverged := sum(member.diverged_at > 0 for member in members):
                axes.plot(place, 0.05, "x", color="black", ms=7, mew=2, transform=bottom)
                text = f"{diverged} of {len(members)}\ndiverged"
                axes.text(place, 0.09, text, transform=bottom, ha="center", va="bottom", fontsize="x-small")
        axes.set_xlabel(name)
        places = [place for place, _ in points]
        if name == "nu" and min(places) > 0:
            axes.set_xscale("log")
        rotation = 45 if len(places) > 5 else 0
        axes.set_xticks(places, [f"{place:g}" for place in places], rotation=rotation)
        axes.minorticks_off()
    return figure


def draw_runtimes(experiments, paper):
    """Hours for a million updates of one member, without evaluation; the paper's on its GPU beside them."""
    measured = defaultdict(list)
    for member in itertools.chain(*experiments.values()):
        if math.isfinite(member.hours):
            measured[member.setup].append(member.hours)
    if not measured:
        raise ValueError("there is nothing to draw")
    ours = {setup: float(np.mean(hours)) for setup, hours in measured.items()}
    theirs = {f"{key[2]} (paper)": number.mean for key, number in paper.items() if key[0] == "Figure 3"}
    hours = ours | theirs
    figure = Figure(figsize=(7, 1 + 0.3 * len(hours)), layout="constrained")
    axes = figure.subplots()
    colors = [COLORS[0]] * len(ours) + ["0.7"] * len(theirs)
    bars = axes.barh(list(hours), list(hours.values()), color=colors)
    axes.bar_label(bars, fmt="%.2g", padding=3, fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("hours per million updates and member; paper: GeForce RTX 3090")
    return figure


def identity(run):
    """What a run has trained, as text."""
    return json.dumps([run["script"], run["env_id"], run["data_crc32"], arguments_of(run)], sort_keys=True)


def keep(runs, path, notes):
    """The text of a .jsonl file with those runs added of which it has none that trained the same."""
    if path.suffix != ".jsonl":
        raise ValueError("the name must end in .jsonl")
    lines = path.read_text().splitlines() if path.exists() else []
    known = {identity(json.loads(line)) for line in lines}
    new = {identity(run): json.dumps(run, separators=(",", ":")) for run in runs}
    lines += [line for trained, line in new.items() if trained not in known]
    if not lines:
        raise ValueError("no run has finished")
    notes.append(f"- kept in {path}: {len(lines)} run(s)")
    return "\n".join([*lines, ""])


def save(figure_or_text, path):
    """Write a figure or a text under another name and rename it, so that a full disk leaves the old file."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        if isinstance(figure_or_text, str):
            temporary.write_text(figure_or_text)
        else:
            figure_or_text.savefig(temporary, format=path.suffix[1:] or "png", dpi=150)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_all(paths, problems):
    """Finished runs as dictionaries, and the members of all runs; no run counts twice."""
    finished, members = [], []
    seen = set()  # the contents of runs
    passed_over = []
    for path in {path.resolve(): path for path in paths}.values():
        if path.exists() and path.suffix != ".jsonl" and not (path / "result.json").exists():
            passed_over.append(str(path))
            continue
        try:
            texts = read(path)
        except (OSError, ValueError) as error:
            problems.append(f"{path}: cannot be read ({error})")
            continue
        for name, text in texts:
            try:
                run = json.loads(text)
                members_of_run = members_of(run, name)
                content = json.dumps(run)
            except Exception as error:  # of many classes, because the file may hold anything
                problems.append(f"{name}: damaged or of an old version ({error!r:.200})")
                continue
            if content not in seen:
                seen.add(content)
                members += members_of_run
                if members_of_run[0].has_ended:
                    finished.append(run)
    if passed_over:
        print(f"passed over, without a result.json: {', '.join(passed_over)}", file=sys.stderr)
    if not members and not problems:
        problems.append("give the folders of runs, or .jsonl files of kept ones")
    return finished, members


def main():
    args = tyro.cli(Args, description=__doc__)
    problems, notes = [], []
    finished, members = load_all(args.runs, problems)
    experiments = group([member for member in members if member.has_ended], args.pool_recordings)
    paper = load_paper()
    for experiment in list(experiments):
        for one, other in itertools.pairwise(experiments[experiment]):
            if one.seed == other.seed:
                problems.append(f"the same experiment and seed, left out: {one.name} and {other.name}")
                experiments.pop(experiment, None)
    for (data, name), pooled in experiments.items():
        recordings = defaultdict(list)
        for member in pooled:
            recordings[member.settings["data_crc32"]].append(str(member.seed))
        if len(recordings) > 1:
            seeds = " and ".join(f"seed {', '.join(seeds)}" for seeds in recordings.values())
            notes.append(f"- {len(recordings)} recordings of {data}, {name}: {seeds}")
    for member in members:
        if member.diverged_at:
            notes.append(f"- diverged by update {member.diverged_at:,}: {member.name}")
        if not member.has_ended:
            score = number_text(member.value("normalized_score"))
            progress = f"at {member.step:,} of {member.total_steps:,} updates, score {score}"
            notes.append(f"- interrupted {progress}, left out: {member.name}")
    for path, make in (
        (args.curves, lambda: draw_curves(only(args.methods, experiments), args.values, paper, notes)),
        (args.runtime_plot, lambda: draw_runtimes(experiments, paper)),
        (args.lam_plot, lambda: draw_ablation(experiments, "lam")),
        (args.nu_plot, lambda: draw_ablation(experiments, "nu")),
        (args.keep, lambda: keep(finished, args.keep, notes)),
    ):
        try:
            if path:
                save(make(), path)
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"cannot write {path} ({error})")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if settings := shared_settings(list(itertools.chain(*experiments.values()))):
        print(textwrap.fill(f"All rows: {settings}", 110), end="\n\n")
    if experiments:
        print(table(experiments, paper, args.values))
    for note in notes:
        print(note)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    # | head ends this without a traceback, and after all files are written
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
