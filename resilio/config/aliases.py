"""Names other libraries use for what is called something else here: only to word better messages.

None of them is accepted. For each, the settings that may be meant, in the order of preference; the
first that exists in the table at hand is suggested.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["ALIASES"]

ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "api": ("kind",),
    "api_base": ("base_url",),
    "api_key": ("keys",),
    "api_keys": ("keys",),
    "backoff": ("base",),
    "concurrency": ("max_concurrency",),
    "connect_timeout": ("connect",),
    "context_length": ("context_window",),
    "cooldown": ("break_duration",),
    "endpoint": ("base_url",),
    "failure_threshold": ("consecutive_failures",),
    "fallback": ("ladder", "targets"),
    "fallbacks": ("ladder", "targets"),
    "host": ("base_url",),
    "idle_timeout": ("idle",),
    "key": ("keys",),
    "max_backoff": ("cap",),
    "max_context": ("context_window",),
    "max_failures": ("consecutive_failures",),
    "max_retries": ("max_attempts",),
    "max_tokens": ("max_output_tokens",),
    "max_wait": ("cap",),
    "model": ("targets", "models"),
    "models": ("targets",),
    "parallel": ("max_concurrency",),
    "provider": ("targets",),
    "read_timeout": ("idle",),
    "recovery_timeout": ("break_duration",),
    "request_timeout": ("total",),
    "reset_timeout": ("break_duration",),
    "retries": ("max_attempts",),
    "rpm": ("requests_per_minute",),
    "target": ("targets",),
    "timeout": ("deadline", "total"),
    "token": ("keys",),
    "tpm": ("tokens_per_minute",),
    "type": ("kind",),
    "url": ("base_url",),
}
