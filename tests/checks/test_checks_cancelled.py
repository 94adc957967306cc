"""A checked call cancelled at each point where it can be: everything comes back, and it is settled once."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from world import world

from resilio.events import AttemptEnded, CallSettled
from resilio.testing.latency import Fixed
from resilio.testing.schedule import cancel_everywhere
from resilio.testing.script import Script

WHOLE = Script(answer="one two three", first_token=Fixed(1.0), tokens_per_second=10)
SLOW = [
    {"name": "asked", "stage": "before", "function": "own_checks:slow"},
    {"name": "answered", "stage": "after", "function": "own_checks:slow"},
]
RETRIED = [{"name": "short", "stage": "after", "max_characters": 3, "then": "retry"}]
WINDOW = [*SLOW, {"name": "w", "stage": "after", "regex": "two", "then": "redact", "window": 4}]
JUDGED = [{"name": "judged", "stage": "after", "function": "own_checks:asks_the_judge"}]


async def ask(w):
    assert (await w.llm.complete("chat", "hi")).complete


async def read(w):
    async with w.llm.stream("chat", "hi") as stream:
        async for _ in stream:
            pass
    assert stream.reply.complete


def short_when_told(body):
    """Too long, until it is told so."""
    return "one two three" if len(body["messages"]) == 1 else "one"


CALLS = {
    "complete": (ask, SLOW, WHOLE),
    "stream": (read, WINDOW, WHOLE),
    "asked again": (ask, RETRIED, Script(answer=short_when_told, first_token=Fixed(1.0))),
    "judged": (ask, JUDGED, WHOLE),
    "judged stream": (read, JUDGED, WHOLE),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_checked_call_cancelled_anywhere_leaves_nothing_behind(name):
    call, rules, script = CALLS[name]

    @asynccontextmanager
    async def scenario():
        judge = {"targets": ["b/m"]}
        chat = {"targets": ["a/m"], "checks": rules}
        yes = Script(answer="yes", first_token=Fixed(0.5))
        async with world(a=script, b=yes, routes={"chat": chat, "judge": judge}, cache={"exact": {}}) as w:

            async def act():
                await call(w)

            yield act
            await asyncio.sleep(0.01)
            w.assert_idle()
            assert w.transport.open_responses == 0
            assert w.llm._dispatcher.cached.flights == 0
            assert not [task for task in w.llm._tasks if "check" in task.get_name()]
            settled = [event for event in w.events if isinstance(event, CallSettled)]
            assert len({event.request_id for event in settled}) == len(settled), "one decision record a call"
            for event in settled:
                ended = [each for each in w.events if isinstance(each, AttemptEnded)]
                own = [each.attempt for each in ended if each.request_id == event.request_id]
                assert list(event.attempts) == own

    assert cancel_everywhere(scenario) >= 2
