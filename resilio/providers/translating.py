"""What the formats share that put a request into other words: found once, and told of before anything is sent.

A dialect says how (`_translated`) and by which tables errors are read (`faults`); what is told as lost and what is left
out are the same by construction. OpenAI's own dialect, in which callers speak, has no need of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Final

from resilio.config import TargetSettings
from resilio.errors import ProviderError
from resilio.models import Loss, Request
from resilio.providers.classify import Faults, error_of_response
from resilio.providers.demand import estimate_tokens, needs

__all__ = ["Translating", "Translation"]

Translation = tuple[dict[str, Any], tuple[Loss, ...]]
"""The body to send, without what a stream adds, and what of the request is not in it."""


class Translating:
    """The common half of `resilio.providers.base.Codec`; see there for what each method promises."""

    __slots__ = ("_words", "kind", "max_event_bytes", "name")

    faults: ClassVar[Faults]

    def __init__(self, kind: str, name: str, max_event_bytes: int, words: Hashable) -> None:
        """Make a codec for a provider that messages call `name`; those with the same `words` say a request alike."""
        self.kind: str = kind
        self.name: Final = name
        self.max_event_bytes: Final = max_event_bytes
        self._words: Final = words

    needs = staticmethod(needs)
    estimate_tokens = staticmethod(estimate_tokens)

    def unsupported(
        self, request: Request, target: TargetSettings, *, max_output_tokens: int | None
    ) -> tuple[Loss, ...]:
        return self._translate(request, target, max_output_tokens)[1]

    def _translate(self, request: Request, target: TargetSettings, limit: int | None) -> Translation:
        """Once a request, words and model; what is returned is shared, and not to be changed."""
        key = (self.kind, self._words, target.model, limit)
        found: Translation | None = request.translations.get(key)
        if found is None:
            found = request.translations[key] = self._translated(request, target.model, limit)
        return found

    def _translated(self, request: Request, model: str, limit: int | None) -> Translation:
        """Put it into this dialect; `limit` is sent only where the caller set none of their own."""
        raise NotImplementedError

    def prefilled(self, text: str) -> str:
        return text

    def error(self, status: int, headers: Mapping[str, str], body: bytes, *, wall_now: float) -> ProviderError:
        return error_of_response(self.faults, self.name, status, headers, body, wall_now)
