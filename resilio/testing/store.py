"""What every ledger must hold, whatever keeps it: run `check_store` on yours.

The checks know no engine. They are told how to open one, and where it can be how a process of it dies. Findings are
`AssertionError`s that say which promise of `resilio.store.Ledger` was broken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from resilio.errors import LedgerUnavailable
from resilio.store import Account, Claimed, Entry, Ledger

__all__ = ["check_store"]

L = TypeVar("L", bound=Ledger)

_ALICE = Account("user/day/tokens", "alice", "2027-01-15")
_YESTERDAY = _ALICE._replace(window="2027-01-14")
_AT = 1_800_000_000.0


async def check_store(
    open_ledger: Callable[[], Awaitable[L]], *, shared: bool = True, crash: Callable[[L], object] | None = None
) -> None:
    """Hold a ledger to its protocol. It must be empty to begin with, and is left with entries in it.

    Args:
        open_ledger: Opens it as one process would.
        shared: Several that are open see the same accounts, and what was spent is there when it is opened again.
        crash: Ends what one process has open as its death would.

    Raises:
        AssertionError: A promise was broken.
    """
    ledger = await open_ledger()
    await _check_claims(ledger)
    await _check_settling(ledger)
    await _check_nonsense(ledger)
    if shared:
        other = await open_ledger()
        await _check_sharing(ledger, other)
        await other.aclose()
    await ledger.aclose()
    await _check_closed(ledger)
    if shared:
        await _check_opened_again(open_ledger)
    if crash is not None:
        await _check_crash(open_ledger, crash)


def _require(condition: object, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def _entry(amount: int, request_id: str = "r", account: Account = _ALICE, at: float = _AT) -> Entry:
    return Entry(account, "settled", amount, request_id, at)


async def _claim(ledger: Ledger, wanted: int, least: int = 1, limit: int = 100, account: Account = _ALICE) -> Claimed:
    return await ledger.claim(account, wanted, least=least, limit=limit, counted=(account.window,))


async def _spent(ledger: Ledger, counted: Sequence[str] = (_ALICE.window,)) -> int:
    return (await ledger.spent(_ALICE.budget, {"alice": counted}))["alice"]


async def _check_claims(ledger: Ledger) -> None:
    """Spends nothing."""
    got = await _claim(ledger, 60)
    _require(got == (60, 40), f"60 of 100 free units were asked for: {got}")
    got = await _claim(ledger, 60, least=41)
    _require(got == (0, 40), f"fewer than least are left, so nothing may be granted: {got}")
    got = await _claim(ledger, 60, least=40)
    _require(got == (40, 0), f"at least 40 were asked for and 40 are left: {got}")
    await ledger.give_back(_ALICE, 100)
    got = await _claim(ledger, 100, limit=100)
    _require(got == (100, 0), f"everything was given back: {got}")
    await ledger.give_back(_ALICE, 100)
    other = await _claim(ledger, 100, account=_ALICE._replace(entity="bob"))
    _require(other == (100, 0), f"another entity has a limit of its own: {other}")
    await ledger.give_back(_ALICE._replace(entity="bob"), 100)


async def _check_settling(ledger: Ledger) -> None:
    """Spends 50 today and 20 yesterday."""
    await _claim(ledger, 60)
    ledger.hold(_ALICE, 30)
    await ledger.settle([_entry(25, "a"), _entry(5, "b", at=_AT - 3600)])
    ledger.hold(_ALICE, 0)
    _require(await _spent(ledger) == 30, "30 units were settled")
    got = await _claim(ledger, 70, least=40)
    _require(got == (40, 0), f"30 of 100 are spent and 30 are left of the claim: {got}")
    await ledger.give_back(_ALICE, 70)
    await ledger.settle([_entry(20, "c")])
    _require(await _spent(ledger) == 50, "what exceeds the claim is spent all the same")
    await ledger.settle([Entry(_ALICE, "corrected", -5, "c", _AT), Entry(_ALICE, "corrected", 5, "c", _AT)])
    _require(await _spent(ledger) == 50, "corrections count with their sign")
    await ledger.settle([_entry(20, "d", _YESTERDAY)])
    _require(await _spent(ledger) == 50, "another window is another account")
    both = (_ALICE.window, _YESTERDAY.window)
    _require(await _spent(ledger, both) == 70, "two windows count: 50 and 20")
    got = await ledger.claim(_ALICE, 100, least=1, limit=100, counted=both)
    _require(got == (30, 0), f"what was spent in all windows that count is not left: {got}")
    await ledger.give_back(_ALICE, 30)
    got = await _claim(ledger, 10, limit=40)
    _require(got == (0, 0), f"more is spent than the limit is now: nothing is left, and not less: {got}")
    await ledger.settle([])


async def _check_nonsense(ledger: Ledger) -> None:
    before = await _spent(ledger)

    async def refused(what: str, call: Awaitable[Any]) -> None:
        try:
            await call
        except ValueError:
            return
        raise AssertionError(f"{what} must be refused with a ValueError")

    await refused("a claim of nothing", _claim(ledger, 0, least=0))
    await refused("least above wanted", _claim(ledger, 5, least=6))
    await refused("a limit below 0", _claim(ledger, 5, limit=-1))
    await refused("a fraction of a unit", _claim(ledger, 1.5))  # type: ignore[arg-type]
    await refused("an own window that does not count", ledger.claim(_ALICE, 1, least=1, limit=9, counted=("x",)))
    await refused("to give back what is not claimed", ledger.give_back(_ALICE, 10_000))
    await refused("NaN units", ledger.settle([_entry(float("nan"))]))  # type: ignore[arg-type]
    await refused("an entry at no time", ledger.settle([_entry(1, at=float("nan"))]))
    await refused("one bad entry among good ones", ledger.settle([_entry(1), _entry(2**70)]))
    _require(await _spent(ledger) == before, "of entries that were refused none may count")


async def _check_sharing(ledger: Ledger, other: Ledger) -> None:
    """50 are spent; spends 10 more."""
    got = await _claim(ledger, 30)
    seen = await _claim(other, 100)
    _require((got.granted, seen) == (30, (20, 0)), f"30 were claimed by one and 50 spent: the other got {seen}")
    await other.settle([_entry(10, "e")])
    _require(await _spent(ledger) == 60, "what one process has spent the other sees")
    await ledger.give_back(_ALICE, 30)
    got = await _claim(other, 100)
    _require(got == (30, 0), f"what one gives back is free for the other at once: {got}")


async def _check_closed(ledger: Ledger) -> None:
    ledger.hold(_ALICE, 5)  # a call that ends after it: nothing to say any more
    await ledger.aclose()
    calls: Sequence[Callable[[], Awaitable[Any]]] = (
        lambda: _claim(ledger, 1),
        lambda: ledger.settle([_entry(1)]),
        lambda: _spent(ledger),
        lambda: ledger.give_back(_ALICE, 0),
    )
    for call in calls:
        try:
            await call()
        except LedgerUnavailable:
            continue
        raise AssertionError("a closed ledger must raise LedgerUnavailable")


async def _check_opened_again(open_ledger: Callable[[], Awaitable[L]]) -> None:
    """60 are spent; 5 more are in use when it is closed."""
    ledger = await open_ledger()
    _require(await _spent(ledger) == 60, "what was spent is there when it is opened again")
    got = await _claim(ledger, 100)
    _require(got == (40, 0), f"claims of closed ledgers are free: {got}")
    ledger.hold(_ALICE, 5)
    await ledger.aclose()
    ledger = await open_ledger()
    _require(await _spent(ledger) == 65, "what is in use at the end is charged, and the rest of the claim is free")
    await ledger.aclose()


async def _check_crash(open_ledger: Callable[[], Awaitable[L]], crash: Callable[[L], object]) -> None:
    """65 are spent."""
    survivor, victim = await open_ledger(), await open_ledger()
    _require(await _claim(victim, 30) == (30, 5), "30 of the 35 that are left")
    victim.hold(_ALICE, 12)
    await victim.settle([_entry(4, "f")])
    victim.hold(_ALICE, 8)
    crash(victim)
    got = await _claim(survivor, 25, least=20)
    _require(got == (23, 0), f"of a dead process 4 were spent and 8 in use; the rest is free for who asks: {got}")
    _require(await _spent(survivor) == 77, "what was in use is charged once")
    crash(survivor)
    ledger = await open_ledger()
    _require(await _claim(ledger, 100) == (23, 0), "nothing was in use, so all of the claim is free")
    _require(await _spent(ledger) == 77, "nothing is charged twice")
    await ledger.aclose()
