"""What one call says of the cache: the arguments `cache` and `cache_...` of `Client.complete` and `Client.stream`."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple

from resilio.errors import MalformedRequest

__all__ = ["USE", "CacheControl", "CacheMode", "cache_control"]

CacheMode = Literal["use", "refresh", "skip"]
"""``use``: what is there, else ask and keep the answer; ``refresh``: ask, and keep the answer in the place of an older
one; ``skip``: neither look nor keep."""

_MODES: Final = ("use", "refresh", "skip")


class CacheControl(NamedTuple):
    """How one call uses the cache."""

    mode: CacheMode = "use"
    ttl: float | None = None
    """Seconds: an older answer is not wanted, and one that is stored is kept for so long. None: as configured."""
    namespace: str = ""
    """Entries of another namespace are not seen, and those of this one by nobody else."""
    answers: int = 1
    """So many different answers are kept, in buckets of one each, and each call looks into one bucket."""
    seed: str | int | None = None
    """Calls with the same seed look into the same bucket; None: one drawn at random."""

    def bucket(self, rng: random.Random) -> int:
        """The bucket this call looks into: 0 to answers - 1."""
        if self.answers == 1:
            return 0
        if self.seed is None:
            return rng.randrange(self.answers)
        # A hash, so that seeds 1, 2, 3 or user names spread alike; Python's own differs from process to process.
        return int.from_bytes(blake2b(repr(self.seed).encode(), digest_size=8).digest()) % self.answers


USE: Final = CacheControl()
"""What holds for a call that says nothing."""


def cache_control(mode: Any, ttl: Any, namespace: Any, answers: Any, seed: Any) -> CacheControl:
    """Check what a caller wrote.

    Raises:
        MalformedRequest: It makes no sense; says what would.
    """
    if mode == "use" and ttl is None and namespace is None and answers == 1 and answers is not True and seed is None:
        return USE
    if mode not in _MODES:
        raise MalformedRequest(f"cache must be one of {', '.join(map(repr, _MODES))}, not {mode!r:.80}")
    if ttl is not None and not (_is_number(ttl) and ttl > 0):  # also refuses NaN
        raise MalformedRequest(f"cache_ttl must be seconds above 0, not {ttl!r:.80}")
    if not isinstance(namespace, str | None):
        raise MalformedRequest(f"cache_namespace must be a string, not {namespace!r:.80}")
    if type(answers) is not int or answers < 1:
        raise MalformedRequest(f"cache_answers must be a whole number from 1, not {answers!r:.80}")
    if seed is not None and type(seed) not in (str, int):
        raise MalformedRequest(f"cache_seed must be a string or a whole number, not {seed!r:.80}")
    return CacheControl(mode, ttl, namespace or "", answers, seed)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
