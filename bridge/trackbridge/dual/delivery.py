"""Delivers runs to one back end: rounds while they go on, `migrate` when they have ended."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from trackbridge.adapter import Query, RunInfo, RunKey, Writer
from trackbridge.dual import journaled, spawn, standing, twins
from trackbridge.dual.parts import parts
from trackbridge.dual.pauses import Pause
from trackbridge.dual.rounds import grow, logged
from trackbridge.engine import UNDONE, migrate
from trackbridge.errors import (
    BridgeError,
    IntegrityError,
    TransientError,
    UnsupportedError,
    without_secrets,
)
from trackbridge.optional import Extending, Linking, Twin
from trackbridge.registry import open_writer
from trackbridge.schema import POINTS
from trackbridge.sorting import starts_alike

ROUND_SECONDS = 2.0
"""From the end of a round to the next one, at least."""
SHARE = 4
"""A round that took long is followed by so many times as long without one."""
LOGGER = logging.getLogger("trackbridge")
SAMPLE = 64
"""Lags that are noted of what came with the end."""


class Delivery:
    """One run on its way to one back end."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder = parts(folder)[0]
        self.store = store
        self.standing = standing.load(folder, without_secrets(store))
        self.standing.asked = 0.0  # by whoever was at work before
        self.has_ended = False
        self._is_ours = False
        """Whether what the back end has of the run is known to be this run's."""
        self.lock = threading.Lock()
        """Held by the thread that writes the run."""
        self.pause = Pause()
        """Of rounds, where they fail for a reason that is the run's own."""
        self._idle = ""
        """Fingerprint of the journal when rounds had no more to add."""
        self._journal = journaled.opened(folder)
        self._original = twins.original(folder)

    def info(self) -> RunInfo:
        """What the journal says of the run now; the lock is held."""
        return journaled.run_of(self._journal)

    def is_done(self, fingerprint: str) -> bool:
        """Whether all that is in the journal, which has this fingerprint now, was proven.

        And whether the run names its twins, as far as it is known where they are.
        """
        return self.standing.is_proven(fingerprint) and self.standing.linked == self._twins()

    def is_there(self) -> bool:
        """Ask the back end for the run; one that was deleted there counts as never delivered."""
        there = any(True for _ in _alike(open_writer(self.store), self.info()))
        if not there:
            self.standing = standing.Standing(self.standing.store)
        return there

    def has_news(self) -> bool:
        """Whether something was logged that rounds have not looked at."""
        return self.standing.state != "held" and self.info().fingerprint != self._idle

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Have the standing say that the back end is asked, until it has answered."""
        self.standing.asked = time.time()
        self.save()
        yield
        if self.standing.asked:
            self.standing.asked = 0.0
            self.save()

    def round(self, writer: Writer) -> None:
        """Add what was logged since the last round, where the back end can show that."""
        at, info = self.standing, self.info()
        if not hasattr(writer, "extend") or at.state == "held":
            self._idle = info.fingerprint
            return
        at.state = "live"
        if not self._is_ours:
            check_same(writer, info)
            self._is_ours = True
        if grow(self._journal, cast(Extending, writer), info, at):
            at.reached()
            at.place = at.place or list(twins.found(writer, info.key))
            self.link(writer, info.key)
            self.save()
        else:
            self._idle = info.fingerprint

    def close(self) -> None:
        """Write the run whole and prove it; what rounds have sent is gone on with.

        One process at a time does so, and with one run of that project and id, wherever its
        journal lies: `TransientError` for others.
        """
        what = f"{self.info().key}\n{self.standing.store}"
        at_work = hashlib.sha256(what.encode()).hexdigest()[:16]
        if (lock := spawn.hold(at_work, 0)) is None:
            raise TransientError("another process is at work with this run")
        with lock:
            self._close()

    def _close(self) -> None:
        info = self.info()
        if not self.standing.is_proven(info.fingerprint):
            self._write(info)
        writer = open_writer(self.store)
        self.standing.place = list(twins.found(writer, info.key))
        self.link(writer, info.key)
        self.save()

    def _write(self, info: RunInfo) -> None:
        at = self.standing
        if at.proven:  # it had ended once, and would be written anew if it did not go on first
            self.round(open_writer(self.store))
        elif not self._is_ours:
            check_same(open_writer(self.store), info)
        at.state, at.linked = "closing", None
        self.save()
        added, _ = self._journal.read_added(info.ref, at.position)
        left = logged([batch for batch in added if batch.table in POINTS], SAMPLE)
        report = migrate(self._journal.address, self.store)
        if report.failures:
            raise BridgeError(report.failures[0].error)
        at.reached()
        at.add_lags([time.time() - seconds for seconds in left])
        at.state, at.proven, at.points = "done", info.fingerprint, info.points
        if at.left:
            at.restart()
        if not report.skipped:  # else nothing was translated, and the losses are those of before
            losses = (loss for loss in report.losses if loss.kind != UNDONE)  # by rounds of ours
            at.losses = [asdict(loss) for loss in losses]
        at.damage = report.damage
        self.save()

    def link(self, writer: Writer, key: RunKey) -> None:
        """Have the run name its twins, as far as it is known where they are."""
        told = self._twins()
        if self.standing.linked != told and isinstance(writer, Linking):
            writer.link(key, [Twin(*each) for each in told])
            self.standing.reached()
        self.standing.linked = told

    def _twins(self) -> list[list[Any]]:
        return [*self._original, *twins.reached(self.folder, self.standing.store)]

    def fail(self, error: Exception) -> None:
        """Write down what stands in the way; a mistake of ours goes into the log as well."""
        if isinstance(error, (BridgeError, OSError)):
            self.standing.missed(str(error))
        else:
            LOGGER.error("%s to %s", self.folder.name, self.standing.store, exc_info=error)
            self.standing.missed(f"{type(error).__name__}: {error}; {spawn.LOG} says more")
        self.save()

    def hold(self, error: Exception) -> None:
        """Leave the run until it has ended: what it logs cannot be shown before."""
        self.standing.state, self.standing.error, self.standing.asked = "held", str(error), 0.0
        self.save()

    def save(self) -> None:
        try:
            standing.save(self.folder, self.standing)
        except OSError as error:  # it says how far we are, and is not needed to go on
            LOGGER.warning("%s: %s", self.folder, error)


def check_same(writer: Writer, info: RunInfo) -> None:
    """`IntegrityError` where the back end has another run of this project and id.

    So `migrate` would refuse it in the end, and rounds would have mixed both by then.
    """
    for there in _alike(writer, info):
        if there.key == info.key and starts_alike(info, there, exactly=True) is False:
            raise IntegrityError(
                f"another run of this project and id, started {there.started}, is there already;"
                " give this one a run_id of its own, or log where that one's journal lies"
            )


def _alike(writer: Writer, info: RunInfo) -> Iterator[RunInfo]:
    """Runs of a back end that are called like this one."""
    ref = writer.target(info.key)
    return writer.list_runs(Query(projects=[ref.project], run_ids=[ref.run_id]))


class Lane:
    """A back end, with a thread for rounds and one for runs that have ended.

    So neither a back end that hangs nor a long run holds up what has nothing to do with it.
    """

    def __init__(self, store: str) -> None:
        self.store = store
        self._deliveries: list[Delivery] = []
        self._writer: Writer | None = None
        self._refused: set[str] = set()
        """Why deliveries were refused, as the log says."""
        self._alone = threading.Lock()
        """Held by whoever writes to a store that takes one writer at a time."""
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._rounds, SHARE), daemon=True),
            threading.Thread(target=self._repeat, args=(self._closes, 0), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def add(self, delivery: Delivery) -> None:
        self._deliveries = [*self._deliveries, delivery]

    def drop(self, delivery: Delivery) -> None:
        """Leave out a run that is delivered."""
        self._deliveries = [each for each in self._deliveries if each is not delivery]

    def check(self) -> None:
        """Raises an error where a thread has ended: that would be a mistake of ours."""
        if not all(thread.is_alive() for thread in self._threads):
            raise RuntimeError(f"a thread of the deliveries to {self.store} has ended")

    def _repeat(self, step: Callable[[], bool], share: int) -> None:
        """Do a step for ever, with pauses `share` times as long; it says whether it has failed."""
        pause = Pause()
        while True:
            begun = time.monotonic()
            if step():
                pause.begin()
                time.sleep(pause.left)
            else:
                pause.end()
                time.sleep(max(ROUND_SECONDS, share * (time.monotonic() - begun)))

    def _rounds(self) -> bool:
        """A round of each run that goes on; true where the back end does not answer."""
        for delivery in self._deliveries:
            if delivery.has_ended or delivery.pause.left:
                continue  # before its lock: whoever writes it whole holds that for long
            with delivery.lock:
                if delivery.has_ended:
                    continue
                try:
                    if delivery.has_news():
                        with delivery.asking():
                            writer = self._writer = self._writer or open_writer(self.store)
                            with self._turn(writer):
                                delivery.round(writer)
                    delivery.pause.end()
                except (IntegrityError, UnsupportedError) as error:
                    self._writer = None  # it may remember what is no longer true
                    delivery.hold(error)
                except TransientError as error:  # so it would be for the others
                    self._writer = None
                    self._fail(delivery, error)
                    return True
                except Exception as error:
                    self._writer = None
                    self._fail(delivery, error)
                    delivery.pause.begin()
        return False

    def _turn(self, writer: Writer) -> AbstractContextManager[object]:
        """What to hold while something is written."""
        return nullcontext() if writer.capabilities.parallel_writers else self._alone

    def _fail(self, delivery: Delivery, error: Exception) -> None:
        """Write down what stands in the way; what no waiting mends is a line of the log, once."""
        delivery.fail(error)
        is_refusal = isinstance(error, BridgeError) and not isinstance(error, TransientError)
        if is_refusal and str(error) not in self._refused:
            self._refused.add(str(error))
            LOGGER.warning("%s to %s: %s", delivery.folder.name, delivery.standing.store, error)

    def _closes(self) -> bool:
        """Write runs whole that have ended; one that fails does not hold up the others."""
        failed = False
        for delivery in self._deliveries:
            if not delivery.has_ended:
                continue
            with delivery.lock:
                try:
                    if not delivery.is_done(delivery.info().fingerprint):
                        with delivery.asking(), self._turn(open_writer(self.store)):
                            delivery.close()
                        self._writer = None  # so that a run that goes on later begins anew there
                except Exception as error:
                    self._fail(delivery, error)
                    failed = True
        return failed
