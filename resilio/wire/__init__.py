"""The dialects that callers speak to resilio: its replies, streams and errors as bytes of OpenAI's or Anthropic's API.

The other half of `resilio.providers`, which speaks to providers: a gateway answers its clients through this, and an
SDK that runs in this process is answered the same way. Pure: no clock, no randomness, no I/O; identities and instants
are arguments. `DIALECTS` maps a dialect's name to it. The rule that keeps it simple: what is written stands in a
`Reply`, in the chunks of its stream or in an error, whichever provider it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resilio.wire.anthropic import AnthropicDialect, AnthropicEncoder, NotMessages, read_messages
from resilio.wire.base import CallerDialect, HttpAnswer, StreamEncoder
from resilio.wire.faults import Fault, fault_of, fault_of_part
from resilio.wire.openai import OpenAIDialect, OpenAIEncoder
from resilio.wire.story import reply_headers, story_of

__all__ = [
    "DIALECTS",
    "AnthropicDialect",
    "AnthropicEncoder",
    "CallerDialect",
    "Fault",
    "HttpAnswer",
    "NotMessages",
    "OpenAIDialect",
    "OpenAIEncoder",
    "StreamEncoder",
    "fault_of",
    "fault_of_part",
    "read_messages",
    "reply_headers",
    "story_of",
]

DIALECTS: Final[Mapping[str, CallerDialect]] = {"openai": OpenAIDialect(), "anthropic": AnthropicDialect()}
