"""Many callers, one embedder: nothing is embedded twice, nobody waits for nothing, and nobody pays for another."""

import asyncio
import random
from contextlib import asynccontextmanager
from types import MappingProxyType

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilio.cache.embedding import Encoder, Profile
from resilio.cache.embedding.hashing import HashingEmbedder
from resilio.cache.embedding.minilm import MiniLM
from resilio.errors import EmbedderUnavailable, ErrorClass, InvalidRequest, MalformedRequest
from resilio.testing import InlineExecutor, run
from resilio.testing.schedule import cancel_everywhere, shuffled


class Slow:
    """An embedder that takes a second a batch, and knows what it was asked."""

    id = "slow"
    dimension = 4
    profiles = MappingProxyType({"safety": Profile(0.97, strict=True)})

    def __init__(self, takes=1.0, fails=(), poison=(), refusal=None):
        self.batches = []
        self.at_once = self.most_at_once = 0
        self.closed = 0
        self._takes, self._fails, self._poison = takes, fails, poison
        self._refusal = refusal or InvalidRequest("no", ErrorClass.CALLER)

    async def embed(self, texts):
        self.batches.append(list(texts))
        number = len(self.batches)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self._takes)
        finally:
            self.at_once -= 1
        if number in self._fails:
            raise OSError(f"batch {number}")
        if set(texts) & set(self._poison):
            raise self._refusal
        return np.array([vector_of(text) for text in texts], np.float32)

    def fits(self, text):
        return True

    async def aclose(self):
        self.closed += 1


def vector_of(text):
    raw = np.random.default_rng(list(text.encode())).normal(size=4)
    return (raw / np.linalg.norm(raw)).astype(np.float32)


def right(text, vector):
    return np.array_equal(vector, vector_of(text))


async def test_a_lone_query_waits_for_nobody():
    slow = Slow()
    encoder = Encoder(slow)
    began = asyncio.get_running_loop().time()
    assert right("a", await encoder.vector("a"))
    assert asyncio.get_running_loop().time() - began == pytest.approx(1)


async def test_what_is_asked_during_a_batch_forms_the_next():
    slow = Slow()
    encoder = Encoder(slow, max_batch=3)

    async def ask(text, after):
        await asyncio.sleep(after)
        return right(text, await encoder.vector(text))

    asked = {"a": 0, "b": 0, "c": 0.1, "d": 0.2, "e": 0.3, "f": 0.4}
    assert all(await asyncio.gather(*(ask(text, after) for text, after in asked.items())))
    assert slow.batches == [["a", "b"], ["c", "d", "e"], ["f"]]
    assert slow.most_at_once == 1


async def test_an_endpoint_may_have_several_batches_on_their_way():
    slow = Slow()
    encoder = Encoder(slow, max_batch=2, max_batches=3)
    began = asyncio.get_running_loop().time()
    texts = [f"text {n}" for n in range(8)]
    vectors = await asyncio.gather(*(encoder.vector(text) for text in texts))
    assert all(map(right, texts, vectors))
    assert slow.most_at_once == 3
    assert asyncio.get_running_loop().time() - began == pytest.approx(2)


async def test_a_text_is_embedded_once_and_remembered():
    slow = Slow()
    encoder = Encoder(slow)
    assert encoder.vector_nowait("a") is None
    first, same = await asyncio.gather(encoder.vector("a"), encoder.vector("a"))
    assert first is same
    assert encoder.vector_nowait("a") is first
    assert await encoder.vector("a") is first
    assert slow.batches == [["a"]]
    assert not first.flags.writeable
    seen = encoder.statistics()
    assert (seen.embedded, seen.batches, seen.shared, seen.remembered, seen.entries) == (1, 1, 1, 2, 1)
    assert seen.bytes > first.nbytes


async def test_memory_is_bounded_by_number_and_the_longest_unused_goes():
    encoder = Encoder(Slow(takes=0), max_entries=2)
    for text in ("a", "b"):
        await encoder.vector(text)
    encoder.vector_nowait("a")
    await encoder.vector("c")
    assert encoder.vector_nowait("b") is None
    assert encoder.vector_nowait("a") is not None
    assert encoder.vector_nowait("c") is not None


async def test_memory_is_bounded_by_bytes():
    encoder = Encoder(Slow(takes=0), max_bytes=10_000)
    for n in range(100):
        await encoder.vector(f"text {n}")
        assert encoder.statistics().bytes <= 10_000
    held = encoder.statistics()
    assert 20 < held.entries < 100
    await encoder.vector("long " * 4000)
    assert encoder.statistics().entries == held.entries, "what can never fit throws nothing out"


async def test_nothing_is_remembered_where_nothing_may_be():
    for bounds in ({"max_bytes": 0}, {"max_entries": 0}):
        slow = Slow(takes=0)
        encoder = Encoder(slow, **bounds)
        await encoder.vector("a")
        await encoder.vector("a")
        assert slow.batches == [["a"], ["a"]]
        assert encoder.statistics().bytes == 0


async def test_an_error_reaches_exactly_those_who_waited_and_work_goes_on():
    slow = Slow(fails={1})
    encoder = Encoder(slow, max_batch=2)
    results = await asyncio.gather(*(encoder.vector(text) for text in "aabc"), return_exceptions=True)
    assert [type(each) for each in results] == [OSError, OSError, OSError, np.ndarray]
    assert right("a", await encoder.vector("a"))
    assert slow.batches == [["a", "b"], ["c"], ["a"]]


@pytest.mark.parametrize("refusal", [InvalidRequest("no", ErrorClass.CALLER), MalformedRequest("is empty")])
async def test_a_text_that_is_refused_fails_alone(refusal):
    slow = Slow(poison={"bad"}, refusal=refusal)
    encoder = Encoder(slow)
    texts = ["a", "b", "bad", "c", "d"]
    results = await asyncio.gather(*(encoder.vector(text) for text in texts), return_exceptions=True)
    assert results[2] is refusal
    assert all(right(text, vector) for text, vector in zip(texts, results, strict=True) if text != "bad")
    assert len(slow.batches) <= 7


@pytest.mark.parametrize("nonsense", [np.zeros((1, 3), np.float32), np.full((1, 4), np.nan, np.float32)])
async def test_vectors_that_break_the_promise_are_never_handed_out(nonsense):
    slow = Slow()

    async def embed(texts):
        return nonsense

    slow.embed = embed
    encoder = Encoder(slow)
    with pytest.raises(EmbedderUnavailable, match=r"shape|finite"):
        await encoder.vector("a")
    assert encoder.vector_nowait("a") is None


async def test_a_caller_who_is_cancelled_takes_nothing_from_another():
    slow = Slow()
    encoder = Encoder(slow)
    leaving, staying = (asyncio.create_task(encoder.vector("a")) for _ in range(2))
    await asyncio.sleep(0.5)
    leaving.cancel()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert right("a", await staying)


async def test_a_text_that_everybody_left_in_time_is_not_embedded():
    slow = Slow()
    encoder = Encoder(slow)
    first = asyncio.create_task(encoder.vector("a"))
    await asyncio.sleep(0.5)
    with anyio.move_on_after(0.1):
        await encoder.vector("b")
    await first
    assert encoder.statistics().waiting == 0
    assert slow.batches == [["a"]]


async def test_a_text_that_everybody_left_too_late_is_shared_with_who_comes():
    slow = Slow()
    encoder = Encoder(slow)
    with anyio.move_on_after(0.5):
        await encoder.vector("a")
    assert right("a", await encoder.vector("a"))
    assert slow.batches == [["a"]]


async def test_closing_tells_those_who_wait_and_closes_the_embedder():
    slow = Slow()
    encoder = Encoder(slow, max_batch=1)
    waiting = [asyncio.create_task(encoder.vector(text)) for text in "abb"]
    await asyncio.sleep(0.5)
    await encoder.aclose()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(each) for each in results} == {"the encoder of slow is closed"}
    assert (slow.at_once, slow.closed) == (0, 1)
    with pytest.raises(RuntimeError, match="closed"):
        await encoder.vector("c")
    await encoder.aclose()


async def test_nothing_is_kept_alive_by_a_batch():
    encoder = Encoder(Slow(takes=0))
    vectors = await asyncio.gather(*(encoder.vector(text) for text in "abc"))
    assert all(vector.base is None for vector in vectors), "a row of a batch keeps the whole batch"


def test_bounds_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Encoder(Slow(), max_batch=0)


@asynccontextmanager
async def scenario():
    slow = Slow()
    encoder = Encoder(slow, max_batch=2)
    others = [asyncio.create_task(encoder.vector(text)) for text in "abc"]
    await asyncio.sleep(0.5)  # the encoder's own task is at work, and outlives the call that is cancelled

    async def act():
        for text in "adcb":
            assert right(text, await encoder.vector(text))

    yield act
    assert all(map(right, "abc", await asyncio.gather(*others)))
    assert right("d", await encoder.vector("d"))
    assert encoder.statistics().waiting == 0
    await encoder.aclose()


def test_cancelled_at_any_await_it_leaves_the_others_whole():
    assert cancel_everywhere(scenario) >= 2


async def crowd(seed):
    """Callers who come, repeat each other and leave at random, and an embedder that fails at times."""
    rng = random.Random(seed)
    slow = Slow(fails={rng.randrange(1, 8) for _ in range(2)}, poison={"5"})
    encoder = Encoder(slow, max_batch=rng.randint(1, 4), max_batches=rng.randint(1, 3), max_entries=3)

    refused = set()

    async def caller():
        text = str(rng.randrange(10))
        await asyncio.sleep(rng.random() * 4)
        try:
            async with asyncio.timeout(rng.choice([0, 0.3, 1, 100])):
                vector = await encoder.vector(text)
        except InvalidRequest:
            refused.add(text)
        except (OSError, TimeoutError):
            pass
        else:
            assert right(text, vector)

    await asyncio.gather(*(caller() for _ in range(30)))
    assert refused <= {"5"}
    slow._fails = ()
    assert right("9", await encoder.vector("9"))
    assert slow.most_at_once <= encoder._max_batches
    await encoder.aclose()
    assert not encoder._under_way
    assert not encoder._tasks


@given(st.integers(0, 2**32))
def test_any_crowd_is_served_and_nobody_hangs(seed):
    run(crowd(seed))


def test_the_order_of_tasks_does_not_matter():
    shuffled(lambda: crowd(7), range(10))


async def test_a_real_model_runs_inline_on_virtual_time():
    executor = InlineExecutor()
    encoder = Encoder(MiniLM(executor))
    a, b = await asyncio.gather(encoder.vector("hello"), encoder.vector("hello!"))
    assert a @ b > 0.8
    assert executor.ran == 1
    await encoder.aclose()


async def test_the_hashing_embedder_serves_it_too():
    encoder = Encoder(HashingEmbedder())
    assert (await encoder.vector("hello")).shape == (256,)
    await encoder.aclose()
