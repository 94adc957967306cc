"""GPTCache beside us: its whole look-up over the same vectors, sqlite and faiss as its documentation sets them up.

Run by `semantic_lookup.py` with an interpreter that has gptcache and faiss; nothing of resilio is imported. Reads one
line of JSON for each size (entries, vectors, queries: files of numpy), says that it is ready, and then answers each
empty line with the milliseconds of as many look-ups as there are queries. Its embedding is a look-up in a dict here,
so what is measured is what `gptcache.adapter.api.get` costs beside the embedding.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from gptcache import Cache
from gptcache.adapter.api import get
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation

BATCH = 1000


def filled(entries: int, vectors: np.ndarray, folder: Path) -> Cache:
    manager = get_data_manager(
        CacheBase("sqlite", sql_url=f"sqlite:///{folder}/answers.db"),
        VectorBase("faiss", dimension=vectors.shape[1], index_path=str(folder / "faiss.index")),
        max_size=2 * entries,
    )
    for start in range(0, entries, BATCH):
        numbers = range(start, min(start + BATCH, entries))
        manager.import_data(
            [f"question {number}" for number in numbers],
            [f"answer {number}" for number in numbers],
            list(vectors[start : start + len(numbers)]),
            [None] * len(numbers),
        )
    cache = Cache()
    cache.init(
        pre_embedding_func=get_prompt,
        embedding_func=lambda prompt, **_: QUERIES[int(prompt)],
        data_manager=manager,
        similarity_evaluation=SearchDistanceEvaluation(),
    )
    return cache


QUERIES: np.ndarray

for line in sys.stdin:
    if line.strip():
        order = json.loads(line)
        vectors = np.load(order["vectors"])
        QUERIES = np.load(order["queries"])
        folder = tempfile.TemporaryDirectory()
        cache = filled(order["entries"], vectors, Path(folder.name))
        assert get("0", cache_obj=cache) is not None, "a query near an entry is a hit"
        print(json.dumps("ready"), flush=True)
        continue
    took = []
    for number in range(len(QUERIES)):
        began = time.perf_counter()
        get(str(number), cache_obj=cache)
        took.append((time.perf_counter() - began) * 1e3)
    print(json.dumps(took), flush=True)
