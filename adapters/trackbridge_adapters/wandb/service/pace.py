"""How fast requests may go to one host: one bucket for all threads and processes of a user."""

from __future__ import annotations

import hashlib
import math
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import filelock
import platformdirs

from trackbridge.errors import LONGEST

PATIENCE = 10.0
"""Seconds after which a worker that cannot have the lock goes on by itself."""
_POLL, _SOON = 0.005, 0.0001
_FIRST_GAP, _LEAST_GAP, _LARGEST_GAP, _QUICKER = 0.5, 0.02, 60.0, 0.95
_FORM = struct.Struct("<5d")


@dataclass
class _State:
    """What all workers of a host know; times are in seconds since the epoch.

    Of the bucket: `taken` is how many tokens of it are gone, as of `at`. Of the gate, which is
    open where `until` is 0: until when nobody goes, from when on the next one may (`turn`), and
    the `gap` between him and the one after him.
    """

    taken: float = 0.0
    at: float = 0.0
    until: float = 0.0
    turn: float = 0.0
    gap: float = 0.0

    def opens(self, now: float) -> float | None:
        """When the gate lets somebody through; None where it is open.

        It is so too where what is said of it cannot be, or is old: the worker that was to open
        it may be no more.
        """
        then = max(self.until, self.turn)
        return then if self.until and abs(then - now) <= LONGEST else None


class Pace:
    """Requests to a host, at most so many a second, and none while the server wants none.

    The state lies in a small file that all workers share. Where it cannot be read or written,
    each worker has its own.
    """

    def __init__(
        self,
        host: str,
        per_second: float | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second, self._clock, self._sleep = per_second, clock, sleep
        self._file = _file(host)
        self._lock = filelock.FileLock(self._file.with_suffix(".lock"), timeout=PATIENCE)
        self._threads = threading.Lock()
        self._alone: _State | None = None

    def wait(self) -> None:
        """Returns when a request may go, which counts as sent."""
        while delay := self._take():
            self._sleep(delay)

    def heed(self, headers: Mapping[str, str], status: int) -> float | None:
        """Learn from an answer; the server's wish in seconds where it refused a request.

        Where a refusal or the headers say that nothing is left, all workers pause; then one
        after the other goes, until an answer says that there is enough again. An answer that
        does not say lets them go a little quicker each time. How much is left says nothing else:
        W&B gives it on a scale from 0 to 1000 (docs.wandb.ai, "Rate limit exceeded on metric
        logging").
        """
        now = self._clock()
        asked = wish(headers, status, now)
        refused = status == 429 or asked is not None
        left = _number(headers, "ratelimit-remaining")
        if refused or left == 0:
            pause = asked if refused else _number(headers, "ratelimit-reset")
            self._pause(now, pause, refused)
        elif status < 500 and self._read().opens(now):
            self._ease(left)
        return asked

    def _take(self) -> float:
        """Takes a token and gives 0, else the seconds after which to ask again."""
        if not self._per_second and not self._read().opens(self._clock()):
            return 0.0
        with self._shared() as state:
            now = self._clock()
            opens = state.opens(now)
            if opens and opens - now > _SOON:
                return opens - now
            if self._per_second:
                if delay := self._refill(state, now, self._per_second):
                    return delay
                state.taken += 1
            if opens:
                state.turn = now + min(state.gap, _LARGEST_GAP)
            return 0.0

    def _refill(self, state: _State, now: float, rate: float) -> float:
        """Brings the bucket up to now; the seconds until there is a token in it."""
        size = max(1.0, rate)  # a second's worth may go at once
        passed = max(0.0, now - state.at)
        state.taken = min(max(0.0, state.taken - passed * rate), size + 1)
        state.at = now
        delay = min((state.taken + 1 - size) / rate, LONGEST)
        return delay if delay > _SOON else 0.0

    def _pause(self, now: float, pause: float | None, refused: bool) -> None:
        with self._shared() as state:
            if not state.opens(now):
                state.until = state.turn = state.gap = 0.0
            if refused and state.until <= now:  # of several refused at once, the first counts
                state.gap *= 2
            state.gap = min(max(state.gap, _FIRST_GAP), _LARGEST_GAP)
            ends = now + min(state.gap if pause is None else pause, LONGEST)
            state.until = max(state.until, ends)

    def _ease(self, left: float | None) -> None:
        with self._shared() as state:
            state.gap *= _QUICKER
            if left or state.gap < _LEAST_GAP:
                state.until = state.turn = state.gap = 0.0

    def _read(self) -> _State:
        """Without the lock: it is one read of a few bytes that were written as one."""
        if self._alone:
            return self._alone
        try:
            content = self._file.read_bytes()
        except OSError:
            return _State()
        values = _FORM.unpack(content) if len(content) == _FORM.size else ()
        return _State(*values) if all(0 <= value < 1e12 for value in values) else _State()

    @contextmanager
    def _shared(self) -> Iterator[_State]:
        """The state, for as long as nobody else changes it; changes are kept."""
        with self._threads:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(poll_interval=_POLL)
            except (OSError, NotImplementedError):  # a time-out is an OSError
                self._alone = self._alone or self._read()
                yield self._alone
                return
            try:
                state = self._read()
                before = replace(state)
                yield state
                if state != before:
                    self._write(state)
            finally:
                self._lock.release()

    def _write(self, state: _State) -> None:
        try:
            place = os.open(
                self._file, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600
            )
        except OSError:
            self._alone = state
            return
        try:
            os.write(place, _FORM.pack(*astuple(state)))
            os.ftruncate(place, _FORM.size)
        except OSError:
            self._alone = state
        finally:
            os.close(place)


def wish(headers: Mapping[str, str], status: int, now: float) -> float | None:
    """How many seconds a server that refused a request (429, 503) wants to be left alone."""
    if status not in (429, 503):
        return None
    seconds = _number(headers, "retry-after")
    if seconds is None:
        seconds = _from_date(headers, now)
    if seconds is None and status == 429:
        seconds = _number(headers, "ratelimit-reset")
    return None if seconds is None else max(seconds, 0.0)


def _from_date(headers: Mapping[str, str], now: float) -> float | None:
    """The same of a date, which is by the clock of the server where that is known."""
    end, start = _date(headers, "retry-after"), _date(headers, "date")
    return None if end is None else end - (now if start is None else start)


def _date(headers: Mapping[str, str], name: str) -> float | None:
    try:
        date = parsedate_to_datetime(_header(headers, name))
    except (TypeError, ValueError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        number = float(_header(headers, name))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _file(host: str) -> Path:
    name = hashlib.sha256(host.lower().encode()).hexdigest()[:16]
    return platformdirs.user_cache_path("trackbridge") / "pace" / name
