"""What errors say: the provider by its own name, the key that was refused never, and what was too large."""

import orjson
import pytest
from hostile import Canned, CannedTransport
from world import world

from resilio import Client, Exhausted, KeyRejected
from resilio.testing.faults import Error, Html
from resilio.testing.script import Script


def route_of(transport, **provider):
    """A client with one provider, called east, on this transport."""
    settings = {"name": "east", "kind": "openai", "base_url": "http://e.test/v1", "keys": ["sk-0123456789"]}
    config = {"provider": [{**settings, "models": {"m": {}}, **provider}], "route": {"chat": {"targets": ["east/m"]}}}
    return Client(config, transport=transport)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Error("rate_limit_exceeded", retry_after=99), "east answered 429 rate_limit_exceeded: "),
        (Error(status=503), "east answered 503 "),
        (Html(), "east answered 200 with a body that is not JSON"),
    ],
)
async def test_two_providers_of_one_dialect_are_told_apart(fault, said):
    async with world(east=Script.of(fault), west=Script(answer="from west")) as w:
        reply = await w.llm.complete("chat", "hi")
        assert reply.text == "from west"
        assert reply.attempts[0].error.startswith(said)


async def test_an_error_inside_a_stream_names_the_provider_too():
    async with world(east=Script.of(Html()), west=Script(answer="from west")) as w:
        async with w.llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "from west"
        assert stream.reply.attempts[0].error.startswith("east answered 200 with a body that is not JSON")


@pytest.mark.parametrize(
    ("code", "status", "error_class"),
    [("invalid_api_key", 401, "unauthorised"), ("insufficient_quota", 429, "out_of_credit")],
)
async def test_a_refused_key_is_told_by_its_provider_and_index_and_never_shown(code, status, error_class):
    message = f"Incorrect API key provided: sk-0123456789 ({code})"
    body = orjson.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}})
    async with route_of(CannedTransport(Canned(status, {}, [body]))) as llm:
        with pytest.raises(Exhausted) as caught:
            await llm.complete("chat", "hi")
    (attempt,) = caught.value.attempts
    assert attempt.error.startswith(f"east answered {status} {code}: Incorrect API key provided: [key]")
    assert (attempt.error_class, attempt.key, attempt.status) == (error_class, 0, status)
    assert isinstance(caught.value.__cause__, KeyRejected)
    assert "sk-0123456789" not in str(caught.value)


# --- absurdly large ----------------------------------------------------------------------------------

LARGE_ANSWER = orjson.dumps(
    {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x" * 5000}}]}
)
ENDLESS_EVENT = [b"data: {", *([b'"a": 1,' * 100] * 1000)]


async def streamed(llm):
    async with llm.stream("chat", "hi") as stream:
        async for _ in stream:
            pass


async def whole(llm):
    await llm.complete("chat", "hi")


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("how", [whole, streamed])
@pytest.mark.parametrize("body", [[LARGE_ANSWER], ENDLESS_EVENT], ids=["a whole body", "an event without end"])
async def test_an_answer_over_the_limit_is_malformed_and_not_read_on(body, how, status):
    transport = CannedTransport(Canned(status, {}, body))
    async with route_of(transport, max_body_bytes=2000) as llm:
        with pytest.raises(Exhausted) as caught:
            await how(llm)
        assert llm.status().providers["east"].state == "running"
        assert llm.status().providers["east"].targets["east/m"].breaker.failures == 1
    (attempt,) = caught.value.attempts
    assert attempt.error_class == "malformed"
    assert "2000 bytes" in attempt.error
    assert transport.taken <= max(2000 + 700, len(LARGE_ANSWER))
    assert transport.open_responses == 0


async def test_under_the_limit_the_same_answer_is_one():
    async with route_of(CannedTransport(Canned(200, {}, [LARGE_ANSWER])), max_body_bytes=6000) as llm:
        assert (await llm.complete("chat", "hi")).text == "x" * 5000
        async with llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "x" * 5000


async def test_a_stream_that_never_ends_is_ended_by_the_limit_on_its_text():
    endless = Script(answer="word " * 1000)
    async with world(a=endless, provider={"max_body_bytes": 2000}, route={"upstream_stream": "auto"}) as w:
        with pytest.raises(Exhausted, match="max_body_bytes = 2000"):
            await w.llm.complete("chat", "hi")
        w.assert_idle()
