"""Breakpoints for Anthropic's prompt cache: where they stand, how many, and that prefixes stay the same to the byte."""

from itertools import pairwise

import orjson
import pytest
from anthropic.types.message_create_params import MessageCreateParams
from chat_requests import REQUESTS, as_validated
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from resilio.config import ModelSettings, ProviderSettings, TargetSettings
from resilio.models import Identity, Request
from resilio.providers import REGISTRY
from resilio.providers.anthropic.models import cache_minimum
from resilio.testing.dialects.breakpoints import breakpoints, read_order

LONG = "word " * 1000  # 5,000 bytes: 1,250 tokens at 4 bytes each
TOOLS = [
    {"type": "function", "function": {"name": name, "description": LONG, "parameters": {"type": "object"}}}
    for name in ("search", "fetch")
]


def sent(messages, *, mode="auto", ttl=None, model="claude-sonnet-4-5", session=None, minimum=None, **wire):
    models = {model: ModelSettings(prompt_cache_minimum=minimum)}
    settings = ProviderSettings(name="claude", kind="anthropic", base_url="https://a.test", models=models)
    codec = REGISTRY["anthropic"].for_provider(settings)
    target = TargetSettings(provider="claude", model=model, prompt_cache=mode, prompt_cache_ttl=ttl)
    request = Request("chat", messages, wire, Identity(session=session))
    http = codec.encode(
        request, target, base_url="https://a.test", key=None, headers={}, stream=False, max_output_tokens=100
    )
    return orjson.loads(http.body)


def marked(body):
    """Where breakpoints stand: ``tools``, ``system`` or the number and role of a message; several by block."""
    order = list(read_order(body))
    return [order[at][0] for at, _ in breakpoints(body)]


def turn(number, text="question", role="user"):
    return {"role": role, "content": f"{text} {number}"}


def talk(turns, system=LONG, first=LONG):
    """A conversation up to and with the user's turn of this number."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": first})
    for number in range(1, turns):
        messages += [turn(number, "answer", "assistant"), turn(number)]
    return messages


def test_without_the_setting_nothing_is_marked_and_nothing_changed():
    body = sent(talk(3), mode="off", tools=TOOLS)
    assert marked(body) == []
    assert isinstance(body["system"], str)
    assert [tool["name"] for tool in body["tools"]] == ["search", "fetch"]
    assert sent(talk(3), mode=None, tools=TOOLS) == body


def test_tools_system_the_first_turn_and_the_latest_are_marked():
    body = sent(talk(4), tools=TOOLS)
    assert marked(body) == ["tools", "system", "0 user", "6 user"]
    assert [ttl for _, ttl in breakpoints(body)] == ["5m"] * 4
    assert body["tools"][-1]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in body["tools"][0]


def test_a_question_that_may_be_the_only_one_marks_only_what_others_share():
    assert marked(sent(talk(1))) == ["system"]
    assert marked(sent(talk(1, system=None))) == []


@pytest.mark.parametrize("more", [{"session": "s1"}, {"tools": TOOLS}], ids=["session", "tools"])
def test_the_first_turn_of_what_goes_on_is_marked_at_once(more):
    assert marked(sent(talk(1), **more))[-1] == "0 user"


def test_an_answer_that_is_begun_is_not_marked_and_does_not_make_a_conversation():
    prefill = {"role": "assistant", "content": "It begins"}
    assert marked(sent([*talk(1), prefill])) == ["system"]
    assert marked(sent([*talk(2), prefill])) == ["system", "0 user", "2 user"]


def test_short_prefixes_are_not_marked():
    assert marked(sent(talk(4, system="Be brief.", first="Hello"))) == []
    body = sent(talk(4, system="Be brief."))
    assert marked(body) == ["0 user", "6 user"], "the system prompt alone is under the minimum"


@pytest.mark.parametrize(
    ("model", "minimum"),
    [
        ("claude-opus-5-20260701", 512),
        ("claude-fable-5", 512),
        ("claude-sonnet-5", 1024),
        ("claude-opus-4-8", 1024),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", 1024),
        ("claude-opus-4-1", 1024),
        ("claude-opus-4-20250514", 1024),
        ("claude-3-7-sonnet-20250219", 1024),
        ("claude-opus-4-7", 2048),
        ("claude-3-5-haiku-20241022", 2048),
        ("claude-3-haiku-20240307", 2048),
        ("claude-opus-4-6", 4096),
        ("claude-opus-4-5", 4096),
        ("claude-haiku-4-5", 4096),
        ("some-proxy's-name", 1024),
    ],
)
def test_each_model_has_its_minimum(model, minimum):
    assert cache_minimum(model) == minimum
    enough, short = "x" * (4 * minimum), "x" * (4 * minimum - 40)
    assert marked(sent(talk(1, system=enough, first="?"), model=model)) == ["system"]
    assert marked(sent(talk(1, system=short, first="?"), model=model)) == []


def test_the_minimum_can_be_set_for_a_model_whose_name_says_nothing():
    assert marked(sent(talk(1, system="x" * 8000, first="?"), model="m", minimum=4096)) == []
    assert marked(sent(talk(1, system="x" * 800, first="?"), model="m", minimum=100)) == ["system"]


def test_a_picture_counts_as_what_it_costs_not_by_its_bytes():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    messages = [{"role": "user", "content": [picture]}, turn(1, "answer", "assistant"), turn(2)]
    assert marked(sent(messages, model="claude-haiku-4-5")) == []
    assert marked(sent(messages)) == ["0 user", "2 user"]


def test_an_hour_is_asked_for_by_name():
    assert {ttl for _, ttl in breakpoints(sent(talk(3), ttl="1h"))} == {"1h"}


def with_mark(text, ttl=None):
    mark = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    return [{"type": "text", "text": text, "cache_control": mark}]


def test_the_callers_own_marks_stay_and_count():
    messages = talk(6)
    for number in (3, 5, 7):
        messages[number] = {"role": "user", "content": with_mark(f"mine {number}")}
    body = sent(messages, tools=TOOLS)
    assert marked(body) == ["2 user", "4 user", "6 user", "10 user"]
    messages[9] = {"role": "user", "content": with_mark("mine 9")}
    assert marked(sent(messages, tools=TOOLS)) == ["2 user", "4 user", "6 user", "8 user"]


def test_a_callers_automatic_mark_stands_for_the_latest_turn():
    body = sent(talk(4), tools=TOOLS, cache_control={"type": "ephemeral"})
    assert body["cache_control"] == {"type": "ephemeral"}
    assert marked(body) == ["tools", "system", "0 user", "6 user"]
    assert sum("cache_control" in block for _, block in read_order(body)) == 3


def test_marks_inside_a_tools_result_count():
    result = {"role": "tool", "tool_call_id": "c1", "content": with_mark("found")}
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    messages = [*talk(1), {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    messages[0] = {"role": "system", "content": with_mark(LONG)}
    messages[1] = {"role": "user", "content": with_mark(LONG)}
    body = sent(messages, tools=TOOLS)
    assert len(breakpoints(body)) + 1 == 4


@pytest.mark.parametrize(("theirs", "ours"), [("5m", ["1h", "1h", "5m", "5m"]), ("1h", ["1h", "1h", "1h", "5m"])])
def test_an_hour_never_comes_after_five_minutes(theirs, ours):
    messages = talk(6)
    messages[5] = {"role": "user", "content": with_mark("mine", theirs)}
    body = sent(messages, ttl="1h" if theirs == "5m" else "5m")
    found = [ttl for _, ttl in breakpoints(body)]
    assert found == sorted(found), "the server refuses the other order"
    assert len(found) == 4
    assert found == ours


@pytest.mark.parametrize(("theirs", "ours"), [("1h", "5m"), ("5m", "1h")])
def test_an_hour_for_the_whole_request_never_comes_after_five_minutes(theirs, ours):
    body = sent(talk(4), tools=TOOLS, ttl=ours, cache_control={"type": "ephemeral", "ttl": theirs})
    found = [ttl for _, ttl in breakpoints(body)]
    assert len(found) == 4
    assert found == sorted(found), "the server refuses the other order"
    assert found[-1] == theirs


@pytest.mark.parametrize("theirs", ["5m", "1h"])
def test_the_lifetime_of_a_mark_inside_a_tools_result_is_followed(theirs):
    call = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c1", "content": with_mark("found", theirs)}
    messages = [*talk(1), {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    messages += [turn(8, "answer", "assistant"), turn(9)]
    body = sent(messages, tools=TOOLS, ttl="1h" if theirs == "5m" else "5m")
    (inner,) = body["messages"][2]["content"][0]["content"]
    assert inner["cache_control"].get("ttl", "5m") == theirs
    before = {ttl for at, ttl in breakpoints(body) if at < len(list(read_order(body))) - 1}
    assert before == {"1h"}, "all before it last an hour: either they have to, or they were to"
    assert breakpoints(body)[-1][1] == "5m"


def test_marks_inside_a_document_count():
    source = {"type": "content", "content": [*with_mark("one"), *with_mark("two"), *with_mark("three")]}
    messages = [{"role": "user", "content": [{"type": "document", "source": source}, {"type": "text", "text": LONG}]}]
    assert len(marked(sent([*messages, turn(1, "answer", "assistant"), turn(2)], tools=TOOLS))) == 1


BLANKS = [[{"type": "text", "text": LONG}, {"type": "text", "text": " "}], ""]


@pytest.mark.parametrize("system", BLANKS, ids=["a blank block", "no text"])
def test_text_of_nothing_bears_no_mark(system):
    body = sent(talk(2, system=None), tools=TOOLS, system=system)
    assert len(breakpoints(body)) >= 3
    for _, block in read_order(body):
        assert "cache_control" not in block or str(block.get("text", "x")).strip()


def test_where_a_turn_has_more_blocks_than_the_server_looks_back_the_turn_before_is_marked():
    calls = [{"id": f"c{n}", "type": "function", "function": {"name": "search", "arguments": "{}"}} for n in range(12)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "found"} for call in calls]
    messages = [*talk(3), {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    assert marked(sent(messages, tools=TOOLS)) == ["tools", "system", "4 user", "6 user"]
    few = [*talk(3), {"role": "assistant", "content": None, "tool_calls": calls[:5]}, *results[:5]]
    assert marked(sent(few, tools=TOOLS)) == ["tools", "system", "0 user", "6 user"]


def test_a_tool_that_is_loaded_later_bears_no_mark():
    late = {"type": "custom_thing", "name": "zzz", "defer_loading": True}
    body = sent(talk(1), tools=[*TOOLS, late])
    assert [tool["name"] for tool in body["tools"] if "cache_control" in tool] == ["search"]


# --- the same to the byte --------------------------------------------------------------------------


def test_tools_in_any_order_with_keys_in_any_order_are_the_same_bytes():
    other = [
        {"function": {"parameters": {"type": "object"}, "description": LONG, "name": name}, "type": "function"}
        for name in ("fetch", "search")
    ]
    assert orjson.dumps(sent(talk(3), tools=TOOLS)) == orjson.dumps(sent(talk(3), tools=other))


def test_the_order_of_a_schemas_properties_is_kept():
    schema = {"type": "object", "properties": {"why": {"type": "string"}, "answer": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "say", "parameters": schema}}
    body = sent(talk(1), tools=[tool])
    assert list(body["tools"][0]["input_schema"]["properties"]) == ["why", "answer"]


def test_the_callers_order_of_tools_stays_where_they_have_marked_one():
    tools = [{**TOOLS[0], "cache_control": {"type": "ephemeral"}}, TOOLS[1]]
    body = sent(talk(1), tools=tools)
    assert [tool["name"] for tool in body["tools"]] == ["search", "fetch"]


TEXT = st.text("abc \n\u00e9\u4e2d", min_size=1, max_size=8).map(lambda text: "x" + text)
PIECE = st.one_of(
    TEXT,
    st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXT), min_size=1, max_size=4),
)


@st.composite
def rounds(draw):
    """What one turn adds: an answer with or without calls, and what the user or the tools say to it."""
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "search", "arguments": draw(st.sampled_from(ARGS))}}
        for n in range(draw(st.integers(0, 14)))
    ]
    answer = {"role": "assistant", "content": draw(PIECE)}
    if not calls:
        return [answer, {"role": "user", "content": draw(PIECE)}]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": draw(PIECE)} for call in calls]
    return [{**answer, "tool_calls": calls}, *results]


ARGS = ["{}", '{"q":"x"}', '{"b":1,"a":2}', "not json"]


def prefix(body, last):
    """The bytes that the model reads up to a block, and the place of each breakpoint among the blocks."""
    order = list(read_order(body))[: last + 1]
    return [orjson.dumps([where, {k: v for k, v in block.items() if k != "cache_control"}]) for where, block in order]


@given(
    system=st.sampled_from([None, "Be brief.", LONG, [{"type": "text", "text": LONG}, {"type": "text", "text": "b"}]]),
    tools=st.booleans(),
    first=st.one_of(PIECE, st.just(LONG)),
    added=st.lists(rounds(), min_size=1, max_size=6),
    session=st.sampled_from([None, "s"]),
    ttl=st.sampled_from([None, "1h"]),
)
def test_each_turn_begins_with_what_the_turn_before_has_marked(system, tools, first, added, session, ttl):
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": first})
    wire = {"tools": TOOLS} if tools else {}
    bodies = [sent(messages, session=session, ttl=ttl, **wire)]
    for more in added:
        messages = [*messages, *more]
        bodies.append(sent(messages, session=session, ttl=ttl, **wire))
    for body in bodies:
        assert len(breakpoints(body)) <= 4
    for before, after in pairwise(bodies):
        for at, _ in breakpoints(before):
            assert prefix(after, at) == prefix(before, at)
        if breakpoints(before) and (tools or session or len(before["messages"]) > 1):
            written = breakpoints(before)[-1][0]
            assert any(at - 20 < written <= at for at, _ in breakpoints(after)), "what was written is looked for"


def test_what_the_caller_gave_is_not_changed():
    messages, tools = talk(3), orjson.loads(orjson.dumps(TOOLS))
    before = orjson.dumps([messages, tools])
    sent(messages, tools=tools)
    assert orjson.dumps([messages, tools]) == before


PARAMS = TypeAdapter(MessageCreateParams)


@pytest.mark.parametrize("ttl", ["5m", "1h"])
@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_is_marked_at_four_places_at_most_and_otherwise_as_it_was(name, ttl):
    messages, wire = REQUESTS[name]
    plain, body = (sent(messages, mode=mode, ttl=ttl, session="s", minimum=1, **wire) for mode in ("off", "auto"))
    assert as_validated(PARAMS, body) == body
    found = breakpoints(body)
    assert 1 <= len(found) <= 4
    assert [ttl for _, ttl in found] == sorted(ttl for _, ttl in found)
    assert [block for _, block in bare(body)] == [block for _, block in bare(plain)]
    rest = {"messages", "system", "tools"}
    assert {field: its for field, its in body.items() if field not in rest} == {
        field: its for field, its in plain.items() if field not in rest
    }


def bare(body):
    """Blocks without marks, tools in one order."""
    blocks = [
        (where, {key: its for key, its in block.items() if key != "cache_control"}) for where, block in read_order(body)
    ]
    return sorted(blocks, key=lambda each: (each[0] != "tools", each[1].get("name", "") if each[0] == "tools" else ""))
