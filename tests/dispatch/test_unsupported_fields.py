"""Fields of a request that a target has no form for: who is asked, what is left out, and who is told."""

import logging
from dataclasses import replace

import pytest
from world import world

from resilio import Unsupported
from resilio.models import Loss
from resilio.providers import REGISTRY, OpenAICodec
from resilio.testing import Script

pytestmark = pytest.mark.anyio

SEED = Loss("seed", "it knows no seed")
AUDIO = Loss("audio", "it cannot speak", needed=True)


class Deaf(OpenAICodec):
    """A dialect without seeds and without speech."""

    def unsupported(self, request, target, *, max_output_tokens):
        if target.provider != "deaf":
            return ()
        return tuple(loss for loss in (SEED, AUDIO) if loss.path in request.wire)

    def encode(self, request, target, **how):
        if target.provider == "deaf":
            request = replace(request, wire={name: its for name, its in request.wire.items() if name != "seed"})
        return super().encode(request, target, **how)


@pytest.fixture(autouse=True)
def deaf(monkeypatch):
    monkeypatch.setitem(REGISTRY._made, "openai", Deaf("openai"))


def asked(on_unsupported=None, *, cache=None, **scripts):
    route = {} if on_unsupported is None else {"on_unsupported": on_unsupported}
    scripts = scripts or {"deaf": Script(answer="yes")}
    return world(route=route, cache=cache, **scripts)


async def test_by_default_nothing_is_sent_and_the_error_names_the_field():
    async with asked() as it:
        with pytest.raises(Unsupported, match=r"deaf/m: cannot honour seed \(it knows no seed\)"):
            await it.llm.complete("chat", "?", seed=1)
        assert it.calls("deaf") == 0
        assert (await it.llm.complete("chat", "?")).warnings == ()


async def test_by_default_the_next_target_that_can_is_asked_with_everything():
    async with asked(deaf=Script(answer="no"), other=Script(answer="yes")) as it:
        reply = await it.llm.complete("chat", "?", seed=1)
        assert (reply.text, reply.target, it.calls("deaf")) == ("yes", "other/m", 0)
        assert it.providers["other"].log[0].body["seed"] == 1


async def test_warn_leaves_the_field_out_marks_the_reply_and_logs(caplog):
    async with asked("warn") as it:
        with caplog.at_level(logging.WARNING, "resilio"):
            reply = await it.llm.complete("chat", "?", seed=1)
        assert "seed" not in it.providers["deaf"].log[0].body
    assert reply.warnings == ("deaf/m was asked without seed (it knows no seed)",)
    assert [record.getMessage() for record in caplog.records] == list(reply.warnings)


async def test_warn_marks_the_reply_of_a_stream_too():
    async with asked("warn") as it:
        async with it.llm.stream("chat", "?", seed=1) as stream:
            text = "".join([chunk.text async for chunk in stream])
        assert (text, len(stream.reply.warnings)) == ("yes", 1)


async def test_drop_leaves_the_field_out_without_a_word(caplog):
    async with asked("drop") as it:
        reply = await it.llm.complete("chat", "?", seed=1)
        assert "seed" not in it.providers["deaf"].log[0].body
    assert reply.warnings == ()
    assert not caplog.records


async def test_warnings_are_those_of_the_target_that_answered():
    async with asked("warn", other=Script(answer="yes"), deaf=Script(answer="no")) as it:
        assert (await it.llm.complete("chat", "?", seed=1)).warnings == ()


@pytest.mark.parametrize("policy", ["error", "warn", "drop"])
async def test_what_the_request_is_about_is_never_left_out(policy):
    async with asked(policy) as it:
        with pytest.raises(Unsupported, match="it cannot speak"):
            await it.llm.complete("chat", "?", audio={"voice": "x"}, seed=1)
        assert it.calls("deaf") == 0


async def test_an_answer_from_the_cache_repeats_its_warnings():
    async with asked("warn", cache={"exact": {}}) as it:
        first = await it.llm.complete("chat", "?", seed=1, temperature=0)
        again = await it.llm.complete("chat", "?", seed=1, temperature=0)
        assert again.cached is not None
        assert again.warnings == first.warnings != ()
