"""Every setting, with its default, its unit and its bounds: the one place they are written down.

Frozen dataclasses; the `Setting` in each annotation is read by the loader (bounds, spelling) and by
the documentation (tables of defaults). Durations are float seconds, rates are per minute as the
providers print them. No setting is mandatory unless it has no default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from resilio.config.faq import Faq
from resilio.config.secrets import Source
from resilio.models import Capability

__all__ = [
    "CALIBRATED_EMBEDDERS",
    "EMBEDDER_NAMES",
    "LOCAL_MODELS",
    "UNCALIBRATED_THRESHOLD",
    "REASONING_FIRST_TOKEN",
    "RUNG_KINDS",
    "RUNG_LABELS",
    "STATIC_THRESHOLDS",
    "STRATEGY_NAMES",
    "AnswerSchema",
    "BreakerSettings",
    "BudgetSettings",
    "CacheSettings",
    "CheckSettings",
    "Clocks",
    "Condition",
    "Config",
    "ControlSettings",
    "Defaults",
    "DescentSettings",
    "ExactCacheSettings",
    "KeySettings",
    "LedgerSettings",
    "LogSettings",
    "LongPromptRates",
    "ModelSettings",
    "NamespaceSettings",
    "NetworkSettings",
    "NestedRoute",
    "Price",
    "PricesSettings",
    "PromptCacheMode",
    "PromptCacheTtl",
    "ProviderSettings",
    "QueueSettings",
    "Rates",
    "RetryBudgetSettings",
    "RetrySettings",
    "RouteSettings",
    "RuleSettings",
    "RungSettings",
    "SemanticCacheSettings",
    "ServicePrice",
    "Setting",
    "TargetSettings",
]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a number or string means: one line for the docs, a unit, and the bounds the loader enforces."""

    doc: str
    unit: str = ""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None


def _seconds(doc: str, *, minimum: float | None = None) -> Setting:
    return Setting(doc, "s", minimum=minimum, above=None if minimum is not None else 0)


def _count(doc: str, minimum: int = 1) -> Setting:
    return Setting(doc, "count", minimum=minimum)


def _share(doc: str) -> Setting:
    return Setting(doc, "share", minimum=0, maximum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """How long each phase of an attempt may take; all of them lie inside the call's deadline."""

    connect: Annotated[float, _seconds("DNS, TCP and TLS of a new connection")] = 5.0
    headers: Annotated[float | None, _seconds("from sending to the response's head; None: first_token covers it")] = (
        None
    )
    first_token: Annotated[float, _seconds("from sending to the first content; reasoning models get 120 s")] = 10.0
    idle: Annotated[float, _seconds("silence between two chunks, counted only while we wait for the provider")] = 20.0
    total: Annotated[float, _seconds("from sending to the last byte")] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """How often and how fast one call may try again."""

    max_attempts: Annotated[int, _count("HTTP requests one call may cause, an immediate replay not counted")] = 3
    max_targets: Annotated[int, _count("different targets one call may try")] = 3
    base: Annotated[float, _seconds("first backoff is drawn from 0 to this; it doubles each time")] = 0.5
    cap: Annotated[float, _seconds("no backoff is drawn from above this")] = 8.0
    same_target_wait: Annotated[
        float, _seconds("a throttled target is asked again only if its hint is shorter than this", minimum=0)
    ] = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudgetSettings:
    """How many repeats (same-provider retries, hedges) a provider may see, over all calls together."""

    ratio: Annotated[float, _share("repeats earned by each first call")] = 0.2
    per_second: Annotated[float, Setting("repeats earned by each second", "1/s", minimum=0)] = 1.0
    initial: Annotated[float, Setting("repeats in hand at start", "count", minimum=0)] = 10.0
    maximum: Annotated[float, Setting("repeats that can be saved up", "count", minimum=0)] = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a circuit opens, how long it stays open, and how it comes back."""

    consecutive_failures: Annotated[int, _count("failures in a row that open the circuit")] = 5
    failure_rate: Annotated[float, _share("share of failures in the window that opens the circuit")] = 0.5
    slow_rate: Annotated[float, _share("share of slow answers in the window that opens the circuit")] = 0.5
    slow_first_token: Annotated[float, _seconds("a first token later than this is slow")] = 8.0
    window_calls: Annotated[int, _count("the window holds at most this many outcomes")] = 50
    window_duration: Annotated[float, _seconds("and none older than this")] = 60.0
    minimum_calls: Annotated[int, _count("rates say nothing below this many outcomes")] = 10
    break_duration: Annotated[float, _seconds("length of the first break")] = 30.0
    max_break_duration: Annotated[float, _seconds("no break is longer, unless the provider's own hint is")] = 300.0
    clean_duration: Annotated[
        float, _seconds("closed this long without a trip: the next break is one step shorter")
    ] = 60.0
    probes_at_once: Annotated[int, _count("probes out at one time while half open")] = 1
    probe_successes: Annotated[int, _count("successful probes that close the circuit")] = 3
    max_probes: Annotated[int, _count("probes in which they must be reached; else it opens again")] = 5
    probe_timeout: Annotated[float, _seconds("an undecided probe's place is freed after this")] = 30.0
    ramp_duration: Annotated[
        float, _seconds("time in which the preferred share rises to 100 %; 0 = at once", minimum=0)
    ] = 30.0
    ramp_start: Annotated[float, _share("preferred share when the ramp begins")] = 0.1
    early_probes: Annotated[
        bool, Setting("may be asked for a probe before its break is over when nothing else is left")
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """Callers who wait for capacity of one provider."""

    max_waiting: Annotated[int, _count("more callers than this are refused at once", minimum=0)] = 1000
    max_wait: Annotated[float, _seconds("nobody waits longer, whatever the deadline allows", minimum=0)] = 60.0


Family = Literal["any", "ipv4", "ipv6"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """How connections to a provider are made; providers with equal settings share their connections."""

    proxy: Annotated[
        str | None,
        Setting(
            'an http:// URL; "env:NAME" reads it from a variable; "environment": HTTPS_PROXY, HTTP_PROXY and NO_PROXY'
        ),
    ] = field(default=None, repr=False)  # its URL may hold a password
    ca_file: Annotated[str | None, Setting("PEM file of the CAs to trust, in place of this machine's")] = None
    client_cert: Annotated[str | None, Setting("PEM file of the certificate to show (mTLS), its chain after it")] = None
    client_key: Annotated[str | None, Setting("PEM file of its key, no passphrase; None: it stands in client_cert")] = (
        None
    )
    verify: Annotated[bool, Setting("false: take any certificate, from anybody; a warning is logged")] = True
    max_connections: Annotated[
        int | None,
        Setting(
            "open at one time; more requests wait, on the connect clock; None: max_concurrency is the limit",
            "count",
            minimum=1,
        ),
    ] = None
    keepalive_timeout: Annotated[
        float, _seconds("an idle connection is kept so long; 0: one request each", minimum=0)
    ] = 15.0
    dns_ttl: Annotated[float, _seconds("a resolved name is remembered so long; 0: ask each time", minimum=0)] = 60.0
    family: Annotated[Family, Setting("addresses to use; any: whichever answers first")] = "any"
    unix_socket: Annotated[str | None, Setting("connect through this socket; base_url still gives host and path")] = (
        None
    )


def _usd(doc: str) -> Setting:
    return Setting(doc, "USD/1M tokens", minimum=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars for a million tokens. What is not given apart costs as the plain direction does."""

    input: Annotated[float, _usd("uncached input")]
    output: Annotated[float, _usd("output, reasoning included unless it has a price of its own")]
    cache_read: Annotated[float | None, _usd("input read from the provider's cache")] = None
    cache_write_5m: Annotated[float | None, _usd("input written to a 5-minute cache")] = None
    cache_write_1h: Annotated[float | None, _usd("input written to a 1-hour cache")] = None
    reasoning: Annotated[float | None, _usd("reasoning; None: as output, which it is part of")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPromptRates(Rates):
    """What all tokens of a call cost when its prompt is long: providers do not split a call at the threshold."""

    above: Annotated[int, Setting("prompts of more input tokens than this, cached ones included", "tokens", above=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePrice(Rates):
    """What one service tier costs (batch, flex, priority, ...): all its own, nothing comes from the standard one."""

    long_prompts: Annotated[tuple[LongPromptRates, ...], Setting("dearer rates of long prompts, in any order")] = ()


CONFIGURED: Final = "configuration"
"""`source` of a price that says nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(ServicePrice):
    """What a model costs. Currency is the US dollar alone."""

    service: Annotated[
        Mapping[str, ServicePrice], Setting("by service tier, as the wire field service_tier names it, and batch")
    ] = field(default_factory=dict)
    source: Annotated[str, Setting("where these figures are from, for reports")] = CONFIGURED


ALL_CAPABILITIES: frozenset[Capability] = frozenset(Capability) - {Capability.PREFILL}
# Not PREFILL: most models of the OpenAI dialect answer a last assistant message instead of continuing it.


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """One model of a provider: its limits, what it can do, what it costs."""

    requests_per_minute: Annotated[float | None, Setting("None: learned from response headers", "1/min", above=0)] = (
        None
    )
    tokens_per_minute: Annotated[float | None, Setting("input and output together", "tokens/min", above=0)] = None
    input_tokens_per_minute: Annotated[float | None, Setting("input alone", "tokens/min", above=0)] = None
    output_tokens_per_minute: Annotated[float | None, Setting("output alone", "tokens/min", above=0)] = None
    group: Annotated[str | None, Setting("models with the same group share their limits; None: a group of its own")] = (
        None
    )
    context_window: Annotated[
        int | None, Setting("input and output together; None: unknown, not checked", "tokens", above=0)
    ] = None
    max_output_tokens: Annotated[int | None, Setting("the most it can write; None: unknown", "tokens", above=0)] = None
    capabilities: Annotated[frozenset[Capability], Setting("what it can do; default everything")] = ALL_CAPABILITIES
    reasoning: Annotated[bool, Setting("thinks in silence: its first-token clock is 120 s unless set")] = False
    first_token: Annotated[float | None, _seconds("first-token clock of this model; None: the route's")] = None
    price: Annotated[
        Price | None, Setting("None: looked up as [prices] says; not found there: unknown, and so is every cost")
    ] = None
    price_as: Annotated[
        str | None,
        Setting('look it up under this name, "model" or "seller/model": for deployments, fine-tunes and proxies'),
    ] = None
    service_tier: Annotated[
        str | None, Setting("billed at this tier where neither call nor answer names one: batch, flex, ...")
    ] = None
    prompt_cache_minimum: Annotated[
        int | None,
        Setting(
            "shortest prefix its provider caches, kind anthropic; None: known by the model's name", "tokens", above=0
        ),
    ] = None
    embedding_space: Annotated[
        str | None,
        Setting("models with the same space make vectors that can be compared; None: the model's name"),
    ] = None
    max_embedding_inputs: Annotated[int, _count("texts in one request for embeddings")] = 2048
    max_embedding_tokens: Annotated[
        int, Setting("tokens in one request for embeddings, counted high at two bytes each", "tokens", above=0)
    ] = 300_000


REASONING_FIRST_TOKEN: Final = 120.0
"""First-token clock, in seconds, of a model with `reasoning = true` where neither it nor its target sets one."""

UpstreamStream = Literal["as_asked", "auto"]
OnBreak = Literal["error", "partial", "continue"]
OnUnsupported = Literal["error", "warn", "drop"]
Sign = Literal["reasoning", "comments"]
PromptCacheMode = Literal["auto", "off"]
PromptCacheTtl = Literal["5m", "1h"]
ProviderKind = Literal["openai", "anthropic", "gemini", "responses", "local"]

DEFAULT_URLS: Final[Mapping[str, str]] = {
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
"""`base_url` of the kinds that one company serves."""

DEFAULT_VERSIONS: Final[Mapping[str, str]] = {"anthropic": "2023-06-01"}
"""`version` of the kinds that have one. Anthropic's older one, as its newer one has no sampling parameters."""

LOCAL_CONCURRENCY: Final = 2
"""`max_concurrency` of a local provider unless set: what its server computes at one time. More would wait inside
the server, where no deadline and no priority reaches them."""

LOCAL_MODELS: Final[Mapping[str, ModelSettings]] = {
    "smollm2-135m": ModelSettings(
        context_window=4096, capabilities=frozenset({Capability.STREAMING, Capability.JSON_SCHEMA})
    ),
}
"""What a provider of kind `local` serves when it lists no models."""

STRATEGY_NAMES: Final = ("priority", "weighted", "round_robin", "least_loaded", "cheapest")
"""What a route's `strategy` may be: the keys of `resilio.routing.STRATEGIES`, a layer above this one. Besides
these, ``"package.module:name"`` names a strategy of one's own."""

RUNG_KINDS: Final = ("full", "cache", "simpler", "static")
"""What a step of a ladder may be; `full` is always the first."""

RUNG_LABELS: Final[Mapping[str, str]] = {
    "full": "full answer",
    "cache": "answer given before",
    "simpler": "answer of a simpler model",
    "static": "prepared answer",
}
"""What a reply says of its quality, by the kind of the rung that gave it, where the rung says nothing of its own."""

STATIC_THRESHOLDS: Final[Mapping[str, float]] = {"keywords": 0.6, "meaning": 0.9}
"""How well a prepared answer's question must fit, by the way it is matched, where the rung says nothing of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """One API key of a provider. In its short form it is `key` alone; as a table it may say more."""

    key: Annotated[str, Setting('"env:NAME", "file:PATH" or "command:PROGRAM ARGUMENTS", or the key itself')] = field(
        repr=False
    )
    name: Annotated[str, Setting("how events, errors and `resilio ctl` call it beside its number")] = ""
    requests_per_minute: Annotated[
        float | None, Setting("of this key, for each model group, in place of the model's own limit", "1/min", above=0)
    ] = None
    tokens_per_minute: Annotated[
        float | None, Setting("likewise, input and output together", "tokens/min", above=0)
    ] = None
    input_tokens_per_minute: Annotated[float | None, Setting("likewise, input alone", "tokens/min", above=0)] = None
    output_tokens_per_minute: Annotated[float | None, Setting("likewise, output alone", "tokens/min", above=0)] = None
    refresh: Annotated[
        float | None,
        _seconds("a file is read again so often, a command run again; not set: 10 s and one hour"),
    ] = None
    timeout: Annotated[float, _seconds("a command that takes longer is killed, and has failed")] = 10.0
    source: Annotated[Source | None, Setting("")] = None
    """Where `key` was read from; None: it stood in the configuration itself. The loader fills it in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """One account at one endpoint."""

    name: Annotated[str, Setting("how targets and events call it")]
    kind: Annotated[
        ProviderKind,
        Setting(
            "wire format: openai (any server of that dialect), anthropic, gemini, responses (OpenAI's Responses API), "
            "or local (a model on this machine)"
        ),
    ]
    base_url: Annotated[
        str,
        Setting("where it is, up to and including /v1; unless set, kinds anthropic and gemini: the provider's own API"),
    ] = ""
    version: Annotated[
        str, Setting("of the API, kind anthropic: 2023-06-01 unless set, or 2026-10-21; other kinds have none")
    ] = ""
    keys: Annotated[
        tuple[KeySettings, ...],
        Setting('API keys: "env:NAME", "file:PATH", "command:PROGRAM ARGUMENTS", or tables that begin with key'),
    ] = field(default=(), repr=False)
    headers: Annotated[
        Mapping[str, str], Setting('sent with every request; "env:NAME" reads a variable, "file:PATH" a file')
    ] = field(default_factory=dict, repr=False)
    models: Annotated[Mapping[str, ModelSettings], Setting("by the provider's own model name")] = field(
        default_factory=dict
    )
    max_concurrency: Annotated[int, _count("requests in flight at one time")] = 64
    max_body_bytes: Annotated[int, Setting("a longer answer, or event of a stream, is malformed", "bytes", above=0)] = (
        16 * 1024 * 1024
    )
    # One instance for all who set nothing: the transport tells networks apart by identity first.
    network: Annotated[NetworkSettings, Setting("proxy, certificates, connections")] = NetworkSettings()
    breaker: Annotated[BreakerSettings, Setting("for the provider and each of its models")] = field(
        default_factory=BreakerSettings
    )
    queue: Annotated[QueueSettings, Setting("callers waiting for capacity")] = field(default_factory=QueueSettings)
    retry_budget: Annotated[RetryBudgetSettings, Setting("repeats it may see")] = field(
        default_factory=RetryBudgetSettings
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """A provider and one of its models, as one route uses it."""

    provider: Annotated[str, Setting("name of a provider")]
    model: Annotated[str, Setting("one of its models")]
    first_token: Annotated[
        float | None, _seconds("first-token clock on this target; None: the model's, then the route's")
    ] = None
    weight: Annotated[
        float,
        Setting("how much it is preferred, by strategies weighted and least_loaded; 0: only as fallback", minimum=0),
    ] = 1.0
    prompt_cache: Annotated[
        PromptCacheMode | None, Setting("as for the route, for this target alone; None: as the call or the route says")
    ] = None
    prompt_cache_ttl: Annotated[PromptCacheTtl | None, Setting("likewise; None: the route's")] = None

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedRoute:
    """Another route in the place of a target: its targets, in the order of its own strategy."""

    route: Annotated[str, Setting("name of a route")]
    weight: Annotated[float, Setting("of the route as a whole; as for a target", minimum=0)] = 1.0

    @property
    def name(self) -> str:
        return f"route {self.route}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RungSettings:
    """One step of a ladder. As a table it begins with its kind: ``{ static = "faq.toml", threshold = 0.7 }``."""

    kind: Annotated[str, Setting("full, cache, simpler or static")]
    argument: Annotated[str | None, Setting("of simpler the name of a route, of static a file of prepared answers")] = (
        None
    )
    label: Annotated[str, Setting("what replies of this rung say of their quality; not set: by its kind")] = ""
    match: Annotated[
        Literal["keywords", "meaning"], Setting("static: by words (BM25), or by meaning, with the embedder minilm")
    ] = "keywords"
    threshold: Annotated[
        float | None,
        Setting(
            "static: how well a question must fit; not set: 0.6 by keywords, 0.9 by meaning",
            "share",
            above=0,
            maximum=1,
        ),
    ] = None
    faq: Annotated[Faq | None, Setting("")] = None
    """Of static: what the file holds."""

    @property
    def route(self) -> str | None:
        """The route it asks, besides the ladder's own."""
        return self.argument if self.kind == "simpler" else None

    @property
    def asks(self) -> bool:
        """Whether it sends requests to targets, which takes time."""
        return self.kind in ("full", "simpler")

    @property
    def name(self) -> str:
        """How reasons call it."""
        return self.kind if self.argument is None else f"{self.kind} ({self.argument})"


CheckAction = Literal["deny", "redact", "retry", "escalate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSchema:
    """What an answer must be. As a value: a table that is a JSON schema, or ``true`` for the request's own."""

    document: Mapping[str, Any] | None = None
    """The schema; None: the one in the request's `response_format`, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """One check of a route: exactly one of regex, banned_words, a number of characters, json_schema or function."""

    name: Annotated[str, Setting("how replies, errors, events and counts call it")]
    stage: Annotated[Literal["before", "after"], Setting("before: of what is asked; after: of the answer")]
    regex: Annotated[str | None, Setting("what may not be found; searched as Python's re does")] = None
    banned_words: Annotated[
        tuple[str, ...], Setting("words and phrases that may not be found: whole words, in any case")
    ] = ()
    min_characters: Annotated[int | None, Setting("the text may not be shorter", "characters", above=0)] = None
    max_characters: Annotated[int | None, Setting("nor longer", "characters", above=0)] = None
    json_schema: Annotated[
        AnswerSchema | None, Setting("true: the answer is JSON as the request's response_format says; or a schema")
    ] = None
    function: Annotated[str | None, Setting("package.module:name of an async function of your own")] = None
    then: Annotated[CheckAction, Setting("what follows where it finds something")] = "deny"
    replacement: Annotated[str, Setting("stands in the place of what is redacted")] = "[redacted]"
    timeout: Annotated[float, _seconds("a function may take so long, inside the deadline")] = 5.0
    max_cost_usd: Annotated[
        float | None, Setting("all that a function asks of models, each time; None: as the caller's", "USD", above=0)
    ] = None
    on_error: Annotated[
        Literal["deny", "allow"], Setting("what follows where it cannot be told: it raised, or took too long")
    ] = "deny"
    stream: Annotated[
        Literal["window", "end"] | None,
        Setting("streams: while they flow, or at their end; not set: window to redact, else end"),
    ] = None
    window: Annotated[
        int, Setting("of a stream so many characters are held back to look at", "characters", minimum=1, maximum=65536)
    ] = 256

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds it is written as; a sound one is of one."""
        length = self.min_characters is not None or self.max_characters is not None
        given = {
            "regex": self.regex is not None,
            "banned_words": bool(self.banned_words),
            "length": length,
            "json_schema": self.json_schema is not None,
            "function": self.function is not None,
        }
        return tuple(kind for kind, there in given.items() if there)

    @property
    def in_window(self) -> bool:
        """Whether a stream is checked while it flows."""
        return self.stage == "after" and (self.stream or ("window" if self.redacts_text else "end")) == "window"

    @property
    def redacts_text(self) -> bool:
        """Whether it redacts what a pattern finds."""
        return self.then == "redact" and (self.regex is not None or bool(self.banned_words))


@dataclass(frozen=True, slots=True, kw_only=True)
class DescentSettings:
    """Budget-driven descent: what a route leaves out of its ladder as a budget of whoever asks is spent."""

    economy: Annotated[
        float | None,
        Setting(
            "from this share spent on, say 0.8, simpler models answer in place of the route's own",
            "share",
            above=0,
            maximum=1,
        ),
    ] = None
    cache_only: Annotated[
        float | None,
        Setting(
            "from this share on, say 0.95, nobody is asked: caches and prepared answers alone",
            "share",
            above=0,
            maximum=1,
        ),
    ] = None
    shedding: Annotated[
        float | None, Setting("from this share on, say 1, prepared answers or a refusal", "share", above=0, maximum=1)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """What callers pass as `model`: targets and how to use them."""

    name: Annotated[str, Setting("what callers pass")]
    targets: Annotated[
        tuple[TargetSettings | NestedRoute, ...], Setting('"provider/model" or { route = "name" }, best first')
    ]
    strategy: Annotated[
        str, Setting("priority, weighted, round_robin, least_loaded, cheapest or package.module:name")
    ] = "priority"
    max_output_tokens: Annotated[
        int | None, Setting("sent upstream when the caller sets no limit; None: nothing is sent", "tokens", above=0)
    ] = None
    deadline: Annotated[float | None, _seconds("for callers who set none; None: the default's")] = None
    clocks: Annotated[Clocks, Setting("of each attempt")] = field(default_factory=Clocks)
    retry: Annotated[RetrySettings, Setting("attempts and backoff")] = field(default_factory=RetrySettings)
    upstream_stream: Annotated[
        UpstreamStream,
        Setting("auto: complete() streams upstream where the target can, and so has a first-token clock"),
    ] = "as_asked"
    on_break: Annotated[
        OnBreak,
        Setting("a stream that breaks after its first content: raise, end as marked partial, or go on elsewhere"),
    ] = "error"
    on_unsupported: Annotated[
        OnUnsupported,
        Setting(
            "a field that a target has no form for: error: that target is not asked; warn: it is left out, logged, and "
            "named in the reply; drop: it is left out"
        ),
    ] = "error"
    hold_back_tokens: Annotated[
        int,
        Setting(
            "tokens of a stream kept back before the first is handed out: till then it can move on", "tokens", minimum=0
        ),
    ] = 0
    counts_as_life: Annotated[
        tuple[Sign, ...], Setting("what but text shows that a stream lives: reasoning deltas, keep-alive comments")
    ] = ("reasoning",)
    hedge: Annotated[
        float | Literal["p95"] | None,
        Setting("a second target is asked when the first is silent for so long", "s", above=0),
    ] = None
    hedge_share: Annotated[float, _share("of a route's calls may be hedged")] = 0.05
    cache: Annotated[
        Literal["use", "skip"],
        Setting("skip: its answers are neither stored nor served from the cache, whatever a call says"),
    ] = "use"
    prompt_cache: Annotated[
        PromptCacheMode,
        Setting(
            "auto: long stable prefixes are marked for the provider's cache, and a conversation stays with the target "
            "that holds its prefix; off: requests go out as they came"
        ),
    ] = "off"
    prompt_cache_ttl: Annotated[
        PromptCacheTtl, Setting("how long marked prefixes are kept, kind anthropic; 1h costs more to write")
    ] = "5m"
    descent: Annotated[
        DescentSettings | None,
        Setting("what is left out as budgets are spent; not set: nothing, until a budget refuses"),
    ] = None
    ladder: Annotated[tuple[RungSettings, ...], Setting("rungs, best first; the error is always last")] = (
        RungSettings(kind="full"),
    )
    checks: Annotated[tuple[CheckSettings, ...], Setting("of what is asked and of the answer, in this order")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a rule asks of a call: everything that is set must hold; with nothing set, every call meets it."""

    tags: Annotated[Mapping[str, str], Setting("the call has each of these tags, with this value")] = field(
        default_factory=dict
    )
    user: Annotated[str | None, Setting("asked by this user")] = None
    organisation: Annotated[str | None, Setting("asked for this organisation")] = None
    feature: Annotated[str | None, Setting("asked by this part of the program")] = None
    min_input_tokens: Annotated[
        int | None, Setting("the prompt is estimated at this many tokens or more", "tokens", minimum=1)
    ] = None
    max_input_tokens: Annotated[
        int | None, Setting("the prompt is estimated at this many tokens or fewer", "tokens", minimum=1)
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """Sends calls of some routes, where they meet a condition, to another route."""

    use: Annotated[str, Setting("the route that serves instead")]
    routes: Annotated[tuple[str, ...], Setting("routes it applies to; none named: all of them")] = ()
    when: Annotated[Condition, Setting("which calls")] = field(default_factory=Condition)
    name: Annotated[str, Setting("how replies and events call it; not set: its number, from 1")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactCacheSettings:
    """Answers to the very same request, kept in memory. Writing the section turns it on."""

    backend: Annotated[Literal["memory"], Setting("where entries are kept")] = "memory"
    ttl: Annotated[float, _seconds("an answer is served for so long")] = 3600.0
    ttl_jitter: Annotated[
        float, _share("an entry's ttl is shortened at random by up to this share, so that few expire together")
    ] = 0.1
    stale_for: Annotated[
        float, _seconds("past its ttl an answer is kept for so long, for the rung cache of a ladder alone", minimum=0)
    ] = 3600.0
    max_entries: Annotated[int, _count("answers kept")] = 100_000
    max_bytes: Annotated[int, Setting("memory they may take, all told", "bytes", above=0)] = 256 * 1024 * 1024
    namespace: Annotated[str, Setting("part of every key: another name is an empty cache")] = ""


EMBEDDER_NAMES: Final = ("minilm", "hashing")
"""What `embedder` may be, besides ``route:NAME``: keys of `resilio.cache.embedding.EMBEDDERS`, a layer above this one."""

CALIBRATED_EMBEDDERS: Final = ("minilm",)
"""Embedders whose thresholds were measured: the others have the profile `safety` alone."""

UNCALIBRATED_THRESHOLD: Final = 0.97
"""No lower threshold is taken for an embedder that nobody has calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSettings:
    """One namespace of the semantic cache; calls name theirs with `cache_namespace`."""

    shared: Annotated[
        bool,
        Setting("users of one tenant are served each other's answers by meaning; then trusted principals alone store"),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticCacheSettings:
    """Answers to questions that mean the same. Writing the section turns it on."""

    profile: Annotated[
        Literal["safety", "default", "faq"],
        Setting("how near is near enough: safety 0.97 with strict guards, default 0.95, faq 0.90 (for minilm)"),
    ] = "default"
    threshold: Annotated[
        float | None, Setting("cosine similarity, in place of the profile's", "share", above=0, maximum=1)
    ] = None
    embedder: Annotated[str, Setting("minilm (extra `semantic`), hashing, or route:NAME for an embeddings route")] = (
        "minilm"
    )
    embedder_dimension: Annotated[
        int | None, Setting("numbers in a vector of an embeddings route; needed there", "count", minimum=1)
    ] = None
    calibration: Annotated[
        str | None, Setting("file that `resilio calibrate --write` made for this embedder: its thresholds hold")
    ] = None
    max_wrong: Annotated[
        float | None,
        Setting(
            "guaranteed mode: at most this share of requests is served a wrong answer; thresholds are then found by "
            "audits, per namespace. None: profile or threshold decides",
            "share",
            above=0,
            maximum=0.49,
        ),
    ] = None
    confidence: Annotated[
        float, Setting("guaranteed mode: probability with which that holds", "share", minimum=0.51, maximum=0.9999)
    ] = 0.95
    audit: Annotated[
        float, Setting("guaranteed mode: share of requests asked of the model in any case", "share", above=0, maximum=1)
    ] = 0.1
    judge: Annotated[
        str | None,
        Setting("guaranteed mode: route of a model that says whether two answers agree; None: words and vectors do"),
    ] = None
    ttl: Annotated[float, _seconds("an answer is served for so long")] = 3600.0
    ttl_jitter: Annotated[
        float, _share("an entry's ttl is shortened at random by up to this share, so that few expire together")
    ] = 0.1
    stale_for: Annotated[
        float, _seconds("past its ttl an answer is kept for so long, for the rung cache of a ladder alone", minimum=0)
    ] = 3600.0
    max_entries: Annotated[int, _count("answers kept")] = 100_000
    max_bytes: Annotated[int, Setting("memory they may take, vectors included", "bytes", above=0)] = 512 * 1024 * 1024
    max_partitions: Annotated[int, _count("partitions kept; the least recently used goes")] = 10_000
    max_temperature: Annotated[
        float, Setting("requests that ask for a higher one neither look nor store", minimum=0)
    ] = 0.3
    max_tokens: Annotated[
        int, Setting("of question and answer together; longer ones are not stored", "tokens", above=0)
    ] = 2000
    user_bound: Annotated[
        Literal["skip", "store"], Setting('questions about whoever asks ("my order"): not stored, or stored too')
    ] = "skip"
    timeout: Annotated[float, _seconds("a look-up that takes longer is a miss")] = 1.0
    namespace: Annotated[str, Setting("part of every partition: another name is an empty cache")] = ""
    namespaces: Annotated[Mapping[str, NamespaceSettings], Setting("by the name calls give in cache_namespace")] = (
        field(default_factory=dict)
    )
    trusted: Annotated[
        tuple[str, ...],
        Setting(
            'who may store in shared namespaces and see similarities: "user:ann", "key:ops", "organisation:acme", '
            '"feature:seeding", or "program": calls that name neither user nor key'
        ),
    ] = ("program",)
    path: Annotated[str, Setting("folder in which entries outlive the process; empty: memory alone")] = ""
    save_interval: Annotated[float, _seconds("between two savings of what has changed")] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """The caches; each is off while its section is not written."""

    exact: Annotated[ExactCacheSettings | None, Setting("answers to the very same request")] = None
    semantic: Annotated[SemanticCacheSettings | None, Setting("answers to questions that mean the same")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesSettings:
    """Where prices and context windows come from that models do not set themselves."""

    source: Annotated[
        Literal["genai-prices", "none"],
        Setting("the package of that name, where it is installed; none: nothing is looked up"),
    ] = "genai-prices"
    file: Annotated[
        str, Setting("a price file of yours, asked before it: TOML of ours or LiteLLM's JSON; from the file's folder")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """What each entity may spend in a window of time, in tokens, US dollars or both."""

    per: Annotated[str, Setting("user, organisation, feature, key, tag:NAME, or all: one for the whole program")]
    window: Annotated[
        float | Literal["hour", "day", "month"], Setting("hour, day, month, or a number of seconds", "s", above=0)
    ]
    limit_tokens: Annotated[int | None, Setting("input and output together", "tokens", minimum=0, maximum=10**18)] = (
        None
    )
    limit_usd: Annotated[float | None, Setting("targets need a price", "USD", minimum=0, maximum=1_000_000)] = None
    kind: Annotated[
        Literal["calendar", "sliding"],
        Setting(
            "calendar: from full hour, midnight or the 1st; sliding: the last so many seconds, a month being 31 days"
        ),
    ] = "calendar"
    time_zone: Annotated[str, Setting("whose calendar, as in Europe/Berlin")] = "UTC"
    soft: Annotated[float, _share("of the limit: when it is spent an event says so, once a window")] = 0.8
    only: Annotated[tuple[str, ...], Setting("entities it is for; none named: all of them")] = ()
    limit_tokens_for: Annotated[
        Mapping[str, int],
        Setting("limits of single entities, in place of limit_tokens", "tokens", minimum=0, maximum=10**18),
    ] = field(default_factory=dict)
    limit_usd_for: Annotated[
        Mapping[str, float],
        Setting("limits of single entities, in place of limit_usd", "USD", minimum=0, maximum=1_000_000),
    ] = field(default_factory=dict)
    stop_streams: Annotated[
        bool, Setting("a stream that passes what was reserved for it ends when the budget has nothing left")
    ] = False
    name: Annotated[str, Setting("how events and errors call it; not set: per/window")] = ""

    @property
    def title(self) -> str:
        """Its name, given or made up: ``user/day``."""
        window = self.window if isinstance(self.window, str) else f"{self.window:.15g}s"
        return self.name or f"{self.per}/{window}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """Where spending is written down."""

    path: Annotated[str, Setting("a file, from the working directory; empty: in memory, gone with the process")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The request log: one row for each call that is over, for `resilio report`. Read when the client opens."""

    path: Annotated[str, Setting("a file, from the working directory; empty: no log is kept")] = ""
    keep: Annotated[
        float | Literal["forever"], Setting('rows older than this are deleted; "forever": none is', "s", above=0)
    ] = 7_776_000.0
    max_queued: Annotated[int, _count("rows that may wait for the disk; beyond them rows are dropped and counted")] = (
        10_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where a route or provider says nothing."""

    deadline: Annotated[float, _seconds("by when a caller has an answer or an error")] = 60.0
    drain_timeout: Annotated[
        float, _seconds("on close, requests in flight may take this long to finish", minimum=0)
    ] = 10.0
    clocks: Annotated[Clocks, Setting("of each attempt")] = field(default_factory=Clocks)
    retry: Annotated[RetrySettings, Setting("attempts and backoff")] = field(default_factory=RetrySettings)
    breaker: Annotated[BreakerSettings, Setting("of every provider and model")] = field(default_factory=BreakerSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """How operators reach a process that runs. Read when the client opens."""

    socket: Annotated[str, Setting("Unix socket for `resilio ctl`, from the working directory; empty: none")] = ""
    watch_interval: Annotated[float, _seconds("between two looks at a file that is watched")] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration, checked: every name in it resolves."""

    defaults: Defaults = field(default_factory=Defaults)
    providers: tuple[ProviderSettings, ...] = ()
    routes: Mapping[str, RouteSettings] = field(default_factory=dict)
    rules: tuple[RuleSettings, ...] = ()
    """In order: the first that applies to a call decides."""
    budgets: tuple[BudgetSettings, ...] = ()
    """Every one that applies to a call must have room for it."""
    ledger: LedgerSettings = LedgerSettings()
    cache: CacheSettings = CacheSettings()
    prices: PricesSettings = PricesSettings()
    log: LogSettings = LogSettings()
    control: ControlSettings = field(default_factory=ControlSettings)
