"""benchmark/report.py: last scores and intervals, what is averaged and what is not, damaged files, curves."""

import csv
import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import report
from conftest import ROOT
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
        out = out.split("\n\n")[-1]  # the table in the paper's form comes first
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
        monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
        printed = run_report(*args, picture, "curve.png")
        return figures[0].axes[0] if figures else None, printed

    return draw


def test_the_last_score_of_every_seed_not_the_best(run_report):
    write("a", [[0, 90, 10], [0, 80, 20]], seeds=(3, 1))
    write("b", [[0, 70, 60]], seeds=(2,))
    (row,), lines, errors, code = run_report("a", "b")
    assert (row["env_id"], row["script"], row["lam"], row["nu"]) == ("hopper", "dmg_offline", "0.25", "0.1")
    assert (row["seeds"], row["scores"], row["updates"]) == ("1, 2, 3", "20.0, 60.0, 10.0", "20")
    # Student's t with two degrees of freedom: 4.303 std / sqrt(3), std = 26.458
    assert (row["mean ± 95 %"], row["return"], row["mean Q"]) == ("30.0 ± 65.7", "300", "5.0")
    assert (lines, errors, code) == ([], [], 0)


def test_one_seed_has_no_interval(run_report):
    write("a", [[0, 1, 2]])
    (row,), *_ = run_report("a")
    assert row["mean ± 95 %"] == "2.0"


def test_a_folder_given_twice_counts_once(run_report):
    write("a", [[0, 1, 2], [0, 1, 4]])
    os.symlink("a", "b")
    (row,), _, _, code = run_report("a", "./a/", "b")
    assert (row["seeds"], code) == ("1, 2", 0)


def test_the_same_seed_from_two_runs_is_refused(run_report):
    write("a", [[0, 1, 2], [0, 1, 4]])
    write("other", [[0, 1, 9]], script="my_dmg")
    shutil.copytree("a", "copy")
    (row,), _, (*_, error), code = run_report("a", "copy", "other")
    assert row["script"] == "my_dmg"
    assert "a seed2" in error and "copy seed2" in error and code == 1


def test_interrupted_runs_are_listed_and_not_averaged_in(run_report):
    write("ended", [[0, 1, 2]])
    write("again", [[0, 50]], step=10)  # of the same seed
    write("tuned", [[0, 1, 3]], script="dmg_finetune", args={"online_steps": 1})
    (row,), lines, errors, code = run_report("ended", "again", "tuned")
    assert (row["scores"], errors, code) == ("2.0", [], 0)
    assert lines == [
        "- interrupted at 10 of 20 updates, score 50.0, left out: again seed1",
        "- interrupted at 20 of 21 updates, score 3.0, left out: tuned seed1",
    ]


def test_fine_tuning_has_ended_after_both_phases(run_report):
    write("a", [[0, 1, 3]], script="dmg_finetune", args={"offline_steps": 10, "online_steps": 10})
    (row,), lines, *_ = run_report("a")
    assert (row["scores"], row["updates"], lines) == ("3.0", "20", [])


def test_diverged_members_are_named_and_have_no_score(run_report):
    write("a", [[0, 1, 2], [0, 1, NAN], [0, 1, 4]], diverged=[2])
    (row,), lines, _, code = run_report("a")
    assert (row["scores"], row["mean ± 95 %"], row["mean Q"]) == ("2.0, diverged, 4.0", "3.0 ± 12.7", "5.0")
    assert (lines, code) == (["- diverged by update 15: a seed2"], 0)


def test_a_run_whose_members_have_all_diverged_has_ended(run_report):
    write("a", [[0, NAN]], step=10, diverged=[1])
    (row,), lines, *_ = run_report("a")
    assert (row["scores"], row["mean ± 95 %"], row["updates"]) == ("diverged", "-", "10")
    assert len(lines) == 1


@pytest.mark.parametrize(
    "changes, others",
    [
        ({"args": {"q_weight": 0.0}}, ["q_weight 1.0", "q_weight 0.0"]),
        ({"data_crc32": 8}, ["data_crc32 7", "data_crc32 8"]),
        ({"args": {"hidden": [64]}}, ["hidden None", "hidden [64]"]),  # unknown to an older script
        ({"script": "dmg_xql", "args": {"gumbel_beta": 5}}, ["", ""]),
        ({"env_id": "maze", "args": {"gamma": 5}}, ["", ""]),
    ],
)
def test_what_differs_in_more_than_the_seed_is_a_row_of_its_own(run_report, changes, others):
    write("a", [[0, 1, 2]])
    write("b", [[0, 1, 3]], seeds=(2,), **changes)
    rows, *_ = run_report("a", "b")
    assert sorted(row["other arguments"] for row in rows) == sorted(others)
    assert sorted(row["scores"] for row in rows) == ["2.0", "3.0"]


@pytest.mark.parametrize("name", ["runs_dir", "device", "cuda_graph", "log_interval", "checkpoint", "resume"])
def test_arguments_that_do_not_matter_do_not_part_seeds(run_report, name):
    write("a", [[0, 1, 2]], args={name: 1})
    write("b", [[0, 1, 3]], seeds=(2,), args={name: 2})
    (row,), *_ = run_report("a", "b")
    assert row["scores"] == "2.0, 3.0"


def test_lam_and_nu_of_one_run_are_rows_in_the_order_of_their_numbers(run_report):
    write("a", [[0, 1, 10], [0, 1, 2], [0, 1, 1]], seeds=(1, 1, 1))
    result = json.loads(Path("a/result.json").read_text())
    for member, (lam, nu) in zip(result["members"], [(0.5, 10), (0.5, 2), (0.25, 30)]):
        member |= {"lam": lam, "nu": nu}
    Path("a/result.json").write_text(json.dumps(result))
    rows, *_ = run_report("a")
    assert [(row["lam"], row["nu"], row["scores"]) for row in rows] == [
        ("0.25", "30", "1.0"), ("0.5", "2", "2.0"), ("0.5", "10", "10.0")]  # fmt: skip


def test_scripts_without_lam_and_nu_and_settings_of_members(draw):
    write("a", [[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5]], seeds=(1, 2, 1, 2), script="rd_td3")
    result = json.loads(Path("a/result.json").read_text())
    result["args"]["rd_coef"] = [0.0, 0.5]
    for member, rd_coef in zip(result["members"], (0.0, 0.0, 0.5, 0.5)):
        del member["lam"], member["nu"]
        member["rd_coef"] = rd_coef
    Path("a/result.json").write_text(json.dumps(result))
    axes, (rows, *_) = draw("a")
    cells = [[row[name] for name in ("lam", "nu", "other arguments", "scores")] for row in rows]
    assert cells == [["-", "-", "rd_coef 0.0", "2.0, 3.0"], ["-", "-", "rd_coef 0.5", "4.0, 5.0"]]
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.texts] == ["rd_td3, rd_coef 0.0", "rd_td3, rd_coef 0.5"]
    assert legend.get_title().get_text() == "2 seed(s)"


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
    assert (row["scores"], code, len(axes.lines)) == ("2.0", 1, 1)
    assert error.startswith("error: bad:") and len(error) < 300


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "folder"])
def test_what_is_no_run_folder(run_report, kind):
    write("good", [[0, 1, 2]])
    if kind == "file":
        Path("x").touch()
    elif kind != "missing":
        Path("x", "result.json" if kind == "folder" else "").mkdir(parents=True)
    (row,), _, (error,), code = run_report("x", "good")
    assert (row["scores"], code) == ("2.0", 1) and error.startswith("error: x:")


def test_no_runs_at_all(run_report):
    rows, _, (error,), code = run_report()
    assert (rows, code) == ([], 1) and "folders" in error


# --- Curves ---


def test_curves_are_means_over_seeds_with_intervals_from_0(draw):
    write("a", [[0, 10, 20], [0, 30, 40]])
    axes, (_, lines, errors, code) = draw("a")
    assert (lines, errors, code) == ([], [], 0)
    assert axes.lines[0].get_xydata().tolist() == [[0, 0], [10, 20], [20, 30]]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(30 + 127.06, abs=0.1)  # 12.706 std / sqrt(2), std = 14.142
    assert axes.get_xlim()[0] == 0
    assert axes.get_ylim() == pytest.approx((-2, 42))  # shows all seeds; the interval may be cut
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.texts] == ["dmg_offline, lam 0.25, nu 0.1, 2 seed(s)"]
    assert axes.get_title() == "hopper"


def test_a_seed_that_diverged_leaves_the_mean(draw):
    write("a", [[0, 10, 20], [0, 30, NAN]], diverged=[2])
    axes, _ = draw("a")
    assert axes.lines[0].get_ydata().tolist() == [0, 20, 20]


def test_groups_without_evaluations_are_left_out_and_named(draw):
    write("a", [[0, 10, 20]])
    write("b", [[NAN, NAN, NAN]], script="dmg_xql")
    write("c", [[]], script="dmg_sql")
    axes, (rows, lines, errors, code) = draw("a", "b", "c")
    assert [row["scores"] for row in rows] == ["20.0", "-", "-"]
    assert len(axes.lines) == len(axes.figure.legends[0].texts) == 1
    assert [line.split(", ")[2] for line in lines] == ["dmg_sql", "dmg_xql"]
    assert all(line.startswith("- without a curve") for line in lines) and (errors, code) == ([], 0)


def test_returns_are_drawn_where_there_are_no_scores(draw):
    write("a", [[0, 10, 20]])
    path = Path("a/result.json")
    path.write_text(path.read_text().replace('"normalized_score": ', '"normalized_score": NaN, "x": '))
    axes, ((row,), *_) = draw("a")
    assert axes.lines[0].get_ydata().tolist() == [0, 100, 200] and "return" in axes.get_ylabel()
    assert (row["scores"], row["return"]) == ("-", "200")


@pytest.mark.parametrize("picture", ["folder", "folder.png", "curve.xyz", "missing/curve.png"])
def test_a_picture_that_cannot_be_written(run_report, picture):
    write("a", [[0, 10, 20]])
    if "folder" in picture:
        Path(picture).mkdir()
    before = set(Path().rglob("*"))
    (row,), _, (error,), code = run_report("a", "--curves", picture)
    assert (row["scores"], code) == ("20.0", 1) and error.startswith(f"error: cannot write {picture}")
    assert set(Path().rglob("*")) == before


def test_nothing_to_draw(run_report):
    write("a", [[NAN, NAN, NAN]])
    _, _, (error,), code = run_report("a", "--curves", "curve.png")
    assert "nothing to draw" in error and code == 1 and not Path("curve.png").exists()


def test_the_picture(run_report):
    write("a", [[0, 10, 20]])
    run_report("a", "--curves", "curve.png")
    assert Path("curve.png").read_bytes()[:4] == b"\x89PNG"


def test_each_data_set_has_a_panel_and_an_experiment_one_colour(draw):
    write("a", [[0, 10, 20]])
    write("b", [[0, 30, 40]], env_id="walker2d")
    write("c", [[0, 50, 60]], env_id="walker2d", script="dmg_xql")
    axes, _ = draw("a", "b", "c")
    first, second = axes.figure.axes
    assert (first.get_title(), second.get_title()) == ("hopper", "walker2d")
    assert first.lines[0].get_color() == second.lines[0].get_color() != second.lines[1].get_color()
    assert len(axes.figure.legends[0].texts) == 2


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
    assert (row["cosine"], row["missing"], row["scores"]) == ("0.625", "-", "20.0, 40.0")
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
    assert ["lam 0.25" in title for title in panels] == [True, False] and axes.get_xscale() == "log"
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
    write("a", [[0, 10, 20]], env_id="hopper-medium-v2", dataset_id="d4rl/hopper/medium-v2")
    write("b", [[0, 10, 30]], env_id="local/antmaze/large-v0", dataset_id="local/antmaze/large-v0")
    write("c", [[0, 10, 40]], env_id="mine", dataset_id="mine/first-v0")
    write("d", [[0, 10, 40]], env_id="hopper-medium-v2", dataset_id="d4rl/hopper/medium-v2", script="dmg_xql")
    tuned = {"script": "dmg_finetune", "args": {"offline_steps": 5, "online_steps": 5}, "step": 10}
    write("e", [[0, 1]], env_id="antmaze-umaze-v2", dataset_id="d4rl/antmaze/umaze-v2", **tuned)
    rows, *_ = run_report("a", "b", "c", "d", "e")
    assert {row["scores"] + " " + row["script"]: row["paper"] for row in rows} == {
        "20.0 dmg_offline": "100.6 ± 1.9 (other settings)",  # 20 updates
        "30.0 dmg_offline": "55.4 ± 6.2 (other data, other settings)",
        "40.0 dmg_offline": "-",
        "40.0 dmg_xql": "90.1 (other settings)",
        "1.0 dmg_finetune": "98.4 (other settings)",
    }


MILLION = {"step": 10**6, "args": {"offline_steps": 10**6}, "env_id": "hopper-medium-v2"}


@pytest.mark.parametrize(
    "changes, of_member, paper",
    [
        ({}, {}, "100.6 ± 1.9"),
        ({}, {"nu": 1.0}, "100.6 ± 1.9 (other settings)"),
        ({"expectile": 0.5}, {}, "100.6 ± 1.9 (other settings)"),
        ({"offline_steps": 999}, {}, "100.6 ± 1.9 (other settings)"),
        ({"q_weight": 0.0, "inverse_temperature": 0.0}, {"lam": 0}, "-"),  # behaviour cloning
        ({"q_weight": 0.0, "inverse_temperature": 3.0, "max_weight": 100.0}, {"lam": 0}, "66.2"),
        ({"online_steps": 10}, {"lam": 1}, "-"),
    ],
)
def test_the_papers_number_is_for_its_settings(run_report, changes, of_member, paper):
    script = "dmg_finetune" if "online_steps" in changes else "dmg_offline"
    run = MILLION | {"args": MILLION["args"] | changes, "script": script, "step": 2 * 10**6}
    write("a", [[0, 10, 20]], dataset_id="d4rl/hopper/medium-v2", **run)
    with_member("a", **of_member)
    (row,), *_ = run_report("a")
    assert row["paper"] == paper


def test_ten_seeds_compare_with_table_6(run_report):
    write("a", [[0, 10, 20]] * 10, seeds=range(10), dataset_id="d4rl/hopper/medium-v2", **MILLION)
    (row,), *_ = run_report("a")
    assert row["paper"] == "100.5 ± 1.0"


def test_the_table_in_the_papers_form(run_report, capsys, monkeypatch):
    for i, (env, score) in enumerate([("hopper", 20), ("walker2d", 30)]):
        ids = {"env_id": f"{env}-medium-v2", "dataset_id": f"d4rl/{env}/medium-v2", "step": 10**6}
        full = {"offline_steps": 10**6}
        write(f"dmg{i}", [[0, 10, score], [0, 10, score + 2]], args=dict(full), **ids)
        write(f"iql{i}", [[0, 10, score + 5]], args=full | {"q_weight": 0}, **ids)
        with_member(f"iql{i}", lam=0)
    monkeypatch.setattr(sys, "argv", ["report.py", "dmg0", "dmg1", "iql0", "iql1"])
    with pytest.raises(SystemExit):
        report.main()
    table = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.split("\n\n")[0].splitlines()]
    assert table[0] == ["data set", "IQL, dmg_offline", "paper", "DMG, dmg_offline", "paper"]
    assert table[2] == ["hopper-medium-v2", "25.0", "66.2", "21.0 ± 12.7", "100.6 ± 1.9"]
    assert table[4] == ["total", "60.0", "144.5", "52.0", "193.0"]


def test_the_papers_totals():
    """The file's columns add up to the totals that the paper prints, to its rounding."""
    totals = {}
    for row in csv.DictReader(open(ROOT / "benchmark" / "paper.csv")):
        key = row["source"], "antmaze" in row["dataset"], row["method"]
        totals[key] = totals.get(key, 0) + float(row["value"])
    printed = {("Table 2", False, "DMG"): 1182.8, ("Table 2", True, "DMG"): 439.4}
    printed |= {("Table 2", False, "IQL"): 1033.1, ("Table 2", True, "IQL"): 392.4}
    printed |= {("Table 2", False, "TD3+BC"): 1013.2, ("Table 2", True, "CQL"): 218.0}
    printed |= {("Table 3", False, "XQL"): 725.3, ("Table 3", False, "XQL + DMG"): 792.7}
    printed |= {("Table 3", False, "SQL"): 747.5, ("Table 3", False, "SQL + DMG"): 804.2}
    printed |= {("Table 4", True, "DMG online"): 556.4, ("Table 4", True, "IQL online"): 490.4}
    printed |= {("Table 6", False, "DMG"): 1187.2, ("Table 6", True, "DMG"): 435.9}
    assert {key: totals[key] for key in printed} == pytest.approx(printed, abs=0.16)
