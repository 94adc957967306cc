"""One recorded exchange: bytes as they came, and its objects for telling what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from resilio.providers.sse import SSEParser

__all__ = ["Exchange", "load"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The response of one exchange."""

    name: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    stream: bool
    url: str = ""
    objects: tuple[Any, ...] = field(default=(), repr=False)
    """What is JSON in it: the whole body, or the data of each event."""

    @property
    def first(self) -> Mapping[str, Any]:
        """The first object, which tells the format; empty without any."""
        found = self.objects[0] if self.objects else {}
        return found if isinstance(found, Mapping) else {}


def load(path: Path) -> Exchange | None:
    """Read one file; None where it holds no exchange, or only bytes of a protocol below HTTP.

    Raises:
        ValueError: It is not JSON.
    """
    recorded = orjson.loads(path.read_bytes())
    response = recorded.get("response") if isinstance(recorded, dict) else None
    if not isinstance(response, dict) or "base64" in response:
        return None
    stream = "sse" in response
    text = response["sse"] if stream else response.get("text")
    body = text.encode() if isinstance(text, str) else orjson.dumps(response.get("json"))
    return Exchange(
        path.stem,
        int(response.get("status") or 200),
        {name.lower(): str(value) for name, value in (response.get("headers") or {}).items()},
        body,
        stream,
        str((recorded.get("request") or {}).get("uri") or ""),
        tuple(_objects(body, stream=stream)),
    )


def _objects(body: bytes, *, stream: bool) -> Iterator[Any]:
    parser = SSEParser()
    parts = [event.data for event in parser.feed(body) + parser.flush()] if stream else [body]
    for part in parts:
        try:
            yield orjson.loads(part)
        except orjson.JSONDecodeError:
            continue
