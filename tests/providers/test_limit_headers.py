"""Rate-limit headers in every form seen, and in forms that make no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from resilio.models import LimitReading
from resilio.providers.headers import ANTHROPIC, read_limits

NOW = 1_795_430_000.0


def limits(**headers):
    return read_limits({name.replace("_", "-"): value for name, value in headers.items()}, NOW)


def x(dimension, limit=None, remaining=None, reset=None, renewal=None):
    values = {"limit": limit, "remaining": remaining, "reset": reset, "renewalperiod": renewal}
    return {f"x-ratelimit-{what}-{dimension}": value for what, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("0s", 0.0),
        ("2ms", 0.002),
        ("6m0s", 360.0),
        ("20m52.666s", 1252.666),
        ("17.563999999s", 17.563999999),
        ("1m26.4s", 86.4),
        ("2", 2.0),
        ("1.5", 1.5),
        (str(int(NOW) + 30), 30.0),
        (str((int(NOW) + 30) * 1000), 30.0),
        ("2026-11-23T10:34:00Z", 1_795_430_040.0 - NOW),
        ("-1", None),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
def test_a_reset_is_read_in_every_form(reset, seconds):
    (reading,) = read_limits(x("requests", "500", "499", reset), NOW)
    if seconds is None:
        assert reading.reset_after is None
    else:
        assert reading.reset_after == pytest.approx(seconds)


def test_openai_and_groq_tell_requests_and_tokens():
    assert read_limits(x("requests", "30000", "29999", "2ms") | x("tokens", "150000", "149984", "6ms"), NOW) == (
        LimitReading("requests", 30000, 29999, 0.002),
        LimitReading("tokens", 150000, 149984, 0.006),
    )


def test_azures_bare_resets_are_milliseconds():
    # 119 of 120 a minute are left: the one used is back in half a second, not in 500.
    (requests, tokens) = read_limits(
        x("requests", "120", "119", "500", "60") | x("tokens", "120000", "119986", "7", "60"), NOW
    )
    for reading in (requests, tokens):
        period = reading.reset_after * reading.limit / (reading.limit - reading.remaining)
        assert period == pytest.approx(60)


def test_older_azure_tells_only_what_is_left():
    assert read_limits(x("requests", remaining="119"), NOW) == (LimitReading("requests", None, 119, None),)


def test_mistrals_names_hold_the_period_and_give_the_reset():
    headers = x("req-10-second", "60", "52") | x("tokens-minute", "2000000", "1500000")
    headers |= x("tokens-month", "10000000000", "5") | {"x-ratelimit-tokens-query-cost": "145"}
    (requests, tokens) = read_limits(headers, NOW)
    assert requests == LimitReading("requests", 60, 52, pytest.approx(8 / 6))
    assert tokens == LimitReading("tokens", 2_000_000, 1_500_000, pytest.approx(15))


def test_together_and_replicate_name_no_dimension_and_mean_requests():
    together = {"x-ratelimit-limit": "2", "x-ratelimit-remaining": "1", "x-ratelimit-reset": "2"}
    replicate = {"ratelimit-remaining": "2999", "ratelimit-reset": "1"}
    assert read_limits(together, NOW) == (LimitReading("requests", 2, 1, 2),)
    assert read_limits(replicate, NOW) == (LimitReading("requests", None, 2999, 1),)


def test_a_policy_after_the_number_is_left_out():
    headers = {"ratelimit-limit": "100, 100;w=60", "ratelimit-remaining": "50", "ratelimit-reset": "30"}
    assert read_limits(headers, NOW) == (LimitReading("requests", 100, 50, 30),)


def test_of_two_limits_in_one_dimension_the_tighter_is_told():
    headers = x("tokens", "1000", "900", "1s") | x("project-tokens", "500", "20", "9s")
    assert read_limits(headers, NOW) == (LimitReading("tokens", 500, 20, 9),)
    headers = x("tokens", "1000", "10", "1s") | x("project-tokens", "500", "20", "9s")
    assert read_limits(headers, NOW) == (LimitReading("tokens", 1000, 10, 1),)


@pytest.mark.parametrize(("limit", "remaining"), [("-1", "-1"), ("0", "0"), ("-1", "5"), ("many", "5")])
def test_a_senseless_limit_makes_the_reading_worthless(limit, remaining):
    assert read_limits(x("tokens", limit, remaining, "0"), NOW) == ()


def test_more_left_than_the_limit_is_not_believed():
    assert read_limits(x("tokens", "100", "200", "1s"), NOW) == (LimitReading("tokens", 100, None, 1),)


def test_headers_of_aiohttp_are_read_whatever_their_case():
    headers = CIMultiDictProxy(CIMultiDict({"X-RateLimit-Remaining-Requests": "3", "X-Ratelimit-Reset-Requests": "4s"}))
    assert read_limits(headers, NOW) == (LimitReading("requests", None, 3, 4),)


@pytest.mark.parametrize("skew", [-86_400, -3600, 3600, 86_400])
@pytest.mark.parametrize("reset", ["2026-11-23T10:33:30Z", str(int(NOW) + 10), str((int(NOW) + 10) * 1000)])
def test_a_clock_that_is_off_does_not_move_a_reset(skew, reset):
    headers = x("requests", "50", "49", reset) | {"date": "Mon, 23 Nov 2026 10:33:20 GMT"}
    assert read_limits(headers, NOW + skew) == (LimitReading("requests", 50, 49, 10.0),)


def test_a_date_that_is_none_leaves_our_own_clock():
    headers = x("requests", "50", "49", "2026-11-23T10:33:30Z") | {"date": "today"}
    assert read_limits(headers, NOW) == (LimitReading("requests", 50, 49, 10.0),)


def test_no_headers_no_readings():
    assert read_limits({"content-type": "application/json", "retry-after": "3"}, NOW) == ()


NAMES = [
    f"x-ratelimit-{what}{suffix}"
    for what in ("limit", "remaining", "reset", "renewalperiod")
    for suffix in ("-requests", "-tokens", "-tokens-minute", "-req-10-second", "-project-tokens", "")
]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.one_of(st.text(max_size=12), st.floats().map(str), st.sampled_from(["1s", "-1", "9" * 40, "1e400", "٣"])),
    )
)
def test_whatever_the_headers_say_a_reading_makes_sense(headers):
    readings = read_limits(headers, NOW)
    assert len({reading.dimension for reading in readings}) == len(readings)
    for reading in readings:
        values = (reading.limit, reading.remaining, reading.reset_after)
        assert any(value is not None for value in values)
        assert all(value is None or 0 <= value < float("inf") for value in values)
        assert reading.limit is None or reading.limit > 0
        assert None in (reading.limit, reading.remaining) or reading.remaining <= reading.limit


def anthropic(dimension, limit, remaining, reset):
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"anthropic-ratelimit-{dimension}-{what}": value for what, value in values.items()}


def test_anthropic_tells_four_dimensions_with_instants():
    headers = (
        anthropic("requests", "4000", "3999", "2026-11-23T10:33:21Z")
        | anthropic("tokens", "480000", "479000", "2026-11-23T10:33:30Z")
        | anthropic("input-tokens", "400000", "399000", "2026-11-23T10:33:20Z")
        | anthropic("output-tokens", "80000", "80000", "2026-11-23T10:33:10Z")
    )
    assert read_limits(headers, NOW, ANTHROPIC) == (
        LimitReading("requests", 4000, 3999, 1.0),
        LimitReading("tokens", 480000, 479000, 10.0),
        LimitReading("input_tokens", 400000, 399000, 0.0),
        LimitReading("output_tokens", 80000, 80000, 0.0),
    )
    assert read_limits(headers, NOW) == ()
