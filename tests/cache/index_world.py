"""Vectors and small indexes for tests: eight dimensions, a graph from twenty entries."""

import functools

import anyio.lowlevel
import numpy as np
from executors import InlineExecutor

from resilio.cache.index import VectorIndex

DIMENSION = 8
SMALL = {"exact_limit": 20, "absorb_at": 5, "readers": 2}


@functools.lru_cache(10_000)
def vector(number, dimension=DIMENSION):
    """The same for the same number, of unit length, unlike any other."""
    found = np.random.default_rng(number % 2**64).normal(size=dimension).astype(np.float32)
    found /= np.linalg.norm(found)
    found.flags.writeable = False
    return found


def vectors(numbers, dimension=DIMENSION):
    return np.array([vector(number, dimension) for number in numbers], np.float32).reshape(-1, dimension)


def nearest(query, numbers, k, dimension=DIMENSION):
    """What a search must find, by comparing all: labels and similarities, best first."""
    found = [(number, float(vector(number, dimension) @ query)) for number in numbers]
    return sorted(found, key=lambda pair: -pair[1])[:k]


def index(executor=None, **settings):
    return VectorIndex(DIMENSION, "test", executor=executor or InlineExecutor(), **{**SMALL, **settings})


async def add(idx, numbers):
    numbers = list(numbers)
    await idx.add(numbers, vectors(numbers))


async def settled(idx):
    """Let the keeper do all that is due."""
    for _ in range(10_000):
        if idx._keeper.task is None:
            return
        await anyio.lowlevel.checkpoint()
    raise AssertionError(f"the keeper finds no end: {idx.statistics()}")


def assert_found(found, expected):
    assert [label for label, _ in found] == [label for label, _ in expected]
    np.testing.assert_allclose([each for _, each in found], [each for _, each in expected], atol=1e-5)
