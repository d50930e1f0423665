"""The pages of results say what the kept runs say."""

import re

import pytest
import report
from conftest import ROOT

RESULTS = ROOT / "benchmark" / "results"
PAGES = sorted(RESULTS.glob("*.md"))
COLUMNS = ("here, mean ± std", "95 % interval", "every seed", "mean Q")


@pytest.fixture(scope="module")
def kept():
    """Page -> the rows of report.py's table of its kept runs: name of the column -> text."""
    rows = {}
    for path in RESULTS.glob("*.jsonl"):
        members = report.load(path)
        assert all(member.has_ended for member in members)
        lines = report.table(report.group(members), paper={}, values=()).splitlines()
        head, _, *cells = [line.strip("| ").split(" | ") for line in lines]
        rows[path.with_suffix(".md")] = [dict(zip(head, row, strict=True)) for row in cells]
    return rows


def test_every_kept_run_stands_on_its_page(kept):
    for page, rows in kept.items():
        lines = [line.strip("| ").split(" | ") for line in page.read_text().splitlines()]
        for row in rows:
            cells = [row[name] for name in COLUMNS]
            assert any([cell for cell in line if cell in cells] == cells for line in lines), row


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
