"""Answers as chunks and replies, and what each dialect's own decoder reads from what we write of them."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import strategies as st

from resilio.models import Chunk, Level, Reply, ToolCall, ToolCallDelta, Usage
from resilio.providers.anthropic import AnthropicCodec
from resilio.providers.openai import OpenAICodec
from resilio.wire import DIALECTS

CODECS = {"openai": OpenAICodec("openai"), "anthropic": AnthropicCodec()}
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
USAGE = Usage(100, 40, 64, 10, 6, 24, service_tier="default")


def reply(text="", finish="stop", **more):
    """A reply as a client gives it."""
    given = {"target": "openai/gpt-5", "level": Level.FULL, "complete": True, "usage": USAGE, "latency": 1.0}
    given |= {"request_id": "a1-7", "route": "chat", "asked_route": "chat"}
    return Reply(text, finish, **{**given, **more})


def encoder(dialect, **more):
    return DIALECTS[dialect].stream(request_id="a1-7", model="chat", created=1_795_430_000, **more)


def frames(dialect, chunks, said, **more):
    """The pieces a stream is written in: one for each chunk, then the end."""
    written = encoder(dialect, include_usage=True, **more)
    return [*(written.chunk(chunk) for chunk in chunks), written.end(said)]


def decode(dialect, body):
    return CODECS[dialect].decode(200, JSON, body)


def read(dialect, pieces):
    """Chunks and answer that our own decoder reads."""
    decoder = CODECS[dialect].stream_decoder(200, SSE)
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    chunks += decoder.finish()
    return chunks, decoder.answer()


def cut(data, places):
    """The bytes, cut at these places."""
    edges = [0, *sorted({min(place, len(data)) for place in places}), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


def said(answer):
    """What can be told of an answer in any dialect."""
    return (
        answer.text, answer.reasoning, answer.refusal, answer.tool_calls, answer.finish_reason,
        answer.usage and replace(answer.usage, estimated=False),
    )  # fmt: skip


def of_chunks(chunks, index=0):
    """Text, reasoning, refusal and tool calls that chunks add up to."""
    calls = {}
    mine = [chunk for chunk in chunks if chunk.index == index]
    for piece in (piece for chunk in mine for piece in chunk.tool_calls):
        given = calls.setdefault(piece.index, ["", "", ""])
        given[0] = given[0] or piece.id or ""
        given[1] = given[1] or piece.name or ""
        given[2] += piece.arguments
    return (
        "".join(chunk.text for chunk in mine),
        "".join(chunk.reasoning for chunk in mine),
        "".join(chunk.refusal for chunk in mine),
        tuple(ToolCall(*calls[place]) for place in sorted(calls)),
    )


# --- any answer --------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = st.text("abcXYZ_09", min_size=1, max_size=6)
arguments = st.dictionaries(words, words | st.integers(-9, 9) | st.none(), max_size=2)


@st.composite
def streams(draw, refusals=True):
    """Chunks of a whole answer, its tool calls in fragments that may be mixed, and the reply that it ends in."""
    import orjson

    chunks = [Chunk(reasoning=piece) for piece in draw(st.lists(words, max_size=2))]
    if refusals and draw(st.integers(0, 4)) == 0:
        chunks += [Chunk(refusal=piece) for piece in draw(st.lists(words, min_size=1, max_size=2))]
    chunks += [Chunk(piece) for piece in draw(st.lists(words, max_size=4))]
    queues = []
    for place in range(draw(st.integers(0, 3))):
        written = orjson.dumps(draw(arguments)).decode()
        at = draw(st.integers(0, len(written)))
        first = draw(st.sampled_from(["", written[:at]]))
        rest = [written[len(first) : at], written[at:]]
        opening = ToolCallDelta(place, f"call_{place}", draw(names), first)
        queues.append([opening, *(ToolCallDelta(place, arguments=piece) for piece in rest if piece)])
    chunks += [Chunk(tool_calls=(queue.pop(0),)) for queue in queues]
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        chunks.append(Chunk(tool_calls=(queue.pop(0),)))
    for _ in range(draw(st.integers(0, 2))):  # what says nothing may stand anywhere
        chunks.insert(draw(st.integers(0, len(chunks))), Chunk(raw={"choices": []}))
    text, reasoning, refusal, calls = of_chunks(chunks)
    finish = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    if refusal:
        finish = "content_filter"
    chunks.append(Chunk(finish_reason=finish, usage=USAGE))
    usage = draw(usages)
    made = reply(text, finish, reasoning=reasoning, refusal=refusal, tool_calls=calls, usage=usage)
    return chunks, made


@st.composite
def _usages(draw):
    read, short, long = (draw(st.integers(0, 9)) for _ in range(3))
    output = draw(st.integers(1, 50))
    tier = draw(st.sampled_from([None, "default", "priority"]))
    thought = draw(st.integers(0, output))
    return Usage(read + short + long + draw(st.integers(1, 50)), output, read, short, long, thought, service_tier=tier)


usages = _usages()
