import asyncio
import json

import aiohttp
import anyio
import pytest

from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.testing import Fixed, Script, ScriptedTransport, SimulatedProvider, SimulatedServer, faults, serve
from resilio.transport import Exchange
from resilio.transport.http import AiohttpTransport

LIMIT = 1 << 30


def body(**fields):
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "a b c d e f g h"}], **fields}).encode()


class Rig:
    """A server, and our own transport as its client."""

    def __init__(self, script=None):
        self.provider = SimulatedProvider(script)

    async def __aenter__(self):
        self.server = await SimulatedServer(self.provider).__aenter__()
        self.transport = AiohttpTransport()
        return self

    async def __aexit__(self, *error):
        await self.transport.aclose()
        await self.server.__aexit__(*error)

    async def send(self, exchange=None, **fields):
        request = HttpRequest(f"{self.server.url}/chat/completions", {}, body(**fields))
        return await self.transport.send(request, exchange or Exchange())

    async def read(self, **fields):
        response = await self.send(**fields)
        try:
            return response.status, await response.read(LIMIT)
        finally:
            response.close()


async def quiet():
    """Virtual time passes only when no task can run and every socket is quiet."""
    await asyncio.sleep(0.001)


async def test_both_forms_of_the_provider_send_the_same_bytes():
    sent = []
    for stream in (False, True):
        async with Rig(Script(first_token=Fixed(1), tokens_per_second=10)) as rig:
            _, over_sockets = await rig.read(stream=stream)
        in_process = ScriptedTransport({"http://a.test/v1": SimulatedProvider()})
        response = await in_process.send(
            HttpRequest("http://a.test/v1/chat/completions", {}, body(stream=stream)), Exchange()
        )
        direct = await response.read(LIMIT)
        response.close()
        for part in over_sockets, direct:
            sent.append([{**json.loads(frame), "created": 0} for frame in part.replace(b"data: ", b"").split(b"\n\n")
                         if frame not in (b"", b"[DONE]")])  # fmt: skip
    assert sent[0] == sent[1]
    assert sent[2] == sent[3]


async def test_head_headers_and_status_arrive():
    async with Rig(Script.of(faults.Error("slow_down", retry_after=3))) as rig:
        response = await rig.send()
        assert response.status == 429
        assert response.headers["retry-after"] == "3"
        assert response.headers["Content-Type"] == "application/json"
        response.close()


async def test_the_date_is_that_of_the_virtual_clock():
    async with Rig() as rig:
        response = await rig.send()
        assert response.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"
        response.close()


async def test_latencies_pass_on_the_loops_clock_over_sockets_too():
    loop = asyncio.get_running_loop()
    async with Rig(Script(first_token=Fixed(2), tokens_per_second=2)) as rig:
        before = loop.time()
        await rig.read(stream=True)
        assert loop.time() - before == pytest.approx(5.5)


async def test_several_providers_live_under_their_names():
    near, far = SimulatedProvider(), SimulatedProvider()
    async with SimulatedServer({"near": near, "far": far}) as server, aiohttp.ClientSession() as session:
        assert server.urls["far"].endswith("/far/v1")
        async with session.post(f"{server.urls['far']}/chat/completions", data=body()) as response:
            assert response.status == 200
        async with session.get(server.urls["far"].replace("/far/", "/nobody/")) as response:
            assert response.status == 404
            assert "near, far" in await response.text()
    assert (near.count(), far.count()) == (0, 1)


async def test_models_health_and_the_log_are_there_to_get():
    simulated = SimulatedProvider(models=["m"], keys=None)
    async with SimulatedServer(simulated) as server, aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/models") as response:
            assert (await response.json())["data"][0]["id"] == "m"
        async with session.get(f"{server.url}/health") as response:
            assert await response.json() == {"status": "ok"}
        async with session.post(f"{server.url}/chat/completions", data=body()) as response:
            await response.read()
        async with session.get(f"{server.url}/log") as response:
            log = await response.json()
    assert [line["path"] for line in log] == ["/v1/models", "/v1/health", "/v1/chat/completions"]
    assert (log[2]["model"], log[2]["status"], log[2]["outcome"]) == ("m", 200, "answered")
    assert len(simulated.log) == 3, "reading the log leaves no trace in it"


@pytest.mark.parametrize("fault", [faults.Reset(), faults.Refused()])
async def test_a_reset_is_a_reset_on_the_wire(fault):
    async with Rig(Script.of(fault)) as rig:
        with pytest.raises(TransportError) as broken:
            await rig.send()
        assert broken.value.error_class is ErrorClass.DISCONNECTED
        assert isinstance(broken.value.__cause__, aiohttp.ClientOSError), "RST, where FIN would be a disconnect"
        await quiet()
        assert rig.provider.log[0].outcome == "broken"


async def test_a_request_can_be_reset_with_its_body_unread():
    async with Rig() as rig:
        rig.server.reset_unread.add("")
        with pytest.raises(TransportError):
            await rig.send()
        assert rig.provider.log == []
        rig.server.reset_unread.clear()
        assert (await rig.read())[0] == 200


async def test_a_stale_connection_is_closed_only_when_reused():
    async with Rig(Script.of(faults.Stale())) as rig:
        assert (await rig.read())[0] == 200
        this = Exchange()
        with pytest.raises(TransportError) as broken:
            await rig.send(this)
        assert (broken.value.error_class, broken.value.reused) == (ErrorClass.DISCONNECTED, True)
        response = await rig.send(Exchange(fresh=True))
        assert response.status == 200
        response.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_in_mid_body_is_seen_as_such(stream):
    async with Rig(Script.of(faults.Cut(3, clean=False))) as rig:
        response = await rig.send(stream=stream)
        with pytest.raises(TransportError) as cut:
            await response.read(LIMIT)
        assert cut.value.error_class is ErrorClass.TRUNCATED
        response.close()
        await quiet()
        assert rig.provider.log[0].outcome == "broken"


async def test_a_clean_cut_is_a_whole_http_body_and_keeps_the_connection():
    async with Rig(Script.of(faults.Cut(3))) as rig:
        _, text = await rig.read(stream=True)
        assert b"c " in text
        assert b"[DONE]" not in text
        this = Exchange()
        (await rig.send(this, stream=True)).close()
        assert this.reused


@pytest.mark.parametrize("fault", [faults.Silence(), faults.Silence(head=True), faults.Stall(3), faults.ConnectHang()])
async def test_a_client_that_hangs_up_is_noticed_at_once(fault):
    loop = asyncio.get_running_loop()
    async with Rig(Script.of(fault)) as rig:
        before = loop.time()
        with anyio.move_on_after(20) as scope:
            await rig.read(stream=True)
        assert scope.cancelled_caught
        await quiet()
        (seen,) = rig.provider.log
        assert seen.outcome == "client_gone"
        assert seen.ended_at - before == pytest.approx(20, abs=0.1)


async def test_a_client_that_leaves_in_mid_stream_is_noticed():
    async with Rig(Script(tokens_per_second=1)) as rig:
        response = await rig.send(stream=True)
        await response.read_some()
        response.close()
        await quiet()
        assert rig.provider.log[0].outcome == "client_gone"


async def test_closing_the_server_ends_what_it_still_answers():
    async with Rig(Script.of(faults.Silence())) as rig:
        async with anyio.create_task_group() as tasks:

            async def call():
                with pytest.raises(TransportError):
                    await rig.read()

            tasks.start_soon(call)
            await quiet()
            assert rig.provider.in_flight == 1
            await rig.server.__aexit__(None, None, None)
        assert [seen.outcome for seen in rig.provider.log] == ["broken"]


async def test_serve_runs_until_it_is_cancelled():
    ready = asyncio.Event()
    found = []

    def tell(server):
        found.append(server.url)
        ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: serve(SimulatedProvider(), ready=tell))
        await ready.wait()
        async with aiohttp.ClientSession() as session, session.get(f"{found[0]}/models") as response:
            assert response.status == 200
        tasks.cancel_scope.cancel()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{found[0]}/models")
