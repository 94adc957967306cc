"""What the wall's upstreams say: one fixed text each, so that a cut or spliced answer is noticed.

The texts differ, in words and in length. A fresh question gets the upstream's own text. A request that carries
the beginning of an answer (a trailing assistant message, with or without an instruction after it) gets the rest of the
text that begins so, as a model would write it: that is the only honest way to see whether a seam reads right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from resilio.testing.dialects.base import content_text

__all__ = ["LOST", "QUESTION", "TEXTS", "answer_of"]

QUESTION: Final = "How does rain come about?"

TEXTS: Final[Mapping[str, str]] = {
    "primary": (
        "Warm air rises from the sea and cools on its way up, for the pressure falls with height. "
        "Below the dew point (often near 1 500 m, 5 °C) vapour settles on dust as tiny drops."
    ),
    "fallback": (
        "Water evaporates, mostly from the oceans.\nHigh above, where it is cold, it condenses into clouds; "
        "droplets collide and grow until the updraught can no longer carry them. Then they fall: that is rain, "
        "or snow where the air stays below 0 °C."
    ),
    "spare": "Clouds form when moist air cools. Their drops merge, grow heavy and fall as rain to the ground below.",
}
"""By upstream. Longer than any cut; no two begin with the same word."""

LOST: Final = "I have lost the thread."
"""Said when asked to continue a text that none of the upstreams ever began."""


def answer_of(name: str) -> Callable[[Mapping[str, Any]], str]:
    """How this upstream answers a request, as a `Script.answer`."""

    def answer(body: Mapping[str, Any]) -> str:
        messages = body["messages"]
        begun = [place for place, message in enumerate(messages) if message.get("role") == "assistant"]
        if not begun:
            return TEXTS[name]
        so_far = content_text(messages[begun[-1]])
        for text in TEXTS.values():
            if so_far and text.startswith(so_far):
                rest = text[len(so_far) :]
                # After an instruction the model begins a turn of its own, and turns begin without a space.
                return rest if begun[-1] == len(messages) - 1 else rest.lstrip()
        return LOST

    return answer
