"""The wall is no rubber stamp: clients that cheat, hang, splice or hammer do not pass it."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from resilio.testing.wall import (
    BEYOND,
    ROWS,
    TEXTS,
    Ended,
    HttpClient,
    LocalUpstreams,
    Mode,
    RemoteUpstreams,
    Seen,
    Tried,
    Verdict,
    WallServer,
    configuration,
    judge,
    row_of,
    run_library_row,
    run_row,
    script_of,
    summary,
    worst,
)
from resilio.testing.wall.evidence import Evidence, UpstreamCall
from resilio.testing.wall.texts import LOST, answer_of

PRIMARY, FALLBACK = TEXTS["primary"], TEXTS["fallback"]
HALF = " ".join(PRIMARY.split(" ")[:5]) + " "


def call(upstream="primary", at=0.0, status=200, faults=(), ended_at=0.5):
    return UpstreamCall(upstream, at, ended_at, "m", True, status, "answered", faults)


def verdict(name, *seen, mode=Mode.COMPLETE, calls=(), **more):
    return judge(row_of(name), Evidence(mode, seen, calls, **more))


def whole(text, **more):
    return Seen(Ended.COMPLETE, text, **more)


# --- texts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", HALF, HALF + FALLBACK, PRIMARY + " ", PRIMARY[:-1], HALF[:-1] + PRIMARY[len(HALF) :]]
)
def test_a_success_with_anything_but_a_whole_text_fails(text):
    assert verdict("W08", whole(text)).verdict is Verdict.FAIL


def test_a_whole_text_passes():
    assert verdict("W08", whole(PRIMARY)).verdict is Verdict.PASS
    assert verdict("W08", whole(FALLBACK)).verdict is Verdict.PASS


def test_an_answer_of_the_wrong_upstream_fails():
    assert "forbids" in verdict("W11", whole(FALLBACK), calls=[call()]).why


def test_a_marked_part_is_partial_but_only_a_true_part_is():
    assert verdict("W08", Seen(Ended.PARTIAL, HALF)).verdict is Verdict.PARTIAL
    assert verdict("W08", Seen(Ended.PARTIAL, "")).verdict is Verdict.FAIL
    assert verdict("W08", Seen(Ended.PARTIAL, HALF + "xyz")).verdict is Verdict.FAIL


def test_an_error_with_the_text_so_far_passes_only_where_a_stream_may_break():
    broken = Seen(Ended.ERROR, HALF, "broken", HALF)
    assert verdict("W08", broken, mode=Mode.ERROR).verdict is Verdict.PASS
    assert verdict("W08", broken, mode=Mode.CONTINUE).verdict is Verdict.SAFE
    assert verdict("W07", broken, mode=Mode.ERROR).verdict is Verdict.SAFE
    assert verdict("W08", Seen(Ended.ERROR, "", "broken"), mode=Mode.ERROR).verdict is Verdict.SAFE
    assert verdict("W08", Seen(Ended.ERROR, PRIMARY, "broken", PRIMARY)).verdict is Verdict.SAFE
    assert verdict("W08", Seen(Ended.ERROR, "x", "broken", "x"), mode=Mode.ERROR).verdict is Verdict.FAIL


def test_the_worst_request_decides():
    judged = verdict("W02", whole(PRIMARY), Seen(Ended.ERROR, error="no"), whole(FALLBACK))
    assert judged.verdict is Verdict.SAFE
    assert "1 of 3" in judged.why


def test_an_answer_after_the_deadline_fails_and_so_does_none():
    assert verdict("W08", whole(PRIMARY, elapsed=20.2)).verdict is Verdict.FAIL
    assert verdict("W02", Seen(Ended.HUNG)).verdict is Verdict.FAIL
    assert verdict("W02", Seen(Ended.CRASHED, error="ZeroDivisionError")).verdict is Verdict.FAIL
    assert judge(row_of("W02"), Evidence(Mode.COMPLETE, [], [])).verdict is Verdict.FAIL


def test_what_is_not_given_back_fails_a_row_that_was_answered():
    assert "1 slot" in verdict("W08", whole(PRIMARY), leaks=["1 slot"]).why


# --- rules of single rows ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "calls", "complaint"),
    [
        ("W01", [call(status=429), call(at=0.9)], "asked again 0.90 s"),
        ("W01", [], "never asked"),
        ("W02", [call(status=429), call(at=0.01)], "after 0.010 s"),
        ("W03", [call(status=500), call(at=1), call(at=2)], "3 calls"),
        ("W04", [call(at=i, faults=("Error",)) for i in range(9)], "9 calls of a primary that is down, 5"),
        ("W06", [call(), call(at=1)], "2 calls of primary"),
        ("W12", [call(status=400)] * 8 + [call("fallback")] * 7, "nothing is wrong with it"),
        ("W12", [call(status=400), call()] * 5, "10 calls of primary"),
        ("B11", [call(faults=("Error",)), call(at=1, faults=("Error",))], "met 2 times"),
        ("B01", [call(faults=("Error",)), call("fallback")], "2.00 upstream calls"),
    ],
)
def test_a_forbidden_call_fails_an_answered_row(name, calls, complaint):
    row = row_of(name)
    judged = verdict(name, whole(TEXTS[min(row.answers)]), calls=calls)
    assert judged.verdict is Verdict.FAIL
    assert complaint in judged.why


def test_a_client_without_a_breaker_fails_w15_and_one_with_five_failures_and_a_probe_passes():
    down = [call(at=6.0 * i, faults=("Error",)) for i in range(10)]
    answered = [whole(FALLBACK)] * 10
    assert "10 calls of a primary that is down, 8" in verdict("W15", *answered, calls=down).why
    assert verdict("W15", *answered, calls=[*down[:5], down[9]]).verdict is Verdict.PASS


def test_rest_for_a_whole_second_passes_w01():
    assert verdict("W01", whole(PRIMARY), calls=[call(status=429), call(at=1.0)]).verdict is Verdict.PASS


def test_a_slow_move_to_the_fallback_fails_w06():
    assert "took 19.0 s" in verdict("W06", whole(FALLBACK, elapsed=19.0)).why


def test_an_error_that_comes_late_but_in_time_is_safe():
    assert verdict("W06", Seen(Ended.ERROR, error="timed out", elapsed=19.0)).verdict is Verdict.SAFE


def test_malformed_bytes_at_the_caller_fail_w10():
    assert "the caller got" in verdict("W10", whole(HALF + '{"id":"chatcmpl-\\u00')).why


def test_a_refusal_must_be_told_as_one_and_not_dodged():
    assert verdict("W13", Seen(Ended.REFUSED), calls=[call()]).verdict is Verdict.PASS
    assert verdict("W13", Seen(Ended.ERROR, error="400"), calls=[call()]).verdict is Verdict.SAFE
    assert verdict("W13", whole(FALLBACK), calls=[call()]).verdict is Verdict.FAIL
    assert verdict("W13", Seen(Ended.REFUSED), calls=[call(), call("fallback")]).verdict is Verdict.FAIL


def test_the_first_cause_must_be_among_the_attempts():
    assert verdict("W14", whole(PRIMARY, attempts=())).verdict is Verdict.FAIL
    assert verdict("W14", whole(PRIMARY, attempts=(Tried("fallback/w14", "caller"),))).verdict is Verdict.FAIL
    assert verdict("W14", whole(PRIMARY, attempts=(Tried("primary/w14", "truncated"),))).verdict is Verdict.PASS


def test_a_wrong_bill_fails_w16():
    calls = [call(status=500), call("fallback")]
    right = whole(
        FALLBACK, target="fallback/w16", input_tokens=6, output_tokens=43, cost_usd=(6 * 3 + 43 * 7) / 1e6,
        attempts=(Tried("primary/w16", "server_error"), Tried("fallback/w16", None)),
    )  # fmt: skip
    assert verdict("W16", right, calls=calls).verdict is Verdict.PASS
    for wrong in (
        {"input_tokens": 12}, {"cost_usd": 0.0005}, {"target": "primary/w16"}, {"attempts": right.attempts[1:]},
    ):  # fmt: skip
        assert verdict("W16", replace(right, **wrong), calls=calls).verdict is Verdict.FAIL


def test_a_caller_who_leaves_must_be_noticed():
    left = Seen(Ended.LEFT)
    assert verdict("B03", left, calls=[call(ended_at=4.05)], left_at=4.0).verdict is Verdict.PASS
    assert verdict("B03", left, calls=[call(ended_at=4.5)], left_at=4.0).verdict is Verdict.FAIL
    assert verdict("B03", left, calls=[call(ended_at=None)], left_at=4.0).verdict is Verdict.FAIL
    assert "did not measure" in verdict("B03", left, calls=[call(ended_at=1.0)], left_at=4.0).why
    late = [call(ended_at=4.0), call("fallback", at=4.5)]
    assert "had left" in verdict("B03", left, calls=late, left_at=4.0).why


# --- upstreams -----------------------------------------------------------------------------------


def test_upstreams_go_on_with_the_text_that_was_begun():
    question = {"role": "user", "content": "?"}
    begun = {"role": "assistant", "content": HALF.rstrip()}
    fallback = answer_of("fallback")
    assert fallback({"messages": [question]}) == FALLBACK
    assert HALF.rstrip() + fallback({"messages": [question, begun]}) == PRIMARY
    told_to = {"messages": [question, begun, {"role": "user", "content": "go on"}]}
    assert HALF + fallback(told_to) == PRIMARY
    assert fallback({"messages": [question, {"role": "assistant", "content": "Once"}]}) == LOST


def test_texts_differ_from_their_first_word_on_and_are_longer_than_a_cut():
    assert len({text.split()[0] for text in TEXTS.values()}) == len(TEXTS)
    assert all(len(text.split()) > 10 for text in TEXTS.values())


def test_every_time_of_a_script_shrinks_with_the_scale():
    slow = script_of(row_of("W07"), "primary", 0.1).rules[0].faults[0]
    hint = script_of(row_of("W01"), "primary", 0.1).rules[0].faults[0]
    flapping = script_of(row_of("W15"), "primary", 0.1).rules[0].flapping
    assert slow.seconds == pytest.approx(3.0)
    assert hint.retry_after == pytest.approx(0.1)
    assert (flapping.up, flapping.down) == (pytest.approx(6.0), pytest.approx(6.0))
    assert script_of(row_of("W08"), "primary", 0.1).tokens_per_second == pytest.approx(250)


def test_rows_are_named_once():
    names = [row.id for row in (*ROWS, *BEYOND)]
    assert len(set(names)) == len(names)
    assert [row.id for row in ROWS] == [f"W{number:02}" for number in range(1, 17)]


# --- clients that are tested ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("W01", Mode.COMPLETE, Verdict.FAIL),  # asks again at once
        ("W05", Mode.ERROR, Verdict.SAFE),
        ("W06", Mode.COMPLETE, Verdict.FAIL),  # hangs
        ("W08", Mode.ERROR, Verdict.FAIL),  # half a text, as a success
        ("W09", Mode.ERROR, Verdict.FAIL),
        ("W10", Mode.ERROR, Verdict.FAIL),
        ("W11", Mode.ERROR, Verdict.PASS),
        ("W13", Mode.COMPLETE, Verdict.PASS),
        ("W13", Mode.CONTINUE, Verdict.PASS),
        ("W16", Mode.COMPLETE, Verdict.SAFE),
        ("B04", Mode.ERROR, Verdict.PASS),
        ("B06", Mode.COMPLETE, Verdict.FAIL),
        ("B08", Mode.ERROR, Verdict.PASS),
        ("B15", Mode.COMPLETE, Verdict.PASS),
        ("B16", Mode.ERROR, Verdict.PASS),
    ],
)
async def test_a_plain_client_without_any_protection_gets_what_it_deserves(name, mode, expected):
    async with (
        WallServer(LocalUpstreams(scale=0.5)) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        upstreams = RemoteUpstreams(session, server.urls["primary"].removesuffix("/primary/v1"))
        client = HttpClient(session, server.urls["primary"])
        result = await run_row(client, upstreams, row_of(name), mode, scale=0.5)
    assert result.judgement.verdict is expected, result.judgement


async def test_a_bug_of_the_client_fails_its_row_and_not_the_wall():
    class Broken:
        async def ask(self, ask):
            raise ZeroDivisionError("oh")

        def leaks(self):
            return ()

    result = await run_row(Broken(), LocalUpstreams(), row_of("W11"), Mode.COMPLETE)
    assert "ZeroDivisionError: oh" in result.judgement.why


async def test_a_time_out_of_the_clients_own_is_not_taken_for_the_walls():
    class Impatient:
        async def ask(self, ask):
            async with asyncio.timeout(1):
                await asyncio.sleep(2)

        def leaks(self):
            return ()

    result = await run_row(Impatient(), LocalUpstreams(), row_of("W11"), Mode.COMPLETE)
    assert result.evidence.seen[0].ended is Ended.CRASHED
    assert result.evidence.seen[0].elapsed == pytest.approx(1)


async def test_an_unknown_row_cannot_be_set():
    async with WallServer(LocalUpstreams()) as server, aiohttp.ClientSession() as session:
        root = server.urls["primary"].removesuffix("/primary/v1")
        async with session.post(f"{root}/_reset", params={"row": "W99"}) as response:
            assert response.status == 404
            assert "W01" in (await response.json())["error"]


def test_the_librarys_clocks_shrink_with_the_scale():
    made = configuration(row_of("W06"), Mode.COMPLETE, {"primary": "a", "fallback": "b"}, scale=0.5)
    assert made["route"]["w06"]["clocks"] == {"first_token": 5.0, "idle": 2.5}


async def test_the_summary_counts_what_passed_and_says_what_did_not():
    good = await run_library_row(row_of("W11"), Mode.COMPLETE)
    bad = replace(good, judgement=verdict("W11", whole(FALLBACK)))
    assert summary([good]) == {"complete": {"passed": 1, "of": 1}}
    assert summary([good, bad])["complete"]["passed"] == 1
    assert "forbids" in summary([bad])["complete"]["not_passed"]["W11"]
    assert worst([good, bad]) is bad
