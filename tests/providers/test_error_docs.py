"""The page of errors is generated, complete and up to date."""

import re

from resilio.errors import ERROR_RULES, ErrorClass
from resilio.providers.anthropic import faults as anthropic
from resilio.providers.docs import MEANINGS, main, page
from resilio.providers.gemini import faults as gemini
from resilio.providers.openai import faults as openai


def test_the_page_in_docs_is_up_to_date():
    assert main(["--check"]) == 0, "run: python -m resilio.providers.docs"


def test_every_class_has_a_rule_and_a_meaning():
    assert set(MEANINGS) == set(ERROR_RULES) == set(ErrorClass)


def test_every_row_of_every_table_is_on_the_page():
    text = page()
    for name in (*ErrorClass, *openai.FINISHES, *gemini.FINISHES):
        assert f"| `{name}` |" in text
    sections = re.split("## The (?:Anthropic|Gemini) dialect", text)
    for section, dialect in zip(sections, (openai, anthropic, gemini), strict=True):
        for name in (*dialect.CODES, *dialect.TYPES, *dialect.STATUSES):
            assert f"| `{name}` |" in section
        for wording in dialect.WORDINGS:
            assert f"| {wording.name} | {wording.seen_at} |" in section


def test_a_stale_or_missing_page_is_told_and_not_touched(tmp_path, capsys):
    path = tmp_path / "errors.md"
    assert main(["--check"], path) == 1
    assert not path.exists()
    assert main([], path) == 0
    assert main(["--check"], path) == 0
    path.write_text("old")
    assert main(["--check"], path) == 1
    assert path.read_text() == "old"
    assert "is stale" in capsys.readouterr().err
