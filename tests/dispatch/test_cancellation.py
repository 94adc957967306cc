"""A call cancelled at each point where it can be, natively and by scope, once and twice: everything comes back."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from world import world

from resilio.client import CompletionRequest, _scope
from resilio.events import AttemptEnded, CallSettled
from resilio.testing.faults import Cut, Error, NoPrefill, Silence
from resilio.testing.latency import Fixed
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.script import Script

TEXT = "one two three four five six"
WHOLE = Script(answer=TEXT, tokens_per_second=10)
SLOW = Script(answer=TEXT, first_token=Fixed(3.0), tokens_per_second=10)
BREAKS = Script.of(Cut(3), answer=TEXT, tokens_per_second=10)
PRICED = {"price": {"input": 1.0, "output": 2.0}, "requests_per_minute": 1000, "tokens_per_minute": 1_000_000}
HEDGE = {"hedge": 1.0, "hedge_share": 1.0}
PREFILL = {"b": {"models": {"m": {**PRICED, "capabilities": ["streaming", "prefill"]}}}}


def go_on(body):
    last = body["messages"][-1]
    return TEXT.removeprefix(last["content"]) if last["role"] == "assistant" else TEXT


async def ask(w):
    assert (await w.llm.complete("chat", "hi")).text == TEXT


async def read(w):
    async with w.llm.stream("chat", "hi") as stream:
        assert "".join([chunk.text async for chunk in stream]) == TEXT
    assert stream.reply.complete


async def ask_many(w):
    requests = [CompletionRequest("chat", "hi") for _ in range(3)]
    async for done in w.llm.complete_many(requests, max_concurrency=2):
        assert done.reply is not None


CALLS = {
    "complete": (ask, {"a": WHOLE}, {}),
    "complete after an error": (ask, {"a": Script.of(Error(status=500)), "b": WHOLE}, {}),
    "complete over a stream": (ask, {"a": WHOLE}, {"upstream_stream": "auto"}),
    "complete over a stream that breaks": (ask, {"a": BREAKS, "b": WHOLE}, {"upstream_stream": "auto"}),
    "stream": (read, {"a": WHOLE}, {}),
    "stream after a silence": (read, {"a": Script.of(Silence()), "b": WHOLE}, {}),
    "stream held back": (read, {"a": BREAKS, "b": WHOLE}, {"hold_back_tokens": 4}),
    "stream continued by restart": (read, {"a": BREAKS, "b": WHOLE}, {"on_break": "continue"}),
    "stream continued by prefill": (read, {"a": BREAKS, "b": Script(answer=go_on)}, {"on_break": "continue"}),
    "prefill refused": (read, {"a": BREAKS, "b": WHOLE.with_rule(NoPrefill())}, {"on_break": "continue"}),
    "hedged complete": (ask, {"a": SLOW, "b": WHOLE}, HEDGE),
    "hedged complete over a stream": (ask, {"a": SLOW, "b": WHOLE}, {**HEDGE, "upstream_stream": "auto"}),
    "hedged stream": (read, {"a": SLOW, "b": WHOLE}, HEDGE),
    "hedged stream, won by the first": (read, {"a": SLOW, "b": Script.of(Silence())}, HEDGE),
    "hedged stream, both answer at one time": (
        read, {"a": SLOW, "b": Script(answer=TEXT, first_token=Fixed(2.0))}, HEDGE,
    ),
    "many": (ask_many, {"a": WHOLE, "b": WHOLE}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_call_cancelled_anywhere_leaves_nothing_behind(name):
    call, scripts, route = CALLS[name]
    only = PREFILL if "prefill" in name else {}

    @asynccontextmanager
    async def scenario():
        settings = {"max_output_tokens": 64, "retry": {"base": 0.01}, **route}
        async with world(**scripts, model=PRICED, route=settings, only=only) as w:
            caps = []

            async def act():
                with w.llm.scope(max_cost_usd=1.0):
                    caps.append(_scope.get().caps[0])
                    await call(w)

            yield act
            await asyncio.sleep(0.01)
            w.assert_idle()
            assert w.transport.open_responses == 0
            for cap in caps:
                assert cap.reserved == 0
            settled = [event for event in w.events if isinstance(event, CallSettled)]
            assert len({event.request_id for event in settled}) == len(settled), "one decision record a call"
            for event in settled:
                ended = [each for each in w.events if isinstance(each, AttemptEnded)]
                own = [each.attempt for each in ended if each.request_id == event.request_id]
                assert list(event.attempts) == own, "the record lists every attempt"

    assert cancel_everywhere(scenario) >= 2
