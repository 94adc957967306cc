"""Kinds of providers: their addresses and keys, names such as anthropic/claude that imply one, and what is refused."""

import pytest

from resilio.config import load_config
from resilio.config.kinds import KINDS, PREFIXES
from resilio.errors import ConfigError

KEYS = {"OPENAI_API_KEY": "sk-openai-secret", "ANTHROPIC_API_KEY": "sk-ant-secret", "GROQ_API_KEY": "gsk_secret_key"}
KEYS |= {"GOOGLE_API_KEY": "AIza-gemini-secret"}


def routed(*targets, **more):
    return {"route": {"chat": {"targets": list(targets)}}, **more}


def loaded(document, environ=None):
    return load_config(document, environ=KEYS if environ is None else environ)


def providers(document, environ=None):
    return {its.name: its for its in loaded(document, environ).providers}


def secrets(provider):
    return tuple(key.key for key in provider.keys)


def problems(document, environ=None):
    with pytest.raises(ConfigError) as caught:
        loaded(document, {} if environ is None else environ)
    return list(caught.value.problems)


def declared(**fields):
    return {"provider": [{"name": "p", "models": {"m": {}}, **fields}], "route": {"chat": {"targets": ["p/m"]}}}


# --- names that imply a provider -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name", "kind", "model", "key"),
    [
        ("gemini/gemini-2.5-flash", "gemini", "gemini", "gemini-2.5-flash", "AIza-gemini-secret"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "anthropic", "claude-sonnet-4-5", "sk-ant-secret"),
        ("gpt-4.1", "openai", "openai", "gpt-4.1", "sk-openai-secret"),
        ("openai/gpt-4.1", "openai", "openai", "gpt-4.1", "sk-openai-secret"),
        ("groq/openai/gpt-oss-120b", "groq", "groq", "openai/gpt-oss-120b", "gsk_secret_key"),
        ("ollama/llama3:8b", "ollama", "ollama", "llama3:8b", None),
        ("hosted_vllm/meta-llama/Llama-3", "hosted_vllm", "vllm", "meta-llama/Llama-3", None),
        ("llamacpp/any", "llamacpp", "llamacpp", "any", None),
        ("local/smollm2-135m", "local", "local", "smollm2-135m", None),
    ],
)
def test_a_name_says_which_provider_is_meant(target, name, kind, model, key):
    config = loaded(routed(target))
    (provider,) = config.providers
    assert (provider.name, provider.kind, provider.base_url) == (name, kind, KINDS[kind].url)
    assert list(provider.models) == [model]
    assert secrets(provider) == (() if key is None else (key,))
    assert config.routes["chat"].targets[0].name == f"{name}/{model}"


def test_targets_of_several_routes_share_one_implied_provider():
    config = loaded({
        "defaults": {"breaker": {"consecutive_failures": 3}},
        "route": {"chat": {"targets": ["gpt-4.1", "groq/a"]}, "small": {"targets": ["gpt-4.1-mini", "openai/gpt-4.1"]}},
    })  # fmt: skip
    found = {its.name: its for its in config.providers}
    assert set(found["openai"].models) == {"gpt-4.1", "gpt-4.1-mini"}
    assert found["groq"].breaker.consecutive_failures == 3


def test_a_declared_provider_of_that_name_wins():
    own = {"name": "anthropic", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "models": {"claude": {}}}
    found = providers(routed("anthropic/claude", provider=[own]), environ={})
    assert (found["anthropic"].kind, found["anthropic"].base_url) == ("openai", "http://127.0.0.1:9/v1")
    (said,) = problems(routed("anthropic/other", provider=[own]))
    assert 'lists no model "other"' in said


def test_a_key_that_is_not_set_is_named_once():
    said = problems(routed("anthropic/a", "anthropic/b"))
    assert said == [
        'route.chat.targets[0]: "anthropic/a" needs a key: ANTHROPIC_API_KEY is not set; set it, or declare a provider'
        ' "anthropic" with keys'
    ]


def test_a_variable_that_was_misspelt_is_suggested():
    (said,) = problems(routed("groq/a"), {"GROK_API_KEY": "gsk_secret_key"})
    assert "GROQ_API_KEY is not set; did you mean GROK_API_KEY, which is set?" in said
    assert "gsk_secret_key" not in said


def test_either_of_two_variables_will_do():
    (said,) = problems(routed("azure/chat"), {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"})
    assert "AZURE_OPENAI_API_KEY or AZURE_API_KEY is not set" in said
    environ = {"AZURE_API_BASE": "https://mine.openai.azure.com", "AZURE_API_KEY": "k" * 32}
    environ["AZURE_API_VERSION"] = "2024-10-21"
    (provider,) = loaded(routed("azure/chat"), environ).providers
    assert (provider.base_url, provider.version) == ("https://mine.openai.azure.com", "2024-10-21")
    assert list(provider.models) == ["chat"]


def test_an_address_that_is_not_set_is_asked_for():
    (said,) = problems(routed("azure/chat"), {"AZURE_API_KEY": "k" * 32})
    assert '"azure/chat" needs an address: AZURE_OPENAI_ENDPOINT or AZURE_API_BASE is not set' in said


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("antropic/claude", 'no provider is called "antropic"; did you mean the prefix "anthropic/"?'),
        ("opnai/gpt-4.1", 'did you mean the prefix "openai/"?'),
        ("zzzzzz/gpt-4.1", "expected one of"),
    ],
)
def test_an_unknown_prefix_is_refused_with_the_nearest(target, says):
    (said,) = problems(routed(target))
    assert says in said


def test_a_declared_name_is_nearer_than_a_prefix():
    own = {"name": "groqs", "kind": "groq", "keys": ["gsk_secret_key"], "models": {"a": {}}}
    (said,) = problems(routed("groks/a", provider=[own]))
    assert 'did you mean "groqs"?' in said


def test_prefixes_are_spoken_for_once():
    names = [name for kind in KINDS.values() for name in (kind.name, *kind.synonyms)]
    assert len(names) == len(set(names)) == len(PREFIXES)
    assert not any("/" in name for name in names)


# --- declared providers --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [name for name, its in KINDS.items() if its.url and its.needs_key])
def test_a_provider_without_keys_reads_the_variable_of_its_kind(kind):
    (variable, *_) = KINDS[kind].key_variables
    (provider,) = loaded(declared(kind=kind), {variable: " sk-from-the-variable \n"}).providers
    assert (provider.base_url, secrets(provider)) == (KINDS[kind].url, ("sk-from-the-variable",))


def test_written_keys_win_and_a_variable_is_then_not_read():
    (provider,) = loaded(declared(kind="groq", keys=["gsk_written_here"])).providers
    assert secrets(provider) == ("gsk_written_here",)


def test_a_company_is_not_asked_without_a_key():
    (said,) = problems(declared(kind="mistral"))
    assert said == "provider.p.keys: is missing, and MISTRAL_API_KEY is not set; set it, or write keys"
    assert loaded(declared(kind="mistral", headers={"Authorization": "Bearer abc"}), {}).providers[0].keys == ()


@pytest.mark.parametrize(
    "url", ["https://proxy.example.org/v1", "http://api.openai.com.evil.test/v1", "http://api.openai.com/v1"]
)
def test_a_key_does_not_go_to_a_host_it_was_not_made_for(url):
    assert loaded(declared(kind="openai", base_url=url)).providers[0].keys == ()
    (same,) = loaded(declared(kind="openai", base_url="https://API.openai.com/v1/")).providers
    assert secrets(same) == ("sk-openai-secret",)


MINE, OTHER = "https://mine.openai.azure.com", "https://other.openai.azure.com"
TWO_RESOURCES = {"AZURE_OPENAI_API_KEY": "key-of-mine-1234", "AZURE_API_KEY": "key-of-other-123"}


def test_a_key_stays_with_the_resource_whose_address_stands_beside_it():
    mine = {**TWO_RESOURCES, "AZURE_OPENAI_ENDPOINT": f"{MINE}/"}
    both = {**mine, "AZURE_API_BASE": OTHER}

    def given(url, environ):
        return secrets(loaded(declared(kind="azure", base_url=url), environ).providers[0])

    assert given(f"{MINE}/openai/v1", both) == ("key-of-mine-1234",)
    assert given(OTHER, both) == ("key-of-other-123",)
    assert given("https://third.openai.azure.com", both) == ()
    assert given("http://mine.openai.azure.com", both) == ()
    del mine["AZURE_API_KEY"]
    assert given(OTHER, mine) == ()


@pytest.mark.parametrize(
    ("environ", "url", "key"),
    [
        ({**TWO_RESOURCES, "AZURE_API_BASE": OTHER}, OTHER, "key-of-other-123"),
        ({"AZURE_OPENAI_ENDPOINT": MINE, "AZURE_API_BASE": OTHER, "AZURE_API_KEY": "key-of-other-123"}, OTHER,
         "key-of-other-123"),
        ({**TWO_RESOURCES, "AZURE_OPENAI_ENDPOINT": MINE, "AZURE_API_BASE": OTHER}, MINE, "key-of-mine-1234"),
        ({"AZURE_OPENAI_ENDPOINT": MINE, "AZURE_API_KEY": "key-of-mine-1234"}, MINE, "key-of-mine-1234"),
    ],
)  # fmt: skip
def test_an_address_and_a_key_of_one_convention_are_taken_together(environ, url, key):
    (provider,) = loaded(routed("azure/d"), environ).providers
    assert (provider.base_url, secrets(provider)) == (url, (key,))


def test_the_key_of_ollamas_cloud_goes_there_alone():
    cloud = {"OLLAMA_API_KEY": "key-of-the-cloud"}
    assert loaded(routed("ollama/llama3:8b"), cloud).providers[0].keys == ()
    assert loaded(declared(kind="ollama"), cloud).providers[0].keys == ()
    for url in ("http://10.0.0.7:11434/v1", "http://ollama.com/v1", "https://ollama.com.evil.test/v1"):
        assert loaded(declared(kind="ollama", base_url=url), cloud).providers[0].keys == ()
    (there,) = loaded(declared(kind="ollama", base_url="https://ollama.com/v1"), cloud).providers
    assert secrets(there) == ("key-of-the-cloud",)
    (written,) = loaded(declared(kind="ollama", keys=["env:OLLAMA_API_KEY"]), cloud).providers
    assert secrets(written) == ("key-of-the-cloud",)


@pytest.mark.parametrize("kind", ["vllm", "llamacpp"])
def test_a_server_of_ones_own_needs_no_key_and_gets_the_one_there_is(kind):
    (provider,) = loaded(declared(kind=kind), {}).providers
    assert (provider.base_url, secrets(provider)) == (KINDS[kind].url, ())
    variable = KINDS[kind].key_variables[0]
    (provider,) = loaded(declared(kind=kind, base_url="http://10.0.0.7:1/v1"), {variable: "token-of-mine"}).providers
    assert secrets(provider) == ("token-of-mine",)


def test_azure_needs_an_address_and_knows_its_versions():
    assert problems(declared(kind="azure", keys=["k" * 32])) == [
        'provider.p.base_url: is missing; expected something like "https://NAME.openai.azure.com"'
    ]
    url = "https://mine.openai.azure.com"
    assert loaded(declared(kind="azure", base_url=url, keys=["k" * 32])).providers[0].version == "v1"
    (said,) = problems(declared(kind="azure", base_url=url, keys=["k" * 32], version="2024"))
    assert said == 'provider.p.version: is "2024"; expected "v1", "preview" or a date such as "2024-10-21"'
    assert problems(declared(kind="azure", base_url=url, keys=["k" * 32], version="2024-13-45")) == [
        'provider.p.version: is "2024-13-45"; expected "v1", "preview" or a date such as "2024-10-21"'
    ]
    for version in ("latest", "2025-04-01-preview"):
        assert loaded(declared(kind="azure", base_url=url, keys=["k" * 32], version=version)).providers[0].version


def test_an_address_that_goes_on_to_a_deployment_is_refused():
    url = "https://mine.openai.azure.com/openai/deployments/gpt"
    (said,) = problems(declared(kind="azure", base_url=url, keys=["k" * 32]))
    assert said == (
        "provider.p.base_url: goes on to a deployment; end at the host: the model, or its `deployment`, says which"
    )


def test_a_version_of_anthropics_that_there_never_was_is_refused_with_the_nearest():
    (said,) = problems(declared(kind="anthropic", keys=["sk-ant-secret"], version="2026-10-12"))
    assert said == 'provider.p.version: is "2026-10-12"; did you mean "2026-10-21"?'
    (said,) = problems(declared(kind="anthropic", keys=["sk-ant-secret"], version="v1"))
    assert said == 'provider.p.version: is "v1"; expected one of "2023-06-01", "2026-10-21"'


def test_a_deployment_elsewhere_is_refused():
    (said,) = problems(declared(kind="groq", keys=["gsk_secret_key"], models={"m": {"deployment": "d"}}))
    assert said.startswith("provider.p.models.m.deployment: has a meaning for kind azure alone")


def test_an_unknown_kind_is_refused_with_the_nearest():
    (said,) = problems(declared(kind="mistrall", base_url="http://127.0.0.1/v1"))
    assert said == 'provider.p.kind: is "mistrall"; did you mean "mistral"?'
