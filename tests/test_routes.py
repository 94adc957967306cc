"""Orders of whole routes: nested ones in their place, state that is shared, strategies of one's own."""

import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import STRATEGY_NAMES, load_config
from resilio.errors import ConfigError
from resilio.routes import Held
from resilio.supervisor import Supervisor

MODELS = [f"m{number}" for number in range(6)]


def routes_of(routes):
    providers = [
        {"name": "p", "kind": "openai", "base_url": "http://p.test/v1", "models": {each: {} for each in MODELS}}
    ]
    config = load_config({"provider": providers, "route": routes}, environ={})
    return Supervisor(config, clock=lambda: 0.0, rng=random.Random(1), listeners=[]).routes


def order_of(route, seed=1):
    return [target.name.removeprefix("p/") for target in route.order(lambda: 0.0, random.Random(seed))]


def route(*targets, **settings):
    return {"targets": [each if isinstance(each, dict) else f"p/{each}" for each in targets], **settings}


def nested(name, **settings):
    return {"route": name, **settings}


def test_a_nested_route_stands_in_its_place_in_its_own_order():
    routes = routes_of({
        "chat": route("m0", nested("small"), "m3"),
        "small": route("m1", "m2", strategy="own_strategies:backwards"),
    })  # fmt: skip
    assert order_of(routes["chat"]) == ["m0", "m2", "m1", "m3"]
    assert [target.name for target in routes["chat"].targets] == ["p/m0", "p/m1", "p/m2", "p/m3"]


def test_a_route_without_nested_ones_in_the_configured_order_costs_no_list():
    chat = routes_of({"chat": route("m0", "m1")})["chat"]
    assert chat.order(lambda: 0.0, random.Random(1)) is chat.targets


def test_an_order_can_be_read_again_and_is_the_same():
    routes = routes_of({"chat": route("m0", nested("small")), "small": route("m1", "m2", strategy="round_robin")})
    order = routes["chat"].order(lambda: 0.0, random.Random(1))
    assert [next(iter(order)).name for _ in range(2)] == ["p/m0", "p/m0"]
    first, second = list(order), list(order)
    assert first == second
    assert order_of(routes["chat"]) == ["m0", "m2", "m1"]


def test_a_nested_route_shares_its_turns_with_calls_of_its_own_name():
    routes = routes_of({
        "chat": route(nested("small")),
        "other": route(nested("small")),
        "small": route("m1", "m2", strategy="round_robin"),
    })  # fmt: skip
    assert [order_of(routes[name])[0] for name in ("chat", "small", "other", "small")] == ["m1", "m2", "m1", "m2"]


def test_a_nested_strategy_counts_only_the_calls_that_get_to_its_place():
    routes = routes_of({
        "chat": route("m0", nested("small"), strategy="weighted"),
        "small": route("m1", "m2", strategy="round_robin"),
    })  # fmt: skip
    firsts = [next(iter(routes["chat"].order(lambda: 0.0, random.Random(1)))).name for _ in range(8)]
    # Counting every call of chat, it would be at its first target each time chat gets to it.
    assert firsts == ["p/m0", "p/m1", "p/m0", "p/m2"] * 2


def test_a_route_nested_in_two_places_is_asked_once_a_call():
    routes = routes_of({
        "chat": route(nested("left"), nested("right")),
        "left": route(nested("small"), "m0"),
        "right": route(nested("small"), "m3"),
        "small": route("m1", "m2", strategy="round_robin"),
    })  # fmt: skip
    assert [order_of(routes["chat"]) for _ in range(2)] == [["m1", "m2", "m0", "m3"], ["m2", "m1", "m0", "m3"]]


def test_a_model_in_two_places_is_tried_once_at_the_first_with_the_settings_of_the_first():
    routes = routes_of({
        "chat": route(nested("small"), {"target": "p/m0", "first_token": 3}),
        "small": route("m1", {"target": "p/m0", "first_token": 7}),
    })  # fmt: skip
    assert order_of(routes["chat"]) == ["m1", "m0"]
    assert [target.settings.first_token for target in routes["chat"].targets] == [None, 7]


@st.composite
def route_trees(draw):
    """Routes r0, r1, ...; each may nest those after it, so there are no circles, but shared branches."""
    count = draw(st.integers(1, 5))
    routes = {}
    for number in range(count):
        later = [nested(f"r{each}", weight=draw(st.sampled_from([0.5, 1, 4]))) for each in range(number + 1, count)]
        plain = [{"target": f"p/{model}", "weight": draw(st.sampled_from([1, 3]))} for model in MODELS]
        targets = draw(st.lists(st.sampled_from(plain + later), min_size=1, max_size=4, unique_by=str))
        routes[f"r{number}"] = {"targets": targets, "strategy": draw(st.sampled_from(STRATEGY_NAMES))}
    return routes


def reachable(routes, name):
    found = set()
    for each in routes[name]["targets"]:
        found |= reachable(routes, each["route"]) if "route" in each else {each["target"].removeprefix("p/")}
    return found


@given(route_trees(), st.integers(0, 2**32))
def test_whatever_is_nested_each_target_comes_once_and_none_from_outside(tree, seed):
    for name, record in routes_of(tree).items():
        for _ in range(3):
            order = list(record.order(lambda: 0.0, random.Random(seed)))
            assert sorted(target.name.removeprefix("p/") for target in order) == sorted(reachable(tree, name))
            assert all(target in record.targets for target in order), "not those the plan has counted"


@given(route_trees(), st.data())
def test_reading_an_order_in_part_first_changes_nothing(tree, data):
    whole, parts = (routes_of(tree)["r0"] for _ in range(2))
    order = parts.order(lambda: 0.0, random.Random(5))
    for _ in range(data.draw(st.integers(0, 3))):
        for _ in zip(order, range(data.draw(st.integers(0, 4))), strict=False):
            pass
    assert [target.name.removeprefix("p/") for target in order] == order_of(whole, 5)


# --- strategies of one's own -----------------------------------------------------------------


def test_a_strategy_of_ones_own_is_named_in_one_line():
    routes = routes_of({"chat": route("m0", "m1", "m2", strategy="own_strategies:backwards")})
    assert order_of(routes["chat"]) == ["m2", "m1", "m0"]


def test_a_class_has_an_instance_for_each_route():
    two = {name: route("m0", "m1", strategy="own_strategies:Alternating") for name in ("one", "two")}
    routes = routes_of(two)
    assert [order_of(routes[name])[0] for name in ("one", "one", "two")] == ["m1", "m0", "m1"]


def test_a_strategy_may_leave_targets_out():
    routes = routes_of({"chat": route("m0", "m1", "m2", strategy="own_strategies:only_the_second")})
    assert order_of(routes["chat"]) == ["m1"]


@pytest.mark.parametrize("name", ["out_of_range", "twice", "nothing", "words", "no_sequence", "crashing"])
def test_nonsense_falls_back_to_the_configured_order_and_is_told_once(name, caplog):
    chat = routes_of({"chat": route("m0", "m1", strategy=f"own_strategies:{name}")})["chat"]
    with caplog.at_level(logging.ERROR, "resilio"):
        assert [order_of(chat) for _ in range(3)] == [["m0", "m1"]] * 3
    assert [f"own_strategies:{name}" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("no_such_module_at_all:order", "cannot import 'no_such_module_at_all': ModuleNotFoundError"),
        (
            "own_strategies:bakwards",
            "'own_strategies:bakwards' is not there; what can be called in it: backwards, ",
        ),
        ("own_strategies:NOT_CALLABLE", "is int, not a function (views, count, rng)"),
        ("own_strategies:Demanding", "cannot be made: TypeError"),
    ],
)
def test_a_strategy_that_cannot_be_had_is_refused_when_the_engine_loads(strategy, says):
    with pytest.raises(ConfigError) as caught:
        routes_of({"chat": route("m0", strategy=strategy)})
    (problem,) = caught.value.problems
    assert problem.startswith("route.chat.strategy: ")
    assert says in problem


# --- conversations that are held -----------------------------------------------------------------

SHARING = ["weighted", "round_robin", "least_loaded", "own_strategies:backwards"]


def held_order(record, name, seed=1, cheaper=lambda other: False):
    """The order for a conversation that this model holds."""
    target = next(each for each in record.targets if each.name == f"p/{name}")
    order = record.order(lambda: 0.0, random.Random(seed), Held(target, cheaper))
    return [each.name.removeprefix("p/") for each in order]


@pytest.mark.parametrize("strategy", SHARING)
def test_a_strategy_that_shares_out_is_not_asked_for_a_conversation_that_stays(strategy):
    record = routes_of({"chat": route("m0", "m1", "m2", strategy=strategy)})["chat"]
    asked = []
    strategy, record.strategy = record.strategy, lambda *its: asked.append(1) or strategy(*its)
    target = record.targets[2]
    order = iter(record.order(lambda: 0.0, random.Random(1), Held(target, lambda other: False)))
    assert next(order) is target
    assert not asked
    assert {each.name for each in order} == {"p/m0", "p/m1"}, "it is, once the target does not take the call"
    assert len(asked) == 1


def test_a_strategy_that_ranks_keeps_its_order():
    routes = routes_of(
        {"chat": route("m0", "m1", "m2"), "own": route("m0", "m1", strategy="own_strategies:best_first")}
    )
    assert held_order(routes["chat"], "m2") == ["m0", "m1", "m2"]
    assert held_order(routes["own"], "m1") == ["m0", "m1"]


def test_the_cheapest_is_passed_by_only_where_staying_is_cheaper():
    record = routes_of({"chat": route("m0", "m1", "m2", strategy="cheapest")})["chat"]
    assert held_order(record, "m2") == ["m0", "m1", "m2"]
    assert held_order(record, "m2", cheaper=lambda other: True) == ["m2", "m0", "m1"]
    assert held_order(record, "m2", cheaper=lambda other: other.name == "p/m0") == ["m1", "m2", "m0"]


def test_each_strategy_on_the_way_down_has_its_say():
    routes = routes_of({
        "chat": route("m0", nested("small"), "m3"),
        "even": route("m0", nested("small"), "m3", strategy="round_robin"),
        "small": route("m1", "m2", strategy="round_robin"),
    })  # fmt: skip
    assert held_order(routes["chat"], "m2") == ["m0", "m2", "m1", "m3"]
    assert held_order(routes["even"], "m2")[:2] == ["m2", "m1"]


@given(
    st.sampled_from([*STRATEGY_NAMES, "own_strategies:backwards"]),
    st.sampled_from(STRATEGY_NAMES),
    st.sampled_from(["m0", "m1", "m2", "m3"]),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 99),
    st.booleans(),
)
def test_whoever_holds_it_every_target_is_there_once(outer, inner, name, weight, seed, cheaper):
    routes = routes_of({
        "chat": route({"target": "p/m0", "weight": weight}, nested("small"), "m3", "m1", strategy=outer),
        "small": route("m1", "m2", strategy=inner),
    })  # fmt: skip
    order = held_order(routes["chat"], name, seed, lambda other: cheaper)
    assert sorted(order) == ["m0", "m1", "m2", "m3"]
