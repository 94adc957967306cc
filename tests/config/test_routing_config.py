"""Weights, nested routes, strategies of one's own and rules: what is read, what is refused, what is told."""

import random

import pytest

from resilio.config import Condition, NestedRoute, RuleSettings, TargetSettings, load_config
from resilio.config.explain import explain
from resilio.errors import ConfigError
from resilio.routing import STRATEGIES, TargetView

PROVIDERS = [
    {
        "name": "p",
        "kind": "openai",
        "base_url": "http://p.test/v1",
        "models": {"a": {}, "b": {"max_output_tokens": 100}, "c": {}, "d": {}},
    },
    {"name": "q", "kind": "openai", "base_url": "http://q.test/v1", "models": {"a": {}}},
]
ROUTES = {"chat": {"targets": ["p/a"]}, "small": {"targets": ["p/c", "q/a"]}}


def load(routes=ROUTES, rules=()):
    return load_config({"provider": PROVIDERS, "route": routes, "rule": list(rules)}, environ={})


def problems(routes=ROUTES, rules=()):
    with pytest.raises(ConfigError) as caught:
        load(routes, rules)
    return list(caught.value.problems)


def told(routes, rules=()):
    return explain(load(routes, rules)).as_text()


# --- targets and strategies --------------------------------------------------------------------


def test_weights_and_nested_routes_are_read():
    targets = [{"target": "p/a", "weight": 3}, {"route": "small", "weight": 0.5}, "p/b"]
    assert load({**ROUTES, "chat": {"targets": targets}}).routes["chat"].targets == (
        TargetSettings(provider="p", model="a", weight=3.0),
        NestedRoute(route="small", weight=0.5),
        TargetSettings(provider="p", model="b"),
    )


@pytest.mark.parametrize("strategy", ["module:order", "package.module:order", "package.module:Class.order", "m0_:_x"])
def test_a_strategy_of_ones_own_is_a_module_and_a_name(strategy):
    assert load({"chat": {"targets": ["p/a"], "strategy": strategy}}).routes["chat"].strategy == strategy


@pytest.mark.parametrize(
    "strategy", ["module:", ":order", "module:order:x", "my-module:order", "package/module.py:order", "a..b:c"]
)
def test_what_cannot_be_a_module_and_a_name_is_refused(strategy):
    (problem,) = problems({"chat": {"targets": ["p/a"], "strategy": strategy}})
    assert problem == f'route.chat.strategy: is "{strategy}"; one of your own is "package.module:name"'


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        ([{"route": "smal"}], 'targets[0]: no route is called "smal"; did you mean "small"?'),
        (["p/a", {"route": "chat"}], "targets[1]: a route cannot be nested in itself"),
        ([{"route": "small"}, {"route": "small"}], 'targets[1]: route "small" is already targets[0]'),
        ([{"route": 3}], "targets[0].route: is a number (3); expected a string"),
        ([{"route": "small", "first_token": 3}], "targets[0].first_token: unknown key; expected one of route, weight"),
        (["route:small"], 'targets[0]: is "route:small"; expected "provider/model" or { route = "name" }'),
        ([{"target": "p/a", "weight": -1}], "targets[0].weight: is -1; expected at least 0"),
    ],
)
def test_a_wrong_target_is_refused_by_its_place(targets, says):
    assert problems({**ROUTES, "chat": {"targets": targets}}) == [f"route.chat.{says}"]


def test_routes_nested_in_a_circle_are_refused_once():
    circle = {
        "one": {"targets": [{"route": "two"}]},
        "two": {"targets": ["p/a", {"route": "three"}]},
        "three": {"targets": [{"route": "one"}]},
    }
    (problem,) = problems(circle)
    assert problem == "route.three.targets[0]: nested routes go round in a circle: one -> two -> three -> one"


def test_a_simpler_rung_that_only_repeats_nested_targets_is_refused():
    routes = {**ROUTES, "chat": {"targets": ["p/a", {"route": "small"}], "ladder": ["full", {"simpler": "small"}]}}
    (problem,) = problems(routes)
    assert 'every target of route "small" has already been tried' in problem


def test_an_output_limit_that_a_nested_target_cannot_write_is_refused():
    routes = {"chat": {"targets": [{"route": "long"}], "max_output_tokens": 200}, "long": {"targets": ["p/b"]}}
    (problem,) = problems(routes)
    assert problem == "route.chat.max_output_tokens: is 200, but p/b writes at most 100; expected at most 100"


@pytest.mark.parametrize("strategy", ["weighted", "least_loaded"])
def test_weights_of_nothing_but_0_are_refused_where_they_are_read(strategy):
    targets = [{"target": "p/a", "weight": 0}, {"target": "p/b", "weight": 0}]
    (problem,) = problems({"chat": {"targets": targets, "strategy": strategy}})
    assert problem.startswith("route.chat.targets: every weight is 0")
    load({"chat": {"targets": targets}})


# --- rules -------------------------------------------------------------------------------------


def test_a_rule_is_read_and_has_its_number_for_a_name():
    when = {"tags": {"tier": "free"}, "user": "u", "organisation": "o", "feature": "f", "min_input_tokens": 4000}
    rules = [{"routes": ["chat"], "when": when, "use": "small"}, {"name": "rest", "use": "chat"}]
    assert load(rules=rules).rules == (
        RuleSettings(
            name="1",
            routes=("chat",),
            use="small",
            when=Condition(tags={"tier": "free"}, user="u", organisation="o", feature="f", min_input_tokens=4000),
        ),
        RuleSettings(name="rest", use="chat"),
    )


FREE = {"tags": {"tier": "free"}}


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([{"use": "smal"}], 'rule[0].use: no route is called "smal"; did you mean "small"?'),
        ([{"use": "small", "name": "x", "routes": ["chta"]}], 'rule.x.routes[0]: no route is called "chta"; did you'),
        ([{"when": FREE}], "rule[0].use: is missing (the route that serves instead)"),
        ([{"use": "small", "when": {"tier": "free"}}], "rule[0].when.tier: unknown key"),
        (
            [{"use": "small", "when": {"min_input_tokens": 9, "max_input_tokens": 8}}],
            "rule[0].when.min_input_tokens: is",
        ),
        (
            [{"use": "small", "name": "x", "when": FREE}, {"use": "chat", "name": "x"}],
            'rule.x.name: "x" is the name of',
        ),
        ([{"use": "small", "when": {"max_input_tokens": 0}}], "rule[0].when.max_input_tokens: is 0; expected"),
        (
            [{"use": "small", "name": "all"}, {"use": "chat", "when": FREE}],
            "rule[1]: never applies: rule all above takes every call it could; put it above, or leave it out",
        ),
        (
            [{"use": "small", "routes": ["chat"]}, {"use": "chat", "routes": ["small"]}, {"use": "chat", "when": FREE}],
            "rule[2]: never applies: rule 1 and rule 2 above take every call",
        ),
    ],
)
def test_a_wrong_rule_is_refused_by_its_place(rules, says):
    (problem,) = problems(rules=rules)
    assert problem.startswith(says)


def test_a_rule_beside_a_route_whose_name_is_no_text_is_told_of_without_failing():
    with pytest.raises(ConfigError, match=r'no route is called "chat"'):
        load_config({"provider": PROVIDERS, "route": {3: {"targets": ["p/a"]}}, "rule": [{"use": "chat"}]}, environ={})


def test_a_table_in_place_of_the_array_is_refused_with_its_spelling():
    with pytest.raises(ConfigError, match=r"write \[\[rule\]\]"):
        load_config({"provider": PROVIDERS, "route": ROUTES, "rule": {"use": "small"}}, environ={})


def test_a_rule_that_keeps_some_calls_where_they_are_is_sound():
    rules = [{"use": "chat", "routes": ["chat"], "when": {"user": "vip"}}, {"use": "small", "routes": ["chat"]}]
    text = told(ROUTES, rules)
    assert '  rule 1: calls of chat by user "vip" stay with route chat' in text
    assert "  rule 2: calls of chat go to route small" in text


# --- what is told ------------------------------------------------------------------------------


def shares(route, **routes):
    found = explain(load({**ROUTES, **routes, "route": route})).routes
    return {target.name: target.share for target in next(each for each in found if each.name == "route").targets}


def test_the_share_of_each_target_is_told():
    weighted = {"strategy": "weighted", "targets": [{"target": "p/a", "weight": 3}, {"route": "small"}]}
    assert shares(weighted) == {"p/a": 0.75, "p/c": 0.25, "q/a": 0.0}
    turns = {"targets": ["p/c", "q/a"], "strategy": "round_robin"}
    assert shares(weighted, small=turns) == {"p/a": 0.75, "p/c": 0.125, "q/a": 0.125}
    assert shares({**weighted, "strategy": "least_loaded"}) == {"p/a": None, "p/c": None, "q/a": None}


@pytest.mark.parametrize("strategy", ["weighted", "round_robin", "priority"])
def test_the_shares_told_are_those_the_strategy_gives(strategy):
    targets = [{"target": f"p/{model}", "weight": weight} for model, weight in (("a", 5), ("b", 2), ("c", 1))]
    views = [TargetView(each["target"], 0, weight=each["weight"]) for each in targets]
    run, rng = STRATEGIES[strategy](), random.Random(1)
    counts = [0, 0, 0]
    for _ in range(240):
        counts[run(lambda: views, 3, rng)[0]] += 1
    assert list(shares({"strategy": strategy, "targets": targets}).values()) == [count / 240 for count in counts]


def test_nested_targets_stand_under_the_name_of_their_route_with_the_clocks_of_the_outer_one():
    routes = {**ROUTES, "chat": {"targets": ["p/a", {"route": "small"}], "clocks": {"first_token": 3}}}
    chat = explain(load(routes)).routes[0]
    assert [(target.name, target.through, target.first_token) for target in chat.targets] == [
        ("p/a", (), 3.0),
        ("p/c", ("small",), 3.0),
        ("q/a", ("small",), 3.0),
    ]
    assert "2. p/c (route small): first token" in told(routes)


def test_strategies_and_shares_are_put_into_words():
    targets = [{"target": "p/a", "weight": 3}, {"target": "q/a", "weight": 1}]
    assert "1. p/a: asked first by 75 % of the calls; first token" in told(
        {"chat": {"strategy": "weighted", "targets": targets}}
    )
    assert "in the order of mine:order, which is imported" in told(
        {"chat": {"strategy": "mine:order", "targets": targets}}
    )


def test_weights_nobody_reads_and_prices_the_cheapest_needs_are_noted():
    text = told({"chat": {"strategy": "cheapest", "targets": [{"target": "p/a", "weight": 2}, "q/a"]}})
    assert "note: the weight of p/a is not read: strategy cheapest knows none" in text
    assert "no price is known for p/a, q/a, so strategy cheapest takes them last" in text


def test_every_kind_of_condition_is_put_into_words():
    when = {**FREE, "user": "u", "organisation": "o", "feature": "f", "min_input_tokens": 2, "max_input_tokens": 9}
    text = told(ROUTES, [{"use": "small", "name": "x", "when": when}])
    who = 'tagged tier = "free" and by user "u" and for organisation "o" and of feature "f"'
    size = "with at least 2 input tokens and with at most 9 input tokens"
    assert f"  rule x: calls of any route {who} and {size} go to route small" in text


def test_a_provider_used_only_through_a_nested_route_is_used():
    config = load({"chat": {"targets": ["p/a", {"route": "small"}]}, "small": {"targets": ["q/a"]}})
    assert explain(config).providers[1].used_by == ("chat", "small")
