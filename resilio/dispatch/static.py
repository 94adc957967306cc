"""The rung `static`: prepared answers, found by words or by meaning, for when nobody else answers.

By words it takes microseconds and is open to a call whose deadline has come. By meaning it needs the embedder, for
which it waits no longer than the deadline allows. Guards of the semantic cache keep apart what only looks alike: a
prepared answer to another question is worse than the error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from resilio.config.faq import Faq, FaqAnswer
from resilio.config.settings import STATIC_THRESHOLDS, RungSettings
from resilio.dispatch.call import Call
from resilio.dispatch.stream import Stream
from resilio.faq import KeywordMatcher, Match
from resilio.ladder import NotStatic
from resilio.models import Chunk, Reply, Usage

if TYPE_CHECKING:
    from resilio.cache.embedding import Encoder
    from resilio.cache.embedding.base import Vectors
    from resilio.dispatch.attempt import Engine

__all__ = ["StaticStream", "Statics"]

CANDIDATES = 4
"""So many of the best fits are offered to the guards."""


class _Meanings(NamedTuple):
    rows: list[tuple[str, FaqAnswer]]
    vectors: Vectors


class Statics:
    """The prepared answers of all ladders of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._words: dict[Faq, KeywordMatcher] = {}
        self._meanings: dict[Faq, _Meanings] = {}
        self._encoder: Encoder | None = None

    async def reply(self, call: Call, rung: RungSettings) -> Reply:
        """A prepared answer as a reply.

        Raises:
            NotStatic: None fits.
        """
        assert rung.faq is not None, "the loader reads it"
        match = await self._find(call, rung, rung.faq)
        request = call.request
        latency = self._engine.clock() - call.started
        return Reply(
            text=match.answer.answer,
            finish_reason="stop",
            target=f"static/{Path(rung.faq.path).name}",
            level=call.level,
            complete=True,
            usage=Usage(),
            request_id=request.id,
            latency=latency,
            first_token=latency,
            cost_usd=0.0,
            attempts=tuple(call.attempts),
            reasons=tuple(call.reasons),
            route=request.route,
            asked_route=request.asked_route or request.route,
            rule=request.rule,
            label=call.label,
            checks=tuple(call.checks),
        )

    async def stream(self, call: Call, rung: RungSettings) -> Stream:
        """The same, as a stream of one chunk."""
        return StaticStream(call, await self.reply(call, rung))

    async def aclose(self) -> None:
        """Let go of the embedder, where one was needed."""
        if self._encoder is not None:
            await self._encoder.aclose()

    async def _find(self, call: Call, rung: RungSettings, faq: Faq) -> Match:
        question = _last_text(call)
        if question is None:
            raise NotStatic("the request has no question of text alone")
        if rung.match == "keywords":
            matcher = self._words.get(faq)
            if matcher is None:
                matcher = self._words[faq] = KeywordMatcher(faq)
            found = matcher.best(question, CANDIDATES)
        else:
            found = await self._by_meaning(faq, question, call.until)
        threshold = STATIC_THRESHOLDS[rung.match] if rung.threshold is None else rung.threshold
        return _first_fit(question, found, threshold)

    async def _by_meaning(self, faq: Faq, question: str, until: float) -> list[Match]:
        try:
            async with asyncio.timeout_at(until):
                meanings = await self._embedded(faq)
                vector = await self._encode(question)
        except TimeoutError:
            raise NotStatic("there was no time to look for one by meaning") from None
        except Exception as exc:  # an embedder that fails costs this rung alone
            raise NotStatic(f"none could be looked for by meaning: {exc}") from exc
        scores = meanings.vectors @ vector
        best = scores.argsort()[::-1][:CANDIDATES]
        return [Match(meanings.rows[at][1], meanings.rows[at][0], float(scores[at])) for at in best.tolist()]

    async def _embedded(self, faq: Faq) -> _Meanings:
        """The questions of a file as vectors; made once."""
        found = self._meanings.get(faq)
        if found is None:
            import numpy as np

            rows = [(question, answer) for answer in faq.answers for question in answer.questions]
            vectors = await asyncio.gather(*(self._encode(question) for question, _ in rows))
            found = self._meanings[faq] = _Meanings(rows, np.stack(vectors))
        return found

    async def _encode(self, text: str) -> Vectors:
        if self._encoder is None:
            from resilio.cache.embedding import EMBEDDERS, Encoder, Means

            self._encoder = Encoder(EMBEDDERS["minilm"](Means(self._engine.executor)))
        return await self._encoder.vector(text)


def _first_fit(question: str, found: list[Match], threshold: float) -> Match:
    """The best that is good enough and passes the guards.

    Raises:
        NotStatic: None does; says how near the best came, or what the guards found.
    """
    from resilio.cache import guards

    if not found:
        raise NotStatic("no prepared answer shares a word with the question")
    refused = ""
    asked = guards.prepare(question)
    for match in found:
        if match.score < threshold:
            break
        why = guards.check(asked, guards.prepare(match.question))
        if why is None:
            return match
        refused = refused or f"{match.question!r:.60} fits, but for {why}"
    best = found[0]
    raise NotStatic(refused or f"the best fit, {best.question!r:.60}, is {best.score:.2f} of {threshold:g}")


def _last_text(call: Call) -> str | None:
    content = call.request.messages[-1].get("content")
    if call.request.messages[-1].get("role") != "user":
        return None
    if not isinstance(content, str):
        parts = content if isinstance(content, list | tuple) else ()
        if len(parts) != 1 or not isinstance(parts[0], Mapping) or parts[0].get("type") != "text":
            return None
        content = parts[0].get("text")
    return content if isinstance(content, str) and content.strip() else None


class StaticStream(Stream):
    """A prepared answer in the hands of a caller who asked for a stream. It waits for nothing."""

    def __init__(self, call: Call, reply: Reply) -> None:
        self._call = call
        self._prepared = reply
        self._chunks: Iterator[Chunk] = iter((Chunk(reply.text), Chunk(finish_reason="stop")))
        self._reply: Reply | None = None
        call.first_token = reply.first_token

    @property
    def target(self) -> str:
        """The file it stands in."""
        return self._prepared.target

    async def __anext__(self) -> Chunk:
        for chunk in self._chunks:
            return chunk
        self.leave()
        raise StopAsyncIteration

    def leave(self) -> None:
        """The caller goes away. The answer is whole, however much of it was read."""
        if self._reply is None:
            self._chunks = iter(())
            self._reply = self._call.succeed(self._prepared)
