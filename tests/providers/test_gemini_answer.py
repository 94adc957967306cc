"""What is read from whole responses and from streams of Gemini's: with the official SDK's types as the measure."""

import copy
import json

import pytest
from gemini_wire import (
    BLOCKED,
    CLOCK,
    CODEC,
    IN_PIECES,
    IN_PIECES_CALLS,
    JSON,
    RESPONSES,
    SIGNED,
    SSE,
    USAGE,
    WEATHER,
    array,
    candidate,
    event,
    events_of,
    growing,
    part_of,
    response,
    stream,
    text,
    thought,
    tool,
)
from google.genai.types import GenerateContentResponse
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import ProviderSettings
from resilio.errors import (
    ErrorClass,
    KeyRejected,
    MalformedResponse,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    RequestUnsuitable,
)
from resilio.models import Request, ToolCall, ToolCallDelta, Usage
from resilio.providers.gemini import GeminiCodec
from resilio.providers.gemini.arguments import PartialArguments
from resilio.providers.gemini.faults import FINISHES, STOPS
from resilio.testing import Sample, check_codec


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
    """What the SDK's own types read of the first candidate: text, thoughts, calls, reason to finish, usage."""
    read = GenerateContentResponse.model_validate(copy.deepcopy(whole))
    first = read.candidates[0]
    parts = (first.content and first.content.parts) or []
    words = "".join(part.text or "" for part in parts if not part.thought)
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    calls = [(part.function_call.name, part.function_call.args or {}) for part in parts if part.function_call]
    usage = read.usage_metadata
    counts = None
    if usage:
        output = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        counts = (usage.prompt_token_count, output, usage.cached_content_token_count or 0)
    return words, thoughts, calls, first.finish_reason.value, counts, read.model_version, read.response_id


def of_ours(answer):
    """The same of an answer; the raw response has the reason to finish in the SDK's words."""
    usage = answer.usage
    return (
        answer.text,
        answer.reasoning,
        [(call.name, json.loads(call.arguments)) for call in answer.tool_calls],
        answer.raw["candidates"][0]["finishReason"],
        (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) if usage else None,
        answer.model,
        answer.response_id,
    )


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_says_what_the_sdk_reads(name):
    assert of_ours(decode(RESPONSES[name])) == of_sdk(RESPONSES[name])


@pytest.mark.parametrize("step", [None, 1, 13])
@pytest.mark.parametrize("name", RESPONSES)
def test_a_stream_says_what_the_whole_response_says(name, step):
    whole = RESPONSES[name]
    chunks, answer = read(stream(*events_of(whole)), step)
    unary = decode(whole)
    if whole.get("usageMetadata"):
        assert of_ours(answer) == of_ours(unary) == of_sdk(whole)
        assert [chunk.usage for chunk in chunks if chunk.usage] == [answer.usage]
    assert (answer.finish_reason, answer.reasoning, answer.refusal, answer.tool_calls, answer.text) == (
        unary.finish_reason, unary.reasoning, unary.refusal, unary.tool_calls, unary.text,
    )  # fmt: skip
    first = [chunk for chunk in chunks if not chunk.index]
    assert "".join(chunk.text for chunk in first) == answer.text
    assert "".join(chunk.reasoning for chunk in first) == answer.reasoning
    assert "".join(chunk.refusal for chunk in first) == answer.refusal
    assert [chunk.finish_reason for chunk in first if chunk.finish_reason] == [answer.finish_reason]
    assert all(chunk.raw is not None for chunk in first)
    ids = [call.id for chunk in first for call in chunk.tool_calls if call.id]
    assert ids == [call.id for call in answer.tool_calls]


def test_the_codec_holds_the_protocol():
    requests = [Request("chat", [{"role": "user", "content": "Grüße"}], {"tools": []})]
    samples = []
    for name in ("text", "tools", "thinking", "length"):
        whole, words = RESPONSES[name], decode(RESPONSES[name]).text
        samples.append(Sample(f"{name}, whole", json.dumps(whole).encode(), words, headers=JSON))
        samples.append(Sample(f"{name}, streamed", stream(*events_of(whole)), words, stream=True, headers=SSE))
    check_codec(CODEC, samples, requests, every=7)


class TestUsage:
    def test_the_output_is_whole_and_its_parts_are_apart(self):
        assert decode(response(candidate(text("x")))).usage == Usage(100, 40, 50, reasoning_tokens=24)

    def test_what_its_own_tools_gave_back_is_input(self):
        usage = {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 2}
        assert decode(response(candidate(text("x")), usage=usage)).usage == Usage(15, 2)

    @pytest.mark.parametrize(
        ("told", "tier"),
        [
            ({"serviceTier": "FLEX"}, "flex"),
            ({"serviceTier": "standard"}, "standard"),
            ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
            ({"trafficType": "ON_DEMAND"}, None),
            ({"trafficType": "PROVISIONED_THROUGHPUT"}, None),
        ],
    )
    def test_the_tier_that_is_billed_is_told(self, told, tier):
        assert decode(response(candidate(text("x")), usage={**USAGE, **told})).usage.service_tier == tier

    def test_a_stream_takes_the_last_figures_even_those_after_the_end(self):
        late = {"promptTokenCount": 257, "candidatesTokenCount": 8}
        first = response(candidate(text("x"), finish=None), usage={"promptTokenCount": 55})
        chunks, answer = read(stream(first, response(candidate(), usage=None), response(usage=late)))
        assert answer.usage == chunks[-1].usage == Usage(257, 8)

    def test_a_broken_stream_knows_its_input_and_counts_its_output(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(event(response(candidate(text("x" * 400), finish=None), usage={"promptTokenCount": 55})))
        assert decoder.answer().usage == Usage(55, 101, estimated=True)

    def test_traffic_without_counts_is_no_usage(self):
        assert decode(response(candidate(text("x")), usage={"trafficType": "ON_DEMAND"})).usage is None


class TestFinishes:
    @pytest.mark.parametrize("reason", STOPS)
    def test_each_reason_to_stop(self, reason):
        assert decode(response(candidate(text("x"), finish=reason))).finish_reason == STOPS[reason]
        _, answer = read(stream(response(candidate(text("x"), finish=reason))))
        assert answer.finish_reason == STOPS[reason]

    @pytest.mark.parametrize("reason", FINISHES)
    def test_each_reason_that_means_failure(self, reason):
        error_class, kind = {
            "LANGUAGE": (ErrorClass.UNSUPPORTED, RequestUnsuitable),
            "MISSING_THOUGHT_SIGNATURE": (ErrorClass.UNSUPPORTED, RequestUnsuitable),
            "PUP_LIMITED_DISABLED": (ErrorClass.UNAUTHORISED, KeyRejected),
        }.get(reason, (ErrorClass.SERVER_ERROR, ProviderUnavailable))
        whole = response(candidate(text("x"), finish=reason, finishMessage="It went wrong."))
        with pytest.raises(kind, match=f"finishReason {reason}: It went wrong") as caught:
            decode(whole)
        assert (caught.value.error_class, caught.value.code) == (error_class, reason)
        decoder = CODEC.stream_decoder(200, SSE)
        assert "".join(chunk.text for chunk in decoder.feed(event(whole))) == "x", "what came before is handed out"
        with pytest.raises(kind):
            decoder.finish()
        assert not decoder.complete

    def test_calls_finish_as_calls_though_it_says_stop(self):
        assert decode(RESPONSES["tools"]).finish_reason == "tool_calls"
        assert decode(response(candidate(WEATHER, finish="MAX_TOKENS"))).finish_reason == "length"

    def test_a_reason_nobody_knows_is_handed_through(self):
        assert decode(response(candidate(text("x"), finish="BORED"))).finish_reason == "BORED"

    @pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT"])
    def test_an_answer_of_which_nothing_is_left_is_a_refusal(self, reason):
        for whole in (response(candidate(finish=reason)), response({"content": {}, "finishReason": reason})):
            with pytest.raises(ProviderRefused, match=f"blocked the answer: {reason}") as caught:
                decode(whole)
            assert caught.value.code == reason
            with pytest.raises(ProviderRefused):
                read(event(whole))

    def test_one_that_says_why_is_an_answer(self):
        answer = decode(RESPONSES["explained block"])
        assert (answer.finish_reason, answer.refusal, answer.text) == ("content_filter", "Not this.", "")


class TestBlockedPrompt:
    def test_is_a_refusal(self):
        for attempt in (lambda: decode(BLOCKED), lambda: read(event(BLOCKED)), lambda: read(array(BLOCKED))):
            with pytest.raises(ProviderRefused, match="blocked the prompt: PROHIBITED_CONTENT"):
                attempt()

    def test_that_says_why_is_an_answer(self):
        feedback = {"blockReason": "SAFETY", "blockReasonMessage": "Not that."}
        whole = {**BLOCKED, "promptFeedback": feedback}
        for answer in (decode(whole), read(event(whole))[1]):
            assert (answer.refusal, answer.finish_reason, answer.usage.input_tokens) == (
                "Not that.",
                "content_filter",
                12,
            )

    def test_feedback_that_blocks_nothing_changes_nothing(self):
        assert decode(response(candidate(text("x")), promptFeedback={"safetyRatings": []})).text == "x"


class TestCalls:
    def test_get_ids_that_are_the_same_each_time_and_differ_between_responses(self):
        first, again = decode(RESPONSES["tools"]), decode(RESPONSES["tools"])
        ids = [call.id for call in first.tool_calls]
        assert ids == ["call_QHiLaa6L-r_8_0", "call_QHiLaa6L-r_8_1"] == [call.id for call in again.tool_calls]
        assert [call.id for call in decode(RESPONSES["tools with ids"]).tool_calls] == ["a1", "a2"]
        assert decode({"candidates": [candidate(CLOCK)]}).tool_calls[0].id == "call_0"

    def test_bear_their_signature_in_googles_own_convention(self):
        for answer in (decode(RESPONSES["tools"]), read(stream(*events_of(RESPONSES["tools"])))[1]):
            first, second = answer.tool_calls
            assert first.as_sent()["extra_content"] == {"google": {"thought_signature": SIGNED}}
            assert second.extra is None
            assert answer.extras is None, "the message says it all"

    def test_in_pieces_are_put_together(self):
        for step in (None, 1, 17):
            chunks, answer = read(stream(*IN_PIECES), step)
            assert [(call.name, json.loads(call.arguments)) for call in answer.tool_calls] == IN_PIECES_CALLS
            deltas = [delta for chunk in chunks for delta in chunk.tool_calls]
            for number, call in enumerate(answer.tool_calls):
                mine = [delta for delta in deltas if delta.index == number]
                assert mine[0] == ToolCallDelta(number, call.id, call.name)
                assert "".join(delta.arguments for delta in mine) == call.arguments
            parts = answer.raw["candidates"][0]["content"]["parts"]
            assert parts[1] == {"functionCall": {"name": "read_screen", "args": IN_PIECES_CALLS[1][1]}}

    def test_that_are_open_at_the_end_are_closed_by_it(self):
        bodies = [growing(name="f"), growing(part_of("$.a", stringValue="x", will_continue=True))]
        _, answer = read(stream(*bodies, response(candidate(finish="MAX_TOKENS"))))
        assert answer.tool_calls == (ToolCall("call_QHiLaa6L-r_8_0", "f", '{"a":"x"}'),)
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(*bodies))
        assert decoder.answer().tool_calls[0].arguments == '{"a":"x"}'

    def test_another_call_closes_the_one_before(self):
        bodies = [growing(name="f"), response(candidate(CLOCK, finish=None)), response(candidate())]
        assert [call.arguments for call in read(stream(*bodies))[1].tool_calls] == ["{}", "{}"]

    def test_a_signature_that_comes_later_is_kept(self):
        late = {"functionCall": {}, "thoughtSignature": SIGNED}
        bodies = [growing(name="f"), response(candidate(late, finish=None)), response(candidate())]
        assert read(stream(*bodies))[1].tool_calls[0].extra == {
            "extra_content": {"google": {"thought_signature": SIGNED}}
        }


class TestPartialArguments:
    def test_names_numbers_and_quotes_make_a_path(self):
        made = PartialArguments({"kept": 1})
        for path, value in [
            ("$.a.b", {"stringValue": "x"}),
            ("$.list[0].name", {"stringValue": "y"}),
            ("$.list[1]", {"nullValue": None}),
            ("$['odd name']", {"numberValue": 1.5}),
            ('$["it\\"s"]', {"boolValue": False}),
        ]:
            made.add(part_of(path, **value))
        made.add(part_of("$.a.b", stringValue="z"))
        assert made.value() == {
            "kept": 1, "a": {"b": "xz"}, "list": [{"name": "y"}, None], "odd name": 1.5, 'it"s': False,
        }  # fmt: skip

    @pytest.mark.parametrize(
        "path", ["", "a", "$", "$.", "$[", "$[5]", "$.list[7]", "$.a.b.c", "$.a[0]", 7, None, "$" + ".a" * 500]
    )
    def test_a_path_that_leads_nowhere_is_an_error(self, path):
        made = PartialArguments({"list": []})
        made.add(part_of("$.a.b", stringValue="x"))
        with pytest.raises(TypeError):
            made.add(part_of(path, stringValue="y"))

    @pytest.mark.parametrize("kind", ["numberValue", "boolValue"])
    def test_what_came_before_a_single_value_that_is_none_is_still_read(self, kind):
        deep = []
        for _ in range(300):
            deep = [deep]
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(response(candidate(text("Half"), finish=None)), growing(name="f")))
        with pytest.raises(MalformedResponse):
            decoder.feed(b"data: " + json.dumps(growing(part_of("$.a", **{kind: deep}))).encode() + b"\n\n")
        assert decoder.answer().text == "Half"

    @given(st.text(alphabet="$.[]'\"\\ab01", max_size=12), st.none() | st.text(max_size=3) | st.integers())
    def test_nonsense_is_a_type_error_or_a_value(self, path, value):
        made = PartialArguments()
        try:
            made.add(part_of(f"${path}", stringValue=value))
        except TypeError:
            return
        json.dumps(made.value())


class TestWhatGoesBack:
    def test_signed_text_and_parts_of_its_own_go_back_as_they_came(self):
        for name in ("signed text", "signature on its own", "code"):
            parts = RESPONSES[name]["candidates"][0]["content"]["parts"]
            assert decode(RESPONSES[name]).extras == {"gemini_content": parts}
            assert read(stream(*events_of(RESPONSES[name])))[1].extras == {"gemini_content": parts}

    def test_plain_text_thoughts_and_calls_need_nothing_more(self):
        for name in ("text", "thinking", "tools", "thinking and tools"):
            assert decode(RESPONSES[name]).extras is None

    def test_pieces_of_text_are_joined_but_not_with_what_is_signed(self):
        bodies = [response(candidate(each, finish=None)) for each in
                  (thought("a"), thought("b"), text("c"), text("d"), text("e", SIGNED), text("f"))]  # fmt: skip
        _, answer = read(stream(*bodies, response(candidate())))
        assert answer.extras == {"gemini_content": [thought("ab"), text("cd"), text("e", SIGNED), text("f")]}


class TestMalformed:
    @pytest.mark.parametrize(
        "whole",
        [
            [],
            "x",
            {},
            {"candidates": []},
            {"candidates": "x"},
            {"candidates": [7]},
            response(candidate(text("x"), finish=None)),
            response(candidate(text("x"), finish="FINISH_REASON_UNSPECIFIED")),
            response({"content": "text", "finishReason": "STOP"}),
            response({"content": {"parts": [7]}, "finishReason": "STOP"}),
            response(candidate({"functionCall": {"args": {}}})),
            response(candidate({"functionCall": 7})),
        ],
    )
    def test_what_is_no_response_is_malformed(self, whole):
        with pytest.raises(MalformedResponse) as caught:
            decode(whole)
        assert caught.value.error_class is ErrorClass.MALFORMED

    def test_html_is_malformed(self):
        with pytest.raises(MalformedResponse, match="not JSON"):
            CODEC.decode(200, {"content-type": "text/html"}, b"<html>")

    def test_an_error_inside_a_200_is_that_error(self):
        error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
        for whole in (error, [error]):
            with pytest.raises(ProviderUnavailable, match="overloaded"):
                decode(whole)

    @pytest.mark.parametrize(
        "bad",
        [
            {"candidates": 7},
            {"candidates": [7]},
            response({"content": {"parts": "text"}}),
            response(candidate({"text": 7}, finish=None)),
            response(candidate(text("x"), finish=None, index="0")),
            growing(),
            growing(part_of("$.a", stringValue="x"), name=""),
            growing(part_of("nowhere", stringValue="x"), name="f"),
            growing(part_of("$.a", stringValue=7), name="f"),
            growing(name="f", args="text"),
        ],
    )
    def test_events_of_another_shape_are_malformed(self, bad):
        decoder = CODEC.stream_decoder(200, SSE)
        with pytest.raises(MalformedResponse):
            decoder.feed(event(bad))
            decoder.feed(b"")
        decoder.answer()


class TestStream:
    @pytest.mark.parametrize("name", RESPONSES)
    def test_it_is_whole_when_its_reason_to_finish_has_come_and_not_a_byte_before(self, name):
        *before, last = events_of(RESPONSES[name])
        data, end = stream(*before), event(last)
        for at in range(0, len(data), 5):
            decoder = CODEC.stream_decoder(200, SSE)
            decoder.feed(data[:at])
            assert not decoder.complete, data[:at][-60:]
            with pytest.raises(MalformedResponse) as caught:
                decoder.finish()
            assert caught.value.error_class is ErrorClass.TRUNCATED
        for at in range(len(end) + 1):
            decoder = CODEC.stream_decoder(200, SSE)
            decoder.feed(data + end[:at])
            assert decoder.complete is (at >= len(end) - 1), "the CR of a blank line ends it, its LF is not waited for"
            if at > end.rindex(b"}"):  # what is missing is blank
                decoder.finish()
            else:
                with pytest.raises(MalformedResponse):
                    decoder.finish()

    def test_it_is_not_whole_while_another_candidate_goes_on(self):
        decoder = CODEC.stream_decoder(200, SSE)
        both = (candidate(text("a"), finish=None), candidate(text("b"), finish=None, index=1))
        decoder.feed(stream(response(*both), response(candidate())))
        assert not decoder.complete
        (chunk,) = decoder.feed(event(response(candidate(finish="MAX_TOKENS", index=1))))
        assert decoder.complete
        assert (chunk.index, chunk.finish_reason, chunk.usage is not None) == (1, "length", True)
        assert [its["content"]["parts"] for its in decoder.answer().raw["candidates"]] == [[text("a")], [text("b")]]

    def test_an_error_event_comes_after_what_came_before_it(self):
        error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
        decoder = CODEC.stream_decoder(200, SSE)
        chunks = decoder.feed(stream(response(candidate(text("Hi"), finish=None)), error))
        assert "".join(chunk.text for chunk in chunks) == "Hi"
        with pytest.raises(ProviderUnavailable) as caught:
            decoder.feed(b"")
        assert (caught.value.error_class, caught.value.code) == (ErrorClass.OVERLOADED, "UNAVAILABLE")
        assert not decoder.complete

    @pytest.mark.parametrize("name", RESPONSES)
    def test_a_whole_response_or_an_array_in_place_of_events_is_read(self, name):
        whole = RESPONSES[name]
        for data in (json.dumps(whole).encode(), array(*events_of(whole)), b"\r\n" + array(whole)):
            chunks, answer = read(data, 11)
            assert (answer.text, answer.tool_calls) == (decode(whole).text, decode(whole).tool_calls)
            assert "".join(chunk.text for chunk in chunks if not chunk.index) == answer.text

    def test_an_array_may_end_in_an_error_or_hold_nonsense(self):
        error = {"error": {"code": 500, "message": "x", "status": "INTERNAL"}}
        for data, kind in ((array(response(candidate(finish=None)), error), ProviderUnavailable),
                           (array(response(candidate()), 7), MalformedResponse),
                           (array(error), ProviderUnavailable),
                           (array(response(candidate(text("x"), finish=None))), MalformedResponse),
                           (array(*events_of(RESPONSES["text"]))[:-9], MalformedResponse)):  # fmt: skip
            with pytest.raises(kind):
                read(data)

    def test_unknown_fields_parts_and_candidates_fields_are_passed_over(self):
        odd = response(candidate({"hologram": 1}, finish=None, newField=1), future=True)
        _, answer = read(stream(odd, *events_of(RESPONSES["text"])))
        assert answer.text == "Grüße aus Köln 🌍."
        assert answer.raw["candidates"][0]["newField"] == 1

    def test_a_body_over_the_limit_is_malformed(self):
        settings = ProviderSettings(name="g", kind="gemini", base_url="https://x.test", max_body_bytes=200)
        decoder = CODEC.for_provider(settings).stream_decoder(200, SSE)
        with pytest.raises(ProviderError, match="larger than 200"):
            decoder.feed(b"data: " + b"x" * 300)

    def test_repr_tells_how_far_it_is(self):
        assert "gemini open" in repr(CODEC.stream_decoder(200, SSE))
        assert repr(CODEC) == "GeminiCodec(name='gemini')"
        assert "vertex" in repr(GeminiCodec(vertex=True))


WORDS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS, lambda its: st.lists(its, max_size=2), max_leaves=3
)
PARTS = st.one_of(
    st.builds(text, WORDS),
    st.builds(text, WORDS, st.just(SIGNED)),
    st.builds(thought, WORDS),
    st.builds(tool, st.just("f"), st.dictionaries(WORDS, VALUES, max_size=3), st.none() | st.just(SIGNED)),
)
COUNTS = st.integers(0, 1000)
USAGES = st.fixed_dictionaries(
    {"promptTokenCount": st.integers(1, 1000), "candidatesTokenCount": COUNTS},
    optional={"thoughtsTokenCount": COUNTS},
)
WHOLES = st.builds(
    lambda parts, finish, usage: response(candidate(*parts, finish=finish), usage=usage),
    st.lists(PARTS, max_size=5),
    st.sampled_from(["STOP", "MAX_TOKENS"]),
    USAGES,
)


@given(WHOLES, st.integers(1, 9), st.data())
def test_any_response_streamed_and_cut_anywhere_says_what_the_sdk_reads(whole, size, data):
    wire = stream(*events_of(whole, size))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    decoder = CODEC.stream_decoder(200, SSE)
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        decoder.feed(wire[begin:end])
    decoder.finish()
    assert of_ours(decoder.answer()) == of_ours(decode(whole)) == of_sdk(whole)
    assert decoder.answer().tool_calls == decode(whole).tool_calls


KEYS = st.sampled_from(
    ["candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "partialArgs", "jsonPath",
     "stringValue", "willContinue", "finishReason", "finishMessage", "index", "promptFeedback", "blockReason",
     "usageMetadata", "promptTokenCount", "thoughtSignature", "responseId"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "STOP", "SAFETY", "OTHER", "$.a", "$.a[0]"])
)
ODD = st.recursive(LEAVES, lambda its: st.lists(its, max_size=2) | st.dictionaries(KEYS, its, max_size=4))
NEARLY = st.builds(
    lambda parts, more, top: {
        "candidates": [{"content": {"role": "model", "parts": parts}, **more}], "responseId": "r", **top,
    },
    st.lists(st.dictionaries(KEYS, ODD, max_size=3), max_size=3),
    st.dictionaries(KEYS, ODD, max_size=2),
    st.dictionaries(KEYS, ODD, max_size=1),
)  # fmt: skip


@given(st.lists(ODD | NEARLY, max_size=4))
def test_whatever_json_comes_it_is_chunks_or_a_provider_error(bodies):
    decoder = CODEC.stream_decoder(200, SSE)
    try:
        for each in bodies:
            decoder.feed(event(each))
        decoder.finish()
    except ProviderError:
        assert not decoder.complete
    decoder.answer()
    for each in bodies:
        try:
            assert decode(each).finish_reason
        except ProviderError:
            continue
