"""Where conversations are held: as long as their provider holds them, and no more of them than there is room for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.affinity import Affinity, AffinityStatistics, Hold


def hold(target="a/m", until=300.0, tokens=2000):
    return Hold(target, tokens, until)


def test_a_conversation_is_found_until_its_provider_forgets_it():
    affinity = Affinity()
    affinity.note(b"c", hold(until=300.0), None, 0.0)
    assert affinity.of([b"c"], 299.9) == hold()
    assert affinity.of([b"c"], 300.0) is None
    assert len(affinity) == 0
    assert affinity.of([b"other"], 0.0) is None


def test_a_move_is_told_with_what_was_left_behind():
    affinity = Affinity()
    assert affinity.note(b"c", hold("a/m", 300.0), None, 0.0) is None
    assert affinity.note(b"c", hold("a/m", 400.0, 2500), hold("a/m", 300.0), 100.0) is None, "it stays"
    assert affinity.note(b"c", hold("b/m", 450.0), hold("a/m", 400.0, 2500), 150.0) == hold("a/m", 400.0, 2500)
    assert affinity.of([b"c"], 200.0).target == "b/m"
    assert affinity.statistics() == AffinityStatistics(held=1, moves=1, evicted=0)


def test_the_first_of_several_turns_that_is_known_says_where():
    affinity = Affinity()
    affinity.note(b"1", hold("a/m"), None, 0.0)
    affinity.note(b"2", hold("b/m", 100.0), None, 0.0)
    assert affinity.of([b"3", b"2", b"1"], 50.0).target == "b/m"
    assert affinity.of([b"3", b"2", b"1"], 100.0).target == "a/m", "the other has been forgotten"
    assert affinity.of([b"1"], 100.0).target == "a/m", "another branch may go on from there"


def test_a_first_turn_has_not_moved_whoever_began_alike():
    affinity = Affinity()
    affinity.note(b"c", hold("a/m"), None, 0.0)
    assert affinity.note(b"c", hold("b/m"), None, 0.0) is None
    assert affinity.statistics().moves == 0


def test_what_was_forgotten_has_not_moved():
    affinity = Affinity()
    affinity.note(b"c", hold("a/m", 300.0), None, 0.0)
    assert affinity.note(b"c", hold("b/m", 700.0), hold("a/m", 300.0), 400.0) is None
    assert affinity.statistics().moves == 0


def test_room_is_needed_for_one_at_least():
    with pytest.raises(ValueError, match="at least 1"):
        Affinity(0)


NAMES = st.sampled_from([bytes([n]) for n in range(6)])
STEPS = st.lists(
    st.tuples(NAMES, st.sampled_from([None, "a/m", "b/m"]), st.integers(0, 40), st.integers(1, 90)), max_size=60
)


@given(STEPS, st.integers(1, 4))
def test_it_is_a_bounded_memory_of_the_last_hold_of_each(steps, most):
    """Against a list, oldest use first, that is searched."""
    affinity, naive, now = Affinity(most), [], 0.0
    for name, target, later, lifetime in steps:
        now += later
        found = next((its for known, its in naive if known == name), None)
        naive = [each for each in naive if each[0] != name]
        if found is not None and found.until <= now:
            found = None
        if target is None:
            assert affinity.of([name], now) == found
            if found is not None:
                naive.append((name, found))
        else:
            its = Hold(target, later, now + lifetime)
            before = affinity.note(name, its, affinity.of([name], now), now)
            assert before == (found if found is not None and found.target != target else None)
            naive.append((name, its))
            naive = naive[-most:]
        assert len(affinity) == len(naive) <= most
