"""What we write, read again by our own decoders: the same, however it is cut, and never whole before its end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoken import CODECS, SSE, cut, decode, encoder, frames, of_chunks, read, reply, said, streams

from resilio.errors import ErrorClass, MalformedResponse
from resilio.models import Chunk, ToolCall, ToolCallDelta, Usage
from resilio.wire import DIALECTS

PLACES = st.lists(st.integers(0, 4000), max_size=6)
BOTH = pytest.mark.parametrize("dialect", ["openai", "anthropic"])

CHUNKS = [
    Chunk(reasoning="Grüße"), Chunk(reasoning="…"), Chunk("Let me "), Chunk("look 🌍."),
    Chunk(tool_calls=(ToolCallDelta(0, "call_a", "get_weather"),)),
    Chunk(tool_calls=(ToolCallDelta(1, "call_b", "get_time"),)),
    Chunk(tool_calls=(ToolCallDelta(0, arguments='{"city": '), ToolCallDelta(1, arguments="{}"))),
    Chunk(tool_calls=(ToolCallDelta(0, arguments='"Köln"}'),)),
    Chunk(finish_reason="tool_calls"),
]  # fmt: skip
REPLY = reply(
    "Let me look 🌍.", "tool_calls", reasoning="Grüße…", tool_calls=(
        ToolCall("call_a", "get_weather", '{"city": "Köln"}'), ToolCall("call_b", "get_time", "{}"),
    ),
)  # fmt: skip


def expected(dialect, made):
    """What the dialect can say of a reply."""
    usage = made.usage
    if dialect == "openai":
        # It has one sort of write to its cache.
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        return replace(made, usage=replace(usage, cache_write_5m_tokens=written, cache_write_1h_tokens=0))
    tier = {"default": "standard"}.get(usage.service_tier, usage.service_tier)
    return replace(made, usage=replace(usage, service_tier=tier))


@BOTH
@given(data=st.data())
def test_a_stream_reads_back_as_it_was(dialect, data):
    chunks, made = data.draw(streams())
    written = b"".join(frames(dialect, chunks, made))
    got, answer = read(dialect, cut(written, data.draw(PLACES)))
    assert said(answer) == said(expected(dialect, made))
    assert of_chunks(got) == of_chunks(chunks)


@BOTH
@given(data=st.data())
def test_a_whole_answer_reads_back_as_it_was(dialect, data):
    _, made = data.draw(streams())
    answer = decode(dialect, DIALECTS[dialect].reply(made, model="chat", created=1).body)
    want = expected(dialect, made)
    if dialect == "anthropic":  # the text of arguments is written anew
        import json

        want, answer = (
            replace(
                its,
                tool_calls=tuple(replace(call, arguments=json.loads(call.arguments)) for call in its.tool_calls),
            )
            for its in (want, answer)
        )
    assert said(answer) == said(want)
    assert (answer.model, answer.response_id.endswith(made.request_id)) == ("chat", True)


@BOTH
def test_a_stream_reads_the_same_cut_at_any_byte(dialect):
    written = b"".join(frames(dialect, CHUNKS, REPLY))
    for place in range(len(written)):
        assert said(read(dialect, cut(written, [place]))[1]) == said(expected(dialect, REPLY)), place


@BOTH
@given(data=st.data())
def test_a_stream_that_breaks_off_is_never_whole(dialect, data):
    chunks, made = data.draw(streams())
    *pieces, _ = frames(dialect, chunks, made)
    kept = pieces[: data.draw(st.integers(0, len(pieces)))]
    decoder = CODECS[dialect].stream_decoder(200, SSE)
    for piece in kept:
        decoder.feed(piece)
    assert not decoder.complete
    with pytest.raises(MalformedResponse) as caught:
        decoder.finish()
    assert caught.value.error_class is ErrorClass.TRUNCATED


@BOTH
def test_a_stream_cut_at_any_byte_is_whole_only_once_its_reason_to_end_is_there(dialect):
    written = b"".join(frames(dialect, CHUNKS, REPLY))
    sign = b'"finish_reason":"tool_calls"' if dialect == "openai" else b'"stop_reason":"tool_use"'
    end = written.index(b"\n\n", written.index(sign))
    for place in range(len(written)):
        decoder = CODECS[dialect].stream_decoder(200, SSE)
        decoder.feed(written[:place])
        try:
            decoder.finish()
        except MalformedResponse:
            assert place < end
        else:
            assert place >= end


@BOTH
@given(data=st.data())
def test_nothing_follows_an_error(dialect, data):
    chunks, _ = data.draw(streams())
    writing = encoder(dialect)
    kept = chunks[: data.draw(st.integers(0, len(chunks)))]
    pieces = [writing.chunk(chunk) for chunk in kept] + [writing.error(RuntimeError("secret"))]
    assert b"secret" not in pieces[-1]
    decoder = CODECS[dialect].stream_decoder(200, SSE)
    for piece in pieces[:-1]:
        decoder.feed(piece)
    with pytest.raises(Exception, match="the gateway failed") as caught:
        decoder.feed(pieces[-1])
    assert caught.value.error_class is ErrorClass.SERVER_ERROR
    assert not decoder.complete
    for more in (lambda: writing.chunk(Chunk("x")), lambda: writing.end(REPLY), lambda: writing.error(KeyError())):
        with pytest.raises(RuntimeError, match="has ended"):
            more()


@BOTH
@given(data=st.data())
def test_signs_of_life_change_nothing(dialect, data):
    chunks, made = data.draw(streams())
    writing = encoder(dialect, include_usage=True)
    pieces = [writing.keep_alive()]
    for chunk in chunks:
        pieces += [writing.chunk(chunk), writing.keep_alive()]
    decoder = CODECS[dialect].stream_decoder(200, SSE)
    for piece in [*pieces, writing.end(made)]:
        decoder.feed(piece)
    decoder.finish()
    assert said(decoder.answer()) == said(expected(dialect, made))
    assert decoder.comments == len(chunks) + 1


@given(st.lists(streams(refusals=False), min_size=2, max_size=3))
def test_several_choices_keep_apart(given_choices):
    by_choice = [[chunk._replace(index=index) for chunk in chunks] for index, (chunks, _) in enumerate(given_choices)]
    mixed = [chunk for row in zip(*by_choice, strict=False) for chunk in row]
    mixed += [chunk for chunks in by_choice for chunk in chunks[min(map(len, by_choice)) :]]
    got, answer = read("openai", frames("openai", mixed, given_choices[0][1]))
    for index, (chunks, made) in enumerate(given_choices):
        assert of_chunks(got, index) == of_chunks(chunks)
        choice = answer.raw["choices"][index]
        assert (choice["index"], choice["finish_reason"]) == (index, made.finish_reason)
    # And, once read as one answer, as a whole body.
    whole = replace(given_choices[0][1], raw=answer.raw)
    again = decode("openai", DIALECTS["openai"].reply(whole, model="chat", created=1).body)
    assert [its["finish_reason"] for its in again.raw["choices"]] == [made.finish_reason for _, made in given_choices]
    for index, (chunks, _) in enumerate(given_choices):
        message = again.raw["choices"][index]["message"]
        assert (message["content"] or "") == of_chunks(chunks)[0]
        assert len(message.get("tool_calls", ())) == len(of_chunks(chunks)[3])


def test_usage_is_told_only_to_whom_it_was_promised():
    chunks = [Chunk("Hi"), Chunk(finish_reason="stop")]
    writing = encoder("openai")
    quiet = b"".join([*(writing.chunk(chunk) for chunk in chunks), writing.end(reply("Hi"))])
    assert b"usage" not in quiet
    told = frames("openai", chunks, reply("Hi", usage=Usage(3, 2)))
    assert told[-1].count(b'"choices":[]') == 1
    assert all(b'"usage":null' in piece for piece in told[:-1] if piece)
