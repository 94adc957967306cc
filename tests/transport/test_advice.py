"""What to check, for errors that no test can bring about on every machine."""

import errno
import os
import ssl

import aiohttp
import pytest
from aiohttp.client_exceptions import UnixClientConnectorError
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from resilio.config import NetworkSettings
from resilio.errors import ErrorClass
from resilio.transport import Exchange
from resilio.transport.advice import translate

URL_ = URL("https://models.test/v1")
KEY = ConnectionKey("models.test", 443, True, ssl.create_default_context(), None, None, None)


def system(code):
    return aiohttp.ClientConnectorError(KEY, OSError(code, os.strerror(code)))


def said(exc, *, url=URL_, network=None):
    error = translate(exc, url, None, Exchange(), network or NetworkSettings())
    assert error.error_class is ErrorClass.CONNECT
    assert " object at 0x" not in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.EMFILE, "raise its limit (ulimit -n) or lower max_concurrency"),
        (errno.ENETUNREACH, "the address cannot be reached from here; check the network, routes and firewalls"),
        (errno.EHOSTUNREACH, "the address cannot be reached from here"),
        (errno.ETIMEDOUT, "nothing answers there; check host and port in base_url, and firewalls"),
        (errno.ECONNREFUSED, "nothing accepts connections there; check host and port in base_url"),
        (errno.ECONNRESET, "was closed while it was made; check https or http in base_url"),
    ],
)
def test_an_error_of_the_system_comes_with_its_own_words_and_what_to_check(code, advice):
    text = said(system(code))
    assert text.startswith("cannot connect to models.test (")
    assert os.strerror(code) in text
    assert advice in text


def test_a_provider_reached_over_ipv6_alone_is_told_of_ipv4():
    assert 'set network.family = "ipv4"' in said(system(errno.ENETUNREACH), network=NetworkSettings(family="ipv6"))


def test_a_socket_one_may_not_use_is_told_with_its_rights():
    exc = UnixClientConnectorError("/run/s", KEY, PermissionError(errno.EACCES, "Permission denied"))
    assert "may not connect to /run/s; check the rights" in said(exc, network=NetworkSettings(unix_socket="/run/s"))


def test_a_certificate_error_without_a_code_still_names_the_setting():
    exc = aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("odd"))
    assert "network.ca_file says which CAs are trusted" in said(exc)


def test_foreign_words_are_cut_short():
    request = aiohttp.RequestInfo(URL_, "POST", {}, URL_)
    exc = aiohttp.ClientResponseError(request, (), status=400, message="x" * 5000)
    error = translate(exc, URL_, None, Exchange(sent=True), NetworkSettings())
    assert error.error_class is ErrorClass.MALFORMED
    assert len(str(error)) < 400
