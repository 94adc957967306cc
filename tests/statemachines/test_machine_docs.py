"""The page about the state machines: never stale, and its example runs."""

import contextlib
import io
from dataclasses import fields

import pytest

from resilio.config.settings import BreakerSettings
from resilio.statemachines import TABLES, docs


def test_the_page_in_the_tree_is_what_the_code_says():
    assert docs.main(["--check"]) == 0, "run: python -m resilio.statemachines.docs"


def test_a_stale_or_missing_page_is_reported_and_written_anew(tmp_path, capsys):
    path = tmp_path / "page.md"
    where = ["--path", str(path)]
    assert docs.main(["--check", *where]) == 1
    path.write_text("old")
    assert docs.main(["--check", *where]) == 1
    assert path.read_text() == "old"
    assert "is stale: run python -m resilio.statemachines.docs" in capsys.readouterr().err
    assert docs.main(where) == 0
    assert docs.main(["--check", *where]) == 0


def test_the_example_on_the_page_prints_what_its_comments_say():
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(docs.EXAMPLE, {})
    promised = [line.split("# ")[-1] for line in docs.EXAMPLE.splitlines() if line.startswith(("print", "# "))]
    assert shown.getvalue().splitlines() == promised
    assert docs.EXAMPLE in docs.page()


def test_the_page_lists_every_setting_of_a_breaker_with_its_default_and_its_meaning():
    listing = docs.settings_table(BreakerSettings)
    for field in fields(BreakerSettings):
        assert f"| `{field.name}` | `" in listing
    assert "| `early_probes` | `true` |" in listing
    assert "| `break_duration` | `30` | s | length of the first break |" in listing


def test_render_shows_the_machines_asked_for():
    assert docs.render("mermaid", ["request"]) == TABLES["request"].mermaid()
    shown = docs.render("table")
    for table in TABLES.values():
        assert f"{table.name}: {table.doc}\n\n{table.markdown()}" in shown


def test_render_names_the_machines_there_are_when_asked_for_another():
    with pytest.raises(KeyError, match="no state machine 'door'; there are breaker, actor, request"):
        docs.render("table", ["door"])
