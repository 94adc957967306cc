"""What a cache would have done with a recorded stream of requests: hits, wrong answers, money and time saved.

`log` reads the stream, `classroom` makes one, `run` plays it through caches side by side, in its own time, with `shelf`
to find what is near; `engine` plays it through a whole configuration. The rule: nothing is asked of a model; the log
says what it would have answered, how long it took and what it cost.
"""

from __future__ import annotations

from resilio.bench.replay.classroom import classroom_log
from resilio.bench.replay.log import Logged, read_log, write_log
from resilio.bench.replay.run import HITS, Kind, Plan, Replay, Run

__all__ = ["HITS", "Kind", "Logged", "Plan", "Replay", "Run", "classroom_log", "read_log", "write_log"]
