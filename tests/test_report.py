"""benchmark/report.py: last scores and intervals, what is averaged and what is not, damaged files, curves."""

import json
import math
import os
import shutil
import sys
from pathlib import Path

import pytest
import report
from matplotlib.figure import Figure

NAN = math.nan
MISSING = object()


def write(folder, scores, seeds=(1, 2, 3), step=20, diverged=(), **changes):
    """A run folder; scores: of each member after 0, 10 and 20 of 20 updates; diverged: seeds."""
    result = {"script": "dmg_offline", "env_id": "hopper", "data_crc32": 7, "step": step, "members": []}
    result["args"] = {"offline_steps": 20, "q_weight": 1.0, "runs_dir": str(folder), "seed": list(seeds)}
    for seed, row in zip(seeds, scores):
        evaluations = []
        for at, score in zip((0, 10, 20), row):
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
        table = [line.strip("| ").split(" | ") for line in out.splitlines() if line[0] == "|"]
        rows = [dict(zip(table[0], cells, strict=True)) for cells in table[2:]]
        lines = [line for line in out.splitlines() if line[0] != "|"]
        return rows, lines, err.splitlines(), end.value.code

    return run_report


@pytest.fixture
def draw(monkeypatch, run_report):
    def draw(*args):
        """The axes that are drawn instead of being saved, and what run_report returns."""
        figures = []
        monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
        printed = run_report(*args, "--plot", "curve.png")
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
    assert [text.get_text() for text in legend.texts] == ["hopper, dmg_offline, lam 0.25, nu 0.1, 2 seed(s)"]


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
    (row,), _, (error,), code = run_report("a", "--plot", picture)
    assert (row["scores"], code) == ("20.0", 1) and error.startswith(f"error: cannot write {picture}")
    assert set(Path().rglob("*")) == before


def test_nothing_to_draw(run_report):
    write("a", [[NAN, NAN, NAN]])
    _, _, (error,), code = run_report("a", "--plot", "curve.png")
    assert "nothing to draw" in error and code == 1 and not Path("curve.png").exists()


def test_the_picture(run_report):
    write("a", [[0, 10, 20]])
    run_report("a", "--plot", "curve.png")
    assert Path("curve.png").read_bytes()[:4] == b"\x89PNG"
