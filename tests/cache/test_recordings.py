"""Which answers may be kept at all, and what is kept of them."""

import dataclasses
import pickle

import pytest
from answers import TOOLS, recording, reply

from resilio.cache import CachedReply, keepable, record
from resilio.models import CacheHit, Level, Reply, Seam, Usage

HIT = CacheHit("exact", 1.0, "x", None)
SEAMS = (Seam(3, "a/m", "b/m", "restart", "idle"),)


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"tool_calls": TOOLS, "text": "", "finish_reason": "tool_calls"}, {"reasoning": "hm"}, {"cost_usd": None},
        {"usage": Usage(estimated=True)},
    ],
)  # fmt: skip
def test_a_whole_answer_of_the_route_is_kept(fields):
    assert keepable(reply(**fields), limited=False)


@pytest.mark.parametrize(
    "fields",
    [
        {"complete": False}, {"level": Level.SIMPLER}, {"level": Level.STATIC}, {"level": Level.CACHED},
        {"refusal": "I would rather not."}, {"finish_reason": "content_filter"}, {"finish_reason": "length"},
        {"finish_reason": "something new"}, {"finish_reason": ""}, {"seams": SEAMS},
        {"text": ""}, {"text": "", "reasoning": "hm"}, {"cached": HIT},
    ],
)  # fmt: skip
def test_what_may_be_better_the_next_time_is_not(fields):
    assert not keepable(reply(**fields), limited=False)


def test_an_answer_cut_at_its_limit_is_kept_only_where_the_limit_is_known():
    cut = reply(finish_reason="length")
    assert keepable(cut, limited=True)
    assert not keepable(cut, limited=False)
    assert not keepable(reply(finish_reason="content_filter"), limited=True)


def test_an_answer_whose_raw_has_no_form_in_json_is_not_recorded():
    assert record(reply(raw={"x": object()})) is None


def test_a_recording_reckons_with_every_part_of_it():
    small = recording().size
    for fields in (
        {"reasoning": "x" * 5000},
        {"raw": {"x": "y" * 5000}},
        {"tool_calls": TOOLS * 30},
        {"text": "x" * 5000},
    ):
        assert recording(**{"text": "hello", **fields}).size > small + 3000
    assert recording("é" * 5000).size < recording("日" * 5000).size < recording("🙂" * 5000).size


def test_a_cached_reply_is_a_reply_with_a_raw_of_its_own():
    fields = {name: getattr(reply(), name) for name in reply().__slots__ if name != "raw"}
    made, other = (CachedReply(**fields, raw=b'{"a":[1]}') for _ in range(2))
    assert isinstance(made, Reply)
    assert made == other
    made.raw["a"].append(2)
    assert made.raw == {"a": [1, 2]}
    assert other.raw == {"a": [1]}
    assert dataclasses.replace(made, text="else").text == "else"
    assert pickle.loads(pickle.dumps(other)) == other
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.raw = {}
