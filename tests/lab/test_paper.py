"""The paper prints what we say it prints: every quote is found in its text, every value in its quote."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.paper import FIGURE_3_SAVING, FIGURE_4, OVERALL_SAVING, TABLE_6, Printed, printed_speed

PRINTED = [*(speed.samples_per_s for speed in (*FIGURE_4, *TABLE_6)), FIGURE_3_SAVING, OVERALL_SAVING]


@pytest.mark.parametrize("printed", PRINTED, ids=lambda printed: f"{printed.where} {printed.value}")
def test_a_number_stands_in_the_papers_words(printed: Printed, shared: Path) -> None:
    paper = (shared / "paper.txt").read_text(encoding="utf-8")
    assert printed.quote in paper
    assert f"{printed.value}" in printed.quote or f"{printed.value:g}%" in printed.quote


def test_table_6_rows_give_pt_before_dept() -> None:
    for speed in TABLE_6:
        cells = speed.samples_per_s.quote.split("\t")
        assert cells[0].lower() == speed.backbone
        assert float(cells[2 if speed.method == "prompt_tuning" else 4]) == speed.samples_per_s.value


def test_only_what_is_printed_is_found() -> None:
    found = printed_speed("t5-large", "dept", 20)
    assert found is not None
    assert found.samples_per_s.value == 24.8
    assert printed_speed("t5-base", "dept", 20) is None
    assert printed_speed("t5-large", "dept", 40) is None
