"""The wall of faults: sixteen ways a provider fails, and what a caller must see each time.

A primary upstream that fails as the row says, a healthy fallback of another provider, a deadline of 20 s. The
verdict is given on what the caller saw *and* on the upstreams' logs. resilio stands before it on virtual time
(`run_library_row`), any OpenAI-compatible endpoint in real time (`HttpClient`, `resilio wall`); whatever has
an `ask` can be held to it (`WallClient`, `run_row`).
"""

from resilio.testing.wall.beyond import BEYOND, row_of
from resilio.testing.wall.evidence import Ask, Ended, Evidence, Mode, Seen, Tried, UpstreamCall, WallClient
from resilio.testing.wall.http import HttpClient
from resilio.testing.wall.library import LibraryClient, configuration, run_library_row
from resilio.testing.wall.rows import ROWS, Row, script_of
from resilio.testing.wall.runner import Result, run_row, summary, worst
from resilio.testing.wall.texts import QUESTION, TEXTS
from resilio.testing.wall.upstreams import LocalUpstreams, RemoteUpstreams, Upstreams, WallServer
from resilio.testing.wall.verdict import Judgement, Verdict, judge

__all__ = [
    "BEYOND",
    "QUESTION",
    "ROWS",
    "TEXTS",
    "Ask",
    "Ended",
    "Evidence",
    "HttpClient",
    "Judgement",
    "LibraryClient",
    "LocalUpstreams",
    "Mode",
    "RemoteUpstreams",
    "Result",
    "Row",
    "Seen",
    "Tried",
    "UpstreamCall",
    "Upstreams",
    "Verdict",
    "WallClient",
    "WallServer",
    "configuration",
    "judge",
    "row_of",
    "run_library_row",
    "run_row",
    "script_of",
    "summary",
    "worst",
]
