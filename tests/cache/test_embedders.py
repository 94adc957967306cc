"""Every embedder holds the protocol; one that does not is found out; and each has its own limits."""

import asyncio
import math

import numpy as np
import pytest

from resilio.cache.embedding import EMBEDDERS, Means, Profile
from resilio.cache.embedding.hashing import HashingEmbedder
from resilio.cache.embedding.provider import ProviderEmbedder
from resilio.cache.embedding.worker import Worker
from resilio.errors import ConfigError, MalformedResponse
from resilio.testing import InlineExecutor, check_embedder

MEASURED = {"safety": Profile(0.97, strict=True), "faq": Profile(0.8, strict=False)}


async def endpoint(texts):
    """Vectors of any length, as endpoints give them."""
    return [[3.0 * x for x in row] for row in (await HashingEmbedder(16).embed(texts)).tolist()]


@pytest.mark.real_loop
async def test_minilm_holds_the_protocol():
    await check_embedder(EMBEDDERS["minilm"](Means()))


async def test_hashing_holds_the_protocol():
    await check_embedder(EMBEDDERS["hashing"](Means()))
    await check_embedder(EMBEDDERS["hashing"](Means(dimension=8)))


async def test_an_endpoint_holds_the_protocol():
    await check_embedder(EMBEDDERS["provider"](Means(call=endpoint, model="m", dimension=16)))
    await check_embedder(ProviderEmbedder(endpoint, "m", 16, profiles=MEASURED))


@pytest.mark.parametrize(
    ("name", "broken", "what"),
    [
        ("id", "", "id is ''"),
        ("dimension", 0, "dimension is 0"),
        ("profiles", {"default": Profile(0.95, strict=False)}, "no profile 'safety'"),
        ("profiles", {"safety": Profile(0.9, strict=True)}, "not strict from 0.97 up"),
        ("profiles", MEASURED | {"faq": Profile(1.8, strict=False)}, "threshold of profile 'faq' is 1.8"),
        ("fits", lambda text: None, "neither True nor False"),
    ],
)
async def test_names_that_break_the_protocol_are_found(name, broken, what):
    embedder = HashingEmbedder()
    setattr(embedder, name, broken)
    with pytest.raises(AssertionError, match=what):
        await check_embedder(embedder)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda v: v.astype(np.float64), "float64, not float32"),
        (lambda v: v * 2, "length 2"),
        (lambda v: v[:, 1:], "of shape"),
        (lambda v: v[::-1], "another vector alone"),
        (lambda v: np.full_like(v, np.nan), "not finite"),
        (lambda v: np.tile(np.eye(1, v.shape[1], dtype=np.float32), (len(v), 1)), "have the same vector"),
    ],
)
async def test_vectors_that_break_the_protocol_are_found(spoil, what):
    embedder = HashingEmbedder()
    embed = embedder.embed

    async def broken(texts):
        return spoil(await embed(texts))

    embedder.embed = broken
    with pytest.raises(AssertionError, match=what):
        await check_embedder(embedder)


async def test_hashing_is_the_same_on_every_machine():
    a, b, c, empty = await HashingEmbedder(64).embed(["Reset my password", "reset MY password?", "Bake bread", ""])
    assert a @ b == pytest.approx(1)
    assert a @ c < 0.5
    assert empty[0] == 1
    assert [int(i) for i in np.flatnonzero(a)][:5] == [0, 6, 10, 17, 18]
    with pytest.raises(ValueError, match="at least 1"):
        HashingEmbedder(0)


async def test_an_endpoint_is_asked_once_for_a_batch_and_not_for_none():
    asked = []

    async def call(texts):
        asked.append(list(texts))
        return [[3.0, 4.0]] * len(texts)

    embedder = ProviderEmbedder(call, "text-embedding-3-small", 2)
    assert embedder.id == "text-embedding-3-small-2"
    assert set(embedder.profiles) == {"safety"}
    np.testing.assert_allclose(await embedder.embed(["a", "b"]), [[0.6, 0.8]] * 2, atol=1e-7)
    assert (await embedder.embed([])).shape == (0, 2)
    assert asked == [["a", "b"]]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ([[math.nan, 1.0]], "not finite"),
        ([[math.inf, 1.0]], "not finite"),
        ([[0.0, 0.0]], "points nowhere"),
        ([[1.0, 0.0], [1.0, 0.0]], r"of shape \(2, 2\), not \(1, 2\)"),
        ([], r"of shape \(0,\)"),
        ([[1.0]], r"of shape \(1, 1\)"),
        ([[1.0, 2.0], [1.0]], "several lengths"),
        ([["a", "b"]], "not of numbers"),
        (None, "of shape"),
    ],
)
async def test_what_an_endpoint_gives_is_not_believed_unseen(given, what):
    async def call(texts):
        return given

    with pytest.raises(MalformedResponse, match=what):
        await ProviderEmbedder(call, "m", 2).embed(["a"])


@pytest.mark.parametrize("given", [[1e300, 1e300], [1e-300, 1e-300], [5e-324, 5e-324]])
async def test_numbers_of_any_size_have_a_direction(given):
    async def call(texts):
        return [given]

    (vector,) = await ProviderEmbedder(call, "m", 2).embed(["a"])
    np.testing.assert_allclose(vector, [0.5**0.5] * 2, rtol=1e-6)


def test_an_endpoint_without_model_length_or_call_is_refused():
    with pytest.raises(ConfigError, match=r"(?s)model:.*dimension:"):
        ProviderEmbedder(endpoint, "", 0)
    with pytest.raises(ConfigError, match="no endpoint"):
        EMBEDDERS["provider"](Means(model="m", dimension=4))


async def test_an_executor_that_was_given_is_not_shut_down():
    executor = InlineExecutor()
    worker = Worker(executor, "test")
    assert await worker.run(sum, [1, 2]) == 3
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    await worker.aclose()
    assert executor.submit(int).result() == 0
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(int)


@pytest.mark.real_loop
async def test_closing_a_worker_waits_for_its_work_and_joins_its_thread():
    import threading

    begun, go_on = threading.Event(), threading.Event()

    def work():
        begun.set()
        go_on.wait()
        return "done"

    worker = Worker(None, "resilio-test")
    working = asyncio.create_task(worker.run(work))
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(worker.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    go_on.set()
    assert await working == "done"
    await closing
    assert not [each for each in threading.enumerate() if each.name.startswith("resilio-test")]


@pytest.mark.real_loop
async def test_closing_a_worker_can_be_given_up():
    import threading

    begun, go_on = threading.Event(), threading.Event()
    worker = Worker(None, "resilio-test")
    working = asyncio.create_task(worker.run(lambda: (begun.set(), go_on.wait())))
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(worker.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    go_on.set()
    await working
