"""What operators do to an engine that runs: by hand, over a socket, or by changing its file.

`handle` opens, closes and drains one provider; `watch` notices that a file has changed; `commands` is what may
be asked over a socket, and `server` the socket. Nothing here decides how a configuration is applied: that is the
supervisor's. The rule: whatever comes from outside gets an answer, right or wrong, and never harms a call.
"""

from __future__ import annotations

from resilio.control.handle import ProviderControl
from resilio.control.watch import FileWatch

__all__ = ["FileWatch", "ProviderControl"]
