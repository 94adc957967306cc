"""How an answer came about, in headers and in the field of bodies and streams."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoken import frames, reply

from resilio.models import AttemptRecord, CacheHit, Chunk, Level, Seam, Usage
from resilio.wire import DIALECTS, reply_headers, story_of
from resilio.wire.story import opening_headers

BOTH = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
TRIED = AttemptRecord("openai/gpt-5", 0, 0.0, 0.0, 1.0, "success")


def test_a_plain_answer_has_a_short_story():
    made = reply("Hi", cost_usd=0.00000125, attempts=(TRIED, TRIED))
    assert reply_headers(made) == {
        "x-resilio-request-id": "a1-7",
        "x-resilio-route": "chat",
        "x-resilio-target": "openai/gpt-5",
        "x-resilio-level": "full",
        "x-resilio-complete": "true",
        "x-resilio-attempts": "2",
        "x-resilio-cost-usd": "0.00000125",
    }


def test_what_is_out_of_the_ordinary_is_told():
    made = reply(
        "Hi", level=Level.CACHED, complete=False, broken="idle", cost_usd=0.0, label="perhaps old", rule="night",
        cached=CacheHit("stale", 12.3456, "e1", 0.1), seams=(Seam(3, "a/b", "c/d", "prefill", "idle"),),
        usage=Usage(1, 1, estimated=True), warnings=("a/b was asked without seed (no such field)", "and more"),
    )  # fmt: skip
    told = {name: value for name, value in reply_headers(made).items() if name.count("-") > 1 or "cost" in name}
    headers = reply_headers(made)
    assert told["x-resilio-cost-usd"] == "0"
    assert headers["x-resilio-complete"] == "false"
    assert headers["x-resilio-broken"] == "idle"
    assert (headers["x-resilio-cached"], headers["x-resilio-cached-age"]) == ("stale", "12.346")
    assert (headers["x-resilio-label"], headers["x-resilio-rule"]) == ("perhaps old", "night")
    assert (headers["x-resilio-seams"], headers["x-resilio-usage-estimated"]) == ("1", "true")
    assert headers["x-resilio-warnings"] == "a/b was asked without seed (no such field); and more"
    assert story_of(made)["warnings"] == list(made.warnings)


@given(st.text(max_size=30))
def test_a_name_of_any_letters_makes_a_header_that_can_be_sent(name):
    for value in (*reply_headers(reply("Hi", target=name, label=name, warnings=(name,))).values(),
                  *opening_headers(request_id=name, target=name).values()):  # fmt: skip
        assert all(0x20 <= ord(letter) < 0x7F for letter in value)


@BOTH
def test_a_part_of_an_answer_says_so_on_the_wire(dialect):
    made = reply("Hel", "", complete=False, broken="idle")
    whole = json.loads(DIALECTS[dialect].reply(made, model="chat", created=1).body)
    last = json.loads(frames(dialect, [Chunk("Hel")], made)[-1].split(b"data: ")[1])
    for story in (whole["resilio"], last["resilio"]):
        assert (story["complete"], story["broken"]) == (False, "idle")
    reason = whole["choices"][0]["finish_reason"] if dialect == "openai" else whole["stop_reason"]
    assert reason == {"openai": "length", "anthropic": "max_tokens"}[dialect]
    assert "3 characters: idle" in last["error"]["message"]


@BOTH
def test_a_part_that_was_about_to_call_a_tool_does_not_ask_for_the_call(dialect):
    made = reply("", "tool_calls", complete=False, broken="denied")
    writing = DIALECTS[dialect].stream(request_id="a1-7", model="chat", created=1)
    written = writing.chunk(Chunk("Hel", finish_reason="tool_calls")) + writing.end(made)
    body = DIALECTS[dialect].reply(made, model="chat", created=1).body
    for data in (written, body):
        assert b"tool_calls" not in data
        assert b"tool_use" not in data
