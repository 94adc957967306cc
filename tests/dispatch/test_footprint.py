"""What a call leaves in memory: nothing that waits for the cycle collector, however it ended."""

import asyncio
import contextlib
import gc
from collections import Counter

import pytest
from world import world

from resilio import ResilioError
from resilio.dispatch.attempt import Attempt
from resilio.dispatch.call import Call, Plan
from resilio.dispatch.leg import Leg
from resilio.testing.faults import Cut, Error, Silence
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

TEXT = "one two three four five six"
WHOLE = Script(answer=TEXT)
BREAKS = Script.of(Cut(3), answer=TEXT)
SLOW = Script(answer=TEXT, first_token=Fixed(5.0))


def left_over():
    """Names of what belongs to a single call and is still alive."""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, Attempt | Leg | Plan | Call))


@pytest.fixture
def uncollected():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def ask(w):
    await w.llm.complete("chat", "hi")


async def read(w):
    async with w.llm.stream("chat", "hi") as stream:
        async for _ in stream:
            pass


async def leave(w):
    async with w.llm.stream("chat", "hi") as stream:
        await anext(stream)


async def give_up(w):
    async with w.llm.stream("chat", "hi") as stream, asyncio.timeout(0.5):
        async for _ in stream:
            await asyncio.sleep(1.0)


async def tire(w):
    async with asyncio.timeout(0.5):
        await read(w)


# Hedged calls are left out: a cancelled task and the scope inside it know each other, which is asyncio's own.
ENDS = {
    "complete": (ask, {"a": WHOLE}, {}),
    "complete over a stream": (ask, {"a": WHOLE}, {"upstream_stream": "auto"}),
    "complete over a stream that breaks": (ask, {"a": BREAKS, "b": WHOLE}, {"upstream_stream": "auto"}),
    "complete after errors": (ask, {"a": Script.of(Error(status=503)), "b": WHOLE}, {}),
    "complete in vain": (ask, {"a": Script.of(Error(status=503)), "b": Script.of(Silence())}, {}),
    "stream": (read, {"a": WHOLE}, {}),
    "stream after a break nobody saw": (read, {"a": Script.of(Cut(0)), "b": WHOLE}, {}),
    "stream broken": (read, {"a": BREAKS}, {}),
    "stream partial": (read, {"a": BREAKS}, {"on_break": "partial"}),
    "stream continued": (read, {"a": BREAKS, "b": WHOLE}, {"on_break": "continue"}),
    "stream left": (leave, {"a": WHOLE}, {}),
    "stream cancelled in its body": (give_up, {"a": WHOLE}, {}),
    "stream cancelled before its first token": (tire, {"a": SLOW}, {}),
}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("name", ENDS)
async def test_nothing_of_a_call_outlives_it(name):
    call, scripts, route = ENDS[name]
    async with world(**scripts, route={"retry": {"base": 0.01}, **route}) as w:
        for _ in range(3):
            with contextlib.suppress(ResilioError, TimeoutError):
                await call(w)
            await asyncio.sleep(0.1)
        assert w.calls("a") == 3
        assert not left_over()
