"""An outage: faults from one second to another."""

import random
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.errors import ConfigError
from resilio.testing import Rule, Script, faults
from resilio.testing.script import Outage

DOWN = faults.Refused()


def struck(script, elapsed):
    return script.choose("m", None, stream=False, elapsed=elapsed, rng=random.Random(0), counts={})


@pytest.mark.parametrize(
    ("elapsed", "met"), [(0.0, ()), (1199.9, ()), (1200.0, (DOWN,)), (1799.9, (DOWN,)), (1800.0, ()), (9999.0, ())]
)
def test_an_outage_strikes_from_its_start_until_just_before_its_end(elapsed, met):
    assert struck(Script().outage(1200, 1800, DOWN), elapsed) == met


@given(start=st.floats(0, 1e6), elapsed=st.floats(0, 1e6))
def test_an_outage_without_an_end_goes_on_for_ever(start, elapsed):
    assert struck(Script().outage(start, None, DOWN), elapsed) == ((DOWN,) if elapsed >= start else ())


def test_what_an_outage_does_not_take_goes_on_to_later_rules():
    script = Script().outage(10, 20, DOWN).then(faults.Reset())
    assert [struck(script, at) for at in (5, 15, 25)] == [(faults.Reset(),), (DOWN,), (faults.Reset(),)]


def test_an_outage_goes_with_the_other_conditions():
    script = Script().with_rule(DOWN, outage=Outage(0, 10), model="other")
    assert struck(script, 5) == ()


def test_it_is_read_from_toml():
    table = tomllib.loads('[[rule]]\noutage = { start = 1200, end = 1800 }\nfault = "refused"\n')
    assert Script.from_dict(table).rules == (Rule((DOWN,), outage=Outage(1200, 1800)),)
    table = tomllib.loads('[[rule]]\noutage = { start = 5 }\nfault = "refused"\n')
    assert Script.from_dict(table).rules == (Rule((DOWN,), outage=Outage(5)),)


@pytest.mark.parametrize(
    ("outage", "told"),
    [
        ({"start": 20, "end": 10}, "rule[0].outage.end"),
        ({"start": 20, "end": 20}, "it must come after start"),
        ({"start": -1}, "rule[0].outage.start"),
        ({"end": 10}, "rule[0].outage.start"),
        ({"start": 1, "ends": 10}, "ends"),
        (True, "rule[0].outage"),
    ],
)
def test_an_outage_that_cannot_be_meant_is_refused(outage, told):
    with pytest.raises(ConfigError) as refused:
        Script.from_dict({"rule": {"outage": outage, "fault": "refused"}})
    assert told in str(refused.value)
