"""The tables in the pages are those of the code, and the page's example runs."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest

from resilio.config import ModelSettings, ProviderSettings, RetrySettings, RouteSettings, Setting, load_config
from resilio.config.docs import PAGES, fill, main, settings_table

EMPTY = "before\n\n<!-- defaults: RetrySettings -->\n<!-- end -->\n\nafter\n"


def row(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_no_page_is_stale(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


def test_every_setting_is_a_row_with_its_default_unit_bounds_and_meaning():
    table = settings_table(RetrySettings)
    assert len(table.splitlines()) == 2 + len(fields(RetrySettings))
    assert row(table, "cap") == ["`cap`", "`8`", "s", "> 0", "no backoff is drawn from above this"]
    assert row(table, "max_attempts")[1:4] == ["`3`", "count", ">= 1"]


def test_defaults_are_spelt_as_a_configuration_file_spells_them():
    provider, model = settings_table(ProviderSettings), settings_table(ModelSettings)
    assert row(provider, "name")[1] == "required"
    assert row(provider, "max_body_bytes")[1] == "`16_777_216`"
    assert row(provider, "base_url")[1] == '`""`'
    assert row(provider, "keys")[1] == "`[]`"
    assert row(provider, "headers")[1] == "`{}`"
    assert row(provider, "breaker")[1] == "as `BreakerSettings`"
    assert row(model, "reasoning")[1] == "`false`"
    assert row(model, "price")[1] == "not set"
    assert row(model, "capabilities")[1] == "all of them"
    assert row(settings_table(RouteSettings), "ladder")[1] == '`["full"]`'


def test_bounds_at_both_ends_and_bars_in_a_meaning_stay_in_their_cells():
    @dataclass
    class Odd:
        share: Annotated[float, Setting("a | b", "share", minimum=0, maximum=1)] = 1 / 3
        ports: Annotated[frozenset[int], Setting("some")] = frozenset({443, 80})
        table: Annotated[dict[str, bool] | None, Setting("some")] = None

    table = settings_table(Odd)
    assert "| `share` | `0.3333333333333333` | share | >= 0, <= 1 | a \\| b |" in table
    assert "`[80, 443]`" in table


def test_a_setting_without_a_meaning_is_refused():
    @dataclass
    class Bare:
        seconds: float = 1.0

    with pytest.raises(ValueError, match=r"Bare\.seconds carries no Setting"):
        settings_table(Bare)


def test_filling_replaces_only_what_stands_between_the_markers_and_is_stable():
    filled = fill(EMPTY)
    assert filled.startswith("before\n\n<!-- defaults: RetrySettings -->\n\n| setting |")
    assert filled.endswith("|\n\n<!-- end -->\n\nafter\n")
    assert fill(filled) == filled
    assert fill(filled.replace("`8`", "`9`")) == filled


def test_a_marker_may_ask_for_some_settings_alone():
    filled = fill("<!-- defaults: RetrySettings max_* -->\n<!-- end -->\n")
    assert re.findall(r"^\| `(\w+)`", filled, re.MULTILINE) == ["max_attempts", "max_targets"]
    assert fill(filled) == filled


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!-- defaults: NoSuchSettings -->\n<!-- end -->\n", "names no class"),
        ("<!-- defaults: Annotated -->\n<!-- end -->\n", "names no class"),
        ("<!-- defaults: RetrySettings -->\n", "followed by a line"),
        ("<!-- defaults: RetrySettings, QueueSettings -->\n<!-- end -->\n", "one settings class"),
        ("<!-- defaults: RetrySettings -->\n" + EMPTY, "followed by a line"),
        ("<!-- defaults: RetrySettings nothing* -->\n<!-- end -->\n", "no setting that begins"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_refused(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        fill(text)


def test_checking_tells_what_is_stale_and_writing_mends_it(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(EMPTY, encoding="utf-8")
    assert main(["--check", str(tmp_path)]) == 1
    assert "page.md: stale; run python -m resilio.config.docs" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8") == EMPTY
    assert main([str(tmp_path)]) == 0
    assert page.read_text(encoding="utf-8") == fill(EMPTY)
    assert main(["--check", str(tmp_path)]) == 0


def test_a_broken_marker_is_told_with_its_page(tmp_path, capsys):
    (tmp_path / "page.md").write_text("<!-- defaults: Nothing -->\n<!-- end -->\n", encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    assert "page.md: marker 'defaults: Nothing'" in capsys.readouterr().err


def blocks(language):
    text = (Path(PAGES) / "limits-and-retries.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_example_of_the_page_on_limits_runs():
    (example,) = blocks("python")
    exec(compile(example, "limits-and-retries.md", "exec"), {})


def test_the_configuration_of_the_page_on_limits_is_one(tmp_path):
    (example,) = blocks("toml")
    path = tmp_path / "resilio.toml"
    path.write_text(example, encoding="utf-8")
    config = load_config(path, environ={"OPENAI_API_KEY": "sk-test"})
    assert config.providers[0].models["gpt-4o"].tokens_per_minute == 200_000
    assert config.providers[0].queue.max_waiting == 200
    assert config.providers[0].retry_budget.ratio == 0.1
