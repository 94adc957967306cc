"""The transport against servers that behave, misbehave and vanish, over loopback, on virtual time."""

import asyncio
import gc
import gzip
import socket
import tracemalloc
import zlib

import pytest
from anyio.lowlevel import checkpoint
from raw_server import OK, answering, ask, failure, hold, once, raw_server, settled, transport

from resilio.config import NetworkSettings
from resilio.errors import ErrorClass, TransportError
from resilio.models import HttpRequest
from resilio.transport import Exchange
from resilio.transport.http import AiohttpTransport

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


# --- what goes out -----------------------------------------------------------------------------


async def test_what_is_sent_is_what_the_codec_made_and_what_http_needs():
    async with raw_server(answering()) as server, transport() as http:
        assert await ask(http, f"{server.url}/chat", headers={"X-Team": "search"}) == b"hello"
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == "POST /v1/chat HTTP/1.1"
        names = {line.split(":")[0].lower() for line in lines}
        assert names == {"host", "x-team", "accept", "content-length", "content-type"}
        assert body == b'{"model": "m"}'


async def test_a_url_goes_out_as_it_was_written():
    async with raw_server(answering()) as server, transport() as http:
        await ask(http, f"{server.url}/a%2Fb?x=%41&y=a+b")
        assert server.requests[0].startswith(b"POST /v1/a%2Fb?x=%41&y=a+b HTTP/1.1\r\n")


async def test_small_packets_leave_at_once():
    async with raw_server(answering(HEAD + b"Content-Length: 9\r\n\r\nhel")) as server, transport() as http:
        response = await http.send(HttpRequest(server.url, {}, b"{}"), Exchange())
        raw = response._reply.connection.transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        response.close()


@pytest.mark.parametrize("url", ["http://", "http:///v1", "nonsense", "ftp://127.0.0.1/v1", "http://[::1/v1"])
async def test_a_url_that_is_none_is_told_and_nothing_is_sent(url):
    async with transport() as http:
        exchange = Exchange()
        error = await failure(http, url, exchange=exchange)
        assert error.error_class is ErrorClass.CONNECT
        assert "base_url" in str(error)


# --- connections -------------------------------------------------------------------------------


async def test_a_connection_is_kept_and_the_next_request_says_so():
    async with raw_server(answering()) as server, transport() as http:
        told = []
        first = Exchange(lambda: told.append("connecting"), lambda: told.append("connected"))
        await ask(http, server.url, exchange=first)
        assert (told, first.sent, first.reused) == (["connecting", "connected"], True, False)
        second = Exchange(lambda: told.append("again"), lambda: told.append("again"))
        await ask(http, server.url, exchange=second)
        assert (len(told), second.sent, second.reused) == (2, True, True)
        assert server.connections == 1


async def test_a_body_that_was_not_read_to_its_end_costs_the_connection():
    async with raw_server(answering(HEAD + b"Content-Length: 9\r\n\r\nhel")) as server, transport() as http:
        response = await http.send(HttpRequest(server.url, {}, b"{}"), Exchange())
        assert await response.read_some() == b"hel"
        response.close()
        response.close()
        await server.until_closed()
        assert server.connections == 1


async def test_a_connection_the_server_says_it_closes_is_not_kept():
    closing = HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"
    async with raw_server(once(closing)) as server, transport() as http:
        for _ in range(3):
            exchange = Exchange()
            assert await ask(http, server.url, exchange=exchange) == b"ok"
            assert not exchange.reused
        assert server.connections == 3


async def test_a_connection_that_died_while_idle_is_known_to_be_reused_and_a_fresh_one_serves():
    async def play(connection):
        await connection.request()
        await connection.send(OK)
        if connection.server.connections == 1:  # takes the next request and hangs up without a word
            await connection.request()
        else:
            await answering()(connection)

    async with raw_server(play) as server, transport() as http:
        await ask(http, server.url)
        exchange = Exchange()
        error = await failure(http, server.url, exchange=exchange)
        assert (error.error_class, error.reused, error.answered) == (ErrorClass.DISCONNECTED, True, False)
        assert "closed a kept-alive connection before answering" in str(error)
        exchange.fresh = True
        assert await ask(http, server.url, exchange=exchange) == b"hello"
        assert not exchange.reused
        assert server.connections == 2


async def test_fresh_means_new_though_idle_connections_are_at_hand():
    async with raw_server(answering()) as server, transport() as http:
        await ask(http, server.url)
        exchange = Exchange(fresh=True)
        await ask(http, server.url, exchange=exchange)
        assert (server.connections, exchange.reused) == (2, False)
        await ask(http, server.url)
        assert server.connections == 2  # both are kept for those to come


# --- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whole",
    [
        HEAD + b"Content-Length: 12\r\n\r\nhello, world",
        CHUNKED + b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD + b"Content-Length: 12\r\n\r\nhello, world",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 32\r\n\r\n" + gzip.compress(b"hello, world"),
    ],
    ids=["length", "chunked", "after 103", "gzip"],
)
async def test_an_answer_is_whole_or_an_error_wherever_it_is_cut_and_however_it_is_split(whole):
    async with transport() as http:
        for at in range(len(whole)):
            async with raw_server(once(whole[:at])) as server:
                error = await failure(http, server.url)
                headless = whole[:at].count(b"\r\n\r\n") <= (b" 103 " in whole)
                kinds = {ErrorClass.DISCONNECTED} if headless else {ErrorClass.TRUNCATED, ErrorClass.MALFORMED}
                assert error.error_class in kinds, (at, whole[:at])
                assert error.answered is not headless

        async def byte_by_byte(connection):
            await connection.request()
            for at in range(len(whole)):
                await connection.send(whole[at : at + 1])
                await checkpoint()

        async with raw_server(byte_by_byte) as server:
            assert await ask(http, server.url) == b"hello, world"


async def test_a_stream_that_is_cut_hands_out_what_came_and_then_raises():
    async with raw_server(once(CHUNKED + b"5\r\nhello\r\n7\r\n, w")) as server, transport() as http:
        response = await http.send(HttpRequest(server.url, {}, b"{}"), Exchange())
        seen = b""
        with pytest.raises(Exception, match="ended before the answer was whole") as caught:
            while part := await response.read_some():
                seen += part
        assert caught.value.error_class is ErrorClass.TRUNCATED
        assert caught.value.answered
        assert seen.startswith(b"hello")
        response.close()


async def test_a_chunk_size_that_is_none_is_no_clean_end():
    async with raw_server(once(CHUNKED + b"5\r\nhello\r\nzz\r\nmore")) as server, transport() as http:
        error = await failure(http, server.url)
        assert error.error_class in (ErrorClass.TRUNCATED, ErrorClass.MALFORMED)
        assert error.answered


async def test_what_comes_after_an_announced_length_is_never_taken_for_the_next_answer():
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    async with raw_server(answering(OK + smuggled)) as server, transport() as http:
        for _ in range(3):
            assert await ask(http, server.url) == b"hello"
            await settled()


async def test_a_body_announced_too_long_is_refused_unread_and_the_connection_given_up():
    head = HEAD + b"Content-Length: 1000000000\r\n\r\n"

    async def play(connection):
        await connection.request()
        await connection.send(head)
        await connection.closed_by_client()

    async with raw_server(play) as server, transport() as http:
        error = await failure(http, server.url, limit=1000)
        assert error.error_class is ErrorClass.MALFORMED
        assert str(error) == "the answer is longer than max_body_bytes = 1000: it announces 1000000000 bytes"
        await server.until_closed()


@pytest.mark.parametrize("head", [HEAD + b"\r\n", CHUNKED], ids=["until closed", "chunked"])
async def test_an_endless_body_is_stopped_soon_after_the_limit(head):
    block = b"x" * 65536
    sent = 0

    async def play(connection):
        nonlocal sent
        await connection.request()
        await connection.send(head)
        while True:
            await connection.send(b"10000\r\n" + block + b"\r\n" if head is CHUNKED else block)
            sent += len(block)

    async with raw_server(play) as server, transport() as http:
        error = await failure(http, server.url, limit=1_000_000)
        assert error.error_class is ErrorClass.MALFORMED
        assert "max_body_bytes = 1000000" in str(error)
        await server.until_closed()
        assert sent < 20_000_000  # the limit and what sockets buffer


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_decompression_bomb_costs_little_more_than_the_limit(encoding):
    packer = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    head = HEAD + f"Content-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with raw_server(once(head + bomb)) as server, transport() as http:
        tracemalloc.start()
        try:
            error = await failure(http, server.url, limit=1 << 20)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(bomb) < 400_000
    assert error.error_class is ErrorClass.MALFORMED
    assert "max_body_bytes" in str(error)
    assert peak < 64 << 20


async def test_a_body_that_is_not_what_its_encoding_says_is_malformed():
    wrong = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 16\r\n\r\n" + b"not gzip at all!"
    async with raw_server(once(wrong)) as server, transport() as http:
        error = await failure(http, server.url)
        assert error.error_class is ErrorClass.MALFORMED
        assert "cannot be decompressed" in str(error)


# --- heads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 999999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ],
    ids=["ssh", "binary", "status", "negative length", "two lengths", "long header", "no colon"],
)
async def test_an_answer_that_is_not_http_is_malformed_and_its_connection_closed(data):
    async def play(connection):
        await connection.request()
        await connection.send(data)
        await connection.closed_by_client()

    async with raw_server(play) as server, transport() as http:
        error = await failure(http, server.url)
        assert (error.error_class, error.answered) == (ErrorClass.MALFORMED, True)
        assert "did not answer in HTTP" in str(error)
        await server.until_closed()


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n", CHUNKED + b"zz\r\n", HEAD + b"Content-Length: 9\r\n\r\ncut"],
    ids=["head", "chunk", "cut"],
)
async def test_no_error_behind_an_error_holds_the_headers_that_were_sent(data):
    async def play(connection):
        await connection.request()
        await connection.send(data)

    async with raw_server(play) as server, transport() as http:
        with pytest.raises(TransportError) as caught:
            await ask(http, server.url, headers={"Authorization": "Bearer sk-marker"})
        assert b"sk-marker" in server.requests[0]
    error, found = caught.value, 0
    while error is not None:
        found += 1
        assert "sk-marker" not in f"{error!r} {error} {error.args} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert found > 1


async def test_several_interim_responses_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2
    async with raw_server(answering(interim + OK)) as server, transport() as http:
        for _ in range(2):
            assert await ask(http, server.url) == b"hello"
        assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_says_where_it_leads(status):
    async with raw_server(answering()) as other:
        location = f"{other.url}/chat?token=secret".replace("http://", "http://me:pass@")
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        async with raw_server(once(head)) as server, transport() as http:
            error = await failure(http, server.url)
            assert error.error_class is ErrorClass.MALFORMED
            assert f"answered {status}, a redirect to {other.url}/chat, which is not followed" in str(error)
            assert "correct base_url" in str(error)
            assert "secret" not in str(error)
            assert "pass" not in str(error)
        assert other.requests == []


async def test_a_redirect_to_a_path_names_the_whole_place():
    head = b"HTTP/1.1 307 Moved\r\nLocation: /v2/chat\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(once(head)) as server, transport() as http:
        assert f"a redirect to {server.url.replace('/v1', '/v2/chat')}," in str(await failure(http, server.url))


# --- connections that end ----------------------------------------------------------------------


async def test_a_reset_before_the_head_is_a_disconnect_on_a_new_connection():
    async def play(connection):
        await connection.request()
        connection.reset()

    async with raw_server(play) as server, transport() as http:
        error = await failure(http, server.url)
        assert (error.error_class, error.reused, error.answered) == (ErrorClass.DISCONNECTED, False, False)
        assert "closed the connection before answering" in str(error)


async def test_a_reset_before_the_request_was_read_is_a_disconnect_too():
    async def play(connection):
        connection.reset()

    async with raw_server(play) as server, transport() as http:
        assert (await failure(http, server.url)).error_class is ErrorClass.DISCONNECTED


async def test_a_reset_after_the_head_is_a_cut_answer():
    async def play(connection):
        await connection.request()
        await connection.send(HEAD + b"Content-Length: 12\r\n\r\nhello")
        await settled()
        connection.reset()

    async with raw_server(play) as server, transport() as http:
        error = await failure(http, server.url)
        assert (error.error_class, error.answered) == (ErrorClass.TRUNCATED, True)


async def test_a_head_that_is_cut_is_a_disconnect():
    async with raw_server(once(b"HTTP/1.1 200 OK\r\nContent-Le")) as server, transport() as http:
        assert (await failure(http, server.url)).error_class is ErrorClass.DISCONNECTED


# --- giving up ---------------------------------------------------------------------------------


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_gives_up_before_the_head_hangs_up():
    async with raw_server(hold) as server, transport() as http:
        task = asyncio.create_task(ask(http, server.url))
        await settled()
        assert server.open == 1
        await cancelled(task)
        await server.until_closed()


async def test_who_gives_up_inside_the_body_hangs_up():
    async def play(connection):
        await connection.request()
        await connection.send(CHUNKED + b"5\r\nhello\r\n")
        await connection.closed_by_client()

    async with raw_server(play) as server, transport() as http:
        task = asyncio.create_task(ask(http, server.url))
        await settled()
        await cancelled(task)
        await server.until_closed()


async def test_who_gives_up_inside_the_tls_handshake_hangs_up():
    async def play(connection):  # takes the client's hello and says nothing
        await connection.closed_by_client()

    async with raw_server(play) as server, transport() as http:
        exchange = Exchange()
        task = asyncio.create_task(ask(http, server.url.replace("http:", "https:"), exchange=exchange))
        await settled()
        assert server.open == 1
        assert not exchange.sent
        await cancelled(task)
        await server.until_closed()


async def test_who_gives_up_in_the_queue_for_a_connection_leaves_it_to_the_next():
    network = NetworkSettings(max_connections=1)
    release = asyncio.Event()

    async def play(connection):
        while await connection.request() is not None:
            await release.wait()
            await connection.send(OK)

    async with raw_server(play) as server, transport() as http:
        first, second, third = (asyncio.create_task(ask(http, server.url, network=network)) for _ in range(3))
        await settled()
        await cancelled(second)
        release.set()
        assert await first == await third == b"hello"
        assert (server.connections, len(server.requests)) == (1, 2)


# --- limits of connections ---------------------------------------------------------------------


async def test_no_more_connections_are_open_than_allowed_and_waiting_counts_as_connecting():
    network = NetworkSettings(max_connections=1)
    release = asyncio.Event()

    async def play(connection):
        while await connection.request() is not None:
            await release.wait()
            await connection.send(OK)

    async with raw_server(play) as server, transport() as http:
        told = []
        first = Exchange(network=network)
        second = Exchange(
            lambda: told.append("connecting"), lambda: told.append(("connected", second.sent)), network=network
        )
        one = asyncio.create_task(ask(http, server.url, exchange=first))
        await settled()
        two = asyncio.create_task(ask(http, server.url, exchange=second))
        await settled()
        assert (server.connections, told, second.sent, second.queued) == (1, ["connecting"], False, True)
        release.set()
        assert await one == await two == b"hello"
        assert told == ["connecting", ("connected", True)]
        assert (server.connections, second.reused, second.queued) == (1, True, False)


async def test_one_who_waited_for_a_connection_and_must_open_it_keeps_the_clock_that_runs():
    network = NetworkSettings(max_connections=1)
    release = asyncio.Event()

    async def play(connection):
        await connection.request()
        await release.wait()
        await connection.send(OK)

    async with raw_server(play) as server, transport() as http:
        told = []
        one = asyncio.create_task(ask(http, server.url, exchange=Exchange(network=network)))
        await settled()
        second = Exchange(lambda: told.append("connecting"), lambda: told.append("connected"), network=network)
        # A fresh connection takes its place in the limit like any other.
        second.fresh = True
        two = asyncio.create_task(ask(http, server.url, exchange=second))
        await settled()
        assert (server.connections, second.queued) == (1, True)
        release.set()
        assert await one == await two == b"hello"
        assert told == ["connecting", "connected"]
        assert (server.connections, second.reused) == (2, False)


async def test_a_limit_is_each_providers_own_and_without_one_connections_are_shared():
    limited = NetworkSettings(max_connections=1)
    async with raw_server(hold) as server, transport() as http:
        held = [
            asyncio.create_task(ask(http, server.url, exchange=Exchange(network=limited, provider=name)))
            for name in ("a", "a", "b")
        ]
        await settled()
        assert server.connections == 2
        for task in held:
            await cancelled(task)
    async with raw_server(answering()) as server, transport() as http:
        for name, network in (("a", NetworkSettings()), ("b", NetworkSettings()), ("c", NetworkSettings(dns_ttl=1))):
            await ask(http, server.url, exchange=Exchange(network=network, provider=name))
        assert server.connections == 2  # a and b have equal settings, c has not


async def test_a_provider_whose_settings_change_gets_connections_of_its_new_ones():
    async with raw_server(answering()) as server, transport() as http:
        for seconds in (15, 15, 30, 15):
            await ask(http, server.url, network=NetworkSettings(keepalive_timeout=seconds))
        assert server.connections == 2


async def test_without_keep_alive_each_request_has_its_own_connection():
    async with raw_server(answering()) as server, transport() as http:
        for _ in range(3):
            await ask(http, server.url, network=NetworkSettings(keepalive_timeout=0))
        assert server.connections == 3
        await server.until_closed()


# --- the end -----------------------------------------------------------------------------------


async def test_closing_ends_requests_in_flight_and_leaves_nothing_behind():
    async def play(connection):
        await connection.request()
        await connection.send(CHUNKED + b"5\r\nhello\r\n")
        await connection.closed_by_client()

    http = AiohttpTransport()
    async with raw_server(hold) as silent, raw_server(play) as streaming, raw_server(answering()) as idle:
        await ask(http, idle.url)
        tasks = [asyncio.create_task(failure(http, server.url)) for server in (silent, streaming)]
        await settled()
        await http.aclose()
        kinds = [(await task).error_class for task in tasks]
        assert kinds == [ErrorClass.DISCONNECTED, ErrorClass.TRUNCATED]
        for server in (silent, streaming, idle):
            await server.until_closed()
    del http, tasks
    gc.collect()  # a socket or session left open would warn here, and a warning is an error


async def test_nothing_is_sent_once_it_is_closed_and_closing_twice_is_harmless():
    async with raw_server(answering()) as server:
        http = AiohttpTransport()
        await ask(http, server.url)
        await http.aclose()
        await http.aclose()
        for fresh in (False, True):
            error = await failure(http, server.url, exchange=Exchange(fresh=fresh))
            assert error.error_class is ErrorClass.CONNECT
            assert "the transport is closed" in str(error)
        assert len(server.requests) == 1


async def test_a_transport_that_sent_nothing_closes():
    await AiohttpTransport().aclose()
