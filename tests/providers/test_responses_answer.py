"""What is read from whole responses and from streams of them: with the official SDK's types as the measure."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
from responses_wire import (
    CLOCK,
    CODEC,
    JSON,
    RESPONSES,
    SQL,
    SSE,
    WEATHER,
    added,
    custom,
    ended,
    events_of,
    failed,
    function,
    grown,
    message,
    reasoning,
    response,
    started,
    stream,
    text,
)

from resilio.errors import (
    ErrorClass,
    InvalidRequest,
    MalformedResponse,
    ProviderError,
    ProviderRefused,
    ProviderThrottled,
    ProviderUnavailable,
)
from resilio.models import Request, ToolCall, ToolCallDelta, Usage
from resilio.providers.responses import ResponsesCodec
from resilio.testing import Sample, check_codec

EVENT = TypeAdapter(ResponseStreamEvent)


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
    """What the SDK's own types read from a response: text, refusal, calls, status, and the whole usage."""
    read = whole if isinstance(whole, Response) else Response.model_validate(whole)
    parts = [part for item in read.output if item.type == "message" for part in item.content]
    words = "".join(part.refusal for part in parts if part.type == "refusal")
    calls = [
        (item.call_id, item.name, item.arguments if item.type == "function_call" else item.input)
        for item in read.output
        if item.type in ("function_call", "custom_tool_call")
    ]
    usage = read.usage and (
        read.usage.input_tokens,
        read.usage.output_tokens,
        read.usage.input_tokens_details.cached_tokens,
        read.usage.input_tokens_details.cache_write_tokens,
        read.usage.output_tokens_details.reasoning_tokens,
    )
    return read.output_text, words, calls, read.status, usage


def of_ours(answer):
    """The same of an answer; the raw response has the status."""
    usage = answer.usage and (
        answer.usage.input_tokens,
        answer.usage.output_tokens,
        answer.usage.cache_read_tokens,
        answer.usage.cache_write_5m_tokens,
        answer.usage.reasoning_tokens,
    )
    calls = [(call.id, call.name, call.arguments) for call in answer.tool_calls]
    return answer.text, answer.refusal, calls, answer.raw["status"], usage


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_says_what_the_sdk_reads(name):
    assert of_ours(decode(RESPONSES[name])) == of_sdk(RESPONSES[name])


@pytest.mark.parametrize("step", [None, 1, 13])
@pytest.mark.parametrize("name", RESPONSES)
def test_a_stream_says_what_the_whole_response_says(name, step):
    whole = RESPONSES[name]
    chunks, answer = read(stream(*events_of(whole)), step)
    assert answer == decode(whole)
    assert of_ours(answer) == of_sdk(whole)
    assert "".join(chunk.text for chunk in chunks) == answer.text
    assert "".join(chunk.reasoning for chunk in chunks) == answer.reasoning
    assert "".join(chunk.refusal for chunk in chunks) == answer.refusal
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [answer.finish_reason]
    assert [chunk.usage for chunk in chunks if chunk.usage] == [answer.usage] * (answer.usage is not None)
    assert [chunk.raw["type"] for chunk in chunks if chunk.raw] == [event["type"] for event in events_of(whole)]


@pytest.mark.parametrize("name", RESPONSES)
def test_the_events_of_these_tests_are_the_sdks_own_and_add_up_to_the_same(name):
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    told = []
    for number, body in enumerate(events_of(RESPONSES[name])):
        EVENT.validate_python({"sequence_number": number, **body})
        told = state.handle_event(construct_type(type_=ResponseStreamEvent, value={"sequence_number": number, **body}))
    assert of_sdk(Response.model_validate(told[-1].response.to_dict())) == of_sdk(RESPONSES[name])


def test_the_codec_holds_the_protocol():
    requests = [Request("chat", [{"role": "user", "content": "Grüße"}], {"tools": []})]
    samples = []
    for name in ("text", "tools", "reasoning", "length"):
        whole = RESPONSES[name]
        words = of_sdk(whole)[0]
        samples.append(Sample(f"{name}, whole", json.dumps(whole).encode(), words, headers=JSON))
        samples.append(Sample(f"{name}, streamed", stream(*events_of(whole)), words, stream=True, headers=SSE))
    check_codec(CODEC, samples, requests, every=41)


@pytest.mark.parametrize(
    ("name", "finish"),
    [
        ("text", "stop"), ("tools", "tool_calls"), ("custom", "tool_calls"), ("length", "length"),
        ("cut call", "length"), ("nothing", "length"), ("filtered", "content_filter"), ("refusal", "stop"),
        ("steered", "steered"),
    ],
)  # fmt: skip
def test_its_status_is_a_finish_reason_of_chat_completions(name, finish):
    assert decode(RESPONSES[name]).finish_reason == finish


def test_usage_has_cached_written_and_reasoning_tokens_inside_the_whole():
    assert decode(RESPONSES["text"]).usage == Usage(100, 40, 50, 30, 0, 24, service_tier="default")


def test_reasoning_is_its_summary_or_what_an_open_model_thought():
    assert decode(RESPONSES["reasoning and tools"]).reasoning == "First.\n\nThen."
    assert decode(RESPONSES["open reasoning"]).reasoning == "Hm, hm."
    assert decode(RESPONSES["silent reasoning"]).reasoning == ""


class TestWhatGoesBack:
    @pytest.mark.parametrize("name", ["reasoning and tools", "silent reasoning", "search", "custom"])
    def test_items_that_only_the_server_understands_are_kept_with_its_name(self, name):
        whole = RESPONSES[name]
        kept = {"responses_output": {"provider": "gpt", "items": whole["output"]}}
        assert decode(whole).extras == kept
        assert read(stream(*events_of(whole)))[1].extras == kept

    def test_plain_text_and_calls_need_nothing(self):
        assert decode(RESPONSES["tools"]).extras is None
        assert read(stream(*events_of(RESPONSES["tools"])))[1].extras is None

    def test_nothing_goes_back_of_what_was_cut(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(*list(events_of(RESPONSES["reasoning"]))[:-1]))
        assert decoder.answer().extras is None


class TestMalformed:
    @pytest.mark.parametrize(
        "whole",
        [
            [],
            "x",
            {},
            response(status="in_progress"),
            response(status="queued"),
            response(usage=None),
            {**response(message(text("x"))), "status": None},
            {**response(), "output": None},
            response("text"),
            response(message("text")),
            response(function("call_1", "", "{}")),
        ],
    )
    def test_what_is_no_finished_response_is_malformed(self, whole):
        with pytest.raises(MalformedResponse) as caught:
            decode(whole)
        assert caught.value.error_class is ErrorClass.MALFORMED

    def test_html_is_malformed(self):
        with pytest.raises(MalformedResponse, match="not JSON"):
            CODEC.decode(200, {"content-type": "text/html"}, b"<html>")

    def test_a_filter_that_left_nothing_is_a_refusal(self):
        whole = response(status="incomplete", reason="content_filter")
        with pytest.raises(ProviderRefused):
            decode(whole)
        with pytest.raises(ProviderRefused):
            read(stream(*events_of(whole)))


class TestFailed:
    @pytest.mark.parametrize(
        ("whole", "kind", "error_class"),
        [
            (failed("server_error", "The model failed."), ProviderUnavailable, ErrorClass.SERVER_ERROR),
            (
                failed("rate_limit_exceeded", "Rate limit reached. Please try again in 1.2s."),
                ProviderThrottled,
                ErrorClass.THROTTLED,
            ),
            (failed("invalid_prompt", "Input is no prompt."), InvalidRequest, ErrorClass.CALLER),
            (response(status="failed", usage=None), ProviderUnavailable, ErrorClass.SERVER_ERROR),
            (response(status="cancelled", usage=None), ProviderUnavailable, ErrorClass.SERVER_ERROR),
        ],
    )
    def test_a_response_that_failed_is_its_error_whole_and_streamed(self, whole, kind, error_class):
        with pytest.raises(kind) as caught:
            decode(whole)
        if whole["status"] == "failed":
            with pytest.raises(kind) as again:
                read(stream(started(), ended(whole)))
            assert str(again.value) == str(caught.value)
        assert caught.value.error_class is error_class
        assert caught.value.retry_after == (1.2 if error_class is ErrorClass.THROTTLED else None)

    def test_it_comes_after_what_came_before_it(self):
        before = list(grown(0, message(text("Half"))))[:4]
        decoder = CODEC.stream_decoder(200, SSE)
        chunks = decoder.feed(stream(started(), *before, ended(failed("server_error", "Oh."))))
        assert "".join(chunk.text for chunk in chunks) == decoder.answer().text == "Half"
        with pytest.raises(ProviderUnavailable, match="Oh"):
            decoder.feed(b"")
        assert not decoder.complete

    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize(
        "error",
        [
            {"type": "error", "code": "rate_limit_exceeded", "message": "Slow.", "param": None},
            {"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "Slow."}},
        ],
    )
    def test_an_error_event_with_or_without_its_name(self, error, named):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(started(), named=named))
        with pytest.raises(ProviderThrottled) as caught:
            decoder.feed(stream(error, named=named))
        assert (caught.value.code, caught.value.error_class) == ("rate_limit_exceeded", ErrorClass.THROTTLED)


class TestStream:
    def test_arguments_come_in_fragments_under_the_calls_own_number(self):
        chunks, answer = read(stream(*events_of(response(WEATHER, message(text("x")), CLOCK, SQL), size=9)))
        deltas = [call for chunk in chunks for call in chunk.tool_calls]
        assert deltas[0] == ToolCallDelta(0, "call_1", "get_weather")
        assert ToolCallDelta(1, "call_2", "get_time") in deltas
        for number, call in enumerate(answer.tool_calls):
            assert "".join(one.arguments for one in deltas if one.index == number) == call.arguments
        assert answer.tool_calls[2] == ToolCall("call_3", "sql", "SELECT 1")

    @pytest.mark.parametrize("name", RESPONSES)
    def test_it_is_whole_when_its_last_event_has_come_and_not_a_byte_before(self, name):
        *before, last = events_of(RESPONSES[name])
        data, end = stream(*before), stream(last)
        decoder = CODEC.stream_decoder(200, SSE)
        for at in range(len(data)):
            decoder.feed(data[at : at + 1])
            assert not decoder.complete, data[:at][-60:]
        for at in range(0, len(data), 97):
            decoder = CODEC.stream_decoder(200, SSE)
            decoder.feed(data[:at])
            with pytest.raises(MalformedResponse) as caught:
                decoder.finish()
            assert caught.value.error_class is ErrorClass.TRUNCATED
        for at in range(len(end) + 1):
            decoder = CODEC.stream_decoder(200, SSE)
            decoder.feed(data + end[:at])
            assert decoder.complete is (at == len(end))
            if at > end.rindex(b"}"):  # what is missing is blank
                decoder.finish()
                assert of_ours(decoder.answer()) == of_sdk(RESPONSES[name])
            else:
                with pytest.raises(MalformedResponse):
                    decoder.finish()

    def test_no_other_end_counts(self):
        *before, _ = events_of(RESPONSES["text"])
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(*before) + b"data: [DONE]\n\n")
        with pytest.raises(MalformedResponse, match="before the response was complete"):
            decoder.finish()

    def test_names_of_events_may_be_missing_and_what_follows_the_end_says_nothing(self):
        data = stream(*events_of(RESPONSES["tools"]), named=False)
        _, answer = read(data + b"data: [DONE]\n\ndata: {\n\n")
        assert answer == decode(RESPONSES["tools"])

    @pytest.mark.parametrize("name", RESPONSES)
    @pytest.mark.parametrize(
        "left_out",
        [
            lambda kind: kind.endswith(".delta"),
            lambda kind: kind.endswith(".delta") or (kind.endswith(".done") and "item" not in kind),
            lambda kind: kind.endswith(".done") and "item" not in kind,
            lambda kind: kind.startswith(("response.function", "response.custom", "response.content_part")),
            lambda kind: kind not in ("response.completed", "response.incomplete"),
            lambda kind: kind in ("response.created", "response.in_progress"),
        ],
        ids=["no fragments", "whole items", "only fragments", "no arguments", "only the end", "no start"],
    )
    def test_servers_that_leave_events_out_are_understood(self, name, left_out):
        events = [event for event in events_of(RESPONSES[name]) if not left_out(event["type"])]
        chunks, answer = read(stream(*events))
        assert answer == decode(RESPONSES[name])
        assert "".join(chunk.text for chunk in chunks) == answer.text
        assert "".join(chunk.reasoning for chunk in chunks) == answer.reasoning

    def test_text_whose_item_did_not_begin_is_text(self):
        events = [event for event in events_of(RESPONSES["reasoning"]) if event["type"] != "response.output_item.added"]
        assert read(stream(*events))[1] == decode(RESPONSES["reasoning"])

    def test_an_end_without_any_items_is_believed_for_those_that_came(self):
        *before, last = events_of(RESPONSES["reasoning and tools"])
        bare = {**last, "response": {**last["response"], "output": []}}
        assert read(stream(*before, bare))[1] == decode(RESPONSES["reasoning and tools"])

    def test_what_was_handed_out_is_not_taken_back_by_another_end(self):
        *before, last = events_of(RESPONSES["text"])
        other = {**last, "response": response(message(text("Something else, and longer than that.")))}
        chunks, answer = read(stream(*before, other))
        assert "".join(chunk.text for chunk in chunks) == answer.text == "Grüße aus Köln 🌍."

    def test_a_second_response_in_the_middle_is_an_error(self):
        half = list(events_of(RESPONSES["text"]))[:6]
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(*half))
        again = started()
        again["response"] = {**again["response"], "id": "resp_2"}
        with pytest.raises(MalformedResponse, match="second response in the middle"):
            decoder.feed(stream(again))
        assert decoder.answer().text.startswith("Gr")

    def test_a_start_that_comes_twice_is_harmless(self):
        whole = list(events_of(RESPONSES["text"]))
        assert read(stream(whole[0], *whole))[1] == decode(RESPONSES["text"])

    def test_unknown_events_and_items_are_passed_over(self):
        whole = list(events_of(RESPONSES["text"]))
        odd = [
            {"type": "response.future.delta", "delta": 7},
            {"type": "keepalive"},
            {"type": "response.output_text.annotation.added", "annotation": {}},
        ]
        assert read(stream(*whole[:4], *odd, *whole[4:]))[1] == decode(RESPONSES["text"])
        assert read(stream(*events_of(response({"id": "x", "type": "future_call"}, message(text("x"))))))[1].text == "x"

    def test_comments_are_signs_of_life(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(b": hello\n\n: again\n\n" + stream(started()))
        assert decoder.comments == 2

    @pytest.mark.parametrize("name", RESPONSES)
    def test_a_whole_response_in_place_of_a_stream_is_read(self, name):
        chunks, answer = read(json.dumps(RESPONSES[name]).encode(), 50)
        assert answer == decode(RESPONSES[name])
        assert "".join(chunk.text for chunk in chunks) == answer.text

    @pytest.mark.parametrize(
        "bad",
        [
            [{"type": "response.created", "response": 7}],
            [{"type": "response.completed"}],
            [{"type": "response.completed", "response": "x"}],
            [added("0", message())],
            [added(0, "text")],
            [added(0, function("call_1", "", ""))],
            [added(0, message()), added(0, reasoning())],
            [added(0, message()), {"type": "response.output_text.delta", "output_index": 0, "delta": 7}],
            [added(0, message()), {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"}],
            [{"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"}],
            [added(0, SQL), {"type": "response.output_text.delta", "output_index": 0, "delta": "x"}],
            [{"type": "response.output_text.delta", "output_index": 0, "content_index": "x", "delta": "x"}],
            [ended(response(usage=None))],
            [ended(response("x"))],
        ],
    )
    def test_events_of_another_shape_are_malformed(self, bad):
        decoder = CODEC.stream_decoder(200, SSE)
        with pytest.raises(MalformedResponse):
            decoder.feed(stream(started(), *bad))
            decoder.feed(b"")
        decoder.answer()
        assert not decoder.complete

    def test_a_body_over_the_limit_is_malformed(self):
        decoder = ResponsesCodec(max_event_bytes=200).stream_decoder(200, SSE)
        with pytest.raises(ProviderError, match="larger than 200"):
            decoder.feed(b"data: " + b"x" * 300)

    def test_repr_tells_how_far_it_is(self):
        assert "gpt open" in repr(CODEC.stream_decoder(200, SSE))
        assert "gpt" in repr(CODEC)


def test_an_item_that_comes_with_the_end_alone_is_not_lost():
    spoken = message(text("Look:"))
    whole = response(spoken, WEATHER, CLOCK)
    decoder = CODEC.stream_decoder(200, SSE)
    chunks = decoder.feed(stream(started(), *grown(1, spoken), ended(whole)))
    decoder.finish()
    calls = [call for chunk in chunks for call in chunk.tool_calls if call.name]
    assert [(call.index, call.id, call.name) for call in calls] == [
        (0, "call_1", "get_weather"), (1, "call_2", "get_time"),
    ]  # fmt: skip
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]
    assert decoder.answer().tool_calls == decode(whole).tool_calls
    assert decoder.answer().text == "Look:"


WORDS = st.text(max_size=12)
ITEMS = st.one_of(
    st.builds(lambda parts: message(*map(text, parts)), st.lists(WORDS, max_size=2)),
    st.builds(lambda parts: reasoning(*parts), st.lists(WORDS, max_size=2)),
    st.builds(function, st.just("call_x"), st.just("f"), st.builds(json.dumps, st.dictionaries(WORDS, WORDS))),
    st.builds(custom, st.just("call_x"), st.just("g"), WORDS),
)
COUNTS = st.integers(0, 1000)


@st.composite
def responses(draw):
    output = []
    for number, item in enumerate(draw(st.lists(ITEMS, max_size=4))):
        ids = {name: f"{item[name]}_{number}" for name in ("id", "call_id") if name in item}
        output.append({**item, **ids})
    before = {"cached_tokens": draw(st.integers(0, 9)), "cache_write_tokens": draw(st.integers(0, 9))}
    usage = {
        "input_tokens": draw(st.integers(9, 1000)), "input_tokens_details": before,
        "output_tokens": draw(st.integers(9, 1000)), "total_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": draw(st.integers(0, 9))},
    }  # fmt: skip
    reason = draw(st.sampled_from([None, "max_output_tokens"]))
    return response(*output, status="incomplete" if reason else "completed", reason=reason, usage=usage)


@given(responses(), st.integers(1, 9), st.data())
def test_any_response_is_read_alike_whole_streamed_cut_and_by_the_sdk(whole, size, data):
    wire = stream(*events_of(whole, size))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    decoder = CODEC.stream_decoder(200, SSE)
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        decoder.feed(wire[begin:end])
    decoder.finish()
    assert decoder.answer() == decode(whole)
    assert of_ours(decoder.answer()) == of_sdk(whole)


KEYS = st.sampled_from(
    ["type", "content", "summary", "text", "refusal", "name", "call_id", "id", "arguments", "input", "status", "phase",
     "encrypted_content", "usage", "input_tokens", "output", "error", "incomplete_details"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "x", "message", "output_text"])
ODD = st.recursive(LEAVES, lambda its: st.lists(its, max_size=2) | st.dictionaries(KEYS, its, max_size=3))
ODD_ITEM = st.builds(
    lambda kind, parts, more: {"name": "f", "content": parts, "summary": parts, **more, "type": kind},
    st.sampled_from(["message", "reasoning", "function_call", "custom_tool_call", "web_search_call"]),
    LEAVES | st.lists(ODD, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(["content", "summary", "name", "arguments", "call_id", "phase"]), ODD, max_size=2),
)
ODD_EVENT = st.one_of(
    st.builds(lambda kind, index, item: {"type": f"response.output_item.{kind}", "output_index": index, "item": item},
              st.sampled_from(["added", "done"]), st.integers(0, 2), ODD_ITEM | ODD),
    st.builds(lambda kind, index, delta: {"type": f"response.{kind}.delta", "output_index": index, "delta": delta},
              st.sampled_from(["output_text", "refusal", "reasoning_text", "function_call_arguments"]),
              st.integers(0, 2), ODD),
    st.builds(lambda kind, state: {"type": f"response.{kind}", "response": state},
              st.sampled_from(["in_progress", "completed", "incomplete", "failed"]),
              ODD | st.builds(lambda items, more: {"output": items, **more}, st.lists(ODD_ITEM, max_size=2),
                              st.dictionaries(KEYS, ODD, max_size=2))),
)  # fmt: skip


@given(st.lists(ODD_EVENT, min_size=1, max_size=5))
def test_whatever_events_come_they_are_chunks_or_a_provider_error(events):
    decoder = CODEC.stream_decoder(200, SSE)
    try:
        for each in events:
            decoder.feed(stream(each))
        decoder.finish()
    except ProviderError:
        assert not decoder.complete
    decoder.answer()
    for each in events:
        try:
            assert decode(each.get("response")).finish_reason
        except ProviderError:
            continue


@pytest.mark.parametrize("field", ["content", "summary"])
@pytest.mark.parametrize("parts", [7, "text", {"a": 1}, ["text"], [[]]])
def test_what_came_before_an_item_whose_parts_are_none_is_still_read(field, parts):
    decoder = CODEC.stream_decoder(200, SSE)
    odd = {**(reasoning() if field == "summary" else message(id="msg_2")), field: parts}
    decoder.feed(stream(started(), *grown(0, message(text("Half"))), added(1, odd)))
    with pytest.raises(MalformedResponse):
        decoder.feed(b"")
    assert decoder.answer().text == "Half"
