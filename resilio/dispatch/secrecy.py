"""Keeps what a request was sent with as a secret out of the error that answers it.

Some servers say the whole key that they refuse: in the body of a 401, in an event of a stream that began well, in
a page that is no JSON. Providers' words that look like keys are masked where they are read
(`resilio.providers.classify`); here it is known what the secret was, whatever it looks like. The rule that keeps it
simple: an error is rewritten in place, before anybody has seen it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["hush", "secrets_of", "without"]

_SHORTEST: Final = 8
"""Characters; shorter ones ("EMPTY", for servers that ask for none) are no secrets, and are words of a message."""

_CREDENTIAL: Final = re.compile(r"auth|key|token|secret|password|cookie", re.IGNORECASE)
"""Names of headers whose value is not for everybody. Of others (a version, an organisation) messages may speak."""


def secrets_of(key: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """What a message must not hold: the key, and what configured headers show beside it; the longest first."""
    found = {key or ""}
    for name, value in headers.items():
        if _CREDENTIAL.search(name):
            found |= {value, value.rpartition(" ")[2]}  # "Bearer", "Basic" are no secrets
    return tuple(sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True))


def without(text: str, secrets: Iterable[str]) -> str:
    """`text` with ``[key]`` in the place of each secret, and of the beginning of one where the text was cut off."""
    for secret in secrets:
        text = text.replace(secret, "[key]")
        kept = text.removesuffix("...")
        for length in range(min(len(secret) - 1, len(kept)), _SHORTEST - 1, -1):
            if kept.endswith(secret[:length]):
                text = f"{kept[:-length]}[key]{text[len(kept) :]}"
                break
    return text


def hush(exc: BaseException, secrets: tuple[str, ...]) -> None:
    """Take secrets out of an error and out of those that led to it."""
    each: BaseException | None = exc if secrets else None
    while each is not None:
        if any(isinstance(arg, str) for arg in each.args):
            each.args = tuple(without(arg, secrets) if isinstance(arg, str) else arg for arg in each.args)
        if isinstance(code := getattr(each, "code", None), str):
            each.code = without(code, secrets)  # type: ignore[attr-defined]
        if isinstance(each, json.JSONDecodeError):
            each.doc = without(each.doc, secrets)
        each = each.__cause__ or each.__context__
