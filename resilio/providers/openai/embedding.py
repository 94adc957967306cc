"""Texts out, vectors in: the embeddings part of the OpenAI dialect.

Servers differ in how they write numbers (JSON, or base64 of little-endian float32, which is a third of the bytes)
and in whether an index comes with each vector; both ways are read, whatever was asked for. The rule: a vector is
believed only if it is certain which text it belongs to and every number in it is one.

Source: OpenAI API reference, "Create embeddings" (November 2026).
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from array import array
from collections.abc import Mapping
from typing import Any, Final

from resilio.config import TargetSettings
from resilio.models import Embeddings, HttpRequest, Request
from resilio.providers.classify import load_object, malformed
from resilio.providers.encoding import dumps
from resilio.providers.openai.answer import read_usage
from resilio.providers.openai.faults import FAULTS
from resilio.providers.openai.request import endpoint, request_headers
from resilio.providers.reading import as_text

__all__ = ["decode_embeddings", "embeddings_body", "encode_embeddings"]

_PATH: Final = "/embeddings"


def encode_embeddings(
    request: Request,
    target: TargetSettings,
    *,
    base_url: str,
    key: str | None,
    headers: Mapping[str, str],
) -> HttpRequest:
    """Build the HTTP request.

    OpenAI itself is asked for base64 unless the caller says otherwise; not all others know it.

    Raises:
        Unencodable: A wire field holds what JSON cannot.
    """
    url, limit_field = endpoint(base_url, _PATH)
    body = embeddings_body(request, target.model, base64=limit_field == "max_completion_tokens")  # OpenAI's own surface
    return HttpRequest(url, request_headers(key, tuple(headers.items())), dumps(body))


def embeddings_body(request: Request, model: str, *, base64: bool) -> dict[str, Any]:
    """What is sent; `base64` says that the server can write vectors so, which is a third of the bytes."""
    body: dict[str, Any] = {"model": None, "input": None}
    if base64:
        body["encoding_format"] = "base64"
    body |= request.wire
    body["model"], body["input"] = model, request.inputs
    return body


def decode_embeddings(who: str, status: int, headers: Mapping[str, str], body: bytes, count: int) -> Embeddings:
    """Read a 2xx response to a request with `count` texts.

    Raises:
        MalformedResponse: It does not hold `count` vectors of one length, each for another text, of finite numbers.
        ProviderError: An error object inside the 2xx, classified as if it had come with its own status.
    """
    parsed = load_object(FAULTS, who, status, headers, body)
    data = parsed.get("data")
    if not isinstance(data, list):
        raise malformed(who, status, f"{status} without a list of embeddings")
    if len(data) != count:
        raise malformed(who, status, f"{status} with {len(data)} embeddings for {count} texts")
    vectors: list[list[float] | None] = [None] * count
    for position, item in enumerate(data):
        if not isinstance(item, dict):
            raise malformed(who, status, f"{status} with an embedding that is no object")
        index = item.get("index", position)
        if type(index) is not int or not 0 <= index < count or vectors[index] is not None:
            raise malformed(who, status, f"{status} with embeddings that cannot be told apart: index {index!r:.20}")
        vectors[index] = _vector(who, status, item.get("embedding"))
    whole = [vector for vector in vectors if vector is not None]
    lengths = {len(vector) for vector in whole}
    if len(lengths) > 1:
        raise malformed(who, status, f"{status} with embeddings of {len(lengths)} different lengths")
    return Embeddings(whole, read_usage(parsed.get("usage")), as_text(parsed.get("model")))


def _vector(who: str, status: int, given: Any) -> list[float]:
    numbers = _unpacked(given) if isinstance(given, str) else given
    if not isinstance(numbers, list) or not numbers:
        raise malformed(who, status, f"{status} with an embedding that is no list of numbers")
    try:
        total = sum(numbers)
    except TypeError as exc:
        raise malformed(who, status, f"{status} with an embedding of things that are no numbers") from exc
    # One sum tells of all: what is not finite makes it so. Large numbers can too, so look again before judging.
    if not math.isfinite(total) and not all(map(math.isfinite, numbers)):
        raise malformed(who, status, f"{status} with an embedding that is not finite")
    return numbers


def _unpacked(text: str) -> list[float] | None:
    """Base64 of little-endian float32; None: it is not that."""
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
