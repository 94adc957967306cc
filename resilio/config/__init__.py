"""Settings: frozen, with defaults and units; read strictly from TOML or a dict.

The settings are loaded at import; the loader when it is first used, and `explain`, in `resilio.config.explain`,
by those who want it: together they cost more to import than all settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resilio.config.settings import (
    LOCAL_MODELS,
    RUNG_KINDS,
    STRATEGY_NAMES,
    BreakerSettings,
    BudgetSettings,
    CacheSettings,
    Clocks,
    Condition,
    Config,
    ControlSettings,
    Defaults,
    DescentSettings,
    ExactCacheSettings,
    KeySettings,
    LedgerSettings,
    LogSettings,
    LongPromptRates,
    ModelSettings,
    NestedRoute,
    NetworkSettings,
    Price,
    PricesSettings,
    ProviderSettings,
    QueueSettings,
    Rates,
    RetryBudgetSettings,
    RetrySettings,
    RouteSettings,
    RuleSettings,
    RungSettings,
    ServicePrice,
    Setting,
    TargetSettings,
)

__all__ = [
    "LOCAL_MODELS",
    "RUNG_KINDS",
    "STRATEGY_NAMES",
    "BreakerSettings",
    "BudgetSettings",
    "CacheSettings",
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
    "NetworkSettings",
    "NestedRoute",
    "Price",
    "PricesSettings",
    "ProviderSettings",
    "QueueSettings",
    "Rates",
    "RetryBudgetSettings",
    "RetrySettings",
    "RouteSettings",
    "RuleSettings",
    "RungSettings",
    "ServicePrice",
    "Setting",
    "TargetSettings",
    "load_config",
]

if TYPE_CHECKING:
    from resilio.config.loader import load_config


def __getattr__(name: str) -> Any:
    if name == "load_config":
        from resilio.config.loader import load_config

        return load_config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
