"""Certificates from files: read once to check a configuration, and again where connections are made.

One way for both, so that what passed the check is what is used. No setting is judged here; a file that will
not do is a `BadFile`, with its path and what to do about it.
"""

from __future__ import annotations

import os
import ssl
from typing import NoReturn

from resilio.config.settings import NetworkSettings

__all__ = ["BadFile", "load_authorities", "load_client_certificate", "tls_context", "tls_files"]


class BadFile(Exception):
    """A certificate or key that cannot be used.

    Attributes:
        setting: The setting that names the file.
    """

    def __init__(self, setting: str, text: str) -> None:
        super().__init__(text)
        self.setting = setting


def tls_files(network: NetworkSettings) -> list[str]:
    """Paths of all files that `tls_context` reads."""
    return [path for path in (network.ca_file, network.client_cert, network.client_key) if path is not None]


def tls_context(network: NetworkSettings) -> ssl.SSLContext:
    """What TLS connections with these settings are made with.

    Reads files: some milliseconds with a CA bundle or the machine's own CAs.

    Raises:
        BadFile: A file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    if not network.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif network.ca_file is not None:
        load_authorities(context, network.ca_file)
    else:
        context.load_default_certs()
    if network.client_cert is not None:
        load_client_certificate(context, network.client_cert, network.client_key)
    return context


def load_authorities(context: ssl.SSLContext, path: str) -> None:
    """Trust the CAs of a PEM file.

    Raises:
        BadFile: It cannot be read or holds no certificate.
    """
    _readable("ca_file", path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as exc:
        text = "holds no certificate in PEM form; expected blocks that begin with -----BEGIN CERTIFICATE-----"
        raise BadFile("ca_file", f"{path} {text} ({_reason(exc)})") from exc


def load_client_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Show the certificate of `cert` to servers that ask for one.

    Raises:
        BadFile: A file cannot be read, is no certificate or key, or the two do not belong together.
    """
    _readable("client_cert", cert)
    if key is not None:
        _readable("client_key", key)
    named = "client_cert" if key is None else "client_key"
    path = key or cert
    try:
        context.load_cert_chain(cert, key, password=_no_passphrase)
    except _Encrypted as exc:
        text = "is encrypted with a passphrase, which nobody could type; decrypt it: openssl pkey -in OLD -out NEW"
        raise BadFile(named, f"{path} {text}") from exc
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise BadFile(named, f"{path} is not the key of the certificate in {cert}") from exc
        if not _holds(cert, b"CERTIFICATE-----"):
            text = "holds no certificate in PEM form; expected -----BEGIN CERTIFICATE-----"
            raise BadFile("client_cert", f"{cert} {text}") from exc
        if not _holds(path, b"PRIVATE KEY-----"):
            hint = "; set client_key to the file that does" if key is None else ""
            raise BadFile(named, f"{path} holds no private key in PEM form{hint}") from exc
        raise BadFile("client_cert", f"{cert} cannot be used with its key ({_reason(exc)})") from exc


class _Encrypted(Exception):
    pass


def _no_passphrase() -> NoReturn:
    # Without a callback OpenSSL would ask on the terminal, and block the event loop on it.
    raise _Encrypted


def _readable(setting: str, path: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except FileNotFoundError as exc:
        raise BadFile(setting, f"there is no file {path}; check the path, seen from the configuration file") from exc
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or str(exc)
        hint = "; let the user this program runs as read it" if isinstance(exc, PermissionError) else ""
        raise BadFile(setting, f"{os.fsdecode(path)} cannot be read: {why}{hint}") from exc


def _holds(path: str, marker: bytes) -> bool:
    with open(path, "rb") as file:
        return marker in file.read()


def _reason(exc: ssl.SSLError) -> str:
    return (exc.reason or str(exc)).lower().replace("_", " ")
