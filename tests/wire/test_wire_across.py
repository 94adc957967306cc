"""An answer of one dialect's provider, told to a client of another's: through chunks, and as a whole."""

import json
from itertools import pairwise

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from providers import anthropic_wire as theirs
from providers import openai_wire as ours
from pydantic import TypeAdapter
from spoken import CODECS, SSE, decode, encoder, read, reply

from resilio.models import Chunk, ToolCall, ToolCallDelta, Usage
from resilio.providers.sse import SSEParser
from resilio.wire import DIALECTS

EVENT = TypeAdapter(RawMessageStreamEvent)
WHOLE = {name: whole for name, whole in theirs.MESSAGES.items() if name != "empty"}
REFUSALS = {"refusal", "late refusal"}


def heard(dialect, data):
    """Chunks of a provider's stream, and the reply that it makes."""
    decoder = CODECS[dialect].stream_decoder(200, SSE)
    chunks = decoder.feed(data) + decoder.finish()
    return chunks, reply_of(decoder.answer())


def reply_of(answer):
    return reply(
        answer.text, answer.finish_reason, usage=answer.usage or Usage(), tool_calls=answer.tool_calls, raw=answer.raw,
        reasoning=answer.reasoning, refusal=answer.refusal, extras=answer.extras,
    )  # fmt: skip


def told(dialect, chunks, made):
    writing = encoder(dialect, include_usage=True)
    return b"".join([*(writing.chunk(chunk) for chunk in chunks), writing.end(made)])


def events(data):
    return [json.loads(event.data) for event in SSEParser().feed(data)]


def of_sdk(data):
    """The message that Anthropic's SDK adds up; it has to be valid in its strict types."""
    snapshot = None
    buffers = {}
    for event in events(data):
        snapshot = accumulate_event(event=EVENT.validate_python(event), current_snapshot=snapshot, json_bufs=buffers)
    return Message.model_validate(snapshot.to_dict())


@pytest.mark.parametrize("name", WHOLE)
def test_anthropics_stream_is_the_same_answer_in_openais(name):
    chunks, made = heard("anthropic", theirs.stream(*theirs.events_of(WHOLE[name])))
    _, answer = read("openai", [told("openai", chunks, made)])
    same = ("text", "reasoning", "refusal", "tool_calls", "finish_reason")
    assert [getattr(answer, each) for each in same] == [getattr(made, each) for each in same]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (100, 40)
    assert (answer.usage.cache_read_tokens, answer.usage.reasoning_tokens) == (50, 24)


@pytest.mark.parametrize("name", WHOLE)
def test_anthropics_own_answers_reach_its_clients_unchanged(name):
    whole = WHOLE[name]
    made = reply_of(CODECS["anthropic"].decode(200, theirs.JSON, json.dumps(whole).encode()))
    body = json.loads(DIALECTS["anthropic"].reply(made, model="m", created=1).body)
    Message.model_validate(body)
    for each in ("content", "stop_reason", "stop_sequence"):
        assert body[each] == whole[each]
    assert body["stop_details"] == whole.get("stop_details")
    assert body["usage"].items() >= whole["usage"].items()


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("name", WHOLE)
def test_anthropics_own_streams_reach_its_clients_with_every_block(name, size):
    whole = WHOLE[name]
    chunks, made = heard("anthropic", theirs.stream(*theirs.events_of(whole, size)))
    written = told("anthropic", chunks, made)
    assert_well_formed(written)
    got = of_sdk(written)
    assert [block.to_dict() for block in got.content] == [block.to_dict() for block in Message(**whole).content]
    assert got.stop_reason == whole["stop_reason"]
    assert got.usage.input_tokens == 20
    start = events(written)[0]["message"]["usage"]
    assert (start["input_tokens"], start["output_tokens"]) == (20, 1)


@pytest.mark.parametrize("name", [name for name in ours.STREAMS if name != "two choices"])
def test_openais_stream_is_the_same_answer_in_anthropics(name):
    chunks, made = heard("openai", ours.STREAMS[name])
    written = told("anthropic", chunks, made)
    assert_well_formed(written)
    _, answer = read("anthropic", [written])
    assert (answer.text, answer.reasoning, answer.refusal) == (made.text, made.reasoning, made.refusal)
    assert answer.tool_calls == made.tool_calls
    # It has no other word for a refusal.
    assert answer.finish_reason == ("content_filter" if made.refusal else made.finish_reason)
    if made.usage.input_tokens:
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
            made.usage.input_tokens, made.usage.output_tokens,
        )  # fmt: skip
    assert of_sdk(written).stop_reason in ("end_turn", "tool_use", "refusal")


def test_a_citation_and_a_signature_are_passed_on():
    cited = {"type": "char_location", "cited_text": "x", "document_index": 0, "document_title": None,
             "start_char_index": 0, "end_char_index": 1, "file_id": None}  # fmt: skip
    data = theirs.stream(
        theirs.start(), theirs.opened(0, theirs.thinking("", "")),
        theirs.delta(0, type="signature_delta", signature="c2ln"), theirs.closed(0),
        theirs.opened(1, theirs.text("")), theirs.delta(1, type="text_delta", text="Two"),
        theirs.delta(1, type="citations_delta", citation=cited), theirs.closed(1), theirs.stopped(), theirs.STOP,
    )  # fmt: skip
    got = of_sdk(told("anthropic", *heard("anthropic", data)))
    thought, text = got.content
    assert (thought.thinking, thought.signature) == ("", "c2ln")
    assert (text.text, text.citations[0].cited_text) == ("Two", "x")


def test_whole_blocks_that_came_in_a_streams_place_keep_their_signatures():
    data = json.dumps(WHOLE["thinking and tools"]).encode()
    got = of_sdk(told("anthropic", *heard("anthropic", data)))
    assert [block.to_dict() for block in got.content] == WHOLE["thinking and tools"]["content"]


def test_a_stream_that_another_target_went_on_with_has_all_its_text():
    search, found, rest = theirs.SEARCH, theirs.FOUND, theirs.text("and the rest.")
    first = theirs.message(search, theirs.text("One part "))
    before, _ = heard("anthropic", theirs.stream(*theirs.events_of(first, 100)))
    broken = [chunk for chunk in before if chunk.finish_reason is None][:-2]  # its last blocks were never closed
    after, made = heard("anthropic", theirs.stream(*theirs.events_of(theirs.message(rest))))
    written = told("anthropic", [*broken, *after], reply("One part and the rest.", raw=made.raw))
    assert_well_formed(written)
    got = of_sdk(written)
    assert "".join(block.text for block in got.content if block.type == "text") == "One part and the rest."
    assert found not in got.content


def test_blocks_of_the_next_target_are_not_taken_for_those_that_broke():
    before, _ = heard("anthropic", theirs.stream(*theirs.events_of(theirs.message(theirs.text("One "), theirs.SEARCH))))
    broken = before[: next(n for n, chunk in enumerate(before) if (chunk.raw or {}).get("index") == 1) + 2]
    whole = theirs.message(theirs.text("part "), theirs.thinking("Hm."), theirs.text("more."))
    after, made = heard("anthropic", theirs.stream(*theirs.events_of(whole)))
    written = told("anthropic", [*broken, *after], reply("One part more.", raw=made.raw))
    assert_well_formed(written)
    assert [block.type for block in of_sdk(written).content] == [
        "text", "server_tool_use", "text", "thinking", "text",
    ]  # fmt: skip
    assert of_sdk(written).content[3].signature == "c2ln"


def test_a_reply_that_differs_from_what_its_provider_wrote_is_told_as_it_is():
    raw = theirs.message(theirs.text("Your key is 123."), theirs.WEATHER, stop="tool_use")
    call = ToolCall("toolu_1", "get_weather", '{"city": "Oslo"}')
    for made in (
        reply("Your key is 123.", "tool_calls", tool_calls=(call,), raw=raw),
        reply("Your key is [].", raw=raw),
    ):
        body = json.loads(DIALECTS["anthropic"].reply(made, model="m", created=1).body)
        assert body["content"][0]["text"] == made.text
        assert [block["input"] for block in body["content"][1:]] == [{"city": "Oslo"}] * len(made.tool_calls)


@given(st.data())
def test_events_are_well_formed_whatever_the_chunks_are(data):
    """Also chunks of no provider: names that never come, calls after the end of calls, raw of either dialect."""
    piece = st.builds(
        ToolCallDelta, st.integers(0, 2), st.none() | st.just("call_x"), st.none() | st.just("f"),
        st.sampled_from(["", "{}"]),
    )  # fmt: skip
    native = st.sampled_from([
        None, {"choices": []}, {"type": "ping"}, *theirs.events_of(WHOLE["thinking and tools"]),
        *theirs.events_of(WHOLE["search"]),
    ])  # fmt: skip
    calls = st.lists(piece, max_size=2).map(tuple)
    chunk = st.builds(Chunk, st.sampled_from(["", "t"]), st.sampled_from(["", "r"]), tool_calls=calls, raw=native)
    chunks = data.draw(st.lists(chunk, max_size=12))
    written = told("anthropic", chunks, reply("x"))
    assert_well_formed(written)
    of_sdk(written)
    texts = [each["delta"]["text"] for each in events(written) if each.get("delta", {}).get("type") == "text_delta"]
    assert "".join(texts) == "".join(chunk.text for chunk in chunks if not chunk.index)


def assert_well_formed(data):
    """Blocks are numbered in order, open before anything is added to them, and closed once."""
    found = events(data)
    assert found[0]["type"] == "message_start"
    assert [each["type"] for each in found[-2:]] == ["message_delta", "message_stop"]
    opened, closed = [], []
    for each in found[1:-2]:
        kind = each["type"]
        if kind == "content_block_start":
            opened.append(each["index"])
        elif kind == "content_block_delta":
            assert each["index"] in opened
            assert each["index"] not in closed
        elif kind == "content_block_stop":
            closed.append(each["index"])
    assert opened == list(range(len(opened)))
    assert sorted(closed) == opened
    assert all(low < high for low, high in pairwise(opened))


def test_a_call_without_a_name_or_an_id_is_told_all_the_same():
    call = ToolCall("", "f", "{}")
    chunks = [
        Chunk(tool_calls=(ToolCallDelta(0, arguments="{"),)),
        Chunk(tool_calls=(ToolCallDelta(0, None, "f", "}"),)),
    ]
    made = reply("", "tool_calls", tool_calls=(call,))
    for dialect in DIALECTS:
        _, answer = read(dialect, [told(dialect, chunks, made)])
        (streamed,) = answer.tool_calls
        assert (streamed.name, streamed.arguments, bool(streamed.id)) == ("f", "{}", True)
    (whole,) = decode("anthropic", DIALECTS["anthropic"].reply(made, model="m", created=1).body).tool_calls
    assert whole.id
