"""The pages of results say what the kept runs say."""

import re

import pytest
import report
from conftest import ROOT

RESULTS = ROOT / "benchmark" / "results"
PAGES = sorted(RESULTS.glob("*.md"))
COLUMNS = ("here, mean ± std", "95 % interval", "every seed", "mean Q")
PAPER = report.load_paper()


@pytest.fixture(scope="module")
def kept():
    """Page -> the rows of report.py's table of its kept runs: name of the column -> text."""
    rows = {}
    for path in RESULTS.glob("*.jsonl"):
        members = report.load(path)
        assert all(member.has_ended for member in members)
        experiments = report.group(members, pool_recordings=path.stem == "ogbench")
        lines = report.table(experiments, PAPER, values=()).splitlines()
        head, _, *cells = [line.strip("| ").split(" | ") for line in lines]
        rows[path.with_suffix(".md")] = [dict(zip(head, row, strict=True)) for row in cells]
    return rows


def test_every_kept_run_stands_on_its_page(kept):
    for page, rows in kept.items():
        lines = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
        for row in rows:
            cells = [row[name] for name in COLUMNS]
            assert any(is_within(cells, line) for line in lines), row


def is_within(cells, line):
    """Whether a line has these cells, in this order, among its own."""
    rest = iter(line)
    return all(cell in rest for cell in cells)


def test_the_page_of_random_data_has_the_table_as_it_is_printed(kept):
    page = RESULTS / "random.md"
    lines = page.read_text().splitlines()
    for row in kept[page]:
        assert f"| {' | '.join(row.values())} |" in lines or row["data"].startswith("total")


def test_the_scores_in_the_readme_are_those_of_kept_runs(kept):
    """Data, method, the paper's number, ours with every seed; data without a name are as above."""
    names = {"halfcheetah-random": "local/halfcheetah/random-v0"}
    names |= {"hopper-random": "local/hopper/random-v0", "walker2d-random": "local/walker2d/random-v0"}
    names["OGBench cube-single-play"] = "local/ogbench/cube-single-play-singletask-task2-v0"
    pages = kept[RESULTS / "random.md"] + kept[RESULTS / "ogbench.md"]
    rows = {}
    for row in pages:
        method = row["method"].removesuffix(f", {row['updates']} updates")  # which stands behind the score
        rows[row["data"], method, row["updates"]] = row
    data, count = "", 0
    for line in (ROOT / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        data = cells[0].split(",")[0] or data
        ours = re.fullmatch(r"(.+) \((.+) updates\)", cells[-1])
        if ours and len(cells) == 4 and data in names:
            row = rows[names[data], cells[1], ours[2]]
            seeds = f", seed {row['seeds']}" if row["seeds"].isdigit() else f": {row['every seed']}"
            assert ours[1] == row["here, mean ± std"] + seeds
            assert (cells[2] or "-") == row["paper"].partition(" (")[0]
            count += 1
    assert count >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scores_with_a_decimal_are_those_of_a_kept_run(kept, page):
    """Three in a row, one a seed; scores of runs that were not kept are written without decimals."""
    written = set(re.findall(r"(?<![\d.-])(?<!, )-?\d+\.\d(?:, -?\d+\.\d){2}(?!,)", page.read_text()))
    rows = kept.get(page, [])
    of_three = {row["every seed"] for row in rows if row["every seed"].count(", ") == 2}
    assert written <= of_three and bool(written) == bool(of_three)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_and_refers_to_is_there(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
