"""Raises the alerts of runs while they go on, beside the deliveries and in threads of its own."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from trackbridge.dual import journaled, place, scanning
from trackbridge.dual.frames import MARK
from trackbridge.dual.parts import files
from trackbridge.dual.pauses import Pause
from trackbridge.dual.sinks import Alert, Native, Sink, SinkError, level, sinks
from trackbridge.errors import BridgeError

LOOK_SECONDS = 1.0
LATE_SECONDS = 3600.0
"""An alert that is older is raised no more: who reads it believes that it is so now."""
RAISED = "alerts"
"""File in the folder of deliveries: what was raised where, or is not any more."""
_TABLE = b'"table":"alerts"'
LOGGER = logging.getLogger("trackbridge")


class Alerts:
    """Of all runs that a forwarder has to deliver; with sinks that people have named."""

    def __init__(self) -> None:
        self._named = list(sinks())
        self._runs: dict[Path, _Run] = {}
        self._posts: dict[str, _Post] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, folder: Path, stores: Iterable[str]) -> None:
        """Raise what a run raises from now on, and what it has raised lately."""
        wanted = [Native(store) for store in stores]
        with self._lock:
            run = self._runs.setdefault(folder, _Run(folder))
            run.posts = [self._post(sink) for sink in (*self._named, *wanted)]
            run.is_over = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._repeat, daemon=True)
            self._thread.start()

    def leave(self, folder: Path) -> None:
        """A run has ended: look once more, and no longer."""
        with self._lock:
            if folder in self._runs:
                self._runs[folder].is_over = True

    @property
    def waiting(self) -> bool:
        """Whether any has still to be raised; none is for longer than `LATE_SECONDS`."""
        return any(post.waiting for post in self._posts.values())

    def _post(self, sink: Sink) -> _Post:
        return self._posts.setdefault(sink.id, _Post(sink))

    def _repeat(self) -> None:
        while True:
            with self._lock:
                runs = [(run, run.is_over) for run in self._runs.values()]
            for run, is_over in runs:
                try:
                    run.look()
                except (OSError, BridgeError) as error:  # the deliveries say it too
                    LOGGER.warning("run %s: alerts: %s", run.folder.name, error)
                except Exception as error:
                    LOGGER.error("run %s: alerts", run.folder.name, exc_info=error)
                with self._lock:
                    if is_over and run.is_over:
                        self._runs.pop(run.folder, None)
            time.sleep(LOOK_SECONDS)


class _Run:
    """One run: the alerts in its journal that were not dealt with yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.posts: list[_Post] = []
        self.is_over = False
        self._raised = _Raised(folder / place.DELIVERY / RAISED)
        self._read: dict[Path, tuple[int, int]] = {}
        """Of each file, how long it was, and from where on to look."""
        self._left: list[dict[str, Any]] = []
        """Rows that were read, and not handed over."""
        self._seen: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Hand over what has come since to those that raise it."""
        for path in files(self.folder):
            rows, self._read[path] = _added(path, *self._read.get(path, (0, 0)))
            self._left += rows
        late = 0
        while self._left:
            late += self._hand_over(self._left[0])
            del self._left[0]  # not before: where the run cannot be read now, it is tried again
        if late:
            LOGGER.info(
                "run %s: %d alerts are not raised: they are older than %d minutes",
                *(self.folder.name, late, LATE_SECONDS // 60),
            )

    def _hand_over(self, row: dict[str, Any]) -> bool:
        """Hand over one; whether it is not raised any more, since that would be too late."""
        told = json.dumps(row, sort_keys=True)
        name = hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:16]
        posts = [post for post in self.posts if (name, post.sink.id) not in self._seen]
        posts = [post for post in posts if not self._raised.is_done(name, post.sink)]
        if is_late(row["time"]):
            for post in posts:
                self._raised.done(name, post.sink, "late")
            return bool(posts)
        if posts:
            alert = self._alert(name, row)
            for post in posts:
                post.add(alert, self._raised)
                self._seen.add((name, post.sink.id))
        return False

    def _alert(self, name: str, row: dict[str, Any]) -> Alert:
        run = journaled.run_of(journaled.opened(self.folder))
        definition: Any = None
        with suppress(ValueError):
            definition = json.loads(row.get("definition") or "{}")
        text = definition.get("text") if isinstance(definition, dict) else None
        shown = str(row.get("title") or ""), str(text or ""), level(str(row.get("level") or "INFO"))
        return Alert(name, run.key, run.name or "", *shown, row["time"])


class _Raised:
    """What was raised where: a small file of a run, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._done: dict[str, dict[str, str]] | None = None

    def is_done(self, alert: str, sink: Sink) -> bool:
        with self._lock:
            return sink.id in self._known().get(alert, {})

    def done(self, alert: str, sink: Sink, how: str) -> None:
        """Remember it, at least in this process: on a full disk nothing is raised twice."""
        with self._lock:
            self._known().setdefault(alert, {})[sink.id] = how
            with suppress(OSError):
                place.put(self._path, json.dumps(self._done))

    def _known(self) -> dict[str, dict[str, str]]:
        if self._done is None:
            self._done = _loaded(self._path)
        return self._done


class _Post:
    """A sink with a thread of its own: one that hangs holds up no other."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._left: list[tuple[Alert, _Raised]] = []
        self._failed: set[str] = set()
        self._come = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> bool:
        return bool(self._left) and self._thread is not None and self._thread.is_alive()

    def add(self, alert: Alert, raised: _Raised) -> None:
        with self._come:
            self._left.append((alert, raised))
            self._come.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._repeat, daemon=True)
                self._thread.start()

    def _repeat(self) -> None:
        pause = Pause()
        while True:
            with self._come:
                self._come.wait_for(lambda: self._left)
                left = list(self._left)
            done = [each for each in left if self._deal(*each)]
            with self._come:
                self._left = [each for each in self._left if each not in done]
            if len(done) == len(left):
                pause.end()
            else:
                pause.begin()
                time.sleep(pause.left)

    def _deal(self, alert: Alert, raised: _Raised) -> bool:
        """Raise an alert, unless it is too late by now; whether that is all."""
        try:
            if is_late(alert.time):
                LOGGER.warning("alert %r: %s: is given up", alert.title, self.sink.name)
                raised.done(alert.id, self.sink, "given up")
                return True
            is_told = self.sink.raise_alert(alert)
            raised.done(alert.id, self.sink, "raised" if is_told else "not here")
            return True
        except (SinkError, BridgeError) as error:
            self._say(alert, str(error))
        except Exception as error:  # whose message may show an address
            self._say(alert, f"{self.sink.name}: {type(error).__name__}")
        return False

    def _say(self, alert: Alert, why: str) -> None:
        """Once of an alert."""
        if alert.id not in self._failed:
            self._failed.add(alert.id)
            LOGGER.warning("alert %r: %s; it is tried again", alert.title, why)


class _Once(_Post):
    """A sink that is told at once, and asked no second time where that fails."""

    def add(self, alert: Alert, raised: _Raised) -> None:
        self._deal(alert, raised)


def raise_left(folder: Path, stores: Iterable[str]) -> None:
    """Raise what a run has raised lately and nobody was told of, for whoever has no forwarder."""
    run = _Run(folder)
    run.posts = [_Once(sink) for sink in (*sinks(), *map(Native, stores))]
    with suppress(OSError, BridgeError):  # the deliveries say it too
        run.look()


def told(folder: Path, store: str) -> int:
    """How many alerts of a run a back end has told people of as its own."""
    sink = Native(store).id
    found = _loaded(folder / place.DELIVERY / RAISED).values()
    return sum(where.get(sink) == "raised" for where in found if isinstance(where, dict))


def is_late(raised: int) -> bool:
    return time.time() - raised / 1e6 > LATE_SECONDS


def _added(path: Path, known: int, start: int) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """Rows of alerts in what a file has from a place on, its size, and where to look next.

    Points, which are most of a journal, are not taken apart.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size <= known:
            return [], (known, start)
        with mmap(file.fileno(), size, access=ACCESS_READ) as data:
            rows, at = [], start
            while (at := data.find(_TABLE, at)) >= 0:
                record = scanning.record_at(data, data.rfind(MARK, 0, at))
                if record and (record["t"], record.get("table")) == ("put", "alerts"):
                    rows += [{**row, "time": _time(row, record)} for row in record["rows"]]
                at += 1
            return rows, (size, max(data.rfind(MARK), start))


def _time(row: dict[str, Any], record: dict[str, Any]) -> int:
    time = row.get("time")
    return int(time) if isinstance(time, (int, float)) else int(record["at"])


def _loaded(path: Path) -> dict[str, dict[str, str]]:
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
