"""Further choices and log probabilities that came in another dialect reach OpenAI's callers, whole and streamed."""

import json
import math

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from spoken import encoder, reply

from resilio.models import Usage
from resilio.providers import REGISTRY
from resilio.providers.sse import SSEParser
from resilio.wire import DIALECTS


def candidate(index, *parts, finish="STOP", **more):
    return {"index": index, "content": {"role": "model", "parts": list(parts)}, "finishReason": finish, **more}


def scored(*words):
    chosen = [{"token": word, "tokenId": 7, "logProbability": -0.5} for word in words]
    tops = [{"candidates": [token, {"token": "no", "logProbability": -1.5}]} for token in chosen]
    return {"logprobsResult": {"chosenCandidates": chosen, "topCandidates": tops}}


CALL = {"functionCall": {"name": "f", "args": {"x": 1}}}
GEMINI = {
    "candidates": [
        candidate(0, {"text": "Hm.", "thought": True}, {"text": "Hi"}, **scored("Hi")),
        candidate(1, {"text": "Ho", "thought": False}, CALL, finish="STOP", **scored("Ho")),
        candidate(2, {"text": "He"}, finish="MAX_TOKENS"),
    ],
    "responseId": "r",
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9},
}
TOKEN = {"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": []}
RESPONSES = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "m",
    "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": [TOKEN]}]}],
    "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4},
}  # fmt: skip


def completion(kind, whole):
    answer = REGISTRY[kind].decode(200, {}, orjson.dumps(whole))
    said = reply(answer.text, answer.finish_reason, usage=answer.usage or Usage(), raw=answer.raw,
                 tool_calls=answer.tool_calls, reasoning=answer.reasoning)  # fmt: skip
    made = json.loads(DIALECTS["openai"].reply(said, model="chat", created=1_795_430_000)[2])
    return ChatCompletion.model_validate(made)


def chunks(kind, data):
    decoder = REGISTRY[kind].stream_decoder(200, {"content-type": "text/event-stream"})
    read = [*decoder.feed(data), *decoder.finish()]
    answer = decoder.answer()
    writing = encoder("openai")
    written = b"".join([*map(writing.chunk, read), writing.end(reply(answer.text, answer.finish_reason))])
    events = [event.data for event in SSEParser().feed(written)]
    return [ChatCompletionChunk.model_validate_json(data) for data in events if data != b"[DONE]"]


def test_gemini_candidates_are_choices_with_their_log_probabilities():
    first, second, third = completion("gemini", GEMINI).choices
    assert [its.message.content for its in (first, second, third)] == ["Hi", "Ho", "He"]
    assert [its.finish_reason for its in (first, second, third)] == ["stop", "tool_calls", "length"]
    assert second.message.tool_calls[0].id == "call_r_1_0"
    assert json.loads(second.message.tool_calls[0].function.arguments) == {"x": 1}
    assert [its.logprobs and its.logprobs.content[0].token for its in (first, second, third)] == ["Hi", "Ho", None]
    assert [(top.token, top.logprob) for top in first.logprobs.content[0].top_logprobs] == [("Hi", -0.5), ("no", -1.5)]
    assert first.logprobs.content[0].bytes == [72, 105]


def test_gemini_streams_them_too():
    events = [
        {"candidates": [candidate(0, {"text": "Hi"}, finish=None, **scored("Hi"))], "responseId": "r"},
        {"candidates": [candidate(1, {"text": "Ho"}, **scored("Ho")), candidate(0)], "responseId": "r"},
    ]
    read = chunks("gemini", b"".join(b"data: " + orjson.dumps(each) + b"\r\n\r\n" for each in events))
    told = [(its.index, its.logprobs.content[0].token) for chunk in read for its in chunk.choices if its.logprobs]
    assert told == [(0, "Hi"), (1, "Ho")]


def test_a_response_keeps_its_log_probabilities_whole_and_streamed():
    assert completion("responses", RESPONSES).choices[0].logprobs.content[0].model_dump() == TOKEN
    events = [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hi",
         "logprobs": [TOKEN]},
        {"type": "response.completed", "response": RESPONSES},
    ]  # fmt: skip
    read = chunks("responses", b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in events))
    told = [its.logprobs.content[0].token for chunk in read for its in chunk.choices if its.logprobs]
    assert told == ["Hi"]


@pytest.mark.parametrize(
    "odd", [7, [], {"index": "x"}, {"index": 1, "content": 7}, {"index": 1, "content": {"parts": [7]}},
            {"index": 1, "logprobsResult": {"chosenCandidates": [7]}}],
)  # fmt: skip
def test_a_further_candidate_of_another_shape_is_passed_over(odd):
    said = reply("Hi", raw={"candidates": [GEMINI["candidates"][0], odd]})
    made = json.loads(DIALECTS["openai"].reply(said, model="chat", created=1)[2])
    (choice,) = ChatCompletion.model_validate(made).choices
    assert choice.message.content == "Hi"
    assert choice.logprobs.content[0].token == "Hi"


@pytest.mark.parametrize("value", ["x", None, True, math.inf])
def test_a_log_probability_that_is_no_number_is_one_of_nothing(value):
    odd = candidate(0, {"text": "Hi"}, logprobsResult={"chosenCandidates": [{"token": "Hi", "logProbability": value}]})
    made = json.loads(DIALECTS["openai"].reply(reply("Hi", raw={"candidates": [odd]}), model="chat", created=1)[2])
    (token,) = ChatCompletion.model_validate(made).choices[0].logprobs.content
    assert (token.logprob, token.top_logprobs) == (-9999.0, [])
