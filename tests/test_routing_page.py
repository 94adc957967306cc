"""The page on routing: its configuration is one, its examples run, its table knows every strategy."""

import random
import re
from pathlib import Path

import pytest

from resilio.config import STRATEGY_NAMES, Price, load_config
from resilio.config.docs import PAGES
from resilio.config.explain import explain
from resilio.routing import TargetView

PAGE = (Path(PAGES) / "routing.md").read_text(encoding="utf-8")
KEYS = {"OPENAI_API_KEY": "sk-example-of-openai", "AZURE_API_KEY": "sk-example-of-azure"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.real_loop
def test_the_example_runs_on_its_configuration(monkeypatch):
    for name in KEYS:
        monkeypatch.setenv(name, "")  # so that what the example sets is gone afterwards
    exec(compile(blocks("python")[0], "routing.md", "exec"), {"TOML": blocks("toml")[0]})


def test_the_configuration_is_told_as_the_page_says(tmp_path):
    path = tmp_path / "resilio.toml"
    path.write_text(blocks("toml")[0], encoding="utf-8")
    text = explain(load_config(path, environ=KEYS)).as_text()
    assert "openai/gpt-4o: asked first by 75 % of the calls" in text
    assert 'rule free tier: calls of chat tagged tier = "free" go to route small' in text


def test_the_strategy_of_ones_own_orders_as_it_says():
    space = {}
    exec(compile(blocks("python")[1], "routing.md", "exec"), space)
    dear, cheap = Price(input=0, output=9), Price(input=9, output=1)
    views = [TargetView("busy", 1, price=cheap), TargetView("dear", 0, price=dear), TargetView("cheap", 0, price=cheap)]
    assert space["idle_then_cheap"](lambda: views, 3, random.Random(1)) == [2, 1, 0]


def test_the_rules_of_the_page_are_read(tmp_path):
    rest = "\n".join(blocks("toml")[0].split("[[rule]]")[:1])
    path = tmp_path / "resilio.toml"
    path.write_text(f'{rest}\n[route.long]\ntargets = ["azure/gpt-4o"]\n{blocks("toml")[2]}', encoding="utf-8")
    assert [(rule.name, rule.use) for rule in load_config(path, environ=KEYS).rules] == [
        ("1", "chat"),
        ("long prompts", "long"),
    ]


def test_every_strategy_has_its_row():
    table = PAGE.partition("## Strategies")[2].partition("\n\n**")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(STRATEGY_NAMES)
