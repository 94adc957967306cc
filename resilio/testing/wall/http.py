"""Any OpenAI-compatible endpoint before the wall, in real time: a gateway sees the requests of an ordinary client.

The rule that keeps it fair: it believes what most programs believe. A 200 with a finish reason "stop", and a
stream that ends without an error, are success; no program looks for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import aiohttp
import orjson

from resilio.testing.wall.evidence import Ask, Ended, Seen
from resilio.testing.wall.texts import QUESTION

__all__ = ["HttpClient", "seen_of_error"]

_REFUSALS: Final = ("content_filter", "content_policy_violation", "content filter", "refused", "refusal")


class HttpClient:
    """A plain client of one endpoint.

    Args:
        session: To send with; no clock of its own.
        url: Base URL, up to and including /v1.
        key: Sent as the bearer token.
        model: How the gateway's models are called: ``{row}`` and ``{mode}`` are filled in.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, key: str = "sk-wall", model: str = "{row}") -> None:
        self._session, self._url = session, url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}
        self._model = model

    async def ask(self, ask: Ask) -> Seen:
        """See `WallClient.ask`."""
        model = self._model.format(row=ask.model, mode=ask.mode)
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        if ask.mode.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        parts: list[str] = []
        try:
            async with self._session.post(
                f"{self._url}/chat/completions", json=body, headers=self._headers
            ) as response:
                if response.status >= 400:
                    return seen_of_error(await response.text(), "", response.status)
                if not ask.mode.stream:
                    return _whole(await response.read())
                return await _stream(_events(response), parts, ask.pause)
        except aiohttp.ClientError as exc:
            text = "".join(parts)
            return Seen(Ended.ERROR, text, f"{type(exc).__name__}: {exc}", text or None, chunks=len(parts))

    def leaks(self) -> Sequence[str]:
        """Not known from afar."""
        return ()


def seen_of_error(error: str, text: str = "", status: int | None = None) -> Seen:
    """An error in words, and what the caller has by then."""
    named = f"{status}: {error}" if status is not None else error
    if not text and any(word in error.lower() for word in _REFUSALS):
        return Seen(Ended.REFUSED, error=named[:300])
    return Seen(Ended.ERROR, text, named[:300], text or None)


def _whole(body: bytes) -> Seen:
    try:
        parsed = orjson.loads(body)
        choice = parsed["choices"][0]
        message = choice["message"]
        text, refusal, finish = message.get("content") or "", message.get("refusal"), choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError):
        # A program would crash on it or take it for the answer; either way it was called a success.
        return Seen(Ended.COMPLETE, body[:200].decode("utf-8", "replace"))
    usage = parsed.get("usage") or {}
    return Seen(
        _ended(finish, refusal),
        text,
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
    )


def _ended(finish: str | None, refusal: object) -> Ended:
    if finish == "content_filter" or refusal:
        return Ended.REFUSED
    return Ended.COMPLETE if finish in (None, "stop") else Ended.PARTIAL


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each server-sent event."""
    buffer = b""
    async for piece in response.content.iter_any():
        buffer += piece.replace(b"\r\n", b"\n")
        *events, buffer = buffer.split(b"\n\n")
        for event in events:
            data = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
            if data:
                yield b"\n".join(data)


async def _stream(events: AsyncIterator[bytes], parts: list[str], pause: float) -> Seen:
    finish, refusal = None, ""
    usage: Mapping[str, Any] = {}
    async for data in events:
        if data == b"[DONE]":
            break
        try:
            parsed = orjson.loads(data)
        except ValueError:
            parts.append(data.decode("utf-8", "replace"))  # it reached the caller, whatever it does with it
            continue
        if parsed.get("error"):
            return seen_of_error(orjson.dumps(parsed["error"]).decode(), "".join(parts))
        usage = parsed.get("usage") or usage
        for choice in parsed.get("choices") or ():
            delta = choice.get("delta") or {}
            refusal += delta.get("refusal") or ""
            finish = choice.get("finish_reason") or finish
            if delta.get("content"):
                parts.append(delta["content"])
                if pause:
                    await asyncio.sleep(pause)
    return Seen(
        _ended(finish, refusal),
        "".join(parts),
        chunks=len(parts),
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
    )
