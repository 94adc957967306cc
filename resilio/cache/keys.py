"""What makes two requests the same: a hash of everything that can change the answer.

Left out: where answers are kept, and for how long. The rule that keeps it safe: a field belongs to the key unless it is
listed here with the reason why it cannot change the answer; an unknown field always belongs to it. So a doubt costs a
missed hit, never a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson

from resilio.config import Config
from resilio.config.nesting import leaves
from resilio.config.settings import CheckSettings
from resilio.models import Identity, Message, Request

__all__ = ["IGNORED", "Key", "Question", "exact_key", "fingerprints", "question", "tenant"]

IGNORED: Final[Mapping[str, str]] = {
    "stream": "how the answer travels; both ways give the same answer",
    "stream_options": "what else a stream tells; usage is asked for always",
    "user": "who asks, for the provider's abuse statistics",
    "safety_identifier": "the same, by its newer name",
    "metadata": "tags for the provider's own logs",
    "prompt_cache_key": "which of its servers is likely to have the prompt cached: price and speed",
    "prompt_cache_retention": "for how long it caches the prompt: price",
}
"""Wire fields that are not part of the key, each with the reason."""

_USER_FIELDS: Final = ("user", "safety_identifier")

DEFAULTS: Final[Mapping[str, Any]] = {"n": 1, "logprobs": False}
"""Values that ask for nothing beyond what is given anyway: the same as leaving the field out. No others can be assumed:
the default temperature, for one, differs from server to server and from model to model."""

_FLOATS: Final = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})
"""Numbers that every server reads as floats: 1 and 1.0 are one value. Elsewhere (in a JSON schema, say) the model may
get to see the spelling."""

PLAIN: Final = frozenset({
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop", "seed",
    "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "tools", "tool_choice",
    "parallel_tool_calls", "response_format", "reasoning_effort", "verbosity", "service_tier",
})  # fmt: skip
"""Fields that add nothing to an answer but what `Reply` and `Chunk` have fields for. Any other may ask for something
(log probabilities, citations) that stands in `raw` alone, which differs between a stream and a whole answer."""

_FORMAT: Final = 1
"""Raised when the key of a request changes, for entries that outlive a process."""


class Key(NamedTuple):
    """The key of one request."""

    digest: bytes
    """20 bytes, about 2^80 tries for any two requests that share one; short enough to hold a million."""
    plain: bool
    """An answer serves streams and whole answers alike; else the two have different keys."""


def tenant(identity: Identity) -> tuple[str, str]:
    """Whose answers these are: the organisation's, else those of the API key that was shown, else everybody's."""
    if identity.organisation is not None:
        return "organisation", identity.organisation
    if identity.key is not None:
        return "key", identity.key
    return "default", ""


def exact_key(
    request: Request, fingerprint: str, *, namespace: Sequence[str] = (), bucket: int = 0, stream: bool
) -> Key | None:
    """The key of a request, or None for one that is not cached.

    Names of fields are sorted, so their order does not matter, with one exception: the order of a JSON schema's
    `properties` is kept, because models write structured answers in that order.

    Args:
        request: As the caller sent it.
        fingerprint: Of its route; see `fingerprints`.
        namespace: Entries of different namespaces, here in parts, have nothing in common.
        bucket: Which of several answers to the same request is meant.
        stream: Whether a stream is asked for; it matters only where the key is not plain.

    Returns:
        None where several choices are asked for (`n`; their finish reasons stand in `raw` alone, so that one that was
        filtered would not be noticed), and for what JSON has no form for: the codec refuses that, with the place.
    """
    wire, plain = _significant(request.wire)
    if "n" in wire:
        return None
    where = [
        _FORMAT, tenant(request.identity), namespace, bucket, request.route, fingerprint,
        "" if plain else "stream" if stream else "whole",
    ]  # fmt: skip
    digest = _digest(where, request.messages, wire)
    return None if digest is None else Key(digest, plain)


def _digest(where: list[Any], messages: Sequence[Message], wire: Mapping[str, Any]) -> bytes | None:
    """A hash of it all; None for what JSON has no form for."""
    try:
        data = orjson.dumps([*where, messages, wire], _plain_types, orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    # orjson writes NaN as null: only what has a null can have held one.
    if b"null" in data and not (_finite(wire) and _finite(messages)):
        return None
    digest = blake2b(data, digest_size=20)
    if b'"properties"' in data:
        orders: list[list[str]] = []
        _note_orders(wire, orders)
        digest.update(orjson.dumps(orders))
    return digest.digest()


class Question(NamedTuple):
    """What a request asks, apart from all that must be identical for an answer to be the same."""

    text: str
    """Of the last turn, the user's: the only thing that is compared by meaning."""
    partition: bytes
    """20 bytes: requests of one partition differ in `text` alone."""
    plain: bool
    """As in `Key`."""


def question(
    request: Request,
    fingerprint: str,
    *,
    namespace: Sequence[str] = (),
    shared: bool = False,
    stream: bool,
) -> Question | None:
    """Part a request into what it asks and all the rest: system prompt, earlier messages, tools, parameters, route,
    tenant and, unless the namespace is `shared`, the user (also one that only the provider is told of).

    Returns:
        None for a request that is not cached by meaning: one whose last turn is not a user's with exactly one text
        that is not blank, or that `exact_key` has no key for.
    """
    last = request.messages[-1]
    wire, plain = _significant(request.wire)
    if last.get("role") != "user" or "n" in wire:
        return None
    found = _asked(last.get("content"))
    if found is None:
        return None
    text, others = found
    where = [
        _FORMAT, "near", tenant(request.identity), "shared" if shared else _users(request), namespace,
        request.route, fingerprint, "" if plain else "stream" if stream else "whole",
    ]  # fmt: skip
    partition = _digest(where, [*request.messages[:-1], {**last, "content": others}], wire)
    return None if partition is None else Question(text, partition, plain)


def _users(request: Request) -> list[Any]:
    """Whoever is said to ask: to us, and in the fields by which providers are told."""
    user = request.identity.user
    told = {name: value for name in _USER_FIELDS if (value := request.wire.get(name)) is not None and value != user}
    return ([] if user is None else [user]) + ([told] if told else [])


def _asked(content: Any) -> tuple[str, Any] | None:
    """The one text of a turn, and all else in it, with a gap where the text stands; None: no text, or several."""
    if isinstance(content, str):
        text: Any = content
        others: Any = ""
    else:
        parts = content if isinstance(content, list | tuple) else ()
        texts = [part for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
        if len(texts) != 1:
            return None
        text = texts[0].get("text")
        others = [{**part, "text": ""} if part is texts[0] else part for part in parts]
    return (asked, others) if isinstance(text, str) and (asked := text.strip()) else None


def _significant(wire: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The fields that can change the answer, and whether all of them are plain."""
    found: dict[str, Any] = {}
    plain = True
    for name, value in wire.items():
        if name in PLAIN:
            found[name] = _plain_number(value) if name in _FLOATS else value
        elif name in IGNORED or (name in DEFAULTS and type(value) is type(DEFAULTS[name]) and value == DEFAULTS[name]):
            continue
        else:
            found[name] = value
            plain = False
    return found, plain


def _plain_number(value: Any) -> Any:
    """1.0 as 1; a float beyond what JSON writers take for a whole number stays one."""
    return int(value) if type(value) is float and abs(value) < 2**53 and value.is_integer() else value


def _plain_types(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(each) for each in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return all(_finite(each) for each in value)
    return True


def _note_orders(value: Any, orders: list[list[str]]) -> None:
    """Note the order of the names under each `properties`, in an order of its own that does not depend on it."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            inner = value[name]
            if name == "properties" and isinstance(inner, Mapping):
                orders.append(list(inner))
            _note_orders(inner, orders)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            _note_orders(inner, orders)


# --- routes ------------------------------------------------------------------------------------


def fingerprints(config: Config) -> dict[str, str]:
    """For each route that is cached a hash of what of the configuration can change an answer.

    That is who may answer (models, and where they are), what we add to a request (`max_output_tokens`, headers),
    whether anything may be left out of it (`on_unsupported`) and which checks the answer passed. Their order, weights,
    clocks and limits decide who is asked first and how long we wait, not what is a full answer of the route; so tuning
    them keeps the cache warm.
    """
    # API keys are no part of it: changing one must not empty the cache.
    providers = {
        its.name: (its.kind, its.base_url, its.version, sorted(its.headers.items())) for its in config.providers
    }
    found = {}
    for name, route in config.routes.items():
        if route.cache == "skip":
            continue
        models = {(leaf.target.provider, leaf.target.model) for leaf in leaves(config.routes, name)}
        targets = sorted((*providers[provider], model) for provider, model in models)
        checks = [_significant_of(check) for check in route.checks]
        what = [targets, route.max_output_tokens, route.on_unsupported, *([checks] if checks else [])]
        data = orjson.dumps(what, str)
        found[name] = blake2b(data, digest_size=16).hexdigest()
    return found


def _significant_of(check: CheckSettings) -> dict[str, Any]:
    """What of a check decides which answers pass: all but its name, its clock and its budget."""
    return {
        each.name: getattr(check, each.name)
        for each in fields(check)
        if each.name not in ("name", "timeout", "max_cost_usd")
    }
