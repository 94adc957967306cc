import json

import pytest

from resilio.errors import ErrorClass, MalformedResponse, ProviderError
from resilio.models import Answer, HttpRequest, Request
from resilio.providers import REGISTRY, OpenAICodec
from resilio.testing import Sample, check_codec, simulated_samples

DIALECTS = {"anthropic": "anthropic", "gemini": "gemini", "responses": "responses"}
REQUESTS = [
    Request("chat", [{"role": "user", "content": "hi"}]),
    Request("chat", [{"role": "user", "content": "hi"}], {"temperature": 0.1, "tools": [], "max_tokens": 5}),
    Request(
        "chat", [{"role": "system", "content": "é🙂"}, {"role": "user", "content": [{"type": "text", "text": "x"}]}]
    ),
]


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_every_registered_codec_conforms(kind):
    check_codec(REGISTRY[kind], simulated_samples(dialect=DIALECTS.get(kind, "openai")), REQUESTS, every=3)


@pytest.mark.soak
@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_every_registered_codec_conforms_at_every_byte(kind):
    check_codec(REGISTRY[kind], simulated_samples(dialect=DIALECTS.get(kind, "openai")), REQUESTS)


class Wrapper:
    """A decoder with one bad habit, around a good one."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class TrustsTheEnd(Wrapper):
    complete = True

    def finish(self):
        try:
            return self.inner.finish()
        except MalformedResponse:
            return []


class LosesTails(Wrapper):
    def feed(self, data):
        return self.inner.feed(data if data.endswith(b"\n\n") else data + b"\n\n")


class Codec(OpenAICodec):
    def __init__(self, **bad):
        super().__init__("openai")
        self.bad = bad

    __slots__ = ("bad",)

    def stream_decoder(self, status, headers):
        return self.bad.get("decoder", lambda inner: inner)(super().stream_decoder(status, headers))

    def decode(self, status, headers, body):
        try:
            return super().decode(status, headers, body)
        except ProviderError:
            if "decode" in self.bad:
                return self.bad["decode"](body)
            raise

    def error(self, status, headers, body, *, wall_now):
        return self.bad.get("error", super().error)(status, headers, body, wall_now=wall_now)

    def encode(self, request, target, **options):
        made = super().encode(request, target, **options)
        return self.bad.get("encode", lambda made, options: made)(made, options)


def leaks_the_key(made, options):
    return HttpRequest(f"{made.url}?key={options['key']}", made.headers, made.body)


def fragile(status, headers, body, *, wall_now):
    return ProviderError(json.loads(body)["error"]["message"], ErrorClass.CALLER)


@pytest.mark.parametrize(
    ("bad", "finding"),
    [
        ({"decoder": TrustsTheEnd}, "streamed: cut at byte 0, it calls"),
        ({"decoder": LosesTails}, "streamed: byte by byte, it reads"),
        ({"decode": lambda body: Answer("half", "stop")}, "whole: cut at byte 0, it reads as Answer"),
        ({"decode": lambda body: json.loads(body)}, "Expecting value"),
        ({"encode": leaks_the_key}, "shows the key in URL or body"),
        ({"error": fragile}, "Expecting value"),
    ],
)
def test_a_codec_with_a_bad_habit_is_found_out(bad, finding):
    with pytest.raises(AssertionError, match=finding):
        check_codec(Codec(**bad), simulated_samples(["one two"]), REQUESTS, every=7)


def test_a_sample_that_says_something_else_is_a_finding():
    (sample, *_) = simulated_samples(["one two"])
    with pytest.raises(AssertionError, match="reads 'one two'"):
        check_codec(REGISTRY["openai"], [Sample("mine", sample.body, "one three", headers=sample.headers)])
