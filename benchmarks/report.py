"""How long does a report on a million calls take?

    python benchmarks/report.py [--calls N]

Simulates some weeks of calls, multiplies them in the database to so many, with users of their own, and makes the report
that `resilio report` makes by default: two months, day by day, by model, feature and user; and then each dimension
alone. The last line is JSON: wall and CPU time, which differ on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from resilio.report.periods import Period
from resilio.report.summary import collect, make_report
from resilio.store.files import opened
from resilio.store.requests import COLUMNS, REQUESTS
from resilio.store.totals import reading
from resilio.testing.spending import Traffic, simulated_log

START = datetime(2026, 9, 1, tzinfo=UTC)
DAYS = 30
DIMENSIONS = ("model", "feature", "user", "route", "level", "tag:team")


def multiply(path: Path, calls: int) -> int:
    """Copies of every row until there are so many: each copy has users of its own, a little later; in order of time."""
    others = ", ".join(name for name in COLUMNS if name not in ("at", "user"))
    with closing(opened(path, REQUESTS, check=False)) as connection:
        have = connection.execute("SELECT count(*) FROM request").fetchone()[0]
        copies = max(1, round(calls / have))
        connection.execute("BEGIN")
        connection.execute("CREATE TEMP TABLE one AS SELECT * FROM request")
        connection.execute("DELETE FROM request")
        connection.execute(
            f"WITH RECURSIVE copy (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM copy WHERE n + 1 < {copies}) "
            f"INSERT INTO request (at, user, {others}) SELECT at + n * 0.001, user || '-' || n, {others} "
            "FROM one, copy ORDER BY at"
        )
        connection.execute("COMMIT")
        return connection.execute("SELECT count(*) FROM request").fetchone()[0]


def measured(path: Path, by: tuple[str, ...]) -> dict[str, float]:
    before = Period(START, START + timedelta(days=DAYS))
    after = Period(before.end, before.end + timedelta(days=DAYS))
    wall, cpu = time.perf_counter(), time.process_time()
    with reading(path) as log:
        earlier, later = collect(log, (before, after), by)
        report = make_report(earlier, later, log.span())
    took = {"seconds": round(time.perf_counter() - wall, 2), "cpu_seconds": round(time.process_time() - cpu, 2)}
    assert report.change.causes[0].name == "longer prompts"
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.db"
        simulated_log(path, "longer prompts", START, days=DAYS, traffic=Traffic(calls=200))
        calls = multiply(path, options.calls)
        result = {"calls": calls, "file_mb": round(path.stat().st_size / 1e6)}
        rows = {"default": measured(path, ("model", "feature", "user"))}
        rows |= {f"by {name}": measured(path, (name,)) for name in DIMENSIONS}
    print(f"{calls:,} calls, {result['file_mb']} MB")
    for name, row in rows.items():
        print(f"{name:12} {row['seconds']:7.2f} s   {row['cpu_seconds']:7.2f} s of CPU")
    print(json.dumps({**result, "reports": rows}))


if __name__ == "__main__":
    main()
