"""Price files: ours and LiteLLM's, over what models do not say, and refused with the place when wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.config import LongPromptRates, Price, load_config
from resilio.config.litellm_prices import entries_of
from resilio.errors import ConfigError
from resilio.models import Capability

LITELLM = {
    "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of ..."},
    "long-m": {
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "cache_read_input_token_cost": 3e-07,
        "cache_creation_input_token_cost": 3.75e-06,
        "cache_creation_input_token_cost_above_1hr": 6e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "output_cost_per_token_above_200k_tokens": 2.25e-05,
        "cache_read_input_token_cost_above_200k_tokens": 6e-07,
        "input_cost_per_token_batches": 1.5e-06,
        "output_cost_per_token_batches": 7.5e-06,
        "output_cost_per_reasoning_token": 2e-05,
        "max_input_tokens": 1_000_000,
        "max_output_tokens": "64000",
        "supports_vision": False,
        "supports_function_calling": True,
    },
    "half": {"input_cost_per_token": 1e-06, "max_tokens": 8_000},
    "by-call": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06, "input_cost_per_request": 0.005},
    "picture": {"output_cost_per_image": 0.04},
    "free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0},
}
OURS = """\
[models.big]
context_window = 9_000
price = { input = 2, output = 8, service = { batch = { input = 1, output = 4 } } }
[models."east/big"]
price = { input = 3, output = 9, source = "our contract" }
[models.other]
price = "nonsense, but nobody's who is configured here"
"""


@pytest.fixture
def loaded(tmp_path):
    def load(text, models, name="p", file="prices.toml", **more):
        (tmp_path / file).write_text(text)
        provider = {"name": name, "kind": "openai", "base_url": "https://p.test/v1", "models": models}
        (tmp_path / "resilio.toml").write_text("")
        document = {"provider": [provider], "prices": {"file": str(tmp_path / file)}, **more}
        return load_config(document, environ={}).providers[0].models

    return load


def test_a_file_of_ours_says_what_the_model_does_not(loaded):
    big = loaded(OURS, {"big": {}})["big"]
    assert (big.price.input, big.price.service["batch"].output, big.context_window) == (2, 4, 9_000)
    assert big.price.source.endswith("prices.toml: big")


def test_what_the_model_says_itself_holds(loaded):
    big = loaded(OURS, {"big": {"price": {"input": 7, "output": 7}, "context_window": 5}})["big"]
    assert (big.price, big.context_window) == (Price(input=7, output=7), 5)


def test_an_entry_for_the_provider_goes_before_one_of_the_name_alone(loaded):
    price = loaded(OURS, {"big": {}}, name="east")["big"].price
    assert (price.input, price.source) == (3, "our contract")


def test_a_model_is_looked_up_under_the_name_it_is_sold_as(loaded):
    assert loaded(OURS, {"deployed": {"price_as": "big"}})["deployed"].price.input == 2


def test_models_the_file_does_not_know_stay_unknown(loaded):
    assert loaded(OURS, {"unheard-of": {}})["unheard-of"].price is None


def test_the_file_is_found_beside_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "prices.toml").write_text(OURS)
    path = tmp_path / "resilio.toml"
    path.write_text(
        '[[provider]]\nname = "p"\nkind = "openai"\nbase_url = "https://p.test/v1"\nmodels.big = {}\n'
        '[prices]\nfile = "prices.toml"\n'
    )
    monkeypatch.chdir("/")
    assert load_config(path, environ={}).providers[0].models["big"].price.input == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[models.big]\nprice = { input = -1, output = 1 }", 'models."big".price.input: is -1; expected'),
        ("[models.big]\nprice = { input = nan, output = 1 }", "expected a finite number"),
        ("[models.big]\nprice = { input = 1 }", "output: is missing"),
        ("[models.big]\nprice = { input = 1, output = 1, currency = 'EUR' }", "currency"),
        ("[models.big]\nprize = 1", "prize"),
        ("[model.big]\n", "has section"),
        ("", "has no section models"),
        ("[[[", "is neither TOML nor JSON"),
        ("{", "is not JSON"),
        ("{}", "no price list of LiteLLM"),
        ('{"a": 1}', "no price list of LiteLLM"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(loaded, text, why):
    with pytest.raises(ConfigError) as refused:
        loaded(text, {"big": {}})
    assert why in str(refused.value)
    assert "prices.toml" in str(refused.value)


def test_a_file_that_is_not_there_is_refused_at_the_line_that_names_it(tmp_path):
    path = tmp_path / "resilio.toml"
    path.write_text('\n[prices]\nfile = "gone.toml"\n')
    with pytest.raises(ConfigError, match=r"prices\.file.*gone\.toml cannot be read") as refused:
        load_config(path, environ={})
    assert ":3" in str(refused.value) or "line 3" in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "prices.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config({"prices": {"file": str(tmp_path / "prices.toml")}}, environ={})


def test_litellms_list_is_read_with_its_steps_tiers_and_limits(loaded):
    model = loaded(json.dumps(LITELLM), {"long-m": {}})["long-m"]
    price = model.price
    assert (price.input, price.output, price.cache_read, price.cache_write_5m, price.cache_write_1h) == (
        3.0, 15.0, 0.3, 3.75, 6.0,
    )  # fmt: skip
    assert price.reasoning == 20.0
    assert price.long_prompts == (
        LongPromptRates(
            above=200_000, input=6.0, output=22.5, cache_read=0.6, cache_write_5m=3.75, cache_write_1h=6.0,
            reasoning=20.0,
        ),
    )  # fmt: skip
    assert (price.service["batch"].input, price.service["batch"].output) == (1.5, 7.5)
    assert (model.context_window, model.max_output_tokens) == (1_000_000, 64_000)
    assert Capability.IMAGES not in model.capabilities
    assert Capability.TOOLS in model.capabilities


def test_half_a_price_is_no_price_and_free_is_one(loaded):
    models = loaded(json.dumps(LITELLM), {"half": {}, "by-call": {}, "picture": {}, "free": {}, "sample_spec": {}})
    assert {name for name, model in models.items() if model.price is None} == {
        "half", "by-call", "picture", "sample_spec",
    }  # fmt: skip
    assert models["half"].context_window == 8_000
    assert models["free"].price.input == 0


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3
)


@given(st.dictionaries(st.text(max_size=5), st.dictionaries(st.sampled_from([*LITELLM["long-m"]]), JUNK), max_size=3))
def test_no_list_of_any_shape_gives_a_negative_price_or_half_of_one(document):
    try:
        entries = entries_of(document)
    except ValueError:
        return
    for entry in entries.values():
        price = entry.get("price")
        assert price is None or {"input", "output"} <= set(price)
        rates = [] if price is None else [value for value in price.values() if isinstance(value, float)]
        assert all(0 <= rate < float("inf") for rate in rates)
