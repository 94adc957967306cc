"""Holds the codecs against recorded exchanges: ``python -m resilio.testing.recordings DIR [--json]``.

Each file of the folder is one exchange: ``{"origin": {...}, "request": null | {...}, "response": {"status", "headers",
"json" | "sse" | "text" | "base64"}}``. Which format it is, its contents tell; what no row of `FORMATS` knows is counted
and passed over. Of every other exchange text, tool calls, finish reason and usage must be what the provider's own SDK
reads from the same bytes (the SDKs are needed for that, and for nothing else); a stream must be incomplete at every
byte before its terminal event, and the same however it is cut.
"""

from __future__ import annotations

from resilio.testing.recordings.check import Finding, check, check_folder
from resilio.testing.recordings.exchange import Exchange, load
from resilio.testing.recordings.formats import FORMATS, Format, Reading

__all__ = ["FORMATS", "Exchange", "Finding", "Format", "Reading", "check", "check_folder", "load"]
