"""Prices from genai-prices: costs against figures worked out by hand, and what is unknown said to be so."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from resilio.catalogue import HINT, priced
from resilio.config import Price, load_config
from resilio.config.settings import DEFAULT_URLS
from resilio.models import Usage
from resilio.prices import cost_usd

DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
AZURE = "https://mine.openai.azure.com/openai/v1"
DEEPSEEK = "https://api.deepseek.com/v1"


def config(url, models, **sections):
    provider = {"name": "p", "kind": "openai", "base_url": url, "models": models}
    return load_config({"provider": [provider], **sections}, environ={})


def looked_up(url, model, at=DAY, **settings):
    found = priced(config(url, {model: settings}), at)
    return found, found.config.providers[0].models[model]


# Each row writes the arithmetic out: tokens x US dollars for a million tokens, in millionths of a dollar.
HAND = [
    # in 4, read 0.4, write 5, out 20: 3,000 x 4 + 6,000 x 0.4 + 1,000 x 5 + 2,000 x 20 (1,500 of them reasoning)
    (OPENAI, "gpt-5.6", Usage(10_000, 2_000, 6_000, 1_000, 0, 1_500), 12_000 + 2_400 + 5_000 + 40_000),
    # batch, all at half: in 2, read 0.2, write 2.5, out 10
    (OPENAI, "gpt-5.6", Usage(10_000, 2_000, 6_000, 1_000, 0, 1_500, service_tier="batch"), 29_700),
    # over 272,000 tokens: in 8, read 0.8, out 30: 200,000 x 8 + 100,000 x 0.8 + 1,000 x 30
    (OPENAI, "gpt-5.6", Usage(300_000, 1_000, 100_000), 1_600_000 + 80_000 + 30_000),
    # in 0.15, read 0.075, out 0.6: 6,000 x 0.15 + 4,000 x 0.075 + 1,000 x 0.6
    (OPENAI, "gpt-4o-mini-2024-07-18", Usage(10_000, 1_000, 4_000), 900 + 300 + 600),
    # batch: in 0.075, out 0.3; what was cached is not made cheaper: 6,000 x 0.075 + 4,000 x 0.075 + 1,000 x 0.3
    (OPENAI, "gpt-4o-mini-2024-07-18", Usage(10_000, 1_000, 4_000, service_tier="batch"), 450 + 300 + 300),
    # priority: in 0.25, read 0.125, out 1
    (OPENAI, "gpt-4o-mini-2024-07-18", Usage(10_000, 1_000, 4_000, service_tier="priority"), 1_500 + 500 + 1_000),
    # in 2, read 0.2, 5 min 2.5, 1 h 4, out 10:
    # 4,000 x 2 + 10,000 x 0.2 + 4,000 x 2.5 + 2,000 x 4 + 3,000 x 10 (2,000 of them reasoning)
    (ANTHROPIC, "claude-sonnet-5", Usage(20_000, 3_000, 10_000, 4_000, 2_000, 2_000), 8e3 + 2e3 + 10e3 + 8e3 + 30e3),
    # batch, all at half
    (ANTHROPIC, "claude-sonnet-5", Usage(20_000, 3_000, 10_000, 4_000, 2_000, 2_000, service_tier="batch"), 29_000),
    # over 200,000 tokens: in 6, read 0.6, 1 h 12, out 22.5:
    # 100,000 x 6 + 100,000 x 0.6 + 50,000 x 12 + 1,000 x 22.5
    (ANTHROPIC, "claude-sonnet-4-5-20250929", Usage(250_000, 1_000, 100_000, 0, 50_000), 600e3 + 60e3 + 600e3 + 22_500),
    # in 1.25, read 0.125, out 10: 3,000 x 1.25 + 5,000 x 0.125 + 1,200 x 10 (900 of them reasoning)
    (GOOGLE, "gemini-2.5-pro", Usage(8_000, 1_200, 5_000, reasoning_tokens=900), 3_750 + 625 + 12_000),
    (DEFAULT_URLS["gemini"], "gemini-2.5-pro", Usage(8_000, 1_200, 5_000, reasoning_tokens=900), 3_750 + 625 + 12_000),
    # batch: in 0.625, out 5: 3,000 x 0.625 + 5,000 x 0.125 + 1,200 x 5
    (GOOGLE, "gemini-2.5-pro", Usage(8_000, 1_200, 5_000, service_tier="batch"), 1_875 + 625 + 6_000),
    # reasoning priced apart: in 2, out 8, reasoning 3: 1,000 x 2 + 100 x 8 + 400 x 3
    ("https://openrouter.ai/api/v1", "perplexity/sonar-deep-research", Usage(1_000, 500, reasoning_tokens=400), 4_000),
]


@pytest.mark.parametrize(("url", "model", "usage", "millionths"), HAND)
def test_a_call_costs_what_it_does_by_hand(url, model, usage, millionths):
    _, found = looked_up(url, model)
    assert cost_usd(found.price, usage) == pytest.approx(millionths / 1e6, rel=1e-9)


def test_prices_are_those_of_the_day():
    # gpt-5.6 became cheaper on 21 August 2026: 5 and 30 before, 4 and 20 from then on
    before, after = (looked_up(OPENAI, "gpt-5.6", datetime(2026, 8, day, tzinfo=UTC))[1].price for day in (20, 21))
    assert (before.input, before.output) == (5.0, 30.0)
    assert (after.input, after.output) == (4.0, 20.0)


def test_a_change_that_is_known_to_come_is_told():
    found, _ = looked_up(OPENAI, "gpt-5.6", datetime(2026, 8, 20, 18, tzinfo=UTC))
    assert found.changes_at == datetime(2026, 8, 21, tzinfo=UTC)


def test_prices_of_the_hour_change_several_times_a_day():
    # deepseek-chat: 0.27 from 00:30 to 16:30 UTC, 0.135 by night
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    seen = []
    at = midnight
    while at < midnight + timedelta(days=1):
        found, model = looked_up(DEEPSEEK, "deepseek-chat", at)
        seen.append((at - midnight, model.price.input))
        at = found.changes_at
    hours = timedelta(hours=1)
    assert seen == [(0 * hours, 0.135), (0.5 * hours, 0.27), (16.5 * hours, 0.135)]


def test_another_zone_is_another_way_to_say_the_same_instant():
    from datetime import timezone

    tokyo = timezone(timedelta(hours=9))
    utc, there = (looked_up(DEEPSEEK, "deepseek-chat", at)[0] for at in (DAY, DAY.astimezone(tokyo)))
    assert utc == there


def test_the_context_window_is_filled_in_but_never_over_what_is_said():
    assert looked_up(OPENAI, "gpt-4o")[1].context_window == 128_000
    assert looked_up(OPENAI, "gpt-4o", context_window=9_000)[1].context_window == 9_000
    assert looked_up(OPENAI, "gpt-4o", max_output_tokens=200_000)[1].context_window is None  # one of them is wrong


def test_a_price_of_ones_own_stays_as_it_is_written():
    own = {"input": 1, "output": 2}
    _, model = looked_up(OPENAI, "gpt-4o", price=own)
    assert model.price == Price(input=1, output=2)
    assert model.price.source == "configuration"


def test_the_source_names_package_seller_and_model():
    assert looked_up(OPENAI, "ft:gpt-4o-mini-2024-07-18:org::id")[1].price.source.endswith(": openai/ft:gpt-4o-mini")
    assert looked_up(AZURE, "gpt-4o")[1].price.source.endswith(": azure/gpt-4o")


def test_a_deployment_has_the_price_of_the_model_it_is_said_to_be():
    assert looked_up(AZURE, "my-chat")[1].price is None
    as_itself = looked_up(AZURE, "gpt-4o")[1].price
    assert looked_up(AZURE, "my-chat", price_as="gpt-4o")[1].price == as_itself
    assert looked_up("http://127.0.0.1:8000/v1", "x", price_as="anthropic/claude-sonnet-5")[1].price.input == 2.0


@pytest.mark.parametrize(
    ("url", "model", "why"),
    [
        (OPENAI, "gpt-nobody-knows", "knows no model 'gpt-nobody-knows' of openai"),
        ("https://llm.somebody.io/v1", "gpt-4o", "knows no seller at https://llm.somebody.io/v1"),
        ("http://127.0.0.1:8000/v1", "gpt-4o", "is no seller's address"),
        ("http://vllm:8000/v1", "gpt-4o", "is no seller's address"),
        ("https://api.perplexity.ai", "sonar", "charges for each request"),
    ],
)
def test_what_is_not_surely_known_is_unknown_with_the_reason(url, model, why):
    found, its = looked_up(url, model)
    assert its.price is None
    assert why in found.unknown[f"p/{model}"]


def test_nothing_is_looked_up_where_that_is_not_wanted():
    found = priced(config(OPENAI, {"gpt-4o": {}}, prices={"source": "none"}), DAY)
    assert found.config.providers[0].models["gpt-4o"].price is None
    assert found.unknown == {"p/gpt-4o": 'not looked up: prices.source is "none"'}


def test_without_the_package_everything_is_unknown_and_the_hint_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    found, model = looked_up(OPENAI, "gpt-4o")
    assert model.price is None
    assert found.hint == HINT
    assert found.unknown == {"p/gpt-4o": "genai-prices is not installed"}


def test_the_configuration_that_was_given_is_not_changed():
    given = config(OPENAI, {"gpt-4o": {}})
    assert priced(given, DAY).config is not given
    assert given.providers[0].models["gpt-4o"].price is None


def test_the_package_is_imported_only_when_a_seller_has_to_be_asked():
    code = """
import sys, resilio
from datetime import datetime, UTC
from resilio.catalogue import priced
from resilio.config import load_config
def look(url, model):
    provider = {"name": "p", "kind": "openai", "base_url": url, "models": {"m": model}}
    priced(load_config({"provider": [provider]}), datetime.now(UTC))
    return "genai_prices" in sys.modules
print(look("http://localhost/v1", {}), look("https://api.openai.com/v1", {"price": {"input": 1, "output": 1}}),
      look("https://api.openai.com/v1", {}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]
