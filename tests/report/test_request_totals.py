"""Sums over the request log, against sums over its rows in Python."""

import json
import signal
import sqlite3
from collections import defaultdict
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.store import totals as module
from resilio.store.files import opened
from resilio.store.requests import COLUMNS, REQUESTS
from resilio.store.totals import DIMENSIONS, LogUnreadable, Totals, reading

PLAIN = {
    "at": 100.0, "request_id": "r", "route": "chat", "asked_route": "chat", "target": "o/m", "model": "m",
    "level": "full", "final": "complete", "tags": "{}", "input_tokens": 0, "output_tokens": 0,
    "cache_read_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0, "latency": 1.0, "attempts": 1,
}  # fmt: skip


def row(**its):
    return {**dict.fromkeys(COLUMNS), **PLAIN, **its}


def write(path, rows, *, anew=False):
    with closing(opened(path, REQUESTS, check=False)) as connection:
        marks = ", ".join(f":{name}" for name in COLUMNS)
        connection.execute("BEGIN")
        if anew:
            connection.execute("DELETE FROM request")
        connection.executemany(f"INSERT INTO request ({', '.join(COLUMNS)}) VALUES ({marks})", rows)
        connection.execute("COMMIT")


@pytest.fixture
def log(tmp_path):
    """Writes rows; gives the path."""

    def fill(*rows):
        write(tmp_path / "requests.db", rows)
        return tmp_path / "requests.db"

    return fill


def total(path, dimension="route", start=0.0, end=1e12):
    with reading(path) as its:
        return its.by(dimension, start, end)


# --- the four kinds of calls -----------------------------------------------------------------------


def test_each_call_is_a_hit_or_priced_or_unpriced_or_unanswered(log):
    path = log(
        row(cached="exact", cost_usd=0.0, saved_usd=0.5, attempts=0, level="cached"),
        row(cached="near", cost_usd=0.0, attempts=0, level="cached"),
        row(cached="stale", cost_usd=0.5, input_tokens=10, output_tokens=1, level="cached"),
        row(cost_usd=0.25, input_tokens=100, output_tokens=20, cache_read_tokens=50, reasoning_tokens=5),
        row(cost_usd=0.0, level="static", target=None, model=None, attempts=2),
        row(input_tokens=70, output_tokens=7),
        row(final="partial", input_tokens=30, output_tokens=3),
        row(final="failed", level="error", error="no", attempts=3),
        row(final="refused", level="error", error="no", attempts=0),
    )
    assert total(path) == {
        "chat": Totals(
            hits=2, saved_usd=0.5, saved_unknown=1, priced=3, cost_usd=0.75, input_tokens=110, output_tokens=21,
            cache_read_tokens=50, reasoning_tokens=5, unpriced=2, unpriced_input=100, unpriced_output=10,
            unanswered=2, unanswered_sent=1,
        )
    }  # fmt: skip
    its = total(path)["chat"]
    assert (its.calls, its.answered, its.all_input, its.all_output) == (9, 7, 210, 31)


def test_a_span_has_its_first_instant_and_not_its_last(log):
    path = log(row(at=10.0), row(at=19.9), row(at=20.0))
    assert total(path, start=10.0, end=20.0)["chat"].calls == 2
    with reading(path) as its:
        assert its.span() == (10.0, 20.0)


def test_an_empty_log_has_no_span_and_no_sums(log):
    with reading(log()) as its:
        assert its.span() is None
        assert its.by("model", 0, 1e12) == its.by_model(0, 1e12) == {}


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "requests.db"


values = st.one_of(st.none(), st.sampled_from(["a", "b", ""]))
rows = st.builds(
    row, user=values, feature=values, organisation=values, model=values, cached=st.sampled_from([None, None, "exact"]),
    tags=st.sampled_from(["{}", '{"team": "red"}', '{"team": "blue", "x.y": "1"}']),
    cost_usd=st.one_of(st.none(), st.integers(0, 100).map(float)), saved_usd=st.one_of(st.none(), st.just(2.0)),
    final=st.sampled_from(["complete", "failed"]), input_tokens=st.integers(0, 10**7),
    output_tokens=st.integers(0, 10**6), cache_read_tokens=st.integers(0, 100), attempts=st.integers(0, 2),
    at=st.integers(0, 9).map(float),
)  # fmt: skip


def naive(rows, of):
    found = defaultdict(Totals)
    for its in rows:
        if not 2 <= its["at"] < 8:
            continue
        tokens = its["input_tokens"], its["output_tokens"], its["cache_read_tokens"]
        if its["cached"] and its["cost_usd"] == 0:
            saved = its["saved_usd"]
            its = Totals(hits=1, saved_usd=saved or 0.0, saved_unknown=int(saved is None)), of(its)
        elif its["cost_usd"] is not None:
            its = Totals(
                priced=1, cost_usd=its["cost_usd"], input_tokens=tokens[0], output_tokens=tokens[1],
                cache_read_tokens=tokens[2],
            ), of(its)  # fmt: skip
        elif its["final"] == "complete" or tokens[0] or tokens[1]:
            its = Totals(unpriced=1, unpriced_input=tokens[0], unpriced_output=tokens[1]), of(its)
        else:
            its = Totals(unanswered=1, unanswered_sent=int(its["attempts"] > 0)), of(its)
        found[its[1]] = found[its[1]].plus(its[0])
    return dict(found)


@given(st.lists(rows, max_size=12))
def test_sums_are_those_of_the_rows(one_file, rows):
    path = one_file
    write(path, rows, anew=True)
    with reading(path) as its:
        for dimension in ("user", "feature", "organisation", "model", "cached", "final"):
            assert its.by(dimension, 2, 8) == naive(rows, lambda row, name=dimension: row[name])
        for tag in ("team", "x.y", "none"):
            assert its.by(f"tag:{tag}", 2, 8) == naive(rows, lambda row, name=tag: json.loads(row["tags"]).get(name))
        by_model = its.by_model(2, 8)
        assert {name: totals for name, (totals, _) in by_model.items()} == its.by("model", 2, 8)
        for name, (_, moments) in by_model.items():
            paid = [
                each for each in rows
                if 2 <= each["at"] < 8 and each["model"] == name and each["cost_usd"] is not None
                and not (each["cached"] and each["cost_usd"] == 0)
            ]  # fmt: skip
            assert moments.products[0] == sum(each["output_tokens"] ** 2 for each in paid)
            assert moments.products[1] == sum(each["output_tokens"] * each["input_tokens"] for each in paid)
            assert moments.products[9] == 0
            assert moments.with_cost[1] == sum(each["input_tokens"] * each["cost_usd"] for each in paid)
            assert moments.cost_squared == sum(each["cost_usd"] ** 2 for each in paid)


@pytest.mark.parametrize("name", ['odd "quoted" name', "x.y", "$", "[0]", "Ünï", "'; DROP TABLE request; --", " "])
def test_a_tag_of_any_name_can_be_asked_for(log, name):
    path = log(row(tags=json.dumps({name: "yes", "other": "no"})), row())
    assert {value: its.calls for value, its in total(path, f"tag:{name}").items()} == {"yes": 1, None: 1}


def test_what_calls_do_not_have_is_refused(log):
    with reading(log()) as its, pytest.raises(ValueError, match="calls have no 'colour'; there are model, target"):
        its.by("colour", 0, 1)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_is_a_column(log, dimension):
    assert sum(its.calls for its in total(log(row(), row()), dimension).values()) == 2


# --- beside a writer -------------------------------------------------------------------------------


def test_what_is_read_is_one_moment_of_the_log_while_a_program_writes(log):
    path = log(row())
    with reading(path) as its:
        assert its.by("route", 0, 1e12)["chat"].calls == 1
        write(path, [row(), row()])
        assert its.by("route", 0, 1e12)["chat"].calls == 1
    assert total(path)["chat"].calls == 3


def test_reading_changes_nothing(log):
    path = log(row())
    with reading(path) as its, pytest.raises(sqlite3.OperationalError, match="readonly"):
        its._connection.execute("DELETE FROM request")


# --- what cannot be read ---------------------------------------------------------------------------


def test_a_file_that_is_not_there_or_not_a_log_or_too_new_is_refused_by_name(tmp_path):
    with (
        pytest.raises(LogUnreadable, match=r"gone\.db' cannot be read: there is no such file"),
        reading(tmp_path / "gone.db"),
    ):
        pass
    text = tmp_path / "text.db"
    text.write_text("a page of prose, " * 100)
    with pytest.raises(LogUnreadable, match="damaged"), reading(text):
        pass
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(LogUnreadable, match="it is not a request log"), reading(tmp_path / "other.db"):
        pass
    write(tmp_path / "new.db", [])
    with closing(sqlite3.connect(tmp_path / "new.db")) as new:
        new.execute("PRAGMA user_version = 99")
    with pytest.raises(LogUnreadable, match=r"version 99.*update resilio"), reading(tmp_path / "new.db"):
        pass


def test_a_damaged_log_is_said_to_be(log):
    path = log(*[row(error="x" * 500) for _ in range(2000)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\x77" * 200_000)
    with pytest.raises(LogUnreadable, match="damaged"):
        total(path, "user")


def test_ctrl_c_ends_a_sum_within_it(log, monkeypatch):
    path = log(*[row() for _ in range(500)])

    def interrupted():
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr(module, "_STEPS", 100)
    monkeypatch.setattr(module, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        total(path)
