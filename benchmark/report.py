"""Tables and learning curves from the result.json files of runs, and from nothing else.

    python benchmark/report.py runs/hopper-medium__* --plot curve.png

A row is an experiment: runs that differ in their seed alone. Its score is that of the last policy of every seed, never
the best one; a diverged run counts as missing and is named. Fine-tuning runs have the score before the first online
step as well.
"""

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro


@dataclass
class Args:
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """run folders"""
    plot: Path | None = None
    """write the learning curves to this picture"""


def load(runs):
    """Group the runs' results by experiment: (data set, name, lam, nu, q_weight, last step) -> list of results."""
    groups = defaultdict(list)
    for run in runs:
        try:
            result = json.loads((run / "result.json").read_text())
        except (OSError, ValueError) as error:
            print(f"error: {run} is no run folder ({error})", file=sys.stderr)
            sys.exit(2)
        args = result["args"]
        key = (
            result["dataset_id"],
            args["exp_name"],
            result["lam"],
            result["nu"],
            args["q_weight"],
            args.get("online_steps", args["offline_steps"]),
        )
        groups[key].append(result)
    return groups


def value_of(entry):
    """Normalised score where the data set has one, mean return elsewhere, NaN for a diverged run."""
    if entry["normalized_score"] is not None:
        return entry["normalized_score"]
    return np.mean(entry["returns"]) if entry["returns"] else np.nan


def table(groups):
    """One Markdown row an experiment: mean and standard deviation over seeds, each seed, mean Q, diverged runs."""
    lines = [
        "| data set | script | lam | nu | q_weight | steps | before | score | per seed | mean Q | diverged |",
        "|-" * 11 + "|",
    ]
    for (dataset, script, lam, nu, q_weight, steps), results in sorted(groups.items()):
        results = sorted(results, key=lambda result: result["seed"])
        last = [result["evaluations"][-1] for result in results if result["evaluations"]]
        if not last:
            continue
        done = min(entry["step"] for entry in last)
        before = [value_of(entry) for result in results for entry in result["evaluations"] if entry["step"] == 0]
        scores, q = (np.array([value_of(entry) for entry in last]), [entry["q_mean"] or np.nan for entry in last])
        diverged = sum(result["diverged_at"] is not None for result in results)
        updates = f"{done:,}" if done == steps else f"{done:,} of {steps:,}"
        lines.append(
            f"| {dataset} | {script} | {lam:g} | {nu:g} | {q_weight:g} | {updates} | "
            f"{' '.join(f'{s:.1f}' for s in before)} | "
            f"{np.nanmean(scores):.1f} ± {np.nanstd(scores):.1f} | {' '.join(f'{s:.1f}' for s in scores)} | "
            f"{np.nanmean(q):.1f} | {diverged} of {len(results)} |"
        )
    return "\n".join(lines)


def plot(groups, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (dataset, script, lam, nu, *_), results in sorted(groups.items()):
        length = min(len(result["evaluations"]) for result in results)
        steps = [entry["step"] for entry in results[0]["evaluations"][:length]]
        curves = np.array([[value_of(entry) for entry in result["evaluations"][:length]] for result in results])
        label = f"{dataset} {script} lam={lam:g} nu={nu:g} ({len(results)} runs)"
        (line,) = axes.plot(steps, np.nanmean(curves, 0), marker=".", label=label)
        axes.fill_between(steps, np.nanmin(curves, 0), np.nanmax(curves, 0), alpha=0.2, color=line.get_color())
    axes.set(xlabel="steps", ylabel="score (mean, band: lowest to highest run)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


def main():
    args = tyro.cli(Args, description=__doc__)
    groups = load(args.runs)
    print(table(groups))
    if args.plot:
        plot(groups, args.plot)


if __name__ == "__main__":
    main()
