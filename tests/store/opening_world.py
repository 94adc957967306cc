"""Many processes that open and close one ledger at the same moment, again and again; prints how many failed."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from resilio.store import Account
from resilio.store.sqlite import SqliteLedger
from resilio.testing import InlineExecutor

ACCOUNT = Account("b", "e", "w")


async def once(path: Path) -> None:
    ledger = await SqliteLedger.open(path, executor=InlineExecutor())
    got = await ledger.claim(ACCOUNT, 10, least=10, limit=1000, counted=("w",))
    assert got.granted == 10, got
    await ledger.aclose()


def together(path: Path, processes: int) -> int:
    """They start when the pipe closes; returns how many failed."""
    reading, writing = os.pipe()
    children = []
    for _ in range(processes):
        if not (child := os.fork()):
            os.close(writing)
            os.read(reading, 1)
            try:
                asyncio.run(once(path))
            except BaseException as error:
                sys.stderr.write(f"{error!r}\n")
                os._exit(1)
            os._exit(0)
        children.append(child)
    os.close(reading)
    os.close(writing)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def main() -> None:
    rounds, processes = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="ledger-opening-") as folder:
        failed = 0
        for number in range(rounds):
            path = Path(folder) / f"{number // 2}.db"  # every second time it is there already
            failed += together(path, processes)
        left = [its.name for its in Path(folder).iterdir() if ".new-" in its.name or ".corrupt-" in its.name]
        left += [f"{its.parent.name}/{its.name}" for its in Path(folder).glob("*-held/*")]
        print(failed, *left)


if __name__ == "__main__":
    main()
