"""What makes two requests the same: nothing that can change the answer is overlooked, and nothing else counts."""

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resilio.cache import CacheControl, exact_key, fingerprints
from resilio.cache.keys import DEFAULTS, IGNORED, PLAIN
from resilio.config import load_config
from resilio.models import Identity, Request

NAMES = st.one_of(
    st.sampled_from(sorted({*PLAIN, "modalities", "web_search_options", "logit_bias", "x_new", "model", "properties"})),
    st.text(min_size=1, max_size=6).filter(lambda name: name not in IGNORED and name not in DEFAULTS),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
WIRES = st.dictionaries(NAMES, VALUES, max_size=5)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": VALUES},
                          optional={"name": st.text(max_size=4), "tool_calls": VALUES, "x_part": VALUES}),
    min_size=1, max_size=3,
)  # fmt: skip
REQUESTS = st.builds(
    Request,
    route=st.sampled_from(["chat", "small"]),
    messages=MESSAGES,
    wire=WIRES,
    identity=st.builds(Identity, organisation=st.none() | st.text(max_size=3), key=st.none() | st.text(max_size=3)),
)


def key(request, *, fingerprint="f", stream=False, **more):
    return exact_key(request, fingerprint, stream=stream, **more)


def asked(wire=None, messages=({"role": "user", "content": "hi"},), **identity):
    return Request("chat", messages, wire or {}, Identity(**identity))


def essence(value, name=None, *, order=False):
    """What a JSON value says, spelled so that two that say the same are equal: an oracle that knows no hash."""
    if isinstance(value, dict):
        items = [(each, essence(inner, each)) for each, inner in value.items()]
        kept = name == "properties"
        return ("table", tuple(items) if kept else tuple(sorted(items, key=lambda item: item[0])))
    if isinstance(value, list | tuple):
        return ("list", tuple(essence(inner) for inner in value))
    return (type(value).__name__, repr(value))


def wire_essence(wire):
    floats = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
    return essence(
        {
            name: int(value) if name in floats and isinstance(value, float) and value.is_integer() else value
            for name, value in wire.items()
            if name not in IGNORED
        }
    )


def shuffled(value, rng, name=None):
    """The same value with the fields of every table in another order; those of `properties` have theirs."""
    if isinstance(value, dict):
        names = list(value)
        if name != "properties":
            rng.shuffle(names)
        return {each: shuffled(value[each], rng, each) for each in names}
    if isinstance(value, list):
        return [shuffled(inner, rng) for inner in value]
    return value


# --- what may not share ------------------------------------------------------------------------


@given(REQUESTS, REQUESTS, st.data())
def test_requests_that_differ_in_any_field_but_the_listed_ones_never_share_an_entry(first, other, data):
    """One field is changed, added or taken away: a part of another random request's, at any place."""
    wire, messages = dict(first.wire), [dict(message) for message in first.messages]
    where = data.draw(st.sampled_from(["wire", "message", "route", "tenant", "messages"]))
    changed = first
    if where == "wire":
        name = data.draw(NAMES)
        if name in wire and data.draw(st.booleans()):
            del wire[name]
        else:
            wire[name] = data.draw(VALUES)
        assume(wire_essence(wire) != wire_essence(first.wire))
        changed = Request(first.route, messages, wire, first.identity)
    elif where == "message":
        place = data.draw(st.integers(0, len(messages) - 1))
        messages[place][data.draw(st.sampled_from(["role", "content", "name", "x_new"]))] = data.draw(VALUES)
        assume(essence(messages) != essence(list(first.messages)))
        changed = Request(first.route, messages, wire, first.identity)
    elif where == "messages":
        assume(essence(list(other.messages)) != essence(list(first.messages)))
        changed = Request(first.route, other.messages, wire, first.identity)
    elif where == "route":
        changed = Request("another", messages, wire, first.identity)
    else:
        assume((other.identity.organisation, other.identity.key) != (first.identity.organisation, first.identity.key))
        assume(first.identity.organisation is None or other.identity.organisation != first.identity.organisation)
        assume(other.identity.organisation is None or other.identity.organisation != first.identity.organisation)
        changed = Request(first.route, messages, wire, other.identity)
    assert key(first) != key(changed)


@given(st.text(max_size=4), st.text(max_size=4))
def test_tenants_never_share(one, other):
    tenants = [{}, {"organisation": one}, {"key": one}]
    if one != other:
        tenants += [{"organisation": other}, {"key": other}]
    assert len({key(asked(**tenant)) for tenant in tenants}) == len(tenants)


def test_keys_of_one_organisation_share_and_users_do_too():
    assert key(asked(organisation="acme", key="a")) == key(asked(organisation="acme", key="b"))
    assert key(asked(user="ann", tags={"a": "b"}, session="s", feature="f")) == key(asked(user="bob"))


@given(st.text(max_size=3), st.text(max_size=3), st.integers(0, 5), st.integers(0, 5))
def test_namespaces_and_buckets_are_apart(one, other, first, second):
    same = (one, first) == (other, second)
    keys = {key(asked(), namespace=("", one), bucket=first), key(asked(), namespace=("", other), bucket=second)}
    assert len(keys) == (1 if same else 2)
    assert len({key(asked(), namespace=parts) for parts in (("a", "b"), ("ab", ""), ("", "ab"), ("b", "a"))}) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"seed": 1}, {"seed": True}), ({"seed": 1}, {"seed": 1.0}), ({"seed": 1}, {"seed": "1"}),
        ({"stop": "a"}, {"stop": ["a"]}), ({"temperature": 1}, {}), ({"temperature": None}, {}),
        ({"max_tokens": 5}, {"max_completion_tokens": 5}), ({"store": True}, {}), ({"n": None}, {}),
        ({"logprobs": True}, {}), ({"logprobs": 0}, {}), ({"x": {}}, {"x": []}), ({"x": ""}, {"x": None}),
        ({"tools": [{"enum": [1]}]}, {"tools": [{"enum": [1.0]}]}),
    ],
)  # fmt: skip
def test_other_spellings_are_other_requests_unless_it_is_certain_that_they_are_not(one, other):
    assert key(asked(one)) != key(asked(other))


def test_the_order_of_a_schemas_properties_counts_because_the_answer_keeps_it():
    def schema(*names):
        properties = {name: {"type": "string"} for name in names}
        inner = {"name": "x", "schema": {"type": "object", "properties": properties}}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}

    assert key(asked(schema("reason", "verdict"))) != key(asked(schema("verdict", "reason")))
    assert key(asked(schema("reason", "verdict"))) == key(asked(schema("reason", "verdict")))


# --- what does share ---------------------------------------------------------------------------


@given(REQUESTS, st.randoms(use_true_random=False))
def test_reordered_fields_share_an_entry(request, rng):
    names = list(request.wire)
    rng.shuffle(names)
    wire = {name: shuffled(request.wire[name], rng, name) for name in names}
    other = Request(request.route, shuffled(list(request.messages), rng), wire, request.identity)
    assert key(request) == key(other)


@given(REQUESTS, st.dictionaries(st.sampled_from(sorted(IGNORED)), SCALARS))
def test_the_listed_fields_make_no_difference(request, listed):
    assert key(request) == key(Request(request.route, request.messages, {**request.wire, **listed}, request.identity))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1}, {}),
        ({"logprobs": False}, {}),
        ({"temperature": 1.0}, {"temperature": 1}),
        ({"top_p": -0.0}, {"top_p": 0}),
    ],
)
def test_spellings_that_are_certainly_the_same_share(one, other):
    assert key(asked(one)) == key(asked(other))


def test_lists_and_tuples_are_one():
    assert key(asked({"stop": ["a"]}, [{"role": "user"}])) == key(asked({"stop": ("a",)}, ({"role": "user"},)))


# --- what is not cached ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [{"n": 2}, {"temperature": math.nan}, {"x": [math.inf]}, {"x": {1: 2}}, {"x": object()}, {"x": b"a"}, {"x": 2**70},
     {"x": "\ud800"}],
)  # fmt: skip
def test_what_json_has_no_form_for_and_several_choices_have_no_key(wire):
    assert key(asked(wire)) is None


def test_nan_is_not_taken_for_null_beside_a_null_that_is_meant():
    assert key(asked({"a": None, "b": math.nan})) is None
    assert key(asked({}, [{"role": "user", "content": None, "x": math.nan}])) is None
    assert key(asked({"a": None, "b": 1.5})) is not None


# --- streams and whole answers -----------------------------------------------------------------


def test_plain_requests_have_one_key_for_both_ways_and_others_two():
    tools = {"tools": [{"type": "function"}], "temperature": 0.5, "stream_options": {}}
    assert key(asked(tools), stream=True) == key(asked(tools), stream=False)
    assert key(asked(tools)).plain
    odd = {"web_search_options": {}}
    assert key(asked(odd), stream=True) != key(asked(odd), stream=False)
    assert not key(asked(odd)).plain


# --- routes ------------------------------------------------------------------------------------


def config(**changes):
    provider = {
        "name": "a",
        "kind": "openai",
        "base_url": "http://a.test/v1",
        "keys": ["k"],
        "models": {"m": {}, "n": {}},
    }
    route = {"targets": ["a/m", "a/n"]}
    for path, value in changes.items():
        where, _, name = path.partition("__")
        (provider if where == "provider" else route)[name] = value
    routes = {"chat": route, "outer": {"targets": [{"route": "chat"}]}}
    return load_config({"provider": [provider], "route": routes})


@pytest.mark.parametrize(
    "change",
    [
        {"provider__base_url": "http://b.test/v1"}, {"provider__headers": {"x-beta": "1"}}, {"route__targets": ["a/m"]},
    ],
)  # fmt: skip
def test_a_route_that_others_answer_has_another_fingerprint_and_so_has_one_it_is_nested_in(change):
    before, after = fingerprints(config()), fingerprints(config(**change))
    assert before["chat"] != after["chat"]
    assert before["outer"] != after["outer"]


def test_a_limit_that_is_sent_upstream_makes_another_fingerprint():
    assert fingerprints(config())["chat"] != fingerprints(config(route__max_output_tokens=9))["chat"]


@pytest.mark.parametrize(
    "change",
    [
        {"provider__keys": ["other"]}, {"provider__max_concurrency": 3}, {"route__targets": ["a/n", "a/m"]},
        {"route__strategy": "round_robin"}, {"route__clocks": {"idle": 3}}, {"route__deadline": 9},
    ],
)  # fmt: skip
def test_tuning_keeps_the_cache_warm(change):
    assert fingerprints(config()) == fingerprints(config(**change))


def test_a_route_that_skips_the_cache_has_none():
    assert set(fingerprints(config(route__cache="skip"))) == {"outer"}


# --- buckets -----------------------------------------------------------------------------------


@given(st.integers(1, 50), st.none() | st.integers() | st.text(max_size=5), st.integers(0, 2**32))
def test_a_bucket_is_within_the_number_of_answers_and_the_same_for_one_seed(answers, seed, draw):
    control = CacheControl(answers=answers, seed=seed)
    first, second = control.bucket(random.Random(draw)), control.bucket(random.Random(draw + 1))
    assert 0 <= first < answers
    assert seed is None or first == second


def test_seeds_and_draws_reach_every_bucket():
    assert {CacheControl(answers=4, seed=seed).bucket(random.Random(0)) for seed in range(60)} == {0, 1, 2, 3}
    rng = random.Random(0)
    assert {CacheControl(answers=4).bucket(rng) for _ in range(60)} == {0, 1, 2, 3}


def test_a_huge_float_has_a_key_and_is_not_that_of_another():
    messages = [{"role": "user", "content": "hi"}]
    huge = [key(Request("chat", messages, {"top_p": value})) for value in (2.0**64, 2.0**65, 1e300)]
    assert None not in huge
    assert len(set(huge)) == 3
