"""Budgets as written down: what is wrong is refused with its line and what to write instead."""

import math

import pytest

from resilio import Client, ConfigError
from resilio.config import load_config

BASE = """\
[[provider]]
name = "p"
kind = "openai"
base_url = "http://p.test/v1"
models.m = { price = { input = 1, output = 2 } }
models.free = {}
[route.chat]
targets = ["p/m"]
"""


def loaded(tmp_path, text, base=BASE):
    path = tmp_path / "resilio.toml"
    path.write_text(base + text)
    return load_config(path)


def problem(tmp_path, text, base=BASE):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, base)
    (found,) = caught.value.problems
    return found


def test_every_setting_of_a_budget_is_read(tmp_path):
    text = """\
[[budget]]
name = "people"
per = "user"
limit_tokens = 100_000
limit_usd = 5
limit_tokens_for = { alice = 5 }
limit_usd_for = { bob = 0.5 }
only = ["alice", "bob"]
window = "month"
time_zone = "Europe/Berlin"
soft = 0.5
stop_streams = true
[[budget]]
per = "tag:team"
limit_tokens = 1
window = 90
kind = "sliding"
[ledger]
path = "spent.db"
"""
    config = loaded(tmp_path, text)
    people, team = config.budgets
    assert (people.title, team.title) == ("people", "tag:team/90s")
    assert (people.limit_tokens_for, people.limit_usd_for, people.only) == (
        {"alice": 5},
        {"bob": 0.5},
        ("alice", "bob"),
    )
    assert (people.window, people.time_zone, people.soft, people.stop_streams) == ("month", "Europe/Berlin", 0.5, True)
    assert (team.window, team.kind, team.soft) == (90.0, "sliding", 0.8)
    assert config.ledger.path == "spent.db"


GOOD = {"per": '"user"', "window": '"day"', "limit_tokens": "5"}


@pytest.mark.parametrize(
    ("changes", "line", "says"),
    [
        ({"limit_tokens": "-5"}, 12, "is -5; expected at least 0"),
        ({"limit_usd": "nan"}, 13, "is nan; expected a finite number"),
        ({"limit_usd": "inf"}, 13, "is inf; expected a finite number"),
        ({"limit_usd": "1e9"}, 13, "at most 1000000"),
        ({"limit_tokens_for": "{ a = -1 }"}, 13, "is -1; expected at least 0"),
        ({"limit_tokens": None}, 9, "has no limit; set limit_tokens, limit_usd or both"),
        ({"window": None}, 9, "window: is missing (hour, day, month, or a number of seconds)"),
        ({"window": '"week"'}, 11, 'expected one of "day", "hour", "month"'),
        ({"window": "0"}, 11, "is 0; expected more than 0"),
        ({"window": "-60"}, 11, "more than 0"),
        ({"soft": "1.5"}, 13, "at most 1"),
        ({"time_zone": '"Europe/Berlim"'}, 13, 'no time zone is called "Europe/Berlim"; did you mean "Europe/Berlin"?'),
        ({"time_zone": '"../etc/passwd"'}, 13, 'no time zone is called'),
        ({"time_zone": '"UTC"', "kind": '"sliding"'}, 13, "has no meaning for a sliding window"),
        ({"time_zone": '"UTC"', "window": "60"}, 13, "has no meaning for a window of so many seconds"),
        ({"per": '"tag"'}, 10, 'names no tag; write per = "tag:NAME"'),
        ({"per": '"tag:"'}, 10, 'names no tag'),
        ({"per": '"usr"'}, 10, 'did you mean "user"?'),
        ({"per": None}, 9, "per: is missing"),
        ({"limit_usd_for": "{ a = 1 }"}, 13, "needs limit_usd: what holds for everybody else"),
        ({"only": '["a"]', "limit_tokens_for": "{ b = 1 }"}, 14, '"b" is not among only'),
        ({"per": '"all"', "only": '["a"]'}, 13, "one budget for everybody"),
        ({"limit": "5"}, 13, "unknown key; did you mean limit_"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_line(tmp_path, changes, line, says):
    table = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    text = "[[budget]]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
    found = problem(tmp_path, text)
    assert says in found
    assert f"line {line}" in found or line == 9


def test_two_budgets_of_one_name_are_refused(tmp_path):
    one = '[[budget]]\nper = "user"\nwindow = "day"\nlimit_tokens = 5\n'
    assert "give it a name of its own" in problem(tmp_path, one + one)
    named = one + 'name = "x"\n'
    assert '"x" is the name of an earlier budget too' in problem(tmp_path, named + named)
    assert len(loaded(tmp_path, one + named).budgets) == 2


def test_a_budget_that_is_no_array_of_tables_says_how_to_write_one(tmp_path):
    assert "write [[budget]]" in problem(tmp_path, '[budget]\nper = "user"\n')


USD = '[[budget]]\nper = "user"\nwindow = "day"\nlimit_usd = 5\n'
UNPRICED = BASE.replace('"p/m"', '"p/free"')


def test_money_where_no_price_is_known_and_none_is_looked_up_is_refused_at_load(tmp_path):
    found = problem(tmp_path, USD + '[prices]\nsource = "none"\n', UNPRICED)
    assert "cannot be kept for p/free, whose price is not known" in found
    assert "line 12" in found


async def test_money_where_no_price_is_found_is_refused_when_the_client_opens(tmp_path):
    config = loaded(tmp_path, USD, UNPRICED)
    with pytest.raises(ConfigError, match=r"user/day.limit_usd: cannot be kept for p/free"):
        async with Client(config):
            pass


async def test_a_reload_to_such_a_budget_is_refused_and_changes_nothing(tmp_path):
    before = loaded(tmp_path, "", UNPRICED)
    async with Client(before) as llm:
        with pytest.raises(ConfigError, match="cannot be kept"):
            await llm.reload(loaded(tmp_path, USD, UNPRICED))
        assert llm.config is before
        assert llm.status().budgets == {}


def test_a_model_on_this_machine_costs_nothing_and_so_needs_no_price(tmp_path):
    base = '[[provider]]\nname = "l"\nkind = "local"\n[route.chat]\ntargets = ["l/smollm2-135m"]\n'
    assert loaded(tmp_path, USD + '[prices]\nsource = "none"\n', base).budgets


@pytest.mark.parametrize("limit", [-1, math.nan, math.inf, 1e30])
async def test_a_limit_set_while_running_is_checked_too(tmp_path, limit):
    async with Client(loaded(tmp_path, '[[budget]]\nper = "user"\nwindow = "day"\nlimit_tokens = 5\n')) as llm:
        with pytest.raises(ValueError, match="limit must be a number from 0"):
            llm.set_limit("user/day", limit)
        with pytest.raises(LookupError, match="did you mean 'user/day'"):
            llm.set_limit("user/dya", 5)
        with pytest.raises(LookupError, match="no budget"):
            llm.set_limit("user/day", 5, unit="usd")
