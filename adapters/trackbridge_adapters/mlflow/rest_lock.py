"""One writer at a time of what a server holds for all runs: a registered model is the lock.

A name of the registry belongs to whoever creates it first, and is free again once it is deleted:
nothing else that every server has does both (experiments keep their names when deleted).
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from typing import NamedTuple

from trackbridge.adapter import ORIGIN
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from trackbridge_adapters.mlflow.entities import LOCK_MODEL
from trackbridge_adapters.mlflow.rest_ids import pairs
from trackbridge_adapters.mlflow.rest_server import LackingError, Server

NOTE = "Trackbridge is writing here; gone in a moment. One that stays was left by a killed process."
OWNER_TAG = f"{ORIGIN}.owner"
"""Tag of the lock that is set when it is made, and never again: whose it is."""
BEAT_TAG = f"{ORIGIN}.beat"
"""Tag that changes as long as somebody holds the lock."""
BEAT_SECONDS = 5
STALE_SECONDS = 30
"""A lock that has not been touched for so long is of nobody any more."""
WAIT_SECONDS = 600
PAUSE_SECONDS = 0.2


class Held(NamedTuple):
    """A lock as it is seen: whose it is, and the last sign of life."""

    owner: str
    beat: str


class Lock:
    """Held until it is released; a server without a registry has none, and nobody waits."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._owner = uuid.uuid4().hex
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self) -> None:
        """Wait until it is ours; `TransientError` after `WAIT_SECONDS`."""
        deadline = time.monotonic() + WAIT_SECONDS
        seen, since = None, time.monotonic()
        while not self._create():
            held, now = self._look(), time.monotonic()
            if held is None or held != seen:
                seen, since = held, now
            elif now - since > STALE_SECONDS:
                self._take_away(held)
            if now > deadline:
                raise TransientError(
                    f"{self._server.name}: another Trackbridge has been writing for too long; if"
                    f" there is none, delete the registered model {LOCK_MODEL!r}"
                )
            time.sleep(PAUSE_SECONDS)

    def release(self) -> None:
        if self._beating is not None:
            self._ended.set()
            self._beating.join()
            self._beating = None
            with suppress(BridgeError):  # it is stale in a moment
                if self._is_ours():
                    self._delete(LOCK_MODEL)

    def _create(self) -> bool:
        tags = {OWNER_TAG: self._owner, BEAT_TAG: uuid.uuid4().hex}
        listed = [{"key": key, "value": value} for key, value in tags.items()]
        body = {"name": LOCK_MODEL, "description": NOTE, "tags": listed}
        try:
            self._server.post("mlflow/registered-models/create", body)
        except IntegrityError:
            if not self._is_ours():  # it is where a lost answer made the request be sent again
                return False
        except (LackingError, ConfigError):  # no registry, or no right to it
            return True
        self._beating = threading.Thread(target=self._beat_on, daemon=True)
        self._beating.start()
        return True

    def _look(self, name: str = LOCK_MODEL) -> Held | None:
        """Who holds it; None where nobody does."""
        try:
            answer = self._server.get("mlflow/registered-models/get", name=name)
        except NotFoundError:
            return None
        tags = pairs(answer["registered_model"].get("tags"))
        return Held(tags.get(OWNER_TAG, ""), tags.get(BEAT_TAG, ""))

    def _is_ours(self) -> bool:
        held = self._look()
        return held is not None and held.owner == self._owner

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            body = {"name": LOCK_MODEL, "key": BEAT_TAG, "value": uuid.uuid4().hex}
            with suppress(BridgeError):
                if self._is_ours():
                    self._server.post("mlflow/registered-models/set-tag", body)

    def _take_away(self, stale: Held) -> None:
        """Delete the lock of a killed process.

        Another one that waits may have done it since, and hold the lock now. So it is renamed,
        which succeeds for one caller only, and given back where it is not what was seen.
        """
        aside = f"{LOCK_MODEL}-{uuid.uuid4().hex}"
        with suppress(BridgeError):  # another one was faster
            self._rename(LOCK_MODEL, aside)
            if self._look(aside) == stale:
                self._delete(aside)
            else:
                self._rename(aside, LOCK_MODEL)

    def _rename(self, name: str, other: str) -> None:
        self._server.post("mlflow/registered-models/rename", {"name": name, "new_name": other})

    def _delete(self, name: str) -> None:
        self._server.post("mlflow/registered-models/delete", {"name": name}, "DELETE")
