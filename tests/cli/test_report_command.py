"""`resilio report`: what it says, what it writes, and what it refuses."""

import csv
import json
import signal
from datetime import UTC, datetime, timedelta

import pytest

from resilio.cli import main
from resilio.events import CallSettled
from resilio.models import AttemptRecord, CacheHit, Identity, Level, PromptCacheUse, Usage
from resilio.store import totals
from resilio.testing.spending import write_log

MIDNIGHT = datetime(2026, 11, 1, tzinfo=UTC)
NOVEMBER = ("--month", "2026-11")
WENT = (AttemptRecord("o/m", 0, 0.0, 0.0, 1.0, "success"),)


def call(day, *, cost=1.0, model="m", usage=None, user="ann", feature="search", hours=12.0, **more):
    return CallSettled(
        request_id="r", route="chat", identity=Identity(user=user, feature=feature),
        final=more.pop("final", "complete"),
        level=more.pop("level", Level.FULL), target=model and f"o/{model}", attempts=more.pop("attempts", WENT),
        reasons=(), usage=usage or Usage(1000, 100), cost_usd=cost, latency=1.0, first_token=0.5,
        error=more.pop("error", None), at=0.0, tags=more.pop("tags", {}), cached=more.pop("cached", None),
        at_unix=(MIDNIGHT + timedelta(days=day - 1, hours=hours)).timestamp(), **more,
    )  # fmt: skip


def hit(day, saved):
    return call(
        day, cost=0.0, usage=Usage(), cached=CacheHit("exact", 1.0, "e", saved), attempts=(), level=Level.CACHED
    )


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Writes calls; the report is asked for on the last of November."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: datetime(2026, 12, 1, tzinfo=UTC).timestamp())

    def fill(*calls):
        write_log(tmp_path / "requests.db", calls)
        return str(tmp_path / "requests.db")

    return fill


def report(capsys, *arguments):
    assert main(["report", *arguments]) == 0
    return capsys.readouterr().out


def as_json(capsys, *arguments):
    return json.loads(report(capsys, *arguments, "--json"))


# --- what it says ----------------------------------------------------------------------------------


def test_it_shows_what_providers_caches_saved_and_what_a_move_cost_again(log, capsys):
    use = PromptCacheUse(5000, 1000, 0.75, "a/m", 4000, 0.25)
    path = log(
        call(3, usage=Usage(8000, 100, 5000, 1000), prompt_cache=use),
        call(4, usage=Usage(8000, 100, 7000), prompt_cache=PromptCacheUse(7000, 0, 1.5)),
        call(5, cost=None, prompt_cache=PromptCacheUse(0, 0, None, "a/m", 500, None)),
    )
    told = report(capsys, path, *NOVEMBER)
    lines = {" ".join(line.split()) for line in told.splitlines()}
    assert "saved by providers' caches, USD 2.25 0.00 new" in lines
    assert "read from providers' caches 12,000 0 new" in lines
    assert "written to providers' caches 1,000 0 new" in lines
    assert "read anew after moves 4,500 0 new" in lines
    assert "prefix written again after a move from a/m to o/m 0 -> 2 4,500 0.2500" in lines
    (cause,) = [line for line in lines if line.startswith("prefixes written again")]
    assert cause.endswith("prefix written again after a move from a/m to o/m: 0 -> 2 times")
    found = as_json(capsys, path, *NOVEMBER)
    assert found["now"]["prompt_saved_usd"] == 2.25
    assert found["moves"][0]["now"] == {"times": 2, "tokens": 4500, "cost_usd": 0.25}
    assert sum(each["amount_usd"] for each in found["change"]["causes"]) == pytest.approx(found["change"]["amount_usd"])


def test_it_says_nothing_of_prompt_caches_where_none_was_used(log, capsys):
    told = report(capsys, log(call(3)), *NOVEMBER)
    assert "providers' caches" not in told
    assert "conversations that moved" not in told


def test_it_says_what_was_spent_on_whom_and_why_it_is_more(log, capsys):
    path = log(
        call(-5), call(3), call(4, user="bob"), call(5, user="bob", feature=None), hit(6, 0.75), hit(7, None),
    )  # fmt: skip
    said = report(capsys, path, *NOVEMBER)
    lines = [line.split("  ") for line in said.splitlines()]
    cells = {line[0].strip(): [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert cells["cost, USD"] == ["3.00", "1.00", "+200%"]
    assert cells["saved by the cache, USD"] == ["0.7500", "0.00", "new"]
    assert cells["calls"] == ["5", "1", "+400%"]
    assert "Cost rose from 1.00 to 3.00 USD (+200%), mostly because of more calls." in said
    assert cells["bob"] == ["2.00", "0.00", "new", "2", "2,000", "200", "0", "0.00"]
    assert cells["ann"] == ["1.00", "1.00", "=", "3", "1,000", "100", "2", "0.7500"]
    assert cells["(none)"][0] == "1.00"
    assert "now: what 1 cache hits saved is not known" in said


def test_unknown_costs_are_said_to_be_unknown_and_are_in_no_sum(log, capsys):
    path = log(
        call(3), call(4, cost=None, model="new", usage=Usage(5000, 300)), call(5, cost=None, model="new"),
        call(6, cost=None, final="failed", level=Level.ERROR, usage=Usage(), error="no"),
        call(7, cost=None, final="refused", level=Level.ERROR, usage=Usage(), error="no", attempts=()),
    )  # fmt: skip
    said = report(capsys, path, *NOVEMBER)
    assert "now: cost unknown of 2 calls (6,000 tokens in, 400 out); they are in no sum of dollars" in said
    assert "no price is known for new" in said
    assert "now: 1 calls were sent and not answered; whether they were billed is not known" in said
    rows = {line.split()[0]: line.split()[1] for line in said.splitlines() if line.split()}
    assert rows["new"] == "unknown"
    assert as_json(capsys, path, *NOVEMBER)["now"]["cost_usd"] == 1.0


def test_a_user_with_both_known_and_unknown_costs_is_marked(log, capsys):
    path = log(call(3), call(4, cost=None))
    assert "1.00 + unknown" in report(capsys, path, *NOVEMBER, "--by", "user")


def test_an_unknown_cost_is_nothing_in_no_table(log, capsys):
    path = log(call(-5, cost=None), call(3, cost=None), call(4, model="n"), call(4, cost=None, model="n"))
    said = report(capsys, path, *NOVEMBER, "--by", "day", "--by", "model")
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in said.splitlines()]
    rows = {row[0]: row[1:] for row in cells if row}
    assert rows["cost, USD"] == ["1.00 + unknown", "unknown", "?"]
    assert (rows["2026-11-03"][0], rows["2026-11-03"][-1]) == ("unknown", "m unknown")
    assert (rows["2026-11-04"][0], rows["2026-11-04"][-1]) == ("1.00 + unknown", "n 1.00 + unknown")
    assert rows["m"][:3] == ["unknown", "unknown", "?"]


def test_any_dimension_and_any_tag_can_be_asked_for_and_only_the_first_are_named(log, capsys):
    path = log(*[call(3, cost=float(n), tags={"team": f"t{n}"}) for n in range(1, 6)])
    said = report(capsys, path, *NOVEMBER, "--by", "tag:team", "--by", "level", "--by", "route", "--top", "2")
    table = said.split("by tag:team\n")[1].split("by level")[0].split("\n")
    assert [line.split("  ")[0] for line in table[1:4]] == ["t5", "t4", "3 others"]
    assert table[3].split()[2] == "6.00"
    assert "\nfull " in said
    assert "\nchat " in said
    found = as_json(capsys, path, *NOVEMBER, "--by", "tag:team", "--top", "2")
    assert [row["name"] for row in found["by"]["tag:team"]] == ["t5", "t4"]


def test_days_are_those_of_the_time_zone(log, capsys):
    path = log(call(3, hours=23.5), call(4, hours=1.0))
    assert report(capsys, path, *NOVEMBER, "--by", "day").count("\n2026-11-0") == 2
    said = report(capsys, path, *NOVEMBER, "--by", "day", "--time-zone", "Europe/Berlin")
    assert said.count("\n2026-11-04  2.00") == 1
    found = as_json(capsys, path, *NOVEMBER)
    assert [(day["period"], day["date"]) for day in found["days"]] == [("now", "2026-11-03"), ("now", "2026-11-04")]


def test_a_day_without_calls_is_a_row_of_nothing(log, capsys):
    said = report(capsys, log(call(3), call(5)), *NOVEMBER, "--by", "day")
    (row,) = (line.split() for line in said.splitlines() if line.startswith("2026-11-04"))
    assert row[1:] == ["0.00", "0", "0", "0"]


def test_the_default_is_the_last_thirty_days_against_the_thirty_before(log, capsys):
    path = log(call(-29), call(-10), call(1), call(2), call(30))
    found = as_json(capsys, path)
    assert (found["now"]["calls"], found["before"]["calls"]) == (2, 2)


def test_a_log_that_begins_in_the_period_before_says_so(log, capsys):
    path = log(call(-5), call(3))
    assert "note: the log begins on 2026-10-26 12:00" in report(capsys, path, *NOVEMBER)
    assert as_json(capsys, path, *NOVEMBER)["log"]["has_all_before"] is False


def test_with_no_calls_it_says_when_there_were_some(log, capsys):
    path = log(call(3))
    said = report(capsys, path, "--month", "2026-01")
    assert "No calls in either; the log has calls from 2026-11-03 12:00 to 2026-11-03 12:00." in said
    assert as_json(capsys, path, "--month", "2026-01")["change"]["foremost"] is None


def test_an_empty_log_is_said_to_be(log, capsys):
    assert "The log is empty." in report(capsys, log())


def test_a_name_cannot_move_the_cursor_or_be_taken_for_a_formula(log, capsys, tmp_path):
    path = log(call(3, user="\x1b[2J\x07evil\nuser"), call(4, user="=cmd()"))
    said = report(capsys, path, *NOVEMBER, "--csv", "out.csv")
    assert "\x1b" not in said
    assert "[2J evil user" in said
    assert "'=cmd()" in (tmp_path / "out.csv").read_text()


# --- what it writes --------------------------------------------------------------------------------


def test_the_csv_file_has_totals_causes_days_and_names(log, capsys, tmp_path):
    path = log(call(-5), call(3), call(4, user="bob"))
    report(capsys, path, *NOVEMBER, "--csv", "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    costs = {(row["period"], row["by"], row["name"]): row["cost_usd"] for row in rows}
    assert costs["now", "total", ""] == "2.0"
    assert costs["before", "total", ""] == "1.0"
    assert float(costs["now", "cause", "volume"]) == pytest.approx(1.0)
    assert costs["before", "day", "2026-10-26"] == "1.0"
    assert costs["now", "user", "bob"] == "1.0"
    assert costs["before", "user", "bob"] == "0.0"


@pytest.mark.parametrize(("month", "file"), [("2026-11", "out.svg"), ("2025-01", "out.pdf")])
def test_a_picture_can_be_drawn_of_anything_even_of_nothing(month, file, log, capsys, tmp_path):
    path = log(call(-5, model="$a$"), call(3, model=None, cost=0.0), call(4, cost=None), hit(5, None))
    assert main(["report", path, "--month", month, "--plot", file]) == 0
    assert (tmp_path / file).stat().st_size > 1000


# --- where the log is ------------------------------------------------------------------------------

CONFIG = """\
[[provider]]
name = "o"
kind = "openai"
base_url = "https://o.test/v1"
models.m = {}
[route.chat]
targets = ["o/m"]
"""


def test_the_log_of_the_configuration_is_the_default(log, capsys, tmp_path):
    log(call(3))
    (tmp_path / "resilio.toml").write_text(CONFIG + '[log]\npath = "requests.db"\n')
    assert as_json(capsys, *NOVEMBER)["now"]["calls"] == 1


def refused(capsys, *arguments):
    status = main(["report", *arguments])
    return status, capsys.readouterr().err


def test_without_a_log_it_says_which_setting_turns_it_on(log, capsys, tmp_path):
    status, said = refused(capsys)
    assert (status, "which log?" in said) == (2, True)
    (tmp_path / "resilio.toml").write_text(CONFIG)
    status, said = refused(capsys)
    assert status == 2
    assert '[log]\n  path = "requests.db"' in said


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["gone.db"], 1, "gone.db' cannot be read: there is no such file"),
        (["LOG", "--month", "2027-01"], 2, "has not begun"),
        (["LOG", "--days", "3", "--month", "2026-11"], 2, "use one of them"),
        (["LOG", "--plot", "out.gif"], 1, "a plot is a .png, .svg or .pdf file"),
        (["LOG", "--csv", "no/such/folder.csv"], 2, "there is no folder"),
        (["LOG", "--csv", "."], 2, "cannot write .: "),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(arguments, status, why, log, capsys):
    path = log(call(3))
    found, said = refused(capsys, *(path if each == "LOG" else each for each in arguments))
    assert (found, why in said) == (status, True), said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--by", "colour"], "'colour' is none of model, target"),
        (["--by", "tag:"], "'tag:' is none of"),
        (["--time-zone", "Mars/Olympus"], "no time zone is called 'Mars/Olympus'"),
        (["--time-zone", "../etc"], "no time zone is called"),
        (["--top", "0"], "must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, why, capsys):
    with pytest.raises(SystemExit):
        main(["report", "x.db", *arguments])
    assert why in capsys.readouterr().err


def test_ctrl_c_ends_it_with_its_own_status_and_no_traceback(log, capsys, monkeypatch):
    path = log(*[call(3) for _ in range(300)])

    def interrupted():
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr(totals, "_STEPS", 100)
    monkeypatch.setattr(totals, "_look", interrupted)
    assert main(["report", path, *NOVEMBER]) == 130
    assert capsys.readouterr().err == ""
