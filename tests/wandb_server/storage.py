"""Bytes on disk, and the signed addresses that lead to them without an API key.

As with the service's object storage, whoever has a signed address needs no key, and requests to it
count under no rate limit.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

PREFIX = "/storage/"


def md5(content: bytes) -> str:
    """Base64, as W&B's digests of files are."""
    return base64.b64encode(hashlib.md5(content).digest()).decode()


@dataclass
class Storage:
    """Objects by key, under a folder; `base` is the server's address."""

    folder: Path
    base: str = ""

    def _path(self, key: str) -> Path:
        return self.folder / "objects" / hashlib.sha256(key.encode()).hexdigest()

    def write(self, key: str, content: bytes) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)

    def read(self, key: str) -> bytes | None:
        path = self._path(key)
        return path.read_bytes() if path.exists() else None

    def has(self, key: str) -> bool:
        return self._path(key).exists()

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _signature(self, method: str, key: str) -> str:
        return hmac.new(b"storage", f"{method} {key}".encode(), "sha256").hexdigest()[:32]

    def url(self, key: str, method: str = "GET") -> str:
        return f"{self.base}{PREFIX}{quote(key)}?signature={self._signature(method, key)}"

    def signed(self, method: str, target: str) -> str | None:
        """The key that an address leads to; None where it is not signed for the method."""
        parts = urlsplit(target)
        key = unquote(parts.path.removeprefix(PREFIX))
        allowed = self._signature("GET" if method == "HEAD" else method, key)
        return key if [allowed] == parse_qs(parts.query).get("signature") else None
