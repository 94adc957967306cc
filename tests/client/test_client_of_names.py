"""A client from names of models alone: one route, first choice first."""

import pytest

from resilio import Client
from resilio.errors import ConfigError
from resilio.testing import Script, ScriptedTransport, SimulatedProvider, faults, run

HELLO = "Hello there"


def test_the_second_answers_where_the_first_fails(monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-key")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-key")
    claude = SimulatedProvider(Script.of(faults.Error("server_is_overloaded")), keys=["sk-ant-key"])
    gpt = SimulatedProvider(Script(), keys=["sk-openai-key"])
    transport = ScriptedTransport({"https://api.anthropic.com": claude, "https://api.openai.com/v1": gpt})

    async def main():
        async with Client.of("anthropic/claude-sonnet-4-5", "gpt-4.1", transport=transport) as llm:
            return await llm.complete("chat", HELLO)

    reply = run(main())
    assert (reply.text, reply.target) == (HELLO, "openai/gpt-4.1")
    assert [seen.model for seen in claude.log] == ["claude-sonnet-4-5"]


def test_a_missing_key_is_told_before_anything_opens(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY is not set"):
        Client.of("anthropic/claude-sonnet-4-5")


def test_nobody_to_ask_is_refused():
    with pytest.raises(ConfigError, match="targets: is empty"):
        Client.of()


def test_a_deployment_of_azures_is_asked_and_its_models_price_charged():
    azure = SimulatedProvider(Script(), keys=["k" * 32], models=["prod-chat"])
    model = {"deployment": "prod-chat", "price": {"input": 1e6, "output": 1e6}}
    config = {
        "provider": [{
            "name": "az", "kind": "azure", "base_url": "https://mine.openai.azure.com", "version": "2024-10-21",
            "keys": ["k" * 32], "models": {"gpt-4.1": model},
        }],
        "route": {"chat": {"targets": ["az/gpt-4.1"]}},
    }  # fmt: skip

    async def main():
        async with Client(config, transport=ScriptedTransport({"https://mine.openai.azure.com": azure})) as llm:
            whole = await llm.complete("chat", HELLO)
            async with llm.stream("chat", HELLO) as stream:
                text = "".join([chunk.text async for chunk in stream])
            return whole, text, stream.reply

    whole, text, streamed = run(main())
    assert (whole.text, text, whole.target, streamed.target) == (HELLO, HELLO, "az/gpt-4.1", "az/gpt-4.1")
    assert whole.cost_usd == whole.usage.input_tokens + whole.usage.output_tokens
    assert {seen.path for seen in azure.log} == {"/openai/deployments/prod-chat/chat/completions"}


def test_a_request_that_one_server_cannot_honour_goes_to_the_next(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk_key")
    monkeypatch.setenv("MISTRAL_API_KEY", "mistral-key")
    groq, mistral = SimulatedProvider(Script()), SimulatedProvider(Script())
    transport = ScriptedTransport({"https://api.groq.com/openai/v1": groq, "https://api.mistral.ai/v1": mistral})

    async def main():
        async with Client.of("groq/a", "mistral/b", transport=transport) as llm:
            return await llm.complete("chat", HELLO, n=2, seed=3)

    assert run(main()).target == "mistral/b"
    assert not groq.log
    assert (mistral.log[0].body["n"], mistral.log[0].body["random_seed"]) == (2, 3)


def test_vectors_come_from_a_deployment_of_azures():
    azure = SimulatedProvider(Script(), keys=["k" * 32], models=["embed-1"])
    models = {"text-embedding-3-small": {"deployment": "embed-1"}}
    config = {
        "provider": [{
            "name": "az", "kind": "azure", "base_url": "https://mine.openai.azure.com/", "version": "2024-10-21",
            "keys": ["k" * 32], "models": models,
        }],
        "route": {"embed": {"targets": ["groq/none", "az/text-embedding-3-small"]}},
    }  # fmt: skip
    config["provider"].append({"name": "groq", "kind": "groq", "keys": ["gsk_key"], "models": {"none": {}}})
    transport = ScriptedTransport({"https://mine.openai.azure.com": azure})

    async def main():
        async with Client(config, transport=transport) as llm:
            return await llm.embed("embed", ["a", "b"])

    vectors = run(main())
    assert (len(vectors), vectors.target) == (2, "az/text-embedding-3-small")
    assert [seen.path for seen in azure.log] == ["/openai/deployments/embed-1/embeddings"]
