"""Wire-neutral values: what a call asks, what a provider answered, what the caller gets.

Nothing here knows a wire format, a clock or a provider. All values are immutable once built,
except that `raw` mappings are handed through as they came and must not be changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Answer",
    "AttemptRecord",
    "CacheHit",
    "CacheKind",
    "Capability",
    "CheckRecord",
    "CheckResult",
    "CheckStage",
    "Chunk",
    "Demand",
    "EmbeddingReply",
    "Embeddings",
    "HttpRequest",
    "Identity",
    "Level",
    "LimitReading",
    "Loss",
    "Message",
    "PromptCacheUse",
    "Reply",
    "Request",
    "Seam",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "uses_together",
]

Message = Mapping[str, Any]
"""One OpenAI-shaped message: ``{"role": ..., "content": ...}``."""


class Level(StrEnum):
    """The rung of the degradation ladder that answered."""

    FULL = "full"
    CACHED = "cached"
    SIMPLER = "simpler"
    STATIC = "static"
    ERROR = "error"


class Capability(StrEnum):
    """What a request may need of a model beyond plain text."""

    TOOLS = "tools"
    IMAGES = "images"
    AUDIO = "audio"
    FILES = "files"
    JSON_SCHEMA = "json_schema"
    STREAMING = "streaming"
    EMBEDDINGS = "embeddings"
    """Texts as vectors, in place of an answer."""
    PREFILL = "prefill"
    """Continues a last message of the assistant's own, so that a broken answer can be taken up where it stopped."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    `input_tokens` counts the whole prompt, cached parts included, and `output_tokens` the whole
    answer, reasoning included, whatever the provider's own convention is.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """True when the provider reported nothing and this is our own count."""
    service_tier: str | None = None
    """The tier the provider says it served and bills (``default``, ``flex``, ``priority``, ``batch``, ...)."""

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_5m_tokens + other.cache_write_5m_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
            self.service_tier if self.service_tier == other.service_tier else None,
        )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole call of a function tool; `arguments` is JSON text as the model wrote it, perhaps invalid."""

    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any] | None = None
    """Further fields of the call that its provider wants back unchanged, such as a signature."""

    def as_sent(self) -> dict[str, Any]:
        """The call in an OpenAI-shaped message of the assistant's."""
        function = {"name": self.name, "arguments": self.arguments}
        return {**(self.extra or {}), "id": self.id, "type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of the tool call at `index`: id and name come once, arguments in pieces."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Chunk(NamedTuple):  # one for every few letters of every stream: a third of the cost of a frozen dataclass
    """One piece of a streamed answer, in order. Any field may be empty."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a chunk
    """Which of `n` choices this belongs to."""
    raw: Mapping[str, Any] | None = None

    @property
    def has_content(self) -> bool:
        """Whether the caller can see this chunk: the commit point of a stream is the first such chunk."""
        return bool(self.text or self.tool_calls or self.reasoning or self.refusal)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, decoded from one provider's reply. `text` is that of the first choice."""

    text: str
    finish_reason: str
    usage: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    model: str = ""
    response_id: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)
    extras: Mapping[str, Any] | None = None
    """Further fields of the assistant's message that its provider wants back unchanged; see `Reply.message`."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors, decoded from one provider's reply: one for each text, in the order of the texts, all of one length."""

    vectors: Sequence[list[float]]
    usage: Usage | None = None
    model: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, for budgets, caches and reports. Strings are the caller's own."""

    user: str | None = None
    organisation: str | None = None
    feature: str | None = None
    session: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    """Name of the API key the caller showed to us, where it did; never the key itself."""


@dataclass(frozen=True, slots=True)
class Request:
    """One normalised call: OpenAI-shaped messages or texts to embed, and the caller's other wire fields, untouched."""

    route: str
    messages: Sequence[Message]
    """Empty where `inputs` is set."""
    wire: Mapping[str, Any] = field(default_factory=dict)
    identity: Identity = field(default_factory=Identity)
    id: str = ""
    asked_route: str = ""
    """The route the caller named, where a rule chose `route`; else empty."""
    rule: str | None = None
    """Name of that rule."""
    inputs: Sequence[str] | None = None
    """Texts to embed; None: a completion is asked for."""
    translations: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """A codec's own notes, so that what it finds for `unsupported` need not be found again for `encode`."""


class Demand(NamedTuple):  # one is built for each call: a third of the cost of a frozen dataclass
    """What one request takes from rate limits, estimated before sending. Tokens; one request each."""

    input_tokens: int = 0
    output_tokens: int = 0
    held: HeldBy | None = None
    """Who holds the beginning of its prompt: that key goes first, if it has room."""


class HeldBy(NamedTuple):
    """A key of a target, and so an account, whose prompt cache holds something."""

    target: str
    """Full name, "provider/model"."""
    key: int
    """Its index among the provider's."""


class Loss(NamedTuple):
    """One field of a request that a target has no way to honour."""

    path: str
    """Where it stands, for example ``temperature`` or ``messages[2].content[0]``."""
    why: str
    needed: bool = False
    """True: without it the request would ask for something else, so it is never left out."""

    def __str__(self) -> str:
        return f"{self.path} ({self.why})"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Bytes to send: the whole of what a codec decided. `headers` exclude those HTTP itself needs."""

    url: str
    headers: Mapping[str, str] = field(repr=False)  # they hold the key: never in a log
    body: bytes = field(repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class LimitReading:
    """What a response header said of one rate limit.

    `dimension` is one of ``requests``, ``tokens``, ``input_tokens``, ``output_tokens``; `reset_after`
    is in seconds until the limit is full again. None: the header was missing or made no sense.
    """

    dimension: str
    limit: float | None = None
    remaining: float | None = None
    reset_after: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One HTTP request to one target, as it went. Durations in seconds."""

    target: str
    key: int
    """Index of the key used, never the key."""
    started: float
    """Seconds after the call began."""
    waited: float
    """Seconds spent before sending: queue and backoff."""
    elapsed: float
    """Seconds from sending to the outcome."""
    outcome: str
    """As the lease settled: success, failure, slow, ignored, cancelled, rejected."""
    error_class: str | None = None
    error: str | None = None
    clock: str | None = None
    """The clock that ended it (connect, first_token, idle, total), if one did."""
    clock_seconds: float | None = None
    """What that clock was set to."""
    status: int | None = None
    replay: bool = False
    """True for the one immediate replay after a reused connection failed before any response byte."""
    probe: bool = False
    """True when this request probed a half-open breaker."""

    def __str__(self) -> str:
        how = self.outcome if self.error is None else self.error
        return f"{self.target} after {self.elapsed:.2f} s: {how}"


@dataclass(frozen=True, slots=True)
class Seam:
    """Where another target took up a broken stream."""

    at: int
    """Characters of the text that came from before it."""
    source: str
    """The target that broke off."""
    target: str
    """The target that went on."""
    how: str
    """``prefill``: it was given the text so far and went on; ``restart``: it answered anew, and its answer began
    with the very text that was there already."""
    cause: str
    """Class of the error that broke the stream."""


CacheKind = Literal["exact", "near", "stale"]
"""``exact``: an answer to the very same request, within its time; ``near``: to a question that means the same;
``stale``: either, past its time, because nobody else answered."""


@dataclass(frozen=True, slots=True)
class CacheHit:
    """That an answer came from the cache, and what is to be known of it."""

    kind: CacheKind
    age: float
    """Seconds since the provider gave it."""
    entry: str
    """Which entry it was; the same id is the same recorded answer."""
    saved_usd: float | None
    """What the answer had cost; None: unknown."""
    similarity: float | None = None
    """Cosine similarity of the question that was answered to the one asked, where they are not the same. None for
    callers who are not trusted: with it, they could feel their way to what others have asked."""
    passed_over: tuple[str, ...] = ()
    """Nearer entries and why each was not served; for trusted callers likewise."""


@dataclass(frozen=True, slots=True)
class PromptCacheUse:
    """What prompt caches of providers did for a call: of the same attempts as its usage and its cost."""

    read_tokens: int = 0
    written_tokens: int = 0
    saved_usd: float | None = 0.0
    """Against the price without caching; below 0 where more was paid for writing than was saved by reading. None: a
    price is unknown."""
    moved_from: str | None = None
    """The target that still held the conversation when another one answered; None: it did not move."""
    rewritten_tokens: int = 0
    """Tokens held there that were read anew because of the move."""
    rewritten_usd: float | None = 0.0
    """What they cost more than from a cache; None: a price is unknown."""

    def __add__(self, other: PromptCacheUse) -> PromptCacheUse:
        return PromptCacheUse(
            self.read_tokens + other.read_tokens,
            self.written_tokens + other.written_tokens,
            _sum(self.saved_usd, other.saved_usd),
            self.moved_from or other.moved_from,
            self.rewritten_tokens + other.rewritten_tokens,
            _sum(self.rewritten_usd, other.rewritten_usd),
        )


def uses_together(*uses: PromptCacheUse | None) -> PromptCacheUse | None:
    """Of several attempts; None where there is none of any."""
    found = [use for use in uses if use is not None]
    return sum(found[1:], found[0]) if found else None


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


CheckStage = Literal["before", "after"]
CheckResult = Literal["allowed", "denied", "redacted", "retried", "escalated", "failed", "timed_out"]
"""What a check led to. ``failed`` and ``timed_out``: it could not tell, and its `on_error` said what then."""


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """What one check of a route did to a request or to an answer."""

    name: str
    stage: CheckStage
    """``before``: to what was asked; ``after``: to an answer."""
    action: CheckResult
    reason: str = ""
    """Why; empty where it allowed it. It does not quote what was found."""

    def __str__(self) -> str:
        return f"check {self.name!r}: {self.action}{': ' if self.reason else ''}{self.reason}"


@dataclass(frozen=True, slots=True)
class Reply:
    """What `Client.complete` returns, and `stream.reply` when a stream is over."""

    text: str
    finish_reason: str
    target: str
    level: Level
    complete: bool
    usage: Usage
    request_id: str
    latency: float
    """Seconds from the call to the whole answer."""
    first_token: float | None = None
    """Seconds from the call to the first content chunk; for a unary upstream, to the answer."""
    cost_usd: float | None = None
    """US dollars of the attempt that answered, of every leg of a continued stream, and of answers that a check sent
    back; None when a price is unknown."""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why each higher rung did not answer, in order."""
    broken: str | None = None
    """Why the answer is only a part (`complete` is False): class of the error; ``left``: the caller left; ``denied``: a
    check of the route ended it; ``deadline``: its checks were not done by then."""
    seams: tuple[Seam, ...] = ()
    """Where the text changes its author, for streams that were continued."""
    route: str = ""
    """The route that served the call."""
    asked_route: str = ""
    """The route the caller named: another one where a rule chose."""
    rule: str | None = None
    """Name of the rule that chose `route`; None: no rule applied."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    """What the rung that answered says of the quality of its answers; see `ladder` in the configuration."""
    cached: CacheHit | None = None
    """Set for an answer from the cache: `cost_usd` is then 0, `usage` that of the recorded answer, `target` whose
    answer it was."""
    warnings: tuple[str, ...] = ()
    """What of the request was left out because `target` has no form for it, where the route says
    ``on_unsupported = "warn"``; one line a field."""
    extras: Mapping[str, Any] | None = None
    """Fields that `message` adds to the assistant's message, such as blocks of reasoning with their signatures."""
    checks: tuple[CheckRecord, ...] = ()
    """What the route's checks did, in order: also to answers that were not given."""
    prompt_cache: PromptCacheUse | None = None
    """What the provider's prompt cache did; None: nothing that is known."""

    def message(self) -> dict[str, Any]:
        """The answer as a message to append to the conversation.

        It carries what its provider wants back: with tools and reasoning, the next round fails or is worse without.
        Targets of another dialect are not sent what only this one can read.
        """
        made: dict[str, Any] = {"role": "assistant", "content": self.text or None}
        if self.refusal:
            made["refusal"] = self.refusal
        if self.tool_calls:
            made["tool_calls"] = [call.as_sent() for call in self.tool_calls]
        return {**made, **(self.extras or {})}


@dataclass(frozen=True, slots=True)
class EmbeddingReply(Sequence[list[float]]):
    """What `Client.embed` returns: a sequence of vectors, in the order of the texts, that knows how it came about."""

    vectors: tuple[list[float], ...] = field(repr=False)
    """As the provider gave them, all of one length; most models' have unit length."""
    space: str
    """Only vectors of one space can be compared: the model's `embedding_space`, by default its name."""
    target: str
    """Who answered; with several batches the first of them. Empty where no texts were given."""
    usage: Usage
    """Of all batches."""
    latency: float
    """Seconds from the call to the last vector."""
    cost_usd: float | None = None
    """Of the attempts that answered; None when a price is unknown."""
    attempts: tuple[AttemptRecord, ...] = ()
    """Of all batches, batch by batch."""
    request_ids: tuple[str, ...] = ()
    """Of the batches: each was a call of its own to those who listen to events."""
    route: str = ""
    """The route that served the call."""

    @property
    def dimension(self) -> int:
        """Numbers in each vector; 0 where there is none."""
        return len(self.vectors[0]) if self.vectors else 0

    def __len__(self) -> int:
        return len(self.vectors)

    @overload
    def __getitem__(self, index: int) -> list[float]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[list[float]]: ...

    def __getitem__(self, index: int | slice) -> list[float] | Sequence[list[float]]:
        return self.vectors[index]

    def array(self) -> NDArray[np.float32]:
        """The vectors as one array: float32, shape (len(self), dimension)."""
        import numpy as np

        return np.array(self.vectors, np.float32).reshape(len(self), self.dimension)
