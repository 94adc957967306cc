"""The event stream parser against the WHATWG rules, at every way of cutting the bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.errors import ErrorClass, MalformedResponse
from resilio.providers.sse import SSEEvent, SSEParser


def parse(*pieces, limit=1000):
    parser = SSEParser(limit)
    return [event for piece in pieces for event in parser.feed(piece)]


def message(data):
    return SSEEvent("message", data)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"data: one\n\n", [message(b"one")], id="one line"),
        pytest.param(b"data: one\r\n\r\n", [message(b"one")], id="CRLF"),
        pytest.param(b"data: one\r\r", [message(b"one")], id="CR"),
        pytest.param(b"data: one\r\n\ndata: two\n\r\n", [message(b"one"), message(b"two")], id="line ends mixed"),
        pytest.param(b"data:one\n\n", [message(b"one")], id="no space"),
        pytest.param(b"data:  one\n\n", [message(b" one")], id="only one space is taken off"),
        pytest.param(b"data: one\ndata: two\n\n", [message(b"one\ntwo")], id="lines of data join with LF"),
        pytest.param(b"data\n\n", [message(b"")], id="a field without a colon has an empty value"),
        pytest.param(b"data:\ndata:\n\n", [message(b"\n")], id="two empty lines of data"),
        pytest.param(b"data: a: b\n\n", [message(b"a: b")], id="only the first colon counts"),
        pytest.param(b"event: ping\ndata: {}\n\n", [SSEEvent("ping", b"{}")], id="named"),
        pytest.param(b"event: ping\n\ndata: x\n\n", [message(b"x")], id="a name without data is forgotten"),
        pytest.param(b"event: a\nevent: b\ndata: x\n\n", [SSEEvent("b", b"x")], id="the last name counts"),
        pytest.param(b"event: a\ndata: x\n\ndata: y\n\n", [SSEEvent("a", b"x"), message(b"y")], id="name spent"),
        pytest.param(b"id: 7\nretry: 10\nother: x\ndata: x\n\n", [message(b"x")], id="other fields are ignored"),
        pytest.param(b"\xef\xbb\xbfdata: x\n\n", [message(b"x")], id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", [], id="only one mark is taken off"),
        pytest.param(b"data: x\n\n\xef\xbb\xbfdata: y\n\n", [message(b"x")], id="a mark inside is not one"),
        pytest.param(b"\n\n\ndata: x\n\n\n\ndata: y\n\n", [message(b"x"), message(b"y")], id="spare blank lines"),
        pytest.param(b": hello\ndata: x\n\n", [message(b"x")], id="a comment inside an event"),
        pytest.param("data: Grüße 🌍\n\n".encode(), [message("Grüße 🌍".encode())], id="UTF-8"),
        pytest.param(b"data: x\n", [], id="no blank line, no event"),
    ],
)
class TestEveryRule:
    def test_in_one_read(self, stream, events):
        assert parse(stream) == events

    def test_byte_by_byte(self, stream, events):
        assert parse(*(bytes([byte]) for byte in stream)) == events

    def test_split_at_every_point(self, stream, events):
        for cut in range(len(stream) + 1):
            assert parse(stream[:cut], stream[cut:]) == events, cut


def test_comments_are_counted_as_soon_as_their_line_ends():
    parser = SSEParser()
    assert parser.feed(b": ping\n: ping") == []
    assert parser.comments == 1
    parser.feed(b"\n\n")
    assert parser.comments == 2


def test_an_event_comes_out_with_the_blank_line_not_with_the_next_event():
    parser = SSEParser()
    assert parser.feed(b"data: x\r\n") == []
    assert parser.feed(b"\r") == [message(b"x")]
    assert parser.feed(b"\n") == []
    assert not parser.pending


def test_flush_gives_an_event_that_lacks_only_its_blank_line():
    for tail in (b"data: x", b"data: x\n", b"data: x\r\n", b"data: x\r"):
        parser = SSEParser()
        assert parser.feed(tail) == []
        assert parser.pending
        assert parser.flush() == [message(b"x")]
        assert not parser.pending


def test_flush_after_whole_events_gives_nothing():
    parser = SSEParser()
    parser.feed(b"data: x\n\n")
    assert parser.flush() == []


LINES = st.sampled_from(
    [
        b"data: a",
        b"data: bb",
        b"data",
        b"event: e",
        b": note",
        b"id: 1",
        b"",
        "data: ü🌍".encode(),
        b"\xef\xbb\xbfdata: z",
    ]
)


@given(
    lines=st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12),
    cuts=st.lists(st.integers(0, 120), max_size=12),
    limit=st.sampled_from([5, 12, 25, 1000]),
)
def test_how_the_bytes_are_cut_changes_nothing(lines, cuts, limit):
    stream = b"".join(line + end for line, end in lines)

    def run(pieces):
        parser, events = SSEParser(limit), []
        try:
            for piece in pieces:
                events += parser.feed(piece)
            events += parser.feed(b"")
            events += parser.flush()
        except MalformedResponse:
            return events, parser.comments, "too large"
        return events, parser.comments, None

    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert run(pieces) == run([stream]) == run([bytes([byte]) for byte in stream])


class TestTheLimit:
    def test_an_event_of_exactly_the_limit_is_taken(self):
        assert parse(b"data: 0123\n\n", limit=10) == [message(b"0123")]

    def test_a_larger_event_is_refused(self):
        with pytest.raises(MalformedResponse, match="larger than 10 bytes") as caught:
            parse(b"data: 01234\n\n", limit=10)
        assert caught.value.error_class is ErrorClass.MALFORMED

    def test_an_endless_line_is_refused_before_it_ends(self):
        parser = SSEParser(100)
        for _ in range(100):
            parser.feed(b"x")
        with pytest.raises(MalformedResponse):
            parser.feed(b"x")

    def test_an_event_of_endless_short_lines_is_refused(self):
        parser = SSEParser(80)
        for _ in range(10):
            parser.feed(b"data: x\n")
        with pytest.raises(MalformedResponse):
            parser.feed(b"data: x\n")

    def test_endless_comments_are_no_event(self):
        parser = SSEParser(100)
        for _ in range(101):
            parser.feed(b": still here\n")
        assert parser.comments == 101

    def test_many_events_in_one_read_may_be_larger_together(self):
        assert len(parse(b"data: 0123\n\n" * 50, limit=10)) == 50

    def test_events_before_the_large_one_come_out_first_and_the_error_stays(self):
        parser = SSEParser(10)
        assert parser.feed(b"data: a\n\ndata: 0123456789\n\ndata: b\n\n") == [message(b"a")]
        for _ in range(2):
            with pytest.raises(MalformedResponse):
                parser.feed(b"data: c\n\n")
        with pytest.raises(MalformedResponse):
            parser.flush()


def test_a_long_line_in_many_reads_is_joined_once():
    parser = SSEParser()
    for _ in range(1000):
        assert parser.feed(b"x" * 1000) == []
    assert parser.feed(b"\ndata: y\n\n") == [message(b"y")]


def test_repr_tells_what_is_held():
    parser = SSEParser()
    parser.feed(b": a\ndata: x\ndata")
    assert repr(parser) == "<SSEParser 12 bytes of an event held, 1 comments>"
