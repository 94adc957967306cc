"""The page about the wall knows every row, as it is."""

from pathlib import Path

import pytest

from resilio.testing.wall import BEYOND, ROWS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "wall.md").read_text()


@pytest.mark.parametrize("row", [*ROWS, *BEYOND], ids=lambda row: row.id)
def test_the_page_has_each_row_as_it_is(row):
    assert f"| {row.id} | {row.fault} | {row.expected} |" in PAGE
