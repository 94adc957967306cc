import asyncio
import functools
import os
import subprocess
import sys
import threading
import time

import aiohttp
import anyio
import anyio.to_thread
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from resilio.testing import Deadlock, NotVirtual, VirtualTimeLoop, run, wall_clock


async def test_an_hour_passes_without_waiting():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    before = loop.time()
    await anyio.sleep(3600)
    assert loop.time() == before + 3600


async def test_time_begins_away_from_zero_and_the_wall_clock_keeps_step():
    loop = asyncio.get_running_loop()
    clock = wall_clock(loop)
    first = clock()
    assert loop.time() >= 1000
    await asyncio.sleep(86_400 * 3)
    assert clock() - first == 86_400 * 3


async def test_time_stands_still_while_something_can_run():
    loop = asyncio.get_running_loop()
    before = loop.time()
    timer = loop.call_later(1.0, print)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == before
    timer.cancel()


async def test_a_timer_fires_at_its_instant_and_never_a_rounding_error_early():
    loop = asyncio.get_running_loop()
    for delay in (0.1, 1 / 3, 1e-5, 86_400 * 1.7, 0.1):
        fired = loop.create_future()
        due = loop.time() + delay
        loop.call_at(due, lambda fired=fired: fired.set_result(loop.time()))
        assert await fired == due


async def test_timers_fire_in_order_whatever_the_order_they_were_set_in():
    order: list[int] = []

    async def late(number):
        await anyio.sleep(number)
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in (3, 1, 2):
            tasks.start_soon(late, number)
    assert order == [1, 2, 3]


async def test_anyio_clocks_fire_on_virtual_time():
    with anyio.move_on_after(30) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.Event().wait()


def test_a_deadlock_is_reported_with_the_line_everybody_waits_at():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"main.*asyncio.locks|test_virtual_time\.py"):
        run(main())


def test_a_deadlock_is_reported_with_an_idle_server_open_too():
    async def main():
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        async with server:
            await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="no data on any socket"):
        run(main())


async def test_work_for_a_thread_is_refused_by_name():
    with pytest.raises(NotVirtual, match="getpid"):
        await asyncio.get_running_loop().run_in_executor(None, os.getpid)


async def test_a_host_name_is_refused_with_advice():
    with pytest.raises(NotVirtual, match="IP literal"):
        await asyncio.open_connection("localhost", 1)


def test_a_thread_that_calls_back_is_refused():
    refused: list[BaseException | None] = []

    async def main():
        loop = asyncio.get_running_loop()

        def elsewhere():
            try:
                loop.call_soon_threadsafe(print)
            except NotVirtual as error:
                refused.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    run(main())
    assert len(refused) == 1


async def _exchange(chunks: int, gap: float) -> tuple[bytes, float]:
    """One streamed exchange over a loopback socket, with a pause before each chunk: body and duration."""

    async def handle(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(chunks):
            await asyncio.sleep(gap)
            await response.write(b"%d," % number)
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        loop = asyncio.get_running_loop()
        before = loop.time()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.get(f"http://127.0.0.1:{port}/") as response,
        ):
            return await response.read(), loop.time() - before
    finally:
        await runner.cleanup()


async def test_an_http_client_and_server_share_the_loop_and_its_time():
    body, took = await _exchange(10, 5.0)
    assert body == b"0,1,2,3,4,5,6,7,8,9,"
    assert took == 50.0, "no clock ran while bytes were under way"


async def test_a_client_timeout_fires_over_a_real_socket():
    with pytest.raises(TimeoutError):
        await _exchange(20, 5.0)


@pytest.mark.soak
def test_loopback_exchanges_never_lose_a_race_against_time_on_a_busy_machine():
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        for _ in range(200):
            assert run(_exchange(5, 1.0)) == (b"0,1,2,3,4,", 5.0)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@given(st.integers(1, 10**6))
async def test_every_example_of_a_property_gets_a_loop_of_its_own(delay):
    loop = asyncio.get_running_loop()
    assert loop.time() == 1000.0
    await asyncio.sleep(delay)
    assert loop.time() == 1000.0 + delay


@pytest.mark.real_loop
async def test_the_wall_clock_of_a_real_loop_is_the_real_one():
    assert wall_clock(asyncio.get_running_loop()) is time.time


@pytest.mark.real_loop
async def test_real_time_is_a_marker_away():
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    assert await anyio.to_thread.run_sync(functools.partial(max, 1, 2)) == 2
