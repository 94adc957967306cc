"""What does `import resilio` cost: time, memory, and which modules cost most?

Each import runs in a fresh interpreter; medians. The memory is the resident set after the import, and what it
adds to an interpreter that imported asyncio alone. Last line: JSON.

    python benchmarks/import_time.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys

PROBE = """
import resource, sys, time
{before}
began = time.perf_counter()
{statement}
elapsed = time.perf_counter() - began
rss = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(elapsed * 1e3, rss / 1024, len(sys.modules))
"""


def probe(statement: str, before: str = "") -> tuple[float, float, float]:
    """Milliseconds, resident MB and loaded modules of one fresh interpreter."""
    code = PROBE.format(statement=statement, before=before)
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    elapsed, rss, modules = map(float, output.split())
    return elapsed, rss, modules


def costliest(count: int) -> list[tuple[float, str]]:
    """The modules with the largest own import time, in milliseconds."""
    command = [sys.executable, "-X", "importtime", "-c", "import resilio"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [match for line in lines if (match := re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)", line))]
    return sorted(((int(row[1]) / 1e3, row[2]) for row in rows), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    probe("import resilio")  # compiled files and the disk cache are warm from here on
    runs = [(probe("import resilio"), probe("import asyncio"), probe("import resilio", "import asyncio"))
            for _ in range(options.rounds)]  # fmt: skip
    whole, loop, on_top = (
        [statistics.median(column) for column in zip(*(run[which] for run in runs), strict=True)] for which in range(3)
    )
    print(f"import resilio          {whole[0]:7.1f} ms  {whole[1]:5.1f} MB  {whole[2]:.0f} modules")
    print(f"  of which asyncio      {loop[0]:7.1f} ms  {loop[1]:5.1f} MB  {loop[2]:.0f} modules")
    print(f"  resilio after asyncio {on_top[0]:7.1f} ms")
    print("own time of the costliest modules:")
    for milliseconds, name in costliest(12):
        print(f"  {milliseconds:6.1f} ms  {name}")
    print(json.dumps({
        "import_ms": round(whole[0], 1), "rss_mb": round(whole[1], 1), "asyncio_ms": round(loop[0], 1),
        "over_asyncio_ms": round(on_top[0], 1), "modules": int(whole[2]),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
