"""Networks as they will be used: proxy filled in, files found and read, nothing that contradicts itself.

Nothing is connected here. A Unix socket need not exist yet, as a server need not run yet: that is for the
breaker. A certificate must: no provider coming back will bring it.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from resilio.config.credentials import Credentials
from resilio.config.problems import Path, Problems, shown
from resilio.config.settings import NetworkSettings

__all__ = ["DIRECT", "Networks", "proxy_complaint"]

DIRECT: Final = NetworkSettings()
_TLS: Final = ("ca_file", "client_cert", "client_key", "verify")
_LONGEST_SOCKET_PATH: Final = 107
"""Bytes of a Unix socket's path on Linux (`sun_path` less its end); 103 on macOS."""


def proxy_complaint(url: str) -> str | None:
    """What is wrong with the URL of a proxy, without quoting it; None: nothing."""
    try:
        parts = urlsplit(url)
        port_fits = parts.port != 0
    except ValueError:
        return "is not a URL"
    if parts.scheme in ("https", "socks", "socks4", "socks4a", "socks5", "socks5h"):
        return f"is a {parts.scheme}:// proxy, which is not supported; expected one that begins with http://"
    if parts.scheme != "http" or not parts.hostname or not port_fits or " " in url:
        return "is not a proxy's URL; expected something like http://proxy.example:3128"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "has something after host and port; expected something like http://proxy.example:3128"
    return None


class Networks:
    """Checks the `network` table of each provider.

    Args:
        problems: Where to note what is wrong.
        credentials: Reads a proxy's URL from the environment.
        folder: What relative paths start from.
    """

    def __init__(self, problems: Problems, credentials: Credentials, folder: str) -> None:
        self.problems = problems
        self.credentials = credentials
        self.folder = folder

    def checked(self, network: NetworkSettings, base_url: str, path: Path) -> NetworkSettings:
        """The settings with absolute paths and the proxy's URL filled in; what is wrong is noted."""
        if network == DIRECT:
            return DIRECT
        self._check_combinations(network, base_url, path)
        network = replace(
            network,
            proxy=self._proxy(network.proxy, (*path, "proxy")),
            ca_file=self._absolute(network.ca_file),
            client_cert=self._absolute(network.client_cert),
            client_key=self._absolute(network.client_key),
            unix_socket=self._absolute(network.unix_socket),
        )
        self._check_files(network, path)
        self._check_socket(network.unix_socket, (*path, "unix_socket"))
        return network

    def _absolute(self, written: str | None) -> str | None:
        return None if written is None else os.path.abspath(os.path.join(self.folder, os.path.expanduser(written)))

    def _check_combinations(self, network: NetworkSettings, base_url: str, path: Path) -> None:
        add = self.problems.add
        encrypted = base_url.startswith("https://")
        if network.unix_socket is not None:
            for name in ("proxy", "family", "dns_ttl", *_TLS):
                if getattr(network, name) != getattr(DIRECT, name):
                    add((*path, name), "has no meaning beside unix_socket, which replaces it; leave one of them out")
            if encrypted:
                text = 'is spoken to in plain HTTP; write base_url = "http://..."'
                add((*path, "unix_socket"), text)
        elif base_url and not encrypted:
            for name in _TLS:
                if getattr(network, name) != getattr(DIRECT, name):
                    add((*path, name), "would never be used: base_url begins with http://, so there is no TLS")
        if network.ca_file is not None and not network.verify:
            add((*path, "verify"), "is false, so ca_file would never be used; leave one of them out")
        if network.client_key is not None and network.client_cert is None:
            add((*path, "client_key"), "has no certificate to go with; set client_cert too")
        literal = _literal(base_url)
        if literal is not None and network.family not in ("any", f"ipv{literal}"):
            add((*path, "family"), f"is {shown(network.family)}, but base_url has an IPv{literal} address")

    def _proxy(self, written: str | None, where: Path) -> str | None:
        if written is None or written == "environment":
            return written
        url = self.credentials.proxy(written, where)
        if self.problems.touch(where):
            return None
        complaint = proxy_complaint(url)
        if complaint is not None:
            self.problems.add(where, complaint)
        elif url == written and "@" in urlsplit(url).netloc:
            text = 'has credentials in it; put the whole URL in a variable and write proxy = "env:NAME"'
            self.problems.add(where, text)
        return url

    def _check_files(self, network: NetworkSettings, path: Path) -> None:
        if network.ca_file is None and network.client_cert is None:
            return
        import ssl  # costs ten milliseconds, and most configurations name no file

        from resilio.config.tls import load_authorities, load_client_certificate

        ca_file, cert, key = network.ca_file, network.client_cert, network.client_key
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if ca_file is not None:
            self._try(lambda: load_authorities(context, ca_file), path)
        if cert is not None:
            self._try(lambda: load_client_certificate(context, cert, key), path)

    def _try(self, load: Callable[[], None], path: Path) -> None:
        from resilio.config.tls import BadFile

        try:
            load()
        except BadFile as exc:
            self.problems.add((*path, exc.setting), str(exc))

    def _check_socket(self, socket_path: str | None, where: Path) -> None:
        if socket_path is None:
            return
        if len(os.fsencode(socket_path)) > _LONGEST_SOCKET_PATH:
            text = f"is {len(os.fsencode(socket_path))} bytes long; a socket's path has at most {_LONGEST_SOCKET_PATH}"
            self.problems.add(where, text)
            return
        try:
            mode = os.stat(socket_path).st_mode
        except OSError:
            return  # the server may start later
        if not stat.S_ISSOCK(mode):
            self.problems.add(where, f"{socket_path} is not a socket; expected the path a server listens on")


def _literal(base_url: str) -> int | None:
    """4 or 6 where the host is an IP address."""
    try:
        return ipaddress.ip_address(urlsplit(base_url).hostname or "").version
    except ValueError:
        return None
