"""One conversation with tools, pictures and a form for its answer, through every format and from each to each other.

To have another format in it: a row of `FORMATS`.
"""

import base64
import itertools
import json

import pytest
from tool_loops import BOTH, WEATHER, asks_for_tools_until, loop
from world import world

from resilio.testing import Script, faults

pytestmark = pytest.mark.anyio

FORMATS = {
    "openai": {"kind": "openai"},
    "anthropic": {"kind": "anthropic"},
    "gemini": {"kind": "gemini"},
    "responses": {"kind": "responses"},
}
"""By name: settings of a provider that speaks it."""
OWN_WORDS = {
    "openai": (),
    "anthropic": ("anthropic_content", "thinking_blocks", '"signature"'),
    "gemini": ("gemini_content", "extra_content", "thought_signature", "thoughtSignature"),
    "responses": ("responses_output", "encrypted_content"),
}
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

EACH = pytest.mark.parametrize("name", FORMATS)
PAIRS = pytest.mark.parametrize(("first", "second"), [*itertools.permutations(FORMATS, 2)])
THOUGHTS = pytest.mark.parametrize("thought", [None, "Both, I think."])


def mixed(**scripts):
    """A target of each of these formats, the first asked first, and a route for each alone."""
    only = {name: FORMATS[name] for name in scripts}
    return world(only=only, routes={f"at {name}": {"targets": [f"{name}/m"]} for name in scripts}, **scripts)


def assert_nothing_foreign_was_sent(it):
    for name, provider in it.providers.items():
        sent = json.dumps([dict(seen.body) for seen in provider.log])
        foreign = {word for other, words in OWN_WORDS.items() if other != name for word in words}
        assert not [word for word in (*foreign, *CARRIERS) if word in sent], name


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
@pytest.mark.parametrize("order", [*itertools.permutations(FORMATS)], ids="-".join)
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
@EACH
async def test_a_question_with_a_picture(ask, name):
    async with mixed(**{name: Script(answer="A cat.")}) as it:
        question = [{"role": "user", "content": [{"type": "text", "text": "What?"}, PICTURE]}]
        assert (await ask(it, question)).text == "A cat."
        assert PNG in json.dumps(dict(it.providers[name].log[0].body))


@BOTH
@EACH
async def test_an_answer_in_the_form_of_a_schema(ask, name):
    async with mixed(**{name: Script(answer=PERSON)}) as it:
        reply = await ask(it, "Who?", response_format=FORM)
        assert json.loads(reply.text) == {"name": "Ann", "age": 3}
        assert json.dumps(SCHEMA, sort_keys=True) in json.dumps(dict(it.providers[name].log[0].body), sort_keys=True)


@BOTH
@PAIRS
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
