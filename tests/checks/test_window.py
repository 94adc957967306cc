"""A window over a text in pieces: what comes out does not depend on the cuts, and no part of a match is among it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilio.checks import Sieve
from resilio.config.patterns import compile_words

PATTERNS = [
    re.compile(r"\d{3}-\d{2}"), re.compile(r"ab+c"), re.compile(r"(?<=x)a+"), re.compile(r"a(?!b)"), re.compile(r"^ab"),
    re.compile(r"b$"), re.compile(r"a|ab|abc"), compile_words(["ab", "ab ab"]), re.compile(r"(?m)^b+"),
]  # fmt: skip
WINDOW = 12


@st.composite
def texts(draw):
    """Texts with no match longer than the window, cut anywhere."""
    text = draw(
        st.lists(st.sampled_from(["a", "b", "c", "x", "123-45", "1", "-", " ", "\n", "abc", "ab ab"]), max_size=60)
    )
    text = "".join(text)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=20)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return text, pieces


def through(pattern, pieces, replacement, window=WINDOW):
    sieve = Sieve(pattern, window, replacement)
    out = [sieve.feed(piece) for piece in pieces]
    return "".join(out) + sieve.finish(), sieve


@given(texts(), st.sampled_from(PATTERNS))
@example(("x" * 900 + "ab", ["x" * 300, "x" * 300, "x" * 300 + "ab"]), re.compile(r"^ab"))
@example(("x" * 900 + "123-45", [*("x" * 900), *"123-45"]), PATTERNS[0])
def test_what_comes_out_is_the_whole_text_redacted_however_it_was_cut(cut, pattern):
    text, pieces = cut
    if any(len(match.group()) >= WINDOW for match in pattern.finditer(text)):
        return
    out, sieve = through(pattern, pieces, "***")
    assert out == pattern.sub("***", text)
    assert sieve.found == len(pattern.findall(text))


@given(texts(), st.sampled_from(PATTERNS))
def test_a_denied_text_gives_nothing_of_its_first_match_and_nothing_after(cut, pattern):
    text, pieces = cut
    first = pattern.search(text)
    if first is not None and len(first.group()) >= WINDOW:
        return
    out, sieve = through(pattern, pieces, None)
    if first is None:
        assert (out, sieve.denied_at) == (text, None)
    else:
        assert text[: first.start()].startswith(out)
        assert sieve.denied_at == first.start()


@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 9))
def test_no_part_of_a_match_longer_than_the_window_follows_its_beginning(window, before, size):
    """Of a run of digits without end nothing is handed out but what stands in its place."""
    text = "x" * before + "7" * 300
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    out, _ = through(re.compile(r"\d+"), pieces, "*", window)
    assert set(out) <= {"x", "*"}
    assert out.count("x") == before


@pytest.mark.parametrize("window", [1, 5, 64])
def test_no_more_is_held_back_than_the_window(window):
    sieve = Sieve(re.compile("zz"), window, "")
    out = ""
    for count in range(1, 2000):
        out += sieve.feed("y")
        assert len(out) == max(0, count - window)
    assert len(sieve._buffer) < 2000, "what was handed out is forgotten"
    assert len(out + sieve.finish()) == 1999


def test_the_place_of_a_match_is_counted_in_the_whole_text():
    sieve = Sieve(re.compile("zz"), 8, None)
    for _ in range(100):
        sieve.feed("0123456789")
    sieve.feed("zz")
    assert sieve.finish() == "456789"
    assert sieve.denied_at == 1000
    assert (sieve.feed("more"), sieve.finish()) == ("", "")
