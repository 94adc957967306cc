"""The simulated provider's answer to one request for embeddings, with all the ways it may go wrong.

Vectors depend on the text alone and mean nothing: two texts are as far apart as chance has it. Shapes and limits follow
OpenAI's API reference (November 2026). Pure: the time it takes is an argument.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from resilio.testing.dialects.openai import error_body
from resilio.testing.faults import (
    BadVectors,
    Cut,
    ErrorFrame,
    Fault,
    Giant,
    Malformed,
    SlowFirstToken,
    Stall,
    TruncatedJson,
    UsageReport,
)
from resilio.testing.reaction import Ending, Reaction

__all__ = ["vectors_reaction"]

MAX_INPUTS: Final = 2048
MAX_TOKENS: Final = 300_000


def vectors_reaction(body: Mapping[str, Any], faults: Sequence[Fault], took: float, dimensions: int) -> Reaction:
    """Answer one request for embeddings.

    Args:
        body: The request, with a model.
        faults: What strikes this request; faults of the connection are dealt with before.
        took: Seconds until the answer begins.
        dimensions: Length of the vectors, unless the request says otherwise.
    """
    given = body.get("input")
    texts: Any = [given] if isinstance(given, str) else given
    tokens = 0
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        tokens = sum(max(1, len(text.encode()) // 4) for text in texts)
    if (objection := _objection(texts, tokens)) is not None:
        return Reaction(400, {}, [(0.0, error_body(None, objection, "input"))])
    length = int(body.get("dimensions") or dimensions)
    data: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": _vector(text, length)} for index, text in enumerate(texts)
    ]
    usage: dict[str, int] | None = {"prompt_tokens": tokens, "total_tokens": tokens}
    packed = body.get("encoding_format") == "base64"
    for fault in faults:
        match fault:
            case SlowFirstToken(seconds=seconds):
                took = seconds
            case UsageReport(missing=True):
                usage = None
            case UsageReport(prompt_tokens=int(other)):
                usage = {"prompt_tokens": other, "total_tokens": other}
            case BadVectors(how=how):
                data, packed = _bent(data, how), packed or how == "nan"
            case Giant(size=size):
                data[0]["padding"] = "x" * size
            case _:
                continue
    if packed:
        for item in data:
            item["embedding"] = base64.b64encode(
                struct.pack(f"<{len(item['embedding'])}f", *item["embedding"])
            ).decode()
    answer: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
    if usage is not None:
        answer["usage"] = usage
    return _sent(Reaction(200, {}, [(0.0, orjson.dumps(answer))], head_delay=took), faults)


def _objection(texts: Any, tokens: int) -> str | None:
    """What a 400 says of the input, if anything is wrong with it."""
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return "'input' must be a string or a list of strings."
    if not all(texts):
        return "Invalid 'input': input cannot be an empty string."
    if len(texts) > MAX_INPUTS:
        return f"Invalid 'input': maximum {MAX_INPUTS} items, got {len(texts)}."
    if tokens > MAX_TOKENS:
        return f"Invalid 'input': maximum request size is {MAX_TOKENS} tokens per request."
    return None


def _bent(data: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
    last = data[-1]
    match how:
        case "shuffled":
            return data[::-1]
        case "missing":
            return data[:-1]
        case "twin":
            last["index"] = 0 if len(data) > 1 else 1
        case "ragged":
            last["embedding"] = last["embedding"][:-1]
        case "nan":
            last["embedding"] = [float("nan"), *last["embedding"][1:]]
    return data


def _sent(reaction: Reaction, faults: Sequence[Fault]) -> Reaction:
    """Apply the faults of how it is sent; "after some chunks" is half of the body."""
    whole = reaction.pieces[0][1]
    half = whole[: len(whole) // 2]
    for fault in faults:
        match fault:
            case Cut(clean=clean):
                reaction.pieces, reaction.ending = [(0.0, half)], Ending.CLEAN if clean else Ending.CUT
            case Stall():
                reaction.pieces, reaction.ending = [(0.0, half)], Ending.NEVER
            case Malformed(data=data):
                reaction.pieces = [(0.0, half + data.encode() + whole[len(half) :])]
            case TruncatedJson():
                reaction.pieces = [(0.0, half)]
            case ErrorFrame(code=code, message=message):
                reaction.pieces = [(0.0, error_body(code, message))]
            case _:
                continue
    return reaction


def _vector(text: str, dimensions: int) -> list[float]:
    """Bytes of a hash, spread over -1 to 1 and scaled to length one."""
    raw = hashlib.shake_128(text.encode(errors="replace")).digest(2 * dimensions)
    values = [number / 32768 for number in struct.unpack(f"<{dimensions}h", raw)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / length for value in values]
