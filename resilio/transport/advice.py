"""From an exception of aiohttp to ours: what failed, in whose words, and what to check.

Pure: it reads the exception, the settings and what the exchange knows. No message holds a header, the
password of a proxy or the address of an object.
"""

from __future__ import annotations

import errno
import ipaddress
import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.http_exceptions import ContentEncodingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from resilio.config import NetworkSettings
from resilio.errors import ErrorClass, TransportError
from resilio.transport import Exchange

__all__ = ["cut", "forget_headers", "no_proxy_credentials", "redirected", "too_large", "translate"]

# X509_V_ERR_* of OpenSSL's x509_vfy.h, as `SSLCertVerificationError.verify_code` has them.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED: Final = (18, 19)
_UNKNOWN_ISSUER: Final = (2, 20, 21)
_WRONG_NAME: Final = (62, 64)

_CLIENT_CERTIFICATE: Final = (
    "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED", "CERTIFICATE_UNKNOWN", "UNSUPPORTED_CERTIFICATE", "ACCESS_DENIED",
)  # fmt: skip
"""Ends of the names of TLS alerts with which a server turns down a client's certificate."""
_NOT_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_NO_HEADERS: Final = CIMultiDictProxy[str](CIMultiDict())
_LONGEST: Final = 300
"""Characters of foreign words in a message."""
_UNREACHABLE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def translate(
    exc: BaseException, url: URL, proxy: URL | None, exchange: Exchange, network: NetworkSettings
) -> TransportError:
    """The one place where what aiohttp raises before a response becomes ours."""
    host = url.host_port_subcomponent
    if isinstance(exc, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return TransportError(f"{str(url)!r} is not a URL: check base_url", ErrorClass.CONNECT)
    if not exchange.sent:
        why, check = _unconnected(exc, url, proxy, network)
        return TransportError(f"cannot connect to {host} ({why}): {check}", ErrorClass.CONNECT)
    alert = _tls_error(exc)
    if alert is not None and not exchange.reused and _ends(alert, _CLIENT_CERTIFICATE):
        # With TLS 1.3 a client has finished its handshake before the server has seen its certificate.
        why, check = _name(alert), _client_certificate(network)
        return TransportError(f"cannot connect to {host} ({why}): {check}", ErrorClass.CONNECT)
    if isinstance(exc, aiohttp.ClientResponseError | ValueError):
        return TransportError(f"{host} did not answer in HTTP ({_name(exc)}){_speaks_tls(exc, url)}",
                              ErrorClass.MALFORMED, answered=True)  # fmt: skip
    kind = "a kept-alive" if exchange.reused else "the"
    return TransportError(
        f"{host} closed {kind} connection before answering ({_name(exc)})",
        ErrorClass.DISCONNECTED,
        reused=exchange.reused,
    )


def forget_headers(exc: BaseException) -> None:
    """Take the headers that were sent out of an error of aiohttp's and those behind it: its `repr` shows the key."""
    for each in _chain(exc):
        if isinstance(each, aiohttp.ClientResponseError):
            info = each.request_info
            each.request_info = aiohttp.RequestInfo(info.url, info.method, _NO_HEADERS, info.real_url)
            each.args = (each.request_info, each.history)


def redirected(status: int, url: URL, location: str) -> TransportError:
    """The error of a redirect: following it would show the key to whoever it names."""
    try:
        to = str(url.join(URL(location)).with_query(None).with_fragment(None).with_user(None))
    except ValueError:
        to = "something that is not a URL"
    host = url.host_port_subcomponent
    text = f"{host} answered {status}, a redirect to {to}, which is not followed: correct base_url"
    return TransportError(text, ErrorClass.MALFORMED, answered=True)


def no_proxy_credentials(url: URL, proxy: URL | None, network: NetworkSettings) -> TransportError:
    """The error of a 407: nobody but a proxy answers so, and the provider has seen nothing."""
    host, check = url.host_port_subcomponent, _proxy_answered(407, network)
    text = f"cannot connect to {host} (proxy {_at(proxy)} answered 407): {check}"
    return TransportError(text, ErrorClass.CONNECT)


def too_large(limit: int, what: str) -> TransportError:
    """The error of a body longer than allowed."""
    text = f"the answer is longer than max_body_bytes = {limit}: {what}"
    return TransportError(text, ErrorClass.MALFORMED, answered=True)


def cut(exc: BaseException) -> TransportError:
    """The error of a body that ended early or cannot be unpacked."""
    if isinstance(exc, aiohttp.ClientPayloadError) and _undecodable(exc):
        return TransportError(f"the answer cannot be decompressed: {exc}", ErrorClass.MALFORMED, answered=True)
    return TransportError(
        f"the connection ended before the answer was whole ({_name(exc)})", ErrorClass.TRUNCATED, answered=True
    )


def _undecodable(exc: BaseException) -> bool:
    return any(isinstance(each, ContentEncodingError) for each in _chain(exc))


# --- no connection ---------------------------------------------------------------------------


def _unconnected(exc: BaseException, url: URL, proxy: URL | None, network: NetworkSettings) -> tuple[str, str]:
    """What the system or the peer said, and what to check."""
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return f"proxy {_at(proxy)} answered {exc.status} {exc.message}", _proxy_answered(exc.status, network)
    why = _name(getattr(exc, "os_error", None) or getattr(exc, "certificate_error", None) or exc)
    if isinstance(exc, UnixClientConnectorError):
        return why, _unix(exc.os_error, network)
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return why, _certificate(exc.certificate_error, url, network)
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return why, _unresolved(exc.host, proxy, network)
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return why, f"proxy {_at(proxy)} takes no connections; check {_proxy_setting(network)} and that the proxy runs"
    alert = _tls_error(exc)
    if alert is not None:
        return why, _handshake(alert, network)
    return why, _system(exc, url, network)


def _unresolved(host: str, proxy: URL | None, network: NetworkSettings) -> str:
    only = "" if network.family == "any" else f" to an {network.family} address (network.family)"
    if proxy is not None and host == proxy.raw_host:
        return f"the name of the proxy, {host}, does not resolve{only}; check {_proxy_setting(network)}"
    return f"the name does not resolve{only}; check the host in base_url and this machine's DNS"


def _proxy_answered(status: int, network: NetworkSettings) -> str:
    """What to do about a proxy that refuses."""
    setting = _proxy_setting(network)
    if status == 407:
        where = f"{setting} as http://USER:PASSWORD@HOST:PORT"
        return f"the proxy wants other credentials; put them into the URL of {where}"
    return f"the proxy does not let this through; ask who runs it, or check {setting}"


def _proxy_setting(network: NetworkSettings) -> str:
    if network.proxy == "environment":
        return "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    return "network.proxy"


def _at(proxy: URL | None) -> str:
    return "" if proxy is None else f"{proxy.host_subcomponent}:{proxy.port}"


def _unix(error: OSError, network: NetworkSettings) -> str:
    path = network.unix_socket
    if error.errno == errno.ENOENT:
        return f"there is no socket {path}; check network.unix_socket, and that the server runs"
    if error.errno == errno.EACCES:
        return f"this user may not connect to {path}; check the rights of the socket and of its folder"
    return f"nobody listens on {path}; check that the server runs and network.unix_socket is where it listens"


def _certificate(error: Exception, url: URL, network: NetworkSettings) -> str:
    code = getattr(error, "verify_code", None)
    if code == _EXPIRED:
        return "the server's certificate has expired; have it renewed, or set this machine's clock if it is wrong"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet; set this machine's clock, which may be slow"
    if code in _WRONG_NAME:
        return f"the server's certificate is for another host than {url.raw_host}; use the name it has in base_url"
    if code in _SELF_SIGNED or code in _UNKNOWN_ISSUER:
        what = "is self-signed or from a CA of its own" if code in _SELF_SIGNED else "is from an unknown CA"
        if network.ca_file is not None:
            return f"the server's certificate {what}, which is not in network.ca_file, {network.ca_file}"
        return f"the server's certificate {what}; if you trust it, set network.ca_file to the PEM file of its CA"
    return "the server's certificate does not pass; network.ca_file says which CAs are trusted"


def _handshake(alert: ssl.SSLError, network: NetworkSettings) -> str:
    if _ends(alert, _NOT_TLS):
        return "the server does not speak TLS on this port; check https or http, and the port, in base_url"
    if _ends(alert, (*_CLIENT_CERTIFICATE, "HANDSHAKE_FAILURE")):
        return _client_certificate(network)
    return "the TLS handshake failed; check host and port in base_url, and what stands between"


def _client_certificate(network: NetworkSettings) -> str:
    if network.client_cert is None:
        return "the server asks for a certificate (mTLS); set network.client_cert and network.client_key"
    return f"the server does not take the certificate in network.client_cert, {network.client_cert}"


def _system(exc: BaseException, url: URL, network: NetworkSettings) -> str:
    codes = {each.errno for each in _chain(exc) if isinstance(each, OSError)}
    if codes & {errno.EMFILE, errno.ENFILE}:
        return "this process may open no more files; raise its limit (ulimit -n) or lower max_concurrency"
    if codes & set(_UNREACHABLE):
        if network.family == "ipv6" or _is_ipv6(url):
            return 'the IPv6 address cannot be reached from here; set network.family = "ipv4" or an IPv4 base_url'
        return "the address cannot be reached from here; check the network, routes and firewalls"
    if any(isinstance(each, ConnectionResetError | aiohttp.ServerDisconnectedError) for each in _chain(exc)):
        wants = " and whether the server wants a certificate (network.client_cert)" if url.scheme == "https" else ""
        return f"the connection was closed while it was made; check https or http in base_url{wants}"
    if errno.ETIMEDOUT in codes:
        return "nothing answers there; check host and port in base_url, and firewalls"
    return "nothing accepts connections there; check host and port in base_url, and that the server runs"


def _is_ipv6(url: URL) -> bool:
    try:
        return ipaddress.ip_address(url.raw_host or "").version == 6
    except ValueError:
        return False


# --- reading exceptions ----------------------------------------------------------------------


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """An exception, what it wraps and what caused it."""
    seen: BaseException | None = exc
    while seen is not None:
        yield seen
        for name in ("os_error", "certificate_error"):
            inner = getattr(seen, name, None)
            if isinstance(inner, BaseException):
                yield inner
        seen = seen.__cause__


def _tls_error(exc: BaseException) -> ssl.SSLError | None:
    found = (each for each in _chain(exc) if isinstance(each, ssl.SSLError))
    return next((each for each in found if getattr(each, "reason", None)), None)  # aiohttp's own have none


def _ends(error: ssl.SSLError, names: tuple[str, ...]) -> bool:
    return (error.reason or "").upper().endswith(names)


def _speaks_tls(exc: BaseException, url: URL) -> str:
    """What a TLS alert read as HTTP means."""
    if url.scheme == "http" and "\\x15\\x03" in getattr(exc, "message", ""):
        return ": it speaks TLS; write https:// in base_url"
    return ""


def _name(exc: BaseException) -> str:
    # Of a response error the message alone: the rest of its text is a URL the reader knows.
    said = exc.message if isinstance(exc, aiohttp.ClientResponseError) else str(exc)
    text = " ".join(said.split())[:_LONGEST]
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
