"""Prices and context windows of well-known models, from the package `genai-prices` (extra `prices`).

The package is data that changes weekly and a third of a second of import, so it is asked once, when a client opens
or loads a configuration, for the models that say no price themselves; what it knows goes into the configuration as
if it had been written there. Nothing asks it while calls run. How model and seller are recognised (by URL, names
with dates, fine-tunes) is the package's own matter. The rule that keeps it honest: where it is not sure that a
price is the whole price, there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from resilio.config import Config, LongPromptRates, ModelSettings, Price, ProviderSettings, ServicePrice
from resilio.prices import FAST

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

__all__ = ["HINT", "Priced", "priced"]

HINT: Final = "prices of well-known models come with the extra: pip install 'resilio-llm[prices]'"

_SOURCE: Final = "genai-prices"

_RESERVED: Final = ("test", "example", "invalid", "localhost", "local", "internal", "lan", "home.arpa")
"""Ends of host names that nobody on the internet has: RFC 2606, 6761, 6762, 8375, and the usual ones inside."""

_RATES: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}
"""Our names of what the package prices by tokens of text; sounds, pictures and searches have other units."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A configuration with what could be found.

    Attributes:
        config: Prices and windows filled in where the configuration says none.
        unknown: Full names ("provider/model") of models without a price, and why.
        changes_at: When one of the prices will change (a new price list, an off-peak hour): look again then.
        hint: What would make more prices known; empty: nothing.
    """

    config: Config
    unknown: Mapping[str, str] = field(default_factory=dict)
    changes_at: datetime | None = None
    hint: str = ""


def priced(config: Config, at: datetime) -> Priced:
    """Look up what `config` does not say itself, as its `[prices]` allow.

    Args:
        config: A checked configuration; it is not changed.
        at: The time whose prices to take, with its zone.
    """
    wanted = {
        f"{provider.name}/{name}": (provider, name, model)
        for provider in config.providers
        for name, model in provider.models.items()
        if model.price is None
    }
    unknown = {
        name: _not_sold(provider) for name, (provider, _, model) in wanted.items() if not _may_be_known(provider, model)
    }
    if config.prices.source == "none":
        return Priced(config, dict.fromkeys(wanted, 'not looked up: prices.source is "none"'))
    if len(unknown) == len(wanted):
        return Priced(config, unknown)
    try:
        book = _Book(at)
    except ImportError:
        for name in wanted:
            unknown.setdefault(name, "genai-prices is not installed")
        return Priced(config, unknown, hint=HINT)
    found: dict[str, ModelSettings] = {}
    for name, (provider, model_name, model) in wanted.items():
        if name not in unknown:
            try:
                found[name] = book.filled(provider, model_name, model)
            except LookupError as exc:
                unknown[name] = str(exc.args[0])
            else:
                if found[name].price is None:
                    unknown[name] = book.reason
    return Priced(_with_models(config, found), unknown, book.changes_at)


def _with_models(config: Config, found: Mapping[str, ModelSettings]) -> Config:
    providers = []
    for provider in config.providers:
        models = {name: found.get(f"{provider.name}/{name}", model) for name, model in provider.models.items()}
        same = all(models[name] is model for name, model in provider.models.items())
        providers.append(provider if same else replace(provider, models=models))
    return replace(config, providers=tuple(providers))


def _may_be_known(provider: ProviderSettings, model: ModelSettings) -> bool:
    """Whether it is worth the import to ask: a server of one's own sells nothing, whatever its models are called."""
    if model.price_as is not None:
        return True
    import ipaddress  # only who has a model without a price pays for it

    host = urlsplit(provider.base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(tuple(f".{end}" for end in _RESERVED))


def _not_sold(provider: ProviderSettings) -> str:
    where = provider.base_url or "this machine"
    return f"{where} is no seller's address; set price, or price_as to the model it resells"


class _Book:
    """The package's data, asked for one instant.

    Raises:
        ImportError: It is not installed.
    """

    def __init__(self, at: datetime) -> None:
        import genai_prices
        from genai_prices.data_snapshot import get_snapshot

        self._snapshot = get_snapshot()
        self._at = at.astimezone(UTC)
        self._version = genai_prices.__version__
        self.changes_at: datetime | None = None
        self.reason = ""
        """Why the last model has no price, where it was found and has none."""

    def filled(self, provider: ProviderSettings, name: str, model: ModelSettings) -> ModelSettings:
        """The model with its price, and its context window where it sets none.

        Raises:
            LookupError: Its seller or itself is not known.
        """
        seller, info = self._find(provider, name, model)
        for change in _changes(info, self._at):
            self.changes_at = change if self.changes_at is None else min(self.changes_at, change)
        price, self.reason = self._price(info, f"{_SOURCE} {self._version}: {seller}/{info.id}")
        window = model.context_window
        if window is None and info.context_window and info.context_window >= (model.max_output_tokens or 0):
            window = info.context_window
        return replace(model, price=price, context_window=window)

    def _find(self, provider: ProviderSettings, name: str, model: ModelSettings) -> tuple[str, ModelInfo]:
        wanted, url = model.price_as or name, provider.base_url
        ways: list[tuple[str, str | None, str | None]] = []
        if model.price_as is not None:
            seller, slash, its = wanted.partition("/")
            ways += [(its, seller, None)] if slash and its else []
        ways.append((wanted, None, url))
        if model.price_as is not None:
            ways.append((wanted, None, None))
        for ref, seller_id, its_url in ways:
            try:
                seller_found, info = self._snapshot.find_provider_model(ref, None, seller_id, its_url)
            except LookupError:
                continue
            return seller_found.id, info
        if model.price_as is not None:
            raise LookupError(f"{_SOURCE} knows no model {wanted!r}, price_as; set price")
        try:
            seller = self._snapshot.find_provider(None, None, url).id
        except LookupError:
            raise LookupError(f"{_SOURCE} knows no seller at {url}; set price or price_as") from None
        raise LookupError(f"{_SOURCE} knows no model {wanted!r} of {seller}; set price or price_as")

    def _price(self, info: ModelInfo, source: str) -> tuple[Price | None, str]:
        standard = info.get_prices(self._at)
        if getattr(standard, "requests_kcount", None):
            return None, "it charges for each request besides tokens, which a price here does not hold; set price"
        rates = _rates(standard, info.id)
        if rates is None:
            return None, f"{_SOURCE} has no price for its tokens; set price"
        service: dict[str, ServicePrice] = {}
        for variant in info.price_variants or ():
            tier = _tier(variant.when)
            if tier is None or tier in service:
                continue
            prices = info.get_prices(self._at, variant.when)
            its = _rates(prices, info.id)
            if its is not None and prices != standard:
                service[tier] = ServicePrice(**its, long_prompts=_long_prompts(prices, info.id))
        return Price(**rates, long_prompts=_long_prompts(standard, info.id), service=service, source=source), ""


def _tier(when: Mapping[str, str]) -> str | None:
    """The service tier a variant of the package is for; None: none of ours."""
    if len(when) != 1:
        return None
    match next(iter(when.items())):
        case ("service_tier", tier):
            return tier
        case ("processing", "batch"):
            return "batch"
        case ("speed", "fast"):
            return FAST
        case _:
            return None


def _rates(prices: ModelPrice, model: str, above: int | None = None) -> dict[str, float] | None:
    """What holds for prompts of more than `above` tokens, or for short ones; None where input has no price.

    A model that only reads (embeddings) writes nothing, at no price.
    """
    found: dict[str, float] = {}
    for ours, theirs in _RATES.items():
        rate: Any = getattr(prices, theirs, None)
        if rate is None:
            continue
        if (steps := getattr(rate, "tiers", None)) is not None:
            passed = [step.price for step in steps if above is not None and step.start <= above]  # ascending
            rate = passed[-1] if passed else rate.base
        found[ours] = float(rate)
    if "input" not in found:
        return None
    found.setdefault("output", 0.0)
    if "cache_write_5m" in found and "claude" in model:
        # Resellers' lists leave the hour out; Anthropic bills it at twice the input everywhere.
        found.setdefault("cache_write_1h", 2 * found["input"])
    return found


def _long_prompts(prices: ModelPrice, model: str) -> tuple[LongPromptRates, ...]:
    starts: set[int] = set()
    for theirs in _RATES.values():
        tiers: Iterable[Any] = getattr(getattr(prices, theirs, None), "tiers", ())
        starts.update(tier.start for tier in tiers)
    steps = ((start, _rates(prices, model, start)) for start in sorted(starts))
    return tuple(LongPromptRates(above=start, **rates) for start, rates in steps if rates is not None)


def _changes(info: ModelInfo, at: datetime) -> Iterator[datetime]:
    """When a price of this model begins or ends after `at`, as far as the data says."""
    prices: list[Any] = info.prices if isinstance(info.prices, list) else []
    for each in (*prices, *(info.price_variants or ())):
        constraint = each.constraint
        if (start := getattr(constraint, "start_date", None)) is not None:
            begins = datetime(start.year, start.month, start.day, tzinfo=UTC)
            if begins > at:
                yield begins
        elif constraint is not None:
            for time in (constraint.start_time, constraint.end_time):
                edge = datetime.combine(at.date(), time.replace(tzinfo=time.tzinfo or UTC)).astimezone(UTC)
                edge = edge.replace(year=at.year, month=at.month, day=at.day)
                yield edge if edge > at else edge + timedelta(days=1)
