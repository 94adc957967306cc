"""Names of conversations, and what OpenAI's dialect makes of them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import ModelSettings, ProviderSettings, TargetSettings
from resilio.models import Identity, Request, Usage
from resilio.providers import REGISTRY
from resilio.providers.openai.answer import read_usage
from resilio.providers.prefix import Turn, conversation_key, kept_tokens, lifetime, turn_of

SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello"}
MORE = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "And now?"}]
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("b", "a")]


def name(*messages, session=None, **wire):
    return conversation_key(Request("chat", messages, wire, Identity(session=session)))


def test_every_turn_of_a_conversation_has_its_name():
    assert name(SYSTEM, HELLO) == name(SYSTEM, HELLO, *MORE)
    assert len(name(SYSTEM, HELLO)) == 16


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [SYSTEM, {"role": "user", "content": "Hello!"}]},
        {"messages": [{"role": "system", "content": "Be long."}, HELLO]},
        {"messages": [HELLO]},
        {"session": "s2"},
        {"session": None},
        {"tools": TOOLS[:1]},
        {"tools": None},
    ],
    ids=str,
)
def test_another_beginning_is_another_conversation(other):
    its = {"messages": [SYSTEM, HELLO], "session": "s1", "tools": TOOLS}
    changed = {**its, **other}
    assert name(*its.pop("messages"), **its) != name(*changed.pop("messages"), **changed)


def test_the_order_of_tools_and_keys_makes_no_difference():
    turned = [{"function": each["function"], "type": "function"} for each in reversed(TOOLS)]
    assert name(dict(reversed(SYSTEM.items())), HELLO, tools=turned) == name(SYSTEM, HELLO, tools=TOOLS)


def test_what_asks_nothing_or_cannot_be_written_has_no_name():
    assert name(SYSTEM) is None
    assert name() is None
    assert name({"role": "user", "content": object()}) is None


# --- turns ---------------------------------------------------------------------------------------------


def turn(*messages, session=None, **wire):
    return turn_of(Request("chat", messages, wire, Identity(session=session)))


def said(role, text):
    return {"role": role, "content": text}


CALL = {"id": "c1", "type": "function", "function": {"name": "a", "arguments": "{}"}}
LOOP = [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {**said("tool", "found"), "tool_call_id": "c1"}]


def test_each_turn_continues_the_one_before():
    one, two, three = turn(SYSTEM, HELLO), turn(SYSTEM, HELLO, *LOOP), turn(SYSTEM, HELLO, *LOOP, *MORE)
    assert one.before == (), "a first turn continues nothing, whoever began alike"
    assert two.before == (two.own, one.own)
    assert three.before == (three.own, two.own, one.own)
    assert len({one.own, two.own, three.own}) == 3


def test_conversations_that_begin_alike_part_where_they_differ():
    one, other = ([SYSTEM, HELLO, said("assistant", text), said("user", "Go on")] for text in ("Hi", "Good day"))
    assert turn(*one).own != turn(*other).own
    assert turn(*one).own not in turn(*other, *MORE).before
    assert turn(*other).own in turn(*other, *MORE).before


def test_examples_in_front_of_every_question_make_no_conversation_of_them():
    examples = [SYSTEM, said("user", "2+2?"), said("assistant", "4"), said("user", "3+3?"), said("assistant", "6")]
    asked = [turn(*examples, said("user", f"{number}+1?")) for number in range(2)]
    assert asked[0].own not in asked[1].before
    assert asked[1].own not in asked[0].before


def test_a_named_session_is_one_conversation_whatever_is_said_in_it():
    one, later = turn(SYSTEM, HELLO, session="s"), turn(SYSTEM, HELLO, *MORE, session="s")
    assert one == later == Turn(one.own, (one.own,))
    assert turn(SYSTEM, HELLO, session="other").own != one.own


def test_marks_that_move_on_and_reasoning_that_is_dropped_change_no_name():
    mark = {"cache_control": {"type": "ephemeral"}}
    marked = {"role": "user", "content": [{"type": "text", "text": "Hello", **mark}]}
    inner = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "found", **mark}]}
    bare = {**inner, "content": [{"type": "text", "text": "found"}]}
    assert turn(SYSTEM, marked) == turn(SYSTEM, HELLO)
    assert turn(SYSTEM, HELLO, MORE[0], {"role": "user", "content": [inner]}) == turn(
        SYSTEM, HELLO, MORE[0], {"role": "user", "content": [bare]}
    )
    thought = {**MORE[0], "reasoning_content": "They greet me."}
    assert turn(SYSTEM, HELLO, thought, MORE[1]) == turn(SYSTEM, HELLO, *MORE)
    assert turn(SYSTEM, HELLO, tools=[{**TOOLS[0], **mark}, TOOLS[1]]) == turn(SYSTEM, HELLO, tools=TOOLS)
    assert name(SYSTEM, marked, session="s") == name(SYSTEM, HELLO, session="s")


def test_an_answer_that_is_begun_belongs_to_the_turn_it_answers():
    assert turn(SYSTEM, HELLO, said("assistant", "It")) == turn(SYSTEM, HELLO)
    whole = turn(SYSTEM, HELLO, *MORE, said("assistant", "It begins"), said("user", "Go on"))
    assert turn(SYSTEM, HELLO, *MORE, said("assistant", "It")).own in whole.before


ODD = st.one_of(
    st.none(),
    st.just("x"),
    st.builds(
        said, st.sampled_from(["user", "assistant", 1]), st.sampled_from(["", None, [None], ["x"], [[]], object()])
    ),
)


@given(st.lists(ODD, max_size=6))
def test_nonsense_for_messages_never_fails_and_its_turns_are_never_more_than_are_looked_for(messages):
    found = turn(*messages)
    if found is not None and found.before:
        assert found.before[0] == found.own
        assert len(found.before) <= 5


def sent(base_url, **wire):
    target = TargetSettings(provider="p", model="gpt-5.6", prompt_cache=wire.pop("mode", "auto"))
    http = REGISTRY["openai"].encode(
        Request("chat", [SYSTEM, HELLO], wire), target,
        base_url=base_url, key=None, headers={}, stream=False, max_output_tokens=None,
    )  # fmt: skip
    return orjson.loads(http.body)


def test_openai_is_told_the_name_and_nobody_else():
    told = sent("https://api.openai.com/v1")["prompt_cache_key"]
    assert told == name(SYSTEM, HELLO).hex()
    assert sent("https://eu.api.openai.com/v1")["prompt_cache_key"] == told
    for other in ("http://localhost:8000/v1", "https://api.openai.com.evil.test/v1", "https://api.deepseek.com"):
        assert "prompt_cache_key" not in sent(other)
    assert "prompt_cache_key" not in sent("https://api.openai.com/v1", mode="off")
    assert sent("https://api.openai.com/v1", prompt_cache_key="mine")["prompt_cache_key"] == "mine"


def test_tools_of_openais_dialect_have_one_order_too():
    body = sent("http://localhost:8000/v1", tools=TOOLS)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["a", "b"]
    assert sent("http://localhost:8000/v1", tools=TOOLS, mode="off")["tools"] == TOOLS


@pytest.mark.parametrize("kind", ["gemini", "responses", "azure", "anthropic", "openai", "deepseek"])
def test_tools_in_any_order_are_the_same_bytes_in_every_dialect_and_only_where_it_is_asked_for(kind):
    schema = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "string"}}}
    tools = [
        {"type": "function", "function": {"name": name, "description": "It works.", "parameters": schema}}
        for name in ("b", "a")
    ]
    turned = [
        {"function": {**dict(reversed(its["function"].items())), "parameters": dict(reversed(schema.items()))},
         "type": "function"}
        for its in reversed(tools)
    ]  # fmt: skip
    settings = ProviderSettings(name="p", kind=kind, base_url="https://p.test", models={"m": ModelSettings()})
    codec = REGISTRY[kind].for_provider(settings)

    def body(tools, mode):
        target = TargetSettings(provider="p", model="m", prompt_cache=mode)
        return codec.encode(
            Request("chat", [SYSTEM, HELLO], {"tools": tools}), target,
            base_url="https://p.test", key=None, headers={}, stream=False, max_output_tokens=None,
        ).body  # fmt: skip

    assert body(tools, "auto") == body(turned, "auto")
    assert b"prompt_cache_key" not in body(tools, "auto")
    assert body(tools, "auto").index(b'"z"') < body(tools, "auto").index(b'"a":'), "properties keep their order"
    assert body(tools, "off") != body(turned, "off")


VALUES = st.one_of(st.none(), st.text(max_size=3), st.lists(st.integers(0, 9)), st.just({"name": "f"}))


@given(st.dictionaries(st.sampled_from(["name", "type", "function", "properties"]), VALUES))
def test_nonsense_for_tools_never_fails_a_request_and_none_is_lost(tool):
    for tools in (tool, [tool], [tool, "x"], [{"name": "z"}, tool, {"function": tool}]):
        told = sent("http://localhost:8000/v1", tools=tools).get("tools")
        assert told == tools or sorted(map(canonical, told)) == sorted(map(canonical, tools))


def canonical(tool):
    return orjson.dumps(tool, option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize(
    ("raw", "read", "written"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 512}}, 1024, 512),
        ({"prompt_cache_hit_tokens": 1500, "prompt_cache_miss_tokens": 500}, 1500, 0),
        ({"num_cached_tokens": 640}, 640, 0),
        ({"prompt_tokens_details": None}, 0, 0),
    ],
    ids=["openai", "deepseek", "mistral", "nobody"],
)
def test_what_providers_read_from_their_caches_is_recognised(raw, read, written):
    usage = read_usage({"prompt_tokens": 2000, "completion_tokens": 5, "total_tokens": 2005, **raw})
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens) == (2000, read, written)


def test_a_conversation_is_held_as_long_as_its_provider_holds_it():
    read, hour = Usage(3000, 0, 2000), Usage(3000, 0, 0, 0, 2000)
    assert lifetime("anthropic", "claude-opus-5", read, "5m") == 300
    assert lifetime("anthropic", "claude-opus-5", read, "1h") == 3600
    assert lifetime("anthropic", "claude-opus-5", hour, None) == 3600, "the caller's own marks"
    assert lifetime("openai", "gpt-4o", read, "1h") == 300
    assert lifetime("openai", "gpt-5.6-mini", read, None) == 1800
    assert lifetime("openai", "gpt-5.1", read, None) == 300


def test_a_prompt_that_no_cache_keeps_is_held_by_nobody():
    assert kept_tokens("anthropic", Usage(5000)) == 0
    assert kept_tokens("anthropic", Usage(5000, 0, 1000, 200, 300)) == 1500
    assert kept_tokens("openai", Usage(1023)) == 0
    assert kept_tokens("openai", Usage(5000)) == 5000
