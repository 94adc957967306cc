"""What the guards tell apart, what they let pass, and that no text troubles them."""

import itertools

import pytest
from guard_pairs import ALIKE, APART, pairs
from hypothesis import given
from hypothesis import strategies as st

from resilio.cache.guards import GUARDS, LONGEST_REASON, STRICT_GUARDS, check, prepare, words
from resilio.cache.guards.prepared import MOST_WORDS
from resilio.cache.guards.wording import MOST_COMPARED
from resilio.cache.guards.words import lists

REFUSED = [(reason, *pair) for reason, block in APART.items() for pair in pairs(block)]


@pytest.mark.parametrize(("reason", "kept", "asked"), REFUSED)
def test_two_questions_that_differ_are_kept_apart_in_either_order(reason, kept, asked):
    there, back = check(prepare(asked), prepare(kept)), check(prepare(kept), prepare(asked))
    assert there is not None
    assert back is not None
    assert there.startswith(reason)


@pytest.mark.parametrize(("kept", "asked"), pairs(ALIKE))
def test_two_ways_to_ask_the_same_pass_in_either_order(kept, asked):
    assert check(prepare(asked), prepare(kept)) is None
    assert check(prepare(kept), prepare(asked)) is None


def test_a_reason_names_what_differs():
    def reason(asked, kept):
        return check(prepare(asked), prepare(kept))

    assert reason("Add 3 eggs", "Add 4 eggs") == "number: 3 against 4"
    assert reason("The capital of France?", "The capital of Germany?") == "country: france against germany"
    assert reason("How do I enable it?", "How do I disable it?") == "opposite: enable against disable"
    assert reason("Is it in the shop?", "Is it in the garden?") == "word: shop against garden"


def test_a_reason_is_short_whatever_it_quotes():
    reason = check(prepare("a" * 1_000), prepare("b" * 1_000))
    assert reason.startswith("word: aaa")
    assert len(reason) == LONGEST_REASON


def test_every_guard_alone_is_the_first_to_refuse_something():
    first = set()
    for _, kept, asked in REFUSED:
        one, other = prepare(asked), prepare(kept)
        first.add(next(name for name, guard in GUARDS if guard(one, other) is not None))
    assert first == {name for name, _ in GUARDS}


@pytest.mark.parametrize(
    ("kept", "asked", "reason"),
    [
        ("How do I reset it?", "My old phone broke on the train and the shop said so: how do I reset it?", "length"),
        (
            "Where can I hand in an umbrella I found at the station?",
            "Which desk handles forgotten property of railway passengers?",
            "overlap",
        ),
    ],
)
def test_the_strict_profile_asks_for_length_and_words_too(kept, asked, reason):
    one, other = prepare(asked), prepare(kept)
    assert check(one, other) is None
    found = [name for name, guard in STRICT_GUARDS if guard(one, other) is not None]
    assert reason in found
    assert check(one, other, strict=True) is not None


def test_strictness_only_ever_adds_refusals():
    for kept, asked in pairs(ALIKE):
        assert (check(prepare(asked), prepare(kept), strict=True) or "length").startswith(("length", "overlap"))


@pytest.mark.parametrize(
    "text",
    ["", " ", "?", "\x00\x01\x1b[31m", "👍", "👍🏽👩‍👩‍👧", "\ud800", "ß", "İ", "\uff11\uff12", "½", "٣", "1e999"],
)
def test_odd_texts_are_taken_apart_and_equal_themselves(text):
    assert check(prepare(text), prepare(text)) is None
    assert isinstance(check(prepare(text), prepare("Where are the 3 keys of Anna?"), strict=True), str)


def test_signs_alone_are_told_apart():
    assert check(prepare("👍"), prepare("👎")) is not None
    assert check(prepare("2 + 2"), prepare("2 * 2")) is not None
    assert check(prepare("東京の天気"), prepare("大阪の天気")) is not None
    assert check(prepare("Погода в Москве"), prepare("Погода в Париже")) is not None
    assert check(prepare("Ich will kündigen"), prepare("Ich will nicht kündigen")) == "negation"


def test_texts_too_long_to_be_read_are_equal_or_refused():
    long = "Tell me more about it. " * 1_000
    assert check(prepare(long), prepare(long)) is None
    assert check(prepare(long + "now"), prepare(long + "later")) == "text: too long to be compared"
    many = prepare(" ".join(map(str, range(100))))
    assert check(many, prepare(" ".join(map(str, range(1, 101))))) == "number: too many to be matched"


@pytest.mark.parametrize(
    "text", ["a b " * 500, "\ufdfa" * 2000, "\u4e00" * 3000, "1 " * 1000], ids=["letters", "one-as-18", "han", "1"]
)
def test_however_a_text_is_made_only_so_many_words_of_it_are_taken_apart(text):
    assert len(prepare(text).words) <= MOST_WORDS
    assert check(prepare(text), prepare(text + "b")) is not None


def test_words_that_all_begin_alike_are_not_compared_each_with_each(monkeypatch):
    compared = []
    monkeypatch.setattr(words, "typo", lambda one, other: compared.append(one))
    letters = itertools.product("abcdefgh", repeat=3)
    spelled = ["mmmm" + "".join(each) for each in itertools.islice(letters, 240)]
    one, other = prepare(" ".join(spelled[:120])), prepare(" ".join(spelled[120:]))
    for _, guard in (*GUARDS, *STRICT_GUARDS):
        compared.clear()
        guard(one, other)
        assert len(compared) <= 2 * MOST_COMPARED * words.MOST_KIN


def test_spaces_between_words_do_not_count():
    assert check(prepare("  Where \n is\tit? "), prepare("Where is it?")) is None


WORDS = sorted(
    {word.replace("_", " ") for word in (*lists().poles, *lists().rivals, *lists().dates, *lists().stop)}
    | {
        "not",
        "n't",
        "3",
        "4.5",
        "£50",
        "7pm",
        "2024-01-02",
        "P60",
        "I",
        "US",
        "Anna",
        "from",
        "to",
        "by",
        "than",
        ",",
        "?",
    }
)
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
TEXTS = st.one_of(st.text(), st.text(st.characters()), SENTENCES)


@given(TEXTS, TEXTS, st.booleans())
def test_no_text_makes_a_guard_raise_and_order_does_not_matter(one, other, strict):
    left, right = prepare(one), prepare(other)
    assert (check(left, right, strict=strict) is None) == (check(right, left, strict=strict) is None)


@given(TEXTS, st.booleans())
def test_no_guard_refuses_a_text_for_itself(text, strict):
    prepared = prepare(text)
    assert check(prepared, prepare(text), strict=strict) is None
    for name, guard in (*GUARDS, *STRICT_GUARDS):
        assert guard(prepared, prepared) is None, name
