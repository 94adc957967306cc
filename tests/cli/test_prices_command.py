"""`resilio prices`, and what `resilio check` says of prices."""

import json
import sys
import tomllib

import pytest

from resilio.catalogue import HINT
from resilio.cli import main
from resilio.config import load_config

CONFIG = """\
[[provider]]
name = "o"
kind = "openai"
base_url = "https://api.openai.com/v1"
models.gpt-4o = {}
models.mine = { price = { input = 1, output = 2 } }
models.unheard = {}
[route.chat]
targets = ["o/gpt-4o", "o/mine", "o/unheard"]
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resilio.toml").write_text(CONFIG)
    return tmp_path / "resilio.toml"


def test_models_are_priced_by_name_and_an_unknown_one_is_said_to_be(capsys):
    assert main(["prices", "--at", "2026-11-01", "gpt-5.6", "no-such-model"]) == 1
    said = capsys.readouterr().out
    assert "in 4, out 20, cached 0.4, written 5 min 5" in said
    assert "over 272,000 tokens" in said
    assert "1,050,000" in said
    assert "unknown" in said
    assert "knows no model 'no-such-model'" in said


def test_a_day_has_its_own_prices(capsys):
    assert main(["prices", "--json", "--at", "2026-08-01", "openai/gpt-5.6"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["models"].values()
    assert (found["price"]["input"], found["unknown"], found["context_window"]) == (5.0, None, 1_050_000)


def test_the_models_of_a_configuration_are_priced_as_its_calls_are(path, capsys):
    assert main(["prices", "--json"]) == 1
    models = json.loads(capsys.readouterr().out)["models"]
    assert models["o/mine"]["price"]["source"] == "configuration"
    assert models["o/gpt-4o"]["price"]["source"].startswith("genai-prices ")
    assert models["o/unheard"] == {
        "price": None,
        "unknown": "genai-prices knows no model 'unheard' of openai; set price or price_as",
        "context_window": None,
    }


def test_a_check_says_prices_where_they_are_from_and_which_are_unknown(path, capsys):
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert "USD for 1M tokens: in 2.5, out 10, cached 1.25; apart for priority, fast, batch (from genai-prices" in said
    assert "USD for 1M tokens: in 1, out 2 (from configuration)" in said
    assert "note: no price is known for o/unheard" in said
    assert "knows no model 'unheard'" in said


def test_without_the_package_both_give_one_hint(path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert main(["check"]) == 0
    assert capsys.readouterr().out.count(HINT) == 1
    assert main(["prices"]) == 1
    said = capsys.readouterr()
    assert (said.out + said.err).count(HINT) == 1
    assert "in 1, out 2" in said.out


def test_with_nothing_to_show_it_says_what_to_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["prices"]) == 2
    assert "name models, or a configuration" in capsys.readouterr().err


# --- import ------------------------------------------------------------------------------------

LIST = {
    'odd "name"': {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
    "m": {
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "input_cost_per_token_batches": 1.5e-06,
        "max_input_tokens": 200_000,
        "supports_vision": False,
    },
    "picture": {"output_cost_per_image": 0.04},
}


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(LIST))
    return path


def test_what_import_prints_is_read_as_the_list_itself_is(listed, tmp_path, capsys):
    assert main(["prices", "import", str(listed)]) == 0
    said = capsys.readouterr()
    assert "2 of 3 models" in said.err
    ours = tmp_path / "prices.toml"
    ours.write_text(said.out)
    read = []
    for file in (listed, ours):
        provider = {
            "name": "p",
            "kind": "openai",
            "base_url": "https://p.test/v1",
            "models": {"m": {}, 'odd "name"': {}},
        }
        models = load_config({"provider": [provider], "prices": {"file": str(file)}}).providers[0].models
        read.append(
            {name: (str(model).replace(file.name, "file"), model.context_window) for name, model in models.items()}
        )
    assert read[0] == read[1]
    assert read[0]["m"][1] == 200_000


def test_import_takes_only_the_models_that_are_named(listed, capsys):
    assert main(["prices", "import", str(listed), "m"]) == 0
    assert list(tomllib.loads(capsys.readouterr().out)["models"]) == ["m"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [([], "import what?"), (["gone.json"], "cannot be read"), (["LIST", "nobody"], "has no model 'nobody'")],
)
def test_an_import_that_cannot_be_says_why(arguments, why, listed, capsys):
    assert main(["prices", "import", *(str(listed) if each == "LIST" else each for each in arguments)]) == 2
    assert why in capsys.readouterr().err
