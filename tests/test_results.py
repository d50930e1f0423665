"""The pages of results say what the kept runs say."""

import re

import pytest
import report
from conftest import ROOT

RESULTS = ROOT / "benchmark" / "results"
NAMES = ("local.md", "table3.md", "baselines.md", "finetune.md")
PAGES = [ROOT / "README.md", *(RESULTS / name for name in NAMES)]


@pytest.fixture(scope="module")
def kept():
    """The rows of report.py's table of every kept run: name of the column -> text."""
    folders = [path.parent for path in sorted(RESULTS.glob("*/*/*/result.json"))]
    members = [member for folder in folders for member in report.load(folder)]
    assert all(member.has_ended for member in members)
    lines = report.table(report.group(members), paper={}, values=()).splitlines()
    head, _, *rows = [line.strip("| ").split(" | ") for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def test_every_kept_run_stands_on_a_page(kept):
    text = "\n".join(page.read_text() for page in RESULTS.glob("*.md"))
    for row in kept:
        assert f"| {row['scores']} | {row['mean ± 95 %']} | {row['mean Q']} |" in text, row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scores_with_a_decimal_are_those_of_a_kept_run(kept, page):
    """Three in a row, one a seed; scores of runs that were not kept are written without decimals."""
    written = set(re.findall(r"(?<![\d.-])(?<!, )-?\d+\.\d(?:, -?\d+\.\d){2}(?!,)", page.read_text()))
    assert written and written <= {row["scores"] for row in kept}
