"""A provider of LLM answers that exists in memory: it decides, and it remembers what it was asked.

`SimulatedProvider.react` turns one request into a `Reaction`: bytes with delays and the way the connection
ends. It does no I/O and waits for nothing; a `SimulatedServer` plays reactions over sockets and a
`ScriptedTransport` plays them in process, so both forms are the same provider. Its log tells what really
reached it, which is the only honest way to count upstream calls.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import orjson

from resilio.testing.chat import chat_reaction, error_reaction
from resilio.testing.dialects import PLAIN, Dialect, dialect_of
from resilio.testing.dialects.azure import DEPLOYMENTS
from resilio.testing.dialects.openai import models_body
from resilio.testing.faults import (
    ConnectHang,
    Error,
    Fault,
    Headers,
    Html,
    Refused,
    Reset,
    Silence,
    Stale,
)
from resilio.testing.loop import wall_clock
from resilio.testing.prompt_cache import PromptCache
from resilio.testing.reaction import Connect, Ending, Outcome, Reaction, SeenRequest
from resilio.testing.script import Script
from resilio.testing.vectors import vectors_reaction

__all__ = ["SimulatedProvider", "loop_time", "loop_wall"]


_PAGE: Final = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body>Please wait.</body></html>"


def loop_time() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()


def loop_wall() -> float:
    """Unix time, virtual where the running loop is."""
    return wall_clock(asyncio.get_running_loop())()


class SimulatedProvider:
    """One simulated account at one endpoint, playing one script.

    Args:
        script: What to do; may be replaced at any time by assigning to `script`.
        seed: Everything random comes from it.
        clock: Monotonic seconds; the running loop's by default.
        wall_clock: Unix seconds; by default the running loop's, virtual or real.
        models: The models there are; None: any name will do.
        keys: The API keys that are accepted; None: no key is asked for.
        dimensions: Length of its embeddings, unless the request says otherwise.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        seed: int = 0,
        clock: Callable[[], float] = loop_time,
        wall_clock: Callable[[], float] = loop_wall,
        models: Sequence[str] | None = None,
        keys: Collection[str] | None = None,
        dimensions: int = 64,
    ) -> None:
        self._rng = random.Random(seed)
        self._counts: dict[int, int] = {}
        self._date: tuple[int, str] = (0, "")
        self._clock = clock
        self._wall = wall_clock
        self._models = models
        self._keys = keys
        self._dimensions = dimensions
        self._started: float | None = None
        self._script = script or Script()
        self.prompt_cache = PromptCache()
        """What it remembers of prompts, whatever script it plays."""
        self.log: list[SeenRequest] = []
        """Every request, oldest first."""
        self.in_flight = 0
        """Requests being answered now."""

    def __repr__(self) -> str:
        return f"<SimulatedProvider seen={len(self.log)} in_flight={self.in_flight}>"

    @property
    def script(self) -> Script:
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script
        self._counts.clear()
        self._started = None

    def count(self, outcome: Outcome | None = None, *, model: str | None = None) -> int:
        """How many requests arrived, of one outcome or model where given; failed connections do not count."""
        return sum(
            1
            for seen in self.log
            if (seen.outcome is outcome if outcome else seen.outcome is not Outcome.NOT_CONNECTED)
            and (model is None or seen.model == model)
        )

    def react(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, *, fresh: bool = True
    ) -> tuple[SeenRequest, Reaction]:
        """Take in one request and decide everything about its answer.

        Args:
            method: HTTP method.
            path: Its end decides: /chat/completions, /messages (Anthropic's dialect), :generateContent and
                :streamGenerateContent (Gemini's), /responses, /embeddings, /models or /health. A query may follow.
                Azure's ``/openai/deployments/NAME`` before it says the model, whatever the body says.
            headers: As sent; looked up without regard to case.
            body: The whole request body.
            fresh: The connection is a new one, which `Stale` does not strike.

        Returns:
            The new line of the log, to be handed to `settle` exactly once, and what to play.
        """
        now = self._clock()
        if self._started is None:
            self._started = now
        dialect, asked = dialect_of(path), _parsed(body)
        if isinstance(asked, Mapping):
            asked = dialect.asked(path, asked)
        path = path.partition("?")[0]
        table: Mapping[str, Any] = asked if isinstance(asked, Mapping) else {}
        model, stream = _deployment(path) or str(table.get("model") or ""), table.get("stream") is True
        seen = SeenRequest(now, method, path, model, _key(headers), stream, headers, table)
        self.log.append(seen)
        self.in_flight += 1
        if path.endswith("/health"):
            return self._judged(seen, Reaction(200, {}, [(0.0, b'{"status":"ok"}')]), dialect)
        seen.faults = self._script.choose(
            model,
            seen.key,
            stream=stream,
            elapsed=now - self._started,
            rng=self._rng,
            counts=self._counts,
        )
        reaction = (
            _connection_fault(seen.faults, fresh) or self._refusal(seen, asked, dialect) or self._answer(seen, dialect)
        )
        for fault in seen.faults:
            if isinstance(fault, Headers):
                reaction.headers.update(fault.headers)
        return self._judged(seen, reaction, dialect)

    def settle(self, seen: SeenRequest, outcome: Outcome | None = None) -> None:
        """Say how playing the reaction ended; None: as the reaction meant it. Later calls change nothing."""
        if seen.outcome is not Outcome.OPEN:
            return
        if outcome is None:
            outcome = Outcome.ERROR if (seen.status or 0) >= 400 else Outcome.ANSWERED
        seen.outcome = outcome
        seen.ended_at = self._clock()
        self.in_flight -= 1

    def _judged(self, seen: SeenRequest, reaction: Reaction, dialect: Dialect) -> tuple[SeenRequest, Reaction]:
        seen.status = reaction.status
        if reaction.status is not None:
            reaction.headers = self._headers(dialect) | dict(self._script.headers) | reaction.headers
        return seen, reaction

    def _headers(self, dialect: Dialect) -> dict[str, str]:
        second = int(self._wall())
        if self._date[0] != second:
            self._date = (second, email.utils.formatdate(second, usegmt=True))
        return {"Content-Type": "application/json", "Date": self._date[1], **dialect.headers(len(self.log))}

    def _refusal(self, seen: SeenRequest, asked: Any, dialect: Dialect) -> Reaction | None:
        """What the provider itself objects to: faults of the request come after those of the connection."""
        if self._keys is not None and seen.key not in self._keys:
            return error_reaction(Error("invalid_api_key"), self._wall(), dialect)
        for fault in seen.faults:
            if isinstance(fault, Error):
                return error_reaction(fault, self._wall(), dialect)
            if isinstance(fault, Html):
                return Reaction(fault.status, {"Content-Type": "text/html; charset=utf-8"}, [(0.0, _PAGE)])
        if seen.method == "GET" and seen.path.endswith("/models"):
            return None
        if not isinstance(asked, Mapping):
            return _bad("We could not parse the JSON body of your request.", dialect=dialect)
        if not seen.model:
            return _bad("you must provide a model parameter", dialect=dialect)
        if self._models is not None and seen.model not in self._models:
            message = f"The model `{seen.model}` does not exist or you do not have access to it."
            return error_reaction(Error("model_not_found", message=message), self._wall(), dialect)
        return None

    def _answer(self, seen: SeenRequest, dialect: Dialect) -> Reaction:
        created = int(self._wall())
        if dialect.speaks(seen.path):
            return chat_reaction(
                self._script, seen.body, seen.faults, self._rng, created, dialect=dialect, headers=seen.headers,
                cache=self.prompt_cache, now=seen.at,
            )  # fmt: skip
        if seen.path.endswith("/embeddings"):
            took = self._script.first_token.draw(self._rng)
            return vectors_reaction(seen.body, seen.faults, took, self._dimensions)
        if seen.path.endswith("/models"):
            return Reaction(200, {}, [(0.0, models_body(self._models or (), created))])
        return _bad(f"Invalid URL ({seen.method} {seen.path})", status=404)


def _connection_fault(faults: tuple[Fault, ...], fresh: bool) -> Reaction | None:
    """What happens instead of any answer, if one of these faults strikes."""
    for fault in faults:
        match fault:
            case Refused():
                return Reaction(None, {}, [], Ending.RESET, connect=Connect.REFUSED)
            case ConnectHang():
                return Reaction(None, {}, [], Ending.NEVER, connect=Connect.HANGS)
            case Stale() if not fresh:
                return Reaction(None, {}, [], Ending.CUT, connect=Connect.STALE)
            case Reset():
                return Reaction(None, {}, [], Ending.RESET)
            case Silence(head=head):
                return Reaction(200 if head else None, {}, [], Ending.NEVER)
            case _:
                continue
    return None


def _bad(message: str, param: str | None = None, status: int = 400, dialect: Dialect = PLAIN) -> Reaction:
    return Reaction(status, {}, [(0.0, dialect.error(None, message, param)[1])])


def _deployment(path: str) -> str:
    """The deployment an Azure path names; empty where it is none."""
    _, found, rest = path.partition(DEPLOYMENTS)
    return unquote(rest.split("/")[0]) if found else ""


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _key(headers: Mapping[str, str]) -> str | None:
    for name, value in headers.items():
        if name.lower() == "authorization":
            return value.removeprefix("Bearer ")
        if name.lower() in ("api-key", "x-api-key", "x-goog-api-key"):
            return value
    return None
