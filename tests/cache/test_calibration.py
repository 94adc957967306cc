"""Calibration: pairs are read strictly, counts are right, thresholds are recommended only when they are proven."""

import json
import os
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilio.cache.bound import GRID
from resilio.cache.calibration import (
    SHIPPED,
    Calibrated,
    Calibration,
    Measurement,
    Pair,
    load_calibration,
    measure,
    read_pairs,
    save_calibration,
)
from resilio.cache.calibration.measure import Scored, guarded_by
from resilio.cache.embedding.base import Profile
from resilio.cache.embedding.hashing import HashingEmbedder
from resilio.cache.proportions import fixed_upper
from resilio.errors import ConfigError

SOAK = os.environ.get("RESILIO_SOAK") == "1"


def scored(*rows):
    """Measured pairs: (how many, similarity, same, refused)."""
    return [
        Scored(Pair("a", "b", same, "negation" if not same else "paraphrase"), similarity, refused)
        for count, similarity, same, refused in rows
        for _ in range(count)
    ]


# --- the set that ships --------------------------------------------------------------------------


def test_the_set_that_ships_is_large_balanced_and_free_of_repetitions():
    pairs = read_pairs(SHIPPED)
    assert len(pairs) >= 300
    assert sum(pair.same for pair in pairs) == len(pairs) / 2
    assert len({frozenset((pair.a, pair.b)) for pair in pairs}) == len(pairs)
    assert all(pair.a != pair.b and pair.kind and pair.domain for pair in pairs)
    kinds = Counter(pair.kind for pair in pairs if not pair.same)
    assert set(kinds) == {"negation", "number", "date", "entity", "antonym", "direction", "scope", "tense", "unit"}
    assert min(Counter(pair.domain for pair in pairs).values()) >= 30


# --- reading -------------------------------------------------------------------------------------


def written(tmp_path, *lines):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), "utf-8")
    return path


def test_the_names_of_fields_that_are_in_use_are_understood(tmp_path):
    path = written(
        tmp_path,
        {"a": "x", "b": "y", "same": 1, "kind": "paraphrase", "domain": "school"},
        {"a": "x1", "b": "y", "same": 0, "cat": "negation", "style": "minimal", "ambiguous": None},
        "",
        {"question1": "x2", "question2": "y", "is_duplicate": "1"},
        {"sentence1": "x3", "sentence2": "y", "label": "Different"},
        {"kept": "x4", "asked": "y", "match": True},
        {"a": "x\u2028z", "b": "y", "same": 1.0},
    )
    pairs = read_pairs(path)
    assert [pair.same for pair in pairs] == [True, False, True, False, True, True]
    assert [pair.kind for pair in pairs[:3]] == ["paraphrase", "negation", ""]
    assert {(pair.a[0], pair.b) for pair in pairs} == {("x", "y")}


def test_a_pair_counts_once_and_has_one_label(tmp_path):
    path = written(
        tmp_path, {"a": "x", "b": "y", "same": 1}, {"a": "x", "b": "y", "same": 1}, {"a": "y", "b": "x", "same": 0},
        {"a": "x", "b": "x", "same": 1},
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        read_pairs(path)
    repeats, contradicts, equal = caught.value.problems
    assert repeats.startswith("line 2: repeats line 1")
    assert contradicts.startswith("line 3: contradicts line 1")
    assert equal.startswith("line 4: has the same question twice")


def test_lines_that_are_no_pair_are_listed_with_their_numbers(tmp_path):
    path = written(
        tmp_path, {"a": "x", "b": "y", "same": 1}, "{", [1], {"a": "x", "same": 1}, {"a": [], "b": "y", "same": 1},
        {"a": "x", "b": " ", "same": 1}, {"a": "x", "b": "y"}, {"a": "x", "b": "y", "same": 2},
        {"a": "x", "b": "y", "same": []},
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        read_pairs(path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [f"line {number}" for number in range(2, 10)]
    with pytest.raises(ConfigError, match="and 5 more"):
        read_pairs(written(tmp_path, *["{"] * 15))
    with pytest.raises(ConfigError, match="no pairs"):
        read_pairs(written(tmp_path, "", ""))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_pairs(tmp_path / "nowhere")
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_pairs(tmp_path / "latin")


# --- counting ------------------------------------------------------------------------------------


def test_hits_are_what_is_near_enough_and_passes_the_guards():
    found = Measurement(scored((6, 0.95, True, None), (4, 0.7, True, None), (3, 0.95, False, None),
                               (5, 0.95, False, "negation"), (2, 0.7, False, None)), "e")  # fmt: skip
    row = found.row(0.9, guarded=True)
    assert (row.hits, row.wrong) == (9, 3)
    assert (row.precision, row.recall, row.false_hits) == pytest.approx((6 / 9, 0.6, 0.3))
    assert row.wrong_bound == fixed_upper(3, 9)
    assert row.false_hits_bound == fixed_upper(3, 10)
    bare = found.row(0.9, guarded=False)
    assert (bare.hits, bare.wrong, bare.recall) == (14, 8, 0.6)
    assert found.kinds(0.9) == {"negation": (10, 8, 3), "paraphrase": (10, 6, 6)}


def test_of_nothing_there_is_no_share():
    row = Measurement(scored((3, 0.5, True, None)), "e").row(0.9, guarded=True)
    assert (row.precision, row.recall, row.false_hits) == (None, 0.0, None)
    assert (row.wrong_bound, row.false_hits_bound) == (1.0, 1.0)


async def test_a_set_is_embedded_once_and_guards_see_what_is_asked_first():
    seen = []

    def guard(asked, kept):
        seen.append((asked, kept))
        return "it says so" if "not" in asked else None

    done = []
    pairs = [
        Pair("open the door", "open the door", same=True),
        Pair("open the door", "do not open the door", same=False),
    ]
    found = await measure(pairs, HashingEmbedder(), guard, on_progress=done.append)
    assert seen == [("open the door",) * 2, ("do not open the door", "open the door")]
    assert [each.refused for each in found.scored] == [None, "it says so"]
    assert found.scored[0].similarity == pytest.approx(1)
    assert 0.5 < found.scored[1].similarity < 1
    assert done == [1.0]
    assert found.embedder == "hashing-3-grams-256"


def test_the_guards_of_the_cache_refuse_a_negation():
    guard = guarded_by()
    assert guard("Why can I not log in?", "Why can I log in?") is not None
    assert guard("Why can I log in?", "Why can I log in?") is None


# --- recommending --------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_wrong", "needed"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_below_the_hits_that_could_prove_it_there_is_not_enough_data(max_wrong, needed):
    few = Measurement(scored((needed - 1, 0.95, True, None), (500, 0.5, True, None)), "e").recommend(max_wrong)
    assert (few.outcome, few.threshold, few.needed, few.row.hits) == ("not enough data", None, needed, needed - 1)
    enough = Measurement(scored((needed, 0.95, True, None)), "e").recommend(max_wrong)
    assert (enough.outcome, enough.threshold) == ("found", 0.6)
    assert enough.row.wrong_bound <= max_wrong


def test_the_loosest_threshold_before_the_first_that_fails_is_recommended():
    pairs = scored(
        (100, 0.955, True, None), (40, 0.855, True, None), (30, 0.755, False, None), (5000, 0.655, True, None)
    )
    found = Measurement(pairs, "e").recommend(0.05)
    # At 0.76 all is well; at 0.75 it is not, and what would be well again at 0.65 is not asked.
    assert (found.outcome, found.threshold, found.row.hits, found.row.wrong) == ("found", 0.76, 140, 0)


def test_where_the_first_with_enough_hits_fails_there_is_none():
    found = Measurement(scored((200, 0.955, True, None), (40, 0.975, False, None)), "e").recommend(0.05)
    assert (found.outcome, found.threshold) == ("too many wrong", None)
    assert (found.row.threshold, found.row.wrong, found.row.hits) == (0.95, 40, 240)


def test_guards_make_the_difference():
    measured = Measurement(scored((100, 0.95, True, None), (100, 0.95, False, "number")), "e")
    assert measured.recommend(0.05).outcome == "found"
    assert measured.recommend(0.05, guarded=False).outcome == "too many wrong"


def test_a_recommended_threshold_is_worse_than_stated_as_seldom_as_stated(rng):
    """Pairs whose risk is known: right from 0.9 up but for 3 %, below that wrong more and more often."""
    runs, bad, found = (600 if SOAK else 100), 0, 0
    for _ in range(runs):
        pairs = []
        for _ in range(400):
            similarity = rng.uniform(0.6, 1.0)
            pairs.append(Scored(Pair("a", "b", rng.random() > wrong_at(similarity)), similarity, None))
        recommended = Measurement(pairs, "e").recommend(0.05)
        if recommended.threshold is not None:
            found += 1
            bad += wrong_from(recommended.threshold) > 0.05
    assert found > runs / 2
    assert bad <= 0.05 * runs


def wrong_at(similarity):
    return max(0.0, 0.93 - similarity)


def wrong_from(threshold):
    """Wrong ones among all at or above a threshold, similarities being spread evenly."""
    low = min(threshold, 0.93)
    return (0.93 - low) ** 2 / 2 / (1.0 - threshold)


@settings(max_examples=300 if SOAK else 30)  # forty bounds each
@given(
    st.lists(st.tuples(st.floats(0.5, 1.0), st.booleans(), st.booleans()), max_size=200), st.sampled_from([0.05, 0.2])
)
def test_what_is_recommended_is_proven_and_so_is_all_above_it_with_enough_hits(rows, max_wrong):
    measured = Measurement(scored(*((1, at, same, "no" if refused else None) for at, same, refused in rows)), "e")
    found = measured.recommend(max_wrong)
    tested = [row for row in (measured.row(at, guarded=True) for at in GRID) if row.hits >= found.needed]
    if found.outcome == "not enough data":
        assert tested == []
    elif found.threshold is None:
        assert tested[0].wrong_bound > max_wrong
    else:
        assert all(row.wrong_bound <= max_wrong for row in tested if row.threshold >= found.threshold)
        looser = [row for row in tested if row.threshold < found.threshold]
        assert not looser or looser[0].wrong_bound > max_wrong


# --- on file -------------------------------------------------------------------------------------

ODD = 'text "embedding"\\3 \x7f \u00e9'


def calibrated(threshold=0.83, hits=160):
    return Calibrated(threshold, strict=False, max_wrong=0.02, confidence=0.95, hits=hits, wrong=0, pairs="ours.jsonl")


def test_a_calibration_is_the_same_after_writing_and_reading(tmp_path):
    path = tmp_path / "calibration.toml"
    before = Calibration(ODD, {"default": calibrated(), "a b.c": calibrated(0.9, 400)})
    save_calibration(path, before)
    after = load_calibration(path)
    assert after == before
    own = {"default": Profile(0.83, strict=False), "a b.c": Profile(0.9, strict=False)}
    assert after.profiles == {"safety": Profile(0.97, strict=True)} | own
    assert after.lowest == 0.83


def test_a_calibration_comes_from_a_threshold_that_was_found():
    measured = Measurement(scored((160, 0.95, True, None)), "e")
    assert Calibrated.of(measured.recommend(0.02), "ours", strict=True) == Calibrated(
        0.6, True, 0.02, 0.95, 160, 0, "ours"
    )
    with pytest.raises(ValueError, match="not enough data"):
        Calibrated.of(measured.recommend(0.01), "ours", strict=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hits = 160", "hits = 100", "do not prove"),
        ("\nwrong = 0", "\nwrong = 161", "do not prove"),
        ("\nwrong = 0", "\nwrong = -1", "do not prove"),
        ("threshold = 0.83", "threshold = 1", "threshold is 1"),
        ("threshold = 0.83", "threshold = nan", "threshold is nan"),
        ("hits = 160", "hits = true", "hits is True"),
        ("strict = false", "strict = 0", "strict must be"),
        ("hits = 160\n", "", "expected threshold"),
        ("embedder = ", "embeder = ", "no calibration"),
        ("embedder = ", "embedder ", "not TOML"),
    ],
)
def test_a_file_that_does_not_bear_out_what_it_says_is_refused(tmp_path, old, new, said):
    path = tmp_path / "calibration.toml"
    save_calibration(path, Calibration("e", {"default": calibrated()}))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        load_calibration(path)


def test_a_file_that_is_not_there_is_a_problem_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_calibration(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_calibration(tmp_path / "no" / "where", Calibration("e", {}))
