"""``python -m resilio.testing.recordings``: what it makes of good recordings, bad ones, and a bad codec."""

import json

import gemini_wire
import openai_wire
import pytest
import responses_wire
from anthropic_wire import MESSAGES, delta, events_of, opened, start, stream, text

from resilio.errors import ProviderError
from resilio.models import Answer
from resilio.testing.recordings import FORMATS, Exchange, check_folder
from resilio.testing.recordings.__main__ import main
from resilio.testing.recordings.check import with_own_codec

CHAT, ANTHROPIC, GEMINI, *_ = FORMATS
NAMES = ("text", "tools", "thinking", "refusal")


def exchange(folder, name, *, status=200, uri="", **response):
    whole = {
        "origin": {"kind": "recorded"},
        "request": {"uri": uri},
        "response": {"status": status, "headers": {}, **response},
    }
    (folder / f"{name}.json").write_text(json.dumps(whole))


@pytest.fixture
def folder(tmp_path):
    """Both formats, whole and streamed, an error, and what nobody knows."""
    for name in NAMES:
        whole = MESSAGES[name]
        exchange(tmp_path, f"anthropic {name}", json=whole)
        exchange(tmp_path, f"anthropic {name} stream", sse=stream(*events_of(whole)).decode())
    exchange(tmp_path, "chat", json=openai_wire.completion())
    for name in ("text", "tools", "two choices"):
        exchange(tmp_path, f"chat {name} stream", sse=openai_wire.STREAMS[name].decode())
    for name in ("tools", "reasoning and tools", "length"):
        whole = responses_wire.RESPONSES[name]
        exchange(tmp_path, f"responses {name}", json=whole)
        events = responses_wire.stream(*responses_wire.events_of(whole))
        exchange(tmp_path, f"responses {name} stream", sse=events.decode())
    exchange(tmp_path, "responses failed", json=responses_wire.failed("server_error", "It failed."))
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    exchange(tmp_path, "anthropic error", status=529, json=overloaded)
    no_money = {"error": {"code": "insufficient_quota", "message": "x", "type": "insufficient_quota"}}
    exchange(tmp_path, "chat error", status=429, uri="https://api.openai.com/v1/chat/completions", json=no_money)
    for name in ("text", "tools", "thinking"):
        exchange(tmp_path, f"gemini {name}", json=gemini_wire.RESPONSES[name])
        pieces = gemini_wire.events_of(gemini_wire.RESPONSES[name])
        exchange(tmp_path, f"gemini {name} stream", sse=gemini_wire.stream(*pieces).decode())
    exchange(tmp_path, "gemini pieces stream", sse=gemini_wire.stream(*gemini_wire.IN_PIECES).decode())
    exchange(tmp_path, "gemini blocked", json=gemini_wire.BLOCKED)
    no_quota = {"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}
    exchange(tmp_path, "gemini error", status=429, uri="https://x.test/v1/models/m:generateContent", json=no_quota)
    exchange(tmp_path, "converse", json={"output": {"message": {}}})
    exchange(tmp_path, "responses error", status=429, uri="https://a.test/v1/responses?api-version=1", json=no_money)
    (tmp_path / "corpus.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{")
    return tmp_path


def test_what_the_sdks_read_we_read(folder, capsys):
    assert main([str(folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["differences"] == []
    assert [note["name"] for note in report["notes"]] == ["gemini blocked", "responses failed"]
    counts = {(row["format"], row["kind"], row["outcome"]): row["count"] for row in report["counts"]}
    assert counts == {
        ("anthropic", "whole", "equal"): len(NAMES),
        ("anthropic", "stream", "equal"): len(NAMES),
        ("anthropic", "error", "classified overloaded"): 1,
        ("gemini", "whole", "equal"): 3,
        ("gemini", "stream", "equal"): 4,
        ("gemini", "whole", "refused"): 1,
        ("gemini", "error", "classified throttled"): 1,
        ("openai-chat", "whole", "equal"): 1,
        ("openai-chat", "stream", "equal"): 3,
        ("openai-chat", "error", "classified out_of_credit"): 1,
        ("openai-responses", "whole", "equal"): 3,
        ("openai-responses", "stream", "equal"): 3,
        ("openai-responses", "whole", "refused"): 1,
        ("openai-responses", "error", "classified out_of_credit"): 1,
    }
    assert report["passed_over"] == 3


def test_the_table_is_for_people(folder, capsys):
    assert main([str(folder)]) == 0
    assert "anthropic    stream equal                  anthropic thinking stream" in capsys.readouterr().out


def test_a_stream_in_which_two_messages_are_mixed_is_a_difference(tmp_path, capsys):
    half = [start(), opened(0, text("")), delta(0, type="text_delta", text="Half")]
    exchange(tmp_path, "spliced", sse=stream(*half, *events_of(MESSAGES["text"])).decode())
    assert main([str(tmp_path)]) == 1
    assert "we refuse it" in capsys.readouterr().out


class Codec:
    """Ours, with one bad habit."""

    def __init__(self, **habits):
        self.habits = habits

    def __getattr__(self, name):
        return self.habits.get(name) or getattr(ANTHROPIC.codec, name)


class Hasty:
    """Calls a stream whole at its reason to stop, and does not mind an end without one."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    @property
    def complete(self):
        return bool(self.inner.answer().text)

    def finish(self):
        try:
            return self.inner.finish()
        except ProviderError:
            return []


class Forgetful(Hasty):
    """Loses what stands at the end of the bytes it is given."""

    complete = False

    def feed(self, data):
        return self.inner.feed(data if data.endswith(b"\n\n") else data[:-1])


def streaming(habit):
    return Codec(stream_decoder=lambda *its: habit(ANTHROPIC.codec.stream_decoder(*its)))


@pytest.mark.parametrize(
    ("codec", "lines"),
    [
        (Codec(decode=lambda *its: Answer("Other", "length")), ["text: 'Other'", "finish: 'length'"]),
        (streaming(Hasty), ["complete at byte", "cut at byte"]),
        (streaming(Forgetful), ["byte by byte", "when cut at"]),
    ],
)
def test_a_codec_that_errs_is_found_out(tmp_path, codec, lines):
    exchange(tmp_path, "whole", json=MESSAGES["text"])
    exchange(tmp_path, "streamed", sse=stream(*events_of(MESSAGES["text"])).decode())
    summary = check_folder(tmp_path, [ANTHROPIC._replace(codec=codec)])
    told = "\n".join(line for finding in summary.findings for line in finding.differences)
    assert all(line in told for line in lines), told


def test_an_end_that_no_sdk_checks_is_refused_by_us(tmp_path, capsys):
    *whole, _, _ = events_of(MESSAGES["text"])
    exchange(tmp_path, "cut", sse=stream(*whole).decode())
    assert main([str(tmp_path)]) == 1
    assert "ended without a stop_reason" in capsys.readouterr().out


def test_no_folder_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["/nowhere"])
    assert caught.value.code == 2
    assert "is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://api.mistral.ai/v1/chat/completions", "mistral"),
        ("https://api.deepseek.com/chat/completions", "deepseek"),
        ("https://openrouter.ai/api/v1/chat/completions", "openrouter"),
        ("https://ollama.com/v1/chat/completions", "ollama"),
        ("http://localhost:11434/v1/chat/completions", "ollama"),
        ("https://api.openai.com/v1/chat/completions", "openai"),
        ("https://api.z.ai/api/paas/v4/chat/completions", "openai"),
        ("", "openai"),
    ],
)
def test_an_exchange_is_read_by_the_codec_of_the_server_that_answered(url, kind):
    assert with_own_codec(Exchange("x", 200, {}, b"{}", stream=False, url=url), CHAT).codec.kind == kind


def test_another_formats_exchanges_are_not_read_by_a_server_of_openais_dialect():
    url = "https://api.anthropic.com/v1/messages"
    assert with_own_codec(Exchange("x", 200, {}, b"{}", stream=False, url=url), ANTHROPIC).codec.kind == "anthropic"


@pytest.mark.parametrize(
    ("uri", "found"),
    [("", 1), ("https://api.openai.com/v1/embeddings", 1), ("https://api.cohere.com/v2/chat", 0)],
)
def test_an_error_is_known_by_its_address_or_without_one_by_its_shape(tmp_path, uri, found):
    error = {"error": {"message": "x", "type": "invalid_request_error", "param": None, "code": "model_not_found"}}
    exchange(tmp_path, "one", status=404, uri=uri, json=error)
    assert len(check_folder(tmp_path).findings) == found
