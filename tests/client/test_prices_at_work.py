"""Prices and estimates in a client that runs: looked up when it opens, followed as they change, learned from calls."""

import asyncio
import logging
import sys
from datetime import UTC, datetime

import pytest
from world import world

from resilio import BudgetExceeded, Client, ConfigError, Unsupported
from resilio.catalogue import HINT
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport
from resilio.tokens import PromptSize, TokenEstimator

OK = Script(answer="fine")
DEEPSEEK = "https://api.deepseek.com/v1"
MORNING = datetime(2026, 11, 1, 0, 0, tzinfo=UTC).timestamp()


def config(model="deepseek-chat", url=DEEPSEEK, **settings):
    provider = {"name": "d", "kind": "openai", "base_url": url, "models": {model: settings}}
    return {"provider": [provider], "route": {"chat": {"targets": [f"d/{model}"]}}}


def client(document, *, at=MORNING, script=OK):
    loop = asyncio.get_running_loop()
    opened = loop.time()
    transport = ScriptedTransport({document["provider"][0]["base_url"]: SimulatedProvider(script)})
    return Client(document, transport=transport, wall=lambda: at + loop.time() - opened)


def target(llm, name="d/deepseek-chat"):
    return llm.status().providers["d"].targets[name]


async def test_a_well_known_model_has_its_price_and_its_calls_a_cost():
    async with client(config()) as llm:
        reply = await llm.complete("chat", "hi")
        expected = (reply.usage.input_tokens * 0.135 + reply.usage.output_tokens * 0.55) / 1e6
        assert reply.cost_usd == pytest.approx(expected)
        assert target(llm).price.source.endswith("deepseek/deepseek-chat")
        assert (target(llm).price_unknown, target(llm).context_window) == (None, 64_000)


async def test_an_unknown_model_has_no_cost_and_status_says_why():
    async with client(config("nobody")) as llm:
        assert (await llm.complete("chat", "hi")).cost_usd is None
        assert "knows no model 'nobody' of deepseek" in target(llm, "d/nobody").price_unknown


async def test_the_price_changes_at_its_hour_and_calls_under_way_keep_theirs():
    async with client(config()) as llm:
        assert target(llm).price.input == 0.135
        await asyncio.sleep(30 * 60 - 1)
        assert target(llm).price.input == 0.135
        started = llm.engine.supervisor.routes["chat"].targets[0]
        await asyncio.sleep(2)  # 00:30 UTC
        assert target(llm).price.input == 0.27
        assert started.model.price.input == 0.135
        await asyncio.sleep(16 * 3600)
        assert target(llm).price.input == 0.135
        assert llm.config.providers[0].models["deepseek-chat"].price is None  # as it was written


async def test_a_change_of_price_keeps_what_is_known_of_the_target():
    async with client(config()) as llm:
        await llm.complete("chat", "hi")
        await asyncio.sleep(3600)
        assert target(llm).price.input == 0.27
        assert target(llm).prompts[0].samples == 1


async def test_another_configuration_is_priced_and_followed_too():
    own = {"price": {"input": 1, "output": 1}}
    async with client(config(**own)) as llm:
        assert target(llm).price.source == "configuration"
        await llm.reload(config())
        assert target(llm).price.input == 0.135
        await asyncio.sleep(31 * 60)
        assert target(llm).price.input == 0.27
        await llm.reload(config(**own))
        await asyncio.sleep(24 * 3600)
        assert target(llm).price.source == "configuration"


async def test_a_configuration_that_is_refused_leaves_the_prices_there_were():
    async with client(config()) as llm:
        wrong = config("nobody")
        wrong["route"]["chat"]["strategy"] = "no.such.module:strategy"
        with pytest.raises(ConfigError):
            await llm.reload(wrong)
        assert target(llm).price.input == 0.135
        await asyncio.sleep(31 * 60)
        assert target(llm).price.input == 0.27


async def test_closing_ends_the_task_that_follows_prices_and_it_may_be_opened_again():
    llm = client(config())
    for _ in range(2):
        async with llm:
            names = {task.get_name() for task in asyncio.all_tasks()}
            assert "resilio prices" in names
        assert "resilio prices" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_without_the_package_calls_work_and_one_line_says_what_to_install(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with caplog.at_level(logging.INFO, "resilio"):
        async with client(config()) as llm:
            await llm.reload(config())
            assert (await llm.complete("chat", "hi")).cost_usd is None
            with llm.scope(max_cost_usd=1.0), pytest.raises(BudgetExceeded, match="price"):
                await llm.complete("chat", "hi", max_tokens=10)
    assert caplog.text.count(HINT) == 1


# --- service tiers -------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_is_charged_at_the_tier_that_served_it(streamed):
    async def ask(llm, **wire):
        if not streamed:
            return await llm.complete("chat", "hi", **wire)
        async with llm.stream("chat", "hi", **wire) as stream:
            async for _ in stream:
                pass
        return stream.reply

    price = {"input": 8, "output": 8, "service": {"flex": {"input": 4, "output": 4}}}
    async with world(a=OK, model={"price": price}) as w:
        plain, flex, auto = [
            await ask(w.llm, **wire) for wire in ({}, {"service_tier": "flex"}, {"service_tier": "auto"})
        ]
        assert flex.cost_usd == pytest.approx(plain.cost_usd / 2)
        assert auto.cost_usd == plain.cost_usd
        assert flex.usage.service_tier == "flex"


async def test_a_reservation_goes_by_the_tier_its_model_is_set_to():
    gold = {"input": 2_000_000, "output": 0}
    price = {"input": 1_000_000, "output": 0, "service": {"gold": gold}}  # one and two dollars a token
    for tier, dollars in ((None, 1), ("gold", 2)):
        settings = {"price": price} if tier is None else {"price": price, "service_tier": tier}
        async with world(a=OK, model=settings) as w:
            most = TokenEstimator().at_most(PromptSize(len("userhi")))
            with w.llm.scope(max_cost_usd=dollars * most - 0.5), pytest.raises(BudgetExceeded):
                await w.llm.complete("chat", "hi", max_tokens=1)
            with w.llm.scope(max_cost_usd=dollars * most):
                await w.llm.complete("chat", "hi", max_tokens=1)


# --- estimates -----------------------------------------------------------------------------------


async def test_reported_use_teaches_the_estimate_of_its_target_alone():
    async with world(a=OK, b=OK) as w:
        for length in range(200, 4_000, 200):
            await w.llm.complete("chat", "x" * length)
        a, b = (w.llm.engine.supervisor.providers[name].models["m"].tokens for name in ("a", "b"))
        assert (a.statistics()[0].samples, b.statistics()[0].samples) == (19, 0)


async def test_what_is_learned_outlives_a_reload():
    async with world(a=OK) as w:
        await w.llm.complete("chat", "hi")
        learned = w.llm.engine.supervisor.providers["a"].models["m"].tokens
        await w.llm.reload({
            "provider": [{"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "keys": ["other"],
                          "models": {"m": {"context_window": 1000}}}],
            "route": {"chat": {"targets": ["a/m"]}},
        })  # fmt: skip
        assert w.llm.engine.supervisor.providers["a"].models["m"].tokens is learned


async def test_the_reservation_of_a_capped_call_is_the_cautious_estimate():
    async with world(a=OK, model={"price": {"input": 1_000_000.0, "output": 0.0}}) as w:  # a dollar a token
        tokens = w.llm.engine.supervisor.providers["a"].models["m"].tokens
        most = tokens.at_most(PromptSize(len("user") + 400))
        with w.llm.scope(max_cost_usd=most - 1), pytest.raises(BudgetExceeded, match=f"{most}"):
            await w.llm.complete("chat", "x" * 400, max_tokens=1)
        with w.llm.scope(max_cost_usd=most):
            await w.llm.complete("chat", "x" * 400, max_tokens=1)


async def test_a_prompt_is_too_long_only_if_it_must_be():
    async with world(a=OK, model={"context_window": 1_000}) as w:
        assert (await w.llm.complete("chat", "x" * 4_400)).complete  # 1,101 at four bytes, and perhaps fewer
        with pytest.raises(Unsupported, match="its context window of 1000 tokens is under"):
            await w.llm.complete("chat", "x" * 5_200)
