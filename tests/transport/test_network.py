"""Certificates, proxies, sockets and addresses: each setting against a server that needs it, each error in words."""

import asyncio
import datetime as dt
import logging
import socket
import ssl
import traceback

import pytest
import trustme
from raw_server import Names, Proxy, answering, ask, failure, hold, once, raw_server, refusing, settled, transport

from resilio.config import NetworkSettings
from resilio.errors import ErrorClass
from resilio.transport import Exchange

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


class Pki:
    """A CA of its own and what it signs, as files."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = trustme.CA()
        self.ca_file = self.file("ca.pem", self.ca.cert_pem)
        self.client = self.ca.issue_cert("client@example.org")
        self.client_cert = self.file("client.pem", *self.client.cert_chain_pems)
        self.client_key = self.file("client.key", self.client.private_key_pem)

    def file(self, name, *blobs):
        path = self.folder / name
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return str(path)

    def server(self, *names, mutual=False, **validity):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*(names or ("127.0.0.1",)), **validity).configure_cert(context)
        if mutual:
            self.ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def no_proxies_about(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def unconnected(error, *words):
    assert error.error_class is ErrorClass.CONNECT, error
    assert not error.answered
    for word in ("cannot connect to", *words):
        assert word in str(error), str(error)
    assert " object at 0x" not in str(error)


# --- TLS ---------------------------------------------------------------------------------------


async def test_a_ca_of_ones_own_is_trusted_where_ca_file_names_it_and_nowhere_else(pki):
    network = NetworkSettings(ca_file=pki.ca_file)
    async with raw_server(answering(), tls=pki.server()) as server, transport() as http:
        assert await ask(http, server.url, network=network) == b"hello"
        assert await ask(http, server.url, network=network) == b"hello"
        assert server.connections == 1
        error = await failure(http, server.url)
        unconnected(error, "is from an unknown CA; if you trust it, set network.ca_file")
        assert "CERTIFICATE_VERIFY_FAILED" in str(error)


async def test_a_ca_file_takes_the_place_of_the_machines_own_cas(pki, tmp_path):
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(trustme.CA().cert_pem.bytes())
    async with raw_server(answering(), tls=pki.server()) as server, transport() as http:
        error = await failure(http, server.url, network=NetworkSettings(ca_file=str(stranger)))
        unconnected(error, f"which is not in network.ca_file, {stranger}")


async def test_a_self_signed_certificate_is_called_so(pki):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.file("self-signed.pem", pki.ca.private_key_pem, pki.ca.cert_pem))
    async with raw_server(answering(), tls=context) as server, transport() as http:
        unconnected(await failure(http, server.url), "is self-signed or from a CA of its own")


async def test_a_certificate_that_has_expired_or_is_yet_to_come_is_told_with_the_clock(pki):
    network = NetworkSettings(ca_file=pki.ca_file)
    async with transport() as http:
        async with raw_server(answering(), tls=pki.server(not_before=NOW - 9 * DAY, not_after=NOW - DAY)) as server:
            unconnected(await failure(http, server.url, network=network), "has expired; have it renewed")
        async with raw_server(answering(), tls=pki.server(not_before=NOW + DAY, not_after=NOW + 9 * DAY)) as server:
            unconnected(await failure(http, server.url, network=network), "is not valid yet", "clock")


@pytest.mark.parametrize("named", [False, True], ids=["address", "name"])
async def test_a_certificate_of_another_host_is_told_with_the_host_asked(pki, named):
    network = NetworkSettings(ca_file=pki.ca_file)
    names = Names(models_test="127.0.0.1")
    async with raw_server(answering(), tls=pki.server("other.test")) as server, transport(names) as http:
        host = "models.test" if named else "127.0.0.1"
        error = await failure(http, server.url.replace("127.0.0.1", host), network=network)
        unconnected(error, f"is for another host than {host}; use the name it has in base_url")


async def test_verification_switched_off_takes_any_certificate_and_warns_once(pki, caplog):
    network = NetworkSettings(verify=False)
    with caplog.at_level(logging.WARNING, "resilio"):
        async with raw_server(answering(), tls=pki.server("other.test")) as server, transport() as http:
            for fresh in (False, False, True):
                exchange = Exchange(network=network, provider="lab", fresh=fresh)
                assert await ask(http, server.url, exchange=exchange) == b"hello"
    (record,) = caplog.records
    assert "provider 'lab' are NOT verified (network.verify = false)" in record.getMessage()


async def test_a_server_that_wants_a_certificate_gets_it(pki):
    network = NetworkSettings(ca_file=pki.ca_file, client_cert=pki.client_cert, client_key=pki.client_key)
    async with raw_server(answering(), tls=pki.server(mutual=True)) as server, transport() as http:
        assert await ask(http, server.url, network=network) == b"hello"


class Alerting:
    """A TLS server as most are, which says why it turns a client down; asyncio's own hangs up without a word."""

    def __init__(self, context):
        self.context = context
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listening.getsockname()[1]}/v1"
        self.said = ""

    def serve_one(self):
        with self.listening:
            raw, _ = self.listening.accept()
        with self.context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False) as client:
            try:
                client.do_handshake()
            except ssl.SSLError as exc:
                self.said = exc.reason
                # Closing with the client's request unread would be a reset, and overtake the alert.
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


async def turned_down(pki, version, network):
    context = pki.server(mutual=True)
    context.minimum_version = context.maximum_version = version
    server = Alerting(context)
    async with transport() as http:
        serving = asyncio.create_task(asyncio.to_thread(server.serve_one))
        error = await failure(http, server.url, network=network)
    await serving
    assert server.said
    return error


@pytest.mark.real_loop
@VERSIONS
async def test_a_server_that_wants_a_certificate_and_gets_none_has_processed_nothing(pki, version):
    error = await turned_down(pki, version, NetworkSettings(ca_file=pki.ca_file))
    unconnected(error, "(mTLS); set network.client_cert and network.client_key")


@pytest.mark.real_loop
@VERSIONS
async def test_a_certificate_the_server_does_not_take_is_told_with_its_file(pki, tmp_path, version):
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(trustme.CA().issue_cert("client@example.org").private_key_and_cert_chain_pem.bytes())
    error = await turned_down(pki, version, NetworkSettings(ca_file=pki.ca_file, client_cert=str(stranger)))
    unconnected(error, f"does not take the certificate in network.client_cert, {stranger}")


async def test_a_server_that_hangs_up_inside_the_handshake_may_want_a_certificate(pki):
    context = pki.server(mutual=True)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with raw_server(answering(), tls=context) as server, transport() as http:
        error = await failure(http, server.url, network=NetworkSettings(ca_file=pki.ca_file))
        unconnected(error, "closed while it was made", "whether the server wants a certificate")
        assert server.requests == []


async def test_renewed_files_are_used_for_new_connections_and_broken_ones_are_not(pki, tmp_path, caplog):
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(pki.ca.cert_pem.bytes())
    network = NetworkSettings(ca_file=str(ca_file))
    renewed = Pki(tmp_path)  # writes its own CA to the same file
    now = ca_file.read_bytes()
    async with transport() as http:
        async with raw_server(answering(), tls=pki.server()) as server:
            ca_file.write_bytes(pki.ca.cert_pem.bytes())
            assert await ask(http, server.url, network=network) == b"hello"
        async with raw_server(answering(), tls=renewed.server()) as server:
            ca_file.write_bytes(b"half a fi")
            await asyncio.sleep(11)
            unconnected(await failure(http, server.url, network=network), "network.ca_file")
            assert "has changed and is of no use, so the old one stays" in caplog.text
            ca_file.write_bytes(now)
            await asyncio.sleep(11)
            assert await ask(http, server.url, network=network) == b"hello"


async def test_a_certificate_that_vanished_since_the_check_is_told_and_costs_no_session(tmp_path):
    gone = str(tmp_path / "gone.pem")
    async with raw_server(answering()) as server, transport() as http:
        error = await failure(http, server.url, network=NetworkSettings(ca_file=gone))
        assert error.error_class is ErrorClass.CONNECT
        assert f"network.ca_file: there is no file {gone}" in str(error)


async def test_https_to_a_port_that_speaks_http_is_told(pki):
    async def play(connection):
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with raw_server(play) as server, transport() as http:
        error = await failure(http, server.url.replace("http:", "https:"))
        unconnected(error, "does not speak TLS on this port; check https or http")


async def test_http_to_a_port_that_speaks_tls_is_told(pki):
    async with transport() as http:
        async with raw_server(once(b"\x15\x03\x01\x00\x02\x02\x46")) as server:  # the alert of OpenSSL's own server
            error = await failure(http, server.url)
            assert error.error_class is ErrorClass.MALFORMED
            assert "it speaks TLS; write https:// in base_url" in str(error)
        async with raw_server(answering(), tls=pki.server()) as server:  # asyncio hangs up without one
            error = await failure(http, server.url.replace("https:", "http:"))
            assert error.error_class is ErrorClass.DISCONNECTED


# --- names and addresses -----------------------------------------------------------------------


async def test_a_name_that_does_not_resolve_is_told():
    async with transport(Names()) as http:
        error = await failure(http, "http://nowhere.test/v1")
        unconnected(error, "nowhere.test", "does not resolve; check the host in base_url and this machine's DNS")


@pytest.mark.real_loop
async def test_a_name_that_cannot_exist_does_not_resolve_on_a_real_machine():
    async with transport() as http:
        unconnected(await failure(http, "http://no-such-host.invalid/v1"), "the name does not resolve")


async def test_a_port_nobody_listens_on_is_told():
    with refusing() as url:
        async with transport() as http:
            unconnected(await failure(http, f"{url}/v1"), "Connect call failed", "check host and port in base_url")


async def test_a_name_is_resolved_once_and_remembered():
    names = Names(models_test="127.0.0.1")
    async with raw_server(answering()) as server, transport(names) as http:
        url = server.url.replace("127.0.0.1", "models.test")
        for _ in range(3):
            await ask(http, url, exchange=Exchange(fresh=True))
        assert (server.connections, len(names.asked)) == (3, 1)


async def test_without_a_memory_for_names_each_connection_asks():
    names = Names(models_test="127.0.0.1")
    async with raw_server(answering()) as server, transport(names) as http:
        url = server.url.replace("127.0.0.1", "models.test")
        for _ in range(3):
            await ask(http, url, exchange=Exchange(network=NetworkSettings(dns_ttl=0), fresh=True))
        assert len(names.asked) == 3


@pytest.mark.real_loop
async def test_a_name_is_asked_for_again_when_its_time_is_over():
    names = Names(models_test="127.0.0.1")
    async with raw_server(answering()) as server, transport(names) as http:
        url = server.url.replace("127.0.0.1", "models.test")
        while len(names.asked) < 2:  # ends because the memory does
            await ask(http, url, exchange=Exchange(network=NetworkSettings(dns_ttl=0.01), fresh=True))
        assert server.connections >= 2


@pytest.mark.parametrize(("family", "asked"), [("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)])
async def test_only_addresses_of_the_family_are_asked_for_and_used(family, asked):
    names = Names(models_test="127.0.0.1" if family == "ipv4" else "::1")
    host = names.names["models.test"]
    async with raw_server(answering(), host=host) as server, transport(names) as http:
        url = server.url.replace(f"[{host}]" if ":" in host else host, "models.test")
        assert await ask(http, url, network=NetworkSettings(family=family)) == b"hello"
        assert names.asked == [("models.test", asked)]
        missing = await failure(http, "http://other.test/v1", network=NetworkSettings(family=family))
        unconnected(missing, f"does not resolve to an {family} address (network.family)")


async def test_an_ipv6_literal_works():
    async with raw_server(answering(), host="::1") as server, transport() as http:
        assert await ask(http, server.url) == b"hello"
        assert b"\r\nHost: [::1]:" in server.requests[0]


async def test_an_address_there_is_no_way_to_is_told_with_the_family():
    async with transport() as http:
        # There is no TCP to multicast addresses: the kernel says so wherever the test runs.
        unconnected(await failure(http, "http://[ff0e::1]:9/v1"), "[ff0e::1]:9", 'set network.family = "ipv4"')
        unconnected(await failure(http, "http://224.0.0.1:9/v1"), "the address cannot be reached from here")


# --- keep-alive --------------------------------------------------------------------------------


@pytest.mark.real_loop
async def test_an_idle_connection_is_closed_when_its_time_is_over():
    network = NetworkSettings(keepalive_timeout=0.02)
    async with raw_server(answering()) as server, transport() as http:
        assert await ask(http, server.url, network=network) == b"hello"
        await server.until_closed()  # by us: this server never hangs up
        exchange = Exchange(network=network)
        assert await ask(http, server.url, exchange=exchange) == b"hello"
        assert (server.connections, exchange.reused) == (2, False)


# --- Unix sockets ------------------------------------------------------------------------------


async def test_a_unix_socket_is_used_and_host_and_path_come_from_base_url(tmp_path):
    path = str(tmp_path / "s")
    network = NetworkSettings(unix_socket=path)
    async with raw_server(answering(), path=path) as server, transport() as http:
        told = []
        first = Exchange(lambda: told.append("connecting"), lambda: told.append("connected"), network=network)
        assert await ask(http, "http://models.test/v1/chat", exchange=first) == b"hello"
        second = Exchange(network=network)
        await ask(http, "http://models.test/v1/chat", exchange=second)
        assert (told, first.reused, second.reused) == (["connecting", "connected"], False, True)
        assert server.connections == 1
        assert server.requests[0].startswith(b"POST /v1/chat HTTP/1.1\r\nHost: models.test\r\n")
        assert await ask(http, "http://models.test/v1", exchange=Exchange(network=network, fresh=True)) == b"hello"
        assert server.connections == 2


async def test_a_unix_socket_that_is_missing_or_dead_is_told_with_its_path(tmp_path):
    path = str(tmp_path / "s")
    async with transport() as http:
        network = NetworkSettings(unix_socket=path)
        error = await failure(http, "http://models.test/v1", network=network)
        unconnected(error, f"there is no socket {path}; check network.unix_socket, and that the server runs")
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(path)
        dead.close()
        error = await failure(http, "http://models.test/v1", network=network)
        unconnected(error, f"nobody listens on {path}")


# --- proxies -----------------------------------------------------------------------------------


def at(server, user=""):
    return server.url.replace("/v1", "").replace("http://", f"http://{user}@" if user else "http://")


async def test_an_http_request_goes_through_the_proxy_in_absolute_form():
    proxy = Proxy()
    async with raw_server(answering()) as server, raw_server(proxy.play) as middle, transport() as http:
        network = NetworkSettings(proxy=at(middle))
        for _ in range(2):
            assert await ask(http, f"{server.url}/chat", network=network) == b"hello"
        assert proxy.asked == [f"POST {server.url}/chat HTTP/1.1".encode()]  # and the connection is kept
        assert await ask(http, f"{server.url}/chat") == b"hello"
        assert (middle.connections, server.connections) == (1, 2)


async def test_an_https_request_goes_through_the_proxy_in_a_tunnel_the_proxy_cannot_read(pki):
    proxy = Proxy(credentials=b"Basic bWU6c2VzYW1l")
    async with (
        raw_server(answering(), tls=pki.server()) as server,
        raw_server(proxy.play) as middle,
        transport() as http,
    ):
        network = NetworkSettings(proxy=at(middle, "me:sesame"), ca_file=pki.ca_file)
        told = []
        exchange = Exchange(lambda: told.append("connecting"), lambda: told.append("connected"), network=network)
        headers = {"Authorization": "Bearer sk-secret"}
        assert await ask(http, server.url, exchange=exchange, headers=headers) == b"hello"
        assert told == ["connecting", "connected"]
        port = server.url.split(":")[2].split("/")[0]
        assert proxy.asked == [f"CONNECT 127.0.0.1:{port} HTTP/1.1".encode()]
        assert b"Authorization: Bearer sk-secret" in server.requests[0]
        assert b"Proxy-Authorization" not in server.requests[0]
        await ask(http, server.url, network=network)
        assert (middle.connections, server.connections) == (1, 1)


async def test_the_callers_key_is_not_taken_for_the_proxys_credentials():
    proxy = Proxy(credentials=b"Basic bWU6c2VzYW1l")
    async with raw_server(answering()) as server, raw_server(proxy.play) as middle, transport() as http:
        network = NetworkSettings(proxy=at(middle, "me:sesame"))
        headers = {"Authorization": "Bearer sk-secret"}
        assert await ask(http, server.url, network=network, headers=headers) == b"hello"
        assert b"\r\nAuthorization: Bearer sk-secret\r\n" in server.requests[0]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_other_credentials_is_told_and_no_password_is_shown(scheme):
    proxy = Proxy(credentials=b"Basic other")
    async with raw_server(proxy.play) as middle, transport() as http:
        network = NetworkSettings(proxy=at(middle, "me:sesame"))
        error = await failure(http, f"{scheme}://models.test/v1", network=network)
        port = middle.url.split(":")[2].split("/")[0]
        unconnected(error, f"proxy 127.0.0.1:{port} answered 407", "into the URL of network.proxy")
        told = "".join(traceback.format_exception(error))
        while error is not None:
            told += f"{error!r} {error.args} {vars(error)}"
            error = error.__cause__ or error.__context__
        assert not [secret for secret in ("sesame", "bWU6c2VzYW1l") if secret in told], "as it is or in base64"


async def test_a_proxy_that_refuses_the_tunnel_is_told():
    async with raw_server(Proxy(status=b"403 Forbidden").play) as middle, transport() as http:
        error = await failure(http, "https://models.test/v1", network=NetworkSettings(proxy=at(middle)))
        unconnected(error, "answered 403 Forbidden", "the proxy does not let this through")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_down_or_has_no_address_is_told_apart_from_the_provider(scheme):
    with refusing() as dead:
        async with transport(Names()) as http:
            down = await failure(http, f"{scheme}://models.test/v1", network=NetworkSettings(proxy=dead))
    async with transport(Names()) as http:
        unconnected(down, "takes no connections; check network.proxy and that the proxy runs")
        lost = await failure(http, f"{scheme}://models.test/v1", network=NetworkSettings(proxy="http://proxy.test:1"))
        unconnected(lost, "the name of the proxy, proxy.test, does not resolve; check network.proxy")


async def test_proxies_of_the_environment_are_ignored_unless_asked_for(monkeypatch):
    with refusing() as dead:
        monkeypatch.setenv("HTTP_PROXY", dead)
        monkeypatch.setenv("ALL_PROXY", dead)
        async with raw_server(answering()) as server, transport() as http:
            assert await ask(http, server.url) == b"hello"
            error = await failure(http, server.url, network=NetworkSettings(proxy="environment"))
        unconnected(error, "takes no connections; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")


async def test_proxies_of_the_environment_are_used_but_for_no_proxy(monkeypatch):
    proxy = Proxy()
    network = NetworkSettings(proxy="environment")
    async with raw_server(answering()) as server, raw_server(proxy.play) as middle:
        monkeypatch.setenv("http_proxy", at(middle).removeprefix("http://"))
        async with transport() as http:
            assert await ask(http, server.url, network=network) == b"hello"
            assert len(proxy.asked) == 1
        monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
        async with transport() as http:
            assert await ask(http, server.url, network=network) == b"hello"
            assert len(proxy.asked) == 1


async def test_a_netrc_file_is_never_read(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password sesame\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    async with raw_server(answering()) as server, transport() as http:
        assert await ask(http, server.url, network=NetworkSettings(proxy="environment")) == b"hello"
        assert b"uthorization" not in server.requests[0]


async def test_a_proxy_of_the_environment_that_will_not_do_is_told(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:sesame@127.0.0.1:1080")
    async with transport() as http:
        error = await failure(http, "https://models.test/v1", network=NetworkSettings(proxy="environment"))
        assert error.error_class is ErrorClass.CONNECT
        assert "environment variable HTTPS_PROXY is a socks5:// proxy, which is not supported" in str(error)
        assert "sesame" not in str(error)


# --- closing -----------------------------------------------------------------------------------


class Slow(Names):
    """A resolver that never answers."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        await asyncio.get_running_loop().create_future()


async def test_who_waits_for_a_name_or_a_connection_when_all_is_closed_gets_an_error_not_a_cancellation():
    limited = NetworkSettings(max_connections=1)
    async with raw_server(hold) as server, transport(Slow()) as http:
        urls = ((server.url, limited), (server.url, limited), ("http://models.test/v1", NetworkSettings()))
        tasks = [asyncio.create_task(failure(http, url, network=network)) for url, network in urls]
        await settled()
        await http.aclose()
        errors = [await task for task in tasks]
        kinds = [error.error_class for error in errors]
        assert kinds == [ErrorClass.DISCONNECTED, ErrorClass.CONNECT, ErrorClass.CONNECT], errors


async def test_who_gives_up_waiting_for_a_name_is_cancelled():
    async with transport(Slow()) as http:
        task = asyncio.create_task(ask(http, "http://models.test/v1"))
        await settled()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
