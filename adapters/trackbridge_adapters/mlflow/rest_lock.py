"""One writer at a time of what a server holds for all runs: a registered model is the lock.

A name of the registry belongs to whoever creates it first, and is free again once it is deleted:
nothing else that every server has does both (experiments keep their names when deleted).
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress

from trackbridge.adapter import ORIGIN
from trackbridge.errors import BridgeError, ConfigError, IntegrityError, TransientError
from trackbridge_adapters.mlflow.entities import LOCK_MODEL
from trackbridge_adapters.mlflow.rest_server import Json, LackingError, Server

NOTE = "Trackbridge is writing here; gone in a moment. One that stays was left by a killed process."
BEAT_TAG = f"{ORIGIN}.beat"
BEAT_SECONDS = 5
STALE_SECONDS = 30
"""A lock that has not been touched for so long is of nobody any more."""
WAIT_SECONDS = 600
PAUSE_SECONDS = 0.2


class Lock:
    """Held until it is released; a server without a registry has none, and nobody waits."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self) -> None:
        """Wait until it is ours; `TransientError` after `WAIT_SECONDS`."""
        deadline = time.monotonic() + WAIT_SECONDS
        seen, since = None, time.monotonic()
        while not self._create():
            beat, now = self._beat(), time.monotonic()
            if beat != seen:
                seen, since = beat, now
            elif now - since > STALE_SECONDS:
                self._delete()
                continue
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
            self._delete()

    def _create(self) -> bool:
        tags = [{"key": BEAT_TAG, "value": uuid.uuid4().hex}]
        body = {"name": LOCK_MODEL, "description": NOTE, "tags": tags}
        try:
            self._server.post("mlflow/registered-models/create", body)
        except IntegrityError:
            return False
        except (LackingError, ConfigError):  # no registry, or no right to it
            return True
        self._beating = threading.Thread(target=self._beat_on, daemon=True)
        self._beating.start()
        return True

    def _beat(self) -> str | None:
        """What changes as long as somebody holds it; None where nobody does."""
        try:
            answer = self._server.get("mlflow/registered-models/get", name=LOCK_MODEL)
        except BridgeError:
            return None
        tags: list[Json] = answer["registered_model"].get("tags") or []
        return next((tag["value"] for tag in tags if tag["key"] == BEAT_TAG), "")

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            body = {"name": LOCK_MODEL, "key": BEAT_TAG, "value": uuid.uuid4().hex}
            with suppress(BridgeError):
                self._server.post("mlflow/registered-models/set-tag", body)

    def _delete(self) -> None:
        with suppress(BridgeError):  # another one was faster
            self._server.post("mlflow/registered-models/delete", {"name": LOCK_MODEL}, "DELETE")
