import asyncio
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from resilio.models import HttpRequest
from resilio.testing import (
    Script,
    ScriptedTransport,
    ShufflingLoop,
    SimulatedProvider,
    cancel_everywhere,
    run,
    shuffled,
)
from resilio.transport import Exchange


class Slots:
    """Something to be borrowed and given back."""

    def __init__(self):
        self.out = 0


def world(call):
    """A scenario: `call(slots)` is cancelled everywhere, and must leave no slot out."""

    @asynccontextmanager
    async def scenario():
        slots = Slots()
        yield lambda: call(slots)
        assert slots.out == 0, f"{slots.out} slots leaked"

    return scenario


async def careful(slots):
    slots.out += 1
    try:
        await asyncio.sleep(1)
        await asyncio.sleep(0)
        await anyio.sleep(2)
    finally:
        slots.out -= 1


def test_a_call_that_cleans_up_passes_and_its_suspensions_are_counted():
    assert cancel_everywhere(world(careful)) == 3


def test_a_leak_on_one_await_only_is_found_and_located():
    async def leaky(slots):
        await asyncio.sleep(1)
        slots.out += 1
        await asyncio.sleep(1)
        slots.out -= 1

    with pytest.raises(AssertionError, match=r"by task at suspension 2 of 2 \(sleep at .*tasks\.py"):
        cancel_everywhere(world(leaky))


def test_clean_up_that_awaits_unshielded_is_found_by_the_second_cancellation():
    async def fragile(slots):
        slots.out += 1
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            slots.out -= 1
            raise
        slots.out -= 1

    assert cancel_everywhere(world(fragile), how=["task"], times=[1]) == 1
    with pytest.raises(AssertionError, match=r"1 slots leaked") as found:
        cancel_everywhere(world(fragile), how=["task"], times=[2])
    assert "cancelled by task 2 times at suspension 1 of 1" in str(found.value)


def test_an_anyio_shield_holds_against_a_scope_but_not_against_a_native_cancellation():
    async def shielded(slots):
        slots.out += 1
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(1)
            slots.out -= 1
            raise
        slots.out -= 1

    cancel_everywhere(world(shielded), how=["scope"], times=[1])
    with pytest.raises(AssertionError, match="by task 2 times"):
        cancel_everywhere(world(shielded), how=["task"], times=[2])
    with pytest.raises(AssertionError, match="by scope 2 times"):
        cancel_everywhere(world(shielded), how=["scope"], times=[2])


def test_a_swallowed_cancellation_is_found():
    async def deaf(slots):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    with pytest.raises(AssertionError, match="swallowed"):
        cancel_everywhere(world(deaf))


def test_a_task_that_outlives_the_call_is_found():
    async def parent(slots):
        task = asyncio.create_task(asyncio.sleep(50), name="orphan")
        await asyncio.sleep(1)
        task.cancel()

    with pytest.raises(AssertionError, match=r"tasks outlived the call.*orphan"):
        cancel_everywhere(world(parent))


def test_another_error_than_cancellation_must_be_allowed():
    async def translating(slots):
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            raise LookupError from None

    with pytest.raises(AssertionError, match="LookupError"):
        cancel_everywhere(world(translating))
    assert cancel_everywhere(world(translating), allowed=(LookupError,)) == 1


def test_an_undisturbed_failure_is_no_finding_about_cancellation():
    async def broken(slots):
        raise LookupError("from the start")

    with pytest.raises(LookupError):
        cancel_everywhere(world(broken))


def test_a_task_group_is_cancelled_through_and_through():
    async def group(slots):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(careful, slots)

    assert cancel_everywhere(world(group)) >= 1


def test_the_scripted_transport_gets_everything_back_wherever_it_is_cancelled():
    @asynccontextmanager
    async def scenario():
        simulated = SimulatedProvider(Script(tokens_per_second=10))
        transport = ScriptedTransport({"http://a.test/v1": simulated})
        request = HttpRequest(
            "http://a.test/v1/chat/completions",
            {},
            b'{"model":"m","stream":true,"messages":[{"role":"user","content":"a b c"}]}',
        )

        async def act():
            response = await transport.send(request, Exchange())
            try:
                while await response.read_some():
                    pass
            finally:
                response.close()

        yield act
        assert (simulated.in_flight, transport.open_responses) == (0, 0)
        assert all(seen.outcome in ("answered", "client_gone") for seen in simulated.log)

    assert cancel_everywhere(scenario) >= 5


async def order(tasks=6):
    seen = []

    async def note(number):
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(number)

    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(note, number)
    return tuple(seen)


def test_each_seed_gives_another_order_and_always_the_same_one():
    first, again = shuffled(order), shuffled(order)
    assert first == again
    assert len(set(first)) > 15
    assert all(sorted(seen) == sorted(first[0]) for seen in first)


async def racy():
    written = []

    async def writer():
        await asyncio.sleep(0)
        written.append("it")

    async def reader():
        await asyncio.sleep(0)
        assert written, "read before it was written"

    await asyncio.gather(writer(), reader())


def test_a_race_hidden_by_the_usual_order_is_found_with_its_seed():
    run(racy())
    with pytest.raises(AssertionError, match=r"with the schedule of seed \d+: .*read before it was written"):
        shuffled(racy)


def test_callbacks_that_are_not_tasks_keep_their_order():
    async def main():
        seen = []
        for number in range(20):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await asyncio.sleep(1)
        return seen

    assert all(seen == list(range(20)) for seen in shuffled(main))


def test_a_shuffling_loop_still_runs_on_virtual_time_with_sockets():
    async def main():
        async def handle(reader, writer):
            await asyncio.sleep(3600)
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        assert isinstance(asyncio.get_running_loop(), ShufflingLoop)
        return line, asyncio.get_running_loop().time()

    assert set(shuffled(main, range(5))) == {(b"hello\n", 4600.0)}
