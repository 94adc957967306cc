import asyncio
import contextlib
import json

import anyio
import pytest

from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.testing import Fixed, Script, ScriptedTransport, SimulatedProvider, faults
from resilio.transport import Exchange

BASE = "http://a.test/v1"
LIMIT = 1 << 30


def rig(script=None, **options):
    simulated = SimulatedProvider(script)
    return simulated, ScriptedTransport({BASE: simulated}, **options)


def request(url=f"{BASE}/chat/completions", **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "a b c d e f g h"}], **body}
    return HttpRequest(url, {"Authorization": "Bearer k"}, json.dumps(body).encode())


async def exchange(transport, **body):
    response = await transport.send(request(**body), Exchange())
    try:
        return response.status, await response.read(LIMIT)
    finally:
        response.close()


async def test_an_answer_is_read_whole():
    simulated, transport = rig()
    status, body = await exchange(transport)
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "a b c d e f g h")
    assert [seen.outcome for seen in simulated.log] == ["answered"]
    assert (simulated.in_flight, transport.open_responses) == (0, 0)


async def test_headers_are_found_in_any_case():
    _, transport = rig(Script.of(faults.Error("slow_down", retry_after=3)))
    response = await transport.send(request(), Exchange())
    assert response.headers["retry-after"] == response.headers["RETRY-AFTER"] == "3"
    response.close()


async def test_several_providers_are_told_apart_by_the_longest_base():
    near, far = SimulatedProvider(), SimulatedProvider()
    transport = ScriptedTransport({"http://a.test/v1": near, "http://a.test/v1/far": far})
    response = await transport.send(request("http://a.test/v1/far/chat/completions"), Exchange())
    response.close()
    assert (near.count(), far.count()) == (0, 1)
    with pytest.raises(TransportError, match=r"no simulated provider at 'http://a\.test/v11"):
        await transport.send(request("http://a.test/v11/chat/completions"), Exchange())


async def test_latencies_pass_on_the_loops_clock():
    loop = asyncio.get_running_loop()
    _, transport = rig(Script(first_token=Fixed(2), tokens_per_second=2))
    before = loop.time()
    await exchange(transport)
    assert loop.time() - before == pytest.approx(5.5)
    response = await transport.send(request(stream=True), Exchange())
    sent = loop.time()
    arrivals = []
    while await response.read_some():
        arrivals.append(loop.time() - sent)
    response.close()
    assert arrivals[:4] == pytest.approx([2, 2, 2.5, 3])
    assert arrivals[-1] == pytest.approx(5.5)


async def test_a_slow_reader_finds_what_was_sent_meanwhile():
    loop = asyncio.get_running_loop()
    _, transport = rig(Script(tokens_per_second=1))
    response = await transport.send(request(stream=True), Exchange())
    assert await response.read_some()
    await anyio.sleep(100)
    before = loop.time()
    while await response.read_some():
        pass
    response.close()
    assert loop.time() == before


async def test_shattered_bytes_are_the_same_bytes():
    whole = {}
    for shatter in (False, True):
        _, transport = rig(shatter=shatter, seed=3)
        response = await transport.send(request(stream=True), Exchange())
        parts = []
        while part := await response.read_some():
            parts.append(part)
        response.close()
        whole[shatter] = b"".join(parts)
        assert shatter != all(part.endswith(b"\n\n") for part in parts)
    assert whole[False].split(b'"id"')[0] == whole[True].split(b'"id"')[0]
    assert whole[False] == whole[True]


async def test_connections_are_reused_after_a_clean_end_and_only_then():
    _, transport = rig(Script().first(1).first(1, faults.Cut(2, clean=False)))
    reused = []
    for _ in range(4):
        this = Exchange()
        response = await transport.send(request(stream=True), this)
        with contextlib.suppress(TransportError):
            await response.read(LIMIT)
        response.close()
        reused.append(this.reused)
    assert reused == [False, True, False, True]


async def test_a_fresh_connection_is_opened_where_one_is_asked_for():
    _, transport = rig()
    await exchange(transport)
    told = []
    this = Exchange(lambda: told.append("connecting"), lambda: told.append("connected"), fresh=True)
    (await transport.send(request(), this)).close()
    assert (told, this.reused, this.sent) == (["connecting", "connected"], False, True)


async def test_a_stale_connection_dies_before_any_byte_and_a_fresh_one_is_spared():
    simulated, transport = rig(Script.of(faults.Stale()))
    this = Exchange()
    with pytest.raises(TransportError) as broken:
        await transport.send(request(), this)
    assert (broken.value.error_class, broken.value.reused, this.reused) == (ErrorClass.DISCONNECTED, True, True)
    response = await transport.send(request(), Exchange(fresh=True))
    assert response.status == 200
    response.close()
    assert [seen.outcome for seen in simulated.log] == ["broken", "answered"]


async def test_a_refused_connection_never_reaches_the_provider():
    simulated, transport = rig(Script.of(faults.Refused()))
    this = Exchange()
    with pytest.raises(TransportError) as refused:
        await transport.send(request(), this)
    assert (refused.value.error_class, this.sent) == (ErrorClass.CONNECT, False)
    assert simulated.count() == 0
    transport.refuse_connections.add(BASE)
    with pytest.raises(TransportError, match="refused"):
        await transport.send(request(), Exchange())
    assert len(simulated.log) == 1


async def test_a_connection_that_hangs_is_given_up_by_the_caller_alone():
    simulated, transport = rig(Script.of(faults.ConnectHang()))
    told = []
    with anyio.move_on_after(5):
        await transport.send(request(), Exchange(lambda: told.append(1), lambda: told.append(2)))
    assert told == [1]
    assert [(seen.outcome, simulated.in_flight) for seen in simulated.log] == [("not_connected", 0)]


async def test_a_reset_comes_before_any_answer():
    simulated, transport = rig(Script.of(faults.Reset()))
    with pytest.raises(TransportError) as reset:
        await transport.send(request(), Exchange())
    assert (reset.value.error_class, reset.value.reused) == (ErrorClass.DISCONNECTED, False)
    assert simulated.log[0].outcome == "broken"


@pytest.mark.parametrize("head", [False, True])
async def test_silence_lasts_until_the_client_hangs_up_which_is_noticed(head):
    simulated, transport = rig(Script.of(faults.Silence(head=head)))
    before = asyncio.get_running_loop().time()
    with anyio.move_on_after(7):
        response = await transport.send(request(stream=True), Exchange())
        try:
            await response.read_some()
        finally:
            response.close()
    (seen,) = simulated.log
    assert (seen.outcome, seen.ended_at) == ("client_gone", before + 7)
    assert (simulated.in_flight, transport.open_responses) == (0, 0)


async def test_a_cut_in_mid_body_is_not_a_clean_end():
    simulated, transport = rig(Script.of(faults.Cut(3, clean=False)))
    for stream in (False, True):
        with pytest.raises(TransportError) as cut:
            await exchange(transport, stream=stream)
        assert (cut.value.error_class, cut.value.answered) == (ErrorClass.TRUNCATED, True)
    assert [seen.outcome for seen in simulated.log] == ["broken", "broken"]


async def test_a_clean_cut_is_an_ordinary_end_of_the_body():
    simulated, transport = rig(Script.of(faults.Cut(3)))
    _, body = await exchange(transport, stream=True)
    assert body.count(b'"content":"') == 4
    assert simulated.log[0].outcome == "answered"


async def test_a_stalled_stream_is_closed_by_the_client_and_the_slot_comes_back():
    simulated, transport = rig(Script.of(faults.Stall(3)))
    response = await transport.send(request(stream=True), Exchange())
    with anyio.move_on_after(20):
        while await response.read_some():
            pass
    assert (simulated.in_flight, transport.open_responses) == (1, 1)
    response.close()
    response.close()
    assert (simulated.in_flight, transport.open_responses) == (0, 0)
    assert simulated.log[0].outcome == "client_gone"
    with pytest.raises(TransportError, match="closed"):
        await response.read_some()


async def test_a_client_that_leaves_after_the_last_byte_was_sent_has_not_hung_up():
    simulated, transport = rig(Script(tokens_per_second=1))
    outcomes, reused = [], []
    for wait in (3, 30):
        this = Exchange()
        response = await transport.send(request(stream=True), this)
        await response.read_some()
        await anyio.sleep(wait)
        response.close()
        outcomes.append(simulated.log[-1].outcome)
        reused.append(this.reused)
    assert outcomes == ["client_gone", "answered"]
    assert (reused, simulated.in_flight) == ([False, False], 0)


async def test_a_body_over_the_limit_is_not_read_on():
    _simulated, transport = rig(Script.of(faults.Giant(100_000)))
    response = await transport.send(request(), Exchange())
    with pytest.raises(TransportError) as long:
        await response.read(50_000)
    assert long.value.error_class is ErrorClass.MALFORMED
    response.close()
    assert transport.open_responses == 0


async def test_a_thousand_calls_at_once_all_end_and_are_all_counted():
    script = Script(first_token=Fixed(1)).probability(0.3, faults.Error("server_error"))
    simulated, transport = rig(script)
    statuses = []

    async def call():
        status, _ = await exchange(transport)
        statuses.append(status)

    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(call)
    assert simulated.count() == len(statuses) == 1000
    assert 200 < statuses.count(500) < 400
    assert (simulated.in_flight, transport.open_responses) == (0, 0)
