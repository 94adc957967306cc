"""Patterns that search what others have written: none that is taken can be made to hang, and words are found whole."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from resilio.config.patterns import compile_pattern, compile_words, widths

HANGS = [
    r"(a+)+$", r"(a|a)*b", r"(?:a|aa)+b", r"(x*)*y", r"(?:x+x+)+y", r"(?>(a+)+b)c", r"(.*a){12}", r"(?i)(a+A?)+b",
    r"(a{1,3}b?)+c", r"(?:\s*\w+)+z", r"((a+)\2)+b", r"(?:\d+|[0-9]x)+y", r"(?=(a+)+b)c", r"((?:ab)+|a+b?)+c",
    r"(?:[^x]+y?)+z", r"(?:丁+丂?)+丁", r"(\W|[^a])+b", r"(a?){30}b", r"(?:a|b|ab)*c",
]  # fmt: skip
FINE = [
    r"\b\d{3}-\d{2}-\d{4}\b", r"sk-\w{20,}", r"[\w.+-]+@[\w-]+(\.[\w-]+)+", r"(?:\w++ )+x", r"(\d+,)*\d+",
    r"(?:foo|bar)+", r"(a|ab)*c", r"(?:[^,]*,)*x", r"(?:(?>a+)b?)+c", r"(\w+)\1", r"(?i)top\s+secret", r"a{2}(b{3}c)+",
    r"(?<!\w)x", r"(?:a?b)+c", r"\d+|x",
]  # fmt: skip


@pytest.mark.parametrize("pattern", HANGS)
def test_a_pattern_that_could_hang_is_refused_and_says_what_to_write(pattern):
    with pytest.raises(ValueError, match=r"could take for ever.*possessive"):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", FINE)
def test_a_pattern_that_cannot_is_taken_as_it_is(pattern):
    assert compile_pattern(pattern) == re.compile(pattern)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "is no regular expression: missing"),
        ("[[a]", "is no regular expression: Possible nested set"),
        ("a*", "no character at all"),
        (r"\b", "no character at all"),
        ("", "no character at all"),
        ("(?=x)", "no character at all"),
        ("a{5,2}", "is no regular expression"),
    ],
)
def test_what_is_no_pattern_or_finds_everything_is_refused(pattern, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        compile_pattern(pattern)


# --- against a naive engine that counts its steps ---------------------------------------------------

LETTERS = "ab"
STEPS = 1_000_000


class TooMany(Exception):
    pass


def source(node):
    kind, *rest = node
    match kind:
        case "letter":
            return rest[0]
        case "seq":
            return "".join(map(source, rest))
        case "alt":
            return f"(?:{'|'.join(map(source, rest))})"
        case "star":
            return f"(?:{source(rest[0])})*"
        case "plus":
            return f"(?:{source(rest[0])})+"
        case _:
            return f"(?:{source(rest[0])})?"


def repeats(node):
    own = node[0] in ("star", "plus")
    return own + sum(repeats(each) for each in node[1:] if isinstance(each, tuple))


def letters_of(node):
    """The letters of which a part is any one, where it is that."""
    if node[0] == "letter":
        return {node[1]}
    if node[0] != "alt":
        return None
    inner = [letters_of(each) for each in node[1:]]
    return None if None in inner else set().union(*inner)


def steps_of(node, text):
    """How many steps a backtracking engine takes to find that `node` and then "!" does not match."""
    count = 0

    def run(node, at, then):
        nonlocal count
        count += 1
        if count > STEPS:
            raise TooMany
        kind, *rest = node
        if kind == "seq":
            return run(rest[0], at, lambda end: run(("seq", *rest[1:]), end, then)) if rest else then(at)
        if (letters := letters_of(node)) is not None:  # Python's parser makes one set of it
            return at < len(text) and text[at] in letters and then(at + 1)
        if kind == "alt":
            return any(run(each, at, then) for each in rest)
        if kind == "opt":
            return run(rest[0], at, then) or then(at)
        once = run(rest[0], at, lambda end: end > at and (run(("star", rest[0]), end, then)))
        return once or (kind == "star" and then(at))

    run(node, 0, lambda at: at < len(text) and text[at] == "!")
    return count


NODES = st.recursive(
    st.sampled_from(LETTERS).map(lambda letter: ("letter", letter)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("seq", *parts)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("alt", *parts)),
        inner.map(lambda part: ("star", part)),
        inner.map(lambda part: ("plus", part)),
        inner.map(lambda part: ("opt", part)),
    ),
    max_leaves=6,
)
A, B = ("letter", "a"), ("letter", "b")


@given(NODES, st.sampled_from(["a", "b", "ab", "aab"]))
@example(("seq", ("star", A), ("star", A), ("star", A)), "a")
@example(("plus", ("alt", ("seq", A, B), ("seq", ("opt", B), B))), "ab")
def test_what_is_taken_takes_polynomial_time_in_a_backtracking_engine(node, unit):
    assume(repeats(node) <= 3)
    try:
        compile_pattern(f"{source(node)}!")
    except ValueError:
        return
    # 40 ** 3 times a small constant is far below the bound, and the smallest exponential far above.
    assert steps_of(node, (unit * 40)[:40]) < STEPS


def test_the_naive_engine_notices_what_is_refused():
    with pytest.raises(TooMany):
        steps_of(("plus", ("plus", A)), "a" * 40)


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a SECRET plan", True), ("secretary", False), ("top\n secret", True), ("topsecret", False),
        ("Straße 1", True), ("c++ is fine", True), ("c+ is fine", False), ("unsecret", False), ("(secret)", True),
    ],
)  # fmt: skip
def test_banned_words_are_found_whole_in_any_case(text, found):
    pattern = compile_words(["secret", "top secret", "straße", "c++"])
    assert bool(pattern.search(text)) is found


def test_the_longest_of_several_words_is_the_one_found():
    assert compile_words(["top", "top secret"]).search("top secret").group() == "top secret"


def test_widths_are_those_of_matches():
    assert widths(re.compile(r"a{2,5}b?")) == (2, 6)
    assert widths(re.compile(r"a+")) == (1, None)
