"""From a simulated provider through a client to a caller's dialect: what the engine hands out is what is written."""

import pytest
from spoken import read, said

from resilio import Client
from resilio.errors import ErrorClass, ProviderError, StreamBroken
from resilio.testing import Script, ScriptedTransport, SimulatedProvider, faults
from resilio.wire import DIALECTS

pytestmark = pytest.mark.anyio

CALL = {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ANSWER = {"role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.", "tool_calls": [CALL]}
URL = "http://p.test/v1"
PAIRS = [(theirs, ours) for theirs in ("openai", "anthropic") for ours in ("openai", "anthropic")]


def client(kind, script, **route):
    provider = {"name": "p", "kind": kind, "base_url": URL, "keys": ["sk"], "models": {"m": {}}}
    config = {"provider": [provider], "route": {"chat": {"targets": ["p/m"], **route}}}
    return Client(config, transport=ScriptedTransport({URL: SimulatedProvider(script)}))


async def streamed(llm, dialect):
    """What a gateway would send, and the reply."""
    pieces = []
    async with llm.stream("chat", "Weather?") as stream:
        writing = DIALECTS[dialect].stream(request_id=stream.request_id, model="m", created=1, include_usage=True)
        try:
            async for chunk in stream:
                pieces.append(writing.chunk(chunk))
            pieces.append(writing.end(stream.reply))
        except StreamBroken as error:
            pieces.append(writing.error(error))
    assert stream.reply.request_id in pieces[0].decode()
    return pieces, stream.reply


@pytest.mark.parametrize(("kind", "dialect"), PAIRS)
async def test_a_call_is_told_as_it_went(kind, dialect):
    async with client(kind, Script(answer=lambda body: ANSWER)) as llm:
        pieces, reply = await streamed(llm, dialect)
        whole = await llm.complete("chat", "Weather?")
    _, answer = read(dialect, pieces)
    assert said(answer)[:5] == said(reply)[:5]
    assert (answer.text, answer.finish_reason, answer.usage.total_tokens) == (
        "Let me look.", "tool_calls", reply.usage.total_tokens,
    )  # fmt: skip
    status, headers, body = DIALECTS[dialect].reply(whole, model="m", created=1)
    assert (status, headers["x-resilio-target"], headers["x-resilio-attempts"]) == (200, "p/m", "1")
    assert b'"toolu_1"' in body


@pytest.mark.parametrize(("kind", "dialect"), PAIRS)
@pytest.mark.parametrize("on_break", ["error", "partial"])
async def test_a_stream_that_breaks_is_never_told_as_whole(kind, dialect, on_break):
    script = Script.of(faults.Cut(2), answer="one two three four")
    async with client(kind, script, on_break=on_break) as llm:
        pieces, reply = await streamed(llm, dialect)
    assert not reply.complete
    written = b"".join(pieces)
    assert b"[DONE]" not in written
    assert b"message_stop" not in written
    assert (b'"broken":"truncated"' in pieces[-1]) is (on_break == "partial")
    with pytest.raises(ProviderError, match="broke") as caught:
        read(dialect, pieces)
    assert caught.value.error_class is ErrorClass.SERVER_ERROR
