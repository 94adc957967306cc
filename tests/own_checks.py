"""Checks as a user writes them, sound and broken: imported by name from test configurations."""

import asyncio

from resilio import Verdict

seen = []


async def allow(given):
    return True


async def say_no(given):
    return False


async def record(given):
    seen.append(given)
    return Verdict()


async def no_bananas(given):
    return Verdict("deny", "bananas") if "banana" in given.text else Verdict()


async def shout(given):
    return Verdict("redact", "too quiet", given.text.upper())


async def again(given):
    return Verdict("retry", "not good enough") if "bad" in given.text else Verdict()


async def elsewhere(given):
    return Verdict("escalate", "not for this model")


async def raises(given):
    raise ValueError("a bug of mine\nwith a second line")


async def hangs(given):
    await asyncio.sleep(3600)
    return True


async def stubborn(given):
    """Ignores being cancelled, once."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(1)
    return True


async def cancels_itself(given):
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def slow(given):
    await asyncio.sleep(1)
    return True


async def asks_the_judge(given):
    reply = await given.ask("judge", f"Is this fine? {given.text}")
    return Verdict() if reply.text == "yes" else Verdict("deny", f"the judge says {reply.text}")


async def asks_its_own_route(given):
    await given.ask("chat", "And you?")
    return True


async def nonsense(given):
    return 3


async def unknown_action(given):
    return Verdict("shrug")


async def redacts_nothing(given):
    return Verdict("redact", "gone")


async def forgets(given):
    pass


class Caller:
    async def __call__(self, given):
        return True


caller = Caller()


def not_async(given):
    return True


class _Dumb(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


async def raises_what_cannot_be_shown(given):
    raise _Dumb


async def returns_what_cannot_be_shown(given):
    return _Dumb()


async def gives_a_number_as_its_reason(given):
    return Verdict("deny", 7)


async def exits(given):
    raise SystemExit(3)
