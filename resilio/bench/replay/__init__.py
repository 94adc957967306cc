"""What a cache would have done with a recorded stream of requests: hits, wrong answers, money and time saved.

`log` reads the stream, `classroom` makes one, `shelf` finds what is near, `run` plays it in the stream's own time. The
rule: nothing is asked of a model; the log says what it would have answered, how long it took and what it cost.
"""

from __future__ import annotations

from resilio.bench.replay.classroom import classroom_log
from resilio.bench.replay.log import Logged, read_log, write_log
from resilio.bench.replay.run import Kind, Plan, Replay, Run

__all__ = ["Kind", "Logged", "Plan", "Replay", "Run", "classroom_log", "read_log", "write_log"]
