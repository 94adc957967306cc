"""Secrets that change under a running client: no restart, no lost call, and nothing said of them anywhere."""

import asyncio
import dataclasses
import gc
import json
import logging
import random
import traceback
from concurrent.futures import Future
from contextlib import asynccontextmanager

import orjson
import pytest
from executors import InlineExecutor

from resilio import Client, ConfigError, Exhausted, ResilioError
from resilio.cli import main
from resilio.events import KeyRenewed, KeyRestored, KeySetAside, KeyUnreadable
from resilio.models import HttpRequest
from resilio.testing.faults import Error, ErrorFrame
from resilio.testing.latency import Fixed
from resilio.testing.loop import wall_clock
from resilio.testing.provider import SimulatedProvider
from resilio.testing.script import Script
from resilio.testing.transport import ScriptedTransport

OLD, NEW = "sk-marker-old-0123456789", "sk-marker-new-0123456789"
ONLY_NEW = Script(answer="fine", first_token=Fixed(0.5)).with_rule(Error("invalid_api_key"), key=OLD)
ONLY_OLD = Script(answer="fine", first_token=Fixed(0.5)).with_rule(Error("invalid_api_key"), key=NEW)
BACKUP = Script(answer="backup")


class Threads(InlineExecutor):
    """Does the work at once, or, while `busy`, when it is let."""

    def __init__(self):
        super().__init__()
        self.busy = False
        self.held = []
        self.ran = 0

    def submit(self, work, /, *args, **kwargs):
        self.ran += 1
        if not self.busy:
            return super().submit(work, *args, **kwargs)
        future = Future()
        self.held.append((future, work))
        return future

    def let(self):
        self.busy = False
        for future, work in self.held:
            done = super().submit(work)
            if done.exception() is None:
                future.set_result(done.result())
            else:
                future.set_exception(done.exception())
        self.held.clear()


@asynccontextmanager
async def opened(keys, *, script=ONLY_NEW, others=(), route=None, threads=None, headers=None):
    """A client whose provider "a" has these keys; events, provider and client."""
    tables = [
        {"name": name, "kind": "openai", "base_url": f"http://{name}.test/v1", "models": {"m": {}}, "keys": its}
        for name, its in (("a", keys), *((name, ["sk-b"]) for name in others))
    ]
    tables[0]["headers"] = headers or {}
    providers = {"a": SimulatedProvider(script), **{name: SimulatedProvider(BACKUP) for name in others}}
    transport = ScriptedTransport({f"http://{name}.test/v1": its for name, its in providers.items()})
    events, loop = [], asyncio.get_running_loop()
    async with Client(
        {"provider": tables, "route": {"chat": {"targets": [f"{name}/m" for name in providers], **(route or {})}}},
        transport=transport, rng=random.Random(1), wall=wall_clock(loop), listeners=[events.append],
        executor=threads or Threads(),
    ) as llm:  # fmt: skip
        yield llm, providers["a"], events


def told(events, kind):
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "key"
    path.write_text(OLD)
    return path


async def test_a_refusal_reads_the_file_again_and_the_call_never_notices(file):
    async with opened([f"file:{file}"], route={"retry": {"max_attempts": 1}}) as (llm, a, events):
        file.write_text(NEW + "\n")
        reply = await llm.complete("chat", "hi")
        assert (reply.text, [each.error_class for each in reply.attempts]) == ("fine", ["unauthorised", None])
        assert [request.key for request in a.log] == [OLD, NEW]
        assert len(told(events, KeyRenewed)) == 1
        assert told(events, KeySetAside) == []
        assert llm.status().providers["a"].breaker.state == "closed"


async def test_a_stream_is_begun_again_with_the_new_secret_too(file):
    async with opened([f"file:{file}"]) as (llm, _, _):
        file.write_text(NEW)
        async with llm.stream("chat", "hi") as stream:
            assert "".join([chunk.text async for chunk in stream]) == "fine"


async def test_a_file_is_read_now_and_then_so_that_most_rotations_meet_no_refusal(file):
    async with opened([f"file:{file}"], script=Script(answer="fine")) as (llm, a, events):
        await llm.complete("chat", "hi")
        file.write_text(NEW)
        await asyncio.sleep(10.1)
        await llm.complete("chat", "hi")
        assert [request.key for request in a.log] == [OLD, NEW]
        assert len(told(events, KeyRenewed)) == 1


@pytest.mark.parametrize("state", ["empty", "gone"])
async def test_a_refusal_that_meets_a_file_in_the_middle_of_its_rotation_looks_twice(file, state):
    async with opened([f"file:{file}"]) as (llm, _, events):
        if state == "empty":
            file.write_text("")
        else:
            file.unlink()
        call = asyncio.create_task(llm.complete("chat", "hi"))
        await asyncio.sleep(0.2)
        file.write_text(NEW)
        async with asyncio.timeout(2):  # not only when it is read again because it is time
            assert (await call).text == "fine"
        assert told(events, KeySetAside) == told(events, KeyUnreadable) == []


async def test_many_refusals_lead_to_one_reading_for_which_all_of_them_wait(file):
    threads = Threads()
    async with opened([f"file:{file}"], threads=threads) as (llm, a, _):
        threads.busy, before = True, threads.ran
        calls = [asyncio.create_task(llm.complete("chat", "hi")) for _ in range(20)]
        await asyncio.sleep(2)
        late = asyncio.create_task(llm.complete("chat", "hi"))
        await asyncio.sleep(2)
        assert threads.ran == before + 1
        assert a.count() == 20, "nobody asks with a secret that was refused"
        file.write_text(NEW)
        threads.let()
        assert {(await call).text for call in (*calls, late)} == {"fine"}
        assert a.count() == 41


@pytest.mark.parametrize("others", [[], ["b"]])
async def test_two_hundred_callers_streams_and_hedges_among_them_outlive_a_rotation(file, others):
    seed, route = 3, {"hedge": 0.2, "retry": {"max_attempts": 2}}
    rng = random.Random(seed)
    script = Script(answer="fine", first_token=Fixed(0.5))
    async with opened([f"file:{file}"], script=script, route=route, others=others) as (llm, a, events):

        async def ask(at):
            await asyncio.sleep(at)
            if rng.random() < 0.5:
                return (await llm.complete("chat", "hi")).text
            async with llm.stream("chat", "hi") as stream:
                return "".join([chunk.text async for chunk in stream])

        calls = [asyncio.create_task(ask(rng.choice([0.0, 0.0, rng.random() * 4]))) for _ in range(200)]
        left = [calls.pop(rng.randrange(len(calls))) for _ in range(20)]
        await asyncio.sleep(0.25)
        a.script = ONLY_NEW  # the old secret is refused from here on, before the new one is in its file
        file.write_text(NEW)
        await asyncio.sleep(0.3)
        for call in left:
            call.cancel()
            call.cancel()
        assert {await call for call in calls} == ({"fine", "backup"} if others else {"fine"})
        await asyncio.gather(*left, return_exceptions=True)
        assert len(told(events, KeyRenewed)) == 1
        assert told(events, KeySetAside) == []
        record = llm.engine.supervisor.providers["a"]
        assert (record.in_flight, record.waiters, record.keys[0].in_flight) == (0, [], 0)
        assert record.breaker.state == "closed"


async def test_who_has_another_target_does_not_wait(file):
    threads = Threads()
    async with opened([f"file:{file}"], others=["b"], threads=threads) as (llm, _, _):
        threads.busy = True
        assert (await llm.complete("chat", "hi")).text == "backup"
        threads.let()


async def test_without_another_secret_the_key_is_set_aside_and_comes_back_when_there_is_one(file):
    async with opened([f"file:{file}"]) as (llm, a, events):
        with pytest.raises(Exception, match="every key of 'a' is set aside") as caught:
            await llm.complete("chat", "hi")
        assert OLD not in "".join(traceback.format_exception(caught.value))
        (aside,) = told(events, KeySetAside)
        assert (aside.provider, aside.key, aside.why) == ("a", 0, "unauthorised")
        assert llm.status().providers["a"].breaker.state == "open"
        file.write_text(NEW)
        await asyncio.sleep(10.1)
        assert [event.why for event in told(events, KeyRestored)] == ["renewed"]
        assert llm.status().providers["a"].breaker.state == "closed"
        assert (await llm.complete("chat", "hi")).text == "fine"
        assert a.count() == 2


async def test_who_waits_in_vain_gets_a_precise_error_before_the_deadline(file):
    threads = Threads()
    async with opened([f"file:{file}"], threads=threads) as (llm, _, _):
        threads.busy, began = True, asyncio.get_running_loop().time()
        with pytest.raises(Exception, match="no others came from their files and commands in time"):
            await llm.complete("chat", "hi", deadline=5)
        assert asyncio.get_running_loop().time() - began <= 5
        threads.let()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_caller_cancelled_while_waiting_takes_nothing_along(file, times):
    threads = Threads()
    async with opened([f"file:{file}"], threads=threads) as (llm, _, _):
        threads.busy = True
        call, other = (asyncio.create_task(llm.complete("chat", "hi")) for _ in range(2))
        await asyncio.sleep(2)
        for _ in range(times):
            call.cancel()
        file.write_text(NEW)
        threads.let()
        assert (await other).text == "fine"
        with pytest.raises(asyncio.CancelledError):
            await call
        record = llm.engine.supervisor.providers["a"]
        assert (record.in_flight, record.waiters, record.keys[0].in_flight) == (0, [], 0)


async def test_closing_while_a_file_hangs_ends_at_once(file):
    threads, loop = Threads(), asyncio.get_running_loop()
    async with opened([f"file:{file}"], threads=threads) as (llm, _, _):
        threads.busy = True
        waits = asyncio.create_task(llm.complete("chat", "hi"))
        await asyncio.sleep(1)
        began = loop.time()
    assert loop.time() == began
    with pytest.raises(Exception, match=r"."):
        await waits
    threads.let()


async def test_a_file_that_hangs_is_not_opened_again_until_it_answers(file):
    threads = Threads()
    async with opened([f"file:{file}"], script=Script(answer="fine"), threads=threads) as (llm, _, events):
        threads.busy, before = True, threads.ran
        await asyncio.sleep(600)
        assert threads.ran == before + 1
        assert [event.why for event in told(events, KeyUnreadable)] == ["gave no answer within 20 s"]
        file.write_text(NEW)
        threads.let()
        await asyncio.sleep(20)
        assert llm.engine.supervisor.providers["a"].keys[0].secret == NEW


def document(*keys):
    table = {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}, "keys": list(keys)}
    return {"provider": [table], "route": {"chat": {"targets": ["a/m"]}}}


async def test_a_refusal_while_the_file_is_being_read_is_answered_by_another_reading(file):
    threads = Threads()
    async with opened([f"file:{file}"], threads=threads) as (llm, _, events):
        threads.busy = True
        await asyncio.sleep(10.5)
        ((reading, _),) = threads.held  # because it was time
        call = asyncio.create_task(llm.complete("chat", "hi"))
        await asyncio.sleep(1)
        threads.busy = False
        threads.held.clear()
        file.write_text(NEW)
        reading.set_result(OLD)  # as it was when it was read
        assert (await call).text == "fine"
        assert told(events, KeySetAside) == []


async def test_a_reading_that_ends_after_a_reload_does_not_bring_the_old_secret_back(file):
    threads = Threads()
    async with opened([f"file:{file}"], script=Script(answer="fine"), threads=threads) as (llm, _, events):
        threads.busy = True
        await asyncio.sleep(11)
        ((reading, _),) = threads.held
        file.write_text(NEW)
        await llm.reload(document(f"file:{file}"))
        threads.held.clear()
        reading.set_result(OLD)
        await asyncio.sleep(1)
        assert llm.engine.supervisor.providers["a"].keys[0].secret == NEW
        assert len(told(events, KeyRenewed)) == 1


async def test_a_reload_that_changes_how_often_a_file_is_read_holds_from_now_on(file):
    slow, quick = ({"key": f"file:{file}", "refresh": every} for every in (3600, 5))
    async with opened([slow], script=Script(answer="fine")) as (llm, _, events):
        await asyncio.sleep(1)
        await llm.reload(document(quick))
        file.write_text(NEW)
        await asyncio.sleep(5)
        assert len(told(events, KeyRenewed)) == 1


async def test_a_command_is_not_run_again_for_those_refused_while_it_ran(tmp_path):
    trace, threads = tmp_path / "trace", Threads()
    key = {"key": f"command:sh -c 'echo run >> {trace}; wc -l < {trace}'", "refresh": 30}
    script = Script(answer="fine").with_rule(Error("invalid_api_key"), key="1")
    async with opened([key], script=script, threads=threads) as (llm, _, _):
        threads.busy = True
        await asyncio.sleep(30.5)
        call = asyncio.create_task(llm.complete("chat", "hi"))
        await asyncio.sleep(1)
        threads.let()
        assert (await call).text == "fine"
        await asyncio.sleep(20)
        assert trace.read_text().count("run") == 2


async def test_an_unreadable_file_is_told_once_and_the_old_secret_goes_on(file, caplog):
    async with opened([f"file:{file}"], script=ONLY_OLD) as (llm, _, events):
        file.unlink()
        await asyncio.sleep(100)
        assert [(event.provider, event.key, event.why) for event in told(events, KeyUnreadable)] == [
            ("a", 0, "cannot be read: No such file or directory")
        ]
        assert (await llm.complete("chat", "hi")).text == "fine"
        assert sum("the secret there is stays" in message for message in caplog.messages) == 1


# --- commands ----------------------------------------------------------------------------------


async def test_a_command_is_run_when_the_client_opens_and_after_its_refresh(file):
    key = {"key": f"command:cat {file}", "refresh": 60}
    async with opened([key], script=Script(answer="fine")) as (llm, a, _):
        await llm.complete("chat", "hi")
        file.write_text(NEW)
        await asyncio.sleep(59)
        await llm.complete("chat", "hi")
        await asyncio.sleep(2)
        await llm.complete("chat", "hi")
        assert [request.key for request in a.log] == [OLD, OLD, NEW]


async def test_a_command_that_makes_up_a_key_each_time_is_not_run_by_every_refusal(tmp_path):
    trace = tmp_path / "trace"
    line = f"command:sh -c 'echo run >> {trace}; wc -l < {trace}'"
    async with opened([line], script=Script.of(Error("invalid_api_key"))) as (llm, _, _):
        for _ in range(10):
            with pytest.raises(Exhausted):
                await llm.complete("chat", "hi")
        assert trace.read_text().count("run") == 2


async def test_a_command_that_fails_keeps_the_client_closed_and_is_named_by_its_place(file):
    config = [f"file:{file}", f"command:sh -c 'echo {NEW}; exit 3'", f"command:false {NEW}"]
    with pytest.raises(ConfigError) as caught:
        async with opened(config):
            pass
    assert caught.value.problems == (
        "provider.a.keys[1]: the command failed: exit status 3",
        "provider.a.keys[2]: the command failed: exit status 1",
    )
    assert NEW not in "".join(traceback.format_exception(caught.value))


async def test_no_variable_of_the_frames_that_run_commands_holds_a_secret():
    with pytest.raises(ConfigError) as caught:
        async with opened(["command:printf sk-%s%s marker -0123456789", "command:false"]):
            pass
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in report.stack if "tests" not in frame.filename]
    assert "first_secrets" in {frame.name for frame in frames}
    assert not [frame.name for frame in frames if "sk-marker" in repr(frame.locals)]


async def test_a_file_that_hung_before_a_reload_gives_its_secret_to_no_other_source(file, tmp_path):
    threads, other = Threads(), tmp_path / "other"
    other.write_text("sk-of-the-other-file")
    async with opened([{"key": f"file:{file}", "name": "k"}], script=Script(answer="fine"), threads=threads) as (
        llm, _, events,
    ):  # fmt: skip
        threads.busy = True
        await asyncio.sleep(31)  # its reading was given up by now, and is still under way
        (provider,) = llm.config.providers
        moved = {"name": "a", "kind": "openai", "base_url": provider.base_url, "models": {"m": {}}}
        keys = [{"key": f"file:{other}", "name": "k"}]
        await llm.reload({"provider": [{**moved, "keys": keys}], "route": {"chat": {"targets": ["a/m"]}}})
        file.write_text("sk-too-late")
        await asyncio.sleep(11)
        threads.let()
        await asyncio.sleep(21)
        assert llm.engine.supervisor.providers["a"].keys[0].secret == "sk-of-the-other-file"
        assert len(told(events, KeyRenewed)) == 1, "by the reload"


async def test_a_reload_runs_new_commands_only_and_keeps_what_was_renewed(file, tmp_path):
    trace = tmp_path / "trace"
    first = {"key": f"command:sh -c 'echo run >> {trace}; cat {file}'", "refresh": 60}
    async with opened([first], script=Script(answer="fine")) as (llm, _, events):
        file.write_text(NEW)
        await asyncio.sleep(61)
        tables = lambda *keys: {  # noqa: E731
            "provider": [
                {"name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}}, "keys": list(keys)}
            ],
            "route": {"chat": {"targets": ["a/m"]}},
        }
        ran = trace.read_text().count("run")
        applied = await llm.reload(tables(first))
        assert applied.changed == ()
        applied = await llm.reload(tables(first, "command:echo sk-second"))
        assert applied.changed == ("provider.a",)
        kept = llm.engine.supervisor.providers["a"].keys
        assert [key.secret for key in kept] == [NEW, "sk-second"]
        assert trace.read_text().count("run") == ran
        with pytest.raises(ConfigError, match=r"provider\.a\.keys\[1\]: the command failed: exit status 1"):
            await llm.reload(tables(first, "command:false"))
        assert [key.secret for key in llm.engine.supervisor.providers["a"].keys] == [NEW, "sk-second"]
        assert len(told(events, KeyRenewed)) == 1


async def test_a_reload_that_reads_another_secret_from_the_same_place_cures_the_key(file):
    async with opened([{"key": f"file:{file}", "refresh": 3600, "name": "ours"}]) as (llm, _, events):
        with pytest.raises(Exhausted):
            await llm.complete("chat", "hi")
        key = llm.engine.supervisor.providers["a"].keys[0]
        limiter = key.limiters["m"]
        file.write_text(NEW)
        await llm.reload(
            {
                "provider": [
                    {
                        "name": "a", "kind": "openai", "base_url": "http://a.test/v1", "models": {"m": {}},
                        "keys": [{"key": f"file:{file}", "name": "ours"}],
                    }
                ],
                "route": {"chat": {"targets": ["a/m"]}},
            }
        )  # fmt: skip
        assert llm.engine.supervisor.providers["a"].keys[0] is key
        assert key.limiters["m"] is limiter
        assert (await llm.complete("chat", "hi")).text == "fine"
        assert [(event.why, event.name) for event in told(events, KeyRestored)] == [("renewed", "ours")]


# --- never told --------------------------------------------------------------------------------


def everything(*roots):
    """All objects of the engine that can be reached from these."""
    found, queue = {}, list(roots)
    while queue:
        each = queue.pop()
        if id(each) in found or isinstance(each, type | str | bytes) or type(each).__module__.startswith("tests"):
            continue
        found[id(each)] = each
        ours = type(each).__module__.startswith("resilio") and not type(each).__module__.startswith("resilio.testing")
        if ours or isinstance(each, dict | list | tuple | set | frozenset):
            queue += gc.get_referents(each)
    return [each for each in found.values() if type(each).__module__.startswith("resilio")]


async def test_no_secret_comes_out_anywhere(file, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    command = tmp_path / "command"
    command.write_text("sk-marker-command-0123456789")
    keys = [f"file:{file}", f"command:cat {command}", {"key": "sk-marker-literal-0123456789", "name": "written"}]
    script = Script(answer="fine").with_rule(Error("invalid_api_key"), key=OLD)
    script = script.with_rule(Error("insufficient_quota"), key="sk-marker-literal-0123456789")
    out = []
    async with opened(keys, script=script, headers={"x-team": f"file:{file}"}) as (llm, a, events):
        for _ in range(6):
            out.append(repr(await llm.complete("chat", "hi")))
        command.write_text("sk-marker\nbroken")
        a.script = Script.of(Error("invalid_api_key"))
        for _ in range(3):
            with pytest.raises(Exception, match=r".") as caught:
                await llm.complete("chat", "hi")
            out += traceback.format_exception(caught.value)
            error = caught.value
            while error is not None:
                out += [repr(error), str(error), repr(vars(error))]
                error = error.__cause__ or error.__context__
        await asyncio.sleep(20)
        assert {type(event) for event in events} >= {KeySetAside, KeyUnreadable}
        out += [repr(event) for event in events]
        out += [repr(dataclasses.asdict(event)) for event in events]
        out.append(orjson.dumps(llm.status(), option=orjson.OPT_NON_STR_KEYS, default=str).decode())
        seen = everything(llm, llm.config, llm.engine)
        assert {"Key", "KeySettings", "ProviderSettings", "KeyKeeper"} <= {type(each).__name__ for each in seen}
        out += [repr(each) for each in seen]
        encoded = llm.engine.supervisor.routes["chat"].targets[0].codec
        request = HttpRequest("http://a.test", {"authorization": f"Bearer {OLD}"}, OLD.encode())
        out += [repr(encoded), repr(request)]
    out += [record.getMessage() + repr(record.args) + str(record.exc_text) for record in caplog.records]
    assert caplog.records
    assert not [text for text in out if "sk-marker" in text]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("key", [OLD, "marker of an unusual/form=="])
async def test_a_server_that_repeats_the_key_it_refuses_is_not_quoted(key, streamed):
    message = f"Incorrect API key provided: {key} - get another."
    async with opened([key], script=Script.of(Error("invalid_api_key", message=message))) as (llm, _, events):
        with pytest.raises(Exhausted) as caught:
            if streamed:
                async with llm.stream("chat", "hi"):
                    pass
            else:
                await llm.complete("chat", "hi")
    text = "".join(traceback.format_exception(caught.value)) + repr(events)
    assert "Incorrect API key provided: [key] - get another." in text
    assert key not in text


ODD = "marker of an unusual/form+with==many-characters"


@pytest.mark.parametrize("key", [OLD, ODD, "sk-marker/of+a==form~that-is-not-usual"])
@pytest.mark.parametrize("lead", ["", "x" * 230])
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("how", ["complete", "stream", "auto"])
async def test_a_server_that_repeats_the_key_inside_a_200_is_not_quoted(key, lead, after, how):
    fault = ErrorFrame(after=after, code="invalid_api_key", message=f"Bad: {lead}{key} - get another.")
    route = {"upstream_stream": "auto"} if how == "auto" else None
    async with opened([key], script=Script.of(fault), route=route) as (llm, _, events):
        with pytest.raises(ResilioError) as caught:
            if how == "stream":
                async with llm.stream("chat", "hi") as stream:
                    [chunk async for chunk in stream]
            else:
                await llm.complete("chat", "hi")
    text, error = repr(events), caught.value
    while error is not None:
        text += "".join(traceback.format_exception(error)) + repr(vars(error))
        error = error.__cause__ or error.__context__
    assert "[key]" in text
    assert "marker" not in text


async def test_a_server_that_repeats_a_header_with_a_password_is_not_quoted():
    headers = {"X-Team-Token": "Basic marker-of-a-header", "X-Team": "research-and-development"}
    message = "marker-of-a-header may not use research-and-development"
    async with opened(["sk-a"], script=Script.of(Error("invalid_request", 400, message=message)), headers=headers) as (
        llm, _, events,
    ):  # fmt: skip
        with pytest.raises(ResilioError) as caught:
            await llm.complete("chat", "hi")
    text = "".join(traceback.format_exception(caught.value)) + repr(events)
    assert "[key] may not use research-and-development" in text
    assert "marker" not in text


def test_neither_check_nor_explain_shows_a_key(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MARKED", "sk-marker-environment-0123456789")
    path = tmp_path / "resilio.toml"
    literal = '{ key = "sk-marker-literal", name = "n", requests_per_minute = 90 }'
    keys = f'["file:{file}", "env:MARKED", "command:echo sk-marker", {literal}]'
    path.write_text(
        f'[[provider]]\nname = "a"\nkind = "openai"\nbase_url = "http://a.test/v1"\nkeys = {keys}\nmodels.m = {{}}\n'
        '[route.chat]\ntargets = ["a/m"]\n'
    )
    for more in ([], ["--json"]):
        assert main(["check", str(path), *more]) == 0
    path.write_text(path.read_text().replace("models.m", "modles.m"))
    assert main(["check", str(path)]) == 2
    out, err = capsys.readouterr()
    assert "sk-marker" not in out + err
    assert "key n: 90 requests a minute, for each model" in out
    assert json.loads(out[out.index("{") :])["sound"] is True
