"""A process that adds and saves for ever, to be killed: by itself before its nth step on a file, or from outside.

python index_saver.py PATH STEP      (STEP 0: not by itself)
"""

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from index_world import add, index, settled  # noqa: E402

from resilio.cache.index import saving  # noqa: E402


def killed_before(step):
    """Count everything that saving does to files."""
    count = 0

    def counted(real):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for owner, name in (
        (os, "fsync"), (os, "replace"), (saving.Graph, "save"), (saving._Hashed, "write"), (Path, "unlink"),
    ):  # fmt: skip
        setattr(owner, name, counted(getattr(owner, name)))


async def main(path, step):
    killed_before(step)
    with ThreadPoolExecutor(2) as executor:
        idx = index(executor, exact_limit=100, absorb_at=20)
        count = 0
        while True:
            await add(idx, range(count, count + 70))
            count += 70
            if count % 3 == 0:
                await settled(idx)
            print("saving", flush=True)
            await idx.save(path)
            print("saved", count, flush=True)


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
