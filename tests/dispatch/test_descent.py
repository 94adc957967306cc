"""Budget-driven descent: a route gives less as a budget is spent, says why, and gives all back in a new window."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import world

from resilio.config import DescentSettings, load_config
from resilio.errors import BudgetExceeded, ConfigError, ResilioError, ServiceReduced
from resilio.events import ServiceLevelChanged
from resilio.models import Identity, Level
from resilio.statemachines.service import ALLOWED, ServiceFlow, ServiceLevel
from resilio.testing.script import Script

DAY = 86_400
FAQ = '[[answer]]\nquestion = "How do I reset a password?"\nanswer = "Open Settings."\n'


@pytest.fixture
def route(tmp_path):
    (tmp_path / "faq.toml").write_text(FAQ)
    return {
        "targets": ["a/m"],
        "max_output_tokens": 10,
        "descent": {"economy": 0.8, "cache_only": 0.95, "shedding": 1.0},
        "ladder": ["full", "cache", {"simpler": "small"}, {"static": str(tmp_path / "faq.toml")}],
    }


SMALL = {"small": {"targets": ["b/m"], "max_output_tokens": 10}}
BUDGET = [{"per": "user", "window": "day", "limit_tokens": 1000}]


def spent_world(route, *, budgets=BUDGET, **more):
    return world(a=Script(answer="large"), b=Script(answer="small"), routes={"chat": route, **SMALL}, budgets=budgets,
                 cache={"exact": {"ttl": 10 * DAY}}, **more)  # fmt: skip


async def known(w, **who):
    """The budgets of a caller, once the ledger has said that nothing is spent."""
    await w.llm.engine.spending.usage(Identity(**who))
    return w.llm.engine.spending.current(Identity(**who))


async def spend(w, share, user="ann"):
    """As if so much of the user's budget had been spent by now."""
    (purse,) = await known(w, user=user)
    purse.flow.spend(w.now, int(share * purse.limit))


async def ask(w, text, user="ann"):
    return await w.llm.complete("chat", text, user=user)


async def test_rungs_are_left_out_at_80_95_and_100_percent_and_come_back_the_next_day(route):
    async with spent_world(route) as w:
        kept = await ask(w, "Kept")
        assert (kept.text, kept.level) == ("large", Level.FULL)
        await spend(w, 0.79)
        assert (await ask(w, "One")).text == "large"

        await spend(w, 0.80)
        reply = await ask(w, "Two")
        assert (reply.text, reply.level) == ("small", Level.SIMPLER)
        assert reply.reasons[0].startswith(
            "full: route 'chat' is at service level economy: 80% of budget 'user/day' of 'ann'"
        )
        assert (await ask(w, "Kept")).cached.kind == "exact"

        await spend(w, 0.95)
        assert (await ask(w, "Kept")).text == "large"
        reply = await ask(w, "How do I reset a password?")
        assert (reply.text, reply.level) == ("Open Settings.", Level.STATIC)
        assert [reason.split(":")[0] for reason in reply.reasons] == ["full", "cache", "simpler (small)"]
        with pytest.raises(ServiceReduced) as refused:
            await ask(w, "Three")
        assert refused.value.level == "cache_only"
        assert 0 < refused.value.retry_after <= DAY

        await spend(w, 1.0)
        assert (await ask(w, "How do I reset a password?")).level is Level.STATIC
        with pytest.raises(ServiceReduced, match="shedding"):
            await ask(w, "Kept")
        assert (await ask(w, "Kept", user="bob")).text == "large", "another user is none the poorer"
        assert [each.level for each in w.llm.status().reduced] == ["shedding"]

        await asyncio.sleep(DAY)
        assert (await ask(w, "Four")).text == "large"
        assert w.llm.status().reduced == ()
        changes = [(each.source, each.dest) for each in w.events if isinstance(each, ServiceLevelChanged)]
        assert changes == [
            ("full", "economy"),
            ("economy", "cache_only"),
            ("cache_only", "shedding"),
            ("shedding", "full"),
        ]
        w.assert_idle()


async def test_streams_go_down_the_same_way(route):
    async with spent_world(route) as w:
        await spend(w, 0.9)
        async with w.llm.stream("chat", "Two", user="ann") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "small"
        assert stream.reply.level is Level.SIMPLER
        await spend(w, 1.0)
        async with w.llm.stream("chat", "How do I reset a password?", user="ann") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "Open Settings."


async def test_real_spending_leads_down_step_by_step(route):
    async with spent_world(route, budgets=[{"per": "user", "window": "day", "limit_tokens": 1000}]) as w:
        levels = []
        for number in range(400):
            try:
                levels.append((await ask(w, f"Question {number}")).level)
            except (ServiceReduced, BudgetExceeded):
                break
        assert levels[0] is Level.FULL
        assert Level.SIMPLER in levels
        assert levels == sorted(levels, key=[Level.FULL, Level.SIMPLER].index)


async def test_the_budget_that_is_spent_furthest_decides(route):
    budgets = [*BUDGET, {"per": "organisation", "window": "day", "limit_tokens": 1000}]
    async with spent_world(route, budgets=budgets) as w:
        user, organisation = await known(w, user="ann", organisation="acme")
        user.flow.spend(w.now, 850)
        organisation.flow.spend(w.now, 960)
        with pytest.raises(ServiceReduced, match="organisation/day"):
            await w.llm.complete("chat", "One", user="ann", organisation="acme")
        assert (await ask(w, "One")).level is Level.SIMPLER


async def test_the_hint_is_when_the_last_of_two_budgets_that_leave_as_little_resets(route):
    budgets = [*BUDGET, {"per": "user", "window": "hour", "limit_tokens": 1000}]
    async with spent_world(route, budgets=budgets) as w:
        day, hour = await known(w, user="ann")
        day.flow.spend(w.now, 960)
        hour.flow.spend(w.now, 990)
        with pytest.raises(ServiceReduced, match="user/day") as refused:
            await ask(w, "One")
        assert refused.value.retry_after > hour.resets_in(w.llm.engine.wall())
        assert refused.value.retry_after == pytest.approx(day.resets_in(w.llm.engine.wall()), abs=1)


async def test_a_reload_without_descent_leaves_nobody_reduced(route):
    async with spent_world(route) as w:
        await spend(w, 0.96)
        with pytest.raises(ServiceReduced):
            await ask(w, "One")
        assert w.llm.status().reduced
        routes = {name: dict(its) for name, its in w.config["route"].items()}
        routes["chat"].pop("descent")
        await w.llm.reload({**w.config, "route": routes})
        assert w.llm.status().reduced == ()


@pytest.mark.parametrize("content", [["How do I reset a password?"], [None]])
async def test_a_question_of_another_form_is_refused_and_crashes_nothing(route, content):
    async with spent_world(route) as w:
        await spend(w, 0.96)
        with pytest.raises(ResilioError):
            await w.llm.complete("chat", [{"role": "user", "content": content}], user="ann")
        w.assert_idle()


async def test_who_names_no_entity_of_a_budget_is_served_in_full(route):
    async with spent_world(route) as w:
        await spend(w, 1.0)
        assert (await w.llm.complete("chat", "One")).text == "large"


# --- the machine -------------------------------------------------------------------------------

SHARES = st.none() | st.floats(0.01, 2)


@given(SHARES, SHARES, SHARES, st.lists(st.floats(0, 3), max_size=20))
def test_the_level_is_the_strictest_whose_share_is_reached_whatever_came_before(economy, cache_only, shedding, shares):
    flow = ServiceFlow(DescentSettings(economy=economy, cache_only=cache_only, shedding=shedding))
    limits = {ServiceLevel.SHEDDING: shedding, ServiceLevel.CACHE_ONLY: cache_only, ServiceLevel.ECONOMY: economy}
    for share in shares:
        before = flow.state
        change = flow.observe(share, 0.0)
        expected = next((level for level, at in limits.items() if at is not None and share >= at), ServiceLevel.FULL)
        assert flow.state is expected
        assert (change is None) == (before is expected)


def test_each_level_allows_less_than_the_one_before():
    allowed = [ALLOWED[level] for level in ServiceLevel]
    assert all(more > less for more, less in pairwise(allowed))


# --- configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("descent", "ladder", "budgets", "said"),
    [
        ({"economy": 0.8}, ["full"], BUDGET, "the ladder has no simpler rung"),
        ({"cache_only": 0.8, "shedding": 0.7}, ["full"], BUDGET, "so that cache_only is never reached"),
        ({"shedding": 1.0}, ["full"], [], "there is no \\[\\[budget\\]\\]"),
        ({}, ["full"], BUDGET, "leaves nothing out"),
        ({"shedding": 0}, ["full"], BUDGET, "more than 0"),
        ({"shedding": 1.5}, ["full"], BUDGET, "at most 1"),
        ({"shedding": float("nan")}, ["full"], BUDGET, "finite"),
    ],
)
def test_a_descent_that_leads_nowhere_is_refused(descent, ladder, budgets, said):
    provider = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}}
    route = {"targets": ["a/m"], "descent": descent, "ladder": ladder, "max_output_tokens": 10}
    with pytest.raises(ConfigError, match=said):
        load_config({"provider": [provider], "route": {"chat": route}, "budget": budgets})
