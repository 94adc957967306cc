"""Embedding many texts: which batches they go out in, and one result of what comes back.

A batch is a call like any other (`Dispatcher` drives it); nothing here sends. The rule: vectors of different spaces are
never in one result, for nobody could tell afterwards, and every comparison between them would be noise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from resilio.dispatch.attempt import Embedded
from resilio.dispatch.call import Call
from resilio.errors import ErrorClass, MalformedRequest, MalformedResponse, UnknownRoute, Unsupported
from resilio.models import Capability, EmbeddingReply, Usage
from resilio.supervisor import RouteRecord, RouteTarget
from resilio.tokens import PromptSize, text_bytes

__all__ = [
    "AT_ONCE",
    "EMBEDS",
    "batches",
    "checked_texts",
    "embed_all",
    "embedding_targets",
    "longest_of",
    "one_space",
    "spaces",
]

AT_ONCE: Final = 4
"""Batches of one call on their way at one time: enough to hide the network, too few to crowd others out."""
BYTES_A_TOKEN_AT_LEAST: Final = 2
"""Fewer bytes make a token in no written language; limits of a request are held by this count."""

EMBEDS: Final = frozenset({Capability.EMBEDDINGS})
"""What a request for embeddings needs of a target."""


def longest_of(inputs: Sequence[str]) -> PromptSize:
    """The size of the longest text: what a context window has to hold."""
    return PromptSize(max(map(text_bytes, inputs), default=0))


def checked_texts(texts: Any) -> tuple[str, ...]:
    """The texts a caller gave, as they are from now on.

    Raises:
        MalformedRequest: It is not one or many texts; or one is empty, which providers refuse with all its batch.
    """
    if isinstance(texts, str):
        texts = (texts,)
    if not isinstance(texts, Sequence) or isinstance(texts, bytes | bytearray):
        raise MalformedRequest(f"texts must be a string or a list of strings, not {texts!r:.80}")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise MalformedRequest(f"texts[{position}] must be a string, not {text!r:.80}")
        if not text:
            raise MalformedRequest(f"texts[{position}] is empty: there is nothing to embed")
    return tuple(texts)


def embedding_targets(route: RouteRecord) -> list[RouteTarget]:
    """The targets of a route that can embed, whatever the length of a text."""
    return [target for target in route.targets if target.lacks(EMBEDS, PromptSize(0)) is None]


def spaces(route: RouteRecord) -> set[str]:
    """The spaces its targets make vectors of; a call is refused if there are several, or none."""
    return {target.embedding_space for target in embedding_targets(route)}


def one_space(route: RouteRecord, able: Sequence[RouteTarget]) -> str:
    """The space all these targets make vectors of.

    Raises:
        Unsupported: They make vectors of several.
    """
    found = {target.embedding_space for target in able}
    if len(found) > 1:
        remedy = "give each model a route of its own, or the same embedding_space if it is the same model"
        mixed = {target.name: f"makes vectors of the space {target.embedding_space!r}" for target in able}
        raise Unsupported(route.settings.name, {**mixed, "which cannot be compared": remedy})
    return found.pop()


def batches(texts: Sequence[str], max_inputs: int, max_tokens: float) -> Iterator[Sequence[str]]:
    """Cut texts into runs that keep both limits, in order; a text over the second one goes alone."""
    start = tokens = 0
    for end, text in enumerate(texts):
        size = -(-text_bytes(text) // BYTES_A_TOKEN_AT_LEAST)
        if end > start and (end - start >= max_inputs or tokens + size > max_tokens):
            yield texts[start:end]
            start, tokens = end, 0
        tokens += size
    if start < len(texts):
        yield texts[start:]


async def embed_all(call: Call, ask: Callable[[Call], Awaitable[Embedded]]) -> EmbeddingReply:
    """Embed the texts of a call in as many batches as its targets need.

    Args:
        call: The whole call; where one batch will do it is asked as it is.
        ask: Drives one batch to its end.

    Raises:
        ResilioError: Of the first batch that failed; the others are cancelled.
    """
    route = call.engine.supervisor.routes.get(call.request.route)
    if route is None:
        raise UnknownRoute(call.request.route, call.engine.supervisor.routes)
    parts = list(batches(call.request.inputs or (), *_limits(route)))
    if not parts:
        return _merged(call, route, [], [])
    calls = [call] if len(parts) == 1 else [call.part(part, number) for number, part in enumerate(parts, 1)]
    done = [await ask(call)] if len(parts) == 1 else await _all(calls, ask)
    return _merged(call, route, calls, done)


def _limits(route: RouteRecord) -> tuple[int, float]:
    """The most texts, and tokens, that any target of the route takes at once: a batch may have to go to each."""
    models = [target.model for target in embedding_targets(route) or route.targets]
    per_minute = [each for model in models for each in (model.tokens_per_minute, model.input_tokens_per_minute) if each]
    # What is more than a minute's tokens would never be admitted.
    tokens = min([model.max_embedding_tokens for model in models] + per_minute)
    return min(model.max_embedding_inputs for model in models), tokens


async def _all(calls: Sequence[Call], ask: Callable[[Call], Awaitable[Embedded]]) -> list[Embedded]:
    """Ask for each, some at a time; the first error ends the rest."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(call: Call) -> Embedded:
        async with room:
            return await ask(call)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each), name=f"resilio embed {each.request.id}") for each in calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _merged(call: Call, route: RouteRecord, calls: Sequence[Call], done: Sequence[Embedded]) -> EmbeddingReply:
    """One result of all batches.

    Raises:
        MalformedResponse: They are of different lengths.
        Unsupported: The configuration was changed between them, and with it the space.
    """
    vectors = tuple(vector for each in done for vector in each.vectors)
    if len({len(vector) for vector in vectors}) > 1:
        what = f"route {route.settings.name!r} gave vectors of different lengths in different batches"
        raise MalformedResponse(what, ErrorClass.MALFORMED)
    winners = [each.winner for each in calls if each.winner is not None]
    costs = [each.reply.cost_usd for each in done]
    return EmbeddingReply(
        vectors=vectors,
        space=one_space(route, winners or route.targets[:1]),
        target=winners[0].name if winners else "",
        usage=sum((each.reply.usage for each in done), Usage()),
        latency=call.engine.clock() - call.started,
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        attempts=tuple(record for each in calls for record in each.attempts),
        request_ids=tuple(each.request.id for each in calls),
        route=call.request.route,
    )
