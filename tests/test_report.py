"""benchmark/report.py: the last score and not the best, all seeds, what diverged, fine-tuning's two axes."""

import json
from pathlib import Path

import pytest
import report


def write(name, seed, scores, steps, diverged_at=None, **args):
    """A run folder with evaluations at the given steps; a score of None stands for a diverged run."""
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    common = {"exp_name": "dmg_offline", "q_weight": 1.0, "offline_steps": 30}
    evaluations = [
        {"step": step, "returns": None if score is None else [score], "normalized_score": score, "q_mean": 5.0}
        for step, score in zip(steps, scores, strict=True)
    ]
    result = {"dataset_id": "a/b-v0", "args": common | args, "lam": 0.25, "nu": 0.1, "seed": seed}
    (folder / "result.json").write_text(json.dumps(result | {"evaluations": evaluations, "diverged_at": diverged_at}))
    return folder


def cells(runs):
    """The table's rows as dictionaries."""
    head, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in report.table(report.load(runs)).splitlines()
    ]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_the_last_score_of_every_seed():
    runs = [write("b", 2, [80, 50], [10, 30]), write("a", 1, [90, 20], [10, 30])]
    (row,) = cells(runs)
    expected = {"before": "", "score": "35.0 ± 15.0", "per seed": "20.0 50.0", "steps": "30", "diverged": "0 of 2"}
    assert row == row | expected


def test_a_diverged_run_is_named_and_an_unfinished_one_shown():
    runs = [write("a", 1, [40], [10]), write("b", 2, [None], [10], diverged_at=7)]
    (row,) = cells(runs)
    assert row == row | {"score": "40.0 ± 0.0", "per seed": "40.0 nan", "steps": "10 of 30", "diverged": "1 of 2"}


def test_fine_tuning_counts_online_steps_and_begins_with_the_offline_score():
    options = dict(exp_name="dmg_finetune", online_steps=100)
    (row,) = cells([write("a", 1, [1, 7, 60, 40], [-10, 0, 50, 100], **options)])
    assert (row["before"], row["score"], row["steps"]) == ("7.0", "40.0 ± 0.0", "100")


def test_experiments_that_differ_in_more_than_the_seed_are_rows_of_their_own(capsys):
    runs = [write("a", 1, [1], [30]), write("b", 1, [2], [30], q_weight=0.0)]
    assert len(cells(runs)) == 2
    with pytest.raises(SystemExit):
        report.load([Path("runs/missing")])
    assert "runs/missing is no run folder" in capsys.readouterr().err


def test_curves(tmp_path):
    report.plot(report.load([write("a", 1, [1, 2], [10, 30]), write("b", 2, [3], [10])]), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
