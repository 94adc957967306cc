"""An answer, put behind the conversation as its message, goes back to its provider as it came."""

import json

import gemini_wire
import pytest
import responses_wire

from resilio.config import TargetSettings
from resilio.models import Request

ASKED = {"role": "user", "content": "Hello"}


def sent_back(codec, whole):
    """The answer, and the body of the next round's request."""
    answer = codec.decode(200, {}, json.dumps(whole).encode())
    message = {"role": "assistant", "content": answer.text or None, **(answer.extras or {})}
    if answer.refusal:
        message["refusal"] = answer.refusal
    if answer.tool_calls:
        message["tool_calls"] = [call.as_sent() for call in answer.tool_calls]
    made = codec.encode(
        Request("chat", [ASKED, message, ASKED]), TargetSettings(provider="a", model="gemini-3-pro-preview"),
        base_url="https://a.test", key=None, headers={}, stream=False, max_output_tokens=None,
    )  # fmt: skip
    return answer, json.loads(made.body)


@pytest.mark.parametrize("name", ["signed text", "signature on its own", "code"])
def test_gemini_is_sent_the_parts_that_it_sent(name):
    whole = gemini_wire.RESPONSES[name]
    _, made = sent_back(gemini_wire.CODEC, whole)
    assert made["contents"][1]["parts"] == whole["candidates"][0]["content"]["parts"]


@pytest.mark.parametrize(
    "name", ["no words", "custom", "reasoning", "reasoning and tools", "silent reasoning", "search"]
)
def test_a_server_of_responses_is_sent_the_items_that_it_sent(name):
    whole = responses_wire.RESPONSES[name]
    _, made = sent_back(responses_wire.CODEC, whole)
    assert made["input"][1:-1] == whole["output"]


@pytest.mark.parametrize("wire", [gemini_wire, responses_wire])
def test_whatever_came_every_word_and_call_of_it_goes_back(wire):
    for whole in wire.RESPONSES.values():
        answer, made = sent_back(wire.CODEC, whole)
        told = json.dumps(made, ensure_ascii=False)
        assert answer.text in "".join(texts(made))
        assert all(json.dumps(call.name) in told for call in answer.tool_calls)


def texts(value):
    """All texts of a body, in order."""
    if isinstance(value, dict):
        yield from (each for name in ("text", "content") if isinstance(each := value.get(name), str))
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(each)
