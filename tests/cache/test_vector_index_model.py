"""The index against a dict and a comparison of everything, at random; its own task runs when a rule lets it."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
from executors import InlineExecutor
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from index_world import DIMENSION, SMALL, index, settled, vector

from resilio.cache.index import VectorIndex
from resilio.testing import VirtualTimeLoop

numbers = st.integers(0, 400)


class IndexModel(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "index"
        self.there = {}
        self.saved = None
        self.fresh = 0

    @initialize(limit=st.integers(1, 30), absorb_at=st.integers(1, 40))
    def open(self, limit, absorb_at):
        self.settings = {"exact_limit": limit, "absorb_at": absorb_at}
        self.index = index(**self.settings)

    def run(self, coroutine):
        return self.runner.run(coroutine)

    @rule(count=st.integers(1, 25), sources=st.lists(numbers, min_size=25, max_size=25))
    def add(self, count, sources):
        """New labels, with vectors some of which are there already."""
        labels = range(self.fresh, self.fresh + count)
        self.fresh += count
        batch = {label: vector(source) for label, source in zip(labels, sources[:count], strict=True)}
        self.run(self.index.add(list(batch), np.stack(list(batch.values()))))
        self.there |= batch

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def bring_one_back(self, data):
        """A label that was removed before, if there is one, with another vector."""
        gone = sorted(set(range(self.fresh)) - set(self.there))
        if gone:
            label = data.draw(st.sampled_from(gone))
            self.there[label] = vector(label + 10_000)
            self.run(self.index.add([label], self.there[label][None]))

    @rule(data=st.data(), most=st.integers(1, 40))
    def remove(self, data, most):
        labels = data.draw(st.lists(st.sampled_from(sorted(self.there) or [-1]), max_size=most, unique=True))

        async def all_of_them():
            for label in labels:
                assert self.index.remove(label) == (label in self.there)
                self.there.pop(label, None)

        self.run(all_of_them())

    @rule(source=numbers, k=st.integers(1, 12))
    def search(self, source, k):
        query = vector(source)
        self.check(self.run(self.index.search(query, k)), query, k)
        at_once = self.index.search_nowait(query, k)
        if at_once is not None:
            self.check(at_once, query, k)
        else:
            assert self.index.statistics().mode == "graph" or len(self.index) > self.settings["exact_limit"]

    def check(self, found, query, k):
        assert all(label in self.there for label, _ in found)
        assert len({label for label, _ in found}) == len(found)
        true = [float(self.there[label] @ query) for label, _ in found]
        np.testing.assert_allclose([near for _, near in found], true, atol=1e-5)
        best = sorted((float(each @ query) for each in self.there.values()), reverse=True)[:k]
        np.testing.assert_allclose(true, best, atol=1e-5)

    @precondition(lambda self: self.there)
    @rule(data=st.data(), k=st.integers(1, 4))
    def search_while_it_goes(self, data, k):
        """The nearest is removed after the search began."""
        label = data.draw(st.sampled_from(sorted(self.there)))
        query = self.there[label]

        async def both():
            search = asyncio.get_running_loop().create_task(self.index.search(query, k))
            for _ in range(data.draw(st.integers(0, 6))):
                await asyncio.sleep(0)
            if not search.done():
                self.index.remove(label)
                del self.there[label]
            return await search

        self.check(self.run(both()), query, k)

    @rule(turns=st.integers(1, 10))
    def let_the_keeper_work(self, turns):
        async def some():
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(some())

    @rule()
    def let_the_keeper_finish(self):
        self.run(settled(self.index))
        now = self.index.statistics()
        assert not now.growing
        assert now.failure is None
        if now.mode == "exact":
            assert now.entries <= self.settings["exact_limit"]
        else:
            assert now.dead < 0.3 * now.nodes
            assert now.rows < max(self.settings["absorb_at"], 1) + 64

    @rule()
    def save(self):
        self.run(self.index.save(self.path))
        self.saved = dict(self.there)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def load(self):
        self.run(self.index.aclose())
        self.there = dict(self.saved)
        self.index = self.run(
            VectorIndex.load(self.path, DIMENSION, "test", executor=InlineExecutor(), **{**SMALL, **self.settings})
        )
        assert self.index.rebuilt_because is None

    @invariant()
    def counts_are_right(self):
        if hasattr(self, "index"):
            now = self.index.statistics()
            assert now.entries == len(self.index) == len(self.there)
            assert now.nodes - now.dead + self.index._contents.flat.live == now.entries

    def teardown(self):
        if hasattr(self, "index"):
            self.run(self.index.aclose())
        self.runner.close()
        self.folder.cleanup()


TestIndexModel = IndexModel.TestCase
