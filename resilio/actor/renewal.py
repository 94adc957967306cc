"""Keys that come from files and commands, read again: when it is time, and when the provider refused one.

`KeyKeeper` has a task for each such key, so that of one key there is never more than one reading at a time, however
many requests were refused with it. What blocks, a file or a program, is done in a thread; what follows from it stands
in `resilio.actor.keys`. `first_secrets` runs the commands of a configuration before anything runs on it.

The rule that keeps secrets secret: what is told of a failure is the key's place and the kind of failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Final

from resilio.actor.command import GRACE, Command
from resilio.actor.keys import Key, give, nothing_new
from resilio.actor.record import ProviderRecord
from resilio.config import Config, KeySettings, ProviderSettings
from resilio.config.secrets import SecretUnreadable, read_file
from resilio.errors import ConfigError
from resilio.events import KeyUnreadable

__all__ = ["KeyKeeper", "first_secrets"]

logger = logging.getLogger("resilio")

_REFRESH: Final = {"file": 10.0, "command": 3600.0}
"""Seconds between two readings where the key says nothing. A file of some bytes costs nothing to read, and what
Kubernetes mounts changes within about a minute of the secret; a command is a process, often with a server behind it."""

_ASKED_AGAIN: Final = 10.0
"""Seconds after a new secret in which a refusal asks for no other: a program that makes up a token each time must
not have every refused request start it again."""

_SECOND_LOOK: Final = 0.5
"""Seconds after which a file is read once more that held no key while a refusal waited for it: whoever rotates it may
be in the middle of writing."""

_FILE_TIMEOUT: Final = 10.0
"""Seconds a file may take; a network file system whose server is gone takes for ever."""


class _Reading:
    """One reading in a thread, and how to call it off."""

    def __init__(self, settings: KeySettings, executor: Executor | None) -> None:
        source = settings.source
        assert source is not None, "only keys from files and commands are read"
        self.source = source
        self._command = Command(source.what, settings.timeout) if source.kind == "command" else None
        self.timeout = (settings.timeout if self._command else _FILE_TIMEOUT) + 2 * GRACE
        work: Callable[[], str] = self._command.run if self._command else lambda: read_file(source.what)
        if executor is None:
            self.future: asyncio.Future[str] = asyncio.get_running_loop().run_in_executor(None, work)
        else:  # this way an executor that runs inline needs no thread to call back from
            self.future = asyncio.wrap_future(executor.submit(work))
        self.future.add_done_callback(_looked_at)

    async def secret(self) -> str:
        """What it finds; whoever is cancelled here ends the program, too.

        Raises:
            SecretUnreadable: Nothing, or not in time; then it may still be under way.
        """
        try:
            await asyncio.wait((self.future,), timeout=self.timeout)
        except asyncio.CancelledError:
            self.call_off()
            raise
        if not self.future.done():
            raise SecretUnreadable(f"gave no answer within {self.timeout:g} s")
        return self.future.result()

    def call_off(self) -> None:
        if self._command is not None:
            self._command.call_off()


def _looked_at(future: asyncio.Future[str]) -> None:
    if not future.cancelled():
        future.exception()  # of a reading that nobody waits for any more


async def first_secrets(config: Config, known: Config | None, executor: Executor | None) -> Config:
    """The configuration with the secrets that its commands give; they run side by side, in threads.

    Args:
        config: As read; keys from commands are empty.
        known: The configuration that runs. What it has from the same command is taken over, not asked for again.
        executor: Where threads come from; None: the loop's own.

    Raises:
        ConfigError: A command gave no key. All that did not are named, by provider and number.
    """
    there = {
        (its.name, key.source): key.key
        for its in (known.providers if known is not None else ())
        for key in its.keys
        if key.key
    }
    found: dict[_Place, str] = {}
    readings: dict[_Place, _Reading] = {}
    for its in config.providers:
        for index, key in enumerate(its.keys):
            if key.key or key.source is None or key.source.kind != "command":
                continue
            if (secret := there.get((its.name, key.source))) is not None:
                found[its.name, index] = secret
            else:
                readings[its.name, index] = _Reading(key, executor)
    read, problems = await _all_of(readings)
    if problems:
        del there, found, read  # some tools print a traceback with variables; these hold secrets
        raise ConfigError(problems)
    found |= read
    return replace(config, providers=tuple(_filled(its, found) for its in config.providers)) if found else config


_Place = tuple[str, int]
"""A provider's name, and the index of one of its keys."""


async def _all_of(readings: Mapping[_Place, _Reading]) -> tuple[dict[_Place, str], list[str]]:
    """What they find, and why the others do not."""
    waits = (each.secret() for each in readings.values())
    try:
        ends = await asyncio.gather(*waits, return_exceptions=True)
    finally:
        for each in readings.values():
            each.call_off()
    found, problems = {}, []
    for (name, index), end in zip(readings, ends, strict=True):
        if isinstance(end, str):
            found[name, index] = end
        elif isinstance(end, SecretUnreadable):
            problems.append(f"provider.{name}.keys[{index}]: the command {end}")
        else:
            raise end
    return found, problems


def _filled(provider: ProviderSettings, found: Mapping[_Place, str]) -> ProviderSettings:
    keys = tuple(
        replace(key, key=found[provider.name, index]) if (provider.name, index) in found else key
        for index, key in enumerate(provider.keys)
    )
    return provider if keys == provider.keys else replace(provider, keys=keys)


class KeyKeeper:
    """Reads the keys of running providers again.

    Args:
        spawn: Starts a task that whoever owns the keeper will see to the end of.
        executor: Where threads come from; None: the loop's own.
    """

    def __init__(
        self, spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]], executor: Executor | None
    ) -> None:
        self._spawn = spawn
        self._executor = executor
        self._kept: dict[Key, _Kept] = {}

    def follow(self, records: Iterable[ProviderRecord]) -> None:
        """Look after the keys of these providers, all of them and no others from now on."""
        wanted = {key: record for record in records for key in record.keys if key.renewable}
        for key in [key for key in self._kept if key not in wanted]:
            self._kept.pop(key).task.cancel()
        for key, record in wanted.items():
            record.renew = self._renew
            if key in self._kept:
                self._kept[key].look()
            else:
                kept = _Kept(record, key, self._executor)
                kept.task = self._spawn(kept.run(), f"resilio key {record.name}/{key.index}")
                self._kept[key] = kept

    def stop(self) -> None:
        """Read nothing any more; programs that run are killed. A refusal counts at once from now on."""
        self.follow(())

    def _renew(self, key: Key) -> bool:
        kept = self._kept.get(key)
        return kept is not None and kept.ask()


class _Kept:
    """One key, its task and its reading."""

    task: asyncio.Task[None]

    def __init__(self, record: ProviderRecord, key: Key, executor: Executor | None) -> None:
        self._record = record
        self._key = key
        self._executor = executor
        self._asked = False
        self._wake = asyncio.Event()
        self._reading: _Reading | None = None
        self._told = ""

    def ask(self) -> bool:
        """Have it read at once; False: that was done a moment ago."""
        if self.task.done() or self._record.clock() - self._key.renewed_at < _ASKED_AGAIN:
            return False
        self._asked = True
        self._wake.set()
        return True

    def look(self) -> None:
        """Its settings may be others now."""
        self._wake.set()

    async def run(self) -> None:
        """Read it whenever it is time or somebody asks, until cancelled."""
        key, clock = self._key, asyncio.get_running_loop().time
        read_at = clock()
        try:
            while (settings := key.settings) is not None and settings.source is not None:
                due = read_at + (settings.refresh or _REFRESH[settings.source.kind])
                if not self._asked and clock() < due:
                    self._wake.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(due):
                            await self._wake.wait()
                    continue
                self._asked = False
                await self._read_again()
                read_at = clock()
        except Exception:  # a bug; the key goes on as it is, and so does everything else
            logger.exception("key %d of %r is not read again", key.index, self._record.name)
        finally:
            nothing_new(self._record, key, self._record.clock())  # nobody is to wait for what will not come

    async def _read_again(self) -> None:
        record, key = self._record, self._key
        settings, renewed_at = key.settings, key.renewed_at
        assert settings is not None, "a key without settings is not kept"
        assert settings.source is not None, "nor one that stands in the configuration"
        secret, problem = await self._read(settings)
        if problem and key.renewing and settings.source.kind == "file":
            await asyncio.sleep(_SECOND_LOOK)
            secret, problem = await self._read(settings)
        now = record.clock()
        if key.settings is None or key.settings.source != settings.source or key.renewed_at != renewed_at:
            secret = None  # a reload has read it meanwhile, perhaps from elsewhere: this is older
        if problem and problem != self._told:
            where = f"provider.{record.name}.keys[{key.index}]"
            logger.warning("%s: the %s %s; the secret there is stays", where, settings.source, problem)
            if record.listeners:
                record.emit(KeyUnreadable(record.name, key.index, problem, now, key.name))
        self._told = problem
        if secret is not None and secret != key.secret:
            logger.info("provider.%s.keys[%d] has another secret", record.name, key.index)
            self._asked = False  # whoever asked meanwhile was refused with the old one
            give(record, key, secret, now)
        elif not self._asked:  # else there may be another by now, and the next reading decides
            nothing_new(record, key, now)

    async def _read(self, settings: KeySettings) -> tuple[str | None, str]:
        """What its file or command says now, or why that is not known."""
        reading = self._reading
        if reading is not None and reading.source != settings.source:  # a reload has moved the key elsewhere
            reading.call_off()
            reading = None
        if reading is None:
            reading = self._reading = _Reading(settings, self._executor)
        try:
            return await reading.secret(), ""
        except SecretUnreadable as exc:
            return None, str(exc)
        except Exception as exc:  # a bug, or an executor that was shut down; the key goes on as it is
            return None, f"cannot be read: {type(exc).__name__}"
        finally:
            if reading.future.done():
                self._reading = None
