"""The simulated provider remembers prompts as the real ones do: by breakpoints, or of its own accord."""

import orjson
import pytest

from resilio.testing import Script, SimulatedProvider, faults

SYSTEM = "s" * 8000  # 2,000 tokens
MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


class Server:
    """A provider with a clock that the test sets."""

    def __init__(self, script=None):
        self.now = 0.0
        self.provider = SimulatedProvider(script, clock=lambda: self.now, wall_clock=lambda: 1.8e9)

    def ask(self, path, body):
        headers = {"anthropic-version": "2023-06-01"}
        seen, reaction = self.provider.react("POST", path, headers, orjson.dumps(body))
        self.provider.settle(seen)
        return reaction.status, orjson.loads(reaction.pieces[0][1])

    def claude(self, messages, *, system=SYSTEM, mark=MARK, model="claude-sonnet-4-5", **more):
        """Tokens written for 5 minutes, written for an hour, read, and the others."""
        text = {"type": "text", "text": system, **({"cache_control": mark} if mark else {})}
        body = {"model": model, "max_tokens": 9, "messages": messages, "system": [text], **more}
        status, answer = self.ask("/v1/messages", body)
        assert status == 200, answer
        usage = answer["usage"]
        five, hour = (usage["cache_creation"][f"ephemeral_{ttl}_input_tokens"] for ttl in ("5m", "1h"))
        assert usage["cache_creation_input_tokens"] == five + hour
        return five, hour, usage["cache_read_input_tokens"], usage["input_tokens"]

    def gpt(self, messages):
        _, answer = self.ask("/v1/chat/completions", {"model": "m", "messages": messages})
        usage = answer["usage"]
        return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def user(text, mark=None):
    return {"role": "user", "content": [{"type": "text", "text": text, **({"cache_control": mark} if mark else {})}]}


def assistant(text):
    return {"role": "assistant", "content": text}


def test_what_is_marked_is_written_once_and_read_after_that():
    server = Server()
    assert server.claude([user("q" * 400)]) == (2000, 0, 0, 100)
    assert server.claude([user("r" * 800)]) == (0, 0, 2000, 200)
    assert server.claude([user("q" * 400)], mark=None) == (0, 0, 0, 2100), "nothing is cached unasked"


def test_a_conversation_writes_only_what_it_adds():
    server = Server()
    first = [user("a" * 399, MARK)]
    assert server.claude(first) == (2100, 0, 0, 0)
    second = [user("a" * 399), assistant("b" * 399), user("c" * 399, MARK)]
    assert server.claude(second) == (200, 0, 2100, 0)


def test_one_letter_changed_is_another_prefix():
    server = Server()
    server.claude([user("q")])
    assert server.claude([user("q")], system="t" + SYSTEM[1:])[2] == 0
    assert server.claude([user("q")], model="claude-sonnet-5")[2] == 0
    assert server.claude([user("q")], tools=[{"name": "f", "input_schema": {"type": "object"}}])[2] == 0


def test_how_to_choose_tools_changes_the_messages_and_not_the_system_prompt():
    server = Server()
    server.claude([user("q" * 396, MARK)])
    assert server.claude([user("q" * 396, MARK)], tool_choice={"type": "auto"})[2] == 2000


def test_it_is_forgotten_after_five_minutes_of_idleness():
    server = Server()
    server.claude([user("q")])
    server.now = 299.0
    assert server.claude([user("q")])[2] == 2000
    server.now = 598.0
    assert server.claude([user("q")])[2] == 2000, "reading keeps it"
    server.now = 898.0
    assert server.claude([user("q")])[:3] == (2000, 0, 0)


def test_an_hour_is_kept_for_an_hour():
    server = Server()
    assert server.claude([user("q")], mark=HOUR)[:3] == (0, 2000, 0)
    server.now = 3599.0
    assert server.claude([user("q")], mark=HOUR)[:3] == (0, 0, 2000)


def test_both_lifetimes_in_one_request_are_told_apart():
    assert Server().claude([user("q" * 399, MARK)], mark=HOUR) == (100, 2000, 0, 0)


@pytest.mark.parametrize(("model", "written"), [("claude-sonnet-4-5", 2000), ("claude-haiku-4-5", 0)])
def test_below_the_models_minimum_nothing_is_kept(model, written):
    assert Server().claude([user("q")], model=model)[0] == written


@pytest.mark.parametrize(("between", "read"), [(18, 2100), (19, 2100), (20, 0)])
def test_it_looks_twenty_blocks_back(between, read):
    server = Server()
    first = user("a" * 399, MARK)
    server.claude([first], mark=None)
    parts = [{"type": "text", "text": "x"} for _ in range(between - 1)]
    later = [user("a" * 399), {"role": "assistant", "content": parts}, user("c", MARK)]
    assert server.claude(later, mark=None)[2] == read


def test_five_marks_are_refused_and_an_hour_after_five_minutes():
    server = Server()
    body = {"model": "m", "max_tokens": 9, "messages": [user("q")]}
    content = [{"type": "text", "text": f"{n}", "cache_control": MARK} for n in range(5)]
    status, answer = server.ask("/v1/messages", {**body, "messages": [{"role": "user", "content": content}]})
    assert (status, "maximum of 4" in answer["error"]["message"]) == (400, True)
    content = [
        {"type": "text", "text": "a", "cache_control": MARK},
        {"type": "text", "text": "b", "cache_control": HOUR},
    ]
    status, answer = server.ask("/v1/messages", {**body, "messages": [{"role": "user", "content": content}]})
    assert (status, "must not come after" in answer["error"]["message"]) == (400, True)


def test_a_request_that_is_refused_writes_nothing():
    server = Server(Script().first(1, faults.Error("server_is_overloaded")))
    body = {"model": "m", "max_tokens": 9, "messages": [user("q" * 8000, MARK)]}
    assert server.ask("/v1/messages", body)[0] == 529
    _, answer = server.ask("/v1/messages", body)
    assert answer["usage"]["cache_creation_input_tokens"] == 2000


def test_two_servers_share_nothing():
    one, other = Server(), Server()
    one.claude([user("q")])
    assert other.claude([user("q")])[2] == 0


def test_an_automatic_cache_reads_whole_units_from_1024_tokens_on():
    server = Server(Script(automatic_cache=True))
    head = {"role": "system", "content": SYSTEM}
    assert server.gpt([head, turn := {"role": "user", "content": "q" * 399}]) == (2100, 0)
    assert server.gpt([head, turn, {"role": "user", "content": "more"}])[1] == 2048
    assert server.gpt([{"role": "system", "content": SYSTEM[:6000]}, turn])[1] == 1408, "1,500 tokens are the same"
    server.now = 301.0
    assert server.gpt([head, turn])[1] == 0
    assert Server(Script(automatic_cache=True)).gpt([head, turn])[1] == 0
    short = Server(Script(automatic_cache=True))
    for _ in range(2):
        assert short.gpt([{"role": "user", "content": "q" * 4000}])[1] == 0


def test_openais_dialect_caches_only_when_asked_to():
    server = Server()
    for _ in range(2):
        assert server.gpt([{"role": "user", "content": SYSTEM}])[1] == 0


def test_it_does_not_remember_for_ever_what_nobody_can_read_any_more():
    server = Server(Script(automatic_cache=True))
    for number in range(130):  # a prompt of 62,500 tokens: 488 units of it
        server.now += 20.0
        server.gpt([user(f"{number} " + "x" * 250_000)])
    remembered = int(repr(server.provider.prompt_cache).split()[2])
    assert remembered <= 25_000
    assert server.gpt([user("129 " + "x" * 250_000)])[1] > 60_000, "what is not over is still there"
