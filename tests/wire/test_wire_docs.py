"""The table of errors on the page is the one the code runs on."""

from resilio.errors import ErrorClass
from resilio.wire.docs import main, table
from resilio.wire.faults import CLASSES, FAULTS, TYPES


def test_the_table_in_docs_is_up_to_date():
    assert main(["--check"]) == 0, "run: python -m resilio.wire.docs"


def test_every_kind_class_and_type_is_in_the_table():
    assert set(CLASSES) == set(ErrorClass)
    assert {*CLASSES.values(), *(name for _, name in TYPES)} <= set(FAULTS)
    rows = table().splitlines()[2:]
    assert len(rows) == len(FAULTS)
    assert not any(row.startswith("|  |") for row in rows)


def test_a_stale_page_is_told_and_then_mended(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- Written by `python -m resilio.wire.docs`. -->\nold\n<!-- end -->\nb\n")
    assert main(["--check"], page) == 1
    assert "is stale" in capsys.readouterr().err
    assert "old" in page.read_text()
    assert main([], page) == 0
    assert main(["--check"], page) == 0
    assert table() in page.read_text()
