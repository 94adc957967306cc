"""What is read from whole messages and from streams of Anthropic's: with the official SDK's types as the measure."""

import json

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from anthropic_wire import (
    CLOCK,
    CODEC,
    JSON,
    MESSAGES,
    PING,
    SSE,
    STOP,
    USAGE,
    WEATHER,
    closed,
    delta,
    event,
    events_of,
    message,
    opened,
    start,
    stopped,
    stream,
    text,
    thinking,
    tool,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from resilio.errors import ErrorClass, MalformedResponse, ProviderError, ProviderRefused, ProviderUnavailable
from resilio.models import Request, ToolCall, ToolCallDelta, Usage
from resilio.providers.anthropic import AnthropicCodec
from resilio.testing import Sample, check_codec

EVENT = TypeAdapter(RawMessageStreamEvent)


def decode(whole, headers=JSON):
    return CODEC.decode(200, headers, json.dumps(whole).encode())


def read(data, step=None, codec=CODEC):
    """All chunks of a stream, fed in pieces of this size, and the answer."""
    decoder = codec.stream_decoder(200, SSE)
    chunks = []
    for at in range(0, len(data), step or len(data)):
        chunks += decoder.feed(data[at : at + (step or len(data))])
    chunks += decoder.finish()
    return chunks, decoder.answer()


def of_sdk(whole):
    """What the SDK's own types read from a message: text, calls, reason to stop, and the whole usage."""
    read = Message.model_validate(whole)
    words = "".join(block.text for block in read.content if block.type == "text")
    calls = [(block.id, block.name, block.input) for block in read.content if block.type == "tool_use"]
    usage = read.usage
    cache = (usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0)
    return words, calls, read.stop_reason, usage.input_tokens + sum(cache), usage.output_tokens, *cache


def of_ours(answer):
    """The same of an answer; the raw message has the reason to stop in the SDK's words."""
    usage = answer.usage
    return (
        answer.text,
        [(call.id, call.name, json.loads(call.arguments)) for call in answer.tool_calls],
        answer.raw["stop_reason"],
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_says_what_the_sdk_reads(name):
    assert of_ours(decode(MESSAGES[name])) == of_sdk(MESSAGES[name])


@pytest.mark.parametrize("step", [None, 1, 13])
@pytest.mark.parametrize("name", MESSAGES)
def test_a_stream_says_what_the_whole_message_says(name, step):
    whole = MESSAGES[name]
    chunks, answer = read(stream(*events_of(whole)), step)
    unary = decode(whole)
    assert of_ours(answer) == of_ours(unary) == of_sdk(whole)
    assert (answer.finish_reason, answer.reasoning, answer.refusal) == (
        unary.finish_reason, unary.reasoning, unary.refusal,
    )  # fmt: skip
    assert answer.extras == unary.extras
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert "".join(chunk.reasoning for chunk in chunks) == answer.reasoning
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [answer.finish_reason]
    assert [chunk.usage for chunk in chunks if chunk.usage] == [answer.usage]
    assert all(chunk.raw is not None for chunk in chunks)


def test_the_codec_holds_the_protocol():
    requests = [Request("chat", [{"role": "user", "content": "Grüße"}], {"tools": []})]
    samples = []
    for name in ("text", "tools", "thinking", "length"):
        whole = MESSAGES[name]
        words = "".join(block.get("text", "") for block in whole["content"])
        samples.append(Sample(f"{name}, whole", json.dumps(whole).encode(), words, headers=JSON))
        samples.append(Sample(f"{name}, streamed", stream(*events_of(whole)), words, stream=True, headers=SSE))
    check_codec(CODEC, samples, requests, every=5)


class TestUsage:
    def test_the_input_is_whole_and_its_parts_are_apart(self):
        assert decode(message(text("x"))).usage == Usage(100, 40, 50, 10, 20, 24, service_tier="standard")

    def test_the_tier_that_is_billed_is_told_and_fast_mode_is_one(self):
        usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "priority"}
        assert decode(message(text("x"), usage=usage)).usage.service_tier == "priority"
        assert decode(message(text("x"), usage={**usage, "speed": "fast"})).usage.service_tier == "fast"

    def test_writes_that_are_not_told_apart_are_of_five_minutes(self):
        usage = {"input_tokens": 1, "cache_creation_input_tokens": 9, "output_tokens": 2}
        assert decode(message(text("x"), usage=usage)).usage == Usage(10, 2, 0, 9, 0)

    def test_a_stream_takes_the_last_figures(self):
        usage = {
            "input_tokens": 61,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": None,
            "output_tokens": 2,
        }
        data = stream(
            start(), opened(0, text("")), delta(0, type="text_delta", text="x"), closed(0), stopped(usage=usage), STOP
        )
        assert read(data)[1].usage == Usage(61 + 30, 2, 0, 10, 20, 2, service_tier="standard")

    def test_a_broken_stream_knows_its_input_and_counts_its_output(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(start(), opened(0, text("")), delta(0, type="text_delta", text="x" * 400)))
        usage = decoder.answer().usage
        assert (usage.input_tokens, usage.cache_read_tokens, usage.estimated) == (100, 50, True)
        assert usage.output_tokens == 101


class TestMalformed:
    @pytest.mark.parametrize(
        "whole",
        [
            [],
            "x",
            {},
            {"content": "text", "stop_reason": "end_turn"},
            {**message(text("x")), "stop_reason": None},
            message("text"),
            message({"type": "tool_use", "id": "t", "input": {}}, stop="tool_use"),
        ],
    )
    def test_what_is_no_message_is_malformed(self, whole):
        with pytest.raises(MalformedResponse) as caught:
            decode(whole)
        assert caught.value.error_class is ErrorClass.MALFORMED

    def test_html_is_malformed(self):
        with pytest.raises(MalformedResponse, match="not JSON"):
            CODEC.decode(200, {"content-type": "text/html"}, b"<html>")

    def test_an_error_inside_a_200_is_that_error(self):
        with pytest.raises(ProviderUnavailable, match="Overloaded"):
            decode({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    def test_a_refusal_without_a_word_is_a_refusal(self):
        with pytest.raises(ProviderRefused):
            decode(message(stop="refusal"))
        with pytest.raises(ProviderRefused):
            read(stream(start(), stopped("refusal"), STOP))


class TestStream:
    def test_arguments_come_in_fragments_under_the_calls_own_number(self):
        chunks, answer = read(stream(*events_of(message(text("Look"), WEATHER, CLOCK, stop="tool_use"), size=9)))
        deltas = [call for chunk in chunks for call in chunk.tool_calls]
        assert deltas[0] == ToolCallDelta(0, "toolu_1", "get_weather")
        assert ToolCallDelta(1, "toolu_2", "get_time") in deltas
        first = "".join(call.arguments for call in deltas if call.index == 0)
        assert json.loads(first) == WEATHER["input"]
        assert answer.tool_calls == (
            ToolCall("toolu_1", "get_weather", first),
            ToolCall("toolu_2", "get_time", "{}"),
        )

    def test_a_call_without_any_fragment_gets_an_empty_object(self):
        chunks, _ = read(stream(start(), opened(0, tool("t", "f", {})), closed(0), stopped("tool_use"), STOP))
        assert "".join(call.arguments for chunk in chunks for call in chunk.tool_calls) == "{}"

    def test_a_call_cut_by_the_limit_is_kept_as_it_was_written(self):
        cut = delta(0, type="input_json_delta", partial_json='{"city": "K')
        _, answer = read(stream(start(), opened(0, tool("t", "f", {})), cut, closed(0), stopped("max_tokens"), STOP))
        assert answer.tool_calls == (ToolCall("t", "f", '{"city": "K'),)
        assert answer.finish_reason == "length"

    @pytest.mark.parametrize("name", MESSAGES)
    def test_it_is_whole_when_its_reason_to_stop_has_come_and_not_a_byte_before(self, name):
        *before, reason, last = events_of(MESSAGES[name])
        data, end = stream(*before), stream(reason)
        for at in range(0, len(data), 3):
            decoder = CODEC.stream_decoder(200, SSE)
            decoder.feed(data[:at])
            assert not decoder.complete, data[:at][-60:]
            with pytest.raises(MalformedResponse) as caught:
                decoder.finish()
            assert caught.value.error_class is ErrorClass.TRUNCATED
        for at in range(len(end) + 1):
            decoder = CODEC.stream_decoder(200, SSE)
            decoder.feed(data + end[:at])
            assert decoder.complete is (at == len(end))
            if at > end.rindex(b"}"):  # what is missing is blank
                decoder.finish()
            else:
                with pytest.raises(MalformedResponse):
                    decoder.finish()
        for at in range(len(event(last))):
            assert of_ours(read(data + end + event(last)[:at])[1]) == of_sdk(MESSAGES[name])

    def test_an_end_that_gives_no_reason_is_none(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(start(), opened(0, text("x")), closed(0), STOP))
        with pytest.raises(MalformedResponse, match="without a stop_reason"):
            decoder.finish()

    def test_an_error_event_comes_after_what_came_before_it(self):
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        decoder = CODEC.stream_decoder(200, SSE)
        chunks = decoder.feed(stream(start(), opened(0, text("")), delta(0, type="text_delta", text="Hi"), error))
        assert "".join(chunk.text for chunk in chunks) == "Hi"
        with pytest.raises(ProviderUnavailable) as caught:
            decoder.feed(b"")
        assert (caught.value.error_class, caught.value.code) == (ErrorClass.OVERLOADED, "overloaded_error")
        assert not decoder.complete

    def test_a_stammered_beginning_is_harmless(self):
        whole = list(events_of(MESSAGES["text"]))
        assert of_ours(read(stream(whole[0], *whole))[1]) == of_sdk(MESSAGES["text"])

    def test_a_second_message_in_the_middle_is_an_error_and_what_came_is_not_sent_twice(self):
        half = stream(start(), opened(0, text("")), delta(0, type="text_delta", text="Half"))
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(half)
        with pytest.raises(MalformedResponse, match="second message in the middle"):
            decoder.feed(stream(*events_of(MESSAGES["text"])))
        assert decoder.answer().text == "Half"

    def test_unknown_events_blocks_and_deltas_are_passed_over(self):
        whole = list(events_of(MESSAGES["text"]))
        odd = [
            {"type": "future_event"},
            PING,
            opened(7, {"type": "future_block"}),
            delta(7, type="future_delta"),
            closed(7),
        ]
        assert of_ours(read(stream(*whole[:3], *odd, *whole[3:]))[1])[0] == "Grüße aus Köln 🌍."

    def test_pings_are_signs_of_life_as_comments_are(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(b": hello\n\n" + stream(PING, start(), PING))
        assert decoder.comments == 3

    def test_a_whole_message_in_place_of_a_stream_is_read(self):
        for name, whole in MESSAGES.items():
            chunks, answer = read(json.dumps(whole).encode())
            assert of_ours(answer) == of_sdk(whole), name
            assert "".join(chunk.text for chunk in chunks) == answer.text

    @pytest.mark.parametrize(
        "bad",
        [
            [opened(0, text(""))],
            [start(), delta(3, type="text_delta", text="x")],
            [start(), opened(0, "text")],
            [start(), opened("0", text(""))],
            [start(), opened(0, text("")), delta(0, type="text_delta", text=7)],
            [start(), {"type": "message_delta", "delta": "x"}],
            [{"type": "message_start", "message": 7}],
            [start(), opened(0, {"type": "tool_use", "id": "t", "name": ""})],
        ],
    )
    def test_events_of_another_shape_are_malformed(self, bad):
        decoder = CODEC.stream_decoder(200, SSE)
        with pytest.raises(MalformedResponse):
            decoder.feed(stream(*bad))
            decoder.feed(b"")
        decoder.answer()

    def test_a_body_over_the_limit_is_malformed(self):
        decoder = AnthropicCodec(max_event_bytes=200).stream_decoder(200, SSE)
        with pytest.raises(ProviderError, match="larger than 200"):
            decoder.feed(b"data: " + b"x" * 300)

    def test_repr_tells_how_far_it_is(self):
        assert "anthropic open" in repr(CODEC.stream_decoder(200, SSE))
        assert "2023-06-01" in repr(CODEC)


class TestAnswerByTool:
    WHOLE = message(tool("t", "resilio_answer", {"name": "Ann", "age": 3}), stop="tool_use")

    def test_the_input_of_the_tool_is_the_text(self):
        answer = decode(self.WHOLE)
        assert (json.loads(answer.text), answer.finish_reason) == ({"name": "Ann", "age": 3}, "stop")
        assert (answer.tool_calls, answer.extras) == ((), None)

    def test_in_a_stream_too(self):
        chunks, answer = read(stream(*events_of(self.WHOLE)))
        assert (
            json.loads("".join(chunk.text for chunk in chunks)) == json.loads(answer.text) == {"name": "Ann", "age": 3}
        )
        assert (chunks[-2].finish_reason, answer.finish_reason) == ("stop", "stop")

    def test_a_call_beside_it_is_still_a_call(self):
        answer = decode(message(WEATHER, stop="tool_use"))
        assert answer.finish_reason == "tool_calls"


def test_thinking_goes_back_as_it_came():
    whole = MESSAGES["thinking and tools"]
    assert decode(whole).extras == {"anthropic_content": whole["content"]}
    assert read(stream(*events_of(whole)))[1].extras == {"anthropic_content": whole["content"]}
    assert decode(MESSAGES["tools"]).extras is None


WORDS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS, lambda its: st.lists(its, max_size=2), max_leaves=3
)
BLOCKS = st.one_of(
    st.builds(text, WORDS),
    st.builds(thinking, WORDS, st.just("c2ln")),
    st.builds(
        tool,
        st.from_regex(r"toolu_[a-z0-9]{1,6}", fullmatch=True),
        st.just("f"),
        st.dictionaries(WORDS, VALUES, max_size=3),
    ),
)
COUNTS = st.integers(0, 1000)
USAGES = st.fixed_dictionaries(
    {"input_tokens": COUNTS, "output_tokens": st.integers(1, 1000)},
    optional={"cache_read_input_tokens": COUNTS, "cache_creation_input_tokens": COUNTS},
)
WHOLES = st.builds(
    lambda content, stop, usage: message(*content, stop=stop, usage={**usage}),
    st.lists(BLOCKS, max_size=5),
    st.sampled_from(["end_turn", "max_tokens", "stop_sequence", "tool_use"]),
    USAGES,
)


@given(WHOLES, st.integers(1, 9), st.data())
def test_any_message_streamed_and_cut_anywhere_says_what_the_sdk_reads(whole, size, data):
    bodies = list(events_of(whole, size))
    snapshot, buffers = None, {}
    for body in bodies:
        if body["type"] != "ping":
            snapshot = accumulate_event(event=EVENT.validate_python(body), current_snapshot=snapshot, json_bufs=buffers)
    wire = stream(*bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    decoder = CODEC.stream_decoder(200, SSE)
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        decoder.feed(wire[begin:end])
    decoder.finish()
    ours = of_ours(decoder.answer())
    assert ours == of_sdk({**snapshot.model_dump(), "usage": {**USAGE, "output_tokens": 1, **whole["usage"]}})
    assert ours[:3] == of_ours(decode(whole))[:3]
