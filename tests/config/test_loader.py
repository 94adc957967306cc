"""The loader refuses what is wrong, all of it at once, and says where and how to put it right."""

import copy
import dataclasses
import math
import re
import tomllib

import pytest
from loader_samples import ENVIRON, SECRET, VALID

import resilio.config as public
from resilio.config import (
    LOCAL_MODELS,
    STRATEGY_NAMES,
    BreakerSettings,
    Clocks,
    Config,
    RungSettings,
    TargetSettings,
    load_config,
)
from resilio.config.problems import Problems
from resilio.config.reader import Reader, fields_of
from resilio.errors import ConfigError
from resilio.models import Capability
from resilio.routing import STRATEGIES


def valid():
    return copy.deepcopy(VALID)


def load(document):
    return load_config(document, environ=ENVIRON)


def problems_of(document, **options):
    with pytest.raises(ConfigError) as caught:
        load_config(document, **{"environ": ENVIRON, **options})
    return caught.value.problems


def one_problem(document, **options):
    found = problems_of(document, **options)
    assert len(found) == 1, found
    return found[0]


def with_provider(**fields):
    document = valid()
    document["provider"][0].update(fields)
    return document


def with_route(**fields):
    document = valid()
    document["route"]["chat"].update(fields)
    return document


# --- what is right is read ---------------------------------------------------------------------


def test_a_valid_document_is_read_whole():
    config = load(VALID)
    assert [provider.name for provider in config.providers] == ["openai", "local"]
    openai = config.providers[0]
    assert [key.key for key in openai.keys] == [SECRET]
    assert openai.models["gpt-4.1"].capabilities == {Capability.TOOLS, Capability.STREAMING}
    assert openai.models["gpt-4.1"].price.output == 8.0
    assert openai.queue.max_waiting == 10
    chat, small = config.routes["chat"], config.routes["small"]
    assert chat.name == "chat"
    assert chat.targets == (
        TargetSettings(provider="openai", model="gpt-4.1", first_token=5.0),
        TargetSettings(provider="openai", model="meta-llama/llama-3"),
    )
    assert chat.ladder == (RungSettings(kind="full"), RungSettings(kind="simpler", argument="small"))
    assert small.targets == (TargetSettings(provider="local", model="smollm2-135m"),)
    assert (small.strategy, small.deadline) == ("least_loaded", 20.5)


def test_the_document_handed_in_is_not_changed():
    document = valid()
    load(document)
    assert document == VALID


def test_an_empty_document_gives_the_defaults():
    assert load({}) == Config()


def test_whole_numbers_are_read_as_seconds_and_kept_as_floats():
    deadline = load(VALID).defaults.deadline
    assert deadline == 45.0
    assert type(deadline) is float


def test_a_route_takes_clocks_and_retry_from_the_defaults_key_by_key():
    chat = load(VALID).routes["chat"]
    assert chat.clocks == Clocks(first_token=8.0, total=40.0, idle=9.0)
    assert chat.retry.max_attempts == 4


def test_a_provider_takes_its_breaker_from_the_defaults_key_by_key():
    openai, local = load(VALID).providers
    assert openai.breaker == BreakerSettings(break_duration=20.0, ramp_duration=0.0, consecutive_failures=3)
    assert local.breaker == BreakerSettings(break_duration=20.0, ramp_duration=0.0)


def test_a_route_without_a_deadline_leaves_it_to_the_defaults():
    assert load(VALID).routes["chat"].deadline is None


def test_the_textbook_breaker_can_be_written():
    textbook = {
        "consecutive_failures": 5,
        "failure_rate": 1,
        "slow_rate": 1,
        "break_duration": 60,
        "max_break_duration": 60,
        "probe_successes": 1,
        "max_probes": 1,
        "ramp_duration": 0,
        "early_probes": False,
    }
    assert load(with_provider(breaker=textbook)).providers[0].breaker.max_probes == 1


def test_a_local_provider_without_models_has_the_default_model():
    for models in ({}, {"models": {}}):
        document = {"provider": [{"name": "here", "kind": "local", **models}]}
        assert load(document).providers[0].models == LOCAL_MODELS


def test_a_local_model_that_is_listed_can_still_do_only_what_the_engine_can():
    document = {"provider": [{"name": "here", "kind": "local", "models": {"smollm2-135m": {"context_window": 2048}}}]}
    model = load(document).providers[0].models["smollm2-135m"]
    assert model.context_window == 2048
    assert model.capabilities == {Capability.STREAMING, Capability.JSON_SCHEMA}


def test_none_stands_for_what_is_not_known():
    document = valid()
    document["provider"][0]["models"]["gpt-4.1"]["price"] = None
    assert load(document).providers[0].models["gpt-4.1"].price is None


def test_a_toml_file_and_a_mapping_of_its_shape_give_the_same(tmp_path):
    text = """
        [defaults]
        deadline = 30
        [[provider]]
        name = "a"
        kind = "openai"
        base_url = "http://127.0.0.1:8000/v1"
        models."m.1" = { requests_per_minute = 1_000 }
        [route.chat]
        targets = ["a/m.1"]
    """
    file = tmp_path / "resilio.toml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_config(file) == load_config(str(file)) == load_config(tomllib.loads(text))


def test_a_strategy_registered_elsewhere_is_accepted_when_named():
    document = with_route(strategy="cheapest")
    assert (
        load_config(document, environ=ENVIRON, strategies=("cheapest", "least_loaded")).routes["chat"].strategy
        == "cheapest"
    )


def test_the_known_strategies_are_those_registered():
    assert set(STRATEGY_NAMES) == set(STRATEGIES)


def test_every_setting_there_is_can_be_read():
    """Hands each field its own default: a type the reader does not know raises TypeError."""
    reader = Reader(
        Problems(), {TargetSettings: lambda raw, path: raw, RungSettings: lambda raw, path: raw}, lambda *_: None
    )
    classes = [item for item in vars(public).values() if isinstance(item, type) and dataclasses.is_dataclass(item)]
    settings = [cls for cls in classes if cls.__name__.endswith(("Settings", "Clocks", "Defaults", "Price", "Config"))]
    assert len(settings) > 10
    for cls in settings:
        for field in fields_of(cls).values():
            reader.value(field.type, 0, (cls.__name__, field.name), field)


# --- secrets -----------------------------------------------------------------------------------


def test_a_missing_variable_is_named_with_the_place_that_wants_it():
    problem = one_problem(VALID, environ={})
    assert problem == "environment variable OPENAI_API_KEY is not set (provider.openai.keys[0])"


def test_a_variable_of_a_similar_name_is_pointed_out():
    assert one_problem(VALID, environ={"OPENAI_APIKEY": SECRET}).endswith(
        "(provider.openai.keys[0]); did you mean OPENAI_APIKEY, which is set?"
    )


@pytest.mark.parametrize("value", ["", "  \n"])
def test_an_empty_variable_is_refused(value):
    problem = one_problem(VALID, environ={"OPENAI_API_KEY": value})
    assert problem == "environment variable OPENAI_API_KEY is empty (provider.openai.keys[0])"


def test_the_line_break_at_the_end_of_a_secret_is_dropped():
    config = load_config(VALID, environ={"OPENAI_API_KEY": SECRET + "\n"})
    assert [key.key for key in config.providers[0].keys] == [SECRET]


def test_a_header_can_come_from_the_environment_too():
    config = load(with_provider(headers={"api-key": "env:OPENAI_API_KEY"}))
    assert config.providers[0].headers == {"api-key": SECRET}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["env:"], "names no variable"),
        (["$OPENAI_API_KEY"], "write env:OPENAI_API_KEY"),
        (["${OPENAI_API_KEY}"], "write env:OPENAI_API_KEY"),
        ([f"{SECRET} é"], "no header may contain"),
        ([SECRET, "env:OPENAI_API_KEY"], "keys[1]: is the same key as keys[0]"),
        (SECRET, "expected an array"),
        ([SECRET, 7], "keys[1]: is a number; expected a string"),
        ([SECRET, ""], "keys[1]: is empty"),
        ([[SECRET]], "keys[0]: is an array"),
    ],
)
def test_a_wrong_key_is_told_without_being_shown(keys, says):
    problem = one_problem(with_provider(keys=keys))
    assert problem.startswith("provider.openai.keys")
    assert says in problem
    assert SECRET not in problem


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SECRET},
        {"headers": {"authorization": 7, SECRET + " ": "x"}},
        {"base_url": f"https://user:{SECRET}@api.openai.com/v1"},
        {"base_url": f"https://api.openai.com/v1?key={SECRET}"},
        {"kind": SECRET},
        {"name": "openai", "max_concurrency": SECRET},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown_either(fields):
    found = problems_of(with_provider(**fields))
    assert SECRET not in "\n".join(found).replace(f'"{SECRET} "', "")


def test_a_variable_missing_twice_is_told_twice_and_not_called_a_double():
    found = problems_of(with_provider(keys=["env:NOT_THERE", "env:NOT_THERE"]))
    assert [problem.split(" (")[0] for problem in found] == ["environment variable NOT_THERE is not set"] * 2


def test_a_dummy_key_does_not_garble_the_names_in_messages():
    problem = one_problem(with_provider(keys=["openai"], max_concurrency=0))
    assert problem == "provider.openai.max_concurrency: is 0; expected at least 1"


def test_no_secret_is_in_the_repr_of_a_configuration():
    config = load(with_provider(headers={"api-key": "env:OPENAI_API_KEY"}))
    assert SECRET not in repr(config)


# --- wrong spelling, type, bounds ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "key", "value", "says"),
    [
        ("defaults", "deadlin", 3, "did you mean deadline?"),
        ("defaults", "timeout", 3, "did you mean deadline?"),
        ("defaults", "timeout_ms", 30_000, "durations are plain seconds: write deadline = 30"),
        ("defaults", "deadline_minutes", 2, "durations are plain seconds: write deadline = 120"),
        ("defaults", "first_token_ms", 500, "durations are plain seconds: write clocks.first_token = 0.5"),
        ("defaults", "total", 500, "did you mean clocks.total?"),
        ("provider", "api_key", "x", "did you mean keys?"),
        ("provider", "url", "x", "did you mean base_url?"),
        ("provider", "type", "x", "did you mean kind?"),
        ("provider", "consecutive_failure", 5, "did you mean breaker.consecutive_failures?"),
        ("provider", "zzz", 1, "expected one of name, kind, base_url"),
        ("model", "rpm", 1, "did you mean requests_per_minute?"),
        ("model", "requests_per_min", 1, "did you mean requests_per_minute?"),
        ("route", "model", "x", "did you mean targets?"),
        ("route", "max_tokens", 1, "did you mean max_output_tokens?"),
        ("route", "max_retries", 1, "did you mean retry.max_attempts?"),
        ("route", "name", "chat", "is given by the name of the table"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_probably_meant(table, key, value, says):
    document = valid()
    tables = {
        "defaults": document["defaults"],
        "provider": document["provider"][0],
        "model": document["provider"][0]["models"]["gpt-4.1"],
        "route": document["route"]["chat"],
    }
    places = {
        "defaults": "defaults",
        "provider": "provider.openai",
        "model": 'provider.openai.models."gpt-4.1"',
        "route": "route.chat",
    }
    tables[table][key] = value
    problem = one_problem(document)
    assert problem.startswith(f"{places[table]}.{key}: ")
    assert says in problem


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("30s", "durations are plain seconds: write deadline = 30"),
        ("60", "durations are plain seconds: write deadline = 60"),
        ("1m30s", "durations are plain seconds: write deadline = 90"),
        ("500 ms", "durations are plain seconds: write deadline = 0.5"),
        ("soon", "durations are plain seconds"),
        (True, "is a boolean (true); expected a number"),
        (None, "is nothing; expected a number"),
        ([30], "is an array; expected a number"),
        (math.nan, "is nan; expected a finite number"),
        (math.inf, "is inf; expected a finite number"),
        (10**400, "expected a finite number"),
        (0, "is 0; expected more than 0 (s)"),
        (-1.5, "is -1.5; expected more than 0 (s)"),
    ],
)
def test_a_duration_is_a_positive_finite_number_of_seconds(value, says):
    problem = one_problem({"defaults": {"deadline": value}})
    assert problem.startswith("defaults.deadline: ")
    assert says in problem


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3.0, "expected a whole number: write 3"),
        (3.5, "is 3.5; expected a whole number"),
        (True, "is a boolean (true)"),
        ("5", "write max_attempts = 5, without quotes"),
        ("five", 'is a string ("five"); expected a whole number'),
        (0, "is 0; expected at least 1"),
    ],
)
def test_a_count_is_a_whole_number(value, says):
    problem = one_problem({"defaults": {"retry": {"max_attempts": value}}})
    assert problem.startswith("defaults.retry.max_attempts: ")
    assert says in problem


def test_a_share_lies_between_0_and_1():
    problem = one_problem({"defaults": {"breaker": {"failure_rate": 50}}})
    assert problem == "defaults.breaker.failure_rate: is 50; expected at least 0 and at most 1"


def test_a_switch_is_true_or_false_and_nothing_else():
    problem = one_problem({"defaults": {"breaker": {"early_probes": 1}}})
    assert problem == "defaults.breaker.early_probes: is a number (1); expected true or false"


def test_an_unknown_capability_is_refused_with_the_nearest():
    document = valid()
    document["provider"][0]["models"]["gpt-4.1"]["capabilities"] = ["tools", "image"]
    problem = one_problem(document)
    assert problem == 'provider.openai.models."gpt-4.1".capabilities[1]: is "image"; did you mean "images"?'


def test_a_model_name_with_a_dot_and_no_quotes_is_explained():
    document = valid()
    document["provider"][0]["models"] |= tomllib.loads("gpt-3.5-turbo = {}")
    problem = one_problem(document)
    assert problem.startswith("provider.openai.models.gpt-3.5-turbo: ")
    assert 'if "gpt-3.5-turbo" is one name, put it in quotes' in problem


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"providers": []}, 'providers: unknown section; did you mean "provider"?'),
        ({"provider": {"openai": {}}}, "provider: is a table; expected an array of tables: write [[provider]]"),
        ({"provider": [3]}, "provider[0]: is a number; expected a table"),
        ({"route": []}, "route: is an array; expected tables: write [route.NAME]"),
        ({"route": {"targets": ["a/b"]}}, "route.targets: belongs in a route: write [route.NAME] above it"),
        ({"route": {"chat": 3}}, "route.chat: is a number; expected a table"),
        ({"route": {" ": {}}}, 'route: " " is not a name for a route'),
        ({"defaults": 3}, "defaults: is a number; expected a table"),
        ({3: 4}, "unknown section"),
        ({"defaults": {3: 4}}, "defaults: key 3 is not a string"),
    ],
)
def test_a_document_of_the_wrong_shape_is_refused(document, says):
    assert says in one_problem(document)


@pytest.mark.parametrize("source", [3, None, ["x"]])
def test_what_is_neither_path_nor_mapping_is_refused(source):
    assert "expected a path or a mapping" in one_problem(source)


@pytest.mark.parametrize("name", ["", " ", 3])
def test_a_model_without_a_name_is_refused(name):
    problem = one_problem(with_provider(models={"gpt-4.1": {}, "meta-llama/llama-3": {}, name: {}}))
    assert problem.startswith("provider.openai.models: key ")
    assert problem.endswith("is not a name")


def test_a_setting_of_a_type_the_reader_does_not_know_is_a_mistake_in_the_code():
    reader = Reader(Problems(), {}, lambda *_: None)
    field = fields_of(Clocks)["idle"]
    with pytest.raises(TypeError, match="idle: no way to read"):
        reader.value(complex, 1, ("idle",), field)


# --- providers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "kind"])
def test_a_provider_needs_name_and_kind(field):
    document = {"provider": [{"name": "openai", "kind": "openai", "base_url": "https://api.openai.com/v1"}]}
    del document["provider"][0][field]
    place = "provider[0]" if field == "name" else "provider.openai"
    assert one_problem(document).startswith(f"{place}.{field}: is missing")


def test_anthropic_has_an_address_and_a_version_of_its_own():
    document = {"provider": [{"name": "a", "kind": "anthropic", "keys": ["sk"]}]}
    (provider,) = load_config(document).providers
    assert (provider.base_url, provider.version) == ("https://api.anthropic.com", "2023-06-01")
    document["provider"][0] |= {"base_url": "http://127.0.0.1:1", "version": "2026-10-21"}
    (provider,) = load_config(document).providers
    assert (provider.base_url, provider.version) == ("http://127.0.0.1:1", "2026-10-21")


def test_a_version_where_there_are_none_is_refused():
    text = "provider.openai.version: must be absent for kind openai: its API has no versions"
    assert one_problem(with_provider(version="2026-10-21")) == text


def test_two_providers_of_one_name_are_refused():
    document = valid()
    document["provider"].append({"name": "local", "kind": "local"})
    assert one_problem(document) == 'provider[2].name: "local" is the name of an earlier provider too'


def test_a_slash_in_the_name_of_a_provider_is_refused():
    problem = one_problem({"provider": [{"name": "a/b", "kind": "local"}]})
    assert problem.startswith('provider."a/b".name: "a/b" has a "/" in it')


def test_an_unknown_kind_is_refused_with_the_nearest():
    assert one_problem(with_provider(kind="openia")) == 'provider.openai.kind: is "openia"; did you mean "openai"?'


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("api.openai.com/v1", "begins with http:// or https://"),
        ("ftp://api.openai.com/v1", "begins with http:// or https://"),
        ("https:///v1", "begins with http:// or https://"),
        ("https://[::1/v1", "is not a URL"),
        ("https://host:99999/v1", "is not a URL"),
        ("https://host/a b", "begins with http:// or https://"),
        ("https://host/v1/chat/completions", 'end at /v1: "https://host/v1"'),
        ("https://host/v1/chat/completions/", 'end at /v1: "https://host/v1"'),
        ("https://host/v1/models", 'end at /v1: "https://host/v1"'),
        ("https://me:pw@host/v1", "has credentials"),
        ("https://host/v1?api-version=3", "has credentials, a query or a fragment"),
        ("https://host/v1 ", "has spaces around it"),
    ],
)
def test_a_url_that_is_no_api_root_is_refused(url, says):
    problem = one_problem(with_provider(base_url=url))
    assert problem.startswith("provider.openai.base_url: ")
    assert says in problem


@pytest.mark.parametrize("fields", [{"base_url": "http://127.0.0.1/v1"}, {"keys": [SECRET]}, {"headers": {"a": "b"}}])
def test_a_local_provider_takes_no_url_keys_or_headers(fields):
    problem = one_problem({"provider": [{"name": "here", "kind": "local", **fields}]})
    assert problem.startswith(f"provider.here.{next(iter(fields))}: must be absent for kind local")


# --- relations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaker", "place", "says"),
    [
        ({"probe_successes": 6}, "probe_successes", "the circuit could never close; expected at most 5"),
        ({"max_probes": 2}, "max_probes", "set probe_successes too, to at most 2"),
        ({"probes_at_once": 6}, "probes_at_once", "no break has that many probes"),
        ({"break_duration": 400}, "break_duration", "max_break_duration is 300 here, though not written"),
        ({"minimum_calls": 51}, "minimum_calls", "the window never holds enough for a rate"),
        ({"window_calls": 5}, "window_calls", "set minimum_calls too, to at most 5"),
        ({"failure_rate": 0}, "failure_rate", "the circuit would open without a failure"),
        ({"slow_rate": 0.0}, "slow_rate", "the circuit would open without a failure"),
    ],
)
def test_a_breaker_that_contradicts_itself_is_refused(breaker, place, says):
    problem = one_problem({"defaults": {"breaker": breaker}})
    assert problem.startswith(f"defaults.breaker.{place}: ")
    assert says in problem


def test_an_inherited_contradiction_is_told_where_it_was_made():
    document = valid()
    document["defaults"]["breaker"]["probe_successes"] = 4
    document["provider"][0]["breaker"]["max_probes"] = 3
    assert one_problem(document).startswith("provider.openai.breaker.max_probes: is 3, but probe_successes is 4")


def test_a_first_backoff_above_the_longest_is_refused():
    assert one_problem({"defaults": {"retry": {"base": 9}}}).startswith("defaults.retry.base: is 9, but cap is 8")


def test_more_repeats_in_hand_than_can_be_saved_up_are_refused():
    problem = one_problem(with_provider(retry_budget={"maximum": 5}))
    assert problem.startswith("provider.openai.retry_budget.maximum: is 5, but initial is 10")


def test_a_model_that_writes_more_than_its_window_holds_is_refused():
    document = valid()
    document["provider"][0]["models"]["gpt-4.1"]["context_window"] = 8192
    assert 'models."gpt-4.1".max_output_tokens: is 32768, but context_window is 8192' in one_problem(document)


@pytest.mark.parametrize("clock", ["connect", "first_token", "idle"])
def test_a_clock_longer_than_the_total_could_never_fire(clock):
    problem = one_problem(with_route(clocks={clock: 41}))
    assert problem.startswith(f"route.chat.clocks.{clock}: is 41, but total is 40 here, though not written")
    assert problem.endswith("this clock could never fire; expected at most 40")


def test_a_clock_of_the_defaults_that_a_routes_total_makes_useless_is_refused():
    assert "first_token is 8" in one_problem(with_route(clocks={"total": 6}))


def test_a_short_total_does_not_make_anyone_write_the_other_clocks():
    document = valid()
    document["defaults"] = {}
    document["route"]["chat"]["clocks"] = {"total": 6}
    assert load(document).routes["chat"].clocks == Clocks(total=6.0)


def test_a_targets_first_token_clock_longer_than_the_total_is_refused():
    problem = one_problem(
        with_route(targets=["openai/gpt-4.1", {"target": "local/smollm2-135m", "first_token": 50}], ladder=["full"])
    )
    assert problem.startswith("route.chat.targets[1].first_token: is 50, but clocks.total of the route is 40")


def test_a_first_token_clock_longer_than_the_deadline_is_only_noted():
    document = with_route(deadline=2)
    assert load(document).routes["chat"].deadline == 2.0


def test_a_route_may_not_ask_for_more_output_than_its_models_can_write():
    problem = one_problem(with_route(max_output_tokens=40_000))
    assert (
        problem
        == "route.chat.max_output_tokens: is 40000, but openai/gpt-4.1 writes at most 32768; expected at most 32768"
    )


def test_a_wrong_number_is_not_complained_of_twice():
    assert len(problems_of({"defaults": {"breaker": {"probe_successes": -6, "max_probes": 2}}})) == 1


# --- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["opnai/gpt-4.1"], 'targets[0]: no provider is called "opnai"; did you mean "openai"?'),
        (
            ["openai/meta-llama/llama-3", "openai/gpt-4"],
            'targets[1]: provider "openai" lists no model "gpt-4"; did you mean "gpt-4.1"?',
        ),
        (["openai/llama-3"], 'lists no model "llama-3"'),
        (["openai/gpt-4.1", "openai/gpt-4.1"], 'targets[1]: "openai/gpt-4.1" is already targets[0]'),
        (["/x"], 'expected "provider/model"'),
        (["openai/"], 'expected "provider/model"'),
        ([], "targets: is empty"),
        ("openai/gpt-4.1", "targets: is a single value; expected an array: targets = [...]"),
        ([3], "targets[0]: is a number; expected a table"),
        ([{"provider": "openai"}], "targets[0].model: is missing"),
        ([{"target": "openai/gpt-4.1", "model": "x"}], "targets[0].model: is said by target already"),
        ([{"target": 3}], 'targets[0].target: is 3; expected "provider/model"'),
        ([{"target": "openai/gpt-4.1", "wieght": 3}], "targets[0].wieght: unknown key"),
    ],
)
def test_a_target_that_does_not_exist_is_refused(targets, says):
    problem = one_problem(with_route(targets=targets))
    assert problem.startswith("route.chat.targets")
    assert says in problem


def test_a_route_needs_targets():
    document = valid()
    del document["route"]["chat"]["targets"]
    assert one_problem(document).startswith("route.chat.targets: is missing")


def test_a_provider_that_lists_no_models_is_told_so():
    document = with_provider(models={})
    document["route"]["chat"]["targets"] = ["openai/gpt-4.1"]
    assert one_problem(document).endswith('lists no model "gpt-4.1"; add models."gpt-4.1" = {} to it')


def test_a_model_that_could_not_be_read_is_not_called_missing():
    document = with_provider(models={"gpt-4.1": 3, "meta-llama/llama-3": {}})
    assert one_problem(document) == 'provider.openai.models."gpt-4.1": is a number; expected a table'


def test_an_unknown_strategy_is_refused_with_the_nearest():
    assert one_problem(with_route(strategy="priorty")) == 'route.chat.strategy: is "priorty"; did you mean "priority"?'


# --- ladders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ladder", "says"),
    [
        ([], "ladder: is empty"),
        ("full", "ladder: is a single value; expected an array"),
        ([{"simpler": "small"}], 'ladder[0]: the first rung must be "full"'),
        (["full", "full"], "ladder[1]: stands in this ladder already"),
        (["full", {"simpler": "small"}, {"simpler": "small"}], "ladder[2]: stands in this ladder already"),
        (["full", "simple"], 'ladder[1]: no rung is called "simple"; did you mean "simpler"?'),
        (["full", "cache"], "ladder[1]: could never answer: there is no cache; add [cache.exact]"),
        (["full", {"cache": "exact"}], 'ladder[1]: cache takes nothing; write "cache"'),
        (["full", {"statik": "faq.toml"}], 'ladder[1]: no rung is called "statik"; did you mean "static"?'),
        (["full", {"static": "none.toml"}], "ladder[1]: none.toml: there is no such file"),
        (["full", {"static": 3}], "ladder[1]: static needs a file of prepared answers"),
        (["full", {"simpler": "b", "static": "x"}], "ladder[1]: is a table; expected"),
        (["full", {"simpler": "small", "threshold": 0.5}], "ladder[1].threshold: has a meaning for static alone"),
        (["full", "simpler"], "ladder[1]: simpler needs the name of a route"),
        (["full", {"simpler": 3}], "ladder[1]: simpler needs the name of a route"),
        ([{"full": "x"}], "ladder[0]: full takes nothing"),
        (["full", {}], "ladder[1]: is a table; expected"),
        (["full", 3], "ladder[1]: is 3; expected"),
        (["full", {"simpler": "smal"}], 'ladder[1]: no route is called "smal"; did you mean "small"?'),
        (["full", {"simpler": "chat"}], "ladder[1]: a route cannot be its own simpler route"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(ladder, says):
    problem = one_problem(with_route(ladder=ladder))
    assert problem.startswith("route.chat.")
    assert says in problem


def test_a_cache_rung_needs_a_cache_that_the_route_uses():
    document = with_route(ladder=["full", "cache", {"simpler": "small"}])
    document["cache"] = {"exact": {}}
    assert [rung.kind for rung in load(document).routes["chat"].ladder] == ["full", "cache", "simpler"]
    document["route"]["chat"]["cache"] = "skip"
    assert one_problem(document).startswith("route.chat.ladder[1]: could never answer: nothing of this route is kept")


def test_a_simpler_route_with_no_target_of_its_own_is_refused():
    document = with_route(targets=["openai/gpt-4.1", "local/smollm2-135m"])
    problem = one_problem(document)
    assert problem.startswith('route.chat.ladder[1]: every target of route "small" has already been tried')


def test_a_second_simpler_route_must_add_to_the_first():
    document = with_route(ladder=["full", {"simpler": "small"}, {"simpler": "again"}])
    document["route"]["again"] = {"targets": ["local/smollm2-135m", "openai/gpt-4.1"]}
    assert one_problem(document).startswith('route.chat.ladder[2]: every target of route "again"')


def test_simpler_routes_that_go_in_a_circle_are_refused_once():
    document = valid()
    document["route"]["small"]["ladder"] = ["full", {"simpler": "third"}]
    document["route"]["third"] = {"targets": ["openai/gpt-4.1"], "ladder": ["full", {"simpler": "chat"}]}
    problem = one_problem(document)
    assert problem == "route.third.ladder[1]: simpler routes go round in a circle: chat -> small -> third -> chat"


def test_routes_that_share_a_simpler_route_are_no_circle():
    document = valid()
    document["route"]["other"] = {"targets": ["openai/gpt-4.1"], "ladder": ["full", {"simpler": "small"}]}
    assert set(load(document).routes) == {"chat", "small", "other"}


def test_a_long_chain_of_simpler_routes_is_read():
    models = {f"m{index}": {} for index in range(1500)}
    routes = {
        f"r{index}": {"targets": [f"openai/m{index}"], "ladder": ["full", {"simpler": f"r{index + 1}"}]}
        for index in range(1499)
    }
    routes["r1499"] = {"targets": ["openai/m1499"]}
    assert len(load({"provider": [{**VALID["provider"][0], "models": models}], "route": routes}).routes) == 1500


# --- all at once, with lines -------------------------------------------------------------------

WRONG = """\
[defaults]
deadlin = 3        # line 2

[[provider]]
name = "openai"
kind = "opena"     # line 6
base_url = "https://api.openai.com/v1/chat/completions"
keys = [
  "env:OPENAI_API_KEY",
  "env:SECOND",    # line 10
]
models.m = { rpm = 3 }

[provider.breaker]
max_probes = 2     # line 15

[[provider]]       # line 17: where the name should be
kind = "local"

[route.chat]
targets = [
  "opneai/m",      # line 22
  "openai/m",
  "nothing",       # line 24
]
retry = { base = "1s" }
strategy = 3
"""


def test_all_problems_are_listed_with_path_and_line(tmp_path):
    file = tmp_path / "resilio.toml"
    file.write_text(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ=ENVIRON)
    lines = [int(re.match(r"line (\d+): ", problem)[1]) for problem in caught.value.problems]
    assert lines == [2, 6, 7, 10, 12, 15, 17, 22, 24, 26, 27]
    assert str(caught.value).startswith(f"{file}: 11 problems\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[defaults\n", "is not TOML: "),
        (b"x = \xff", "is not UTF-8 text (byte 4)"),
        (b"x = " + b"9" * 5000, "is not TOML: "),
        (b"x = " + b"[" * 20_000, "is not TOML: "),
    ],
)
def test_a_file_that_is_no_toml_is_refused(tmp_path, content, says):
    file = tmp_path / "resilio.toml"
    file.write_bytes(content)
    assert one_problem(file).startswith(says)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    assert one_problem(tmp_path / "absent.toml") == "there is no such file"
    assert one_problem(tmp_path).startswith("cannot be read: ")
    assert one_problem("a\0b").startswith("cannot be read: ")
