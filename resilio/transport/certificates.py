"""Certificates of one network, as aiohttp takes them, and what happens when their files are renewed.

Apart from `resilio.config.tls`, which reads the files: here is when.
"""

from __future__ import annotations

import logging
import os
import ssl
from typing import Final

from resilio.config import NetworkSettings
from resilio.config.tls import BadFile, tls_context, tls_files
from resilio.errors import ErrorClass, TransportError

__all__ = ["Certificates"]

logger = logging.getLogger("resilio")

RENEWAL_CHECK: Final = 10.0
"""Seconds between two looks at the certificate files: a renewed one is used from then on."""


class Certificates:
    """The TLS context of a network that has files or does not verify; renewed files are read again.

    Args:
        network: The settings.
        now: The loop's time, in seconds; as everywhere here.

    Raises:
        TransportError: A file that was there when the configuration was checked is no longer.
    """

    __slots__ = ("_checked_at", "_network", "_stamps", "context")

    def __init__(self, network: NetworkSettings, now: float) -> None:
        self._network = network
        self._checked_at = now
        self._stamps = _stamps(network)
        try:
            self.context = tls_context(network)
        except BadFile as exc:
            raise TransportError(f"cannot connect: network.{exc.setting}: {exc}", ErrorClass.CONNECT) from exc

    def fresh(self, now: float) -> ssl.SSLContext:
        """The context for a request sent `now`.

        Connections made with an old one are not taken for a new one: aiohttp keeps them apart.
        """
        if now - self._checked_at >= RENEWAL_CHECK:
            self._checked_at = now
            stamps = _stamps(self._network)
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self.context = tls_context(self._network)
                except BadFile as exc:  # a pair may be half written: the second file brings another stamp
                    logger.warning(
                        "network.%s has changed and is of no use, so the old one stays: %s", exc.setting, exc
                    )
        return self.context


def _stamps(network: NetworkSettings) -> list[tuple[int, int, int] | None]:
    """What changes when a file is replaced or rewritten; None for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for path in tls_files(network):
        try:
            status = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return found
