"""Checks at work on whole answers: what is denied stays denied, what is sent back is asked for again, all is told."""

import asyncio
import json

import own_checks
import pytest
from world import world

from resilio import (
    AnswerUnfit,
    CheckDenied,
    CheckRecord,
    DeadlineExceeded,
    Exhausted,
    MalformedRequest,
    ResilioError,
)
from resilio.checks import CheckStatistics
from resilio.events import CallSettled, CheckEnded
from resilio.models import Identity, Level
from resilio.testing.faults import Error
from resilio.testing.latency import Fixed
from resilio.testing.script import Script

EXACT = {"exact": {"ttl": 100, "ttl_jitter": 0, "stale_for": 50}}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
LADDER = {"ladder": ["full", {"simpler": "small"}]}
SMALL = {"small": {"targets": ["b/m"]}}
CLAUDE = {"a": {"kind": "anthropic", "models": {"m": {}}}}
"""Its answers have reasoning, and blocks with signatures that are sent back with the next request."""
PRICED = {"price": {"input": 1.0, "output": 2.0}}


def check(name="it", stage="after", **settings):
    return {"name": name, "stage": stage, **settings}


def own(function, **settings):
    return check(function=f"own_checks:{function}", **settings)


def checks(*each, **route):
    return {"checks": list(each), **route}


def actions(reply):
    return [(record.name, record.stage, record.action) for record in reply.checks]


def settled(w):
    return [event for event in w.events if isinstance(event, CallSettled)]


def in_turn(*answers):
    """Answers one after the other, the last for ever."""
    left = list(answers)
    return Script(answer=lambda body: left.pop(0) if len(left) > 1 else left[0])


# --- denying ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "message", "reason"),
    [
        ({"regex": r"\d{4}"}, "my pin is 1234", "what its regex looks for stands at character 11"),
        ({"banned_words": ["kill"]}, "KILL it", "a banned word stands at character 1"),
        ({"max_characters": 3}, "four", "it has 4 characters; at most 3 are wanted"),
        ({"min_characters": 5}, "four", "it has 4 characters; at least 5 are wanted"),
        ({"function": "own_checks:no_bananas"}, "a banana", "bananas"),
        ({"function": "own_checks:say_no"}, "hi", "said no"),
    ],
)
@pytest.mark.parametrize("stage", ["before", "after"])
async def test_what_a_check_denies_ends_in_its_error_and_says_why(rule, message, reason, stage):
    async with world(a=Script(answer=message), route=checks(check(stage=stage, **rule)), cache=EXACT) as w:
        asked = message if stage == "before" else "hi there"
        for _ in range(2):
            with pytest.raises(CheckDenied) as caught:
                await w.llm.complete("chat", asked)
            assert caught.value.record == CheckRecord("it", stage, "denied", reason)
            assert str(caught.value) == (
                f"check 'it' denied the {'request' if stage == 'before' else 'answer'}: {reason}"
            )
        assert w.calls("a") == (0 if stage == "before" else 2), "a denied answer is not kept"
        event = settled(w)[-1]
        assert (event.final, event.level, event.checks) == ("refused", Level.ERROR, (caught.value.record,))
        assert reason in event.error
        assert len(caught.value.attempts) == (0 if stage == "before" else 1)
        told = [each.check for each in w.events if isinstance(each, CheckEnded)]
        assert told == [caught.value.record] * 2
        assert w.llm.status().checks == {"chat/it": CheckStatistics(denied=2)}
        assert w.llm.status().caches["exact"].entries == 0
        w.assert_idle()


async def test_what_is_allowed_says_so_and_is_kept():
    route = checks(check("words", "before", banned_words=["x"]), check("short", max_characters=9))
    async with world(a=Script(answer="fine"), route=route, cache=EXACT) as w:
        reply = await w.llm.complete("chat", "hi")
        assert actions(reply) == [("words", "before", "allowed"), ("short", "after", "allowed")]
        hit = await w.llm.complete("chat", "hi")
        assert (hit.cached.kind, actions(hit)) == ("exact", [("words", "before", "allowed")])
        assert settled(w)[0].checks == reply.checks


async def test_nothing_a_check_found_is_quoted():
    for rule in ({"regex": "hunter2"}, {"banned_words": ["hunter2"]}):
        async with world(a=Script(answer="hunter2"), route=checks(check(**rule))) as w:
            with pytest.raises(CheckDenied) as caught:
                await w.llm.complete("chat", "hi")
            assert "hunter2" not in str(caught.value)
            assert "hunter2" not in str(settled(w)[0])


async def test_what_the_program_itself_says_is_not_searched_before_sending_and_the_history_is():
    route = checks(check(stage="before", banned_words=["bomb"]))
    async with world(a=Script(answer="fine"), route=route) as w:
        policy = {"role": "system", "content": "Never speak of a bomb."}
        asked = {"role": "user", "content": "hi"}
        assert (await w.llm.complete("chat", [policy, asked])).text == "fine"
        for bad in ("a bomb", [{"type": "text", "text": "a bomb"}]):
            with pytest.raises(CheckDenied):
                await w.llm.complete(
                    "chat", [policy, {"role": "user", "content": bad}, {"role": "user", "content": "hi"}]
                )


async def test_tool_calls_and_reasoning_are_searched_too():
    tool = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"q":"hunter2"}'}}
    for answer in ({"content": None, "tool_calls": [tool]}, {"content": "ok", "reasoning_content": "hunter2"}):
        script = Script(answer=lambda body, answer=answer: answer)
        async with world(a=script, route=checks(check(regex="hunter2")), only=CLAUDE) as w:
            with pytest.raises(CheckDenied):
                await w.llm.complete("chat", "hi")


async def test_an_answer_of_tool_calls_alone_has_no_text_to_measure_or_read():
    tool = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    script = Script(answer=lambda body: {"content": None, "tool_calls": [tool]})
    route = checks(check("long", min_characters=5), check("json", json_schema=SCHEMA))
    async with world(a=script, route=route) as w:
        reply = await w.llm.complete("chat", "hi")
        assert [record.action for record in reply.checks] == ["allowed", "allowed"]


# --- redacting ----------------------------------------------------------------------------------------


async def test_a_redacted_request_is_another_request_to_targets_and_caches():
    sent = []

    def answer(body):
        sent.append(body["messages"][-1]["content"])
        return "fine"

    route = checks(check(stage="before", regex=r"\d{4}", then="redact", replacement="#"))
    async with world(a=Script(answer=answer), route=route, cache=EXACT) as w:
        messages = [{"role": "user", "content": [{"type": "text", "text": "pin 1234 or 5678"}, {"type": "x"}]}]
        reply = await w.llm.complete("chat", messages)
        assert reply.checks == (CheckRecord("it", "before", "redacted", "2 places"),)
        assert sent == [[{"type": "text", "text": "pin # or #"}, {"type": "x"}]]
        assert messages[0]["content"][0]["text"] == "pin 1234 or 5678", "the caller's own list is as it was"
        messages[0]["content"][0]["text"] = "pin 9999 or 0000"
        assert (await w.llm.complete("chat", messages)).cached.kind == "exact"
        assert w.calls("a") == 1


async def test_a_redacted_answer_leaks_nothing_by_another_way_and_is_not_kept():
    tool = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"q":"hunter2"}'}}
    answer = {"content": "it is hunter2", "reasoning_content": "hunter2?", "tool_calls": [tool]}
    route = checks(check(regex="hunter2", then="redact"))
    async with world(a=Script(answer=lambda body: answer), route=route, cache=EXACT, only=CLAUDE) as w:
        for _ in range(2):
            reply = await w.llm.complete("chat", "hi")
            assert reply.text == "it is [redacted]"
            assert reply.tool_calls[0].arguments == '{"q":"[redacted]"}'
            assert "hunter2" not in repr(reply) + json.dumps(dict(reply.raw)) + repr(reply.message())
            assert reply.checks == (CheckRecord("it", "after", "redacted", "3 places"),)
        assert w.calls("a") == 2


async def test_checks_look_at_what_the_ones_before_have_left():
    route = checks(
        check("first", regex="secret", then="redact", replacement="public"),
        check("second", banned_words=["secret"]),
        own("shout", name="third"),
        check("fourth", regex="PUBLIC"),
    )
    async with world(a=Script(answer="a secret"), route=route) as w:
        with pytest.raises(CheckDenied) as caught:
            await w.llm.complete("chat", "hi")
        assert caught.value.record.name == "fourth"
        assert [record.action for record in settled(w)[0].checks] == ["redacted", "allowed", "redacted", "denied"]


async def test_a_function_redacts_the_last_turn_and_the_answer():
    sent = []

    def answer(body):
        sent.append([message["content"] for message in body["messages"]])
        return {"content": "quiet", "reasoning_content": "quiet, I think"}

    route = checks(own("shout", name="asked", stage="before"), own("shout", name="answered"))
    async with world(a=Script(answer=answer), route=route) as w:
        parts = [{"type": "text", "text": "three"}, {"type": "text", "text": "four"}]
        turns = [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": parts},
        ]
        reply = await w.llm.complete("chat", turns)
        assert sent == [["one", "two", [{"type": "text", "text": "THREE\nFOUR"}, {"type": "text", "text": ""}]]]
        assert (reply.text, reply.reasoning, reply.raw) == ("QUIET", "", {})


async def test_a_request_without_a_text_of_the_users_cannot_be_redacted_by_a_function():
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    async with world(a=Script(answer="fine"), route=checks(own("shout", stage="before"))) as w:
        with pytest.raises(CheckDenied, match="redacted a request without a text"):
            await w.llm.complete("chat", [image])
        assert w.calls("a") == 0


# --- asking again ---------------------------------------------------------------------------------------


async def test_an_answer_that_fails_its_schema_is_repaired_once_and_says_so():
    sent = []

    def answer(body):
        sent.append(body["messages"])
        return '{"n": "x"}' if len(body["messages"]) == 1 else '{"n": 1}'

    route = checks(check(json_schema=True, then="retry"), max_output_tokens=100)
    async with world(a=Script(answer=answer), model=PRICED, route=route, cache=EXACT) as w:
        reply = await w.llm.complete("chat", "hi", response_format=FORMAT)
        assert (reply.text, reply.level, reply.complete) == ('{"n": 1}', Level.FULL, True)
        assert [record.action for record in reply.checks] == ["retried", "allowed"]
        assert reply.checks[0].reason == '$.n: "x" is not of type "integer"'
        assert len(reply.attempts) == 2
        assert [message["role"] for message in sent[1]] == ["user", "assistant", "user"]
        assert sent[1][1]["content"] == '{"n": "x"}'
        assert '"x" is not of type "integer"' in sent[1][2]["content"]
        paid = [
            event.usage for event in w.events if getattr(event, "usage", None) is not None and hasattr(event, "attempt")
        ]
        assert reply.usage.input_tokens == sum(usage.input_tokens for usage in paid), "both answers are on the bill"
        assert reply.cost_usd == pytest.approx(
            sum(usage.input_tokens * 1e-6 + usage.output_tokens * 2e-6 for usage in paid)
        )
        event = settled(w)[0]
        assert (event.final, event.checks, event.cost_usd) == ("complete", reply.checks, reply.cost_usd)
        await w.llm.complete("chat", "hi", response_format=FORMAT)
        assert w.calls("a") == 4, "what had to be repaired is asked for anew"


async def test_an_answer_that_cannot_be_repaired_lets_its_rung_give_way():
    routes = {"small": {"targets": ["b/m"]}}
    route = checks(check(json_schema=True, then="retry"), **LADDER, )  # fmt: skip
    chat = {"targets": ["a/m"], **route}
    async with world(a=Script(answer="no JSON"), b=Script(answer='{"n": 2}'), routes={"chat": chat, **routes}) as w:
        reply = await w.llm.complete("chat", "hi", response_format=FORMAT)
        assert (reply.text, reply.level, w.calls("a"), w.calls("b")) == ('{"n": 2}', Level.SIMPLER, 2, 1)
        assert [record.action for record in reply.checks] == ["retried", "escalated", "allowed"]
        (reason,) = reply.reasons
        assert reason.startswith("full: check 'it' does not accept the answer: it is not JSON: ")


async def test_without_another_rung_the_error_says_which_check_and_what_it_wanted():
    route = checks(check(json_schema=True, then="retry"))
    async with world(a=Script(answer='{"m": 1}'), route=route) as w:
        with pytest.raises(AnswerUnfit) as caught:
            await w.llm.complete("chat", "hi", response_format=FORMAT)
        assert str(caught.value).startswith("check 'it' does not accept the answer: $: ")
        assert (w.calls("a"), settled(w)[0].final) == (2, "refused")
        assert [record.action for record in settled(w)[0].checks] == ["retried", "escalated"]
        assert w.llm.status().checks["chat/it"] == CheckStatistics(retried=1, escalated=1)
        w.assert_idle()


async def test_a_rung_below_has_to_pass_the_checks_of_the_route_that_was_asked():
    chat = {"targets": ["a/m"], **checks(check(regex="bad", then="escalate"), **LADDER)}
    async with world(a=Script(answer="bad"), b=Script(answer="bad too"), routes={"chat": chat, **SMALL}) as w:
        with pytest.raises(AnswerUnfit):
            await w.llm.complete("chat", "hi")
        assert (w.calls("a"), w.calls("b")) == (1, 1)
        assert len(settled(w)[0].reasons) == 2


async def test_other_checks_ask_anew_with_the_very_same_request():
    sent = []

    def answer(body):
        sent.append(body["messages"])
        return "bad" if len(sent) == 1 else "good"

    async with world(a=Script(answer=answer), route=checks(own("again"))) as w:
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, [record.action for record in reply.checks]) == ("good", ["retried", "allowed"])
        assert sent[0] == sent[1]


async def test_it_is_asked_again_within_the_attempts_of_the_route():
    route = checks(check(max_characters=3, then="retry"), retry={"max_attempts": 1})
    async with world(a=Script(answer="too long"), route=route) as w:
        with pytest.raises(
            AnswerUnfit, match="at most 3 are wanted; it could not be asked again: route 'chat' has"
        ) as caught:
            await w.llm.complete("chat", "hi")
        assert isinstance(caught.value.__cause__, Exhausted)
        assert w.calls("a") == 1


async def test_it_is_asked_again_within_the_deadline():
    route = checks(check(max_characters=3, then="retry"))
    async with world(a=Script(answer="too long", first_token=Fixed(3.0)), route=route) as w:
        began = w.now
        with pytest.raises(AnswerUnfit) as caught:
            await w.llm.complete("chat", "hi", deadline=5)
        assert isinstance(caught.value.__cause__, DeadlineExceeded)
        assert w.now - began <= 5
        assert settled(w)[0].final == "refused"


async def test_it_is_asked_again_within_the_budget():
    route = checks(check(max_characters=3, then="retry"), max_output_tokens=100)
    async with world(a=Script(answer="too long"), model={"price": {"input": 0, "output": 10_000}}, route=route) as w:
        with (
            w.llm.scope(max_cost_usd=1.01),
            pytest.raises(AnswerUnfit, match="could not be asked again") as caught,
        ):
            await w.llm.complete("chat", "hi")
        assert "max_cost_usd" in str(caught.value.__cause__)
        assert w.calls("a") == 1


async def test_the_second_try_may_move_on_to_another_target():
    script = in_turn("too long")
    async with world(
        a=script.sequence(None, Error(status=503)),
        b=Script(answer="ok"),
        route=checks(check(max_characters=3, then="retry")),
    ) as w:
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.target, len(reply.attempts)) == ("ok", "b/m", 3)


async def test_a_check_before_sending_can_escalate_to_the_next_rung():
    chat = {"targets": ["a/m"], **checks(own("elsewhere", stage="before"), **LADDER)}
    async with world(a=Script(answer="a"), b=Script(answer="b"), routes={"chat": chat, **SMALL}) as w:
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.level, w.calls("a")) == ("b", Level.SIMPLER, 0)
        assert reply.reasons == ("full: check 'it' does not accept the request: not for this model",)


@pytest.mark.parametrize(
    ("wanted", "answer", "passes"),
    [
        ({"type": "json_object"}, "{}", True),
        ({"type": "json_object"}, "[]", False),
        ({"type": "text"}, "anything", True),
        (None, "anything", True),
        (FORMAT, '{"n": 1}', True),
        (FORMAT, '```json\n{"n": 1}\n```', False),
        (FORMAT, '{"n": 1} ', True),
        (FORMAT, '{"n": NaN}', False),
    ],
)
async def test_the_schema_is_the_one_the_request_asks_for(wanted, answer, passes):
    more = {} if wanted is None else {"response_format": wanted}
    async with world(a=Script(answer=answer), route=checks(check(json_schema=True))) as w:
        if passes:
            assert (await w.llm.complete("chat", "hi", **more)).text == answer
        else:
            with pytest.raises(CheckDenied):
                await w.llm.complete("chat", "hi", **more)


@pytest.mark.parametrize(
    "schema", [{"type": "strin"}, {"$ref": "http://elsewhere.test/x"}, 5, {"$ref": "file:///etc/passwd"}]
)
async def test_a_schema_that_is_none_or_leads_outside_is_refused_before_anybody_is_paid(schema):
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    async with world(a=Script(answer="{}"), route=checks(check(json_schema=True))) as w:
        with pytest.raises(MalformedRequest, match=r"response_format is no JSON schema: .* check 'it'"):
            await w.llm.complete("chat", "hi", response_format=wanted)
        assert w.calls("a") == 0
        assert settled(w)[0].final == "failed"


async def test_several_answers_at_once_cannot_be_checked():
    async with world(a=Script(answer="fine"), route=checks(check(regex="x"))) as w:
        with pytest.raises(MalformedRequest, match="ask for one at a time"):
            await w.llm.complete("chat", "hi", n=2)
        assert (await w.llm.complete("chat", "hi", n=1)).text == "fine"


# --- functions of one's own -----------------------------------------------------------------------------


async def test_a_function_sees_who_asks_what_and_what_came_of_it():
    own_checks.seen.clear()
    route = checks(own("record", name="b", stage="before"), own("record", name="a"))
    async with world(a=Script(answer="fine"), route=route) as w:
        messages = [{"role": "user", "content": "old"}, {"role": "user", "content": "hi"}]
        await w.llm.complete("chat", messages, user="alice", temperature=0)
        before, after = own_checks.seen
        assert (before.stage, before.text, before.reply) == ("before", "hi", None)
        assert (after.stage, after.text, after.reply.text, after.request.wire) == (
            "after", "fine", "fine", {"temperature": 0},
        )  # fmt: skip
        assert after.request.identity.user == "alice"


@pytest.mark.parametrize(
    ("function", "action", "reason"),
    [
        ("raises", "failed", "ValueError: a bug of mine"),
        ("raises_what_cannot_be_shown", "failed", "_Dumb: it cannot be shown"),
        ("returns_what_cannot_be_shown", "failed", "no words"),
        ("gives_a_number_as_its_reason", "failed", "its reason is int, not text"),
        ("exits", "failed", "RuntimeError: it wanted the program to exit"),
        ("nonsense", "failed", "it returned 3, not a Verdict, True or False"),
        ("forgets", "failed", "it returned None, not a Verdict, True or False"),
        ("unknown_action", "failed", "it returned the action 'shrug'; there are allow, deny, redact, retry, escalate"),
        ("redacts_nothing", "failed", "it redacted without a text to put in the place of the old one"),
        ("cancels_itself", "failed", "it was cancelled from inside"),
        ("hangs", "timed_out", "no verdict within 2 s"),
        ("stubborn", "timed_out", "no verdict within 2 s"),
        (
            "asks_its_own_route",
            "failed",
            "CheckDenied: check 'it' failed on the {what}: it asked the route that it is a check of",
        ),
    ],
)
@pytest.mark.parametrize("stage", ["before", "after"])
@pytest.mark.parametrize("on_error", ["deny", "allow"])
async def test_a_function_that_fails_is_told_by_its_name_and_costs_what_its_route_says(
    function, action, reason, stage, on_error
):
    route = checks(own(function, stage=stage, timeout=2, on_error=on_error))
    record = CheckRecord("it", stage, action, reason.format(what="request" if stage == "before" else "answer"))
    async with world(a=Script(answer="fine"), route=route, cache=EXACT) as w:
        began = w.now
        if on_error == "allow":
            reply = await w.llm.complete("chat", "hi")
            if function == "asks_its_own_route":
                return  # the call inside was let pass likewise
            assert (reply.text, reply.checks) == ("fine", (record,))
            again = await w.llm.complete("chat", "hi")
            assert (again.cached is None) is (stage == "after"), "an answer nobody could look at is not kept"
        else:
            with pytest.raises(CheckDenied, match=r"check 'it' (failed on|took too long for) the ") as caught:
                await w.llm.complete("chat", "hi")
            assert caught.value.record == record
            assert settled(w)[-1].final == "refused"
        assert w.now - began <= 4
        counts = w.llm.status().checks["chat/it"]
        assert getattr(counts, action) >= 1
        w.assert_idle()


async def test_the_callers_deadline_ends_a_check_and_is_no_fault_of_the_check():
    for on_error in ("deny", "allow"):
        for stage in ("before", "after"):
            route = checks(own("hangs", stage=stage, timeout=50, on_error=on_error))
            async with world(a=Script(answer="fine"), route=route) as w:
                began = w.now
                with pytest.raises(DeadlineExceeded):
                    await w.llm.complete("chat", "hi", deadline=3)
                assert w.now - began == pytest.approx(3)
                assert w.llm.status().checks["chat/it"] == CheckStatistics()


async def test_a_function_may_ask_a_model_on_the_callers_account_within_its_budget():
    chat = {"targets": ["a/m"], **checks(own("asks_the_judge", max_cost_usd=0.5))}
    judge = {"targets": ["b/m"], "max_output_tokens": 10}
    answers = {"a": Script(answer="fine"), "b": in_turn("yes", "no")}
    routes = {"chat": chat, "judge": judge}
    async with world(**answers, routes=routes, model={"price": {"input": 1, "output": 1}}) as w:
        assert (await w.llm.complete("chat", "hi", user="alice")).text == "fine"
        asked = next(event for event in settled(w) if event.route == "judge")
        assert (asked.identity.user, asked.identity.tags) == ("alice", {"check": "it"})
        with pytest.raises(CheckDenied, match="the judge says no"):
            await w.llm.complete("chat", "hi")
    dear = {"price": {"input": 0, "output": 1_000_000}}
    async with world(**answers, routes=routes, model=dear) as w:
        with pytest.raises(CheckDenied, match=r"failed on the answer: BudgetExceeded: .*max_cost_usd"):
            await w.llm.complete("chat", "hi")
        assert w.calls("b") == 0


async def test_a_check_that_asks_is_bounded_by_its_clock_and_its_call_is_cancelled():
    chat = {"targets": ["a/m"], **checks(own("asks_the_judge", timeout=2))}
    slow = Script(answer="yes", first_token=Fixed(9.0))
    async with world(a=Script(answer="fine"), b=slow, routes={"chat": chat, "judge": {"targets": ["b/m"]}}) as w:
        began = w.now
        with pytest.raises(CheckDenied, match=r"took too long|DeadlineExceeded"):
            await w.llm.complete("chat", "hi")
        assert w.now - began == pytest.approx(2, abs=0.1)
        await asyncio.sleep(0.01)
        w.assert_idle()


async def test_a_callable_object_is_as_good_as_a_function():
    async with world(a=Script(answer="fine"), route=checks(own("caller"))) as w:
        assert (await w.llm.complete("chat", "hi")).text == "fine"


# --- with caches, flights and reloads --------------------------------------------------------------------


async def test_calls_that_wait_for_a_denied_one_ask_for_themselves():
    script = Script(answer="a banana", first_token=Fixed(1.0))
    async with world(a=script, route=checks(own("no_bananas")), cache=EXACT) as w:
        calls = [asyncio.create_task(w.llm.complete("chat", "hi")) for _ in range(4)]
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, CheckDenied) for each in done)
        w.assert_idle()


async def test_calls_that_wait_for_an_allowed_one_share_its_answer():
    script = Script(answer="fine", first_token=Fixed(1.0))
    async with world(a=script, route=checks(own("slow")), cache=EXACT) as w:
        done = await asyncio.gather(*(w.llm.complete("chat", "hi") for _ in range(4)))
        assert {reply.text for reply in done} == {"fine"}
        assert w.calls("a") == 1


async def test_other_checks_are_another_key_and_other_clocks_of_theirs_are_not():
    route = checks(own("allow"), own("slow", name="clock", timeout=5))
    async with world(a=Script(answer="a banana"), route=route, cache=EXACT) as w:
        await w.llm.complete("chat", "hi")
        config = {
            **w.config,
            "route": {"chat": {"targets": ["a/m"], **checks(own("allow"), own("slow", name="clock", timeout=9))}},
        }
        await w.llm.reload(config)
        assert (await w.llm.complete("chat", "hi")).cached is not None
        assert w.llm.status().checks["chat/it"].allowed == 1, "counts outlive a reload that leaves the check as it was"
        await w.llm.reload({**config, "route": {"chat": {"targets": ["a/m"], **checks(own("no_bananas"))}}})
        with pytest.raises(CheckDenied):
            await w.llm.complete("chat", "hi")
        assert w.llm.status().checks == {"chat/it": CheckStatistics(denied=1)}


async def test_an_answer_past_its_time_is_given_when_a_fresh_one_does_not_pass():
    route = checks(own("again"), ladder=["full", "cache"])
    async with world(a=in_turn("good", "bad"), route=route, cache=EXACT) as w:
        await w.llm.complete("chat", "hi")
        await asyncio.sleep(120)
        reply = await w.llm.complete("chat", "hi")
        assert (reply.text, reply.cached.kind, reply.level) == ("good", "stale", Level.CACHED)
        assert [record.action for record in reply.checks] == ["retried", "escalated"]


async def test_checks_hold_where_a_stream_is_collected():
    route = checks(check(regex="three"), upstream_stream="auto")
    async with world(a=Script(answer="one two three", tokens_per_second=10), route=route) as w:
        with pytest.raises(CheckDenied):
            await w.llm.complete("chat", "hi")
        w.assert_idle()


async def test_a_route_without_checks_says_nothing_of_them():
    async with world(a=Script(answer="fine")) as w:
        assert (await w.llm.complete("chat", "hi")).checks == ()
        assert w.llm.status().checks == {}
        assert issubclass(CheckDenied, ResilioError)


# --- what answers cost that nobody got ------------------------------------------------------------------


def paid(w):
    usages = [event.usage for event in w.events if hasattr(event, "attempt") and getattr(event, "usage", None)]
    return sum(usage.input_tokens * 1e-6 + usage.output_tokens * 2e-6 for usage in usages)


async def test_a_denied_answer_stays_on_the_bill_of_its_call():
    route = checks(check(regex="bad"), max_output_tokens=100)
    async with world(a=Script(answer="bad"), model=PRICED, route=route) as w:
        with pytest.raises(CheckDenied):
            await w.llm.complete("chat", "hi")
        assert settled(w)[0].cost_usd == pytest.approx(paid(w))
        assert settled(w)[0].usage.input_tokens > 0


async def test_a_call_cancelled_in_a_check_of_its_answer_has_paid_for_it():
    route = checks(own("hangs", timeout=10), max_output_tokens=100)
    async with world(a=Script(answer="fine"), model=PRICED, route=route) as w:
        asking = asyncio.create_task(w.llm.complete("chat", "hi"))
        await asyncio.sleep(5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert settled(w)[0].final == "cancelled"
        assert settled(w)[0].cost_usd == pytest.approx(paid(w)) != 0


async def test_a_lower_rung_that_costs_nothing_pays_for_the_answer_that_did_not_pass(tmp_path):
    (tmp_path / "faq.toml").write_text('[[answer]]\nquestion = "hi"\nanswer = "Hello."\n')
    answers = in_turn("good", "bad")
    for rung in ("cache", {"static": str(tmp_path / "faq.toml")}):
        route = checks(check(regex="bad", then="escalate"), ladder=["full", rung], max_output_tokens=100)
        answers = in_turn("good", "bad")
        async with world(a=answers, model=PRICED, route=route, cache=EXACT) as w:
            await w.llm.complete("chat", "hi")
            before = paid(w)
            reply = await w.llm.complete("chat", "hi", cache="refresh")
            assert reply.level in (Level.CACHED, Level.STATIC)
            assert reply.cost_usd == pytest.approx(paid(w) - before) != 0
            assert settled(w)[-1].cost_usd == reply.cost_usd
            assert settled(w)[-1].usage.input_tokens > 0


async def test_a_check_that_escalates_leaves_out_the_full_answer_and_not_the_rung_a_budget_left(tmp_path):
    chat = {"targets": ["a/m"], "max_output_tokens": 10, "descent": {"economy": 0.8},
            **checks(own("elsewhere", stage="before"), **LADDER)}  # fmt: skip
    routes = {"chat": chat, "small": {"targets": ["b/m"], "max_output_tokens": 10}}
    budgets = [{"per": "user", "window": "day", "limit_tokens": 1000}]
    async with world(a=Script(answer="a"), b=Script(answer="b"), routes=routes, budgets=budgets) as w:
        await w.llm.engine.spending.usage(Identity(user="ann"))
        (purse,) = w.llm.engine.spending.current(Identity(user="ann"))
        purse.flow.spend(w.now, 850)
        reply = await w.llm.complete("chat", "hi", user="ann")
        assert (reply.text, reply.level, len(reply.reasons)) == ("b", Level.SIMPLER, 1)
