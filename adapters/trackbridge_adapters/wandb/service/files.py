"""Bytes of files on a server, checked while they are read."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

from trackbridge.errors import BridgeError, IntegrityError, NotFoundError, TransientError
from trackbridge_adapters.wandb.service.wire import Wire

READ = 1 << 20


class Checks:
    """Streams whose end is an error unless size and MD5 (base64) are what was told of them.

    The first time that may pass; a file of which it is true again is damaged, and its run alone.
    """

    def __init__(self) -> None:
        self._doubted: set[str] = set()

    def of(self, data: BinaryIO, what: str, size: int | None, md5: str | None) -> BinaryIO:
        return io.BufferedReader(_Checked(self, data, what, size, _md5(md5)), READ)

    def doubt(self, what: str, why: str) -> BridgeError:
        if what in self._doubted:
            return IntegrityError(f"{what}: {why}; it is damaged on the server")
        self._doubted.add(what)
        return TransientError(f"{what}: {why}")


class _Checked(io.RawIOBase):
    def __init__(
        self, checks: Checks, data: BinaryIO, what: str, size: int | None, md5: str | None
    ) -> None:
        self._checks, self._data = checks, data
        self._what, self._size, self._md5 = what, size, md5
        self._state = hashlib.md5(usedforsecurity=False)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(len(buffer))
        buffer[: len(data)] = data
        self._state.update(data)
        self._count += len(data)
        if not data and len(buffer):
            self._check()
        return len(data)

    def _check(self) -> None:
        if self._size is not None and self._count != self._size:
            raise self._checks.doubt(self._what, f"{self._count} bytes came, not {self._size}")
        if self._md5 and base64.b64encode(self._state.digest()).decode() != self._md5:
            raise self._checks.doubt(self._what, "its bytes do not have the digest that it has")

    def close(self) -> None:
        self._data.close()
        super().close()


def _md5(digest: str | None) -> str | None:
    """The digest if it is one of MD5: newer servers may have others (`digestAlgorithm`)."""
    try:
        return digest if digest and len(base64.b64decode(digest, validate=True)) == 16 else None
    except ValueError:
        return None


def open_listed(wire: Wire, url: str, what: str) -> BinaryIO:
    """A file without which a run cannot be read; that it is missing is no answer."""
    try:
        return wire.open(url)
    except NotFoundError as error:
        raise IntegrityError(f"{error}, though it is listed: {what}") from error


def entry_path(place: tuple[str, str, str], entry: Any, config: Mapping[str, Any]) -> str:
    """Where the server has the bytes of a manifest's entry, relative to its address.

    As the client builds it (wandb 0.31, wandb_storage_policy.py); `place` is entity, project and
    collection, `config` the manifest's `storagePolicyConfig`.
    """
    digest = base64.b64decode(entry.digest).hex()
    if config.get("storageLayout", "V1") == "V1":
        return f"/artifacts/{quote(place[0])}/{digest}"
    region = config.get("storageRegion", "default")
    parts = [*place, entry.birth_artifact_id, digest, entry.path.rpartition("/")[2]]
    return f"/artifactsV2/{region}/" + "/".join(quote(part, safe="") for part in parts)
