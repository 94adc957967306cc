"""The vocabulary of faults: one small value for each way an LLM provider fails.

A fault says what happens to one answer; when it happens is the `Script`'s business. In a unary answer
"after n chunks" means after the same share of the body. Values only: nothing here acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, NamedTuple

from resilio.config.settings import Setting

__all__ = [
    "ERRORS",
    "FAULTS",
    "BadVectors",
    "ConnectHang",
    "Cut",
    "EmptyChoices",
    "Error",
    "ErrorFrame",
    "Fault",
    "Giant",
    "Headers",
    "Html",
    "Malformed",
    "NoPrefill",
    "Refusal",
    "Refused",
    "Reset",
    "Silence",
    "SlowFirstToken",
    "Stale",
    "Stall",
    "Terminator",
    "TruncatedJson",
    "UsageReport",
]

Count = Annotated[int, Setting("how many", minimum=0)]


class ErrorShape(NamedTuple):
    """What OpenAI sends beside a code."""

    status: int
    type: str
    message: str


ERRORS: Final[Mapping[str, ErrorShape]] = {
    "rate_limit_exceeded": ErrorShape(429, "requests", "Rate limit reached for requests per min (RPM)."),
    "slow_down": ErrorShape(429, "requests", "Your request rate rose too fast. Please slow down."),
    "insufficient_quota": ErrorShape(429, "insufficient_quota", "You exceeded your current quota."),
    "credit_balance_exhausted": ErrorShape(402, "insufficient_quota", "Your credit balance is exhausted."),
    "billing_not_active": ErrorShape(429, "billing_not_active", "Your account is not active."),
    "server_is_overloaded": ErrorShape(503, "service_unavailable_error", "Our servers are overloaded."),
    "server_error": ErrorShape(500, "server_error", "The server had an error processing your request."),
    "bad_gateway": ErrorShape(502, "server_error", "Bad gateway."),
    "context_length_exceeded": ErrorShape(
        400, "invalid_request_error", "This model's maximum context length is 8192 tokens."
    ),
    "content_policy_violation": ErrorShape(
        400, "invalid_request_error", "Your request was rejected by our safety system."
    ),
    "unsupported_parameter": ErrorShape(400, "invalid_request_error", "Unsupported parameter."),
    "invalid_value": ErrorShape(400, "invalid_request_error", "Invalid value in the request."),
    "invalid_api_key": ErrorShape(401, "invalid_request_error", "Incorrect API key provided."),
    "model_not_found": ErrorShape(404, "invalid_request_error", "The model does not exist."),
}
"""Real error codes and what comes with them (OpenAI's error reference, November 2026)."""


@dataclass(frozen=True, slots=True)
class Error:
    """An HTTP error in the real shape. A code of `ERRORS` brings its own status, type and message."""

    code: str | None = None
    status: int | None = None
    message: str | None = None
    retry_after: Annotated[float | None, Setting("the hint", "s", minimum=0)] = None
    """Seconds the answer asks the client to wait; None: no hint."""
    retry_after_as: Literal["seconds", "date", "ms"] = "seconds"
    """How it says so: `Retry-After` in (fractional) seconds or as an HTTP date, or `retry-after-ms`."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody listens: the connection is refused. Over a socket: accepted, then reset."""


@dataclass(frozen=True, slots=True)
class ConnectHang:
    """The connection attempt is never answered. Over a socket: accepted, then silence."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A kept-alive connection dies as it is used again, before any byte of an answer.

    A request on a new connection is spared. In process the first request counts as reusing one, unless it asks
    for a fresh connection; over a socket only what the client really reuses dies.
    """


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset once the request is read, and nothing is answered."""


@dataclass(frozen=True, slots=True)
class Silence:
    """The request is accepted and never answered."""

    head: bool = False
    """True: the response's head comes, and then nothing."""


@dataclass(frozen=True, slots=True)
class SlowFirstToken:
    """The first token comes this late, whatever the script's latency says. Seconds."""

    seconds: Annotated[float, Setting("until the first token", "s", minimum=0)]


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer ends after some content chunks, without a finish reason."""

    after: Count = 5
    clean: bool = True
    """True: the HTTP body is properly ended. False: the TCP connection ends in mid-body."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more comes after some content chunks; the connection stays open."""

    after: Count = 5


@dataclass(frozen=True, slots=True)
class Malformed:
    """One chunk in mid-stream is not JSON; the rest follows as if nothing had been."""

    after: Count = 5
    data: str = '{"id":"chatcmpl-\\u00'
    lost: bool = False
    """True: it stands in place of a chunk, whose text is lost, instead of between two."""


@dataclass(frozen=True, slots=True)
class Terminator:
    """``data: [DONE]`` comes this many times: never, or twice."""

    times: Count = 0


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The usage reported is this, not what was used. None: as it was."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    missing: bool = False
    """True: no usage is reported at all."""


@dataclass(frozen=True, slots=True)
class Html:
    """A proxy's HTML page, with this status, where JSON belongs."""

    status: int = 200


@dataclass(frozen=True, slots=True)
class EmptyChoices:
    """A well-formed 200 whose `choices` are empty."""


@dataclass(frozen=True, slots=True)
class TruncatedJson:
    """A 200 whose JSON stops in the middle while HTTP says it is whole."""


@dataclass(frozen=True, slots=True)
class Giant:
    """An answer padded to at least this many bytes."""

    size: Count = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    """An error object inside a 200: after some chunks of a stream, or in place of a unary answer."""

    after: Count = 5
    code: str = "server_error"
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The content filter or the model declines.

    `content_filter`: finish reason content_filter after some text; `refusal`: the model's own refusal text,
    finish reason stop; `prompt`: 400 content_policy_violation.
    """

    how: Literal["content_filter", "refusal", "prompt"] = "content_filter"
    text: str = "I'm sorry, I can't help with that."


@dataclass(frozen=True, slots=True)
class NoPrefill:
    """400 when the last message is the assistant's, as models that cannot continue an answer say."""


@dataclass(frozen=True, slots=True)
class BadVectors:
    """Embeddings that are not what they should be; of these, only `shuffled` is a whole answer, in another order.

    `missing`: one too few; `twin`: two with the same index; `ragged`: one shorter than the rest; `nan`: numbers that
    are not finite, in base64, for JSON has none.
    """

    how: Literal["missing", "shuffled", "twin", "ragged", "nan"] = "missing"


@dataclass(frozen=True, slots=True)
class Headers:
    """More response headers, such as rate limits; they go with a healthy answer or with another fault."""

    headers: Mapping[str, str]


Fault = (
    Error | Refused | ConnectHang | Stale | Reset | Silence | SlowFirstToken | Cut | Stall | Malformed
    | Terminator | UsageReport | Html | EmptyChoices | TruncatedJson | Giant | ErrorFrame | Refusal
    | NoPrefill | BadVectors | Headers
)  # fmt: skip

FAULTS: Final[Mapping[str, type[Fault]]] = {
    "error": Error,
    "refused": Refused,
    "connect_hang": ConnectHang,
    "stale": Stale,
    "reset": Reset,
    "silence": Silence,
    "slow_first_token": SlowFirstToken,
    "cut": Cut,
    "stall": Stall,
    "malformed": Malformed,
    "terminator": Terminator,
    "usage": UsageReport,
    "html": Html,
    "empty_choices": EmptyChoices,
    "truncated_json": TruncatedJson,
    "giant": Giant,
    "error_frame": ErrorFrame,
    "refusal": Refusal,
    "no_prefill": NoPrefill,
    "bad_vectors": BadVectors,
    "headers": Headers,
}
"""The names scripts use in TOML."""
