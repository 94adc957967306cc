"""One conversation with tools, pictures and a form for its answer, through every format and from each to each other.

To have another format in it: a row of `FORMATS`; a kind of provider without one is told.
"""

import base64
import itertools
import json
import re

import pytest
from tool_loops import BOTH, WEATHER, asks_for_tools_until, loop
from world import world

from resilio.providers import REGISTRY
from resilio.testing import Script, faults

pytestmark = pytest.mark.anyio

FORMATS = {
    "openai": {"kind": "openai"},
    "anthropic": {"kind": "anthropic"},
    "gemini": {"kind": "gemini"},
    "responses": {"kind": "responses"},
    "azure": {"kind": "azure", "version": "2024-10-21"},
    "newer": {"kind": "anthropic", "version": "2026-10-21"},
    **{kind: {"kind": kind} for kind in ("mistral", "groq", "deepseek", "openrouter", "vllm", "ollama", "llamacpp")},
}
"""By name: settings of a provider that speaks it."""
CORE = ("openai", "anthropic", "gemini", "responses")
QUIRKY = ("azure", "newer", "mistral", "deepseek")
"""Others whose ids, thoughts or fields differ; each moves to and from each of the core in every run, the rest daily."""
NO_PICTURES = ("deepseek",)
NO_SCHEMA = ("deepseek",)
"""Targets that are told before anything is sent; the tests of `on_unsupported` show how."""
OWN_WORDS = {
    "openai": (),
    "anthropic": ("anthropic_content", "thinking_blocks", '"signature"'),
    "gemini": ("gemini_content", "extra_content", "thought_signature", "thoughtSignature"),
    "responses": ("responses_output", "encrypted_content"),
    "deepseek": ("reasoning_content",),
}
OWN_WORDS["newer"] = OWN_WORDS["anthropic"]
"""What only this format may be sent; what a message of a caller's calls it may not be sent either."""
CARRIERS = ("anthropic_content", "gemini_content", "extra_content", "responses_output", "thinking_blocks")
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
PERSON = '{"name": "Ann", "age": 3}'


def pairs(*without):
    """Every ordered pair of formats."""
    for first, second in itertools.permutations([name for name in FORMATS if name not in without], 2):
        usual = {first, second} <= {*CORE, *QUIRKY} and {first, second} & {*CORE}
        yield pytest.param(first, second, marks=[] if usual else [pytest.mark.soak])


EACH = pytest.mark.parametrize("name", FORMATS)
PAIRS = pytest.mark.parametrize(("first", "second"), [*pairs()])
THOUGHTS = pytest.mark.parametrize("thought", [None, "Both, I think."])


def mixed(**scripts):
    """A target of each of these formats, the first asked first, and a route for each alone."""
    only = {name: FORMATS[name] for name in scripts}
    return world(only=only, routes={f"at {name}": {"targets": [f"{name}/m"]} for name in scripts}, **scripts)


def assert_nothing_foreign_was_sent(it):
    for name, provider in it.providers.items():
        sent = json.dumps([dict(seen.body) for seen in provider.log])
        own = OWN_WORDS.get(name, ())
        foreign = {word for words in OWN_WORDS.values() for word in words if word not in own}
        assert not [word for word in (*foreign, *CARRIERS) if word in sent], name
    if "mistral" in it.providers:
        for message in (its for seen in it.providers["mistral"].log for its in seen.body["messages"]):
            ids = [call["id"] for call in message.get("tool_calls", ())] + [message.get("tool_call_id", "a" * 9)]
            assert all(re.fullmatch("[a-zA-Z0-9]{9}", each) for each in ids), "it is a 400 there"


@BOTH
@EACH
@THOUGHTS
async def test_a_loop_of_three_rounds_with_parallel_calls(ask, name, thought):
    async with mixed(**{name: Script(answer=asks_for_tools_until(3, thought))}) as it:
        reply, _ = await loop(it, ask, [{"role": "user", "content": "Weather?"}], 3)
        assert (reply.text, reply.finish_reason) == ("6 results", "stop")
        assert_nothing_foreign_was_sent(it)
        it.assert_idle()


@BOTH
@PAIRS
@THOUGHTS
async def test_a_loop_moves_to_another_format_in_the_middle_and_back(ask, first, second, thought):
    """The first answers the first round, is down for the second, and answers again."""
    script = Script(answer=asks_for_tools_until(3, thought)).sequence(
        None, faults.Error("server_is_overloaded"), None, None
    )
    async with mixed(**{first: script, second: Script(answer=asks_for_tools_until(3, thought))}) as it:
        reply, targets = await loop(it, ask, [{"role": "user", "content": "?"}], 3)
        assert targets == [f"{first}/m", f"{second}/m", f"{first}/m", f"{first}/m"]
        assert reply.text == "6 results"
        assert_nothing_foreign_was_sent(it)
        it.assert_idle()


@BOTH
@THOUGHTS
@pytest.mark.parametrize("order", [*itertools.permutations(CORE), (*QUIRKY, *CORE)], ids="-".join)
async def test_a_loop_goes_round_all_formats_and_back_to_the_first(ask, order, thought):
    rounds = len(order)
    scripts = {name: Script(answer=asks_for_tools_until(rounds, thought)) for name in order}
    async with mixed(**scripts) as it:
        messages = [{"role": "user", "content": "?"}]
        for name in (*order, order[0]):
            reply, _ = await loop(it, ask, messages, 0, route=f"at {name}")
            assert reply.target == f"{name}/m"
        assert reply.text == f"{2 * rounds} results"
        assert_nothing_foreign_was_sent(it)


@BOTH
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NO_PICTURES])
async def test_a_question_with_a_picture(ask, name):
    async with mixed(**{name: Script(answer="A cat.")}) as it:
        question = [{"role": "user", "content": [{"type": "text", "text": "What?"}, PICTURE]}]
        assert (await ask(it, question)).text == "A cat."
        assert PNG in json.dumps(dict(it.providers[name].log[0].body))


@BOTH
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in NO_SCHEMA])
async def test_an_answer_in_the_form_of_a_schema(ask, name):
    async with mixed(**{name: Script(answer=PERSON)}) as it:
        reply = await ask(it, "Who?", response_format=FORM)
        assert json.loads(reply.text) == {"name": "Ann", "age": 3}
        assert json.dumps(SCHEMA, sort_keys=True) in json.dumps(dict(it.providers[name].log[0].body), sort_keys=True)


@BOTH
@pytest.mark.parametrize(("first", "second"), [*pairs(*NO_PICTURES, *NO_SCHEMA)])
async def test_a_picture_tools_and_a_schema_in_one_conversation_that_fails_over_in_the_middle(ask, first, second):
    def answer(body):
        seen = sum(message["role"] == "tool" for message in body["messages"])
        return asks_for_tools_until(3)(body) if seen < 6 else PERSON

    script = Script(answer=answer).sequence(None, faults.Cut(0), faults.Cut(0), None)
    async with mixed(**{first: script, second: Script(answer=answer)}) as it:
        content = [{"type": "text", "text": "Who is it, and how is the weather?"}, PICTURE]
        messages = [{"role": "user", "content": content}]
        reply, targets = await loop(it, ask, messages, 3, response_format=FORM)
        assert targets == [f"{first}/m", f"{second}/m", f"{second}/m", f"{first}/m"]
        assert json.loads(reply.text) == {"name": "Ann", "age": 3}
        for name in (first, second):
            bodies = [json.dumps(dict(seen.body)) for seen in it.providers[name].log]
            assert all(PNG in body and WEATHER["function"]["name"] in body for body in bodies)
        assert_nothing_foreign_was_sent(it)
        it.assert_idle()


def test_every_kind_of_provider_has_its_row():
    assert {settings["kind"] for settings in FORMATS.values()} == set(REGISTRY) - {"local"}
    assert {*CORE, *QUIRKY, *NO_PICTURES, *NO_SCHEMA} <= FORMATS.keys()
