import base64
import email.utils
import json
import struct

import pytest

from resilio.testing import LogNormal, Outcome, Script, SimulatedProvider, faults

CHAT = "/v1/chat/completions"


def provider(script=None, **options):
    options = {"clock": lambda: 50.0, "wall_clock": lambda: 1_800_000_000.25, **options}
    return SimulatedProvider(script, **options)


def ask(simulated, path=CHAT, *, headers=None, **body):
    body = {"model": "m", "messages": [{"role": "user", "content": "one two three four five six seven"}], **body}
    _seen, reaction = simulated.react("POST", path, headers or {}, json.dumps(body).encode())
    return reaction


def content(reaction):
    return b"".join(data for _, data in reaction.pieces)


def answer(reaction):
    return json.loads(content(reaction))


def frames(reaction):
    lines = content(reaction).decode().split("\n\n")
    return [line.removeprefix("data: ") for line in lines if line]


def deltas(reaction):
    return [
        choice["delta"] for frame in frames(reaction) if frame != "[DONE]" for choice in json.loads(frame)["choices"]
    ]


def test_a_healthy_answer_echoes_the_user_in_the_real_shape():
    whole = answer(ask(provider()))
    choice = whole["choices"][0]
    assert choice["message"]["content"] == "one two three four five six seven"
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "m"
    assert whole["created"] == 1_800_000_000
    assert whole["usage"]["completion_tokens"] == 7
    assert whole["usage"]["total_tokens"] == whole["usage"]["prompt_tokens"] + 7


def test_the_answer_may_be_a_text_or_a_function_of_the_request():
    assert answer(ask(provider(Script(answer="fixed"))))["choices"][0]["message"]["content"] == "fixed"
    by_model = provider(Script(answer=lambda body: f"I am {body['model']}"))
    assert answer(ask(by_model, model="x"))["choices"][0]["message"]["content"] == "I am x"


def test_an_answer_is_cut_at_the_callers_limit_and_says_so():
    for name in ("max_tokens", "max_completion_tokens"):
        choice = answer(ask(provider(), **{name: 3}))["choices"][0]
        assert choice["message"]["content"] == "one two three "
        assert choice["finish_reason"] == "length"


def test_a_stream_has_role_content_finish_usage_and_done_in_this_order():
    reaction = ask(provider(), stream=True, stream_options={"include_usage": True})
    *chunks, done = frames(reaction)
    parsed = [json.loads(chunk) for chunk in chunks]
    assert done == "[DONE]"
    assert parsed[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in parsed[1:-2]]
    assert "".join(texts) == "one two three four five six seven"
    assert parsed[-2]["choices"][0]["finish_reason"] == "stop"
    assert parsed[-1]["choices"] == []
    assert parsed[-1]["usage"]["completion_tokens"] == 7
    assert all(chunk["usage"] is None for chunk in parsed[:-1])
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in parsed}) == 1
    assert reaction.headers["Content-Type"].startswith("text/event-stream")


def test_usage_comes_only_when_asked_for():
    assert not any("usage" in frame for frame in frames(ask(provider(), stream=True)))


def test_several_choices_are_told_apart_by_index():
    whole = answer(ask(provider(), n=2))
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["usage"]["completion_tokens"] == 14
    finishes = [json.loads(f)["choices"][0]["index"] for f in frames(ask(provider(), stream=True, n=2))[-3:-1]]
    assert finishes == [0, 1]


CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    ],
}


def test_a_tool_call_comes_whole_or_with_its_arguments_in_pieces():
    simulated = provider(Script(answer=lambda body: CALLS))
    choice = answer(ask(simulated))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == CALLS["tool_calls"]
    calls = [delta["tool_calls"][0] for delta in deltas(ask(simulated, stream=True)) if "tool_calls" in delta]
    assert (calls[0]["id"], calls[0]["function"]["name"]) == ("call_1", "weather")
    assert all("id" not in call for call in calls[1:])
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city":"Oslo"}'
    assert len(calls) > 2


def test_the_first_token_and_the_speed_are_the_scripts():
    script = Script(tokens_per_second=10, first_token=LogNormal(2.0, 0.0))
    unary, stream = ask(provider(script)), ask(provider(script), stream=True)
    assert unary.head_delay == pytest.approx(2.6), "six more tokens after the first"
    assert stream.head_delay == 0
    assert stream.pieces[0][0] == pytest.approx(2.0)
    assert sum(delay for delay, _ in stream.pieces) == pytest.approx(2.6)
    late = ask(provider(Script(head="with_first_token", first_token=LogNormal(2.0, 0.0))), stream=True)
    assert (late.head_delay, late.pieces[0][0]) == (pytest.approx(2.0), 0)


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"messages": None}, 400, "missing_required_parameter", "messages"),
        ({"messages": []}, 400, "empty_array", "messages"),
        ({"messages": "hello"}, 400, "invalid_type", "messages"),
        ({"model": ""}, 400, None, None),
        ({"model": "nope"}, 404, "model_not_found", None),
    ],
)
def test_a_bad_request_is_refused_as_the_real_api_does(change, status, code, param):
    reaction = ask(provider(models=["m"]), **change)
    error = answer(reaction)["error"]
    assert (reaction.status, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_what_is_not_json_is_refused():
    _, reaction = provider().react("POST", CHAT, {}, b"{")
    assert reaction.status == 400


def test_an_unknown_path_is_not_found():
    assert ask(provider(), "/v1/audio").status == 404


def test_only_the_right_key_is_let_in_whatever_the_case_of_the_header():
    simulated = provider(keys=["right"])
    assert ask(simulated, headers={"authorization": "Bearer right"}).status == 200
    wrong = ask(simulated, headers={"Authorization": "Bearer wrong"})
    assert (wrong.status, answer(wrong)["error"]["code"]) == (401, "invalid_api_key")
    assert ask(simulated).status == 401
    assert [seen.key for seen in simulated.log] == ["right", "wrong", None]


@pytest.mark.parametrize("code", sorted(faults.ERRORS))
def test_every_error_code_comes_with_its_status_and_type(code):
    reaction = ask(provider(Script.of(faults.Error(code))))
    shape = faults.ERRORS[code]
    assert reaction.status == shape.status
    assert answer(reaction)["error"] == {
        "message": shape.message, "type": shape.type, "param": None, "code": code,
    }  # fmt: skip


def test_a_hint_is_given_in_the_form_asked_for():
    def hint(**options):
        return ask(provider(Script.of(faults.Error("slow_down", **options)))).headers

    assert hint(retry_after=1.5)["Retry-After"] == "1.5"
    assert hint(retry_after=1.5, retry_after_as="ms")["retry-after-ms"] == "1500"
    date = email.utils.parsedate_to_datetime(hint(retry_after=10, retry_after_as="date")["Retry-After"])
    assert date.timestamp() == 1_800_000_011, "never less than was meant"
    assert not any(name.lower().startswith("retry") for name in hint())


def test_a_status_without_a_code_will_do():
    reaction = ask(provider(Script.of(faults.Error(status=418, message="teapot", headers={"x-brew": "no"}))))
    assert (reaction.status, reaction.headers["x-brew"]) == (418, "no")
    assert answer(reaction)["error"]["message"] == "teapot"


def test_headers_go_with_a_healthy_answer_and_with_an_error():
    limits = faults.Headers({"x-ratelimit-remaining-requests": "0"})
    assert ask(provider(Script.of(limits))).headers["x-ratelimit-remaining-requests"] == "0"
    failing = ask(provider(Script.of(faults.Error("slow_down"), limits, headers={"x-both": "1"})))
    assert failing.status == 429
    assert failing.headers["x-ratelimit-remaining-requests"] == "0"
    assert failing.headers["x-both"] == "1"


def texts(reaction):
    return [delta["content"] for delta in deltas(reaction) if delta.get("content")]


def test_a_clean_cut_has_no_finish_reason_and_no_terminator():
    reaction = ask(provider(Script.of(faults.Cut(after=5))), stream=True)
    assert texts(reaction) == ["one ", "two ", "three ", "four ", "five "]
    assert reaction.ending == "clean"
    assert b'finish_reason":"' not in content(reaction)
    assert b"[DONE]" not in content(reaction)
    assert ask(provider(Script.of(faults.Cut(after=5, clean=False))), stream=True).ending == "cut"


def test_a_stall_never_ends():
    reaction = ask(provider(Script.of(faults.Stall(after=2))), stream=True)
    assert (texts(reaction), reaction.ending) == (["one ", "two "], "never")


def test_one_chunk_in_the_middle_is_not_json():
    bad = []
    for number, frame in enumerate(frames(ask(provider(Script.of(faults.Malformed(after=3))), stream=True))[:-1]):
        try:
            json.loads(frame)
        except ValueError:
            bad.append(number)
    assert bad == [4], "the role, three words, and then it"


@pytest.mark.parametrize("times", [0, 2])
def test_the_terminator_may_be_missing_or_come_twice(times):
    reaction = ask(provider(Script.of(faults.Terminator(times))), stream=True)
    assert content(reaction).count(b"[DONE]") == times
    assert b'"finish_reason":"stop"' in content(reaction)


def test_an_error_frame_ends_a_stream_that_began_well():
    reaction = ask(provider(Script.of(faults.ErrorFrame(after=2, code="server_is_overloaded"))), stream=True)
    assert reaction.status == 200
    assert json.loads(frames(reaction)[-1])["error"]["code"] == "server_is_overloaded"
    assert len(frames(reaction)) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_empty_choices_are_well_formed_and_empty(stream):
    reaction = ask(provider(Script.of(faults.EmptyChoices())), stream=stream)
    parsed = [json.loads(f) for f in frames(reaction) if f != "[DONE]"] if stream else [answer(reaction)]
    assert parsed
    assert all(part["choices"] == [] for part in parsed)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [faults.TruncatedJson(), faults.Cut(3), faults.Stall(3), faults.Malformed(3)])
def test_a_broken_answer_cannot_be_read_as_a_whole_one(fault, stream):
    reaction = ask(provider(Script.of(fault)), stream=stream)
    if stream:
        assert b'"finish_reason":"stop"' not in content(reaction) or isinstance(fault, faults.Malformed)
    else:
        with pytest.raises(ValueError, match=r"."):
            json.loads(content(reaction))


def test_an_html_page_comes_with_a_200():
    reaction = ask(provider(Script.of(faults.Html())))
    assert (reaction.status, reaction.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert content(reaction).startswith(b"<!DOCTYPE html>")


def test_a_giant_answer_is_at_least_as_long_as_asked():
    reaction = ask(provider(Script.of(faults.Giant(200_000))))
    assert 200_000 <= len(content(reaction)) < 300_000


def test_a_content_filter_ends_the_text_with_its_own_finish_reason():
    choice = answer(ask(provider(Script.of(faults.Refusal()))))["choices"][0]
    assert choice["finish_reason"] == "content_filter"


def test_a_model_that_declines_says_so_beside_the_content():
    simulated = provider(Script.of(faults.Refusal("refusal", text="I must not.")))
    message = answer(ask(simulated))["choices"][0]["message"]
    assert (message["content"], message["refusal"]) == (None, "I must not.")
    said = [delta["refusal"] for delta in deltas(ask(simulated, stream=True)) if delta.get("refusal")]
    assert said == ["I ", "must ", "not."]


def test_a_prompt_may_be_refused_with_a_400():
    reaction = ask(provider(Script.of(faults.Refusal("prompt"))))
    assert (reaction.status, answer(reaction)["error"]["code"]) == (400, "content_policy_violation")


def test_a_trailing_assistant_message_is_refused_where_prefill_is_not_known():
    simulated = provider(Script.of(faults.NoPrefill()))
    assert ask(simulated).status == 200
    prefilled = [{"role": "user", "content": "count"}, {"role": "assistant", "content": "one two"}]
    assert ask(simulated, messages=prefilled).status == 400


def test_reported_usage_may_be_wrong_or_missing():
    wrong = answer(ask(provider(Script.of(faults.UsageReport(prompt_tokens=1000, cached_tokens=900)))))["usage"]
    assert (wrong["prompt_tokens"], wrong["completion_tokens"], wrong["total_tokens"]) == (1000, 7, 1007)
    assert wrong["prompt_tokens_details"]["cached_tokens"] == 900
    assert "usage" not in answer(ask(provider(Script.of(faults.UsageReport(missing=True)))))
    streamed = ask(
        provider(Script.of(faults.UsageReport(missing=True))), stream=True, stream_options={"include_usage": True}
    )
    assert all(json.loads(frame)["usage"] is None for frame in frames(streamed)[:-1])


def test_embeddings_depend_on_the_text_alone_and_have_unit_length():
    one = answer(ask(provider(seed=1), "/v1/embeddings", input=["a", "b"]))["data"]
    two = answer(ask(provider(seed=2), "/v1/embeddings", input="a"))["data"]
    assert one[0]["embedding"] == two[0]["embedding"] != one[1]["embedding"]
    assert len(one[0]["embedding"]) == 64
    assert sum(value**2 for value in one[0]["embedding"]) == pytest.approx(1)


def test_embeddings_in_base64_are_the_same_numbers_as_little_endian_floats():
    plain = answer(ask(provider(), "/v1/embeddings", input="a", dimensions=16))["data"][0]["embedding"]
    packed = answer(ask(provider(), "/v1/embeddings", input="a", dimensions=16, encoding_format="base64"))
    unpacked = struct.unpack("<16f", base64.b64decode(packed["data"][0]["embedding"]))
    assert unpacked == pytest.approx(plain)


def test_embeddings_of_nothing_are_refused():
    assert ask(provider(), "/v1/embeddings", input=[]).status == 400


def test_models_and_health_answer_without_a_body():
    simulated = provider(models=["a", "b"])
    _, models = simulated.react("GET", "/v1/models", {}, b"")
    assert [model["id"] for model in answer(models)["data"]] == ["a", "b"]
    _, health = simulated.react("GET", "/health", {}, b"")
    assert answer(health) == {"status": "ok"}


def test_the_log_tells_what_was_asked_and_how_it_ended():
    times = iter([10.0, 11.5])
    simulated = provider(Script.of(faults.Error("server_error")), clock=lambda: next(times))
    seen, _reaction = simulated.react("POST", CHAT, {"Authorization": "Bearer k"}, b'{"model":"m","stream":true}')
    assert simulated.in_flight == 1
    assert (seen.at, seen.model, seen.key, seen.stream, seen.outcome) == (10.0, "m", "k", True, "open")
    simulated.settle(seen)
    simulated.settle(seen, Outcome.CLIENT_GONE)
    assert (seen.outcome, seen.ended_at, seen.status, simulated.in_flight) == ("error", 11.5, 500, 0)


def test_the_same_seed_gives_the_same_answers():
    script = Script(first_token=LogNormal(1.0)).probability(0.5, faults.Error("server_error"))

    def replay(seed):
        simulated = provider(script, seed=seed)
        return [(reaction.status, reaction.head_delay, content(reaction)) for reaction in
                (ask(simulated) for _ in range(20))]  # fmt: skip

    assert replay(1) == replay(1) != replay(2)


def test_a_new_script_starts_counting_anew():
    simulated = provider(Script().first(1, faults.Error("server_error")))
    assert [ask(simulated).status for _ in range(2)] == [500, 200]
    simulated.script = Script().first(1, faults.Error("server_is_overloaded"))
    assert [ask(simulated).status for _ in range(2)] == [503, 200]
