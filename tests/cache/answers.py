"""Answers to put into a cache."""

from resilio.cache import record
from resilio.models import Level, Reply, ToolCall, Usage

TOOLS = (ToolCall("call_1", "look_up", '{"city": "Köln"}'), ToolCall("call_2", "add", "{}"))


def reply(text="hello", **fields):
    """A whole answer of a route's own target."""
    given = {
        "finish_reason": "stop", "target": "a/m", "level": Level.FULL, "complete": True, "usage": Usage(10, 5),
        "request_id": "r-1", "latency": 1.0, "cost_usd": 0.01, "raw": {"id": "x", "choices": [{"text": text}]},
    }  # fmt: skip
    return Reply(text, **{**given, **fields})


def recording(text="hello", **fields):
    return record(reply(text, **fields))
