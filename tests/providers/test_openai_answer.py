"""Whole answers: what is read agrees with the official client, and what is no answer is never taken for one."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai_wire import CODEC, JSON, USAGE, completion

from resilio.errors import (
    ErrorClass,
    MalformedResponse,
    ProviderError,
    ProviderRefused,
    ProviderThrottled,
    ProviderUnavailable,
)
from resilio.models import ToolCall, Usage

FUNCTION_CALL = {
    "id": "call_a",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city":"Köln"}'},
}
CUSTOM_CALL = {"id": "call_b", "type": "custom", "custom": {"name": "run_sql", "input": "SELECT 1"}}


def decode(body, headers=JSON):
    return CODEC.decode(200, headers, body if isinstance(body, bytes) else orjson.dumps(body))


class TestTheOfficialClientReadsTheSame:
    @pytest.mark.parametrize(
        "body",
        [
            completion(),
            completion({"content": None, "tool_calls": [FUNCTION_CALL, CUSTOM_CALL]}, finish="tool_calls"),
            completion({"content": None, "refusal": "I cannot help with that."}),
            completion({"content": "cut off in the mid"}, finish="length"),
            completion({"content": "partly"}, finish="content_filter", usage=None),
            completion({"content": ""}),
        ],
        ids=["text", "tools", "refusal", "length", "filtered", "empty"],
    )
    def test_in_every_field(self, body):
        theirs = ChatCompletion.model_validate(body, strict=True)
        ours = decode(body)
        choice = theirs.choices[0]
        assert ours.text == (choice.message.content or "")
        assert ours.refusal == (choice.message.refusal or "")
        assert ours.finish_reason == choice.finish_reason
        assert (ours.model, ours.response_id) == (theirs.model, theirs.id)
        calls = [
            (call.id, call.function.name, call.function.arguments)
            if call.type == "function"
            else (call.id, call.custom.name, call.custom.input)
            for call in choice.message.tool_calls or ()
        ]
        assert [(call.id, call.name, call.arguments) for call in ours.tool_calls] == calls
        if theirs.usage is None:
            assert ours.usage is None
        else:
            assert ours.usage.input_tokens == theirs.usage.prompt_tokens
            assert ours.usage.output_tokens == theirs.usage.completion_tokens
            assert ours.usage.cache_read_tokens == theirs.usage.prompt_tokens_details.cached_tokens
            assert ours.usage.reasoning_tokens == theirs.usage.completion_tokens_details.reasoning_tokens
        assert ours.raw == body


class TestUsage:
    def test_all_parts_are_read(self):
        assert decode(completion()).usage == Usage(100, 40, 64, 16, 0, 24, service_tier="default")

    @pytest.mark.parametrize(
        ("raw", "usage"),
        [
            ({"prompt_tokens": 9, "completion_tokens": 3}, Usage(9, 3)),
            (
                {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": None},
                Usage(9, 3),
            ),
            ({"prompt_tokens": 9, "completion_tokens": 3, "prompt_cache_hit_tokens": 8}, Usage(9, 3, 8)),
            ({"prompt_tokens": 9, "completion_tokens": 3, "num_cached_tokens": 8}, Usage(9, 3, 8)),
            # Reasoning left out of completion_tokens: the total tells.
            (
                {
                    "prompt_tokens": 9,
                    "completion_tokens": 3,
                    "total_tokens": 112,
                    "completion_tokens_details": {"reasoning_tokens": 100},
                },
                Usage(9, 103, reasoning_tokens=100),
            ),
            ({}, None),
            ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, None),
            ({"prompt_tokens": "many"}, None),
            ("none", None),
        ],
    )
    def test_other_conventions_become_ours(self, raw, usage):
        expected = None if usage is None else replace(usage, service_tier="default")
        assert decode(completion(usage=raw)).usage == expected


class TestOtherDialectsOfTheDialect:
    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_reasoning_has_two_names(self, name):
        answer = decode(completion({name: "Two and two.", "content": "4"}))
        assert (answer.text, answer.reasoning) == ("4", "Two and two.")

    def test_mistral_sends_parts(self):
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Two and"}, {"type": "text", "text": " two."}]},
            {"type": "text", "text": "4"},
            {"type": "reference", "reference_ids": [1]},
        ]
        answer = decode(completion({"content": parts}))
        assert (answer.text, answer.reasoning) == ("4", "Two and two.")

    def test_parts_of_unknown_kinds_are_left_out(self):
        parts = ["text", {"type": "thinking", "thinking": "Hm."}, {"type": "thinking", "thinking": 7}, {"text": 7}]
        answer = decode(completion({"content": parts, "reasoning": ["not", "text"]}))
        assert (answer.text, answer.reasoning) == ("", "Hm.")

    def test_a_call_without_arguments_has_empty_ones(self):
        assert decode(completion({"tool_calls": [{"function": {"name": "f"}}]})).tool_calls == (ToolCall("", "f", ""),)

    def test_of_a_spoken_answer_the_transcript_is_the_text(self):
        audio = {"id": "audio_1", "data": "AAAA", "transcript": "Hello", "expires_at": 1}
        assert decode(completion({"content": None, "audio": audio})).text == "Hello"

    def test_the_old_function_call_is_a_tool_call_without_an_id(self):
        body = completion({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, finish="function_call")
        assert decode(body).tool_calls == (ToolCall("", "f", "{}"),)

    def test_googles_signature_of_a_call_goes_back_with_it(self):
        extra = {"google": {"thought_signature": "c2ln"}}
        call = {"id": "a", "type": "function", "extra_content": extra, "function": {"name": "f", "arguments": "{}"}}
        body = completion({"role": "assistant", "content": None, "tool_calls": [call]}, finish="tool_calls")
        decoder = CODEC.stream_decoder(200, {})
        decoder.feed(orjson.dumps(body))
        decoder.finish()
        for answer in (CODEC.decode(200, {}, orjson.dumps(body)), decoder.answer()):
            assert answer.tool_calls[0].as_sent() == call
            assert answer.raw["choices"][0]["message"]["tool_calls"] == [call]
        odd = completion({"role": "assistant", "content": None, "tool_calls": [{**call, "extra_content": 7}]})
        assert CODEC.decode(200, {}, orjson.dumps(odd)).tool_calls[0].extra is None

    def test_arguments_sent_as_an_object_become_text(self):
        call = {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
        assert decode(completion({"tool_calls": [call]})).tool_calls == (ToolCall("c", "f", '{"a":1}'),)

    @pytest.mark.parametrize(("theirs", "ours"), [("model_length", "length"), ("sensitive", "content_filter")])
    def test_finish_reasons_are_spelled_as_openai_does(self, theirs, ours):
        assert decode(completion(finish=theirs)).finish_reason == ours

    def test_the_first_choice_is_the_one_with_index_0(self):
        body = completion({"content": "second"})
        body["choices"][0]["index"] = 1
        body["choices"].append(completion({"content": "first"})["choices"][0])
        assert decode(body).text == "first"

    def test_unknown_fields_stay_in_raw(self):
        assert decode(completion(timings={"predicted_ms": 3.5})).raw["timings"] == {"predicted_ms": 3.5}


class TestAMissingFinishReason:
    def test_is_made_up_for_by_reported_output(self):
        assert decode(completion(finish=None)).finish_reason == "stop"
        assert decode(completion({"tool_calls": [FUNCTION_CALL]}, finish=None)).finish_reason == "tool_calls"

    @pytest.mark.parametrize("usage", [None, {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}])
    @pytest.mark.parametrize("content", ["Half an ans", None])
    def test_is_suspect_otherwise(self, usage, content):
        with pytest.raises(MalformedResponse, match="may be cut"):
            decode(completion({"content": content}, finish=None, usage=usage))


class TestTheContentFilter:
    def test_that_left_nothing_is_a_refusal(self):
        with pytest.raises(ProviderRefused) as caught:
            decode(completion({"content": None}, finish="content_filter"))
        assert caught.value.error_class is ErrorClass.REFUSED
        assert caught.value.code == "content_filter"

    def test_that_left_text_is_an_answer_that_says_so(self):
        answer = decode(completion({"content": "As far as"}, finish="content_filter"))
        assert (answer.text, answer.finish_reason) == ("As far as", "content_filter")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON (0 bytes, application/json): nothing"),
        (b"<html><head><title>Bad gateway</title></head></html>", "Bad gateway"),
        (orjson.dumps(completion())[:-20], "not JSON"),
        (b'"ok"', "not an object"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b"{}", "without any choice"),
        (b'{"choices": null}', "without any choice"),
        (b'{"choices": []}', "without any choice"),
        (b'{"choices": ["x"]}', "no message"),
        (b'{"choices": [{"index": 0, "finish_reason": "stop"}]}', "no message"),
        (b'{"choices": [{"message": {}, "finish_reason": ["stop"]}]}', "another shape"),
        (orjson.dumps(completion({"tool_calls": [{"id": "c"}]})), "names no tool"),
        (orjson.dumps(completion({"tool_calls": [{"function": {"name": ""}}]})), "names no tool"),
    ],
)
def test_what_is_no_answer_is_malformed_and_says_how(body, says):
    with pytest.raises(MalformedResponse) as caught:
        decode(body)
    assert says in str(caught.value)
    assert caught.value.error_class is ErrorClass.MALFORMED
    assert caught.value.status == 200


class TestAnErrorInsideA200:
    def test_is_classified_by_its_code(self):
        with pytest.raises(ProviderThrottled) as caught:
            decode({"error": {"message": "Rate limited upstream", "code": 429}})
        assert caught.value.error_class is ErrorClass.THROTTLED

    def test_without_a_clue_is_the_servers(self):
        with pytest.raises(ProviderUnavailable, match="went wrong"):
            decode({"error": "something went wrong", "choices": []})

    def test_is_found_in_mistrals_shape_and_in_googles_array(self):
        with pytest.raises(ProviderThrottled):
            decode({"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"})
        with pytest.raises(ProviderUnavailable):
            decode([{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}])

    def test_is_found_in_the_choice(self):
        body = completion({"content": "Half"}, finish="error")
        body["choices"][0]["error"] = {"code": 502, "message": "Upstream idle timeout exceeded"}
        with pytest.raises(ProviderUnavailable, match="Upstream idle timeout"):
            decode(body)

    @pytest.mark.parametrize("empty", [None, {}, ""])
    def test_an_empty_error_is_none(self, empty):
        assert decode(completion(error=empty)).text == "Grüße aus Köln."


FIELDS = {*completion(), *completion()["choices"][0], *completion()["choices"][0]["message"], *USAGE, *FUNCTION_CALL}
FIELDS |= {"error", "code", "tool_calls", "function_call", "name", "arguments", "thinking", "text", "type", "audio"}
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "stop", "x", "content_filter", "error"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted(FIELDS)), inner, max_size=4),
    max_leaves=12,
)


@given(SHAPES, SHAPES)
def test_whatever_json_comes_it_is_an_answer_or_a_provider_error(body, choice):
    for sent in (body, {"choices": [choice]}, {"choices": [{"message": choice, "finish_reason": "stop"}]}):
        try:
            answer = decode(orjson.dumps(sent))
        except ProviderError:
            continue
        assert isinstance(answer.text, str)
        assert isinstance(answer.finish_reason, str)
        assert answer.finish_reason
