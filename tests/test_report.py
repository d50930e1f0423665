"""benchmark/report.py: last scores, names, what is averaged and what is not, kept and damaged, curves."""

import csv
import importlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import launch
import numpy as np
import pytest
import report
import tyro
from conftest import ROOT
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

NAN = math.nan
MISSING = object()


def write(folder, scores, seeds=(1, 2, 3), step=20, diverged=(), **changes):
    """A run folder; scores: of each member after 0, 10 and 20 of 20 updates; diverged: seeds."""
    result = {"script": "dmg_offline", "env_id": "hopper", "data_crc32": 7, "step": step, "members": []}
    result["args"] = {"offline_steps": 20, "q_weight": 1.0, "runs_dir": str(folder), "seed": list(seeds)}
    result["args"] |= {"device": "cpu"}
    for seed, row in zip(seeds, scores):
        evaluations = []
        for at, score in zip((0, 10, max(step, 20)), row):
            values = {"episodic_return": 10 * score, "normalized_score": score, "q_mean": 5.0}
            evaluations.append({"step": at, "returns": [score]} | values)
        member = {"name": f"seed{seed}", "seed": seed, "lam": 0.25, "nu": 0.1, "evaluations": evaluations}
        result["members"].append(member | {"diverged_at": 15 if seed in diverged else None})
    result["args"] |= changes.pop("args", {})
    Path(folder).mkdir()
    Path(folder, "result.json").write_text(json.dumps(result | changes))


@pytest.fixture
def run_report(monkeypatch, capsys):
    def run_report(*args):
        """Rows of the table as dictionaries, the other lines, the error lines and the exit code."""
        monkeypatch.setattr(sys, "argv", ["report.py", *args])
        with pytest.raises(SystemExit) as end:
            report.main()
        out, err = capsys.readouterr()
        out = out.split("\n\n")[-1]  # what all rows share comes first
        table = [line.strip("| ").split(" | ") for line in out.splitlines() if line[0] == "|"]
        rows = [dict(zip(table[0], cells, strict=True)) for cells in table[2:]]
        lines = [line for line in out.splitlines() if line[0] != "|"]
        return rows, lines, err.splitlines(), end.value.code

    return run_report


@pytest.fixture
def draw(monkeypatch, run_report):
    def draw(*args, picture="--curves"):
        """The axes that are drawn instead of being saved, and what run_report returns."""
        figures = []
        monkeypatch.setattr(
            Figure, "savefig", lambda figure, path, **_: figures.append(figure) or path.touch()
        )
        printed = run_report(*args, picture, "curve.png")
        return figures[0].axes[0] if figures else None, printed

    return draw


def test_the_last_score_of_every_seed_not_the_best(run_report):
    write("a", [[0, 90, 10], [0, 80, 20]], seeds=(3, 1))
    write("b", [[0, 70, 60]], seeds=(2,))
    (row,), lines, errors, code = run_report("a", "b")
    assert (row["data"], row["method"], row["updates"]) == ("hopper", "DMG", "20")
    assert (row["seeds"], row["every seed"], row["mean Q"]) == ("1, 2, 3", "20.0, 60.0, 10.0", "5.0")
    # Student's t with two degrees of freedom: 4.303 std / sqrt(3), std = 26.458
    assert (row["here, mean ± std"], row["95 % interval"]) == ("30.0 ± 26.5", "-35.7 to 95.7")
    assert (lines, errors, code) == ([], [], 0)


def test_one_seed_has_no_interval(run_report):
    write("a", [[0, 1, 2]])
    (row,), *_ = run_report("a")
    assert (row["here, mean ± std"], row["95 % interval"]) == ("2.0", "-")


def test_a_folder_given_twice_counts_once(run_report):
    write("a", [[0, 1, 2], [0, 1, 4]])
    os.symlink("a", "b")
    shutil.copytree("a", "copy")
    (row,), _, _, code = run_report("a", "./a/", "b", "copy")
    assert (row["seeds"], code) == ("1, 2", 0)


def test_the_same_seed_from_two_runs_is_refused(run_report):
    write("a", [[0, 1, 2], [0, 1, 4]])
    write("again", [[0, 1, 2], [0, 1, 5]])
    write("other", [[0, 1, 9]], script="my_dmg")
    (row,), _, (*_, error), code = run_report("a", "again", "other")
    assert row["method"] == "my_dmg"
    assert "a seed2" in error and "again seed2" in error and code == 1


def test_interrupted_runs_are_listed_and_not_averaged_in(run_report):
    write("ended", [[0, 1, 2]])
    write("again", [[0, 50]], step=10)  # of the same seed
    write("tuned", [[0, 1, 3]], script="dmg_finetune", args={"online_steps": 1})
    (row,), lines, errors, code = run_report("ended", "again", "tuned")
    assert (row["every seed"], errors, code) == ("2.0", [], 0)
    assert lines == [
        "- interrupted at 10 of 20 updates, score 50.0, left out: again seed1",
        "- interrupted at 20 of 21 updates, score 3.0, left out: tuned seed1",
    ]


def test_fine_tuning_has_ended_after_both_phases(run_report):
    write("a", [[0, 1, 3]], script="dmg_finetune", args={"offline_steps": 10, "online_steps": 10})
    (row,), lines, *_ = run_report("a")
    assert (row["every seed"], row["updates"], lines) == ("3.0", "20", [])


def test_diverged_members_are_named_and_have_no_score(run_report):
    write("a", [[0, 1, 2], [0, 1, NAN], [0, 1, 4]], diverged=[2])
    (row,), lines, _, code = run_report("a")
    assert (row["every seed"], row["95 % interval"], row["mean Q"]) == (
        "2.0, diverged, 4.0",
        "-9.7 to 15.7",
        "5.0",
    )
    assert (lines, code) == (["- diverged by update 15: a seed2"], 0)


def test_a_run_whose_members_have_all_diverged_has_ended(run_report):
    write("a", [[0, NAN]], step=10, diverged=[1])
    (row,), lines, *_ = run_report("a")
    assert (row["every seed"], row["here, mean ± std"], row["updates"]) == ("diverged", "-", "10")
    assert len(lines) == 1


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"args": {"q_weight": 0.0}}, ["DMG", "DMG, q_weight 0"]),
        ({"data_crc32": 8}, ["DMG, data_crc32 7", "DMG, data_crc32 8"]),
        ({"args": {"hidden": [64]}}, ["DMG", "DMG, hidden [64]"]),
        # unknown to an older script
        ({"args": {"step_cost": 1.0}}, ["DMG, step_cost None", "DMG, step_cost 1"]),
        ({"args": {"offline_steps": 25}, "step": 25}, ["DMG, 20 updates", "DMG, 25 updates"]),
        ({"args": {"exp_name": "b"}}, ["DMG, exp_name None", "DMG, exp_name b"]),
        ({"args": {"exp_name": "b", "step_cost": 1.0}}, ["DMG, step_cost None", "DMG, step_cost 1"]),
        ({"script": "dmg_xql", "args": {"gumbel_beta": 5}}, ["DMG", "XQL + DMG"]),
        ({"env_id": "walker2d", "args": {"eval_episodes": 5}}, ["DMG", "DMG"]),
    ],
)
def test_what_differs_in_more_than_the_seed_is_a_row_of_its_own(run_report, changes, names):
    write("a", [[0, 1, 2]])
    write("b", [[0, 1, 3]], seeds=(2,), **changes)
    rows, *_ = run_report("a", "b")
    assert sorted(row["method"] for row in rows) == sorted(names)
    assert sorted(row["every seed"] for row in rows) == ["2.0", "3.0"]


def test_recordings_of_a_data_set_are_one_experiment_where_asked_for(run_report):
    write("a", [[0, 1, 2]])
    write("b", [[0, 1, 3], [0, 1, 4]], seeds=(2, 3), data_crc32=8)
    write("c", [[0, 1, 5]], seeds=(4,), data_crc32=8, args={"q_weight": 0.0})
    rows, lines, _, code = run_report("a", "b", "c", "--pool-recordings")
    assert [row["method"] for row in rows] == ["DMG", "DMG, q_weight 0"]
    assert [row["every seed"] for row in rows] == ["2.0, 3.0, 4.0", "5.0"]
    assert (lines, code) == (["- 2 recordings of hopper, DMG: seed 1 and seed 2, 3"], 0)


MEDIUM = "imported/hopper/medium-v2"
DMG = {
    "lam": 0.25,
    "nu": 0.1,
    "q_weight": 1.0,
    "inverse_temperature": 3.0,
    "max_weight": 3.0,
    "expectile": 0.7,
}
IN_SAMPLE = DMG | {"lam": 0.0, "nu": 1.0, "q_weight": 0.0, "max_weight": 100.0}
CLONING = IN_SAMPLE | {"inverse_temperature": 0.0, "exp_name": "cloning"}
IN_MAZE = {"nu": 0.5, "inverse_temperature": 10.0, "max_weight": 100.0, "expectile": 0.9, "tau": 0.02}
IN_HAND = IN_SAMPLE | {"inverse_temperature": 0.5, "dropout": 0.1}
TD3_BC = {"kappa": 0.0, "bc_weight": 1.0, "q_weight": 2.5}
TD3_N = {"kappa": 2.5, "bc_weight": 0.0, "critics": 10}


@pytest.mark.parametrize(
    "script, settings, data, name",
    [
        ("dmg_offline", DMG, MEDIUM, "DMG"),
        ("dmg_offline", DMG | {"nu": 10.0}, "imported/hopper/medium-expert-v2", "DMG"),
        ("dmg_offline", DMG, "imported/hopper/medium-expert-v2", "DMG, nu 0.1"),
        ("dmg_offline", DMG | IN_MAZE, "local/pointmaze/umaze-v0", "DMG"),
        ("dmg_offline", DMG | IN_MAZE | {"tau": 0.005, "gamma": 0.995}, "D4RL/antmaze/umaze-v1", "DMG"),
        ("dmg_offline", DMG | IN_MAZE | {"tau": 0.005, "gamma": 0.99}, "imported/antmaze/umaze-v2", "DMG"),
        ("dmg_offline", DMG | {"nu": 100.0}, "ogbench/pointmaze-medium-navigate-singletask-v0", "DMG"),
        ("dmg_offline", DMG, "local/ogbench/cube-single-play-singletask-v0", "DMG, nu 0.1"),
        ("iql", IN_SAMPLE, "ogbench/antmaze-large-navigate-singletask-v0", "IQL"),
        ("iql", IN_SAMPLE, "local/ogbench/pointmaze-medium-navigate-singletask-v0", "IQL"),
        ("dmg_offline", DMG | {"lam": 0.0}, MEDIUM, "DMG, lam 0"),
        ("dmg_offline", DMG | {"expectile": 0.5}, MEDIUM, "DMG, expectile 0.5"),
        ("dmg_offline", IN_SAMPLE, MEDIUM, "IQL corner of DMG"),
        ("dmg_offline", CLONING, MEDIUM, "cloning"),
        ("dmg_xql", DMG, MEDIUM, "XQL + DMG"),
        ("dmg_sql", IN_SAMPLE, MEDIUM, "SQL corner of DMG"),
        ("dmg_finetune", DMG | {"online_steps": 5}, MEDIUM, "DMG online"),
        ("dmg_finetune", DMG | {"online_steps": 5, "lam": 0.5}, MEDIUM, "DMG online, lam 0.5"),
        ("iql", IN_SAMPLE, MEDIUM, "IQL"),
        ("iql", IN_SAMPLE | {"online_steps": 5}, MEDIUM, "IQL online"),
        ("iql", IN_SAMPLE | {"dropout": 0.1}, MEDIUM, "IQL, dropout 0.1"),
        ("iql", IN_HAND, "D4RL/door/human-v2", "IQL"),
        ("iql", IN_HAND, "local/door/human-v0", "IQL"),
        ("iql", IN_SAMPLE | {"dropout": 0.1}, "D4RL/kitchen/mixed-v2", "IQL, inverse_temperature 3"),
        ("rd_td3", TD3_BC | {"rd_coef": 0.0}, MEDIUM, "TD3+BC"),
        ("rd_td3", TD3_BC | {"rd_coef": 1.0}, MEDIUM, "TD3+BC with RD"),
        ("rd_td3", TD3_BC | {"rd_coef": 0.5}, MEDIUM, "TD3+BC with RD, rd_coef 0.5"),
        ("rd_td3", TD3_N | {"rd_coef": 0.0}, MEDIUM, "TD3-N"),
        ("rd_td3", TD3_N | {"rd_coef": 0.0, "hidden": 3 * [256]}, MEDIUM, "TD3-N"),
        ("rd_td3", TD3_BC | {"rd_coef": 0.0, "hidden": [64]}, MEDIUM, "TD3+BC, hidden [64]"),
        ("rd_sac", {"cql_alpha": 10.0, "rd_coef": 1.0}, MEDIUM, "CQL with RD"),
        ("rd_sac", {"cql_alpha": 10.0, "rd_coef": 0.5}, MEDIUM, "CQL with RD, rd_coef 0.5"),
        ("rd_sac", {"cql_alpha": 0.0, "rd_coef": 0.0}, MEDIUM, "SAC-N"),
        ("rd_sac", {"cql_alpha": 0.0, "rd_coef": 0.0, "kappa": 0.0}, MEDIUM, "SAC-N, kappa 0"),
        ("my_dmg", DMG, MEDIUM, "my_dmg"),
    ],
)  # fmt: skip
def test_an_experiment_has_the_name_of_its_method(run_report, script, settings, data, name):
    args = {key: value for key, value in settings.items() if key not in ("lam", "nu")}
    write("a", [[0, 1, 2]], script=script, dataset_id=data, args=args, step=25)
    with_member("a", **{key: value for key, value in settings.items() if key in ("lam", "nu", "rd_coef")})
    (row,), *_ = run_report("a")
    assert row["method"] == name


def test_separate_runs_of_a_seed_each_are_one_experiment_and_their_flags_are_said_once(
    run_report, capsys, monkeypatch
):
    for seed in (1, 2, 3):
        write(f"r{seed}", [[0, 1, seed]], seeds=(seed,), args={"gamma": 0.99, "lam": [0.25], "nu": [0.1]})
    (row,), *_ = run_report("r1", "r2", "r3")
    assert (row["seeds"], row["every seed"], row["here, mean ± std"]) == (
        "1, 2, 3",
        "1.0, 2.0, 3.0",
        "2.0 ± 1.0",
    )
    monkeypatch.setattr(sys, "argv", ["report.py", "r1", "r2", "r3"])
    with pytest.raises(SystemExit):
        report.main()
    above = capsys.readouterr().out.split("\n\n")[0]
    settings = "matmul_precision highest, 20 updates, q_weight 1, gamma 0.99, lam 0.25, nu 0.1"
    assert above == f"All rows: {settings}"


@pytest.mark.parametrize("name", ["runs_dir", "device", "cuda_graph", "log_interval", "checkpoint", "track"])
def test_arguments_that_do_not_matter_do_not_part_seeds(run_report, name):
    write("a", [[0, 1, 2]], args={name: 1})
    write("b", [[0, 1, 3]], seeds=(2,), args={name: 2})
    (row,), *_ = run_report("a", "b")
    assert row["every seed"] == "2.0, 3.0"


def test_runs_from_before_a_flag_are_seeds_of_the_same_experiment(run_report):
    write("before", [[0, 1, 2]], script="iql", args={"tf32": False})
    now = {"dropout": 0.0, "matmul_precision": "highest", "track": True, "wandb_project": "dmg"}
    write("now", [[0, 1, 3]], seeds=(2,), script="iql", args=now)
    write("other", [[0, 1, 9]], seeds=(3,), script="iql", args=now | {"dropout": 0.1})
    rows, *_ = run_report("before", "now", "other")
    assert [(row["method"], row["every seed"]) for row in rows] == [
        ("IQL", "2.0, 3.0"),
        ("IQL, dropout 0.1", "9.0"),
    ]


def test_lam_and_nu_of_one_run_are_rows_in_the_order_of_their_numbers(run_report):
    write("a", [[0, 1, 10], [0, 1, 2], [0, 1, 1]], seeds=(1, 1, 1))
    result = json.loads(Path("a/result.json").read_text())
    for member, (lam, nu) in zip(result["members"], [(0.5, 10.0), (0.5, 2.0), (0.25, 30.0)]):
        member |= {"lam": lam, "nu": nu}
    Path("a/result.json").write_text(json.dumps(result))
    rows, *_ = run_report("a")
    assert [(row["method"], row["every seed"]) for row in rows] == [
        ("DMG, nu 30", "1.0"), ("DMG, lam 0.5, nu 2", "2.0"), ("DMG, lam 0.5, nu 10", "10.0")]  # fmt: skip


def test_scripts_without_lam_and_nu_and_settings_of_members(draw):
    write("a", [[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5]], seeds=(1, 2, 1, 2), script="rd_td3")
    result = json.loads(Path("a/result.json").read_text())
    result["args"] |= TD3_BC | {"rd_coef": [0.0, 1.0]}
    for member, rd_coef in zip(result["members"], (0.0, 0.0, 1.0, 1.0)):
        del member["lam"], member["nu"]
        member["rd_coef"] = rd_coef
    Path("a/result.json").write_text(json.dumps(result))
    axes, (rows, *_) = draw("a")
    cells = [(row["method"], row["every seed"]) for row in rows]
    assert cells == [("TD3+BC", "2.0, 3.0"), ("TD3+BC with RD", "4.0, 5.0")]
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.texts] == ["TD3+BC", "TD3+BC with RD"]
    assert legend.get_title().get_text() == "2 seed(s)"


# --- Kept runs ---


def test_kept_runs_are_read_like_folders_and_each_is_kept_once(run_report):
    write("a", [[0, 1, 2], [0, 1, 4]])
    write("b", [[0, 1, 9]], seeds=(3,), args={"runs_dir": "elsewhere"})
    write("half", [[0, 50]], step=10, seeds=(4,))
    *_, (error,), code = run_report("half", "--keep", "kept.jsonl")
    assert "no run has finished" in error and code == 1 and not Path("kept.jsonl").exists()
    *_, (error,), code = run_report("a", "--keep", "kept.json")  # which would be taken for a folder
    assert "must end in .jsonl" in error and code == 1 and not Path("kept.json").exists()
    run_report("a", "--keep", "kept.jsonl")
    first = Path("kept.jsonl").read_text()
    write("again", [[0, 1, 5], [0, 1, 5]])  # the same command: what is kept stays
    _, lines, _, code = run_report("kept.jsonl", "b", "half", "--keep", "kept.jsonl")
    assert (lines[-1], code) == ("- kept in kept.jsonl: 2 run(s)", 0)
    run_report("again", "b", "--keep", "kept.jsonl")
    text = Path("kept.jsonl").read_text()
    assert text.startswith(first) and text.count("\n") == len(text.splitlines()) == 2
    results = [json.loads(Path(name, "result.json").read_text()) for name in ("a", "b")]
    assert [json.loads(line) for line in text.splitlines()] == results
    (row,), lines, errors, code = run_report("kept.jsonl", "a")  # in both, and counts once
    assert (row["every seed"], lines, errors, code) == ("2.0, 4.0, 9.0", [], [], 0)
    assert [member.seed for member in report.load(Path("kept.jsonl"))] == [1, 2, 3]


def test_a_damaged_line_of_kept_runs_is_named_and_the_file_left_alone(run_report):
    write("a", [[0, 1, 2]])
    write("b", [[0, 1, 3]], seeds=(2,))
    run_report("a", "--keep", "kept.jsonl")
    with open("kept.jsonl", "a") as file:
        file.write("<<<<<<<\n")
    text = Path("kept.jsonl").read_text()
    (row,), _, errors, code = run_report("kept.jsonl", "b", "--keep", "kept.jsonl")
    assert (row["every seed"], code, len(errors)) == ("2.0, 3.0", 1, 2)
    assert errors[0].startswith("error: kept.jsonl line 2:") and "cannot write kept.jsonl" in errors[1]
    assert Path("kept.jsonl").read_text() == text and not Path("kept.jsonl.tmp").exists()


# --- Damaged files ---


TEXTS = ["", "{", "null", "[]", "{}", '"x"', "\0" * 99, "[" * 100_000]
VALUES = {
    "members": [MISSING, None, [], {}, "seed1", ["seed1"]],
    "args": [MISSING, [], {}],
    "args/offline_steps": ["x", NAN],
    "args/online_steps": [[]],
    "step": [MISSING, None, NAN, [20]],
    "data_crc32": [MISSING],
    "script": [MISSING],
    "members/0/name": [MISSING],
    "members/0/lam": ["x"],
    "members/0/nu": [[]],
    "members/0/seed": [MISSING],
    "members/0/diverged_at": [MISSING, "x"],
    "members/0/evaluations": [MISSING, 7],
    "members/0/evaluations/2": [{}, "x"],
    "members/0/evaluations/2/step": [MISSING, [], 10**400],
    "members/0/evaluations/2/normalized_score": [None, "x"],
    "members/0/evaluations/2/q_mean": [[]],
}


def damaged(text, path, value):
    """The text of a result.json with another value at the path."""
    result = node = json.loads(text)
    *way, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    for key in way:
        node = node[key]
    node[last] = value
    if value is MISSING:
        del node[last]
    return json.dumps(result)


@pytest.mark.parametrize(
    "path, value",
    [("", text) for text in TEXTS] + [(path, value) for path, values in VALUES.items() for value in values],
    ids=lambda value: str(value)[:20],
)
def test_a_damaged_result_is_named_in_one_line_and_the_rest_reported(draw, path, value):
    write("good", [[0, 1, 2]])
    write("bad", [[0, 1, 3]], seeds=(2,))
    file = Path("bad/result.json")
    file.write_text(damaged(file.read_text(), path, value) if path else value)
    axes, ((row,), _, (error,), code) = draw("bad", "good")
    assert (row["every seed"], code, len(axes.lines)) == ("2.0", 1, 1)
    assert error.startswith("error: bad:") and len(error) < 300


@pytest.mark.parametrize("kind", ["missing", "missing.jsonl", "unreadable"])
def test_what_is_no_run_folder(run_report, kind):
    write("good", [[0, 1, 2]])
    if kind == "unreadable":
        Path(kind, "result.json").mkdir(parents=True)
    (row,), _, (error,), code = run_report(kind, "good")
    assert (row["every seed"], code) == ("2.0", 1) and error.startswith(f"error: {kind}: cannot be read")


def test_folders_that_are_no_runs_are_passed_over_in_one_line(run_report):
    write("good", [[0, 1, 2]])
    Path("random/row").mkdir(parents=True)
    Path("curves.png").touch()
    (row,), _, (line,), code = run_report("curves.png", "good", "random")
    assert (row["every seed"], code) == ("2.0", 0)
    assert line == "passed over, without a result.json: curves.png, random"
    *_, code = run_report("random")
    assert code == 1


def test_no_runs_at_all(run_report):
    rows, _, (error,), code = run_report()
    assert (rows, code) == ([], 1) and "folders" in error


def test_a_pipe_that_is_closed_early_gives_no_traceback():
    write("a", [[0, 1, 2]])
    command = [sys.executable, ROOT / "benchmark/report.py", "a", "--curves", "curve.png"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    assert done.stderr == "" and Path("curve.png").exists()


# --- Curves ---


def test_curves_are_means_over_seeds_with_intervals_from_0(draw):
    write("a", [[0, 10, 20], [0, 30, 40]])
    axes, (_, lines, errors, code) = draw("a")
    assert (lines, errors, code) == ([], [], 0)
    mean, *seeds = axes.lines
    assert mean.get_xydata().tolist() == [[0, 0], [10, 20], [20, 30]]
    assert [seed.get_ydata().tolist() for seed in seeds] == [[0, 10, 20], [0, 30, 40]]
    assert all(seed.get_linewidth() < mean.get_linewidth() for seed in seeds)
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(30 + 127.06, abs=0.1)  # 12.706 std / sqrt(2), std = 14.142
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim() == pytest.approx((-2, 42))  # shows all seeds; the interval may be cut
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.texts] == ["DMG"]
    assert legend.get_title().get_text() == "2 seed(s)" and axes.get_title() == "hopper"


def test_a_seed_that_diverged_leaves_the_mean(draw):
    write("a", [[0, 10, 20], [0, 30, NAN]], diverged=[2])
    axes, _ = draw("a")
    assert axes.lines[0].get_ydata().tolist() == [0, 20, 20]


def test_groups_without_evaluations_are_left_out_and_named(draw):
    write("a", [[0, 10, 20]])
    write("b", [[NAN, NAN, NAN]], script="dmg_xql")
    write("c", [[]], script="dmg_sql")
    axes, (rows, lines, errors, code) = draw("a", "b", "c")
    assert [row["every seed"] for row in rows] == ["20.0", "-", "-"]
    assert len(axes.lines) == len(axes.figure.legends[0].texts) == 1
    assert [line.split(", ")[2] for line in lines] == ["SQL + DMG", "XQL + DMG"]
    assert all(line.startswith("- without a curve") for line in lines) and (errors, code) == ([], 0)


def test_returns_stand_where_there_are_no_scores(draw):
    write("a", [[0, 10, 20], [0, 10, 30], [0, 10, NAN]], diverged=[3])
    path = Path("a/result.json")
    path.write_text(path.read_text().replace('"normalized_score": ', '"normalized_score": NaN, "x": '))
    axes, ((row,), *_) = draw("a")
    assert axes.lines[0].get_ydata().tolist() == [0, 100, 250] and "return" in axes.get_ylabel()
    assert (row["every seed"], row["here, mean ± std"]) == ("200.0, 300.0, diverged", "250.0 ± 70.7 (return)")
    assert row["95 % interval"] == "-385.3 to 885.3"  # 12.706 std / sqrt(2)


@pytest.mark.parametrize("picture", ["folder", "folder.png", "curve.xyz", "missing/curve.png"])
def test_a_picture_that_cannot_be_written(run_report, picture):
    write("a", [[0, 10, 20]])
    if "folder" in picture:
        Path(picture).mkdir()
    before = set(Path().rglob("*"))
    (row,), _, (error,), code = run_report("a", "--curves", picture)
    assert (row["every seed"], code) == ("20.0", 1) and error.startswith(f"error: cannot write {picture}")
    assert set(Path().rglob("*")) == before


def test_nothing_to_draw(run_report):
    write("a", [[NAN, NAN, NAN]])
    _, _, (error,), code = run_report("a", "--curves", "curve.png")
    assert "nothing to draw" in error and code == 1 and not Path("curve.png").exists()


def test_the_picture(run_report):
    write("a", [[0, 10, 20]])
    run_report("a", "--curves", "curve.png")
    assert Path("curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_picture_that_fails_half_way_leaves_the_old_one(run_report, monkeypatch):
    def savefig(figure, path, **options):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    write("a", [[0, 10, 20]])
    Path("curve.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", savefig)
    _, _, (error,), code = run_report("a", "--curves", "curve.png")
    assert "No space" in error and code == 1
    assert Path("curve.png").read_bytes() == b"old" and not Path("curve.png.tmp").exists()


def test_each_data_set_has_a_panel_and_an_experiment_one_colour(draw):
    write("a", [[0, 10, 20], [0, 20, 30]])
    write("b", [[0, 30, 40]], env_id="walker2d")
    write("c", [[0, 50, 60]], env_id="walker2d", script="dmg_xql")
    axes, _ = draw("a", "b", "c")
    first, second = axes.figure.axes
    assert (first.get_title(), second.get_title()) == ("hopper", "walker2d")
    assert first.lines[0].get_color() == second.lines[0].get_color() != second.lines[1].get_color()
    names = [text.get_text() for text in axes.figure.legends[0].texts]
    assert names == ["DMG, 1 or 2 seed(s)", "XQL + DMG, 1 seed(s)"]


def test_ogbenchs_own_data_and_those_by_its_recipe_have_its_published_number(run_report):
    for namespace in ("ogbench", "local/ogbench"):
        data = f"{namespace}/cube-single-play-singletask-task2-v0"
        run = {"env_id": data, "dataset_id": data, "script": "iql", "step": 10**6}
        write(namespace.replace("/", "-"), [[0, 1, 50]], args=IN_SAMPLE | {"offline_steps": 10**6}, **run)
    rows, *_ = run_report("local-ogbench", "ogbench")
    assert [row["paper"] for row in rows] == [
        "85.0 ± 8.0 (FQL paper; ours: OGBench's recipe)",
        "85.0 ± 8.0 (FQL paper)",
    ]


@pytest.mark.parametrize("env_id", ["pointmaze-umaze", "cube-single-play-singletask"])
def test_a_score_that_is_a_success_rate_says_so(draw, env_id):
    write("a", [[0, 10, 20]], env_id=env_id)
    axes, _ = draw("a")
    assert axes.get_ylabel().startswith("success rate in %")


def test_chosen_values_are_panels_and_columns(draw):
    write("a", [[0, 10, 20], [0, 30, 40]], env_id="local/antmaze/umaze-v0")
    result = json.loads(Path("a/result.json").read_text())
    for member, cosine in zip(result["members"], (0.5, 0.75)):
        for entry in member["evaluations"][1:]:  # nothing is known of it before the first update
            entry["cosine"] = cosine
    Path("a/result.json").write_text(json.dumps(result))
    axes, ((row,), lines, errors, code) = draw("a", "--values", "normalized_score", "cosine", "missing")
    score, cosine = axes.figure.axes
    assert score.lines[0].get_ydata().tolist() == [0, 20, 30]
    assert cosine.lines[0].get_xydata().tolist()[1:] == [[10, 0.625], [20, 0.625]]
    assert score.get_ylabel().startswith("success rate in %") and cosine.get_ylabel().startswith("cosine")
    assert (row["cosine"], row["missing"], row["every seed"]) == ("0.625", "-", "20.0, 40.0")
    (line,) = lines
    assert line.startswith("- without a curve of missing") and (errors, code) == ([], 0)


def test_fine_tuning_curves_show_where_online_begins(draw):
    write("a", [[0, 1, 3]], script="dmg_finetune", args={"offline_steps": 10, "online_steps": 10})
    axes, _ = draw("a")
    assert axes.lines[1].get_xdata() == [10, 10] and len(axes.figure.legends[0].texts) == 1


def with_member(folder, **changes):
    """Change the only member of a run."""
    file = Path(folder, "result.json")
    result = json.loads(file.read_text())
    result["members"][0] |= changes
    file.write_text(json.dumps(result))


def at_second(folder, step):
    """Move the second evaluation of every member of a run to a step."""
    file = Path(folder, "result.json")
    result = json.loads(file.read_text())
    for member in result["members"]:
        member["evaluations"][1]["step"] = step
    file.write_text(json.dumps(result))


def test_lam_plot_has_score_and_mean_q_and_crosses_where_members_diverged(draw):
    for i, (lam, seed, score) in enumerate([(0, 1, 10), (0, 2, 20), (0.5, 1, 30), (1, 1, NAN), (1, 2, 50)]):
        write(f"r{i}", [[0, 1, score]], seeds=(seed,), diverged=[1] if lam == 1 else [])
        with_member(f"r{i}", lam=lam)
    axes, (_, lines, errors, code) = draw(*(f"r{i}" for i in range(5)), picture="--lam-plot")
    score, mean_q = axes.figure.axes
    assert score.lines[0].get_xydata().tolist() == [[0, 15], [0.5, 30], [1, 50]]
    assert mean_q.lines[0].get_ydata().tolist() == [5, 5, 5]
    dots = next(line for line in score.lines if line.get_marker() == ".")
    np.testing.assert_equal(dots.get_xydata().tolist(), [[0, 10], [0, 20], [0.5, 30], [1, NAN], [1, 50]])
    assert score.get_ylim() == (10 - 0.4 * 40, 50 + 0.4 * 40)  # of the seeds, not of their intervals
    (cross,) = [line for line in score.lines if line.get_marker() == "x"]
    assert cross.get_xdata() == [1] and score.texts[0].get_text() == "1 of 2\ndiverged"
    assert (score.get_xlabel(), errors, code) == ("lam", [], 0) and "nu 0.1" in score.get_title()


def test_nu_plot_is_logarithmic_and_apart_for_every_lam(draw):
    for i, (lam, nu) in enumerate([(0.25, 0.1), (0.25, 10), (0.5, 0.1), (0.5, 1)]):
        write(f"r{i}", [[0, 1, i]], seeds=(1,))
        with_member(f"r{i}", lam=lam, nu=nu)
    axes, _ = draw("r0", "r1", "r2", "r3", picture="--nu-plot")
    panels = {panel.get_title(): panel for panel in axes.figure.axes if panel.get_title()}
    assert ["DMG, lam 0.25" in title for title in panels] == [True, False] and axes.get_xscale() == "log"
    assert [panel.lines[0].get_xdata().tolist() for panel in panels.values()] == [[0.1, 10], [0.1, 1]]


def test_an_ablation_of_one_value_cannot_be_drawn(run_report):
    write("a", [[0, 10, 20]])
    _, _, (error,), code = run_report("a", "--lam-plot", "lam.png")
    assert "nothing to draw" in error and code == 1


def test_runtimes_are_hours_per_million_updates_of_a_member(draw):
    write("a", [[0, 10, 20]], updates_per_second=100.0)
    write("b", [[0, 10, 20], [0, 10, 20]], seeds=(2, 3), updates_per_second=100.0)
    axes, _ = draw("a", "b", picture="--runtime-plot")
    hours = dict(
        zip((text.get_text() for text in axes.get_yticklabels()), (bar.get_width() for bar in axes.patches))
    )
    assert hours["dmg_offline, 1 member(s), cpu"] == pytest.approx(1e6 / 3600 / 100)
    assert hours["dmg_offline, 2 member(s), cpu"] == pytest.approx(1e6 / 3600 / 200)
    assert hours["DMG (paper)"] == 1.7


# --- The paper's numbers ---


def test_the_papers_numbers_stand_beside_ours(run_report):
    write("a", [[0, 10, 20]], env_id="hopper-medium-v2", dataset_id="imported/hopper/medium-v2")
    write("b", [[0, 10, 30]], env_id="local/antmaze/large-v0", dataset_id="local/antmaze/large-v0")
    write("c", [[0, 10, 40]], env_id="mine", dataset_id="mine/first-v0")
    write(
        "d",
        [[0, 10, 50]],
        env_id="hopper-medium-v2",
        dataset_id="imported/hopper/medium-v2",
        script="dmg_xql",
    )
    tuned = {"script": "dmg_finetune", "args": {"offline_steps": 5, "online_steps": 5}, "step": 10}
    write("e", [[0, 1]], env_id="antmaze-umaze-v2", dataset_id="imported/antmaze/umaze-v2", **tuned)
    for name in "be":
        with_member(name, nu=0.5)
    rows, *_ = run_report("a", "b", "c", "d", "e")
    assert {row["every seed"]: row["paper"] for row in rows} == {
        "20.0": "100.6 ± 1.9 (ours: 20 updates)",
        "30.0": "55.4 ± 6.2 (ours: other data, 20 updates)",
        "40.0": "-",
        "50.0": "90.1 (ours: 20 updates)",
        "1.0": "98.4 (ours: 10 updates)",
    }


MILLION = {"step": 10**6, "args": {"offline_steps": 10**6}, "env_id": "hopper-medium-v2"}


@pytest.mark.parametrize(
    "changes, of_member, paper",
    [
        ({}, {}, "100.6 ± 1.9"),
        ({}, {"nu": 1.0}, "-"),
        ({"expectile": 0.5}, {}, "-"),
        ({"offline_steps": 999}, {}, "100.6 ± 1.9 (ours: 999 updates)"),
        (CLONING, {"lam": 0}, "56.2"),
        ({"q_weight": 0.0, "inverse_temperature": 3.0, "max_weight": 100.0}, {"lam": 0}, "66.2"),
        ({"online_steps": 10}, {"lam": 1}, "-"),
    ],
)
def test_the_papers_number_is_for_its_settings(run_report, changes, of_member, paper):
    script = "dmg_finetune" if "online_steps" in changes else "dmg_offline"
    run = MILLION | {"args": MILLION["args"] | changes, "script": script, "step": 2 * 10**6}
    write("a", [[0, 10, 20]], dataset_id="imported/hopper/medium-v2", **run)
    with_member("a", **of_member)
    (row,), *_ = run_report("a")
    assert row["paper"] == paper


def test_ten_seeds_compare_with_table_6(run_report):
    write("a", [[0, 10, 20]] * 10, seeds=range(10), dataset_id="imported/hopper/medium-v2", **MILLION)
    (row,), *_ = run_report("a")
    assert row["paper"] == "100.5 ± 1.0"


@pytest.mark.parametrize(
    "script, settings, data, paper",
    [
        ("iql", IN_SAMPLE, MEDIUM, "66.3 (IQL paper)"),
        ("dmg_offline", IN_SAMPLE, MEDIUM, "66.2"),  # IQL as DMG's authors ran it
        ("iql", IN_SAMPLE | {"expectile": 0.5}, MEDIUM, "-"),
        ("iql", IN_SAMPLE, "imported/hopper/expert-v2", "109.4"),  # IQL's authors have none
        (
            "iql",
            IN_SAMPLE | IN_MAZE,
            "imported/antmaze/umaze-v2",
            "87.5 (IQL paper; ours: -v2 instead of -v0)",
        ),
        ("iql", IN_HAND, "D4RL/door/human-v2", "4.3 (IQL paper; ours: other data)"),
        ("iql", IN_HAND, "D4RL/kitchen/complete-v2", "62.5 (IQL paper; ours: other data)"),
        ("rd_td3", TD3_N | {"rd_coef": 0.0}, MEDIUM, "41.9 ± 50.5 (RD slides)"),
        ("rd_td3", TD3_N | {"rd_coef": 1.0}, MEDIUM, "103.0 ± 0.8 (RD slides)"),
        ("rd_td3", TD3_BC | {"rd_coef": 0.0}, "imported/hopper/medium-replay-v2", "61.2 (RD slides)"),
        ("rd_td3", TD3_BC | {"rd_coef": 1.0}, MEDIUM, "-"),  # not at hand
        (
            "rd_sac",
            {"cql_alpha": 10.0, "rd_coef": 1.0},
            "imported/hopper/medium-replay-v2",
            "100.3 (RD slides)",
        ),
    ],
)
def test_numbers_of_other_methods_are_their_authors(run_report, script, settings, data, paper):
    settings = settings | {"tau": 0.005}
    run = MILLION | {"args": MILLION["args"] | settings, "script": script, "dataset_id": data}
    write("a", [[0, 10, 20]], **run)
    with_member("a", **{key: value for key, value in settings.items() if key in ("lam", "nu", "rd_coef")})
    (row,), *_ = run_report("a")
    assert row["paper"] == paper


def test_iql_from_offline_to_online_and_its_totals(run_report):
    online = {"args": IN_SAMPLE | IN_MAZE | {"tau": 0.005, "offline_steps": 10**6, "online_steps": 10**6}}
    offline = {"args": IN_SAMPLE | {"offline_steps": 10**6}, "step": 10**6}
    for name, run in {"antmaze/umaze": online, "antmaze/large-play": online}.items():
        data = f"imported/{name}-v2"
        write(name[-4:], [[0, 40, 80]], env_id=data, dataset_id=data, script="iql", step=2 * 10**6, **run)
        at_second(name[-4:], 10**6)
    for name in ("hopper", "walker2d"):
        data = f"imported/{name}/medium-v2"
        write(name, [[0, 10, 70]], env_id=data, dataset_id=data, script="iql", **offline)
    rows, *_ = run_report("maze", "play", "hopper", "walker2d")
    there = "(IQL paper fine-tuning; ours: -v2 instead of -v0)"
    found = [(row["data"], row["method"], row["paper"], row["here, mean ± std"]) for row in rows]
    assert found == [
        ("imported/antmaze/large-play-v2", "IQL online: offline phase", f"25.5 {there}", "40.0"),
        ("imported/antmaze/large-play-v2", "IQL online", f"46.0 {there}", "80.0"),
        ("imported/antmaze/umaze-v2", "IQL online: offline phase", f"86.7 {there}", "40.0"),
        ("imported/antmaze/umaze-v2", "IQL online", f"96.0 {there}", "80.0"),
        ("imported/hopper/medium-v2", "IQL", "66.3 (IQL paper)", "70.0"),
        ("imported/walker2d/medium-v2", "IQL", "78.3 (IQL paper)", "70.0"),
        ("total of 2", "IQL online: offline phase", f"112.2 {there}", "80.0"),
        ("total of 2", "IQL online", f"142.0 {there}", "160.0"),
        ("total of 2", "IQL", "144.6 (IQL paper)", "140.0"),
    ]
    assert [row["updates"] for row in rows[:2]] == ["1,000,000", "2,000,000"]


def test_a_seed_that_diverged_online_counts_in_the_offline_phase(run_report):
    data = "imported/antmaze/umaze-v2"
    args = IN_SAMPLE | IN_MAZE | {"tau": 0.005, "offline_steps": 10**6, "online_steps": 10**6}
    options = dict(script="iql", args=args, env_id=data, dataset_id=data, step=2 * 10**6)
    write("a", [[0, 40, NAN], [0, 60, 90]], seeds=(1, 2), **options)
    at_second("a", 10**6)
    with_member("a", diverged_at=1_500_000)
    (offline, online), *_ = run_report("a")
    assert (offline["every seed"], online["every seed"]) == ("40.0, 60.0", "diverged, 90.0")


def test_all_numbers_of_iql_and_rd_are_found_by_the_rows_of_their_runners():
    """And every row of IQL's finds one; many of RD's numbers are not at hand."""
    paper, found, without = report.load_paper(), set(), []
    for runner in ("iql", "iql_finetuning", "rd_ensembles", "rd_plugin"):
        for script, *words in launch.read_rows(ROOT / "benchmark" / f"{runner}.sh"):
            script = importlib.import_module(Path(script).stem)
            dataset = script.named_dataset(tyro.cli(script.Args, args=words).env_id)
            args = tyro.cli(
                script.Args, args=words, default=replace(script.Args(), **script.presets(dataset))
            )
            total_steps = args.offline_steps + getattr(args, "online_steps", 0)
            run = {"script": script.__name__, "env_id": args.env_id, "dataset_id": dataset.id}
            run |= {"args": json.loads(json.dumps(asdict(args))), "data_crc32": 0, "step": total_steps}
            run["members"] = [
                dict(zip(script.MEMBERS, values), name=str(values), diverged_at=None, evaluations=[])
                for values in itertools.product(*[getattr(args, flag) for flag in script.MEMBERS])
            ]
            for (_, name), members in report.group(report.members_of(run, "")).items():
                published = report.paper_of(members, paper)
                assert len(members) == 5 and name == members[0].method
                if not published.source and script.__name__ == "iql":
                    without.append((args.env_id, name))
                if not math.isnan(published.offline):
                    found.add((published.source, members[0].dataset, name.removesuffix(" online")))
                found.add((published.source, members[0].dataset, name))
    assert not without
    assert {key for key in paper if key[0].startswith(("IQL", "RD"))} <= found


def test_totals_of_antmaze_are_apart(run_report):
    for name in ("hopper/medium", "walker2d/medium", "antmaze/umaze", "antmaze/medium-play"):
        data, maze = f"imported/{name}-v2", IN_MAZE | {"tau": 0.005} if "maze" in name else {}
        args = {key: value for key, value in (DMG | maze).items() if key not in ("lam", "nu")}
        run = MILLION | {"env_id": data, "args": args | {"offline_steps": 10**6}}
        write(name.replace("/", "-"), [[0, 1, 50]], dataset_id=data, **run)
        with_member(name.replace("/", "-"), nu=0.5 if maze else 0.1)
    rows, *_ = run_report(*map(str, sorted(Path().iterdir())))
    assert [(row["paper"], row["here, mean ± std"]) for row in rows[-2:]] == [
        ("172.6", "100.0"),
        ("193.0", "100.0"),
    ]


def write_random(name, env, script, settings, length, scores):
    """Runs of one seed each on D4RL's random data as recorded here."""
    for seed, score in enumerate(scores, 1):
        data = f"local/{env}/random-v0"
        args = {key: value for key, value in settings.items() if key not in ("lam", "nu")}
        run = {"env_id": data, "dataset_id": data, "script": script, "step": length}
        args |= {"offline_steps": length}
        write(f"{name}{seed}", [[0, 10, score]], seeds=(seed,), args=args, **run)
        with_member(f"{name}{seed}", lam=settings.get("lam", 0.25), nu=settings.get("nu", 0.1))


def test_random_data_by_d4rls_recipe_are_like_the_papers(draw):
    write_random("dmg", "halfcheetah", "dmg_offline", DMG, 10**6, (28, 30, 32))
    write_random("long", "hopper", "dmg_offline", DMG, 10**6, (10, 20, 30))
    write_random("iql", "halfcheetah", "iql", IN_SAMPLE, 300_000, (11, 12, 13))
    write_random("corner", "halfcheetah", "dmg_offline", IN_SAMPLE, 300_000, (11, 12, 16))
    write_random("td3", "halfcheetah", "rd_td3", TD3_BC, 300_000, (10, 11, 12))
    axes, (rows, *_) = draw(*sorted(str(path) for path in Path().iterdir() if path.is_dir()))
    assert [[row[name] for name in report.HEAD[:6]] for row in rows if "half" in row["data"]] == [
        ["local/halfcheetah/random-v0", "DMG", "1,000,000", "28.8 ± 1.3 (ours: D4RL's recipe)"]
        + ["30.0 ± 2.0", "25.0 to 35.0"],
        ["local/halfcheetah/random-v0", "IQL", "300,000", "13.1 (ours: D4RL's recipe, 300,000 updates)"]
        + ["12.0 ± 1.0", "9.5 to 14.5"],
        ["local/halfcheetah/random-v0", "IQL corner of DMG", "300,000"]
        + ["13.1 (ours: D4RL's recipe, 300,000 updates)", "13.0 ± 2.6", "6.4 to 19.6"],
        ["local/halfcheetah/random-v0", "TD3+BC", "300,000", "11.0 (ours: D4RL's recipe, 300,000 updates)"]
        + ["11.0 ± 1.0", "8.5 to 13.5"],
    ]  # fmt: skip
    total = {"data": "total of 2", "method": "DMG", "paper": "49.2", "here, mean ± std": "50.0"}
    assert total.items() <= rows[-1].items()
    # The paper's numbers stand at the end of the curves, in the colours of their methods
    (legend,) = axes.figure.legends
    colors = dict(
        zip((text.get_text() for text in legend.texts), (line.get_color() for line in legend.legend_handles))
    )
    diamonds = {
        line.get_color(): line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "D"
    }
    numbers = {"DMG": 28.8, "IQL": 13.1, "TD3+BC": 11.0}
    assert diamonds == {colors[name]: [[10**6, number]] for name, number in numbers.items()}
    assert list(colors) == ["DMG", "IQL", "IQL corner of DMG", "TD3+BC"]
    bars = [bar for bar in axes.collections if isinstance(bar, LineCollection)]  # the paper's spreads
    ends = sorted(tuple(segment[:, 1]) for bar in bars for segment in bar.get_segments())
    spreads = [(11.0, 11.0), (13.1, 13.1), (28.8 - 1.3, 28.8 + 1.3)]  # it has none of IQL and TD3+BC
    assert np.array(ends) == pytest.approx(np.array(spreads))


def test_the_papers_length_is_the_method_itself_and_comes_first(draw):
    for name, length in (("a", 200_000), ("z", 10**6)):
        write_random(f"{name}-half", "halfcheetah", "dmg_offline", DMG, length, (1, 2, 3))
    write_random("b", "halfcheetah", "dmg_offline", DMG | {"lam": 0.0}, 200_000, (1, 2, 3))
    write_random("c", "halfcheetah", "rd_td3", TD3_BC, 300_000, (1, 2, 3))
    for env in ("hopper", "walker2d"):
        write_random(env, env, "dmg_offline", DMG, 10**6, (1, 2, 3))
    folders = sorted(str(path) for path in Path().iterdir() if path.is_dir())
    axes, (rows, _, errors, _) = draw(*folders)
    half = ["DMG", "DMG, 200,000 updates", "TD3+BC", "DMG, lam 0"]
    assert [row["method"] for row in rows] == [*half, "DMG", "DMG", "DMG"] and not errors
    assert [row["updates"] for row in rows[:4]] == ["1,000,000", "200,000", "300,000", "200,000"]
    papers = [row["paper"] for row in rows if row["updates"] == "1,000,000"]
    numbers = ("28.8 ± 1.3", "20.4 ± 10.4", "4.8 ± 2.2")
    assert papers == [f"{number} (ours: D4RL's recipe)" for number in numbers]
    assert (rows[-1]["data"], rows[-1]["paper"], rows[-1]["here, mean ± std"]) == (
        "total of 3",
        "54.0",
        "6.0",
    )
    panels = axes.figure.axes
    assert len({panel.lines[0].get_color() for panel in panels}) == 1  # of DMG on all three
    diamonds = {line.get_ydata()[0]: line.get_color() for line in axes.lines if line.get_marker() == "D"}
    assert diamonds[28.8] == axes.lines[0].get_color() != diamonds[11.0]
    assert axes.lines[0].get_xdata()[-1] == 10**6

    axes, _ = draw(*folders, "--methods", "DMG", "TD3+BC")
    assert [text.get_text() for text in axes.figure.legends[0].texts] == ["DMG", "TD3+BC"]
    axes, (*_, (error,), code) = draw(*folders, "--methods", "DMG", "IQL")
    assert axes is None and code == 1 and error.endswith("(no row of the table is of IQL)")


def test_seeds_can_be_seen_among_many_experiments(draw):
    for i in range(12):
        write_random(f"r{i}", "hopper", "dmg_offline", DMG | {"nu": 1.0 + i}, 10**6, (i, i + 1, i + 2))
    axes, _ = draw(*sorted(str(path) for path in Path().iterdir() if path.is_dir()))
    assert len(axes.lines) == 12 * 4 and min(line.get_alpha() or 1 for line in axes.lines) >= 0.3


def test_other_data_have_no_diamonds(draw):
    write("a", [[0, 10, 20]], env_id="local/hopper/medium-v0", dataset_id="local/hopper/medium-v0")
    axes, ((row,), *_) = draw("a")
    assert row["paper"] == "100.6 ± 1.9 (ours: other data, 20 updates)"
    assert len(axes.lines) == 1


def test_the_papers_totals():
    """The file's columns add up to the totals that the paper prints, to its rounding."""
    totals, published = {}, list(csv.DictReader(open(ROOT / "benchmark" / "paper.csv")))
    for row in published:
        key = row["source"], "antmaze" in row["dataset"], row["method"]
        totals[key] = totals.get(key, 0) + float(row["value"])
    printed = {("Table 2", False, "DMG"): 1182.8, ("Table 2", True, "DMG"): 439.4}
    printed |= {("Table 2", False, "IQL"): 1033.1, ("Table 2", True, "IQL"): 392.4}
    printed |= {("Table 2", False, "TD3+BC"): 1013.2, ("Table 2", True, "CQL"): 218.0}
    printed |= {("Table 3", False, "XQL"): 725.3, ("Table 3", False, "XQL + DMG"): 792.7}
    printed |= {("Table 3", False, "SQL"): 747.5, ("Table 3", False, "SQL + DMG"): 804.2}
    printed |= {("Table 4", True, "DMG online"): 556.4, ("Table 4", True, "IQL online"): 490.4}
    printed |= {("Table 6", False, "DMG"): 1187.2, ("Table 6", True, "DMG"): 435.9}
    printed |= {("IQL paper", True, "IQL"): 378.0, ("IQL paper fine-tuning", True, "IQL"): 370.1}
    printed |= {("IQL paper fine-tuning", True, "IQL online"): 473.7}
    assert {key: totals[key] for key in printed} == pytest.approx(printed, abs=0.16)
    assert len({(row["source"], row["dataset"], row["method"]) for row in published}) == len(published)


@pytest.mark.parametrize(
    "pattern, count, total, rounding",
    [
        ("halfcheetah|hopper|walker2d", 9, 692.4, 0.21),  # the nine rows add up to 692.6
        ("kitchen", 3, 159.8, 0.01),
        ("pen|hammer|door|relocate", 8, 118.1, 0.01),
    ],
)
def test_the_totals_of_iqls_paper(pattern, count, total, rounding):
    rows = csv.DictReader(open(ROOT / "benchmark" / "paper.csv"))
    of_iql = [row for row in rows if row["source"] == "IQL paper" and re.match(pattern, row["dataset"])]
    assert len(of_iql) == count
    assert sum(float(row["value"]) for row in of_iql) == pytest.approx(total, abs=rounding)
