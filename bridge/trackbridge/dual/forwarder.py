"""The process beside the training: finds runs in a folder of journals and delivers them.

It is started by the first run and outlives it, marks runs as crashed whose processes are gone, and
stops by itself when everything is delivered, or when nobody answers any more.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from trackbridge.adapter import RunInfo
from trackbridge.dual import journaled, living, place, spawn, standing
from trackbridge.dual.alerts import Alerts
from trackbridge.dual.delivery import Delivery, Lane
from trackbridge.dual.parts import grouped, latest_header
from trackbridge.errors import BridgeError, without_secrets

LOOK_SECONDS = 0.5
LINGER_SECONDS = 5.0
"""How long there has to be nothing to do before it stops."""
PATIENCE = "TRACKBRIDGE_PATIENCE"
"""Environment variable: seconds for which deliveries are tried after the last run has ended."""
PATIENT_SECONDS = 24 * 3600.0
NICE = 10
"""The training goes first."""
LOGGER = logging.getLogger("trackbridge")


class Forwarder:
    """Watches a folder of journals for runs that are its own to deliver."""

    def __init__(self, root: Path, name: str, stores: Mapping[str, str]) -> None:
        """`stores` maps addresses without secrets to the whole ones."""
        self._root, self._name, self._stores = root, name, stores
        self._lanes: dict[str, Lane] = {}
        self._runs: dict[Path, _Run] = {}
        self._odd: set[Path] = set()
        """Folders that cannot be read; it was said."""
        self.alerts = Alerts()

    def look(self) -> tuple[int, int]:
        """Take up new runs and see which have ended; how many go on, and deliveries are left."""
        for lane in self._lanes.values():
            lane.check()
        going = left = 0
        runs = {folders[0]: folders for folders in grouped(place.runs(self._root))}
        for gone in self._runs.keys() - runs.keys():
            self._drop(self._runs.pop(gone).deliveries.values())
        for folder, folders in runs.items():
            try:
                run = self._runs.get(folder)
                if run is None or run.has_changed(folders):
                    run = self._take(folder, folders)
                going += run.goes_on()
                self._drop(run.delivered())
                left += len(run.deliveries)
            except (BridgeError, OSError) as error:  # the others are not to wait for it
                if folder not in self._odd:
                    LOGGER.warning("%s is left alone: %s", folder, error)
                self._odd.add(folder)
                if lost := self._runs.pop(folder, None):
                    self._drop(lost.deliveries.values())
        return going, left

    def _drop(self, deliveries: Iterable[Delivery]) -> None:
        """Leave runs alone from now on."""
        for delivery in deliveries:
            self._lanes[delivery.store].drop(delivery)
            self.alerts.leave(delivery.folder)

    def _take(self, folder: Path, folders: list[Path]) -> _Run:
        """Look at a run that is new, or that a process has begun to write to."""
        run = self._runs.get(folder) or self._runs.setdefault(folder, _Run(folder))
        run.look(folders)
        told = latest_header(folders)
        if not all(map(_is_begun, folders)):
            run.look_again()
        is_ours = told.get("by") == self._name and told.get("host") == place.host()
        named = standing.owed(folder, told["to"]) if is_ours else []
        stores = [self._stores.get(shown, shown) for shown in named]
        self._drop([run.deliveries.pop(store) for store in run.deliveries.keys() - set(stores)])
        for store in stores:
            if store in run.deliveries:
                continue
            run.deliveries[store] = Delivery(folder, store)
            if store not in self._lanes:
                self._lanes[store] = Lane(store)
            self._lanes[store].add(run.deliveries[store])
        if stores:
            self.alerts.watch(folder, stores)
        return run


class _Run:
    """A run of the folder; without deliveries where there is nothing to do, or by others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders = [folder]
        """All that the run has, that one first."""
        self._journal = journaled.opened(folder)
        self._changed: list[int] = []
        self._final = ""
        """Fingerprint of a run that was delivered, and that somebody may go on with."""
        self._has_ended = False
        self.deliveries: dict[str, Delivery] = {}

    def has_changed(self, folders: list[Path]) -> bool:
        """Whether a file has come since `look`, or more of a run that was delivered."""
        if folders != self._folders or _times(folders) != self._changed:
            return True
        return bool(self._final) and place.fingerprint(*folders) != self._final

    def look_again(self) -> None:
        """Count as changed."""
        self._changed = []

    def look(self, folders: list[Path]) -> None:
        self._folders, self._changed, self._final = folders, _times(folders), ""
        self._mark(False)

    def goes_on(self) -> bool:
        """Whether more may come; one whose processes are gone is marked as crashed."""
        if not self.deliveries or self._has_ended:
            return False
        alive = self._anybody()  # first: it may end while we look
        if self._info().status == "running":
            if alive:
                return True
            living.mark_crashed(self._folder)
        self._mark(True)
        return False

    def delivered(self) -> list[Delivery]:
        """Deliveries that are done, all of them, and are left alone from now on.

        One that is done before the others has then to name twins that were not reached yet.
        """
        if not self.deliveries or not self._has_ended:
            return []
        now = self._info().fingerprint
        if not all(each.is_done(now) for each in self.deliveries.values()):
            return []
        found, self.deliveries = self.deliveries, {}
        if self._anybody():  # another process may still log to it
            self._final = now
        return list(found.values())

    def _anybody(self) -> bool:
        return any(map(living.anybody, self._folders))

    def _info(self) -> RunInfo:
        return journaled.run_of(self._journal)

    def _mark(self, has_ended: bool) -> None:
        self._has_ended = has_ended
        for delivery in self.deliveries.values():
            delivery.has_ended = has_ended


def _times(folders: list[Path]) -> list[int]:
    return [folder.stat().st_mtime_ns for folder in folders]


def _is_begun(folder: Path) -> bool:
    """Whether the last file has its header."""
    return any(map(place.header, place.files(folder)[-1:]))


def watch(forwarder: Forwarder, patience: float) -> bool:
    """Go on until there is nothing to do, which is true then, or for so many seconds after the last
    run has ended."""
    idle = last = time.monotonic()
    while True:
        going, left = forwarder.look()
        moment = time.monotonic()
        if going:
            last = moment
        if going or left or forwarder.alerts.waiting:
            idle = moment
        if moment - idle > LINGER_SECONDS:
            return True
        if moment - last > patience:
            if left:
                told = "%d deliveries are given up; `trackbridge replay` takes them up"
                LOGGER.warning(told, left)
            return False
        time.sleep(LOOK_SECONDS)


def main(root: str, name: str) -> int:
    """Run as a process; another one of that name that runs already does the work."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    told = json.loads(os.environ.get(spawn.STORES, "[]"))
    stores = {without_secrets(store): store for store in told}
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every connection
    patience = _patience()
    if hasattr(os, "nice"):
        os.nice(NICE)
    forwarder = Forwarder(Path(root), name, stores)
    while (lock := spawn.hold(name)) is not None:
        LOGGER.info("forwarder %s begins (process %d)", name, os.getpid())
        is_done = watch(forwarder, patience)
        lock.close()
        going, left = forwarder.look()  # a run may have begun that believed us to be there
        LOGGER.info("forwarder %s ends", name)
        if not (is_done and (going or left)):
            break
    return 0


def _patience() -> float:
    text = os.environ.get(PATIENCE) or str(PATIENT_SECONDS)
    try:
        return float(text)
    except ValueError:
        LOGGER.warning("%s=%s is no number of seconds: a day is taken", PATIENCE, text)
        return PATIENT_SECONDS


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:3]))
    except BridgeError as error:
        LOGGER.error("%s", error)
        sys.exit(1)
