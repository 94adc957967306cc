"""Streams: cut anywhere, ended anywhere, broken in every way; and the official client reads the same from them."""

from itertools import pairwise
from typing import get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai_wire import (
    CODEC,
    DONE,
    JSON,
    SSE,
    STREAMS,
    TEXT_STREAM,
    TOOL_STREAM,
    TWO_CHOICES_STREAM,
    USAGE,
    completion,
    event,
    piece,
    stream,
    tool_delta,
    usage_piece,
)

from resilio.config.settings import ProviderKind
from resilio.errors import (
    ErrorClass,
    MalformedResponse,
    ProviderError,
    ProviderRefused,
    ProviderThrottled,
    ProviderUnavailable,
)
from resilio.models import ToolCall, ToolCallDelta, Usage
from resilio.providers import REGISTRY
from resilio.providers.openai import OpenAICodec

GIVES = pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS.keys())


def read(*pieces, headers=SSE):
    """Feed the pieces and the end; returns the chunks, the decoder, and the error if one was raised."""
    decoder, chunks = CODEC.stream_decoder(200, headers), []
    try:
        for data in pieces:
            chunks += decoder.feed(data)
        chunks += decoder.finish()
    except ProviderError as error:
        return chunks, decoder, error
    return chunks, decoder, None


def outcome(*pieces):
    """All that a caller can see, in a form that compares."""
    chunks, decoder, error = read(*pieces)
    told = None if error is None else (type(error), error.error_class, str(error))
    return chunks, decoder.complete, decoder.done, told, decoder.answer()


def text_of(chunks):
    return "".join(chunk.text for chunk in chunks)


@GIVES
class TestEveryStream:
    def test_is_complete(self, data):
        chunks, decoder, error = read(data)
        assert error is None
        assert decoder.complete
        assert any(chunk.has_content for chunk in chunks)

    def test_reads_the_same_byte_by_byte(self, data):
        assert outcome(*(bytes([byte]) for byte in data)) == outcome(data)

    def test_reads_the_same_split_at_every_point(self, data):
        whole = outcome(data)
        for cut in range(0, len(data), 1 if len(data) < 1500 else 3):
            assert outcome(data[:cut], data[cut:]) == whole, cut

    def test_cut_at_every_byte_is_incomplete_until_its_last_finish_reason(self, data):
        last = data.rindex(b'"finish_reason":"')
        ends = data.index(b"\n", last)  # LF or the CR before it: the object is whole just before
        ends -= data[ends - 1 : ends] == b"\r"
        whole = text_of(read(data)[0])
        for cut in range(len(data)):
            chunks, decoder, error = read(data[:cut])
            assert decoder.complete == (error is None) == (cut >= ends), cut
            if error is not None:
                assert error.error_class is ErrorClass.TRUNCATED
            assert whole.startswith(text_of(chunks))
            assert decoder.answer().finish_reason == "" or data is TWO_CHOICES_STREAM or decoder.complete

    def test_gives_every_object_in_raw_once(self, data):
        raws = [chunk.raw for chunk in read(data)[0] if chunk.raw is not None]
        lines = data.replace(b"\r", b"").split(b"\n")
        assert raws == [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: {")]

    def test_reads_as_the_official_client_does(self, data):
        if b"prompt_filter_results" in data:  # the official types refuse this opening object
            data = data[data.index(b"\n\n") + 2 :]
        chunks, decoder, _ = read(data)
        state = ChatCompletionStreamState()
        for chunk in chunks:
            state.handle_chunk(ChatCompletionChunk.model_validate(chunk.raw))
        theirs, ours = state.current_completion_snapshot, decoder.answer()
        choice = theirs.choices[0]
        assert ours.text == (choice.message.content or "")
        assert ours.refusal == (choice.message.refusal or "")
        assert ours.finish_reason == choice.finish_reason
        assert (ours.model, ours.response_id) == (theirs.model, theirs.id)
        assert [(call.id, call.name, call.arguments) for call in ours.tool_calls] == [
            (call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()
        ]
        if theirs.usage is None:
            assert ours.usage is None
        else:
            assert ours.usage.input_tokens == theirs.usage.prompt_tokens
            assert ours.usage.output_tokens == theirs.usage.completion_tokens

    def test_assembles_a_whole_completion(self, data):
        raw = read(data)[1].answer().raw
        theirs = ChatCompletion.model_validate(raw)
        assert theirs.object == "chat.completion"
        again = CODEC.decode(200, JSON, orjson.dumps(raw))
        ours = read(data)[1].answer()
        assert (again.text, again.finish_reason, again.usage) == (ours.text, ours.finish_reason, ours.usage)
        assert (again.tool_calls, again.reasoning, again.refusal) == (ours.tool_calls, ours.reasoning, ours.refusal)


@given(
    data=st.sampled_from(list(STREAMS.values())),
    end=st.integers(0, 4000),
    cuts=st.lists(st.integers(0, 4000), max_size=20),
)
def test_how_a_stream_is_cut_into_reads_changes_nothing(data, end, cuts):
    data = data[:end]
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    assert outcome(*(data[a:b] for a, b in pairwise(edges))) == outcome(data)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COUNTS = st.integers(0, 1000)


@st.composite
def completions(draw):
    """A whole answer as OpenAI's own servers give it."""
    names = st.tuples(
        st.sampled_from(["get_weather", "f"]), WORDS.map(lambda word: orjson.dumps({word: word}).decode())
    )
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(draw(st.lists(names, max_size=3)))
    ]
    message = {"content": draw(WORDS), "refusal": draw(st.none() | WORDS), **({"tool_calls": calls} if calls else {})}
    if message["content"] == "" and (calls or message["refusal"]):
        message["content"] = None
    cached, written, thought = draw(COUNTS), draw(COUNTS), draw(COUNTS)
    usage = {
        "prompt_tokens": 1 + cached + written + draw(COUNTS), "completion_tokens": thought + draw(COUNTS),
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }  # fmt: skip
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    finish = draw(st.sampled_from(["tool_calls", "stop"] if calls else ["stop", "length", "content_filter"]))
    return completion(message, finish=finish, usage=usage)


def streamed(whole, size):
    """The objects of a stream that adds up to it, its texts in fragments of this many characters."""
    message = whole["choices"][0]["message"]
    yield piece({"role": "assistant", "content": None, "refusal": None})
    for name in ("content", "refusal"):
        text = message.get(name) or ""
        yield from (piece({name: text[at : at + size]}) for at in range(0, len(text), size))
    calls = [(at, call["id"], call["function"]) for at, call in enumerate(message.get("tool_calls", ()))]
    yield from (piece(tool_delta(at, id=known, name=its["name"])) for at, known, its in calls)
    for start in range(0, max((len(its["arguments"]) for *_, its in calls), default=0), size):
        for at, _, its in calls:  # the fragments of all calls mixed
            if fragment := its["arguments"][start : start + size]:
                yield piece(tool_delta(at, arguments=fragment))
    yield piece(finish=whole["choices"][0]["finish_reason"], service_tier=whole["service_tier"])
    yield usage_piece(whole["usage"])


def of_sdk(read):
    """What the official types hold of an answer."""
    (choice,), usage = read.choices, read.usage
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    before, within = usage.prompt_tokens_details, usage.completion_tokens_details
    return (
        choice.message.content or "", choice.message.refusal or "", calls, choice.finish_reason,
        usage.prompt_tokens, usage.completion_tokens, before.cached_tokens, before.cache_write_tokens,
        within.reasoning_tokens,
    )  # fmt: skip


def of_ours(answer):
    usage = answer.usage
    return (
        answer.text, answer.refusal, [(call.id, call.name, call.arguments) for call in answer.tool_calls],
        answer.finish_reason, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens,
        usage.cache_write_5m_tokens, usage.reasoning_tokens,
    )  # fmt: skip


@given(completions(), st.integers(1, 9), st.data())
def test_any_completion_is_read_alike_whole_streamed_cut_and_by_the_sdk(whole, size, data):
    bodies = list(streamed(whole, size))
    state = ChatCompletionStreamState()
    for body in bodies:
        state.handle_chunk(ChatCompletionChunk.model_validate(body, strict=True))
    wire = stream(*bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    _, decoder, error = read(*(wire[low:high] for low, high in pairwise([0, *cuts, len(wire)])))
    theirs = of_sdk(ChatCompletion.model_validate(whole, strict=True))
    if theirs[:4] == ("", "", [], "content_filter"):  # nothing is left: no answer to us, though one to the SDK
        assert isinstance(error, ProviderRefused)
        with pytest.raises(ProviderRefused):
            CODEC.decode(200, JSON, orjson.dumps(whole))
        return
    assert error is None
    assert of_sdk(state.current_completion_snapshot) == theirs
    assert of_ours(decoder.answer()) == of_ours(CODEC.decode(200, JSON, orjson.dumps(whole))) == theirs


class TestWhatIsRead:
    def test_text_and_usage(self):
        chunks, decoder, _ = read(TEXT_STREAM)
        assert [chunk.text for chunk in chunks] == ["", "Grüß", "e 🌍", "", ""]
        assert [chunk.finish_reason for chunk in chunks] == [None, None, None, "stop", None]
        assert chunks[-1].usage == Usage(100, 40, 64, 16, 0, 24)
        answer = decoder.answer()
        assert (answer.text, answer.finish_reason, answer.usage) == ("Grüße 🌍", "stop", chunks[-1].usage)

    def test_the_role_alone_is_no_content(self):
        assert not read(TEXT_STREAM)[0][0].has_content
        assert not read(TOOL_STREAM)[0][0].has_content

    def test_tool_calls_by_index(self):
        chunks, decoder, _ = read(TOOL_STREAM)
        assert [chunk.tool_calls for chunk in chunks if chunk.tool_calls] == [
            (ToolCallDelta(0, "call_a", "get_weather", ""),),
            (ToolCallDelta(0, None, None, '{"city": '),),
            (ToolCallDelta(1, "call_b", "get_time", ""),),
            (ToolCallDelta(0, None, None, '"Köln"}'),),
            (ToolCallDelta(1, None, None, "{}"),),
        ]
        assert decoder.answer().tool_calls == (
            ToolCall("call_a", "get_weather", '{"city": "Köln"}'),
            ToolCall("call_b", "get_time", "{}"),
        )

    def test_choices_interleaved(self):
        chunks, decoder, _ = read(TWO_CHOICES_STREAM)
        assert [(chunk.index, chunk.text) for chunk in chunks if chunk.text] == [(0, "left"), (1, "right"), (1, "!")]
        assert decoder.answer().text == "left"
        assert [one["message"]["content"] for one in decoder.answer().raw["choices"]] == ["left", "right!"]

    def test_one_finished_choice_of_two_is_not_complete(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(
            stream(piece({"content": "a"}), piece({"content": "b"}, index=1), piece(finish="stop"), done=False)
        )
        assert not decoder.complete
        decoder.feed(event(piece(finish="stop", index=1)))
        assert decoder.complete

    def test_a_finish_reason_told_twice_counts_once(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(stream(piece({"content": "a"}), piece({"content": "b"}, index=1), done=False))
        decoder.feed(stream(piece(finish="stop"), piece(finish="stop", usage=USAGE), done=False))
        assert not decoder.complete
        decoder.feed(event(piece(finish="stop", index=1)))
        assert decoder.complete

    def test_several_choices_in_one_object(self):
        body = piece({"content": "a"}, finish="stop", usage=USAGE)
        body["choices"].append({"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"})
        chunks, decoder, _ = read(stream(body))
        assert [(chunk.index, chunk.text, chunk.raw is None, chunk.usage is None) for chunk in chunks] == [
            (0, "a", False, False),
            (1, "b", True, True),
        ]
        assert decoder.complete

    def test_reasoning_and_keep_alives(self):
        chunks, decoder, _ = read(STREAMS["reasoning"])
        assert decoder.comments == 3
        assert [chunk.reasoning for chunk in chunks if chunk.reasoning] == ["Two and two", " make four."]
        assert decoder.answer().reasoning == "Two and two make four."
        assert decoder.answer().usage == Usage(6, 12)

    def test_mistrals_parts(self):
        thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
        answer = read(
            stream(piece({"content": thinking}), piece({"content": [{"type": "text", "text": "4"}]}, finish="stop"))
        )[1].answer()
        assert (answer.text, answer.reasoning) == ("4", "Hm.")

    def test_the_old_function_call(self):
        deltas = [{"function_call": {"name": "f", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]
        answer = read(stream(*map(piece, deltas), piece(finish="function_call")))[1].answer()
        assert answer.tool_calls == (ToolCall("", "f", "{}"),)

    def test_usage_that_grows_counts_once(self):
        sizes = ({"prompt_tokens": 9, "completion_tokens": n} for n in (1, 2, 3))
        answer = read(stream(*(piece({"content": "x"}, usage=usage) for usage in sizes), piece(finish="stop")))[
            1
        ].answer()
        assert answer.usage == Usage(9, 3)

    def test_what_follows_done_is_ignored(self):
        more = event(piece({"content": "more"})) + event({"error": {"message": "late"}})
        assert outcome(TEXT_STREAM + more) == outcome(TEXT_STREAM)
        assert outcome(TEXT_STREAM, more) == outcome(TEXT_STREAM)

    @pytest.mark.parametrize(
        "keep_alive", [b"data:\n\n", b"data:  \n\n", b": ping\n\n", b"\n\n", event({"type": "ping"})]
    )
    def test_keep_alives_of_any_kind_do_no_harm(self, keep_alive):
        chunks, decoder, error = read(keep_alive + TEXT_STREAM.replace(b"\n\n", b"\n\n" + keep_alive))
        assert (text_of(chunks), decoder.complete, error) == ("Grüße 🌍", True, None)

    def test_done_with_blanks_around_it(self):
        assert read(TEXT_STREAM.replace(b"[DONE]", b" [DONE] "))[1].done

    def test_a_byte_order_mark(self):
        for mark_alone in (True, False):
            pieces = [b"\xef", b"\xbb\xbf", TEXT_STREAM] if mark_alone else [b"\xef\xbb\xbf" + TEXT_STREAM]
            assert outcome(*pieces) == outcome(TEXT_STREAM)


class TestToolCallsThatAreNumberedBadly:
    def calls(self, *deltas):
        return read(stream(*map(piece, deltas), piece(finish="tool_calls")))[1].answer().tool_calls

    def test_every_one_0(self):
        deltas = [
            tool_delta(0, id="a", name="f", arguments="{}"),
            tool_delta(0, id="b", name="g", arguments='{"x":'),
            tool_delta(0, arguments="1}"),
        ]
        assert self.calls(*deltas) == (ToolCall("a", "f", "{}"), ToolCall("b", "g", '{"x":1}'))

    def test_not_at_all(self):
        deltas = [
            tool_delta(None, id="a", name="f"),
            tool_delta(None, arguments="{}"),
            tool_delta(None, id="b", name="g"),
        ]
        assert self.calls(*deltas) == (ToolCall("a", "f", "{}"), ToolCall("b", "g", ""))

    def test_from_1(self):
        deltas = [tool_delta(1, id="a", name="f"), tool_delta(1, arguments="{}")]
        assert self.calls(*deltas) == (ToolCall("a", "f", "{}"),)

    def test_id_and_name_repeated_or_empty(self):
        deltas = [
            tool_delta(0, id="a", name="f"),
            tool_delta(0, id="a", name="f", arguments="{"),
            tool_delta(0, id="", name="", arguments="}"),
        ]
        assert self.calls(*deltas) == (ToolCall("a", "f", "{}"),)
        chunks = read(stream(*map(piece, deltas)))[0]
        assert [delta.id for chunk in chunks for delta in chunk.tool_calls] == ["a", None, None]


class TestTheEnd:
    def test_done_without_a_finish_reason_is_suspect(self):
        chunks, decoder, error = read(stream(piece({"content": "Half an ans"})))
        assert (text_of(chunks), decoder.done, decoder.complete) == ("Half an ans", True, False)
        assert (type(error), error.error_class) == (MalformedResponse, ErrorClass.TRUNCATED)
        assert "[DONE], without a finish_reason" in str(error)
        assert decoder.answer().text == "Half an ans"

    def test_a_clean_end_without_a_finish_reason_is_a_cut(self):
        error = read(stream(piece({"content": "Half an ans"}), done=False))[2]
        assert error.error_class is ErrorClass.TRUNCATED

    @pytest.mark.parametrize("data", [b"", b"\n\n", b"data: {", b": ping\n\n", b"\xef\xbb"])
    def test_nothing_at_all_is_a_cut(self, data):
        error = read(data)[2]
        assert (type(error), error.error_class) == (MalformedResponse, ErrorClass.TRUNCATED)

    def test_objects_without_any_choice_and_done_are_malformed(self):
        chunks, _, error = read(stream(*[usage_piece()] * 3))
        assert [chunk.usage for chunk in chunks] == [Usage(100, 40, 64, 16, 0, 24)] * 3
        assert (type(error), error.error_class) == (MalformedResponse, ErrorClass.MALFORMED)
        assert read(DONE)[2].error_class is ErrorClass.MALFORMED

    def test_done_is_not_needed(self):
        assert outcome(STREAMS["no done"])[1:4] == (True, False, None)

    def test_an_event_without_its_blank_line_counts_if_it_ends_the_answer(self):
        for tail in (b"", b"\n"):
            chunks, decoder, error = read(
                stream(piece({"content": "a"}), done=False) + event(piece(finish="stop")).strip() + tail
            )
            assert (decoder.complete, error, chunks[-1].finish_reason) == (True, None, "stop")

    def test_an_event_without_its_blank_line_is_dropped_if_it_does_not(self):
        chunks, decoder, error = read(event(piece({"content": "a"})) + event(piece({"content": "b"})).strip())
        assert error.error_class is ErrorClass.TRUNCATED
        assert text_of(chunks) == decoder.answer().text == "a"

    def test_usage_without_its_blank_line_counts_after_the_end(self):
        data = stream(piece({"content": "a"}, finish="stop"), done=False) + event(usage_piece()).strip()
        assert read(data)[1].answer().usage == Usage(100, 40, 64, 16, 0, 24)

    def test_the_end_may_be_told_twice(self):
        decoder = CODEC.stream_decoder(200, SSE)
        decoder.feed(TEXT_STREAM)
        assert decoder.finish() == decoder.finish() == []
        broken = CODEC.stream_decoder(200, SSE)
        for _ in range(2):
            with pytest.raises(MalformedResponse):
                broken.finish()


class TestErrorsInside:
    FRAMES = (
        (
            b'data: {"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}\n\n',
            ProviderThrottled,
        ),
        (b'event: error\ndata: {"error":{"message":"x","code":503}}\n\n', ProviderUnavailable),
        (
            b'event: error\ndata: {"message":"The server is overloaded","type":"overloaded_error"}\n\n',
            ProviderUnavailable,
        ),
        (b"event: error\ndata: upstream went away\n\n", ProviderUnavailable),
        (b'data: {"object":"error","message":"Rate limit exceeded","code":"1300"}\n\n', ProviderThrottled),
        (
            event(piece({"content": ""}, finish="error", error={"code": 502, "message": "Provider disconnected"})),
            ProviderUnavailable,
        ),
    )

    @pytest.mark.parametrize(("frame", "exception"), FRAMES)
    def test_are_classified_and_come_after_the_chunks_before_them(self, frame, exception):
        before = stream(piece({"role": "assistant", "content": ""}), piece({"content": "Half"}), done=False)
        decoder = CODEC.stream_decoder(200, SSE)
        assert text_of(decoder.feed(before + frame + event(piece({"content": "never"})))) == "Half"
        assert not decoder.complete
        for call in (decoder.finish, lambda: decoder.feed(b"data: {}\n\n"), decoder.finish):
            with pytest.raises(exception):
                call()
        assert decoder.answer().text == "Half"

    @pytest.mark.parametrize(("frame", "exception"), FRAMES)
    def test_are_raised_at_once_where_nothing_comes_before_them(self, frame, exception):
        with pytest.raises(exception):
            CODEC.stream_decoder(200, SSE).feed(frame)

    def test_are_found_after_the_finish_reason_too(self):
        data = stream(piece({"content": "a"}, finish="stop"), {"error": {"message": "x", "code": "server_error"}})
        chunks, decoder, error = read(data)
        assert (len(chunks), decoder.complete, type(error)) == (1, False, ProviderUnavailable)

    def test_are_found_without_their_blank_line(self):
        error = read(b'data: {"error":{"message":"x","code":"rate_limit_exceeded"}}')[2]
        assert isinstance(error, ProviderThrottled)

    def test_a_finish_reason_can_be_a_failure_and_its_text_still_comes_out(self):
        data = stream(piece({"content": "a"}), piece({"content": "b"}, finish="insufficient_system_resource"))
        chunks, decoder, error = read(data)
        assert text_of(chunks) == decoder.answer().text == "ab"
        assert error.error_class is ErrorClass.OVERLOADED
        assert all(chunk.finish_reason is None for chunk in chunks)

    def test_broken_json_is_malformed_and_never_comes_out(self):
        for broken in (
            b'data: {"choices": [{"delta": {"content": "bad"\n\n',
            b"data: oops bad\n\n",
            b"data: \xff bad\n\n",
        ):
            chunks, decoder, error = read(
                event(piece({"content": "good"})) + broken + event(piece({"content": "after"}))
            )
            assert text_of(chunks) == decoder.answer().text == "good"
            assert (type(error), error.error_class) == (MalformedResponse, ErrorClass.MALFORMED)
            assert "bad" not in str(error)

    @pytest.mark.parametrize(
        "body",
        [
            [1],
            "text",
            7,
            {"choices": 7},
            {"choices": ["x"]},
            {"choices": [{"index": "0", "delta": {}}]},
            {"choices": [{"index": [0], "delta": {}}]},
            {"choices": [{"index": 0, "delta": 7}]},
            {"choices": [{"index": 0, "delta": {"tool_calls": 7}}]},
            {"choices": [{"index": 0, "delta": {"tool_calls": ["x"]}}]},
            {"choices": [{"index": 0, "finish_reason": ["stop"]}]},
        ],
    )
    def test_json_of_another_shape_is_malformed(self, body):
        error = read(event(body))[2]
        assert (type(error), error.error_class) == (MalformedResponse, ErrorClass.MALFORMED)

    def test_an_event_over_the_limit_is_malformed(self):
        decoder = OpenAICodec("openai", max_event_bytes=1000).stream_decoder(200, SSE)
        decoder.feed(event(piece({"content": "x" * 500})))
        with pytest.raises(MalformedResponse, match="larger than 1000 bytes"):
            decoder.feed(event(piece({"content": "x" * 1000})))


class TestTheContentFilter:
    def test_that_left_nothing_is_a_refusal(self):
        chunks, decoder, error = read(
            stream(piece({"role": "assistant", "content": ""}), piece(finish="content_filter"))
        )
        assert isinstance(error, ProviderRefused)
        assert not decoder.complete
        assert not any(chunk.has_content for chunk in chunks)

    def test_that_left_text_ends_the_answer(self):
        _, decoder, error = read(stream(piece({"content": "As far as"}), piece(finish="content_filter")))
        assert (error, decoder.complete, decoder.answer().finish_reason) == (None, True, "content_filter")

    def test_of_one_choice_leaves_the_other(self):
        data = stream(piece({"content": "fine"}, finish="stop"), piece(finish="content_filter", index=1))
        assert read(data)[1].complete


class TestAServerThatDoesNotStream:
    @pytest.mark.parametrize("headers", [JSON, SSE, {}])
    def test_its_answer_comes_as_one_chunk(self, headers):
        call = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        body = completion({"tool_calls": [call], "reasoning_content": "Hm."}, finish="tool_calls")
        data = orjson.dumps(body, option=orjson.OPT_INDENT_2)
        decoder = CODEC.stream_decoder(200, headers)
        assert decoder.feed(data[:100]) == decoder.feed(data[100:]) == []
        assert not decoder.complete
        (chunk,) = decoder.finish()
        assert decoder.complete
        assert (chunk.text, chunk.reasoning) == ("Grüße aus Köln.", "Hm.")
        assert chunk.tool_calls == (ToolCallDelta(0, "call_a", "f", "{}"),)
        assert (chunk.finish_reason, chunk.usage) == (
            "tool_calls",
            Usage(100, 40, 64, 16, 0, 24, service_tier="default"),
        )
        assert ChatCompletionChunk.model_validate(chunk.raw).object == "chat.completion.chunk"
        unary, streamed = CODEC.decode(200, JSON, data), decoder.answer()
        assert (streamed.text, streamed.tool_calls, streamed.usage) == (unary.text, unary.tool_calls, unary.usage)
        assert decoder.finish() == []

    def test_a_missing_finish_reason_is_made_up_for_as_in_a_unary_answer(self):
        (chunk,) = read(orjson.dumps(completion(finish=None)))[0]
        assert chunk.finish_reason == "stop"
        assert isinstance(read(orjson.dumps(completion(finish=None, usage=None)))[2], MalformedResponse)

    def test_its_error_is_classified(self):
        error = read(b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', headers=JSON)[2]
        assert isinstance(error, ProviderThrottled)

    @pytest.mark.parametrize(
        "data",
        [
            b"<html><title>Login</title></html>",
            b"Internal Server Error",
            b'{"choices"',
            b"[]",
            b"\x00\x01",
            b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"},7]}',
        ],
    )
    def test_anything_else_is_malformed(self, data):
        chunks, _, error = read(data, headers={"content-type": "text/html"})
        assert chunks == []
        assert (type(error), error.error_class) == (MalformedResponse, ErrorClass.MALFORMED)

    def test_a_body_over_the_limit_is_malformed(self):
        decoder = OpenAICodec("openai", max_event_bytes=100).stream_decoder(200, JSON)
        decoder.feed(b"{" + b" " * 99)
        with pytest.raises(MalformedResponse, match="larger than 100 bytes"):
            decoder.feed(b" ")


KEYS = [
    *piece(),
    *piece()["choices"][0],
    *tool_delta(0, id="a", name="f")["tool_calls"][0],
    "content",
    "error",
    "usage",
]
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "stop", "x", "error", "content_filter"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(SHAPES | SHAPES.map(lambda choice: {"choices": [choice]}), max_size=4), st.binary(max_size=6))
def test_whatever_comes_it_is_chunks_or_a_provider_error(bodies, rest):
    chunks, decoder, error = read(stream(*bodies, done=False) + rest)
    assert decoder.complete == (error is None)
    answer = decoder.answer()
    assert isinstance(answer.text, str)
    assert text_of(chunk for chunk in chunks if chunk.index == 0) in answer.text or 0 not in {c.index for c in chunks}
    assert "complete" in repr(decoder) or error is not None


def test_codecs_are_registered_under_the_kinds_the_configuration_knows():
    kinds = get_args(ProviderKind)
    assert set(REGISTRY) == set(kinds)
    for kind in REGISTRY:
        assert REGISTRY[kind].kind == kind
        assert kind in repr(REGISTRY[kind])


def test_the_codec_reads_limits_too():
    (reading,) = CODEC.limits({"x-ratelimit-remaining-requests": "3"}, wall_now=0.0)
    assert (reading.dimension, reading.remaining) == ("requests", 3)


def test_repr_tells_how_far_it_is():
    decoder = CODEC.stream_decoder(200, SSE)
    assert "openai open, 0 choices" in repr(decoder)
    decoder.feed(TEXT_STREAM)
    assert "openai complete, 1 choices" in repr(decoder)
