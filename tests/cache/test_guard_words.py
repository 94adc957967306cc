"""Word forms, numbers, and the lists themselves."""

import pytest

from resilio.cache.guards.numbers import find_numbers, same_number
from resilio.cache.guards.words import lines_of, lists, related, same_meaning, stem, tokens, typo, words_of


@pytest.mark.parametrize(
    ("base", "forms"),
    [
        ("enable", ["enables", "enabled", "enabling"]),
        ("cancel", ["cancels", "cancelled", "canceled", "cancelling"]),
        ("stop", ["stops", "stopped", "stopping"]),
        ("buy", ["buys", "bought", "buying"]),
        ("write", ["wrote", "written", "writing"]),
        ("rate", ["rates", "rated", "rating"]),
        ("change", ["changes", "changed", "changing"]),
        ("pass", ["passes", "passed", "passing"]),
        ("carry", ["carries", "carried", "carrying"]),
        ("box", ["boxes"]),
        ("movie", ["movies"]),
        ("child", ["children"]),
        ("organize", ["organise", "organising", "organised", "organizes"]),
        ("color", ["colour", "colours"]),
    ],
)
def test_inflections_come_back_to_one_base(base, forms):
    assert {stem(form) for form in forms} == {base}


@pytest.mark.parametrize(
    "word", ["mine", "news", "string", "need", "red", "speed", "evening", "us", "bus", "this", "naïve"]
)
def test_words_that_only_look_inflected_stay(word):
    assert stem(word) == stem(stem(word))
    assert stem(word)[:3] == word[:3]
    assert len(stem(word)) >= len(word) - 1


def test_a_misspelt_word_is_one_that_nobody_knows_one_letter_away():
    assert typo("emergancy", "emergency")
    assert typo("adress", "address")
    assert typo("recieve", "receive")
    assert not typo("hotel", "hostel"), "both are words"
    assert not typo("ethanol", "methanol"), "nobody misspells the first letter"
    assert not typo("form", "reform")
    assert not typo("p60", "p45")


def test_words_of_one_root_are_related_unless_the_ending_makes_another_thing():
    assert related("form", "formation")
    assert related("verify", "verification")
    assert not related("employer", "employee")
    assert not related("java", "javascript")
    assert not related("man", "many")


def test_comparatives_are_synonyms_where_their_bases_are():
    assert same_meaning("fastest", "quickest")
    assert same_meaning("bigger", "larger")
    assert not same_meaning("faster", "quickest")
    assert not same_meaning("cheaper", "cheapest")


def test_contractions_and_possessives_are_resolved():
    assert [token.text for token in tokens("I can't find Anna's; they've won\u2019t it's")] == [
        "i", "can", "not", "find", "anna", ";", "they", "will", "not", "it",
    ]  # fmt: skip


def test_a_capital_counts_only_where_no_sentence_begins():
    assert [token.text for token in tokens("Where is Anna? Berta knows. IBM too") if token.capital] == ["anna", "ibm"]
    assert not any(token.capital for token in tokens("WHERE IS ANNA"))


def numbers(text):
    return find_numbers(tokens(text))[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("14 days", "two weeks"), ("12 months", "1 year"), ("£50", "fifty pounds"), ("1,000", "1000"),
        ("10k", "10,000"), ("1.5 million", "1500000"), ("15:00", "3pm"), ("7:30", "7.30"), ("2nd", "the second"),
        ("an 18-year-old", "18"), ("$5.50", "5.5 dollars"), ("500 g", "0.5 kg"), ("3.0", "3"),
        ("a hundred and five", "105"), ("USD 9", "9 usd"), ("a dozen", "12"), ("2 GB", "2000MB"),
        ("48 hours", "2 days"), ("00:30", "12:30am"), ("£2m", "2 million pounds"),
    ],
)  # fmt: skip
def test_one_amount_in_two_writings_is_the_same(one, other):
    (left,), (right,) = numbers(one), numbers(other)
    assert same_number(left, right)
    assert same_number(right, left)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3.1", "3.10"), ("7am", "7pm"), ("5 kg", "5 lb"), ("$5", "€5"), ("P60", "P45"), ("007", "7"), ("-5", "5"),
        ("1/2/2024", "2/1/2024"), ("1.2.3", "1.2.4"), ("2025/26", "2024/25"),  ("10 GB", "10 MB"),
    ],
)  # fmt: skip
def test_amounts_and_codes_that_only_look_alike_are_not_the_same(one, other):
    (left,), (right,) = numbers(one), numbers(other)
    assert not same_number(left, right)


def test_ranges_and_dates_are_read_as_their_parts():
    assert [number.value for number in numbers("2-3 days")] == ["2", "3"]
    assert [number.value for number in numbers("on 2024-01-02")] == ["2024", "1", "2"]


def test_no_negator_is_an_antonym():
    # It would count twice, as a negation and as the opposite that makes up for one.
    assert not lists().negators & lists().poles.keys()


def test_the_sides_of_an_antonym_line_have_nothing_in_common():
    for line in lines_of(lists().raw["polarity"]["antonyms"]):
        one, other = ({stem(word) for word in words_of(side)} for side in line.split("|"))
        assert not one & other, line


def test_what_may_be_a_name_is_named_once_in_its_class():
    for line in lines_of(lists().raw["names"]["rivals"]):
        names = [alias for name in words_of(line.partition(":")[2]) for alias in name.split("=")]
        assert len(names) == len(set(names)), line
